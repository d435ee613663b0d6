//! Heads as operands of products in tiles.

use crate::arch::tiles;
use crate::matrix::packed::{CacheLine, words_mut};
use crate::matrix::{Bf16Rows, Bf16RowsMut};
use crate::simd::Simd;
use crate::sizes;

/// Queries whose scores are computed at once, columns of a panel, and numbers of a step of the
/// depth.
pub(super) const PAIR: usize = 2 * tiles::SIDE;

/// Tokens that are read, `stride` halves apart: Q|K|V of all heads, or the gradient at the result.
#[derive(Clone, Copy)]
pub(super) struct Source {
    start: *const u16,
    stride: usize,
}

/// Tokens that are written, `stride` halves apart: the result, or the gradient at Q|K|V.
#[derive(Clone, Copy)]
pub(super) struct Target {
    start: *mut u16,
    stride: usize,
}

// SAFETY: plain numbers that nobody writes meanwhile.
unsafe impl Send for Source {}
// SAFETY: as above.
unsafe impl Sync for Source {}
// SAFETY: plain numbers, of which tasks touch their own row's and head's.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Source {
    pub(super) fn of(rows: Bf16Rows<'_>) -> Source {
        let stride = 2 * tiles::SIDE * rows.layout.lines_in_a_row();
        Source { start: rows.start.cast(), stride }
    }

    /// Where a head's numbers of a token begin.
    pub(super) fn at(self, token: usize, column: usize) -> *const u16 {
        self.start.wrapping_add(token * self.stride + column)
    }
}

impl Target {
    pub(super) fn of(rows: Bf16RowsMut<'_>) -> Target {
        let stride = 2 * tiles::SIDE * rows.layout.lines_in_a_row();
        Target { start: rows.start.cast(), stride }
    }

    /// Where a head's numbers of a token begin.
    pub(super) fn at(self, token: usize, column: usize) -> *mut u16 {
        self.start.wrapping_add(token * self.stride + column)
    }
}

/// Cuts pieces of so many words, rows × words in each, from an arena that grows as needed; a piece
/// begins at a cache line.
pub(super) fn cut<const N: usize>(
    arena: &mut Vec<CacheLine>,
    shapes: [[usize; 2]; N],
) -> [*mut u32; N] {
    let lines = shapes.map(|shape| sizes::count(shape).div_ceil(16));
    let all = sizes::sum(lines);
    if arena.len() < all {
        arena.resize(all, CacheLine::ZERO);
    }
    let mut at = 0;
    let start = words_mut(arena).as_mut_ptr();
    lines.map(|lines| {
        let piece = start.wrapping_add(16 * at);
        at += lines;
        piece
    })
}

/// Words from one row of `words` words to the next: an odd number of cache lines.
pub(super) fn odd_stride(words: usize) -> usize {
    16 * (words.div_ceil(16) | 1)
}

/// Panels of `count` tokens from `first` on, with the numbers of a token along the depth: for each
/// 32 tokens width/2 words of them. Tokens up to a whole panel are zeros.
///
/// # Safety
/// Inside of `NativeTiles::run`; the tokens and 32·width/2 words for each panel must be there.
#[inline(always)]
pub(super) unsafe fn by_width(
    of: Source,
    first: usize,
    count: usize,
    column: usize,
    width: usize,
    to: *mut u32,
) {
    // SAFETY: the caller's contract; rows that a tile reaches beyond the tokens are readable.
    unsafe {
        for start in (0..count).step_by(tiles::SIDE) {
            let panel = to.add(start / PAIR * PAIR * (width / 2) + start % PAIR);
            for word in (0..width / 2).step_by(tiles::SIDE) {
                let from = of.at(first + start, column).cast::<u32>().add(word);
                tiles::transpose(from, of.stride / 2, panel.add(word * PAIR), PAIR);
            }
        }
        let padded = count.next_multiple_of(PAIR);
        for token in count..padded {
            let panel = to.add(token / PAIR * PAIR * (width / 2) + token % PAIR);
            for word in 0..width / 2 {
                *panel.add(word * PAIR) = 0;
            }
        }
    }
}

