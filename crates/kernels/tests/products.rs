//! The packed product against a naive oracle in double precision, on every instruction set and in
//! every precision.
//!
//! Bound in f32, and in bf16 for operands rounded to it: a sum of k products in f32, in any order, with or without fused multiply-add, is off by
//! at most γ(k + 2)·Σ|aᵢ·bᵢ| with γ(n) = n·u/(1 − n·u) and u = 2⁻²⁴ (Higham 2002, §3.1).
//! In 8-bit integers an operand is off by half a unit at most, s/2 for s = largest magnitude / 127
//! of the row of a and the column of b: a product by |aᵢ|·s_b/2 + |bᵢ|·s_a/2 + s_a·s_b/4.

use adaptkit_kernels::matrix::{Epilogue, MatrixRef, Output, PackedMatrix, Product, ProductPair};
use adaptkit_kernels::random::Random;
use adaptkit_kernels::{Activation, Isa, Precision, round_to_bf16};

fn isas() -> Vec<Isa> {
    let found = Isa::available();
    for name in Isa::NAMES {
        if !found.iter().any(|isa| isa.name() == name) {
            println!("skipped: this CPU has no {name}");
        }
    }
    found
}

fn vector(n: usize, random: &mut Random) -> Vec<f32> {
    (0..n).map(|_| random.normal() as f32).collect()
}

/// The exact sum and the bound of its rounding error, for each element of [m, n].
fn oracle(a: &[f32], b: &[f32], start: &[f32], [m, k, n]: [usize; 3]) -> Vec<[f64; 2]> {
    let u = 2f64.powi(-24);
    let gamma = |n: usize| n as f64 * u / (1.0 - n as f64 * u);
    let element = |i: usize, j: usize| {
        let start = f64::from(start[i * n + j]);
        let terms = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j]));
        let (sum, size) = terms.fold((start, start.abs()), |(s, t), x| (s + x, t + x.abs()));
        [sum, gamma(k + 2) * size]
    };
    (0..m * n).map(|at| element(at / n, at % n)).collect()
}

fn check(what: &str, got: &[f32], want: &[[f64; 2]], failures: &mut Vec<String>) {
    for (i, (got, [want, bound])) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*got) - want).abs();
        if error.is_nan() || error > *bound {
            failures.push(format!("{what}, element {i}: {got} for {want}, bound {bound:.1e}"));
            return;
        }
    }
}

const SIZES: [usize; 12] = [1, 2, 3, 7, 13, 16, 17, 31, 33, 48, 100, 130];
const DEPTHS: [usize; 8] = [1, 2, 5, 64, 383, 384, 385, 900];

