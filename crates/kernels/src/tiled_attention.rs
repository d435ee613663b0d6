//! Multi-head attention over ragged rows in matrix tiles, with its backward.
//!
//! What [`attention`](crate::attention) computes, for operands and results in bf16
//! ([`Bf16Rows`]), heads whose width is a multiple of 32 and no dropout. The probabilities are
//! rounded to bf16 where they enter a product; soft-max and its backward are in f32, for 32
//! queries at once, whose scores stay in the first-level cache.
//!
//! A product's right operand is a panel of words, each of two bf16 along the depth, and its left
//! one is rows of such words. So a head is copied in two ways: with the numbers of a token along
//! the depth (`by_width`: its words as they are, transposed), and with tokens along it
//! (`by_token`: two tokens' numbers in a word).

mod operands;

use std::cell::RefCell;
use std::ops::Range;

use operands::{
    PAIR, Rows, Source, Target, by_token, by_width, cut, multiply, odd_stride, turn, vector,
};

use crate::arch::tiles;
use crate::attention::{Attention, RelativeBias};
use crate::elementary;
use crate::isa::Isa;
use crate::matrix::packed::CacheLine;
use crate::matrix::{Bf16Rows, Bf16RowsMut};
use crate::parallel;
use crate::simd::{Kernel, NativeTiles, Simd};
use crate::sizes;

thread_local! {
    static ARENA: RefCell<Vec<CacheLine>> = const { RefCell::new(Vec::new()) };
}

impl Attention<'_> {
    /// Whether [`Attention::forward_in_tiles`] computes this.
    pub fn fits_tiles(&self, isa: Isa) -> bool {
        isa.has_tiles() && self.width.is_multiple_of(PAIR) && self.dropout.probability <= 0.0
    }

    /// out [queries, heads·width] ← the attention's result for qkv = Q|K|V [tokens,
    /// 3·heads·width]. The queries of a row are its first tokens, as many as there are.
    ///
    /// # Panics
    /// If the shapes do not fit, or [`Attention::fits_tiles`] does not hold.
    pub fn forward_in_tiles(&self, isa: Isa, qkv: Bf16Rows<'_>, out: Bf16RowsMut<'_>) {
        let tiles = self.check_tiles(isa, qkv.shape(), [out.layout.rows, out.layout.columns]);
        let (qkv, out) = (Source::of(qkv), Target::of(out));
        self.each(|row, head| {
            ARENA.with_borrow_mut(|arena| {
                let head = Head::new(self, row, head);
                tiles.run(Forward { head, qkv, out, arena });
            });
        });
    }

    /// gradient [tokens, 3·heads·width] ← that at qkv, for `d` [queries, heads·width] at the
    /// result. Tokens that ask nothing have none at their Q, which must be zero before.
    ///
    /// # Panics
    /// As [`Attention::forward_in_tiles`].
    pub fn backward_in_tiles(
        &self,
        isa: Isa,
        qkv: Bf16Rows<'_>,
        d: Bf16Rows<'_>,
        gradient: Bf16RowsMut<'_>,
    ) {
        let tiles = self.check_tiles(isa, qkv.shape(), d.shape());
        assert_eq!(qkv.layout, gradient.layout, "the gradient's shape");
        let [qkv, d] = [qkv, d].map(Source::of);
        let gradient = Target::of(gradient);
        self.each(|row, head| {
            ARENA.with_borrow_mut(|arena| {
                let head = Head::new(self, row, head);
                tiles.run(Backward { head, qkv, d, gradient, arena });
            });
        });
    }

    fn check_tiles(&self, isa: Isa, qkv: [usize; 2], context: [usize; 2]) -> NativeTiles {
        assert!(self.fits_tiles(isa), "attention that does not fit tiles");
        self.check();
        let (queries, keys) = (self.query_offsets, self.key_offsets);
        for (q, k) in queries.windows(2).zip(keys.windows(2)) {
            assert!(q[1] - q[0] <= k[1] - k[0], "more queries than tokens");
        }
        let width = sizes::count([self.heads, self.width]);
        let last = |offsets: &[usize]| offsets.last().copied().unwrap_or(0);
        assert_eq!(qkv[1], sizes::count([3, width]), "Q, K and V of a token");
        assert_eq!(context[1], width, "the result of a token");
        assert!(last(keys) <= qkv[0] && last(queries) <= context[0], "tokens beyond the data");
        NativeTiles::of(isa).expect("tiles")
    }

    fn each(&self, f: impl Fn(usize, usize) + Sync + Send) {
        let rows = self.query_offsets.len().saturating_sub(1);
        parallel::for_each(sizes::count([rows, self.heads]), |task| {
            let (row, head) = (task / self.heads, task % self.heads);
            if self.query_offsets[row] < self.query_offsets[row + 1] {
                f(row, head);
            }
        });
    }
}

