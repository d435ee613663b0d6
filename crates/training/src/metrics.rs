//! Scores of predictions, under the names and with the definitions that GLUE and the Hugging Face
//! trainer use.
//!
//! Where a score divides by nothing (no prediction of a class, constant predictions) it is 0, as
//! scikit-learn has it for F1 and Matthews' correlation; Pearson's and Spearman's, which SciPy leaves
//! undefined there, are 0 here too, so that a run whose first epoch predicts a constant has a score
//! that the second can beat. A prediction that is not finite is an error and never a score.
//!
//! A [`MetricSet`] is what a task is judged by; the functions behind it are public for other uses and
//! take equally long slices, of which the shorter length counts.

mod classification;
mod confusion;
mod correlation;
mod metric;
mod multi_label;
mod residuals;
mod roc;

pub use classification::{accuracy, binary_f1, macro_f1, matthews_correlation, micro_f1};
pub use confusion::{ConfusionMatrix, LabelScores};
pub use correlation::{mean_squared_error, pearson, spearman};
pub(crate) use metric::ScoredRows;
pub use metric::{Metric, Scoring};
pub(crate) use multi_label::label_set_micro_counts;
pub use multi_label::{
    exact_match, label_set_label_scores, label_set_macro_f1, label_set_micro_f1,
};
pub use residuals::Residuals;
pub use roc::area_under_roc;

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use crate::TrainingError;
use crate::data::{AnswerKind, Answers};

/// Scores by name, in the order they are to be shown in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scores(pub Vec<(Cow<'static, str>, f64)>);

impl Scores {
    /// The score of this name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, score)| *score)
    }

    /// Names and scores.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> + '_ {
        self.0.iter().map(|(name, score)| (&**name, *score))
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// The scores a task is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricSet {
    /// Accuracy: SST-2, RTE, QNLI, MNLI, WNLI, BoolQ, WiC.
    Accuracy,
    /// Accuracy, F1 of label 1, and their mean: MRPC, QQP.
    AccuracyAndF1,
    /// Accuracy, F1 averaged over the labels, and their mean: CB.
    AccuracyAndMacroF1,
    /// Matthews' correlation: CoLA.
    Matthews,
    /// Pearson's and Spearman's correlations, and their mean: STS-B.
    Correlation,
    /// What a file of one's own gets: accuracy; F1 of label 1 where there are two labels, macro and
    /// micro F1 where there are more.
    Classification,
    /// What a regression on a file of one's own gets: mean squared error and both correlations.
    Regression,
    /// Micro and macro F1 over the labels, and the share of rows whose whole set is right.
    MultiLabel,
}

impl MetricSet {
    /// The set for a file of one's own.
    pub fn for_kind(kind: AnswerKind) -> MetricSet {
        match kind {
            AnswerKind::Class => MetricSet::Classification,
            AnswerKind::LabelSet => MetricSet::MultiLabel,
            AnswerKind::Value => MetricSet::Regression,
        }
    }

