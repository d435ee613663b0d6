//! Numbers in f32 on their way into the tiles' formats of bf16, sixteen columns by sixteen words.

use super::MatrixRef;
use super::bf16_rows::Bf16RowsMut;
use super::packed::{padded_columns, panel, panel_count};
use crate::arch::tiles;
use crate::isa::Isa;
use crate::parallel::{self, Shared, even_parts};
use crate::simd::{Kernel, NativeTiles, Simd};
use crate::sizes;

/// Numbers of a block along the depth.
const DEEP: usize = 2 * tiles::SIDE;

/// A block: rows of words, one for each pair of numbers along the depth or for each column.
#[repr(C, align(64))]
struct Block([u32; tiles::SIDE * tiles::SIDE]);

impl Block {
    const ZERO: Block = Block([0; tiles::SIDE * tiles::SIDE]);
}

/// Packs `b` [k, n] as the right matrix of products in tiles, into words/DEEP blocks of the depth for
/// each panel; its numbers are side by side along rows or along columns.
pub(super) fn pack(tiles: NativeTiles, b: MatrixRef<'_>, words: usize, to: &mut [u32]) {
    let blocks = words / tiles::SIDE;
    assert!(b.column_stride == 1 || b.row_stride == 1);
    let packed = sizes::count([words, padded_columns(b.columns, tiles::SIDE)]);
    assert!(to.len() >= packed && 2 * words >= b.rows);
    let to = Shared::new(to);
    // Along rows a task takes some of the depth, else some of the columns: what lies side by side.
    let by_depth = b.column_stride == 1;
    let panels = panel_count(b.columns, tiles::SIDE);
    let all = if by_depth { blocks } else { panels };
    let parts: Vec<_> = even_parts(all, all.min(4 * parallel::threads())).collect();
    parallel::for_each(parts.len(), |part| {
        let mut scope = [0..panels, 0..blocks];
        scope[usize::from(by_depth)] = parts[part].clone();
        let [panels, blocks] = scope;
        tiles.run(Pack { b, words, panels, blocks, to });
    });
}

struct Pack<'a> {
    b: MatrixRef<'a>,
    words: usize,
    panels: std::ops::Range<usize>,
    /// Of the depth.
    blocks: std::ops::Range<usize>,
    to: Shared<'a, u32>,
}

impl Kernel for Pack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Pack { b, words, panels, blocks, to } = self;
        let mut block = Block::ZERO;
        for deep in blocks {
            for index in panels.clone() {
                let panel = panel(b.columns, tiles::SIDE, index);
                let width = panel.vectors * tiles::SIDE;
                for v in 0..panel.vectors {
                    let first = panel.first_column + v * tiles::SIDE;
                    let columns = (b.columns - first).min(tiles::SIDE);
                    let at =
                        words * panel.first_column + deep * tiles::SIDE * width + v * tiles::SIDE;
                    // SAFETY: inside of `NativeTiles::run`; the block lies within the packed form,
                    // whose length the caller has checked, and no other task writes it.
                    unsafe {
                        let to = to.pointer().add(at);
                        if b.column_stride == 1 {
                            pairs_of_rows(s, b, deep * DEEP, first, columns, to, width);
                        } else {
                            rows_of_words(
                                s,
                                b.transposed(),
                                first,
                                columns,
                                deep * DEEP,
                                &mut block,
                            );
                            tiles::transpose(block.0.as_ptr(), tiles::SIDE, to, width);
                        }
                    }
                }
            }
        }
    }
}

/// Sixteen words of each of the pairs of rows from `row` on, for `columns` columns from `first` on; zeros
/// where there are none.
///
/// # Safety
/// Inside of `NativeTiles::run`; sixteen rows of sixteen words, `stride` apart, must be writable.
#[inline(always)]
unsafe fn pairs_of_rows<S: Simd>(
    s: S,
    b: MatrixRef<'_>,
    row: usize,
    first: usize,
    columns: usize,
    to: *mut u32,
    stride: usize,
) {
    let mut halves = [[0u16; tiles::SIDE]; 2];
    for pair in 0..tiles::SIDE {
        for (half, numbers) in halves.iter_mut().enumerate() {
            let row = row + 2 * pair + half;
            // SAFETY: `numbers` holds a vector of sixteen.
            unsafe {
                match row < b.rows {
                    true => round(
                        s,
                        &b.data[row * b.row_stride + first..][..columns],
                        numbers.as_mut_ptr(),
                    ),
                    false => numbers.fill(0),
                }
            }
        }
        // SAFETY: the caller's contract.
        unsafe { tiles::pair(halves[0].as_ptr(), halves[1].as_ptr(), to.add(pair * stride)) };
    }
}

