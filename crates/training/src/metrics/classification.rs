//! Scores of one label a row.

use super::confusion::{LabelScores, share};

/// predictions, truth: `[rows]`. The share of rows with the right label.
pub fn accuracy(predictions: &[u32], truth: &[u32]) -> f64 {
    let right = predictions.iter().zip(truth).filter(|(prediction, truth)| prediction == truth);
    share(right.count() as u64, predictions.len().min(truth.len()) as u64)
}

/// predictions, truth: `[rows]`. F1 of the label `positive`, every other one counting as "not it".
pub fn binary_f1(predictions: &[u32], truth: &[u32], positive: u32) -> f64 {
    let mut counts = LabelCounts::default();
    for (&prediction, &truth) in predictions.iter().zip(truth) {
        counts.add(prediction == positive, truth == positive);
    }
    counts.scores().f1
}

/// predictions, truth: `[rows]`. F1 averaged over the labels that occur in either, each label
/// weighing the same.
pub fn macro_f1(predictions: &[u32], truth: &[u32], labels: usize) -> f64 {
    let counts = label_counts(predictions, truth, labels);
    let occurring: Vec<f64> =
        counts.iter().filter(|counts| counts.occurs()).map(|counts| counts.scores().f1).collect();
    if occurring.is_empty() { 0.0 } else { occurring.iter().sum::<f64>() / occurring.len() as f64 }
}

/// predictions, truth: `[rows]`. F1 over all decisions together: with one label a row, accuracy.
pub fn micro_f1(predictions: &[u32], truth: &[u32]) -> f64 {
    accuracy(predictions, truth)
}

/// predictions, truth: `[rows]`. Matthews' correlation, for two labels and, as Gorodkin's R_K, for
/// more: `(n·c − Σ pₖtₖ) / √((n² − Σ pₖ²)(n² − Σ tₖ²))` with c right of n rows, pₖ predictions and tₖ
/// rows of label k. 0 where either side is constant.
pub fn matthews_correlation(predictions: &[u32], truth: &[u32], labels: usize) -> f64 {
    let counts = label_counts(predictions, truth, labels);
    // In 128 bits: n² overflows f64's exact integers at a hundred million rows.
    let (mut rows, mut right, mut both, mut predicted, mut true_) = (0i128, 0i128, 0, 0, 0);
    for counts in &counts {
        let hits = i128::from(counts.hits);
        let (p, t) = (hits + i128::from(counts.false_alarms), hits + i128::from(counts.misses));
        rows += t;
        right += hits;
        both += p * t;
        predicted += p * p;
        true_ += t * t;
    }
    let spread = ((rows * rows - predicted) as f64 * (rows * rows - true_) as f64).sqrt();
    if spread == 0.0 { 0.0 } else { (rows * right - both) as f64 / spread }
}

/// The decisions about one label.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LabelCounts {
    pub(crate) hits: u64,
    pub(crate) false_alarms: u64,
    pub(crate) misses: u64,
}

impl LabelCounts {
    pub(crate) fn add(&mut self, predicted: bool, true_: bool) {
        self.hits += u64::from(predicted && true_);
        self.false_alarms += u64::from(predicted && !true_);
        self.misses += u64::from(!predicted && true_);
    }

    pub(super) fn occurs(&self) -> bool {
        self.hits + self.false_alarms + self.misses > 0
    }

    pub(crate) fn scores(&self) -> LabelScores {
        LabelScores::from_counts(self.hits, self.false_alarms, self.misses)
    }
}

