//! Text from somebody's file in a message.
//!
//! A name in a file may hold characters that move a terminal's cursor, change its title, reverse the
//! reading direction or show nothing at all. Every such character is written as an escape such as
//! `\u{202e}`, so that what is read is what is there. Long text is cut.

use std::fmt::Display;
use std::path::Path;

/// Characters of a name that a message shows.
const NAME: usize = 80;

/// Characters that a message shows of what a library says of a file, some of which it may quote.
const REMARK: usize = 240;

/// A name in quotes.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", cut(name, NAME))
}

/// What a library says of a file.
pub fn said(error: impl Display) -> String {
    cut(&error.to_string(), REMARK)
}

/// Text of any length on one line: line ends are escaped too.
pub fn escaped(text: &str) -> String {
    escaped_but(text, |_| false)
}

/// Text of several lines and columns: line feeds and tabs stay, everything else that is not shown
/// as itself is escaped.
pub fn escaped_lines(text: &str) -> String {
    escaped_but(text, |character| matches!(character, '\n' | '\t'))
}

/// A path that may come from a file.
pub fn path_shown(path: &Path) -> String {
    escaped(&path.display().to_string())
}

/// Whether a terminal shows something else for a character than the character: controls, which it
/// obeys; bidirectional marks, which reorder what stands around them; and characters without width.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' // soft hyphen
            | '\u{34f}' // combining grapheme joiner
            | '\u{61c}' // Arabic letter mark
            | '\u{115f}'..='\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
            | '\u{17b4}'..='\u{17b5}' // Khmer inherent vowels
            | '\u{180b}'..='\u{180f}' // Mongolian variation selectors
            | '\u{200b}'..='\u{200f}' // zero-width space and joiners, direction marks
            | '\u{2028}'..='\u{202e}' // line and paragraph separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}' // word joiner, invisible operators, isolates
            | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' // variation selectors
            | '\u{feff}' // byte-order mark
            | '\u{fff9}'..='\u{fffb}' // interlinear annotations
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' // shorthand and music formats
            | '\u{e0000}'..='\u{e007f}') // tags
}

fn escaped_but(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        push(&mut shown, character, stays(character));
    }
    shown
}

fn push(shown: &mut String, character: char, stays: bool) {
    match is_deceptive(character) && !stays {
        true => shown.extend(character.escape_default()),
        false => shown.push(character),
    }
}

fn cut(text: &str, most: usize) -> String {
    let mut characters = text.chars();
    let mut shown = String::new();
    for character in characters.by_ref().take(most) {
        push(&mut shown, character, false);
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

    #[test]
    fn what_a_terminal_would_not_show_is_escaped() {
        let hidden = [
            0x00, 0x07, 0x1b, 0x7f, 0x85, 0x9b, 0xad, 0x34f, 0x61c, 0x115f, 0x180e, 0x200b, 0x200d,
            0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202e, 0x2060, 0x2064, 0x2066, 0x2069, 0x206f,
            0x3164, 0xfe0f, 0xfeff, 0xfff9, 0xe0001, 0xe0020, 0xe007f, 0xe0100,
        ];
        for code in hidden {
            let character = char::from_u32(code).unwrap();
            let text = format!("a{character}b");
            let expected = format!("a{}b", character.escape_default());
            for shown in [escaped(&text), escaped_lines(&text), said(&text)] {
                assert_eq!(shown, expected, "U+{code:04X}");
            }
            assert_eq!(quoted(&text), format!("\"{expected}\""), "U+{code:04X}");
            assert_eq!(path_shown(Path::new(&text)), expected, "U+{code:04X}");
        }
        // Letters of every script, combining accents and emoji stay as they are.
        for text in
            ["naïve", "e\u{301}", "עברית", "العربية", "हिन्दी", "日本語", "🙂", "a b\u{a0}c", "\\"]
        {
            assert_eq!(escaped(text), text);
        }
        assert_eq!(escaped("a\tb\nc\r"), "a\\tb\\nc\\r");
        assert_eq!(escaped_lines("a\tb\nc\r"), "a\tb\nc\\r");
    }
}
