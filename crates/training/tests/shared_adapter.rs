//! An adapter that all layers share: its gradient, its size and its files.

use adaptkit_adapters::config::ReductionFactor;
use adaptkit_adapters::files::{HeadKind, ModelReference, StoredAdapter};
use adaptkit_adapters::{AdapterConfig, Entry, HeadShape, Owner, TaskModel, TrainingPass};
use adaptkit_compute::{Activation, ClassLoss, Device, Precision, Tensor};
use adaptkit_encoder::{BaseDropout, Encoder, Place, RaggedBatch, Site};
use adaptkit_testkit::{Golden, Report, golden_dir};

const LAYERS: usize = 3;

const SHAPE: HeadShape = HeadShape { outputs: 3, layers: 2, activation: Activation::Tanh };

fn base() -> (Encoder, RaggedBatch) {
    let golden = Golden::at(&golden_dir("bert"));
    let device = Device::cpu(None).expect("a device");
    let mut encoder =
        Encoder::load(&golden.model_dir(), &device, Precision::F32).expect("the tiny base");
    encoder.prepare_backward(Some(Place::new(0, Site::Attention))).expect("the same files");
    let rows = golden.rows();
    let batch = RaggedBatch::new(rows.iter().map(|(ids, types)| (&ids[..], &types[..])));
    (encoder, batch)
}

fn shared(encoder: &Encoder, config: &AdapterConfig) -> TaskModel {
    let mut model = TaskModel::new(encoder, config, &SHAPE, 1).expect("a model");
    model.share_across_layers(encoder, config).expect("one size");
    model
}

fn accumulate(encoder: &Encoder, model: &mut TaskModel, batch: &RaggedBatch, drop: usize) {
    let labels: Vec<usize> = (0..batch.rows()).map(|row| row % 3).collect();
    let loss = |logits: &Tensor| logits.cross_entropy(&labels, ClassLoss::default());
    let pass = TrainingPass {
        first_layer: drop,
        head_dropout: 0.0,
        base_dropout: BaseDropout::NONE,
        key: 3,
    };
    model.accumulate_gradients(encoder, batch, Entry::embedded(encoder, batch), &loss, pass);
}

/// Gradients of separate modules are PyTorch's, as the goldens say. Those of a shared one are sums of
/// single-precision numbers in another order: the project's bound for whole models covers that.
#[test]
fn the_gradient_is_the_sum_over_the_layers_of_an_adapter_with_equal_modules() {
    let (encoder, batch) = base();
    let mut report = Report::default();
    for preset in ["pfeiffer", "houlsby", "parallel"] {
        for (left_out, drop) in [(0, 0), (1, 0), (0, 2)] {
            let mut config = AdapterConfig::preset(preset).expect("a preset");
            config.leave_out.extend(0..left_out);
            let mut one = shared(&encoder, &config);
            let mut separate = TaskModel::new(&encoder, &config, &SHAPE, 1).expect("a model");
            let mut values = Vec::new();
            one.visit(&mut |owner, name, parameter| {
                values.push((owner, name.to_owned(), parameter.value().to_vec()));
            });
            let same = |owner: Owner, other: Owner| match (owner, other) {
                (Owner::Adapter(one), Owner::Adapter(other)) => one.site == other.site,
                _ => owner == other,
            };
            separate.visit(&mut |owner, name, parameter| {
                let equal = values.iter().find(|(o, n, _)| same(*o, owner) && n == name);
                parameter.assign(&equal.expect("a module at the site").2);
            });
            separate.repack();
            let logits = |model: &TaskModel| model.logits(&encoder, &batch).to_vec();
            let what = format!("{preset}, {left_out} left out, {drop} dropped");
            report.check(format!("{what}: logits"), logits(&one) == logits(&separate));
            accumulate(&encoder, &mut one, &batch, drop);
            accumulate(&encoder, &mut separate, &batch, drop);
            let mut sums: Vec<Vec<f32>> = vec![Vec::new(); values.len()];
            let mut layers = vec![0; values.len()];
            separate.visit(&mut |owner, name, parameter| {
                let equal = values.iter().position(|(o, n, _)| same(*o, owner) && n == name);
                let index = equal.expect("a module at the site");
                let Some(gradient) = parameter.gradient().map(Tensor::to_vec) else { return };
                layers[index] += 1;
                sums[index].resize(gradient.len(), 0.0);
                sums[index].iter_mut().zip(gradient).for_each(|(sum, d)| *sum += d);
            });
            let mut index = 0;
            one.visit(&mut |owner, name, parameter| {
                let got = parameter.gradient().expect("a gradient").to_vec();
                let what = format!("{what}: {owner:?} {name}");
                report.compare(what.clone(), &got, &sums[index], 2e-5);
                let several = if owner == Owner::Head { 1 } else { LAYERS - left_out - drop };
                report.check(what, layers[index] == several);
                index += 1;
            });
        }
    }
    report.finish();
}

