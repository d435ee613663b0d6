//! The packed form of the right-hand matrix of a product.

use std::ops::Range;
use std::sync::Arc;

use super::format::{self, Format};
use super::{MatrixRef, depth_blocks, depth_words, tiled_packing};
use crate::isa::Isa;
use crate::memory::prefer_huge_pages;
use crate::precision::{Int8Scale, Precision};
use crate::simd::{Kernel, NativeTiles, Simd, dispatch};
use crate::sizes;

/// A cache line, so that the vectors of panels and of copied rows never straddle two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct CacheLine([u32; 16]);

impl CacheLine {
    pub(crate) const ZERO: CacheLine = CacheLine([0; 16]);
}

/// A matrix [k, n] in the order in which the product's inner loop reads it.
///
/// Layout: the depth k in words of one, two or four numbers, by the [`Precision`]; for each block
/// of words, panel after panel; a panel holds two vectors' worth of columns (one, if no more are
/// left), word after word, and is filled up with zeros.
#[derive(Clone)]
pub struct PackedMatrix {
    isa: Isa,
    precision: Precision,
    k: usize,
    n: usize,
    lines: Lines,
    /// Of each column, for 8-bit integers; filled up to whole vectors.
    scales: Vec<f32>,
    /// For each block of the depth, the sum of each column, for 8-bit integers.
    column_sums: Vec<u32>,
}

/// Where a packed matrix lies.
#[derive(Clone)]
enum Lines {
    /// In memory of its own.
    Own(Vec<CacheLine>),
    /// Among others of its shape, in a [`PackedSlab`](super::PackedSlab).
    Shared(Arc<Vec<CacheLine>>, Range<usize>),
}

impl Lines {
    fn all(&self) -> &[CacheLine] {
        match self {
            Lines::Own(lines) => lines,
            Lines::Shared(slab, range) => &slab[range.clone()],
        }
    }
}

/// One panel: where it begins in a depth block of `rows` rows, and its columns.
pub(super) struct Panel {
    pub(super) first_column: usize,
    /// Columns that exist; the rest up to the width are zeros.
    pub(super) columns: usize,
    /// Vectors in a row: 1 or 2.
    pub(super) vectors: usize,
}

pub(super) fn panel_count(n: usize, lanes: usize) -> usize {
    n.div_ceil(2 * lanes)
}

pub(super) fn panel(n: usize, lanes: usize, index: usize) -> Panel {
    let first_column = index * 2 * lanes;
    let columns = (n - first_column).min(2 * lanes);
    Panel { first_column, columns, vectors: columns.div_ceil(lanes) }
}

/// Numbers in a vector of the instruction set.
pub(super) fn lanes(isa: Isa) -> usize {
    struct Ask;
    impl Kernel for Ask {
        type Output = usize;
        fn run<S: Simd>(self, _: S) -> usize {
            S::LANES
        }
    }
    dispatch(isa, Ask)
}

/// Columns of the packed form, filled up to whole vectors.
pub(super) fn padded_columns(n: usize, lanes: usize) -> usize {
    n.div_ceil(lanes) * lanes
}

impl PackedMatrix {
    /// Packs `b` [k, n] for the instruction set.
    pub fn pack(isa: Isa, precision: Precision, b: MatrixRef<'_>) -> PackedMatrix {
        let mut packed = PackedMatrix::empty(isa, precision);
        packed.repack(b);
        packed
    }

    /// An empty matrix, to be filled by [`PackedMatrix::repack`].
    pub fn empty(isa: Isa, precision: Precision) -> PackedMatrix {
        PackedMatrix {
            isa,
            precision,
            k: 0,
            n: 0,
            lines: Lines::Own(Vec::new()),
            scales: Vec::new(),
            column_sums: Vec::new(),
        }
    }

