//! The ways in which files spell labels, and what is told of them.

use serde_json::json;

use crate::home::Home;

const TRAIN: &str = "train --model TINY --epochs 1 --output-dir out --overwrite";
const EVAL: &str = "eval --model TINY --adapter out";

/// A CSV file with a row for each of these labels, in turn, forty in all.
fn csv(labels: &[&str]) -> String {
    let row = |i: usize| format!("row {i} of many,\"{}\"\n", labels[i % labels.len()]);
    format!("text,label\n{}", (0..40).map(row).collect::<String>())
}

/// JSON lines with the same rows; the labels are JSON.
fn jsonl(labels: &[&str]) -> String {
    let row = |i: usize| {
        format!("{{\"text\": \"row {i} of many\", \"label\": {}}}\n", labels[i % labels.len()])
    };
    (0..40).map(row).collect()
}

#[test]
fn lists_of_labels_are_read_in_every_file() {
    let home = Home::with(&[
        ("json.csv", &csv(&[r#"[""sport"",""news""]"#, "[]", r#"[""news""]"#])),
        ("python.csv", &csv(&["['sport', 'news']", "[]", "['news']"])),
        ("rows.jsonl", &jsonl(&[r#"["sport", "news"]"#, "[]", r#"["news"]"#])),
        ("numpy.csv", &csv(&["['news']", "['sport' 'news']"])),
        ("one.csv", &csv(&[r#"[""ham""]"#, "spam"])),
    ]);
    for file in ["json.csv", "python.csv", "rows.jsonl"] {
        home.good(&format!("{TRAIN} --quiet --multi-label --train-file {file}"));
        assert_eq!(home.json("inspect out")["labels"], json!(["news", "sport"]), "{file}");
    }
    let refused = home.run(&format!("{TRAIN} --quiet --multi-label --train-file numpy.csv"));
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("numpy.csv, line 3: the label"), "{}", refused.stderr);
    home.good(&format!("{TRAIN} --quiet --train-file one.csv"));
    assert_eq!(home.json("inspect out")["labels"], json!(["ham", "spam"]));
    let refused = home.run(&format!("{TRAIN} --quiet --train-file json.csv"));
    let words = "json.csv, line 2: 2 labels where one is needed; a multi-label task takes several\n\
                 hint: --multi-label";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
}

#[test]
fn zeros_and_ones_are_one_place_for_each_label() {
    let columns = (0..40).map(|i| format!("row {i},{},{}\n", i % 2, (i / 2) % 2));
    let columns: String = columns.collect();
    let home = Home::with(&[
        ("places.jsonl", &jsonl(&["[1, 0]", "[0, 1]", "[1, 1]", "[0, 0]"])),
        ("places.csv", &csv(&["[1, 0]", "0,1", "[True, True]", "[0., 0.]"])),
        ("names.csv", &csv(&["a", "b", "a,b", ","])),
        ("columns.csv", &format!("text,a,b\n{columns}")),
        ("swapped.csv", "text,b,a\nx,0,1\ny,0,1\n"),
        ("bare.csv", "x,1,0\ny,1,0\n"),
        ("wrong.csv", "text,a,b\nx,1,0\ny,1,maybe\n"),
    ]);
    for file in ["places.jsonl", "places.csv"] {
        let train = format!("{TRAIN} --multi-label --train-file {file}");
        let refused = home.run(&train);
        assert_eq!(refused.code, Some(1), "{file}");
        assert!(refused.stderr.contains("the labels are zeros and ones"), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: --labels a,b,c gives them"), "{}", refused.stderr);
        let said = home.good(&format!("{train} --labels a,b"));
        assert_eq!(home.json("inspect out")["labels"], json!(["a", "b"]), "{file}");
        assert!(said.stderr.contains("40 rows of zeros and ones read as one place"));
        let support = |file: &str| {
            let scores = home.json(&format!("{EVAL} --validation-file {file}"));
            let labels = scores["eval_labels"].as_array().expect("a list").clone();
            labels.iter().map(|label| label["support"].clone()).collect::<Vec<_>>()
        };
        for file in ["places.jsonl", "places.csv", "names.csv"] {
            assert_eq!(support(file), [20, 20], "{file}");
        }
        assert_eq!(support("columns.csv --label-columns a,b"), [20, 20]);
    }
    home.good(&format!("{TRAIN} --quiet --label-columns a,b --train-file columns.csv"));
    assert_eq!(home.json("inspect out")["labels"], json!(["a", "b"]));
    for (flags, expected) in [
        ("--validation-file swapped.csv --label-columns b,a", [2, 0]),
        ("--validation-file bare.csv --no-header --text-column 1 --label-columns 2,3", [2, 0]),
    ] {
        let scores = home.json(&format!("{EVAL} {flags}"));
        let labels = &scores["eval_labels"];
        assert_eq!([&labels[0]["support"], &labels[1]["support"]], expected, "{flags}");
    }
    let cases = [
        (
            format!("{TRAIN} --quiet --label-columns a,b --train-file wrong.csv"),
            1,
            "wrong.csv, line 3: column \"b\" holds \"maybe\"",
        ),
        (
            format!("{EVAL} --validation-file columns.csv --label-columns a"),
            1,
            "the columns of labels are \"a\", and the labels \"a\", \"b\"",
        ),
        (format!("{TRAIN} --train-file columns.csv --label-columns a,c"), 1, "no column \"c\""),
        (
            format!("{TRAIN} --train-file columns.csv --label-columns a,b --label-column a"),
            2,
            "cannot be used with",
        ),
    ];
    for (line, code, words) in cases {
        let said = home.run(&line);
        assert_eq!(said.code, Some(code), "{line}: {}", said.stderr);
        assert!(said.stderr.contains(words), "{line}: {}", said.stderr);
    }
}

#[test]
fn labels_spelt_like_missing_values_are_told_and_not_learnt() {
    let home = Home::with(&[("rows.csv", &csv(&["nan", "yes", "no", "None", "yes"]))]);
    let said = home.good(&format!("{TRAIN} --train-file rows.csv"));
    assert_eq!(home.json("inspect out")["labels"], json!(["no", "yes"]));
    for words in [
        "16 rows without a label dropped (first: rows.csv, line 2); read as no label: \"None\" in 8 \
         rows, \"nan\" in 8 rows",
        "--labels with all labels, or --label-map, keeps it",
        "rows of each label (training + validation): \"no\" 7 + 1, \"yes\" 15 + 1",
    ] {
        assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
    }
    let scores = home.json(&format!("{EVAL} --validation-file rows.csv"));
    assert_eq!((&scores["eval_samples"], &scores["eval_rows_left_out"]), (&json!(24), &json!(16)));
    let kept = home.good(&format!("{TRAIN} --train-file rows.csv --labels no,yes,None,nan"));
    assert_eq!(home.json("inspect out")["labels"], json!(["no", "yes", "None", "nan"]));
    assert!(!kept.stderr.contains("without a label"), "{}", kept.stderr);
    let scores = home.json(&format!("{EVAL} --validation-file rows.csv"));
    assert_eq!(scores["eval_samples"], 40);
}

#[test]
fn numbers_and_truth_values_are_one_label_in_every_file() {
    let scores: Vec<String> = (0..40).map(|i| format!("{:.2}", f64::from(i) * 0.35)).collect();
    let scores: Vec<&str> = scores.iter().map(String::as_str).collect();
    let home = Home::with(&[
        ("int.csv", &csv(&["0", "1"])),
        ("float.csv", &csv(&["0.0", "1.0"])),
        ("float.jsonl", &jsonl(&["0.0", "1.0"])),
        ("bool.csv", &csv(&["False", "True"])),
        ("bool.jsonl", &jsonl(&["false", "true"])),
        ("codes.csv", &csv(&["01", "1"])),
        ("versions.csv", &csv(&["1.1", "1.10"])),
        ("scores.csv", &csv(&scores)),
        ("numbers.json", "\u{feff}{\"0\": 1, \"1\": 5}"),
    ]);
    for (trained, evaluated, labels) in [
        ("int.csv", ["float.csv", "float.jsonl"], ["0", "1"]),
        ("float.csv", ["int.csv", "float.jsonl"], ["0.0", "1.0"]),
        ("bool.csv", ["bool.jsonl", "bool.csv"], ["False", "True"]),
        ("bool.jsonl", ["bool.csv", "bool.jsonl"], ["false", "true"]),
        ("codes.csv", ["codes.csv", "codes.csv"], ["01", "1"]),
        ("versions.csv", ["versions.csv", "versions.csv"], ["1.1", "1.10"]),
    ] {
        home.good(&format!("{TRAIN} --quiet --train-file {trained}"));
        assert_eq!(home.json("inspect out")["labels"], json!(labels), "{trained}");
        for file in evaluated {
            let scores = home.json(&format!("{EVAL} --validation-file {file}"));
            assert_eq!(scores["eval_labels"][1]["support"], 20, "{trained} {file}");
        }
    }
    let told = home.good(&format!("{TRAIN} --train-file scores.csv"));
    let words = "the labels are decimal numbers, and each of the 40 is learnt as a class of its own: \
                 --regression predicts numbers, --labels lists the classes";
    assert!(told.stderr.contains(words), "{}", told.stderr);
    let silent = home.good(&format!("{TRAIN} --train-file float.csv"));
    assert!(!silent.stderr.contains("decimal numbers"), "{}", silent.stderr);
    // Names may be numbers: those of classes, and the targets of a regression.
    let named = "--train-file float.csv --label-map numbers.json";
    home.good(&format!("{TRAIN} --quiet {named}"));
    assert_eq!(home.json("inspect out")["labels"], json!(["1", "5"]));
    home.good(&format!("{TRAIN} --quiet --regression {named}"));
    let eval = "--validation-file float.csv --label-map numbers.json";
    let residuals = &home.json(&format!("{EVAL} {eval}"))["eval_residuals"];
    let far = home.json(&format!("{EVAL} --validation-file float.csv"))["eval_residuals"].clone();
    let mean = |residuals: &serde_json::Value| residuals["mean"].as_f64().expect("a number");
    assert!((mean(residuals) - (mean(&far) - 2.5)).abs() < 1e-4, "{residuals} {far}");
}

#[test]
fn values_that_begin_with_a_dash_are_values() {
    let home = Home::with(&[
        ("train.csv", &csv(&["yes", "no"])),
        ("dev.csv", "text,label\na,yes\nb,-\nc,no\n"),
        ("numbers.csv", &csv(&["-1", "0", "1"])),
        ("dash.csv", &csv(&["yes", "no"]).replace("text,label", "-t,-x")),
        ("lists.csv", &csv(&["a-b", "b"])),
        ("names.csv", &csv(&["-a", "-b"])),
    ]);
    for (flags, labels) in [
        ("--train-file train.csv --validation-file dev.csv --drop-label -", json!(["no", "yes"])),
        ("--train-file numbers.csv --labels -1,0,1", json!(["-1", "0", "1"])),
        ("--train-file numbers.csv --drop-label -1", json!(["0", "1"])),
        ("--train-file dash.csv --text-column -t --label-column -x", json!(["no", "yes"])),
        ("--train-file lists.csv --multi-label --label-delimiter -", json!(["a", "b"])),
        ("--train-file names.csv --labels -b,-a", json!(["-b", "-a"])),
    ] {
        home.good(&format!("{TRAIN} --quiet {flags}"));
        assert_eq!(home.json("inspect out")["labels"], labels, "{flags}");
    }
    home.good(&format!("{TRAIN} --quiet --train-file train.csv"));
    let scores = home.json(&format!("{EVAL} --validation-file dev.csv --drop-label -"));
    assert_eq!((&scores["eval_samples"], &scores["eval_rows_left_out"]), (&json!(2), &json!(1)));
    let said = home.good(&format!("{EVAL} --validation-file train.csv --drop-label -"));
    assert!(said.stderr.contains("note: no row has the label \"-\""), "{}", said.stderr);
    home.good(&format!("{EVAL} --validation-file train.csv --drop-label="));
}

#[test]
fn parts_have_every_label_and_what_they_share_is_told() {
    let sorted: Vec<&str> = (0..40).map(|i| if i < 36 { "neg" } else { "pos" }).collect();
    let home = Home::with(&[
        ("sorted.csv", &csv(&sorted)),
        ("dev.csv", "text,label\nrow 0 of many,pos\nrow 1 of many,neg\nnew,neg\n"),
        ("one.csv", "text,label\nnew,neg\n"),
    ]);
    let said = home.good(&format!("{TRAIN} --train-file sorted.csv --max-train-samples 10 --json"));
    let words = "rows of each label (training + validation): \"neg\" 9 + 4, \"pos\" 1 + 0";
    assert!(said.stderr.contains(words), "{}", said.stderr);
    assert!(said.stderr.contains("no validation row has \"pos\""), "{}", said.stderr);
    assert_eq!(said.value()["train_samples"], 10);
    let counts = json!([
        {"label": "neg", "train": 9, "validation": 4},
        {"label": "pos", "train": 1, "validation": 0}
    ]);
    assert_eq!(said.value()["label_rows"], counts);
    assert_eq!(said.value()["validation_rows_in_training"], 0);
    let said = home.good(&format!(
        "{TRAIN} --train-file sorted.csv --validation-file dev.csv --max-eval-samples 3"
    ));
    let words = "2 of the 3 validation rows stand among the training rows too, 1 of them with \
                 another answer (first: dev.csv, line 2)";
    assert!(said.stderr.contains(words), "{}", said.stderr);
    for (flags, rows) in [("", 40), ("--max-eval-samples 20", 20), ("--max-eval-samples 99", 40)] {
        let scores = home.json(&format!("{EVAL} --validation-file sorted.csv {flags}"));
        assert_eq!(scores["eval_samples"], rows, "{flags}");
    }
    let few = format!("{EVAL} --validation-file sorted.csv --max-eval-samples 20");
    let scores = home.json(&few);
    assert_eq!(scores["eval_labels"][1]["support"], 2);
    let other = home.json(&format!("{few} --seed 1"));
    assert_eq!(other["eval_labels"][1]["support"], 2);
    assert_ne!(scores["eval_loss"], other["eval_loss"]);
    assert_eq!(scores["eval_loss"], home.json(&few)["eval_loss"]);
    let refused = home.run(&format!("{EVAL} --validation-file one.csv --max-eval-samples 0"));
    assert_eq!(refused.code, Some(2));
}
