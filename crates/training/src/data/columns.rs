//! Which columns of a file make an example.
//!
//! A file with a header line (and every JSON line) is asked by name and only by name; a file without
//! one is asked by position, from 1, and only by position. Mixing the two would let a forgotten
//! "no header" flag turn the first row into names without anybody noticing.
//!
//! A text may be joined of several columns, `title,body`. A column that has this very name outranks
//! them: no file loses a column because of a comma in its name.

use super::delimited::Fields;
use crate::TrainingError;
use crate::error::{NameList, Place};

/// What stands between columns that are joined, in the name that asks for them: `title,body`.
const BETWEEN_NAMES: char = ',';

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
    /// The text; always required. `title,body` is the column of this name, or else the columns
    /// `title` and `body` joined.
    pub text: String,
    /// What stands between the texts of columns that are joined. A column that is empty in a row
    /// leaves no separator behind.
    pub text_separator: String,
    /// A column whose value and `: ` are put before the text, as WiC needs its word.
    pub text_prefix: Option<String>,
    /// The second text of a pair; columns may be joined as for the text.
    pub pair: Option<Column>,
    /// The label.
    pub label: Option<Column>,
    /// In place of the label's, one column for each label, which says whether it applies.
    pub labels: Vec<Column>,
    /// The row's own number or name, kept for the benchmark's server.
    pub index: Option<Column>,
    /// Columns whose values stay with the example; each must be there.
    pub kept: Vec<String>,
}

impl Columns {
    /// Only a text.
    pub fn text(name: impl Into<String>) -> Columns {
        Columns {
            text: name.into(),
            text_separator: " ".to_string(),
            text_prefix: None,
            pair: None,
            label: None,
            labels: Vec::new(),
            index: None,
            kept: Vec::new(),
        }
    }

    /// With a second text.
    pub fn with_pair(self, column: Column) -> Columns {
        Columns { pair: Some(column), ..self }
    }

    /// With a label.
    pub fn with_label(self, column: Column) -> Columns {
        Columns { label: Some(column), labels: Vec::new(), ..self }
    }

    /// With one column for each label.
    pub fn with_labels(self, columns: Vec<Column>) -> Columns {
        Columns { label: None, labels: columns, ..self }
    }
}

/// The columns that a reading looks for, by their numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct WantedColumns {
    pub(crate) columns: Vec<Column>,
    /// Those whose values are kept as they are written.
    pub(crate) kept: Vec<usize>,
    /// Texts that may be joined of several columns.
    joined: Vec<JoinedText>,
}

/// A text that is one column or, where there is none of its name, several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinedText {
    pub(crate) whole: usize,
    pub(crate) parts: Vec<usize>,
    pub(crate) optional: bool,
}

impl WantedColumns {
    /// Adds a column and returns its number.
    pub(crate) fn want(&mut self, column: Column) -> usize {
        self.columns.push(column);
        self.columns.len() - 1
    }

    /// Adds a column whose values are kept, which may be wanted for something else too.
    pub(crate) fn keep(&mut self, name: &str) {
        let known = self.columns.iter().position(|column| column.name == name && !column.optional);
        let number = known.unwrap_or_else(|| self.want(Column::required(name)));
        self.kept.push(number);
    }

    /// Adds a text, of one column or of several joined.
    pub(crate) fn want_text(&mut self, column: Column) -> JoinedText {
        let Column { name, optional } = column;
        let parts: Vec<String> = match name.contains(BETWEEN_NAMES) {
            true => name.split(BETWEEN_NAMES).map(|part| part.trim().to_string()).collect(),
            false => Vec::new(),
        };
        let whole = self.want(Column { name, optional: optional || !parts.is_empty() });
        let parts = parts.into_iter().map(|part| self.want(Column::optional(part))).collect();
        let text = JoinedText { whole, parts, optional };
        if !text.parts.is_empty() {
            self.joined.push(text.clone());
        }
        text
    }

    /// The name of a column that must be there and is not.
    pub(crate) fn missing(&self, found: impl Fn(usize) -> bool) -> Option<&str> {
        let name = |column: usize| &*self.columns[column].name;
        let required = (0..self.columns.len())
            .find(|&column| !self.columns[column].optional && !found(column))
            .map(name);
        let part = self.joined.iter().filter(|text| !text.optional && !found(text.whole));
        let mut part = part.flat_map(|text| &text.parts).copied().filter(|&part| !found(part));
        required.or_else(|| part.next().map(name))
    }

    /// Whether the column stands for others to be joined.
    fn is_list(&self, column: usize) -> bool {
        self.joined.iter().any(|text| text.whole == column)
    }

    /// Checks that what must be there is.
    pub(crate) fn check(
        &self,
        positions: &[Option<usize>],
        place: &Place,
        available: impl FnOnce() -> NameList,
    ) -> Result<(), TrainingError> {
        match self.missing(|column| positions.get(column).copied().flatten().is_some()) {
            None => Ok(()),
            Some(column) => Err(TrainingError::MissingColumn {
                file: place.file.clone(),
                column: column.to_string(),
                available: available(),
            }),
        }
    }

    /// The positions of the columns among a header's names, `None` for those that are not there.
    pub(crate) fn positions_by_name(
        &self,
        header: &Fields,
        place: &Place,
    ) -> Result<Vec<Option<usize>>, TrainingError> {
        let position_of = |column: &Column| {
            let mut matching = header.iter().enumerate().filter(|(_, name)| *name == column.name);
            let first = matching.next().map(|(position, _)| position);
            match matching.next() {
                None => Ok(first),
                Some(_) => Err(TrainingError::AmbiguousColumn {
                    place: place.clone(),
                    column: column.name.clone(),
                }),
            }
        };
        self.columns.iter().map(position_of).collect()
    }

    /// The positions of the columns in a file of `width` columns without a header line, `None` for
    /// those beyond its last.
    pub(crate) fn positions_by_number(
        &self,
        width: usize,
        place: &Place,
    ) -> Result<Vec<Option<usize>>, TrainingError> {
        let position_of = |(number, column): (usize, &Column)| match column.name.parse::<usize>() {
            Ok(position @ 1..) => Ok((position <= width).then(|| position - 1)),
            _ if self.is_list(number) => Ok(None),
            _ => Err(TrainingError::ColumnByPosition {
                file: place.file.clone(),
                column: column.name.clone(),
                columns: width,
            }),
        };
        self.columns.iter().enumerate().map(position_of).collect()
    }
}
