//! Training with AdapterDrop: where gradients end, what robust training draws, and that a run that
//! was interrupted draws the same.

mod small_task;

use std::cmp::Ordering;
use std::num::NonZero;

use adaptkit_adapters::{AdapterConfig, Entry, HeadShape, Loss, Owner, TaskModel, TrainingPass};
use adaptkit_compute::{Activation, ClassLoss, Device, Precision, Tensor};
use adaptkit_encoder::{BaseDropout, Encoder, Place, RaggedBatch, Site};
use adaptkit_testkit::{Golden, Report, golden_dir};
use adaptkit_training::TrainingError;
use adaptkit_training::run::{HyperParameters, PrefixCaching, RobustDrop, StatePrecision};

use small_task::{LAYERS, SmallRun, Watch, options};

/// The gradients of a pass by owner and name; `None` where there is none.
type Gradients = Vec<(Owner, String, Option<Vec<f32>>)>;

fn gradients(
    encoder: &Encoder,
    model: &mut TaskModel,
    batch: &RaggedBatch,
    first_layer: usize,
    loss: &Loss<'_>,
) -> (f64, Gradients) {
    let pass =
        TrainingPass { first_layer, head_dropout: 0.1, base_dropout: BaseDropout::NONE, key: 3 };
    let entry = Entry::embedded(encoder, batch);
    let value = model.accumulate_gradients(encoder, batch, entry, loss, pass);
    let mut all = Vec::new();
    model.visit(&mut |owner, name, parameter| {
        all.push((owner, name.to_owned(), parameter.gradient().map(Tensor::to_vec)));
    });
    (value, all)
}

