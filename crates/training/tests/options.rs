//! Options of a run on the tiny base: what they do to its bits, and what a checkpoint says of them.

mod small_task;

use adaptkit_testkit::Random;
use adaptkit_training::TrainingError;
use adaptkit_training::data::{AnswerSpace, Answers};
use adaptkit_training::metrics::{MetricSet, Scoring};
use adaptkit_training::run::{
    ClassWeights, Dataset, Ending, HyperParameters, Keeping, LrScheduler, Objective, PrefixCaching,
    StatePrecision, TargetScale, evaluate, train,
};
use serde_json::Map;

use small_task::{LAYERS, SmallRun, Watch, options, rows};

fn weighted(weights: &[f64]) -> HyperParameters {
    let class_weights = Some(ClassWeights::Given(weights.to_vec()));
    HyperParameters { objective: Objective { class_weights, label_smoothing: 0.0 }, ..options() }
}

#[test]
fn equal_weights_are_no_weights_and_others_change_the_result() {
    let plain = SmallRun::new(options()).trained();
    assert_eq!(SmallRun::new(weighted(&[1.0, 1.0])).trained(), plain);
    let twice = SmallRun::new(weighted(&[2.0, 2.0])).trained();
    assert_eq!(twice.parameters, plain.parameters, "a weighted mean knows no unit");
    assert_ne!(SmallRun::new(weighted(&[1.0, 3.0])).trained().parameters, plain.parameters);
    // Both labels have half of the rows.
    let balanced = Objective { class_weights: Some(ClassWeights::Balanced), label_smoothing: 0.0 };
    let balanced = HyperParameters { objective: balanced, ..options() };
    assert_eq!(SmallRun::new(balanced).trained(), plain);
    let smoothed = Objective { class_weights: None, label_smoothing: 0.2 };
    let smoothed = HyperParameters { objective: smoothed, ..options() };
    assert_ne!(SmallRun::new(smoothed).trained().parameters, plain.parameters);
}

#[test]
fn a_weighted_mean_is_over_the_rows_of_a_step_however_they_come() {
    // A step goes through in parts of 1024 tokens, and in batches: neither changes what rows weigh.
    let several = HyperParameters { gradient_accumulation_steps: 4, ..weighted(&[1.0, 5.0]) };
    let one = HyperParameters { batch_size: 32, ..weighted(&[1.0, 5.0]) };
    assert_eq!(SmallRun::new(several).trained(), SmallRun::new(one).trained());
}

#[test]
fn every_option_that_changes_bits_is_a_fact_of_a_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let schedule = |lr_scheduler| HyperParameters { lr_scheduler, ..options() };
    let smoothed = Objective { class_weights: None, label_smoothing: 0.2 };
    for (number, (changed, name)) in [
        (schedule(LrScheduler::Cosine), "lr_scheduler"),
        (HyperParameters { warmup_steps: Some(2), ..options() }, "warmup_steps"),
        (weighted(&[1.0, 2.0]), "class_weights"),
        (HyperParameters { objective: smoothed, ..options() }, "label_smoothing"),
    ]
    .into_iter()
    .enumerate()
    {
        let file = Some(folder.path().join(number.to_string()));
        let whole = SmallRun::new(changed.clone()).trained();
        let run = SmallRun { file: file.clone(), ..SmallRun::new(changed) };
        let mut watch = Watch { stop_after: Some(9), ..Watch::default() };
        assert_eq!(run.run(&mut watch).expect("a run"), None, "{name}: it is stopped");
        let other = SmallRun { file, ..SmallRun::new(options()) };
        let refused = other.run(&mut Watch::default()).unwrap_err();
        assert!(matches!(&refused, TrainingError::OtherRun { .. }), "{refused}");
        assert!(refused.to_string().contains(name), "{refused}");
        assert_eq!(run.trained(), whole, "{name}: continued");
    }
}

/// Values of random rows, far from zero.
fn prices(count: usize, seed: u64) -> Dataset {
    let mut random = Random::new(seed);
    let values = (0..count).map(|_| 3e5 + 5e4 * random.normal()).collect();
    Dataset { rows: rows(count, seed).rows, answers: Answers::Values(values) }
}

