//! A run from rows to the output directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use adaptkit::adapters::atomic::{StagedDirectory, write_file};
use adaptkit::adapters::files::{HeadKind, ModelReference, Provenance};
use adaptkit::adapters::{HeadShape, MeanAttention, TaskModel};
use adaptkit::compute::Activation;
use adaptkit::encoder::{Encoder, Tokenizer};
use adaptkit::training::TrainingError;
use adaptkit::training::data::{AnswerKind, LabelledRows, Threshold};
use adaptkit::training::run::{
    Dataset, Ending, HyperParameters, Outcome, PrefixCaching, attention_sums, train,
};
use serde_json::{Map, Value, json};

use super::adapterdrop::{AdapterDrop, RobustDraws};
use super::interruption::Interruption;
use super::metrics_log::MetricsLog;
use super::model_card::ModelCard;
use super::run_folder::RunFolder;
use super::subject::{Begun, Subject};
use crate::Common;
use crate::error::CliError;
use crate::model_cache::resolve_model;
use crate::path_argument::PathArgument;
use crate::progress::{TrainingProgress, peak_memory_mb, seconds};
use crate::rows;
use crate::task_folder::{METRICS, MODEL_CARD, RESULTS, base_reference};
use crate::task_rows::TaskRows;

/// Tokens of the longest row, unless asked otherwise.
const DEFAULT_LENGTH: usize = 128;