/// One head of one row.
#[derive(Clone, Copy)]
struct Head<'a> {
    /// The first token of the row, which is its first query too.
    first: usize,
    /// The first query's row of the result.
    first_result: usize,
    queries: usize,
    keys: usize,
    width: usize,
    /// Columns of Q, K and V in a token, and of the result.
    columns: [usize; 3],
    result_column: usize,
    scale: f32,
    bias: Option<RelativeBias<'a>>,
    index: usize,
}

impl<'a> Head<'a> {
    fn new(of: &Attention<'a>, row: usize, head: usize) -> Head<'a> {
        let (queries, keys) = (&of.query_offsets[row..row + 2], &of.key_offsets[row..row + 2]);
        let (all, column) = (of.heads * of.width, head * of.width);
        if let Some(bias) = of.relative_bias {
            assert!(keys[1] - keys[0] <= bias.reach, "a row longer than the bias");
        }
        Head {
            first: keys[0],
            first_result: queries[0],
            queries: queries[1] - queries[0],
            keys: keys[1] - keys[0],
            width: of.width,
            columns: [column, all + column, 2 * all + column],
            result_column: column,
            scale: 1.0 / (of.width as f32).sqrt(),
            bias: of.relative_bias,
            index: head,
        }
    }

    /// The bias of a query for all keys.
    fn bias_row(&self, query: usize) -> Option<&'a [f32]> {
        self.bias.map(|b| {
            let first = self.index * (2 * b.reach - 1) + b.reach - 1 - query;
            &b.table[first..first + self.keys]
        })
    }

    /// Keys up to whole panels.
    fn padded_keys(&self) -> usize {
        self.keys.next_multiple_of(PAIR)
    }

    fn padded_queries(&self) -> usize {
        self.queries.next_multiple_of(PAIR)
    }

    /// Blocks of queries.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let queries = self.queries;
        (0..queries).step_by(PAIR).map(move |start| start..queries.min(start + PAIR))
    }
}

/// Row `row` of scores ← exp(z − max z) for z = score·scale + bias; 0 beyond the keys. Returns the
/// inverse of the sum.
///
/// # Safety
/// Inside of `NativeTiles::run`; the scores must be those of all keys.
#[inline(always)]
unsafe fn exponentials<S: Simd>(
    s: S,
    head: &Head<'_>,
    scores: *mut u32,
    row: usize,
    query: usize,
) -> f32 {
    let (whole, rest) = (head.keys / S::LANES, head.keys % S::LANES);
    let bias = head.bias_row(query);
    let mut outside = [f32::NEG_INFINITY; 2 * tiles::SIDE];
    outside[..rest].fill(0.0);
    // SAFETY: the caller's contract; the bias has a number for each key.
    unsafe {
        let scale = s.splat(head.scale);
        let mut largest = s.splat(f32::NEG_INFINITY);
        for index in 0..whole {
            let at = vector(scores, row, index);
            let mut z = s.mul(s.load(at), scale);
            if let Some(bias) = bias {
                z = s.add(z, s.load(bias.as_ptr().add(index * S::LANES)));
            }
            s.store(at, z);
            largest = s.max(largest, z);
        }
        let padded = head.padded_keys() / S::LANES;
        for index in whole..padded {
            // Of the first of these `rest` keys exist, of the others none.
            let at = vector(scores, row, index);
            let mut z = s.mul(s.load(at), scale);
            let exist = if index == whole { rest } else { 0 };
            if let Some(bias) = bias {
                z = s.add(z, s.load_part(bias.as_ptr().add(head.keys - exist), exist));
            }
            z = s.add(z, s.load(outside.as_ptr().add(if exist > 0 { 0 } else { tiles::SIDE })));
            s.store(at, z);
            largest = s.max(largest, z);
        }
        let largest = s.splat(s.largest(largest));
        let mut sum = s.splat(0.0);
        for index in 0..padded {
            let at = vector(scores, row, index);
            let e = elementary::exp(s, s.sub(s.load(at), largest));
            s.store(at, e);
            sum = s.add(sum, e);
        }
        1.0 / s.sum(sum)
    }
}

