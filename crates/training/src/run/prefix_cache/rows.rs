//! The rows whose states are kept, each once.

use adaptkit_encoder::TokenisedRow;
use sha2::{Digest, Sha256};

/// Every different row of a training's data sets, in an order that follows from the rows alone.
///
/// What is kept of a row is found by its number here, so that runs that split the same rows
/// otherwise, or order them otherwise, share it.
pub(super) struct RowTable {
    /// Tokens of each row.
    pub(super) lengths: Vec<usize>,
    /// Over the rows, in their order here.
    pub(super) digest: [u8; 32],
    /// The number of each training row, and of each validation row.
    numbers: [Vec<u32>; 2],
}

/// One of a training's data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::run) enum Part {
    Training,
    Validation,
}

impl RowTable {
    pub(super) fn new(training: &[TokenisedRow], validation: &[TokenisedRow]) -> RowTable {
        let all: Vec<&TokenisedRow> = training.iter().chain(validation).collect();
        let key = |row: &usize| (&all[*row].ids, &all[*row].type_ids);
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|a, b| key(a).cmp(&key(b)));
        let (mut lengths, mut digest) = (Vec::new(), Sha256::new());
        let mut numbers = vec![0; all.len()];
        let mut last: Option<usize> = None;
        for row in order {
            if last.is_none_or(|last| key(&last) != key(&row)) {
                let (ids, types) = key(&row);
                digest.update((ids.len() as u64).to_le_bytes());
                ids.iter().chain(types).for_each(|id| digest.update(id.to_le_bytes()));
                lengths.push(ids.len());
                last = Some(row);
            }
            numbers[row] = lengths.len() as u32 - 1;
        }
        let of_validation = numbers.split_off(training.len());
        let digest = digest.finalize().into();
        RowTable { lengths, digest, numbers: [numbers, of_validation] }
    }

    /// The number of a data set's row.
    pub(super) fn number(&self, part: Part, row: usize) -> usize {
        self.numbers[part as usize][row] as usize
    }

    /// Tokens of a data set's different rows.
    pub(super) fn tokens(&self, part: Part) -> u64 {
        let mut numbers = self.numbers[part as usize].clone();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.iter().map(|row| self.lengths[*row as usize] as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn row(ids: &[u32], kind: u32) -> TokenisedRow {
        TokenisedRow { ids: ids.to_vec(), type_ids: vec![kind; ids.len()], truncated: false }
    }

    #[test]
    fn a_table_follows_from_the_rows_and_not_from_their_order_or_split() {
        let [a, b, c] = [row(&[1, 2], 0), row(&[1, 2], 1), row(&[3], 0)];
        let one = RowTable::new(&[c.clone(), a.clone(), c.clone()], from_ref(&b));
        let other = RowTable::new(from_ref(&b), &[a.clone(), c.clone(), b.clone()]);
        assert_eq!(one.lengths, [2, 2, 1]);
        assert_eq!((&one.lengths, one.digest), (&other.lengths, other.digest));
        let numbers = |table: &RowTable, part, rows: usize| -> Vec<usize> {
            (0..rows).map(|row| table.number(part, row)).collect()
        };
        assert_eq!(numbers(&one, Part::Training, 3), [2, 0, 2]);
        assert_eq!(numbers(&one, Part::Validation, 1), [1]);
        assert_eq!(numbers(&other, Part::Validation, 3), [0, 2, 1]);
        assert_eq!([Part::Training, Part::Validation].map(|part| one.tokens(part)), [3, 2]);
        let changed = RowTable::new(&[a, row(&[1, 2], 0), c], &[]);
        assert_ne!(one.digest, changed.digest);
    }
}
