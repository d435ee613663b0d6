//! Lines in fastText's format: a text with its labels among its words, as `__label__spam Call now`.

use super::columns::WantedColumns;
use super::delimited::Fields;
use super::json_value::ColumnValue;
use super::report::ReadReport;
use super::text_stream::TextStream;
use crate::TrainingError;

/// What begins a word that is a label.
const PREFIX: &str = "__label__";

/// The columns of a line.
const COLUMNS: [&str; 2] = ["text", "label"];

/// The label that a word is.
fn label(word: &str) -> Option<&str> {
    word.strip_prefix(PREFIX).filter(|label| !label.is_empty())
}

/// Whether the first line that is not blank begins or ends with a label. It is read again.
pub(super) fn begins(stream: &mut TextStream) -> Result<bool, TrainingError> {
    stream.remember();
    let mut line = String::new();
    let mut skipped = 0;
    while line.trim().is_empty() && skipped <= stream.record_limit && stream.next_line(&mut line)? {
        skipped += line.len() + 1;
    }
    stream.rewind(1);
    stream.forget();
    let mut words = line.split_whitespace();
    let ends = [words.next(), words.next_back()];
    Ok(ends.into_iter().flatten().any(|word| label(word).is_some()))
}

/// The records of one file in fastText's format.
pub(crate) struct FastText {
    stream: TextStream,
    line: String,
    text: Option<usize>,
    label: Option<usize>,
    rows: u64,
}

impl FastText {
    pub(crate) fn open(
        stream: TextStream,
        wanted: &WantedColumns,
    ) -> Result<FastText, TrainingError> {
        let header = Fields::several(&COLUMNS);
        let place = stream.place(1);
        let positions = wanted.positions_by_name(&header, &place)?;
        wanted.check(&positions, &place, || header.iter().collect())?;
        let at = |position| positions.iter().position(|found| *found == Some(position));
        let (text, label) = (at(0), at(1));
        Ok(FastText { stream, line: String::new(), text, label, rows: 0 })
    }

    /// Moves to the next row. Its line, or `None` at the end.
    pub(crate) fn next(&mut self, report: &mut ReadReport) -> Result<Option<u64>, TrainingError> {
        loop {
            let line = self.stream.line;
            if !self.stream.next_line(&mut self.line)? {
                return match self.rows {
                    0 => Err(TrainingError::EmptyFile { file: self.stream.name.clone() }),
                    _ => Ok(None),
                };
            }
            if !self.line.trim().is_empty() {
                self.rows += 1;
                return Ok(Some(line));
            }
            report.blank_lines.add(self.stream.place(line));
        }
    }

    /// The current row's value of the wanted column with this number: the labels, or the words that
    /// are none with the space between them as it stands.
    pub(crate) fn value(&self, wanted: usize) -> ColumnValue {
        let words = self.line.split_inclusive(char::is_whitespace);
        if Some(wanted) == self.label {
            let labels = words.filter_map(|word| label(word.trim_end()));
            let mut labels: Vec<String> = labels.map(str::to_string).collect();
            return match labels.len() {
                0 => ColumnValue::Missing,
                1 => ColumnValue::One(labels.remove(0)),
                _ => ColumnValue::List(labels),
            };
        }
        if Some(wanted) != self.text {
            return ColumnValue::Missing;
        }
        let text: String = words.filter(|word| label(word.trim_end()).is_none()).collect();
        ColumnValue::One(text.trim().to_string())
    }

    /// Whether the next row can be had without waiting for the input.
    pub(crate) fn is_ready(&mut self) -> bool {
        self.stream
            .is_ready(|text| text.trim_start_matches(char::is_whitespace).contains(['\n', '\r']))
    }
}
