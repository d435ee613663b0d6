//! Which rows share a batch.

use adaptkit_compute::{Random, mix};
use adaptkit_encoder::{RaggedBatch, TokenisedRow};

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

/// The rows of one epoch in batches of `size`, in an order drawn from the seed and the epoch.
///
/// With `group`, rows of similar length share a batch: the shuffled rows are sorted within windows
/// of sixteen batches, and the batches are shuffled again.
pub fn length_grouped_batches(
    lengths: &[usize],
    size: usize,
    group: bool,
    seed: u64,
    epoch: usize,
) -> Vec<Vec<usize>> {
    let mut random = Random::new(mix(seed, epoch as u64));
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    random.shuffle(&mut order);
    let size = size.max(1);
    if group {
        for window in order.chunks_mut(size.saturating_mul(WINDOW)) {
            // By length alone, so that equal rows keep the shuffle's order.
            window.sort_by_key(|row| lengths[*row]);
        }
    }
    let mut batches: Vec<Vec<usize>> = order.chunks(size).map(<[usize]>::to_vec).collect();
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
            let batches = length_grouped_batches(&lengths, 32, group, 7, 0);
            let mut rows: Vec<usize> = batches.concat();
            rows.sort_unstable();
            assert_eq!(rows, (0..1000).collect::<Vec<_>>(), "grouped: {group}");
            assert_eq!(batches.iter().filter(|b| b.len() != 32).count(), 1, "one short batch");
        }
    }

    #[test]
    fn order_follows_the_seed_and_the_epoch() {
        let lengths = lengths();
        let batches = |seed, epoch| length_grouped_batches(&lengths, 8, true, seed, epoch);
        assert_eq!(batches(1, 0), batches(1, 0));
        assert_ne!(batches(1, 0), batches(1, 1));
        assert_ne!(batches(1, 0), batches(2, 0));
    }

    #[test]
    fn grouping_brings_rows_of_similar_length_together() {
        let lengths = lengths();
        let spread = |group| {
            let batches = length_grouped_batches(&lengths, 16, group, 5, 0);
            let widths = batches.iter().map(|batch| {
                let of = |row: &usize| lengths[*row];
                batch.iter().map(of).max().unwrap_or(0) - batch.iter().map(of).min().unwrap_or(0)
            });
            widths.sum::<usize>()
        };
        assert!(spread(true) * 4 < spread(false), "{} and {}", spread(true), spread(false));
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
