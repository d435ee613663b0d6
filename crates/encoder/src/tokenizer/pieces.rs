//! A long text in pieces whose tokens, one piece after another, are the text's: for BERT's
//! tokenizers.
//!
//! BERT splits a text at white space and on both sides of each punctuation mark and Chinese
//! character, whatever stands there, so the text may be cut in front of any of these, unless a token
//! that is looked for in the text itself lies across the cut. A word of more characters than
//! WordPiece takes is one unknown token however long it is, so its middle may be left out.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use tokenizers::{
    ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Tokenizer,
};

/// Bytes of a piece at least, unless it is a text's last.
const PIECE: usize = 8192;

/// What the words around a character become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Part of the word.
    Word,
    /// Left out of the word.
    Dropped,
    /// The word ends in front of it.
    Boundary,
    /// None of these for certain.
    Unclear,
}

/// How the texts of a tokenizer are cut into pieces.
pub(super) struct Pieces {
    ascii: [Kind; 128],
    /// Characters of the longest word that WordPiece takes.
    longest_word: usize,
    /// Tokens that are looked for in the text as it is.
    raw: Vec<String>,
    /// Characters of tokens that are looked for in the normalised text, each token's first left out.
    inner: HashSet<char>,
    /// Characters of the longest such token.
    longest_token: usize,
    /// Whether one of these tokens may lie inside a word.
    words_hold_tokens: bool,
}

impl Pieces {
    /// `None` where texts cannot be cut this way.
    pub(super) fn new(tokenizer: &Tokenizer) -> Option<Pieces> {
        let ModelWrapper::WordPiece(model) = tokenizer.get_model() else { return None };
        if !matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)))
            || !matches!(
                tokenizer.get_normalizer(),
                None | Some(NormalizerWrapper::BertNormalizer(_))
            )
        {
            return None;
        }
        let mut pieces = Pieces {
            ascii: std::array::from_fn(|c| kind(tokenizer, c as u8 as char)),
            longest_word: model.max_input_chars_per_word,
            raw: Vec::new(),
            inner: HashSet::new(),
            longest_token: 1,
            words_hold_tokens: false,
        };
        let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        for token in added.values() {
            // Whether it is found depends on the characters around it.
            if token.single_word {
                return None;
            }
            let content = match token.normalized {
                true => normalized(tokenizer, &token.content)?,
                false => token.content.clone(),
            };
            let kinds = content.chars().chain(token.content.chars()).map(|c| kind(tokenizer, c));
            let bounded = kinds.into_iter().any(|kind| kind == Kind::Boundary);
            pieces.words_hold_tokens |= !bounded;
            pieces.longest_token = pieces.longest_token.max(content.chars().count());
            match token.normalized {
                true => pieces.inner.extend(content.chars().skip(1)),
                false => pieces.raw.push(content),
            }
        }
        Some(pieces)
    }

    /// Where each piece of a text begins.
    pub(super) fn starts(&self, tokenizer: &Tokenizer, text: &str) -> Vec<usize> {
        let mut kinds = Kinds { known: HashMap::new(), tokenizer, ascii: &self.ascii };
        let mut starts = vec![0];
        let mut least = PIECE;
        while least < text.len() {
            let from = (least..text.len()).find(|at| text.is_char_boundary(*at));
            let Some(from) = from else { break };
            let mut places = text[from..].char_indices().map(|(at, c)| (from + at, c));
            let cut = places.find(|(at, c)| {
                kinds.of(*c) == Kind::Boundary && self.may_cut(tokenizer, text, *at, *c)
            });
            let Some((at, _)) = cut else { break };
            starts.push(at);
            least = at + PIECE;
        }
        starts
    }

    /// Whether no token of its own lies across the place in front of a boundary.
    fn may_cut(&self, tokenizer: &Tokenizer, text: &str, at: usize, c: char) -> bool {
        let lies_across = |token: &String| {
            let places = token.char_indices().map(|(inside, _)| inside).skip(1);
            places.into_iter().any(|inside| {
                at >= inside
                    && text.is_char_boundary(at - inside)
                    && text[at - inside..].starts_with(&token[..])
            })
        };
        let in_normalized = || {
            let become_of = normalized(tokenizer, c.encode_utf8(&mut [0; 4]));
            become_of.is_none_or(|text| text.chars().any(|c| self.inner.contains(&c)))
        };
        !self.raw.iter().any(lies_across) && (self.inner.is_empty() || !in_normalized())
    }

    /// A piece without what changes no token: the middles of its longest words, and of long runs of
    /// characters that normalising leaves out.
    pub(super) fn shortened<'a>(&self, tokenizer: &Tokenizer, piece: &'a str) -> Cow<'a, str> {
        if piece.len() <= 2 * PIECE || self.words_hold_tokens {
            return Cow::Borrowed(piece);
        }
        let mut kinds = Kinds { known: HashMap::new(), tokenizer, ascii: &self.ascii };
        let mut short = String::with_capacity(2 * PIECE);
        let mut rest = piece;
        while let Some(first) = rest.chars().next() {
            let is_inner = |kind| matches!(kind, Kind::Word | Kind::Dropped);
            if !is_inner(kinds.of(first)) {
                short.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
            let end = rest.char_indices().find(|(_, c)| !is_inner(kinds.of(*c)));
            let (stretch, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
            self.shorten_stretch(&mut kinds, stretch, &mut short);
            rest = after;
        }
        Cow::Owned(short)
    }

    /// Appends a word, with what is left out of it, as short as it may be.
    fn shorten_stretch(&self, kinds: &mut Kinds<'_>, stretch: &str, short: &mut String) {
        let words = stretch.chars().filter(|c| kinds.of(*c) == Kind::Word).count();
        // Enough for the word to be too long, and for every token that lies across its ends.
        let (head, tail) = (self.longest_word + 1 + self.longest_token, self.longest_token);
        let middle = if words > head + tail { head..words - tail } else { 0..0 };
        let (mut word, mut dropped) = (0, 0);
        for c in stretch.chars() {
            if kinds.of(c) == Kind::Word {
                if !middle.contains(&word) {
                    short.push(c);
                }
                (word, dropped) = (word + 1, 0);
            } else {
                if dropped < 2 * self.longest_token && !middle.contains(&word) {
                    short.push(c);
                }
                dropped += 1;
            }
        }
    }
}

