//! `adaptkit train`: an adapter and a head for a task.

use std::path::PathBuf;

use adaptkit::adapters::atomic::{StagedDirectory, write_file};
use adaptkit::adapters::config::{Initialisation, ReductionFactor};
use adaptkit::adapters::files::{HeadKind, ModelReference, Provenance};
use adaptkit::adapters::{AdapterConfig, HeadShape, TaskModel};
use adaptkit::compute::Activation;
use adaptkit::encoder::{Encoder, Tokenizer};
use adaptkit::training::data::{AnswerKind, LabelledRows, Threshold};
use adaptkit::training::run::{Dataset, HyperParameters, Outcome, train};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::Common;
use crate::error::{CliError, output};
use crate::model_cache::resolve_model;
use crate::progress::{TrainingProgress, peak_memory_mb, seconds};
use crate::rows;
use crate::task_folder::{RESULTS, base_reference, own_files};
use crate::task_rows::{RowFlags, TaskRows};

/// Flags of `adaptkit train`.
#[derive(Args)]
pub(crate) struct Flags {
    /// The base: a model's directory, or the id of a pulled model
    #[arg(long, alias = "model-name-or-path", value_name = "MODEL")]
    model: String,
    /// Where the adapter and its results go
    #[arg(long, value_name = "DIR")]
    output_dir: PathBuf,
    /// Replace an adapter that is in the output directory already
    #[arg(long, alias = "overwrite-output-dir")]
    overwrite: bool,
    #[command(flatten)]
    rows: RowFlags,
    /// Train on the first N rows only
    #[arg(long, value_name = "N")]
    max_train_samples: Option<usize>,
    /// Where adapters sit: pfeiffer (seq_bn), houlsby (double_seq_bn) or parallel (par_bn)
    #[arg(
        long,
        alias = "adapter-config",
        value_name = "NAME",
        default_value = "pfeiffer",
        help_heading = "Adapter"
    )]
    adapter: String,
    /// The hidden size over the bottleneck's size; the preset's by default
    #[arg(long, value_name = "X", conflicts_with = "bottleneck_size", help_heading = "Adapter")]
    reduction_factor: Option<f64>,
    /// The bottleneck's size itself
    #[arg(long, value_name = "N", help_heading = "Adapter")]
    bottleneck_size: Option<usize>,
    /// Train the base's layer norms too, from the lowest layer with an adapter on, and keep them
    /// with it (Houlsby et al. 2019)
    #[arg(long, help_heading = "Adapter")]
    train_layer_norms: bool,
    /// The activation in the bottleneck: relu, gelu, swish, …; the preset's by default
    #[arg(long, value_name = "NAME", help_heading = "Adapter")]
    non_linearity: Option<String>,
    /// How new weights are drawn: bert, houlsby or mam_adapter; the preset's by default
    #[arg(long, value_name = "NAME", help_heading = "Adapter")]
    init_weights: Option<String>,
    /// The share of the adapter's outputs that training drops
    #[arg(long, value_name = "P", default_value_t = 0.0, help_heading = "Adapter")]
    adapter_dropout: f64,
    /// The share of the head's inputs that training drops; the base's own by default
    #[arg(long, value_name = "P", help_heading = "Adapter")]
    head_dropout: Option<f32>,
    /// Passes over the training rows
    #[arg(
        long,
        alias = "num-train-epochs",
        value_name = "N",
        default_value_t = 5,
        help_heading = "Training"
    )]
    epochs: usize,
    /// Rows in a batch
    #[arg(
        long,
        alias = "per-device-train-batch-size",
        value_name = "N",
        default_value_t = 32,
        help_heading = "Training"
    )]
    batch_size: usize,
    /// The highest learning rate
    #[arg(long, value_name = "X", default_value_t = 3e-4, help_heading = "Training")]
    learning_rate: f32,
    /// The share of the steps over which the learning rate grows from zero; then it falls to zero
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, help_heading = "Training")]
    warmup_ratio: f64,
    /// AdamW's weight decay
    #[arg(long, value_name = "X", default_value_t = 0.01, help_heading = "Training")]
    weight_decay: f32,
    /// The largest global norm of a step's gradient; 0 for any
    #[arg(long, value_name = "X", default_value_t = 1.0, help_heading = "Training")]
    max_grad_norm: f32,
    /// Longer rows are cut to this many tokens; 128 by default, or what the model takes if less
    #[arg(long, alias = "max-seq-length", value_name = "N", help_heading = "Training")]
    max_length: Option<usize>,
    /// Whether rows of similar length share batches
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, help_heading = "Training")]
    group_by_length: bool,
    /// What weights, order and dropout are drawn from
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    seed: u64,
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    StagedDirectory::check(&flags.output_dir, flags.overwrite, &own_files())?;
    flags.check()?;
    let mut rows = flags.rows.read(flags.seed, common)?;
    if let Some(most) = flags.max_train_samples {
        let first: Vec<usize> = (0..rows.train.len().min(most)).collect();
        rows.train = rows.train.select(&first);
    }
    rows.train.check_trainable(&rows.space)?;
    let plan = Plan {
        model: &flags.model,
        config: flags.adapter_config()?,
        max_length: flags.max_length,
        head_dropout: flags.head_dropout,
        options: flags.hyper_parameters(),
        output_dir: &flags.output_dir,
        overwrite: flags.overwrite,
        bottleneck: flags.bottleneck_size,
        train_layer_norms: flags.train_layer_norms,
    };
    let trained = plan.run(&rows, common)?;
    trained.say(common)
}

