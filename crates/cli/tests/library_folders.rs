//! Directories of the Python library and bases of the Hub on the command line: what is in them is
//! found, or told with the way out.

use std::fs;
use std::path::Path;
use std::process::Command;

use adaptkit_testkit::golden_dir;
use serde_json::{Value, json};
use tempfile::TempDir;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => fs::write(&to, fs::read(entry.path()).expect("a file")).expect("it"),
        }
    }
}

fn edit(path: &Path, change: impl Fn(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON");
    change(&mut value);
    fs::write(path, value.to_string()).expect("written");
}

/// A directory with a base, what the library saved of a model with a fusion, and rows.
fn home() -> TempDir {
    let home = tempfile::tempdir().expect("a directory");
    copy(&golden_dir("bert").join("model"), &home.path().join("model"));
    for name in ["all", "with-head"] {
        copy(&golden_dir("fusion-folders").join(name), &home.path().join(name));
    }
    fs::write(home.path().join("in.txt"), "one\ntwo\n").expect("a file");
    let row = |i: usize| format!("message {i} of the test,{}\n", ["spam", "ham"][i % 2]);
    let rows: String = (0..20).map(row).collect();
    fs::write(home.path().join("rows.csv"), format!("text,label\n{rows}")).expect("a file");
    home
}

/// Runs a command; its exit code, standard output and standard error.
fn run(home: &TempDir, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_adaptkit"))
        .args(["--threads", "1"])
        .args(arguments)
        .current_dir(home)
        .output()
        .expect("the command");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn predict(home: &TempDir, adapters: &[&str]) -> (Option<i32>, String, String) {
    let fixed = ["predict", "-q", "--model", "model", "--input", "in.txt", "--precision", "f32"];
    run(home, &[&fixed, adapters].concat())
}

fn answers(home: &TempDir, adapters: &[&str]) -> String {
    let (code, out, said) = predict(home, adapters);
    assert_eq!(code, Some(0), "{adapters:?}: {said}");
    assert_eq!(out.lines().count(), 2, "{adapters:?}");
    out
}

#[test]
fn a_fusion_saved_with_its_head_answers_however_it_is_given() {
    let home = home();
    let wanted = answers(&home, &["--adapter", "with-head"]);
    assert!(wanted.contains("contradiction"), "{wanted}");
    // Neither the head on the bare base nor another head.
    assert_ne!(wanted, answers(&home, &["--adapter", "all/task"]));
    let compose = ["--compose", "fuse(a, b)"];
    let members = ["--adapter", "all/a", "--adapter", "all/b"];
    for given in [
        vec!["--adapter", "with-head", "--head", "task"],
        vec!["--adapter", "all"],
        vec!["--adapter", "all/a,b"],
        [&members[..], &["--adapter", "with-head"], &compose].concat(),
        [&members[..], &["--adapter", "with-head"], &compose, &["--head", "task"]].concat(),
        [&members[..], &["--adapter", "all/a,b", "--adapter", "all/task"], &compose].concat(),
        [&["--adapter", "all"][..], &compose].concat(),
    ] {
        assert_eq!(wanted, answers(&home, &given), "{given:?}");
    }
    let (_, facts, _) = run(&home, &["inspect", "--json", "with-head"]);
    let facts: Value = serde_json::from_str(&facts).expect("JSON");
    assert_eq!((&facts["kind"], &facts["head_outputs"]), (&json!("fusion"), &json!(3)));
}

#[test]
fn heads_and_members_that_are_elsewhere_are_named() {
    let home = home();
    copy(&home.path().join("all/task"), &home.path().join("all/other"));
    edit(&home.path().join("all/other/head_config.json"), |head| head["name"] = json!("other"));
    let choose = "hint: --head NAME chooses one (predict, eval, prune)";
    for (given, words) in [
        (&["--adapter", "all"][..], ["choose one of \"other\" (all/other), \"task\"", choose]),
        (&["--adapter", "all", "--head", "third"], ["no head called \"third\"", "\"other\""]),
        (&["--adapter", "all/a"], ["an adapter without a head of its own", choose]),
    ] {
        let (code, _, said) = predict(&home, given);
        assert_eq!(code, Some(1), "{given:?}: {said}");
        for words in words {
            assert!(said.contains(words), "{given:?}: {said}");
        }
    }
    answers(&home, &["--adapter", "all", "--head", "task"]);
    answers(&home, &["--adapter", "all/a", "--head", "other"]);
    fs::remove_dir_all(home.path().join("with-head/b")).expect("removed");
    let (code, _, said) = predict(&home, &["--adapter", "with-head"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the member \"b\" of the fusion in with-head is not there"), "{said}");
    assert!(said.contains("--compose 'fuse(A, B)'"), "{said}");
}

#[test]
fn names_and_outputs_are_refused_before_the_first_step() {
    let home = home();
    for (name, folder) in [("sentiment/sst-2", "m0"), ("a,b", "m1")] {
        let folder = home.path().join(folder);
        copy(&home.path().join("all/a"), &folder);
        edit(&folder.join("adapter_config.json"), |config| config["name"] = json!(name));
    }
    let rows = ["--train-file", "rows.csv", "--epochs", "1"];
    let fuse = |members: [&str; 2], output: &str| {
        let given = ["fuse", "--model", "model", "--adapter", members[0], "--adapter", members[1]];
        run(&home, &[&given[..], &rows, &["--output-dir", output]].concat())
    };
    for (members, name) in
        [(["m0", "all/b"], "sentiment/sst-2"), (["all/b", "m1"], "a,b"), (["x.y=m0", "m1"], "x.y")]
    {
        let (code, _, said) = fuse(members, "out");
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with(&format!("error: {name:?} cannot be the name of an")), "{said}");
        assert!(said.contains("hint: --adapter NAME=DIR gives an adapter another name"), "{said}");
        assert!(!said.contains("training"), "{said}");
        assert!(!home.path().join("out.checkpoint").exists());
    }
    let (code, _, said) = fuse(["x=m0", "y=m1"], "out");
    assert_eq!(code, Some(0), "{said}");
    // Where a merge would go is looked at first too.
    let merge = ["merge", "--adapter", "x=m0", "--adapter", "y=m1", "--output-dir"];
    let (code, _, said) = run(&home, &[&merge[..], &["in.txt/out"]].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in.txt"), "{said}");
}

#[test]
fn adapters_have_the_library_s_configurations_in_text() {
    let home = home();
    let train = |adapter: &str, more: &[&str]| {
        let fixed = ["train", "--model", "model", "--train-file", "rows.csv", "--epochs", "1"];
        let output = ["--output-dir", "out", "--overwrite", "--adapter", adapter];
        run(&home, &[&fixed[..], &output, more].concat())
    };
    let (code, _, said) = train("seq_bn[reduction_factor=8, leave_out=[0], dropout=0.1]", &[]);
    assert_eq!(code, Some(0), "{said}");
    let config = fs::read(home.path().join("out/adapter_config.json")).expect("a file");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let config = &config["config"];
    assert_eq!(
        [&config["reduction_factor"], &config["leave_out"], &config["dropout"]],
        [&json!(8), &json!([0]), &json!(0.1)]
    );
    for (adapter, more, words) in [
        ("seq_bn[reduction_factor=8", &[][..], "character 26: , or ] is missing here"),
        ("lora[r=8]", &[], "--adapter: the adapter configuration \"lora\" asks for low-rank"),
        ("seq_bn[stochastic_depth=0.1]", &[], "\"stochastic_depth\" is 0.1, which asks for"),
        (
            "seq_bn[reduction_factor=8]",
            &["--bottleneck-size", "2"],
            "--bottleneck-size and reduction_factor in the brackets of --adapter say the same",
        ),
        ("seq_bn[dropout=0.1]", &["--adapter-dropout", "0.2"], "--adapter-dropout and dropout"),
    ] {
        let (code, _, said) = train(adapter, more);
        assert_eq!(code, Some(2), "{adapter}: {said}");
        assert!(said.contains(words), "{adapter}: {said}");
    }
}

#[test]
fn an_old_base_is_read_and_what_is_none_is_told() {
    let home = home();
    let wanted = answers(&home, &["--adapter", "all"]);
    let config = home.path().join("model/config.json");
    edit(&config, |config| {
        for field in ["model_type", "architectures", "type_vocab_size", "layer_norm_eps"] {
            config.as_object_mut().expect("an object").remove(field);
        }
    });
    assert_eq!(wanted, answers(&home, &["--adapter", "all"]));
    let (_, facts, said) = run(&home, &["inspect", "--json", "model"]);
    let facts: Value = serde_json::from_str(&facts).expect(&said);
    assert_eq!(facts["assumed"], json!(["model_type", "type_vocab_size"]));
    // Fewer layers than there are would be another model.
    edit(&config, |config| {
        config.as_object_mut().expect("an object").remove("num_hidden_layers");
    });
    let (code, _, said) = predict(&home, &["--adapter", "all"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("The config.json lacks") && said.contains("num_hidden_layers"), "{said}");
    edit(&config, |config| config["auto_map"] = json!({"AutoModel": "modeling.Own"}));
    let (_, _, said) = predict(&home, &["--adapter", "all"]);
    assert!(said.contains("code of its own (AutoModel is \"modeling.Own\""), "{said}");
    // The folder of an adapter, and another program's weights.
    let given = ["predict", "--model", "all/a", "--adapter", "all", "--input", "in.txt"];
    let (code, _, said) = run(&home, &given);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it holds an adapter (adapter_config.json)"), "{said}");
    let weights = home.path().join("model/model.safetensors");
    fs::rename(&weights, home.path().join("model/tf_model.h5")).expect("renamed");
    let (code, _, said) = predict(&home, &["--adapter", "all"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("TensorFlow's weights only (\"tf_model.h5\")"), "{said}");
}
