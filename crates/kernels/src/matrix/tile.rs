//! The inner loop: a tile of the result in registers.

use super::DEPTH_BLOCK;
use crate::simd::Simd;

/// Numbers from one row of the copied block of the left matrix to the next: the block's depth plus
/// one cache line, so that the rows of a tile fall into different cache sets.
pub(super) const LEFT_STRIDE: usize = DEPTH_BLOCK + 16;

/// What is added to the sums.
#[derive(Clone, Copy)]
pub(super) enum Start {
    Zero,
    /// A number for each column, of which as many exist as the tile has columns.
    Bias(*const f32),
    /// What is in the result already.
    Result,
}

/// The operands of a tile; `left` has a row stride of [`LEFT_STRIDE`].
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub(super) depth: usize,
    pub(super) left: *const f32,
    pub(super) panel: *const f32,
    /// The panel to come, of which every second cache line is fetched meanwhile.
    pub(super) ahead: *const f32,
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
pub(super) unsafe fn compute<S: Simd>(s: S, rows: usize, vectors: usize, tile: Tile) {
    macro_rules! by_rows {
        ($($r:literal)*) => {
            match (rows, vectors) {
                $(
                    // SAFETY: the caller's contract, with the row count as a constant.
                    ($r, 2) if $r <= S::TILE_ROWS => unsafe { fixed::<S, $r, 2>(s, tile) },
                    // SAFETY: as above.
                    ($r, _) if $r <= S::TILE_ROWS => unsafe { fixed::<S, $r, 1>(s, tile) },
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
unsafe fn fixed<S: Simd, const R: usize, const V: usize>(s: S, t: Tile) {
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
        let mut sums = [[s.splat(0.0); V]; R];
        let (mut left, mut panel, mut ahead) = (t.left, t.panel, t.ahead);
        for _ in 0..t.depth {
            let mut b = [s.splat(0.0); V];
            for (v, b) in b.iter_mut().enumerate() {
                *b = s.load(panel.add(v * lanes));
            }
            for (r, row) in sums.iter_mut().enumerate() {
                let a = s.splat(*left.add(r * LEFT_STRIDE));
                for (sum, b) in row.iter_mut().zip(b) {
                    *sum = s.mul_add(a, b, *sum);
                }
            }
            s.prefetch_far(ahead);
            ahead = ahead.wrapping_add(V * lanes);
            left = left.add(1);
            panel = panel.add(V * lanes);
        }
        // Each loop is small enough to be unrolled whole: that keeps the sums in registers.
        macro_rules! each {
            ($at:ident, $v:ident, $sum:ident => $store:expr) => {
                for (r, row) in sums.iter().enumerate() {
                    for ($v, $sum) in row.iter().enumerate() {
                        let $at = t.out.add(r * t.out_stride + $v * lanes);
                        $store;
                    }
                }
            };
        }
        if last == lanes {
            match t.start {
                Start::Zero => each!(at, _v, sum => s.store(at, *sum)),
                Start::Bias(bias) => {
                    let mut b = [s.splat(0.0); V];
                    for (v, b) in b.iter_mut().enumerate() {
                        *b = s.load(bias.add(v * lanes));
                    }
                    each!(at, v, sum => s.store(at, s.add(*sum, b[v])));
                }
                Start::Result => each!(at, _v, sum => s.store(at, s.add(*sum, s.load(at)))),
            }
        } else {
            // The last vector has columns beyond the matrix.
            let whole = |v: usize| v + 1 < V;
            match t.start {
                Start::Zero => {}
                Start::Bias(bias) => {
                    let mut b = [s.splat(0.0); V];
                    for (v, b) in b.iter_mut().enumerate() {
                        let from = bias.add(v * lanes);
                        *b = if whole(v) { s.load(from) } else { s.load_part(from, last) };
                    }
                    for row in &mut sums {
                        for (sum, b) in row.iter_mut().zip(b) {
                            *sum = s.add(*sum, b);
                        }
                    }
                }
                Start::Result => {
                    for (r, row) in sums.iter_mut().enumerate() {
                        for (v, sum) in row.iter_mut().enumerate() {
                            let at = t.out.add(r * t.out_stride + v * lanes);
                            let c = if whole(v) { s.load(at) } else { s.load_part(at, last) };
                            *sum = s.add(*sum, c);
                        }
                    }
                }
            }
            each!(at, v, sum => if whole(v) { s.store(at, *sum) } else { s.store_part(at, *sum, last) });
        }
    }
}
