//! Heads and fusions in the forms in which the `adapters` library's other functions save them: static
//! heads, heads on the pooler, deeper heads, and the folders of a fusion with its head.
//!
//! Bound: 2e-5 of the largest logit, as for the encoder.

use std::path::Path;

use adaptkit_adapters::files::{ADAPTER_CONFIG, HeadKind, StoredAdapter, StoredFusion, StoredHead};
use adaptkit_adapters::{AdapterError, TaskModel};
use adaptkit_compute::{Device, Dropout, Precision};
use adaptkit_encoder::{Encoder, EncoderError, RaggedBatch};
use adaptkit_testkit::{Golden, Report, golden_dir};
use serde_json::{Value, json};

const BOUND: f64 = 2e-5;

/// The goldens of heads, each with its folders.
const HEADS: [(&str, &[&str]); 5] = [
    ("heads-bert", &["static", "static-adapter", "pooler", "pooler-one-layer", "three-layers"]),
    ("heads-roberta", &["static", "static-adapter"]),
    (
        "heads-xlm-roberta",
        &["static", "static-adapter", "pooler", "pooler-one-layer", "three-layers"],
    ),
    ("heads-distilbert", &["static", "static-adapter"]),
    ("heads-electra", &["static", "static-adapter"]),
];

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => std::fs::write(&to, std::fs::read(entry.path()).expect("a file")).expect("it"),
        }
    }
}

fn edit(path: &Path, change: impl Fn(&mut Value)) {
    let text = std::fs::read_to_string(path).expect("a file");
    let mut value = serde_json::from_str(&text).expect("JSON");
    change(&mut value);
    std::fs::write(path, value.to_string()).expect("written");
}

fn encoder(golden: &Golden) -> Encoder {
    let device = Device::cpu(None).expect("a device");
    Encoder::load(&golden.model_dir(), &device, Precision::F32).expect("the tiny base")
}

/// The logits of the golden's rows under an adapter's folder, or a head's.
fn logits(golden: &Golden, encoder: &Encoder, folder: &Path) -> Vec<f32> {
    let head = StoredHead::read(folder).expect("a head").expect("a head");
    let mut model = match folder.join(ADAPTER_CONFIG).exists() {
        true => {
            let adapter = StoredAdapter::read(folder).expect("an adapter");
            TaskModel::from_stored(encoder, &adapter, &head).expect("a model")
        }
        false => TaskModel::bare(encoder, &head).expect("a model"),
    };
    model.pack_for_inference();
    logits_of(golden, encoder, &model)
}

fn logits_of(golden: &Golden, encoder: &Encoder, model: &TaskModel) -> Vec<f32> {
    let rows = golden.rows();
    let batch = RaggedBatch::new(rows.iter().map(|(ids, types)| (&ids[..], &types[..])));
    model.logits(encoder, &batch).to_vec()
}

#[test]
fn static_heads_heads_on_the_pooler_and_deep_heads_give_the_librarys_logits() {
    let mut report = Report::default();
    for (name, folders) in HEADS {
        let golden = Golden::at(&golden_dir(name));
        let encoder = encoder(&golden);
        for folder in folders {
            let path = golden.directory().join(folder);
            let wanted = golden.floats(&format!("logits.{folder}"));
            report.compare(
                format!("{name}/{folder}"),
                &logits(&golden, &encoder, &path),
                &wanted,
                BOUND,
            );
            // Read, written in today's form, and read again it is the same head.
            let home = tempfile::tempdir().expect("a directory");
            let head = StoredHead::read(&path).expect("a head").expect("a head");
            assert!(head.labels.as_ref().is_some_and(|labels| labels[2] == "contradiction"));
            head.write(home.path()).expect("written");
            let mut again = StoredHead::read(home.path()).expect("a head").expect("a head");
            // The class that is written is always the one of exchangeable heads.
            again.model.model_class.clone_from(&head.model.model_class);
            report.check(format!("{name}/{folder}: written"), again == head);
        }
    }
    report.finish();
}

