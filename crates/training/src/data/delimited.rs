//! Lines and tables: records whose columns are found by position.
//!
//! Lines, plain tables and quoted ones differ in how a record is cut into fields and in nothing else,
//! so one [`Table`] resolves columns, checks widths and skips blank lines for all of them.
//!
//! A table's columns may be there and yet not be found: a spreadsheet of much of Europe writes
//! semicolons into `.csv`, and some write quotes into `.tsv`. Where the header line does not hold the
//! columns that are asked for, the usual delimiters and quotes are tried on it. One that finds them is
//! taken and noted; what was found without that is never read otherwise.

use std::sync::Arc;

use super::columns::WantedColumns;
use super::dialect::{Delimiter, Dialect, Quoting};
use super::format::{RaggedRows, ReadOptions, RowFormat};
use super::quote_signs::{QuoteSigns, has_open_quote};
use super::quoted::QuotedCutter;
use super::report::{ReadReport, ReadingNote};
use super::text_stream::TextStream;
use crate::TrainingError;
use crate::error::{NameList, Place};

/// The most columns a record may have. It bounds the memory for a line of nothing but separators.
pub(super) const COLUMN_LIMIT: usize = 65_536;

/// The name of the one column of a file of plain lines.
const LINE_COLUMN: &str = "text";

/// Records on which backslashes before quotes may be tried in vain before that is given up.
const BACKSLASH_TRIALS: u32 = 8;

/// The fields of one record, end to end in one buffer that is used again for the next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields {
    pub(super) text: String,
    ends: Vec<usize>,
    /// Whether any field was quoted: `""` alone on a line is a record, an empty line is none.
    pub(super) quoted: bool,
    /// Whether text followed a field's closing quote, which no writer of tables does.
    pub(super) text_after_quote: bool,
    /// Whether a quote inside quotes stood behind a backslash.
    pub(super) backslash_before_quote: bool,
}

impl Fields {
    fn clear(&mut self) {
        let Fields { mut text, mut ends, .. } = std::mem::take(self);
        text.clear();
        ends.clear();
        *self = Fields { text, ends, ..Fields::default() };
    }

    /// A record of these fields.
    pub(super) fn several(values: &[&str]) -> Fields {
        let mut fields = Fields::default();
        for value in values {
            fields.text.push_str(value);
            fields.end_field();
        }
        fields
    }

    pub(super) fn end_field(&mut self) {
        self.ends.push(self.text.len());
    }

    fn is_blank(&self) -> bool {
        self.ends.len() == 1 && self.text.is_empty() && !self.quoted
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, position: usize) -> Option<&str> {
        let end = *self.ends.get(position)?;
        let start = if position == 0 { 0 } else { self.ends[position - 1] };
        Some(&self.text[start..end])
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|position| self.get(position))
    }

    /// The last field.
    pub(super) fn last_field(&self) -> &str {
        self.get(self.len().saturating_sub(1)).unwrap_or_default()
    }

    /// The field that was begun and has not ended.
    pub(super) fn begun_field(&self) -> &str {
        &self.text[self.ends.last().copied().unwrap_or(0)..]
    }

    /// Whether the record is the header line again. A byte-order mark before it is that of the second
    /// file of two that were put together.
    fn repeats(&self, header: &Fields) -> bool {
        let first = self.get(0).unwrap_or_default();
        self.len() == header.len()
            && Some(first.strip_prefix('\u{feff}').unwrap_or(first)) == header.get(0)
            && self.iter().skip(1).eq(header.iter().skip(1))
    }
}

/// Cuts records from a stream of text.
enum Cutter {
    Lines { line: String },
    Plain { line: String, delimiter: char },
    Quoted(QuotedCutter),
}

impl Cutter {
    fn of(dialect: Dialect) -> Cutter {
        match dialect.quoting {
            Quoting::None => {
                Cutter::Plain { line: String::new(), delimiter: dialect.delimiter.character() }
            }
            _ => Cutter::Quoted(QuotedCutter::new(dialect)),
        }
    }

