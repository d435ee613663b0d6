//! JSON files: one object a line, or a list of objects.
//!
//! Which of the two a file is shows in its first character. A list's objects may stretch over lines,
//! and lines may hold several of them; each is cut out of the text and parsed by itself.

use serde::Deserializer;

use super::columns::WantedColumns;
use super::json_list::{ElementPlace, ListCutter};
use super::json_value::{ColumnValue, Found, ObjectVisitor, TWICE};
use super::kept::KeptValue;
use super::report::ReadReport;
use super::text_stream::TextStream;
use crate::TrainingError;
use crate::error::NameList;
use adaptkit_encoder::foreign_text::said;

/// The records of one JSON file.
pub(crate) struct JsonLines {
    stream: TextStream,
    /// `None` for an object a line.
    list: Option<ListCutter>,
    /// The current line, or the current element of a list.
    object: String,
    wanted: WantedColumns,
    values: Vec<ColumnValue>,
    /// For each wanted column, how many keys lead to its value.
    keys: Vec<usize>,
    /// Which of the wanted columns any object has had.
    seen: Vec<bool>,
    first_keys: Vec<String>,
    rows: u64,
}

impl JsonLines {
    /// # Errors
    /// What is wrong with the beginning of the file.
    pub(crate) fn open(
        mut stream: TextStream,
        wanted: &WantedColumns,
    ) -> Result<JsonLines, TrainingError> {
        let columns = wanted.columns.len();
        let list = begins_list(&mut stream)?.then(ListCutter::new);
        Ok(JsonLines {
            stream,
            list,
            object: String::new(),
            wanted: wanted.clone(),
            values: vec![ColumnValue::Missing; columns],
            keys: vec![0; columns],
            seen: vec![false; columns],
            first_keys: Vec::new(),
            rows: 0,
        })
    }

    /// Moves to the next row. Its line, or `None` at the end.
    pub(crate) fn next(&mut self, report: &mut ReadReport) -> Result<Option<u64>, TrainingError> {
        let Some(place) = self.next_object(report)? else {
            self.check_at_end()?;
            return Ok(None);
        };
        self.parse(&place)?;
        self.rows += 1;
        Ok(Some(place.line))
    }

    fn next_object(
        &mut self,
        report: &mut ReadReport,
    ) -> Result<Option<ElementPlace>, TrainingError> {
        if let Some(list) = &mut self.list {
            return list.next(&mut self.stream, &mut self.object);
        }
        loop {
            let line = self.stream.line;
            if !self.stream.next_line(&mut self.object)? {
                return Ok(None);
            }
            // The mark of the second file of two that were put together.
            if self.object.starts_with('\u{feff}') {
                self.object.drain(..'\u{feff}'.len_utf8());
            }
            if !self.object.bytes().all(|byte| byte.is_ascii_whitespace()) {
                return Ok(Some(ElementPlace { line, column: 0 }));
            }
            report.blank_lines.add(self.stream.place(line));
        }
    }

    /// Takes the current row's value of the wanted column with this number.
    pub(crate) fn take_value(&mut self, wanted: usize) -> ColumnValue {
        self.values
            .get_mut(wanted)
            .map_or(ColumnValue::Missing, |value| std::mem::replace(value, ColumnValue::Missing))
    }

    /// The current row's value of a wanted column as it is written.
    pub(crate) fn written(&self, wanted: usize) -> Option<KeptValue> {
        KeptValue::in_object(&self.object, &self.wanted.columns.get(wanted)?.name)
    }

    /// The columns of the first object, for messages.
    pub(crate) fn first_keys(&self) -> NameList {
        NameList(self.first_keys.clone())
    }

    /// Whether the next row can be had without waiting for the input.
    pub(crate) fn is_ready(&mut self) -> bool {
        let list = self.list;
        self.stream.is_ready(|text| match list {
            Some(list) => list.has_element(text),
            None => {
                let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace());
                text.contains(['\n', '\r'])
            }
        })
    }

    fn parse(&mut self, begins: &ElementPlace) -> Result<(), TrainingError> {
        self.values.fill(ColumnValue::Missing);
        self.keys.fill(0);
        let mut parser = serde_json::Deserializer::from_str(&self.object);
        let mut found = Found {
            wanted: &self.wanted.columns,
            values: &mut self.values,
            keys: &mut self.keys,
            names: if self.rows == 0 { Some(&mut self.first_keys) } else { None },
        };
        let parsed = parser.deserialize_map(ObjectVisitor(&mut found)).and_then(|()| parser.end());
        for (seen, keys) in self.seen.iter_mut().zip(&self.keys) {
            *seen |= *keys > 0;
        }
        parsed.map_err(|error| {
            // The parser counts lines and columns from the object's first character.
            let whole = error.to_string();
            let reason = whole.rfind(" at line ").map_or(&*whole, |length| &whole[..length]);
            let on_first_line = error.line() <= 1;
            let place = self.stream.place(begins.line + error.line().saturating_sub(1) as u64);
            if let Some(column) = reason.strip_prefix(TWICE) {
                return TrainingError::AmbiguousColumn { place, column: column.to_string() };
            }
            TrainingError::BadJson {
                place,
                reason: said(reason),
                column: error.column() + if on_first_line { begins.column } else { 0 },
                on_one_line: self.list.is_none(),
            }
        })
    }

    fn check_at_end(&self) -> Result<(), TrainingError> {
        let file = self.stream.name.clone();
        if self.rows == 0 {
            return Err(TrainingError::EmptyFile { file });
        }
        match self.wanted.missing(|column| self.seen[column]) {
            Some(column) => Err(TrainingError::MissingColumn {
                file,
                column: column.to_string(),
                available: self.first_keys(),
            }),
            None => Ok(()),
        }
    }
}

/// Whether the text's first character opens a list; what was read to tell is read again.
fn begins_list(stream: &mut TextStream) -> Result<bool, TrainingError> {
    stream.remember();
    let mut skipped = 0;
    let found = loop {
        let piece = stream.piece()?;
        let space = piece.bytes().take_while(u8::is_ascii_whitespace).count();
        if space < piece.len() || piece.is_empty() {
            break piece[space..].starts_with('[');
        }
        let length = piece.len();
        stream.consume(length);
        skipped += length;
        if skipped > stream.record_limit {
            return Err(stream.record_too_long(1));
        }
    };
    stream.rewind(1);
    stream.forget();
    Ok(found)
}
