//! A product in double precision, for what is computed once and must not round.

use crate::isa::Isa;
use crate::parallel::{self, Shared, even_parts};
use crate::simd::{Kernel, Simd, dispatch};
use crate::sizes;

/// left [rows, depth] · right [depth, columns], row after row: [rows, columns].
///
/// # Panics
/// If the lengths do not fit.
pub fn product(isa: Isa, left: &[f64], right: &[f64], columns: usize) -> Vec<f64> {
    let depth = right.len() / columns.max(1);
    let rows = left.len() / depth.max(1);
    assert!(
        right.len() == depth * columns && left.len() == rows * depth,
        "{rows}×{depth}×{columns}"
    );
    let mut out = vec![0.0; sizes::count([rows, columns])];
    let shared = Shared::new(&mut out);
    let parts: Vec<_> = even_parts(rows, rows.div_ceil(ROWS)).collect();
    parallel::for_each(parts.len(), |part| {
        let rows = parts[part].clone();
        let left = &left[rows.start * depth..rows.end * depth];
        // SAFETY: tasks have rows of their own.
        let out = unsafe { shared.part(rows.start * columns..rows.end * columns) };
        dispatch(isa, Rows { left, right, out, depth, columns });
    });
    out
}

/// Rows that meet a row of the right matrix while it is in the cache.
const ROWS: usize = 4;

struct Rows<'a> {
    left: &'a [f64],
    right: &'a [f64],
    out: &'a mut [f64],
    depth: usize,
    columns: usize,
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Rows { left, right, out, depth, columns } = self;
        for (k, right) in right.chunks_exact(columns).enumerate() {
            for (left, out) in left.chunks_exact(depth).zip(out.chunks_exact_mut(columns)) {
                let x = left[k];
                for (out, y) in out.iter_mut().zip(right) {
                    *out += x * y;
                }
            }
        }
    }
}