/// A regression on them: its parameters, and its evaluations in the run and of what it leaves.
fn regression(keeping: Option<&Keeping>, watch: &mut Watch) -> Option<(Vec<f32>, f64, f64)> {
    let small = SmallRun::new(options());
    let mut encoder = small.encoder();
    let mut model = small.model(&encoder, 1);
    encoder.prepare_backward(model.adapter.lowest()).expect("the same files");
    let (training, validation) = (prices(50, 3), prices(20, 4));
    let (space, scoring) = (AnswerSpace::Values, Scoring::from(MetricSet::Regression));
    let (sets, answers) = ((&training, Some(&validation)), (&space, &scoring));
    let options = &small.options;
    let ending = train(&encoder, &mut model, sets, answers, options, keeping, None, watch);
    let Ending::Finished(outcome) = ending.expect("a run") else { return None };
    let mut parameters = Vec::new();
    model.visit(&mut |_, _, parameter| parameters.extend(parameter.value().to_vec()));
    let after = evaluate(&encoder, &model, &validation, &space, &scoring).expect("scores");
    Some((parameters, outcome.best.expect("validation rows").loss, after.loss))
}

#[test]
fn a_regression_learns_standard_units_and_answers_in_its_own() {
    let whole = regression(None, &mut Watch::default()).expect("its end");
    let (_, in_the_run, afterwards) = &whole;
    assert_eq!(in_the_run, afterwards);
    // A head that puts out about 0 is 9e10 off; the mean is 2.5e9 off.
    assert!(*in_the_run < 5e9, "{in_the_run}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("checkpoint");
    let keeping = Keeping { file, steps: 3, facts: Map::new(), result: None };
    let mut watch = Watch { stop_after: Some(9), ..Watch::default() };
    assert_eq!(regression(Some(&keeping), &mut watch), None);
    assert_eq!(regression(Some(&keeping), &mut Watch::default()), Some(whole));
}

#[test]
fn folding_and_unfolding_a_scale_gives_the_model_back() {
    let small = SmallRun::new(options());
    let encoder = small.encoder();
    let mut model = small.model(&encoder, 1);
    let data = prices(6, 9);
    let scale = TargetScale::of(&data.answers);
    let logits = |model: &_| adaptkit_training::run::predict(&encoder, model, &data.rows).concat();
    let before = logits(&model);
    scale.fold(&mut model);
    for (standard, own) in before.iter().zip(logits(&model)) {
        let want = f64::from(*standard) * scale.deviation + scale.mean;
        assert!((f64::from(own) / want - 1.0).abs() < 1e-6, "{own}, not {want}");
    }
    scale.unfold(&mut model);
    for (before, after) in before.iter().zip(logits(&model)) {
        // The bias is about six deviations away meanwhile.
        assert!((before - after).abs() < 1e-5, "{after}, not {before}");
    }
}

#[test]
fn without_validation_rows_the_last_epoch_is_kept() {
    // With states that are kept between epochs.
    let small = SmallRun { left_out: LAYERS - 1, ..SmallRun::new(options()) };
    let memory = PrefixCaching { precision: StatePrecision::F32, memory: 1 << 20, directory: None };
    let mut encoder = small.encoder();
    let mut model = small.model(&encoder, 2);
    encoder.prepare_backward(model.adapter.lowest()).expect("the same files");
    let (training, space) = (rows(50, 3), small_task::space());
    let scoring = Scoring::from(MetricSet::Accuracy);
    let (sets, answers) = ((&training, None), (&space, &scoring));
    let (options, mut watch) = (&small.options, Watch::default());
    let ending =
        train(&encoder, &mut model, sets, answers, options, None, Some(&memory), &mut watch);
    let Ok(Ending::Finished(outcome)) = ending else { panic!("{ending:?}") };
    assert_eq!((outcome.epochs, outcome.best_epoch), (3, 3));
    assert_eq!((watch.epochs, outcome.best.is_none()), (3, true));
    let patient = HyperParameters { early_stopping_patience: Some(1), ..options.clone() };
    let error = train(&encoder, &mut model, sets, answers, &patient, None, None, &mut watch);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("early stopping needs validation rows"), "{message}");
}
