//! Element-wise functions, norms, attention, losses and AdamW against oracles in double precision,
//! on every instruction set.

use adaptkit_kernels::attention::{Attention, Heads, HeadsMut, Operands};
use adaptkit_kernels::elementary::{Elementary, apply};
use adaptkit_kernels::elementwise::Dropout;
use adaptkit_kernels::loss::ClassLoss;
use adaptkit_kernels::norm::{
    LayerNorm, Normalised, add_layer_norm, layer_norm_again, layer_norm_backward,
};
use adaptkit_kernels::optimiser::{AdamW, Moments};
use adaptkit_kernels::random::{Random, mix};
use adaptkit_kernels::{Activation, Isa, activation, loss};

/// The instruction sets that differ in more than the dot products of reduced precision.
fn vector_sets() -> impl Iterator<Item = Isa> {
    Isa::available().into_iter().filter(|isa| !isa.name().contains('-'))
}

fn vector(n: usize, random: &mut Random) -> Vec<f32> {
    (0..n).map(|_| random.normal() as f32).collect()
}

/// erf by its Taylor series near zero and its continued fraction elsewhere, to about 1e-15.
fn erf(x: f64) -> f64 {
    let t = x.abs();
    let value = if t < 2.5 {
        let (mut term, mut sum) = (t, t);
        for n in 1..120 {
            term *= -t * t / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let fraction = (1..80).rev().fold(t, |f, n| t + f64::from(n) / 2.0 / f);
        1.0 - (-t * t).exp() / fraction / std::f64::consts::PI.sqrt()
    };
    value.copysign(x)
}

/// How many f32 lie between the result and the exact value, in units of the value's own spacing.
fn ulps(got: f32, want: f64) -> f64 {
    let nearest = want as f32;
    if nearest.is_infinite() || got.is_infinite() {
        return if nearest == got { 0.0 } else { f64::INFINITY };
    }
    let spacing = f64::from(f32::from_bits(nearest.abs().to_bits() + 1)) - f64::from(nearest.abs());
    (f64::from(got) - want).abs() / spacing
}

#[test]
fn elementary_functions_are_within_their_ulps_over_all_of_f32() {
    type Exact = fn(f64) -> f64;
    // eˣ is 0 from −87.33 on, just before it ceases to be a normal number.
    let vanishes = |function, want: f64| {
        matches!(function, Elementary::Exp | Elementary::Sigmoid)
            && want < 1.01 * f64::from(f32::MIN_POSITIVE)
    };
    let functions: [(Elementary, Exact, f64); 4] = [
        (Elementary::Exp, f64::exp, 1.0),
        (Elementary::Tanh, f64::tanh, 2.0),
        (Elementary::Erf, erf, 2.0),
        (Elementary::Sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 3.0),
    ];
    // Every 1009th number of both signs, and the special ones.
    let mut inputs: Vec<f32> = (0..0x7f80_0000u32).step_by(1009).map(f32::from_bits).collect();
    inputs.extend([0.6, 0.93, 4.0, 89.0, 104.0, 88.72284, 87.33655, 103.97208, f32::INFINITY]);
    inputs.extend(inputs.clone().iter().map(|x| -x));
    let mut failures = Vec::new();
    for isa in vector_sets() {
        for (function, exact, bound) in functions {
            let mut got = inputs.clone();
            apply(isa, function, &mut got);
            let errors = inputs.iter().zip(&got).map(|(x, y)| {
                let want = exact(f64::from(*x));
                let vanished = *y == 0.0 && vanishes(function, want);
                (if vanished { 0.0 } else { ulps(*y, want) }, *x)
            });
            let (worst, x) = errors.fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a });
            println!("{isa}, {function:?}: {worst:.2} ULP at {x}");
            if worst > bound {
                failures.push(format!("{isa}, {function:?}({x}): {worst} ULP, more than {bound}"));
            }
            let mut nan = [f32::NAN];
            apply(isa, function, &mut nan);
            if !nan[0].is_nan() {
                failures.push(format!("{isa}, {function:?}(NaN) is {}", nan[0]));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// f and f′ in double precision.
fn exact(f: Activation, x: f64) -> [f64; 2] {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match f {
        Activation::Identity => [x, 1.0],
        Activation::Relu => [x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 }],
        Activation::Relu6 => [x.clamp(0.0, 6.0), if x > 0.0 && x < 6.0 { 1.0 } else { 0.0 }],
        Activation::LeakyRelu => {
            if x > 0.0 {
                [x, 1.0]
            } else {
                [0.01 * x, 0.01]
            }
        }
        Activation::Gelu => {
            let phi = 0.5 * (1.0 + erf(x / 2f64.sqrt()));
            let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            [x * phi, phi + x * density]
        }
        Activation::GeluTanh => {
            let c = (2.0 / std::f64::consts::PI).sqrt();
            let t = (c * (x + 0.044715 * x * x * x)).tanh();
            let slope = c * (1.0 + 3.0 * 0.044715 * x * x);
            [0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope]
        }
        Activation::QuickGelu => {
            let s = sigmoid(1.702 * x);
            [x * s, s + 1.702 * x * s * (1.0 - s)]
        }
        Activation::Silu => {
            let s = sigmoid(x);
            [x * s, s + x * s * (1.0 - s)]
        }
        Activation::Tanh => [x.tanh(), 1.0 - x.tanh().powi(2)],
        Activation::Sigmoid => [sigmoid(x), sigmoid(x) * (1.0 - sigmoid(x))],
    }
}

#[test]
fn activations_and_derivatives_are_within_a_few_roundings() {
    // Each is a handful of operations on numbers of the size of 1 + |x|: sixteen units of it.
    let inputs: Vec<f32> = (-2400..2400).map(|i| i as f32 / 200.0 + 1e-3).collect();
    let mut failures = Vec::new();
    for isa in vector_sets() {
        for f in Activation::ALL {
            let mut values = inputs.clone();
            activation::activate(isa, f, &mut values);
            let mut slopes = vec![1.0; inputs.len()];
            activation::activation_backward(isa, f, &inputs, &mut slopes);
            for ((x, value), slope) in inputs.iter().zip(values).zip(slopes) {
                let [want, want_slope] = exact(f, f64::from(*x));
                let bound = 16.0 * 2f64.powi(-24) * (1.0 + f64::from(x.abs()));
                let errors = [f64::from(value) - want, f64::from(slope) - want_slope];
                if errors.iter().any(|e| e.is_nan() || e.abs() > bound) {
                    failures.push(format!("{isa}, {f:?}({x}): off by {errors:?}"));
                    break;
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for f in Activation::ALL {
        assert_eq!(Activation::from_name(f.name()), Some(f));
    }
    assert_eq!(Activation::from_name("gelu_pytorch_tanh"), Some(Activation::GeluTanh));
    assert_eq!(Activation::from_name("wings"), None);
}

/// The layer norm of rows of z in double precision.
fn norm(z: &[f64], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let width = weight.len();
    let row = |row: &[f64]| -> Vec<f64> {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        let scaled = row.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt());
        scaled
            .zip(weight.iter().zip(bias))
            .map(|(c, (w, b))| c * f64::from(*w) + f64::from(*b))
            .collect()
    };
    z.chunks(width).flat_map(row).collect()
}

#[test]
fn layer_norms_and_their_gradients_are_those_of_the_definition() {
    for isa in vector_sets() {
        for width in [1, 5, 16, 17, 33, 384] {
            let mut random = Random::new(width as u64);
            let rows = 7;
            let (x, r) = (vector(rows * width, &mut random), vector(rows * width, &mut random));
            let (weight, bias) = (vector(width, &mut random), vector(width, &mut random));
            let d = vector(rows * width, &mut random);
            let (mut out, mut kept) = (vec![0.0; rows * width], vec![0.0; rows * width]);
            let mut inverses = vec![0.0; rows];
            let layer = LayerNorm { weight: &weight, bias: &bias, epsilon: 1e-5 };
            let keep = Normalised { rows: &mut kept, inverse_deviations: &mut inverses };
            add_layer_norm(isa, layer, &x, Some(&r), &mut out, Some(keep));
            let z: Vec<f64> = x.iter().zip(&r).map(|(x, r)| f64::from(x + r)).collect();
            let want = norm(&z, &weight, &bias);
            // Sums over the width and a square root: width/16 + 16 units of the largest number.
            let bound = (width as f64 / 16.0 + 16.0) * 2f64.powi(-24) * 30.0;
            let worst = |got: &[f32], want: &[f64]| {
                got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max)
            };
            assert!(worst(&out, &want) < bound, "{isa}, width {width}: {}", worst(&out, &want));
            let mut again = vec![0.0; rows * width];
            layer_norm_again(isa, layer, &kept, &mut again);
            assert!(again == out, "{isa}, width {width}: another output when it is made again");
            let mut got = d.clone();
            layer_norm_backward(isa, &weight, &kept, &inverses, &mut got);
            // Central differences of Σ d·norm(z): truncation 1e-6² times a third derivative.
            let functional = |z: &[f64]| -> f64 {
                norm(z, &weight, &bias).iter().zip(&d).map(|(y, d)| y * f64::from(*d)).sum()
            };
            let want: Vec<f64> = (0..z.len())
                .map(|i| {
                    let moved = |h: f64| {
                        let mut z = z.clone();
                        z[i] += h;
                        functional(&z)
                    };
                    (moved(1e-6) - moved(-1e-6)) / 2e-6
                })
                .collect();
            // At width one the norm is constant and its deviation √ε: differences are noise.
            let scale = want.iter().fold(1.0, |a: f64, x| a.max(x.abs()));
            assert!(
                worst(&got, &want) < 1e-4 * scale,
                "{isa}, width {width}: gradient off by {}",
                worst(&got, &want)
            );
        }
    }
}

/// Attention of one head over one row in double precision: q, k, v [tokens, w], and the factors of
/// the probabilities' dropout [tokens, tokens].
fn attend(q: &[f64], k: &[f64], v: &[f64], masks: &[f32], w: usize) -> Vec<f64> {
    let row = |(q, mask): (&[f64], &[f32])| -> Vec<f64> {
        let scores: Vec<f64> = k
            .chunks(w)
            .map(|k| q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>() / (w as f64).sqrt())
            .collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let e: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let sum: f64 = e.iter().sum();
        let kept: Vec<f64> = e.iter().zip(mask).map(|(e, m)| e * f64::from(*m)).collect();
        let mean =
            |c: usize| kept.iter().zip(v.chunks(w)).map(|(e, v)| e * v[c]).sum::<f64>() / sum;
        (0..w).map(mean).collect()
    };
    q.chunks(w).zip(masks.chunks(k.len() / w)).flat_map(row).collect()
}

#[test]
fn attention_and_its_gradients_are_those_of_the_definition() {
    let lengths = [1usize, 2, 17, 0, 40];
    let offsets: Vec<usize> = (0..=lengths.len()).map(|i| lengths[..i].iter().sum()).collect();
    let tokens = offsets[lengths.len()];
    for isa in vector_sets() {
        for (heads, w) in [(1, 4), (3, 8), (2, 5), (2, 33)] {
            let mut random = Random::new(w as u64);
            let d = heads * w;
            let qkv = vector(tokens * 3 * d, &mut random);
            let d_out = vector(tokens * d, &mut random);
            // Every other shape in training, where some probabilities are dropped.
            let dropout = Dropout { probability: if w % 2 == 0 { 0.0 } else { 0.3 }, key: 11 };
            let attention = Attention {
                heads,
                width: w,
                query_offsets: &offsets,
                key_offsets: &offsets,
                relative_bias: None,
                dropout,
            };
            let part = |start| Heads { data: &qkv, stride: 3 * d, start };
            let operands = Operands { queries: part(0), keys: part(d), values: part(2 * d) };
            let mut out = vec![0.0; tokens * d];
            attention.forward(isa, operands, HeadsMut::new(&mut out, d));
            let mut got = vec![0.0; tokens * 3 * d];
            let parts = HeadsMut::split(&mut got, 3 * d, d, [0, d, 2 * d]);
            let from = Heads { data: &d_out, stride: d, start: 0 };
            attention.backward(isa, operands, from, parts);
            for (row, length) in lengths.iter().enumerate().filter(|(_, n)| **n > 0) {
                for head in 0..heads {
                    let pick = |data: &[f32], stride: usize, start: usize| -> Vec<f64> {
                        let token = |t: usize| {
                            let at = (offsets[row] + t) * stride + start + head * w;
                            data[at..at + w].iter().map(|x| f64::from(*x)).collect::<Vec<_>>()
                        };
                        (0..*length).flat_map(token).collect()
                    };
                    let parts = [0, d, 2 * d].map(|start| pick(&qkv, 3 * d, start));
                    let mask = |query: usize| {
                        let mut mask = vec![1.0; *length];
                        let key = mix(dropout.key, ((offsets[row] + query) * heads + head) as u64);
                        Dropout { key, ..dropout }.apply(&mut mask);
                        mask
                    };
                    let masks: Vec<f32> = (0..*length).flat_map(mask).collect();
                    let want = attend(&parts[0], &parts[1], &parts[2], &masks, w);
                    let close = |got: &[f64], want: &[f64], bound: f64, what: &str| {
                        for (g, w) in got.iter().zip(want) {
                            assert!(
                                (g - w).abs() < bound,
                                "{isa}, {what} of row {row}: {g} for {w}"
                            );
                        }
                    };
                    // Sums of at most 40 products of numbers under five: 64·5·2⁻²⁴.
                    close(&pick(&out, d, 0), &want, 2e-5, "result");
                    let d_head = pick(&d_out, d, 0);
                    for (which, start) in [0, d, 2 * d].into_iter().enumerate() {
                        let functional = |i: usize, h: f64| -> f64 {
                            let mut parts = parts.clone();
                            parts[which][i] += h;
                            let out = attend(&parts[0], &parts[1], &parts[2], &masks, w);
                            out.iter().zip(&d_head).map(|(y, d)| y * d).sum()
                        };
                        let n = parts[which].len();
                        let picked: Vec<usize> = (0..n).step_by(1 + n / 24).collect();
                        let want: Vec<f64> = picked
                            .iter()
                            .map(|i| (functional(*i, 1e-5) - functional(*i, -1e-5)) / 2e-5)
                            .collect();
                        let all = pick(&got, 3 * d, start);
                        let got: Vec<f64> = picked.iter().map(|i| all[*i]).collect();
                        close(&got, &want, 1e-4, ["dQ", "dK", "dV"][which]);
                    }
                }
            }
        }
    }
}

#[test]
fn losses_and_their_gradients_are_those_of_the_definition() {
    let mut random = Random::new(8);
    let z = vector(12, &mut random);
    let labels = [2, 0, 1, 1];
    let targets: Vec<f32> = (0..12).map(|i| (i % 2) as f32).collect();
    let weights = [0.5, 3.0, 0.0];
    let plain = ClassLoss::default();
    let weighted = ClassLoss { weights: Some(&weights), smoothing: 0.0 };
    let smoothed = ClassLoss { weights: None, smoothing: 0.25 };
    let both = ClassLoss { smoothing: 0.25, ..weighted };
    type Loss<'a> = &'a dyn Fn(&[f32], &mut [f32]) -> f64;
    let cases: [(&str, Loss<'_>); 7] = [
        ("cross-entropy", &|z, d| loss::cross_entropy(z, &labels, plain, d)),
        ("weighted cross-entropy", &|z, d| loss::cross_entropy(z, &labels, weighted, d)),
        ("smoothed cross-entropy", &|z, d| loss::cross_entropy(z, &labels, smoothed, d)),
        ("weighted, smoothed cross-entropy", &|z, d| loss::cross_entropy(z, &labels, both, d)),
        ("binary cross-entropy", &|z, d| loss::binary_cross_entropy(z, &targets, None, d)),
        ("weighted binary cross-entropy", &|z, d| {
            loss::binary_cross_entropy(z, &targets, Some(&weights), d)
        }),
        ("squared error", &|z, d| loss::mean_squared_error(z, &targets, d)),
    ];
    for (what, f) in cases {
        let mut d = vec![0.0; 12];
        assert!(f(&z, &mut d).is_finite());
        for i in 0..12 {
            let moved = |h: f32| {
                let mut z = z.clone();
                z[i] += h;
                f(&z, &mut [0.0; 12])
            };
            let slope = (moved(1.0 / 512.0) - moved(-1.0 / 512.0)) * 256.0;
            assert!((slope - f64::from(d[i])).abs() < 1e-5, "{what}, {i}: {} for {slope}", d[i]);
        }
        assert!(f(&[1e4; 12], &mut d).is_finite(), "{what} of large logits");
    }
}

#[test]
fn rows_that_all_weigh_nothing_have_no_loss_and_no_gradient() {
    let mut d = [f32::NAN; 4];
    let of = ClassLoss { weights: Some(&[0.0, 2.0]), smoothing: 0.5 };
    assert_eq!(loss::cross_entropy(&[1.0, 2.0, 3.0, -1.0], &[0, 0], of, &mut d), 0.0);
    assert_eq!(d, [0.0; 4]);
}

#[test]
fn adamw_is_pytorchs_formula() {
    for isa in vector_sets() {
        let mut random = Random::new(4);
        let n = 37;
        let mut p = vector(n, &mut random);
        let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
        let mut want: Vec<[f64; 3]> = p.iter().map(|p| [f64::from(*p), 0.0, 0.0]).collect();
        let adamw = AdamW {
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
        };
        for step in 1..=20 {
            let g = vector(n, &mut random);
            let moments =
                Moments { parameter: &mut p, gradient: &g, first: &mut m, second: &mut v };
            adamw.step(isa, step, 0.5, moments);
            for (w, g) in want.iter_mut().zip(&g) {
                let g = 0.5 * f64::from(*g);
                w[0] *= 1.0 - 0.01 * 0.1;
                w[1] = 0.9 * w[1] + 0.1 * g;
                w[2] = 0.999 * w[2] + 0.001 * g * g;
                let (power, t) = (|b: f64, t: i32| 1.0 - b.powi(t), step as i32);
                let root = (w[2] / power(0.999, t)).sqrt();
                w[0] -= 0.01 * w[1] / power(0.9, t) / (root + 1e-8);
            }
        }
        // Twenty steps of 0.01, each with a relative error of a few 2⁻²⁴ in moments and division;
        // 0.999 itself is off by 2⁻²⁵ in f32, which 1 − 0.999 magnifies a thousandfold.
        for (got, [want, ..]) in p.iter().zip(&want) {
            assert!((f64::from(*got) - want).abs() < 2e-5, "{isa}: {got} for {want}");
        }
    }
}
