//! Texts to token ids, through the `tokenizers` crate.
//!
//! The crate turns a text into tokens; cutting rows and adding special tokens is done here, and
//! tested against the crate's own. The crate would need a copy of the whole tokenizer for each
//! maximum length, keeps all that it cuts off, and of a long pair combines every piece of one text
//! with every piece of the other, which can take minutes.

mod contained;
mod excerpt;
mod template;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::{Model, ModelWrapper};

use crate::error::quoted;
use crate::{EncoderConfig, EncoderError, json_file};
use contained::{check_character_maps, contained};
use template::{Piece, Template};

/// One text or a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextRow<'a> {
    /// The text.
    pub text: &'a str,
    /// The second text of a pair.
    pub pair: Option<&'a str>,
}

/// A row as the encoder takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenisedRow {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Which text each token belongs to: 0 or 1; always 0 where the encoder does not tell.
    pub type_ids: Vec<u32>,
    /// Whether tokens were cut off.
    pub truncated: bool,
}

/// A model's tokenizer.
pub struct Tokenizer {
    path: PathBuf,
    /// Without truncation, padding and special tokens.
    inner: tokenizers::Tokenizer,
    template: Template,
    side: TruncationSide,
    /// Whether the first tokens of a text can be found without the rest of it.
    reads_excerpts: bool,
    vocab_size: usize,
    longest_row: usize,
    default_max_length: usize,
}

/// The end at which long texts are cut.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TruncationSide {
    Left,
    #[default]
    Right,
}

/// What `tokenizer_config.json` says that matters here.
#[derive(Default, Deserialize)]
struct Settings {
    /// Beyond all measure where the tokenizer has no limit of its own.
    model_max_length: Option<f64>,
    #[serde(default)]
    truncation_side: TruncationSide,
}