/// Rows of sums, each times its number of `by`, to bf16 from `to` on.
///
/// # Safety
/// Inside of `NativeTiles::run`; all must be there, and no other task may touch it.
#[inline(always)]
unsafe fn store_rows<S: Simd>(
    s: S,
    sums: *mut u32,
    by: &[f32],
    to: Target,
    first: usize,
    column: usize,
    width: usize,
) {
    for (row, by) in by.iter().enumerate() {
        for index in 0..width / S::LANES {
            // SAFETY: the caller's contract.
            unsafe {
                let x = s.mul(s.load(vector(sums, row, index)), s.splat(*by));
                s.store_bf16(to.at(first + row, column + index * S::LANES), x);
            }
        }
    }
}

struct Forward<'a> {
    head: Head<'a>,
    qkv: Source,
    out: Target,
    arena: &'a mut Vec<CacheLine>,
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Forward { head, qkv, out, arena } = self;
        let (keys, width) = (head.padded_keys(), head.width);
        let stride = odd_stride(keys / 2);
        let [k, v, scores, p, sums] = cut(
            arena,
            [[keys, width / 2], [keys, width / 2], [PAIR, keys], [PAIR, stride], [PAIR, width]],
        );
        let [of_q, of_k, of_v] = head.columns;
        // SAFETY: the shapes have been checked, the pieces are as large as what they hold, and this
        // task alone writes this head of this row's results.
        unsafe {
            by_width(qkv, head.first, head.keys, of_k, width, k);
            by_token(qkv, head.first, head.keys, of_v, width, v);
            for block in head.blocks() {
                let q = Rows::of(qkv, head.first + block.start, of_q);
                multiply(q, block.len(), k, width, keys / PAIR, scores);
                let mut inverse_sums = [0.0; PAIR];
                for (row, query) in block.clone().enumerate() {
                    inverse_sums[row] = exponentials(s, &head, scores, row, query);
                    let to = p.add(row * stride).cast::<u16>();
                    for index in 0..keys / S::LANES {
                        let e = s.load(vector(scores, row, index));
                        s.store_bf16(to.add(index * S::LANES), e);
                    }
                }
                let p = Rows { start: p, stride };
                multiply(p, block.len(), v, keys, width / PAIR, sums);
                let by = &inverse_sums[..block.len()];
                let first = head.first_result + block.start;
                store_rows(s, sums, by, out, first, head.result_column, width);
            }
        }
    }
}

