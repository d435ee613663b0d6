//! The product itself: blocks, threads and what happens to a tile before it leaves the cache.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use super::format::{self, Format, LeftScale, Scales};
use super::packed::{CacheLine, lanes, padded_columns, panel, panel_count, words_mut, words_of};
use super::tile::{self, Start, Tile, left_stride};
use super::tiled::{Left, Numbers, NumbersMut, TiledEpilogue, TiledOutput, TiledProduct};
use super::{MatrixRef, PackedMatrix, depth_blocks, depth_words};
use crate::activation::Activation;
use crate::isa::Isa;
use crate::memory::prefer_huge_pages;
use crate::parallel::{self, Shared, even_part, even_parts};
use crate::precision::Precision;
use crate::simd::{Kernel, NativeBf16, Simd, dispatch, dispatch_i8};
use crate::sizes;

/// What is done to the sums z [m, n] of a product before they leave the cache.
pub enum Epilogue<'a> {
    /// z
    None,
    /// f(z)
    Activation(Activation),
    /// f(z), and z itself to `keep` [m, n], which the backward pass needs.
    ActivationKeeping(Activation, &'a mut [f32]),
    /// z·f′(x) for x [m, n]: the gradient at the input of an activation.
    ActivationBackward(Activation, &'a [f32]),
}

/// Where a product goes: the rows of `data`, `row_stride` apart.
pub struct Output<'a> {
    /// At least (m − 1)·row_stride + n numbers.
    pub data: &'a mut [f32],
    /// Numbers from one row to the next, at least n.
    pub row_stride: usize,
    /// Add to what is there instead of replacing it.
    pub accumulate: bool,
}

/// out [m, n] = epilogue(left [m, k] · right [k, n] + bias `[n]`).
pub struct Product<'a> {
    /// [m, k]
    pub left: MatrixRef<'a>,
    /// [k, n]
    pub right: &'a PackedMatrix,
    /// `[n]`
    pub bias: Option<&'a [f32]>,
    /// What happens to the sums.
    pub epilogue: Epilogue<'a>,
    /// Where they go.
    pub out: Output<'a>,
}

impl<'a> Product<'a> {
    /// Computes the product over the threads of the current pool.
    ///
    /// # Panics
    /// If the shapes do not fit, both a bias and `accumulate` are asked for, or the columns of
    /// `left` are apart while `right` is not in f32.
    pub fn run(self) {
        let [m, n] = self.check();
        if m == 0 || n == 0 {
            return;
        }
        if self.right.is_tiled() {
            return self.tiled().run();
        }
        let plan = Plan::new(m, self.right);
        let shared = self.share();
        parallel::for_each(plan.tasks(), |task| {
            let (rows, panels) = plan.task(task);
            // The buffer is borrowed out here: a closure inside of a kernel would be compiled
            // without the instruction set's features.
            LEFT.with_borrow_mut(|left| {
                RunBlock { product: &shared, rows, panels, left }.dispatch();
            });
        });
    }

    /// Computes the product on the calling thread.
    ///
    /// # Panics
    /// As [`Product::run`].
    pub(crate) fn run_serial(self) {
        let [m, n] = self.check();
        if m == 0 || n == 0 {
            return;
        }
        if self.right.is_tiled() {
            return self.tiled().run_serial();
        }
        self.share().run_serial(m);
    }

    /// left·right on the calling thread, to rows `stride` apart from `out` on.
    ///
    /// # Safety
    /// The m rows of n numbers there must be writable and no other task may touch them. (The gaps
    /// between them may be another's: that is why this takes no slice.)
    pub(crate) unsafe fn run_serial_to(
        left: MatrixRef<'_>,
        right: &PackedMatrix,
        out: *mut f32,
        stride: usize,
    ) {
        let ([m, k], [right_k, n]) = (left.shape(), right.shape());
        assert_eq!(k, right_k, "the depths of a product");
        assert!(right.precision() == Precision::F32, "a serial product in reduced precision");
        if m > 0 && n > 0 {
            let product = SharedProduct {
                left: left.data.as_ptr(),
                left_strides: [left.row_stride, left.column_stride],
                k,
                n,
                right,
                bias: None,
                out,
                out_stride: stride,
                accumulate: false,
                epilogue: SharedEpilogue::None,
            };
            product.run_serial(m);
        }
    }

