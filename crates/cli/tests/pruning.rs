//! What a fusion attends to, shown and drawn, and fusions with fewer members.

use std::path::Path;
use std::process::{Command, Output};

use adaptkit_testkit::golden_dir;
use serde_json::{Value, json};
use tempfile::TempDir;

fn run(home: &TempDir, arguments: &[&str]) -> Output {
    let (command, rest) = arguments.split_first().expect("a command");
    let mut binary = Command::new(env!("CARGO_BIN_EXE_adaptkit"));
    binary.args([command, "--threads", "1"]);
    if *command != "inspect" {
        binary.arg("--model").arg(golden_dir("bert").join("model"));
    }
    binary.args(rest).current_dir(home).output().expect("the command")
}

fn out(home: &TempDir, arguments: &[&str]) -> String {
    let output = run(home, arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {words}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn object(home: &TempDir, arguments: &[&str]) -> Value {
    serde_json::from_str(&out(home, &[arguments, &["--json"]].concat())).expect("JSON")
}

const MEMBERS: [&str; 3] = ["a", "b", "c"];

/// A folder with rows, three adapters of different sizes and a fusion of them.
fn home() -> TempDir {
    let home = tempfile::tempdir().expect("a folder");
    let row = |i: usize| format!("message {i} of the test,{}\n", ["spam", "ham"][i * i % 3 % 2]);
    let rows: String = (0..40).map(row).collect();
    write(&home, "rows.csv", &format!("text,label\n{rows}"));
    let texts: Vec<String> = (0..12).map(|i| format!("an unseen text {i}")).collect();
    write(&home, "texts.txt", &texts.join("\n"));
    for (name, size) in MEMBERS.into_iter().zip(["4", "6", "8"]) {
        let fixed = ["train", "--train-file", "rows.csv", "--epochs", "2", "--output-dir", name];
        let size = ["--bottleneck-size", size, "--learning-rate", "0.02", "--seed", size];
        out(&home, &[&fixed[..], &size].concat());
    }
    let members = ["--adapter", "a", "--adapter", "b", "--adapter", "c"];
    let rows = ["--train-file", "rows.csv", "--validation-file", "rows.csv"];
    let rest = ["--learning-rate", "0.05", "--epochs", "3", "--output-dir", "fused"];
    out(&home, &[&["fuse"], &members[..], &rows, &rest].concat());
    home
}

fn write(home: &TempDir, name: &str, text: &str) {
    std::fs::write(home.path().join(name), text).expect("a file");
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const ROWS: [&str; 4] = ["--train-file", "rows.csv", "--validation-file", "rows.csv"];

fn prune(home: &TempDir, output: &str, more: &[&str]) -> Value {
    let fixed = ["prune", "--fusion", "fused", "--output-dir", output];
    object(home, &[&fixed, &ROWS[..], more].concat())
}

fn eval(home: &TempDir, directory: &str) -> Value {
    object(home, &["eval", "--adapter", directory, "--validation-file", "rows.csv"])
}

fn predictions(home: &TempDir, adapters: &[&str], more: &[&str]) -> Vec<Value> {
    let given = adapters.iter().flat_map(|adapter| ["--adapter", adapter]);
    let arguments: Vec<&str> =
        ["predict", "--input", "texts.txt"].into_iter().chain(given).chain(more.to_vec()).collect();
    out(home, &arguments).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The weights of an attention object: for each layer one for each member.
fn weights(attention: &Value) -> Vec<Vec<Option<f64>>> {
    let layers = attention["layers"].as_array().expect("layers");
    let weights = |layer: &Value| -> Vec<Option<f64>> {
        layer["weights"].as_array().expect("weights").iter().map(Value::as_f64).collect()
    };
    layers.iter().map(weights).collect()
}

fn loss(scores: &Value) -> f64 {
    scores["eval_loss"].as_f64().expect("a loss")
}

#[test]
fn attention_is_measured_stored_explained_and_drawn() {
    let home = home();
    let scores = eval(&home, "fused");
    let attention = &scores["eval_fusion_attention"];
    assert_eq!(attention["members"], json!(MEMBERS));
    let measured = weights(attention);
    assert_eq!(measured.len(), 3);
    for layer in &measured {
        let sum: f64 = layer.iter().map(|weight| weight.expect("a module")).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{layer:?}");
    }
    // The same rows trained it.
    let stored: Value =
        serde_json::from_str(&text(&home.path().join("fused/adaptkit.json"))).expect("JSON");
    assert_eq!(&stored["fusion_attention"], attention);
    assert_eq!(&object(&home, &["inspect", "fused"])["attention"], attention);
    let shown = out(&home, &["inspect", "fused", "--attention-plot", "stored.svg"]);
    assert!(shown.contains("mean attention over") && shown.contains("\n mean "), "{shown}");
    let fixed = ["eval", "--adapter", "fused", "--validation-file", "rows.csv"];
    let shown = out(&home, &[&fixed[..], &["--attention-plot", "measured.html"]].concat());
    assert!(shown.contains("mean attention over"), "{shown}");
    for picture in ["stored.svg", "measured.html"] {
        let picture = text(&home.path().join(picture));
        assert!(picture.contains("<svg") && picture.contains(">member<"), "{picture}");
        assert_eq!(picture.matches("<rect").count(), 1 + 9);
    }

    // Answers are the same with and without, alone and beside others.
    let plain = predictions(&home, &["fused"], &[]);
    let explained = predictions(&home, &["fused"], &["--explain"]);
    let both = predictions(&home, &["fused", "a"], &["--explain"]);
    assert_eq!(plain.len(), 12);
    for ((plain, explained), both) in plain.iter().zip(&explained).zip(&both) {
        let mut answer = explained.clone();
        answer.as_object_mut().expect("an object").remove("attention").expect("attention");
        assert_eq!(&answer, plain);
        assert_eq!(&both["fused"], explained);
        assert!(both["a"].get("attention").is_none());
        assert_eq!(explained["attention"]["members"], json!(MEMBERS));
    }
    // Rows that name their adapters.
    let asks =
        ["fused", "a", "a,fused"].map(|asks| format!("{{\"text\":\"x y z\",\"for\":\"{asks}\"}}"));
    write(&home, "asking.jsonl", &asks.join("\n"));
    let asking = ["predict", "--input", "asking.jsonl", "--adapter", "fused", "--adapter", "a"];
    let asking = out(&home, &[&asking[..], &["--adapter-column", "for", "--explain"]].concat());
    let asking: Vec<Value> =
        asking.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(asking[0]["fused"], asking[2]["fused"]);
    assert!(asking[0]["fused"]["attention"].is_object() && asking[1].get("fused").is_none());

    // The means of rows, by their tokens, are the mean of all.
    let input = ["predict", "--adapter", "fused", "--input", "rows.csv", "--explain"];
    let mut sums = vec![vec![0.0; 3]; 3];
    let mut tokens = 0.0;
    for line in out(&home, &input).lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let of_row = row["attention"]["positions"].as_f64().expect("tokens");
        tokens += of_row;
        for (sums, weights) in sums.iter_mut().zip(weights(&row["attention"])) {
            let pairs = sums.iter_mut().zip(weights);
            pairs.for_each(|(sum, weight)| *sum += of_row * weight.expect("a module"));
        }
    }
    assert_eq!(attention["positions"].as_f64(), Some(tokens));
    for (sums, measured) in sums.iter().zip(&measured) {
        for (sum, measured) in sums.iter().zip(measured) {
            assert!((sum / tokens - measured.expect("a module")).abs() < 1e-6, "{sums:?}");
        }
    }
}

#[test]
fn pruned_fusions_are_smaller_and_need_nothing_else() {
    let home = home();
    let attention = weights(&eval(&home, "fused")["eval_fusion_attention"]);
    for keep in 1..=3 {
        let output = format!("per-layer-{keep}");
        let results = prune(&home, &output, &["--keep", &keep.to_string()]);
        let kept = results["kept"].as_array().expect("layers");
        for (layer, weights) in attention.iter().enumerate() {
            let mut ranked: Vec<usize> = (0..3).collect();
            ranked.sort_by(|a, b| weights[*b].partial_cmp(&weights[*a]).expect("numbers"));
            let mut strongest: Vec<&str> =
                ranked[..keep].iter().map(|number| MEMBERS[*number]).collect();
            strongest.sort_unstable();
            let members = kept[layer]["members"].as_array().expect("names");
            let mut members: Vec<&str> = members.iter().filter_map(Value::as_str).collect();
            members.sort_unstable();
            assert_eq!(members, strongest, "{keep} in layer {layer}");
        }
        // It predicts, and tells what was measured.
        let scores = eval(&home, &output);
        assert_eq!(scores["eval_loss"], results["eval_loss"], "{keep}");
        let inspected = object(&home, &["inspect", &output]);
        assert_eq!(inspected["attention"], scores["eval_fusion_attention"], "{keep}");
        assert_eq!(inspected["pruned"], format!("{keep} of 3 members kept, per-layer"));
        for layer in weights(&scores["eval_fusion_attention"]) {
            assert_eq!(layer.iter().flatten().count(), keep, "{layer:?}");
        }
    }
    // All of them: the same answers, bit by bit.
    let same = predictions(&home, &["per-layer-3"], &[]);
    assert_eq!(same, predictions(&home, &["fused"], &[]));

    let results = prune(&home, "global", &["--global", "--keep", "2"]);
    let kept = results["kept"][0]["members"].as_array().expect("names");
    let kept: Vec<&str> = kept.iter().filter_map(Value::as_str).collect();
    let means = |member: usize| -> f64 { attention.iter().filter_map(|l| l[member]).sum() };
    let weakest = (0..3).min_by(|a, b| means(*a).total_cmp(&means(*b))).expect("one");
    assert!(kept.len() == 2 && !kept.contains(&MEMBERS[weakest]), "{kept:?}");
    let folder = home.path().join("global");
    assert!(folder.join(kept.join(",")).is_dir());
    assert!(!folder.join(MEMBERS[weakest]).exists());
    let card = text(&folder.join("README.md"));
    assert!(card.contains("2 of 3 members kept, global"), "{card}");
    // Without what it came from.
    for name in MEMBERS.iter().chain(&["fused"]) {
        std::fs::remove_dir_all(home.path().join(name)).expect("removed");
    }
    assert_eq!(eval(&home, "global")["eval_loss"], results["eval_loss"]);
    // A pruned fusion is one: it can be pruned again, and replaced.
    let again = ["prune", "--fusion", "global", "--keep", "1", "--output-dir", "global"];
    let again = [&again[..], &ROWS].concat();
    assert_eq!(run(&home, &again).status.code(), Some(1));
    out(&home, &[&again[..], &["--overwrite", "--for-python"]].concat());
    assert_eq!(object(&home, &["inspect", "global"])["members"].as_array().map(Vec::len), Some(1));
    assert!(loss(&eval(&home, "global")).is_finite());
}

#[test]
fn a_sweep_scores_what_pruning_would_write() {
    let home = home();
    let whole = loss(&eval(&home, "fused"));
    for more in [&[][..], &["--global"], &["--retrain-epochs", "1", "--learning-rate", "0.01"]] {
        let fixed = ["prune", "--fusion", "fused", "--sweep", "--plot", "sweep.svg"];
        let sweep = object(&home, &[&fixed, &ROWS[..], more].concat());
        let points = sweep["prune_sweep"].as_array().expect("points");
        let keeps: Vec<u64> = points.iter().filter_map(|point| point["keep"].as_u64()).collect();
        assert_eq!(keeps, [3, 2, 1], "{more:?}");
        if more.first() != Some(&"--retrain-epochs") {
            assert_eq!(loss(&points[0]), whole, "{more:?}");
        }
        for point in points {
            let keep = point["keep"].to_string();
            let arguments = [&["--keep", &keep, "--overwrite"], more].concat();
            let results = prune(&home, "one", &arguments);
            assert_eq!(loss(point), loss(&results), "{keep} of {more:?}");
            assert_eq!(loss(point), loss(&eval(&home, "one")), "{keep} of {more:?}");
            assert_eq!(point["kept"], results["kept"], "{keep} of {more:?}");
            assert!(point["eval_samples_per_second"].as_f64().is_some_and(|speed| speed > 0.0));
        }
        assert!(text(&home.path().join("sweep.svg")).contains("members kept"));
    }
    let fixed = ["prune", "--fusion", "fused", "--sweep"];
    let table = out(&home, &[&fixed, &ROWS[..]].concat());
    assert!(table.contains("kept members") && table.contains("rows/s"), "{table}");
}

#[test]
fn what_cannot_be_pruned_is_refused_and_texts_are_enough_to_prune_by() {
    let home = home();
    write(&home, "empty.csv", "text,label\n");
    write(&home, "empty.txt", "");
    write(&home, "unlabelled.csv", "text,label\none,\ntwo,\n");
    write(&home, "others.csv", "text,label\none,x\ntwo,y\n");
    let to = ["--output-dir", "no"];
    for (fusion, rows, more, code, words) in [
        ("fused", "rows.csv", &["--keep", "0"][..], 2, "--keep is 0, and the fusion has 3"),
        ("fused", "rows.csv", &["--keep", "4"], 2, "--keep is 4, and the fusion has 3"),
        ("a", "rows.csv", &["--keep", "1"], 2, "it holds no fusion"),
        ("gone", "rows.csv", &["--keep", "1"], 1, "gone"),
        ("fused", "empty.csv", &["--keep", "1"], 1, "no rows"),
        ("fused", "empty.txt", &["--keep", "1"], 1, "empty.txt"),
        ("fused", "gone.csv", &["--keep", "1"], 1, "gone.csv"),
        ("fused", "rows.csv", &["--keep", "1", "--global", "--per-layer"], 2, "cannot be used"),
        ("fused", "rows.csv", &["--keep", "1", "--learning-rate", "NaN"], 2, "--learning-rate"),
        ("fused", "rows.csv", &["--keep", "1", "--batch-size", "0"], 2, "--batch-size"),
        ("fused", "rows.csv", &["--keep", "1", "--plot", "x.svg"], 2, "--sweep"),
        ("fused", "rows.csv", &[], 2, "--keep"),
        ("fused", "rows.csv", &["--keep", "1", "--sweep"], 2, "--sweep"),
        ("fused", "unlabelled.csv", &["--keep", "1", "--retrain-epochs", "1"], 1, "unlabelled"),
    ] {
        let fixed = ["prune", "--fusion", fusion, "--train-file", rows];
        let output = run(&home, &[&fixed[..], more, &to].concat());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{fusion}, {rows}, {more:?}: {stderr}");
        assert!(stderr.contains(words), "{fusion}, {rows}, {more:?}: {stderr}");
        assert!(!home.path().join("no").exists(), "{fusion}, {rows}, {more:?}");
    }
    for rows in ["unlabelled.csv", "texts.txt"] {
        let sweep = ["prune", "--fusion", "fused", "--sweep", "--train-file", rows];
        let output = run(&home, &sweep);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{rows}: {stderr}");
        assert!(stderr.contains("label"), "{rows}: {stderr}");
    }
    // Without labels, or with another task's, attention is all that is looked at.
    for rows in ["unlabelled.csv", "texts.txt", "others.csv"] {
        let fixed = ["prune", "--fusion", "fused", "--train-file", rows, "--keep", "2"];
        let more = ["--output-dir", "pruned", "--overwrite"];
        let results = object(&home, &[&fixed[..], &more].concat());
        assert!(results.get("eval_loss").is_none(), "{rows}");
        assert!(loss(&eval(&home, "pruned")).is_finite(), "{rows}");
    }
    // There is nothing to explain or draw in an adapter.
    for (arguments, words) in [
        (&["predict", "--adapter", "a", "--input", "texts.txt", "--explain"][..], "fuse"),
        (
            &["predict", "--adapter", "fused", "--explain", "--output-format", "tsv"],
            "no place for it",
        ),
        (
            &["eval", "--adapter", "a", "--validation-file", "rows.csv", "--attention-plot", "x"],
            "--attention-plot",
        ),
        (&["inspect", "a", "--attention-plot", "x.svg"], "no mean attention is stored"),
    ] {
        let output = run(&home, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }
}