    /// Packs `b` [k, n] in place of what was there, into the same memory where it is large enough.
    pub fn repack(&mut self, b: MatrixRef<'_>) {
        match (self.precision, self.isa.has_tiles()) {
            (Precision::F32, _) => self.repack_as::<format::F32>(b),
            (Precision::Bf16, false) => self.repack_as::<format::Bf16>(b),
            (Precision::Bf16, true) => self.repack_as::<format::TiledBf16>(b),
            (Precision::Int8, false) => self.repack_as::<format::Int8>(b),
            (Precision::Int8, true) => self.repack_as::<format::TiledInt8>(b),
        }
    }

    fn repack_as<F: Format>(&mut self, b: MatrixRef<'_>) {
        let lanes = lanes(self.isa);
        // Empty until all is packed: what panics half way leaves a matrix that nothing is read of.
        (self.k, self.n) = (0, 0);
        // Every address in the packed form is less than this product, so that none can wrap.
        let padded = sizes::count([b.columns.div_ceil(lanes), lanes]);
        let words = depth_words::<F>(b.rows);
        let packed = sizes::count([words, padded]);
        if self.precision == Precision::Int8 {
            self.measure_columns(b, padded);
        }
        let length = packed.div_ceil(16);
        // A slab's lines stay as they are.
        let mut lines = match std::mem::replace(&mut self.lines, Lines::Own(Vec::new())) {
            Lines::Own(lines) => lines,
            Lines::Shared(..) => Vec::new(),
        };
        if length > lines.capacity() {
            lines = Vec::with_capacity(length);
            prefer_huge_pages(&mut lines);
        }
        lines.resize(length, CacheLine::ZERO);
        let out = words_mut(&mut lines);
        let side_by_side = b.column_stride == 1 || b.row_stride == 1;
        match (self.precision, side_by_side, NativeTiles::of(self.isa)) {
            (Precision::Bf16, true, Some(tiles)) => tiled_packing::pack(tiles, b, words, out),
            _ => self.pack_panels::<F>(b, words, lanes, out),
        }
        self.lines = Lines::Own(lines);
        (self.k, self.n) = (b.rows, b.columns);
    }

    /// Packs `b` panel by panel to `out`, with the scales that have been measured.
    fn pack_panels<F: Format>(
        &mut self,
        b: MatrixRef<'_>,
        words: usize,
        lanes: usize,
        out: &mut [u32],
    ) {
        let mut at = 0;
        for depth in depth_blocks::<F>(words) {
            for index in 0..panel_count(b.columns, lanes) {
                let panel = panel(b.columns, lanes, index);
                let width = panel.vectors * lanes;
                let to = &mut out[at..at + depth.len() * width];
                at += to.len();
                if panel.columns < width {
                    to.fill(0);
                }
                if F::PER_WORD == 1 {
                    pack_numbers(b, depth.clone(), &panel, width, to);
                } else {
                    pack_words::<F>(b, depth.clone(), &panel, width, &self.scales, to);
                }
                if self.precision == Precision::Int8 {
                    self.column_sums.extend(column_sums(to, width));
                }
            }
        }
    }

    /// A matrix [k, n] of f32 whose packed form is a range of a slab's lines.
    pub(super) fn shared(
        isa: Isa,
        [k, n]: [usize; 2],
        slab: Arc<Vec<CacheLine>>,
        range: Range<usize>,
    ) -> PackedMatrix {
        let lines = Lines::Shared(slab, range);
        PackedMatrix { k, n, lines, ..PackedMatrix::empty(isa, Precision::F32) }
    }

    /// The packed form.
    pub(super) fn lines(&self) -> &[CacheLine] {
        self.lines.all()
    }

    /// The scale of each column, from its largest magnitude.
    fn measure_columns(&mut self, b: MatrixRef<'_>, padded: usize) {
        let mut largest = vec![0u32; padded];
        for (column, largest) in largest.iter_mut().enumerate().take(b.columns) {
            for row in 0..b.rows {
                let x = b.data[row * b.row_stride + column * b.column_stride];
                *largest = (*largest).max(x.to_bits() & 0x7fff_ffff);
            }
        }
        self.scales.clear();
        self.scales.extend(largest.iter().map(|bits| Int8Scale::of_largest(*bits).scale));
        self.column_sums.clear();
    }

