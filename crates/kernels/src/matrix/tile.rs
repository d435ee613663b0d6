//! The inner loop: a tile of the result in registers.

use super::format::{ColumnScales, Format, Scales, Sums, SumsOf};
use crate::simd::Simd;

/// Words from one row of the copied block of the left matrix to the next: the block's depth plus
/// one cache line, so that the rows of a tile fall into different cache sets.
pub(super) const fn left_stride<F: Format>() -> usize {
    F::DEPTH * F::PARTS + 16
}

/// What is added to the sums.
#[derive(Clone, Copy)]
pub(super) enum Start {
    Zero,
    /// A number for each column, of which as many exist as the tile has columns.
    Bias(*const f32),
    /// What is in the result already.
    Result,
}

/// The operands of a tile; `left` has a row stride of [`left_stride`].
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Words.
    pub(super) depth: usize,
    pub(super) left: *const u32,
    pub(super) panel: *const u32,
    pub(super) scales: Scales,
    /// The panel to come, of which every second cache line is fetched meanwhile.
    pub(super) ahead: *const u32,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
    pub(super) columns: usize,
    pub(super) start: Start,
}

/// `out` [rows, columns] = start + left [rows, depth] · panel [depth, vectors·LANES].
///
/// # Safety
/// The pointers must be valid for those shapes, `rows` in 1..=TILE_ROWS, `vectors` 1 or 2 and
/// `columns` in (vectors − 1)·LANES+1..=vectors·LANES.
#[inline(always)]
pub(super) unsafe fn compute<S: Simd, F: Format>(s: S, rows: usize, vectors: usize, tile: Tile) {
    macro_rules! by_rows {
        ($($r:literal)*) => {
            match (rows, vectors) {
                $(
                    // SAFETY: the caller's contract, with the row count as a constant.
                    ($r, 2) if $r <= S::TILE_ROWS => unsafe { fixed::<S, F, $r, 2>(s, tile) },
                    // SAFETY: as above.
                    ($r, _) if $r <= S::TILE_ROWS => unsafe { fixed::<S, F, $r, 1>(s, tile) },
                )*
                _ => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
}

/// # Safety
/// As for [`compute`].
#[inline(always)]
unsafe fn fixed<S: Simd, F: Format, const R: usize, const V: usize>(s: S, t: Tile) {
    // SAFETY: every access lies within the shapes that the caller vouches for: rows < R, columns
    // by whole vectors but the last, which the part variants cut at `columns`.
    unsafe {
        let lanes = S::LANES;
        let last = t.columns - (V - 1) * lanes;
        if let Start::Result = t.start {
            // What the sums are added to is fetched while they are computed.
            for r in 0..R {
                s.prefetch(t.out.add(r * t.out_stride));
            }
        }
        let mut sums = [[F::Sums::zero(s); V]; R];
        let (mut left, mut panel, mut ahead) = (t.left, t.panel, t.ahead);
        // The same words again, and the next, by addresses that the compiler takes for others. It
        // would spread a word once for all multiply-adds, and fetch two words of a row at once to take
        // them apart again.
        let [mut again, mut next, mut next_again] =
            std::hint::black_box([left, left.wrapping_add(1), left.wrapping_add(1)]);
        // Two steps a round, to count less, where one is short.
        let pairs = if F::PARTS == 1 { t.depth / 2 } else { 0 };
        for _ in 0..pairs {
            step::<S, F, R, V>(s, &mut sums, left, again, panel);
            s.prefetch_far(ahead.cast());
            step::<S, F, R, V>(s, &mut sums, next, next_again, panel.add(V * lanes));
            s.prefetch_far(ahead.wrapping_add(V * lanes).cast());
            ahead = ahead.wrapping_add(2 * V * lanes);
            panel = panel.add(2 * V * lanes);
            for left in [&mut left, &mut again, &mut next, &mut next_again] {
                *left = left.wrapping_add(2);
            }
        }
        for _ in 2 * pairs..t.depth {
            step::<S, F, R, V>(s, &mut sums, left, again, panel);
            s.prefetch_far(ahead.cast());
            ahead = ahead.wrapping_add(V * lanes);
            panel = panel.add(V * lanes);
            left = left.add(F::PARTS);
            again = again.add(F::PARTS);
        }
        let mut scales = [ColumnScales::none(s); V];
        for (v, scales) in scales.iter_mut().enumerate() {
            *scales = F::Sums::column_scales(s, t.scales, v);
        }
        let mut numbers = [[s.splat(0.0); V]; R];
        // Written out: a loop as long as this one would be for integers is not unrolled, and sums that
        // a variable picks lie in memory while they are computed.
        macro_rules! convert {
            ($($r:literal)*) => {$(
                if $r < R {
                    for v in 0..V {
                        numbers[$r][v] =
                            F::Sums::numbers(s, sums[$r][v], t.scales, $r, scales[v]);
                    }
                }
            )*};
        }
        convert!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
        // Each loop is small enough to be unrolled whole: that keeps the numbers in registers.
        macro_rules! each {
            ($at:ident, $v:ident, $number:ident => $store:expr) => {
                for (r, row) in numbers.iter().enumerate() {
                    for ($v, $number) in row.iter().enumerate() {
                        let $at = t.out.add(r * t.out_stride + $v * lanes);
                        $store;
                    }
                }
            };
        }
        let mut bias = [s.splat(0.0); V];
        if let Start::Bias(from) = t.start {
            for (v, bias) in bias.iter_mut().enumerate() {
                *bias = load(s, from.add(v * lanes), v + 1 == V, last);
            }
        }
        if last == lanes {
            match t.start {
                Start::Zero => each!(at, _v, x => s.store(at, *x)),
                Start::Bias(_) => each!(at, v, x => s.store(at, s.add(*x, bias[v]))),
                Start::Result => each!(at, _v, x => s.store(at, s.add(*x, s.load(at)))),
            }
        } else {
            // The last vector has columns beyond the matrix.
            let end = V - 1;
            match t.start {
                Start::Zero => each!(at, v, x => store(s, at, *x, v == end, last)),
                Start::Bias(_) => {
                    each!(at, v, x => store(s, at, s.add(*x, bias[v]), v == end, last));
                }
                Start::Result => each!(at, v, x => {
                    store(s, at, s.add(*x, load(s, at, v == end, last)), v == end, last)
                }),
            }
        }
    }
}

/// Adds to the sums what a word of each column makes.
///
/// # Safety
/// The parts of a word must be readable for R rows, [`left_stride`] apart, from `left` on, and from
/// `again`, which is the same address; V vectors at `panel`.
#[inline(always)]
unsafe fn step<S: Simd, F: Format, const R: usize, const V: usize>(
    s: S,
    sums: &mut [[SumsOf<F, S>; V]; R],
    left: *const u32,
    again: *const u32,
    panel: *const u32,
) {
    // Where a multiply-add can read a word and spread it over its lanes by itself, half of the rows
    // leave it to each of their multiply-adds: fewer instructions for the front of the processor,
    // which a second thread on the core takes its share of, for as many reads as it has time for. A
    // word that is read by one address only would be spread once, by an instruction of its own.
    let spread_by_each = if S::SPREADS_IN_PLACE && F::SPREADS_IN_PLACE { R / 2 } else { 0 };
    for part in 0..F::PARTS {
        let mut b = [s.splat_word(0); V];
        for (v, b) in b.iter_mut().enumerate() {
            // SAFETY: the caller's contract.
            *b = F::part(s, unsafe { s.load_words(panel.add(v * S::LANES)) }, part);
        }
        for (r, row) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's contract.
            let (a, same) = unsafe {
                let at = r * left_stride::<F>() + part;
                (*left.add(at), *again.add(at))
            };
            let (a, same) = (s.splat_word(a), s.splat_word(same));
            for (v, (sum, b)) in row.iter_mut().zip(b).enumerate() {
                let a = if r < spread_by_each && v > 0 { same } else { a };
                *sum = F::multiply_add(s, a, b, *sum);
            }
        }
    }
}

/// A vector, or its first `count` lanes if it is the `last` of a row and has no more.
///
/// # Safety
/// So many numbers must be readable.
#[inline(always)]
pub(super) unsafe fn load<S: Simd>(s: S, from: *const f32, last: bool, count: usize) -> S::F32 {
    // SAFETY: the caller's contract.
    unsafe { if last && count < S::LANES { s.load_part(from, count) } else { s.load(from) } }
}

/// Stores what [`load`] reads.
///
/// # Safety
/// So many numbers must be writable.
#[inline(always)]
pub(super) unsafe fn store<S: Simd>(s: S, to: *mut f32, x: S::F32, last: bool, count: usize) {
    // SAFETY: the caller's contract.
    unsafe { if last && count < S::LANES { s.store_part(to, x, count) } else { s.store(to, x) } }
}