#[test]
fn stochastic_depth_and_absent_fields_change_no_logit() {
    let golden = Golden::at(&golden_dir("heads-bert"));
    let encoder = encoder(&golden);
    let home = tempfile::tempdir().expect("a directory");
    copy(&golden.directory().join("pooler"), home.path());
    edit(&home.path().join(ADAPTER_CONFIG), |config| {
        config["config"]["stochastic_depth"] = json!(0.1);
    });
    edit(&home.path().join("head_config.json"), |config| {
        let labels = json!({"0": "entailment", "1": "neutral", "2": "contradiction"});
        config["config"] =
            json!({"head_type": "classification", "use_pooler": true, "id2label": labels});
    });
    let wanted = golden.floats("logits.pooler");
    let mut report = Report::default();
    report.compare("sparse", &logits(&golden, &encoder, home.path()), &wanted, BOUND);
    report.finish();
    let adapter = StoredAdapter::read(home.path()).expect("an adapter");
    let refused = adapter.config.check_trainable().expect_err("it cannot be trained");
    assert!(refused.to_string().contains("\"stochastic_depth\" is 0.1"), "{refused}");
    assert_eq!(adapter.config.to_json()["stochastic_depth"], json!(0.1));
}

#[test]
fn a_pooler_that_is_not_there_is_an_error_and_never_a_random_one() {
    let golden = Golden::at(&golden_dir("heads-bert"));
    let head = golden.directory().join("pooler");
    let head = StoredHead::read(&head).expect("a head").expect("a head");
    // A base whose weights have no pooler by that name.
    let home = tempfile::tempdir().expect("a directory");
    copy(&golden_dir("bert").join("model"), home.path());
    let weights = home.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("a file");
    let name = b"pooler.dense.weight";
    let at = bytes.windows(name.len()).position(|part| part == name).expect("a pooler");
    bytes[at] = b'c';
    std::fs::write(&weights, bytes).expect("written");
    let device = Device::cpu(None).expect("a device");
    let cases = [
        (home.path().to_path_buf(), "lack \"pooler.dense.weight\""),
        (golden_dir("electra").join("model"), "models of type electra have none"),
    ];
    for (base, expected) in cases {
        let encoder = Encoder::load(&base, &device, Precision::F32).expect("a base");
        let mut head = head.clone();
        head.model.model_type = encoder.config().model_type.clone();
        head.model.hidden_size = encoder.config().hidden_size;
        match TaskModel::bare(&encoder, &head).map(|_| ()).expect_err("no pooler") {
            AdapterError::Weights(error) => {
                assert!(matches!(*error, EncoderError::NoPooler { .. }), "{error}");
                assert!(error.to_string().contains(expected), "{error}");
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn back_propagation_through_the_pooler_is_the_derivative() {
    let golden = Golden::at(&golden_dir("heads-bert"));
    let encoder = encoder(&golden);
    let head = StoredHead::read(&golden.directory().join("pooler")).expect("a head");
    let mut model = TaskModel::bare(&encoder, &head.expect("a head")).expect("a model");
    let (rows, d) = (2, encoder.config().hidden_size);
    let states: Vec<f32> = (0..rows * d).map(|i| ((i * 37 % 101) as f32 - 50.0) / 60.0).collect();
    let device = encoder.device().clone();
    let value = |model: &TaskModel, states: &[f32]| -> f64 {
        let logits = model.head.forward(&device.tensor(rows, d, states)).to_vec();
        logits.iter().zip(1..).map(|(logit, i)| f64::from(*logit) * f64::from(i)).sum()
    };
    let no_dropout = |_| Dropout::NONE;
    let (logits, tape) = model.head.forward_training(device.tensor(rows, d, &states), no_dropout);
    let weights: Vec<f32> = (1..=logits.to_vec().len()).map(|i| i as f32).collect();
    let at_logits = device.tensor(rows, weights.len() / rows, &weights);
    let gradient = model.head.backward(tape, at_logits).to_vec();
    // Along a direction, in steps that f32 resolves.
    let direction: Vec<f32> = (0..rows * d).map(|i| ((i * 53 % 97) as f32 - 48.0) / 48.0).collect();
    let moved = |step: f32| -> Vec<f32> {
        states.iter().zip(&direction).map(|(x, along)| x + step * along).collect()
    };
    let step = 1e-2;
    let difference =
        (value(&model, &moved(step)) - value(&model, &moved(-step))) / f64::from(2.0 * step);
    let along: f64 =
        gradient.iter().zip(&direction).map(|(g, x)| f64::from(*g) * f64::from(*x)).sum();
    let error = (difference - along).abs() / along.abs();
    assert!(error < 5e-3, "{difference} by difference, {along} by back-propagation");
}

/// The fusion in a directory with the head called `wanted`, or the one that answers.
fn fused(golden: &Golden, directory: &Path, wanted: Option<&str>) -> Vec<f32> {
    let encoder = encoder(golden);
    let fusion = StoredFusion::read_members(directory).expect("a fusion");
    let head = StoredFusion::read_head(directory, wanted).expect("a head").expect("a head");
    assert_eq!(head.name, "task");
    let model = TaskModel::from_stored_fusion(&encoder, &fusion, &head).expect("a model");
    logits_of(golden, &encoder, &model)
}

#[test]
fn a_fusion_is_one_however_the_library_saved_it() {
    let golden = Golden::at(&golden_dir("fusion-folders"));
    let [all, with_head] = ["all", "with-head"].map(|name| golden.directory().join(name));
    let wanted = golden.floats("logits.fused");
    let home = tempfile::tempdir().expect("a directory");
    // Members beside the fusion's folder, which may have any name.
    let beside = home.path().join("beside");
    copy(&all, &beside);
    std::fs::rename(beside.join("a,b"), beside.join("fused")).expect("renamed");
    // A setup without a head, which lies along with it.
    let setup = home.path().join("setup");
    copy(&all, &setup);
    let single = |name: &str| json!({"type": "single", "children": [name]});
    let fuse = json!({"type": "Fuse", "children": [single("a"), single("b")]});
    let text = json!({"adapter_setup": fuse, "head_setup": null}).to_string();
    std::fs::write(setup.join("adapter_setup.json"), text).expect("written");
    // A head in the directory itself, and a fusion without a list of its members, as of old.
    let at_top = home.path().join("at-top");
    copy(&all, &at_top);
    copy(&at_top.join("task"), &at_top);
    std::fs::remove_dir_all(at_top.join("task")).expect("removed");
    edit(&at_top.join("a,b/adapter_fusion_config.json"), |config| {
        config.as_object_mut().expect("an object").remove("adapter_names");
    });
    let mut report = Report::default();
    for (what, directory, head) in [
        ("saved with its head", with_head.clone(), None),
        ("its head by name", with_head, Some("task")),
        ("all that the model has", all.clone(), None),
        ("its folder among all", all.join("a,b"), None),
        ("its folder with any name", beside.join("fused"), Some("task")),
        ("a setup without a head", setup, None),
        ("the head at the top", at_top, None),
    ] {
        assert!(StoredFusion::is_at(&directory), "{what}");
        report.compare(what, &fused(&golden, &directory, head), &wanted, BOUND);
    }
    report.finish();
}

#[test]
fn what_a_fusion_s_folder_lacks_is_named_with_what_there_is() {
    let golden = Golden::at(&golden_dir("fusion-folders"));
    let all = golden.directory().join("all");
    let fresh = || {
        let home = tempfile::tempdir().expect("a directory");
        copy(&all, home.path());
        home
    };
    let head = |directory: &Path, wanted: Option<&str>| {
        StoredFusion::read_head(directory, wanted).map(|head| head.map(|head| head.name))
    };
    // A head beside a fusion that was not saved with it has to be asked for.
    let home = fresh();
    std::fs::rename(home.path().join("a,b"), home.path().join("mine")).expect("renamed");
    let error = head(&home.path().join("mine"), None).expect_err("unclear").to_string();
    assert!(
        error.contains("a fusion without a head of its own; choose one of \"task\" ("),
        "{error}"
    );
    // Of several that were saved along none is taken unasked.
    let home = fresh();
    copy(&home.path().join("task"), &home.path().join("other"));
    edit(&home.path().join("other/head_config.json"), |config| config["name"] = json!("other"));
    let error = head(home.path(), None).expect_err("unclear").to_string();
    assert!(error.contains("\"other\" (") && error.contains("\"task\" ("), "{error}");
    assert_eq!(head(home.path(), Some("task")).expect("a head").as_deref(), Some("task"));
    let error = head(home.path(), Some("third")).expect_err("no such head").to_string();
    assert!(error.contains("no head called \"third\"; choose one of \"other\""), "{error}");
    // A member's head answers if it is asked for.
    let home = fresh();
    std::fs::rename(home.path().join("task"), home.path().join("b/head")).expect("renamed");
    for entry in std::fs::read_dir(home.path().join("b/head")).expect("a directory").flatten() {
        std::fs::rename(entry.path(), home.path().join("b").join(entry.file_name())).expect("it");
    }
    let error = head(home.path(), None).expect_err("unclear").to_string();
    assert!(error.contains("choose one of \"task\" ("), "{error}");
    assert_eq!(head(home.path(), Some("task")).expect("a head").as_deref(), Some("task"));
    // No head at all, and a member that is gone.
    let home = fresh();
    std::fs::remove_dir_all(home.path().join("task")).expect("removed");
    assert_eq!(head(home.path(), None).expect("no head"), None);
    std::fs::remove_dir_all(home.path().join("b")).expect("removed");
    let error = StoredFusion::read_members(home.path()).expect_err("no member").to_string();
    assert!(error.contains("the member \"b\" of the fusion in"), "{error}");
    // Several fusions.
    let home = fresh();
    copy(&home.path().join("a,b"), &home.path().join("a,c"));
    let error = StoredFusion::read_members(home.path()).expect_err("two").to_string();
    assert!(error.contains("several fusions: name the folder of one of them, \"a,b\", \"a,c\""));
}

#[test]
fn a_head_near_an_adapter_is_found_by_its_name() {
    let golden = Golden::at(&golden_dir("fusion-folders"));
    let home = tempfile::tempdir().expect("a directory");
    copy(&golden.directory().join("all"), home.path());
    let adapter = home.path().join("a");
    let name = |wanted: Option<&str>| {
        StoredHead::of_adapter(&adapter, wanted).map(|head| head.map(|head| head.name))
    };
    let error = name(None).expect_err("unclear").to_string();
    assert!(error.contains("an adapter without a head of its own; choose one of \"task\""));
    assert_eq!(name(Some("task")).expect("a head").as_deref(), Some("task"));
    let error = name(Some("other")).expect_err("none").to_string();
    assert!(error.contains("no head called \"other\"; choose one of \"task\""), "{error}");
    copy(&home.path().join("task"), &adapter);
    std::fs::remove_dir_all(home.path().join("task")).expect("removed");
    assert_eq!(name(None).expect("its own").as_deref(), Some("task"));
    assert_eq!(name(Some("task")).expect("its own").as_deref(), Some("task"));
    let head = StoredHead::read(&adapter).expect("a head").expect("a head");
    assert_eq!(head.kind, HeadKind::Classification);
}

#[test]
fn names_that_cannot_be_written_are_refused_before() {
    let long = "x".repeat(130);
    for (members, head, expected) in [
        (
            vec!["sentiment/sst-2", "b"],
            "out",
            "\"sentiment/sst-2\" cannot be the name of an adapter",
        ),
        (vec!["a", "b,c"], "out", "\"b,c\" cannot be the name of an adapter"),
        (vec!["a", "b.c"], "out", "\"b.c\" cannot be the name of an adapter"),
        (vec!["a", "a"], "out", "another member has the same name"),
        (vec!["a", ""], "out", "it is empty"),
        (vec!["a", "b"], "o/t", "cannot be the name of a head"),
        (vec![&long[..], &long[1..]], "out", "no folder's name may have more than 255 bytes"),
    ] {
        let error = StoredFusion::check_names(&members, head).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    StoredFusion::check_names(&["a", "ä b"], "out").expect("good names");
}
