//! Ragged batches' offsets, picking rows, and embedding tables.

use std::ops::Range;
use std::sync::Arc;

use adaptkit_kernels::elementwise;

use crate::{Device, Tensor};

/// Where each row of a ragged batch begins: row r is tokens `offsets[r]..offsets[r + 1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowOffsets(Arc<[usize]>);

impl RowOffsets {
    /// From the rows' lengths in tokens.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> RowOffsets {
        let mut end = 0;
        let ends = lengths.into_iter().map(|n| {
            end += n;
            end
        });
        RowOffsets(std::iter::once(0).chain(ends).collect())
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.0.len() - 1
    }

    /// Tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.0[self.0.len() - 1]
    }

    /// The offsets: one more than there are rows.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }

    /// The tokens of a range of rows.
    ///
    /// # Panics
    /// If the range is not within the rows.
    pub fn tokens_of(&self, rows: Range<usize>) -> Range<usize> {
        self.0[rows.start]..self.0[rows.end]
    }

    /// A range of rows by itself.
    ///
    /// # Panics
    /// If the range is not within the rows.
    pub fn range(&self, rows: Range<usize>) -> RowOffsets {
        let first = self.0[rows.start];
        RowOffsets(self.0[rows.start..=rows.end].iter().map(|end| end - first).collect())
    }

    /// The first token of each row.
    pub fn first_tokens(&self) -> &[usize] {
        &self.0[..self.rows()]
    }
}

impl Tensor {
    /// The named rows, one after another.
    ///
    /// # Panics
    /// If one does not exist.
    pub fn gather_rows(&self, rows: &[usize]) -> Tensor {
        let mut out = self.device().uninitialised(rows.len(), self.columns());
        elementwise::gather_rows(self.values(), self.columns(), rows, out.values_mut());
        out
    }

    /// The rows of a range.
    ///
    /// # Panics
    /// If the range is not within the rows.
    pub fn row_range(&self, rows: Range<usize>) -> Tensor {
        let numbers = rows.start * self.columns()..rows.end * self.columns();
        self.device().tensor(rows.len(), self.columns(), &self.values()[numbers])
    }

    /// The rows of several tensors, one after another.
    ///
    /// # Panics
    /// If there is none, or they differ in their columns.
    pub fn stacked(parts: &[Tensor]) -> Tensor {
        let columns = parts[0].columns();
        let rows = parts.iter().map(Tensor::rows).sum();
        let mut out = parts[0].device().uninitialised(rows, columns);
        let mut rest = out.values_mut();
        for part in parts {
            assert_eq!(part.columns(), columns);
            let (to, after) = rest.split_at_mut(part.values().len());
            to.copy_from_slice(part.values());
            rest = after;
        }
        out
    }

    /// A tensor of `total` rows, zero but for the named ones, to which this one's are added.
    ///
    /// # Panics
    /// If one does not exist.
    pub fn scatter_rows(&self, rows: &[usize], total: usize) -> Tensor {
        let mut out = self.device().zeros(total, self.columns());
        elementwise::scatter_add_rows(self.values(), self.columns(), rows, out.values_mut());
        out
    }
}

/// The source of an embedding table's rows, such as a mapped file.
pub trait TableSource: Send + Sync {
    /// All of the table, row after row.
    fn values(&self) -> &[f32];
}

impl TableSource for Vec<f32> {
    fn values(&self) -> &[f32] {
        self
    }
}

/// A frozen table of vectors [entries, width] that are looked up by number. It stays where its
/// source has it, so that of a large vocabulary only the rows in use are ever read.
pub struct EmbeddingTable {
    source: Box<dyn TableSource>,
    width: usize,
}

impl EmbeddingTable {
    /// A table of rows of `width` numbers.
    ///
    /// # Panics
    /// If the source is not a whole number of rows.
    pub fn new(source: Box<dyn TableSource>, width: usize) -> EmbeddingTable {
        assert!(width > 0 && source.values().len().is_multiple_of(width));
        EmbeddingTable { source, width }
    }

    /// Rows of the table.
    pub fn entries(&self) -> usize {
        self.source.values().len() / self.width
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The sum of tables' rows: for each token the sum of its row of every table.
    ///
    /// # Panics
    /// If the tables' widths or the lists' lengths differ, or an id is not in its table.
    pub fn sum(device: &Device, tables: &[(&EmbeddingTable, &[u32])]) -> Tensor {
        let (width, tokens) = tables.first().map_or((1, 0), |(t, ids)| (t.width, ids.len()));
        let mut out = device.zeros(tokens, width);
        for (table, ids) in tables {
            assert!(table.width == width && ids.len() == tokens);
            let values = table.source.values();
            for (id, out) in ids.iter().zip(out.values_mut().chunks_exact_mut(width)) {
                let row = &values[*id as usize * width..][..width];
                out.iter_mut().zip(row).for_each(|(out, x)| *out += x);
            }
        }
        out
    }
}
