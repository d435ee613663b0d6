//! The matrices of inference, computed in double precision and rounded once to the products' own.
//!
//! What folding loses beside the plain form is that one rounding: in f32 the mixture is within 1e-6 of
//! its largest number of what double precision gives, and in bf16, which rounds the token's numbers too,
//! within a fiftieth (both are tested, at the width of BERT-base with eight members).

use adaptkit_compute::{Device, FrozenLinear, Parameter};

use super::{Folded, FoldedInput, Fusion};

impl Fusion {
    /// Folds, if that is not done yet.
    pub(crate) fn fold_ahead(&self) {
        let device = self.attention.query.weight.value().device();
        self.folded.get_or_init(|| self.fold(device));
    }

    /// G = UᵀKᵀQ, g = UᵀKᵀb_q and VU.
    pub(super) fn fold(&self, device: &Device) -> Folded {
        let attention = &self.attention;
        let (d, outer) = (attention.query.inputs(), self.members.outer());
        let up = wide(&self.up_weight);
        let product = |left: &[f64], right: &[f64], columns: usize| {
            device.product_in_double(left, right, columns)
        };
        let keys = product(&of(&attention.key.weight), &up, outer);
        let mut keys_transposed = vec![0.0; keys.len()];
        for (i, x) in keys.iter().enumerate() {
            keys_transposed[i % outer * d + i / outer] = *x;
        }
        let scores = product(&keys_transposed, &of(&attention.query.weight), d);
        let shift = product(&keys_transposed, &of(&attention.query.bias), 1);
        let linear =
            |weight: &[f32], bias: &[f32]| FrozenLinear::new(device, self.precision, weight, bias);
        let join = |down: &[f32], folded: &[f64]| [down, &narrow(folded)].concat();
        let value = attention.value.as_ref().map(|value| of(&value.weight));
        Folded {
            input: match self.query_reads_output {
                true => FoldedInput::Scores(linear(&narrow(&scores), &narrow(&shift))),
                false => FoldedInput::Stacked(linear(
                    &join(&self.down_weight, &scores),
                    &join(&self.down_bias, &shift),
                )),
            },
            mixture: value
                .map(|value| linear(&narrow(&product(&value, &up, outer)), &vec![0.0; d])),
        }
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|x| *x as f32).collect()
}

fn of(parameter: &Parameter) -> Vec<f64> {
    wide(&parameter.value().to_vec())
}
