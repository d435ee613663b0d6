//! The product itself: blocks, threads and what happens to a tile before it leaves the cache.

use std::cell::RefCell;
use std::ops::Range;

use super::packed::{padded_columns, panel, panel_count};
use super::tile::{self, LEFT_STRIDE, Start, Tile};
use super::{MatrixRef, PackedMatrix, depth_blocks};
use crate::activation::Activation;
use crate::parallel::{self, Shared, even_parts};
use crate::simd::{Kernel, Simd, dispatch};

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
    /// If the shapes do not fit, or both a bias and `accumulate` are asked for.
    pub fn run(self) {
        let [m, n] = self.check();
        if m == 0 || n == 0 {
            return;
        }
        let isa = self.right.isa();
        let plan = dispatch(isa, MakePlan { m, n });
        let shared = self.share();
        parallel::for_each(plan.tasks(), |task| {
            let (rows, panels) = plan.task(task);
            // The buffer is borrowed out here: a closure inside of a kernel would be compiled
            // without the instruction set's features.
            LEFT.with_borrow_mut(|scratch| {
                dispatch(isa, RunBlock { product: &shared, rows, panels, scratch });
            });
        });
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
        if m > 0 && n > 0 {
            let product = &SharedProduct {
                left: left.data.as_ptr(),
                left_strides: [left.row_stride, left.column_stride],
                k,
                n,
                right: right.values().as_ptr(),
                bias: None,
                out,
                out_stride: stride,
                accumulate: false,
                epilogue: SharedEpilogue::None,
            };
            let isa = right.isa();
            LEFT.with_borrow_mut(|scratch| dispatch(isa, RunAll { product, m, n, scratch }));
        }
    }

    fn check(&self) -> [usize; 2] {
        let ([m, k], [right_k, n]) = (self.left.shape(), self.right.shape());
        assert_eq!(k, right_k, "the depths of a product");
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), n, "the bias of a product");
            assert!(!self.out.accumulate, "a bias on top of what is there");
        }
        match &self.epilogue {
            Epilogue::ActivationKeeping(_, x) => assert_eq!(x.len(), m * n, "kept sums"),
            Epilogue::ActivationBackward(_, x) => assert_eq!(x.len(), m * n, "an input"),
            Epilogue::None | Epilogue::Activation(_) => {}
        }
        if m > 0 && n > 0 {
            assert!(n <= self.out.row_stride, "rows of a result overlap");
            let need = (m - 1) * self.out.row_stride + n;
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
            right: self.right.values().as_ptr(),
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
    right: *const f32,
    bias: Option<*const f32>,
    out: *mut f32,
    out_stride: usize,
    accumulate: bool,
    epilogue: SharedEpilogue<'a>,
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

/// Rows that a task copies at once; the block (about 180 KB) stays in a second-level cache.
const ROW_BLOCK: usize = 112;

/// How a product is cut into tasks: row blocks × groups of panels.
struct Plan {
    m: usize,
    row_blocks: usize,
    panels: usize,
    panel_groups: usize,
}

impl Plan {
    fn tasks(&self) -> usize {
        self.row_blocks * self.panel_groups
    }

    fn task(&self, index: usize) -> (Range<usize>, Range<usize>) {
        let (block, group) = (index / self.panel_groups, index % self.panel_groups);
        let part = |n: usize, parts: usize, i: usize| n * i / parts..n * (i + 1) / parts;
        (part(self.m, self.row_blocks, block), part(self.panels, self.panel_groups, group))
    }
}

struct MakePlan {
    m: usize,
    n: usize,
}

impl Kernel for MakePlan {
    type Output = Plan;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Plan {
        let threads = parallel::threads();
        let mut row_blocks = self.m.div_ceil(ROW_BLOCK / S::TILE_ROWS * S::TILE_ROWS);
        if row_blocks > 1 {
            row_blocks = row_blocks.next_multiple_of(threads);
        }
        let panels = panel_count(self.n, S::LANES);
        // Eight tasks a thread balance the load; a group of fewer than four panels would copy the
        // left rows too often for what it computes.
        let wanted = if threads == 1 { 1 } else { (8 * threads).div_ceil(row_blocks) };
        let panel_groups = wanted.min(panels.div_ceil(4)).max(1);
        Plan { m: self.m, row_blocks, panels, panel_groups }
    }
}

thread_local! {
    static LEFT: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

struct RunAll<'a> {
    product: &'a SharedProduct<'a>,
    m: usize,
    n: usize,
    scratch: &'a mut Vec<f32>,
}

impl Kernel for RunAll<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let panels = panel_count(self.n, S::LANES);
        let step = ROW_BLOCK / S::TILE_ROWS * S::TILE_ROWS;
        for rows in even_parts(self.m, self.m.div_ceil(step)) {
            run_block(s, self.product, rows, 0..panels, self.scratch);
        }
    }
}