impl Flags {
    fn check(&self) -> Result<(), CliError> {
        let share = |name: &str, x: f64| match (0.0..1.0).contains(&x) {
            true => Ok(()),
            false => {
                Err(CliError::usage(format!("--{name} is {x}, not a share from 0 to below 1")))
            }
        };
        share("adapter-dropout", self.adapter_dropout)?;
        share("head-dropout", f64::from(self.head_dropout.unwrap_or(0.0)))?;
        share("warmup-ratio", self.warmup_ratio)?;
        let samples = self.max_train_samples.unwrap_or(1);
        for (name, n) in [
            ("epochs", self.epochs),
            ("batch-size", self.batch_size),
            ("max-train-samples", samples),
        ] {
            if n == 0 {
                return Err(CliError::usage(format!("--{name} is 0, it must be at least 1")));
            }
        }
        for (name, x) in [
            ("learning-rate", self.learning_rate),
            ("weight-decay", self.weight_decay),
            ("max-grad-norm", self.max_grad_norm),
        ] {
            if !(x.is_finite() && x >= 0.0) {
                let message = format!("--{name} is {x}, it must be a number not below 0");
                return Err(CliError::usage(message));
            }
        }
        Ok(())
    }

    fn adapter_config(&self) -> Result<AdapterConfig, CliError> {
        let mut config = AdapterConfig::preset(&self.adapter)?;
        if let Some(factor) = self.reduction_factor {
            config.reduction_factor = ReductionFactor::Uniform(factor);
        }
        if let Some(name) = &self.non_linearity {
            config.non_linearity = Activation::from_name(name).ok_or_else(|| {
                let known = Activation::ALL.map(Activation::name).join(", ");
                CliError::usage(format!("--non-linearity is '{name}'; known are {known}"))
            })?;
        }
        if let Some(name) = &self.init_weights {
            config.init_weights = Initialisation::from_name(name).ok_or_else(|| {
                let known = Initialisation::ALL.map(Initialisation::name).join(", ");
                CliError::usage(format!("--init-weights is '{name}'; known are {known}"))
            })?;
        }
        config.dropout = self.adapter_dropout;
        Ok(config)
    }

    fn hyper_parameters(&self) -> HyperParameters {
        HyperParameters {
            epochs: self.epochs,
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
            warmup_ratio: self.warmup_ratio,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            head_dropout: self.head_dropout.unwrap_or(0.0),
            group_by_length: self.group_by_length,
            seed: self.seed,
        }
    }
}

/// Tokens of the longest row, unless asked otherwise.
const DEFAULT_LENGTH: usize = 128;

