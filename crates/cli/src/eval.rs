//! `adaptkit eval`: an adapter's scores on labelled rows.

use std::path::PathBuf;

use adaptkit::encoder::{Encoder, Tokenizer};
use adaptkit::training::data::{AnswerSpace, Column, LabelledRows, MissingLabels, read_examples};
use adaptkit::training::metrics::MetricSet;
use adaptkit::training::run::{Dataset, Evaluation, evaluate};
use adaptkit::training::tasks::Task;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::Common;
use crate::breakdown::Breakdown;
use crate::error::{CliError, output};
use crate::model_cache::resolve_model;
use crate::progress::seconds;
use crate::rows::{self, FileFlags, LabelFlags};
use crate::task_folder::TaskFolder;

/// Flags of `adaptkit eval`.
#[derive(Args)]
pub(crate) struct Flags {
    /// The base: a model's directory, or the id of a pulled model
    #[arg(long, alias = "model-name-or-path", value_name = "MODEL")]
    model: String,
    /// The adapter's directory
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// A task by name, read from --data: cola, sst2, mrpc, stsb, rte, …
    #[arg(long, alias = "task-name", value_name = "NAME", requires = "data")]
    task: Option<String>,
    /// The task's folder, or the folder of GLUE's folders
    #[arg(long, value_name = "DIR", requires = "task", conflicts_with = "validation_file")]
    data: Option<PathBuf>,
    /// Labelled rows: TSV, CSV or JSON lines
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "task", help_heading = "Own files")]
    validation_file: Vec<PathBuf>,
    #[command(flatten)]
    labels: LabelFlags,
    #[command(flatten)]
    files: FileFlags,
    /// The probability above which a label applies, for sets of labels; as in training by default
    #[arg(long, value_name = "P")]
    threshold: Option<f64>,
    /// Longer rows are cut to this many tokens; as in training by default
    #[arg(long, alias = "max-seq-length", value_name = "N")]
    max_length: Option<usize>,
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    let folder = TaskFolder::read(&flags.adapter)?;
    let space = folder.answer_space(flags.threshold)?;
    let sets = flags.rows(&space, common)?;
    let directory = resolve_model(&flags.model)?;
    let device = common.device()?;
    let encoder = Encoder::load(&directory, &device, common.precision(&device))?;
    let model = folder.on(&encoder, &flags.model)?;
    let tokenizer = Tokenizer::from_dir(&directory, encoder.config())?;
    let max_length = folder.max_length(flags.max_length, &encoder);
    let mut results = Map::new();
    let mut breakdowns = Vec::new();
    for set in sets {
        let ScoredSet { suffix, rows, metrics, rows_left_out } = set;
        let tokens =
            device.run(|| rows::tokenise(common, "evaluation", &tokenizer, &rows, max_length))?;
        let data = Dataset { rows: tokens, answers: rows.answers };
        let evaluation = evaluate(&encoder, &model, &data, &space, metrics)?;
        put(&mut results, suffix, &evaluation, data.len(), rows_left_out);
        breakdowns.extend(
            Breakdown::new(&space, &evaluation.predictions, &data.answers)
                .map(|breakdown| (suffix, breakdown)),
        );
    }
    say(results, &breakdowns, common)
}

/// Labelled rows to score.
struct ScoredSet {
    /// What is added to the scores' names: `_mm` for MNLI mismatched.
    suffix: &'static str,
    rows: LabelledRows,
    metrics: MetricSet,
    rows_left_out: u64,
}

impl Flags {
    fn rows(&self, space: &AnswerSpace, common: &Common) -> Result<Vec<ScoredSet>, CliError> {
        if let (Some(name), Some(folder)) = (&self.task, &self.data) {
            let task = Task::by_name(name)?;
            let sets = task.validation.iter().map(|file| {
                let (rows, report) = task.read(folder, file, space, MissingLabels::Refuse)?;
                rows::say(common, &report);
                let (suffix, metrics) = (file.score_suffix, task.metrics);
                Ok(ScoredSet { suffix, rows, metrics, rows_left_out: report.rows_left_out() })
            });
            return sets.collect();
        }
        let columns = self.files.columns().with_label(Column::required(&self.labels.label_column));
        let inputs = rows::inputs(&self.validation_file)?;
        let (examples, mut report) = read_examples(&inputs, &columns, &self.files.options())?;
        let reading = self.labels.reading(space.kind())?;
        let refuse = MissingLabels::Refuse;
        let rows = LabelledRows::new(examples, &reading, space, refuse, &mut report)?;
        rows::say(common, &report);
        let metrics = MetricSet::for_kind(space.kind());
        Ok(vec![ScoredSet { suffix: "", rows, metrics, rows_left_out: report.rows_left_out() }])
    }
}

fn put(
    results: &mut Map<String, Value>,
    suffix: &str,
    evaluation: &Evaluation,
    rows: usize,
    rows_left_out: u64,
) {
    let took = evaluation.took.as_secs_f64();
    let mut put = |name: String, value| results.insert(format!("eval_{name}{suffix}"), value);
    for (name, score) in evaluation.scores.iter() {
        put(name.to_owned(), json!(score));
    }
    put("loss".into(), json!(evaluation.loss));
    put("samples".into(), json!(rows));
    put("rows_left_out".into(), json!(rows_left_out));
    put("runtime".into(), json!(took));
    put("samples_per_second".into(), json!(rows as f64 / took));
}

fn say(
    mut results: Map<String, Value>,
    breakdowns: &[(&str, Breakdown)],
    common: &Common,
) -> Result<(), CliError> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if common.json {
        for (suffix, breakdown) in breakdowns {
            breakdown.put(&mut results, suffix);
        }
        return writeln!(out, "{}", Value::Object(results)).map_err(output);
    }
    for (name, value) in &results {
        let words = match (name.contains("_runtime"), value.as_f64()) {
            (true, Some(x)) => seconds(std::time::Duration::from_secs_f64(x)),
            (_, Some(x)) if x.fract() != 0.0 => format!("{x:.4}"),
            _ => value.to_string(),
        };
        writeln!(out, "{name}: {words}").map_err(output)?;
    }
    for (suffix, breakdown) in breakdowns {
        write!(out, "\neval{suffix}:\n{breakdown}").map_err(output)?;
    }
    Ok(())
}
