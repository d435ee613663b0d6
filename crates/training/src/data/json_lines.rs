//! JSON lines: one object a line, its keys the columns.
//!
//! An object is never built as a tree. A visitor keeps the wanted columns and skips the rest without
//! recursion, so that deep nesting in a column nobody asked for costs nothing; in one that was asked
//! for it is an error anyway, and the parser's own limit keeps it off the stack.

use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::columns::Column;
use super::report::ReadReport;
use super::text_stream::TextStream;
use crate::TrainingError;
use crate::error::NameList;
use adaptkit_encoder::foreign_text::said;

/// How many keys of the first object are kept for the message about a missing column.
const KEYS_KEPT: usize = 100;

/// The value of a column in one row; a table has only the first two kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ColumnValue {
    /// Absent or null.
    Missing,
    /// A string, a number or a truth value, the latter two as JSON writes them.
    One(String),
    /// A list of such.
    List(Vec<String>),
    /// Anything deeper.
    Nested,
}

impl<'de> Deserialize<'de> for ColumnValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ColumnValue, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = ColumnValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<ColumnValue, E> {
        Ok(ColumnValue::Missing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<ColumnValue, E> {
        Ok(ColumnValue::One(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<ColumnValue, E> {
        Ok(ColumnValue::One(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<ColumnValue, E> {
        Ok(ColumnValue::One(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<ColumnValue, E> {
        Ok(ColumnValue::One(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<ColumnValue, E> {
        Ok(ColumnValue::One(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<ColumnValue, E> {
        Ok(ColumnValue::One(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ColumnValue, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(ColumnValue::Nested)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<ColumnValue, A::Error> {
        let mut list = Vec::new();
        let mut nested = false;
        while let Some(element) = elements.next_element::<ColumnValue>()? {
            match element {
                ColumnValue::One(value) => list.push(value),
                _ => nested = true,
            }
        }
        Ok(if nested { ColumnValue::Nested } else { ColumnValue::List(list) })
    }
}

/// Fills `values`, one for each of `wanted`, from one object.
struct ObjectVisitor<'a> {
    wanted: &'a [Column],
    values: &'a mut [ColumnValue],
    seen: &'a mut [bool],
    /// The object's keys, where the caller wants them.
    keys: Option<&'a mut Vec<String>>,
}

/// A wanted key that one object holds twice.
const TWICE: &str = "the key is given twice: ";

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object such as {\"text\": \"…\", \"label\": \"…\"}")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        let mut given = vec![false; self.wanted.len()];
        while let Some(key) = entries.next_key::<String>()? {
            let mut wanted = (0..self.wanted.len()).filter(|&at| self.wanted[at].name == key);
            match wanted.next() {
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
                Some(first) => {
                    if given[first] {
                        return Err(A::Error::custom(format_args!("{TWICE}{key}")));
                    }
                    let value: ColumnValue = entries.next_value()?;
                    for other in wanted {
                        self.values[other] = value.clone();
                        self.seen[other] = true;
                    }
                    self.values[first] = value;
                    self.seen[first] = true;
                    given[first] = true;
                }
            }
            if let Some(keys) = self.keys.as_mut().filter(|keys| keys.len() < KEYS_KEPT) {
                keys.push(key);
            }
        }
        Ok(())
    }
}

/// The records of one JSON-lines file.
pub(crate) struct JsonLines {
    stream: TextStream,
    line: String,
    wanted: Vec<Column>,
    values: Vec<ColumnValue>,
    /// Which of the wanted columns any line has had.
    seen: Vec<bool>,
    first_keys: Vec<String>,
    rows: u64,
}

impl JsonLines {
    pub(crate) fn new(stream: TextStream, wanted: &[Column]) -> JsonLines {
        JsonLines {
            stream,
            line: String::new(),
            wanted: wanted.to_vec(),
            values: vec![ColumnValue::Missing; wanted.len()],
            seen: vec![false; wanted.len()],
            first_keys: Vec::new(),
            rows: 0,
        }
    }

    /// Moves to the next row. Its line, or `None` at the end.
    pub(crate) fn next(&mut self, report: &mut ReadReport) -> Result<Option<u64>, TrainingError> {
        loop {
            let line = self.stream.line;
            if !self.stream.next_line(&mut self.line)? {
                self.check_at_end()?;
                return Ok(None);
            }
            if !self.line.bytes().all(|byte| byte.is_ascii_whitespace()) {
                self.parse(line)?;
                self.rows += 1;
                return Ok(Some(line));
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

    /// The columns of the first line, for messages.
    pub(crate) fn first_keys(&self) -> NameList {
        NameList(self.first_keys.clone())
    }

    fn parse(&mut self, line: u64) -> Result<(), TrainingError> {
        self.values.fill(ColumnValue::Missing);
        let mut parser = serde_json::Deserializer::from_str(&self.line);
        let visitor = ObjectVisitor {
            wanted: &self.wanted,
            values: &mut self.values,
            seen: &mut self.seen,
            keys: if self.rows == 0 { Some(&mut self.first_keys) } else { None },
        };
        parser.deserialize_map(visitor).and_then(|()| parser.end()).map_err(|error| {
            // The parser's own place is always "line 1"; ours is better.
            let whole = error.to_string();
            let reason = whole.rfind(" at line ").map_or(&*whole, |length| &whole[..length]);
            let place = self.stream.place(line);
            match reason.strip_prefix(TWICE) {
                Some(key) => TrainingError::AmbiguousColumn { place, column: key.to_string() },
                None => {
                    TrainingError::BadJson { place, reason: said(reason), column: error.column() }
                }
            }
        })
    }

    fn check_at_end(&self) -> Result<(), TrainingError> {
        let file = self.stream.name.clone();
        if self.rows == 0 {
            return Err(TrainingError::EmptyFile { file });
        }
        let never =
            self.wanted.iter().zip(&self.seen).find(|(column, seen)| !column.optional && !**seen);
        match never {
            Some((column, _)) => Err(TrainingError::MissingColumn {
                file,
                column: column.name.clone(),
                available: self.first_keys(),
            }),
            None => Ok(()),
        }
    }
}
