//! Heads' files: what is written is read back, and what is wrong is refused by name.

use std::fs;
use std::path::Path;

use adaptkit_adapters::files::{
    HEAD_CONFIG, HEAD_WEIGHTS, HeadKind, ModelReference, StoredHead, StoredLinear, write_tensors,
};
use adaptkit_kernels::Activation;
use serde_json::{Value, json};

const HIDDEN: usize = 8;

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| (index * 7 + seed * 13) as f32 / 64.0 - 1.0).collect()
}

fn linear(outputs: usize, bias: bool) -> StoredLinear {
    StoredLinear {
        inputs: HIDDEN,
        outputs,
        weight: values(HIDDEN * outputs, 1),
        bias: bias.then(|| values(outputs, 2)),
    }
}

fn names(labels: &[&str]) -> Option<Vec<String>> {
    Some(labels.iter().map(|label| String::from(*label)).collect())
}

/// The library's usual head with three labels.
fn head() -> StoredHead {
    StoredHead {
        name: String::from("rte"),
        kind: HeadKind::Classification,
        layers: vec![linear(HIDDEN, true), linear(3, true)],
        use_pooler: false,
        activation: Some(Activation::Tanh),
        dropout_prob: None,
        labels: names(&["zebra", "ähre", "a"]),
        model: ModelReference::new("bert", "some/base", HIDDEN).unwrap(),
    }
}

#[test]
fn every_variation_is_read_back_as_it_was_written() {
    let regression = StoredHead {
        layers: vec![linear(HIDDEN, true), linear(1, true)],
        labels: names(&["LABEL_0"]),
        ..head()
    };
    let many = (0..10_000).map(|number| format!("label {number}")).collect();
    let cases = [
        head(),
        regression,
        StoredHead { kind: HeadKind::MultiLabel, ..head() },
        StoredHead { layers: vec![linear(3, true)], ..head() },
        StoredHead { layers: vec![linear(3, false)], activation: None, ..head() },
        StoredHead { layers: vec![linear(HIDDEN, true), linear(3, false)], ..head() },
        StoredHead { activation: None, ..head() },
        StoredHead { use_pooler: true, ..head() },
        StoredHead {
            layers: vec![linear(HIDDEN, true), linear(HIDDEN, true), linear(3, true)],
            ..head()
        },
        StoredHead { activation: Some(Activation::Gelu), dropout_prob: Some(0.1), ..head() },
        StoredHead {
            layers: vec![linear(HIDDEN, true), linear(10_000, true)],
            labels: Some(many),
            ..head()
        },
    ];
    for written in cases {
        let home = tempfile::tempdir().unwrap();
        written.write(home.path()).unwrap();
        let read = StoredHead::read(home.path()).unwrap().unwrap();
        assert_eq!(read, written);
        read.check_base("bert", HIDDEN).unwrap();
        assert!(read.check_base("bert", 2 * HIDDEN).is_err());
    }
}

#[test]
fn a_head_without_labels_gets_the_library_s() {
    let home = tempfile::tempdir().unwrap();
    StoredHead { labels: None, ..head() }.write(home.path()).unwrap();
    let read = StoredHead::read(home.path()).unwrap().unwrap();
    assert_eq!(read.labels, names(&["LABEL_0", "LABEL_1", "LABEL_2"]));
}

#[test]
fn the_configuration_file_is_the_library_s_byte_for_byte() {
    let home = tempfile::tempdir().unwrap();
    head().write(home.path()).unwrap();
    let expected = r#"{
  "config": {
    "activation_function": "tanh",
    "bias": true,
    "dropout_prob": null,
    "head_type": "classification",
    "label2id": {
      "a": 2,
      "zebra": 0,
      "\u00e4hre": 1
    },
    "layers": 2,
    "num_labels": 3,
    "use_pooler": false
  },
  "hidden_size": 8,
  "model_class": "BertAdapterModel",
  "model_name": "some/base",
  "model_type": "bert",
  "name": "rte",
  "version": "adapters.1.3.0"
}"#;
    assert_eq!(fs::read_to_string(home.path().join(HEAD_CONFIG)).unwrap(), expected);
}

