//! The tokens at an end of a long text, without reading the rest.
//!
//! A text of a million characters has some 200,000 tokens, of which a model takes 512. How much of a
//! text is enough depends on the tokenizer:
//! - BERT's cut a text into pieces (`pieces.rs`), at whichever end.
//! - Others that begin a new word at a space, and look no further than that, give the tokens of a text
//!   up to a space, or from it. Where there is no space, byte-level and SentencePiece tokenizers cut
//!   a word (`word_window.rs`), if the beginning of a text is asked for.
//! - Any other reads the whole text.

use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

use super::pieces::Pieces;
use super::settings::TruncationSide;
use super::word_window::WordWindow;

/// How the ends of a tokenizer's texts are found.
pub(super) enum Excerpts {
    Pieces(Pieces),
    Spaces { window: Option<WordWindow>, ends: bool },
    Whole,
}

/// Tokens at an end of a text.
pub(super) struct Tokens {
    pub(super) ids: Vec<u32>,
    /// Whether these are all of them.
    pub(super) all: bool,
}

impl Excerpts {
    pub(super) fn new(tokenizer: &Tokenizer) -> Excerpts {
        if let Some(pieces) = Pieces::new(tokenizer) {
            return Excerpts::Pieces(pieces);
        }
        match are_readable(tokenizer) {
            true => Excerpts::Spaces {
                window: WordWindow::new(tokenizer),
                ends: tokenizer.get_pre_tokenizer().is_some_and(begins_alike),
            },
            false => Excerpts::Whole,
        }
    }

    /// The tokens at the end of a text that is kept, at least `wanted` of them if there are so many.
    pub(super) fn tokens(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        wanted: usize,
        side: TruncationSide,
    ) -> tokenizers::Result<Tokens> {
        let ids = |text: &str| -> tokenizers::Result<Vec<u32>> {
            Ok(tokenizer.encode_fast(text, false)?.get_ids().to_vec())
        };
        let some = |ids| Ok(Tokens { ids, all: false });
        match self {
            Excerpts::Pieces(pieces) => {
                return tokens_of_pieces(pieces, tokenizer, text, wanted, side);
            }
            Excerpts::Spaces { window, .. } if side == TruncationSide::Right => {
                for least in lengths(text, wanted) {
                    let end = least.saturating_mul(GROWTH).min(text.len());
                    let found = if let Some(excerpt) = up_to_space(text, least, end) {
                        ids(excerpt)?
                    } else if let Some(window) = window
                        && let Some(place) = window.place(text, least, end)
                        && let Some(certain) = window.certain_tokens(tokenizer, &text[..place])?
                    {
                        certain
                    } else {
                        continue;
                    };
                    if found.len() >= wanted {
                        return some(found);
                    }
                }
            }
            Excerpts::Spaces { ends: true, .. } => {
                for least in lengths(text, wanted) {
                    if let Some(excerpt) = from_space(text, least) {
                        let found = ids(excerpt)?;
                        if found.len() >= wanted {
                            return some(found);
                        }
                    }
                }
            }
            Excerpts::Spaces { .. } | Excerpts::Whole => {}
        }
        Ok(Tokens { ids: ids(text)?, all: true })
    }
}

/// The tokens of a text's pieces from one end on, until there are enough.
fn tokens_of_pieces(
    pieces: &Pieces,
    tokenizer: &Tokenizer,
    text: &str,
    wanted: usize,
    side: TruncationSide,
) -> tokenizers::Result<Tokens> {
    let starts = pieces.starts(tokenizer, text);
    let count = starts.len();
    let mut found: Vec<Vec<u32>> = Vec::new();
    let mut tokens = 0;
    while tokens < wanted && found.len() < count {
        let number = match side {
            TruncationSide::Right => found.len(),
            TruncationSide::Left => count - 1 - found.len(),
        };
        let end = starts.get(number + 1).copied().unwrap_or(text.len());
        let piece = pieces.shortened(tokenizer, &text[starts[number]..end]);
        let encoding = tokenizer.encode_fast(&piece[..], false)?;
        tokens += encoding.len();
        found.push(encoding.get_ids().to_vec());
    }
    let all = found.len() == count;
    if side == TruncationSide::Left {
        found.reverse();
    }
    Ok(Tokens { ids: found.concat(), all })
}

/// Bytes of the first excerpt for each token that is wanted. Words of most languages take less, so
/// one excerpt is enough as a rule.
const BYTES_A_TOKEN: usize = 16;

/// Bytes of the first excerpt at least, and by how much each excerpt exceeds the one before.
const LEAST_BYTES: usize = 1024;
const GROWTH: usize = 4;

/// Whether an excerpt up to a space has the tokens that the whole text begins with.
fn are_readable(tokenizer: &Tokenizer) -> bool {
    let spaceless = |token: &String| !token.contains(char::is_whitespace);
    tokenizer.get_added_vocabulary().get_vocab().keys().all(spaceless)
        && tokenizer.get_normalizer().is_none_or(is_local)
        && tokenizer.get_pre_tokenizer().is_some_and(|p| keeps_words(p) && splits_at_spaces(p))
}

