//! Rows in batches: as many as are worth computing together, as few as are held without care.
//!
//! A batch is bounded in rows and in bytes, so that memory follows the bytes of the input and not the
//! number of its rows. It also ends where the next row is not there yet, so that a program which
//! writes a row and waits for the answer gets it.

use super::example::{Example, ExampleReader};
use super::kept::KeptValue;
use super::report::ReadReport;
use crate::TrainingError;

/// The most rows of a batch: enough to sort by length.
const ROWS: usize = 512;

/// The bytes of text after which a batch ends. Its last row may go beyond, by the size of one record.
const BYTES: usize = 4 << 20;

/// The batches of a reader's rows, in their order.
///
/// Rows before one that cannot be read come as a batch of their own; the error comes after them.
pub struct RowBatches {
    reader: ExampleReader,
    error: Option<TrainingError>,
}

impl RowBatches {
    pub(super) fn new(reader: ExampleReader) -> RowBatches {
        RowBatches { reader, error: None }
    }

    /// What was read and what was left out so far.
    pub fn report(&self) -> &ReadReport {
        self.reader.report()
    }
}

impl Iterator for RowBatches {
    type Item = Result<Vec<Example>, TrainingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.error.take() {
            return Some(Err(error));
        }
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < ROWS && bytes < BYTES {
            if !rows.is_empty() && !self.reader.next_is_ready() {
                break;
            }
            match self.reader.next() {
                Some(Ok(row)) => {
                    bytes += size(&row);
                    rows.push(row);
                }
                Some(Err(error)) if rows.is_empty() => return Some(Err(error)),
                Some(Err(error)) => {
                    self.error = Some(error);
                    break;
                }
                None => break,
            }
        }
        (!rows.is_empty()).then_some(Ok(rows))
    }
}

/// The bytes of a row's text.
fn size(row: &Example) -> usize {
    let kept = row.kept.iter().flatten().map(KeptValue::len);
    let other = [&row.pair, &row.index].into_iter().flatten().map(String::len);
    row.text.len() + other.chain(kept).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Columns, ReadOptions, RowFormat};

    fn batches(text: String) -> Vec<Result<usize, String>> {
        let bytes = Box::new(std::io::Cursor::new(text));
        let (columns, options) = (Columns::text("text"), ReadOptions::default());
        let format = RowFormat::JsonLines;
        let reader = ExampleReader::from_reader("rows", bytes, format, &columns, &options).unwrap();
        let batches = RowBatches::new(reader);
        batches.map(|batch| batch.map(|rows| rows.len()).map_err(|e| e.to_string())).collect()
    }

    #[test]
    fn a_batch_is_bounded_in_rows_and_in_bytes() {
        let row = |length: usize| format!("{{\"text\":\"{}\"}}\n", "x".repeat(length));
        assert_eq!(batches(row(10).repeat(1100)), [Ok(512), Ok(512), Ok(76)]);
        // Four rows of a mebibyte reach the limit, and one of ten goes alone.
        assert_eq!(batches(row(1 << 20).repeat(9)), [Ok(4), Ok(4), Ok(1)]);
        let mixed = [row(10), row(10 << 20), row(10), row(10)].concat();
        assert_eq!(batches(mixed), [Ok(2), Ok(2)]);
    }

    #[test]
    fn rows_before_a_broken_one_come_first() {
        let found = batches("{\"text\":\"a\"}\n{\"text\":\"b\"}\n{\n".to_owned());
        assert_eq!(found[0], Ok(2));
        let error = found[1].as_ref().unwrap_err();
        assert!(error.starts_with("rows, line 3: "), "{error}");
        assert_eq!(found.len(), 2);
    }
}
