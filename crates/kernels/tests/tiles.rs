//! Products and attention in matrix tiles, with operands and results in bf16, against oracles in
//! double precision. What needs no bf16 in memory is in `products.rs` with all instruction sets.
//!
//! Bounds: a sum of k products of bf16 in f32 is off by γ(k)·Σ|aᵢ·bᵢ| (see `products.rs`), and a result in
//! bf16 by 2⁻⁸ of its magnitude more (the number may lie under the power of two that the exact one
//! lies above, so twice half a unit).

use adaptkit_kernels::attention::{Attention, RelativeBias};
use adaptkit_kernels::elementwise::Dropout;
use adaptkit_kernels::matrix::*;
use adaptkit_kernels::random::Random;
use adaptkit_kernels::{Activation, Isa, Precision, round_to_bf16};

fn tiled_isas() -> Vec<Isa> {
    let found: Vec<Isa> = Isa::available().into_iter().filter(|isa| isa.has_tiles()).collect();
    if found.is_empty() {
        println!("skipped: this CPU has no matrix tiles");
    }
    found
}

fn vector(n: usize, random: &mut Random) -> Vec<f32> {
    (0..n).map(|_| round_to_bf16(random.normal() as f32)).collect()
}

/// A matrix of bf16 with its memory, in which NaN lies wherever nothing was written.
struct Owned {
    layout: Bf16Layout,
    memory: Vec<f32>,
}

impl Owned {
    fn empty(rows: usize, columns: usize) -> Owned {
        let layout = Bf16Layout { rows, columns };
        Owned { layout, memory: vec![f32::from_bits(0xffff_ffff); layout.room()] }
    }

    fn of(rows: usize, columns: usize, numbers: &[f32]) -> Owned {
        let mut owned = Owned::empty(rows, columns);
        owned.rows_mut().round(numbers);
        owned
    }

    fn rows(&self) -> Bf16Rows<'_> {
        Bf16Rows::new(&self.memory, self.layout)
    }

    fn rows_mut(&mut self) -> Bf16RowsMut<'_> {
        Bf16RowsMut::new(&mut self.memory, self.layout)
    }

    fn numbers(&self) -> Vec<f32> {
        let mut to = vec![0.0; self.layout.rows * self.layout.columns];
        self.rows().widen(Isa::detect(), &mut to);
        to
    }
}

const ROUNDED: f64 = 1.0 / 256.0;

fn check(what: &str, got: &[f32], want: &[[f64; 2]]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, [want, bound])) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(error <= *bound, "{what}, element {i}: {got} for {want}, bound {bound:.1e}");
    }
}

