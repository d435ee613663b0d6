//! Options of a training: weights, metrics, thresholds, test rows, folds, targets of a regression.

use serde_json::Value;

use crate::home::Home;

const TRAIN: &str = "train --model TINY --num_train_epochs 2.0 --batch-size 8 --max-length 16 --threads 1 \
                     --instructions portable --output-dir out --overwrite";

/// Rows of two labels, two thirds of them ham.
fn messages(rows: usize) -> String {
    let row = |i: usize| format!("{} message {i},{}\n", ["win a", "my"][i % 3 % 2], LABELS[i % 3]);
    format!("text,label\n{}", (0..rows).map(row).collect::<String>())
}

const LABELS: [&str; 3] = ["ham", "spam", "ham"];

fn home() -> Home {
    Home::with(&[
        ("rows.csv", &messages(60)),
        ("more.csv", &messages(24)),
        ("weights.json", r#"{"ham": 1, "spam": 2.5}"#),
        ("missing.json", r#"{"ham": 1}"#),
        ("unknown.json", r#"{"ham": 1, "spam": 1, "eggs": 1}"#),
        ("negative.json", r#"{"ham": 1, "spam": -1}"#),
        ("strange.csv", "text,label\na,ham\nb,spam\nc,eggs\n"),
        ("numbers.csv", "text,label\na,1\nb,2\nc,3\nd,4\n"),
        ("one.csv", "text,label\na,ham\nb,ham\n"),
    ])
}

fn results(home: &Home) -> Value {
    serde_json::from_str(&home.read("out/all_results.json")).expect("JSON")
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn options_that_do_not_fit_are_refused_before_the_training() {
    let home = home();
    for (flags, code, words) in [
        ("", 2, "--train-file FILE, your own rows, and --task NAME"),
        ("--train-file rows.csv --epochs 2.5", 2, "a whole number, such as 3"),
        (
            "--train-file rows.csv --class-weights missing.json",
            1,
            "no weight for the label \"spam\"",
        ),
        ("--train-file rows.csv --class-weights unknown.json", 1, "unknown label \"eggs\""),
        ("--train-file rows.csv --class-weights negative.json", 1, "label \"spam\" is -1"),
        ("--train-file rows.csv --class-weights none.json", 1, "a JSON file's name, or balanced"),
        ("--train-file numbers.csv --regression --class-weights balanced", 2, "needs labels"),
        ("--train-file numbers.csv --regression --label-smoothing 0.1", 2, "needs one label a row"),
        ("--train-file rows.csv --label-smoothing 1", 2, "from 0 to below 1"),
        ("--train-file rows.csv --metric rmse", 2, "those that fit are \"accuracy\", \"f1\""),
        ("--train-file rows.csv --metric f1:eggs", 2, "unknown label \"eggs\""),
        ("--train-file rows.csv --positive-label eggs", 2, "unknown label \"eggs\""),
        ("--train-file rows.csv --lr-scheduler cosinus", 2, "the schedules are linear, cosine"),
        ("--train-file rows.csv --lr-scheduler constant --warmup-steps 2", 2, "has no warm-up"),
        ("--train-file rows.csv --warmup-ratio 0.5 --warmup-steps 2", 2, "cannot be used with"),
        ("--train-file rows.csv --lr-scheduler polynomial --learning-rate 1e-8", 2, "ends with"),
        ("--train-file rows.csv --validation-file one.csv --metric auc", 1, "no label is in only"),
        ("--train-file rows.csv --threshold auto", 2, "--multi-label"),
        (
            "--train-file rows.csv --validation-fraction 0 --metric f1",
            2,
            "--metric chooses the best epoch by validation",
        ),
        (
            "--train-file rows.csv --validation-fraction 0 --early-stopping-patience 2",
            2,
            "early stopping needs validation rows",
        ),
        ("--train-file rows.csv --test-file strange.csv", 1, "strange.csv, line 4: unknown label"),
        ("--train-file rows.csv --test-file nowhere.csv", 1, "nowhere.csv"),
        ("--train-file rows.csv --folds 1", 2, "it must be at least 2"),
        ("--train-file rows.csv --folds 61", 1, "60 rows cannot be split into 61 parts"),
        ("--train-file rows.csv --folds 3 --validation-file more.csv", 2, "cannot be used with"),
        ("--train-file rows.csv --folds 3 --resume", 2, "cannot be used with"),
        ("--train-file rows.csv --fp16", 2, "hint: --precision"),
        ("--train-file rows.csv --evaluation_strategy epoch", 2, "hint: the validation rows are"),
        ("--train-file rows.csv --greater_is_better true", 2, "hint: leave it out: --metric"),
    ] {
        // No such model: what is refused is refused before it is looked for.
        let train = TRAIN.replace("TINY", "nowhere");
        let train = match flags.contains("--epochs") {
            true => train.replace("--num_train_epochs 2.0", ""),
            false => train,
        };
        let line = format!("{train} {flags}");
        let said = home.run(&line);
        assert_eq!(said.code, Some(code), "{flags}: {}", said.stderr);
        assert!(said.stderr.contains(words), "{flags}: {}", said.stderr);
        assert!(!home.path("out").exists() && !home.path("out.checkpoint").exists(), "{flags}");
    }
}

#[test]
fn weights_smoothing_schedule_and_metric_are_stored_with_the_results() {
    let home = home();
    let plain = "--train-file rows.csv --validation-file more.csv";
    home.good(&format!("{TRAIN} {plain}"));
    let before = number(&results(&home), "train_loss");
    assert_eq!(results(&home)["metric_for_best_model"], "accuracy");
    assert_eq!(results(&home)["positive_label"], "spam");
    let said = home.good(&format!(
        "{TRAIN} {plain} --class_weights balanced --label_smoothing_factor 0.1 --metric_for_best_model \
         eval_f1 --lr_scheduler_type cosine --warmup_steps 3 --positive-label ham"
    ));
    assert!(said.stderr.contains("the best epoch by f1"), "{}", said.stderr);
    assert!(said.stderr.contains("f1 is that of the label \"ham\""), "{}", said.stderr);
    assert!(
        said.stderr.contains("class weights: \"ham\" 0.7500, \"spam\" 1.5000"),
        "{}",
        said.stderr
    );
    let found = results(&home);
    assert_eq!(found["metric_for_best_model"], "f1");
    assert_eq!(found["class_weights"], serde_json::json!({"ham": 0.75, "spam": 1.5}));
    assert!((number(&found, "train_loss") - before).abs() > 1e-6);
    let facts = home.json("inspect out");
    for (name, value) in [
        ("label_smoothing", serde_json::json!(0.1)),
        ("class_weights", serde_json::json!("balanced")),
        ("lr_scheduler", serde_json::json!("cosine")),
        ("warmup_steps", serde_json::json!(3)),
    ] {
        assert_eq!(facts["training"][name], value, "{facts}");
        assert!(home.read("out/README.md").contains(name));
    }
    // `eval` knows the positive label, and takes further scores.
    let scored = home.json(
        "eval --model TINY --adapter out --validation-file more.csv --threads 1 --instructions \
         portable --metric auc --metric f1:spam --metric mcc",
    );
    assert_eq!(scored["eval_f1"], found["eval_f1"]);
    for name in ["eval_auc", "eval_f1:spam", "eval_matthews_correlation"] {
        assert!(scored[name].is_f64(), "{name}: {scored}");
    }
    home.good(&format!("{TRAIN} {plain} --class-weights weights.json"));
    assert_eq!(results(&home)["class_weights"], serde_json::json!({"ham": 1.0, "spam": 2.5}));
}

#[test]
fn all_rows_can_be_trained_on_and_test_rows_are_scored_at_the_end() {
    let home = home();
    let said = home.good(&format!(
        "{TRAIN} --train-file rows.csv --validation-fraction 0 --test-file more.csv"
    ));
    assert!(said.stderr.contains("the last epoch is kept"), "{}", said.stderr);
    assert!(said.stdout.contains("epoch 2, the last, is kept"), "{}", said.stdout);
    assert!(said.stdout.contains("test rows: accuracy"), "{}", said.stdout);
    let found = results(&home);
    assert_eq!((&found["train_samples"], &found["test_samples"]), (&60.into(), &24.into()));
    let object = found.as_object().expect("an object");
    assert!(!object.keys().any(|name| name.starts_with("eval_")), "{found}");
    let scored = home.json(
        "eval --model TINY --adapter out --validation-file more.csv --threads 1 --instructions portable",
    );
    for name in ["accuracy", "f1", "loss"] {
        assert_eq!(found[format!("test_{name}")], scored[format!("eval_{name}")], "{name}");
    }
    assert!(home.read("out/README.md").contains("## Scores on the test rows"));
}

#[test]
fn folds_score_every_row_once_and_give_mean_and_deviation() {
    let home = home();
    let said = home.good(&format!("{TRAIN} --train-file rows.csv --folds 3"));
    assert!(
        said.stdout.contains("mean and sample standard deviation over 3 folds"),
        "{}",
        said.stdout
    );
    let found = results(&home);
    let folds = found["fold_results"].as_array().expect("folds");
    let scores: Vec<f64> = folds.iter().map(|fold| number(fold, "eval_accuracy")).collect();
    let mean = scores.iter().sum::<f64>() / 3.0;
    let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    assert!((number(&found, "eval_accuracy_mean") - mean).abs() < 1e-12);
    assert!((number(&found, "eval_accuracy_std") - (squares / 2.0).sqrt()).abs() < 1e-12);
    let scored: u64 = folds.iter().filter_map(|fold| fold["eval_samples"].as_u64()).sum();
    assert_eq!(scored, 60);
    assert!(folds.iter().all(|fold| fold["train_samples"] == 40));
    let files: Vec<_> = std::fs::read_dir(home.path("out")).expect("a folder").collect();
    assert_eq!(files.len(), 1, "the results alone");
    assert!(!home.path("out.checkpoint").exists());
    let again = home.json(&format!("{TRAIN} --train-file rows.csv --folds 3"));
    assert_eq!(again["eval_loss_mean"], found["eval_loss_mean"]);
}

#[test]
fn thresholds_are_chosen_by_validation_rows_and_used_afterwards() {
    let row = |i: usize| {
        let labels = [r#""a""#, r#""a","b""#, r#""b""#, ""][i % 4];
        format!("{{\"text\":\"row {} of it\",\"label\":[{labels}]}}\n", i % 4)
    };
    let rows: String = (0..48).map(row).collect();
    let home = Home::with(&[("rows.jsonl", &rows), ("dev.jsonl", &rows)]);
    let files = "--train-file rows.jsonl --validation-file dev.jsonl --multi-label";
    let eval = "eval --model TINY --adapter out --validation-file dev.jsonl --threads 1 --instructions \
                portable";
    home.good(&format!("{TRAIN} {files}"));
    let half = number(&results(&home), "eval_f1_micro");
    for (choice, stored) in [("auto", "threshold"), ("auto-per-label", "thresholds")] {
        home.good(&format!("{TRAIN} {files} --threshold {choice} --class-weights balanced"));
        let found = results(&home);
        assert!(!found[stored].is_null(), "{choice}: {found}");
        let provenance: Value =
            serde_json::from_str(&home.read("out/adaptkit.json")).expect("JSON");
        assert!(!provenance[stored].is_null(), "{choice}: {provenance}");
        let scored = home.json(eval);
        assert_eq!(scored["eval_f1_micro"], found["eval_f1_micro"], "{choice}");
        assert!(number(&scored, "eval_f1_micro") >= half.min(0.5), "{choice}");
        let given = home.json(&format!("{eval} --threshold 0.999"));
        assert_eq!(given["eval_f1_micro"], 0.0, "{choice}");
    }
    let said = home.run(&format!("{TRAIN} {files} --label-smoothing 0.1"));
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("label smoothing needs one label a row"), "{}", said.stderr);
    let said = home.run(&format!(
        "{TRAIN} --train-file rows.jsonl --multi-label --validation-fraction 0 --threshold auto"
    ));
    assert!(said.stderr.contains("choosing thresholds needs validation rows"), "{}", said.stderr);
}

#[test]
fn targets_of_a_regression_may_be_of_any_size() {
    // 40 short and 40 long rows, whose values differ.
    let table = |low: f64, high: f64| {
        let row = |i: usize| match i % 2 {
            0 => format!("short,{low}\n"),
            _ => format!("a much longer text than the other one,{high}\n"),
        };
        format!("text,label\n{}", (0..80).map(row).collect::<String>())
    };
    for (low, high) in [(0.0, 5.0), (250_000.0, 750_000.0), (1e9, 3e9), (-1e-4, 1e-4)] {
        let home = Home::with(&[("rows.csv", &table(low, high)), ("dev.csv", &table(low, high))]);
        home.good(&format!(
            "{} --train-file rows.csv --validation-file dev.csv --regression --learning-rate 0.01 \
             --metric rmse",
            TRAIN.replace("2.0", "20")
        ));
        let found = results(&home);
        let half = (high - low) / 2.0;
        let deviation = number(&found, "target_deviation");
        assert!((deviation / half - 1.0).abs() < 1e-3, "{found}");
        assert!(number(&found, "eval_rmse") < 0.5 * half, "{low} and {high}: {found}");
        let scored = home.json(
            "eval --model TINY --adapter out --validation-file dev.csv --threads 1 --instructions \
             portable",
        );
        for name in ["eval_loss", "eval_mse", "eval_pearson"] {
            assert_eq!(scored[name], found[name], "{name} of {low} and {high}");
        }
    }
    // The same everywhere: nothing to learn but the mean.
    let home = Home::with(&[("rows.csv", &table(7e6, 7e6))]);
    home.good(&format!("{TRAIN} --train-file rows.csv --regression"));
    assert!(number(&results(&home), "eval_mse").sqrt() < 10.0, "{}", results(&home));
}
