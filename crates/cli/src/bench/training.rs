//! The time of a training step, from the loop that `train` runs.

use adaptkit::adapters::TaskModel;
use adaptkit::encoder::Encoder;
use adaptkit::training::TrainingError;
use adaptkit::training::data::{AnswerKind, AnswerSpace, Answers, LabelMap};
use adaptkit::training::metrics::MetricSet;
use adaptkit::training::run::{
    Dataset, Ending, EpochReport, HyperParameters, Observer, StepReport, train,
};

use super::rounds::{Rounds, median};
use super::workload::Workload;
use crate::error::CliError;

/// The median over epochs of a step's mean time: forward, loss, backward, AdamW. One epoch warms up.
pub(super) fn step_seconds(
    encoder: &Encoder,
    model: &mut TaskModel,
    workload: &Workload,
    batch: usize,
    rounds: &Rounds,
) -> Result<f64, CliError> {
    let rows = &workload.rows;
    let classes = |rows: usize| Answers::Classes((0..rows as u32).map(|row| row % 2).collect());
    let train_set = Dataset { rows: rows.clone(), answers: classes(rows.len()) };
    // The loop evaluates after each epoch, which is not timed: a row is enough.
    let shortest = rows.iter().min_by_key(|row| row.ids.len()).cloned();
    let validation = Dataset { rows: shortest.into_iter().collect(), answers: classes(1) };
    let space = AnswerSpace::Classes(LabelMap::new(vec!["no".to_owned(), "yes".to_owned()])?);
    let options = HyperParameters {
        epochs: rounds.repeats.saturating_add(1),
        batch_size: batch,
        max_batch_tokens: None,
        gradient_accumulation_steps: 1,
        learning_rate: 1e-5,
        warmup_ratio: 0.0,
        weight_decay: 0.01,
        max_grad_norm: 1.0,
        head_dropout: encoder.config().hidden_dropout_prob,
        base_dropout: false,
        early_stopping_patience: None,
        early_stopping_threshold: 0.0,
        group_by_length: true,
        robust_drop: None,
        seed: 0,
    };
    let mut epochs = EpochTimes { rounds, seconds: Vec::new() };
    let sets = (&train_set, &validation);
    let answers = (&space, MetricSet::for_kind(AnswerKind::Class));
    let ending = train(encoder, model, sets, answers, &options, None, None, &mut epochs)?;
    if let Ending::Stopped { .. } = ending {
        rounds.check()?;
    }
    let steps = rows.len().div_ceil(batch);
    Ok(median(epochs.seconds.split_off(1.min(epochs.seconds.len()))) / steps as f64)
}

/// What each epoch's steps took.
struct EpochTimes<'a> {
    rounds: &'a Rounds,
    seconds: Vec<f64>,
}

impl Observer for EpochTimes<'_> {
    fn step(&mut self, _: &StepReport) -> Result<(), TrainingError> {
        Ok(())
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<(), TrainingError> {
        self.seconds.push(report.took.as_secs_f64());
        Ok(())
    }

    fn resume(&mut self, _: usize) -> Result<(), TrainingError> {
        Ok(())
    }

    fn stop(&self) -> bool {
        self.rounds.check().is_err()
    }
}