    /// The instruction set whose tile this is the order of.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The format of the numbers.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Whether its products run in matrix tiles, as [`TiledProduct`](super::TiledProduct).
    pub fn is_tiled(&self) -> bool {
        self.isa.has_tiles() && self.precision != Precision::F32
    }

    /// [k, n]
    pub fn shape(&self) -> [usize; 2] {
        [self.k, self.n]
    }

    /// Bytes that the packed form takes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines()) + 4 * (self.scales.len() + self.column_sums.len())
    }

    pub(super) fn words(&self) -> &[u32] {
        words_of(self.lines())
    }

    /// The scales of columns, empty unless of 8-bit integers.
    pub(super) fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The sums by block of the depth and column, empty unless of 8-bit integers.
    pub(super) fn column_sums(&self) -> &[u32] {
        &self.column_sums
    }
}

pub(super) fn words_of(lines: &[CacheLine]) -> &[u32] {
    // SAFETY: a CacheLine is sixteen words without padding.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 16) }
}

pub(crate) fn words_mut(lines: &mut [CacheLine]) -> &mut [u32] {
    let len = lines.len() * 16;
    // SAFETY: a CacheLine is sixteen words without padding.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) }
}

/// Copies rows × the panel's columns of `b` to `to` [rows, width].
fn pack_numbers(b: MatrixRef<'_>, rows: Range<usize>, panel: &Panel, width: usize, to: &mut [u32]) {
    let first = panel.first_column;
    if b.column_stride == 1 {
        for (row, to) in rows.zip(to.chunks_exact_mut(width)) {
            let from = &b.data[row * b.row_stride + first..][..panel.columns];
            for (word, x) in to.iter_mut().zip(from) {
                *word = x.to_bits();
            }
        }
    } else {
        // Columns are far apart in memory: read each in turn, eight rows of the panel at a time,
        // so that the lines written stay in the cache.
        for start in rows.clone().step_by(8) {
            let part = start..rows.end.min(start + 8);
            for column in 0..panel.columns {
                let from = (first + column) * b.column_stride;
                for row in part.clone() {
                    let x = b.data[row * b.row_stride + from];
                    to[(row - rows.start) * width + column] = x.to_bits();
                }
            }
        }
    }
}

/// Packs the panel's columns of `b` to `to` [words, width], for formats of several numbers a word.
fn pack_words<F: Format>(
    b: MatrixRef<'_>,
    words: Range<usize>,
    panel: &Panel,
    width: usize,
    scales: &[f32],
    to: &mut [u32],
) {
    for start in words.clone().step_by(8) {
        let part = start..words.end.min(start + 8);
        for column in 0..panel.columns {
            let n = panel.first_column + column;
            let from = n * b.column_stride;
            let scale = Int8Scale::of_scale(scales.get(n).copied().unwrap_or_default());
            for word in part.clone() {
                let mut values = [0.0; 4];
                // No rows for a word that only fills up the depth.
                let rows = word * F::PER_WORD..b.rows.min((word + 1) * F::PER_WORD);
                for (value, row) in values.iter_mut().zip(rows) {
                    *value = b.data[row * b.row_stride + from];
                }
                to[(word - words.start) * width + column] = F::right_word(values, scale);
            }
        }
    }
}

/// The sum of each column of packed `words` of 8-bit integers.
fn column_sums(words: &[u32], width: usize) -> Vec<u32> {
    let mut sums = vec![0i32; width];
    for row in words.chunks_exact(width) {
        for (sum, word) in sums.iter_mut().zip(row) {
            *sum += word.to_le_bytes().iter().map(|byte| i32::from(*byte as i8)).sum::<i32>();
        }
    }
    sums.iter().map(|sum| *sum as u32).collect()
}
