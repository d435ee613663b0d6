//! A run from rows to the output directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use adaptkit::adapters::atomic::{StagedDirectory, write_file};
use adaptkit::adapters::files::{
    BaseReference, HeadKind, ModelReference, Provenance, StoredAdapter, TokenizerReference,
};
use adaptkit::adapters::{HeadShape, MeanAttention, TaskModel, room};
use adaptkit::compute::Activation;
use adaptkit::encoder::foreign_text::quoted;
use adaptkit::encoder::{Encoder, Tokenizer};
use adaptkit::training::data::{
    AnswerKind, AnswerSpace, Answers, LabelledRows, Threshold, Thresholds,
};
use adaptkit::training::metrics::Scoring;
use adaptkit::training::run::{
    Dataset, EarlierResult, Ending, Evaluation, HyperParameters, Outcome, PrefixCaching,
    TargetScale, attention_sums, evaluate, train,
};
use serde_json::{Map, Value, json};

use super::adapterdrop::{AdapterDrop, RobustDraws};
use super::interruption::Interruption;
use super::metrics_log::MetricsLog;
use super::model_card::ModelCard;
use super::objective_flags::say_positive;
use super::run_folder::{RunFolder, read_results};
use super::subject::{Begun, Subject};
use crate::Common;
use crate::error::CliError;
use crate::model_cache::resolve_model;
use crate::path_argument::PathArgument;
use crate::progress::{TrainingProgress, peak_memory_mb, seconds};
use crate::rows;
use crate::task_folder::{METRICS, MODEL_CARD, RESULTS, RUN};
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
    /// What epochs are scored by, and what chooses the best.
    pub(crate) scoring: Scoring,
    pub(crate) output_dir: &'a Path,
    pub(crate) overwrite: bool,
    /// What the output directory may hold, to be replaced.
    pub(crate) own: Vec<String>,
    /// Where the run is kept while it is under way, if it is to survive interruptions.
    pub(crate) kept: Option<RunFolder>,
    /// What is in the output directory, where that may be this run's result.
    pub(crate) result: Option<EarlierResult>,
}

/// How a run that ended well did so.
pub(crate) enum Finished {
    /// It was trained.
    Now(Box<Trained>),
    /// Its result was there already: the output directory and the results in it.
    Before(PathBuf, Map<String, Value>),
}

/// What a run made.
pub(crate) struct Trained {
    pub(crate) outcome: Outcome,
    /// The scores of the best parameters on test rows, if there are any.
    test: Option<Evaluation>,
    pub(crate) encoder: Encoder,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) model: TaskModel,
    pub(crate) results: Map<String, Value>,
    /// Tokens of the longest row.
    pub(crate) max_length: usize,
    output_dir: PathBuf,
}

/// The base of a run.
pub(super) struct Base {
    pub(super) encoder: Encoder,
    pub(super) tokenizer: Tokenizer,
    reference: ModelReference,
    /// The layers that the adapter is left out of.
    left_out: BTreeSet<usize>,
    /// Tokens of the longest row.
    max_length: usize,
    /// The arithmetic, for a checkpoint's facts.
    precision: String,
}

impl Base {
    /// The rows as the encoder takes them.
    pub(super) fn tokenise(
        &self,
        what: &str,
        rows: &LabelledRows,
        common: &Common,
    ) -> Result<Dataset, CliError> {
        let tokenise = || rows::tokenise(common, what, &self.tokenizer, rows, self.max_length);
        let tokens = self.encoder.device().run(tokenise)?;
        Ok(Dataset { rows: tokens, answers: rows.answers.clone() })
    }
}