#[test]
fn a_directory_without_a_head_has_none_and_half_a_head_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(StoredHead::read(home.path()).unwrap(), None);
    for (gone, expected) in [
        (HEAD_CONFIG, "has no head_config.json"),
        (HEAD_WEIGHTS, "has no model_head.safetensors or pytorch_model_head.bin"),
    ] {
        head().write(home.path()).unwrap();
        fs::remove_file(home.path().join(gone)).unwrap();
        let message = StoredHead::read(home.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

/// Changes the configuration file of a head.
fn tamper_config(directory: &Path, change: impl Fn(&mut Value)) {
    let path = directory.join(HEAD_CONFIG);
    let mut config = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

/// Gives the names of labels by `id2label` alone.
fn only_id2label(config: &mut Value, id2label: Value) {
    config["config"]["label2id"] = json!(null);
    config["config"]["id2label"] = id2label;
}

#[test]
fn wrong_configuration_files_are_named_with_their_field() {
    type Tamper = fn(&mut Value);
    let cases: [(Tamper, &str); 23] = [
        (|v| v["config"]["label2id"]["a"] = json!(0), "both have the id 0"),
        (|v| v["config"]["label2id"]["a"] = json!(3), "\"a\" has the id 3, but the head has 3"),
        (|v| v["config"]["label2id"]["a"] = json!(-1), "\"a\" has the id -1"),
        (|v| v["config"]["label2id"]["a"] = json!("two"), "\"a\" has the id \"two\""),
        (|v| v["config"]["label2id"] = json!({"a": 0, "b": 2}), "no label has the id 1"),
        (|v| v["config"]["label2id"] = json!(["a"]), "\"label2id\" is [\"a\"]"),
        (|v| v["config"]["num_labels"] = json!(1u64 << 60), "expected [1152921504606846976, 8]"),
        (|v| v["config"]["num_labels"] = json!(0), "\"config.num_labels\" is 0"),
        (|v| v["config"]["num_labels"] = json!(null), "\"config.num_labels\" is null"),
        (|v| v["config"]["use_pooler"] = json!("yes"), "\"config.use_pooler\" is \"yes\""),
        (|v| only_id2label(v, json!({"0": "a", "1": "b"})), "no label has the id 2"),
        (|v| only_id2label(v, json!({"0": "a", "1": "a"})), "\"0\" and \"1\" both have the label"),
        (|v| only_id2label(v, json!({"0": 7})), "\"id2label.\"0\"\" is 7, expected a label"),
        (|v| v["config"]["head_type"] = json!("tagging"), "\"head_type\" is \"tagging\""),
        (|v| v["config"]["layers"] = json!(17), "\"config.layers\" is 17, expected a whole number"),
        (|v| v["config"]["layers"] = json!("2"), "\"config.layers\" is \"2\""),
        (|v| v["config"]["activation_function"] = json!("sine"), "is \"sine\", expected null or"),
        (|v| v["config"]["dropout_prob"] = json!(1.0), "\"config.dropout_prob\" is 1.0"),
        (|v| v["config"]["bias"] = json!("no"), "\"config.bias\" is \"no\""),
        (|v| v["config"]["layer_norm"] = json!(true), "\"config.layer_norm\" is true"),
        (|v| v["config"] = json!([]), "\"config\" is []"),
        (|v| v["config"]["bias"] = json!(false), "unexpected tensor \"heads.rte.4.bias\""),
        (|v| v["hidden_size"] = json!(16), "has shape [8, 8], expected [16, 16]"),
    ];
    for (tamper, expected) in cases {
        let home = tempfile::tempdir().unwrap();
        head().write(home.path()).unwrap();
        tamper_config(home.path(), tamper);
        let message = StoredHead::read(home.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "no {expected:?} in: {message}");
    }
}

#[test]
fn old_configurations_have_defaults_and_text_for_ids() {
    let home = tempfile::tempdir().unwrap();
    head().write(home.path()).unwrap();
    tamper_config(home.path(), |config| {
        config["model_class"] = json!("BertModelWithHeads");
        let labels = json!({"a": "2", "zebra": 0, "ähre": 1});
        let inner = json!({
            "head_type": "classification", "num_labels": 3, "layers": 2,
            "activation_function": "tanh", "label2id": labels
        });
        config["config"] = inner;
    });
    let read = StoredHead::read(home.path()).unwrap().unwrap();
    assert_eq!((read.labels, read.layers), (head().labels, head().layers));
}

#[test]
fn sparse_configurations_are_what_the_library_takes_them_for() {
    let id2label = json!({"1": "ähre", "0": "zebra", "2": "a"});
    type Tamper = fn(&mut Value);
    let unnamed = names(&["LABEL_0", "LABEL_1", "LABEL_2"]);
    let cases: [(Value, Tamper, Option<Vec<String>>); 5] = [
        (id2label.clone(), |_| (), head().labels),
        (id2label.clone(), |v| v["config"]["label2id"] = json!({}), head().labels),
        (
            id2label,
            // label2id goes before id2label.
            |v| v["config"]["label2id"] = json!({"x": 0, "y": "1", "z": 2}),
            names(&["x", "y", "z"]),
        ),
        (json!(null), |_| (), None),
        (json!({}), |v| v["config"]["label2id"] = json!(null), None),
    ];
    for (id2label, tamper, expected) in cases {
        let home = tempfile::tempdir().unwrap();
        StoredHead { labels: unnamed.clone(), ..head() }.write(home.path()).unwrap();
        tamper_config(home.path(), |config| {
            // Two layers, tanh and the first token's state are the library's defaults; the number of
            // labels is that of the weights.
            config["config"] = json!({"head_type": "classification", "id2label": id2label});
            tamper(config);
        });
        let read = StoredHead::read(home.path()).unwrap().unwrap();
        assert_eq!(read, StoredHead { labels: expected, ..head() });
    }
}

#[test]
fn other_heads_whose_names_begin_alike_are_passed_over_as_the_library_saves_them() {
    let home = tempfile::tempdir().unwrap();
    head().write(home.path()).unwrap();
    let (square, bias) = (values(HIDDEN * HIDDEN, 1), values(HIDDEN, 2));
    let (out, out_bias) = (values(3 * HIDDEN, 1), values(3, 2));
    let mut tensors: Vec<(String, Vec<usize>, &[f32])> = Vec::new();
    for head in ["rte", "rte2"] {
        tensors.push((format!("heads.{head}.1.weight"), vec![HIDDEN, HIDDEN], &square));
        tensors.push((format!("heads.{head}.1.bias"), vec![HIDDEN], &bias));
        tensors.push((format!("heads.{head}.4.weight"), vec![3, HIDDEN], &out));
        tensors.push((format!("heads.{head}.4.bias"), vec![3], &out_bias));
    }
    write_tensors(&home.path().join(HEAD_WEIGHTS), tensors).unwrap();
    assert_eq!(StoredHead::read(home.path()).unwrap().unwrap(), head());
}

#[test]
fn tampered_tensors_are_named() {
    let weight = values(3 * HIDDEN, 0);
    let square = values(HIDDEN * HIDDEN, 0);
    let bias = values(HIDDEN, 0);
    type Tensor = (&'static str, &'static [usize]);
    let cases: [(&[Tensor], &str); 5] = [
        (&[], "has no tensor \"heads.NAME.1.weight\""),
        (&[("heads.rte.1.weight", &[8, 8])], "has no tensor \"heads.rte.1.bias\""),
        (&[("heads.rte.1.weight", &[3, 8])], "has shape [3, 8], expected [8, 8]"),
        (
            &[("heads.rte.1.weight", &[8, 8]), ("heads.mnli.1.bias", &[8])],
            "it belongs to another head, \"mnli\"",
        ),
        (&[("classifier.weight", &[3, 8])], "unexpected tensor \"classifier.weight\""),
    ];
    for (tensors, expected) in cases {
        let home = tempfile::tempdir().unwrap();
        head().write(home.path()).unwrap();
        let tensors = tensors.iter().map(|(name, shape)| {
            let data = match shape.iter().product() {
                8 => &bias[..],
                24 => &weight[..],
                _ => &square[..],
            };
            (String::from(*name), shape.to_vec(), data)
        });
        write_tensors(&home.path().join(HEAD_WEIGHTS), tensors).unwrap();
        let message = StoredHead::read(home.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "no {expected:?} in: {message}");
    }
}

#[test]
fn heads_of_plain_models_are_read() {
    let home = tempfile::tempdir().unwrap();
    let write = |class: &str, model_type: &str, layers: &[&str]| {
        let [dense, out] = [linear(HIDDEN, true), linear(2, true)];
        let mut tensors: Vec<(String, Vec<usize>, &[f32])> = Vec::new();
        for (name, layer) in layers.iter().rev().zip([&out, &dense]) {
            let shape = vec![layer.outputs, HIDDEN];
            tensors.push((format!("{name}.weight"), shape, &layer.weight));
            let bias = layer.bias.as_ref().unwrap();
            tensors.push((format!("{name}.bias"), vec![layer.outputs], bias));
        }
        write_tensors(&home.path().join(HEAD_WEIGHTS), tensors).unwrap();
        let config = json!({
            "config": null, "hidden_size": HIDDEN, "label2id": {"no": 0, "yes": 1},
            "model_class": class, "model_name": "", "model_type": model_type, "name": null,
            "num_labels": 2, "version": "adapters.1.3.0"
        });
        fs::write(home.path().join(HEAD_CONFIG), config.to_string()).unwrap();
        StoredHead::read(home.path())
    };
    let roberta: &[&str] = &["classifier.dense", "classifier.out_proj"];
    let distilbert: &[&str] = &["pre_classifier", "classifier"];
    for (class, model_type, layers, activation) in [
        ("RobertaForSequenceClassification", "roberta", roberta, Activation::Tanh),
        ("XLMRobertaForSequenceClassification", "xlm-roberta", roberta, Activation::Tanh),
        ("ElectraForSequenceClassification", "electra", roberta, Activation::Gelu),
        ("DistilBertForSequenceClassification", "distilbert", distilbert, Activation::Relu),
    ] {
        let read = write(class, model_type, layers).unwrap().unwrap();
        assert_eq!(read.layers, [linear(HIDDEN, true), linear(2, true)]);
        assert_eq!(read.activation, Some(activation));
        assert_eq!(read.labels, names(&["no", "yes"]));
        assert_eq!(read.name, "default");
    }
    fs::write(home.path().join("adapter_config.json"), "{\"name\": \"rte\"}").unwrap();
    let read = write("RobertaForSequenceClassification", "roberta", roberta).unwrap().unwrap();
    assert_eq!(read.name, "rte");
    let read = write("BertForSequenceClassification", "bert", &["classifier"]).unwrap().unwrap();
    assert_eq!((&read.layers[..], read.use_pooler), (&[linear(2, true)][..], true));
    assert_eq!(read.activation, None);
    // Without the number of labels it is that of the weights.
    tamper_config(home.path(), |config| {
        config.as_object_mut().unwrap().remove("num_labels");
        config["label2id"] = json!(null);
    });
    let sparse = StoredHead::read(home.path()).unwrap().unwrap();
    assert_eq!(sparse, StoredHead { labels: None, ..read });
    for (class, layers, expected) in [
        ("BertForTokenClassification", &["classifier"][..], "is \"BertForTokenClassification\""),
        ("BertForSequenceClassification", roberta, "no tensor \"classifier.weight\""),
    ] {
        let message = write(class, "bert", layers).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn what_contradicts_itself_is_not_written() {
    for (head, expected) in [
        (StoredHead { name: String::from("a/b"), ..head() }, "cannot be the name of a head"),
        (StoredHead { layers: vec![], ..head() }, "it has 0 layers"),
        (
            StoredHead { layers: vec![linear(3, true), linear(3, true)], ..head() },
            "layer 0 makes 3",
        ),
        (StoredHead { labels: names(&["a", "b"]), ..head() }, "2 labels for 3 outputs"),
        (StoredHead { labels: names(&["a", "b", "a"]), ..head() }, "have the label \"a\""),
    ] {
        let home = tempfile::tempdir().unwrap();
        let message = head.write(home.path()).unwrap_err().to_string();
        assert!(message.contains(expected), "no {expected:?} in: {message}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