/// The kinds of a text's characters.
struct Kinds<'a> {
    known: HashMap<char, Kind>,
    tokenizer: &'a Tokenizer,
    ascii: &'a [Kind; 128],
}

impl Kinds<'_> {
    fn of(&mut self, c: char) -> Kind {
        match self.ascii.get(c as usize) {
            Some(kind) => *kind,
            None => *self.known.entry(c).or_insert_with(|| kind(self.tokenizer, c)),
        }
    }
}

/// What the tokenizer makes of a character between two letters.
fn kind(tokenizer: &Tokenizer, c: char) -> Kind {
    let (Some(normal), Some(words)) =
        (normalized(tokenizer, &format!("x{c}x")), tokenizer.get_pre_tokenizer())
    else {
        return Kind::Unclear;
    };
    let mut split = PreTokenizedString::from(&normal[..]);
    if words.pre_tokenize(&mut split).is_err() {
        return Kind::Unclear;
    }
    let words = split.get_splits(OffsetReferential::Normalized, OffsetType::None);
    match &words[..] {
        [("xx", ..)] => Kind::Dropped,
        [(word, ..)] if word.starts_with('x') && word.ends_with('x') => Kind::Word,
        [("x", ..), ..] => Kind::Boundary,
        _ => Kind::Unclear,
    }
}

fn normalized(tokenizer: &Tokenizer, text: &str) -> Option<String> {
    let mut text = NormalizedString::from(text);
    if let Some(normalizer) = tokenizer.get_normalizer() {
        normalizer.normalize(&mut text).ok()?;
    }
    Some(text.get().to_owned())
}
