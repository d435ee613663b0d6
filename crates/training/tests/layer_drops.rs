//! Scores with an adapter left out of layers, all from one pass, are those of an adapter that never
//! had modules there.

use adaptkit_adapters::config::Initialisation;
use adaptkit_adapters::{AdapterConfig, HeadShape, TaskModel};
use adaptkit_compute::{Activation, Device, Precision};
use adaptkit_encoder::{Encoder, TokenisedRow};
use adaptkit_testkit::{Random, golden_dir};
use adaptkit_training::data::{AnswerSpace, Answers, LabelMap};
use adaptkit_training::metrics::MetricSet;
use adaptkit_training::run::{Dataset, evaluate, evaluate_lowest_dropped, evaluate_spans_dropped};

/// Layers of the tiny base.
const LAYERS: usize = 3;

/// Rows drawn at random, with two labels in turn.
fn rows(count: usize) -> Dataset {
    let mut random = Random::new(4);
    let mut row = || {
        let length = 3 + random.below(9);
        let ids: Vec<u32> = (0..length).map(|_| 5 + random.below(20) as u32).collect();
        TokenisedRow { type_ids: vec![0; length], ids, truncated: false }
    };
    let rows = (0..count).map(|_| row()).collect();
    Dataset { rows, answers: Answers::Classes((0..count as u32).map(|i| i % 2).collect()) }
}

#[test]
fn one_pass_gives_what_an_adapter_without_those_layers_gives() {
    let device = Device::cpu(None).expect("a device");
    let base = golden_dir("bert").join("model");
    let encoder = Encoder::load(&base, &device, Precision::F32).expect("the tiny base");
    let labels = LabelMap::new(["a", "b"].map(String::from).to_vec()).expect("labels");
    let space = AnswerSpace::Classes(labels);
    // More tokens than one batch of an evaluation takes.
    let data = rows(300);
    let head = HeadShape { outputs: 2, layers: 2, activation: Activation::Tanh };
    for (preset, gate) in [("pfeiffer", false), ("houlsby", false), ("parallel", true)] {
        // Each layer's weights are drawn by themselves: the others stay when one is left out.
        let model = |left_out: std::ops::Range<usize>| {
            let mut config = AdapterConfig::preset(preset).expect("a preset");
            config.use_gating = gate;
            config.init_weights = Initialisation::Bert;
            config.leave_out = left_out.collect();
            TaskModel::new(&encoder, &config, &head, 1).expect("a model")
        };
        let whole = model(0..0);
        let metrics = MetricSet::Accuracy;
        let lowest = evaluate_lowest_dropped(&encoder, &whole, &data, &space, &metrics.into());
        let lowest = lowest.expect("scores");
        let dropped: Vec<_> = lowest.iter().map(|d| (d.first, d.layers)).collect();
        assert_eq!(dropped, (0..=LAYERS).map(|n| (0, n)).collect::<Vec<_>>());
        let spans = evaluate_spans_dropped(&encoder, &whole, &data, &space, &metrics.into());
        let spans = spans.expect("scores");
        assert_eq!(spans.len(), 1 + LAYERS * (LAYERS + 1) / 2);
        let mut losses = Vec::new();
        for drop in lowest.iter().chain(&spans) {
            let alone = model(drop.first..drop.first + drop.layers);
            let alone = evaluate(&encoder, &alone, &data, &space, &metrics.into()).expect("scores");
            let what = format!("{preset}, {} layers from {}", drop.layers, drop.first);
            assert_eq!(drop.evaluation.loss, alone.loss, "{what}");
            assert_eq!(drop.evaluation.predictions, alone.predictions, "{what}");
            losses.push(alone.loss);
        }
        losses.sort_by(f64::total_cmp);
        losses.dedup();
        assert!(losses.len() > LAYERS, "{preset}: the adapter changes nothing");
    }
}