#[test]
fn products_of_every_shape_stay_within_the_bound() {
    let mut failures = Vec::new();
    for isa in isas() {
        let mut random = Random::new(1);
        for case in 0..220 {
            let pick = |list: &[usize], r: &mut Random| list[r.below(list.len() as u64) as usize];
            let [m, k, n] =
                [pick(&SIZES, &mut random), pick(&DEPTHS, &mut random), pick(&SIZES, &mut random)];
            let (a, b) = (vector(m * k, &mut random), vector(k * n, &mut random));
            let bias = vector(n, &mut random);
            let before = vector(m * n, &mut random);
            // Every other case with transposed operands, every third accumulating.
            let transposed = case % 2 == 1;
            let turn = |x: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect()
            };
            let (a_turned, b_turned) = (turn(&a, m, k), turn(&b, k, n));
            let left = match transposed {
                true => MatrixRef::row_major(&a_turned, [k, m]).transposed(),
                false => MatrixRef::row_major(&a, [m, k]),
            };
            let right = match transposed {
                true => MatrixRef::row_major(&b_turned, [n, k]).transposed(),
                false => MatrixRef::row_major(&b, [k, n]),
            };
            let packed = PackedMatrix::pack(isa, Precision::F32, right);
            let accumulate = case % 3 == 0;
            let start: Vec<f32> = match accumulate {
                true => before.clone(),
                false => bias.iter().copied().cycle().take(m * n).collect(),
            };
            // Rows further apart than they are long: the gaps must stay untouched.
            let stride = n + 3;
            let mut out = vec![-7.0; m * stride];
            for (row, values) in before.chunks(n).enumerate() {
                out[row * stride..row * stride + n].copy_from_slice(values);
            }
            Product {
                left,
                right: &packed,
                bias: (!accumulate).then_some(&bias[..]),
                epilogue: Epilogue::None,
                out: Output { data: &mut out, row_stride: stride, accumulate },
            }
            .run();
            let rows: Vec<f32> = out.chunks(stride).flat_map(|row| row[..n].to_vec()).collect();
            let what = format!("{isa}, {m}×{k}×{n}, case {case}");
            check(&what, &rows, &oracle(&a, &b, &start, [m, k, n]), &mut failures);
            if out.chunks(stride).any(|row| row[n..].iter().any(|x| *x != -7.0)) {
                failures.push(format!("{what}: a gap was written"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn epilogues_are_the_activation_of_the_sums() {
    for isa in isas() {
        let mut random = Random::new(2);
        let [m, k, n] = [19, 70, 37];
        let (a, b) = (vector(m * k, &mut random), vector(k * n, &mut random));
        let packed = PackedMatrix::pack(isa, Precision::F32, MatrixRef::row_major(&b, [k, n]));
        let run = |epilogue: Epilogue<'_>| {
            let mut out = vec![0.0; m * n];
            let data = &mut out;
            Product {
                left: MatrixRef::row_major(&a, [m, k]),
                right: &packed,
                bias: None,
                epilogue,
                out: Output { data, row_stride: n, accumulate: false },
            }
            .run();
            out
        };
        let sums = run(Epilogue::None);
        for f in Activation::ALL {
            let mut want = sums.clone();
            adaptkit_kernels::activation::activate(isa, f, &mut want);
            assert_eq!(run(Epilogue::Activation(f)), want, "{isa}, {f:?}");
            let mut kept = vec![0.0; m * n];
            assert_eq!(run(Epilogue::ActivationKeeping(f, &mut kept)), want, "{isa}, {f:?}");
            assert_eq!(kept, sums, "{isa}, {f:?}");
            let z = vector(m * n, &mut Random::new(5));
            let mut want = sums.clone();
            adaptkit_kernels::activation::activation_backward(isa, f, &z, &mut want);
            assert_eq!(run(Epilogue::ActivationBackward(f, &z)), want, "{isa}, {f:?}");
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it_or_on_threads() {
    for (isa, precision) in isas().into_iter().flat_map(|isa| Precision::ALL.map(|p| (isa, p))) {
        let mut random = Random::new(3);
        let [m, k, n] = [300, 300, 70];
        let (a, b) = (vector(m * k, &mut random), vector(k * n, &mut random));
        let packed = PackedMatrix::pack(isa, precision, MatrixRef::row_major(&b, [k, n]));
        let run = |a: &[f32], m: usize| plain(a, &packed, None, m);
        let on = |threads: usize| {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| run(&a, m))
        };
        let whole = on(1);
        let same = whole == on(2) && whole == on(3);
        assert!(same, "{isa}, {precision}: threads change the result");
        for row in [0, 1, 13, 150, 299] {
            let alone = run(&a[row * k..(row + 1) * k], 1);
            assert_eq!(alone, whole[row * n..(row + 1) * n], "{isa}, {precision}, row {row}");
        }
    }
}

/// a·packed + bias.
fn plain(a: &[f32], packed: &PackedMatrix, bias: Option<&[f32]>, m: usize) -> Vec<f32> {
    let [k, n] = packed.shape();
    let mut out = vec![0.0; m * n];
    let data = &mut out;
    Product {
        left: MatrixRef::row_major(a, [m, k]),
        right: packed,
        bias,
        epilogue: Epilogue::None,
        out: Output { data, row_stride: n, accumulate: false },
    }
    .run();
    out
}

/// Shapes at and around the edges of tiles, words and blocks.
const REDUCED: [[usize; 3]; 14] = [
    [1, 1, 1],
    [2, 3, 17],
    [3, 5, 16],
    [7, 6, 33],
    [13, 7, 48],
    [14, 64, 31],
    [15, 65, 32],
    [17, 127, 5],
    [33, 383, 20],
    [5, 768, 65],
    [4, 769, 40],
    [6, 1537, 19],
    [3, 3071, 33],
    [130, 66, 130],
];

#[test]
fn products_in_bf16_are_those_of_rounded_operands() {
    let mut failures = Vec::new();
    for isa in isas() {
        let mut random = Random::new(4);
        for [m, k, n] in REDUCED {
            let (a, b) = (vector(m * k, &mut random), vector(k * n, &mut random));
            let bias = vector(n, &mut random);
            let right = MatrixRef::row_major(&b, [k, n]);
            let packed = PackedMatrix::pack(isa, Precision::Bf16, right);
            assert_eq!(packed.precision(), Precision::Bf16);
            let got = plain(&a, &packed, Some(&bias), m);
            let [a, b] = [&a, &b].map(|x| x.iter().map(|x| round_to_bf16(*x)).collect::<Vec<_>>());
            let start: Vec<f32> = bias.iter().copied().cycle().take(m * n).collect();
            let what = format!("{isa}, {m}×{k}×{n}");
            check(&what, &got, &oracle(&a, &b, &start, [m, k, n]), &mut failures);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn largest<'a>(values: impl Iterator<Item = &'a f32>) -> f64 {
    values.fold(0.0, |largest, x| largest.max(f64::from(x.abs())))
}

/// From the least to the greatest of the numbers and zero.
fn range(values: &[f32]) -> f64 {
    let (least, greatest) =
        values.iter().fold((0.0f32, 0.0f32), |(l, g), x| (l.min(*x), g.max(*x)));
    f64::from(greatest) - f64::from(least)
}

#[test]
fn a_product_of_no_depth_is_the_activation_of_its_bias() {
    let [m, n] = [35, 40];
    let bias = vector(n, &mut Random::new(8));
    for isa in isas() {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let right = PackedMatrix::pack(isa, precision, MatrixRef::row_major(&[], [0, n]));
            let mut out = vec![f32::NAN; m * n];
            Product {
                left: MatrixRef::row_major(&[], [m, 0]),
                right: &right,
                bias: Some(&bias),
                epilogue: Epilogue::Activation(Activation::Relu),
                out: Output { data: &mut out, row_stride: n, accumulate: false },
            }
            .run();
            for (at, y) in out.iter().enumerate() {
                assert_eq!(*y, bias[at % n].max(0.0), "{isa}, {precision}, element {at}");
            }
        }
    }
}

#[test]
fn products_in_int8_are_off_by_half_a_unit_of_each_operand_at_most() {
    let mut failures = Vec::new();
    for isa in isas() {
        let mut random = Random::new(5);
        for [m, k, n] in REDUCED {
            let (a, b) = (vector(m * k, &mut random), vector(k * n, &mut random));
            let bias = vector(n, &mut random);
            // Packed from either order of the right matrix.
            let turned: Vec<f32> = (0..k * n).map(|i| b[i % k * n + i / k]).collect();
            let right = MatrixRef::row_major(&turned, [n, k]).transposed();
            let packed = PackedMatrix::pack(isa, Precision::Int8, right);
            let got = plain(&a, &packed, Some(&bias), m);
            let start: Vec<f32> = bias.iter().copied().cycle().take(m * n).collect();
            let mut want = oracle(&a, &b, &start, [m, k, n]);
            for (at, want) in want.iter_mut().enumerate() {
                let (row, column) = (&a[at / n * k..][..k], b[at % n..].iter().step_by(n));
                let (s_a, s_b) = (range(row) / 254.0, largest(column.clone()) / 127.0);
                want[1] += row.iter().zip(column).fold(0.0, |sum, (a, b)| {
                    let [a, b] = [a, b].map(|x| f64::from(x.abs()));
                    sum + 0.5 * (a * s_b + b * s_a) + 0.25 * s_a * s_b
                });
                // The quantised value itself is rounded in single precision.
                want[1] *= 1.0 + 1e-5;
            }
            check(&format!("{isa}, {m}×{k}×{n}"), &got, &want, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn products_in_int8_are_exact_for_operands_that_eight_bits_hold() {
    for isa in isas() {
        for [m, k, n] in REDUCED {
            let mut random = Random::new(6);
            let mut whole = |n: usize| -> Vec<f32> {
                (0..n).map(|_| random.below(255) as f32 - 127.0).collect()
            };
            let (mut a, mut b) = (whole(m * k), whole(k * n));
            // Each block of the depth has its own scale: both ends of the range are in each, but in
            // one of a single number, which half the scale holds.
            for row in a.chunks_mut(k) {
                row.iter_mut().step_by(3).for_each(|x| *x = 127.0);
                row.iter_mut().skip(1).step_by(3).for_each(|x| *x = -127.0);
                row[k.saturating_sub(2)] = -127.0;
                row[k - 1] = 127.0;
            }
            b[..n].fill(-127.0);
            let right = MatrixRef::row_major(&b, [k, n]);
            let packed = PackedMatrix::pack(isa, Precision::Int8, right);
            let got = plain(&a, &packed, None, m);
            for (at, got) in got.iter().enumerate() {
                let terms = (0..k).map(|p| f64::from(a[at / n * k + p] * b[p * n + at % n]));
                let want: f64 = terms.sum();
                // Sums of up to three blocks, each a whole number times two scales of one.
                let bound = 4.0 * 2f64.powi(-24) * 127.0 * 127.0 * k as f64;
                let error = (f64::from(*got) - want).abs();
                assert!(error <= bound, "{isa}, {m}×{k}×{n}, {at}: {got} for {want}");
            }
        }
    }
}

#[test]
fn products_in_int8_do_not_saturate() {
    for isa in isas() {
        let [m, k, n] = [15, 1536, 40];
        for (a, b) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
            let (left, right) = (vec![a; m * k], vec![b; k * n]);
            let right = MatrixRef::row_major(&right, [k, n]);
            let packed = PackedMatrix::pack(isa, Precision::Int8, right);
            for got in plain(&left, &packed, None, m) {
                let want = a * b * k as f32;
                assert!((got - want).abs() <= 1e-3, "{isa}: {got} for {want}");
            }
        }
    }
}

#[test]
fn rows_of_zeros_and_rows_that_are_not_finite_stay_what_they_are() {
    for (isa, precision) in isas().into_iter().flat_map(|isa| Precision::ALL.map(|p| (isa, p))) {
        let [k, n] = [70, 33];
        let mut random = Random::new(7);
        let b = vector(k * n, &mut random);
        let bias = vector(n, &mut random);
        let mut a = vector(4 * k, &mut random);
        a[k..2 * k].fill(0.0);
        a[2 * k + 5] = f32::NAN;
        let packed = PackedMatrix::pack(isa, precision, MatrixRef::row_major(&b, [k, n]));
        let got = plain(&a, &packed, Some(&bias), 4);
        let rows: Vec<&[f32]> = got.chunks(n).collect();
        assert_eq!(rows[1], bias, "{isa}, {precision}");
        assert!(rows[2].iter().all(|x| x.is_nan()), "{isa}, {precision}");
        assert!([rows[0], rows[3]].concat().iter().all(|x| x.is_finite()), "{isa}, {precision}");
    }
}

#[test]
fn a_pair_is_its_two_products_bit_by_bit() {
    for isa in isas() {
        for precision in Precision::ALL {
            let mut random = Random::new(8);
            for [m, k, w, n] in [[1, 5, 9, 3], [40, 70, 33, 20], [300, 48, 130, 17]] {
                let (a, b, c) = (
                    vector(m * k, &mut random),
                    vector(k * w, &mut random),
                    vector(w * n, &mut random),
                );
                let (first_bias, second_bias) = (vector(w, &mut random), vector(n, &mut random));
                let first = PackedMatrix::pack(isa, precision, MatrixRef::row_major(&b, [k, w]));
                let second = PackedMatrix::pack(isa, precision, MatrixRef::row_major(&c, [w, n]));
                if first.is_tiled() {
                    continue;
                }
                let (mut wide, mut want) = (vec![0.0; m * w], vec![0.0; m * n]);
                Product {
                    left: MatrixRef::row_major(&a, [m, k]),
                    right: &first,
                    bias: Some(&first_bias),
                    epilogue: Epilogue::Activation(Activation::Gelu),
                    out: Output { data: &mut wide, row_stride: w, accumulate: false },
                }
                .run();
                Product {
                    left: MatrixRef::row_major(&wide, [m, w]),
                    right: &second,
                    bias: Some(&second_bias),
                    epilogue: Epilogue::None,
                    out: Output { data: &mut want, row_stride: n, accumulate: false },
                }
                .run();
                let mut got = vec![0.0; m * n];
                ProductPair {
                    left: MatrixRef::row_major(&a, [m, k]),
                    first: &first,
                    first_bias: &first_bias,
                    activation: Activation::Gelu,
                    second: &second,
                    second_bias: &second_bias,
                    out: &mut got,
                }
                .run();
                assert_eq!(got, want, "{isa}, {precision}, {m}×{k}×{w}×{n}");
            }
        }
    }
}
