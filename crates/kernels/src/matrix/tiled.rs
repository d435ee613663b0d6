//! The product in matrix tiles: two by two of them, over the whole depth.
//!
//! Tiles multiply ten times as fast as vectors, so that everything around them counts: left rows
//! are brought into the format once for all columns, or come in bf16 already ([`Bf16Rows`]), and
//! the sums meet bias, activation and whatever else happens to them once, on their way from the
//! tiles to the result, a few rows at every step of the next sums: while the tiles multiply, the
//! vectors have nothing else to do.

mod finish;

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use finish::{Buffers, PAIR, SharedEpilogue, Target, Waiting};

use super::bf16_rows::{Bf16Layout, Bf16Rows, Bf16RowsMut};
use super::format::{Format, LeftScale, TiledBf16, TiledInt8};
use super::packed::{CacheLine, padded_columns, panel, panel_count, words_mut};
use super::{MatrixRef, PackedMatrix, depth_blocks, depth_words};
use crate::activation::Activation;
use crate::arch::tiles;
use crate::memory::prefer_huge_pages;
use crate::parallel::{self, Shared, Tasks, even_part, even_parts};
use crate::precision::Precision;
use crate::simd::{Kernel, NativeTiles, Simd};
use crate::sizes;

/// Numbers to be read: in f32, rows without gaps, or in bf16.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    /// In f32.
    Full(&'a [f32]),
    /// In bf16.
    Rounded(Bf16Rows<'a>),
}

/// Numbers to be written.
pub enum NumbersMut<'a> {
    /// In f32, rows without gaps.
    Full(&'a mut [f32]),
    /// In bf16.
    Rounded(Bf16RowsMut<'a>),
}

/// The left matrix [m, k] of a product in tiles.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// In f32, the columns side by side.
    Full(MatrixRef<'a>),
    /// In bf16.
    Rounded(Bf16Rows<'a>),
}

/// What is done to the sums z [m, n]: see [`Epilogue`](super::Epilogue).
pub enum TiledEpilogue<'a> {
    /// z
    None,
    /// f(z)
    Activation(Activation),
    /// f(z), and z itself.
    Keeping(Activation, NumbersMut<'a>),
    /// z·f′(x).
    Backward(Activation, Numbers<'a>),
}

/// Where a product in tiles goes.
pub enum TiledOutput<'a> {
    /// To rows of f32 `row_stride` apart, added to what is there if `accumulate`.
    Full {
        /// At least (m − 1)·row_stride + n numbers.
        data: &'a mut [f32],
        /// Numbers from one row to the next, at least n.
        row_stride: usize,
        /// Add to what is there instead of replacing it.
        accumulate: bool,
    },
    /// To rows of bf16.
    Rounded(Bf16RowsMut<'a>),
}

/// out [m, n] = epilogue(left [m, k] · right [k, n] + bias `[n]`), for a right matrix in
/// [tiles](PackedMatrix::is_tiled).
pub struct TiledProduct<'a> {
    /// [m, k]
    pub left: Left<'a>,
    /// [k, n]
    pub right: &'a PackedMatrix,
    /// `[n]`
    pub bias: Option<&'a [f32]>,
    /// What happens to the sums.
    pub epilogue: TiledEpilogue<'a>,
    /// Where they go.
    pub out: TiledOutput<'a>,
}

impl TiledProduct<'_> {
    /// Computes the product over the threads of the current pool.
    ///
    /// # Panics
    /// If the shapes do not fit, both a bias and `accumulate` are asked for, the columns of `left`
    /// are apart or `right` is not in tiles.
    pub fn run(self) {
        self.run_in(Tasks::OverPool);
    }

    /// Computes the product on the calling thread.
    ///
    /// # Panics
    /// As [`TiledProduct::run`].
    pub(super) fn run_serial(self) {
        self.run_in(Tasks::OnThisThread);
    }

    fn run_in(self, tasks: Tasks) {
        let [m, n] = self.check();
        if m == 0 || n == 0 {
            return;
        }
        let tiles = NativeTiles::of(self.right.isa()).expect("a right matrix in tiles");
        match self.right.precision() {
            Precision::Bf16 => self.run_as::<TiledBf16>(tiles, m, n, tasks),
            Precision::Int8 => self.run_as::<TiledInt8>(tiles, m, n, tasks),
            Precision::F32 => panic!("a right matrix that is not in tiles"),
        }
    }

    fn check(&self) -> [usize; 2] {
        let [m, k] = match self.left {
            Left::Full(left) => {
                assert!(left.column_stride == 1, "left columns apart in reduced precision");
                left.shape()
            }
            Left::Rounded(left) => left.shape(),
        };
        let [right_k, n] = self.right.shape();
        assert_eq!(k, right_k, "the depths of a product");
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), n, "the bias of a product");
        }
        let numbers = sizes::count([m, n]);
        match &self.epilogue {
            TiledEpilogue::Keeping(_, NumbersMut::Full(z)) => assert_eq!(z.len(), numbers),
            TiledEpilogue::Keeping(_, NumbersMut::Rounded(z)) => check_rows(z.layout, m, n),
            TiledEpilogue::Backward(_, Numbers::Full(x)) => assert_eq!(x.len(), numbers),
            TiledEpilogue::Backward(_, Numbers::Rounded(x)) => check_rows(x.layout, m, n),
            TiledEpilogue::None | TiledEpilogue::Activation(_) => {}
        }
        match &self.out {
            TiledOutput::Full { data, row_stride, accumulate } if m > 0 && n > 0 => {
                assert!(!accumulate || self.bias.is_none(), "a bias on top of what is there");
                assert!(n <= *row_stride, "rows of a result overlap");
                let need = sizes::extent(m, *row_stride, n);
                assert!(need <= data.len(), "[{m}, {n}] does not fit");
            }
            TiledOutput::Full { .. } => {}
            TiledOutput::Rounded(out) => check_rows(out.layout, m, n),
        }
        [m, n]
    }

    fn run_as<F: Format>(self, tiles: NativeTiles, m: usize, n: usize, tasks: Tasks) {
        let words = depth_words::<F>(self.right.shape()[0]);
        let blocks = depth_blocks::<F>(words).count();
        let mut scratch = SCRATCH.take();
        let left = match self.left {
            Left::Rounded(rows) if F::PER_WORD == TiledBf16::PER_WORD => SharedLeft {
                words: rows.start.cast(),
                stride: 16 * rows.layout.lines_in_a_row(),
                scales: std::ptr::null(),
            },
            left => bring::<F>(tiles, left, [words, blocks, m], &mut scratch, tasks),
        };
        let product = &SharedProduct {
            left,
            words,
            blocks,
            n,
            right: self.right,
            bias: self.bias.map(<[f32]>::as_ptr),
            accumulate: matches!(self.out, TiledOutput::Full { accumulate: true, .. }),
            out: self.out.target(),
            epilogue: match self.epilogue {
                TiledEpilogue::None => SharedEpilogue::None,
                TiledEpilogue::Activation(f) => SharedEpilogue::Activation(f),
                TiledEpilogue::Keeping(f, z) => SharedEpilogue::Keeping(f, z.target(n)),
                TiledEpilogue::Backward(f, x) => SharedEpilogue::Backward(f, x.source(n)),
            },
            lent: PhantomData,
        };
        let threads = tasks.threads();
        // The rows of a task, in whole pairs of tiles, stay in a second-level cache.
        let in_cache = (LEFT_BYTES / (4 * words.max(1)) / 32 * 32).clamp(32, MOST_ROWS);
        let mut row_parts = m.div_ceil(in_cache);
        if row_parts > 1 {
            row_parts = row_parts.next_multiple_of(threads);
        }
        let panels = panel_count(n, tiles::SIDE);
        let wanted = if threads == 1 { 1 } else { (8 * threads).div_ceil(row_parts) };
        let panel_parts = wanted.clamp(1, panels);
        tasks.for_each(row_parts * panel_parts, |task| {
            // Whole tiles, but for the last.
            let steps = even_part(m.div_ceil(tiles::SIDE), row_parts, task / panel_parts);
            let rows = steps.start * tiles::SIDE..m.min(steps.end * tiles::SIDE);
            let panels = even_part(panels, panel_parts, task % panel_parts);
            tiles.run(RunPart::<F> { product, rows, panels, format: PhantomData });
        });
        SCRATCH.set(scratch);
    }
}

