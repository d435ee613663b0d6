//! Adapters' directories: what is written is read back, and what is wrong is refused by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use adaptkit_adapters::config::{AdapterConfig, AdapterResidual, Preset, ReductionFactor, Scaling};
use adaptkit_adapters::error::AdapterError;
use adaptkit_adapters::files::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, ModelReference, StoredAdapter, StoredBottleneck, StoredGate,
    StoredNorm, write_tensors,
};
use adaptkit_encoder::{Place, Site};
use serde_json::{Value, json};

const HIDDEN: usize = 16;
const LAYERS: usize = 3;

/// Values that differ from tensor to tensor and within each.
fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| (index * 7 + seed * 13) as f32 / 64.0 - 1.0).collect()
}

fn module(config: &AdapterConfig, layer: usize, seed: usize) -> StoredBottleneck {
    let bottleneck = config.bottleneck_size(layer, HIDDEN).unwrap();
    let norm = |seed| StoredNorm { weight: values(HIDDEN, seed), bias: values(HIDDEN, seed + 1) };
    StoredBottleneck {
        down_weight: values(bottleneck * HIDDEN, seed),
        down_bias: values(bottleneck, seed + 1),
        up_weight: values(HIDDEN * bottleneck, seed + 2),
        up_bias: values(HIDDEN, seed + 3),
        scaling: match config.scaling {
            Scaling::Fixed(_) => None,
            Scaling::Learned => Some(values(1, seed + 4)),
            Scaling::Channel => Some(values(HIDDEN, seed + 4)),
        },
        gate: config
            .use_gating
            .then(|| StoredGate { weight: values(HIDDEN, seed + 5), bias: 0.25 }),
        norm_before: config.ln_before.then(|| norm(seed + 6)),
        norm_after: config.ln_after.then(|| norm(seed + 8)),
    }
}

fn adapter(config: AdapterConfig, model_type: &str) -> StoredAdapter {
    let modules: BTreeMap<Place, StoredBottleneck> = config
        .places(LAYERS)
        .enumerate()
        .map(|(seed, place)| (place, module(&config, place.layer, seed * 20)))
        .collect();
    StoredAdapter {
        name: String::from("rté"),
        model: ModelReference::new(model_type, "some/base", HIDDEN).unwrap(),
        config,
        modules,
        shared: false,
        layer_norms: BTreeMap::new(),
    }
}

fn pfeiffer() -> StoredAdapter {
    adapter(Preset::Pfeiffer.config(), "bert")
}

/// Every field that changes what is stored, alone and together.
fn variations() -> Vec<AdapterConfig> {
    type Change = fn(&mut AdapterConfig);
    let changes: [Change; 10] = [
        |_| {},
        |c| c.mh_adapter = true,
        |c| c.leave_out = [0, 2].into(),
        |c| c.scaling = Scaling::Learned,
        |c| c.scaling = Scaling::Channel,
        |c| c.use_gating = true,
        |c| c.ln_before = true,
        |c| c.ln_after = true,
        |c| c.residual_before_ln = AdapterResidual::AfterAdd,
        |c| {
            let layers = [(1, 4.0), (2, 3.83)].into();
            c.reduction_factor = ReductionFactor::PerLayer { layers, default: Some(2.0) };
        },
    ];
    let mut together = Preset::Pfeiffer.config();
    let mut configs = Vec::new();
    for change in changes {
        let mut alone = Preset::Pfeiffer.config();
        change(&mut alone);
        change(&mut together);
        configs.push(alone);
    }
    configs.push(together);
    configs.extend(Preset::ALL.map(Preset::config));
    configs
}