#[test]
fn operands_and_results_may_lie_in_bf16() {
    for isa in tiled_isas() {
        let mut random = Random::new(7);
        for [m, k, n] in [
            [1, 1, 1],
            [3, 40, 17],
            [16, 32, 32],
            [33, 100, 70],
            [70, 2100, 48],
            [130, 31, 97],
            [40, 0, 33],
        ] {
            let what = format!("{isa}, {m}×{k}×{n}");
            let (a, b) = (vector(m * k, &mut random), vector(k * n, &mut random));
            let bias = vector(n, &mut random);
            let z: Vec<[f64; 2]> = (0..m * n)
                .map(|at| {
                    let (i, j) = (at / n, at % n);
                    let terms = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j]));
                    let start = f64::from(bias[j]);
                    let (sum, size) =
                        terms.fold((start, start.abs()), |(s, t), x| (s + x, t + x.abs()));
                    [sum, (k + 2) as f64 * 2f64.powi(-24) * size]
                })
                .collect();
            let right = PackedMatrix::pack(isa, Precision::Bf16, MatrixRef::row_major(&b, [k, n]));
            let a_rows = Owned::of(m, k, &a);
            let lefts =
                [Left::Rounded(a_rows.rows()), Left::Full(MatrixRef::row_major(&a, [m, k]))];
            let mut results = Vec::new();
            for left in lefts {
                let [mut out, mut kept] = [Owned::empty(m, n), Owned::empty(m, n)];
                TiledProduct {
                    left,
                    right: &right,
                    bias: Some(&bias),
                    epilogue: TiledEpilogue::Keeping(
                        Activation::Gelu,
                        NumbersMut::Rounded(kept.rows_mut()),
                    ),
                    out: TiledOutput::Rounded(out.rows_mut()),
                }
                .run();
                let wide: Vec<[f64; 2]> =
                    z.iter().map(|[z, bound]| [*z, bound + ROUNDED * z.abs()]).collect();
                check(&format!("{what}, kept"), &kept.numbers(), &wide);
                let gelu = |z: f64| z / 2.0 * (1.0 + erf(z / 2f64.sqrt()));
                let activated: Vec<[f64; 2]> = z
                    .iter()
                    .map(|[z, bound]| {
                        [gelu(*z), 1.2 * bound + 1e-6 * z.abs() + ROUNDED * gelu(*z).abs()]
                    })
                    .collect();
                check(&format!("{what}, activated"), &out.numbers(), &activated);
                // What fills up a line is zero, so that it can enter a product.
                let ones = PackedMatrix::pack(
                    isa,
                    Precision::Bf16,
                    MatrixRef::row_major(&vec![1.0; n], [n, 1]),
                );
                let mut sums = vec![0.0; m];
                TiledProduct {
                    left: Left::Rounded(out.rows()),
                    right: &ones,
                    bias: None,
                    epilogue: TiledEpilogue::None,
                    out: TiledOutput::Full { data: &mut sums, row_stride: 1, accumulate: false },
                }
                .run();
                assert!(sums.iter().all(|x| x.is_finite()), "{what}: {sums:?}");
                let mut gradient = vec![0.5; m * n];
                TiledProduct {
                    left,
                    right: &right,
                    bias: None,
                    epilogue: TiledEpilogue::Backward(
                        Activation::Relu,
                        Numbers::Rounded(kept.rows()),
                    ),
                    out: TiledOutput::Full { data: &mut gradient, row_stride: n, accumulate: true },
                }
                .run();
                let kept = kept.numbers();
                let want: Vec<[f64; 2]> = (0..m * n)
                    .map(|at| match kept[at] > 0.0 {
                        true => [z[at][0] - f64::from(bias[at % n]) + 0.5, 2.0 * z[at][1] + 1e-6],
                        false => [0.0, 0.0],
                    })
                    .collect();
                check(&format!("{what}, backward"), &gradient, &want);
                results.push((out.numbers(), kept, gradient));
            }
            assert!(results[0] == results[1], "{what}: bf16 in memory changes a result");
        }
    }
}

