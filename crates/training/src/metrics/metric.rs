//! One score by its name: what a run's best epoch is chosen by, and what an evaluation is asked for
//! beside the scores of its task.

use std::borrow::Cow;
use std::fmt;

use super::classification::label_counts;
use super::confusion::LabelScores;
use super::{
    MetricSet, Residuals, Scores, accuracy, area_under_roc, binary_f1, exact_match,
    label_set_label_scores, label_set_micro_counts, macro_f1, matthews_correlation,
    mean_squared_error, micro_f1, pearson, spearman,
};
use crate::TrainingError;
use crate::data::{AnswerKind, AnswerSpace, Answers};
use crate::run::answers;

/// A score by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    name: Cow<'static, str>,
    kind: Kind,
}

/// What is counted for a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The evaluation's loss.
    Loss,
    /// One of the scores that the task's set has under the name.
    OfSet,
    Accuracy,
    /// Precision, recall or F1.
    Of(Part, Average),
    BalancedAccuracy,
    Matthews,
    Auc,
    ExactMatch,
    Mse,
    Rmse,
    Mae,
    R2,
    Pearson,
    Spearman,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Precision,
    Recall,
    F1,
}

/// Over which labels a score is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Average {
    /// The label that counts as positive.
    Positive,
    /// The label with this number.
    Label(u32),
    Macro,
    Micro,
    Weighted,
}

/// The scores of one label a row, beside those of a set.
const OF_CLASSES: [(&str, Kind); 13] = [
    ("loss", Kind::Loss),
    ("accuracy", Kind::Accuracy),
    ("balanced_accuracy", Kind::BalancedAccuracy),
    ("f1_macro", Kind::Of(Part::F1, Average::Macro)),
    ("f1_micro", Kind::Of(Part::F1, Average::Micro)),
    ("f1_weighted", Kind::Of(Part::F1, Average::Weighted)),
    ("precision_macro", Kind::Of(Part::Precision, Average::Macro)),
    ("recall_macro", Kind::Of(Part::Recall, Average::Macro)),
    ("matthews_correlation", Kind::Matthews),
    ("auc", Kind::Auc),
    ("f1", Kind::Of(Part::F1, Average::Positive)),
    ("precision", Kind::Of(Part::Precision, Average::Positive)),
    ("recall", Kind::Of(Part::Recall, Average::Positive)),
];

/// Those of them that are about two labels, of which one is positive.
const OF_TWO_CLASSES: [&str; 3] = ["f1", "precision", "recall"];

const OF_LABEL_SETS: [(&str, Kind); 10] = [
    ("loss", Kind::Loss),
    ("f1_micro", Kind::Of(Part::F1, Average::Micro)),
    ("f1_macro", Kind::Of(Part::F1, Average::Macro)),
    ("f1_weighted", Kind::Of(Part::F1, Average::Weighted)),
    ("precision_micro", Kind::Of(Part::Precision, Average::Micro)),
    ("precision_macro", Kind::Of(Part::Precision, Average::Macro)),
    ("recall_micro", Kind::Of(Part::Recall, Average::Micro)),
    ("recall_macro", Kind::Of(Part::Recall, Average::Macro)),
    ("exact_match", Kind::ExactMatch),
    ("auc", Kind::Auc),
];

const OF_VALUES: [(&str, Kind); 7] = [
    ("loss", Kind::Loss),
    ("mse", Kind::Mse),
    ("rmse", Kind::Rmse),
    ("mae", Kind::Mae),
    ("r2", Kind::R2),
    ("pearson", Kind::Pearson),
    ("spearmanr", Kind::Spearman),
];

/// Names that people bring from elsewhere.
const ALIASES: [(&str, &str); 16] = [
    ("acc", "accuracy"),
    ("macro_f1", "f1_macro"),
    ("micro_f1", "f1_micro"),
    ("weighted_f1", "f1_weighted"),
    ("mcc", "matthews_correlation"),
    ("matthews", "matthews_correlation"),
    ("matthews_corrcoef", "matthews_correlation"),
    ("roc_auc", "auc"),
    ("auroc", "auc"),
    ("subset_accuracy", "exact_match"),
    ("spearman", "spearmanr"),
    ("pearsonr", "pearson"),
    ("mean_squared_error", "mse"),
    ("root_mean_squared_error", "rmse"),
    ("mean_absolute_error", "mae"),
    ("combined", "combined_score"),
];

