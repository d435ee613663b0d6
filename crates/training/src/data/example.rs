//! Examples: a text or two, and perhaps a label, from one row.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use super::columns::{Column, Columns};
use super::delimited::Table;
use super::format::{ReadOptions, RowFormat};
use super::input::{Input, OpenInput, decompressed};
use super::json_lines::{ColumnValue, JsonLines};
use super::label::LabelValue;
use super::report::ReadReport;
use super::text_stream::TextStream;
use crate::TrainingError;
use crate::error::Place;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The text, exactly as the file has it; it may be empty.
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// The label, `None` where the row has none: no such column, an empty field, a JSON null.
    pub label: Option<LabelValue>,
    /// The row's own number or name, where a column for it was asked for.
    pub index: Option<String>,
    /// Where the row begins.
    pub place: Place,
}

/// Which of the wanted columns is which part of an example.
#[derive(Debug)]
struct Parts {
    wanted: Vec<Column>,
    text_prefix: Option<usize>,
    pair: Option<usize>,
    label: Option<usize>,
    index: Option<usize>,
}

/// The text is the first wanted column.
const TEXT: usize = 0;

impl Parts {
    fn new(columns: &Columns) -> Parts {
        let mut wanted = vec![Column::required(&columns.text)];
        let mut want = |column: Option<Column>| {
            column.map(|column| {
                wanted.push(column);
                wanted.len() - 1
            })
        };
        let text_prefix = want(columns.text_prefix.as_ref().map(Column::required));
        let pair = want(columns.pair.clone());
        let label = want(columns.label.clone());
        let index = want(columns.index.clone());
        Parts { wanted, text_prefix, pair, label, index }
    }
}

enum Records {
    Table(Table),
    JsonLines(JsonLines),
}

impl Records {
    fn open(
        name: Arc<str>,
        input: OpenInput,
        format: RowFormat,
        wanted: &[Column],
        options: &ReadOptions,
        report: &mut ReadReport,
    ) -> Result<Records, TrainingError> {
        let stream = TextStream::new(name, input, options.encoding, options.record_limit);
        Ok(match format {
            RowFormat::JsonLines => Records::JsonLines(JsonLines::new(stream, wanted)),
            _ => Records::Table(Table::open(stream, format, wanted, options, report)?),
        })
    }

    fn next(&mut self, report: &mut ReadReport) -> Result<Option<u64>, TrainingError> {
        match self {
            Records::Table(table) => table.next(report),
            Records::JsonLines(lines) => lines.next(report),
        }
    }

    fn take(&mut self, column: usize) -> ColumnValue {
        match self {
            Records::JsonLines(lines) => lines.take_value(column),
            Records::Table(table) => match table.value(column) {
                Some(value) => ColumnValue::One(value.to_string()),
                None => ColumnValue::Missing,
            },
        }
    }
}

/// The rows of one or several inputs, one at a time and in order.
///
/// It holds one record and never the file. After an error it is at its end.
pub struct ExampleReader {
    inputs: VecDeque<Input>,
    current: Option<(Arc<str>, Records)>,
    parts: Parts,
    options: ReadOptions,
    report: ReadReport,
}

impl ExampleReader {
    /// Opens the first input and finds its columns; the others are opened in their turn, when the
    /// formats of all are known to be clear.
    ///
    /// # Errors
    /// What is wrong with the first input, or an unclear format of any.
    pub fn open(
        inputs: &[Input],
        columns: &Columns,
        options: &ReadOptions,
    ) -> Result<ExampleReader, TrainingError> {
        if inputs.is_empty() {
            return Err(TrainingError::NoInputs);
        }
        for input in inputs {
            options.format_of(input)?;
        }
        let mut reader = ExampleReader {
            inputs: inputs.iter().cloned().collect(),
            current: None,
            parts: Parts::new(columns),
            options: options.clone(),
            report: ReadReport::default(),
        };
        reader.open_next()?;
        Ok(reader)
    }

    /// Reads from any source of bytes, which messages call `name`. Gzip is seen through here too.
    ///
    /// # Errors
    /// What is wrong with its beginning.
    pub fn from_reader(
        name: &str,
        reader: Box<dyn Read + Send>,
        format: RowFormat,
        columns: &Columns,
        options: &ReadOptions,
    ) -> Result<ExampleReader, TrainingError> {
        let name: Arc<str> = name.into();
        let input = decompressed(&name, reader)?;
        let parts = Parts::new(columns);
        let mut report = ReadReport::default();
        let records =
            Records::open(name.clone(), input, format, &parts.wanted, options, &mut report)?;
        Ok(ExampleReader {
            inputs: VecDeque::new(),
            current: Some((name, records)),
            parts,
            options: options.clone(),
            report,
        })
    }

    /// What was read and what was left out so far.
    pub fn report(&self) -> &ReadReport {
        &self.report
    }

