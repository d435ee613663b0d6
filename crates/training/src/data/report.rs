//! What a reading took and what it left out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::dialect::{Dialect, Quoting};
use crate::error::{Place, quoted};

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
    /// Rows that repeat the header line, as in two files put together with `cat`; left out.
    pub repeated_headers: Tally,
    /// Rows without a label, dropped where labels are needed.
    pub unlabelled_rows: Tally,
    /// Of these, the rows whose label is spelt as programs write missing values, by the spelling.
    pub missing_values: BTreeMap<String, u64>,
    /// Rows with a label that was asked to be left out.
    pub unwanted_rows: Tally,
    /// Rows whose labels were read as one place for each label of the head, in the labels' order.
    pub rows_of_places: Tally,
    /// Rows whose text holds a NUL character. They are kept: a NUL is a character, though most often
    /// the sign of UTF-16 or of a binary file.
    pub rows_with_nul: Tally,
    /// What a folder of labels holds beside them: hidden files, folders inside those of the labels,
    /// files that are no text; passed over.
    pub passed_over: Tally,
    /// What to know of how files were read; each is there once, for the first file it is true of.
    pub notes: Vec<ReadingNote>,
}

/// How a file was read, where its name and the options do not say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadingNote {
    /// Its columns were not found as its format has them, but with another delimiter or in quotes.
    OtherDialect {
        /// The input as its user named it.
        file: Arc<str>,
        /// How it was read.
        dialect: Dialect,
    },
    /// Quotes inside its fields are not doubled but stand behind a backslash.
    Backslashes {
        /// The first such row.
        place: Place,
    },
    /// Quotes were read as text in a table whose fields look quoted.
    LooksQuoted {
        /// The first such row.
        place: Place,
        /// How many rows have such fields.
        rows: u64,
    },
    /// Its lines carry fastText's labels, and so it was read in that format.
    FastText {
        /// The input as its user named it.
        file: Arc<str>,
    },
    /// Its files or folders, one for each label, name the labels.
    LabelFiles {
        /// The folder as its user named it.
        file: Arc<str>,
        /// How many labels there are.
        labels: usize,
        /// Whether each label has a folder, or a file.
        folders: bool,
    },
}

impl fmt::Display for ReadingNote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadingNote::OtherDialect { file, dialect: Dialect { delimiter, quoting } } => {
                let quotes = match quoting {
                    Quoting::None => "",
                    _ => " and with fields in quotes",
                };
                write!(
                    formatter,
                    "{file} is read with the delimiter {delimiter}{quotes}, since its columns are \
                     found only so"
                )
            }
            ReadingNote::Backslashes { place } => write!(
                formatter,
                "{place}: quotes inside fields stand behind a backslash, and are read so from here \
                 on"
            ),
            ReadingNote::LooksQuoted { place, rows } => write!(
                formatter,
                "{rows} rows have fields in quotes (first: {place}), and the quotes were read as \
                 part of the text"
            ),
            ReadingNote::FastText { file } => write!(
                formatter,
                "{file} is read in fastText's format, since its first line has a label that begins \
                 with __label__"
            ),
            ReadingNote::LabelFiles { file, labels, folders } => write!(
                formatter,
                "{file} has a {} for each of {labels} labels, named after it",
                if *folders { "folder" } else { "file" }
            ),
        }
    }
}

impl ReadReport {
    /// Whether there is nothing to tell beside the number of rows.
    pub fn is_clean(&self) -> bool {
        self.tallies().iter().all(|(tally, _)| tally.count == 0)
    }

    /// Rows that were not handed on.
    pub fn rows_left_out(&self) -> u64 {
        self.ragged_rows.count
            + self.repeated_headers.count
            + self.unlabelled_rows.count
            + self.unwanted_rows.count
    }

    /// Adds a note, unless the same was said of another file.
    pub(crate) fn note(&mut self, note: ReadingNote) {
        let same = |other: &ReadingNote| match (other, &note) {
            (
                ReadingNote::OtherDialect { dialect: one, .. },
                ReadingNote::OtherDialect { dialect: other, .. },
            ) => one == other,
            (ReadingNote::LabelFiles { .. }, _) => false,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        };
        if !self.notes.iter().any(same) {
            self.notes.push(note);
        }
    }

    fn tallies(&self) -> [(&Tally, &'static str); 8] {
        [
            (&self.blank_lines, "blank lines skipped"),
            (&self.ragged_rows, "rows with too few or too many columns dropped"),
            (&self.repeated_headers, "rows that repeat the header line left out"),
            (&self.unlabelled_rows, "rows without a label dropped"),
            (&self.unwanted_rows, "rows with a label to leave out dropped"),
            (&self.rows_of_places, "rows of zeros and ones read as one place for each label"),
            (&self.rows_with_nul, "rows with a NUL character kept"),
            (&self.passed_over, "hidden or other files and folders passed over"),
        ]
    }
}

impl fmt::Display for ReadReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} rows read", self.rows)?;
        for (tally, what) in self.tallies() {
            if let Some(place) = &tally.first {
                write!(formatter, "; {} {what} (first: {place})", tally.count)?;
            }
        }
        for (at, (spelling, rows)) in self.missing_values.iter().enumerate() {
            let before = if at == 0 { "; read as no label: " } else { ", " };
            write!(formatter, "{before}{} in {rows} rows", quoted(spelling))?;
        }
        Ok(())
    }
}
