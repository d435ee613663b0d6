//! Adapters left out of layers at evaluation and prediction, and rows that name their adapters.

use std::path::Path;
use std::process::{Command, Output};

use adaptkit_testkit::golden_dir;
use serde_json::{Value, json};
use tempfile::TempDir;

fn adaptkit(home: &TempDir, arguments: &[&str]) -> Output {
    let (command, rest) = arguments.split_first().expect("a command");
    Command::new(env!("CARGO_BIN_EXE_adaptkit"))
        .args([command, "--threads", "1", "--quiet", "--model"])
        .arg(golden_dir("bert").join("model"))
        .args(rest)
        .current_dir(home)
        .output()
        .expect("the command")
}

fn out(home: &TempDir, arguments: &[&str]) -> String {
    let output = adaptkit(home, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn object(home: &TempDir, arguments: &[&str]) -> Value {
    serde_json::from_str(&out(home, arguments)).expect("JSON")
}

/// A folder with three adapters of different placements, lowest layers and kinds of answer.
fn home() -> TempDir {
    let home = tempfile::tempdir().expect("a folder");
    let text = |i: usize| format!("message {i} of the test");
    let labelled: String =
        (0..40).map(|i| format!("{},{}\n", text(i), ["spam", "ham"][i * i % 3 % 2])).collect();
    let write = |name: &str, text: String| {
        std::fs::write(home.path().join(name), text).expect("a file");
    };
    write("rows.csv", format!("text,label\n{labelled}"));
    let values: String = (0..40).map(|i| format!("{},{}.5\n", text(i), i % 5)).collect();
    write("values.csv", format!("text,label\n{values}"));
    let train = |output: &str, more: &[&str]| {
        let fixed = ["--epochs", "2", "--learning-rate", "0.01", "--output-dir", output];
        out(&home, &[&["train"], more, &fixed].concat());
    };
    train("plain", &["--train-file", "rows.csv"]);
    let houlsby = ["--adapter", "houlsby", "--adapterdrop", "1", "--bottleneck-size", "6"];
    train("high", &[&["--train-file", "rows.csv"], &houlsby[..]].concat());
    let regression = ["--train-file", "values.csv", "--regression"];
    train("value", &[&regression[..], &["--adapterdrop", "2", "--max-length", "4"]].concat());
    home
}

fn read(home: &TempDir, name: &str) -> String {
    std::fs::read_to_string(home.path().join(name)).expect("a file")
}

#[test]
fn layers_are_dropped_one_way_at_evaluation_and_at_prediction() {
    let home = home();
    let eval = |more: &[&str]| {
        let fixed = ["eval", "--adapter", "plain", "--validation-file", "rows.csv", "--json"];
        object(&home, &[&fixed, more].concat())
    };
    let sweep = eval(&["--adapterdrop", "sweep", "--plot", "sweep.svg"]);
    let points = sweep["eval_adapterdrop"].as_array().expect("a list");
    assert_eq!(points.len(), 4);
    let mut losses = Vec::new();
    for (n, point) in points.iter().enumerate() {
        assert_eq!(point["dropped_layers"], n);
        let alone = eval(&["--adapterdrop", &n.to_string()]);
        for name in ["eval_loss", "eval_accuracy"] {
            assert_eq!(point[name], alone[name], "{n} dropped layers");
        }
        assert!(point["eval_samples_per_second"].as_f64() > Some(0.0));
        losses.push(point["eval_loss"].as_f64().expect("a loss"));
    }
    losses.dedup();
    assert_eq!(losses.len(), 4, "dropping changes nothing: {losses:?}");
    assert_eq!(sweep["eval_loss"], points[0]["eval_loss"]);

    let ablation = eval(&["--ablate", "--plot", "ablation.html"]);
    let spans = ablation["eval_ablation"].as_array().expect("a list");
    assert_eq!(spans.len(), 1 + 3 + 2 + 1);
    assert_eq!(spans[0]["removed_layers"], Value::Null);
    for point in points.iter().skip(1) {
        let last = point["dropped_layers"].as_u64().expect("a number") - 1;
        let span = spans.iter().find(|span| span["removed_layers"] == json!([0, last]));
        assert_eq!(span.expect("the span")["eval_loss"], point["eval_loss"]);
    }
    for (name, begins) in [("sweep.svg", "<svg "), ("ablation.html", "<!DOCTYPE html>")] {
        let picture = read(&home, name);
        assert!(picture.starts_with(begins) && picture.contains("</svg>"), "{name}: {picture}");
    }

    // For people: a line for each number, and Houlsby's triangle.
    let eval = ["eval", "--adapter", "plain", "--validation-file", "rows.csv"];
    let words = out(&home, &[&eval[..], &["--adapterdrop", "sweep"]].concat());
    let table = words.split("dropped layers").nth(1).expect("a table");
    assert_eq!(table.lines().count(), 1 + 4, "{words}");
    let words = out(&home, &[&eval[..], &["--ablate"]].concat());
    let table = words.split("removed from").nth(1).expect("a table");
    let figures: Vec<usize> =
        table.lines().skip(1).map(|line| line.split_whitespace().count() - 2).collect();
    assert_eq!(figures, [3, 2, 1], "{words}");
}

#[test]
fn every_row_is_labelled_as_by_its_adapter_alone() {
    let home = home();
    let names = ["plain", "high", "value"];
    let rows: Vec<(String, Vec<&str>)> = (0..30)
        .map(|i| {
            let asked =
                names.iter().enumerate().filter(|(j, _)| ((i % 7) >> j) & 1 == 1 || i % 7 == 0);
            (format!("row {i} {}", "word ".repeat(i % 9)), asked.map(|(_, name)| *name).collect())
        })
        .collect();
    let lines = rows.iter().map(|(text, asked)| {
        json!({"text": text, "who": asked.join(", "), "id": 0}).to_string() + "\n"
    });
    std::fs::write(home.path().join("in.jsonl"), lines.collect::<String>()).expect("a file");
    let predict = |adapters: &[&str], more: &[&str]| -> Vec<Value> {
        let adapters: Vec<&str> = adapters.iter().flat_map(|a| ["--adapter", a]).collect();
        let fixed = ["predict", "--input", "in.jsonl", "--raw-scores"];
        let lines = out(&home, &[&fixed, &adapters[..], more].concat());
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    for drop in
        [&[][..], &["--adapterdrop", "2"], &["--adapterdrop", "3", "--adapterdrop", "high=1"]]
    {
        let of = |name: &str| -> Vec<Value> {
            let all =
                drop.chunks_exact(2).filter(|pair| !pair[1].contains('=')).map(|pair| pair[1]);
            let own = drop.chunks_exact(2).filter_map(|pair| pair[1].strip_prefix("high="));
            let layers = own.filter(|_| name == "high").chain(all).next().unwrap_or("0");
            predict(&[name], &["--adapterdrop", layers])
        };
        let alone = names.map(of);
        let together = predict(&names, drop);
        let named = predict(&names, &[drop, &["--adapter-column", "who"]].concat());
        for (number, (_, asked)) in rows.iter().enumerate() {
            for (name, alone) in names.iter().zip(&alone) {
                assert_eq!(together[number][name], alone[number], "row {number}, {name}");
                let expected = asked.contains(name).then_some(&alone[number]);
                assert_eq!(named[number].get(name), expected, "row {number}, {name}");
            }
        }
    }

    // Two adapters of one name: the second under another.
    let twice = predict(&["plain", "again=plain"], &["--adapterdrop", "again=3"]);
    assert!(twice.iter().any(|row| row["plain"] != row["again"]), "dropping changes nothing");
    let table = ["predict", "--input", "in.jsonl", "--adapter", "plain", "--adapter", "value"];
    let table = out(&home, &[&table[..], &["--output-format", "tsv"]].concat());
    assert!(table.lines().all(|line| line.split('\t').count() == 4), "{table}");
}

/// A row may ask for the bare base with a head only: a directory that holds no adapter.
#[test]
fn a_head_alone_is_on_the_bare_base() {
    let home = home();
    let copy = |name: &str, files: &[&str]| {
        std::fs::create_dir(home.path().join(name)).expect("a folder");
        for file in files {
            let [from, to] = ["plain", name].map(|folder| home.path().join(folder).join(file));
            std::fs::copy(from, to).expect("a file");
        }
    };
    let head = ["head_config.json", "model_head.safetensors"];
    copy("bare", &head);
    copy("lost", &[head[0], head[1], "adaptkit.json"]);
    let lines = (0..20).map(|i| {
        let who = ["base", "plain,base", "value"][i % 3];
        json!({"text": format!("row {i} {}", "word ".repeat(i % 9)), "who": who}).to_string() + "\n"
    });
    std::fs::write(home.path().join("in.jsonl"), lines.collect::<String>()).expect("a file");
    let predict = |more: &[&str]| -> Vec<Value> {
        let lines =
            out(&home, &[&["predict", "--input", "in.jsonl", "--raw-scores"], more].concat());
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let alone = predict(&["--adapter", "plain", "--adapterdrop", "3"]);
    assert_eq!(predict(&["--adapter", "bare"]), alone);
    let several = ["--adapter", "plain", "--adapter", "base=bare", "--adapter", "value"];
    let mixed = predict(&[&several[..], &["--adapter-column", "who"]].concat());
    for (number, (row, alone)) in mixed.iter().zip(&alone).enumerate() {
        let expected = (number % 3 != 2).then_some(alone);
        assert_eq!(row.get("base"), expected, "row {number}: {row}");
    }
    assert_eq!(
        object(&home, &["eval", "--adapter", "bare", "--validation-file", "rows.csv", "--json"])["eval_samples"],
        40
    );
    // What was an adapter's directory is not taken for a head's.
    let lost = adaptkit(&home, &["predict", "--adapter", "lost", "--input", "in.jsonl"]);
    let words = String::from_utf8_lossy(&lost.stderr);
    assert!(words.contains("lost has no adapter_config.json"), "{words}");
}

#[test]
fn wrong_names_and_numbers_are_said() {
    let home = home();
    std::fs::write(home.path().join("in.csv"), "text,who\na,plain\nb,other\n").expect("a file");
    std::fs::write(home.path().join("gap.csv"), "text,who\na,\n").expect("a file");
    let predict: &[&str] = &["predict", "--adapter", "plain", "--input", "in.csv"];
    let eval: &[&str] = &["eval", "--adapter", "plain", "--validation-file", "rows.csv"];
    let column: &[&str] = &["--adapter-column", "who"];
    let cases: [(&[&str], &[&str], i32, &str); 12] = [
        (
            predict,
            column,
            1,
            "in.csv, line 3: the column \"who\" names the adapter \"other\"; --adapter gave \"plain\"",
        ),
        (predict, &["--adapter-column", "whose"], 1, "whose"),
        (
            &["predict", "--adapter", "plain", "--input", "gap.csv"],
            column,
            1,
            "gap.csv, line 2: the column \"who\" names the adapter \"\"",
        ),
        (
            predict,
            &["--adapterdrop", "4"],
            2,
            "--adapterdrop asks for 4 dropped layers, and the encoder has 3",
        ),
        (
            predict,
            &["--adapterdrop", "high=1"],
            2,
            "no adapter is called \"high\"; there are \"plain\"",
        ),
        (predict, &["--adapterdrop", "plain=wings"], 2, "a number of layers, or NAME=N"),
        (predict, &["--adapterdrop", "-1"], 2, "a number of layers, or NAME=N"),
        (eval, &["--adapterdrop", "-1"], 2, "none, sweep or a number of layers"),
        (eval, &["--adapterdrop", "4"], 2, "--adapterdrop asks for 4 dropped layers"),
        (eval, &["--adapterdrop", "1.5"], 2, "none, sweep or a number of layers"),
        (eval, &["--adapterdrop", "sweep", "--ablate"], 2, "cannot be used with"),
        (eval, &["--plot", "a.svg"], 2, "--plot draws what --adapterdrop sweep or --ablate finds"),
    ];
    for (command, more, code, says) in cases {
        let output = adaptkit(&home, &[command, more].concat());
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {words}");
        assert!(words.contains(says), "{more:?}: {words}");
        assert!(output.stdout.is_empty(), "{more:?}");
    }
    assert!(!Path::new(&home.path().join("a.svg")).exists());
}
