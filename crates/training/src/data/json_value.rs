//! Values of a JSON object's columns, which may lie deep inside it.
//!
//! An object is never built as a tree. One visitor goes through it, keeps the wanted columns and skips
//! the rest without recursion, so that deep nesting in a column nobody asked for costs nothing; in one
//! that was asked for it is an error anyway, and the parser's own limit keeps it off the stack.
//!
//! A column is asked for by a path: `data.text` is the key `text` of the object under `data`, and
//! `choices.0.text` goes through the first element of a list. A key may have dots itself; the path
//! that takes the longest keys, and so the fewest, is the one that counts.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::columns::Column;

/// How many keys of the first object are kept for the message about a missing column.
const KEYS_KEPT: usize = 100;

/// Between the keys of a path.
const BETWEEN_KEYS: char = '.';

/// A wanted column that one object holds twice.
pub(super) const TWICE: &str = "the key is given twice: ";

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

/// The wanted columns' values in one object.
pub(super) struct Found<'a> {
    pub(super) wanted: &'a [Column],
    pub(super) values: &'a mut [ColumnValue],
    /// How many keys the path to each value has, 0 where there is none.
    pub(super) keys: &'a mut [usize],
    /// The object's own keys, where the caller wants them.
    pub(super) names: Option<&'a mut Vec<String>>,
}

impl Found<'_> {
    fn put<E: Error>(&mut self, column: usize, value: &ColumnValue, keys: usize) -> Result<(), E> {
        let earlier = self.keys[column];
        if earlier == keys {
            return Err(E::custom(format_args!("{TWICE}{}", self.wanted[column].name)));
        }
        if earlier == 0 || keys < earlier {
            self.values[column] = value.clone();
            self.keys[column] = keys;
        }
        Ok(())
    }
}

/// Reads the object that a row is.
pub(super) struct ObjectVisitor<'a, 'b>(pub(super) &'a mut Found<'b>);

impl<'de> Visitor<'de> for ObjectVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object such as {\"text\": \"…\", \"label\": \"…\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<(), A::Error> {
        let paths = (0..self.0.wanted.len()).map(|column| Path { column, passed: 0 }).collect();
        Below { found: self.0, paths, keys: 0 }.visit_map(entries).map(drop)
    }
}

/// A wanted column and how many bytes of its path lead to the value that is being read.
#[derive(Clone, Copy)]
struct Path {
    column: usize,
    passed: usize,
}

/// Reads a value, and puts down what the paths that lead through it find in it.
struct Below<'a, 'b> {
    found: &'a mut Found<'b>,
    paths: Vec<Path>,
    /// How many keys lead here.
    keys: usize,
}

impl<'b> Below<'_, 'b> {
    /// The columns that the value under `key` is, and the paths that go on below it.
    fn under(&self, key: &str) -> (Vec<usize>, Vec<Path>) {
        let (mut here, mut deeper) = (Vec::new(), Vec::new());
        for &Path { column, passed } in &self.paths {
            match self.found.wanted[column].name[passed..].strip_prefix(key) {
                Some("") => here.push(column),
                Some(rest) if rest.starts_with(BETWEEN_KEYS) => {
                    let passed = passed + key.len() + BETWEEN_KEYS.len_utf8();
                    deeper.push(Path { column, passed });
                }
                _ => {}
            }
        }
        (here, deeper)
    }
}

impl<'de> DeserializeSeed<'de> for Below<'_, '_> {
    type Value = ColumnValue;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ColumnValue, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Below<'_, '_> {
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
        while let Some(key) = entries.next_key::<String>()? {
            let (here, deeper) = self.under(&key);
            if here.is_empty() && deeper.is_empty() {
                entries.next_value::<IgnoredAny>()?;
            } else {
                let keys = self.keys + 1;
                let below = Below { found: &mut *self.found, paths: deeper, keys };
                let value = entries.next_value_seed(below)?;
                for column in here {
                    self.found.put(column, &value, keys)?;
                }
            }
            if let Some(names) = &mut self.found.names
                && self.keys == 0
                && names.len() < KEYS_KEPT
            {
                names.push(key);
            }
        }
        Ok(ColumnValue::Nested)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<ColumnValue, A::Error> {
        let mut list = Vec::new();
        let (mut nested, mut number) = (false, 0_usize);
        loop {
            let (here, deeper) = match self.paths.is_empty() {
                true => (Vec::new(), Vec::new()),
                false => self.under(&number.to_string()),
            };
            let keys = self.keys + 1;
            let below = Below { found: &mut *self.found, paths: deeper, keys };
            let Some(element) = elements.next_element_seed(below)? else { break };
            for column in here {
                self.found.put(column, &element, keys)?;
            }
            match element {
                ColumnValue::One(value) => list.push(value),
                _ => nested = true,
            }
            number += 1;
        }
        Ok(if nested { ColumnValue::Nested } else { ColumnValue::List(list) })
    }
}
