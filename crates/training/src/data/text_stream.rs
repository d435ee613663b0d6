//! The decoded text of one input, a piece at a time.
//!
//! Every format reads from here, so that decompression, encodings, byte-order marks, byte offsets
//! and the bound on memory exist once. A piece always ends between two characters. An undecodable
//! byte is reported only when everything before it has been read: the line in the error is then the
//! line on which it stands.

use std::io;
use std::sync::Arc;

use encoding_rs::{Decoder, DecoderResult};

use super::encoding::TextEncoding;
use super::input::OpenInput;
use crate::TrainingError;
use crate::error::Place;

const BYTES_READ_AT_ONCE: usize = 64 * 1024;

pub(crate) struct TextStream {
    pub(crate) name: Arc<str>,
    /// The line that the next character is on, counted from 1 by whoever reads.
    pub(crate) line: u64,
    /// The most bytes of text one record may have.
    pub(crate) record_limit: usize,
    input: OpenInput,
    encoding: TextEncoding,
    decoder: Decoder,
    bytes: Box<[u8]>,
    bytes_read: usize,
    bytes_used: usize,
    bytes_decoded: u64,
    text: String,
    text_used: usize,
    reader_ended: bool,
    text_ended: bool,
    undecodable_at: Option<u64>,
    /// Whether the last record ended with a CR, of which a line feed that follows is part.
    after_carriage_return: bool,
    /// The text consumed since [`TextStream::remember`], to be read once more.
    remembered: Option<String>,
}

impl TextStream {
    pub(crate) fn new(
        name: Arc<str>,
        input: OpenInput,
        encoding: TextEncoding,
        record_limit: usize,
    ) -> TextStream {
        TextStream {
            name,
            line: 1,
            record_limit,
            input,
            encoding,
            decoder: encoding.decoder(),
            bytes: vec![0; BYTES_READ_AT_ONCE].into(),
            bytes_read: 0,
            bytes_used: 0,
            bytes_decoded: 0,
            text: String::with_capacity(BYTES_READ_AT_ONCE),
            text_used: 0,
            reader_ended: false,
            text_ended: false,
            undecodable_at: None,
            after_carriage_return: false,
            remembered: None,
        }
    }

    /// The text that was decoded and not yet consumed; empty at the end of the input only.
    pub(crate) fn piece(&mut self) -> Result<&str, TrainingError> {
        loop {
            while self.text_used == self.text.len() && !self.text_ended {
                self.decode_more()?;
            }
            if self.after_carriage_return && self.text[self.text_used..].starts_with('\n') {
                self.text_used += 1;
                self.after_carriage_return = false;
                continue;
            }
            self.after_carriage_return = false;
            return Ok(&self.text[self.text_used..]);
        }
    }

    /// Moves past the first `length` bytes of [`TextStream::piece`].
    pub(crate) fn consume(&mut self, length: usize) {
        if let Some(remembered) = &mut self.remembered {
            remembered.push_str(&self.text[self.text_used..][..length]);
        }
        self.text_used += length;
    }

    /// Counts a line that ended with `end`, the last character consumed.
    pub(crate) fn end_line(&mut self, end: u8) {
        self.line += 1;
        self.after_carriage_return = end == b'\r';
    }

    /// Keeps what is consumed from here on, so that [`TextStream::rewind`] can go back here.
    pub(crate) fn remember(&mut self) {
        self.remembered.get_or_insert_default().clear();
    }

    /// Keeps nothing any more.
    pub(crate) fn forget(&mut self) {
        self.remembered = None;
    }

    /// Goes back to where [`TextStream::remember`] was called, on this line, and remembers again.
    pub(crate) fn rewind(&mut self, line: u64) {
        if let Some(remembered) = &mut self.remembered {
            self.text.replace_range(..self.text_used, remembered);
            remembered.clear();
        }
        self.text_used = 0;
        self.line = line;
        self.after_carriage_return = false;
    }

