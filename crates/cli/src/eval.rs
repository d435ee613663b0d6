//! `adaptkit eval`: an adapter's scores on labelled rows.

use std::path::PathBuf;
use std::str::FromStr;

use adaptkit::adapters::MeanAttention;
use adaptkit::encoder::{Encoder, Tokenizer};
use adaptkit::training::TrainingError;
use adaptkit::training::data::{AnswerSpace, LabelledRows, read_examples};
use adaptkit::training::metrics::{Metric, MetricSet, Scoring};
use adaptkit::training::run::{
    Dataset, Evaluation, attention_sums, evaluate, evaluate_lowest_dropped, evaluate_spans_dropped,
};
use adaptkit::training::tasks::Task;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::Common;
use crate::attention;
use crate::breakdown::Breakdown;
use crate::compose::ComposeFlags;
use crate::error::CliError;
use crate::layer_drops::{LayerDrops, Sweep};
use crate::model_cache::resolve_model;
use crate::path_argument::PathArgument;
use crate::picture::PictureFile;
use crate::progress::seconds;
use crate::rows::{self, FileFlags, LabelFlags};
use crate::task_folder::{Stored, TaskFolder, leave_out_lowest};
use crate::task_rows::tasks_help;
use crate::train::{PositiveFlag, say_positive};

/// Flags of `adaptkit eval`.
#[derive(Args)]
#[command(after_help = help())]
pub(crate) struct Flags {
    /// The base: a model's directory, or the id of a pulled model
    #[arg(long, alias = "model-name-or-path", value_name = "MODEL")]
    model: PathArgument,
    /// The adapter's directory; with --compose those of all its adapters, with names of their own or
    /// these
    #[arg(long, value_name = "[NAME=]DIR", required = true)]
    adapter: Vec<PathArgument>,
    #[command(flatten)]
    composing: ComposeFlags,
    /// A task by name, read from --data: cola, sst2, mrpc, stsb, rte, …
    #[arg(long, alias = "task-name", value_name = "NAME", requires = "data")]
    task: Option<String>,
    /// The task's folder, or the folder of GLUE's folders
    #[arg(
        long,
        alias = "data-dir",
        value_name = "DIR",
        requires = "task",
        conflicts_with = "validation_file"
    )]
    data: Option<PathBuf>,
    /// Labelled rows: TSV, CSV or JSON lines
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "task", help_heading = "Own files")]
    validation_file: Vec<PathBuf>,
    #[command(flatten)]
    labels: LabelFlags,
    #[command(flatten)]
    files: FileFlags,
    /// The lowest layers to leave the adapter out of: a number, or `sweep` for every number in one
    /// pass, from none to all
    #[arg(
        long,
        value_name = "none|N|sweep",
        default_value = "none",
        allow_negative_numbers = true,
        conflicts_with = "ablate",
        help_heading = "AdapterDrop"
    )]
    adapterdrop: Dropping,
    /// Score with the adapter left out of every span of layers, in one pass (Houlsby et al. 2019)
    #[arg(long, help_heading = "AdapterDrop")]
    ablate: bool,
    /// Draw what --adapterdrop sweep or --ablate finds: an SVG picture, or a page if it ends in .html
    #[arg(long, value_name = "FILE", value_parser = PictureFile::parser(), help_heading = "AdapterDrop")]
    plot: Option<PictureFile>,
    /// Draw the mean attention to a fusion's members: an SVG picture, or a page if it ends in .html
    #[arg(long, value_name = "FILE", value_parser = PictureFile::parser(), help_heading = "Fusion")]
    attention_plot: Option<PictureFile>,
    /// The probability above which a label applies, for sets of labels; as in training by default
    #[arg(long, value_name = "P")]
    threshold: Option<f64>,
    /// Score N of the rows, drawn by --seed from each label alike
    #[arg(long, value_name = "N")]
    max_eval_samples: Option<usize>,
    /// What the rows of --max-eval-samples are drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// A further score: f1_macro, f1_weighted, f1:LABEL, matthews_correlation, auc, rmse, …; may be
    /// repeated, and a wrong name lists those that fit
    #[arg(long, value_name = "NAME")]
    metric: Vec<String>,
    #[command(flatten)]
    positive: PositiveFlag,
    /// Longer rows are cut to this many tokens; as in training by default
    #[arg(long, alias = "max-seq-length", value_name = "N")]
    max_length: Option<usize>,
}

/// What `eval --adapterdrop` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dropping {
    Lowest(usize),
    Sweep,
}

impl FromStr for Dropping {
    type Err = String;

    fn from_str(text: &str) -> Result<Dropping, String> {
        match text {
            "none" => Ok(Dropping::Lowest(0)),
            "sweep" => Ok(Dropping::Sweep),
            number => number
                .parse()
                .map(Dropping::Lowest)
                .map_err(|_| "it is none, sweep or a number of layers".to_owned()),
        }
    }
}

