//! Batches of tokenised rows, laid end to end without padding.

use adaptkit_compute::RowOffsets;

use crate::PositionNumbers;

/// Rows of token ids, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaggedBatch {
    /// The ids of all rows' tokens.
    pub ids: Vec<u32>,
    /// Which text of a pair each token belongs to: 0 or 1.
    pub type_ids: Vec<u32>,
    /// Where each row begins.
    pub offsets: RowOffsets,
}

impl RaggedBatch {
    /// Lays rows of (ids, type ids) end to end.
    ///
    /// # Panics
    /// If a row has another number of type ids than of ids.
    pub fn new<'a>(rows: impl IntoIterator<Item = (&'a [u32], &'a [u32])>) -> RaggedBatch {
        let (mut ids, mut type_ids, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for (row, types) in rows {
            assert_eq!(row.len(), types.len(), "a type id for each token");
            ids.extend_from_slice(row);
            type_ids.extend_from_slice(types);
            lengths.push(row.len());
        }
        RaggedBatch { ids, type_ids, offsets: RowOffsets::from_lengths(lengths) }
    }

    /// The named rows, each as often as it is named, in this order.
    ///
    /// # Panics
    /// If one does not exist.
    pub fn select(&self, rows: &[usize]) -> RaggedBatch {
        RaggedBatch::new(rows.iter().map(|row| {
            let tokens = self.offsets.tokens_of(*row..row + 1);
            (&self.ids[tokens.clone()], &self.type_ids[tokens])
        }))
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.offsets.rows()
    }

    /// Tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Each token's number in its row, for the position embedding.
    pub(crate) fn positions(&self, numbers: PositionNumbers) -> Vec<u32> {
        let mut positions = Vec::with_capacity(self.tokens());
        for bounds in self.offsets.as_slice().windows(2) {
            let mut next = numbers.first();
            for id in &self.ids[bounds[0]..bounds[1]] {
                if numbers == PositionNumbers::AfterPadding(*id) {
                    positions.push(*id);
                } else {
                    positions.push(next);
                    next += 1;
                }
            }
        }
        positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `create_position_ids_from_input_ids` of `transformers` gives.
    #[test]
    fn positions_are_numbered_as_each_family_numbers_them() {
        let rows: [&[u32]; 4] = [&[0, 9, 9, 2], &[0, 1, 9, 1, 3, 2], &[1], &[0, 2]];
        let batch = RaggedBatch::new(rows.map(|ids| (ids, &[0; 6][..ids.len()])));
        let cases: [(PositionNumbers, &[u32]); 3] = [
            (PositionNumbers::FromZero, &[0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 0, 0, 1]),
            (PositionNumbers::AfterPadding(1), &[2, 3, 4, 5, 2, 1, 3, 1, 4, 5, 1, 2, 3]),
            (PositionNumbers::AfterPadding(3), &[4, 5, 6, 7, 4, 5, 6, 7, 3, 8, 4, 4, 5]),
        ];
        for (numbers, expected) in cases {
            assert_eq!(batch.positions(numbers), expected, "{numbers:?}");
        }
    }
}
