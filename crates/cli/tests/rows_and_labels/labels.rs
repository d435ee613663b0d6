//! Labels: sets of them, names for them, those to leave out; and scores by label.

use serde_json::{Value, json};

use crate::home::Home;

const TRAIN: &str = "train --model TINY --epochs 2 --output-dir out --quiet";
const EVAL: &str = "eval --model TINY --adapter out";
const PREDICT: &str = "predict --model TINY --adapter out";

/// A CSV file of forty rows with these labels in turn.
fn csv(labels: &[&str]) -> String {
    let row = |i: usize| format!("row {i} of many,\"{}\"\n", labels[i % labels.len()]);
    format!("text,label\n{}", (0..40).map(row).collect::<String>())
}

#[test]
fn a_row_may_have_a_set_of_labels() {
    let list = |i: usize| {
        let labels = [json!(["sport", "news"]), json!([]), json!(["news"]), json!("sport")];
        format!("{}\n", json!({"text": format!("row {i}"), "label": labels[i % 4]}))
    };
    let home = Home::with(&[
        ("rows.csv", &csv(&["sport, news", ",", "news", "sport"])),
        ("semicolons.csv", &csv(&["sport;news", ";", "news", "sport"])),
        ("rows.jsonl", &(0..40).map(list).collect::<String>()),
        ("unknown.csv", "text,label\na,news\nb,\"sport,chess\"\n"),
    ]);
    let trained = home.json(&format!("{TRAIN} --multi-label --train-file rows.csv"));
    for score in ["eval_f1_micro", "eval_f1_macro", "eval_exact_match"] {
        assert!(trained[score].is_f64(), "{score}: {trained}");
    }
    assert_eq!(home.json("inspect out")["labels"], json!(["news", "sport"]));

    let scores = home.json(&format!("{EVAL} --validation-file rows.csv"));
    assert_eq!(scores["eval_samples"], 40);
    let labels = scores["eval_labels"].as_array().expect("a list");
    let of = |label: &Value| (label["label"].clone(), label["support"].clone());
    assert_eq!(of(&labels[0]), (json!("news"), json!(20)));
    assert_eq!(of(&labels[1]), (json!("sport"), json!(20)));
    // The three files say the same.
    for same in ["semicolons.csv --label-delimiter ;", "rows.jsonl"] {
        let again = home.json(&format!("{EVAL} --validation-file {same}"));
        assert_eq!(again["eval_labels"].as_array().map(Vec::len), Some(2), "{same}");
        assert_eq!(of(&again["eval_labels"][1]), (json!("sport"), json!(20)), "{same}");
    }
    let unknown = home.run(&format!("{EVAL} --validation-file unknown.csv"));
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("unknown.csv, line 3: unknown label \"chess\""));
}

#[test]
fn the_threshold_is_stored_and_can_be_changed() {
    let home = Home::with(&[("rows.csv", &csv(&["a,b", ",", "b", "a"]))]);
    // Every probability of a barely trained head lies between these thresholds.
    let train = format!("{TRAIN} --multi-label --train-file rows.csv --overwrite");
    for (stored, asked, applying) in [
        ("", "", None),
        ("--threshold 0.001", "", Some(2)),
        ("--threshold 0.999", "", Some(0)),
        ("--threshold 0.999", "--threshold 0.001", Some(2)),
        ("--threshold 0.001", "--threshold 0.999", Some(0)),
    ] {
        home.good(&format!("{train} {stored}"));
        let rows = home.good(&format!("{PREDICT} --input rows.csv {asked}")).values();
        assert_eq!(rows.len(), 40);
        for row in rows {
            let labels = row["labels"].as_array().expect("a list");
            let scores = row["scores"].as_object().expect("scores");
            assert_eq!(scores.len(), 2);
            match applying {
                Some(count) => assert_eq!(labels.len(), count, "{stored} {asked}: {row}"),
                None => {
                    let above = scores.iter().filter(|(_, p)| p.as_f64() > Some(0.5));
                    let above: Vec<Value> = above.map(|(name, _)| json!(name)).collect();
                    assert_eq!(labels, &above);
                }
            }
        }
        let recall = home.json(&format!("{EVAL} --validation-file rows.csv {asked}"));
        let recall = recall["eval_labels"][0]["recall"].as_f64();
        match applying {
            Some(2) => assert_eq!(recall, Some(1.0)),
            Some(_) => assert_eq!(recall, Some(0.0)),
            None => assert!(recall.is_some()),
        }
    }
    let cases = [
        (format!("{train} --threshold 1"), "between 0 and 1"),
        (format!("{PREDICT} --input rows.csv --threshold 0"), "between 0 and 1"),
    ];
    for (line, words) in cases {
        let said = home.run(&line);
        assert_eq!(said.code, Some(2), "{line}");
        assert!(said.stderr.contains(words), "{line}: {}", said.stderr);
    }
    let single = "train --model TINY --epochs 1 --output-dir single -q --train-file rows.csv";
    home.good(single);
    let said = home.run("predict --model TINY --adapter single --threshold 0.4");
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("--threshold is for adapters that give sets of labels"));
    assert_eq!(home.run(&format!("{single} --threshold 0.4")).code, Some(2));
}

