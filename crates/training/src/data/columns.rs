//! Which columns of a file make an example.
//!
//! A file with a header line (and every JSON line) is asked by name and only by name; a file without
//! one is asked by position, from 1, and only by position. Mixing the two would let a forgotten
//! "no header" flag turn the first row into names without anybody noticing.

use super::delimited::Fields;
use crate::TrainingError;
use crate::error::{NameList, Place};

/// A column that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, or its position from 1 in a file without a header line.
    pub name: String,
    /// Whether a file, or a JSON line, may lack it: the labels of a test file, the second text of
    /// input for prediction.
    pub optional: bool,
}

impl Column {
    /// A column that must be there.
    pub fn required(name: impl Into<String>) -> Column {
        Column { name: name.into(), optional: false }
    }

    /// A column that may be absent.
    pub fn optional(name: impl Into<String>) -> Column {
        Column { name: name.into(), optional: true }
    }
}

/// The columns that make an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The text; always required.
    pub text: String,
    /// A column whose value and `: ` are put before the text, as WiC needs its word.
    pub text_prefix: Option<String>,
    /// The second text of a pair.
    pub pair: Option<Column>,
    /// The label.
    pub label: Option<Column>,
    /// The row's own number or name, kept for the benchmark's server.
    pub index: Option<Column>,
}

impl Columns {
    /// Only a text.
    pub fn text(name: impl Into<String>) -> Columns {
        Columns { text: name.into(), text_prefix: None, pair: None, label: None, index: None }
    }

    /// With a second text.
    pub fn with_pair(self, column: Column) -> Columns {
        Columns { pair: Some(column), ..self }
    }

    /// With a label.
    pub fn with_label(self, column: Column) -> Columns {
        Columns { label: Some(column), ..self }
    }
}

/// The positions of `wanted` among a header's names, `None` for an optional one that is not there.
pub(crate) fn positions_by_name(
    header: &Fields,
    wanted: &[Column],
    place: Place,
) -> Result<Vec<Option<usize>>, TrainingError> {
    let position_of = |column: &Column| {
        let mut matching = header.iter().enumerate().filter(|(_, name)| *name == column.name);
        let first = matching.next().map(|(position, _)| position);
        if matching.next().is_some() {
            let (place, column) = (place.clone(), column.name.clone());
            return Err(TrainingError::AmbiguousColumn { place, column });
        }
        match first {
            None if !column.optional => Err(TrainingError::MissingColumn {
                file: place.file.clone(),
                column: column.name.clone(),
                available: header.iter().collect(),
            }),
            found => Ok(found),
        }
    };
    wanted.iter().map(position_of).collect()
}

/// The positions of `wanted` in a file of `width` columns without a header line.
pub(crate) fn positions_by_number(
    width: usize,
    wanted: &[Column],
    place: Place,
) -> Result<Vec<Option<usize>>, TrainingError> {
    let position_of = |column: &Column| match column.name.parse::<usize>() {
        Ok(number) if (1..=width).contains(&number) => Ok(Some(number - 1)),
        Ok(number) if number > width && column.optional => Ok(None),
        Ok(number) if number > width => Err(TrainingError::MissingColumn {
            file: place.file.clone(),
            column: column.name.clone(),
            available: (1..=width).map(|number| number.to_string()).collect::<NameList>(),
        }),
        _ => Err(TrainingError::ColumnByPosition {
            file: place.file.clone(),
            column: column.name.clone(),
            columns: width,
        }),
    };
    wanted.iter().map(position_of).collect()
}
