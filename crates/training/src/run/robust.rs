//! AdapterDrop's robust training: how many layers each step drops.

use adaptkit_compute::{Random, mix};
use serde::{Deserialize, Serialize};

use crate::TrainingError;

/// How often a step drops the adapter from the lowest n layers, for each n (Rücklé et al. 2021, §3).
///
/// One adapter serves every n afterwards. The paper draws n uniformly from 0 to the number of layers
/// less one, anew for every batch; the published notebook never draws the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct RobustDrop {
    /// The weight of each n, from 0 on; the last one is not zero.
    weights: Vec<f64>,
}

impl RobustDrop {
    /// Every n from 0 to `most`, each as often as the others.
    pub fn uniform(most: usize) -> RobustDrop {
        RobustDrop { weights: vec![1.0; most.saturating_add(1)] }
    }

    /// Every n in proportion to `weights[n]`.
    ///
    /// # Errors
    /// If a weight is negative or not finite, or none is above zero.
    pub fn weighted(mut weights: Vec<f64>) -> Result<RobustDrop, TrainingError> {
        if let Some((n, weight)) =
            weights.iter().enumerate().find(|(_, w)| !(w.is_finite() && **w >= 0.0))
        {
            return Err(TrainingError::BadDropWeight { n, weight: *weight });
        }
        let last = weights.iter().rposition(|w| *w > 0.0).ok_or(TrainingError::NoDropWeight)?;
        weights.truncate(last + 1);
        Ok(RobustDrop { weights })
    }

    /// The largest n that is ever drawn.
    pub fn most(&self) -> usize {
        self.weights.len() - 1
    }

    /// How likely each n is, from 0 to [`RobustDrop::most`].
    pub fn probabilities(&self) -> Vec<f64> {
        // The largest is divided out first, lest the sum be infinite.
        let largest = self.weights.iter().fold(0.0, |a: f64, b| a.max(*b));
        let sum: f64 = self.weights.iter().map(|w| w / largest).sum();
        self.weights.iter().map(|w| w / largest / sum).collect()
    }

    /// The n of a step, from the run's seed and the steps before it.
    pub fn draw(&self, seed: u64, step: usize) -> usize {
        let mut rest = Random::new(mix(seed ^ STREAM, step as u64)).uniform();
        let probabilities = self.probabilities();
        let drawn = probabilities.iter().position(|p| {
            rest -= p;
            rest < 0.0
        });
        // What rounding leaves over belongs to the last.
        drawn.unwrap_or_else(|| self.most())
    }
}

/// Keeps the draws of n apart from those of the rows' order and of dropout.
const STREAM: u64 = 0x726f_6275_7374_6e21;

impl TryFrom<Vec<f64>> for RobustDrop {
    type Error = TrainingError;

    fn try_from(weights: Vec<f64>) -> Result<RobustDrop, TrainingError> {
        RobustDrop::weighted(weights)
    }
}

impl From<RobustDrop> for Vec<f64> {
    fn from(drop: RobustDrop) -> Vec<f64> {
        drop.weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_n_is_drawn_as_often_as_its_weight_says() {
        const DRAWS: usize = 20_000;
        let cases = [
            RobustDrop::uniform(11),
            RobustDrop::uniform(0),
            RobustDrop::weighted(vec![3.0, 0.0, 1.0, 0.0]).expect("weights"),
            RobustDrop::weighted(vec![f64::MAX, f64::MAX]).expect("weights"),
        ];
        for drop in cases {
            let mut counts = vec![0; drop.most() + 1];
            (0..DRAWS).for_each(|step| counts[drop.draw(7, step)] += 1);
            for (n, (count, p)) in counts.iter().zip(drop.probabilities()).enumerate() {
                // Five standard deviations of a binomial draw.
                let (mean, deviation) = (DRAWS as f64 * p, (DRAWS as f64 * p * (1.0 - p)).sqrt());
                let off = (f64::from(*count) - mean).abs();
                assert!(off <= 5.0 * deviation, "{n} of {drop:?}: {count}, not {mean}");
            }
        }
    }

    #[test]
    fn the_draw_of_a_step_follows_from_seed_and_step_alone() {
        let drop = RobustDrop::uniform(11);
        let draws = |seed| (0..50).map(|step| drop.draw(seed, step)).collect::<Vec<_>>();
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
        assert_ne!(draws(1)[..25], draws(1)[25..]);
    }

    #[test]
    fn weights_that_say_nothing_are_refused() {
        for (weights, expected) in [
            (vec![], "every weight"),
            (vec![0.0, 0.0], "every weight"),
            (vec![1.0, -1.0], "weight of 1 dropped layer is -1"),
            (vec![f64::NAN], "weight of 0 dropped layers is NaN"),
            (vec![1.0, 1.0, f64::INFINITY], "weight of 2 dropped layers is inf"),
        ] {
            let message = RobustDrop::weighted(weights).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
