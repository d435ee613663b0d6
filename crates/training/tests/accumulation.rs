//! Steps of several batches against steps of one batch of all their rows.

use adaptkit_adapters::{AdapterConfig, HeadShape, TaskModel};
use adaptkit_compute::{Activation, Device, Precision};
use adaptkit_encoder::{Encoder, TokenisedRow};
use adaptkit_testkit::{Random, golden_dir};
use adaptkit_training::TrainingError;
use adaptkit_training::data::{AnswerSpace, Answers, LabelMap};
use adaptkit_training::metrics::{MetricSet, Scoring};
use adaptkit_training::run::{
    Dataset, Ending, EpochReport, HyperParameters, LrScheduler, Objective, Observer, StepReport,
    ThresholdChoice, train,
};

struct Steps(Vec<(f64, f64)>);

impl Observer for Steps {
    fn step(&mut self, report: &StepReport) -> Result<(), TrainingError> {
        self.0.push((report.loss, report.gradient_norm));
        Ok(())
    }

    fn epoch(&mut self, _: &EpochReport) -> Result<(), TrainingError> {
        Ok(())
    }

    fn resume(&mut self, _: usize) -> Result<(), TrainingError> {
        Ok(())
    }

    fn stop(&self) -> bool {
        false
    }
}

fn options() -> HyperParameters {
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
        head_dropout: 0.0,
        early_stopping_patience: None,
        early_stopping_threshold: 0.0,
        group_by_length: true,
        robust_drop: None,
        seed: 5,
    }
}

/// The steps of a run on rows drawn at random, its epochs and its parameters.
fn run(options: &HyperParameters) -> (Vec<(f64, f64)>, usize, Vec<f32>) {
    let device = Device::cpu(None).expect("a device");
    let model = golden_dir("bert").join("model");
    let mut encoder = Encoder::load(&model, &device, Precision::F32).expect("the tiny base");
    let mut random = Random::new(3);
    let mut row = || {
        let length = 3 + random.below(9);
        let ids: Vec<u32> = (0..length).map(|_| 5 + random.below(20) as u32).collect();
        TokenisedRow { type_ids: vec![0; length], ids, truncated: false }
    };
    let rows: Vec<TokenisedRow> = (0..50).map(|_| row()).collect();
    let answers = Answers::Classes((0..50).map(|i| i % 2).collect());
    let data = Dataset { rows, answers };
    let labels = LabelMap::new(["a", "b"].map(String::from).to_vec()).expect("labels");
    let config = AdapterConfig::preset("pfeiffer").expect("a preset");
    let head = HeadShape { outputs: 2, layers: 2, activation: Activation::Tanh };
    let mut model = TaskModel::new(&encoder, &config, &head, 1).expect("a model");
    encoder.prepare_backward(model.adapter.lowest()).expect("the same files");
    let (space, mut steps) = (AnswerSpace::Classes(labels), Steps(Vec::new()));
    let scoring = Scoring::from(MetricSet::Accuracy);
    let task = (&space, &scoring);
    let sets = (&data, Some(&data));
    let ending = train(&encoder, &mut model, sets, task, options, None, None, &mut steps);
    let Ok(Ending::Finished(outcome)) = ending else { panic!("{ending:?}") };
    let mut parameters = Vec::new();
    model.visit(&mut |_, _, parameter| parameters.extend(parameter.value().to_vec()));
    (steps.0, outcome.epochs, parameters)
}

#[test]
fn steps_of_several_batches_are_those_of_one_batch_of_their_rows() {
    let several = HyperParameters { gradient_accumulation_steps: 4, ..options() };
    let one = HyperParameters { batch_size: 32, ..options() };
    assert_eq!(run(&several), run(&one));
    let several = HyperParameters { max_batch_tokens: Some(30), ..several };
    let one = HyperParameters { max_batch_tokens: Some(120), ..options() };
    assert_eq!(run(&several), run(&one));
    assert_ne!(run(&one).0.len(), run(&options()).0.len());
}

#[test]
fn a_run_ends_after_as_many_evaluations_without_gain_as_the_patience_allows() {
    // No gain passes a threshold of two, so that all evaluations after the first are in vain.
    for (patience, epochs) in [(None, 3), (Some(1), 2), (Some(2), 3)] {
        let options = HyperParameters {
            early_stopping_patience: patience,
            early_stopping_threshold: 2.0,
            ..options()
        };
        assert_eq!(run(&options).1, epochs, "patience {patience:?}");
    }
}
