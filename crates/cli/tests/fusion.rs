//! Fusions of adapters: trained, saved, scored, dropped, used beside adapters, and refused.

use std::path::Path;
use std::process::{Command, Output};

use adaptkit_testkit::golden_dir;
use serde_json::{Value, json};
use tempfile::TempDir;

fn adaptkit_on(base: &Path, home: &TempDir, arguments: &[&str]) -> Output {
    let (command, rest) = arguments.split_first().expect("a command");
    Command::new(env!("CARGO_BIN_EXE_adaptkit"))
        .args([command, "--threads", "1", "--quiet", "--model"])
        .arg(base)
        .args(rest)
        .current_dir(home)
        .output()
        .expect("the command")
}

fn adaptkit(home: &TempDir, arguments: &[&str]) -> Output {
    adaptkit_on(&golden_dir("bert").join("model"), home, arguments)
}

fn out(home: &TempDir, arguments: &[&str]) -> String {
    let output = adaptkit(home, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn object(home: &TempDir, arguments: &[&str]) -> Value {
    serde_json::from_str(&out(home, arguments)).expect("JSON")
}

/// A folder with rows and two adapters of different sizes.
fn home() -> TempDir {
    let home = tempfile::tempdir().expect("a folder");
    let row = |i: usize| format!("message {i} of the test,{}\n", ["spam", "ham"][i * i % 3 % 2]);
    let rows: String = (0..40).map(row).collect();
    std::fs::write(home.path().join("rows.csv"), format!("text,label\n{rows}")).expect("a file");
    for (name, size) in [("a", "4"), ("b", "6")] {
        let fixed = ["train", "--train-file", "rows.csv", "--epochs", "2", "--output-dir", name];
        let size = ["--bottleneck-size", size, "--learning-rate", "0.01", "--seed", size];
        out(&home, &[&fixed[..], &size].concat());
    }
    home
}

const FUSE: [&str; 9] = [
    "fuse",
    "--adapter",
    "a",
    "--adapter",
    "second=b",
    "--train-file",
    "rows.csv",
    "--learning-rate",
    "0.01",
];

fn fuse(home: &TempDir, output: &str, more: &[&str]) -> Value {
    object(home, &[&FUSE[..], &["--epochs", "2", "--json", "--output-dir", output], more].concat())
}

fn bytes(home: &TempDir, name: &str) -> Vec<u8> {
    std::fs::read(home.path().join(name)).expect("a file")
}

const WEIGHTS: &str = "model_adapter_fusion.safetensors";

#[test]
fn a_fusion_is_trained_scored_dropped_and_used_like_an_adapter() {
    let home = home();
    let members = ["a", "b"].map(|name| bytes(&home, &format!("{name}/adapter.safetensors")));
    let trained = fuse(&home, "fused", &[]);
    assert_eq!(trained["epoch"], 2.0);
    for file in ["adapter_setup.json", "adaptkit.json", "all_results.json", "README.md"] {
        assert!(home.path().join("fused").join(file).is_file(), "{file}");
    }
    // Members stay as they are, here under the names given to them.
    assert_eq!(members[0], bytes(&home, "a/adapter.safetensors"));
    let inspected = Command::new(env!("CARGO_BIN_EXE_adaptkit"))
        .args(["inspect", "--json", "fused"])
        .current_dir(&home)
        .output()
        .expect("the command");
    let facts: Value = serde_json::from_slice(&inspected.stdout).expect("JSON");
    assert_eq!(facts["kind"], "fusion");
    assert_eq!(facts["members"], json!(["a (bottleneck 4)", "second (bottleneck 6)"]));
    assert_eq!(facts["layers"], json!([0, 1, 2]));
    // Three matrices and two biases of width 32 in each of three layers.
    assert_eq!(facts["parameters"], 3 * (3 * 32 * 32 + 2 * 32));

    let eval = |directory: &str, more: &[&str]| {
        let fixed = ["eval", "--adapter", directory, "--validation-file", "rows.csv", "--json"];
        object(&home, &[&fixed, more].concat())
    };
    // Every number of dropped layers, in one pass and alone.
    let sweep = eval("fused", &["--adapterdrop", "sweep"]);
    let points = sweep["eval_adapterdrop"].as_array().expect("a list");
    assert_eq!(points.len(), 4);
    for (n, point) in points.iter().enumerate() {
        let alone = eval("fused", &["--adapterdrop", &n.to_string()]);
        assert_eq!(point["eval_loss"], alone["eval_loss"], "{n} dropped layers");
    }

    // Beside an adapter, as alone.
    let predict = |adapters: &[&str]| {
        let fixed = ["predict", "--input", "rows.csv", "--text-column", "text"];
        out(&home, &[&fixed, adapters].concat())
    };
    let alone = predict(&["--adapter", "fused"]);
    let both = predict(&["--adapter", "fused", "--adapter", "a"]);
    assert_eq!(alone.lines().count(), 40);
    for (alone, both) in alone.lines().zip(both.lines()) {
        let [alone, both]: [Value; 2] =
            [alone, both].map(|line| serde_json::from_str(line).expect("JSON"));
        assert_eq!(both["fused"], alone);
        assert_ne!(both["a"], alone);
    }
}

#[test]
fn the_same_seed_gives_the_same_fusion_and_another_directory_is_only_replaced_on_request() {
    let home = home();
    fuse(&home, "one", &[]);
    fuse(&home, "two", &[]);
    let path = |directory: &str| format!("{directory}/a,second/{WEIGHTS}");
    assert!(bytes(&home, &path("one")) == bytes(&home, &path("two")));
    let again = [&FUSE[..], &["--epochs", "1", "--output-dir", "one"]].concat();
    let refused = adaptkit(&home, &again);
    assert_eq!(refused.status.code(), Some(1));
    assert!(bytes(&home, &path("one")) == bytes(&home, &path("two")));
    fuse(&home, "one", &["--overwrite", "--seed", "3"]);
    assert!(bytes(&home, &path("one")) != bytes(&home, &path("two")));
    // Another kind of fusion: no value matrix.
    fuse(&home, "static", &["--fusion", "static", "--fusion-dropout", "0.3"]);
    let config = bytes(&home, "static/a,second/adapter_fusion_config.json");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!(
        [&config["config"]["value"], &config["config"]["dropout_prob"]],
        [&json!(false), &json!(0.3)]
    );
}

#[test]
fn fusion_layers_are_dropped_in_training_too() {
    let home = home();
    fuse(&home, "high", &["--adapterdrop", "2"]);
    let eval = |more: &[&str]| {
        let fixed = ["eval", "--adapter", "high", "--validation-file", "rows.csv", "--json"];
        object(&home, &[&fixed, more].concat())["eval_loss"].clone()
    };
    assert_eq!(eval(&[]), eval(&["--adapterdrop", "2"]));
    assert_ne!(eval(&[]), eval(&["--adapterdrop", "3"]));
    let cached = fuse(&home, "f32", &["--adapterdrop", "2", "--cache-precision", "f32"]);
    let uncached = fuse(&home, "none", &["--adapterdrop", "2", "--cache-budget", "0"]);
    assert_eq!(cached["eval_loss"], uncached["eval_loss"]);
    let robust = fuse(&home, "robust", &["--adapterdrop", "robust"]);
    assert!(robust["eval_loss"].as_f64().is_some_and(f64::is_finite));
    // A member that all layers share is kept under the lowest that is left.
    let rows = ["--train-file", "rows.csv", "--epochs", "1", "--output-dir"];
    out(&home, &[&["train", "--share-adapter"], &rows[..], &["shared"]].concat());
    let members = ["fuse", "--adapter", "shared", "--adapter", "a", "--adapterdrop", "1"];
    out(&home, &[&members[..], &rows, &["of-shared"]].concat());
    let fixed = ["eval", "--adapter", "of-shared", "--validation-file", "rows.csv", "--json"];
    assert!(object(&home, &fixed)["eval_loss"].as_f64().is_some_and(f64::is_finite));
    let all = adaptkit(&home, &[&FUSE[..], &["--adapterdrop", "3", "--output-dir", "x"]].concat());
    assert_eq!(all.status.code(), Some(2));
}

#[test]
fn what_cannot_be_fused_is_refused_by_name() {
    let home = home();
    fuse(&home, "fused", &[]);
    let base = golden_dir("bert").join("model");
    let parallel = ["train", "--train-file", "rows.csv", "--adapter", "parallel", "--epochs", "1"];
    out(&home, &[&parallel[..], &["--output-dir", "parallel"]].concat());
    let fused = |adapters: [&str; 2], more: &[&str], base: &Path| {
        let given = ["fuse", "--adapter", adapters[0], "--adapter", adapters[1]];
        let rows = ["--train-file", "rows.csv", "--output-dir", "no"];
        adaptkit_on(base, &home, &[&given[..], &rows, more].concat())
    };
    let other_base = golden_dir("roberta").join("model");
    for (adapters, more, base, code, words) in [
        (["a", "a"], &[][..], &base, 2, "two members are called \"a\""),
        (["a", "gone"], &[], &base, 1, "gone"),
        (["a", "parallel"], &[], &base, 1, "in parallel"),
        (["a", "b"], &["--fusion", "odd"], &base, 1, "dynamic"),
        (["a", "b"], &["--fusion-dropout", "1"], &base, 2, "--fusion-dropout"),
        (["a", "b"], &[], &other_base, 1, "load the base it was trained on"),
    ] {
        let output = fused(adapters, more, base);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{adapters:?} {more:?}: {stderr}");
        assert!(stderr.contains(words), "{adapters:?} {more:?}: {stderr}");
        assert!(!home.path().join("no").exists(), "{adapters:?} {more:?}");
    }
    let one = ["fuse", "--adapter", "a", "--train-file", "rows.csv", "--output-dir", "no"];
    assert_eq!(adaptkit(&home, &one).status.code(), Some(2));

    // Its files: a member gone, and an order that is not its folder's.
    let eval = || adaptkit(&home, &["eval", "--adapter", "fused", "--validation-file", "rows.csv"]);
    let config = home.path().join("fused/a,second/adapter_fusion_config.json");
    let text = std::fs::read_to_string(&config).expect("a file");
    let mut turned: Value = serde_json::from_str(&text).expect("JSON");
    turned["adapter_names"] = json!(["second", "a"]);
    std::fs::write(&config, turned.to_string()).expect("a file");
    let words = String::from_utf8_lossy(&eval().stderr).into_owned();
    assert!(words.contains("order of its folder"), "{words}");
    std::fs::write(&config, text).expect("a file");
    std::fs::remove_dir_all(home.path().join("fused/second")).expect("removed");
    let words = String::from_utf8_lossy(&eval().stderr).into_owned();
    assert!(words.contains("second"), "{words}");
}
