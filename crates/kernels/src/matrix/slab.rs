//! Many small matrices of one shape in one allocation.

use std::sync::Arc;

use super::packed::CacheLine;
use super::{MatrixRef, PackedMatrix};
use crate::isa::Isa;
use crate::memory::prefer_huge_pages;
use crate::precision::Precision;
use crate::sizes;

/// Matrices [k, n] of f32 in packed form, one after the other.
pub struct PackedSlab {
    isa: Isa,
    shape: [usize; 2],
    /// Lines of one matrix.
    each: usize,
    /// Behind a counter, so that a matrix of it is a [`PackedMatrix`] like any; written only while no
    /// such matrix is alive.
    lines: Arc<Vec<CacheLine>>,
}

impl PackedSlab {
    /// A slab without a matrix, with room for so many where the system gives it: what is never
    /// written takes no memory.
    pub fn with_capacity(isa: Isa, [k, n]: [usize; 2], matrices: usize) -> PackedSlab {
        let zeros = vec![0.0; sizes::count([k, n])];
        let packed = PackedMatrix::pack(isa, Precision::F32, MatrixRef::row_major(&zeros, [k, n]));
        let each = packed.lines().len();
        let mut lines = Vec::new();
        if lines.try_reserve_exact(each.saturating_mul(matrices)).is_ok() {
            prefer_huge_pages(&mut lines);
        }
        PackedSlab { isa, shape: [k, n], each, lines: Arc::new(lines) }
    }

    /// Copies a matrix to the end and returns its number.
    ///
    /// # Panics
    /// If it has another shape, is not in f32 or packed for another instruction set.
    pub fn push(&mut self, matrix: &PackedMatrix) -> usize {
        assert_eq!(matrix.shape(), self.shape, "a matrix of a slab");
        assert!(matrix.precision() == Precision::F32 && matrix.isa() == self.isa);
        let number = self.lines.len() / self.each.max(1);
        Arc::make_mut(&mut self.lines).extend_from_slice(matrix.lines());
        number
    }

    /// Bytes that the matrices take.
    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<CacheLine>()
    }

    /// One of the matrices, where it lies.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn matrix(&self, number: usize) -> PackedMatrix {
        let range = sizes::row(number, self.each);
        assert!(range.end <= self.lines.len(), "matrix {number} of a slab");
        PackedMatrix::shared(self.isa, self.shape, Arc::clone(&self.lines), range)
    }
}
