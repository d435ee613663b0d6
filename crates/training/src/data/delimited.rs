//! Lines, TSV and CSV: records whose columns are found by position.
//!
//! The three differ in how a record is cut into fields and in nothing else, so one [`Table`] resolves
//! columns, checks widths and skips blank lines for all of them. The CSV cutter is our own, and short:
//! it must hold a bound on a record's size while it reads, and it must call an unclosed quote an error
//! where readers usually take the rest of the file for one field.

use super::columns::{Column, positions_by_name, positions_by_number};
use super::format::{RaggedRows, ReadOptions, RowFormat};
use super::report::ReadReport;
use super::text_stream::TextStream;
use crate::TrainingError;
use crate::error::Place;

/// The most columns a record may have. It bounds the memory for a line of nothing but separators.
const COLUMN_LIMIT: usize = 65_536;

/// The name of the one column of a file of plain lines.
const LINE_COLUMN: &str = "text";

/// The fields of one record, end to end in one buffer that is used again for the next.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    text: String,
    ends: Vec<usize>,
    /// Whether any field was quoted: `""` alone on a line is a record, an empty line is none.
    quoted: bool,
}

impl Fields {
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.quoted = false;
    }

    fn end_field(&mut self) {
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
}

/// Cuts records from a stream of text.
enum Cutter {
    Lines { line: String },
    Tabs { line: String },
    Quoted(QuotedCutter),
}

impl Cutter {
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
            Cutter::Tabs { line } => {
                if !stream.next_line(line)? {
                    return Ok(None);
                }
                for field in line.split('\t').take(COLUMN_LIMIT + 1) {
                    fields.text.push_str(field);
                    fields.end_field();
                }
                check_width(fields, stream.place(begins))?;
                Ok(Some(begins))
            }
            Cutter::Quoted(cutter) => cutter.next(stream, fields),
        }
    }
}