    /// The score by which the best checkpoint is chosen unless the user names another.
    pub fn best_metric(self) -> &'static str {
        match self {
            MetricSet::Accuracy | MetricSet::Classification => "accuracy",
            MetricSet::AccuracyAndF1 | MetricSet::AccuracyAndMacroF1 | MetricSet::Correlation => {
                "combined_score"
            }
            MetricSet::Matthews => "matthews_correlation",
            MetricSet::Regression => "pearson",
            MetricSet::MultiLabel => "f1_micro",
        }
    }

    /// The names of the set's scores for a head with this many labels, in their order.
    pub fn names(self, labels: usize) -> &'static [&'static str] {
        match self {
            MetricSet::Accuracy => &["accuracy"],
            MetricSet::AccuracyAndF1 | MetricSet::AccuracyAndMacroF1 => {
                &["accuracy", "f1", "combined_score"]
            }
            MetricSet::Matthews => &["matthews_correlation"],
            MetricSet::Correlation => &["pearson", "spearmanr", "combined_score"],
            MetricSet::Classification if labels <= 2 => &["accuracy", "f1"],
            MetricSet::Classification => &["accuracy", "f1_macro", "f1_micro"],
            MetricSet::Regression => &["mse", "pearson", "spearmanr"],
            MetricSet::MultiLabel => &["f1_micro", "f1_macro", "exact_match"],
        }
    }

    /// The scores of `predictions` against `truth`, for a head with this many `labels`, of which
    /// `positive` is the one that the F1 of two labels is about.
    ///
    /// # Errors
    /// No rows, different lengths, answers of another kind than the set is for, a label number that
    /// is not below `labels`, a value that is not finite.
    pub fn compute(
        self,
        predictions: &Answers,
        truth: &Answers,
        labels: usize,
        positive: u32,
    ) -> Result<Scores, TrainingError> {
        check(predictions, labels)?;
        check(truth, labels)?;
        if predictions.len() != truth.len() {
            return Err(TrainingError::LengthsDiffer {
                left: predictions.len(),
                left_name: "predictions",
                right: truth.len(),
                right_name: "rows",
            });
        }
        if truth.is_empty() {
            return Err(TrainingError::NothingToScore);
        }
        let values = match (self, predictions, truth) {
            (MetricSet::Accuracy, Answers::Classes(p), Answers::Classes(t)) => vec![accuracy(p, t)],
            (MetricSet::AccuracyAndF1, Answers::Classes(p), Answers::Classes(t)) => {
                with_mean(accuracy(p, t), binary_f1(p, t, positive))
            }
            (MetricSet::AccuracyAndMacroF1, Answers::Classes(p), Answers::Classes(t)) => {
                with_mean(accuracy(p, t), macro_f1(p, t, labels))
            }
            (MetricSet::Matthews, Answers::Classes(p), Answers::Classes(t)) => {
                vec![matthews_correlation(p, t, labels)]
            }
            (MetricSet::Correlation, Answers::Values(p), Answers::Values(t)) => {
                with_mean(pearson(p, t), spearman(p, t))
            }
            (MetricSet::Classification, Answers::Classes(p), Answers::Classes(t)) => {
                if labels <= 2 {
                    vec![accuracy(p, t), binary_f1(p, t, positive)]
                } else {
                    vec![accuracy(p, t), macro_f1(p, t, labels), micro_f1(p, t)]
                }
            }
            (MetricSet::Regression, Answers::Values(p), Answers::Values(t)) => {
                vec![mean_squared_error(p, t), pearson(p, t), spearman(p, t)]
            }
            (MetricSet::MultiLabel, Answers::LabelSets(p), Answers::LabelSets(t)) => {
                vec![label_set_micro_f1(p, t), label_set_macro_f1(p, t, labels), exact_match(p, t)]
            }
            _ => return Err(self.wrong_answers(predictions, truth)),
        };
        let names = self.names(labels).iter().map(|name| Cow::Borrowed(*name));
        Ok(Scores(names.zip(values).collect()))
    }

    /// The kind of answers the set is for.
    pub fn kind(self) -> AnswerKind {
        match self {
            MetricSet::Correlation | MetricSet::Regression => AnswerKind::Value,
            MetricSet::MultiLabel => AnswerKind::LabelSet,
            _ => AnswerKind::Class,
        }
    }

    fn wrong_answers(self, predictions: &Answers, truth: &Answers) -> TrainingError {
        let needed = self.kind();
        let given = if predictions.kind() == needed { truth.kind() } else { predictions.kind() };
        TrainingError::WrongAnswers {
            metrics: self.best_metric(),
            needed: needed.name(),
            given: given.name(),
        }
    }
}

fn with_mean(first: f64, second: f64) -> Vec<f64> {
    vec![first, second, (first + second) / 2.0]
}