/// Bytes of a task's left rows, less than half of a second-level cache.
const LEFT_BYTES: usize = 800 << 10;
/// Rows of a task at most.
const MOST_ROWS: usize = 512;

/// Parts at most in which sums go on while the next ones are computed. Each has its scales and bias to
/// load; integers, with half as many steps, measured best with a part at each of them.
const fn most_parts<F: Format>() -> usize {
    if F::PER_WORD == TiledBf16::PER_WORD { 8 } else { 16 }
}

fn check_rows(layout: Bf16Layout, m: usize, n: usize) {
    assert_eq!([layout.rows, layout.columns], [m, n], "rows of bf16");
}

thread_local! {
    /// Left rows of the product that the thread has begun. Whoever needs it takes it, so that a
    /// product begun while another one waits for its tasks has its own.
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch { lines: Vec::new(), scales: Vec::new() }) };
}

#[derive(Default)]
struct Scratch {
    lines: Vec<CacheLine>,
    /// For each row and block of the depth.
    scales: Vec<LeftScale>,
}

/// Brings all m left rows into the format.
fn bring<F: Format>(
    tiles: NativeTiles,
    left: Left<'_>,
    [words, blocks, m]: [usize; 3],
    scratch: &mut Scratch,
    tasks: Tasks,
) -> SharedLeft {
    let lines = words.div_ceil(16) | 1;
    let needed = sizes::count([m.next_multiple_of(tiles::SIDE), lines]);
    let scales_needed = sizes::count([m, blocks]);
    if scratch.lines.len() < needed {
        scratch.lines = Vec::with_capacity(needed);
        prefer_huge_pages(&mut scratch.lines);
        scratch.lines.resize(needed, CacheLine::ZERO);
    }
    if scratch.scales.len() < scales_needed {
        scratch.scales.resize(scales_needed, LeftScale::default());
    }
    let (to, scales) = (Shared::new(&mut scratch.lines), Shared::new(&mut scratch.scales));
    let parts = match tasks {
        Tasks::OverPool => m.div_ceil(parallel::rows_per_task(m, 2 * words)),
        Tasks::OnThisThread => 1,
    };
    tasks.for_each(parts, |part| {
        let rows = even_part(m, parts, part);
        // SAFETY: each task has the lines and scales of its own rows.
        let (to, scales) = unsafe {
            let lines = to.part(rows.start * lines..rows.end * lines);
            (lines, scales.part(rows.start * blocks..rows.end * blocks))
        };
        tiles.run(Bring::<F> { left, rows, to, words, scales, format: PhantomData });
    });
    // Pointers to read from, taken when the last task has written.
    SharedLeft {
        words: scratch.lines.as_ptr().cast(),
        stride: 16 * lines,
        scales: scratch.scales.as_ptr(),
    }
}