    /// Reads the next record. The line it begins on, or `None` at the end.
    fn next(
        &mut self,
        stream: &mut TextStream,
        fields: &mut Fields,
    ) -> Result<Option<u64>, TrainingError> {
        fields.clear();
        let begins = stream.line;
        match self {
            Cutter::Lines { line } => {
                if !stream.next_line(line)? {
                    return Ok(None);
                }
                fields.text.push_str(line);
                fields.end_field();
                Ok(Some(begins))
            }
            Cutter::Plain { line, delimiter } => {
                if !stream.next_line(line)? {
                    return Ok(None);
                }
                for field in line.split(*delimiter).take(COLUMN_LIMIT + 1) {
                    fields.text.push_str(field);
                    fields.end_field();
                }
                check_width(fields, stream.place(begins))?;
                Ok(Some(begins))
            }
            Cutter::Quoted(cutter) => cutter.next(stream, fields),
        }
    }

    /// Whether `text` holds a whole record that is not a blank line.
    fn has_record(&self, text: &str) -> bool {
        match self {
            Cutter::Lines { .. } => text.contains(['\n', '\r']),
            Cutter::Plain { .. } => text.trim_start_matches(['\n', '\r']).contains(['\n', '\r']),
            Cutter::Quoted(cutter) => cutter.has_record(text),
        }
    }
}

pub(super) fn check_width(fields: &Fields, place: Place) -> Result<(), TrainingError> {
    if fields.len() > COLUMN_LIMIT {
        return Err(TrainingError::TooManyColumns { place, limit: COLUMN_LIMIT });
    }
    Ok(())
}

/// The records of one file of lines or of one table.
pub(crate) struct Table {
    stream: TextStream,
    cutter: Cutter,
    fields: Fields,
    /// Where each wanted column is; `None` where an optional one is not there.
    positions: Vec<Option<usize>>,
    width: usize,
    skips_blank_lines: bool,
    ragged_rows: RaggedRows,
    /// The header line, where a row can repeat it. A table of one column may hold its name as a text.
    header: Option<Fields>,
    /// The line of the first row, where it is in `fields` already: without a header line the first
    /// row tells the width.
    first_row: Option<u64>,
    /// The line that the table begins on.
    begins: u64,
    rows: u64,
    /// Signs of quotes, where quotes are text and nobody said that they are.
    signs: Option<QuoteSigns>,
    /// On how many more records backslashes before quotes are tried.
    backslash_trials: u32,
}

impl Table {
    pub(crate) fn open(
        stream: TextStream,
        format: RowFormat,
        wanted: &WantedColumns,
        options: &ReadOptions,
        report: &mut ReadReport,
    ) -> Result<Table, TrainingError> {
        let is_table = matches!(format, RowFormat::Tsv | RowFormat::Csv);
        let dialect = Dialect::of(format, options);
        let mut table = Table {
            stream,
            cutter: match is_table {
                true => Cutter::of(dialect),
                false => Cutter::Lines { line: String::new() },
            },
            fields: Fields::default(),
            positions: Vec::new(),
            width: 0,
            skips_blank_lines: is_table,
            ragged_rows: options.ragged_rows,
            header: None,
            first_row: None,
            begins: 1,
            rows: 0,
            signs: None,
            backslash_trials: 0,
        };
        if !is_table {
            table.width = 1;
            let (header, place) = (Fields::several(&[LINE_COLUMN]), table.stream.place(1));
            table.positions = wanted.positions_by_name(&header, &place)?;
            wanted.check(&table.positions, &place, || header.iter().collect())?;
            return Ok(table);
        }
        let dialect = table.begin(dialect, wanted, options, report)?;
        if options.quoting.is_none() {
            match dialect.quoting {
                Quoting::None => table.signs = Some(QuoteSigns::default()),
                _ => table.backslash_trials = BACKSLASH_TRIALS,
            }
        }
        Ok(table)
    }

