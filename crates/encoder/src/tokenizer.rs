//! Texts to token ids, through the `tokenizers` crate.
//!
//! The crate turns a text into tokens; cutting rows and adding special tokens is done here, and
//! tested against the crate's own. The crate would need a copy of the whole tokenizer for each
//! maximum length, keeps all that it cuts off, and of a long pair combines every piece of one text
//! with every piece of the other, which can take minutes.

mod added_token;
mod assembly;
mod class;
mod contained;
mod excerpt;
mod fingerprint;
mod from_files;
mod pieces;
mod sentence_piece;
mod settings;
mod template;
#[cfg(test)]
mod tests;
mod vocabulary;
mod word_window;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;
use tokenizers::ModelWrapper;

use crate::error::quoted;
use crate::{EncoderConfig, EncoderError};
use assembly::{Assembled, assemble};
use contained::contained;
use excerpt::{Excerpts, Tokens};
use settings::TruncationSide;
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
    /// The file of its vocabulary.
    path: PathBuf,
    /// Without truncation, padding and special tokens.
    inner: tokenizers::Tokenizer,
    template: Template,
    side: TruncationSide,
    /// How the ends of long texts are found without the rest.
    excerpts: Excerpts,
    vocab_size: usize,
    longest_row: usize,
    default_max_length: usize,
}

impl Tokenizer {
    /// Reads the tokenizer of a model's directory: `tokenizer.json`, or the vocabulary's files where
    /// there is none, with what the settings beside it say.
    ///
    /// # Errors
    /// Files that are missing or malformed, and settings that cannot be followed.
    pub fn from_dir(dir: &Path, config: &EncoderConfig) -> Result<Tokenizer, EncoderError> {
        let Assembled { path, tokenizer: mut inner, side, token_types, settings } =
            assemble(dir, &config.model_type)?;
        let wrong = |reason: String| EncoderError::Tokenizer { path: path.clone(), reason };
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
        let token_types = if token_types { config.type_vocab_size } else { 0 };
        let template = Template::new(&added, token_types).map_err(wrong)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| wrong(e.to_string()))?;
        inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        let largest = template.largest_id();
        if largest as usize >= config.vocab_size {
            return Err(wrong(format!(
                "its special token with the id {largest} stands in every row, and the encoder embeds \
                 {}: they are not of one model",
                config.vocab_size
            )));
        }
        let longest_row = config.longest_row();
        let least = template.added(true) + 1;
        let limit = settings.model_max_length()?;
        if let Some(limit) = limit.filter(|limit| *limit < least as f64) {
            return Err(settings.wrong(
                "model_max_length",
                format!(
                    "is {limit}, which leaves no room for a text: a row takes {least} at least"
                ),
            ));
        }
        Ok(Tokenizer {
            excerpts: Excerpts::new(&inner),
            path,
            inner,
            template,
            side,
            vocab_size: config.vocab_size,
            longest_row,
            default_max_length: limit.map_or(longest_row, |limit| longest_row.min(limit as usize)),
        })
    }

    /// The longest row that both the tokenizer's settings and the model's positions allow.
    pub fn default_max_length(&self) -> usize {
        self.default_max_length
    }

    /// Tokenises rows over the threads of the current pool; rows longer than `max_length` tokens
    /// are cut, the longer text of a pair first.
    ///
    /// # Errors
    /// If the model does not take that many tokens. A row that the tokenizer refuses, that has a
    /// token which the encoder does not embed, or that has no token at all; of several such rows
    /// the first.
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
        let found: Vec<_> = rows.par_iter().map(|row| self.checked_row(*row, max_length)).collect();
        let numbered = found.into_iter().enumerate();
        numbered
            .map(|(row, found)| found.map_err(|reason| EncoderError::Row { row, reason }))
            .collect()
    }

    /// A row with tokens, all of which the encoder embeds; or why it is none.
    fn checked_row(&self, row: TextRow<'_>, max_length: usize) -> Result<TokenisedRow, String> {
        let found = self.row(row, max_length)?;
        if found.ids.is_empty() {
            return Err(
                "the text has no token, and the tokenizer adds none: the model has nothing \
                        to read"
                    .into(),
            );
        }
        if let Some(id) = found.ids.iter().find(|id| **id as usize >= self.vocab_size) {
            let token = quoted(&self.inner.id_to_token(*id).unwrap_or_default());
            return Err(format!(
                "the token {token} has the id {id} in {} and the encoder embeds {}: leave it out of \
                 the text, or take a model whose embeddings were resized for it",
                self.path.display(),
                self.vocab_size
            ));
        }
        Ok(found)
    }

    fn row(&self, row: TextRow<'_>, max_length: usize) -> Result<TokenisedRow, String> {
        let room = max_length - self.template.added(row.pair.is_some());
        let Some(pair) = row.pair else {
            let tokens = self.tokens(row.text, room + 1)?;
            let truncated = tokens.ids.len() > room;
            return Ok(self.assembled(self.kept(&tokens.ids, room), None, truncated));
        };
        // The longer of two long texts gets the odd token, so it must be known which that is.
        let mut wanted = room + 1;
        let both = loop {
            let both = [self.tokens(row.text, wanted)?, self.tokens(pair, wanted)?];
            let [first, second] = both.each_ref().map(|tokens| tokens.ids.len());
            let undecided = !room.is_multiple_of(2)
                && first.min(second) > room
                && match both.each_ref().map(|tokens| tokens.all) {
                    [true, true] => false,
                    [true, false] => second <= first,
                    [false, true] => first <= second,
                    [false, false] => true,
                };
            if !undecided {
                break both;
            }
            wanted = first.max(second).saturating_mul(4);
        };
        let lengths = both.each_ref().map(|tokens| tokens.ids.len());
        let [first, second] = longest_first(lengths, room);
        let truncated = [first, second] != lengths;
        let (first, second) = (self.kept(&both[0].ids, first), self.kept(&both[1].ids, second));
        Ok(self.assembled(first, Some(second), truncated))
    }

    /// The tokens at the end of a text that is kept, at least `wanted` of them if it has so many.
    fn tokens(&self, text: &str, wanted: usize) -> Result<Tokens, String> {
        contained(|| self.excerpts.tokens(&self.inner, text, wanted, self.side))
            .map_err(|e| format!("{} refused the text ({e})", self.path.display()))
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
