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

/// Where the labels of a multi-label head apply.
#[derive(Debug, Clone, PartialEq)]
pub enum Thresholds {
    /// All at the same probability.
    All(Threshold),
    /// Each at its own, in the labels' order.
    Each(Vec<Threshold>),
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds::All(Threshold::HALF)
    }
}

impl From<Threshold> for Thresholds {
    fn from(threshold: Threshold) -> Thresholds {
        Thresholds::All(threshold)
    }
}

impl Thresholds {
    /// A threshold for each of `labels` labels, at these probabilities.
    ///
    /// # Errors
    /// If one is none, or there are more or fewer than labels.
    pub fn each(probabilities: &[f64], labels: usize) -> Result<Thresholds, TrainingError> {
        if probabilities.len() != labels {
            return Err(TrainingError::LengthsDiffer {
                left: probabilities.len(),
                left_name: "thresholds",
                right: labels,
                right_name: "labels",
            });
        }
        let each = probabilities.iter().map(|probability| Threshold::new(*probability));
        Ok(Thresholds::Each(each.collect::<Result<_, _>>()?))
    }

    /// The one threshold of all labels, if they have one.
    pub fn common(&self) -> Option<Threshold> {
        match self {
            Thresholds::All(threshold) => Some(*threshold),
            Thresholds::Each(_) => None,
        }
    }

    /// The probabilities of the labels that have thresholds of their own.
    pub fn own(&self) -> Option<Vec<f64>> {
        match self {
            Thresholds::All(_) => None,
            Thresholds::Each(each) => Some(each.iter().map(|t| t.probability()).collect()),
        }
    }

    /// Whether the label with this number applies where it has this logit.
    ///
    /// # Panics
    /// If each label has its own threshold and this one has none.
    pub fn is_passed_by(&self, label: usize, logit: f32) -> bool {
        match self {
            Thresholds::All(threshold) => threshold.is_passed_by(logit),
            Thresholds::Each(each) => each[label].is_passed_by(logit),
        }
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
    fn labels_may_have_thresholds_of_their_own() {
        let each = Thresholds::each(&[0.88, 0.881], 2).unwrap();
        assert_eq!([0, 1].map(|label| each.is_passed_by(label, 2.0)), [true, false]);
        assert_eq!((each.common(), each.own()), (None, Some(vec![0.88, 0.881])));
        let all = Thresholds::from(Threshold::HALF);
        assert_eq!((all.common(), all.own()), (Some(Threshold::HALF), None));
        for (probabilities, message) in
            [(&[0.5][..], "1 thresholds for 2 labels"), (&[0.5, 1.0], "between 0 and 1")]
        {
            let error = Thresholds::each(probabilities, 2).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn the_ends_and_what_is_outside_are_refused() {
        for probability in [0.0, 1.0, -0.1, 1.5, f64::NAN, f64::INFINITY] {
            let error = Threshold::new(probability).unwrap_err().to_string();
            assert!(error.contains("between 0 and 1"), "{error}");
        }
    }
}