struct Backward<'a> {
    head: Head<'a>,
    qkv: Source,
    d: Source,
    gradient: Target,
    arena: &'a mut Vec<CacheLine>,
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Backward { head, qkv, d, gradient, arena } = self;
        let (keys, queries, width) = (head.padded_keys(), head.padded_queries(), head.width);
        let (stride, turned_stride) = (odd_stride(keys / 2), odd_stride(queries / 2));
        let [of_q, of_k, of_v] = head.columns;
        let panels = [keys, width / 2];
        let pieces = cut(
            arena,
            [
                panels,
                panels,
                panels,
                [queries, width / 2],
                [PAIR, keys],
                [PAIR, keys],
                [PAIR, stride],
                [PAIR / 2, keys],
                [keys, turned_stride],
                [keys, turned_stride],
                [PAIR, width],
            ],
        );
        let [k_wide, v_wide, k_deep, deep, scores, d_scores, left, pairs, p_turned, d_turned, sums] =
            pieces;
        // SAFETY: as in the forward pass.
        unsafe {
            by_width(qkv, head.first, head.keys, of_k, width, k_wide);
            by_width(qkv, head.first, head.keys, of_v, width, v_wide);
            by_token(qkv, head.first, head.keys, of_k, width, k_deep);
            for block in head.blocks() {
                let rows = block.len();
                let q = Rows::of(qkv, head.first + block.start, of_q);
                let of_d = Rows::of(d, head.first_result + block.start, head.result_column);
                multiply(q, rows, k_wide, width, keys / PAIR, scores);
                multiply(of_d, rows, v_wide, width, keys / PAIR, d_scores);
                for (row, query) in block.clone().enumerate() {
                    let inverse = exponentials(s, &head, scores, row, query);
                    softmax_backward(s, &head, scores, d_scores, row, inverse);
                    let to = left.add(row * stride).cast::<u16>();
                    for index in 0..keys / S::LANES {
                        let x = s.load(vector(d_scores, row, index));
                        s.store_bf16(to.add(index * S::LANES), x);
                    }
                }
                for row in rows..PAIR {
                    for index in 0..keys / S::LANES {
                        s.store(vector(scores, row, index), s.splat(0.0));
                        s.store(vector(d_scores, row, index), s.splat(0.0));
                    }
                }
                let left = Rows { start: left, stride };
                multiply(left, rows, k_deep, keys, width / PAIR, sums);
                let first = head.first + block.start;
                store_rows(s, sums, &[1.0; PAIR][..rows], gradient, first, of_q, width);
                for (from, to) in [(scores, p_turned), (d_scores, d_turned)] {
                    turn(s, from, keys, pairs, to.add(block.start / 2), turned_stride);
                }
            }
            for (turned, of, first, from, to) in [
                (d_turned, qkv, head.first, of_q, of_k),
                (p_turned, d, head.first_result, head.result_column, of_v),
            ] {
                by_token(of, first, head.queries, from, width, deep);
                for start in (0..head.keys).step_by(PAIR) {
                    let rows = (head.keys - start).min(PAIR);
                    let left =
                        Rows { start: turned.add(start * turned_stride), stride: turned_stride };
                    multiply(left, rows, deep, queries, width / PAIR, sums);
                    let by = &[1.0; PAIR][..rows];
                    store_rows(s, sums, by, gradient, head.first + start, to, width);
                }
            }
        }
    }
}

/// Row `row` of scores, exponentials whose sum's inverse is `inverse`, ← the probabilities p, and of
/// `d_scores`, the gradient d there, ← the gradient at the scores, scale·p·(d − Σ p·d).
///
/// # Safety
/// As for [`exponentials`].
#[inline(always)]
unsafe fn softmax_backward<S: Simd>(
    s: S,
    head: &Head<'_>,
    scores: *mut u32,
    d_scores: *mut u32,
    row: usize,
    inverse: f32,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let (inverse, scale) = (s.splat(inverse), s.splat(head.scale));
        let mut dot = s.splat(0.0);
        for index in 0..head.padded_keys() / S::LANES {
            let p = s.mul(s.load(vector(scores, row, index)), inverse);
            s.store(vector(scores, row, index), p);
            dot = s.mul_add(p, s.load(vector(d_scores, row, index)), dot);
        }
        let dot = s.splat(s.sum(dot));
        for index in 0..head.padded_keys() / S::LANES {
            let at = vector(d_scores, row, index);
            let p = s.mul(s.load(vector(scores, row, index)), scale);
            s.store(at, s.mul(p, s.sub(s.load(at), dot)));
        }
    }
}