#[test]
fn trained_layer_norms_are_read_back_and_strange_ones_refused() {
    use adaptkit_adapters::files::{LAYER_NORMS, StoredNorm, write_tensors};
    let home = tempfile::tempdir().unwrap();
    let families = [
        ("bert", "encoder.layer.1.output.LayerNorm.weight"),
        ("distilbert", "transformer.layer.1.output_layer_norm.weight"),
        ("mpnet", "encoder.layer.1.output.LayerNorm.weight"),
    ];
    for (model_type, name) in families {
        let directory = home.path().join(model_type);
        let mut written = adapter(Preset::Pfeiffer.config(), model_type);
        let norm = |seed: usize| StoredNorm {
            weight: (0..HIDDEN).map(|i| 1.0 + (i + seed) as f32).collect(),
            bias: (0..HIDDEN).map(|i| i as f32 - seed as f32).collect(),
        };
        written.layer_norms.insert(Place::new(0, Site::Output), norm(1));
        written.layer_norms.insert(Place::new(1, Site::Attention), norm(2));
        written.layer_norms.insert(Place::new(1, Site::Output), norm(3));
        written.write(&directory).unwrap();
        assert_eq!(StoredAdapter::read(&directory).unwrap(), written);
        assert_eq!(written.parameters(), 3 * 2 * HIDDEN + pfeiffer().parameters());

        let values = [1.0; HIDDEN];
        let file = directory.join(LAYER_NORMS);
        let refused = |tensors: &[(&str, usize)]| {
            let tensors =
                tensors.iter().map(|(n, len)| (n.to_string(), vec![*len], &values[..*len]));
            write_tensors(&file, tensors).unwrap();
            StoredAdapter::read(&directory).unwrap_err().to_string()
        };
        let bias = name.replace("weight", "bias");
        let cases = [
            (refused(&[(name, HIDDEN)]), &bias[..]),
            (refused(&[(name, HIDDEN), (&bias, HIDDEN - 1)]), &bias[..]),
            (refused(&[("embeddings.LayerNorm.weight", HIDDEN)]), "embeddings.LayerNorm.weight"),
        ];
        for (message, wanted) in cases {
            assert!(message.contains(wanted) && message.contains(LAYER_NORMS), "{message}");
        }
    }
}

#[test]
fn every_variation_is_read_back_as_it_was_written() {
    let home = tempfile::tempdir().unwrap();
    let mut count = 0;
    for model_type in
        ["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "mpnet"]
    {
        for config in variations() {
            let directory = home.path().join(count.to_string());
            let written = adapter(config, model_type);
            written.write(&directory).unwrap();
            let read = StoredAdapter::read(&directory).unwrap();
            assert_eq!(read, written);
            read.check_base(model_type, HIDDEN, LAYERS).unwrap();
            count += 1;
        }
    }
}

#[test]
fn an_adapter_that_is_left_out_everywhere_has_no_tensors() {
    let home = tempfile::tempdir().unwrap();
    let mut config = Preset::Pfeiffer.config();
    config.leave_out = (0..LAYERS).collect();
    let written = adapter(config, "bert");
    assert_eq!(written.parameters(), 0);
    written.write(home.path()).unwrap();
    assert_eq!(StoredAdapter::read(home.path()).unwrap(), written);
}

#[test]
fn the_configuration_file_is_the_library_s_byte_for_byte() {
    let home = tempfile::tempdir().unwrap();
    let mut written = adapter(Preset::Houlsby.config(), "bert");
    written.name = String::from("t");
    written.model.model_name = None;
    written.write(home.path()).unwrap();
    let expected = r#"{
  "config": {
    "adapter_residual_before_ln": false,
    "cross_adapter": false,
    "dropout": 0.0,
    "factorized_phm_W": true,
    "factorized_phm_rule": false,
    "hypercomplex_nonlinearity": "glorot-uniform",
    "init_weights": "bert",
    "init_weights_seed": null,
    "inv_adapter": null,
    "inv_adapter_reduction_factor": null,
    "is_parallel": false,
    "learn_phm": true,
    "leave_out": [],
    "ln_after": false,
    "ln_before": false,
    "mh_adapter": true,
    "non_linearity": "swish",
    "original_ln_after": true,
    "original_ln_before": false,
    "output_adapter": true,
    "phm_bias": true,
    "phm_c_init": "normal",
    "phm_dim": 4,
    "phm_init_range": 0.0001,
    "phm_layer": false,
    "phm_rank": 1,
    "reduction_factor": 16,
    "residual_before_ln": true,
    "scaling": 1.0,
    "shared_W_phm": false,
    "shared_phm_rule": true,
    "stochastic_depth": 0.0,
    "use_gating": false
  },
  "hidden_size": 16,
  "model_class": "BertAdapterModel",
  "model_name": "",
  "model_type": "bert",
  "name": "t",
  "version": "adapters.1.3.0"
}"#;
    assert_eq!(fs::read_to_string(home.path().join(ADAPTER_CONFIG)).unwrap(), expected);
}