impl Metric {
    /// The score of this name for a task with such answers and this set. Names may have the trainer's
    /// `eval_` in front and dashes for underscores; `f1:LABEL`, `precision:LABEL` and `recall:LABEL`
    /// are those of one label.
    ///
    /// # Errors
    /// A name that is unknown or does not fit the task, with those that do; an unknown label.
    pub fn parse(text: &str, set: MetricSet, space: &AnswerSpace) -> Result<Metric, TrainingError> {
        let unfit = || TrainingError::UnfitMetric {
            metric: text.to_owned(),
            kind: space.kind().name(),
            fitting: Metric::fitting(set, space).into_iter().collect(),
        };
        let (name, label) = match text.split_once(':') {
            Some((name, label)) => (name, Some(label)),
            None => (text, None),
        };
        let name = name.trim().to_lowercase().replace('-', "_");
        let name = name.strip_prefix("eval_").unwrap_or(&name);
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        let name = alias.map_or(name, |(_, name)| *name);
        // With sets of labels, accuracy is the share of rows whose whole set is right.
        let name = match (space.kind(), name) {
            (AnswerKind::LabelSet, "accuracy") => "exact_match",
            _ => name,
        };
        if let Some(label) = label {
            let part = [("precision", Part::Precision), ("recall", Part::Recall), ("f1", Part::F1)];
            let part = part.into_iter().find(|(other, _)| *other == name);
            let (Some((name, part)), Some(labels)) = (part, space.labels()) else {
                return Err(unfit());
            };
            let id = labels.id(label).ok_or_else(|| TrainingError::MetricOfUnknownLabel {
                label: label.to_owned(),
                known: labels.names().iter().collect(),
            })?;
            let name = format!("{name}:{label}").into();
            return Ok(Metric { name, kind: Kind::Of(part, Average::Label(id)) });
        }
        if let Some(own) = set.names(space.outputs()).iter().find(|other| **other == name) {
            return Ok(Metric { name: (*own).into(), kind: Kind::OfSet });
        }
        let known = Metric::of_kind(space);
        let known = known.into_iter().find(|(other, _)| *other == name);
        known.map(|(name, kind)| Metric { name: name.into(), kind }).ok_or_else(unfit)
    }

    /// The score that the set chooses the best epoch by.
    pub fn best_of(set: MetricSet) -> Metric {
        Metric { name: set.best_metric().into(), kind: Kind::OfSet }
    }

