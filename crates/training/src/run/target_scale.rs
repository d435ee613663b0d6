//! Targets of a regression in units that a head learns well.
//!
//! A new head puts out numbers near zero. So that prices in thousands are learnt as well as scores from
//! 0 to 5, a run trains on (target − mean) / deviation, and folds mean and deviation into the head's
//! last layer wherever the model is scored or stored: what is on disk answers in the targets' own units.

use adaptkit_adapters::{Owner, TaskModel};
use serde::{Deserialize, Serialize};

use crate::data::Answers;

/// The mean and the standard deviation of a regression's training targets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetScale {
    /// The mean of the targets.
    pub mean: f64,
    /// Their standard deviation, over all of them; 1 where they are all the same.
    pub deviation: f64,
}

impl TargetScale {
    /// The scale that changes nothing.
    pub const ONE: TargetScale = TargetScale { mean: 0.0, deviation: 1.0 };

    /// The scale of these answers; [`TargetScale::ONE`] for labels.
    pub fn of(answers: &Answers) -> TargetScale {
        let Answers::Values(values) = answers else { return TargetScale::ONE };
        let Some(first) = values.first() else { return TargetScale::ONE };
        let rows = values.len() as f64;
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / rows;
        if values.iter().all(|value| value == first) {
            return TargetScale { mean: f64::from(*first), deviation: 1.0 };
        }
        let squares = values.iter().map(|value| (f64::from(*value) - mean).powi(2));
        let deviation = (squares.sum::<f64>() / rows).sqrt();
        TargetScale { mean, deviation: if deviation > 0.0 { deviation } else { 1.0 } }
    }

    /// A target in units of the scale.
    pub fn standardised(self, value: f32) -> f32 {
        ((f64::from(value) - self.mean) / self.deviation) as f32
    }

    /// What a squared error in units of the scale is in the targets' own.
    pub fn squared_unit(self) -> f64 {
        self.deviation * self.deviation
    }

    /// Makes a model that puts out units of the scale put out the targets' own.
    pub fn fold(self, model: &mut TaskModel) {
        self.rescale(
            model,
            |weight| weight * self.deviation,
            |bias| bias * self.deviation + self.mean,
        );
    }

    /// Makes a model that puts out the targets' own units put out those of the scale, to be trained on.
    pub fn unfold(self, model: &mut TaskModel) {
        self.rescale(
            model,
            |weight| weight / self.deviation,
            |bias| (bias - self.mean) / self.deviation,
        );
    }

    /// Runs `work` on the model with the scale folded in; afterwards the model has its own bits again.
    pub(super) fn folded<T>(self, model: &mut TaskModel, work: impl FnOnce(&TaskModel) -> T) -> T {
        if self == TargetScale::ONE {
            return work(model);
        }
        let kept = output_layer(model);
        self.fold(model);
        let done = work(model);
        assign_output_layer(model, &kept);
        done
    }

    fn rescale(
        self,
        model: &mut TaskModel,
        weight: impl Fn(f64) -> f64,
        bias: impl Fn(f64) -> f64,
    ) {
        if self == TargetScale::ONE {
            return;
        }
        let [mut weights, mut biases] = output_layer(model);
        let numbers = |layer: &mut Option<(usize, Vec<f32>)>, map: &dyn Fn(f64) -> f64| {
            for value in layer.iter_mut().flat_map(|(_, values)| values) {
                *value = map(f64::from(*value)) as f32;
            }
        };
        numbers(&mut weights, &weight);
        numbers(&mut biases, &bias);
        assign_output_layer(model, &[weights, biases]);
    }
}

/// The weight and the bias of the head's last layer, each with its number among the parameters.
type OutputLayer = [Option<(usize, Vec<f32>)>; 2];

fn output_layer(model: &mut TaskModel) -> OutputLayer {
    let (mut weight, mut bias) = (None, None);
    let mut number = 0;
    model.visit(&mut |owner, name, parameter| {
        if owner == Owner::Head {
            let found = Some((number, parameter.value().to_vec()));
            match name.ends_with("bias") {
                true => bias = found,
                false => weight = found,
            }
        }
        number += 1;
    });
    [weight, bias]
}

fn assign_output_layer(model: &mut TaskModel, layer: &OutputLayer) {
    let mut number = 0;
    model.visit(&mut |_, _, parameter| {
        if let Some((_, values)) = layer.iter().flatten().find(|(at, _)| *at == number) {
            parameter.assign(values);
        }
        number += 1;
    });
    model.repack();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_mean_zero_and_deviation_one() {
        let cases: [(&[f32], f64, f64); 6] = [
            (&[1.0, 3.0], 2.0, 1.0),
            (&[0.0, 0.0, 3.0, 3.0], 1.5, 1.5),
            (&[7.5], 7.5, 1.0),
            (&[1e9, 1e9, 1e9], 1e9, 1.0),
            (&[3e38, -3e38], 0.0, f64::from(3e38f32)),
            (&[], 0.0, 1.0),
        ];
        for (values, mean, deviation) in cases {
            let scale = TargetScale::of(&Answers::Values(values.to_vec()));
            assert_eq!(scale, TargetScale { mean, deviation }, "{values:?}");
            let all = values.iter().map(|value| f64::from(scale.standardised(*value)));
            let sum: f64 = all.clone().sum();
            assert!(sum.abs() < 1e-6 && all.clone().all(f64::is_finite), "{values:?}: {sum}");
        }
        assert_eq!(TargetScale::of(&Answers::Classes(vec![3, 4])), TargetScale::ONE);
    }
}