/// A run without its rows.
pub(crate) struct Plan<'a> {
    pub(crate) model: &'a str,
    pub(crate) config: AdapterConfig,
    /// The bottleneck's size, where it is asked for instead of a factor.
    pub(crate) bottleneck: Option<usize>,
    /// Whether the base's layer norms are trained too.
    pub(crate) train_layer_norms: bool,
    /// 128 by default, or what the model takes if that is less.
    pub(crate) max_length: Option<usize>,
    /// The base's own by default.
    pub(crate) head_dropout: Option<f32>,
    pub(crate) options: HyperParameters,
    pub(crate) output_dir: &'a std::path::Path,
    pub(crate) overwrite: bool,
}

/// What a run made.
pub(crate) struct Trained {
    pub(crate) outcome: Outcome,
    pub(crate) encoder: Encoder,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) model: TaskModel,
    pub(crate) results: Map<String, Value>,
    /// Tokens of the longest row.
    pub(crate) max_length: usize,
    output_dir: PathBuf,
}

impl Plan<'_> {
    /// Trains, and writes the output directory.
    pub(crate) fn run(mut self, rows: &TaskRows, common: &Common) -> Result<Trained, CliError> {
        let directory = resolve_model(self.model)?;
        let device = common.device()?;
        let mut encoder = Encoder::load(&directory, &device, common.precision(&device))?;
        let tokenizer = Tokenizer::from_dir(&directory, encoder.config())?;
        let longest = encoder.config().longest_row();
        let max_length = self.max_length.unwrap_or(DEFAULT_LENGTH.min(longest));
        self.max_length = Some(max_length);
        let data = |what: &str, rows: &LabelledRows| -> Result<Dataset, CliError> {
            let tokens =
                device.run(|| rows::tokenise(common, what, &tokenizer, rows, max_length))?;
            Ok(Dataset { rows: tokens, answers: rows.answers.clone() })
        };
        let (train_set, validation) =
            (data("training", &rows.train)?, data("validation", &rows.validation)?);
        if let Some(size) = self.bottleneck {
            self.config = self.config.with_bottleneck(encoder.config().hidden_size, size)?;
        }
        let dropout = self.head_dropout.unwrap_or(encoder.config().hidden_dropout_prob);
        self.options.head_dropout = dropout;
        let head =
            HeadShape { outputs: rows.space.outputs(), layers: 2, activation: Activation::Tanh };
        let mut model = TaskModel::new(&encoder, &self.config, &head, self.options.seed)?;
        if self.train_layer_norms {
            model.train_layer_norms(&encoder);
        }
        encoder.prepare_backward(model.adapter.lowest())?;
        let (trained, base) = (model.parameters(), encoder.parameters());
        common.note(format_args!(
            "training {trained} parameters ({:.2} % of the base's {base}) on {} rows, {} tokens; \
             validating on {} rows; {device:?}",
            100.0 * trained as f64 / base as f64,
            train_set.len(),
            train_set.tokens(),
            validation.len(),
        ));
        let mut progress = TrainingProgress::new(common.quiet);
        let answers = (&rows.space, rows.metrics);
        let sets = (&train_set, &validation);
        let outcome = train(&encoder, &mut model, sets, answers, &self.options, &mut progress)?;
        drop(progress);
        let results = self.results(&outcome, validation.len(), trained, base);
        self.write(&encoder, &model, rows, &results)?;
        let output_dir = self.output_dir.to_owned();
        Ok(Trained { outcome, encoder, tokenizer, model, results, max_length, output_dir })
    }

    /// The results under the names that the Hugging Face trainer uses.
    fn results(
        &self,
        outcome: &Outcome,
        validation_rows: usize,
        trained: usize,
        base: usize,
    ) -> Map<String, Value> {
        let mut results = Map::new();
        let mut put = |name: &str, value: Value| results.insert(name.to_owned(), value);
        let runtime = outcome.took.as_secs_f64();
        let evaluation = outcome.best.took.as_secs_f64();
        put("epoch", json!(self.options.epochs as f64));
        put("best_epoch", json!(outcome.best_epoch));
        for (name, score) in outcome.best.scores.iter() {
            put(&format!("eval_{name}"), json!(score));
        }
        put("eval_loss", json!(outcome.best.loss));
        put("eval_runtime", json!(evaluation));
        put("eval_samples", json!(validation_rows));
        put("eval_samples_per_second", json!(validation_rows as f64 / evaluation));
        put("train_loss", json!(outcome.train_loss));
        put("train_runtime", json!(runtime));
        put("train_samples", json!(outcome.rows / self.options.epochs));
        put("train_samples_per_second", json!(outcome.rows as f64 / runtime));
        put("train_steps_per_second", json!(outcome.steps as f64 / runtime));
        put("train_tokens_per_second", json!(outcome.tokens as f64 / runtime));
        put("trained_parameters", json!(trained));
        put("base_parameters", json!(base));
        put("trained_share", json!(trained as f64 / base as f64));
        put("peak_memory_mb", json!(peak_memory_mb()));
        put("seed", json!(self.options.seed));
        results
    }

    fn write(
        &self,
        encoder: &Encoder,
        model: &TaskModel,
        rows: &TaskRows,
        results: &Map<String, Value>,
    ) -> Result<(), CliError> {
        let staged = StagedDirectory::create(self.output_dir, self.overwrite, &own_files())?;
        let name = adapter_name(self.output_dir);
        let config = encoder.config();
        let reference = ModelReference::new(config.family.name(), self.model, config.hidden_size)?;
        model.stored_adapter(&name, &self.config, &reference).write(staged.path())?;
        let labels = rows.space.labels().map(|map| map.names().to_vec());
        let kind = match rows.space.kind() {
            AnswerKind::LabelSet => HeadKind::MultiLabel,
            AnswerKind::Class | AnswerKind::Value => HeadKind::Classification,
        };
        let dropout = f64::from(self.options.head_dropout);
        let head = model.stored_head(&name, kind, labels.clone(), dropout, &reference);
        head.write(staged.path())?;
        let metrics = results.iter().filter(|(name, _)| name.starts_with("eval_"));
        let training = serde_json::to_value(&self.options).ok();
        let provenance = Provenance {
            adaptkit_version: env!("CARGO_PKG_VERSION").to_owned(),
            base: base_reference(encoder, self.model),
            task: rows.name.clone(),
            labels: labels.unwrap_or_default(),
            threshold: rows.space.threshold().map(Threshold::probability),
            max_length: self.max_length,
            seed: Some(self.options.seed),
            adapterdrop: Some("none".to_owned()),
            metrics: metrics.filter_map(|(k, v)| Some((k.clone(), v.as_f64()?))).collect(),
            training: training.and_then(|v| v.as_object().cloned()).unwrap_or_default(),
            unknown: Map::new(),
        };
        provenance.write(staged.path())?;
        let text = format!("{:#}\n", Value::Object(results.clone()));
        write_file(&staged.path().join(RESULTS), text.as_bytes())?;
        Ok(staged.commit()?)
    }
}

