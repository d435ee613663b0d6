//! A fusion against the plain form, in double precision: every member's output, key and value in the
//! encoder's width, one after the other.

use adaptkit_compute::{Device, FrozenNorm, Random, RowOffsets};

use super::*;
use crate::bottleneck::Form;

/// Numbers of a fusion and of what comes into it.
struct Case {
    d: usize,
    tokens: usize,
    sizes: &'static [usize],
    preset: &'static str,
    form: Form,
}

const ACTIVATIONS: [Activation; 2] = [Activation::Silu, Activation::Tanh];

fn form(input: Input, residual: Residual) -> Form {
    Form {
        input,
        residual,
        norm_at_end: false,
        activation: Activation::Silu,
        scaling: 1.0,
        dropout: 0.0,
        residual_before_norm: false,
    }
}

/// The parameters in the order in which they are visited, and what the sub-layer gives.
#[derive(Clone)]
struct Numbers {
    parameters: Vec<Vec<f64>>,
    x: Vec<f64>,
}

struct Made {
    fusion: Fusion,
    members: Vec<Member>,
    numbers: Numbers,
    device: Device,
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

impl Case {
    fn make(&self, precision: Precision) -> Made {
        let device = Device::cpu(std::num::NonZero::new(2)).expect("a device");
        let (d, mut random) = (self.d, Random::new(self.d as u64));
        let mut normal = |n: usize, deviation: f64| -> Vec<f32> {
            (0..n).map(|_| (deviation * random.normal()) as f32).collect()
        };
        let width = 1.0 / (d as f64).sqrt();
        let members = self.sizes.iter().enumerate().map(|(n, &m)| Member {
            down_weight: normal(m * d, width),
            down_bias: normal(m, 0.1),
            up_weight: normal(d * m, 1.0 / (m as f64).sqrt()),
            up_bias: normal(d, 0.1),
            activation: ACTIVATIONS[n % ACTIVATIONS.len()],
        });
        let members: Vec<Member> = members.collect();
        let mut value = normal(d * d, 0.1 * width);
        value.iter_mut().step_by(d + 1).for_each(|x| *x += 1.0);
        // Scores of a few units.
        let factor = 1.4 * width / (d as f64).powf(0.25);
        let all = [normal(d * d, factor), normal(d, 0.1), normal(d * d, factor), normal(d, 0.1)];
        let config = FusionConfig::preset(self.preset).expect("a preset");
        let tensor = |rows: usize, x: &[f32]| device.tensor(rows, x.len() / rows, x);
        let matrix = |weight: &[f32], bias: &[f32]| {
            TrainedLinear::in_precision(tensor(d, weight), tensor(1, bias), precision)
        };
        let attention = Attention {
            query: matrix(&all[0], &all[1]),
            key: matrix(&all[2], &all[3]),
            value: config.value.then(|| TrainedLinear::near_identity(tensor(d, &value), precision)),
        };
        let fusion = Fusion::new(&device, precision, self.form, &members, attention, 0.0, &config);
        let parameters = all.iter().chain(config.value.then_some(&value)).map(|x| wide(x));
        let numbers =
            Numbers { parameters: parameters.collect(), x: wide(&normal(self.tokens * d, 1.0)) };
        Made { fusion, members, numbers, device }
    }