/// Tensors of an adapter's file as (name, shape, values), to be tampered with.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The tensors of a Pfeiffer adapter with reduction factor 16: bottleneck 1.
fn tensors() -> Tensors {
    let mut tensors = Tensors::new();
    for (place, module) in pfeiffer().modules {
        let mut add = |part: &str, shape: Vec<usize>, data: Vec<f32>| {
            let layer = place.layer;
            let name = format!("bert.encoder.layer.{layer}.output.adapters.rte.{part}");
            tensors.insert(name, (shape, data));
        };
        add("adapter_down.0.weight", vec![1, HIDDEN], module.down_weight);
        add("adapter_down.0.bias", vec![1], module.down_bias);
        add("adapter_up.weight", vec![HIDDEN, 1], module.up_weight);
        add("adapter_up.bias", vec![HIDDEN], module.up_bias);
    }
    tensors
}

fn write_weights(directory: &Path, tensors: &Tensors) {
    let tensors =
        tensors.iter().map(|(name, (shape, data))| (name.clone(), shape.clone(), data.as_slice()));
    write_tensors(&directory.join(ADAPTER_WEIGHTS), tensors).unwrap();
}

/// The configuration file of a Pfeiffer adapter.
fn outer() -> Value {
    json!({
        "config": Preset::Pfeiffer.config(),
        "hidden_size": HIDDEN,
        "model_class": "BertAdapterModel",
        "model_name": "some/base",
        "model_type": "bert",
        "name": "rté",
        "version": "adapters.1.3.0"
    })
}

fn write_config(directory: &Path, config: &Value) {
    fs::write(directory.join(ADAPTER_CONFIG), config.to_string()).unwrap();
}

#[test]
fn old_names_bare_encoders_and_any_adapter_name_are_read() {
    let home = tempfile::tempdir().unwrap();
    write_config(home.path(), &outer());
    for (from, to) in [
        ("bert.encoder", "bert.encoder"),
        ("bert.encoder", "encoder"),
        (".adapters.", ".layer_text_task_adapters."),
        (".adapters.", ".layer_text_lang_adapters."),
        (".rte.", ".something else@hub."),
    ] {
        let renamed = tensors().into_iter().map(|(name, t)| (name.replace(from, to), t)).collect();
        write_weights(home.path(), &renamed);
        assert_eq!(StoredAdapter::read(home.path()).unwrap(), pfeiffer(), "{from} -> {to}");
    }
}

#[test]
fn a_task_adapter_of_the_first_version_has_no_inversion_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    write_weights(home.path(), &tensors());
    let mut config = outer();
    config["config"]["inv_adapter"] = json!("nice");
    config["config"]["inv_adapter_reduction_factor"] = json!(2);
    write_config(home.path(), &config);
    let message = StoredAdapter::read(home.path()).unwrap_err().to_string();
    assert!(message.contains("\"inv_adapter\" is \"nice\""), "{message}");
    config["type"] = json!("text_task");
    write_config(home.path(), &config);
    assert_eq!(StoredAdapter::read(home.path()).unwrap(), pfeiffer());
}

#[test]
fn the_norm_before_may_stand_under_one_name_or_both_but_must_be_one() {
    let home = tempfile::tempdir().unwrap();
    let mut config = outer();
    config["config"]["ln_before"] = json!(true);
    write_config(home.path(), &config);
    let mut both = Tensors::new();
    for (name, tensor) in tensors() {
        both.insert(name.replace("adapter_down.0", "adapter_down.1"), tensor);
    }
    for layer in 0..LAYERS {
        for part in ["weight", "bias"] {
            for norm in ["adapter_norm_before", "adapter_down.0"] {
                let name = format!("bert.encoder.layer.{layer}.output.adapters.rte.{norm}.{part}");
                both.insert(name, (vec![HIDDEN], values(HIDDEN, layer)));
            }
        }
    }
    write_weights(home.path(), &both);
    let read = StoredAdapter::read(home.path()).unwrap();
    for dropped in ["adapter_norm_before", "adapter_down.0"] {
        let mut one = both.clone();
        one.retain(|name, _| !name.contains(dropped));
        write_weights(home.path(), &one);
        assert_eq!(StoredAdapter::read(home.path()).unwrap(), read);
    }
    let name = "bert.encoder.layer.1.output.adapters.rte.adapter_down.0.bias";
    both.get_mut(name).unwrap().1[3] += 1.0;
    write_weights(home.path(), &both);
    let message = StoredAdapter::read(home.path()).unwrap_err().to_string();
    assert!(message.contains(name) && message.contains("is the same norm"), "{message}");
}

