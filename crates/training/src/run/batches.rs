//! Which rows share a batch.

use adaptkit_compute::{Random, mix};
use adaptkit_encoder::{RaggedBatch, TokenisedRow};
use sha2::{Digest, Sha256};

use crate::data::Answers;

/// Tokenised rows with their answers.
pub struct Dataset {
    /// The rows.
    pub rows: Vec<TokenisedRow>,
    /// An answer for each row.
    pub answers: Answers,
}

impl Dataset {
    /// Rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.rows.iter().map(|row| row.ids.len()).sum()
    }

    /// A digest of the rows and their answers.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for row in &self.rows {
            digest.update((row.ids.len() as u64).to_le_bytes());
            row.ids.iter().for_each(|id| digest.update(id.to_le_bytes()));
            row.type_ids.iter().for_each(|id| digest.update(id.to_le_bytes()));
        }
        match &self.answers {
            Answers::Classes(labels) => labels.iter().for_each(|l| digest.update(l.to_le_bytes())),
            Answers::Values(values) => values.iter().for_each(|v| digest.update(v.to_le_bytes())),
            Answers::LabelSets(sets) => sets.iter().for_each(|set| {
                digest.update((set.len() as u64).to_le_bytes());
                set.iter().for_each(|label| digest.update(label.to_le_bytes()));
            }),
        }
        format!("sha256:{:x}", digest.finalize())
    }

    /// Rows that were cut to the longest length allowed.
    pub fn truncated(&self) -> usize {
        self.rows.iter().filter(|row| row.truncated).count()
    }
}

/// The named rows end to end.
pub(crate) fn batch(rows: &[TokenisedRow], picked: &[usize]) -> RaggedBatch {
    RaggedBatch::new(picked.iter().map(|i| (&rows[*i].ids[..], &rows[*i].type_ids[..])))
}

/// Batches within which rows are sorted are drawn from this many batches' worth of shuffled rows.
const WINDOW: usize = 16;

/// How much a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSize {
    /// This many rows.
    Rows(usize),
    /// At most this many tokens; a longer row goes alone.
    Tokens(usize),
}

impl BatchSize {
    /// Rows that fill a batch on average.
    fn rows(self, lengths: &[usize]) -> usize {
        match self {
            BatchSize::Rows(rows) => rows.max(1),
            BatchSize::Tokens(tokens) => {
                let total = lengths.iter().sum::<usize>().max(1);
                (tokens as u128 * lengths.len() as u128 / total as u128).max(1) as usize
            }
        }
    }
}

/// The rows of one epoch in batches of `size`, in an order drawn from the seed and the epoch.
///
/// With `group`, rows of similar length share a batch: the shuffled rows are sorted within windows
/// of sixteen batches, and the batches are shuffled again.
pub fn length_grouped_batches(
    lengths: &[usize],
    size: BatchSize,
    group: bool,
    seed: u64,
    epoch: usize,
) -> Vec<Vec<usize>> {
    let mut random = Random::new(mix(seed, epoch as u64));
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    random.shuffle(&mut order);
    if group {
        for window in order.chunks_mut(size.rows(lengths).saturating_mul(WINDOW)) {
            // By length alone, so that equal rows keep the shuffle's order.
            window.sort_by_key(|row| lengths[*row]);
        }
    }
    let mut batches: Vec<Vec<usize>> = match size {
        BatchSize::Rows(rows) => order.chunks(rows.max(1)).map(<[usize]>::to_vec).collect(),
        BatchSize::Tokens(tokens) => filled(order, lengths, tokens),
    };
    if group {
        random.shuffle(&mut batches);
    }
    batches
}

/// Rows in batches of at most `tokens` tokens (but at least a row), longest first: for evaluation,
/// where a row's result does not depend on its batch.
pub fn token_batches(lengths: &[usize], tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|row| std::cmp::Reverse(lengths[*row]));
    filled(order, lengths, tokens)
}

/// Rows in batches of at most `tokens` tokens (but at least a row), in their order.
fn filled(order: Vec<usize>, lengths: &[usize], tokens: usize) -> Vec<Vec<usize>> {
    let (mut batches, mut filled) = (Vec::<Vec<usize>>::new(), 0);
    for row in order {
        match batches.last_mut() {
            Some(batch) if filled + lengths[row] <= tokens => {
                batch.push(row);
                filled += lengths[row];
            }
            _ => {
                batches.push(vec![row]);
                filled = lengths[row];
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths() -> Vec<usize> {
        let mut random = Random::new(3);
        (0..1000).map(|_| 1 + random.below(100) as usize).collect()
    }

    #[test]
    fn every_row_is_in_exactly_one_batch() {
        let lengths = lengths();
        for group in [false, true] {
            let batches = length_grouped_batches(&lengths, BatchSize::Rows(32), group, 7, 0);
            let mut rows: Vec<usize> = batches.concat();
            rows.sort_unstable();
            assert_eq!(rows, (0..1000).collect::<Vec<_>>(), "grouped: {group}");
            assert_eq!(batches.iter().filter(|b| b.len() != 32).count(), 1, "one short batch");
        }
    }

    #[test]
    fn order_follows_the_seed_and_the_epoch() {
        let lengths = lengths();
        let batches =
            |seed, epoch| length_grouped_batches(&lengths, BatchSize::Rows(8), true, seed, epoch);
        assert_eq!(batches(1, 0), batches(1, 0));
        assert_ne!(batches(1, 0), batches(1, 1));
        assert_ne!(batches(1, 0), batches(2, 0));
    }

    #[test]
    fn grouping_brings_rows_of_similar_length_together() {
        let lengths = lengths();
        let spread = |group| {
            let batches = length_grouped_batches(&lengths, BatchSize::Rows(16), group, 5, 0);
            let widths = batches.iter().map(|batch| {
                let of = |row: &usize| lengths[*row];
                batch.iter().map(of).max().unwrap_or(0) - batch.iter().map(of).min().unwrap_or(0)
            });
            widths.sum::<usize>()
        };
        assert!(spread(true) * 4 < spread(false), "{} and {}", spread(true), spread(false));
    }

    #[test]
    fn a_budget_of_tokens_holds_and_no_row_is_lost() {
        let lengths = lengths();
        for group in [false, true] {
            let draw =
                |seed| length_grouped_batches(&lengths, BatchSize::Tokens(90), group, seed, 1);
            let batches = draw(7);
            let mut rows: Vec<usize> = batches.concat();
            rows.sort_unstable();
            assert_eq!(rows, (0..1000).collect::<Vec<_>>(), "grouped: {group}");
            for batch in &batches {
                let tokens: usize = batch.iter().map(|row| lengths[*row]).sum();
                assert!(tokens <= 90 || batch.len() == 1, "{tokens} tokens in {batch:?}");
            }
            assert!(batches.iter().any(|batch| batch.len() > 1));
            assert_eq!(batches, draw(7));
            assert_ne!(batches, draw(8));
        }
    }

    #[test]
    fn token_batches_stay_within_the_budget_and_lose_nothing() {
        let lengths = lengths();
        let batches = token_batches(&lengths, 256);
        let mut rows: Vec<usize> = batches.concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..1000).collect::<Vec<_>>());
        let tokens = |batch: &Vec<usize>| batch.iter().map(|row| lengths[*row]).sum::<usize>();
        assert!(batches.iter().all(|batch| tokens(batch) <= 256));
        assert_eq!(token_batches(&[300, 2, 1], 256), [vec![0], vec![1, 2]]);
    }
}
