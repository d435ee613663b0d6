//! The time of a training step, from the loop that `train` runs.

use adaptkit::adapters::TaskModel;
use adaptkit::encoder::Encoder;
use adaptkit::training::TrainingError;
use adaptkit::training::data::{AnswerKind, AnswerSpace, Answers, LabelMap};
use adaptkit::training::metrics::{MetricSet, Scoring};
use adaptkit::training::run::{
    Dataset, Ending, EpochReport, HyperParameters, LrScheduler, Objective, Observer, PrefixCaching,
    RobustDrop, StatePrecision, StepReport, ThresholdChoice, train,
};

use super::Cache;
use super::rounds::{Rounds, median};
use super::workload::Workload;
use crate::error::CliError;

/// Training steps on a workload.
pub(super) struct Steps<'a> {
    pub(super) encoder: &'a Encoder,
    pub(super) workload: &'a Workload,
    /// Rows of a step.
    pub(super) batch: usize,
    pub(super) cache: Cache,
    pub(super) rounds: &'a Rounds,
}

impl Steps<'_> {
    /// The mean time of robust training's steps, each number of dropped layers by itself, of each
    /// model.
    pub(super) fn robust_seconds(
        &self,
        models: &mut [&mut TaskModel],
        drop: &RobustDrop,
    ) -> Result<Vec<f64>, CliError> {
        let mut means = vec![0.0; models.len()];
        for (n, share) in drop.probabilities().into_iter().enumerate() {
            let mut only = vec![0.0; n];
            only.push(1.0);
            let seconds = self.seconds(models, Some(&RobustDrop::weighted(only)?))?;
            means.iter_mut().zip(seconds).for_each(|(mean, seconds)| *mean += share * seconds);
        }
        Ok(means)
    }

    /// For each model the median over epochs of a step's mean time: forward, loss, backward, AdamW.
    /// Several take turns, so that all meet the same neighbours.
    pub(super) fn seconds(
        &self,
        models: &mut [&mut TaskModel],
        robust_drop: Option<&RobustDrop>,
    ) -> Result<Vec<f64>, CliError> {
        let repeats = self.rounds.repeats;
        if let [model] = models {
            return Ok(vec![median(self.epochs(model, robust_drop, repeats)?)]);
        }
        let mut times = vec![Vec::new(); models.len()];
        for _ in 0..repeats {
            for (times, model) in times.iter_mut().zip(&mut *models) {
                times.extend(self.epochs(model, robust_drop, 1)?);
            }
        }
        Ok(times.into_iter().map(median).collect())
    }

    /// A step's mean time in each of so many epochs, after one that warms up, and fills the cache if
    /// there is one.
    fn epochs(
        &self,
        model: &mut TaskModel,
        robust_drop: Option<&RobustDrop>,
        epochs: usize,
    ) -> Result<Vec<f64>, CliError> {
        let Steps { encoder, workload, batch, cache, rounds } = *self;
        let rows = &workload.rows;
        let classes = (0..rows.len() as u32).map(|row| row % 2).collect();
        let train_set = Dataset { rows: rows.clone(), answers: Answers::Classes(classes) };
        let space = AnswerSpace::Classes(LabelMap::new(vec!["no".to_owned(), "yes".to_owned()])?);
        let options = HyperParameters {
            epochs: epochs.saturating_add(1),
            batch_size: batch,
            max_batch_tokens: None,
            gradient_accumulation_steps: 1,
            learning_rate: 1e-5,
            lr_scheduler: LrScheduler::Linear,
            warmup_ratio: 0.0,
            warmup_steps: None,
            objective: Objective::default(),
            thresholds: ThresholdChoice::Given,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            head_dropout: encoder.config().hidden_dropout_prob,
            base_dropout: false,
            early_stopping_patience: None,
            early_stopping_threshold: 0.0,
            group_by_length: true,
            robust_drop: robust_drop.cloned(),
            seed: 0,
        };
        let caching = (cache == Cache::Warm).then_some(PrefixCaching {
            precision: StatePrecision::Bf16,
            memory: u64::MAX,
            directory: None,
        });
        let mut times = EpochTimes { rounds, seconds: Vec::new() };
        let scoring = Scoring::from(MetricSet::for_kind(AnswerKind::Class));
        let (sets, answers) = ((&train_set, None), (&space, &scoring));
        let caching = caching.as_ref();
        let ending = train(encoder, model, sets, answers, &options, None, caching, &mut times)?;
        if let Ending::Stopped { .. } = ending {
            rounds.check()?;
        }
        let steps = rows.len().div_ceil(batch) as f64;
        Ok(times.seconds.into_iter().skip(1).map(|seconds| seconds / steps).collect())
    }
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
