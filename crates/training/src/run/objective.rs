//! What a run descends: the loss of its rows' answers, with weights for labels and smoothed targets.

use adaptkit_compute::{ClassLoss, Tensor};
use serde::{Deserialize, Serialize};

use super::target_scale::TargetScale;
use crate::TrainingError;
use crate::data::{AnswerSpace, Answers, LabelMap, numbers_by_label};

/// How the loss of a run differs from the plain mean over the rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// What labels weigh; nothing for the same each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// The share of each row's target that is spread evenly over all labels.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub label_smoothing: f64,
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

/// What labels weigh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// By their number of training rows. With one label a row as scikit-learn's `balanced`: rows over
    /// (labels that occur times the label's rows). With sets of labels, rows without the label over
    /// rows with it. A label that no row has, or with sets every row, weighs 1.
    Balanced,
    /// A weight for each label, in the labels' order.
    Given(Vec<f64>),
}

impl ClassWeights {
    /// Weights from a JSON object with a number for each label: `{"ham": 1, "spam": 6.5}`.
    ///
    /// # Errors
    /// Anything else than an object of numbers; a label that is missing, unknown, or there twice; a
    /// negative weight or one that is not finite; only zeros.
    pub fn from_json(json: &str, labels: &LabelMap) -> Result<ClassWeights, TrainingError> {
        let entries = numbers_by_label(json)
            .map_err(|error| TrainingError::BadClassWeights { reason: error.to_string() })?;
        let mut weights: Vec<Option<f64>> = vec![None; labels.len()];
        for (label, weight) in entries {
            let Some(id) = labels.id(&label) else {
                let known = labels.names().iter().collect();
                return Err(TrainingError::WeightOfUnknownLabel { label, known });
            };
            if weights[id as usize].replace(weight).is_some() {
                return Err(TrainingError::LabelTwice { label });
            }
        }
        let named = weights.into_iter().zip(labels.names()).map(|(weight, label)| {
            weight.ok_or_else(|| TrainingError::NoClassWeight { label: label.clone() })
        });
        let weights = ClassWeights::Given(named.collect::<Result<_, _>>()?);
        weights.check(labels)?;
        Ok(weights)
    }

    fn check(&self, labels: &LabelMap) -> Result<(), TrainingError> {
        let ClassWeights::Given(weights) = self else { return Ok(()) };
        if weights.len() != labels.len() {
            return Err(TrainingError::LengthsDiffer {
                left: weights.len(),
                left_name: "class weights",
                right: labels.len(),
                right_name: "labels",
            });
        }
        let bad = weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0));
        if let Some(id) = bad {
            let label = labels.names()[id].clone();
            return Err(TrainingError::BadClassWeight { label, weight: weights[id] });
        }
        match weights.iter().any(|weight| *weight > 0.0) {
            true => Ok(()),
            false => Err(TrainingError::ClassWeightsZero),
        }
    }
}

impl Objective {
    /// That the objective makes sense for such answers.
    ///
    /// # Errors
    /// Weights for a regression or weights that are none; smoothing for anything else than one label a
    /// row, or by a share that is not from 0 to below 1.
    pub fn check(&self, space: &AnswerSpace) -> Result<(), TrainingError> {
        let given = space.kind().name();
        let wrong_kind = |what, needed| TrainingError::UnfitOption { what, needed, given };
        match (&self.class_weights, space.labels()) {
            (None, _) => {}
            (Some(weights), Some(labels)) => weights.check(labels)?,
            (Some(_), None) => return Err(wrong_kind("class weighting", "labels")),
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(TrainingError::BadSmoothing { share: self.label_smoothing });
        }
        match space {
            AnswerSpace::Classes(..) => Ok(()),
            _ if self.label_smoothing == 0.0 => Ok(()),
            _ => Err(wrong_kind("label smoothing", "one label a row")),
        }
    }

    /// What each label weighs over these training rows; `None` if nothing weighs labels.
    pub fn weights(&self, answers: &Answers, space: &AnswerSpace) -> Option<Vec<f64>> {
        match self.class_weights.as_ref()? {
            ClassWeights::Given(weights) => Some(weights.clone()),
            ClassWeights::Balanced => Some(balanced(answers, space.outputs())),
        }
    }
}

fn balanced(answers: &Answers, labels: usize) -> Vec<f64> {
    let mut rows_with = vec![0u64; labels];
    match answers {
        Answers::Classes(classes) => classes.iter().for_each(|id| rows_with[*id as usize] += 1),
        Answers::LabelSets(sets) => {
            sets.iter().flatten().for_each(|id| rows_with[*id as usize] += 1);
        }
        Answers::Values(_) => {}
    }
    let rows = answers.len() as f64;
    let occurring = rows_with.iter().filter(|count| **count > 0).count() as f64;
    let weight = |with: u64| match (answers, with as f64) {
        (_, 0.0) => 1.0,
        (Answers::LabelSets(_), with) if with == rows => 1.0,
        (Answers::LabelSets(_), with) => (rows - with) / with,
        (_, with) => rows / (occurring * with),
    };
    rows_with.into_iter().map(weight).collect()
}

/// The loss of rows, with what a run's objective asks for worked out.
pub(crate) struct RowLoss {
    weights: Option<Vec<f64>>,
    smoothing: f64,
    scale: TargetScale,
}

impl RowLoss {
    /// The plain mean, in the answers' own units: what evaluations report.
    pub(crate) fn plain() -> RowLoss {
        RowLoss { weights: None, smoothing: 0.0, scale: TargetScale::ONE }
    }

