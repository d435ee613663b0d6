//! The rows that a fusion is pruned by, and those that it is scored on.

use std::path::PathBuf;

use adaptkit::encoder::{Encoder, Tokenizer};
use adaptkit::training::TrainingError;
use adaptkit::training::data::{AnswerSpace, Answers, Example, LabelledRows, read_examples};
use adaptkit::training::metrics::MetricSet;
use adaptkit::training::run::Dataset;
use adaptkit::training::tasks::Task;
use clap::Args;

use crate::Common;
use crate::error::CliError;
use crate::rows::{self, FileFlags, LabelFlags};

/// Flags that say which rows.
#[derive(Args)]
pub(super) struct RowFlags {
    /// A task by name, read from --data: cola, sst2, mrpc, stsb, rte, …
    #[arg(long, alias = "task-name", value_name = "NAME", requires = "data")]
    task: Option<String>,
    /// The task's folder, or the folder of GLUE's folders
    #[arg(long, alias = "data-dir", value_name = "DIR", requires = "task", conflicts_with_all = ["train_file", "validation_file"])]
    data: Option<PathBuf>,
    /// The rows that the fusion was trained on: TSV, CSV, JSON lines or, a text a line, lines
    #[arg(long, value_name = "FILE", required_unless_present = "task", num_args = 1.., help_heading = "Own files")]
    train_file: Vec<PathBuf>,
    /// Rows to score on
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Own files")]
    validation_file: Vec<PathBuf>,
    /// Without a validation file, the share of the labelled training rows held out, as `adaptkit
    /// fuse` does with the same seed
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, help_heading = "Own files")]
    validation_fraction: f64,
    #[command(flatten)]
    labels: LabelFlags,
    #[command(flatten)]
    files: FileFlags,
}

/// What the rows are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// What is attended to: labels are of use where there are any.
    Texts,
    /// Scores, or training.
    Labels,
}

/// The rows.
pub(super) enum PruningRows {
    /// Texts only.
    Texts(Vec<Example>),
    /// Rows with labels, and others to score on.
    Labelled { train: LabelledRows, validation: LabelledRows, metrics: MetricSet },
}

impl RowFlags {
    /// The rows, their labels being those of the fusion's head.
    pub(super) fn read(
        &self,
        space: &AnswerSpace,
        needs: Needs,
        seed: u64,
        common: &Common,
    ) -> Result<PruningRows, CliError> {
        let read = match (&self.task, &self.data) {
            (Some(name), Some(folder)) => {
                let task = Task::by_name(name)?;
                let labelled = |file| -> Result<LabelledRows, TrainingError> {
                    let (rows, report) = task.read(folder, file, space)?;
                    rows::say(common, &report);
                    Ok(rows)
                };
                let both = labelled(&task.train)
                    .and_then(|train| Ok((train, labelled(&task.validation[0])?)));
                match both {
                    Ok((train, validation)) => {
                        PruningRows::Labelled { train, validation, metrics: task.metrics }
                    }
                    Err(error) if needs == Needs::Texts && is_of_labels(&error) => {
                        say_unlabelled(&error, common);
                        let reader = task.open(folder, &task.train)?;
                        PruningRows::Texts(reader.collect::<Result<_, _>>()?)
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            _ => self.own_rows(space, needs, seed, common)?,
        };
        match &read {
            PruningRows::Texts(rows) if rows.is_empty() => Err(CliError::usage(
                "there are no training rows, and nothing to measure what members are attended to",
            )),
            _ => Ok(read),
        }
    }

    fn own_rows(
        &self,
        space: &AnswerSpace,
        needs: Needs,
        seed: u64,
        common: &Common,
    ) -> Result<PruningRows, CliError> {
        let columns = self.labels.columns(&self.files, needs == Needs::Labels);
        let options = self.files.options();
        let reading = self.labels.reading(space.kind(), &self.files)?;
        let inputs = rows::inputs(&self.train_file)?;
        let (examples, mut report) = read_examples(&inputs, &columns, &options)?;
        let bare = needs == Needs::Texts && examples.iter().all(|row| row.label.is_none());
        if bare {
            rows::say(common, &report);
            return Ok(PruningRows::Texts(examples));
        }
        let texts = (needs == Needs::Texts).then(|| examples.clone());
        let labelled = LabelledRows::new(examples, &reading, space, &mut report);
        rows::say(common, &report);
        let train = match (labelled, texts) {
            (Ok(train), _) => train,
            (Err(error), Some(texts)) if is_of_labels(&error) => {
                say_unlabelled(&error, common);
                return Ok(PruningRows::Texts(texts));
            }
            (Err(error), _) => return Err(error.into()),
        };
        let metrics = MetricSet::for_kind(space.kind());
        if self.validation_file.is_empty() {
            let mut parts = train.split(&[self.validation_fraction], seed)?.into_iter();
            return match (parts.next(), parts.next()) {
                (Some(train), Some(validation)) => {
                    Ok(PruningRows::Labelled { train, validation, metrics })
                }
                _ => Err(CliError::usage("the split has no two parts")),
            };
        }
        let inputs = rows::inputs(&self.validation_file)?;
        let columns = self.labels.columns(&self.files, true);
        let (examples, mut report) = read_examples(&inputs, &columns, &options)?;
        let validation = LabelledRows::new(examples, &reading, space, &mut report)?;
        rows::say(common, &report);
        Ok(PruningRows::Labelled { train, validation, metrics })
    }
}

/// Whether the texts could be read, but the labels are not those of the head.
fn is_of_labels(error: &TrainingError) -> bool {
    matches!(
        error,
        TrainingError::UnknownLabel { .. }
            | TrainingError::BadTarget { .. }
            | TrainingError::WrongAnswers { .. }
    )
}

fn say_unlabelled(error: &TrainingError, common: &Common) {
    common.note(format_args!("note: nothing is scored, as the labels are not the head's: {error}"));
}

impl PruningRows {
    /// The rows to score on, if there are any.
    pub(super) fn validation(&self) -> &[Example] {
        match self {
            PruningRows::Texts(_) => &[],
            PruningRows::Labelled { validation, .. } => &validation.rows,
        }
    }

    /// The rows to measure attention on, and those to score on if there are any. The answers of
    /// texts without labels are empty.
    pub(super) fn tokenise(
        &self,
        encoder: &Encoder,
        tokenizer: &Tokenizer,
        max_length: usize,
        common: &Common,
    ) -> Result<(Dataset, Option<(Dataset, MetricSet)>), CliError> {
        let labelled = |what: &str, rows: &LabelledRows| -> Result<Dataset, CliError> {
            let tokenise = || rows::tokenise(common, what, tokenizer, rows, max_length);
            let tokens = encoder.device().run(tokenise)?;
            Ok(Dataset { rows: tokens, answers: rows.answers.clone() })
        };
        match self {
            PruningRows::Texts(texts) => {
                let tokenise = || rows::tokenise_examples(tokenizer, texts, max_length);
                let rows = encoder.device().run(tokenise)?;
                Ok((Dataset { rows, answers: Answers::Classes(Vec::new()) }, None))
            }
            PruningRows::Labelled { train, validation, metrics } => {
                let train = labelled("training", train)?;
                Ok((train, Some((labelled("validation", validation)?, *metrics))))
            }
        }
    }
}
