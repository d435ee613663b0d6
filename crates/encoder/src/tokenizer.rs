//! Texts to token ids, through the `tokenizers` crate.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use tokenizers::{EncodeInput, TruncationParams, TruncationStrategy};

use crate::{EncoderConfig, EncoderError};

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
    /// Which text each token belongs to: 0 or 1.
    pub type_ids: Vec<u32>,
    /// Whether tokens were cut off.
    pub truncated: bool,
}

/// A model's tokenizer.
pub struct Tokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
    type_vocab_size: usize,
    longest_row: usize,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a model's directory.
    ///
    /// # Errors
    /// If it is missing or malformed, or knows more tokens than the encoder embeds.
    pub fn from_dir(dir: &Path, config: &EncoderConfig) -> Result<Tokenizer, EncoderError> {
        let path = dir.join("tokenizer.json");
        if !path.is_file() {
            let expected = "tokenizer.json (save it with a fast tokenizer of transformers)";
            return Err(EncoderError::MissingFile { path: dir.into(), expected });
        }
        let wrong = |reason: String| EncoderError::Tokenizer { path: path.clone(), reason };
        let mut inner = tokenizers::Tokenizer::from_file(&path).map_err(|e| wrong(e.to_string()))?;
        let tokens = inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
        if tokens > config.vocab_size {
            return Err(wrong(format!(
                "it has token ids up to {}, the encoder embeds {}: they are not of one model",
                tokens - 1,
                config.vocab_size
            )));
        }
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| wrong(e.to_string()))?;
        Ok(Tokenizer {
            path,
            inner,
            type_vocab_size: config.type_vocab_size,
            longest_row: config.longest_row(),
        })
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
        let special = |pair| self.inner.get_post_processor().map_or(0, |p| tokenizers::PostProcessor::added_tokens(p, pair));
        let least = special(rows.iter().any(|row| row.pair.is_some())) + 1;
        if !(least..=self.longest_row).contains(&max_length) {
            let (asked, most) = (max_length, self.longest_row);
            return Err(EncoderError::MaxLength { asked, least, most });
        }
        let mut inner = self.inner.clone();
        let truncation = TruncationParams {
            max_length,
            strategy: TruncationStrategy::LongestFirst,
            ..TruncationParams::default()
        };
        inner.with_truncation(Some(truncation)).map_err(|e| self.refused(e))?;
        rows.par_iter().map(|row| self.row(&inner, *row)).collect()
    }

    fn row(
        &self,
        inner: &tokenizers::Tokenizer,
        row: TextRow<'_>,
    ) -> Result<TokenisedRow, EncoderError> {
        let input = match row.pair {
            Some(pair) => EncodeInput::Dual(row.text.into(), pair.into()),
            None => EncodeInput::Single(row.text.into()),
        };
        let encoding = inner.encode_fast(input, true).map_err(|e| self.refused(e))?;
        let mut type_ids = encoding.get_type_ids().to_vec();
        if self.type_vocab_size < 2 {
            type_ids.fill(0);
        }
        Ok(TokenisedRow {
            ids: encoding.get_ids().to_vec(),
            type_ids,
            truncated: !encoding.get_overflowing().is_empty(),
        })
    }

    fn refused(&self, e: tokenizers::Error) -> EncoderError {
        EncoderError::Tokenizer { path: self.path.clone(), reason: e.to_string() }
    }
}