#[test]
fn tampered_tensors_are_named() {
    const UP: &str = "bert.encoder.layer.1.output.adapters.rte.adapter_up.weight";
    type Tamper = fn(&mut Tensors);
    let cases: [(Tamper, &[&str]); 13] = [
        (|t| drop(t.remove(UP)), &["has no tensor", UP, "bottleneck 1 at layer 1, output"]),
        (
            |t| t.retain(|name, _| !name.contains("layer.1.")),
            &["has no tensor", UP, "calls for at layer 1, output"],
        ),
        (|t| t.clear(), &["has no tensor", "layer.0.output.adapters.NAME.adapter_up.weight"]),
        (
            |t| t.get_mut(UP).unwrap().0 = vec![1, HIDDEN],
            &[UP, "has shape [1, 16], expected [16, 1]", "hidden size 16"],
        ),
        (
            |t| *t.get_mut(UP).unwrap() = (vec![0, 1], vec![]),
            &[UP, "has shape [0, 1], expected [16, 1]"],
        ),
        (|t| t.get_mut(UP).unwrap().1[5] = f32::NAN, &[UP, "holds NaN at 5", "diverged"]),
        (|t| t.get_mut(UP).unwrap().1[0] = f32::INFINITY, &[UP, "holds inf at 0"]),
        (
            |t| drop(t.insert(UP.replace("adapter_up.weight", "scaling"), (vec![1], vec![1.0]))),
            &["unexpected tensor", "rte.scaling", "no such part at layer 1, output"],
        ),
        (
            |t| {
                let name = UP.replace(".output.adapters", ".attention.output.adapters");
                t.insert(name, (vec![HIDDEN, 1], values(HIDDEN, 0)));
            },
            &["unexpected tensor", "no module at layer 1, attention"],
        ),
        (
            |t| drop(t.insert(UP.replace(".rte.", ".mnli."), (vec![HIDDEN, 1], values(16, 0)))),
            &["unexpected tensor", ".mnli.", "also has an adapter called \"rte\""],
        ),
        (
            |t| drop(t.insert(UP.replace("bert.", ""), (vec![HIDDEN, 1], values(HIDDEN, 0)))),
            &["unexpected tensor", "stands for the same part"],
        ),
        (
            |t| drop(t.insert(String::from("bert.pooler.dense.bias"), (vec![1], vec![0.0]))),
            &["unexpected tensor", "bert.pooler.dense.bias", "have names like"],
        ),
        (
            |t| {
                let name = UP.replace("layer.1", "layer.4000000000");
                t.insert(name, (vec![HIDDEN, 1], values(HIDDEN, 0)));
            },
            &["has no tensor", "layer.3.output", "calls for at layer 3, output"],
        ),
    ];
    let home = tempfile::tempdir().unwrap();
    write_config(home.path(), &outer());
    for (tamper, expected) in cases {
        let mut tampered = tensors();
        tamper(&mut tampered);
        write_weights(home.path(), &tampered);
        let message = StoredAdapter::read(home.path()).unwrap_err().to_string();
        for part in expected.iter().chain(&["adapter.safetensors"]) {
            assert!(message.contains(part), "no {part:?} in: {message}");
        }
    }
}

#[test]
fn damaged_weights_files_are_refused_and_not_believed() {
    let home = tempfile::tempdir().unwrap();
    write_config(home.path(), &outer());
    write_weights(home.path(), &tensors());
    let path = home.path().join(ADAPTER_WEIGHTS);
    let whole = fs::read(&path).unwrap();
    let mut cases: Vec<Vec<u8>> = vec![Vec::new(), vec![0xff; 8], vec![0xff; 64]];
    cases.extend((1..10).map(|tenth| whole[..whole.len() * tenth / 10].to_vec()));
    cases.push(whole[..whole.len() - 1].to_vec());
    let text = String::from_utf8_lossy(&whole).into_owned();
    for kind in ["I32", "Q99"] {
        let mut typed = whole.clone();
        let at = text.find("F32").unwrap();
        typed[at..at + 3].copy_from_slice(kind.as_bytes());
        cases.push(typed);
    }
    for (number, bytes) in cases.iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        let error = StoredAdapter::read(home.path()).unwrap_err();
        assert!(matches!(error, AdapterError::Weights(_)), "case {number}: {error:?}");
        assert!(error.to_string().contains("adapter.safetensors"), "case {number}: {error}");
    }
}