#[test]
fn labels_are_given_named_or_left_out() {
    let home = Home::with(&[
        ("rows.csv", &csv(&["1", "0", "?", "1", "0", "1"])),
        ("names.json", r#"{"1": "spam", "0": "ham"}"#),
        ("broken.json", r#"{"1": "spam""#),
        ("one.csv", "text,label\nx,1\ny,?\n"),
    ]);
    let train =
        |flags: &str| home.run(&format!("{TRAIN} --overwrite --train-file rows.csv {flags}"));
    let cases: [(&str, Result<&[&str], &str>); 10] = [
        ("", Ok(&["0", "1", "?"])),
        ("--labels ?,1,0", Ok(&["?", "1", "0"])),
        ("--labels 0,1,?,unseen", Ok(&["0", "1", "?", "unseen"])),
        ("--drop-label ?", Ok(&["0", "1"])),
        ("--drop-label ? --label-map names.json", Ok(&["spam", "ham"])),
        ("--drop-label ? --label-map names.json --labels ham,spam", Ok(&["ham", "spam"])),
        ("--labels 0,1", Err("rows.csv, line 4: unknown label \"?\"; the labels are \"0\", \"1\"")),
        ("--label-map names.json", Err("rows.csv, line 4: unknown label \"?\"")),
        ("--label-map broken.json", Err("broken.json: ")),
        ("--drop-label maybe", Err("no row has the label \"maybe\"")),
    ];
    for (flags, expected) in cases {
        let said = train(flags);
        match expected {
            Ok(labels) => {
                assert_eq!(said.code, Some(0), "{flags}: {}", said.stderr);
                assert_eq!(home.json("inspect out")["labels"], json!(labels), "{flags}");
            }
            Err(words) => {
                assert_eq!(said.code, Some(1), "{flags}");
                assert!(said.stderr.contains(words), "{flags}: {}", said.stderr);
            }
        }
    }
    // What was left out is said, in training and in evaluation.
    let said = home.good(&format!(
        "{} --overwrite --train-file rows.csv --drop-label ? --label-map names.json",
        TRAIN.replace("--quiet", "")
    ));
    let words = "7 rows with a label to leave out dropped (first: rows.csv, line 4)";
    assert!(said.stderr.contains(words), "{}", said.stderr);
    let silent =
        home.good(&format!("{TRAIN} --overwrite --train-file rows.csv --drop-label ? --json"));
    assert_eq!((&silent.value()["train_rows_left_out"], &silent.stderr[..]), (&json!(7), ""));
    let eval = format!("{EVAL} --validation-file one.csv --label-map names.json");
    let refused = home.run(&eval);
    assert!(refused.stderr.contains("one.csv, line 3: unknown label \"?\""), "{}", refused.stderr);
    let said = home.good(&format!("{eval} --drop-label ? --json"));
    assert!(said.stderr.contains("1 rows with a label to leave out"), "{}", said.stderr);
    let scores = said.value();
    assert_eq!((&scores["eval_samples"], &scores["eval_rows_left_out"]), (&json!(1), &json!(1)));
}

#[test]
fn evaluation_tells_each_label_and_each_confusion() {
    let values = (0..40).map(|i| format!("row {i}\t{}\n", i % 5)).collect::<String>();
    let home = Home::with(&[
        ("rows.csv", &csv(&["red", "green", "blue", "red"])),
        ("values.tsv", &format!("text\tlabel\n{values}")),
    ]);
    let trained = home.json(&format!("{TRAIN} --train-file rows.csv"));
    assert!(trained["eval_f1_macro"].is_f64(), "{trained}");
    let scores = home.json(&format!("{EVAL} --validation-file rows.csv"));
    let labels = scores["eval_labels"].as_array().expect("a list");
    let supports: Vec<_> = labels.iter().map(|l| (l["label"].as_str(), &l["support"])).collect();
    let expected =
        [(Some("blue"), &json!(10)), (Some("green"), &json!(10)), (Some("red"), &json!(20))];
    assert_eq!(supports, expected);
    // The confusions hold every row, and their diagonal is the accuracy.
    let cells = scores["eval_confusion"].as_array().expect("a list");
    let rows = |cell: &Value| cell["rows"].as_u64().expect("a count");
    assert_eq!(cells.iter().map(rows).sum::<u64>(), 40);
    let right = cells.iter().filter(|cell| cell["label"] == cell["predicted"]).map(rows);
    let accuracy = scores["eval_accuracy"].as_f64().expect("a number");
    assert!((right.sum::<u64>() as f64 / 40.0 - accuracy).abs() < 1e-12);
    let words = home.good(&format!("{EVAL} --validation-file rows.csv")).stdout;
    assert!(words.contains("precision") && words.contains("true \\ predicted"), "{words}");

    let regression = format!("{TRAIN} --overwrite --regression --train-file values.tsv");
    home.good(&regression);
    assert_eq!(home.json("inspect out")["head"], "regression");
    let scores = home.json(&format!("{EVAL} --validation-file values.tsv"));
    let (residuals, mse) = (&scores["eval_residuals"], scores["eval_mse"].as_f64());
    let root = residuals["root_mean_square"].as_f64().expect("a number");
    assert!((root * root - mse.expect("a number")).abs() < 1e-9, "{scores}");
    let words = home.good(&format!("{EVAL} --validation-file values.tsv")).stdout;
    assert!(words.contains("residuals (predicted - true)"), "{words}");
}