    /// Reads the header line, or the first row where there is none, and finds the columns.
    fn begin(
        &mut self,
        dialect: Dialect,
        wanted: &WantedColumns,
        options: &ReadOptions,
        report: &mut ReadReport,
    ) -> Result<Dialect, TrainingError> {
        let mut blank_lines = report.blank_lines.clone();
        self.stream.remember();
        let mut place = self.read_columns(wanted, options, report)?;
        let mut dialect = dialect;
        if let Some(delimiter) = self.named_delimiter(dialect, options) {
            dialect = Dialect { delimiter, quoting: options.quoting.unwrap_or(Quoting::Doubled) };
            self.cutter = Cutter::of(dialect);
            self.first_row = None;
            self.begins = self.stream.line;
            blank_lines = report.blank_lines.clone();
            self.stream.remember();
            place = self.read_columns(wanted, options, report)?;
        }
        let missing = self.missing(wanted);
        let mut chosen = dialect;
        if missing && (options.header || self.width == 1) {
            let mut found: Vec<Dialect> = Vec::new();
            for other in dialect.alternatives(options) {
                self.begin_again(other);
                match self.read_columns(wanted, options, &mut ReadReport::default()) {
                    Ok(_) if !self.missing(wanted) => found.push(other),
                    Err(error) if error.is_of_input() => return Err(error),
                    _ => {}
                }
            }
            // Two delimiters that both find the columns leave it open.
            if let [first, rest @ ..] = &found[..]
                && rest.iter().all(|other| other.delimiter == first.delimiter)
            {
                chosen = *first;
                let file = self.stream.name.clone();
                report.note(ReadingNote::OtherDialect { file, dialect: chosen });
            }
            self.begin_again(chosen);
            report.blank_lines = blank_lines;
            self.read_columns(wanted, options, report)?;
        }
        self.stream.forget();
        wanted.check(&self.positions, &place, || match options.header {
            true => self.fields.iter().collect(),
            false => (1..=self.width).map(|number| number.to_string()).collect::<NameList>(),
        })?;
        if options.header && self.width > 1 {
            self.header = Some(self.fields.clone());
        }
        Ok(chosen)
    }

    fn begin_again(&mut self, dialect: Dialect) {
        self.stream.rewind(self.begins);
        self.cutter = Cutter::of(dialect);
    }

    /// The delimiter that a first line `sep=;` gives, which spreadsheets write for one another.
    fn named_delimiter(&self, dialect: Dialect, options: &ReadOptions) -> Option<Delimiter> {
        let line = self.fields.get(0)?.strip_prefix("sep=")?;
        match (line, self.fields.len()) {
            _ if options.delimiter.is_some() => None,
            ("", 2) if self.fields.last_field().is_empty() => Some(dialect.delimiter),
            (delimiter, 1) => delimiter.parse().ok(),
            _ => None,
        }
    }

    fn missing(&self, wanted: &WantedColumns) -> bool {
        wanted.missing(|column| self.positions[column].is_some()).is_some()
    }

    fn read_columns(
        &mut self,
        wanted: &WantedColumns,
        options: &ReadOptions,
        report: &mut ReadReport,
    ) -> Result<Place, TrainingError> {
        let Some(line) = self.next_record(report)? else {
            return Err(TrainingError::EmptyFile { file: self.stream.name.clone() });
        };
        let place = self.stream.place(line);
        self.width = self.fields.len();
        if options.header {
            self.positions = wanted.positions_by_name(&self.fields, &place)?;
        } else {
            self.positions = wanted.positions_by_number(self.width, &place)?;
            self.first_row = Some(line);
        }
        Ok(place)
    }

