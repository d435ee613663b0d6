//! Multi-head attention over ragged rows, with its backward.
//!
//! dropout(softmax(Q·Kᵀ/√w + bias))·V for each row of a batch and each head of width w (Vaswani et al.
//! 2017, §3.2.1). The rows' tokens lie end to end; nothing is padded. The products run on the
//! packed kernels, a head at a time on one thread, for a block of queries after another, so that
//! its scores stay in the first-level cache; the soft-max's division is left to the result. The
//! backward pass computes the probabilities anew from Q and K, and nothing but those is kept.

use std::cell::RefCell;
use std::ops::Range;

use crate::elementary;
use crate::elementwise::Dropout;
use crate::isa::Isa;
use crate::matrix::{MatrixRef, PackedMatrix, Product};
use crate::parallel::{self, Shared, even_parts};
use crate::precision::Precision;
use crate::random::mix;
use crate::simd::{Kernel, Simd, dispatch};
use crate::sizes;

/// The heads of one operand: token t of head h is `width` numbers at `t·stride + start + h·width`.
#[derive(Clone, Copy)]
pub struct Heads<'a> {
    /// All tokens of the batch.
    pub data: &'a [f32],
    /// Numbers from one token to the next.
    pub stride: usize,
    /// Where the first head begins within a token.
    pub start: usize,
}

/// The same for a result. Several may share one buffer: see [`HeadsMut::split`].
pub struct HeadsMut<'a> {
    data: Shared<'a, f32>,
    stride: usize,
    start: usize,
    /// Numbers of a token from `start` on that belong to this result.
    span: usize,
}

impl<'a> HeadsMut<'a> {
    /// All of a buffer whose tokens are `stride` numbers apart.
    pub fn new(data: &'a mut [f32], stride: usize) -> HeadsMut<'a> {
        HeadsMut { data: Shared::new(data), stride, start: 0, span: stride }
    }

    /// Results of `span` numbers a token that begin at `starts` within each token.
    ///
    /// # Panics
    /// If they overlap or reach beyond the token.
    pub fn split<const N: usize>(
        data: &'a mut [f32],
        stride: usize,
        span: usize,
        starts: [usize; N],
    ) -> [HeadsMut<'a>; N] {
        let data = Shared::new(data);
        let end = |start: usize| sizes::sum([start, span]);
        assert!(starts.windows(2).all(|w| end(w[0]) <= w[1]), "results that overlap");
        assert!(starts.last().is_none_or(|last| end(*last) <= stride), "results beyond a token");
        starts.map(|start| HeadsMut { data, stride, start, span })
    }

    /// Where this head's numbers of the first of these tokens begin.
    fn start_of(&self, (tokens, first, width): (&Range<usize>, usize, usize)) -> usize {
        assert!(sizes::sum([first, width]) <= self.span, "a head beyond its result");
        let start = sizes::sum([sizes::count([tokens.start, self.stride]), self.start, first]);
        let end = sizes::sum([start, sizes::extent(tokens.len(), self.stride, width)]);
        assert!(end <= self.data.len(), "a result is smaller than its tokens");
        start
    }

    /// This head of these tokens ← left·right.
    ///
    /// # Safety
    /// No other task may touch them.
    unsafe fn multiply(
        &self,
        place: (&Range<usize>, usize, usize),
        left: MatrixRef<'_>,
        right: &PackedMatrix,
    ) {
        let start = self.start_of(place);
        let (tokens, _, width) = place;
        assert_eq!([left.shape()[0], right.shape()[1]], [tokens.len(), width]);
        // SAFETY: in bounds by the assertions, alone by the contract.
        unsafe {
            let to = self.data.pointer().add(start);
            Product::run_serial_to(left, right, to, self.stride);
        }
    }

    /// This head of each of these tokens ← itself times the token's number of `by`.
    ///
    /// # Safety
    /// No other task may touch them.
    unsafe fn scale(&self, isa: Isa, place: (&Range<usize>, usize, usize), by: &[f32]) {
        let start = self.start_of(place);
        let (tokens, _, width) = place;
        for (t, by) in (0..tokens.len()).zip(by) {
            let start = start + t * self.stride;
            // SAFETY: alone by the contract.
            let row = unsafe { self.data.part(start..start + width) };
            dispatch(isa, Scale { row, by: *by });
        }
    }
}

/// An addition to the scores that depends on the head and on key − query positions alone.
#[derive(Clone, Copy)]
pub struct RelativeBias<'a> {
    /// [heads, 2·reach − 1]: the entry for a distance of δ is at δ + reach − 1.
    pub table: &'a [f32],
    /// Distances δ with |δ| < reach are in the table.
    pub reach: usize,
}

