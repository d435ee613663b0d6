//! `adaptkit train --adapterdrop`: what it writes, and that it is what the command says.

use std::path::Path;
use std::process::{Command, Output};

use adaptkit_testkit::golden_dir;
use serde_json::{Value, json};

const TRAIN: [&str; 13] = [
    "train",
    "--train-file",
    "rows.csv",
    "--epochs",
    "2",
    "--batch-size",
    "4",
    "--max-length",
    "20",
    "--threads",
    "1",
    "--logging-steps",
    "1",
];

fn train(home: &Path, output: &str, more: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_adaptkit"))
        .args(TRAIN)
        .args(["--output-dir", output, "--model"])
        .arg(golden_dir("bert").join("model"))
        .args(more)
        .current_dir(home)
        .output()
        .expect("the command");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A folder with rows in it.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a folder");
    let row = |i: usize| format!("message {i} of the test,{}\n", ["spam", "ham"][i * i % 3 % 2]);
    let rows: String = (0..40).map(row).collect();
    std::fs::write(home.path().join("rows.csv"), format!("text,label\n{rows}")).expect("a file");
    home
}

fn json(home: &Path, file: &str) -> Value {
    let text = std::fs::read_to_string(home.join(file)).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn the_files_say_which_layers_were_dropped() {
    let home = home();
    let home = home.path();
    let all = json!([1.0, 1.0, 1.0]);
    let cases: [(&str, &[&str], Value, Value, Value); 5] = [
        ("whole", &["--adapterdrop", "none"], json!([]), json!("none"), Value::Null),
        ("two", &["--adapterdrop", "2"], json!([0, 1]), json!("2"), Value::Null),
        ("robust", &["--adapterdrop", "robust"], json!([]), json!("robust"), all),
        (
            "low",
            &["--adapterdrop", "robust", "--adapterdrop_max", "1"],
            json!([]),
            json!("robust"),
            json!([1.0, 1.0]),
        ),
        (
            "weighted",
            &["--adapterdrop", "robust", "--adapterdrop-weights", "0,1"],
            json!([]),
            json!("robust"),
            json!([0.0, 1.0]),
        ),
    ];
    for (name, flags, left_out, adapterdrop, weights) in cases {
        train(home, name, flags);
        let config = json(home, &format!("{name}/adapter_config.json"));
        assert_eq!(config["config"]["leave_out"], left_out, "{name}");
        let ours = json(home, &format!("{name}/adaptkit.json"));
        assert_eq!(ours["adapterdrop"], adapterdrop, "{name}");
        assert_eq!(ours["training"]["robust_drop"], weights, "{name}");
        let log = std::fs::read_to_string(home.join(name).join("metrics.jsonl")).expect("a log");
        assert_eq!(log.contains("dropped_layers"), adapterdrop == json!("robust"), "{name}");
        if name == "weighted" {
            assert!(!log.contains("\"dropped_layers\":0"), "{log}");
        }
    }
}

#[test]
fn the_cache_is_told_of_and_changes_no_result() {
    let home = home();
    let home = home.path();
    let results = |name: &str| {
        let mut results = json(home, &format!("{name}/all_results.json"));
        let fields = results.as_object_mut().expect("an object");
        fields.retain(|name, _| {
            // The digest of the run's settings takes in those that change no bit here.
            let timed = name.contains("second") || name.contains("runtime");
            !(timed || name == "peak_memory_mb" || name == "run")
        });
        results
    };
    // The tiny tokenizer makes the same tokens of many of the 40 rows, which share what is kept.
    let cases: [(&str, &[&str], &[&str]); 5] = [
        ("none", &["--cache-budget", "0"], &[]),
        (
            "memory",
            &["--cache-precision", "f32"],
            &["keeping the hidden states that enter layer 2 as f32: ", " KB", "14 computed"],
        ),
        (
            "file",
            &["--cache-precision", "f32", "--cache_dir", "states", "--cache-budget", "1KB"],
            &["; files in states", "14 computed"],
        ),
        (
            "again",
            &["--cache-precision", "f32", "--cache-dir", "states", "--seed", "0"],
            &["the hidden states of 80 rows were found, those of 0 computed"],
        ),
        // The tiny base's own dropout is 0.
        (
            "dropping",
            &["--base-dropout"],
            &["the base drops 0 of its hidden states and 0 of its attention", "states are kept"],
        ),
    ];
    for (name, flags, told) in cases {
        let output = train(home, name, &[&["--adapterdrop", "2"], flags].concat());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.iter().all(|told| words.contains(told)), "{name}: {words}");
        assert_eq!(words.contains("hidden states"), !told.is_empty(), "{name}: {words}");
        assert_eq!(results(name), results("none"), "{name}");
    }
    let rounded = train(home, "rounded", &["--adapterdrop", "2"]);
    let words = String::from_utf8_lossy(&rounded.stderr).into_owned();
    assert!(words.contains("as bf16"), "{words}");
    assert_ne!(results("rounded"), results("none"));
}

#[test]
fn a_shared_adapter_is_kept_once_and_used_again() {
    let home = home();
    let home = home.path();
    train(home, "shared", &["--share-adapter", "--adapterdrop", "1", "--reduction-factor", "1.33"]);
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_adaptkit"))
            .args(arguments)
            .args(["--json", "--quiet"])
            .current_dir(home)
            .output()
            .expect("the command");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str::<Value>(text.lines().next().expect("a line")).expect("JSON")
    };
    let facts = run(&["inspect", "shared"]);
    assert_eq!(facts["layers"], "all from 1 on, with one");
    assert_eq!(facts["parameters"], 2 * 32 * 24 + 32 + 24);
    let model = golden_dir("bert").join("model");
    let model = model.to_str().expect("a path in UTF-8");
    let rows = ["--validation-file", "rows.csv"];
    let scores = run(&[&["eval", "--model", model, "--adapter", "shared"][..], &rows[..]].concat());
    assert!(scores["eval_accuracy"].is_f64(), "{scores}");
}
