//! The rows to train on: a published task's, or a user's own files'.

use std::path::{Path, PathBuf};

use adaptkit::training::data::{
    AnswerKind, AnswerSpace, Column, Example, LabelMap, LabelledRows, ReadReport, Threshold,
    read_examples,
};
use adaptkit::training::metrics::MetricSet;
use adaptkit::training::tasks::Task;
use clap::Args;

use crate::Common;
use crate::error::CliError;
use crate::rows::{self, FileFlags, LabelFlags};

/// Flags that say which rows to train on.
#[derive(Args)]
pub(crate) struct RowFlags {
    /// A task by name, read from --data: cola, sst2, mrpc, stsb, rte, …
    #[arg(long, alias = "task-name", value_name = "NAME", requires = "data")]
    task: Option<String>,
    /// The task's folder, or the folder of GLUE's folders
    #[arg(long, alias = "data-dir", value_name = "DIR", requires = "task", conflicts_with_all = ["train_file", "validation_file"])]
    data: Option<PathBuf>,
    /// Rows to train on: TSV, CSV or JSON lines
    #[arg(long, value_name = "FILE", required_unless_present = "task", num_args = 1.., help_heading = "Own files")]
    train_file: Vec<PathBuf>,
    /// Rows to choose the best epoch by
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Own files")]
    validation_file: Vec<PathBuf>,
    /// Without a validation file, the share of the training rows held out, of each label alike; 0
    /// trains on all rows
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, help_heading = "Own files")]
    validation_fraction: f64,
    /// Train on N of the training rows, drawn by the seed from each label alike
    #[arg(long, value_name = "N")]
    max_train_samples: Option<usize>,
    /// Validate on N of the validation rows, drawn by the seed from each label alike
    #[arg(long, value_name = "N")]
    max_eval_samples: Option<usize>,
    #[command(flatten)]
    labels: LabelFlags,
    /// Labels are numbers to be predicted, not classes
    #[arg(long, conflicts_with = "task", help_heading = "Own files")]
    regression: bool,
    /// A row has any number of labels: a field with --label-delimiter between them, or a JSON list
    #[arg(long, conflicts_with_all = ["task", "regression"], help_heading = "Own files")]
    multi_label: bool,
    /// The probability above which a label of --multi-label applies; stored with the adapter
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.5,
        requires = "multi_label",
        help_heading = "Own files"
    )]
    threshold: f64,
    /// The labels in the order of their numbers, another one being an error; by default those that
    /// occur in the training file, sorted
    #[arg(long = "labels", value_name = "LABEL,…", value_delimiter = ',', conflicts_with_all = ["task", "regression"], help_heading = "Own files")]
    label_list: Option<Vec<String>>,
    #[command(flatten)]
    files: FileFlags,
}

/// Rows of a task, and what their answers are.
pub(crate) struct TaskRows {
    pub(crate) name: Option<String>,
    pub(crate) train: LabelledRows,
    /// `None` where every row is to be trained on.
    pub(crate) validation: Option<LabelledRows>,
    pub(crate) space: AnswerSpace,
    pub(crate) metrics: MetricSet,
    /// Rows of the training file and of the validation file that were left out.
    pub(crate) left_out: [u64; 2],
}

impl RowFlags {
    /// The rows; the seed chooses those held out where there is no validation file, and those that
    /// are drawn where fewer are asked for.
    pub(crate) fn read(&self, seed: u64, common: &Common) -> Result<TaskRows, CliError> {
        for (name, most) in [
            ("max-train-samples", self.max_train_samples),
            ("max-eval-samples", self.max_eval_samples),
        ] {
            if most == Some(0) {
                return Err(CliError::usage(format!("--{name} is 0, it must be at least 1")));
            }
        }
        let mut rows = match (&self.task, &self.data) {
            (Some(name), Some(folder)) => published_rows(name, folder, common)?,
            _ => self.own_rows(seed, common)?,
        };
        if let Some(most) = self.max_train_samples {
            rows.train = rows.train.sample(most, seed);
        }
        if let Some(most) = self.max_eval_samples {
            rows.validation = rows.validation.map(|rows| rows.sample(most, seed));
        }
        Ok(rows)
    }

    fn own_rows(&self, seed: u64, common: &Common) -> Result<TaskRows, CliError> {
        let kind = match (self.regression, self.multi_label) {
            (true, _) => AnswerKind::Value,
            (false, true) => AnswerKind::LabelSet,
            (false, false) => AnswerKind::Class,
        };
        let threshold = Threshold::new(self.threshold)?;
        let reading = self.labels.reading(kind)?;
        let is_standard_input =
            |paths: &[PathBuf]| paths.iter().any(|path| path.as_os_str() == "-");
        if is_standard_input(&self.train_file) && is_standard_input(&self.validation_file) {
            let message = "--train-file and --validation-file cannot both be standard input";
            return Err(CliError::usage(message));
        }
        let columns = self.files.columns().with_label(Column::required(&self.labels.label_column));
        let options = self.files.options();
        let read = |paths: &[PathBuf]| -> Result<(Vec<Example>, ReadReport), CliError> {
            Ok(read_examples(&rows::inputs(paths)?, &columns, &options)?)
        };
        let (examples, mut report) = read(&self.train_file)?;
        let validation = match &self.validation_file[..] {
            [] => None,
            files => Some(read(files)?),
        };
        let of_validation = validation.iter().flat_map(|(examples, _)| examples);
        reading.check_unwanted(examples.iter().chain(of_validation))?;
        let space = match &self.label_list {
            None => reading.infer(&examples)?.with_threshold(threshold),
            Some(names) if self.multi_label => {
                AnswerSpace::LabelSets(LabelMap::new(names.clone())?, threshold)
            }
            Some(names) => AnswerSpace::Classes(LabelMap::new(names.clone())?),
        };
        let mut left_out = [0; 2];
        let mut train = LabelledRows::new(examples, &reading, &space, &mut report)?;
        rows::say(common, &report);
        left_out[0] = report.rows_left_out();
        let validation = match validation {
            Some((examples, mut report)) => {
                let rows = LabelledRows::new(examples, &reading, &space, &mut report)?;
                rows::say(common, &report);
                left_out[1] = report.rows_left_out();
                Some(rows)
            }
            None if self.validation_fraction == 0.0 => None,
            None => {
                let mut parts = train.split(&[self.validation_fraction], seed)?.into_iter();
                train = parts.next().unwrap_or(train);
                parts.next()
            }
        };
        let metrics = MetricSet::for_kind(kind);
        Ok(TaskRows { name: None, train, validation, space, metrics, left_out })
    }
}

/// The rows of a published task.
fn published_rows(name: &str, folder: &Path, common: &Common) -> Result<TaskRows, CliError> {
    let task = Task::by_name(name)?;
    let space = task.answer_space()?;
    let labelled = |file| -> Result<(LabelledRows, u64), CliError> {
        let (rows, report) = task.read(folder, file, &space)?;
        rows::say(common, &report);
        Ok((rows, report.rows_left_out()))
    };
    let (validation, of_validation) = labelled(&task.validation[0])?;
    let (train, of_training) = labelled(&task.train)?;
    Ok(TaskRows {
        name: Some(task.name.to_owned()),
        train,
        validation: Some(validation),
        space,
        metrics: task.metrics,
        left_out: [of_training, of_validation],
    })
}