/// Which tokens attend to which.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Heads.
    pub heads: usize,
    /// Numbers in a head.
    pub width: usize,
    /// Row r's queries are tokens `query_offsets[r]..query_offsets[r + 1]` of Q.
    pub query_offsets: &'a [usize],
    /// Row r's keys and values are tokens `key_offsets[r]..key_offsets[r + 1]` of K and V.
    pub key_offsets: &'a [usize],
    /// Added to the scores; a row's first query is its first token.
    pub relative_bias: Option<RelativeBias<'a>>,
    /// Of the probabilities, in training. The backward pass needs the same.
    pub dropout: Dropout,
}

/// Q, K and V.
#[derive(Clone, Copy)]
pub struct Operands<'a> {
    /// The queries.
    pub queries: Heads<'a>,
    /// The keys.
    pub keys: Heads<'a>,
    /// The values.
    pub values: Heads<'a>,
}

/// Queries whose scores are computed at once: two tiles of the widest kernel.
const QUERY_BLOCK: usize = 28;

#[derive(Default)]
struct Scratch {
    packed: Option<[PackedMatrix; 2]>,
    scores: Vec<f32>,
    gradients: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Attention<'_> {
    /// out ← the attention's result, in the layout of `out`.
    ///
    /// # Panics
    /// If offsets or layouts do not fit the data.
    pub fn forward(&self, isa: Isa, from: Operands<'_>, out: HeadsMut<'_>) {
        self.each_head(isa, |scratch, [packed_k, packed_v], queries, keys, head| {
            let q = self.head(from.queries, &queries, head);
            packed_k.repack(self.head(from.keys, &keys, head).transposed());
            packed_v.repack(self.head(from.values, &keys, head));
            for block in even_parts(queries.len(), queries.len().div_ceil(QUERY_BLOCK)) {
                let needed = sizes::count([block.len(), keys.len()]);
                let p = first(&mut scratch.scores, needed);
                multiply(q.rows(block.clone()), packed_k, p);
                let mut inverse_sums = [0.0; QUERY_BLOCK];
                for ((query, row), inverse) in
                    block.clone().zip(p.chunks_exact_mut(keys.len())).zip(&mut inverse_sums)
                {
                    *inverse = self.exponentials(isa, row, query, head);
                }
                let tokens = queries.start + block.start..queries.start + block.end;
                self.drop_some(p, &tokens, head);
                let p = MatrixRef::row_major(p, [block.len(), keys.len()]);
                let place = (&tokens, head * self.width, self.width);
                // SAFETY: this task alone has this row's queries and this head.
                unsafe {
                    out.multiply(place, p, packed_v);
                    out.scale(isa, place, &inverse_sums);
                }
            }
        });
    }