/// One count for each label: as much memory as there are labels, where a matrix would need its square.
pub(super) fn label_counts(predictions: &[u32], truth: &[u32], labels: usize) -> Vec<LabelCounts> {
    let mut counts = vec![LabelCounts::default(); labels];
    for (&prediction, &truth) in predictions.iter().zip(truth) {
        let (prediction, truth) = (prediction as usize, truth as usize);
        if prediction >= labels || truth >= labels {
            continue;
        }
        if prediction == truth {
            counts[truth].hits += 1;
        } else {
            counts[prediction].false_alarms += 1;
            counts[truth].misses += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: scikit-learn 1.9, `accuracy_score`, `f1_score` (binary, macro, micro),
    /// `matthews_corrcoef`, with `zero_division=0`.
    #[test]
    fn scores_equal_scikit_learns() {
        struct Case {
            predictions: &'static [u32],
            truth: &'static [u32],
            labels: usize,
            accuracy: f64,
            binary_f1: f64,
            macro_f1: f64,
            matthews: f64,
        }
        let cases = [
            Case {
                predictions: &[1, 1, 0, 0, 1],
                truth: &[1, 0, 0, 1, 1],
                labels: 2,
                accuracy: 0.6,
                binary_f1: 0.6666666666666666,
                macro_f1: 0.5833333333333333,
                matthews: 0.16666666666666666,
            },
            Case {
                predictions: &[1, 0, 1, 0],
                truth: &[1, 0, 1, 0],
                labels: 2,
                accuracy: 1.0,
                binary_f1: 1.0,
                macro_f1: 1.0,
                matthews: 1.0,
            },
            Case {
                predictions: &[0, 1, 0, 1],
                truth: &[1, 0, 1, 0],
                labels: 2,
                accuracy: 0.0,
                binary_f1: 0.0,
                macro_f1: 0.0,
                matthews: -1.0,
            },
            Case {
                predictions: &[1, 1, 1, 1],
                truth: &[1, 0, 0, 1],
                labels: 2,
                accuracy: 0.5,
                binary_f1: 0.6666666666666666,
                macro_f1: 0.3333333333333333,
                matthews: 0.0,
            },
            Case {
                predictions: &[0, 0, 0, 0],
                truth: &[1, 0, 0, 1],
                labels: 2,
                accuracy: 0.5,
                binary_f1: 0.0,
                macro_f1: 0.3333333333333333,
                matthews: 0.0,
            },
            Case {
                predictions: &[0, 0, 0],
                truth: &[0, 0, 0],
                labels: 2,
                accuracy: 1.0,
                binary_f1: 0.0,
                macro_f1: 1.0,
                matthews: 0.0,
            },
            Case {
                predictions: &[0, 0, 1],
                truth: &[0, 0, 0],
                labels: 2,
                accuracy: 0.6666666666666666,
                binary_f1: 0.0,
                macro_f1: 0.4,
                matthews: 0.0,
            },
            Case {
                predictions: &[0, 2, 1, 1, 2, 0],
                truth: &[0, 1, 1, 2, 2, 0],
                labels: 3,
                accuracy: 0.6666666666666666,
                binary_f1: 0.5,
                macro_f1: 0.6666666666666666,
                matthews: 0.5,
            },
            Case {
                predictions: &[0, 0, 0, 0],
                truth: &[0, 1, 2, 0],
                labels: 3,
                accuracy: 0.5,
                binary_f1: 0.0,
                macro_f1: 0.2222222222222222,
                matthews: 0.0,
            },
            Case {
                predictions: &[2, 3, 0, 3, 1, 2, 2, 1, 3, 0, 1, 1, 2, 1, 0, 0, 0, 0, 0, 3],
                truth: &[0, 2, 3, 0, 1, 1, 1, 3, 0, 3, 3, 3, 0, 1, 2, 1, 2, 2, 2, 0],
                labels: 4,
                accuracy: 0.1,
                binary_f1: 0.4,
                macro_f1: 0.1,
                matthews: -0.20203050891044214,
            },
            Case {
                predictions: &[
                    4, 2, 4, 1, 1, 4, 0, 3, 1, 3, 0, 4, 4, 1, 2, 4, 4, 0, 1, 3, 3, 3, 3, 1,
                ],
                truth: &[4, 2, 4, 1, 1, 4, 0, 0, 1, 3, 0, 4, 1, 1, 2, 4, 4, 4, 1, 0, 3, 3, 3, 0],
                labels: 7,
                accuracy: 0.7916666666666666,
                binary_f1: 0.8333333333333334,
                macro_f1: 0.7980952380952382,
                matthews: 0.7387462335644529,
            },
        ];
        for case in cases {
            let Case { predictions, truth, labels, .. } = case;
            let scores = [
                ("accuracy", accuracy(predictions, truth), case.accuracy),
                ("binary F1", binary_f1(predictions, truth, 1), case.binary_f1),
                ("macro F1", macro_f1(predictions, truth, labels), case.macro_f1),
                ("micro F1", micro_f1(predictions, truth), case.accuracy),
                ("Matthews", matthews_correlation(predictions, truth, labels), case.matthews),
            ];
            for (name, score, expected) in scores {
                assert!(
                    (score - expected).abs() < 1e-14,
                    "{name} of {predictions:?} for {truth:?}: {score}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn ten_thousand_labels_need_no_matrix() {
        let truth: Vec<u32> = (0..20_000).map(|row| row % 10_000).collect();
        let predictions: Vec<u32> =
            truth.iter().map(|&label| if label < 5_000 { label } else { 0 }).collect();
        assert_eq!(accuracy(&predictions, &truth), 0.5);
        let first = 2.0 * 2.0 / (2.0 * 2.0 + 10_000.0);
        let expected = (first + 4_999.0) / 10_000.0;
        assert!((macro_f1(&predictions, &truth, 10_000) - expected).abs() < 1e-12);
    }

    #[test]
    fn many_rows_do_not_overflow() {
        let counts = 3_000_000;
        let truth: Vec<u32> = (0..counts).map(|row| row % 2).collect();
        assert_eq!(matthews_correlation(&truth, &truth, 2), 1.0);
        let opposite: Vec<u32> = truth.iter().map(|label| 1 - label).collect();
        assert_eq!(matthews_correlation(&opposite, &truth, 2), -1.0);
    }
}
