//! Adapters together: composed by `--compose`, read from setups, and merged.

use std::path::Path;
use std::process::{Command, Output};

use adaptkit_testkit::golden_dir;
use serde_json::{Value, json};
use tempfile::TempDir;

fn adaptkit(home: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adaptkit"));
    let (name, rest) = arguments.split_first().expect("a command");
    command.args([name, "--threads", "1", "--quiet"]);
    if !["merge", "inspect"].contains(name) {
        command.arg("--model").arg(golden_dir("bert").join("model"));
    }
    command.args(rest).current_dir(home).output().expect("the command")
}

fn out(home: &TempDir, arguments: &[&str]) -> String {
    let output = adaptkit(home, arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {words}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What is said of bad usage or bad files, with the exit code.
fn refused(home: &TempDir, arguments: &[&str], code: i32) -> String {
    let output = adaptkit(home, arguments);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
    words
}

/// The objects of `predict` for each row.
fn predict(home: &TempDir, arguments: &[&str]) -> Vec<Value> {
    let fixed = ["predict", "--input", "texts.txt", "--raw-scores"];
    let out = out(home, &[&fixed[..], arguments].concat());
    out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

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

/// A folder with rows, adapters a and b of one configuration and labels, small, which is smaller,
/// other with other labels, p in parallel, and the fusion of a and b.
fn home() -> TempDir {
    let home = tempfile::tempdir().expect("a folder");
    let row = |i: usize| format!("message {i} of the test,{}\n", ["spam", "ham"][i * i % 3 % 2]);
    let rows: String = (0..30).map(row).collect();
    let write = |name: &str, text: String| std::fs::write(home.path().join(name), text);
    write("rows.csv", format!("text,label\n{rows}")).expect("a file");
    let renamed = rows.replace(",spam", ",yes").replace(",ham", ",no");
    write("other.csv", format!("text,label\n{renamed}")).expect("a file");
    let texts = "message 1\nthe test of a message\nmessage 7 of\na\nspam and ham and spam\n";
    write("texts.txt", texts.to_owned()).expect("a file");
    let train = ["train", "--epochs", "1", "--learning-rate", "0.01"];
    for (name, file, more) in [
        ("a", "rows.csv", ["--bottleneck-size", "4", "--seed", "1"]),
        ("b", "rows.csv", ["--bottleneck-size", "4", "--seed", "2"]),
        ("small", "rows.csv", ["--bottleneck-size", "2", "--seed", "3"]),
        ("other", "other.csv", ["--bottleneck-size", "4", "--seed", "4"]),
        ("p", "rows.csv", ["--bottleneck-size", "4", "--adapter", "parallel"]),
    ] {
        let files = ["--train-file", file, "--output-dir", name];
        out(&home, &[&train[..], &files, &more].concat());
    }
    let fuse = ["fuse", "--adapter", "a", "--adapter", "b", "--train-file", "rows.csv"];
    out(&home, &[&fuse[..], &["--epochs", "1", "--output-dir", "fused"]].concat());
    home
}

const A_AND_B: [&str; 4] = ["--adapter", "a", "--adapter", "b"];

#[test]
fn compositions_answer_as_their_parts_do() {
    let home = home();
    let composed = |adapters: &[&str], text: &[&str]| predict(&home, &[adapters, text].concat());
    let a = predict(&home, &["--adapter", "a"]);
    let b = predict(&home, &["--adapter", "b"]);
    assert_ne!(a, b);

    // One adapter is itself, whatever it is in.
    for text in ["a", "stack(a)", "stack(batch_split(a, batch_sizes=1))"] {
        let alone = composed(&["--adapter", "a"], &["--compose", text]);
        let answers: Vec<&Value> = alone.iter().map(|row| row.get("a").unwrap_or(row)).collect();
        assert!(answers.iter().zip(&a).all(|(x, y)| *x == y), "{text}: {alone:?}");
    }
    // In parallel they are what several adapters are.
    let parallel = composed(&A_AND_B, &["--compose", "parallel(a, b)"]);
    assert_eq!(parallel, predict(&home, &A_AND_B));
    // Rows are counted off.
    let split = composed(&A_AND_B, &["--compose", "batch_split(a, b, batch_sizes=[2, 1])"]);
    let wanted = [("a", &a[0]), ("a", &a[1]), ("b", &b[2]), ("a", &a[3]), ("a", &a[4])];
    let wanted: Vec<Value> = wanted.into_iter().map(|(name, of)| json!({name: of})).collect();
    assert_eq!(split, wanted);
    // A fusion by text is the fusion's directory.
    let fused = predict(&home, &["--adapter", "fused"]);
    assert_eq!(composed(&["--adapter", "fused"], &["--compose", "fuse(a, b)"]), fused);
    let both = ["--adapter", "a", "--adapter", "fused"];
    assert_eq!(composed(&both, &["--compose", "fuse(a,b)"]), fused);

    // Several compositions beside one another, each with the bits that it has alone.
    let stack = composed(&A_AND_B, &["--compose", "stack(a, b)"]);
    let mean = composed(&A_AND_B, &["--compose", "average(a, b)", "--head", "b"]);
    assert!(stack != b && mean != b && stack != mean);
    let two = ["--compose", "s=stack(a, b)", "--compose", "m=average(a, b)", "--head", "b"];
    let together = composed(&A_AND_B, &two);
    for (row, both) in together.iter().enumerate() {
        assert_eq!(*both, json!({"s": stack[row], "m": mean[row]}));
    }
    // A split is cut to its splits; one that is longer than every row is its first adapter.
    let first = composed(&A_AND_B, &["--compose", "split(a, b, splits=[40, 1])", "--head", "a"]);
    assert_eq!(first, a);
    let eval = ["eval", "--validation-file", "rows.csv", "--json", "--compose", "stack(a, b)"];
    let scores: Value =
        serde_json::from_str(&out(&home, &[&eval[..], &A_AND_B].concat())).expect("JSON");
    assert!(scores["eval_accuracy"].is_number(), "{scores}");
    let sweep = ["--adapterdrop", "sweep"];
    let table: Value =
        serde_json::from_str(&out(&home, &[&eval[..], &A_AND_B, &sweep].concat())).expect("JSON");
    let drops = table["eval_adapterdrop"].as_array().expect("a list");
    assert_eq!(drops.len(), 4, "{table}");
}

#[test]
fn what_cannot_be_composed_is_refused() {
    let home = home();
    let cases: [(&[&str], &str, &str); 17] = [
        (&A_AND_B, "stack(a, b", "at character 11"),
        (&A_AND_B, "stack(a, c)", "has the adapter \"c\""),
        (&A_AND_B, "fuse(a, b)", "no trained fusion of \"a,b\""),
        (&["--adapter", "fused"], "fuse(b, a)", "no trained fusion of \"b,a\""),
        (&A_AND_B, "stack(a)", "--adapter b is in no composition"),
        (&A_AND_B, "average(a, b)", "does not say whose head answers; choose one with --head"),
        (&A_AND_B, "split(a, parallel(b, a), splits=1)", "parallel cannot be in split"),
        (&["--adapter", "a", "--adapter", "p"], "stack(a, p)", "runs in parallel"),
        (&["--adapter", "a", "--adapter", "p"], "average(a, stack(p))", "wired differently"),
        (&["--adapter", "a=a", "--adapter", "a=b"], "a", "two different adapters are called"),
        (&["--adapter", "a=small", "--adapter", "fused"], "fuse(a, b)", "two different adapters"),
        (&["--adapter", "fused", "--adapter", "x=fused"], "fuse(a, b)", "two different fusions"),
        (&A_AND_B, "x=", "there is nothing"),
        (&A_AND_B, "", "there is nothing"),
        (&A_AND_B, "parallel(a, b, weights=[1])", "expected no argument"),
        (&["--adapter", "missing"], "missing", "missing"),
        (&A_AND_B, "batch_split(a, b)", "batch_sizes must be given"),
    ];
    for (adapters, text, expected) in cases {
        let fixed = ["predict", "--input", "texts.txt", "--compose", text, "--head", "a"];
        let fixed = if expected.contains("--head") { &fixed[..5] } else { &fixed[..] };
        let output = adaptkit(&home, &[fixed, adapters].concat());
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && words.contains(expected), "{text}: {words}");
        assert!(output.stdout.is_empty());
    }
    let eval = ["eval", "--validation-file", "rows.csv"];
    for (arguments, expected) in [
        (&["--adapter", "a", "--adapter", "b"][..], "evaluate each alone, or say with --compose"),
        (
            &["--adapter", "a", "--adapter", "b", "--compose", "parallel(a, b)"],
            "parallel gives several answers",
        ),
        (
            &["--adapter", "a", "--compose", "batch_split(a, stack(a), batch_sizes=1)"],
            "batch_split gives several answers",
        ),
    ] {
        let words = refused(&home, &[&eval[..], arguments].concat(), 2);
        assert!(words.contains(expected), "{words}");
    }
    let long = ["predict", "--input", "texts.txt", "--compose", "split(a, b, splits=4)"];
    let long = [&long[..], &A_AND_B, &["--head", "a", "--max-length", "9"]].concat();
    assert!(refused(&home, &long, 2).contains("splits of split(a, b, splits=[4, 4]) are for 8"));
    let column = ["predict", "--input", "rows.csv", "--adapter-column", "label", "--compose"];
    let column = [&column[..], &["batch_split(a, b, batch_sizes=1)"], &A_AND_B].concat();
    assert!(refused(&home, &column, 2).contains("batch_split counts them off"));
}

#[test]
fn a_setup_is_inspected_and_answers() {
    let home = home();
    copy(&golden_dir("composition").join("parts"), &home.path().join("setup"));
    let setups = golden_dir("composition").join("setups");
    let put = |name: &str| {
        let text = std::fs::read(setups.join(format!("{name}.json"))).expect("a setup");
        std::fs::write(home.path().join("setup/adapter_setup.json"), text).expect("written");
    };
    put("stack-fuse");
    let facts: Value =
        serde_json::from_str(&out(&home, &["inspect", "--json", "setup"])).expect("JSON");
    assert_eq!(facts["composition"], "stack(a, fuse(b, c))");
    assert_eq!(facts["fusions"], json!(["b,c"]));
    assert_eq!(facts["answered_by"], "c");
    let c = predict(&home, &["--adapter", "setup"]);
    let chosen = predict(&home, &["--adapter", "setup", "--head", "b"]);
    assert!(c[0]["label"].is_string() && c != chosen);
    put("parallel");
    let several = predict(&home, &["--adapter", "setup"]);
    assert_eq!(several[0].as_object().map(|row| row.len()), Some(3), "{several:?}");
    let eval = ["eval", "--validation-file", "rows.csv", "--adapter", "setup"];
    assert!(refused(&home, &eval, 2).contains("parallel gives several answers"));
}

#[test]
fn merged_adapters_are_adapters() {
    let home = home();
    let merge = |arguments: &[&str], output: &str| {
        let fixed = ["merge", "--json", "--output-dir", output];
        let text = out(&home, &[&fixed[..], arguments].concat());
        serde_json::from_str::<Value>(&text).expect("JSON")
    };
    let said = merge(&[&A_AND_B[..], &["--weights", "1,3"]].concat(), "merged");
    assert_eq!(said["merged"], json!({"a": 0.25, "b": 0.75}));
    assert_eq!(said["head"], "merged likewise");
    let merged = predict(&home, &["--adapter", "merged"]);
    assert!(merged != predict(&home, &["--adapter", "a"]));
    let facts: Value =
        serde_json::from_str(&out(&home, &["inspect", "--json", "merged"])).expect("JSON");
    assert_eq!((&facts["kind"], &facts["labels"]), (&json!("adapter"), &json!(["ham", "spam"])));

    // One with itself, and a − b + b, are the adapter with its bits.
    let a = predict(&home, &["--adapter", "a"]);
    merge(&["--adapter", "x=a", "--adapter", "y=a"], "same");
    assert_eq!(predict(&home, &["--adapter", "same"]), a);
    let three = ["--adapter", "a", "--adapter", "x=b", "--adapter", "y=b"];
    merge(&[&three[..], &["--weights", "1,-1,1", "--no-normalize"]].concat(), "arithmetic");
    assert_eq!(predict(&home, &["--adapter", "arithmetic"]), a);

    // Heads of other labels are not merged; one may be kept.
    let others = ["--adapter", "a", "--adapter", "other"];
    let said = merge(&others, "headless");
    assert_eq!(said["head"], Value::Null);
    let words = refused(&home, &["predict", "--adapter", "headless"], 2);
    assert!(words.contains("without a head"), "{words}");
    merge(&[&others[..], &["--head", "other"]].concat(), "kept");
    assert!(predict(&home, &["--adapter", "kept"])[0]["scores"]["yes"].is_number());

    let cases: [(&[&str], i32, &str); 9] = [
        (&["--adapter", "a", "--adapter", "small"], 1, "reduction_factor differ"),
        (&["--adapter", "a", "--adapter", "p"], 1, "cannot be merged"),
        (&["--adapter", "a", "--adapter", "a"], 2, "two adapters are called \"a\""),
        (&["--adapter", "a", "--weights", "1,2"], 2, "2 numbers for 1 adapters"),
        (&["--adapter", "a", "--adapter", "b", "--weights", "1,-1"], 2, "no sum"),
        (&["--adapter", "a", "--weights", "nan"], 2, "no finite number"),
        (&["--adapter", "a", "--head", "b"], 2, "no adapter of that name has a head"),
        (&["--adapter", "a", "--no-normalize"], 2, "--weights"),
        (&["--adapter", "fused", "--adapter", "a"], 1, "adapter_config.json"),
    ];
    for (arguments, code, expected) in cases {
        let all = [&["merge", "--output-dir", "refused"], arguments].concat();
        let words = refused(&home, &all, code);
        assert!(words.contains(expected), "{arguments:?}: {words}");
        assert!(!home.path().join("refused").exists());
    }
    let again = [&["merge", "--output-dir", "merged"], &A_AND_B[..]].concat();
    assert!(refused(&home, &again, 1).contains("exists already"));
    out(&home, &[&again[..], &["--overwrite"]].concat());
}
