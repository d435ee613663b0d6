//! A task of random rows on the tiny base, and runs on it.

use std::path::PathBuf;

use adaptkit_adapters::{AdapterConfig, HeadShape, TaskModel};
use adaptkit_compute::{Activation, Device, Precision};
use adaptkit_encoder::{Encoder, TokenisedRow};
use adaptkit_testkit::{Random, golden_dir};
use adaptkit_training::TrainingError;
use adaptkit_training::data::{AnswerSpace, Answers, LabelMap};
use adaptkit_training::metrics::{MetricSet, Scoring};
use adaptkit_training::run::{
    CacheNotice, Dataset, Ending, EpochReport, HyperParameters, Keeping, LrScheduler, Objective,
    Observer, PrefixCaching, StepReport, ThresholdChoice, train,
};
use serde_json::Map;

/// Layers of the tiny base.
pub(crate) const LAYERS: usize = 3;

/// Watches a run, and may end it.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) steps: Vec<StepReport>,
    pub(crate) epochs: usize,
    pub(crate) notices: Vec<CacheNotice>,
    pub(crate) stop_after: Option<usize>,
}

impl Observer for Watch {
    fn step(&mut self, report: &StepReport) -> Result<(), TrainingError> {
        self.steps.push(report.clone());
        Ok(())
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<(), TrainingError> {
        self.epochs = report.epoch;
        Ok(())
    }

    fn resume(&mut self, _: usize) -> Result<(), TrainingError> {
        Ok(())
    }

    fn cache(&mut self, notice: &CacheNotice) {
        self.notices.push(notice.clone());
    }

    fn stop(&self) -> bool {
        self.stop_after.is_some_and(|steps| self.steps.len() >= steps)
    }
}

/// What a run ends with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trained {
    pub(crate) parameters: Vec<f32>,
    pub(crate) loss: f64,
    pub(crate) validation_loss: f64,
}

pub(crate) fn options() -> HyperParameters {
    HyperParameters {
        epochs: 3,
        batch_size: 8,
        max_batch_tokens: None,
        gradient_accumulation_steps: 1,
        learning_rate: 1e-3,
        warmup_ratio: 0.1,
        warmup_steps: None,
        lr_scheduler: LrScheduler::Linear,
        objective: Objective::default(),
        thresholds: ThresholdChoice::Given,
        weight_decay: 0.01,
        max_grad_norm: 1.0,
        base_dropout: false,
        head_dropout: 0.1,
        early_stopping_patience: None,
        early_stopping_threshold: 0.0,
        group_by_length: true,
        robust_drop: None,
        seed: 5,
    }
}

/// Rows drawn at random, with two labels in turn.
pub(crate) fn rows(count: usize, seed: u64) -> Dataset {
    let mut random = Random::new(seed);
    let mut row = || {
        let length = 3 + random.below(9);
        let ids: Vec<u32> = (0..length).map(|_| 5 + random.below(20) as u32).collect();
        TokenisedRow { type_ids: vec![0; length], ids, truncated: false }
    };
    let rows: Vec<TokenisedRow> = (0..count).map(|_| row()).collect();
    Dataset { rows, answers: Answers::Classes((0..count as u32).map(|i| i % 2).collect()) }
}

/// The two labels.
pub(crate) fn space() -> AnswerSpace {
    AnswerSpace::Classes(LabelMap::new(["a", "b"]).expect("labels"))
}

/// A run that is to be.
#[derive(Clone)]
pub(crate) struct SmallRun {
    pub(crate) options: HyperParameters,
    /// The base's directory.
    pub(crate) base: PathBuf,
    pub(crate) preset: &'static str,
    /// The lowest layers that the adapter is left out of.
    pub(crate) left_out: usize,
    pub(crate) caching: Option<PrefixCaching>,
    /// The checkpoint's file.
    pub(crate) file: Option<PathBuf>,
    /// Which rows.
    pub(crate) rows: u64,
}

impl SmallRun {
    pub(crate) fn new(options: HyperParameters) -> SmallRun {
        let (base, preset) = (golden_dir("bert").join("model"), "pfeiffer");
        SmallRun { options, base, preset, left_out: 0, caching: None, file: None, rows: 3 }
    }

    /// The base, not prepared for back-propagation yet.
    pub(crate) fn encoder(&self) -> Encoder {
        let device = Device::cpu(None).expect("a device");
        Encoder::load(&self.base, &device, Precision::F32).expect("the tiny base")
    }

    /// What is trained, with so many outputs.
    pub(crate) fn model(&self, encoder: &Encoder, outputs: usize) -> TaskModel {
        let mut config = AdapterConfig::preset(self.preset).expect("a preset");
        config.leave_out.extend(0..self.left_out);
        let head = HeadShape { outputs, layers: 2, activation: Activation::Tanh };
        TaskModel::new(encoder, &config, &head, 1).expect("a model")
    }

    /// To its end; `None` if the watch ended it.
    pub(crate) fn run(&self, watch: &mut Watch) -> Result<Option<Trained>, TrainingError> {
        let mut encoder = self.encoder();
        let lowest = self.model(&encoder, 2).adapter.lowest();
        encoder.prepare_backward(lowest).expect("the same files");
        self.run_on(&encoder, watch)
    }

    /// The same on an encoder that is prepared for it.
    pub(crate) fn run_on(
        &self,
        encoder: &Encoder,
        watch: &mut Watch,
    ) -> Result<Option<Trained>, TrainingError> {
        let mut model = self.model(encoder, 2);
        let space = space();
        let scoring = Scoring::from(MetricSet::Accuracy);
        let task = (&space, &scoring);
        let (training, validation) = (rows(50, self.rows), rows(20, self.rows + 1));
        let sets = (&training, Some(&validation));
        let keep = |file: &PathBuf| Keeping {
            file: file.clone(),
            steps: 3,
            facts: Map::new(),
            result: None,
        };
        let (keeping, caching) = (self.file.as_ref().map(keep), self.caching.as_ref());
        let keeping = keeping.as_ref();
        let options = &self.options;
        match train(encoder, &mut model, sets, task, options, keeping, caching, watch)? {
            Ending::Stopped { .. } | Ending::FinishedBefore => Ok(None),
            Ending::Finished(outcome) => {
                let mut parameters = Vec::new();
                model.visit(&mut |_, _, parameter| parameters.extend(parameter.value().to_vec()));
                let (loss, validation_loss) =
                    (outcome.train_loss, outcome.best.expect("validation rows").loss);
                Ok(Some(Trained { parameters, loss, validation_loss }))
            }
        }
    }

    /// To its end.
    pub(crate) fn trained(&self) -> Trained {
        self.run(&mut Watch::default()).expect("a run").expect("its end")
    }
}
