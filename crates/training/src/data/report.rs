//! What a reading took and what it left out.

use std::fmt;

use crate::error::Place;

/// A count with the first place it was raised at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// Where first.
    pub first: Option<Place>,
}

impl Tally {
    pub(crate) fn add(&mut self, place: Place) {
        self.count += 1;
        self.first.get_or_insert(place);
    }
}

/// How many rows were read, and how many were not, and where. For people: its `Display`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadReport {
    /// Rows handed on, with those that were then dropped for their label or its absence taken off.
    pub rows: u64,
    /// Lines with nothing on them in TSV, CSV and JSON-lines files, skipped.
    pub blank_lines: Tally,
    /// Rows with too few or too many columns, dropped where the caller chose so.
    pub ragged_rows: Tally,
    /// Rows without a label, dropped where labels are needed.
    pub unlabelled_rows: Tally,
    /// Rows with a label that was asked to be left out.
    pub unwanted_rows: Tally,
    /// Rows whose text holds a NUL character. They are kept: a NUL is a character, though most often
    /// the sign of UTF-16 or of a binary file.
    pub rows_with_nul: Tally,
}

impl ReadReport {
    /// Whether there is anything beside the rows to tell.
    pub fn is_clean(&self) -> bool {
        self.notes().iter().all(|(tally, _)| tally.count == 0)
    }

    /// Rows that were not handed on.
    pub fn rows_left_out(&self) -> u64 {
        self.ragged_rows.count + self.unlabelled_rows.count + self.unwanted_rows.count
    }

    fn notes(&self) -> [(&Tally, &'static str); 5] {
        [
            (&self.blank_lines, "blank lines skipped"),
            (&self.ragged_rows, "rows with too few or too many columns dropped"),
            (&self.unlabelled_rows, "rows without a label dropped"),
            (&self.unwanted_rows, "rows with a label to leave out dropped"),
            (&self.rows_with_nul, "rows with a NUL character kept"),
        ]
    }
}

impl fmt::Display for ReadReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} rows read", self.rows)?;
        for (tally, what) in self.notes() {
            if let Some(place) = &tally.first {
                write!(formatter, "; {} {what} (first: {place})", tally.count)?;
            }
        }
        Ok(())
    }
}