    /// What a run on these training rows descends.
    pub(crate) fn of(objective: &Objective, answers: &Answers, space: &AnswerSpace) -> RowLoss {
        RowLoss {
            weights: objective.weights(answers, space),
            smoothing: objective.label_smoothing,
            scale: TargetScale::of(answers),
        }
    }

    /// How values are standardised.
    pub(crate) fn scale(&self) -> TargetScale {
        self.scale
    }

    /// What the named rows weigh together in a mean: as many as they are, but where labels of one
    /// label a row weigh.
    pub(crate) fn weight(&self, answers: &Answers, rows: &[usize]) -> f64 {
        match answers {
            Answers::Classes(labels) => {
                rows.iter().map(|row| self.classes().weight(labels[*row] as usize)).sum()
            }
            Answers::LabelSets(_) | Answers::Values(_) => rows.len() as f64,
        }
    }

    fn classes(&self) -> ClassLoss<'_> {
        ClassLoss { weights: self.weights.as_deref(), smoothing: self.smoothing }
    }

    /// The weighted mean loss of logits [rows, outputs] for the answers of the named rows, and its
    /// gradient.
    pub(crate) fn of_rows(
        &self,
        logits: &Tensor,
        answers: &Answers,
        rows: &[usize],
    ) -> (f64, Tensor) {
        match answers {
            Answers::Classes(labels) => {
                let labels: Vec<usize> = rows.iter().map(|row| labels[*row] as usize).collect();
                logits.cross_entropy(&labels, self.classes())
            }
            Answers::LabelSets(sets) => {
                let mut targets = vec![0.0; logits.rows() * logits.columns()];
                for (row, targets) in rows.iter().zip(targets.chunks_exact_mut(logits.columns())) {
                    sets[*row].iter().for_each(|label| targets[*label as usize] = 1.0);
                }
                logits.binary_cross_entropy(&targets, self.weights.as_deref())
            }
            Answers::Values(values) => {
                let targets: Vec<f32> =
                    rows.iter().map(|row| self.scale.standardised(values[*row])).collect();
                logits.mean_squared_error(&targets)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Thresholds;

    fn labels() -> LabelMap {
        LabelMap::new(["ham", "spam"]).expect("labels")
    }

    #[test]
    fn weights_that_are_none_are_refused_with_the_label() {
        for (json, expected) in [
            (r#"{"ham": 1, "spam": 2}"#, ""),
            (r#"{"ham": 0, "spam": 2.5}"#, ""),
            (r#"{"ham": 1}"#, "no weight for the label \"spam\""),
            (r#"{"ham": 1, "spam": 2, "eggs": 1}"#, "unknown label \"eggs\""),
            (r#"{"ham": 1, "spam": -2}"#, "weight of the label \"spam\" is -2"),
            (r#"{"ham": 1, "spam": 1e999}"#, "number out of range"),
            (r#"{"ham": 1, "spam": NaN}"#, "expected value"),
            (r#"{"ham": 1, "spam": "2"}"#, "invalid type"),
            (r#"{"ham": 1, "spam": 2, "ham": 1}"#, "\"ham\" is given twice"),
            (r#"{"ham": 0, "spam": 0}"#, "every class weight is 0"),
            ("[1, 2]", "an object with one entry for each label"),
            ("", "EOF"),
        ] {
            let read = ClassWeights::from_json(json, &labels());
            let message = read.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(expected), "{json}: {message}");
            assert_eq!(message.is_empty(), expected.is_empty(), "{json}: {message}");
        }
    }

    #[test]
    fn balanced_weights_are_scikit_learns_and_for_sets_negatives_over_positives() {
        let classes = AnswerSpace::Classes(LabelMap::new(["a", "b", "c"]).expect("labels"));
        let balanced =
            Objective { class_weights: Some(ClassWeights::Balanced), ..Objective::default() };
        let answers = Answers::Classes(vec![0, 0, 0, 1]);
        // c has no row.
        assert_eq!(balanced.weights(&answers, &classes), Some(vec![4.0 / 6.0, 2.0, 1.0]));
        let map = LabelMap::new(["a", "b", "c"]).expect("labels");
        let sets = AnswerSpace::LabelSets(map, Thresholds::default());
        let answers = Answers::LabelSets(vec![vec![0, 2], vec![2], vec![2], vec![2]]);
        assert_eq!(balanced.weights(&answers, &sets), Some(vec![3.0, 1.0, 1.0]));
        assert_eq!(Objective::default().weights(&answers, &sets), None);
    }

    #[test]
    fn objectives_that_do_not_fit_are_refused() {
        let sets = AnswerSpace::LabelSets(labels(), Thresholds::default());
        let classes = AnswerSpace::Classes(labels());
        let weighted = |weights| Objective { class_weights: weights, ..Objective::default() };
        let smoothed = |share| Objective { label_smoothing: share, ..Objective::default() };
        for (objective, space, expected) in [
            (weighted(Some(ClassWeights::Balanced)), &AnswerSpace::Values, "needs labels"),
            (weighted(Some(ClassWeights::Given(vec![1.0]))), &classes, "1 class weights for 2"),
            (weighted(Some(ClassWeights::Given(vec![1.0, f64::NAN]))), &classes, "\"spam\" is NaN"),
            (smoothed(0.1), &sets, "needs one label a row"),
            (smoothed(0.1), &AnswerSpace::Values, "needs one label a row"),
            (smoothed(1.0), &classes, "from 0 to below 1"),
            (smoothed(f64::NAN), &classes, "from 0 to below 1"),
        ] {
            let message = objective.check(space).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert!(smoothed(0.1).check(&classes).is_ok());
        assert!(weighted(Some(ClassWeights::Balanced)).check(&sets).is_ok());
    }
}