    /// The result [tokens, d], with x as the residual too: the plain form.
    fn plain(&self, members: &[Member], numbers: &Numbers) -> Vec<f64> {
        let d = self.d;
        let config = FusionConfig::preset(self.preset).expect("a preset");
        let [q, q_bias, k, k_bias] = [0, 1, 2, 3].map(|i| &numbers.parameters[i]);
        let times = |w: &[f64], x: &[f64]| -> Vec<f64> {
            let dot = |row: &[f64]| row.iter().zip(x).map(|(w, x)| w * x).sum();
            w.chunks_exact(x.len()).map(dot).collect()
        };
        let plus =
            |x: Vec<f64>, y: &[f64]| -> Vec<f64> { x.iter().zip(y).map(|(x, y)| x + y).collect() };
        let mut out = Vec::new();
        for x in numbers.x.chunks_exact(d) {
            let a = match self.form.input {
                Input::NormedSum => normed(x, x),
                _ => x.to_vec(),
            };
            let residual = match self.form.residual {
                Residual::NormedSum => a.clone(),
                Residual::Output => x.to_vec(),
                Residual::Sum => x.iter().map(|x| 2.0 * x).collect(),
            };
            let asked = if config.query_before_ln { x } else { &a };
            let query = plus(times(q, asked), q_bias);
            let outputs = members.iter().map(|member| {
                let hidden = plus(times(&wide(&member.down_weight), &a), &wide(&member.down_bias));
                let active = hidden.iter().map(|z| match member.activation {
                    Activation::Silu => z / (1.0 + (-z).exp()),
                    _ => z.tanh(),
                });
                let active: Vec<f64> = active.collect();
                plus(times(&wide(&member.up_weight), &active), &wide(&member.up_bias))
            });
            let outputs: Vec<Vec<f64>> = outputs.collect();
            let scores = outputs.iter().map(|z| {
                let key = plus(times(k, z), k_bias);
                query.iter().zip(&key).map(|(q, k)| q * k).sum::<f64>().exp()
            });
            let scores: Vec<f64> = scores.collect();
            let sum: f64 = scores.iter().sum();
            let mut mixed = vec![0.0; d];
            for (score, z) in scores.iter().zip(&outputs) {
                let z = if config.residual_before { plus(z.clone(), &residual) } else { z.clone() };
                let value = numbers.parameters.get(4).map_or(z.clone(), |v| times(v, &z));
                mixed = plus(mixed, &value.iter().map(|v| v * score / sum).collect::<Vec<_>>());
            }
            out.extend(if config.residual_before { mixed } else { plus(mixed, &residual) });
        }
        out
    }
}

/// The norm of x + r.
fn normed(x: &[f64], r: &[f64]) -> Vec<f64> {
    let sum: Vec<f64> = x.iter().zip(r).map(|(x, r)| x + r).collect();
    let n = sum.len() as f64;
    let mean = sum.iter().sum::<f64>() / n;
    let variance = sum.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    sum.iter().map(|x| (x - mean) / (variance + 1e-12).sqrt()).collect()
}

/// The largest difference, as a part of the largest number wanted.
fn error(found: &[f32], want: &[f64]) -> f64 {
    assert_eq!(found.len(), want.len());
    let largest = want.iter().fold(0.0f64, |a, x| a.max(x.abs()));
    let differences = found.iter().zip(want).map(|(x, y)| (f64::from(*x) - y).abs());
    differences.fold(0.0, f64::max) / largest
}

fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|x| *x as f32).collect()
}

impl Made {
    fn end<'a>(
        &self,
        x: Tensor,
        residual: &'a Tensor,
        norm: &'a FrozenNorm,
        offsets: &'a RowOffsets,
    ) -> End<'a> {
        End { x, residual, norm: norm.as_norm(), offsets }
    }
}

/// The folded form and the one of training. Errors in f32 are those of sums over the width, for sums of
/// random numbers a few units of 2⁻²⁴; in bf16 every operand of every product is rounded by up to 2⁻⁸, and
/// scores of a few units turn their share of that into the weights'.
#[test]
fn results_are_the_plain_form_s_folded_and_in_training() {
    const THREE: &[usize] = &[5, 16, 3];
    let [pfeiffer, houlsby] =
        [form(Input::NormedSum, Residual::Output), form(Input::Output, Residual::Output)];
    let normed = form(Input::NormedSum, Residual::NormedSum);
    let sum = form(Input::NormedSum, Residual::Sum);
    let cases = [
        Case { d: 768, tokens: 3, sizes: &[48; 8], preset: "dynamic", form: pfeiffer },
        Case { d: 32, tokens: 7, sizes: THREE, preset: "dynamic", form: houlsby },
        Case { d: 32, tokens: 7, sizes: &[4, 4], preset: "static", form: pfeiffer },
        Case { d: 32, tokens: 7, sizes: THREE, preset: "figure-3", form: pfeiffer },
        Case { d: 32, tokens: 7, sizes: THREE, preset: "figure-3", form: houlsby },
        Case { d: 32, tokens: 7, sizes: THREE, preset: "figure-3", form: normed },
        Case { d: 32, tokens: 7, sizes: THREE, preset: "figure-3", form: sum },
    ];
    for case in cases {
        for (precision, bound) in [(Precision::F32, 1e-6), (Precision::Bf16, 0.02)] {
            let made = case.make(precision);
            let want = case.plain(&made.members, &made.numbers);
            let x = || made.device.tensor(case.tokens, case.d, &narrow(&made.numbers.x));
            let (residual, offsets) = (x(), RowOffsets::from_lengths([case.tokens]));
            let norm = FrozenNorm::new(&made.device, &vec![1.0; case.d], &vec![0.0; case.d], 1e-12);
            let end = || made.end(x(), &residual, &norm, &offsets);
            let folded = made.fusion.forward(end()).to_vec();
            let (trained, tape) = made.fusion.forward_training(end(), true, 1);
            assert!(tape.is_some());
            for (form, found) in [("folded", folded), ("in training", trained.to_vec())] {
                let error = error(&found, &want);
                let what = format!("{} of {:?}, {precision}, {form}", case.preset, case.sizes);
                assert!(error < bound, "{what}: {error:.1e}");
            }
        }
    }
}