    fn tiled(self) -> TiledProduct<'a> {
        let Output { data, row_stride, accumulate } = self.out;
        TiledProduct {
            left: Left::Full(self.left),
            right: self.right,
            bias: self.bias,
            epilogue: match self.epilogue {
                Epilogue::None => TiledEpilogue::None,
                Epilogue::Activation(f) => TiledEpilogue::Activation(f),
                Epilogue::ActivationKeeping(f, z) => TiledEpilogue::Keeping(f, NumbersMut::Full(z)),
                Epilogue::ActivationBackward(f, x) => TiledEpilogue::Backward(f, Numbers::Full(x)),
            },
            out: TiledOutput::Full { data, row_stride, accumulate },
        }
    }

    fn check(&self) -> [usize; 2] {
        let ([m, k], [right_k, n]) = (self.left.shape(), self.right.shape());
        assert_eq!(k, right_k, "the depths of a product");
        let words = self.right.precision() != Precision::F32;
        assert!(!words || self.left.column_stride == 1, "left columns apart in reduced precision");
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), n, "the bias of a product");
            assert!(!self.out.accumulate, "a bias on top of what is there");
        }
        let numbers = sizes::count([m, n]);
        match &self.epilogue {
            Epilogue::ActivationKeeping(_, x) => assert_eq!(x.len(), numbers, "kept sums"),
            Epilogue::ActivationBackward(_, x) => assert_eq!(x.len(), numbers, "an input"),
            Epilogue::None | Epilogue::Activation(_) => {}
        }
        if m > 0 && n > 0 {
            assert!(n <= self.out.row_stride, "rows of a result overlap");
            let need = sizes::extent(m, self.out.row_stride, n);
            assert!(need <= self.out.data.len(), "a result [{m}, {n}] does not fit");
        }
        [m, n]
    }

    fn share(self) -> SharedProduct<'a> {
        SharedProduct {
            left: self.left.data.as_ptr(),
            left_strides: [self.left.row_stride, self.left.column_stride],
            k: self.left.columns,
            n: self.right.shape()[1],
            right: self.right,
            bias: self.bias.map(<[f32]>::as_ptr),
            out: self.out.data.as_mut_ptr(),
            out_stride: self.out.row_stride,
            accumulate: self.out.accumulate,
            epilogue: match self.epilogue {
                Epilogue::None => SharedEpilogue::None,
                Epilogue::Activation(f) => SharedEpilogue::Activation(f),
                Epilogue::ActivationKeeping(f, keep) => {
                    SharedEpilogue::Keeping(f, Shared::new(keep))
                }
                Epilogue::ActivationBackward(f, x) => SharedEpilogue::Backward(f, x.as_ptr()),
            },
        }
    }
}

/// A [`Product`] whose tasks run at once. Private: it outlives nothing that it points into, since
/// `run` owns the borrowed product until every task is done.
struct SharedProduct<'a> {
    left: *const f32,
    left_strides: [usize; 2],
    k: usize,
    n: usize,
    right: &'a PackedMatrix,
    bias: Option<*const f32>,
    out: *mut f32,
    out_stride: usize,
    accumulate: bool,
    epilogue: SharedEpilogue<'a>,
}

impl SharedProduct<'_> {
    /// Its m rows, on the calling thread.
    fn run_serial(&self, m: usize) {
        LEFT.with_borrow_mut(|left| {
            for rows in even_parts(m, m.div_ceil(row_block(self.right.isa()))) {
                RunBlock { product: self, rows, panels: 0..usize::MAX, left }.dispatch();
            }
        });
    }
}

enum SharedEpilogue<'a> {
    None,
    Activation(Activation),
    Keeping(Activation, Shared<'a, f32>),
    Backward(Activation, *const f32),
}

// SAFETY: what the pointers lead to is read only, but for `out` and the kept sums, of which each
// task writes its own rows and columns.
unsafe impl Send for SharedProduct<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedProduct<'_> {}

/// Rows that a task copies at once: whole tiles of at most 112. The block (about 350 KB in f32)
/// stays in a second-level cache.
fn row_block(isa: Isa) -> usize {
    struct OfTiles;
    impl Kernel for OfTiles {
        type Output = usize;
        fn run<S: Simd>(self, _: S) -> usize {
            112 / S::TILE_ROWS * S::TILE_ROWS
        }
    }
    dispatch(isa, OfTiles)
}

/// How a product is cut into tasks: row blocks × groups of panels.
struct Plan {
    m: usize,
    row_blocks: usize,
    panels: usize,
    panel_groups: usize,
}