/// Panels of `count` tokens from `first` on, with tokens along the depth: for each 32 of the numbers
/// of a token half as many words as there are tokens. Tokens up to a whole step are zeros.
///
/// # Safety
/// As for [`by_width`], with as many words as padded tokens/2 · width.
#[inline(always)]
pub(super) unsafe fn by_token(
    of: Source,
    first: usize,
    count: usize,
    column: usize,
    width: usize,
    to: *mut u32,
) {
    let depth = count.next_multiple_of(PAIR) / 2;
    let zeros = [0u16; tiles::SIDE];
    // SAFETY: the caller's contract.
    unsafe {
        for at in (0..width).step_by(tiles::SIDE) {
            let panel = to.add(at / PAIR * PAIR * depth + at % PAIR);
            for pair in 0..depth {
                let row = |token: usize| {
                    let there = of.at(first + token, column + at);
                    if token < count { there } else { zeros.as_ptr() }
                };
                tiles::pair(row(2 * pair), row(2 * pair + 1), panel.add(pair * PAIR));
            }
        }
    }
}

/// Rows of words, `stride` words apart, as a left operand.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) start: *const u32,
    pub(super) stride: usize,
}

impl Rows {
    pub(super) fn of(tokens: Source, token: usize, column: usize) -> Rows {
        Rows { start: tokens.at(token, column).cast(), stride: tokens.stride / 2 }
    }
}

/// sums [panels, 32, 32] ← `rows` rows of left · right, over `depth` numbers, for `panels` panels.
///
/// # Safety
/// Inside of `NativeTiles::run`; all must be there, left rows up to whole tiles.
#[inline(always)]
pub(super) unsafe fn multiply(
    left: Rows,
    rows: usize,
    right: *const u32,
    depth: usize,
    panels: usize,
    sums: *mut u32,
) {
    for panel in 0..panels {
        // SAFETY: the caller's contract.
        unsafe {
            let operands = tiles::Operands {
                left: left.start,
                left_stride: 4 * left.stride,
                right: right.add(panel * PAIR * depth / 2),
            };
            let shape = [rows.div_ceil(tiles::SIDE), 2];
            let sums = sums.add(panel * PAIR * PAIR);
            tiles::multiply(tiles::Words::Bf16, shape, operands, depth / PAIR, sums);
        }
    }
}

/// Where vector `index` of row `row` of sums lies.
#[inline(always)]
pub(super) fn vector(sums: *mut u32, row: usize, index: usize) -> *mut f32 {
    let (panel, half) = (index / 2, index % 2);
    sums.wrapping_add(panel * PAIR * PAIR + row * PAIR + half * tiles::SIDE).cast()
}

/// The columns of 32 rows of sums, as rows of words of two bf16: to [keys, 16 words].
///
/// # Safety
/// As for [`exponentials`]; `pairs` must have room for 16 rows of words.
#[inline(always)]
pub(super) unsafe fn turn<S: Simd>(
    s: S,
    sums: *mut u32,
    keys: usize,
    pairs: *mut u32,
    to: *mut u32,
    stride: usize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut halves = [[0u16; tiles::SIDE]; 2];
        for index in 0..keys / S::LANES {
            for pair in 0..PAIR / 2 {
                for (half, numbers) in halves.iter_mut().enumerate() {
                    let x = s.load(vector(sums, 2 * pair + half, index));
                    s.store_bf16(numbers.as_mut_ptr(), x);
                }
                let to = pairs.add(pair * keys + index * S::LANES);
                tiles::pair(halves[0].as_ptr(), halves[1].as_ptr(), to);
            }
            let from = pairs.add(index * S::LANES);
            tiles::transpose(from, keys, to.add(index * S::LANES * stride), stride);
        }
    }
}
