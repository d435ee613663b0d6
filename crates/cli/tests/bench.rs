//! `adaptkit bench` on a tiny model: what it prints, and what it refuses. No time is asserted.

use std::path::Path;
use std::process::{Command, Output};

use adaptkit_testkit::golden_dir;
use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adaptkit"));
    command.env_clear().arg("bench").args(arguments).output().expect("a process")
}

fn tiny() -> String {
    golden_dir("bert").join("model").to_str().expect("a path").to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The JSON object of a run that succeeds.
fn json(arguments: &[&str]) -> Value {
    let run = bench(&[arguments, &["--repeats", "1", "--json", "--quiet"]].concat());
    assert!(run.status.success(), "{arguments:?}: {}", text(&run.stderr));
    assert_eq!(text(&run.stderr), "", "{arguments:?}");
    serde_json::from_slice(&run.stdout).expect("one JSON object")
}

#[test]
fn a_run_reports_rates_shares_and_every_operation() {
    let model = tiny();
    let cases: [&[&str]; 4] = [
        &["--batch", "3", "--length", "5", "--precision", "f32"],
        &["--batch", "2", "--length", "1", "--precision", "bf16", "--adapter", "houlsby"],
        &["--batch_size", "1", "--length", "36", "--precision", "int8", "--adapter", "parallel"],
        &["--batch", "2", "--length", "7", "--threads", "1", "--reduction_factor", "2"],
    ];
    for case in cases {
        let found = json(&[case, &["--model", &model]].concat());
        for key in [
            "load_s",
            "forward_s",
            "logits_s",
            "train_step_s",
            "rows_per_s",
            "tokens_per_s",
            "peak_gflops",
            "forward_gflops",
            "share_of_peak",
            "prepare_backward_s",
        ] {
            let value = found[key].as_f64().unwrap_or_else(|| panic!("{case:?}: {key}"));
            assert!(value.is_finite() && value > 0.0, "{case:?}: {key} is {value}");
        }
        if cfg!(target_os = "linux") {
            assert!(found["peak_rss_mb"].as_f64().is_some_and(|mb| mb > 1.0), "{case:?}");
        }
        for ceiling in ["f32_gflops", "bf16_gflops", "int8_gops", "memory_gb_per_s"] {
            let value = found["ceilings"][ceiling].as_f64();
            assert!(value.is_some_and(|rate| rate > 0.0), "{case:?}: {ceiling}");
        }
        let operations = found["operations"].as_array().expect("a list");
        let sum = |key: &str| operations.iter().filter_map(|o| o[key].as_f64()).sum::<f64>();
        let total = found["forward_s"].as_f64().expect("a number");
        assert!((sum("seconds") - total).abs() < 1e-9 * total.max(1.0), "{case:?}: with the rest");
        let counted = found["forward_gflop"].as_f64().expect("a number");
        assert!((sum("gflop") / counted - 1.0).abs() < 1e-12, "{case:?}: every operation counts");
        assert!(operations.iter().any(|o| o["name"] == "attention"), "{case:?}");
    }
}

#[test]
fn dropped_layers_a_warm_cache_and_tasks_are_measured_and_named() {
    let model = tiny();
    let shape = ["--model", &model, "--batch", "2", "--length", "6"];
    let cases: [(&[&str], [&str; 2], Value); 5] = [
        (&[], ["none", "none"], Value::Null),
        (&["--adapterdrop", "2", "--tasks", "3"], ["2", "none"], 3.into()),
        (&["--adapterdrop", "2", "--cache", "warm"], ["2", "warm"], Value::Null),
        (&["--adapterdrop", "robust", "--tasks", "1"], ["robust", "none"], 1.into()),
        (&["--adapterdrop", "robust", "--cache", "warm"], ["robust", "warm"], Value::Null),
    ];
    let whole = json(&shape)["trained_parameters"].as_u64().expect("a number");
    for (case, [adapterdrop, cache], tasks) in cases {
        let found = json(&[&shape[..], case].concat());
        assert_eq!(found["adapterdrop"], adapterdrop, "{case:?}");
        assert_eq!(found["cache"], cache, "{case:?}");
        assert_eq!(found["tasks"], tasks, "{case:?}");
        let trained = found["trained_parameters"].as_u64().expect("a number");
        assert_eq!(trained < whole, adapterdrop == "2", "{case:?}: {trained} of {whole}");
        assert!(found["train_step_s"].as_f64().is_some_and(|s| s > 0.0), "{case:?}");
        for key in ["tasks_s", "one_by_one_s"] {
            let measured = found[key].as_f64().is_some_and(|s| s > 0.0);
            assert_eq!(measured, !tasks.is_null(), "{case:?}: {key}");
        }
    }
    let words = ["--adapterdrop", "1", "--cache", "warm", "--tasks", "2", "--repeats", "1"];
    let out = text(&bench(&[&shape[..], &words].concat()).stdout);
    assert!(out.contains("AdapterDrop: 1; prefix cache in training: warm"), "{out}");
    assert!(out.contains("2 tasks in one pass"), "{out}");
}

#[test]
fn a_fusion_is_measured_beside_the_adapter_and_counted() {
    let model = tiny();
    let shape = ["--model", &model, "--batch", "2", "--length", "6"];
    assert!(json(&shape)["fusion"].is_null());
    let cases: [(&[&str], u64); 4] = [
        (&["--precision", "f32"], 2),
        (&["--precision", "bf16", "--adapterdrop", "1"], 3),
        (&["--adapterdrop", "robust", "--cache", "warm", "--reduction-factor", "8"], 2),
        (&["--adapter", "houlsby"], 2),
    ];
    for (case, members) in cases {
        let asked = members.to_string();
        let found = json(&[&shape[..], case, &["--fusion", &asked]].concat());
        let fusion = &found["fusion"];
        assert_eq!(fusion["members"], members, "{case:?}");
        for key in ["logits", "train_step"] {
            let of = |name: &str| {
                let value = fusion[name].as_f64().unwrap_or_else(|| panic!("{case:?}: {name}"));
                assert!(value.is_finite() && value > 0.0, "{case:?}: {name} is {value}");
                value
            };
            let one = found[format!("{key}_s")].as_f64().expect("a number");
            let ratio = one / of(&format!("{key}_s"));
            assert!((of(&format!("{key}_ratio")) / ratio - 1.0).abs() < 1e-9, "{case:?}: {key}");
            assert!(of(&format!("counted_{key}_ratio")) < 1.0, "{case:?}: {key}");
            assert!(of(&format!("share_of_{key}")) < 1.0, "{case:?}: {key}");
        }
        // 3·d·N·(m + 1), but for the down-projection's bias.
        let d = found["hidden_size"].as_u64().expect("a number");
        let m = if case.contains(&"8") { d / 8 } else { d / 16 };
        let count = d * members * (3 * m + 2);
        assert_eq!(fusion["multiply_adds"], count, "{case:?}");
        assert_eq!(fusion["training_multiply_adds"], 9 * d * d + d * members * (6 * m + 4));
    }
    let run = bench(&[&shape[..], &["--fusion", "2", "--repeats", "1"]].concat());
    assert!(text(&run.stdout).contains("fusion of 2"), "{}", text(&run.stdout));
}

#[test]
fn rows_of_a_file_go_through_the_tokenizer() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| -> String {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a path").to_owned()
    };
    let lines = write("lines.txt", "a film\nanother, longer film\nfine\n");
    let pairs = write("pairs.tsv", "a\tb\nfilm\tfine film\nanother\tone\n");
    let model = tiny();
    let plain = json(&["--model", &model, "--input", &lines, "--batch", "2"]);
    assert_eq!(plain["rows"], 3);
    assert!(plain["shortest_row"].as_u64() < plain["longest_row"].as_u64(), "{plain}");
    let one = ["--model", &model, "--input", &pairs, "--text-column", "a"];
    let both = [&one[..], &["--text-pair-column", "b"]].concat();
    let (one, both) = (json(&one), json(&both));
    assert!(one["tokens"].as_u64() < both["tokens"].as_u64(), "{one} and {both}");
    let cut = json(&["--model", &model, "--input", &lines, "--max-length", "3"]);
    assert_eq!(cut["longest_row"], 3);
}

