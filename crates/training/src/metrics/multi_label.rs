//! Scores of a set of labels a row. Sets are ascending and hold each label once.

use super::classification::LabelCounts;
use super::confusion::{LabelScores, share};

/// predictions, truth: `[rows]`. F1 over all decisions about all labels together.
pub fn label_set_micro_f1(predictions: &[Vec<u32>], truth: &[Vec<u32>]) -> f64 {
    label_set_micro_counts(predictions, truth).scores().f1
}

/// predictions, truth: `[rows]`. The decisions about all labels together.
pub(crate) fn label_set_micro_counts(predictions: &[Vec<u32>], truth: &[Vec<u32>]) -> LabelCounts {
    let mut all = LabelCounts::default();
    visit_decisions(predictions, truth, |_, predicted, true_| all.add(predicted, true_));
    all
}

/// predictions, truth: `[rows]`. F1 averaged over all labels, each weighing the same; a label that
/// occurs on neither side has 0.
pub fn label_set_macro_f1(predictions: &[Vec<u32>], truth: &[Vec<u32>], labels: usize) -> f64 {
    let scores = label_set_label_scores(predictions, truth, labels);
    let sum: f64 = scores.iter().map(|scores| scores.f1).sum();
    if labels == 0 { 0.0 } else { sum / labels as f64 }
}

/// predictions, truth: `[rows]`. The scores of each label, in the labels' order.
pub fn label_set_label_scores(
    predictions: &[Vec<u32>],
    truth: &[Vec<u32>],
    labels: usize,
) -> Vec<LabelScores> {
    let mut counts = vec![LabelCounts::default(); labels];
    visit_decisions(predictions, truth, |label, predicted, true_| {
        if let Some(counts) = counts.get_mut(label as usize) {
            counts.add(predicted, true_);
        }
    });
    counts.iter().map(LabelCounts::scores).collect()
}

/// predictions, truth: `[rows]`. The share of rows whose whole set is right.
pub fn exact_match(predictions: &[Vec<u32>], truth: &[Vec<u32>]) -> f64 {
    let right = predictions.iter().zip(truth).filter(|(prediction, truth)| prediction == truth);
    share(right.count() as u64, predictions.len().min(truth.len()) as u64)
}

/// Calls `decide(label, predicted, true)` for every label in either set of every row.
fn visit_decisions(
    predictions: &[Vec<u32>],
    truth: &[Vec<u32>],
    mut decide: impl FnMut(u32, bool, bool),
) {
    for (prediction, truth) in predictions.iter().zip(truth) {
        for &label in prediction {
            decide(label, true, truth.binary_search(&label).is_ok());
        }
        for &label in truth.iter().filter(|label| prediction.binary_search(label).is_err()) {
            decide(label, false, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: scikit-learn 1.9, `f1_score` (micro, macro) and `accuracy_score` on indicator
    /// matrices, `zero_division=0`.
    #[test]
    fn scores_equal_scikit_learns() {
        type Sets = &'static [&'static [u32]];
        let cases: [(Sets, Sets, usize, f64, f64, f64); 5] = [
            (
                &[&[0], &[], &[0, 2]],
                &[&[0], &[1], &[0, 2]],
                3,
                0.8571428571428571,
                0.6666666666666666,
                0.6666666666666666,
            ),
            (&[&[], &[]], &[&[0], &[1]], 2, 0.0, 0.0, 0.0),
            (&[&[], &[]], &[&[], &[]], 2, 0.0, 0.0, 1.0),
            (&[&[0, 1], &[0, 1]], &[&[0, 1], &[0, 1]], 2, 1.0, 1.0, 1.0),
            (
                &[&[0], &[0, 2, 4], &[1, 4], &[1, 4], &[1, 3, 4], &[0, 1], &[3], &[0]],
                &[&[1, 2, 3, 4], &[0, 1, 2], &[0, 1], &[1, 3], &[0], &[0, 2, 3], &[2], &[]],
                6,
                0.3225806451612903,
                0.2333333333333333,
                0.0,
            ),
        ];
        let owned = |sets: Sets| sets.iter().map(|set| set.to_vec()).collect::<Vec<_>>();
        for (predictions, truth, labels, micro, macro_, exact) in cases {
            let (p, t) = (owned(predictions), owned(truth));
            let scores = [
                ("micro F1", label_set_micro_f1(&p, &t), micro),
                ("macro F1", label_set_macro_f1(&p, &t, labels), macro_),
                ("exact match", exact_match(&p, &t), exact),
            ];
            for (name, score, expected) in scores {
                assert!((score - expected).abs() < 1e-14, "{name} of {p:?} for {t:?}: {score}");
            }
        }
    }

    #[test]
    fn each_label_has_its_scores() {
        let scores =
            label_set_label_scores(&[vec![0, 1], vec![1], vec![]], &[vec![0], vec![1], vec![1]], 3);
        let table: Vec<_> =
            scores.iter().map(|s| (s.precision, s.recall, s.f1, s.support)).collect();
        assert_eq!(table, [(1.0, 1.0, 1.0, 1), (0.5, 0.5, 0.5, 2), (0.0, 0.0, 0.0, 0)]);
    }
}
