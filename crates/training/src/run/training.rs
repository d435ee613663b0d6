//! The loop.

use std::time::{Duration, Instant};

use adaptkit_adapters::TaskModel;
use adaptkit_compute::{AdamW, Tensor, mix};
use adaptkit_encoder::Encoder;

use super::batches::{Dataset, batch, length_grouped_batches, token_batches};
use super::evaluation::{self, Evaluation, evaluate};
use super::optimiser::Optimiser;
use super::options::{HyperParameters, linear_schedule};
use crate::TrainingError;
use crate::data::AnswerSpace;
use crate::metrics::{MetricSet, higher_is_better};

/// Where a run is, after a step.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Steps done, of `total_steps`.
    pub step: usize,
    /// Steps of the whole run.
    pub total_steps: usize,
    /// Epochs done, with the fraction of the current one.
    pub epoch: f64,
    /// The loss of this step's batch.
    pub loss: f64,
    /// The gradient's global norm before clipping.
    pub gradient_norm: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
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
    /// The mean loss over the epoch's rows.
    pub train_loss: f64,
    /// The evaluation after it.
    pub evaluation: Evaluation,
    /// Whether it is the best so far.
    pub best: bool,
    /// The time of the epoch's steps.
    pub took: Duration,
}

/// Somebody who watches a run.
pub trait Observer {
    /// After every step.
    fn step(&mut self, report: &StepReport);
    /// After every epoch's evaluation.
    fn epoch(&mut self, report: &EpochReport);
}

/// What a run ended with; the model holds the parameters of the best epoch.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The best epoch, counted from 1.
    pub best_epoch: usize,
    /// Its evaluation.
    pub best: Evaluation,
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

/// Trains `model` on `train`, evaluating on `validation` after each epoch.
///
/// # Errors
/// A loss that is not finite, with its step; nothing to train or validate on.
pub fn train(
    encoder: &Encoder,
    model: &mut TaskModel,
    (train, validation): (&Dataset, &Dataset),
    (space, metrics): (&AnswerSpace, MetricSet),
    options: &HyperParameters,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainingError> {
    let lengths: Vec<usize> = train.rows.iter().map(|row| row.ids.len()).collect();
    let steps_per_epoch = train.len().div_ceil(options.batch_size.max(1));
    let total_steps = steps_per_epoch.saturating_mul(options.epochs);
    let warmup = (total_steps as f64 * options.warmup_ratio) as usize;
    let mut optimiser = Optimiser::default();
    let mut progress = Progress::default();
    let mut best: Option<(usize, Evaluation, Vec<Vec<f32>>)> = None;
    for epoch in 0..options.epochs {
        let start = Instant::now();
        let mut epoch_loss = 0.0;
        let (size, group) = (options.batch_size, options.group_by_length);
        let batches = length_grouped_batches(&lengths, size, group, options.seed, epoch);
        for picked in batches {
            let key = mix(options.seed ^ DROPOUT_STREAM, progress.steps as u64);
            let loss = accumulate(encoder, model, train, &picked, options.head_dropout, key);
            let learning_rate = f64::from(options.learning_rate)
                * linear_schedule(progress.steps, warmup, total_steps);
            progress.steps += 1;
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
            let decays =
                |name: &str| !name.ends_with("bias") && !name.to_lowercase().contains("norm");
            let gradient_norm = optimiser.step(model, &adamw, options.max_grad_norm, decays);
            if !gradient_norm.is_finite() {
                return Err(TrainingError::LossNotFinite { step: progress.steps, loss: f64::NAN });
            }
            progress.rows += picked.len();
            progress.tokens += picked.iter().map(|row| lengths[*row]).sum::<usize>();
            progress.loss += loss * picked.len() as f64;
            epoch_loss += loss * picked.len() as f64;
            observer.step(&StepReport {
                step: progress.steps,
                total_steps,
                epoch: progress.rows as f64 / train.len() as f64,
                loss,
                gradient_norm,
                learning_rate,
                rows: progress.rows,
                tokens: progress.tokens,
                elapsed: progress.took + start.elapsed(),
            });
        }
        let took = start.elapsed();
        progress.took += took;
        let evaluation = evaluate(encoder, model, validation, space, metrics)?;
        let better = best.as_ref().is_none_or(|(_, b, _)| is_better(metrics, &evaluation, b));
        observer.epoch(&EpochReport {
            epoch: epoch + 1,
            train_loss: epoch_loss / train.len() as f64,
            evaluation: evaluation.clone(),
            best: better,
            took,
        });
        if better {
            best = Some((epoch + 1, evaluation, snapshot(model)));
        }
    }
    let (best_epoch, evaluation, parameters) = best.ok_or(TrainingError::NothingToTrain)?;
    restore(model, &parameters);
    Ok(Outcome {
        best_epoch,
        best: evaluation,
        train_loss: progress.loss / progress.rows.max(1) as f64,
        steps: progress.steps,
        rows: progress.rows,
        tokens: progress.tokens,
        took: progress.took,
    })
}

/// Tokens whose activations are held at once. A larger batch goes through in parts whose gradients
/// add up to the same: memory does not grow with the batch, and as many tokens fill the kernels.
const TOKENS_AT_ONCE: usize = 2048;

/// The mean loss of a batch; adds its gradient to every parameter's.
fn accumulate(
    encoder: &Encoder,
    model: &mut TaskModel,
    data: &Dataset,
    picked: &[usize],
    head_dropout: f32,
    key: u64,
) -> f64 {
    let lengths: Vec<usize> = picked.iter().map(|row| data.rows[*row].ids.len()).collect();
    let mut total = 0.0;
    for (part, places) in token_batches(&lengths, TOKENS_AT_ONCE).into_iter().enumerate() {
        let rows: Vec<usize> = places.into_iter().map(|place| picked[place]).collect();
        let share = rows.len() as f64 / picked.len() as f64;
        let loss = |logits: &Tensor| {
            let (value, mut d) = evaluation::loss(logits, &data.answers, &rows);
            d.scale(share as f32);
            (value * share, d)
        };
        let batch = batch(&data.rows, &rows);
        let key = mix(key, part as u64);
        total += model.accumulate_gradients(encoder, &batch, &loss, head_dropout, key);
    }
    total
}

/// Keeps the streams of dropout masks apart from those of the rows' order.
const DROPOUT_STREAM: u64 = 0x6472_6f70_6f75_7421;

#[derive(Default)]
struct Progress {
    steps: usize,
    rows: usize,
    tokens: usize,
    loss: f64,
    took: Duration,
}

/// Whether `new` beats `old` by the task's metric.
fn is_better(metrics: MetricSet, new: &Evaluation, old: &Evaluation) -> bool {
    let name = metrics.best_metric();
    let score = |e: &Evaluation| e.scores.get(name).unwrap_or(f64::NEG_INFINITY);
    if higher_is_better(name) { score(new) > score(old) } else { score(new) < score(old) }
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