impl Plan {
    /// For m rows of a product with `right`.
    fn new(m: usize, right: &PackedMatrix) -> Plan {
        let threads = parallel::threads();
        let mut row_blocks = m.div_ceil(row_block(right.isa()));
        if row_blocks > 1 {
            row_blocks = row_blocks.next_multiple_of(threads);
        }
        let panels = panel_count(right.shape()[1], lanes(right.isa()));
        // Eight tasks a thread balance the load; a group of fewer than four panels would copy the
        // left rows too often for what it computes.
        let wanted = if threads == 1 { 1 } else { (8 * threads).div_ceil(row_blocks) };
        let panel_groups = wanted.min(panels.div_ceil(4)).max(1);
        Plan { m, row_blocks, panels, panel_groups }
    }

    fn tasks(&self) -> usize {
        self.row_blocks * self.panel_groups
    }

    fn task(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let (block, group) = (index / self.panel_groups, index % self.panel_groups);
        (
            even_part(self.m, self.row_blocks, block),
            even_part(self.panels, self.panel_groups, group),
        )
    }
}

thread_local! {
    static LEFT: RefCell<LeftRows> =
        const { RefCell::new(LeftRows { lines: Vec::new(), scales: Vec::new() }) };
}

/// A block of the left matrix as the tile reads it.
struct LeftRows {
    /// Words of each row, [`left_stride`] apart.
    lines: Vec<CacheLine>,
    /// Of each row.
    scales: Vec<LeftScale>,
}

impl LeftRows {
    /// Makes room for so many words.
    fn hold(&mut self, words: usize) {
        let lines = words.div_ceil(16);
        if self.lines.len() < lines {
            self.lines = Vec::with_capacity(lines);
            prefer_huge_pages(&mut self.lines);
            self.lines.resize(lines, CacheLine::ZERO);
        }
    }
}

/// Rows × panels of the result, one block of the depth after another.
struct RunBlock<'a> {
    product: &'a SharedProduct<'a>,
    rows: Range<usize>,
    /// Those of them that exist.
    panels: Range<usize>,
    left: &'a mut LeftRows,
}

/// The same in one format.
struct RunAs<'a, F>(RunBlock<'a>, PhantomData<F>);

impl RunBlock<'_> {
    /// With the instructions that the format asks for.
    fn dispatch(self) {
        let isa = self.product.right.isa();
        match self.product.right.precision() {
            Precision::F32 => dispatch(isa, RunAs(self, PhantomData::<format::F32>)),
            Precision::Bf16 => match NativeBf16::of(isa) {
                Some(native) => native.run(RunAs(self, PhantomData::<format::Bf16>)),
                None => dispatch(isa, RunAs(self, PhantomData::<format::WidenedBf16>)),
            },
            Precision::Int8 => dispatch_i8(isa, RunAs(self, PhantomData::<format::Int8>)),
        }
    }
}

impl<F: Format> Kernel for RunAs<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let RunAs(RunBlock { product: p, rows, panels, left }, _) = self;
        let panels = panels.start..panels.end.min(panel_count(p.n, S::LANES));
        left.hold(rows.len() * left_stride::<F>());
        if left.scales.len() < rows.len() {
            left.scales.resize(rows.len(), LeftScale::default());
        }
        let tiles = rows.len().div_ceil(S::TILE_ROWS);
        let padded = padded_columns(p.n, S::LANES);
        let words = depth_words::<F>(p.k);
        let right = p.right.words().as_ptr();
        let (columns, column_sums) = (p.right.scales().as_ptr(), p.right.column_sums().as_ptr());
        for (block, depth) in depth_blocks::<F>(words).enumerate() {
            let (first, last) = (depth.start == 0, depth.end == words);
            copy_left::<S, F>(s, p, rows.clone(), depth.clone(), left);
            for index in panels.clone() {
                let panel = panel(p.n, S::LANES, index);
                let column = panel.first_column;
                let start = match p.bias {
                    _ if p.accumulate || !first => Start::Result,
                    // SAFETY: the bias has n numbers and `column` < n.
                    Some(bias) => Start::Bias(unsafe { bias.add(column) }),
                    None => Start::Zero,
                };
                for (t, part) in even_parts(rows.len(), tiles).enumerate() {
                    let row = rows.start + part.start;
                    // SAFETY: `check` has verified the shapes; this task alone writes these rows
                    // and columns, and `left` holds the copied rows and their scales. The
                    // scales of columns are empty, and wrapping, where the format has none.
                    unsafe {
                        let at = row * p.out_stride + column;
                        let width = panel.vectors * S::LANES;
                        let packed = right.add(depth.start * padded + depth.len() * column);
                        let tile = Tile {
                            depth: depth.len(),
                            left: words_of(&left.lines)
                                .as_ptr()
                                .add(part.start * left_stride::<F>()),
                            panel: packed,
                            scales: Scales {
                                rows: left.scales.as_ptr().add(part.start),
                                columns: columns.wrapping_add(column),
                                column_sums: column_sums.wrapping_add(block * padded + column),
                            },
                            ahead: packed.wrapping_add(depth.len() * width + t % 2 * 16),
                            out: p.out.add(at),
                            out_stride: p.out_stride,
                            columns: panel.columns,
                            start,
                        };
                        tile::compute::<S, F>(s, part.len(), panel.vectors, tile);
                        if last {
                            finish(s, p, row..row + part.len(), column, panel.columns);
                        }
                    }
                }
            }
        }
    }
}