fn help() -> String {
    format!(
        "Examples:\n  \
         adaptkit eval --model all-MiniLM-L6-v2 --adapter verdicts --validation-file reviews.csv \
         --text-column review --label-column verdict\n  \
         adaptkit eval --model all-MiniLM-L6-v2 --adapter rte --task rte --data glue\n\n{}",
        tasks_help()
    )
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    let sweep = flags.sweep();
    if flags.plot.is_some() && sweep.is_none() {
        let message = "--plot draws what --adapterdrop sweep or --ablate finds; give one of them";
        return Err(CliError::usage(message));
    }
    if flags.max_eval_samples == Some(0) {
        return Err(CliError::usage("--max-eval-samples is 0, it must be at least 1"));
    }
    for file in flags.plot.iter().chain(&flags.attention_plot) {
        file.check()?;
    }
    let folder = flags.folder()?;
    folder.say(common);
    let members = match &folder.stored {
        Stored::Fusion(fusion) => Some(fusion.layout()),
        _ => None,
    };
    if flags.attention_plot.is_some() && members.is_none() {
        return Err(CliError::usage(format!(
            "--attention-plot draws what a fusion attends to, and {} holds none",
            folder.name()
        )));
    }
    let space = folder.answer_space(flags.threshold)?;
    let positive = folder.provenance.as_ref().and_then(|p| p.positive_label.as_deref());
    let mut sets = flags.rows(&space, positive, common)?;
    if let Some(most) = flags.max_eval_samples {
        for set in &mut sets {
            set.rows = set.rows.sample(most, flags.seed);
        }
    }
    let directory = resolve_model(&flags.model)?;
    let device = common.device()?;
    let encoder = Encoder::load(&directory, &device, common.precision(&device))?;
    let tokenizer = Tokenizer::from_dir(&directory, encoder.config())?;
    let mut model = folder.on(&encoder, &tokenizer, &flags.model)?;
    if let Dropping::Lowest(layers) = flags.adapterdrop {
        leave_out_lowest(&mut model, &encoder, layers)?;
    }
    let max_length = folder.max_length(flags.max_length, &encoder)?;
    let mut results = Map::new();
    let mut breakdowns = Vec::new();
    let mut tables = Vec::new();
    let mut attentions = Vec::new();
    for set in sets {
        let ScoredSet { suffix, rows, scoring, rows_left_out } = set;
        let tokens =
            device.run(|| rows::tokenise(common, "evaluation", &tokenizer, &rows, max_length))?;
        let LabelledRows { rows, answers } = rows;
        let data = Dataset { rows: tokens, answers };
        let named = |error| CliError::of_scoring(error, folder.name(), &rows);
        let mut drops = None;
        let evaluation = match sweep {
            None => evaluate(&encoder, &model, &data, &space, &scoring).map_err(named)?,
            Some(sweep) => {
                let evaluate_all = match sweep {
                    Sweep::Lowest => evaluate_lowest_dropped,
                    Sweep::Spans => evaluate_spans_dropped,
                };
                let found =
                    evaluate_all(&encoder, &model, &data, &space, &scoring).map_err(named)?;
                let whole = found[0].evaluation.clone();
                let layers = encoder.config().num_hidden_layers;
                let metric = scoring.set.best_metric();
                drops = Some(LayerDrops { sweep, drops: found, metric, layers });
                whole
            }
        };
        put(&mut results, suffix, &evaluation, data.len(), rows_left_out);
        breakdowns.extend(
            Breakdown::new(&space, &evaluation.predictions, &data.answers)
                .map(|breakdown| (suffix, breakdown)),
        );
        // A pass of its own, so that the speed is that of a pass that is asked for scores alone.
        let mixes = model.adapter.fusions().next().is_some();
        attentions.extend(members.as_ref().filter(|_| mixes).map(|members| {
            let sums = attention_sums(&encoder, &model, &data.rows);
            (suffix, members.mean_attention(&sums))
        }));
        if let Some(drops) = drops {
            drops.put(&mut results, suffix, data.len());
            tables.push((suffix, drops, data.len()));
        }
    }
    if let Some(file) = &flags.plot {
        for (suffix, drops, rows) in &tables {
            let title = format!("{}{suffix}: {rows} rows", folder.name());
            file.with_suffix(suffix).write(&title, drops.svg(&title, *rows))?;
        }
    }
    if let Some(file) = &flags.attention_plot {
        for (suffix, attention) in &attentions {
            let title = format!("{}{suffix}: mean attention", folder.name());
            attention::draw(&file.with_suffix(suffix), &title, attention)?;
        }
    }
    say(results, &breakdowns, &tables, &attentions, common)
}