struct RunBlock<'a> {
    product: &'a SharedProduct<'a>,
    rows: Range<usize>,
    panels: Range<usize>,
    scratch: &'a mut Vec<f32>,
}

impl Kernel for RunBlock<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        run_block(s, self.product, self.rows, self.panels, self.scratch);
    }
}

/// Rows × panels of the result, one block of the depth after another.
#[inline(always)]
fn run_block<S: Simd>(
    s: S,
    p: &SharedProduct<'_>,
    rows: Range<usize>,
    panels: Range<usize>,
    scratch: &mut Vec<f32>,
) {
    let need = rows.len() * LEFT_STRIDE;
    if scratch.len() < need {
        scratch.resize(need, 0.0);
    }
    let tiles = rows.len().div_ceil(S::TILE_ROWS);
    let padded = padded_columns(p.n, S::LANES);
    if p.k == 0 {
        // No depth block would write the result.
        fill_start(p, rows.clone(), S::LANES, panels.clone());
    }
    for depth in depth_blocks(p.k) {
        let (first, last) = (depth.start == 0, depth.end == p.k);
        copy_left(p, rows.clone(), depth.clone(), scratch);
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
                // SAFETY: `check` has verified the shapes; this task alone writes these rows and
                // columns, and `scratch` holds the copied rows.
                unsafe {
                    let at = row * p.out_stride + column;
                    let width = panel.vectors * S::LANES;
                    let packed = p.right.add(depth.start * padded + depth.len() * column);
                    let tile = Tile {
                        depth: depth.len(),
                        left: scratch.as_ptr().add(part.start * LEFT_STRIDE),
                        panel: packed,
                        ahead: packed.wrapping_add(depth.len() * width + t % 2 * 16),
                        out: p.out.add(at),
                        out_stride: p.out_stride,
                        columns: panel.columns,
                        start,
                    };
                    tile::compute(s, part.len(), panel.vectors, tile);
                    if last {
                        finish(s, p, row..row + part.len(), column, panel.columns);
                    }
                }
            }
        }
    }
}

/// The bias or zeros, for a product of depth zero.
fn fill_start(p: &SharedProduct<'_>, rows: Range<usize>, lanes: usize, panels: Range<usize>) {
    if p.accumulate {
        return;
    }
    for index in panels {
        let panel = panel(p.n, lanes, index);
        for row in rows.clone() {
            for column in panel.first_column..panel.first_column + panel.columns {
                // SAFETY: within the result, which this task alone writes here; the bias has n
                // numbers.
                unsafe {
                    let start = p.bias.map_or(0.0, |bias| *bias.add(column));
                    *p.out.add(row * p.out_stride + column) = start;
                }
            }
        }
    }
}

/// Copies rows × depth of the left matrix to `scratch`, with a row stride of [`LEFT_STRIDE`].
#[inline(always)]
fn copy_left(p: &SharedProduct<'_>, rows: Range<usize>, depth: Range<usize>, scratch: &mut [f32]) {
    let [row_stride, column_stride] = p.left_strides;
    // SAFETY: `MatrixRef::new` has verified that rows × depth lie within the left matrix, and
    // `scratch` holds rows·LEFT_STRIDE numbers with depth ≤ DEPTH_BLOCK < LEFT_STRIDE.
    unsafe {
        let from = p.left.add(rows.start * row_stride + depth.start * column_stride);
        let to = scratch.as_mut_ptr();
        if column_stride == 1 {
            for r in 0..rows.len() {
                let to = to.add(r * LEFT_STRIDE);
                std::ptr::copy_nonoverlapping(from.add(r * row_stride), to, depth.len());
            }
        } else {
            for k in 0..depth.len() {
                let from = from.add(k * column_stride);
                for r in 0..rows.len() {
                    *to.add(r * LEFT_STRIDE + k) = *from.add(r * row_stride);
                }
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