    /// d_queries, d_keys, d_values ← the gradients for `d_out` at the result.
    ///
    /// # Panics
    /// If offsets or layouts do not fit the data.
    pub fn backward(
        &self,
        isa: Isa,
        from: Operands<'_>,
        d_out: Heads<'_>,
        gradients: [HeadsMut<'_>; 3],
    ) {
        let [d_queries, d_keys, d_values] = gradients;
        self.each_head(isa, |scratch, [packed, _], queries, keys, head| {
            let q = self.head(from.queries, &queries, head);
            let k = self.head(from.keys, &keys, head);
            let v = self.head(from.values, &keys, head);
            let d = self.head(d_out, &queries, head);
            let of_queries = (&queries, head * self.width, self.width);
            let of_keys = (&keys, head * self.width, self.width);
            let shape = [queries.len(), keys.len()];
            let p = self.probabilities(isa, [q, k], head, packed, &mut scratch.scores);
            let d_scores = first(&mut scratch.gradients, p.len());
            packed.repack(v.transposed());
            multiply(d, packed, d_scores);
            self.drop_some(d_scores, &queries, head);
            let width = shape[1];
            dispatch(isa, SoftmaxBackward { p, d: d_scores, width, scale: self.scale() });
            self.drop_some(p, &queries, head);
            let p = MatrixRef::row_major(p, shape);
            let d_scores = MatrixRef::row_major(d_scores, shape);
            // SAFETY: this task alone has this row and this head of each gradient.
            unsafe {
                packed.repack(d);
                d_values.multiply(of_keys, p.transposed(), packed);
                packed.repack(k);
                d_queries.multiply(of_queries, d_scores, packed);
                packed.repack(q);
                d_keys.multiply(of_keys, d_scores.transposed(), packed);
            }
        });
    }

    fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// Dropout of one head's probabilities, or of the gradient there: [queries, keys]. Each query of
    /// each head has a mask of its own.
    fn drop_some(&self, p: &mut [f32], queries: &Range<usize>, head: usize) {
        let Dropout { probability, key } = self.dropout;
        if probability <= 0.0 {
            return;
        }
        for (query, row) in queries.clone().zip(p.chunks_exact_mut(p.len() / queries.len())) {
            let key = mix(key, (query * self.heads + head) as u64);
            Dropout { probability, key }.apply_serial(row, 0);
        }
    }

    /// Checks what tasks rely on to write different numbers, and returns the count of rows: offsets
    /// that never fall, heads that lie side by side, and a bias that reaches as far as it says.
    pub(crate) fn check(&self) -> usize {
        let (queries, keys) = (self.query_offsets, self.key_offsets);
        assert_eq!(keys.len(), queries.len(), "rows of queries and keys");
        for offsets in [queries, keys] {
            assert!(offsets.is_sorted(), "offsets that fall");
        }
        sizes::count([self.heads, self.width]);
        if let Some(RelativeBias { table, reach }) = self.relative_bias {
            let distances = sizes::sum([reach, reach]).checked_sub(1);
            let distances = distances.expect("a relative bias that reaches one token");
            let needed = sizes::count([self.heads, distances]);
            assert!(needed <= table.len(), "a relative bias [{}, {distances}]", self.heads);
        }
        queries.len().saturating_sub(1)
    }

    /// Calls `f` for every row and head with buffers of the calling thread.
    fn each_head(
        &self,
        isa: Isa,
        f: impl Fn(&mut Scratch, &mut [PackedMatrix; 2], Range<usize>, Range<usize>, usize)
        + Sync
        + Send,
    ) {
        let rows = self.check();
        parallel::for_each(sizes::count([rows, self.heads]), |task| {
            let (row, head) = (task / self.heads, task % self.heads);
            let queries = self.query_offsets[row]..self.query_offsets[row + 1];
            let keys = self.key_offsets[row]..self.key_offsets[row + 1];
            if queries.is_empty() || keys.is_empty() {
                return;
            }
            SCRATCH.with_borrow_mut(|scratch| {
                let mut packed = match scratch.packed.take() {
                    Some(packed) if packed[0].isa() == isa => packed,
                    _ => [(); 2].map(|()| PackedMatrix::empty(isa, Precision::F32)),
                };
                f(scratch, &mut packed, queries, keys, head);
                scratch.packed = Some(packed);
            });
        });
    }

    /// [tokens, width] of one head.
    fn head<'a>(&self, heads: Heads<'a>, tokens: &Range<usize>, head: usize) -> MatrixRef<'a> {
        let token = sizes::count([tokens.start, heads.stride]);
        let first = sizes::sum([token, heads.start, head * self.width]);
        MatrixRef::new(&heads.data[first..], [tokens.len(), self.width], [heads.stride, 1])
    }

    /// softmax(q·kᵀ/√w + bias): [queries, keys], in `scores`.
    fn probabilities<'s>(
        &self,
        isa: Isa,
        [q, k]: [MatrixRef<'_>; 2],
        head: usize,
        packed: &mut PackedMatrix,
        scores: &'s mut Vec<f32>,
    ) -> &'s mut [f32] {
        let keys = k.shape()[0];
        let scores = first(scores, sizes::count([q.shape()[0], keys]));
        packed.repack(k.transposed());
        multiply(q, packed, scores);
        for (query, row) in scores.chunks_exact_mut(keys).enumerate() {
            let by = self.exponentials(isa, row, query, head);
            dispatch(isa, Scale { row, by });
        }
        scores
    }

    /// row ← exp(z − max z) for z = row/√w + bias, the scores of a row's `query`; returns the inverse of
    /// their sum, with which they are probabilities.
    fn exponentials(&self, isa: Isa, row: &mut [f32], query: usize, head: usize) -> f32 {
        let keys = row.len();
        let bias = self.relative_bias.map(|b| {
            assert!(query < b.reach && keys <= b.reach, "a row longer than the bias");
            let first = head * (2 * b.reach - 1) + b.reach - 1 - query;
            &b.table[first..first + keys]
        });
        match bias {
            None => dispatch(isa, Exponentials::<false> { row, scale: self.scale(), bias: &[] }),
            Some(bias) => dispatch(isa, Exponentials::<true> { row, scale: self.scale(), bias }),
        }
    }
}

/// The first `len` numbers of a buffer that grows as needed.
fn first(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// to [rows, columns] ← left·right.
fn multiply(left: MatrixRef<'_>, right: &PackedMatrix, to: &mut [f32]) {
    let [rows, columns] = [left.shape()[0], right.shape()[1]];
    assert_eq!(to.len(), sizes::count([rows, columns]));
    // SAFETY: `to` is a whole matrix that is borrowed alone.
    unsafe { Product::run_serial_to(left, right, to.as_mut_ptr(), columns) }
}

/// row ← exp(z − max z) for z = row·scale + bias, with scale > 0; the bias counts if `BIASED`. Returns
/// the inverse of the sum.
struct Exponentials<'a, const BIASED: bool> {
    row: &'a mut [f32],
    scale: f32,
    bias: &'a [f32],
}

