//! The loop.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adaptkit_adapters::{Entry, TaskModel, TrainingPass};
use adaptkit_compute::{AdamW, Tensor, mix};
use adaptkit_encoder::{BaseDropout, Encoder};
use serde_json::{Map, Value};

use super::batches::{BatchSize, Dataset, batch, length_grouped_batches, token_batches};
use super::checkpoint::{CheckpointFile, Course, Progress, run_digest};
use super::evaluation::{Evaluation, predict_from, score};
use super::objective::RowLoss;
use super::optimiser::Optimiser;
use super::options::HyperParameters;
use super::prefix_cache::{CacheNotice, Part, PrefixCache, PrefixCaching, entry_layer};
use super::target_scale::TargetScale;
use crate::TrainingError;
use crate::data::{AnswerKind, AnswerSpace, Threshold, Thresholds};
use crate::metrics::{Metric, Scoring};

/// Where a run is, after a step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Steps done, of `total_steps`.
    pub step: usize,
    /// Steps of the whole run.
    pub total_steps: usize,
    /// Epochs done, with the fraction of the current one.
    pub epoch: f64,
    /// The loss of this step's batch; a regression's in the targets' own units.
    pub loss: f64,
    /// The gradient's global norm before clipping.
    pub gradient_norm: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// The number of lowest layers that this step dropped the adapter from, in robust training.
    pub dropped_layers: Option<usize>,
    /// Rows and tokens so far.
    pub rows: usize,
    /// Tokens so far.
    pub tokens: usize,
    /// Time in the loop so far, evaluations left out.
    pub elapsed: Duration,
}

/// What an epoch ended with.
#[derive(Clone, Debug)]
pub struct EpochReport {
    /// Epochs done.
    pub epoch: usize,
    /// Steps done.
    pub step: usize,
    /// The mean loss over the epoch's rows.
    pub train_loss: f64,
    /// The evaluation after it, if there are validation rows.
    pub evaluation: Option<Evaluation>,
    /// Whether it is the best so far; without validation rows the last one always is.
    pub best: bool,
    /// The time of the epoch's steps.
    pub took: Duration,
}

/// Somebody who watches a run.
pub trait Observer {
    /// After every step.
    ///
    /// # Errors
    /// What the observer fails on ends the run.
    fn step(&mut self, report: &StepReport) -> Result<(), TrainingError>;
    /// After every epoch's evaluation.
    ///
    /// # Errors
    /// What the observer fails on ends the run.
    fn epoch(&mut self, report: &EpochReport) -> Result<(), TrainingError>;
    /// A run that was interrupted continues after `step` steps; reports of later ones come again.
    ///
    /// # Errors
    /// What the observer fails on ends the run.
    fn resume(&mut self, step: usize) -> Result<(), TrainingError>;
    /// The run begins at its first step: there is no checkpoint to continue from.
    fn begin(&mut self) {}
    /// The checkpoint that the run continues from was written before checkpoints had a digest, so
    /// that damage to it cannot be seen.
    fn unverified(&mut self, _checkpoint: &Path) {}
    /// A checkpoint is about to be written: what was reported so far must last if the checkpoint does.
    ///
    /// # Errors
    /// What the observer fails on ends the run.
    fn keep(&mut self) -> Result<(), TrainingError> {
        Ok(())
    }
    /// What the prefix cache has to tell.
    fn cache(&mut self, _notice: &CacheNotice) {}
    /// Whether the run is to end as soon as it can be continued from there: after the current
    /// step, or after the evaluation if that was an epoch's last.
    fn stop(&self) -> bool;
}

/// How a run is kept, to be continued if it is interrupted.
pub struct Keeping {
    /// The checkpoint's file: the run continues from it if it is there, and replaces it at every
    /// checkpoint.
    pub file: PathBuf,
    /// Steps between checkpoints, beside the one at every epoch's end.
    pub steps: usize,
    /// What the result's bits depend on beside what [`train`] sees itself, by name: a checkpoint
    /// with other facts is refused.
    pub facts: Map<String, Value>,
    /// The result that stands where this run's will go.
    pub result: Option<EarlierResult>,
}

