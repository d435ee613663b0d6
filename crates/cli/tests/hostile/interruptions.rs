//! What happens while a command runs: signals, and directories that vanish.
//!
//! A command that reads its rows from a pipe waits for as long as nobody writes to it, which makes
//! a moment of its life last until the test has done its worst.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::home::{Home, Running};

/// Waits until `holds`, or fails.
fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The pipe of a command that has opened it for reading.
fn writer(home: &Home, pipe: &str) -> File {
    OpenOptions::new().write(true).open(home.path(pipe)).unwrap()
}

fn signal(running: &Running, name: &str) {
    let id = running.child.id().to_string();
    assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
}

fn partial(home: &Home) -> bool {
    let entries = fs::read_dir(home.path("")).unwrap().flatten();
    entries.into_iter().any(|e| e.file_name().to_string_lossy().ends_with(".partial"))
}

#[test]
fn a_signal_in_prediction_leaves_the_earlier_labels() {
    for name in ["-TERM", "-INT", "-KILL"] {
        let home = Home::new();
        home.pipe("pipe.txt");
        home.write("out.jsonl", "earlier labels\n");
        let running = home.start(&[
            "predict",
            "--model",
            "model",
            "--adapter",
            "adapter",
            "--input",
            "pipe.txt",
            "--output",
            "out.jsonl",
        ]);
        let mut rows = writer(&home, "pipe.txt");
        rows.write_all(b"one\n").unwrap();
        until("the file of new labels", || partial(&home));
        signal(&running, name);
        let ended = running.wait();
        assert_eq!((ended.code, &ended.stdout[..]), (None, ""), "{name}: {}", ended.stderr);
        assert_eq!(home.read("out.jsonl"), b"earlier labels\n", "{name}");
    }
}

#[test]
fn a_signal_in_evaluation_changes_nothing() {
    for name in ["-TERM", "-INT"] {
        let home = Home::new();
        let before = home.snapshot();
        home.pipe("pipe.tsv");
        let running = home.start(&[
            "eval",
            "--model",
            "model",
            "--adapter",
            "adapter",
            "--validation-file",
            "pipe.tsv",
        ]);
        let mut rows = writer(&home, "pipe.tsv");
        rows.write_all(b"text\tlabel\none\t0\n").unwrap();
        signal(&running, name);
        let ended = running.wait();
        assert_eq!((ended.code, &ended.stdout[..]), (None, ""), "{name}: {}", ended.stderr);
        drop(rows);
        home.remove("pipe.tsv");
        assert_eq!(home.snapshot(), before, "{name}");
    }
}

#[test]
fn a_model_that_vanishes_is_named() {
    let home = Home::new();
    home.pipe("pipe.txt");
    let running =
        home.start(&["predict", "--model", "model", "--adapter", "adapter", "--input", "pipe.txt"]);
    let mut rows = writer(&home, "pipe.txt");
    fs::remove_dir_all(home.path("model")).unwrap();
    rows.write_all(b"one\n").unwrap();
    drop(rows);
    let ended = running.wait();
    assert_eq!((ended.code, &ended.stdout[..]), (Some(1), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("'model'"), "{}", ended.stderr);
}

#[test]
fn an_output_s_directory_that_vanishes_is_made_again() {
    let home = Home::new();
    home.pipe("pipe.csv");
    fs::create_dir(home.path("deep")).unwrap();
    let running = home.start(&[
        "train",
        "--model",
        "model",
        "--train-file",
        "pipe.csv",
        "--output-dir",
        "deep/out",
        "--epochs",
        "1",
        "--max-length",
        "20",
        "--quiet",
    ]);
    let mut rows = writer(&home, "pipe.csv");
    fs::remove_dir(home.path("deep")).unwrap();
    rows.write_all(&home.read("rows.csv")).unwrap();
    drop(rows);
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(home.path("deep/out/adapter.safetensors").is_file());
}

#[test]
fn an_output_s_directory_that_becomes_a_file_is_named() {
    let home = Home::new();
    home.pipe("pipe.csv");
    let running = home.start(&[
        "train",
        "--model",
        "model",
        "--train-file",
        "pipe.csv",
        "--output-dir",
        "deep/out",
        "--epochs",
        "1",
        "--max-length",
        "20",
        "--quiet",
    ]);
    let mut rows = writer(&home, "pipe.csv");
    home.write("deep", "mine");
    rows.write_all(&home.read("rows.csv")).unwrap();
    drop(rows);
    let ended = running.wait();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("deep"), "{}", ended.stderr);
    assert_eq!(home.read("deep"), b"mine");
}