fn check_width(fields: &Fields, place: Place) -> Result<(), TrainingError> {
    if fields.len() > COLUMN_LIMIT {
        return Err(TrainingError::TooManyColumns { place, limit: COLUMN_LIMIT });
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldState {
    /// Before a field's first character.
    Start,
    /// In a field without quotes, or behind a closed one: everything up to the next comma counts.
    Plain,
    /// Between quotes.
    InQuotes,
    /// Behind a quote inside quotes: it closes them, or is the first of a doubled one.
    AfterQuote,
}

/// Cuts CSV as RFC 4180 has it, with CR alone as a record's end too. As in other readers, a quote
/// inside an unquoted field is a character, and what follows a closing quote is added to the field.
#[derive(Debug, Default)]
struct QuotedCutter {
    /// Whether the character before was a CR, of which a following LF is part.
    after_carriage_return: bool,
}

impl QuotedCutter {
    fn next(
        &mut self,
        stream: &mut TextStream,
        fields: &mut Fields,
    ) -> Result<Option<u64>, TrainingError> {
        if self.after_carriage_return && stream.piece()?.starts_with('\n') {
            stream.consume(1);
        }
        self.after_carriage_return = false;
        let begins = stream.line;
        let mut state = FieldState::Start;
        let mut length = 0;
        loop {
            let piece = stream.piece()?;
            if piece.is_empty() {
                if state == FieldState::InQuotes {
                    return Err(TrainingError::UnclosedQuote { place: stream.place(begins) });
                }
                if length == 0 {
                    return Ok(None);
                }
                fields.end_field();
                return Ok(Some(begins));
            }
            let (used, lines, ended) = self.cut(piece, &mut state, fields);
            stream.consume(used);
            stream.line += lines;
            length += used;
            check_width(fields, stream.place(begins))?;
            if length > stream.record_limit {
                return Err(stream.record_too_long(begins));
            }
            if ended {
                return Ok(Some(begins));
            }
        }
    }

    /// Takes what it can of `piece`: the bytes used, the line ends among them, whether the record
    /// ended. Splits at ASCII characters only, so every slice ends between characters.
    fn cut(
        &mut self,
        piece: &str,
        state: &mut FieldState,
        fields: &mut Fields,
    ) -> (usize, u64, bool) {
        let bytes = piece.as_bytes();
        let (mut at, mut lines) = (0, 0);
        while at < bytes.len() && fields.len() <= COLUMN_LIMIT {
            if *state == FieldState::InQuotes {
                let end = bytes[at..].iter().position(|&byte| byte == b'"');
                let run = &piece[at..end.map_or(bytes.len(), |length| at + length)];
                fields.text.push_str(run);
                lines += self.line_ends(run);
                at += run.len();
                if end.is_some() {
                    *state = FieldState::AfterQuote;
                    at += 1;
                }
                continue;
            }
            match (bytes[at], *state) {
                (b'"', FieldState::Start | FieldState::AfterQuote) => {
                    if *state == FieldState::AfterQuote {
                        fields.text.push('"');
                    }
                    fields.quoted = true;
                    self.after_carriage_return = false;
                    *state = FieldState::InQuotes;
                    at += 1;
                }
                (b',', _) => {
                    fields.end_field();
                    *state = FieldState::Start;
                    at += 1;
                }
                (end @ (b'\n' | b'\r'), _) => {
                    fields.end_field();
                    self.after_carriage_return = end == b'\r';
                    return (at + 1, lines + 1, true);
                }
                _ => {
                    // The first character was looked at already: a quote in a plain field is text.
                    let length = bytes[at + 1..]
                        .iter()
                        .position(|byte| matches!(byte, b',' | b'\n' | b'\r'))
                        .map_or(bytes.len() - at, |length| length + 1);
                    fields.text.push_str(&piece[at..at + length]);
                    *state = FieldState::Plain;
                    at += length;
                }
            }
        }
        (at, lines, false)
    }

    /// How many lines end in `run`, which stands between quotes; CRLF is one, also across pieces.
    fn line_ends(&mut self, run: &str) -> u64 {
        let mut lines = 0;
        for byte in run.bytes() {
            let continues = byte == b'\n' && self.after_carriage_return;
            self.after_carriage_return = byte == b'\r';
            lines += u64::from(matches!(byte, b'\n' | b'\r') && !continues);
        }
        lines
    }
}

/// The records of one file of lines, TSV or CSV.
pub(crate) struct Table {
    stream: TextStream,
    cutter: Cutter,
    fields: Fields,
    /// Where each wanted column is; `None` where an optional one is not there.
    positions: Vec<Option<usize>>,
    width: usize,
    skips_blank_lines: bool,
    ragged_rows: RaggedRows,
    /// The line of the first row, where it is in `fields` already: without a header line the first
    /// row tells the width.
    first_row: Option<u64>,
    rows: u64,
}

impl Table {
    pub(crate) fn open(
        stream: TextStream,
        format: RowFormat,
        wanted: &[Column],
        options: &ReadOptions,
        report: &mut ReadReport,
    ) -> Result<Table, TrainingError> {
        let cutter = match format {
            RowFormat::Tsv => Cutter::Tabs { line: String::new() },
            RowFormat::Csv => Cutter::Quoted(QuotedCutter::default()),
            RowFormat::Lines | RowFormat::JsonLines => Cutter::Lines { line: String::new() },
        };
        let is_table = matches!(cutter, Cutter::Tabs { .. } | Cutter::Quoted(_));
        let mut table = Table {
            stream,
            cutter,
            fields: Fields::default(),
            positions: Vec::new(),
            width: 0,
            skips_blank_lines: is_table,
            ragged_rows: options.ragged_rows,
            first_row: None,
            rows: 0,
        };
        let Some(line) = table.next_record(report)? else {
            return Err(TrainingError::EmptyFile { file: table.stream.name });
        };
        let place = table.stream.place(line);
        table.width = table.fields.len();
        table.first_row = Some(line);
        if !is_table {
            let mut header = Fields::default();
            header.text.push_str(LINE_COLUMN);
            header.end_field();
            table.positions = positions_by_name(&header, wanted, place)?;
        } else if options.header {
            table.positions = positions_by_name(&table.fields, wanted, place)?;
            table.first_row = None;
        } else {
            table.positions = positions_by_number(table.width, wanted, place)?;
        }
        Ok(table)
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
                    return Err(TrainingError::HeaderOnly { file: self.stream.name.clone() });
                }
                return Ok(None);
            };
            self.rows += 1;
            let (place, found) = (self.stream.place(line), self.fields.len());
            if found == self.width {
                return Ok(Some(line));
            }
            match self.ragged_rows {
                RaggedRows::Drop => report.ragged_rows.add(place),
                RaggedRows::Refuse => {
                    return Err(TrainingError::RaggedRow { place, expected: self.width, found });
                }
            }
        }
    }

    /// The current row's value of the wanted column with this number.
    pub(crate) fn value(&self, wanted: usize) -> Option<&str> {
        self.fields.get((*self.positions.get(wanted)?)?)
    }

    fn next_record(&mut self, report: &mut ReadReport) -> Result<Option<u64>, TrainingError> {
        loop {
            let line = self.cutter.next(&mut self.stream, &mut self.fields)?;
            match line {
                Some(line) if self.skips_blank_lines && self.fields.is_blank() => {
                    report.blank_lines.add(self.stream.place(line));
                }
                line => return Ok(line),
            }
        }
    }
}