/// For Σ g·result: the slope of the plain form along a random direction in each parameter, and in x,
/// is the product of that and the gradient. Central differences in double precision are exact here.
#[test]
fn gradients_are_the_plain_form_s_slopes() {
    const THREE: &[usize] = &[5, 16, 3];
    for (preset, input, residual) in [
        ("dynamic", Input::NormedSum, Residual::Output),
        ("static", Input::Output, Residual::Output),
        ("figure-3", Input::NormedSum, Residual::Output),
        ("figure-3", Input::NormedSum, Residual::NormedSum),
        ("figure-3", Input::NormedSum, Residual::Sum),
        ("figure-3", Input::Output, Residual::Output),
    ] {
        let case = Case { d: 32, tokens: 7, sizes: THREE, preset, form: form(input, residual) };
        for (precision, bound) in [(Precision::F32, 1e-5), (Precision::Bf16, 0.05)] {
            let Made { mut fusion, members, numbers, device } = case.make(precision);
            let what = format!("{preset}, {input:?}, {residual:?}, {precision}");
            let mut random = Random::new(3);
            let mut normal = |n: usize| -> Vec<f64> { (0..n).map(|_| random.normal()).collect() };
            let x = || device.tensor(case.tokens, case.d, &narrow(&numbers.x));
            let (r, offsets) = (x(), RowOffsets::from_lengths([case.tokens]));
            let norm = FrozenNorm::new(&device, &vec![1.0; case.d], &vec![0.0; case.d], 1e-12);
            let end = End { x: x(), residual: &r, norm: norm.as_norm(), offsets: &offsets };
            let (_, tape) = fusion.forward_training(end, true, 1);
            let g = normal(case.tokens * case.d);
            let d = device.tensor(case.tokens, case.d, &narrow(&g));
            let ends = fusion.backward(&mut &norm, tape.expect("kept"), d, true).expect("below");
            // x is the residual too: its gradient is the sum of both.
            let mut at_x = ends.x.duplicate();
            at_x.add_scaled(1.0, ends.residual.as_ref().unwrap_or(&ends.x));
            let mut gradients: Vec<Vec<f32>> = Vec::new();
            fusion.visit(&mut |_, parameter| {
                gradients.push(parameter.gradient().expect("a gradient").to_vec());
            });
            gradients.push(at_x.to_vec());
            let value = |numbers: &Numbers| -> f64 {
                case.plain(&members, numbers).iter().zip(&g).map(|(y, g)| y * g).sum()
            };
            for (index, gradient) in gradients.iter().enumerate() {
                let direction = normal(gradient.len());
                let moved = |step: f64| {
                    let mut numbers = numbers.clone();
                    let count = numbers.parameters.len();
                    let of =
                        if index < count { &mut numbers.parameters[index] } else { &mut numbers.x };
                    of.iter_mut().zip(&direction).for_each(|(x, by)| *x += step * by);
                    value(&numbers)
                };
                let step = 1e-5;
                let slope = (moved(step) - moved(-step)) / (2.0 * step);
                let products = gradient.iter().zip(&direction).map(|(g, by)| f64::from(*g) * by);
                let found: f64 = products.sum();
                // What rounding may leave is a part of all that is summed, not of a sum that cancels.
                let size = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
                let size = size.max(1e-3);
                assert!(
                    (found - slope).abs() < bound * size,
                    "{what}, parameter {index}: {found} for {slope}, of {size}"
                );
            }
        }
    }
}
