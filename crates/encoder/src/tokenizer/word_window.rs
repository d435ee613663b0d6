//! The first tokens of a text that may have no white space, without reading the rest: for
//! byte-level and SentencePiece tokenizers.
//!
//! A text is cut inside a word. The words in front of that one are the text's. Of the word itself
//! the beginning is known, and this follows: no token is longer than the vocabulary's longest, so one
//! of the last few places of the beginning is an end of a token in the whole word too, and in front
//! of such a place both algorithms give the tokens that they give for the text up to there alone.
//! (No merge of byte pairs crosses an end of a token, and a best path of pieces up to a place does not
//! depend on what follows.) So the tokens that the word has up to every one of these places are the
//! whole word's.

use std::collections::HashSet;

use tokenizers::{
    Model, ModelWrapper, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizer,
    PreTokenizerWrapper, Tokenizer,
};

/// What a cut of a text inside a word depends on.
pub(super) struct WordWindow {
    /// Characters of the longest token.
    longest: usize,
    /// Whether the pre-tokenizer splits words by the classes of characters.
    by_class: bool,
    /// Tokens that are looked for in the text as it is, and so in the normalised text where there is
    /// no normaliser.
    raw: Vec<String>,
    /// Characters of tokens that are looked for in the normalised text, each token's first left out.
    inner: HashSet<char>,
}

/// A class of characters that normalisers leave alone and that no word ends between.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Sign,
}

impl WordWindow {
    /// `None` where words cannot be cut this way.
    pub(super) fn new(tokenizer: &Tokenizer) -> Option<WordWindow> {
        let by_class = match tokenizer.get_pre_tokenizer()? {
            PreTokenizerWrapper::ByteLevel(bytes) if bytes.use_regex => true,
            PreTokenizerWrapper::Metaspace(spaces) if spaces.split => false,
            PreTokenizerWrapper::Sequence(all) => {
                let words = all.as_ref();
                let keeps = |one: &PreTokenizerWrapper| {
                    matches!(one, PreTokenizerWrapper::WhitespaceSplit(_))
                        || matches!(one, PreTokenizerWrapper::Metaspace(spaces) if spaces.split)
                };
                if !words.iter().all(keeps) {
                    return None;
                }
                false
            }
            _ => return None,
        };
        let longest = match tokenizer.get_model() {
            // A word's last character has a form of its own then, or a word a token.
            ModelWrapper::BPE(model)
                if model.end_of_word_suffix.as_deref().unwrap_or("").is_empty()
                    && !model.ignore_merges =>
            {
                let tokens = model.get_vocab();
                tokens.keys().map(|token| token.chars().count()).max()
            }
            ModelWrapper::Unigram(model) => {
                model.iter().map(|(token, _)| token.chars().count()).max()
            }
            _ => return None,
        };
        let normalizer = tokenizer.get_normalizer();
        let mut window =
            WordWindow { longest: longest?, by_class, raw: Vec::new(), inner: HashSet::new() };
        for token in tokenizer.get_added_vocabulary().get_added_tokens_decoder().values() {
            match normalizer {
                Some(normalizer) if token.normalized => {
                    let mut content = NormalizedString::from(&token.content[..]);
                    normalizer.normalize(&mut content).ok()?;
                    window.inner.extend(content.get().chars().skip(1));
                }
                _ => window.raw.push(token.content.clone()),
            }
            // Whether it is found depends on the character behind it.
            if token.single_word {
                return None;
            }
        }
        Some(window)
    }

    /// A place inside a word at `least` bytes of a text or beyond, and before `end`.
    pub(super) fn place(&self, text: &str, least: usize, end: usize) -> Option<usize> {
        let from = (least.max(1)..end.min(text.len())).find(|at| text.is_char_boundary(*at))?;
        let mut before = text[..from].chars().next_back()?;
        for (at, c) in text[from..].char_indices() {
            if from + at >= end {
                break;
            }
            // What follows must not change what is in front, as an accent does.
            let after = text[from + at + c.len_utf8()..].chars().next();
            let [left, right, next] = [Some(before), Some(c), after].map(|c| c.and_then(class));
            let inside = left.is_some() && right.is_some() && next.is_some();
            if inside && (!self.by_class || left == right) && !self.crossed(text, from + at, c) {
                return Some(from + at);
            }
            before = c;
        }
        None
    }

    /// Whether a token that is looked for in the text may lie across a place in front of `c`.
    fn crossed(&self, text: &str, place: usize, c: char) -> bool {
        let lies_across = |token: &String| {
            let mut inside = token.char_indices().map(|(inside, _)| inside).skip(1);
            inside.any(|inside| {
                place >= inside
                    && text.is_char_boundary(place - inside)
                    && text[place - inside..].starts_with(&token[..])
            })
        };
        self.raw.iter().any(lies_across)
            || c.to_lowercase().chain([c]).any(|c| self.inner.contains(&c))
    }

    /// The tokens that every text begins with which begins with `beginning`, cut at such a place;
    /// `None` where that cannot be told.
    pub(super) fn certain_tokens(
        &self,
        tokenizer: &Tokenizer,
        beginning: &str,
    ) -> tokenizers::Result<Option<Vec<u32>>> {
        let added = tokenizer.get_added_vocabulary();
        let mut words = added.extract_and_normalize(tokenizer.get_normalizer(), beginning);
        if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut words)?;
        }
        let words = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
        let Some(((last, _, None), words)) = words.split_last() else { return Ok(None) };
        let model = tokenizer.get_model();
        let ids = |word: &str| -> tokenizers::Result<Vec<u32>> {
            Ok(model.tokenize(word)?.into_iter().map(|token| token.id).collect())
        };
        let mut certain = Vec::new();
        for (word, _, tokens) in words {
            match tokens {
                Some(tokens) => certain.extend(tokens.iter().map(|token| token.id)),
                None => certain.extend(ids(word)?),
            }
        }
        let mut common = ids(last)?;
        let places = last.char_indices().map(|(at, _)| at).rev().take(self.longest);
        for place in places {
            let other = ids(&last[..place])?;
            let alike = common.iter().zip(&other).take_while(|(a, b)| a == b).count();
            common.truncate(alike);
        }
        // Unknown characters side by side are one token, which may go on.
        common.pop();
        certain.extend(common);
        Ok(Some(certain))
    }
}

/// The class of a character that every normaliser read here keeps as it is, or in another case, and
/// that joins neither with what is in front of it nor with what is behind it.
fn class(c: char) -> Option<Class> {
    match c {
        'a'..='z' | 'A'..='Z' => Some(Class::Letter),
        '0'..='9' => Some(Class::Digit),
        '!'..='~' => Some(Class::Sign),
        // Greek, Cyrillic, kana, Chinese and Korean.
        'α'..='ω' | 'а'..='я' | 'А'..='Я' => Some(Class::Letter),
        'ぁ'..='ん' | 'ァ'..='ン' | '\u{4e00}'..='\u{9fa5}' | '가'..='힣' => {
            Some(Class::Letter)
        }
        _ => None,
    }
}