fn check(answers: &Answers, labels: usize) -> Result<(), TrainingError> {
    let in_range = |row: usize, id: u32| match usize::try_from(id) {
        Ok(number) if number < labels => Ok(()),
        _ => Err(TrainingError::LabelOutOfRange { row, id, labels }),
    };
    match answers {
        Answers::Classes(classes) => {
            classes.iter().enumerate().try_for_each(|(row, &id)| in_range(row, id))
        }
        Answers::LabelSets(sets) => sets
            .iter()
            .enumerate()
            .try_for_each(|(row, set)| set.iter().try_for_each(|&id| in_range(row, id))),
        Answers::Values(values) => match values.iter().position(|value| !value.is_finite()) {
            Some(row) => Err(TrainingError::NotFinite { row, value: values[row] }),
            None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_the_trainers_names() {
        let classes = |ids: &[u32]| Answers::Classes(ids.to_vec());
        let values = |values: &[f32]| Answers::Values(values.to_vec());
        let sets =
            |sets: &[&[u32]]| Answers::LabelSets(sets.iter().map(|set| set.to_vec()).collect());
        let (p2, t2) = (classes(&[1, 1, 0, 0, 1]), classes(&[1, 0, 0, 1, 1]));
        let (p3, t3) = (classes(&[2, 1, 0, 0, 1]), classes(&[2, 0, 0, 1, 1]));
        let (pv, tv) = (values(&[1.0, 2.0, 4.0]), values(&[1.0, 2.0, 3.0]));
        let (ps, ts) = (sets(&[&[0], &[], &[0, 2]]), sets(&[&[0], &[1], &[0, 2]]));
        type Expected<'a> = &'a [(&'a str, f64)];
        let cases: [(MetricSet, &Answers, &Answers, usize, Expected<'_>); 9] = [
            (MetricSet::Accuracy, &p2, &t2, 2, &[("accuracy", 0.6)]),
            (
                MetricSet::AccuracyAndF1,
                &p2,
                &t2,
                2,
                &[
                    ("accuracy", 0.6),
                    ("f1", 0.666_666_666_666_666_6),
                    ("combined_score", 0.633_333_333_333_333_3),
                ],
            ),
            (
                MetricSet::AccuracyAndMacroF1,
                &p3,
                &t3,
                3,
                &[
                    ("accuracy", 0.6),
                    ("f1", 0.666_666_666_666_666_6),
                    ("combined_score", 0.633_333_333_333_333_3),
                ],
            ),
            (
                MetricSet::Matthews,
                &p2,
                &t2,
                2,
                &[("matthews_correlation", 0.166_666_666_666_666_66)],
            ),
            (
                MetricSet::Correlation,
                &pv,
                &tv,
                1,
                &[
                    ("pearson", 0.981_980_506_061_965_7),
                    ("spearmanr", 1.0),
                    ("combined_score", 0.990_990_253_030_982_9),
                ],
            ),
            (
                MetricSet::Classification,
                &p2,
                &t2,
                2,
                &[("accuracy", 0.6), ("f1", 0.666_666_666_666_666_6)],
            ),
            (
                MetricSet::Classification,
                &p3,
                &t3,
                3,
                &[("accuracy", 0.6), ("f1_macro", 0.666_666_666_666_666_6), ("f1_micro", 0.6)],
            ),
            (
                MetricSet::Regression,
                &pv,
                &tv,
                1,
                &[
                    ("mse", 0.333_333_333_333_333_3),
                    ("pearson", 0.981_980_506_061_965_7),
                    ("spearmanr", 1.0),
                ],
            ),
            (
                MetricSet::MultiLabel,
                &ps,
                &ts,
                3,
                &[
                    ("f1_micro", 0.857_142_857_142_857_1),
                    ("f1_macro", 0.666_666_666_666_666_6),
                    ("exact_match", 0.666_666_666_666_666_6),
                ],
            ),
        ];
        for (set, predictions, truth, labels, expected) in cases {
            let scores = set.compute(predictions, truth, labels, 1).unwrap();
            assert_eq!(scores.0.len(), expected.len(), "{set:?}");
            for ((name, score), (expected_name, expected_score)) in scores.iter().zip(expected) {
                assert_eq!(name, *expected_name, "{set:?}");
                assert!((score - expected_score).abs() < 1e-12, "{set:?} {name}: {score}");
            }
            assert!(scores.get(set.best_metric()).is_some(), "{set:?}");
        }
        let json = serde_json::to_string(&MetricSet::Regression.compute(&pv, &tv, 1, 1).unwrap());
        assert!(json.unwrap().starts_with("{\"mse\":0.333"));
    }

    #[test]
    fn unfit_answers_are_refused() {
        let cases: [(MetricSet, Answers, Answers, &str); 6] = [
            (
                MetricSet::Accuracy,
                Answers::Classes(vec![0]),
                Answers::Classes(vec![0, 1]),
                "1 predictions for 2 rows",
            ),
            (
                MetricSet::Accuracy,
                Answers::Classes(vec![]),
                Answers::Classes(vec![]),
                "no rows to score",
            ),
            (
                MetricSet::Accuracy,
                Answers::Classes(vec![0, 2]),
                Answers::Classes(vec![0, 1]),
                "row 1: label number 2 of 2",
            ),
            (
                MetricSet::MultiLabel,
                Answers::LabelSets(vec![vec![5]]),
                Answers::LabelSets(vec![vec![]]),
                "row 0: label number 5 of 2",
            ),
            (
                MetricSet::Correlation,
                Answers::Values(vec![1.0, f32::NAN]),
                Answers::Values(vec![1.0, 2.0]),
                "row 1: the value NaN is not finite",
            ),
            (
                MetricSet::Matthews,
                Answers::Classes(vec![0]),
                Answers::Values(vec![0.0]),
                "needs one label a row and was given a value a row",
            ),
        ];
        for (set, predictions, truth, message) in cases {
            let error = set.compute(&predictions, &truth, 2, 1).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
