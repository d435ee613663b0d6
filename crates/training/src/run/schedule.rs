//! How the learning rate goes over a run: the schedules of `transformers`' `get_scheduler`, with its
//! formulas.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A schedule of the learning rate after its warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrScheduler {
    /// A straight line down to zero at the end.
    #[default]
    Linear,
    /// Half a cosine down to zero at the end.
    Cosine,
    /// The same with hard restarts; with one cycle, as `transformers` runs it, it is the cosine.
    CosineWithRestarts,
    /// A straight line down to 1e-7 at the end.
    Polynomial,
    /// The same all the time, without a warm-up.
    Constant,
    /// The same all the time after the warm-up.
    ConstantWithWarmup,
    /// One over the root of the steps, in units of the warm-up's length.
    InverseSqrt,
}

/// Where the polynomial schedule ends.
const POLYNOMIAL_END: f64 = 1e-7;

/// The unit of the inverse root without a warm-up, in steps.
const INVERSE_SQRT_STEPS: usize = 10_000;

impl LrScheduler {
    /// All schedules.
    pub const ALL: [LrScheduler; 7] = [
        LrScheduler::Linear,
        LrScheduler::Cosine,
        LrScheduler::CosineWithRestarts,
        LrScheduler::Polynomial,
        LrScheduler::Constant,
        LrScheduler::ConstantWithWarmup,
        LrScheduler::InverseSqrt,
    ];

    /// Its name in `transformers`.
    pub fn name(self) -> &'static str {
        match self {
            LrScheduler::Linear => "linear",
            LrScheduler::Cosine => "cosine",
            LrScheduler::CosineWithRestarts => "cosine_with_restarts",
            LrScheduler::Polynomial => "polynomial",
            LrScheduler::Constant => "constant",
            LrScheduler::ConstantWithWarmup => "constant_with_warmup",
            LrScheduler::InverseSqrt => "inverse_sqrt",
        }
    }

    /// Whether it begins with a warm-up.
    pub fn warms_up(self) -> bool {
        self != LrScheduler::Constant
    }

    /// The lowest learning rate that the schedule can begin from.
    pub fn lowest_learning_rate(self) -> f64 {
        if self == LrScheduler::Polynomial { POLYNOMIAL_END } else { 0.0 }
    }

    /// The factor of `learning_rate` at step `step` (from 0) of `total`. Over the first `warmup` steps
    /// it grows linearly from zero to 1.
    pub fn factor(self, step: usize, warmup: usize, total: usize, learning_rate: f64) -> f64 {
        if self.warms_up() && step < warmup {
            return step as f64 / warmup as f64;
        }
        // Of the steps after the warm-up.
        let (after, length) = (step.saturating_sub(warmup), total.saturating_sub(warmup).max(1));
        let progress = after as f64 / length as f64;
        match self {
            LrScheduler::Linear => total.saturating_sub(step) as f64 / length as f64,
            LrScheduler::Cosine => (0.5 * (1.0 + (PI * progress).cos())).max(0.0),
            LrScheduler::CosineWithRestarts if progress >= 1.0 => 0.0,
            LrScheduler::CosineWithRestarts => (0.5 * (1.0 + (PI * progress).cos())).max(0.0),
            LrScheduler::Polynomial if learning_rate <= 0.0 => 0.0,
            LrScheduler::Polynomial if step > total => POLYNOMIAL_END / learning_rate,
            LrScheduler::Polynomial => {
                let range = learning_rate - POLYNOMIAL_END;
                (range * (1.0 - progress) + POLYNOMIAL_END) / learning_rate
            }
            LrScheduler::Constant | LrScheduler::ConstantWithWarmup => 1.0,
            LrScheduler::InverseSqrt => {
                let unit = if warmup == 0 { INVERSE_SQRT_STEPS } else { warmup };
                1.0 / ((after + unit) as f64 / unit as f64).sqrt()
            }
        }
    }
}

impl fmt::Display for LrScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LrScheduler {
    type Err = String;

    /// By its name, with dashes or underscores.
    fn from_str(text: &str) -> Result<LrScheduler, String> {
        let name = text.replace('-', "_");
        LrScheduler::ALL.into_iter().find(|schedule| schedule.name() == name).ok_or_else(|| {
            let known = LrScheduler::ALL.map(|schedule| schedule.name().replace('_', "-"));
            format!("the schedules are {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linear_schedule_grows_from_zero_and_decays_to_zero() {
        let cases = [
            ((0, 2, 10), 0.0),
            ((1, 2, 10), 0.5),
            ((2, 2, 10), 1.0),
            ((6, 2, 10), 0.5),
            ((10, 2, 10), 0.0),
            ((0, 0, 4), 1.0),
            ((3, 0, 4), 0.25),
            ((0, 0, 0), 0.0),
        ];
        for ((step, warmup, total), want) in cases {
            let got = LrScheduler::Linear.factor(step, warmup, total, 1e-3);
            assert_eq!(got, want, "step {step} of {total}, {warmup} warm-up steps");
        }
    }

    #[test]
    fn names_are_read_in_both_spellings() {
        for schedule in LrScheduler::ALL {
            assert_eq!(schedule.name().parse(), Ok(schedule));
            assert_eq!(schedule.name().replace('_', "-").parse(), Ok(schedule));
            let json = serde_json::to_value(schedule).expect("a name");
            assert_eq!(json, schedule.name());
        }
        let message = "cosinus".parse::<LrScheduler>().unwrap_err();
        assert!(message.contains("constant-with-warmup"), "{message}");
    }
}
