//! The options of a run against PyTorch's losses, `transformers`' schedules and scikit-learn's scores,
//! as `goldens/training_goldens.py` wrote them.

use adaptkit_compute::{ClassLoss, Device, Tensor};
use adaptkit_testkit::golden_dir;
use adaptkit_training::data::{AnswerSpace, Answers, LabelMap, Thresholds};
use adaptkit_training::metrics::{Metric, MetricSet, Scoring};
use adaptkit_training::run::{ClassWeights, LrScheduler, Objective, answers};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

fn cases<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = golden_dir("training").join(format!("{name}.json"));
    let cases: Vec<T> =
        serde_json::from_slice(&std::fs::read(path).expect("a golden")).expect("its cases");
    assert!(!cases.is_empty());
    cases
}

fn tensor(rows: &[Vec<f32>]) -> Tensor {
    let device = Device::cpu(None).expect("a device");
    device.tensor(rows.len(), rows[0].len(), &rows.concat())
}

/// A loss in f64 to its last digits, and its gradient, which is stored in f32.
fn assert_loss(what: &str, (loss, d): (f64, Tensor), want: f64, gradient: &[Vec<f64>]) {
    assert!((loss - want).abs() <= 1e-12 * want.abs().max(1.0), "{what}: {loss}, not {want}");
    for (got, want) in d.to_vec().iter().zip(gradient.concat()) {
        let error = (f64::from(*got) - want).abs();
        assert!(error <= f64::from(f32::EPSILON) * want.abs().max(1e-3), "{what}: {got}, {want}");
    }
}

#[derive(Deserialize)]
struct ClassCase {
    logits: Vec<Vec<f32>>,
    labels: Vec<usize>,
    weights: Option<Vec<f64>>,
    smoothing: f64,
    loss: f64,
    gradient: Vec<Vec<f64>>,
}

#[test]
fn weighted_and_smoothed_cross_entropy_is_pytorchs() {
    for case in cases::<ClassCase>("cross_entropy") {
        let of = ClassLoss { weights: case.weights.as_deref(), smoothing: case.smoothing };
        let found = tensor(&case.logits).cross_entropy(&case.labels, of);
        assert_loss(&format!("{of:?}"), found, case.loss, &case.gradient);
    }
}

#[derive(Deserialize)]
struct SetCase {
    logits: Vec<Vec<f32>>,
    targets: Vec<Vec<f32>>,
    weights: Option<Vec<f64>>,
    loss: f64,
    gradient: Vec<Vec<f64>>,
}

#[test]
fn weighted_binary_cross_entropy_is_pytorchs() {
    for case in cases::<SetCase>("binary_cross_entropy") {
        let weights = case.weights.as_deref();
        let found = tensor(&case.logits).binary_cross_entropy(&case.targets.concat(), weights);
        assert_loss(&format!("{weights:?}"), found, case.loss, &case.gradient);
    }
}

#[derive(Deserialize)]
struct ScheduleCase {
    name: String,
    warmup: usize,
    total: usize,
    learning_rate: f64,
    factors: Vec<f64>,
}

#[test]
fn schedules_are_those_of_transformers() {
    for case in cases::<ScheduleCase>("schedules") {
        let schedule: LrScheduler = case.name.parse().expect("a schedule");
        for (step, want) in case.factors.iter().enumerate() {
            let got = schedule.factor(step, case.warmup, case.total, case.learning_rate);
            let what =
                format!("{schedule}, step {step} of {}, warm-up {}", case.total, case.warmup);
            // The optimiser's rate was divided by the highest one again.
            assert!((got - want).abs() < 1e-14, "{what}: {got}, not {want}");
        }
    }
}

#[derive(Deserialize)]
struct WeightCase {
    labels: Vec<u32>,
    weights: Vec<f64>,
}

fn labels(count: usize) -> LabelMap {
    LabelMap::new((0..count).map(|id| format!("label {id}"))).expect("labels")
}

#[test]
fn balanced_class_weights_are_scikit_learns() {
    for case in cases::<WeightCase>("class_weights") {
        let space = AnswerSpace::Classes(labels(case.weights.len()));
        let balanced =
            Objective { class_weights: Some(ClassWeights::Balanced), label_smoothing: 0.0 };
        let found = balanced.weights(&Answers::Classes(case.labels), &space).expect("weights");
        for (got, want) in found.iter().zip(&case.weights) {
            assert!((got - want).abs() < 1e-14, "{found:?}, not {:?}", case.weights);
        }
    }
}

#[derive(Deserialize)]
struct ScoreCase<T> {
    #[serde(alias = "labels")]
    truth: T,
    #[serde(default)]
    logits: Vec<Vec<f32>>,
    #[serde(default)]
    predictions: Vec<f32>,
    scores: BTreeMap<String, f64>,
}

/// Every score that the golden has, by its name.
fn assert_scores(
    scores: &BTreeMap<String, f64>,
    (logits, truth): (&[Vec<f32>], &Answers),
    space: &AnswerSpace,
) {
    let set = MetricSet::for_kind(space.kind());
    let parse = |name: &String| Metric::parse(name, set, space).expect("a metric that fits");
    let further = scores.keys().map(parse).collect();
    let scoring = Scoring { further, ..Scoring::from(set) };
    let found = scoring.score_logits(logits, truth, space).expect("scores");
    for (name, want) in scores {
        let got = found.get(name).unwrap_or(f64::NAN);
        let bound = 1e-12 * want.abs().max(1.0);
        assert!((got - want).abs() < bound, "{name} of {truth:?}: {got}, not {want}");
    }
}

#[test]
fn scores_are_scikit_learns() {
    for case in cases::<ScoreCase<Vec<u32>>>("classification_scores") {
        let space = AnswerSpace::Classes(labels(case.logits[0].len()));
        assert_scores(&case.scores, (&case.logits, &Answers::Classes(case.truth)), &space);
    }
    for case in cases::<ScoreCase<Vec<Vec<u8>>>>("label_set_scores") {
        let count = case.logits[0].len();
        let set = |row: &Vec<u8>| (0..count as u32).filter(|id| row[*id as usize] == 1).collect();
        let truth = Answers::LabelSets(case.truth.iter().map(set).collect());
        let space = AnswerSpace::LabelSets(labels(count), Thresholds::default());
        assert_scores(&case.scores, (&case.logits, &truth), &space);
        assert_eq!(answers(&case.logits, &space).len(), truth.len());
    }
    for case in cases::<ScoreCase<Vec<f32>>>("regression_scores") {
        let logits: Vec<Vec<f32>> = case.predictions.iter().map(|value| vec![*value]).collect();
        assert_scores(&case.scores, (&logits, &Answers::Values(case.truth)), &AnswerSpace::Values);
    }
}