    /// The names that fit a task.
    pub fn fitting(set: MetricSet, space: &AnswerSpace) -> Vec<&'static str> {
        let mut names = set.names(space.outputs()).to_vec();
        for (name, _) in Metric::of_kind(space) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if space.labels().is_some() {
            names.extend(["f1:LABEL", "precision:LABEL", "recall:LABEL"]);
        }
        names
    }

    fn of_kind(space: &AnswerSpace) -> Vec<(&'static str, Kind)> {
        match space.kind() {
            AnswerKind::Class => {
                let two = space.outputs() == 2;
                let fits = |name: &str| two || !OF_TWO_CLASSES.contains(&name);
                OF_CLASSES.into_iter().filter(|(name, _)| fits(name)).collect()
            }
            AnswerKind::LabelSet => OF_LABEL_SETS.to_vec(),
            AnswerKind::Value => OF_VALUES.to_vec(),
        }
    }

    /// Its name among scores.
    pub fn name(&self) -> &Cow<'static, str> {
        &self.name
    }

    /// Whether a higher score is a better one.
    pub fn higher_is_better(&self) -> bool {
        !matches!(&*self.name, "loss" | "mse" | "rmse" | "mae")
    }

    /// Whether it depends on which labels apply, and so on thresholds.
    pub(crate) fn follows_thresholds(&self) -> bool {
        !matches!(self.kind, Kind::Loss | Kind::Auc)
    }

    /// That the rows can be scored at all.
    ///
    /// # Errors
    /// For the area under the ROC curve: no label that some rows have and others have not.
    pub fn check(&self, truth: &Answers, space: &AnswerSpace) -> Result<(), TrainingError> {
        let comparable = |label: u32| {
            let mut has = truth_of(truth, label).into_iter();
            has.next().is_some_and(|first| has.any(|other| other != first))
        };
        match self.kind {
            Kind::Auc if !(0..space.outputs() as u32).any(comparable) => {
                Err(TrainingError::NothingToCompare { metric: self.name.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// The score, where `scores` are those of the task's set; an evaluation's loss is told beside its
    /// scores, and is none of them.
    ///
    /// # Errors
    /// As [`Metric::check`]; answers of another kind than the metric was parsed for.
    pub(crate) fn compute(
        &self,
        rows: &ScoredRows<'_>,
        scores: &Scores,
        positive: u32,
    ) -> Result<f64, TrainingError> {
        let labels = rows.space.outputs();
        match (self.kind, rows.predictions, rows.truth) {
            (Kind::OfSet, ..) => scores.get(&self.name),
            (Kind::Auc, _, truth) => {
                self.check(truth, rows.space)?;
                Some(macro_area(rows))
            }
            (kind, Answers::Classes(p), Answers::Classes(t)) => match kind {
                Kind::Accuracy => Some(accuracy(p, t)),
                Kind::Matthews => Some(matthews_correlation(p, t, labels)),
                Kind::BalancedAccuracy => {
                    let counts = label_counts(p, t, labels);
                    let scores = counts.iter().map(|counts| counts.scores());
                    Some(mean(scores.filter(|s| s.support > 0).map(|s| s.recall)))
                }
                Kind::Of(Part::F1, Average::Macro) => Some(macro_f1(p, t, labels)),
                Kind::Of(Part::F1, Average::Micro) => Some(micro_f1(p, t)),
                Kind::Of(Part::F1, Average::Positive) => Some(binary_f1(p, t, positive)),
                Kind::Of(part, average) => {
                    let counts = label_counts(p, t, labels);
                    let occurring = counts.iter().filter(|counts| counts.occurs());
                    let occurring: Vec<LabelScores> = occurring.map(|c| c.scores()).collect();
                    match average {
                        Average::Positive => Some(part.of(&counts[positive as usize].scores())),
                        Average::Label(id) => Some(part.of(&counts[id as usize].scores())),
                        Average::Macro => Some(mean(occurring.iter().map(|s| part.of(s)))),
                        Average::Weighted => Some(weighted(part, &occurring)),
                        Average::Micro => Some(accuracy(p, t)),
                    }
                }
                _ => None,
            },
            (kind, Answers::LabelSets(p), Answers::LabelSets(t)) => match kind {
                Kind::ExactMatch => Some(exact_match(p, t)),
                Kind::Of(part, Average::Micro) => {
                    Some(part.of(&label_set_micro_counts(p, t).scores()))
                }
                Kind::Of(part, average) => {
                    let all = label_set_label_scores(p, t, labels);
                    match average {
                        Average::Label(id) => Some(part.of(&all[id as usize])),
                        Average::Macro => Some(mean(all.iter().map(|s| part.of(s)))),
                        Average::Weighted => Some(weighted(part, &all)),
                        _ => None,
                    }
                }
                _ => None,
            },
            (kind, Answers::Values(p), Answers::Values(t)) => match kind {
                Kind::Mse => Some(mean_squared_error(p, t)),
                Kind::Rmse => Some(mean_squared_error(p, t).sqrt()),
                Kind::Mae => Residuals::new(p, t).map(|residuals| residuals.mean_absolute),
                Kind::R2 => Some(determination(p, t)),
                Kind::Pearson => Some(pearson(p, t)),
                Kind::Spearman => Some(spearman(p, t)),
                _ => None,
            },
            _ => None,
        }
        .ok_or_else(|| TrainingError::UnfitMetric {
            metric: self.name.to_string(),
            kind: rows.truth.kind().name(),
            fitting: scores.iter().map(|(name, _)| name.to_owned()).collect(),
        })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Part {
    fn of(self, scores: &LabelScores) -> f64 {
        match self {
            Part::Precision => scores.precision,
            Part::Recall => scores.recall,
            Part::F1 => scores.f1,
        }
    }
}

/// What rows are scored from.
pub(crate) struct ScoredRows<'a> {
    pub(crate) logits: &'a [Vec<f32>],
    pub(crate) predictions: &'a Answers,
    pub(crate) truth: &'a Answers,
    pub(crate) space: &'a AnswerSpace,
}

/// What a task's answers are scored by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scoring {
    /// The scores of the task.
    pub set: MetricSet,
    /// The score that chooses the best epoch.
    pub best: Metric,
    /// Further scores.
    pub further: Vec<Metric>,
    /// The number of the label that precision, recall and F1 of two labels are about.
    pub positive: u32,
}

/// The label that is positive where nobody says which, as in GLUE: the second.
const POSITIVE: u32 = 1;

impl From<MetricSet> for Scoring {
    fn from(set: MetricSet) -> Scoring {
        Scoring { set, best: Metric::best_of(set), further: Vec::new(), positive: POSITIVE }
    }
}

impl Scoring {
    /// That these rows can be scored so.
    ///
    /// # Errors
    /// As [`Metric::check`].
    pub fn check(&self, truth: &Answers, space: &AnswerSpace) -> Result<(), TrainingError> {
        [&self.best].into_iter().chain(&self.further).try_for_each(|m| m.check(truth, space))
    }

    /// Whether a label is positive in any of the scores.
    pub fn has_positive(&self, space: &AnswerSpace) -> bool {
        let of_set = match self.set {
            MetricSet::AccuracyAndF1 => true,
            MetricSet::Classification => space.outputs() == 2,
            _ => false,
        };
        let positive = |metric: &Metric| matches!(metric.kind, Kind::Of(_, Average::Positive));
        of_set || positive(&self.best) || self.further.iter().any(positive)
    }

    /// The scoring with the label of this name as the positive one.
    ///
    /// # Errors
    /// An unknown label; no score that a positive label would change.
    pub fn with_positive(self, label: &str, space: &AnswerSpace) -> Result<Scoring, TrainingError> {
        if !self.has_positive(space) {
            return Err(TrainingError::NoPositiveLabel { kind: space.kind().name() });
        }
        let labels = space.labels();
        let id = labels.and_then(|labels| labels.id(label));
        let unknown = || TrainingError::MetricOfUnknownLabel {
            label: label.to_owned(),
            known: labels.into_iter().flat_map(|labels| labels.names()).collect(),
        };
        Ok(Scoring { positive: id.ok_or_else(unknown)?, ..self })
    }

    /// The scores of logits, a list a row, whose rows have these answers.
    ///
    /// # Errors
    /// As [`Metric::check`]; what [`MetricSet::compute`] refuses.
    pub fn score_logits(
        &self,
        logits: &[Vec<f32>],
        truth: &Answers,
        space: &AnswerSpace,
    ) -> Result<Scores, TrainingError> {
        let predictions = &answers(logits, space);
        self.compute(&ScoredRows { logits, predictions, truth, space })
    }

    /// All scores: the set's, the one that chooses the best epoch, and the further ones.
    pub(crate) fn compute(&self, rows: &ScoredRows<'_>) -> Result<Scores, TrainingError> {
        let mut scores =
            self.set.compute(rows.predictions, rows.truth, rows.space.outputs(), self.positive)?;
        for metric in [&self.best].into_iter().chain(&self.further) {
            // The loss is told in any case.
            if metric.kind != Kind::Loss && scores.get(&metric.name).is_none() {
                let score = metric.compute(rows, &scores, self.positive)?;
                scores.0.push((metric.name.clone(), score));
            }
        }
        Ok(scores)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), x| (sum + x, count + 1.0));
    if count == 0.0 { 0.0 } else { sum / count }
}

/// The mean over labels, each weighing as its rows.
fn weighted(part: Part, scores: &[LabelScores]) -> f64 {
    let rows: u64 = scores.iter().map(|scores| scores.support).sum();
    let sum: f64 = scores.iter().map(|scores| part.of(scores) * scores.support as f64).sum();
    if rows == 0 { 0.0 } else { sum / rows as f64 }
}

/// 1 − Σ(true − predicted)² / Σ(true − mean)²; where all true values are the same, 1 if all are
/// predicted and 0 else, as scikit-learn has it.
fn determination(predictions: &[f32], truth: &[f32]) -> f64 {
    let error = mean_squared_error(predictions, truth);
    let center = mean(truth.iter().map(|value| f64::from(*value)));
    let spread = mean(truth.iter().map(|value| (f64::from(*value) - center).powi(2)));
    match (error == 0.0, spread == 0.0) {
        (true, true) => 1.0,
        (false, true) => 0.0,
        _ => 1.0 - error / spread,
    }
}

/// Whether each row has the label.
fn truth_of(truth: &Answers, label: u32) -> Vec<bool> {
    match truth {
        Answers::Classes(classes) => classes.iter().map(|class| *class == label).collect(),
        Answers::LabelSets(sets) => sets.iter().map(|set| set.contains(&label)).collect(),
        Answers::Values(_) => Vec::new(),
    }
}

/// The area under the ROC curve: of two classes once, otherwise each label against the rest, and the
/// mean over the labels that some rows have and others have not.
fn macro_area(rows: &ScoredRows<'_>) -> f64 {
    let softmax = |z: &[f32], label: usize| {
        // The log of the probability orders rows as the probability does, without rounding to 0 or 1.
        let largest = z.iter().fold(f32::NEG_INFINITY, |a, z| a.max(*z));
        let sum: f64 = z.iter().map(|z| (f64::from(*z) - f64::from(largest)).exp()).sum();
        f64::from(z[label]) - f64::from(largest) - sum.ln()
    };
    let score = |z: &[f32], label: usize| match (rows.truth.kind(), z) {
        (AnswerKind::Class, [a, b]) => {
            if label == 0 {
                f64::from(*a) - f64::from(*b)
            } else {
                f64::from(*b) - f64::from(*a)
            }
        }
        (AnswerKind::Class, z) => softmax(z, label),
        _ => f64::from(z[label]),
    };
    let labels = rows.space.outputs();
    let areas = (0..labels).filter_map(|label| {
        let scores: Vec<f64> = rows.logits.iter().map(|z| score(z, label)).collect();
        area_under_roc(&scores, &truth_of(rows.truth, label as u32))
    });
    mean(areas)
}