#[test]
fn wrong_configuration_files_are_named_with_their_field() {
    type Tamper = fn(&mut Value);
    let cases: [(Tamper, &str); 12] = [
        (|v| v["config"]["phm_layer"] = json!(true), "\"phm_layer\" is true"),
        (|v| v["config"]["architecture"] = json!("prefix_tuning"), "\"prefix_tuning\""),
        (|v| v["config"]["teleport"] = json!("on"), "unknown field \"teleport\" = \"on\""),
        (|v| v["config"] = json!(null), "\"config\" is null"),
        (
            |v| v["config"] = json!("compacter"),
            "the adapter configuration \"compacter\" asks for projections",
        ),
        (|v| v["config"]["reduction_factor"] = json!({"7": 2}), "no entry for layer 0"),
        (|v| v["hidden_size"] = json!(-16), "\"hidden_size\" is -16"),
        (|v| v["hidden_size"] = json!(null), "\"hidden_size\" is null"),
        (|v| v["model_type"] = json!("gpt2"), "encoders of type \"gpt2\""),
        (|v| v["model_type"] = json!("roberta"), "type \"roberta\" have names like roberta."),
        (|v| v["name"] = json!(["rte"]), "\"name\" is [\"rte\"], expected a string"),
        (|v| *v = json!({"peft_type": "LORA"}), "\"LORA\", made by PEFT"),
    ];
    let home = tempfile::tempdir().unwrap();
    write_weights(home.path(), &tensors());
    for (tamper, expected) in cases {
        let mut config = outer();
        tamper(&mut config);
        write_config(home.path(), &config);
        let message = StoredAdapter::read(home.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "no {expected:?} in: {message}");
    }
    // A wider encoder than the tensors are for.
    let mut config = outer();
    config["hidden_size"] = json!(32);
    write_config(home.path(), &config);
    let message = StoredAdapter::read(home.path()).unwrap_err().to_string();
    assert!(message.contains("has shape [1, 16], expected [2, 32]"), "{message}");
}

#[test]
fn what_is_no_adapter_s_directory_is_recognised() {
    let home = tempfile::tempdir().unwrap();
    let read = |path: &Path| StoredAdapter::read(path).unwrap_err().to_string();
    assert!(read(home.path()).contains("it is not an adapter's directory"));
    assert!(read(&home.path().join("absent")).contains("there is no such directory"));
    fs::create_dir(home.path().join("inner")).unwrap();
    write_config(&home.path().join("inner"), &outer());
    assert!(read(home.path()).contains("its sub-directories \"inner\" do"));
    assert!(
        read(&home.path().join("inner")).contains("adapter.safetensors or pytorch_adapter.bin")
    );
    assert!(read(&home.path().join("inner/adapter_config.json")).contains("it is a file"));
    fs::write(home.path().join("adapter_fusion_config.json"), "{}").unwrap();
    assert!(read(home.path()).contains("a fusion of adapters"));
}

#[test]
fn another_base_is_refused_by_what_differs() {
    let adapter = pfeiffer();
    for (model_type, hidden, layers, expected) in [
        ("roberta", HIDDEN, LAYERS, "with model type bert, this one has roberta"),
        ("bert", 32, LAYERS, "with hidden size 16, this one has 32"),
        ("bert", HIDDEN, 2, "with layers 3, this one has 2"),
        ("bert", HIDDEN, 4, "with layers 3, this one has 4"),
    ] {
        let message = adapter.check_base(model_type, hidden, layers).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn what_contradicts_itself_is_not_written() {
    let output = Place::new(1, Site::Output);
    type Tamper = fn(&mut StoredAdapter, Place);
    let cases: [(Tamper, &str); 9] = [
        (|a, _| a.name = String::from("a.b"), "cannot be the name of an adapter"),
        (|a, _| a.name = String::new(), "it is empty"),
        (|a, at| a.modules.get_mut(&at).unwrap().up_bias.truncate(15), "adapter_up.bias has 15"),
        (|a, at| a.modules.get_mut(&at).unwrap().scaling = Some(vec![1.0]), "has no scaling"),
        (|a, _| a.config.use_gating = true, "there is no gate.weight"),
        (|a, _| a.config.ln_before = true, "has no adapter_down.0.weight"),
        (|a, at| a.modules.get_mut(&at).unwrap().up_bias[0] = f32::NAN, "is not finite"),
        (
            |a, _| a.config.leave_out = [1].into(),
            "layer 1, output: the configuration has no module",
        ),
        (|a, _| a.model.model_type = String::from("t5"), "encoders of type \"t5\""),
    ];
    for (tamper, expected) in cases {
        let home = tempfile::tempdir().unwrap();
        let mut adapter = pfeiffer();
        tamper(&mut adapter, output);
        let message = adapter.write(home.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "no {expected:?} in: {message}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "{expected}");
    }
}
