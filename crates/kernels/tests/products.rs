//! The packed product against a naive oracle in double precision, on every instruction set.
//!
//! Bound: a sum of k products in f32, in any order, with or without fused multiply-add, is off by
//! at most γ(k + 2)·Σ|aᵢ·bᵢ| with γ(n) = n·u/(1 − n·u) and u = 2⁻²⁴ (Higham 2002, §3.1).

use adaptkit_kernels::matrix::{Epilogue, MatrixRef, Output, PackedMatrix, Product};
use adaptkit_kernels::random::Random;
use adaptkit_kernels::{Activation, Isa};

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
            let packed = PackedMatrix::pack(isa, right);
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
        let packed = PackedMatrix::pack(isa, MatrixRef::row_major(&b, [k, n]));
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
    for isa in isas() {
        let mut random = Random::new(3);
        let [m, k, n] = [300, 300, 70];
        let (a, b) = (vector(m * k, &mut random), vector(k * n, &mut random));
        let packed = PackedMatrix::pack(isa, MatrixRef::row_major(&b, [k, n]));
        let run = |a: &[f32], m: usize| {
            let mut out = vec![0.0; m * n];
            let data = &mut out;
            Product {
                left: MatrixRef::row_major(a, [m, k]),
                right: &packed,
                bias: None,
                epilogue: Epilogue::None,
                out: Output { data, row_stride: n, accumulate: false },
            }
            .run();
            out
        };
        let on = |threads: usize| {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| run(&a, m))
        };
        let whole = on(1);
        assert!(whole == on(2) && whole == on(3), "{isa}: threads change the result");
        for row in [0, 1, 13, 150, 299] {
            let alone = run(&a[row * k..(row + 1) * k], 1);
            assert_eq!(alone, whole[row * n..(row + 1) * n], "{isa}, row {row}");
        }
    }
}
