//! Where a probability becomes a yes.

use crate::TrainingError;

/// The probability above which a label of a multi-label head applies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold(f64);

impl Threshold {
    /// One half: the logit's sign decides.
    pub const HALF: Threshold = Threshold(0.5);

    /// A threshold at this probability.
    ///
    /// # Errors
    /// [`TrainingError::BadThreshold`] unless it is between 0 and 1, both excluded: at either end
    /// every label or none would apply.
    pub fn new(probability: f64) -> Result<Threshold, TrainingError> {
        if probability > 0.0 && probability < 1.0 {
            Ok(Threshold(probability))
        } else {
            Err(TrainingError::BadThreshold { probability })
        }
    }

    /// The probability.
    pub fn probability(self) -> f64 {
        self.0
    }

    /// Whether a label with this logit applies: `σ(z) > t` where `z > ln(t / (1 − t))`, which needs
    /// no rounded sigmoid.
    pub fn is_passed_by(self, logit: f32) -> bool {
        f64::from(logit) > (self.0 / (1.0 - self.0)).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_pass_where_their_probability_does() {
        // σ(2) = 0.880797…, σ(−1) = 0.268941…; a half is passed above zero and not at it.
        let cases = [
            (0.5, 0.0, false),
            (0.5, f32::MIN_POSITIVE, true),
            (0.88, 2.0, true),
            (0.881, 2.0, false),
            (0.268, -1.0, true),
            (0.269, -1.0, false),
            (0.5, f32::NAN, false),
        ];
        for (probability, logit, passes) in cases {
            let threshold = Threshold::new(probability).unwrap();
            assert_eq!(threshold.is_passed_by(logit), passes, "{logit} at {probability}");
        }
        assert_eq!(Threshold::new(0.5).unwrap(), Threshold::HALF);
    }

    #[test]
    fn the_ends_and_what_is_outside_are_refused() {
        for probability in [0.0, 1.0, -0.1, 1.5, f64::NAN, f64::INFINITY] {
            let error = Threshold::new(probability).unwrap_err().to_string();
            assert!(error.contains("between 0 and 1"), "{error}");
        }
    }
}