/// Labelled rows to score.
struct ScoredSet {
    /// What is added to the scores' names: `_mm` for MNLI mismatched.
    suffix: &'static str,
    rows: LabelledRows,
    scoring: Scoring,
    rows_left_out: u64,
}

impl Flags {
    fn folder(&self) -> Result<TaskFolder, CliError> {
        match (&self.composing.compose[..], &self.adapter[..]) {
            ([], [adapter]) => self.composing.folder(adapter),
            ([], _) => Err(CliError::usage(
                "--adapter is given several times: evaluate each alone, or say with --compose how \
                 they go together",
            )),
            ([_], adapters) => match self.composing.answers(adapters)?.pop() {
                Some(answers) => answers.single(),
                None => Err(CliError::usage("--compose is empty")),
            },
            _ => Err(CliError::usage("--compose is given several times: evaluate each alone")),
        }
    }

    fn sweep(&self) -> Option<Sweep> {
        match (self.ablate, self.adapterdrop) {
            (true, _) => Some(Sweep::Spans),
            (false, Dropping::Sweep) => Some(Sweep::Lowest),
            (false, Dropping::Lowest(_)) => None,
        }
    }

    /// The task's scores and those that are asked for beside them.
    fn scoring(
        &self,
        set: MetricSet,
        (space, positive): (&AnswerSpace, Option<&str>),
        rows: &LabelledRows,
        common: &Common,
    ) -> Result<Scoring, CliError> {
        let further = self.metric.iter().map(|name| Metric::parse(name, set, space));
        let further = further.collect::<Result<_, _>>()?;
        let scoring = Scoring { further, ..Scoring::from(set) };
        let scoring = self.positive.apply(scoring, positive, space)?;
        scoring.check(&rows.answers, space)?;
        say_positive(&scoring, space, common);
        Ok(scoring)
    }

    /// The rows to score on; `positive` is the label that the adapter was trained with as the positive
    /// one.
    fn rows(
        &self,
        space: &AnswerSpace,
        positive: Option<&str>,
        common: &Common,
    ) -> Result<Vec<ScoredSet>, CliError> {
        if let (Some(name), Some(folder)) = (&self.task, &self.data) {
            let task = Task::by_name(name)?;
            let sets = task.validation.iter().map(|file| {
                let (rows, report) = task.read(folder, file, space)?;
                rows::say(common, &report);
                let suffix = file.score_suffix;
                let scoring = self.scoring(task.metrics, (space, positive), &rows, common)?;
                Ok(ScoredSet { suffix, rows, scoring, rows_left_out: report.rows_left_out() })
            });
            return sets.collect();
        }
        let columns = self.labels.columns(&self.files, true);
        let inputs = rows::inputs(&self.validation_file)?;
        let (examples, mut report) = read_examples(&inputs, &columns, &self.files.options())?;
        let reading = self.labels.reading(space.kind(), &self.files)?;
        match reading.check_unwanted(&examples) {
            // A file of another part may well be without it.
            Err(error @ TrainingError::LabelNeverOccurs { .. }) => {
                common.note(format_args!("note: {error}"));
            }
            checked => checked?,
        }
        let rows = LabelledRows::new(examples, &reading, space, &mut report)?;
        rows::say(common, &report);
        let set = MetricSet::for_kind(space.kind());
        let scoring = self.scoring(set, (space, positive), &rows, common)?;
        Ok(vec![ScoredSet { suffix: "", rows, scoring, rows_left_out: report.rows_left_out() }])
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
    tables: &[(&str, LayerDrops, usize)],
    attentions: &[(&str, MeanAttention)],
    common: &Common,
) -> Result<(), CliError> {
    use std::fmt::Write;
    let mut words = String::new();
    for (name, value) in results.iter().filter(|(_, value)| !value.is_array()) {
        let shown = match (name.contains("_runtime"), value.as_f64()) {
            (true, Some(x)) => seconds(std::time::Duration::from_secs_f64(x)),
            (_, Some(x)) if x.fract() != 0.0 => format!("{x:.4}"),
            _ => value.to_string(),
        };
        let _ = writeln!(words, "{name}: {shown}");
    }
    for (suffix, breakdown) in breakdowns {
        let _ = write!(words, "\neval{suffix}:\n{breakdown}");
    }
    for (suffix, drops, rows) in tables {
        let _ = write!(words, "\neval{suffix}:\n{}", drops.table(*rows));
    }
    for (suffix, attention) in attentions {
        let _ = write!(words, "\neval{suffix}: {}", attention::table(attention));
    }
    for (suffix, breakdown) in breakdowns {
        breakdown.put(&mut results, suffix);
    }
    for (suffix, attention) in attentions {
        results.insert(format!("eval_fusion_attention{suffix}"), json!(attention));
    }
    common.messages().result(&results, words)
}