    /// Moves to the next row. The line it begins on, or `None` at the end.
    pub(crate) fn next(&mut self, report: &mut ReadReport) -> Result<Option<u64>, TrainingError> {
        loop {
            let line = match self.first_row.take() {
                Some(line) => Some(line),
                None => self.next_record(report)?,
            };
            let Some(line) = line else {
                if self.rows == 0 {
                    let file = self.stream.name.clone();
                    return Err(match self.skips_blank_lines {
                        true => TrainingError::HeaderOnly { file },
                        false => TrainingError::EmptyFile { file },
                    });
                }
                if let Some((rows, line)) = self.signs.as_ref().and_then(QuoteSigns::found) {
                    report.note(ReadingNote::LooksQuoted { place: self.stream.place(line), rows });
                }
                return Ok(None);
            };
            let (place, found) = (self.stream.place(line), self.fields.len());
            if self.header.as_ref().is_some_and(|header| self.fields.repeats(header)) {
                report.repeated_headers.add(place);
                continue;
            }
            self.rows += 1;
            if found == self.width {
                if let Some(signs) = &mut self.signs {
                    signs.see(&self.fields, line);
                }
                return Ok(Some(line));
            }
            match self.ragged_rows {
                RaggedRows::Drop => report.ragged_rows.add(place),
                RaggedRows::Refuse => {
                    let open_quote = self.signs.is_some() && has_open_quote(&self.fields);
                    let expected = self.width;
                    return Err(TrainingError::RaggedRow { place, expected, found, open_quote });
                }
            }
        }
    }

    /// The current row's value of the wanted column with this number.
    pub(crate) fn value(&self, wanted: usize) -> Option<&str> {
        self.fields.get((*self.positions.get(wanted)?)?)
    }

    /// The current row's field at this position.
    pub(crate) fn field(&self, position: usize) -> Option<&str> {
        self.fields.get(position)
    }

    pub(crate) fn file(&self) -> Arc<str> {
        self.stream.name.clone()
    }

    /// Whether the next row can be had without waiting for the input.
    pub(crate) fn is_ready(&mut self) -> bool {
        let Table { stream, cutter, first_row, .. } = self;
        first_row.is_some() || stream.is_ready(|text| cutter.has_record(text))
    }

    fn next_record(&mut self, report: &mut ReadReport) -> Result<Option<u64>, TrainingError> {
        loop {
            let line = self.cut_record(report)?;
            match line {
                Some(line) if self.skips_blank_lines && self.fields.is_blank() => {
                    report.blank_lines.add(self.stream.place(line));
                }
                line => return Ok(line),
            }
        }
    }

    /// Cuts the next record. Where quotes do not add up in it, and a backslash stands before one, it
    /// is cut once more with backslashes as escapes, and so are the records after it if that fits.
    fn cut_record(&mut self, report: &mut ReadReport) -> Result<Option<u64>, TrainingError> {
        let begins = self.stream.line;
        if self.backslash_trials == 0 {
            return self.cutter.next(&mut self.stream, &mut self.fields);
        }
        self.stream.remember();
        let record = self.cutter.next(&mut self.stream, &mut self.fields);
        let fits = |record: &Result<Option<u64>, TrainingError>, fields: &Fields| {
            matches!(record, Ok(Some(_))) && !fields.text_after_quote && fields.len() == self.width
        };
        let input_failed = matches!(&record, Err(error) if error.is_of_input());
        if !self.fields.backslash_before_quote || fits(&record, &self.fields) || input_failed {
            return record;
        }
        let Cutter::Quoted(cutter) = &mut self.cutter else { return record };
        self.stream.rewind(begins);
        self.fields.clear();
        let record = cutter.with_backslash().next(&mut self.stream, &mut self.fields);
        if fits(&record, &self.fields) {
            *cutter = cutter.with_backslash();
            self.backslash_trials = 0;
            self.stream.forget();
            report.note(ReadingNote::Backslashes { place: self.stream.place(begins) });
            return record;
        }
        if matches!(&record, Err(error) if error.is_of_input()) {
            return record;
        }
        self.backslash_trials -= 1;
        self.stream.rewind(begins);
        if self.backslash_trials == 0 {
            self.stream.forget();
        }
        self.cutter.next(&mut self.stream, &mut self.fields)
    }
}