/// An adapter is called as its directory.
fn adapter_name(directory: &std::path::Path) -> String {
    let name = std::path::absolute(directory).ok();
    let name = name.as_deref().and_then(|path| path.file_name()).map(|n| n.to_string_lossy());
    // These would read as separators in the names of tensors, or are refused in names.
    let plain = |c: char| if ". ,\\".contains(c) || c.is_control() { '_' } else { c };
    name.map_or_else(|| "adapter".to_owned(), |name| name.chars().map(plain).collect())
}

impl Trained {
    fn say(&self, common: &Common) -> Result<(), CliError> {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        if common.json {
            let results = Value::Object(self.results.clone());
            return writeln!(out, "{results}").map_err(output);
        }
        let scores: Vec<String> =
            self.outcome.best.scores.iter().map(|(n, x)| format!("{n} {x:.4}")).collect();
        let memory = peak_memory_mb().map(|mb| format!(", {mb:.0} MB at most"));
        writeln!(
            out,
            "epoch {} of the run was best: {}\ntrained for {}, {:.0} tokens/s{}\nwritten to {}",
            self.outcome.best_epoch,
            scores.join(", "),
            seconds(self.outcome.took),
            self.outcome.tokens as f64 / self.outcome.took.as_secs_f64(),
            memory.unwrap_or_default(),
            self.output_dir.display()
        )
        .map_err(output)
    }
}
