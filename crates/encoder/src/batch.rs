//! Batches of tokenised rows, laid end to end without padding.

use adaptkit_compute::RowOffsets;

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

    /// Each token's place in its row, counted from `first`.
    pub(crate) fn positions(&self, first: u32) -> Vec<u32> {
        let lengths = self.offsets.as_slice().windows(2).map(|w| w[1] - w[0]);
        lengths.flat_map(|n| (first..).take(n)).collect()
    }
}
