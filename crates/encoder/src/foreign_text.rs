//! Text from somebody's file in a message: control characters, which would move a terminal's
//! cursor, are escaped, and what is long is cut.

use std::fmt::Display;

/// Characters of a name that a message shows.
const NAME: usize = 80;

/// Characters that a message shows of what a library says of a file, some of which it may quote.
const REMARK: usize = 240;

/// A name in quotes.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", plain(name, NAME))
}

/// What a library says of a file.
pub fn said(error: impl Display) -> String {
    plain(&error.to_string(), REMARK)
}

fn plain(text: &str, most: usize) -> String {
    let mut characters = text.chars();
    let mut shown = String::new();
    for character in characters.by_ref().take(most) {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_files_is_escaped_and_cut_short() {
        let cases = [
            ("plain", "\"plain\"".to_string()),
            ("tab\there\0", "\"tab\\there\\u{0}\"".to_string()),
            (&"é".repeat(100), format!("\"{}…\"", "é".repeat(80))),
        ];
        for (text, expected) in cases {
            assert_eq!(quoted(text), expected);
        }
        assert_eq!(
            said(format!("{}\u{1b}[2J", "x".repeat(238))),
            format!("{}\\u{{1b}}[…", "x".repeat(238))
        );
    }
}
