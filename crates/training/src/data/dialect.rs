//! How the fields of a table are told apart: what stands between them, and what quotes mean.

use std::fmt;
use std::str::FromStr;

use super::format::{ReadOptions, RowFormat};
use crate::TrainingError;

/// What quotes mean in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// A quote is a character like any other. A field cannot hold the delimiter or a line end.
    None,
    /// A field in double quotes may hold delimiters and line ends; a quote in it is doubled.
    Doubled,
    /// As with doubled quotes, and `\"` in a quoted field is a quote, `\\` a backslash.
    Backslash,
}

impl Quoting {
    const ALL: [Quoting; 3] = [Quoting::None, Quoting::Doubled, Quoting::Backslash];

    /// The name by which it is chosen.
    pub fn name(self) -> &'static str {
        match self {
            Quoting::None => "none",
            Quoting::Doubled => "double",
            Quoting::Backslash => "backslash",
        }
    }
}

impl FromStr for Quoting {
    type Err = TrainingError;

    fn from_str(name: &str) -> Result<Quoting, TrainingError> {
        Quoting::ALL
            .into_iter()
            .find(|quoting| quoting.name() == name)
            .ok_or_else(|| TrainingError::UnknownQuoting { name: name.to_string() })
    }
}

/// The character between a table's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimiter(char);

/// Delimiters that have a name, and those that a file is tried with where its own ending's finds no
/// columns.
const NAMED: [(char, &str); 5] =
    [(',', "comma"), ('\t', "tab"), (';', "semicolon"), ('|', "pipe"), (' ', "space")];

impl Delimiter {
    /// What stands between the fields of CSV.
    pub const COMMA: Delimiter = Delimiter(',');
    /// What stands between the fields of TSV.
    pub const TAB: Delimiter = Delimiter('\t');

    /// Delimiters that files are found to have, the likeliest first.
    pub(crate) const USUAL: [Delimiter; 4] =
        [Delimiter(','), Delimiter('\t'), Delimiter(';'), Delimiter('|')];

    pub(crate) fn character(self) -> char {
        self.0
    }
}

impl FromStr for Delimiter {
    type Err = TrainingError;

    /// One character, its name (comma, tab, semicolon, pipe, space), or an escape (`\t`, `\x01`).
    fn from_str(text: &str) -> Result<Delimiter, TrainingError> {
        let refused = || TrainingError::BadDelimiter { delimiter: text.to_string() };
        let named = NAMED.iter().find(|(_, name)| text.eq_ignore_ascii_case(name));
        let mut characters = text.chars();
        let character = match (named, characters.next(), characters.as_str()) {
            (Some((character, _)), ..) => *character,
            (None, Some(character), "") => character,
            (None, Some('\\'), "t") => '\t',
            (None, Some('\\'), code) => {
                let code = code.strip_prefix('x').filter(|digits| digits.len() == 2);
                let code = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                code.filter(u8::is_ascii).map(char::from).ok_or_else(refused)?
            }
            _ => return Err(refused()),
        };
        match character {
            '"' | '\\' | '\n' | '\r' => Err(refused()),
            character => Ok(Delimiter(character)),
        }
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED.iter().find(|(character, _)| *character == self.0) {
            Some((_, name)) => formatter.write_str(name),
            None if self.0.is_control() => write!(formatter, "{}", self.0.escape_default()),
            None => write!(formatter, "{}", self.0),
        }
    }
}

/// How a table is cut into fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// The character between fields.
    pub delimiter: Delimiter,
    /// What quotes mean.
    pub quoting: Quoting,
}

impl Dialect {
    /// The dialect that a format has by itself and the options change.
    pub(crate) fn of(format: RowFormat, options: &ReadOptions) -> Dialect {
        let (delimiter, quoting) = match format {
            RowFormat::Tsv => (Delimiter::TAB, Quoting::None),
            _ => (Delimiter::COMMA, Quoting::Doubled),
        };
        Dialect {
            delimiter: options.delimiter.unwrap_or(delimiter),
            quoting: options.quoting.unwrap_or(quoting),
        }
    }

    /// Other dialects that a file may be in whose columns this one does not find: with the fields in
    /// quotes, and with each of the usual delimiters. What the options say stays.
    pub(crate) fn alternatives(self, options: &ReadOptions) -> Vec<Dialect> {
        let quoting = options.quoting.unwrap_or(Quoting::Doubled);
        let delimiters: &[Delimiter] = match options.delimiter {
            Some(_) => &[],
            None => &Delimiter::USUAL,
        };
        let mut others = Vec::new();
        for delimiter in [&[self.delimiter], delimiters].concat() {
            let dialect = Dialect { delimiter, quoting };
            if dialect != self && !others.contains(&dialect) {
                others.push(dialect);
            }
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_have_characters_names_and_escapes() {
        let cases = [
            (";", ';', "semicolon"),
            ("semicolon", ';', "semicolon"),
            ("TAB", '\t', "tab"),
            ("\t", '\t', "tab"),
            ("\\t", '\t', "tab"),
            ("|", '|', "pipe"),
            (" ", ' ', "space"),
            ("\\x01", '\u{1}', "\\u{1}"),
            ("¦", '¦', "¦"),
            ("-", '-', "-"),
        ];
        for (text, character, name) in cases {
            let delimiter: Delimiter = text.parse().unwrap();
            assert_eq!((delimiter.character(), &*delimiter.to_string()), (character, name));
        }
        for text in ["", "\"", "\n", "\r", "\\", "::", "\\n", "\\x0a", "\\xff", "\\x1", "commas"] {
            let error = text.parse::<Delimiter>().unwrap_err().to_string();
            assert!(error.contains("one character"), "{text:?}: {error}");
        }
    }

    #[test]
    fn what_is_given_is_not_tried_otherwise() {
        let tsv = Dialect::of(RowFormat::Tsv, &ReadOptions::default());
        assert_eq!(tsv.alternatives(&ReadOptions::default()).len(), 4);
        let delimiter = Some(Delimiter::TAB);
        let options = ReadOptions { delimiter, ..ReadOptions::default() };
        let quoted = Dialect { quoting: Quoting::Doubled, ..tsv };
        assert_eq!(tsv.alternatives(&options), [quoted]);
        let both = ReadOptions { quoting: Some(Quoting::None), ..options };
        assert_eq!(tsv.alternatives(&both), []);
    }
}