    fn open_next(&mut self) -> Result<bool, TrainingError> {
        let Some(input) = self.inputs.pop_front() else { return Ok(false) };
        let format = self.options.format_of(&input)?;
        let name = input.name();
        let (options, report) = (&self.options, &mut self.report);
        let opened = input.open()?;
        let records =
            Records::open(name.clone(), opened, format, &self.parts.wanted, options, report)?;
        self.current = Some((name, records));
        Ok(true)
    }

    fn next_example(&mut self) -> Result<Option<Example>, TrainingError> {
        loop {
            if let Some((name, records)) = &mut self.current {
                if let Some(line) = records.next(&mut self.report)? {
                    let place = Place { file: name.clone(), line };
                    let example = assemble(records, &self.parts, place)?;
                    self.report.rows += 1;
                    let pair = example.pair.as_deref().unwrap_or_default();
                    if example.text.contains('\0') || pair.contains('\0') {
                        self.report.rows_with_nul.add(example.place.clone());
                    }
                    return Ok(Some(example));
                }
                self.current = None;
            }
            if !self.open_next()? {
                return Ok(None);
            }
        }
    }
}

impl Iterator for ExampleReader {
    type Item = Result<Example, TrainingError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_example();
        if next.is_err() {
            self.current = None;
            self.inputs.clear();
        }
        next.transpose()
    }
}

fn assemble(records: &mut Records, parts: &Parts, place: Place) -> Result<Example, TrainingError> {
    let mut text_of = |column: usize| match records.take(column) {
        ColumnValue::One(text) => Ok(Some(text)),
        ColumnValue::Missing if parts.wanted[column].optional => Ok(None),
        ColumnValue::Missing => Err(TrainingError::MissingValue {
            place: place.clone(),
            column: parts.wanted[column].name.clone(),
            available: match records {
                Records::JsonLines(lines) => lines.first_keys(),
                Records::Table(_) => Default::default(),
            },
        }),
        ColumnValue::List(_) | ColumnValue::Nested => Err(nested(&place, &parts.wanted[column])),
    };
    let mut text = text_of(TEXT)?.unwrap_or_default();
    if let Some(column) = parts.text_prefix {
        let prefix = text_of(column)?.unwrap_or_default();
        text = format!("{prefix}: {text}");
    }
    let pair = parts.pair.map(&mut text_of).transpose()?.flatten();
    let index = parts.index.map(&mut text_of).transpose()?.flatten();
    let label = match parts.label {
        None => None,
        Some(column) => match records.take(column) {
            ColumnValue::Missing => None,
            ColumnValue::One(label) => LabelValue::one(&label),
            ColumnValue::List(labels) => Some(LabelValue::Several(
                labels.iter().map(|label| label.trim().to_string()).collect(),
            )),
            ColumnValue::Nested => return Err(nested(&place, &parts.wanted[column])),
        },
    };
    Ok(Example { text, pair, label, index, place })
}

fn nested(place: &Place, column: &Column) -> TrainingError {
    TrainingError::NestedValue { place: place.clone(), column: column.name.clone() }
}

/// Reads everything: for training and evaluation, which need all rows at hand.
///
/// # Errors
/// The first thing that is wrong with any input.
pub fn read_examples(
    inputs: &[Input],
    columns: &Columns,
    options: &ReadOptions,
) -> Result<(Vec<Example>, ReadReport), TrainingError> {
    let mut reader = ExampleReader::open(inputs, columns, options)?;
    let examples = reader.by_ref().collect::<Result<_, _>>()?;
    Ok((examples, reader.report))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_reader_pulls_no_more_than_it_hands_on() {
        /// A file without end that counts what was asked of it.
        struct Endless(Arc<AtomicUsize>);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let at = self.0.fetch_add(buffer.len(), Ordering::Relaxed);
                let line = b"0123456,abcdefg\n";
                for (position, byte) in (at..).zip(buffer.iter_mut()) {
                    *byte = line[position % line.len()];
                }
                Ok(buffer.len())
            }
        }
        let pulled = Arc::new(AtomicUsize::new(0));
        let source = Box::new(Endless(pulled.clone()));
        let columns = Columns::text("1");
        let options = ReadOptions { header: false, ..ReadOptions::default() };
        let format = RowFormat::Csv;
        let mut reader =
            ExampleReader::from_reader("endless", source, format, &columns, &options).unwrap();
        for handed_on in [1_usize, 100, 100_000, 1_000_000] {
            while reader.report().rows < handed_on as u64 {
                assert_eq!(reader.next().unwrap().unwrap().text.len(), 7);
            }
            // One buffer of 64 KiB ahead at most, however many rows have gone through.
            let ahead = pulled.load(Ordering::Relaxed) - handed_on * 16;
            assert!(ahead <= 64 * 1024, "{ahead} bytes ahead after {handed_on} rows");
        }
    }
}