/// A finished run's result.
pub struct EarlierResult {
    /// Where it is, for messages.
    pub path: PathBuf,
    /// [`Outcome::run`] of the run that made it, if that is known.
    pub run: Option<String>,
    /// Whether this run's result may replace it if it is another run's.
    pub replace: bool,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Ending {
    /// To its end.
    Finished(Outcome),
    /// The result that stands there already is this run's: nothing was done.
    FinishedBefore,
    /// The observer asked for it; there is a checkpoint if the run is kept.
    Stopped {
        /// Steps done.
        step: usize,
        /// Steps of the whole run.
        total_steps: usize,
    },
}

/// What a run ended with; the model holds the parameters of the best epoch.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// A digest of all that the result's bits follow from, for a run that is kept.
    pub run: Option<String>,
    /// Epochs done: fewer than asked for where the run was stopped early.
    pub epochs: usize,
    /// The best epoch, counted from 1; the last one without validation rows.
    pub best_epoch: usize,
    /// Its evaluation, if there are validation rows.
    pub best: Option<Evaluation>,
    /// The mean loss over all steps' rows.
    pub train_loss: f64,
    /// Steps done.
    pub steps: usize,
    /// Rows and tokens that the steps went over.
    pub rows: usize,
    /// Tokens that the steps went over.
    pub tokens: usize,
    /// Time in the loop, evaluations left out.
    pub took: Duration,
}