impl<const BIASED: bool> Kernel for Exponentials<'_, BIASED> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let n = self.row.len();
        assert!(!BIASED || self.bias.len() == n, "a bias of another length");
        let (at, bias, whole) =
            (self.row.as_mut_ptr(), self.bias.as_ptr(), n / S::LANES * S::LANES);
        let (scale, rest) = (s.splat(self.scale), n - whole);
        // The last, partial vector, filled up with −∞, which exp takes to 0.
        let mut tail = [f32::NEG_INFINITY; 64];
        debug_assert!(S::LANES <= tail.len());
        // SAFETY: offsets stay under n, the length of the row and of the bias, if it counts.
        unsafe {
            let mut largest = s.splat(f32::NEG_INFINITY);
            for i in (0..whole).step_by(S::LANES) {
                let mut z = s.mul(s.load(at.add(i)), scale);
                if BIASED {
                    z = s.add(z, s.load(bias.add(i)));
                    s.store(at.add(i), z);
                }
                largest = s.max(largest, z);
            }
            if rest > 0 {
                let mut z = s.mul(s.load_part(at.add(whole), rest), scale);
                if BIASED {
                    z = s.add(z, s.load_part(bias.add(whole), rest));
                }
                s.store_part(tail.as_mut_ptr(), z, rest);
                largest = s.max(largest, s.load(tail.as_ptr()));
            }
            let largest = s.splat(s.largest(largest));
            let mut sum = s.splat(0.0);
            for i in (0..whole).step_by(S::LANES) {
                let mut z = s.load(at.add(i));
                if !BIASED {
                    z = s.mul(z, scale);
                }
                let e = elementary::exp(s, s.sub(z, largest));
                s.store(at.add(i), e);
                sum = s.add(sum, e);
            }
            if rest > 0 {
                let e = elementary::exp(s, s.sub(s.load(tail.as_ptr()), largest));
                s.store_part(at.add(whole), e, rest);
                sum = s.add(sum, e);
            }
            1.0 / s.sum(sum)
        }
    }
}

/// row ← row·by.
struct Scale<'a> {
    row: &'a mut [f32],
    by: f32,
}

impl Kernel for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (n, at) = (self.row.len(), self.row.as_mut_ptr());
        let (whole, by) = (n / S::LANES * S::LANES, s.splat(self.by));
        // SAFETY: offsets stay under n.
        unsafe {
            for i in (0..whole).step_by(S::LANES) {
                s.store(at.add(i), s.mul(s.load(at.add(i)), by));
            }
            if whole < n {
                let x = s.load_part(at.add(whole), n - whole);
                s.store_part(at.add(whole), s.mul(x, by), n - whole);
            }
        }
    }
}

/// d ← p·(d − Σ p·d)·scale, row by row: from the gradient at probabilities to the one at scores.
struct SoftmaxBackward<'a> {
    p: &'a [f32],
    d: &'a mut [f32],
    width: usize,
    scale: f32,
}

impl Kernel for SoftmaxBackward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (n, lanes) = (self.width, S::LANES);
        let scale = s.splat(self.scale);
        let rows = self.p.chunks_exact(n).zip(self.d.chunks_exact_mut(n));
        for (p, d) in rows {
            let (p, d) = (p.as_ptr(), d.as_mut_ptr());
            let whole = n / lanes * lanes;
            let rest = n - whole;
            // SAFETY: offsets stay under n, the length of both rows.
            unsafe {
                let mut dot = s.splat(0.0);
                for i in (0..whole).step_by(lanes) {
                    dot = s.mul_add(s.load(p.add(i)), s.load(d.add(i)), dot);
                }
                if rest > 0 {
                    let (p, d) = (s.load_part(p.add(whole), rest), s.load_part(d.add(whole), rest));
                    dot = s.mul_add(p, d, dot);
                }
                let dot = s.splat(s.sum(dot));
                for i in (0..whole).step_by(lanes) {
                    let z = s.mul(s.load(p.add(i)), s.sub(s.load(d.add(i)), dot));
                    s.store(d.add(i), s.mul(z, scale));
                }
                if rest > 0 {
                    let z = s.sub(s.load_part(d.add(whole), rest), dot);
                    let z = s.mul(s.load_part(p.add(whole), rest), z);
                    s.store_part(d.add(whole), s.mul(z, scale), rest);
                }
            }
        }
    }
}