/// Whether a normaliser changes a word by the word alone.
fn is_local(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::BertNormalizer(_)
        | NormalizerWrapper::StripNormalizer(_)
        | NormalizerWrapper::StripAccents(_)
        | NormalizerWrapper::NFC(_)
        | NormalizerWrapper::NFD(_)
        | NormalizerWrapper::NFKC(_)
        | NormalizerWrapper::NFKD(_)
        | NormalizerWrapper::Lowercase(_)
        | NormalizerWrapper::Nmt(_)
        | NormalizerWrapper::Precompiled(_) => true,
        // What SentencePiece's tokenizers do with several spaces.
        NormalizerWrapper::Replace(_) => {
            let several = serde_json::json!(
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}
            );
            serde_json::to_value(normalizer).is_ok_and(|replace| replace == several)
        }
        NormalizerWrapper::Sequence(all) => all.as_ref().iter().all(is_local),
        _ => false,
    }
}

/// Whether a pre-tokenizer splits a word by the word alone.
fn keeps_words(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::BertPreTokenizer(_)
        | PreTokenizerWrapper::ByteLevel(_)
        | PreTokenizerWrapper::Metaspace(_)
        | PreTokenizerWrapper::Whitespace(_)
        | PreTokenizerWrapper::WhitespaceSplit(_)
        | PreTokenizerWrapper::Punctuation(_)
        | PreTokenizerWrapper::Digits(_) => true,
        PreTokenizerWrapper::Sequence(all) => all.as_ref().iter().all(keeps_words),
        _ => false,
    }
}

/// Whether a pre-tokenizer begins a new word at a space that follows a letter.
fn splits_at_spaces(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::BertPreTokenizer(_)
        | PreTokenizerWrapper::Whitespace(_)
        | PreTokenizerWrapper::WhitespaceSplit(_) => true,
        PreTokenizerWrapper::ByteLevel(bytes) => bytes.use_regex,
        PreTokenizerWrapper::Metaspace(spaces) => spaces.split,
        PreTokenizerWrapper::Sequence(all) => all.as_ref().iter().any(splits_at_spaces),
        _ => false,
    }
}

/// Whether a text's beginning is split as any other word that follows a space.
fn begins_alike(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::Metaspace(spaces) => spaces.prepend_scheme == PrependScheme::Always,
        PreTokenizerWrapper::Sequence(all) => all.as_ref().iter().all(begins_alike),
        _ => true,
    }
}

/// Ever longer lengths of excerpts, all shorter than the text, that may have `wanted` tokens.
fn lengths(text: &str, wanted: usize) -> impl Iterator<Item = usize> {
    let (first, whole) = (wanted.saturating_mul(BYTES_A_TOKEN).max(LEAST_BYTES), text.len());
    let lengths = std::iter::successors(Some(first), |length| length.checked_mul(GROWTH));
    lengths.take_while(move |length| *length < whole)
}

/// The text up to a space that follows a letter or digit: the first at `least` bytes or beyond, and
/// before `end`.
fn up_to_space(text: &str, least: usize, end: usize) -> Option<&str> {
    let is_cut = |place: &usize| {
        text.as_bytes()[*place] == b' '
            && text[..*place].chars().next_back().is_some_and(char::is_alphanumeric)
    };
    (least.max(1)..end).find(is_cut).map(|place| &text[..place])
}

/// The text from a space between letters or digits on, of `least` bytes at least and fewer than
/// [`GROWTH`] times as many.
fn from_space(text: &str, least: usize) -> Option<&str> {
    let (first, last) =
        (text.len().saturating_sub(least.saturating_mul(GROWTH)), text.len() - least);
    let is_cut = |place: &usize| {
        text.as_bytes()[*place] == b' '
            && text[..*place].chars().next_back().is_some_and(char::is_alphanumeric)
            && text[*place + 1..].chars().next().is_some_and(char::is_alphanumeric)
    };
    (first.max(1)..last).rev().find(is_cut).map(|place| &text[place..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_end_at_a_space_after_a_letter_and_grow() {
        let words = "ab, cd ".repeat(1000);
        let lengths: Vec<usize> = lengths(&words, 64).collect();
        assert_eq!(lengths, [1024, 4096]);
        // 1024 = 146 · 7 + 2: the next "cd" ends at byte 6 of its seven.
        assert_eq!(up_to_space(&words, 1024, 4096).map(str::len), Some(146 * 7 + 6));
        assert_eq!(from_space("ab cd, ef gh", 2), Some(" gh"));
        assert_eq!(from_space("ab, cd, ef", 2), None);
        assert_eq!(super::lengths("short text", 8).count(), 0);
        assert_eq!(super::lengths(&words, usize::MAX).count(), 0);
        for spaceless in ["a".repeat(9_000), " ".repeat(9_000), ", ".repeat(4_500)] {
            assert_eq!(up_to_space(&spaceless, 1024, 4096), None);
            assert_eq!(from_space(&spaceless, 1024), None);
        }
    }
}