/// Trains `model` on `train`, evaluating on `validation` after each epoch; without validation rows the
/// last epoch is what the model holds in the end.
///
/// The targets of a regression are standardised while it trains ([`TargetScale`](super::TargetScale)): a
/// new head learns to put out standard units, and in the end puts out the targets' own.
///
/// With `keeping`, a run that is interrupted at any moment continues to the same bits. With
/// `caching`, what enters the lowest layer with an adapter is kept for later epochs.
///
/// # Errors
/// A loss that is not finite, with its step; nothing to train on; options that do not fit the answers or
/// need validation rows; a checkpoint that cannot be written or is not this run's; a result of
/// another run that may not be replaced; robust training that would drop every layer; a folder for the
/// prefix cache that cannot be used.
pub fn train(
    encoder: &Encoder,
    model: &mut TaskModel,
    (train, validation): (&Dataset, Option<&Dataset>),
    (space, scoring): (&AnswerSpace, &Scoring),
    options: &HyperParameters,
    keeping: Option<&Keeping>,
    caching: Option<&PrefixCaching>,
    observer: &mut dyn Observer,
) -> Result<Ending, TrainingError> {
    let layers = encoder.config().num_hidden_layers;
    if let Some(drop) = options.robust_drop.as_ref().filter(|drop| drop.most() >= layers) {
        return Err(TrainingError::DropsEveryLayer { most: drop.most(), layers });
    }
    options.check(space, validation.is_some())?;
    if let Some(validation) = validation {
        scoring.check(&validation.answers, space)?;
    }
    let objective = RowLoss::of(&options.objective, &train.answers, space);
    let scale = objective.scale();
    let lengths: Vec<usize> = train.rows.iter().map(|row| row.ids.len()).collect();
    let (size, group) = (options.step_size(), options.group_by_length);
    let batches = |epoch| length_grouped_batches(&lengths, size, group, options.seed, epoch);
    let total_steps = match size {
        BatchSize::Rows(rows) => train.len().div_ceil(rows.max(1)).saturating_mul(options.epochs),
        BatchSize::Tokens(_) => (0..options.epochs).map(|epoch| batches(epoch).len()).sum(),
    };
    let warmup = options.warmup(total_steps);
    let mut cache = match caching {
        Some(caching) => {
            PrefixCache::open(encoder, &model.adapter, (train, validation), options, caching)?
        }
        None => None,
    };
    tell(&mut cache, observer);
    let cached = cache.as_ref().and_then(PrefixCache::facts);
    let file = keeping.map(|keeping| CheckpointFile {
        path: &keeping.file,
        sampled_base: &encoder.identity().sampled,
        facts: facts(
            encoder,
            (train, validation),
            (space, scoring),
            options,
            cached,
            &keeping.facts,
        ),
    });
    let run = file.as_ref().map(|file| run_digest(&file.facts));
    if let Some(result) = keeping.and_then(|keeping| keeping.result.as_ref()) {
        if run.is_some() && result.run == run {
            return Ok(Ending::FinishedBefore);
        }
        if !result.replace {
            return Err(TrainingError::OtherResult { path: result.path.clone() });
        }
    }
    // With the scale folded in, so that the scores are bit by bit those of what will be stored.
    let evaluate = |model: &mut TaskModel, cache: &mut Option<PrefixCache<'_>>| {
        let Some(validation) = validation else { return Ok(None) };
        let start = Instant::now();
        let rows = &validation.rows;
        let logits = scale.folded(model, |model| {
            let layer = entry_layer(encoder, &model.adapter, 0);
            let enter = &mut |picked: &[usize]| match cache {
                Some(cache) => cache.enter(Part::Validation, rows, picked, layer),
                None => Entry::embedded(encoder, &batch(rows, picked)),
            };
            predict_from(encoder, model, rows, enter)
        });
        let space = options.thresholds.apply(space, &logits, &validation.answers, &scoring.best)?;
        let evaluation = score(encoder, validation, &space, scoring, &logits, Duration::ZERO)?;
        Ok::<_, TrainingError>(Some(Evaluation { took: start.elapsed(), ..evaluation }))
    };
    let mut optimiser = Optimiser::default();
    let mut progress = Progress::default();
    let mut best: Option<Best> = None;
    let course =
        Course { epochs: options.epochs, total_steps, lengths: &lengths, batches: &batches };
    let position = match &file {
        Some(file) => file.read(model, &mut optimiser, &course)?,
        None => None,
    };
    if let Some(position) = position {
        progress = position.progress;
        if let Some(file) = file.as_ref().filter(|_| !position.verified) {
            observer.unverified(file.path);
        }
        if let Some(parameters) = position.best {
            let now = snapshot(model);
            restore(model, &parameters);
            let evaluation = evaluate(model, &mut cache)?;
            restore(model, &now);
            best = Some(Best { evaluation, parameters });
        }
        observer.resume(progress.steps)?;
    } else {
        observer.begin();
    }
    let save = |progress: &Progress, model: &mut TaskModel, optimiser: &_, best: &Option<Best>| {
        let best = best.as_ref().map(|best| &best.parameters[..]);
        file.as_ref().map_or(Ok(()), |file| file.write(progress, model, optimiser, best))
    };
    let every = keeping.map(|keeping| keeping.steps.max(1));
    let patience = options.early_stopping_patience.unwrap_or(usize::MAX);
    while progress.epochs < options.epochs && progress.stale < patience {
        let batches = batches(progress.epochs);
        for picked in &batches[progress.steps_of_epoch.min(batches.len())..] {
            let start = Instant::now();
            let robust = options.robust_drop.as_ref();
            let dropped_layers = robust.map(|drop| drop.draw(options.seed, progress.steps));
            let key = |stream: u64| mix(options.seed ^ stream, progress.steps as u64);
            let pass = TrainingPass {
                first_layer: dropped_layers.unwrap_or(0),
                head_dropout: options.head_dropout,
                base_dropout: match options.base_dropout {
                    true => encoder.base_dropout(key(BASE_DROPOUT_STREAM)),
                    false => BaseDropout::NONE,
                },
                key: key(DROPOUT_STREAM),
            };
            let rows = (train, &objective);
            let loss = accumulate(encoder, model, rows, picked, pass, cache.as_mut())
                + model.add_penalty();
            tell(&mut cache, observer);
            let highest = f64::from(options.learning_rate);
            let schedule = options.lr_scheduler;
            let learning_rate =
                highest * schedule.factor(progress.steps, warmup, total_steps, highest);
            progress.steps += 1;
            progress.steps_of_epoch += 1;
            if !loss.is_finite() {
                return Err(TrainingError::LossNotFinite { step: progress.steps, loss });
            }
            let adamw = AdamW {
                learning_rate: learning_rate as f32,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: options.weight_decay,
            };
            let gradient_norm = optimiser.step(model, &adamw, options.max_grad_norm, decays);
            if !gradient_norm.is_finite() {
                return Err(TrainingError::LossNotFinite { step: progress.steps, loss: f64::NAN });
            }
            let loss = loss * scale.squared_unit();
            progress.rows += picked.len();
            progress.tokens += picked.iter().map(|row| lengths[*row]).sum::<usize>();
            progress.loss += loss * picked.len() as f64;
            progress.epoch_loss += loss * picked.len() as f64;
            progress.took += start.elapsed();
            progress.epoch_took += start.elapsed();
            observer.step(&StepReport {
                step: progress.steps,
                total_steps,
                epoch: progress.rows as f64 / train.len() as f64,
                loss,
                gradient_norm,
                learning_rate,
                dropped_layers,
                rows: progress.rows,
                tokens: progress.tokens,
                elapsed: progress.took,
            })?;
            // An epoch's last step is kept with its evaluation: what an observer wrote down by
            // then is what it was told up to the checkpoint's step.
            if progress.steps_of_epoch < batches.len() {
                let stop = observer.stop();
                if stop || every.is_some_and(|every| progress.steps.is_multiple_of(every)) {
                    observer.keep()?;
                    save(&progress, model, &optimiser, &best)?;
                }
                if stop {
                    return Ok(Ending::Stopped { step: progress.steps, total_steps });
                }
            }
        }
        let evaluation = evaluate(model, &mut cache)?;
        let gain = match (&evaluation, best.as_ref().and_then(|best| best.evaluation.as_ref())) {
            (Some(new), Some(old)) => Some(gain(&scoring.best, new, old)),
            _ => None,
        };
        let better = gain.is_none_or(|gain| gain > 0.0);
        let counts = gain.is_none_or(|gain| gain > options.early_stopping_threshold);
        progress.stale = if counts { 0 } else { progress.stale + 1 };
        progress.epochs += 1;
        observer.epoch(&EpochReport {
            epoch: progress.epochs,
            step: progress.steps,
            train_loss: progress.epoch_loss / train.len() as f64,
            evaluation: evaluation.clone(),
            best: better,
            took: progress.epoch_took,
        })?;
        if better {
            progress.best_epoch = Some(progress.epochs);
            best = Some(Best { evaluation, parameters: snapshot(model) });
        }
        (progress.steps_of_epoch, progress.epoch_loss) = (0, 0.0);
        progress.epoch_took = Duration::ZERO;
        observer.keep()?;
        save(&progress, model, &optimiser, &best)?;
        if observer.stop() {
            return Ok(Ending::Stopped { step: progress.steps, total_steps });
        }
    }
    if let Some(cache) = &cache {
        observer.cache(&cache.used());
    }
    let (best_epoch, best) = progress.best_epoch.zip(best).ok_or(TrainingError::NothingToTrain)?;
    restore(model, &best.parameters);
    scale.fold(model);
    Ok(Ending::Finished(Outcome {
        run,
        epochs: progress.epochs,
        best_epoch,
        best: best.evaluation,
        train_loss: progress.loss / progress.rows.max(1) as f64,
        steps: progress.steps,
        rows: progress.rows,
        tokens: progress.tokens,
        took: progress.took,
    }))
}