/// The numbers from `column` on, as words, of `rows` rows from `first` on; zeros where there are none.
///
/// # Safety
/// Inside of `NativeTiles::run`.
#[inline(always)]
unsafe fn rows_of_words<S: Simd>(
    s: S,
    b: MatrixRef<'_>,
    first: usize,
    rows: usize,
    column: usize,
    block: &mut Block,
) {
    let count = b.columns.saturating_sub(column).min(DEEP);
    for (row, words) in block.0.chunks_exact_mut(tiles::SIDE).enumerate() {
        if row >= rows || count < DEEP {
            words.fill(0);
        }
        if row < rows && count > 0 {
            let numbers = &b.data[(first + row) * b.row_stride + column..][..count];
            for (half, numbers) in numbers.chunks(S::LANES).enumerate() {
                // SAFETY: a row of the block holds two vectors of sixteen halves.
                unsafe {
                    round(s, numbers, words.as_mut_ptr().cast::<u16>().add(half * tiles::SIDE))
                };
            }
        }
    }
}

/// At most a vector of numbers, and zeros behind them.
///
/// # Safety
/// `LANES` halves must be writable at `to`.
#[inline(always)]
unsafe fn round<S: Simd>(s: S, numbers: &[f32], to: *mut u16) {
    // SAFETY: the caller's contract; a whole vector is read only where there is one.
    unsafe {
        let x = match numbers.len() == S::LANES {
            true => s.load(numbers.as_ptr()),
            false => s.load_part(numbers.as_ptr(), numbers.len()),
        };
        s.store_bf16(to, x);
    }
}

impl Bf16RowsMut<'_> {
    /// self [rows, columns] ← the columns of `from` [columns, rows], rounded; with matrix tiles.
    ///
    /// # Panics
    /// If the shapes do not fit, the numbers of a row of `from` are apart, or `isa` has no tiles.
    pub fn round_transposed(&mut self, isa: Isa, from: MatrixRef<'_>) {
        let tiles = NativeTiles::of(isa).expect("an instruction set with matrix tiles");
        let layout = self.layout;
        assert_eq!([layout.columns, layout.rows], from.shape(), "a matrix of another shape");
        assert!(from.column_stride == 1, "the numbers of a row are apart");
        let blocks = layout.columns.div_ceil(DEEP);
        let to = Start(self.start.cast());
        let parts: Vec<_> = even_parts(blocks, blocks.min(4 * parallel::threads())).collect();
        parallel::for_each(parts.len(), |part| {
            let stride = tiles::SIDE * layout.lines_in_a_row();
            tiles.run(Turn { from, blocks: parts[part].clone(), to, stride });
        });
    }
}

/// Where rows of words begin.
#[derive(Clone, Copy)]
struct Start(*mut u32);

// SAFETY: tasks write different words of every row.
unsafe impl Send for Start {}
// SAFETY: as above.
unsafe impl Sync for Start {}

struct Turn<'a> {
    from: MatrixRef<'a>,
    blocks: std::ops::Range<usize>,
    to: Start,
    /// Words from one row to the next.
    stride: usize,
}

impl Kernel for Turn<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Turn { from, blocks, to, stride } = self;
        let mut block = Block::ZERO;
        for deep in blocks {
            for first in (0..from.columns).step_by(tiles::SIDE) {
                let columns = (from.columns - first).min(tiles::SIDE);
                let words = block.0.as_mut_ptr();
                // SAFETY: inside of `NativeTiles::run`; behind the last row there is room for the
                // rows of a whole tile, and a row has whole blocks of words.
                unsafe {
                    pairs_of_rows(s, from, deep * DEEP, first, columns, words, tiles::SIDE);
                    let to = to.0.add(first * stride + deep * tiles::SIDE);
                    tiles::transpose(words, tiles::SIDE, to, stride);
                }
            }
        }
    }
}
