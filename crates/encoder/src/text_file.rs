//! Small text files that people write: configurations, maps of labels, lists.
//!
//! Windows programs put a byte-order mark before UTF-8. It is no part of the text, and every file that
//! is read whole goes through here, so that it is looked past everywhere. Tables of rows, which are
//! read piece by piece, look past it where they are decoded.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// UTF-8's byte-order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A text's bytes without a byte-order mark before them.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// The text of a file of at most `limit` bytes, without a byte-order mark.
///
/// # Errors
/// What the system says, a file that is larger, or one that is not UTF-8.
pub fn read(path: &Path, limit: u64) -> io::Result<String> {
    let invalid = |reason: String| io::Error::new(ErrorKind::InvalidData, reason);
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(invalid(format!("it is larger than {limit} bytes")));
    }
    match std::str::from_utf8(without_mark(&bytes)) {
        Ok(text) => Ok(text.to_string()),
        Err(error) => {
            let at = error.valid_up_to();
            Err(invalid(format!("it is not UTF-8 at byte {at}; save it as UTF-8")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_looked_past_and_what_is_no_text_is_said() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        let cases: [(&[u8], Result<&str, &str>); 6] = [
            (b"", Ok("")),
            (b"text", Ok("text")),
            (b"\xef\xbb\xbftext", Ok("text")),
            (b"\xef\xbb\xbf\xef\xbb\xbftext", Ok("\u{feff}text")),
            (b"\xff\xfet\0", Err("not UTF-8 at byte 0")),
            (b"12345678901", Err("larger than 10 bytes")),
        ];
        for (bytes, expected) in cases {
            std::fs::write(&path, bytes).unwrap();
            let read = read(&path, 10).map_err(|error| error.to_string());
            match expected {
                Ok(text) => assert_eq!(read.as_deref(), Ok(text)),
                Err(reason) => assert!(read.unwrap_err().contains(reason)),
            }
        }
    }
}