/// Whether weight decay strikes a parameter of this name: no bias, no layer norm, and not a fusion's
/// value matrix, which has its own penalty.
fn decays(name: &str) -> bool {
    !name.ends_with("bias") && !name.to_lowercase().contains("norm") && name != "value.weight"
}

/// What the cache has to tell since it was last asked.
fn tell(cache: &mut Option<PrefixCache<'_>>, observer: &mut dyn Observer) {
    let notices = cache.as_mut().map(PrefixCache::notices).unwrap_or_default();
    notices.iter().for_each(|notice| observer.cache(notice));
}

/// The best epoch so far; without validation rows the last.
struct Best {
    evaluation: Option<Evaluation>,
    parameters: Vec<Vec<f32>>,
}

/// What the result's bits depend on.
fn facts(
    encoder: &Encoder,
    (train, validation): (&Dataset, Option<&Dataset>),
    (space, scoring): (&AnswerSpace, &Scoring),
    options: &HyperParameters,
    cached: Option<Value>,
    others: &Map<String, Value>,
) -> Map<String, Value> {
    let device = encoder.device();
    let mut facts = others.clone();
    facts.insert("base".into(), encoder.identity().fingerprint.clone().into());
    facts.insert("training rows".into(), train.digest().into());
    facts.insert("validation rows".into(), validation.map(Dataset::digest).into());
    facts.insert("labels".into(), space.labels().map(|labels| labels.names().to_vec()).into());
    let common = space.thresholds().and_then(Thresholds::common);
    facts.insert("threshold".into(), common.map(Threshold::probability).into());
    facts.insert("threads".into(), device.threads().into());
    facts.insert("instructions".into(), device.instructions().into());
    // What checkpoints did not name before it could be chosen is named where it is not what it was.
    if let Some(own) = space.thresholds().and_then(Thresholds::own) {
        facts.insert("thresholds of labels".into(), own.into());
    }
    if scoring.best != Metric::best_of(scoring.set) {
        facts.insert("metric".into(), scoring.best.name().clone().into());
    }
    if scoring.positive != Scoring::from(scoring.set).positive {
        facts.insert("positive label".into(), scoring.positive.into());
    }
    if space.kind() == AnswerKind::Value {
        let scale = serde_json::to_value(TargetScale::of(&train.answers)).unwrap_or_default();
        facts.insert("target scale".into(), scale);
    }
    facts.extend(cached.map(|cached| ("prefix_cache".to_owned(), cached)));
    if let Ok(Value::Object(options)) = serde_json::to_value(options) {
        facts.extend(options);
    }
    facts
}

