//! Training with the base's own dropout: gradients with the masks held fixed, and runs.

mod small_task;

use std::num::NonZero;

use adaptkit_adapters::{AdapterConfig, Entry, HeadShape, TaskModel, TrainingPass};
use adaptkit_compute::{Activation, ClassLoss, Device, Precision, Tensor};
use adaptkit_encoder::{BaseDropout, Encoder, RaggedBatch};
use adaptkit_testkit::{Golden, Random, Report, golden_dir};
use adaptkit_training::run::{HyperParameters, PrefixCaching, RobustDrop, StatePrecision};

use small_task::{LAYERS, SmallRun, Watch, options};

const HALF: BaseDropout =
    BaseDropout { hidden: 0.5, attention_output: 0.5, attention_probabilities: 0.5, key: 3 };

/// The slope of the loss along each parameter's gradient is the gradient's square. A step that
/// changes the loss by 1e-3 leaves, of logits good to 1e-6, a relative error of 1e-3, and some as
/// much from the curvature: weights are drawn large and the activation is smooth, so that steps are
/// small and meet no kink.
#[test]
fn gradients_are_the_loss_s_slopes_with_the_masks_held_fixed() {
    let golden = Golden::at(&golden_dir("bert"));
    let device = Device::cpu(NonZero::new(1)).expect("a device");
    let rows = golden.rows();
    let batch = RaggedBatch::new(rows.iter().map(|(ids, types)| (&ids[..], &types[..])));
    let labels: Vec<usize> = (0..rows.len()).map(|row| row % 2).collect();
    let loss = |logits: &Tensor| logits.cross_entropy(&labels, ClassLoss::default());
    let mut report = Report::default();
    for (preset, first_layer) in [("pfeiffer", 0), ("houlsby", 0), ("houlsby", 1)] {
        let mut encoder =
            Encoder::load(&golden.model_dir(), &device, Precision::F32).expect("the tiny base");
        encoder.prepare_backward(None).expect("the same files");
        let mut config = AdapterConfig::preset(preset).expect("a preset");
        config.non_linearity = Activation::from_name("swish").expect("an activation");
        let head = HeadShape { outputs: 2, layers: 2, activation: Activation::Tanh };
        let mut model = TaskModel::new(&encoder, &config, &head, 1).expect("a model");
        let mut random = Random::new(2);
        model.visit(&mut |_, _, parameter| {
            let [rows, columns] = parameter.value().shape();
            parameter.assign(&random.vec(rows * columns, 0.3));
        });
        model.repack();
        let pass = TrainingPass { first_layer, head_dropout: 0.1, base_dropout: HALF, key: 5 };
        let run = |model: &mut TaskModel| {
            let entry = Entry::embedded_dropping(&encoder, &batch, HALF);
            model.accumulate_gradients(&encoder, &batch, entry, &loss, pass)
        };
        run(&mut model);
        let mut parameters: Vec<(String, Vec<f32>, Vec<f32>)> = Vec::new();
        model.visit(&mut |owner, part, parameter| {
            if let Some(gradient) = parameter.gradient() {
                let name = format!("{preset} from {first_layer}: {owner:?} {part}");
                parameters.push((name, parameter.value().to_vec(), gradient.to_vec()));
            }
        });
        for (name, values, gradient) in &parameters {
            let square: f64 = gradient.iter().map(|x| f64::from(*x).powi(2)).sum();
            let step = 1e-3 / square;
            let mut at = |sign: f64| {
                model.visit(&mut |owner, part, parameter| {
                    if *name == format!("{preset} from {first_layer}: {owner:?} {part}") {
                        let moved = values.iter().zip(gradient);
                        let moved = moved.map(|(x, g)| x + (sign * step * f64::from(*g)) as f32);
                        parameter.assign(&moved.collect::<Vec<f32>>());
                    }
                });
                model.repack();
                run(&mut model)
            };
            let slope = (at(1.0) - at(-1.0)) / 2e-3;
            at(0.0);
            report.check(
                format!("{name}: slope {slope:.5} of its square"),
                (slope - 1.0).abs() < 1e-2,
            );
        }
    }
    report.finish();
}

/// A copy of the tiny base that was itself trained with dropout.
fn base_with_dropout() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(golden_dir("bert").join("model")).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), home.path().join(entry.file_name())).expect("a copy");
    }
    let path = home.path().join("config.json");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["hidden_dropout_prob"] = 0.1.into();
    config["attention_probs_dropout_prob"] = 0.1.into();
    std::fs::write(&path, config.to_string()).expect("a file");
    home
}

#[test]
fn runs_drop_in_training_alone_continue_to_the_same_bits_and_keep_no_hidden_states() {
    let base = base_with_dropout();
    let robust = Some(RobustDrop::uniform(LAYERS - 1));
    for (left_out, robust_drop) in [(0, None), (2, None), (0, robust)] {
        let what = format!("{left_out} left out, {robust_drop:?}");
        let off = HyperParameters { robust_drop, ..options() };
        let options = HyperParameters { base_dropout: true, ..off.clone() };
        let run = |options: &HyperParameters| SmallRun {
            base: base.path().to_owned(),
            left_out,
            ..SmallRun::new(options.clone())
        };
        let whole = run(&options).trained();
        assert_ne!(whole, run(&off).trained(), "{what}");
        // Without a learning rate the scores are the first model's, whatever training dropped.
        let still = [&options, &off]
            .map(|options| run(&HyperParameters { learning_rate: 0.0, ..options.clone() }))
            .map(|run| run.trained());
        assert_eq!(still[0].validation_loss, still[1].validation_loss, "{what}");
        assert_ne!(still[0].loss, still[1].loss, "{what}");

        let caching = Some(PrefixCaching {
            precision: StatePrecision::Bf16,
            memory: 1 << 20,
            directory: None,
        });
        let mut watch = Watch::default();
        let cached = SmallRun { caching, ..run(&options) };
        assert_eq!(cached.run(&mut watch).expect("a run"), Some(whole.clone()), "{what}");
        assert_eq!(watch.notices, [], "{what}");

        for stop in [1, 8] {
            let home = tempfile::tempdir().expect("a folder");
            let file = Some(home.path().join("checkpoint"));
            let kept = SmallRun { file, ..run(&options) };
            let mut watch = Watch { stop_after: Some(stop), ..Watch::default() };
            assert!(kept.run(&mut watch).expect("a run").is_none(), "{what}, {stop}");
            let error = SmallRun { options: off.clone(), ..kept.clone() };
            let error = error.run(&mut Watch::default()).unwrap_err().to_string();
            assert!(error.contains("base_dropout"), "{error}");
            assert_eq!(kept.trained(), whole, "{what}, stopped after {stop}");
        }
    }
}