/// The paper's appendix: reduction factors 1.33, 4 and 16. (768/1.33 makes 577, as the library
/// rounds; the paper's tables leave the biases out.)
#[test]
fn the_size_is_that_of_one_layer() {
    for (factor, size) in [(1.33, 577), (4.0, 192), (16.0, 48)] {
        let config = AdapterConfig {
            reduction_factor: ReductionFactor::Uniform(factor),
            ..AdapterConfig::preset("pfeiffer").expect("a preset")
        };
        assert_eq!(config.bottleneck_size(5, 768), Ok(size), "reduction factor {factor}");
    }
    let (encoder, _) = base();
    for (preset, sites) in [("pfeiffer", 1), ("houlsby", 2)] {
        let mut config = AdapterConfig::preset(preset).expect("a preset");
        config.reduction_factor = ReductionFactor::Uniform(1.33);
        let model = shared(&encoder, &config);
        // 32/1.33 makes 24.
        assert_eq!(model.adapter.parameters(), sites * (2 * 32 * 24 + 32 + 24));
        assert_eq!(model.adapter.modules().len(), sites * LAYERS);
        assert!(model.adapter.is_shared());
    }
    let layers = [(1, 8.0)].into();
    let uneven = AdapterConfig {
        reduction_factor: ReductionFactor::PerLayer { layers, default: Some(2.0) },
        ..AdapterConfig::preset("pfeiffer").expect("a preset")
    };
    let mut model = TaskModel::new(&encoder, &uneven, &SHAPE, 1).expect("a model");
    let error = model.share_across_layers(&encoder, &uneven).unwrap_err().to_string();
    assert!(error.contains("all layers share"), "{error}");
}

#[test]
fn its_files_keep_it_once_and_give_the_same_logits() {
    let (encoder, batch) = base();
    for (preset, left_out, sites) in [("pfeiffer", 0, 1), ("houlsby", 1, 2)] {
        let mut config = AdapterConfig::preset(preset).expect("a preset");
        config.leave_out.extend(0..left_out);
        let model = shared(&encoder, &config);
        let reference = ModelReference::new("bert", "base", 32).expect("a reference");
        let home = tempfile::tempdir().expect("a folder");
        let stored = model.stored_adapter("tiny", &config, &reference);
        stored.write(home.path()).expect("files");
        assert!(!home.path().join("adapter.safetensors").exists(), "not for the library");
        let read = StoredAdapter::read(home.path()).expect("what was written");
        assert_eq!(read, stored);
        assert_eq!((read.shared, read.modules.len()), (true, sites));
        assert_eq!(read.parameters(), model.adapter.parameters());
        let head = HeadKind::Classification;
        let head = model.stored_head("tiny", head, None, 0.0, &reference);
        let again = TaskModel::from_stored(&encoder, &read, &head).expect("a model");
        assert!(again.adapter.is_shared());
        let logits = |model: &TaskModel| model.logits(&encoder, &batch).to_vec();
        assert_eq!(logits(&again), logits(&model), "{preset}");

        // A file with several layers' tensors is not a shared adapter's.
        let several = TaskModel::new(&encoder, &config, &SHAPE, 1).expect("a model");
        let several = several.stored_adapter("tiny", &config, &reference);
        several.write(home.path()).expect("files");
        let path = |name: &str| home.path().join(name);
        std::fs::rename(path("adapter.safetensors"), path("shared_adapter.safetensors"))
            .expect("a rename");
        let error = StoredAdapter::read(home.path()).unwrap_err().to_string();
        assert!(error.contains("all layers share"), "{error}");
    }
}
