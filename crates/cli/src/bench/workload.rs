//! The rows that are measured with.

use std::fmt;

use adaptkit::compute::Random;
use adaptkit::encoder::{EncoderConfig, RaggedBatch, TokenisedRow, Tokenizer};
use adaptkit::training::data::{Column, read_examples};
use adaptkit::training::run::{EVALUATION_TOKENS, token_batches};

use super::Flags;
use super::base::Base;
use crate::Common;
use crate::error::CliError;
use crate::rows;

/// Tokens of random rows at most: a thousand batches, beyond which nothing new is measured.
const MOST_TOKENS: usize = 1 << 20;

/// Tokens of a random row, and of the longest of a file, unless asked otherwise.
const DEFAULT_LENGTH: usize = 128;

/// Rows, and the batches in which a forward pass takes them: those of an evaluation.
pub(super) struct Workload {
    pub(super) rows: Vec<TokenisedRow>,
    pub(super) batches: Vec<RaggedBatch>,
}

impl Workload {
    /// The rows that the flags ask for.
    pub(super) fn of(
        flags: &Flags,
        base: &Base,
        config: &EncoderConfig,
        common: &Common,
    ) -> Result<Workload, CliError> {
        let rows = match flags.input.is_empty() {
            true => {
                let length = flags.length.unwrap_or(DEFAULT_LENGTH.min(config.longest_row()));
                random_rows(flags.batch, length, config)?
            }
            false => rows_of_files(flags, base, config, common)?,
        };
        let lengths: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
        let batch = |picked: Vec<usize>| {
            RaggedBatch::new(picked.iter().map(|i| (&rows[*i].ids[..], &rows[*i].type_ids[..])))
        };
        let batches = token_batches(&lengths, EVALUATION_TOKENS).into_iter().map(batch).collect();
        Ok(Workload { rows, batches })
    }

    pub(super) fn tokens(&self) -> usize {
        self.rows.iter().map(|row| row.ids.len()).sum()
    }

    /// Tokens of the shortest and of the longest row.
    pub(super) fn lengths(&self) -> [usize; 2] {
        let lengths = || self.rows.iter().map(|row| row.ids.len());
        [lengths().min().unwrap_or(0), lengths().max().unwrap_or(0)]
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, tokens, [shortest, longest]) = (self.rows.len(), self.tokens(), self.lengths());
        match shortest == longest {
            true => write!(f, "{rows} rows of {longest} tokens"),
            false => write!(f, "{rows} rows of {shortest} to {longest} tokens, {tokens} in all"),
        }
    }
}

fn random_rows(
    rows: usize,
    length: usize,
    config: &EncoderConfig,
) -> Result<Vec<TokenisedRow>, CliError> {
    let longest = config.longest_row();
    if length > longest {
        return Err(CliError::usage(format!(
            "--length is {length}: this model takes rows of 1 to {longest} tokens"
        )));
    }
    if rows.saturating_mul(length) > MOST_TOKENS {
        return Err(CliError::usage(format!(
            "--batch {rows} of --length {length} are more than {MOST_TOKENS} tokens; a smaller batch \
             measures the same"
        )));
    }
    let mut random = Random::new(0);
    let row = |_| TokenisedRow {
        ids: (0..length).map(|_| random.below(config.vocab_size as u64) as u32).collect(),
        type_ids: vec![0; length],
        truncated: false,
    };
    Ok((0..rows).map(row).collect())
}

fn rows_of_files(
    flags: &Flags,
    base: &Base,
    config: &EncoderConfig,
    common: &Common,
) -> Result<Vec<TokenisedRow>, CliError> {
    if let Base::Random(_) = base {
        return Err(CliError::usage(format!(
            "{} has random weights and no tokenizer: --input needs a model's directory",
            flags.model
        )));
    }
    let mut columns = flags.files.columns();
    if columns.pair.is_none() && !flags.files.no_header {
        columns = columns.with_pair(Column::optional("text_pair"));
    }
    let inputs = rows::inputs(&flags.input)?;
    let (examples, report) = read_examples(&inputs, &columns, &flags.files.options())?;
    rows::say(common, &report);
    if examples.is_empty() {
        return Err(CliError::usage("--input has no rows to measure with"));
    }
    let tokenizer = Tokenizer::from_dir(base.path(), config)?;
    let max_length = flags.max_length.unwrap_or(DEFAULT_LENGTH.min(config.longest_row()));
    rows::tokenise_examples(&tokenizer, &examples, max_length)
}
