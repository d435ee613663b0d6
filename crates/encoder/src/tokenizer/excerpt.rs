//! The first tokens of a long text, without reading the rest.
//!
//! A text of a million characters has some 200,000 tokens, of which a model takes 512. Where the
//! tokenizer always begins a new word at a space, and looks no further than that, the tokens of a
//! text up to a space are the first tokens of the whole text, so that an excerpt is enough. This
//! holds for the tokenizers of all families read here; any other reads whole texts.

use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// Bytes of the first excerpt for each token that is wanted. Words of most languages take less, so
/// one excerpt is enough as a rule.
const BYTES_A_TOKEN: usize = 16;

/// Bytes of the first excerpt at least, and by how much each excerpt exceeds the one before.
const LEAST_BYTES: usize = 1024;
const GROWTH: usize = 4;

/// Whether an excerpt up to a space has the tokens that the whole text begins with.
pub(super) fn are_readable(tokenizer: &Tokenizer) -> bool {
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

/// Ever longer excerpts of a text, all shorter than the text, that may have `wanted` tokens.
pub(super) fn growing(text: &str, wanted: usize) -> impl Iterator<Item = &str> {
    let first = wanted.saturating_mul(BYTES_A_TOKEN).max(LEAST_BYTES);
    let lengths = std::iter::successors(Some(first), |length| length.checked_mul(GROWTH));
    lengths.take_while(|length| *length < text.len()).filter_map(|length| up_to_space(text, length))
}

/// The text up to a space that follows a letter or digit: the first at `length` bytes or beyond,
/// unless that is as good as all of the text.
fn up_to_space(text: &str, length: usize) -> Option<&str> {
    let bytes = text.as_bytes();
    let end = length.saturating_mul(GROWTH).min(bytes.len());
    let place = (length.max(1)..end).find(|place| {
        bytes[*place] == b' '
            && text[..*place].chars().next_back().is_some_and(char::is_alphanumeric)
    })?;
    Some(&text[..place])
}

#[cfg(test)]
mod tests {
    use super::growing;

    #[test]
    fn excerpts_end_at_a_space_after_a_letter_and_grow() {
        let words = "ab, cd ".repeat(1000);
        let lengths: Vec<usize> = growing(&words, 64).map(str::len).collect();
        // 1024 = 146 · 7 + 2: the next "cd" ends at byte 6 of its seven.
        assert_eq!(lengths, [146 * 7 + 6, 585 * 7 + 6]);
        assert!(growing(&words, 64).all(|excerpt| excerpt.ends_with("cd")));
        for spaceless in
            ["a".repeat(100_000), " ".repeat(100_000), "é".repeat(50_000), ", ".repeat(50_000)]
        {
            assert_eq!(growing(&spaceless, 8).count(), 0);
        }
        assert_eq!(growing("short text", 8).count(), 0);
        assert_eq!(growing(&words, usize::MAX).count(), 0);
    }
}
