//! A bottleneck as one operation is, bit by bit, what the single operations give, in every wiring, on
//! every instruction set and in every precision that its projections can have.

use adaptkit_kernels::bottleneck::{
    Addend, Backward, Below, EndNorm, Forward, Input, Kept, NormTape, Projections,
};
use adaptkit_kernels::elementwise::{Dropout, add_scaled, scale};
use adaptkit_kernels::matrix::{Epilogue, MatrixRef, Output, PackedMatrix, Product};
use adaptkit_kernels::norm::{
    LayerNorm, Normalised, add_layer_norm, layer_norm_again, layer_norm_backward,
};
use adaptkit_kernels::random::Random;
use adaptkit_kernels::{Activation, Isa, Precision};

fn vector(n: usize, random: &mut Random) -> Vec<f32> {
    (0..n).map(|_| random.normal() as f32).collect()
}

/// Rows, d and m: fewer rows than a block, several blocks, and widths that fill no vector.
const SHAPES: [[usize; 3]; 4] = [[0, 8, 2], [1, 64, 5], [77, 50, 3], [700, 96, 16]];

/// A wiring: whether a norm stands in front, what y is added to, whether a norm stands at the end,
/// the scaling and the share that is dropped.
const WIRINGS: [(bool, &[Sum], bool, f32, f32); 5] = [
    (true, &[Sum::X], true, 1.0, 0.0),
    (true, &[Sum::Input], true, 4.0, 0.2),
    (true, &[Sum::X, Sum::R], false, 1.0, 0.1),
    (false, &[Sum::X], true, 0.5, 0.0),
    (false, &[], false, 1.0, 0.0),
];

#[derive(Clone, Copy)]
enum Sum {
    X,
    R,
    Input,
}

struct Norms {
    weights: [Vec<f32>; 2],
    bias: Vec<f32>,
}

impl Norms {
    fn get(&self, index: usize) -> LayerNorm<'_> {
        LayerNorm { weight: &self.weights[index], bias: &self.bias, epsilon: 1e-5 }
    }
}

/// What a norm keeps, and its result.
struct NormPass {
    out: Vec<f32>,
    normalised: Vec<f32>,
    inverse_deviations: Vec<f32>,
}

fn norm_pass(isa: Isa, norm: LayerNorm<'_>, x: &[f32], r: &[f32]) -> NormPass {
    let rows = x.len() / norm.weight.len();
    let mut pass = NormPass {
        out: vec![0.0; x.len()],
        normalised: vec![0.0; x.len()],
        inverse_deviations: vec![0.0; rows],
    };
    let NormPass { out, normalised, inverse_deviations } = &mut pass;
    let keep = Normalised { rows: normalised, inverse_deviations };
    add_layer_norm(isa, norm, x, Some(r), out, Some(keep));
    pass
}

fn product(
    left: &[f32],
    rows: usize,
    right: &PackedMatrix,
    bias: Option<&[f32]>,
    epilogue: Epilogue<'_>,
) -> Vec<f32> {
    let [k, n] = right.shape();
    let mut data = vec![0.0; rows * n];
    let left = MatrixRef::row_major(left, [rows, k]);
    let out = Output { data: &mut data, row_stride: n, accumulate: false };
    Product { left, right, bias, epilogue, out }.run();
    data
}

#[test]
fn one_operation_is_the_single_ones_bit_by_bit() {
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16] {
            for [rows, d, m] in SHAPES {
                for wiring in WIRINGS {
                    check(isa, precision, [rows, d, m], wiring);
                }
            }
        }
    }
}

