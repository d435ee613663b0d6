//! The matrices of inference, computed in double precision.

use adaptkit_compute::{Device, FrozenLinear, Parameter, Precision};

use super::{Folded, Fusion};

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
        let keys = product(&of(&attention.key.weight), &up, outer);
        let mut keys_transposed = vec![0.0; keys.len()];
        for (i, x) in keys.iter().enumerate() {
            keys_transposed[i % outer * d + i / outer] = *x;
        }
        let scores = product(&keys_transposed, &of(&attention.query.weight), d);
        let shift = product(&keys_transposed, &of(&attention.query.bias), 1);
        let linear = |weight: &[f64], bias: &[f64]| {
            FrozenLinear::new(device, Precision::F32, &narrow(weight), &narrow(bias))
        };
        let value = attention.value.as_ref().map(|value| of(&value.weight));
        Folded {
            scores: linear(&scores, &shift),
            mixture: value.map(|value| linear(&product(&value, &up, outer), &vec![0.0; d])),
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

/// left [rows, depth] · right [depth, columns].
fn product(left: &[f64], right: &[f64], columns: usize) -> Vec<f64> {
    let depth = right.len() / columns;
    let mut out = vec![0.0; left.len() / depth * columns];
    for (row, out) in left.chunks_exact(depth).zip(out.chunks_exact_mut(columns)) {
        for (x, right) in row.iter().zip(right.chunks_exact(columns)) {
            out.iter_mut().zip(right).for_each(|(out, y)| *out += x * y);
        }
    }
    out
}
