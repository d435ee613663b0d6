//! The kernels against what is computed in double precision, and against central differences.

use super::*;

/// Members of 1, 37 and 2 columns, in numbers whose sums are exact.
fn members() -> Members {
    Members::of_sizes([1, 37, 2])
}

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7 + seed * 13) % 17) as f32 / 8.0 - 1.0).collect()
}

/// What is computed, in double precision: p, and the mixture.
fn oracle(a: &[f32], w: &[f32], shift: f32, kept: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let members = members();
    let score = |n: usize| {
        let sum = members.columns(n).map(|j| f64::from(a[j]) * f64::from(w[j])).sum::<f64>();
        (sum + f64::from(w[members.inner() + n]) + f64::from(shift)) * kept[n]
    };
    let exps: Vec<f64> = (0..members.count()).map(|n| score(n).exp()).collect();
    let sum: f64 = exps.iter().sum();
    let p: Vec<f64> = exps.iter().map(|e| e / sum).collect();
    let of = |n: usize| members.columns(n).map(move |j| (n, j));
    let inner = (0..members.count()).flat_map(of).map(|(n, j)| p[n] * f64::from(a[j]));
    let mixed = inner.chain(p.iter().copied()).collect();
    (p, mixed)
}

const ROWS: usize = 5;

/// Errors: exp's unit in the last place and the few of the sums, of numbers up to one.
#[test]
fn weights_and_mixture_are_the_soft_max_s() {
    let members = members();
    let (inner, outer) = (members.inner(), members.outer());
    for isa in Isa::available() {
        for (activated, dropped) in [(true, false), (false, false), (true, true)] {
            // Bottlenecks and what multiplies them side by side, as one product gives them.
            let both = numbers(ROWS * (inner + outer), 1);
            let stride = inner + outer;
            let shift = numbers(ROWS, 3);
            let relu = [(0..inner, Activation::Relu)];
            let dropout = Dropout { probability: if dropped { 0.5 } else { 0.0 }, key: 3 };
            let mut weights = vec![0.0; ROWS * 3];
            let mut mixed = vec![0.0; ROWS * outer];
            Attend {
                members: &members,
                bottlenecks: Strided { data: &both, stride },
                activations: (!activated).then_some(&relu[..]),
                projected: Strided { data: &both[inner..], stride },
                shift: Some(&shift),
                dropout,
                weights: &mut weights,
                mixed: NumbersMut::Full(&mut mixed),
            }
            .run(isa);
            let mut kept = vec![1.0; ROWS * 3];
            dropout.apply(&mut kept);
            for row in 0..ROWS {
                let mut a = both[row * stride..][..inner].to_vec();
                if !activated {
                    a.iter_mut().for_each(|a| *a = a.max(0.0));
                }
                let kept: Vec<f64> =
                    kept[3 * row..][..3].iter().map(|kept| f64::from(*kept)).collect();
                let w = &both[row * stride + inner..][..outer];
                let (p, m) = oracle(&a, w, shift[row], &kept);
                let found = weights[3 * row..][..3].iter().chain(&mixed[row * outer..][..outer]);
                for (found, want) in found.zip(p.iter().chain(&m)) {
                    let error = (f64::from(*found) - want).abs();
                    assert!(error < 4e-6, "{isa:?}, row {row}: {found} for {want}");
                }
            }
        }
    }
}

/// Of a mixture that is weighted with w′ and of the scores' own weights: central differences of the
/// oracle, in double precision but for inputs of f32, whose steps are exact.
#[test]
fn gradients_are_the_slopes() {
    let members = members();
    let (inner, outer) = (members.inner(), members.outer());
    let (z, w, g) = (numbers(inner, 5), numbers(outer, 6), numbers(outer, 7));
    let shift = 0.25;
    for (isa, dropped) in Isa::available().into_iter().flat_map(|isa| [(isa, false), (isa, true)]) {
        let dropout = Dropout { probability: if dropped { 0.5 } else { 0.0 }, key: 5 };
        let mut mask = [1.0; 3];
        dropout.apply(&mut mask);
        let kept = mask.map(f64::from);
        let silu = [(0..inner, Activation::Silu)];
        let active = |z: &[f32]| -> Vec<f32> {
            let f = |x: &f32| f64::from(*x) / (1.0 + (-f64::from(*x)).exp());
            z.iter().map(|x| f(x) as f32).collect()
        };
        let value = |z: &[f32], w: &[f32]| -> f64 {
            let (_, mixed) = oracle(&active(z), w, shift, &kept);
            mixed.iter().zip(&g).map(|(m, g)| m * f64::from(*g)).sum()
        };
        let a = active(&z);
        let (p, _) = oracle(&a, &w, shift, &kept);
        let p: Vec<f32> = p.iter().map(|p| *p as f32).collect();
        let (mut d, mut d_w, mut d_z) = (vec![0.0; 3], vec![0.0; outer], vec![0.0; inner]);
        let strided = |data| Strided { data, stride: outer };
        AttendBackward {
            members: &members,
            bottlenecks: strided(&a),
            d_mixed: strided(&g),
            weights: &p,
            dropout,
            d_scores: &mut d,
            mixed: NumbersMut::Full(&mut d_w),
        }
        .run(isa);
        BottleneckGradient {
            members: &members,
            activations: &silu,
            d_mixed: strided(&g),
            weights: &p,
            projected: strided(&w),
            d_scores: &d,
            hidden: strided(&z),
            out: NumbersMut::Full(&mut d_z),
        }
        .run(isa);
        let step = 1.0 / 256.0;
        let slope = |at: &dyn Fn(f32) -> f64| (at(step) - at(-step)) / (2.0 * f64::from(step));
        let moved = |x: &[f32], i: usize, by: f32| {
            let mut x = x.to_vec();
            x[i] += by;
            x
        };
        let at_w = |i: usize| slope(&|by| value(&z, &moved(&w, i, by)));
        let at_z = |i: usize| slope(&|by| value(&moved(&z, i, by), &w));
        for (found, want) in (d_w.iter().enumerate().map(|(i, d)| (*d, at_w(i))))
            .chain(d_z.iter().enumerate().map(|(i, d)| (*d, at_z(i))))
        {
            // The step's square, and the rounding of activations to f32 over the step.
            assert!((f64::from(found) - want).abs() < 2e-4, "{isa:?}: {found} for {want}");
        }
    }
}
