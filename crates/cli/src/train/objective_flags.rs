//! Flags that say what a training descends and what chooses its best epoch.

use std::path::{Path, PathBuf};

use adaptkit::encoder::foreign_text::quoted;
use adaptkit::encoder::text_file;
use adaptkit::training::TrainingError;
use adaptkit::training::data::AnswerSpace;
use adaptkit::training::metrics::{Metric, MetricSet, Scoring};
use adaptkit::training::run::{ClassWeights, Objective};
use clap::Args;

use crate::Common;
use crate::error::CliError;

/// The most bytes of a file of class weights.
const WEIGHTS_LIMIT: u64 = 64 << 20;

/// Flags of every command that trains.
#[derive(Args)]
pub(crate) struct ObjectiveFlags {
    /// What labels weigh in the loss: balanced, for rare ones as much as for frequent ones, or a JSON
    /// object with a weight for each label: {"ham": 1, "spam": 6.5}
    #[arg(long, value_name = "balanced|FILE", help_heading = "Training")]
    class_weights: Option<PathBuf>,
    /// The share of each row's target that is spread evenly over all labels
    #[arg(
        long,
        alias = "label-smoothing-factor",
        value_name = "SHARE",
        default_value_t = 0.0,
        help_heading = "Training"
    )]
    label_smoothing: f64,
    /// The score that chooses the best epoch: accuracy, f1, f1_macro, f1_micro, f1_weighted, f1:LABEL,
    /// matthews_correlation, auc, loss, pearson, rmse, …; a wrong name lists those that fit
    #[arg(long, alias = "metric-for-best-model", value_name = "NAME", help_heading = "Training")]
    pub(crate) metric: Option<String>,
    #[command(flatten)]
    positive: PositiveFlag,
}

/// The label that F1 of two labels is about.
#[derive(Args)]
pub(crate) struct PositiveFlag {
    /// The label that precision, recall and F1 of two labels are about; the second by default
    #[arg(long, value_name = "LABEL")]
    positive_label: Option<String>,
}

impl PositiveFlag {
    /// The scoring with what the flag says, or else with the stored label's name.
    pub(crate) fn apply(
        &self,
        scoring: Scoring,
        stored: Option<&str>,
        space: &AnswerSpace,
    ) -> Result<Scoring, CliError> {
        match (&self.positive_label, stored) {
            (Some(label), _) => Ok(scoring.with_positive(label, space)?),
            (None, Some(label)) if scoring.has_positive(space) => {
                Ok(scoring.with_positive(label, space)?)
            }
            (None, _) => Ok(scoring),
        }
    }
}

impl ObjectiveFlags {
    /// The flags for such answers.
    pub(crate) fn read(&self, space: &AnswerSpace) -> Result<Objective, CliError> {
        let class_weights = match (self.class_weights.as_deref(), space.labels()) {
            (None, _) => None,
            // The check below refuses it.
            (Some(_), None) => Some(ClassWeights::Balanced),
            (Some(path), Some(_)) if path == Path::new("balanced") => Some(ClassWeights::Balanced),
            (Some(path), Some(labels)) => {
                let text = text_file::read(path, WEIGHTS_LIMIT).map_err(|source| CliError::Io {
                    doing: format!(
                        "read the class weights {} (--class-weights takes a JSON file's name, or \
                         balanced)",
                        path.display()
                    ),
                    source,
                })?;
                let bad = |error: TrainingError| CliError::BadFile {
                    path: path.to_owned(),
                    source: error.into(),
                };
                Some(ClassWeights::from_json(&text, labels).map_err(bad)?)
            }
        };
        let objective = Objective { class_weights, label_smoothing: self.label_smoothing };
        objective.check(space)?;
        Ok(objective)
    }

    /// Whether a flag that only training follows is given.
    pub(crate) fn is_given(&self) -> bool {
        self.class_weights.is_some() || self.label_smoothing != 0.0 || self.metric.is_some()
    }

    /// What the epochs are scored by; `positive` is the label that was positive before, if there is a
    /// before.
    pub(crate) fn scoring(
        &self,
        set: MetricSet,
        space: &AnswerSpace,
        positive: Option<&str>,
    ) -> Result<Scoring, CliError> {
        let mut scoring = Scoring::from(set);
        if let Some(name) = &self.metric {
            scoring.best = Metric::parse(name, set, space)?;
        }
        self.positive.apply(scoring, positive, space)
    }
}

/// Says which label a binary F1 is about, where one is shown.
pub(crate) fn say_positive(scoring: &Scoring, space: &AnswerSpace, common: &Common) {
    let label = space.labels().and_then(|labels| labels.name(scoring.positive));
    if let Some(label) = label.filter(|_| scoring.has_positive(space)) {
        common.note(format_args!(
            "f1 is that of the label {} (--positive-label names another)",
            quoted(label)
        ));
    }
}