/// A run without its rows.
pub(crate) struct Plan<'a> {
    pub(crate) model: &'a PathArgument,
    pub(crate) subject: Subject,
    /// The layers that it is left out of.
    pub(crate) adapterdrop: AdapterDrop,
    /// What robust training draws from.
    pub(crate) robust_draws: RobustDraws,
    /// The room for what enters the lowest layer with an adapter, if it is to be kept.
    pub(crate) caching: Option<PrefixCaching>,
    /// 128 by default, or what the model takes if that is less.
    pub(crate) max_length: Option<usize>,
    /// The base's own by default.
    pub(crate) head_dropout: Option<f32>,
    pub(crate) options: HyperParameters,
    pub(crate) output_dir: &'a Path,
    pub(crate) overwrite: bool,
    /// What the output directory may hold, to be replaced.
    pub(crate) own: Vec<String>,
    /// Where the run is kept while it is under way, if it is to survive interruptions.
    pub(crate) kept: Option<RunFolder>,
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
        let precision = common.precision(&device);
        let mut encoder = Encoder::load(&directory, &device, precision)?;
        let layers = encoder.config().num_hidden_layers;
        let mut left_out = BTreeSet::new();
        self.options.robust_drop =
            self.adapterdrop.apply(&self.robust_draws, layers, &mut left_out)?;
        let tokenizer = Tokenizer::from_dir(&directory, encoder.config())?;
        let longest = encoder.config().longest_row();
        let max_length = self.max_length.unwrap_or(DEFAULT_LENGTH.min(longest));
        self.max_length = Some(max_length);
        let data = |what: &str, rows: &LabelledRows| -> Result<Dataset, CliError> {
            let tokens =
                device.run(|| rows::tokenise(common, what, &tokenizer, rows, max_length))?;
            Ok(Dataset { rows: tokens, answers: rows.answers.clone() })
        };
        let validation = rows.validation.as_ref().ok_or(TrainingError::NothingToScore)?;
        let (train_set, validation) =
            (data("training", &rows.train)?, data("validation", validation)?);
        let dropout = self.head_dropout.unwrap_or(encoder.config().hidden_dropout_prob);
        self.options.head_dropout = dropout;
        let head =
            HeadShape { outputs: rows.space.outputs(), layers: 2, activation: Activation::Tanh };
        let config = encoder.config();
        let reference = ModelReference::new(&config.model_type, self.model, config.hidden_size)?;
        let seed = self.options.seed;
        let (mut model, begun) =
            self.subject.begin(&encoder, (&**self.model, &reference), &head, &left_out, seed)?;
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
        if self.options.base_dropout {
            let config = encoder.config();
            common.note(format_args!(
                "the base drops {} of its hidden states and {} of its attention, as in its own \
                 training: no hidden states are kept between epochs",
                config.hidden_dropout_prob, config.attention_probs_dropout_prob,
            ));
        }
        let held = self.kept.as_ref().map(RunFolder::open).transpose()?;
        if held.as_ref().is_some_and(|held| held.lacks_checkpoint) {
            common.note("there is no checkpoint: starting from the beginning");
        }
        let interruption = self.kept.as_ref().map(|_| Interruption::catch()).transpose()?;
        let log = self.kept.as_ref().map(|kept| MetricsLog::new(kept.log(), kept.logging_steps));
        let mut progress = TrainingProgress::new(common.quiet, log, interruption.clone());
        let answers = (&rows.space, rows.metrics);
        let sets = (&train_set, &validation);
        let mut facts = begun.facts();
        facts.insert("precision".into(), format!("{precision:?}").into());
        facts.insert("adaptkit version".into(), env!("CARGO_PKG_VERSION").into());
        let keeping = self.kept.as_ref().map(|kept| kept.keeping(facts));
        let keeping = keeping.as_ref();
        let (options, caching) = (&self.options, self.caching.as_ref());
        let ending =
            train(&encoder, &mut model, sets, answers, options, keeping, caching, &mut progress);
        drop(progress);
        if let (Err(_), Some(kept)) = (&ending, &self.kept) {
            kept.leave()?;
        }
        let name = adapter_name(self.output_dir);
        let scored = rows.validation.as_ref().map_or(&[][..], |validation| &validation.rows);
        let ending = ending.map_err(|error| CliError::of_scoring(error, &name, scored))?;
        let outcome = match (ending, interruption) {
            (Ending::Finished(outcome), _) => outcome,
            (Ending::Stopped { step, total_steps }, interruption) => {
                let signal = interruption.map_or(0, |interruption| interruption.signal());
                return Err(CliError::Interrupted { step, total_steps, signal });
            }
        };
        let results = self.results(&outcome, (validation.len(), rows.left_out), trained, base);
        // Over the rows it was trained on, as pruning takes it.
        let attention = begun.fusion().map(|fusion| {
            let sums = attention_sums(&encoder, &model, &train_set.rows);
            fusion.layout().mean_attention(&sums)
        });
        self.write(&encoder, &model, (&begun, &reference), rows, &results, attention)?;
        if let Some(kept) = &self.kept {
            kept.remove()?;
        }
        let output_dir = self.output_dir.to_owned();
        Ok(Trained { outcome, encoder, tokenizer, model, results, max_length, output_dir })
    }

    /// The results under the names that the Hugging Face trainer uses.
    fn results(
        &self,
        outcome: &Outcome,
        (validation_rows, [left_out, validation_left_out]): (usize, [u64; 2]),
        trained: usize,
        base: usize,
    ) -> Map<String, Value> {
        let mut results = Map::new();
        let mut put = |name: &str, value: Value| results.insert(name.to_owned(), value);
        let runtime = outcome.took.as_secs_f64();
        let evaluation = outcome.best.took.as_secs_f64();
        put("epoch", json!(outcome.epochs as f64));
        put("best_epoch", json!(outcome.best_epoch));
        put("stopped_early", json!(outcome.epochs < self.options.epochs));
        for (name, score) in outcome.best.scores.iter() {
            put(&format!("eval_{name}"), json!(score));
        }
        put("eval_loss", json!(outcome.best.loss));
        put("eval_runtime", json!(evaluation));
        put("eval_samples", json!(validation_rows));
        put("eval_rows_left_out", json!(validation_left_out));
        put("eval_samples_per_second", json!(validation_rows as f64 / evaluation));
        put("train_loss", json!(outcome.train_loss));
        put("train_runtime", json!(runtime));
        put("train_samples", json!(outcome.rows / outcome.epochs.max(1)));
        put("train_rows_left_out", json!(left_out));
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
        (begun, reference): (&Begun, &ModelReference),
        rows: &TaskRows,
        results: &Map<String, Value>,
        fusion_attention: Option<MeanAttention>,
    ) -> Result<(), CliError> {
        let own: Vec<&str> = self.own.iter().map(String::as_str).collect();
        let staged = StagedDirectory::create(self.output_dir, self.overwrite, &own)?;
        let name = adapter_name(self.output_dir);
        let labels = rows.space.labels().map(|map| map.names().to_vec());
        let kind = match rows.space.kind() {
            AnswerKind::LabelSet => HeadKind::MultiLabel,
            AnswerKind::Class | AnswerKind::Value => HeadKind::Classification,
        };
        let dropout = f64::from(self.options.head_dropout);
        let head = model.stored_head(&name, kind, labels.clone(), dropout, reference);
        begun.write(model, reference, &head, staged.path())?;
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
            adapterdrop: Some(self.adapterdrop.to_string()),
            metrics: metrics.filter_map(|(k, v)| Some((k.clone(), v.as_f64()?))).collect(),
            training: training.and_then(|v| v.as_object().cloned()).unwrap_or_default(),
            fusion_attention,
            pruned: None,
            unknown: Map::new(),
        };
        provenance.write(staged.path())?;
        let card = ModelCard {
            name: &name,
            base: self.model,
            task: rows.name.as_deref(),
            labels: &provenance.labels,
            subject: begun,
            adapterdrop: self.adapterdrop,
            training: &provenance.training,
            results,
            pruned: None,
            for_python: true,
        };
        write_file(&staged.path().join(MODEL_CARD), card.text().as_bytes())?;
        let text = format!("{:#}\n", Value::Object(results.clone()));
        write_file(&staged.path().join(RESULTS), text.as_bytes())?;
        if let Some(kept) = &self.kept {
            let log = kept.read_log()?;
            write_file(&staged.path().join(METRICS), &log)?;
        }
        Ok(staged.commit()?)
    }
}

/// An adapter is called as its directory.
pub(crate) fn adapter_name(directory: &Path) -> String {
    let name = std::path::absolute(directory).ok();
    let name = name.as_deref().and_then(|path| path.file_name()).map(|n| n.to_string_lossy());
    // These would read as separators in the names of tensors, or are refused in names.
    let plain = |c: char| if ". ,\\".contains(c) || c.is_control() { '_' } else { c };
    name.map_or_else(|| "adapter".to_owned(), |name| name.chars().map(plain).collect())
}

impl Trained {
    pub(super) fn say(&self, common: &Common) -> Result<(), CliError> {
        let scores: Vec<String> =
            self.outcome.best.scores.iter().map(|(n, x)| format!("{n} {x:.4}")).collect();
        let memory = peak_memory_mb().map(|mb| format!(", {mb:.0} MB at most"));
        let words = format!(
            "epoch {} of the run was best: {}\ntrained for {}, {:.0} tokens/s{}\nwritten to {}",
            self.outcome.best_epoch,
            scores.join(", "),
            seconds(self.outcome.took),
            self.outcome.tokens as f64 / self.outcome.took.as_secs_f64(),
            memory.unwrap_or_default(),
            self.output_dir.display()
        );
        common.messages().result(&self.results, words)
    }
}