struct Bring<'a, F> {
    left: Left<'a>,
    rows: Range<usize>,
    to: &'a mut [CacheLine],
    words: usize,
    scales: &'a mut [LeftScale],
    format: PhantomData<F>,
}

impl<F: Format> Kernel for Bring<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let blocks = depth_blocks::<F>(self.words).count();
        let lines = self.to.len() / self.rows.len();
        let mut widened = Vec::new();
        for (i, row) in self.rows.clone().enumerate() {
            let numbers = match self.left {
                Left::Full(left) => &left.data[row * left.row_stride..][..left.columns],
                Left::Rounded(left) => {
                    widened.resize(left.layout.columns, 0.0);
                    left.widen_row(s, row, &mut widened);
                    &widened[..]
                }
            };
            let to = words_mut(&mut self.to[i * lines..(i + 1) * lines]);
            for (block, depth) in depth_blocks::<F>(self.words).enumerate() {
                let end = numbers.len().min(depth.end * F::PER_WORD);
                let part = &numbers[end.min(depth.start * F::PER_WORD)..end];
                self.scales[i * blocks + block] = F::left_words(s, part, &mut to[depth]);
            }
        }
    }
}

/// Left rows in the format: words `stride` apart, and a scale for each row and block.
#[derive(Clone, Copy)]
struct SharedLeft {
    words: *const u32,
    stride: usize,
    scales: *const LeftScale,
}

