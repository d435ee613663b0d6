//! Which label was taken for which, and the scores of each label.

use std::collections::BTreeMap;

use serde::Serialize;

/// Rows counted by their true and their predicted label. Only pairs that occur are held: with ten
/// thousand labels, a table of all pairs would be a hundred million numbers, most of them 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    labels: usize,
    /// By `(truth, prediction)`.
    counts: BTreeMap<(u32, u32), u64>,
}

/// The scores of one label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LabelScores {
    /// Of the rows predicted to have it, the share that has it; 0 where none is.
    pub precision: f64,
    /// Of the rows that have it, the share predicted to; 0 where none has.
    pub recall: f64,
    /// The harmonic mean of the two; 0 where both are.
    pub f1: f64,
    /// How many rows have it.
    pub support: u64,
}

impl LabelScores {
    /// From the rows that have the label and are predicted to, are only predicted to, only have it.
    pub(crate) fn from_counts(hits: u64, false_alarms: u64, misses: u64) -> LabelScores {
        LabelScores {
            precision: share(hits, hits + false_alarms),
            recall: share(hits, hits + misses),
            f1: share(2 * hits, 2 * hits + false_alarms + misses),
            support: hits + misses,
        }
    }
}

/// `part / whole`, 0 where there is no whole.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl ConfusionMatrix {
    /// Counts `predictions` against `truth`; a row with a number that is not below `labels` counts
    /// nowhere.
    pub fn new(predictions: &[u32], truth: &[u32], labels: usize) -> ConfusionMatrix {
        let mut counts = BTreeMap::new();
        for (&prediction, &truth) in predictions.iter().zip(truth) {
            if (prediction as usize) < labels && (truth as usize) < labels {
                *counts.entry((truth, prediction)).or_insert(0) += 1;
            }
        }
        ConfusionMatrix { labels, counts }
    }

    /// How many labels there are.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// How many rows with the label `truth` were given the label `prediction`.
    pub fn count(&self, truth: u32, prediction: u32) -> u64 {
        self.counts.get(&(truth, prediction)).copied().unwrap_or(0)
    }

    /// One list for each true label, with the count of each prediction: the whole table, for few
    /// labels.
    pub fn rows(&self) -> Vec<Vec<u64>> {
        let row = |truth| (0..).take(self.labels).map(|label| self.count(truth, label)).collect();
        (0..).take(self.labels).map(row).collect()
    }

    /// The pairs that occur: `(truth, prediction, rows)`, by truth and then prediction.
    pub fn cells(&self) -> impl Iterator<Item = (u32, u32, u64)> + '_ {
        self.counts.iter().map(|(&(truth, prediction), &rows)| (truth, prediction, rows))
    }

    /// The scores of each label, in the labels' order.
    pub fn label_scores(&self) -> Vec<LabelScores> {
        let mut counts = vec![(0, 0, 0); self.labels];
        for (truth, prediction, rows) in self.cells() {
            if truth == prediction {
                counts[truth as usize].0 += rows;
            } else {
                counts[prediction as usize].1 += rows;
                counts[truth as usize].2 += rows;
            }
        }
        counts
            .into_iter()
            .map(|(hits, false_alarms, misses)| {
                LabelScores::from_counts(hits, false_alarms, misses)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_by_label() {
        // scikit-learn 1.9: confusion_matrix and precision_recall_fscore_support, zero_division=0.
        let truth = [0, 0, 0, 1, 1, 2, 2, 2, 2];
        let predictions = [0, 1, 0, 1, 1, 0, 2, 2, 1];
        let matrix = ConfusionMatrix::new(&predictions, &truth, 4);
        assert_eq!(matrix.rows(), [[2, 1, 0, 0], [0, 2, 0, 0], [1, 1, 2, 0], [0, 0, 0, 0]]);
        let cells: Vec<_> = matrix.cells().collect();
        assert_eq!(cells, [(0, 0, 2), (0, 1, 1), (1, 1, 2), (2, 0, 1), (2, 1, 1), (2, 2, 2)]);
        assert_eq!((matrix.count(2, 1), matrix.count(1, 2), matrix.count(9, 0)), (1, 0, 0));

        let two_thirds = 2.0 / 3.0;
        let expected = [
            (two_thirds, two_thirds, two_thirds, 3),
            (0.5, 1.0, two_thirds, 2),
            (1.0, 0.5, two_thirds, 4),
            (0.0, 0.0, 0.0, 0),
        ];
        for (scores, (precision, recall, f1, support)) in matrix.label_scores().iter().zip(expected)
        {
            assert!((scores.precision - precision).abs() < 1e-15, "{scores:?}");
            assert!((scores.recall - recall).abs() < 1e-15, "{scores:?}");
            assert!((scores.f1 - f1).abs() < 1e-15, "{scores:?}");
            assert_eq!(scores.support, support);
        }
        assert_eq!(ConfusionMatrix::new(&[], &[], 0).label_scores(), []);
        assert_eq!(ConfusionMatrix::new(&[9_999], &[3], 10_000).label_scores().len(), 10_000);
    }
}
