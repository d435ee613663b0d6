//! Cuts the elements of a JSON list out of a stream of text, each into a buffer of its own, so that a
//! list of a million objects needs no more memory than its largest.

use super::text_stream::TextStream;
use crate::TrainingError;

/// Where the list has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before the opening bracket.
    Before,
    /// Behind the opening bracket or a comma: `true` where an element must follow.
    Between(bool),
    /// Behind the closing bracket.
    After,
}

/// A stream that holds one JSON list.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListCutter {
    stage: Stage,
    /// Bytes of the current line that were consumed.
    column: usize,
}

/// Where an element begins.
pub(super) struct ElementPlace {
    pub(super) line: u64,
    /// Bytes before it on its line.
    pub(super) column: usize,
}

/// What an element's text has been so far.
#[derive(Clone, Copy, Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Whether `byte` ends the element, before which it has gone through `self`.
    fn ends_at(&mut self, byte: u8) -> bool {
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = byte == b'\\' && !self.escaped;
            return false;
        }
        match byte {
            b',' | b']' if self.depth == 0 => return true,
            b'"' => self.in_string = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

impl ListCutter {
    pub(super) fn new() -> ListCutter {
        ListCutter { stage: Stage::Before, column: 0 }
    }

    /// Reads the next element into `element`. Where it begins, or `None` at the end.
    pub(super) fn next(
        &mut self,
        stream: &mut TextStream,
        element: &mut String,
    ) -> Result<Option<ElementPlace>, TrainingError> {
        element.clear();
        if self.stage == Stage::Before {
            if self.skip_space(stream)? != Some(b'[') {
                return Err(self.unexpected(stream, "a list should begin"));
            }
            self.advance(stream, 1, None);
            self.stage = Stage::Between(false);
        }
        let Stage::Between(must_follow) = self.stage else { return Ok(None) };
        match self.skip_space(stream)? {
            Some(b']') if !must_follow => {
                self.end(stream)?;
                return Ok(None);
            }
            Some(b']' | b',') => return Err(self.unexpected(stream, "an element is missing")),
            _ => {}
        }
        let place = ElementPlace { line: stream.line, column: self.column };
        let mut nesting = Nesting::default();
        loop {
            let piece = stream.piece()?;
            if piece.is_empty() {
                return Err(self.unexpected(stream, "the list is not closed"));
            }
            let bytes = piece.as_bytes();
            let stops = |byte: &u8| nesting.ends_at(*byte) || matches!(byte, b'\n' | b'\r');
            let stop = bytes.iter().position(stops).map(|at| (at, bytes[at]));
            let length = stop.map_or(piece.len(), |(at, _)| at);
            element.push_str(&piece[..length]);
            if element.len() > stream.record_limit {
                return Err(stream.record_too_long(place.line));
            }
            match stop {
                None => self.advance(stream, length, None),
                Some((_, b']')) => {
                    // What follows is read in its turn: nobody waits for it with this element.
                    self.advance(stream, length, None);
                    self.stage = Stage::Between(false);
                    return Ok(Some(place));
                }
                Some((_, b',')) => {
                    self.advance(stream, length + 1, None);
                    self.stage = Stage::Between(true);
                    return Ok(Some(place));
                }
                Some((_, end)) => {
                    element.push('\n');
                    self.advance(stream, length + 1, Some(end));
                }
            }
        }
    }

    /// Whether `text` holds a whole element.
    pub(super) fn has_element(&self, text: &str) -> bool {
        let text = text.trim_start();
        let rest = match self.stage {
            Stage::Before => text.strip_prefix('[').unwrap_or_default().trim_start(),
            Stage::Between(_) => text,
            Stage::After => return true,
        };
        let mut nesting = Nesting::default();
        !rest.starts_with(']') && rest.bytes().any(|byte| nesting.ends_at(byte))
    }

    /// Skips white space and returns the byte behind it.
    fn skip_space(&mut self, stream: &mut TextStream) -> Result<Option<u8>, TrainingError> {
        loop {
            match stream.piece()?.bytes().next() {
                Some(end @ (b'\n' | b'\r')) => self.advance(stream, 1, Some(end)),
                Some(b' ' | b'\t') => self.advance(stream, 1, None),
                other => return Ok(other),
            }
        }
    }

    /// Reads the closing bracket and what follows it.
    fn end(&mut self, stream: &mut TextStream) -> Result<(), TrainingError> {
        self.advance(stream, 1, None);
        self.stage = Stage::After;
        match self.skip_space(stream)? {
            None => Ok(()),
            Some(_) => Err(self.unexpected(stream, "something follows the list")),
        }
    }

    /// Consumes bytes, of which the last may be a line's end.
    fn advance(&mut self, stream: &mut TextStream, length: usize, line_end: Option<u8>) {
        stream.consume(length);
        self.column += length;
        if let Some(end) = line_end {
            stream.end_line(end);
            self.column = 0;
        }
    }

    fn unexpected(&self, stream: &TextStream, reason: &str) -> TrainingError {
        TrainingError::BadJson {
            place: stream.place(stream.line),
            reason: reason.to_string(),
            column: self.column + 1,
            on_one_line: false,
        }
    }
}