#[test]
fn people_read_a_table() {
    let run = bench(&["--model", &tiny(), "--batch", "2", "--length", "4", "--repeats", "2"]);
    let out = text(&run.stdout);
    assert!(run.status.success(), "{}", text(&run.stderr));
    for words in ["ceilings: f32", "feed-forward down", "other", "forward ", "training step", "MB"]
    {
        assert!(out.contains(words), "{words:?} is not in {out}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let empty = at("empty.txt");
    std::fs::write(&empty, "").expect("a file");
    let absent = at("absent.txt");
    let model = tiny();
    let cases: [(&[&str], i32, &str); 21] = [
        (&[], 2, "--model"),
        (&["--model", &model, "--batch", "0"], 2, "--batch is 0"),
        (&["--model", &model, "--length", "0"], 2, "--length is 0"),
        (&["--model", &model, "--repeats", "0"], 2, "--repeats is 0"),
        (
            &["--model", &model, "--length", "100000"],
            2,
            "--length is 100000: this model takes rows",
        ),
        (&["--model", &model, "--batch", "18446744073709551615", "--length", "2"], 2, "tokens; a"),
        (&["--model", &model, "--batch", "-1"], 2, "'-1'"),
        (&["--model", &model, "--adapter", "lora"], 1, "lora"),
        (&["--model", &model, "--reduction-factor", "0"], 1, "reduction_factor"),
        (&["--model", &model, "--adapterdrop", "3"], 2, "--adapterdrop asks for 3 dropped layers"),
        (&["--model", &model, "--cache", "warm"], 2, "--cache warm is for --adapterdrop N"),
        (&["--model", &model, "--cache", "cold"], 2, "'cold'"),
        (&["--model", &model, "--tasks", "0"], 2, "--tasks is 0"),
        (&["--model", &model, "--tasks", "1001"], 2, "--tasks is 1001, it must be at most 1000"),
        (&["--model", &model, "--fusion", "1"], 2, "--fusion is 1, a fusion has from 2"),
        (&["--model", &model, "--fusion", "101"], 2, "to 100 members"),
        (&["--model", &model, "--fusion", "2", "--adapter", "parallel"], 2, "--adapter parallel"),
        (&["--model", &model, "--input", &absent], 1, "absent.txt"),
        (&["--model", &model, "--input", &empty], 1, "empty.txt"),
        (&["--model", &model, "--input", &empty, "--length", "3"], 2, "--length"),
        (&["--model", "no-such-model"], 2, "ADAPTKIT_CACHE"),
    ];
    for (arguments, code, words) in cases {
        let run = bench(&[arguments, &["--quiet"]].concat());
        let err = text(&run.stderr);
        assert_eq!(run.status.code(), Some(code), "{arguments:?}: {err}");
        assert!(err.contains(words), "{arguments:?}: {words:?} is not in {err}");
        assert!(run.stdout.is_empty(), "{arguments:?}: {}", text(&run.stdout));
    }
}

/// The only test that needs the shape of a real model: it is refused after it was written, and
/// nothing of it stays.
#[cfg(unix)]
#[test]
fn random_weights_leave_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let input = golden_dir("bert").join("model").join("config.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_adaptkit"));
    let run = command
        .env_clear()
        .env("TMPDIR", folder.path())
        .args(["bench", "--model", "bert-base", "--input"])
        .arg(input)
        .output()
        .expect("a process");
    let err = text(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{err}");
    assert!(err.contains("bert-base has random weights and no tokenizer"), "{err}");
    let left = |path: &Path| std::fs::read_dir(path).expect("a folder").count();
    assert_eq!(left(folder.path()), 0);
}