    /// Reads one line into `line`, without its end (LF, CRLF or CR). False at the end of the input.
    pub(crate) fn next_line(&mut self, line: &mut String) -> Result<bool, TrainingError> {
        line.clear();
        let mut found = false;
        loop {
            let piece = self.piece()?;
            if piece.is_empty() {
                return Ok(found);
            }
            found = true;
            let end = piece.bytes().position(|byte| matches!(byte, b'\n' | b'\r'));
            let end = end.map(|at| (at, piece.as_bytes()[at]));
            let length = end.map_or(piece.len(), |(at, _)| at);
            line.push_str(&piece[..length]);
            self.consume(length + usize::from(end.is_some()));
            if line.len() > self.record_limit {
                return Err(self.record_too_long(self.line));
            }
            if let Some((_, end)) = end {
                self.end_line(end);
                return Ok(true);
            }
        }
    }

    /// Whether a record can be had without waiting for the input: `has_record` says of the text that
    /// is there whether it holds one. The end of the input and an error are had at once too.
    pub(crate) fn is_ready(&mut self, has_record: impl Fn(&str) -> bool) -> bool {
        let Some(pipe) = self.input.pipe.clone() else { return true };
        loop {
            let mut text = &self.text[self.text_used..];
            if self.after_carriage_return {
                text = text.strip_prefix('\n').unwrap_or(text);
            }
            if self.text_ended
                || self.undecodable_at.is_some()
                || text.len() > self.record_limit
                || has_record(text)
            {
                return true;
            }
            // What a decompressor still holds, only a read that may wait would tell.
            let waits = self.input.compressed || !pipe.is_ready();
            if self.bytes_used == self.bytes_read && waits {
                return false;
            }
            if self.decode_more().is_err() {
                return true;
            }
        }
    }

    pub(crate) fn place(&self, line: u64) -> Place {
        Place { file: self.name.clone(), line }
    }

    pub(crate) fn record_too_long(&self, line: u64) -> TrainingError {
        TrainingError::RecordTooLong { place: self.place(line), limit: self.record_limit }
    }

    /// Adds text to what is there.
    fn decode_more(&mut self) -> Result<(), TrainingError> {
        if let Some(byte_offset) = self.undecodable_at {
            return Err(TrainingError::NotDecodable {
                place: self.place(self.line),
                encoding: self.encoding.name(),
                byte_offset,
            });
        }
        if self.bytes_used == self.bytes_read && !self.reader_ended {
            self.read_more()?;
        }
        self.text.drain(..self.text_used);
        self.text_used = 0;
        self.text.reserve(BYTES_READ_AT_ONCE);
        let (result, taken) = self.decoder.decode_to_string_without_replacement(
            &self.bytes[self.bytes_used..self.bytes_read],
            &mut self.text,
            self.reader_ended,
        );
        self.bytes_used += taken;
        self.bytes_decoded += taken as u64;
        match result {
            DecoderResult::InputEmpty => self.text_ended = self.reader_ended,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(length, after) => {
                let back = u64::from(length) + u64::from(after);
                self.undecodable_at = Some(self.bytes_decoded.saturating_sub(back));
            }
        }
        Ok(())
    }