fn check(
    isa: Isa,
    precision: Precision,
    [rows, d, m]: [usize; 3],
    (front, sums, at_end, scaling, dropped): (bool, &[Sum], bool, f32, f32),
) {
    let case = format!("{isa}, {precision}, [{rows}, {d}, {m}], norms {front} {at_end}");
    let mut random = Random::new(rows as u64);
    let mut draw = |n| vector(n, &mut random);
    let (x, r, d_out) = (draw(rows * d), draw(rows * d), draw(rows * d));
    let (down, up) = (draw(d * m), draw(m * d));
    let (down_bias, up_bias) = (draw(m), draw(d));
    let norms = Norms { weights: [draw(d), draw(d)], bias: draw(d) };
    let pack = |matrix| PackedMatrix::pack(isa, precision, matrix);
    let [down, up] = [MatrixRef::row_major(&down, [d, m]), MatrixRef::row_major(&up, [m, d])];
    let forward = [pack(down), pack(up)];
    let backward = [pack(down.transposed()), pack(up.transposed())];
    let dropout = Dropout { probability: dropped, key: 7 };
    let with = |down, up| {
        let activation = Activation::Gelu;
        let (down_bias, up_bias) = (&down_bias[..], &up_bias[..]);
        Projections { down, down_bias, activation, up, up_bias, scaling, dropout }
    };

    // One operation after the other.
    let before = front.then(|| norm_pass(isa, norms.get(0), &x, &r));
    let a = before.as_ref().map_or(&x, |pass| &pass.out);
    let mut hidden = vec![0.0; rows * m];
    let keeping = Epilogue::ActivationKeeping(Activation::Gelu, &mut hidden);
    let activated = product(a, rows, &forward[0], Some(&down_bias), keeping);
    let mut y = product(&activated, rows, &forward[1], Some(&up_bias), Epilogue::None);
    scale(&mut y, scaling);
    dropout.apply(&mut y);
    for sum in sums {
        let addend = match sum {
            Sum::X => &x,
            Sum::R => &r,
            Sum::Input => a,
        };
        add_scaled(isa, &mut y, 1.0, addend);
    }
    let end = at_end.then(|| norm_pass(isa, norms.get(1), &y, &r));
    let want = end.as_ref().map_or(&y, |pass| &pass.out);

    let addends: Vec<Addend<'_>> = sums
        .iter()
        .map(|sum| match sum {
            Sum::X => Addend::Rows(&x),
            Sum::R => Addend::Rows(&r),
            Sum::Input => Addend::Input,
        })
        .collect();
    for keep in [false, true] {
        let empty = || NormPass {
            out: Vec::new(),
            normalised: vec![0.0; rows * d],
            inverse_deviations: vec![0.0; rows],
        };
        let (mut front_kept, mut end_kept) = (empty(), empty());
        let (mut got_hidden, mut got_activated) = (vec![0.0; rows * m], vec![0.0; rows * m]);
        let mut got = vec![0.0; rows * d];
        Forward {
            input: match front {
                false => Input::Given(&x),
                true => Input::NormedSum {
                    norm: norms.get(0),
                    x: &x,
                    r: &r,
                    keep: keep.then_some(Normalised {
                        rows: &mut front_kept.normalised,
                        inverse_deviations: &mut front_kept.inverse_deviations,
                    }),
                },
            },
            projections: with(&forward[0], &forward[1]),
            addends: &addends,
            end: at_end.then_some(EndNorm {
                norm: norms.get(1),
                r: &r,
                keep: keep.then_some(Normalised {
                    rows: &mut end_kept.normalised,
                    inverse_deviations: &mut end_kept.inverse_deviations,
                }),
            }),
            keep: keep.then_some(Kept { hidden: &mut got_hidden, activated: &mut got_activated }),
            out: &mut got,
        }
        .run(isa);
        assert_eq!(&got, want, "{case}: the result");
        if !keep {
            continue;
        }
        assert_eq!((&got_hidden, &got_activated), (&hidden, &activated), "{case}: kept");
        for (pass, kept) in [(&before, &front_kept), (&end, &end_kept)] {
            if let Some(pass) = pass {
                assert_eq!(pass.normalised, kept.normalised, "{case}: normalised");
                assert_eq!(pass.inverse_deviations, kept.inverse_deviations, "{case}");
            }
        }
    }

    // Back, with the sum's gradient added in either place.
    for (sum_at_input, sum_at_end) in [(false, true), (true, false)] {
        let through = |pass: &NormPass, index: usize, d: &mut Vec<f32>| {
            let weight = norms.get(index).weight;
            layer_norm_backward(isa, weight, &pass.normalised, &pass.inverse_deviations, d);
        };
        let mut d_sum = d_out.clone();
        if let Some(pass) = &end {
            through(pass, 1, &mut d_sum);
        }
        let mut d_y = d_sum.clone();
        dropout.apply(&mut d_y);
        scale(&mut d_y, scaling);
        let through_activation = Epilogue::ActivationBackward(Activation::Gelu, &hidden);
        let d_hidden = product(&d_y, rows, &backward[1], None, through_activation);
        let mut d_a = if sum_at_input { d_sum.clone() } else { vec![0.0; rows * d] };
        Product {
            left: MatrixRef::row_major(&d_hidden, [rows, m]),
            right: &backward[0],
            bias: None,
            epilogue: Epilogue::None,
            out: Output { data: &mut d_a, row_stride: d, accumulate: sum_at_input },
        }
        .run();
        if let Some(pass) = &before {
            through(pass, 0, &mut d_a);
        }
        if sum_at_end {
            add_scaled(isa, &mut d_a, 1.0, &d_sum);
        }
        let mut again = vec![0.0; rows * d];
        if let Some(pass) = &before {
            layer_norm_again(isa, norms.get(0), &pass.normalised, &mut again);
            assert_eq!(&again, a, "{case}: made again");
        }

        let mut got_sum = d_out.clone();
        let (mut got_y, mut got_hidden) = (vec![0.0; rows * d], vec![0.0; rows * m]);
        let (mut got_input, mut got_below) = (vec![0.0; rows * d], vec![0.0; rows * d]);
        let struck = scaling != 1.0 || dropped > 0.0;
        Backward {
            projections: with(&backward[0], &backward[1]),
            hidden: &hidden,
            end: end.as_ref().map(|pass| NormTape {
                norm: norms.get(1),
                normalised: &pass.normalised,
                inverse_deviations: &pass.inverse_deviations,
            }),
            front: before.as_ref().map(|pass| NormTape {
                norm: norms.get(0),
                normalised: &pass.normalised,
                inverse_deviations: &pass.inverse_deviations,
            }),
            d: &mut got_sum,
            d_y: struck.then_some(&mut got_y[..]),
            d_hidden: &mut got_hidden,
            input: front.then_some(&mut got_input[..]),
            below: Some(Below { d: &mut got_below, sum_at_input, sum_at_end }),
        }
        .run(isa);
        assert_eq!(got_sum, d_sum, "{case}: at the sum");
        if struck {
            assert_eq!(got_y, d_y, "{case}: at y");
        }
        assert_eq!(got_hidden, d_hidden, "{case}: between the projections");
        assert_eq!(got_below, d_a, "{case}: below");
        if front {
            assert_eq!(&got_input, a, "{case}: the input once more");
        }
    }
}