/// Brings rows × words of the left matrix into the format.
#[inline(always)]
fn copy_left<S: Simd, F: Format>(
    s: S,
    p: &SharedProduct<'_>,
    rows: Range<usize>,
    words: Range<usize>,
    to: &mut LeftRows,
) {
    let depth = (words.start * F::PER_WORD).min(p.k)..p.k.min(words.end * F::PER_WORD);
    // A matrix without columns has no data to point into, whatever its strides.
    let [row_stride, column_stride] = match depth.is_empty() {
        true => [0, 1],
        false => p.left_strides,
    };
    // SAFETY: `MatrixRef::new` has verified that rows × depth lie within the left matrix.
    let from = unsafe { p.left.add(rows.start * row_stride + depth.start * column_stride) };
    let copied = &mut words_mut(&mut to.lines)[..rows.len() * left_stride::<F>()];
    if column_stride == 1 {
        let rows = copied.chunks_exact_mut(left_stride::<F>()).zip(&mut to.scales);
        for (r, (to, scale)) in rows.enumerate() {
            // SAFETY: as above.
            let row = unsafe { std::slice::from_raw_parts(from.add(r * row_stride), depth.len()) };
            let ahead = row.as_ptr().wrapping_add(row_stride.wrapping_mul(2));
            for line in (0..depth.len()).step_by(16) {
                s.prefetch_far(ahead.wrapping_add(line));
            }
            *scale = F::left_words(s, row, &mut to[..words.len() * F::PARTS]);
        }
    } else {
        // Numbers apart, in f32 only: `check` has refused the others.
        for k in 0..depth.len() {
            for (r, to) in copied.chunks_exact_mut(left_stride::<F>()).enumerate() {
                // SAFETY: as above.
                to[k] = unsafe { *from.add(k * column_stride + r * row_stride) }.to_bits();
            }
        }
    }
}

/// Applies the epilogue to finished sums that are still in the cache.
///
/// # Safety
/// rows × columns must lie within the result, and no other task may touch them.
#[inline(always)]
unsafe fn finish<S: Simd>(
    s: S,
    p: &SharedProduct<'_>,
    rows: Range<usize>,
    first_column: usize,
    columns: usize,
) {
    if matches!(p.epilogue, SharedEpilogue::None) {
        return;
    }
    for row in rows {
        for offset in (0..columns).step_by(S::LANES) {
            let column = first_column + offset;
            let count = (columns - offset).min(S::LANES);
            // SAFETY: within the result by the contract; kept sums and inputs are [m, n].
            unsafe {
                let at = p.out.add(row * p.out_stride + column);
                let z = load(s, at, count);
                let y = match &p.epilogue {
                    SharedEpilogue::None => z,
                    SharedEpilogue::Activation(f) => f.value(s, z),
                    SharedEpilogue::Keeping(f, keep) => {
                        store(s, keep.pointer().add(row * p.n + column), z, count);
                        f.value(s, z)
                    }
                    SharedEpilogue::Backward(f, x) => {
                        s.mul(z, f.derivative(s, load(s, x.add(row * p.n + column), count)))
                    }
                };
                store(s, at, y, count);
            }
        }
    }
}

/// # Safety
/// `count` ≤ LANES numbers must be readable.
#[inline(always)]
unsafe fn load<S: Simd>(s: S, from: *const f32, count: usize) -> S::F32 {
    // SAFETY: the caller's contract.
    unsafe { if count == S::LANES { s.load(from) } else { s.load_part(from, count) } }
}

/// # Safety
/// `count` ≤ LANES numbers must be writable.
#[inline(always)]
unsafe fn store<S: Simd>(s: S, to: *mut f32, x: S::F32, count: usize) {
    // SAFETY: the caller's contract.
    unsafe { if count == S::LANES { s.store(to, x) } else { s.store_part(to, x, count) } }
}
