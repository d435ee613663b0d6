//! The rows to train on: a published task's, or a user's own files'.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use adaptkit::training::data::{
    AnswerKind, AnswerSpace, Example, LabelMap, LabelledRows, Parts, ReadReport, Threshold,
    Thresholds, read_examples,
};
use adaptkit::training::metrics::MetricSet;
use adaptkit::training::run::ThresholdChoice;
use adaptkit::training::tasks::Task;
use clap::Args;
use serde_json::{Map, Value, json};

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
    #[arg(long, alias = "data-dir", value_name = "DIR", requires = "task", conflicts_with_all = ["train_file", "validation_file", "test_file"])]
    data: Option<PathBuf>,
    /// Rows to train on: TSV, CSV or JSON lines
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Own files")]
    train_file: Vec<PathBuf>,
    /// Rows to choose the best epoch by
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Own files")]
    validation_file: Vec<PathBuf>,
    /// Labelled rows to score the best epoch on at the end
    #[arg(long, value_name = "FILE", num_args = 1.., help_heading = "Own files")]
    test_file: Vec<PathBuf>,
    /// Without a validation file, the share of the training rows held out, of each label alike; 0
    /// trains on all rows
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, help_heading = "Own files")]
    pub(crate) validation_fraction: f64,
    /// Train on N of the training rows, drawn by the seed from each label alike
    #[arg(long, value_name = "N")]
    max_train_samples: Option<usize>,
    /// Validate on N of the validation rows, drawn by the seed from each label alike
    #[arg(long, value_name = "N")]
    max_eval_samples: Option<usize>,
    #[command(flatten)]
    labels: LabelFlags,
    /// Labels are numbers to be predicted, not classes
    #[arg(long, conflicts_with_all = ["task", "label_columns"], help_heading = "Own files")]
    regression: bool,
    /// A row has any number of labels: a field with --label-delimiter between them, or a list
    #[arg(long, conflicts_with_all = ["task", "regression"], help_heading = "Own files")]
    multi_label: bool,
    /// The probability above which a label of --multi-label applies, stored with the adapter; auto: the
    /// one that the validation rows score best at; auto-per-label: one for each label
    #[arg(
        long,
        value_name = "P|auto|auto-per-label",
        default_value = "0.5",
        requires = "multi_label",
        help_heading = "Own files"
    )]
    threshold: ThresholdFlag,
    /// The labels in the order of their numbers, or as a JSON list, another one being an error; by
    /// default those that occur in the training file, sorted
    #[arg(long = "labels", value_name = "LABEL,…", conflicts_with_all = ["task", "regression"], help_heading = "Own files")]
    label_list: Option<String>,
    #[command(flatten)]
    files: FileFlags,
}

/// Where the thresholds of sets of labels come from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ThresholdFlag {
    At(f64),
    Auto(ThresholdChoice),
}

impl FromStr for ThresholdFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<ThresholdFlag, String> {
        match text {
            "auto" => Ok(ThresholdFlag::Auto(ThresholdChoice::OneForAll)),
            "auto-per-label" => Ok(ThresholdFlag::Auto(ThresholdChoice::OneForEach)),
            number => number
                .parse()
                .map(ThresholdFlag::At)
                .map_err(|_| "it is a probability, auto or auto-per-label".to_owned()),
        }
    }
}

/// The list of tasks for a command's help.
pub(crate) fn tasks_help() -> String {
    let names: Vec<&str> = Task::all().iter().map(|task| task.name).collect();
    format!("Tasks, for --task with --data: {}", names.join(", "))
}

/// Rows of a task, and what their answers are.
pub(crate) struct TaskRows {
    pub(crate) name: Option<String>,
    pub(crate) train: LabelledRows,
    /// `None` where every row is to be trained on.
    pub(crate) validation: Option<LabelledRows>,
    /// Rows to score on when the training is done.
    pub(crate) test: Option<LabelledRows>,
    pub(crate) space: AnswerSpace,
    pub(crate) metrics: MetricSet,
    /// Rows of the training file and of the validation file that were left out.
    pub(crate) left_out: [u64; 2],
}

/// The most labels whose rows are counted in the results.
const LABELS_COUNTED: usize = 1000;

impl TaskRows {
    /// What the parts hold.
    fn parts(&self) -> Parts {
        Parts::new(&self.train, self.validation.as_ref(), &self.space)
    }

    /// Adds the rows of each label, and those that stand in both parts, to a training's results.
    pub(crate) fn put_counts(&self, results: &mut Map<String, Value>) {
        let parts = self.parts();
        if !parts.labels.is_empty() {
            let shown = &parts.labels[..parts.labels.len().min(LABELS_COUNTED)];
            results.insert("label_rows".into(), json!(shown));
        }
        if self.validation.is_some() {
            results.insert("validation_rows_in_training".into(), json!(parts.overlap.rows));
        }
    }
}

impl RowFlags {
    /// Whether thresholds are chosen by validation rows.
    pub(crate) fn thresholds(&self) -> ThresholdChoice {
        match self.threshold {
            ThresholdFlag::At(_) => ThresholdChoice::Given,
            ThresholdFlag::Auto(choice) => choice,
        }
    }