/// Abramowitz & Stegun (1972), 7.1.26 is too coarse; a series and a continued fraction are not.
fn erf(x: f64) -> f64 {
    let t = x.abs();
    if t < 3.0 {
        let (mut term, mut sum) = (t, t);
        for n in 1..60 {
            term *= -t * t / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        x.signum() * 2.0 / std::f64::consts::PI.sqrt() * sum
    } else {
        let mut fraction = t;
        for n in (1..60).rev() {
            fraction = t + f64::from(n) / 2.0 / fraction;
        }
        x.signum() * (1.0 - (-t * t).exp() / (fraction * std::f64::consts::PI.sqrt()))
    }
}

/// Of numbers that are rounded on their way, each by up to 2⁻⁸: 2⁻⁷ of each product's magnitude more.
#[test]
fn a_weight_s_gradient_is_a_product_with_a_turned_matrix() {
    for isa in tiled_isas() {
        let mut random = Random::new(8);
        for [tokens, outputs, inputs] in
            [[1, 1, 1], [31, 17, 33], [32, 16, 32], [100, 70, 5], [70, 33, 130], [257, 48, 64]]
        {
            let mut normal =
                |n: usize| -> Vec<f32> { (0..n).map(|_| random.normal() as f32).collect() };
            let (d, x) = (normal(tokens * outputs), normal(tokens * inputs));
            let before = normal(outputs * inputs);
            let mut turned = Owned::empty(outputs, tokens);
            turned.rows_mut().round_transposed(isa, MatrixRef::row_major(&d, [tokens, outputs]));
            let right = MatrixRef::row_major(&x, [tokens, inputs]);
            let right = PackedMatrix::pack(isa, Precision::Bf16, right);
            let mut out = before.clone();
            TiledProduct {
                left: Left::Rounded(turned.rows()),
                right: &right,
                bias: None,
                epilogue: TiledEpilogue::None,
                out: TiledOutput::Full { data: &mut out, row_stride: inputs, accumulate: true },
            }
            .run();
            let want: Vec<[f64; 2]> = (0..outputs * inputs)
                .map(|at| {
                    let (i, j) = (at / inputs, at % inputs);
                    let term =
                        |t: usize| f64::from(d[t * outputs + i]) * f64::from(x[t * inputs + j]);
                    let start = f64::from(before[at]);
                    let sum = start + (0..tokens).map(term).sum::<f64>();
                    let size: f64 = (0..tokens).map(|t| term(t).abs()).sum();
                    let rounding = (tokens + 2) as f64 * 2f64.powi(-24) * (size + start.abs());
                    [sum, (2.0 + ROUNDED) * ROUNDED * size + rounding]
                })
                .collect();
            check(&format!("{isa}, {tokens}×{outputs}×{inputs}"), &out, &want);
        }
    }
}

#[test]
fn integers_take_operands_in_bf16_too() {
    for isa in tiled_isas() {
        let mut random = Random::new(9);
        let [m, k, n] = [37, 1700, 50];
        let (a, b) = (vector(m * k, &mut random), vector(k * n, &mut random));
        let right = PackedMatrix::pack(isa, Precision::Int8, MatrixRef::row_major(&b, [k, n]));
        let a_rows = Owned::of(m, k, &a);
        let run = |left| {
            let mut out = vec![0.0; m * n];
            TiledProduct {
                left,
                right: &right,
                bias: None,
                epilogue: TiledEpilogue::None,
                out: TiledOutput::Full { data: &mut out, row_stride: n, accumulate: false },
            }
            .run();
            out
        };
        let full = run(Left::Full(MatrixRef::row_major(&a, [m, k])));
        assert_eq!(run(Left::Rounded(a_rows.rows())), full, "{isa}");
    }
}

/// The attention of one head in double precision: probabilities and result.
fn attend(q: &[f64], k: &[f64], v: &[f64], bias: &[f64], w: usize) -> Vec<f64> {
    let (queries, keys) = (q.len() / w, k.len() / w);
    let mut out = vec![0.0; queries * w];
    for i in 0..queries {
        let score = |j: usize| {
            let dot: f64 = (0..w).map(|c| q[i * w + c] * k[j * w + c]).sum();
            dot / (w as f64).sqrt() + bias[i * keys + j]
        };
        let e: Vec<f64> = (0..keys).map(|j| score(j).exp()).collect();
        let sum: f64 = e.iter().sum();
        for (j, e) in e.iter().enumerate() {
            for c in 0..w {
                out[i * w + c] += e / sum * v[j * w + c];
            }
        }
    }
    out
}

#[test]
fn attention_and_its_gradients_are_those_of_the_definition() {
    let lengths = [1usize, 2, 17, 0, 32, 33, 70];
    let offsets: Vec<usize> = (0..=lengths.len()).map(|i| lengths[..i].iter().sum()).collect();
    let tokens = offsets[lengths.len()];
    let firsts: Vec<usize> =
        (0..=lengths.len()).map(|i| lengths[..i].iter().filter(|n| **n > 0).count()).collect();
    for isa in tiled_isas() {
        for (heads, w, biased) in [(2, 32, false), (1, 64, true), (3, 96, true)] {
            for only_first in [false, true] {
                let mut random = Random::new(w as u64);
                let d = heads * w;
                let asking = if only_first { &firsts } else { &offsets };
                let asked = asking[lengths.len()];
                let reach = 80;
                let table = vector(heads * (2 * reach - 1), &mut random);
                let attention = Attention {
                    heads,
                    width: w,
                    query_offsets: asking,
                    key_offsets: &offsets,
                    relative_bias: biased.then_some(RelativeBias { table: &table, reach }),
                    dropout: Dropout::NONE,
                };
                assert!(attention.fits_tiles(isa));
                let qkv = vector(tokens * 3 * d, &mut random);
                let d_out = vector(asked * d, &mut random);
                let qkv_rows = Owned::of(tokens, 3 * d, &qkv);
                let d_rows = Owned::of(asked, d, &d_out);
                let mut out = Owned::empty(asked, d);
                attention.forward_in_tiles(isa, qkv_rows.rows(), out.rows_mut());
                let mut gradient = Owned::of(tokens, 3 * d, &vec![0.0; tokens * 3 * d]);
                let to = gradient.rows_mut();
                attention.backward_in_tiles(isa, qkv_rows.rows(), d_rows.rows(), to);
                let (out, gradient) = (out.numbers(), gradient.numbers());
                for row in 0..lengths.len() {
                    let (keys, queries) = (lengths[row], asking[row + 1] - asking[row]);
                    for head in 0..heads {
                        let what = format!("{isa}, row {row}, head {head} of {w}, {only_first}");
                        let pick = |data: &[f32], stride: usize, first: usize, n, start: usize| {
                            let token = |t: usize| {
                                let at = (first + t) * stride + start + head * w;
                                data[at..at + w].iter().map(|x| f64::from(*x)).collect::<Vec<_>>()
                            };
                            (0..n).flat_map(token).collect::<Vec<f64>>()
                        };
                        let parts = [(queries, 0), (keys, d), (keys, 2 * d)]
                            .map(|(n, start)| pick(&qkv, 3 * d, offsets[row], n, start));
                        let bias: Vec<f64> = (0..queries * keys)
                            .map(|at| {
                                let (i, j) = (at / keys, at % keys);
                                let at = head * (2 * reach - 1) + reach - 1 + j - i;
                                if biased { f64::from(table[at]) } else { 0.0 }
                            })
                            .collect();
                        let run = |p: &[Vec<f64>; 3]| attend(&p[0], &p[1], &p[2], &bias, w);
                        // Probabilities are off by 2⁻⁹ of theirs, values are under five.
                        let got = pick(&out, d, asking[row], queries, 0);
                        for (g, want) in got.iter().zip(run(&parts)) {
                            assert!((g - want).abs() < 0.02, "{what}: {g} for {want}");
                        }
                        let d_head = pick(&d_out, d, asking[row], queries, 0);
                        for (which, n) in [queries, keys, keys].into_iter().enumerate() {
                            let got = pick(&gradient, 3 * d, offsets[row], n, which * d);
                            let functional = |i: usize, h: f64| -> f64 {
                                let mut parts = parts.clone();
                                parts[which][i] += h;
                                run(&parts).iter().zip(&d_head).map(|(y, d)| y * d).sum()
                            };
                            let size = parts[which].len();
                            for i in (0..size).step_by(1 + size / 12) {
                                let want = (functional(i, 1e-5) - functional(i, -1e-5)) / 2e-5;
                                let bound = 0.03 + 0.02 * want.abs();
                                let which = ["dQ", "dK", "dV"][which];
                                assert!(
                                    (got[i] - want).abs() < bound,
                                    "{what}, {which} {i}: {} for {want}",
                                    got[i]
                                );
                            }
                        }
                    }
                }
                let asks = |token: usize| !only_first || offsets[..lengths.len()].contains(&token);
                for token in (0..tokens).filter(|token| !asks(*token)) {
                    let d_q = &gradient[token * 3 * d..][..d];
                    assert!(
                        d_q.iter().all(|x| *x == 0.0),
                        "a gradient at a token that asks nothing"
                    );
                }
            }
        }
    }
}
