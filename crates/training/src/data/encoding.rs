//! The character encoding of an input.
//!
//! UTF-8 unless the user says otherwise. Bytes that the encoding does not know are an error and
//! never a replacement character: a silent `�` in a training text is a silent loss. A byte-order
//! mark outranks what was asked for, as it does on the web; it is how spreadsheet exports in UTF-16
//! are read without a flag.

use encoding_rs::{Decoder, Encoding, UTF_8};

use crate::TrainingError;

/// A character encoding by one of its usual names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextEncoding(&'static Encoding);

impl TextEncoding {
    /// UTF-8, what inputs are read as unless something else is asked for.
    pub const UTF8: TextEncoding = TextEncoding(UTF_8);

    /// An encoding by any of the names in the WHATWG's standard, in any case, with Python's
    /// spellings (`latin-1`, `utf_8`, `utf-16`) accepted. As on the web, `latin-1` and `ascii` are
    /// windows-1252, which agrees with them wherever they hold printable characters.
    ///
    /// # Errors
    /// [`TrainingError::UnknownEncoding`].
    pub fn from_name(name: &str) -> Result<TextEncoding, TrainingError> {
        let hyphened = name.trim().replace('_', "-");
        let joined = hyphened.replace('-', "");
        let utf16 = joined.to_ascii_lowercase().replacen("utf16", "utf-16", 1);
        [name, &hyphened, &joined, &utf16, &format!("x-{hyphened}")]
            .iter()
            .find_map(|label| Encoding::for_label_no_replacement(label.as_bytes()))
            .map(TextEncoding)
            .ok_or_else(|| TrainingError::UnknownEncoding { name: name.to_string() })
    }

    /// The encoding's name in the standard, such as `UTF-8` or `windows-1252`.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    pub(crate) fn decoder(self) -> Decoder {
        self.0.new_decoder()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_names_are_known() {
        let cases = [
            ("utf-8", "UTF-8"),
            ("UTF8", "UTF-8"),
            ("utf_8", "UTF-8"),
            ("latin-1", "windows-1252"),
            ("latin1", "windows-1252"),
            ("Latin_1", "windows-1252"),
            ("ISO-8859-1", "windows-1252"),
            ("iso8859-15", "ISO-8859-15"),
            ("cp1252", "windows-1252"),
            ("utf-16", "UTF-16LE"),
            ("utf_16_be", "UTF-16BE"),
            ("shift_jis", "Shift_JIS"),
            ("gb18030", "gb18030"),
            ("mac-roman", "macintosh"),
        ];
        for (name, expected) in cases {
            let encoding = TextEncoding::from_name(name).map(TextEncoding::name);
            assert!(matches!(encoding, Ok(found) if found == expected), "{name}: {encoding:?}");
        }
        for name in ["", "utf-9", "hz-gb-2312", "base64"] {
            assert!(TextEncoding::from_name(name).is_err(), "{name}");
        }
    }
}