/// The golden of an adapter that is left out of layers says what PyTorch makes of that; here, an
/// adapter dropped from layers has the gradients of one that was left out of them. The encoder is
/// prepared for back-propagation only as far as it may go: a step further would panic.
#[test]
fn a_dropped_layer_is_as_if_the_adapter_had_no_module_there() {
    let golden = Golden::at(&golden_dir("bert"));
    let device = Device::cpu(NonZero::new(1)).expect("a device");
    let rows = golden.rows();
    let batch = RaggedBatch::new(rows.iter().map(|(ids, types)| (&ids[..], &types[..])));
    let labels: Vec<usize> = (0..rows.len()).map(|row| row % 3).collect();
    let targets: Vec<f32> = (0..3 * rows.len()).map(|i| (i % 2) as f32).collect();
    let values: Vec<f32> = (0..rows.len()).map(|row| row as f32 / 4.0).collect();
    let classes = |logits: &Tensor| logits.cross_entropy(&labels, ClassLoss::default());
    let sets = |logits: &Tensor| logits.binary_cross_entropy(&targets, None);
    let numbers = |logits: &Tensor| logits.mean_squared_error(&values);
    let heads: [(&str, usize, &Loss<'_>); 3] =
        [("classes", 3, &classes), ("label sets", 3, &sets), ("numbers", 1, &numbers)];
    let mut report = Report::default();
    for preset in ["pfeiffer", "houlsby", "parallel"] {
        for (head, outputs, loss) in heads {
            for (n, norms) in (0..=LAYERS).flat_map(|n| [(n, false), (n, true)]) {
                let what = format!("{preset}, {head}, {n} dropped, norms {norms}");
                let shape = HeadShape { outputs, layers: 2, activation: Activation::Tanh };
                let whole = AdapterConfig::preset(preset).expect("a preset");
                let mut left_out = whole.clone();
                left_out.leave_out.extend(0..n);
                let mut encoder = Encoder::load(&golden.model_dir(), &device, Precision::F32)
                    .expect("the tiny base");
                let model = |config| TaskModel::new(&encoder, config, &shape, 1).expect("a model");
                let (mut dropped, mut without) = (model(&whole), model(&left_out));
                if norms && n < LAYERS {
                    dropped.train_layer_norms(&encoder);
                    without.train_layer_norms(&encoder);
                }
                if let Some(lowest) = without.adapter.lowest() {
                    encoder.prepare_backward(Some(lowest)).expect("the same files");
                }
                let got = gradients(&encoder, &mut dropped, &batch, n, loss);
                let want = gradients(&encoder, &mut without, &batch, 0, loss);
                report.check(format!("{what}: loss"), got.0 == want.0);
                let below = |owner: &Owner| matches!(owner, Owner::Adapter(p) if p.layer < n);
                let (low, high): (Gradients, Gradients) =
                    got.1.into_iter().partition(|(owner, ..)| below(owner));
                report.check(format!("{what}: none below"), low.iter().all(|g| g.2.is_none()));
                report.check(format!("{what}: all above"), high.iter().all(|g| g.2.is_some()));
                report.check(format!("{what}: gradients"), high == want.1);
            }
        }
    }
    report.finish();
}

/// The backward products of frozen layers in a step whose lowest module is at a place.
fn products_of_a_step(lowest: Place) -> Vec<[u64; 4]> {
    let layer = |layer: usize| match (layer.cmp(&lowest.layer), lowest.site) {
        (Ordering::Less, _) | (Ordering::Equal, Site::Output) => [0; 4],
        // From the layer's output through the feed-forward to what sits after the attention.
        (Ordering::Equal, Site::Attention) => [0, 0, 1, 1],
        (Ordering::Greater, _) => [1; 4],
    };
    (0..LAYERS).map(layer).collect()
}

/// The encoder is prepared for back-propagation whole, so that a product too many would be computed,
/// and counted.
#[test]
fn back_propagation_calls_no_frozen_product_below_the_lowest_module() {
    let ample = |precision| PrefixCaching { precision, memory: 1 << 30, directory: None };
    let cachings = [None, Some(ample(StatePrecision::F32)), Some(ample(StatePrecision::Bf16))];
    let mut report = Report::default();
    for (preset, site) in
        [("pfeiffer", Site::Output), ("houlsby", Site::Attention), ("parallel", Site::Output)]
    {
        let specialised = (0..LAYERS).map(|n| (n, options()));
        let runs = specialised.chain([(0, robust())]).collect::<Vec<_>>();
        for ((left_out, options), caching) in
            runs.iter().flat_map(|run| cachings.iter().map(move |caching| (run, caching)))
        {
            let run = SmallRun {
                left_out: *left_out,
                preset,
                caching: caching.clone(),
                ..SmallRun::new(options.clone())
            };
            let mut encoder = run.encoder();
            encoder.prepare_backward(None).expect("the same files");
            let mut watch = Watch::default();
            run.run_on(&encoder, &mut watch).expect("a run");
            let mut expected = vec![[0; 4]; LAYERS];
            for step in &watch.steps {
                let lowest = step.dropped_layers.unwrap_or(*left_out);
                let products = products_of_a_step(Place::new(lowest, site));
                for (sum, more) in expected.iter_mut().flatten().zip(products.iter().flatten()) {
                    *sum += more;
                }
            }
            let what = format!("{preset}, {left_out} left out, robust {:?}", options.robust_drop);
            let warm = caching.as_ref().map(|caching| caching.precision);
            let got = encoder.backward_products();
            report.check(
                format!("{what}, cache {warm:?}: {got:?}, not {expected:?}"),
                watch.steps.len() > 10 && got == expected,
            );
        }
    }
    report.finish();
}

fn robust() -> HyperParameters {
    let drop = RobustDrop::weighted(vec![1.0, 1.0, 2.0]).expect("weights");
    HyperParameters { robust_drop: Some(drop), ..options() }
}

#[test]
fn robust_training_drops_what_it_drew() {
    let mut watch = Watch::default();
    let trained = SmallRun::new(robust()).run(&mut watch).expect("a run");
    assert_ne!(trained, Some(SmallRun::new(options()).trained()));
    let drop = robust().robust_drop.expect("robust");
    let drawn: Vec<_> = (0..watch.steps.len()).map(|step| drop.draw(robust().seed, step)).collect();
    let told: Vec<_> = watch.steps.iter().map(|step| step.dropped_layers).collect();
    assert_eq!(told, drawn.iter().map(|n| Some(*n)).collect::<Vec<_>>());
    assert!((0..LAYERS).all(|n| drawn.contains(&n)), "{drawn:?}");
}

#[test]
fn a_robust_run_continues_to_the_same_bits() {
    let whole = SmallRun::new(robust()).trained();
    for stop in [1, 5, 8, 13] {
        let home = tempfile::tempdir().expect("a folder");
        let file = Some(home.path().join("checkpoint"));
        let kept = SmallRun { file, ..SmallRun::new(robust()) };
        let mut watch = Watch { stop_after: Some(stop), ..Watch::default() };
        assert!(kept.run(&mut watch).expect("a run").is_none(), "stopped after {stop}");
        // Another draw is another run.
        let other = SmallRun { options: options(), ..kept.clone() };
        let error = other.run(&mut Watch::default()).unwrap_err();
        assert!(matches!(&error, TrainingError::OtherRun { .. }), "{error}");
        assert!(error.to_string().contains("robust_drop was [1.0,1.0,2.0]"), "{error}");
        assert_eq!(kept.trained(), whole, "stopped after {stop}");
    }
}

#[test]
fn robust_training_with_early_stopping_ends_early() {
    let options = HyperParameters {
        early_stopping_patience: Some(1),
        early_stopping_threshold: 2.0,
        ..robust()
    };
    let mut watch = Watch::default();
    SmallRun::new(options).run(&mut watch).expect("a run");
    assert_eq!(watch.epochs, 2);
}

#[test]
fn dropping_every_layer_is_refused() {
    let options = HyperParameters { robust_drop: Some(RobustDrop::uniform(LAYERS)), ..options() };
    let error = SmallRun::new(options).run(&mut Watch::default()).unwrap_err().to_string();
    assert!(error.contains("the encoder has 3 layers, of which at most 2"), "{error}");
}