    /// The rows; the seed chooses the share of them that is held out where there is no validation
    /// file, and those that are drawn where fewer are asked for.
    pub(crate) fn read(
        &self,
        (held_out, seed): (f64, u64),
        common: &Common,
    ) -> Result<TaskRows, CliError> {
        if self.task.is_none() && self.train_file.is_empty() {
            return Err(CliError::usage(
                "there is nothing to train on: give one of --train-file FILE, your own rows, and \
                 --task NAME with --data DIR, a published task",
            ));
        }
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
            _ => self.own_rows((held_out, seed), common)?,
        };
        if let Some(most) = self.max_train_samples {
            rows.train = rows.train.sample(most, seed);
        }
        if let Some(most) = self.max_eval_samples {
            rows.validation = rows.validation.map(|rows| rows.sample(most, seed));
        }
        rows.parts().sentences().into_iter().for_each(|sentence| common.note(sentence));
        Ok(rows)
    }

    fn own_rows(
        &self,
        (held_out, seed): (f64, u64),
        common: &Common,
    ) -> Result<TaskRows, CliError> {
        let kind = match (self.regression, self.multi_label || self.labels.have_columns()) {
            (true, _) => AnswerKind::Value,
            (false, true) => AnswerKind::LabelSet,
            (false, false) => AnswerKind::Class,
        };
        let thresholds: Thresholds = match self.threshold {
            ThresholdFlag::At(probability) => Threshold::new(probability)?.into(),
            ThresholdFlag::Auto(_) => Thresholds::default(),
        };
        let reading = self.labels.reading(kind, &self.files)?;
        let files = [
            ("train-file", &self.train_file),
            ("validation-file", &self.validation_file),
            ("test-file", &self.test_file),
        ];
        let piped =
            files.iter().filter(|(_, paths)| paths.iter().any(|path| path.as_os_str() == "-"));
        if let [(one, _), (other, _), ..] = piped.collect::<Vec<_>>()[..] {
            let message = format!("--{one} and --{other} cannot both be standard input");
            return Err(CliError::usage(message));
        }
        let columns = self.labels.columns(&self.files, true);
        let options = self.files.options();
        let read = |paths: &[PathBuf]| -> Result<(Vec<Example>, ReadReport), CliError> {
            Ok(read_examples(&rows::inputs(paths)?, &columns, &options)?)
        };
        let (examples, mut report) = read(&self.train_file)?;
        let validation = match &self.validation_file[..] {
            [] => None,
            files => Some(read(files)?),
        };
        let test = match &self.test_file[..] {
            [] => None,
            files => Some(read(files)?),
        };
        let others = validation.iter().chain(&test).flat_map(|(examples, _)| examples);
        reading.check_unwanted(examples.iter().chain(others))?;
        let space = match &self.label_list {
            None => reading.infer(&examples)?.with_thresholds(thresholds),
            Some(list) if kind == AnswerKind::LabelSet => {
                AnswerSpace::LabelSets(LabelMap::parse(list)?, thresholds)
            }
            Some(list) => AnswerSpace::Classes(LabelMap::parse(list)?),
        };
        let mut left_out = [0; 2];
        let mut train = LabelledRows::new(examples, &reading, &space, &mut report)?;
        rows::say(common, &report);
        if self.label_list.is_none() {
            say_of_labels(&space, &report, common);
        }
        left_out[0] = report.rows_left_out();
        let labelled = |(examples, mut report): (Vec<Example>, ReadReport)| {
            let rows = LabelledRows::new(examples, &reading, &space, &mut report)?;
            rows::say(common, &report);
            Ok::<_, CliError>((rows, report.rows_left_out()))
        };
        let test = test.map(labelled).transpose()?.map(|(rows, _)| rows);
        let validation = match validation {
            Some(read) => {
                let (rows, left) = labelled(read)?;
                left_out[1] = left;
                Some(rows)
            }
            None if held_out == 0.0 => None,
            None => {
                let mut parts = train.split(&[held_out], seed)?.into_iter();
                train = parts.next().unwrap_or(train);
                parts.next()
            }
        };
        let metrics = MetricSet::for_kind(kind);
        Ok(TaskRows { name: None, train, validation, test, space, metrics, left_out })
    }
}

/// Says what the labels that were found in a file may have been meant as.
fn say_of_labels(space: &AnswerSpace, report: &ReadReport, common: &Common) {
    if let Some(labels) = space.labels().filter(|labels| labels.are_decimals()) {
        common.note(format_args!(
            "note: the labels are decimal numbers, and each of the {} is learnt as a class of its \
             own: --regression predicts numbers, --labels lists the classes if they are meant",
            labels.len()
        ));
    }
    if !report.missing_values.is_empty() {
        common.note(
            "note: a label that is spelt like a missing value is read as none; if it is a label, \
             --labels with all labels, or --label-map, keeps it",
        );
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
        test: None,
        space,
        metrics: task.metrics,
        left_out: [of_training, of_validation],
    })
}
