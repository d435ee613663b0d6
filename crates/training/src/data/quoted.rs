//! Cuts tables whose fields may stand in quotes.
//!
//! Our own, and short: it must hold a bound on a record's size while it reads, it must call an
//! unclosed quote an error where readers usually take the rest of the file for one field, and it must
//! tell when quotes do not add up.

use super::delimited::{COLUMN_LIMIT, Fields, check_width};
use super::dialect::{Dialect, Quoting};
use super::text_stream::TextStream;
use crate::TrainingError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldState {
    /// Before a field's first character.
    Start,
    /// In a field without quotes, or behind a closed one: everything up to the next delimiter counts.
    Plain,
    /// Between quotes.
    InQuotes,
    /// Behind a backslash between quotes, where it may escape a quote.
    AfterBackslash,
    /// Behind a quote inside quotes: it closes them, or is the first of a doubled one.
    AfterQuote,
}

/// Where a record has got to.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordState {
    field: FieldState,
    /// Whether the character before was a CR between quotes, of which a following LF is part.
    after_carriage_return: bool,
}

impl RecordState {
    pub(super) const START: RecordState =
        RecordState { field: FieldState::Start, after_carriage_return: false };
}

/// What a piece of text gave.
struct Cut {
    /// The bytes taken.
    used: usize,
    /// The line ends among them, without the one that ended the record.
    lines: u64,
    /// The character that ended the record.
    end: Option<u8>,
}

/// Cuts fields as RFC 4180 has them, with any delimiter and with CR alone as a record's end too. As
/// in other readers, a quote inside an unquoted field is a character, and what follows a closing quote
/// is added to the field.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuotedCutter {
    delimiter: char,
    backslash: bool,
}

impl QuotedCutter {
    pub(super) fn new(dialect: Dialect) -> QuotedCutter {
        QuotedCutter {
            delimiter: dialect.delimiter.character(),
            backslash: dialect.quoting == Quoting::Backslash,
        }
    }

    /// The same with backslashes as escapes.
    pub(super) fn with_backslash(self) -> QuotedCutter {
        QuotedCutter { backslash: true, ..self }
    }

    pub(super) fn next(
        &self,
        stream: &mut TextStream,
        fields: &mut Fields,
    ) -> Result<Option<u64>, TrainingError> {
        let begins = stream.line;
        let mut state = RecordState::START;
        let mut length = 0;
        loop {
            let piece = stream.piece()?;
            if piece.is_empty() {
                if matches!(state.field, FieldState::InQuotes | FieldState::AfterBackslash) {
                    return Err(TrainingError::UnclosedQuote { place: stream.place(begins) });
                }
                if length == 0 {
                    return Ok(None);
                }
                fields.end_field();
                return Ok(Some(begins));
            }
            let cut = self.cut(piece, &mut state, fields);
            stream.consume(cut.used);
            stream.line += cut.lines;
            length += cut.used;
            check_width(fields, stream.place(begins))?;
            if length > stream.record_limit {
                return Err(stream.record_too_long(begins));
            }
            if let Some(end) = cut.end {
                stream.end_line(end);
                return Ok(Some(begins));
            }
        }
    }

    /// Whether `text` holds a whole record.
    pub(super) fn has_record(&self, text: &str) -> bool {
        let text = text.trim_start_matches(['\n', '\r']);
        let (mut state, mut fields) = (RecordState::START, Fields::default());
        self.cut(text, &mut state, &mut fields).end.is_some() || fields.len() > COLUMN_LIMIT
    }

    /// Takes what it can of `piece`. Splits at the delimiter and at ASCII characters only, so every
    /// slice ends between characters.
    fn cut(&self, piece: &str, state: &mut RecordState, fields: &mut Fields) -> Cut {
        let bytes = piece.as_bytes();
        let mut buffer = [0; 4];
        let delimiter = self.delimiter.encode_utf8(&mut buffer).as_bytes();
        let (mut at, mut lines) = (0, 0);
        while at < bytes.len() && fields.len() <= COLUMN_LIMIT {
            if state.field == FieldState::InQuotes {
                let ends = |byte: &u8| *byte == b'"' || self.backslash && *byte == b'\\';
                let end = bytes[at..].iter().position(ends);
                let run = &piece[at..end.map_or(bytes.len(), |length| at + length)];
                fields.text.push_str(run);
                lines += state.line_ends(run);
                at += run.len();
                if end.is_some() {
                    let quote = bytes[at] == b'"';
                    state.field =
                        if quote { FieldState::AfterQuote } else { FieldState::AfterBackslash };
                    fields.backslash_before_quote |= quote && fields.begun_field().ends_with('\\');
                    state.after_carriage_return = false;
                    at += 1;
                }
                continue;
            }
            match (bytes[at], state.field) {
                (byte, FieldState::AfterBackslash) => {
                    state.field = FieldState::InQuotes;
                    if matches!(byte, b'"' | b'\\') {
                        fields.text.push(char::from(byte));
                        at += 1;
                    } else {
                        fields.text.push('\\');
                    }
                }
                (b'"', FieldState::Start | FieldState::AfterQuote) => {
                    if state.field == FieldState::AfterQuote {
                        fields.text.push('"');
                    }
                    fields.quoted = true;
                    state.after_carriage_return = false;
                    state.field = FieldState::InQuotes;
                    at += 1;
                }
                _ if bytes[at..].starts_with(delimiter) => {
                    fields.end_field();
                    state.field = FieldState::Start;
                    at += delimiter.len();
                }
                (end @ (b'\n' | b'\r'), _) => {
                    fields.end_field();
                    return Cut { used: at + 1, lines, end: Some(end) };
                }
                (_, field) => {
                    fields.text_after_quote |= field == FieldState::AfterQuote;
                    // The first character was looked at already: a quote in a plain field is text.
                    let ends = |next: &usize| {
                        matches!(bytes[*next], b'\n' | b'\r')
                            || bytes[*next] == delimiter[0] && bytes[*next..].starts_with(delimiter)
                    };
                    let end = (at + 1..bytes.len()).find(ends).unwrap_or(bytes.len());
                    fields.text.push_str(&piece[at..end]);
                    state.field = FieldState::Plain;
                    at = end;
                }
            }
        }
        Cut { used: at, lines, end: None }
    }
}

impl RecordState {
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