/// The first tokens of a text.
struct Tokens {
    ids: Vec<u32>,
    /// Whether these are all of them.
    all: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a model's directory, and `tokenizer_config.json` if it is there.
    ///
    /// # Errors
    /// If it is missing or malformed, or knows tokens that the encoder does not embed.
    pub fn from_dir(dir: &Path, config: &EncoderConfig) -> Result<Tokenizer, EncoderError> {
        let path = dir.join("tokenizer.json");
        if !path.is_file() {
            let expected = "tokenizer.json (in Python, AutoTokenizer.from_pretrained(…, \
                            use_fast=True).save_pretrained(…) writes it)";
            return Err(EncoderError::MissingFile { path: dir.into(), expected });
        }
        let settings = match dir.join("tokenizer_config.json") {
            settings if settings.is_file() => json_file::read(&settings)?,
            _ => Settings::default(),
        };
        let wrong = |reason: String| EncoderError::Tokenizer { path: path.clone(), reason };
        let bytes = json_file::bytes(&path)?;
        check_character_maps(&bytes).map_err(wrong)?;
        let mut inner = contained(|| tokenizers::Tokenizer::from_bytes(&bytes))
            .map_err(|e| wrong(format!("it is not a tokenizer that can be read ({e})")))?;
        if let ModelWrapper::BPE(bpe) = inner.get_model()
            && let Some(dropout) = bpe.dropout.filter(|dropout| *dropout > 0.0)
        {
            return Err(wrong(format!(
                "it leaves out merges at random (\"dropout\" is {dropout}), so that a text would have \
                 other tokens each time: set it to null"
            )));
        }
        let added = match inner.get_post_processor().map(serde_json::to_value) {
            Some(value) => value.map_err(|e| wrong(e.to_string()))?,
            None => Value::Null,
        };
        let template = Template::new(&added, config.type_vocab_size).map_err(wrong)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| wrong(e.to_string()))?;
        inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        let largest = largest_id(&inner).max(template.largest_id());
        if largest as usize >= config.vocab_size {
            return Err(wrong(format!(
                "it has token ids up to {largest} and the encoder embeds {}: they are not of one model",
                config.vocab_size
            )));
        }
        let longest_row = config.longest_row();
        let least = template.added(true) + 1;
        let limit =
            settings.model_max_length.filter(|n| (least as f64..longest_row as f64).contains(n));
        let tokenizer = Tokenizer {
            reads_excerpts: excerpt::are_readable(&inner),
            path,
            inner,
            template,
            side: settings.truncation_side,
            vocab_size: config.vocab_size,
            longest_row,
            default_max_length: limit.map_or(longest_row, |limit| limit as usize),
        };
        Ok(tokenizer)
    }

    /// The longest row that both the tokenizer's settings and the model's positions allow.
    pub fn default_max_length(&self) -> usize {
        self.default_max_length
    }

    /// Tokenises rows over the threads of the current pool; rows longer than `max_length` tokens
    /// are cut, the longer text of a pair first.
    ///
    /// # Errors
    /// If the model does not take that many tokens, or a text is refused.
    pub fn encode(
        &self,
        rows: &[TextRow<'_>],
        max_length: usize,
    ) -> Result<Vec<TokenisedRow>, EncoderError> {
        let least = self.template.added(rows.iter().any(|row| row.pair.is_some())) + 1;
        if !(least..=self.longest_row).contains(&max_length) {
            let (asked, most) = (max_length, self.longest_row);
            return Err(EncoderError::MaxLength { asked, least, most });
        }
        rows.par_iter().map(|row| self.row(*row, max_length)).collect()
    }

    fn row(&self, row: TextRow<'_>, max_length: usize) -> Result<TokenisedRow, EncoderError> {
        let room = max_length - self.template.added(row.pair.is_some());
        let Some(pair) = row.pair else {
            let tokens = self.tokens(row.text, room + 1)?;
            let truncated = tokens.ids.len() > room;
            return Ok(self.assembled(self.kept(&tokens.ids, room), None, truncated));
        };
        let mut both = [self.tokens(row.text, room + 1)?, self.tokens(pair, room + 1)?];
        let [first, second] = &both;
        let undecided =
            first.ids.len() > room && second.ids.len() > room && !room.is_multiple_of(2);
        if undecided && !(first.all && second.all) {
            // The longer of two long texts gets the odd token, so both must be known in full.
            both = [self.tokens(row.text, usize::MAX)?, self.tokens(pair, usize::MAX)?];
        }
        let lengths = both.each_ref().map(|tokens| tokens.ids.len());
        let [first, second] = longest_first(lengths, room);
        let truncated = [first, second] != lengths;
        let (first, second) = (self.kept(&both[0].ids, first), self.kept(&both[1].ids, second));
        Ok(self.assembled(first, Some(second), truncated))
    }

    /// The first tokens of a text, at least `wanted` of them if it has so many.
    fn tokens(&self, text: &str, wanted: usize) -> Result<Tokens, EncoderError> {
        if self.reads_excerpts && matches!(self.side, TruncationSide::Right) {
            for excerpt in excerpt::growing(text, wanted) {
                let ids = self.ids(excerpt)?;
                if ids.len() >= wanted {
                    return Ok(Tokens { ids, all: false });
                }
            }
        }
        Ok(Tokens { ids: self.ids(text)?, all: true })
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>, EncoderError> {
        let refused = |reason| EncoderError::Tokenizer { path: self.path.clone(), reason };
        let encoding = contained(|| self.inner.encode_fast(text, false))
            .map_err(|e| refused(format!("it refused a text ({e})")))?;
        let ids = encoding.get_ids();
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab_size) {
            let token = quoted(&self.inner.id_to_token(*id).unwrap_or_default());
            let embedded = self.vocab_size;
            return Err(refused(format!(
                "its token {token} has the id {id} and the encoder embeds {embedded}: they are not of one model"
            )));
        }
        Ok(ids.to_vec())
    }

    /// The `count` tokens that are left after cutting.
    fn kept<'a>(&self, ids: &'a [u32], count: usize) -> &'a [u32] {
        let count = count.min(ids.len());
        match self.side {
            TruncationSide::Left => &ids[ids.len() - count..],
            TruncationSide::Right => &ids[..count],
        }
    }

    fn assembled(&self, first: &[u32], second: Option<&[u32]>, truncated: bool) -> TokenisedRow {
        let length = first.len() + second.map_or(0, <[u32]>::len);
        let length = length + self.template.added(second.is_some());
        let (mut ids, mut type_ids) = (Vec::with_capacity(length), Vec::with_capacity(length));
        for (piece, type_id) in self.template.pieces(second.is_some()) {
            match piece {
                Piece::Special(special) => ids.extend_from_slice(special),
                Piece::First => ids.extend_from_slice(first),
                Piece::Second => ids.extend_from_slice(second.unwrap_or_default()),
            }
            type_ids.resize(ids.len(), *type_id);
        }
        TokenisedRow { ids, type_ids, truncated }
    }
}

/// The largest id that is known without asking for every token: ids of a model are dense as a rule,
/// those of added tokens need not be.
fn largest_id(tokenizer: &tokenizers::Tokenizer) -> u32 {
    let dense = tokenizer.get_model().get_vocab_size().saturating_sub(1) as u32;
    let added = tokenizer.get_added_vocabulary().get_vocab().values().max();
    dense.max(added.copied().unwrap_or(0))
}

/// How many tokens of each text of a pair stay if there is room for so many: the longer is cut to
/// the shorter's length first, then both alike, where the longer gets an odd one.
fn longest_first([first, second]: [usize; 2], room: usize) -> [usize; 2] {
    if first + second <= room {
        return [first, second];
    }
    let half = room / 2;
    match first > second {
        true if second <= half => [room - second, second],
        true => [room - half, half],
        false if first <= half => [first, room - first],
        false => [half, room - half],
    }
}
