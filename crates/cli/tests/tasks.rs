//! The commands end to end on a tiny model: what they print and write, and what they say of bad
//! input.

use std::path::Path;
use std::process::{Command, Output};

use adaptkit_testkit::golden_dir;
use serde_json::Value;

fn adaptkit(home: &Path, arguments: &[&str]) -> Output {
    let tiny = golden_dir("bert").join("model");
    let tiny = tiny.to_str().expect("a path");
    let arguments = arguments.iter().map(|a| if *a == "TINY" { tiny } else { a });
    Command::new(env!("CARGO_BIN_EXE_adaptkit"))
        .args(arguments)
        .current_dir(home)
        .env("ADAPTKIT_CACHE", home.join("cache"))
        .output()
        .expect("the command")
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write(home: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(home.join(name), bytes).expect("a file");
}

fn rows(n: usize) -> String {
    let row = |i: usize| format!("message {i} of the test,{}\n", ["spam", "ham"][i % 2]);
    format!("text,label\n{}", (0..n).map(row).collect::<String>())
}

const TRAIN: [&str; 13] = [
    "train",
    "--model",
    "TINY",
    "--train-file",
    "rows.csv",
    "--epochs",
    "2",
    "--max-length",
    "20",
    "--output-dir",
    "out",
    "--quiet",
    "--json",
];

#[test]
fn what_is_trained_can_be_inspected_evaluated_and_used() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    write(home, "rows.csv", rows(60).as_bytes());
    let trained = adaptkit(home, &TRAIN);
    assert!(trained.status.success(), "{}", words(&trained));
    let results: Value = serde_json::from_slice(&trained.stdout).expect("one object");
    let file = std::fs::read(home.join("out/all_results.json")).expect("the results");
    assert_eq!(results, serde_json::from_slice::<Value>(&file).expect("JSON"));
    for name in ["eval_accuracy", "eval_f1", "eval_loss", "train_runtime", "train_loss"] {
        assert!(results[name].is_f64(), "{name}: {results}");
    }

    let inspected = adaptkit(home, &["inspect", "out", "--json"]);
    let facts: Value = serde_json::from_slice(&inspected.stdout).expect("one object");
    assert_eq!(facts["placement"], "pfeiffer = seq_bn");
    assert_eq!(facts["labels"], serde_json::json!(["ham", "spam"]));

    let common = ["--model", "TINY", "--adapter", "out", "--json"];
    let with = |more: &[&'static str]| -> Vec<&'static str> {
        [&more[..1], &common[..], &more[1..]].concat()
    };
    let scored = adaptkit(home, &with(&["eval", "--validation-file", "rows.csv"]));
    assert!(scored.status.success(), "{}", words(&scored));
    let scores: Value = serde_json::from_slice(&scored.stdout).expect("one object");
    assert_eq!(scores["eval_samples"], 60);

    // Order, pairs, empty text; probabilities that sum to one.
    write(
        home,
        "in.jsonl",
        b"{\"text\":\"a\"}\n{\"text\":\"\",\"text_pair\":\"b\"}\n{\"text\":\"c\"}\n",
    );
    let labelled = adaptkit(home, &with(&["predict", "--input", "in.jsonl"]));
    assert!(labelled.status.success(), "{}", words(&labelled));
    let lines = String::from_utf8(labelled.stdout).expect("UTF-8");
    let objects: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(objects.len(), 3);
    for object in &objects {
        let scores = object["scores"].as_object().expect("scores");
        let sum: f64 = scores.values().filter_map(Value::as_f64).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{object}");
        assert_eq!(object["score"], scores[object["label"].as_str().expect("a label")]);
    }
    // A row alone is labelled as among others.
    write(home, "one.jsonl", b"{\"text\":\"c\"}\n");
    let alone = adaptkit(home, &with(&["predict", "--input", "one.jsonl"]));
    assert_eq!(lines.lines().last(), String::from_utf8_lossy(&alone.stdout).lines().last());

    // The same seed gives the same bits.
    let first = std::fs::read(home.join("out/adapter.safetensors")).expect("an adapter");
    let again = adaptkit(home, &[&TRAIN[..], &["--overwrite"]].concat());
    assert!(again.status.success(), "{}", words(&again));
    let second = std::fs::read(home.join("out/adapter.safetensors")).expect("an adapter");
    assert!(first == second, "two runs of one seed differ");

    let two = adaptkit(home, &with(&["predict", "--adapter", "out", "--input", "one.jsonl"]));
    assert_eq!(two.status.code(), Some(2), "two adapters of one name");
}

#[test]
fn bad_input_is_named_and_nothing_is_left_behind() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    write(home, "rows.csv", rows(40).as_bytes());
    write(home, "empty.csv", b"");
    write(home, "ragged.tsv", b"text\tlabel\na\tx\nb\n");
    write(home, "one.csv", b"text,label\na,x\nb,x\nc,x\n");
    write(home, "latin.csv", b"text,label\ncaf\xe9,x\nb,y\n");
    write(home, "windows.csv", format!("\u{feff}{}", rows(40).replace('\n', "\r\n")).as_bytes());
    std::fs::create_dir(home.join("there")).expect("a folder");
    write(home, "there/precious.txt", b"mine");
    std::fs::create_dir(home.join("broken")).expect("a folder");
    write(home, "broken/config.json", b"{\"model_type\":\"bert\"}");
    let train = |file: &'static str, more: &[&'static str]| {
        let mut arguments: Vec<&str> = TRAIN.to_vec();
        arguments[4] = file;
        arguments.extend(more);
        adaptkit(home, &arguments)
    };
    let model = |name: &'static str| {
        let mut arguments: Vec<&str> = TRAIN.to_vec();
        arguments[2] = name;
        adaptkit(home, &arguments)
    };
    let directory = |name: &'static str, more: &[&'static str]| {
        let mut arguments: Vec<&str> = TRAIN.to_vec();
        arguments[10] = name;
        arguments.extend(more);
        adaptkit(home, &arguments)
    };
    let cases: [(&str, Output, i32, &[&str]); 12] = [
        ("missing file", train("absent.csv", &[]), 1, &["absent.csv"]),
        ("empty file", train("empty.csv", &[]), 1, &["empty.csv"]),
        (
            "missing column",
            train("rows.csv", &["--text-column", "body"]),
            1,
            &["body", "text", "label"],
        ),
        ("ragged row", train("ragged.tsv", &[]), 1, &["ragged.tsv, line 3"]),
        ("one class", train("one.csv", &[]), 1, &["\"x\"", "two are needed"]),
        ("not UTF-8", train("latin.csv", &[]), 1, &["latin.csv", "14", "--encoding"]),
        ("zero epochs", train("rows.csv", &["--epochs", "0"]), 2, &["--epochs"]),
        ("unknown flag", train("rows.csv", &["--wings"]), 2, &["--wings"]),
        (
            "divergence",
            train("rows.csv", &["--learning-rate", "1e30"]),
            1,
            &["step", "learning rate"],
        ),
        ("no such model", model("absent-model"), 1, &["absent-model", "adaptkit pull"]),
        ("broken config", model("broken"), 1, &["broken", "model.safetensors"]),
        ("precious directory", directory("there", &["--overwrite"]), 1, &["precious.txt"]),
    ];
    for (what, output, code, parts) in cases {
        let words = words(&output);
        assert_eq!(output.status.code(), Some(code), "{what}: {words}");
        for part in parts {
            assert!(words.contains(part), "{what}: no {part} in\n{words}");
        }
        assert!(!home.join("out").exists(), "{what} left an output directory");
    }
    assert!(home.join("there/precious.txt").exists());
    let left: Vec<_> = std::fs::read_dir(home).expect("a folder").flatten().collect();
    assert_eq!(left.len(), 8, "something temporary is left: {left:?}");

    // A byte-order mark and CRLF are accepted; an existing output needs --overwrite.
    let windows = train("windows.csv", &[]);
    assert!(windows.status.success(), "{}", words(&windows));
    let twice = train("rows.csv", &[]);
    assert_eq!(twice.status.code(), Some(1));
    assert!(words(&twice).contains("--overwrite"), "{}", words(&twice));

    // An unknown label at evaluation, and an adapter of another base.
    write(home, "other.csv", b"text,label\na,eggs\n");
    let unknown = adaptkit(
        home,
        &["eval", "--model", "TINY", "--adapter", "out", "--validation-file", "other.csv"],
    );
    assert_eq!(unknown.status.code(), Some(1));
    assert!(words(&unknown).contains("other.csv, line 2") && words(&unknown).contains("eggs"));
    let sibling = golden_dir("bert-gelu-new").join("model");
    let sibling = sibling.to_str().expect("a path");
    let wrong =
        adaptkit(home, &["predict", "--model", sibling, "--adapter", "out", "--input", "rows.csv"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(words(&wrong).contains("hidden size"), "{}", words(&wrong));
}

/// The library takes a head only where the class is the model's own.
#[test]
fn an_adapter_belongs_to_its_own_type_of_base() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    write(home, "rows.csv", rows(12).as_bytes());
    let cases = [
        ("bert", "BertAdapterModel"),
        ("roberta", "RobertaAdapterModel"),
        ("xlm-roberta", "XLMRobertaAdapterModel"),
        ("camembert", "CamembertAdapterModel"),
        ("distilbert", "DistilBertAdapterModel"),
        ("electra", "ElectraAdapterModel"),
        ("mpnet", "MPNetAdapterModel"),
    ];
    for (model_type, class) in cases {
        let model = golden_dir(model_type).join("model");
        let model = model.to_str().expect("a path");
        let flags = ["train", "--train-file", "rows.csv", "--epochs", "1", "--max-length", "20"];
        let trained = [&flags[..], &["--model", model, "--output-dir", model_type]].concat();
        let trained = adaptkit(home, &trained);
        assert!(trained.status.success(), "{model_type}: {}", words(&trained));
        for name in ["adapter_config.json", "head_config.json"] {
            let file = std::fs::read(home.join(model_type).join(name)).expect("a file");
            let file: Value = serde_json::from_slice(&file).expect("JSON");
            assert_eq!(file["model_type"], model_type, "{name}");
            assert_eq!(file["model_class"], class, "{name}");
        }
        let flags = ["predict", "--input", "rows.csv", "--model", model, "--adapter", model_type];
        let labelled = adaptkit(home, &flags);
        assert!(labelled.status.success(), "{model_type}: {}", words(&labelled));
        assert_eq!(labelled.stdout.split(|byte| *byte == b'\n').count(), 13, "{model_type}");
    }
    // A sibling of the same shape is another base.
    let camembert = golden_dir("camembert").join("model");
    let camembert = camembert.to_str().expect("a path");
    let flags = ["eval", "--validation-file", "rows.csv", "--model", camembert];
    let refused = adaptkit(home, &[&flags[..], &["--adapter", "xlm-roberta"]].concat());
    assert_eq!(refused.status.code(), Some(1), "{}", words(&refused));
}