    fn read_more(&mut self) -> Result<(), TrainingError> {
        self.bytes_used = 0;
        self.bytes_read = 0;
        loop {
            match self.input.reader.read(&mut self.bytes) {
                Ok(read) => {
                    self.bytes_read = read;
                    self.reader_ended = read == 0;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.input.read_error(&self.name, source)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::data::input::decompressed;

    /// Gives one byte a call: every boundary inside a character or a line end is met.
    struct OneByteAtATime(io::Cursor<Vec<u8>>);

    impl Read for OneByteAtATime {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn lines(bytes: &[u8], encoding: &str, limit: usize) -> Result<Vec<String>, String> {
        let read_lines = |reader: Box<dyn Read + Send>| {
            let name: Arc<str> = "input".into();
            let input = decompressed(&name, reader, None).map_err(|error| error.to_string())?;
            let encoding = TextEncoding::from_name(encoding).unwrap();
            let mut stream = TextStream::new(name, input, encoding, limit);
            let (mut lines, mut line) = (Vec::new(), String::new());
            while stream.next_line(&mut line).map_err(|error| error.to_string())? {
                lines.push(line.clone());
            }
            Ok(lines)
        };
        let at_once = read_lines(Box::new(io::Cursor::new(bytes.to_vec())));
        let by_bytes = read_lines(Box::new(OneByteAtATime(io::Cursor::new(bytes.to_vec()))));
        assert_eq!(at_once, by_bytes, "the sizes of the reads must not matter");
        at_once
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn lines_of_every_kind_are_read() {
        let utf16: Vec<u8> =
            "\u{feff}héé\n😀\r\n".encode_utf16().flat_map(|unit| unit.to_le_bytes()).collect();
        let two_members = [gzip(b"one\ntw"), gzip(b"o\n")].concat();
        let cases: [(&str, &[u8], &str, &[&str]); 13] = [
            ("empty", b"", "utf-8", &[]),
            ("only a byte-order mark", b"\xef\xbb\xbf", "utf-8", &[]),
            ("no final newline", b"a\nb", "utf-8", &["a", "b"]),
            ("blank lines", b"\n\na\n\n", "utf-8", &["", "", "a", ""]),
            ("CRLF", b"a\r\nb\r\n", "utf-8", &["a", "b"]),
            ("CR alone", b"a\rb\r\r\nc\r", "utf-8", &["a", "b", "", "c"]),
            ("byte-order mark", b"\xef\xbb\xbfa\n", "utf-8", &["a"]),
            ("later byte-order mark stays", b"a\n\xef\xbb\xbfb", "utf-8", &["a", "\u{feff}b"]),
            ("NUL stays", b"a\0b\n", "utf-8", &["a\0b"]),
            ("latin-1", b"caf\xe9\n\xfc", "latin-1", &["café", "ü"]),
            ("UTF-16 by its mark", &utf16, "utf-8", &["héé", "😀"]),
            ("gzip", &gzip(b"a\nb\n"), "utf-8", &["a", "b"]),
            ("gzip of two members", &two_members, "utf-8", &["one", "two"]),
        ];
        for (what, bytes, encoding, expected) in cases {
            assert_eq!(lines(bytes, encoding, 100).unwrap(), expected, "{what}");
        }
    }

    #[test]
    fn broken_bytes_are_placed() {
        let mut cut = gzip(&b"some text\n".repeat(1000));
        cut.truncate(cut.len() - 9);
        let mut far = b"x\n".repeat(100_000);
        far.extend(b"ab\xff");
        let cases: [(&str, &[u8], &str, &str); 9] = [
            ("stray byte", b"ok\nca\xe9t\n", "utf-8", "input, line 2: not UTF-8 at byte 5 "),
            (
                "half a sequence at the end",
                b"ok\n\xe2\x82",
                "utf-8",
                "line 2: not UTF-8 at byte 3 ",
            ),
            ("half a sequence inside", b"a\xf0\x9f\x98b", "utf-8", "line 1: not UTF-8 at byte 1 "),
            ("surrogate", b"\xed\xa0\x80", "utf-8", "line 1: not UTF-8 at byte 0 "),
            ("half a byte-order mark", b"\xef\xbbx", "utf-8", "line 1: not UTF-8 at byte 0 "),
            ("far into the file", &far, "utf-8", "line 100001: not UTF-8 at byte 200002 "),
            ("half a unit of UTF-16", b"a\0b", "utf-16le", "not UTF-16LE at byte 2 "),
            ("gzip cut short", &cut, "utf-8", "input: cannot decompress"),
            ("gzip of two bytes", b"\x1f\x8b", "utf-8", "input: cannot decompress"),
        ];
        for (what, bytes, encoding, message) in cases {
            let error = lines(bytes, encoding, 1 << 20).expect_err(what);
            assert!(error.contains(message), "{what}: {error}");
        }
        let hint = lines(b"\xff", "utf-8", 100).unwrap_err();
        assert!(hint.ends_with("which may be latin-1"), "{hint}");
    }

    #[test]
    fn a_line_without_end_stops_at_the_limit() {
        struct Endless;
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer.fill(b'a');
                Ok(buffer.len())
            }
        }
        let input = OpenInput { reader: Box::new(Endless), compressed: false, pipe: None };
        let mut stream = TextStream::new("endless".into(), input, TextEncoding::UTF8, 1 << 20);
        let mut line = String::new();
        let error = stream.next_line(&mut line).unwrap_err().to_string();
        assert!(error.contains("endless, line 1: ") && error.contains("1048576 bytes"), "{error}");
        assert!(line.len() < (1 << 20) + 2 * BYTES_READ_AT_ONCE);

        let long = "é".repeat(1_000_000);
        assert_eq!(lines(long.as_bytes(), "utf-8", 2_000_000), Ok(vec![long]));
    }
}