/// A [`TiledProduct`] whose tasks run at once.
struct SharedProduct<'a> {
    left: SharedLeft,
    words: usize,
    blocks: usize,
    n: usize,
    right: &'a PackedMatrix,
    bias: Option<*const f32>,
    out: Target,
    accumulate: bool,
    epilogue: SharedEpilogue,
    lent: PhantomData<&'a mut [f32]>,
}

// SAFETY: what the pointers lead to is read only, but for the result and the kept sums, of which
// each task writes its own rows and columns.
unsafe impl Send for SharedProduct<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedProduct<'_> {}

/// Rows × panels of the result.
struct RunPart<'a, F> {
    product: &'a SharedProduct<'a>,
    rows: Range<usize>,
    panels: Range<usize>,
    format: PhantomData<F>,
}

impl<F: Format> Kernel for RunPart<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = self.product;
        let padded = padded_columns(p.n, tiles::SIDE);
        let mut buffers = Buffers::EMPTY;
        let mut waiting = Waiting::NOTHING;
        let tiles_of_rows = self.rows.len().div_ceil(tiles::SIDE);
        for index in self.panels {
            let panel = panel(p.n, tiles::SIDE, index);
            for pair in even_parts(tiles_of_rows, tiles_of_rows.div_ceil(2)) {
                let first = self.rows.start + pair.start * tiles::SIDE;
                let end = self.rows.end.min(self.rows.start + pair.end * tiles::SIDE);
                let shape = [pair.len(), panel.vectors];
                for (block, depth) in depth_blocks::<F>(p.words).enumerate() {
                    let next = Waiting {
                        rows: [first, end],
                        first_column: panel.first_column,
                        columns: panel.columns,
                        block,
                        buffer: waiting.buffer ^ 1,
                    };
                    let steps = depth.len() / F::DEPTH_STEP;
                    let parts = steps.clamp(1, most_parts::<F>());
                    let each = PAIR.div_ceil(parts);
                    // SAFETY: `check` has verified the shapes; left rows are readable up to whole
                    // tiles; this kernel runs inside of `NativeTiles::run`, and its task alone
                    // writes these rows and columns.
                    unsafe {
                        let right = p.right.words().as_ptr();
                        let mut operands = tiles::Operands {
                            left: p.left.words.add(first * p.left.stride + depth.start),
                            left_stride: 4 * p.left.stride,
                            right: right
                                .add(depth.start * padded + depth.len() * panel.first_column),
                        };
                        tiles::begin();
                        for part in 0..parts {
                            let steps = steps * (part + 1) / parts - steps * part / parts;
                            if steps > 0 {
                                tiles::advance(words_of::<F>(), shape, &mut operands, steps);
                            }
                            let rows = part * each..(part + 1) * each;
                            next.fetch(s, p, rows.clone());
                            waiting.finish::<S, F>(s, p, &mut buffers, rows);
                        }
                        tiles::store(shape, buffers.sums[next.buffer].as_mut_ptr());
                    }
                    waiting = next;
                }
            }
        }
        // SAFETY: as above.
        unsafe { waiting.finish::<S, F>(s, p, &mut buffers, 0..PAIR) };
    }
}

/// Runs `iterations` rounds of products of tiles of a format, and returns the multiply-adds of words
/// done.
pub(crate) fn multiply_loop<F: Format>(tiles: NativeTiles, iterations: usize) -> usize {
    struct Rounds<F>(usize, PhantomData<F>);
    impl<F: Format> Kernel for Rounds<F> {
        type Output = usize;
        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> usize {
            // SAFETY: inside of `NativeTiles::run`.
            unsafe { tiles::multiply_loop(words_of::<F>(), self.0.max(1)) }
        }
    }
    tiles.run(Rounds::<F>(iterations, PhantomData))
}

const fn words_of<F: Format>() -> tiles::Words {
    if F::PER_WORD == 2 { tiles::Words::Bf16 } else { tiles::Words::Int8 }
}