/// Tokens whose activations are held at once. A larger batch goes through in parts whose gradients
/// add up to the same: memory does not grow with the batch, and as many tokens fill the kernels.
const TOKENS_AT_ONCE: usize = 1024;

/// The mean loss of a batch, over all its rows as they weigh; adds its gradient to every parameter's.
fn accumulate(
    encoder: &Encoder,
    model: &mut TaskModel,
    (data, objective): (&Dataset, &RowLoss),
    picked: &[usize],
    pass: TrainingPass,
    mut cache: Option<&mut PrefixCache<'_>>,
) -> f64 {
    let layer = entry_layer(encoder, &model.adapter, pass.first_layer);
    let lengths: Vec<usize> = picked.iter().map(|row| data.rows[*row].ids.len()).collect();
    let weight = objective.weight(&data.answers, picked);
    let mut total = 0.0;
    for (part, places) in token_batches(&lengths, TOKENS_AT_ONCE).into_iter().enumerate() {
        let rows: Vec<usize> = places.into_iter().map(|place| picked[place]).collect();
        let share = match weight > 0.0 {
            true => objective.weight(&data.answers, &rows) / weight,
            false => 0.0,
        };
        let loss = |logits: &Tensor| {
            let (value, mut d) = objective.of_rows(logits, &data.answers, &rows);
            d.scale(share as f32);
            (value * share, d)
        };
        let batch = batch(&data.rows, &rows);
        let key = |key: u64| mix(key, part as u64);
        let base_dropout = BaseDropout { key: key(pass.base_dropout.key), ..pass.base_dropout };
        let pass = TrainingPass { key: key(pass.key), base_dropout, ..pass };
        let entry = match &mut cache {
            Some(cache) => cache.enter(Part::Training, &data.rows, &rows, layer),
            None => Entry::embedded_dropping(encoder, &batch, base_dropout),
        };
        total += model.accumulate_gradients(encoder, &batch, entry, &loss, pass);
    }
    total
}

/// Keeps the streams of dropout masks apart from those of the rows' order.
const DROPOUT_STREAM: u64 = 0x6472_6f70_6f75_7421;

/// The same for the base's own dropout.
const BASE_DROPOUT_STREAM: u64 = 0x6672_6f7a_656e_2062;

/// By how much `new` beats `old` in a score. A score that is none loses to any.
fn gain(metric: &Metric, new: &Evaluation, old: &Evaluation) -> f64 {
    let score = |e: &Evaluation| e.score(metric).filter(|score| !score.is_nan());
    match (score(new), score(old)) {
        (Some(new), Some(old)) if metric.higher_is_better() => new - old,
        (Some(new), Some(old)) => old - new,
        (Some(_), None) => f64::INFINITY,
        (None, _) => f64::NEG_INFINITY,
    }
}

/// Copies of all parameters, in the order in which the model visits them.
fn snapshot(model: &mut TaskModel) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    model.visit(&mut |_, _, parameter| all.push(parameter.value().to_vec()));
    all
}

fn restore(model: &mut TaskModel, parameters: &[Vec<f32>]) {
    let mut parameters = parameters.iter();
    model.visit(&mut |_, _, parameter| {
        if let Some(values) = parameters.next() {
            parameter.assign(values);
        }
    });
    model.repack();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_norms_and_a_fusion_s_values_do_not_decay() {
        for (name, decay) in [
            ("adapter_down.0.weight", true),
            ("adapter_down.0.bias", false),
            ("adapter_norm_before.weight", false),
            ("LayerNorm.weight", false),
            ("query.weight", true),
            ("key.weight", true),
            ("key.bias", false),
            ("value.weight", false),
        ] {
            assert_eq!(decays(name), decay, "{name}");
        }
    }
}