impl Plan<'_> {
    /// Trains, and writes the output directory.
    pub(crate) fn run(mut self, rows: &TaskRows, common: &Common) -> Result<Finished, CliError> {
        for part in rows.validation.iter().chain(&rows.test) {
            self.scoring.check(&part.answers, &rows.space)?;
        }
        let mut base = self.load(common)?;
        let train_set = base.tokenise("training", &rows.train, common)?;
        let part = |what: &str, rows: &Option<LabelledRows>| {
            rows.as_ref().map(|rows| base.tokenise(what, rows, common)).transpose()
        };
        let validation = part("validation", &rows.validation)?;
        let test = part("test", &rows.test)?;
        let (mut model, begun) = self.begin(&mut base, &rows.space)?;
        self.check_room(&begun, model.parameters())?;
        let encoder = &base.encoder;
        let (trained, all) = (model.parameters(), encoder.parameters());
        common.note(format_args!(
            "training {trained} parameters ({:.2} % of the base's {all}) on {} rows, {} tokens; {}; \
             {:?}",
            100.0 * trained as f64 / all as f64,
            train_set.len(),
            train_set.tokens(),
            match &validation {
                Some(rows) => format!(
                    "validating on {} rows, the best epoch by {}",
                    rows.len(),
                    self.scoring.best
                ),
                None => "without validation rows: the last epoch is kept".to_owned(),
            },
            encoder.device(),
        ));
        if validation.is_some() || test.is_some() {
            say_positive(&self.scoring, &rows.space, common);
        }
        self.say_weights(&train_set.answers, &rows.space, common);
        if self.options.base_dropout {
            let config = encoder.config();
            common.note(format_args!(
                "the base drops {} of its hidden states and {} of its attention, as in its own \
                 training: no hidden states are kept between epochs",
                config.hidden_dropout_prob, config.attention_probs_dropout_prob,
            ));
        }
        let _held = self.kept.as_ref().map(RunFolder::open).transpose()?;
        let interruption = self.kept.as_ref().map(|_| Interruption::catch()).transpose()?;
        let log = self.kept.as_ref().map(|kept| MetricsLog::new(kept.log(), kept.logging_steps));
        let mut progress = TrainingProgress::new(common.quiet, log, interruption.clone());
        progress.resumes = self.kept.as_ref().is_some_and(|kept| kept.resume);
        let answers = (&rows.space, &self.scoring);
        let sets = (&train_set, validation.as_ref());
        let mut facts = begun.facts();
        let tokenizer = TokenizerReference::new(&base.tokenizer)?;
        facts.insert("tokenizer".into(), tokenizer.behaviour.clone().into());
        // They change no bit of what is trained, but the results.
        if let Some(test) = &test {
            facts.insert("test rows".into(), test.digest().into());
        }
        facts.insert("precision".into(), base.precision.clone().into());
        facts.insert("adaptkit version".into(), env!("CARGO_PKG_VERSION").into());
        let earlier = self.result.take();
        let keeping = self.kept.as_ref().map(|kept| kept.keeping(facts, earlier));
        let keeping = keeping.as_ref();
        let (options, caching) = (&self.options, self.caching.as_ref());
        let ending =
            train(encoder, &mut model, sets, answers, options, keeping, caching, &mut progress);
        drop(progress);
        if let (Err(_), Some(kept)) = (&ending, &self.kept) {
            kept.leave()?;
        }
        let name = adapter_name(self.output_dir);
        let scored = rows.validation.as_ref().map_or(&[][..], |validation| &validation.rows);
        let ending = ending.map_err(|error| CliError::of_scoring(error, &name, scored))?;
        let outcome = match (ending, interruption) {
            (Ending::Finished(outcome), _) => outcome,
            (Ending::FinishedBefore, _) => {
                self.kept.as_ref().map_or(Ok(()), RunFolder::remove)?;
                let results = read_results(self.output_dir).unwrap_or_default();
                return Ok(Finished::Before(self.output_dir.to_path_buf(), results));
            }
            (Ending::Stopped { step, total_steps }, interruption) => {
                let signal = interruption.map_or(0, |interruption| interruption.signal());
                return Err(CliError::Interrupted { step, total_steps, signal });
            }
        };
        let space = match outcome.best.as_ref().and_then(|best| best.thresholds.clone()) {
            Some(thresholds) => rows.space.clone().with_thresholds(thresholds),
            None => rows.space.clone(),
        };
        let test = match test.as_ref().zip(rows.test.as_ref()) {
            Some((test, rows)) => {
                let scored = evaluate(encoder, &model, test, &space, &self.scoring);
                Some(scored.map_err(|error| CliError::of_scoring(error, &name, &rows.rows))?)
            }
            None => None,
        };
        let mut results = self.results(&outcome, rows.left_out, trained, all);
        put_scores(&mut results, "test", test.as_ref());
        self.put_settings(&mut results, &train_set.answers, &space);
        rows.put_counts(&mut results);
        // Over the rows it was trained on, as pruning takes it.
        let attention = begun.fusion().map(|fusion| {
            let sums = attention_sums(encoder, &model, &train_set.rows);
            fusion.layout().mean_attention(&sums)
        });
        let task = rows.name.as_deref();
        self.write((&base, tokenizer), &model, &begun, (task, &space), &results, attention)?;
        if let Some(kept) = &self.kept {
            kept.remove()?;
        }
        let output_dir = self.output_dir.to_owned();
        let Base { encoder, tokenizer, max_length, .. } = base;
        let trained =
            Trained { outcome, test, encoder, tokenizer, model, results, max_length, output_dir };
        Ok(Finished::Now(Box::new(trained)))
    }

    /// The base, and what the plan leaves to it.
    pub(super) fn load(&mut self, common: &Common) -> Result<Base, CliError> {
        let directory = resolve_model(self.model)?;
        let device = common.device()?;
        let precision = common.precision(&device);
        let encoder = Encoder::load(&directory, &device, precision)?;
        let config = encoder.config();
        let mut left_out = BTreeSet::new();
        self.options.robust_drop =
            self.adapterdrop.apply(&self.robust_draws, config.num_hidden_layers, &mut left_out)?;
        let tokenizer = Tokenizer::from_dir(&directory, config)?;
        let max_length = self.max_length.unwrap_or(DEFAULT_LENGTH.min(config.longest_row()));
        self.max_length = Some(max_length);
        self.options.head_dropout = self.head_dropout.unwrap_or(config.head_dropout());
        let reference = ModelReference::new(&config.model_type, self.model, config.hidden_size)?;
        let precision = format!("{precision:?}");
        Ok(Base { encoder, tokenizer, reference, left_out, max_length, precision })
    }

    /// What is to be trained, new, on its base, which is prepared for that.
    pub(super) fn begin(
        &self,
        base: &mut Base,
        space: &AnswerSpace,
    ) -> Result<(TaskModel, Begun), CliError> {
        let head = HeadShape { outputs: space.outputs(), layers: 2, activation: Activation::Tanh };
        let (model, begun) = self.subject.begin(
            &base.encoder,
            &base.tokenizer,
            (&**self.model, &base.reference),
            &head,
            &base.left_out,
            self.options.seed,
        )?;
        base.encoder.prepare_backward(model.adapter.lowest())?;
        Ok((model, begun))
    }

    /// The label that a binary F1 is about, where there is one.
    fn positive_label<'s>(&self, space: &'s AnswerSpace) -> Option<&'s str> {
        let label = space.labels().and_then(|labels| labels.name(self.scoring.positive));
        label.filter(|_| self.scoring.has_positive(space))
    }

    /// Says what labels weigh, where they do.
    fn say_weights(&self, answers: &Answers, space: &AnswerSpace, common: &Common) {
        let weights = self.options.objective.weights(answers, space);
        if let (Some(weights), Some(labels)) = (weights, space.labels()) {
            let shown = labels.names().iter().zip(&weights).take(20);
            let shown: Vec<String> = shown.map(|(l, w)| format!("{} {w:.4}", quoted(l))).collect();
            let more = weights.len() - shown.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            common.note(format_args!("class weights: {}{more}", shown.join(", ")));
        }
    }

    /// Adds what chose the best epoch and what was worked out from the rows.
    fn put_settings(
        &self,
        results: &mut Map<String, Value>,
        answers: &Answers,
        space: &AnswerSpace,
    ) {
        let by_label = |numbers: &[f64]| -> Value {
            let names = space.labels().map(|labels| labels.names()).unwrap_or_default();
            names
                .iter()
                .cloned()
                .zip(numbers.iter().map(|x| json!(x)))
                .collect::<Map<_, _>>()
                .into()
        };
        let mut put = |name: &str, value: Value| results.insert(name.to_owned(), value);
        if let Some(label) = self.positive_label(space) {
            put("positive_label", json!(label));
        }
        if let Some(weights) = self.options.objective.weights(answers, space) {
            put("class_weights", by_label(&weights));
        }
        match space.thresholds() {
            Some(Thresholds::All(threshold)) => {
                put("threshold", json!(threshold.probability()));
            }
            Some(thresholds @ Thresholds::Each(_)) => {
                put("thresholds", by_label(&thresholds.own().unwrap_or_default()));
            }
            None => {}
        }
        if space.kind() == AnswerKind::Value {
            let TargetScale { mean, deviation } = TargetScale::of(answers);
            put("target_mean", json!(mean));
            put("target_deviation", json!(deviation));
        }
    }

    /// That the disk has room for the output, and for a checkpoint that is written beside the one
    /// before it: each number that is trained, its two moments and its best value.
    fn check_room(&self, begun: &Begun, trained: usize) -> Result<(), CliError> {
        let members = begun.fusion().map_or(0, |fusion| {
            fusion.members.iter().map(StoredAdapter::parameters).sum::<usize>()
        });
        let output = 4 * (trained + members) as u64 + room::AROUND;
        let checkpoints = self.kept.as_ref().map_or(0, |kept| 2 - u64::from(kept.is_begun()));
        let needed = output + checkpoints * 16 * trained as u64;
        Ok(room::check(self.output_dir, needed)?)
    }

    /// The results under the names that the Hugging Face trainer uses.
    fn results(
        &self,
        outcome: &Outcome,
        [left_out, validation_left_out]: [u64; 2],
        trained: usize,
        base: usize,
    ) -> Map<String, Value> {
        let mut results = Map::new();
        let mut put = |name: &str, value: Value| results.insert(name.to_owned(), value);
        let runtime = outcome.took.as_secs_f64();
        put("epoch", json!(outcome.epochs as f64));
        put("best_epoch", json!(outcome.best_epoch));
        put("stopped_early", json!(outcome.epochs < self.options.epochs));
        put_scores(&mut results, "eval", outcome.best.as_ref());
        let mut put = |name: &str, value: Value| results.insert(name.to_owned(), value);
        if outcome.best.is_some() {
            put("metric_for_best_model", json!(self.scoring.best.name()));
            put("eval_rows_left_out", json!(validation_left_out));
        }
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
        if let Some(run) = &outcome.run {
            put(RUN, json!(run));
        }
        results
    }

    fn write(
        &self,
        (base, tokenizer): (&Base, TokenizerReference),
        model: &TaskModel,
        begun: &Begun,
        (task, space): (Option<&str>, &AnswerSpace),
        results: &Map<String, Value>,
        fusion_attention: Option<MeanAttention>,
    ) -> Result<(), CliError> {
        let own: Vec<&str> = self.own.iter().map(String::as_str).collect();
        let staged = StagedDirectory::create(self.output_dir, self.overwrite, &own)?;
        let name = adapter_name(self.output_dir);
        let labels = space.labels().map(|map| map.names().to_vec());
        let kind = match space.kind() {
            AnswerKind::LabelSet => HeadKind::MultiLabel,
            AnswerKind::Class | AnswerKind::Value => HeadKind::Classification,
        };
        let dropout = f64::from(self.options.head_dropout);
        let head = model.stored_head(&name, kind, labels.clone(), dropout, &base.reference);
        begun.write(model, &base.reference, &head, staged.path())?;
        let scored = |name: &str| name.starts_with("eval_") || name.starts_with("test_");
        let metrics = results.iter().filter(|(name, _)| scored(name));
        let training = serde_json::to_value(&self.options).ok();
        let provenance = Provenance {
            adaptkit_version: env!("CARGO_PKG_VERSION").to_owned(),
            base: BaseReference {
                tokenizer: Some(tokenizer),
                ..BaseReference::new(self.model, &base.encoder)
            },
            task: task.map(str::to_owned),
            labels: labels.unwrap_or_default(),
            threshold: space.thresholds().and_then(Thresholds::common).map(Threshold::probability),
            thresholds: space.thresholds().and_then(Thresholds::own),
            positive_label: self.positive_label(space).map(str::to_owned),
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
            task,
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

/// Adds the scores of an evaluation under the trainer's names, which begin with its part's.
pub(super) fn put_scores(
    results: &mut Map<String, Value>,
    part: &str,
    evaluation: Option<&Evaluation>,
) {
    let Some(evaluation) = evaluation else { return };
    let (rows, took) = (evaluation.predictions.len(), evaluation.took.as_secs_f64());
    let mut put = |name: &str, value| results.insert(format!("{part}_{name}"), value);
    for (name, score) in evaluation.scores.iter() {
        put(name, json!(score));
    }
    put("loss", json!(evaluation.loss));
    put("runtime", json!(took));
    put("samples", json!(rows));
    put("samples_per_second", json!(rows as f64 / took));
}

/// Scores in a line.
pub(crate) fn scores_in_words(evaluation: &Evaluation) -> String {
    let scores: Vec<String> =
        evaluation.scores.iter().map(|(name, x)| format!("{name} {x:.4}")).collect();
    scores.join(", ")
}

/// An adapter is called as its directory.
pub(crate) fn adapter_name(directory: &Path) -> String {
    let name = std::path::absolute(directory).ok();
    let name = name.as_deref().and_then(|path| path.file_name()).map(|n| n.to_string_lossy());
    // These would read as separators in the names of tensors, or are refused in names.
    let plain = |c: char| if ". ,\\".contains(c) || c.is_control() { '_' } else { c };
    name.map_or_else(|| "adapter".to_owned(), |name| name.chars().map(plain).collect())
}

impl Finished {
    pub(super) fn say(&self, common: &Common) -> Result<(), CliError> {
        let (directory, results) = match self {
            Finished::Now(trained) => return trained.say(common),
            Finished::Before(directory, results) => (directory.display(), results),
        };
        common.note(format_args!(
            "{directory} is the result of this run already: nothing is left to do"
        ));
        let scores: Vec<String> = results
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("eval_")?, value.as_f64()?)))
            .filter(|(name, _)| !EVALUATION_FIGURES.contains(name))
            .map(|(name, score)| format!("{name} {score:.4}"))
            .collect();
        let best = results.get("best_epoch").and_then(Value::as_u64).unwrap_or_default();
        let kept = match scores.is_empty() {
            true => format!("epoch {best}, the last, is kept"),
            false => format!("epoch {best} of the run was best: {}", scores.join(", ")),
        };
        common.messages().result(results, format!("{kept}\nwritten to {directory}"))
    }
}

/// The `eval_…` results that are no scores.
const EVALUATION_FIGURES: [&str; 5] =
    ["loss", "runtime", "samples", "rows_left_out", "samples_per_second"];

impl Trained {
    pub(super) fn say(&self, common: &Common) -> Result<(), CliError> {
        let best = match &self.outcome.best {
            Some(best) => format!(
                "epoch {} of the run was best: {}",
                self.outcome.best_epoch,
                scores_in_words(best)
            ),
            None => format!("epoch {}, the last, is kept", self.outcome.best_epoch),
        };
        let test = self.test.as_ref().map(|test| format!("\ntest rows: {}", scores_in_words(test)));
        let memory = peak_memory_mb().map(|mb| format!(", {mb:.0} MB at most"));
        let words = format!(
            "{best}{}\ntrained for {}, {:.0} tokens/s{}\nwritten to {}",
            test.unwrap_or_default(),
            seconds(self.outcome.took),
            self.outcome.tokens as f64 / self.outcome.took.as_secs_f64(),
            memory.unwrap_or_default(),
            self.output_dir.display()
        );
        common.messages().result(&self.results, words)
    }
}
