//! `predict` as a part of other programs: answers while the input stays open, columns beside the
//! answers, tables, memory.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use adaptkit_testkit::golden_dir;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// Longer than an answer takes; who waits so long waits for ever.
const LIMIT: Duration = Duration::from_secs(60);

fn predict(adapters: &[&str], more: &[&str]) -> Command {
    let golden = |name: &str, folder: &str| golden_dir(name).join(folder);
    let mut command = Command::new(env!("CARGO_BIN_EXE_adaptkit"));
    command.args(["predict", "--quiet", "--model"]).arg(golden("bert", "model"));
    for adapter in adapters {
        command.arg("--adapter").arg(golden(adapter, "adapter"));
    }
    command.args(more);
    command
}

fn run(folder: &Path, adapters: &[&str], more: &[&str]) -> Output {
    predict(adapters, more).current_dir(folder).output().expect("the command")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The command with its input open, and the lines that it answers.
fn conversation(more: &[&str]) -> (ChildStdin, Receiver<String>, std::process::Child) {
    let mut command = predict(&["adapter-seq-bn"], more);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the command");
    let (sender, lines) = channel();
    let out = BufReader::new(child.stdout.take().expect("its output"));
    std::thread::spawn(move || {
        for line in out.lines() {
            let _ = sender.send(line.expect("UTF-8"));
        }
    });
    (child.stdin.take().expect("its input"), lines, child)
}

/// Each case: what is written, piece by piece, and how many answers each piece brings.
#[test]
fn an_open_input_gets_the_answers_to_what_it_gave() {
    let lines: &[(&str, usize)] = &[("one\n", 1), ("two\nthr", 1), ("ee\n", 1), ("end", 0)];
    let csv: &[(&str, usize)] =
        &[("text\n", 0), ("one\n\"two\nlin", 1), ("es\"\n", 1), ("a\nb\nc\n", 3), ("end", 0)];
    let tsv: &[(&str, usize)] =
        &[("id\ttext\n1\tone\n", 1), ("2\t", 0), ("two\n", 1), ("3\tend", 0)];
    let jsonl: &[(&str, usize)] =
        &[("{\"text\":\"one\"}\n{\"text\":", 1), ("\"two\"}\n", 1), ("{\"text\":\"end\"}", 0)];
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, usize)]);
    let cases: [Case<'_>; 5] = [
        (&[], lines),
        (&["--input-format", "csv"], csv),
        (&["--input-format", "tsv"], tsv),
        (&["--input-format", "jsonl"], jsonl),
        (&["--input", "/dev/stdin", "--input-format", "lines"], lines),
    ];
    for (flags, pieces) in cases {
        let (mut input, answers, mut child) = conversation(flags);
        for (piece, expected) in pieces {
            input.write_all(piece.as_bytes()).expect("an open input");
            for number in 0..*expected {
                let answer = answers.recv_timeout(LIMIT);
                assert!(answer.is_ok(), "{flags:?}: {piece:?} brings no answer {number}");
            }
            assert!(answers.try_recv().is_err(), "{flags:?}: {piece:?} brings too many answers");
        }
        drop(input);
        assert!(answers.recv_timeout(LIMIT).is_ok(), "{flags:?}: the last row is not answered");
        assert!(answers.recv_timeout(LIMIT).is_err(), "{flags:?}: more than the rows");
        assert!(child.wait().expect("the command").success(), "{flags:?}");
    }
}

#[test]
fn a_compressed_pipe_is_answered_as_far_as_it_was_flushed() {
    let (input, answers, mut child) = conversation(&[]);
    let mut input = GzEncoder::new(input, Compression::default());
    for piece in ["one\n", "two\nthree\n"] {
        input.write_all(piece.as_bytes()).expect("an open input");
        input.flush().expect("an open input");
        for _ in piece.lines() {
            assert!(answers.recv_timeout(LIMIT).is_ok(), "{piece:?} brings no answer");
        }
    }
    drop(input.finish().expect("an open input"));
    assert!(answers.recv_timeout(LIMIT).is_err());
    assert!(child.wait().expect("the command").success());
}

/// How rows come changes no bit of their answers.
#[test]
fn answers_do_not_depend_on_when_rows_come() {
    let texts: Vec<String> =
        (0..40).map(|i| format!("text {i} {}", "word ".repeat(i % 7))).collect();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("in.txt"), texts.join("\n")).expect("a file");
    let whole = run(folder.path(), &["adapter-seq-bn"], &["--input", "in.txt"]);
    let whole: Vec<String> = text(&whole.stdout).lines().map(str::to_owned).collect();
    let (mut input, answers, _child) = conversation(&[]);
    for (row, expected) in texts.iter().zip(&whole) {
        writeln!(input, "{row}").expect("an open input");
        assert_eq!(answers.recv_timeout(LIMIT).as_ref(), Ok(expected), "{row}");
    }
}

const ROWS: &str =
    "id,text,note\n7,one,\"a, b\"\n08,two,\"say \"\"x\"\"\"\n9,three,\"two\nlines\"\n";

#[test]
fn columns_stand_beside_the_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::write(folder.join("rows.csv"), ROWS).expect("a file");
    let nested = concat!(
        "{\"id\":7,\"data\":{\"text\":\"one\",\"when\":[1,2.50]},\"ok\":true,\"big\":12345678901234567890123}\n",
        "{\"id\":\"8\",\"data\":{\"text\":\"two\"},\"ok\":null,\"big\":1.0E+3}\n",
    );
    std::fs::write(folder.join("rows.jsonl"), nested).expect("a file");
    let kept = |input: &str, more: &[&str]| -> String {
        let flags = [&["--input", input], more].concat();
        let output = run(folder, &["adapter-seq-bn"], &flags);
        assert!(output.status.success(), "{flags:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    // A table's fields are strings; they come first and in the order that was asked for.
    let lines = kept("rows.csv", &["--keep-columns", "note,id,text"]);
    let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    let keys: Vec<&String> = first.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["note", "id", "text", "label", "score", "scores"]);
    assert_eq!((&first["note"], &first["id"]), (&json!("a, b"), &json!("7")));
    assert!(lines.lines().nth(1).expect("a line").contains("\"id\":\"08\""), "{lines}");
    // JSON keeps its types and every digit.
    let flags =
        ["--text-column", "data.text", "--keep-columns", "id,data.when,ok,big,said=data.text"];
    let lines = kept("rows.jsonl", &flags);
    let begins = [
        "{\"id\":7,\"data.when\":[1,2.50],\"ok\":true,\"big\":12345678901234567890123,\"said\":\"one\",\
         \"label\":",
        "{\"id\":\"8\",\"data.when\":null,\"ok\":null,\"big\":1.0E+3,\"said\":\"two\",\"label\":",
    ];
    for (line, begins) in lines.lines().zip(begins) {
        assert!(line.starts_with(begins), "{line}");
    }
    // Tables: quoted where a field would be read as something else.
    let tsv = kept("rows.csv", &["--keep-columns", "id,note", "--output-format", "tsv"]);
    let mut records = tsv.lines();
    assert_eq!(records.next(), Some("id\tnote\tlabel\tscore"));
    assert!(records.next().expect("a line").starts_with("7\ta, b\t"), "{tsv}");
    assert!(records.next().expect("a line").starts_with("08\tsay \"x\"\t"), "{tsv}");
    assert!(tsv.contains("\n9\t\"two\nlines\"\t"), "{tsv}");
    let csv = kept("rows.csv", &["--keep-columns", "id,note", "--output-format", "csv"]);
    assert!(csv.starts_with("id,note,label,score\n7,\"a, b\","), "{csv}");
    assert!(csv.contains("\n08,\"say \"\"x\"\"\","), "{csv}");
    // The text's own column, of plain lines too.
    std::fs::write(folder.join("rows.txt"), "one\ntwo\n").expect("a file");
    let lines = kept("rows.txt", &["--keep-columns", "text"]);
    assert!(lines.starts_with("{\"text\":\"one\",\"label\":"), "{lines}");
    // Columns without a header line go by their numbers.
    let flags = ["--no-header", "--text-column", "2", "--keep-columns", "id=1"];
    assert!(kept("rows.csv", &flags).contains("{\"id\":\"7\",\"label\":"));
}

#[test]
fn columns_beside_the_answers_of_several_adapters() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("rows.csv"), ROWS).expect("a file");
    let several = ["adapter-seq-bn", "adapter-seq-bn-regression"];
    let flags = ["--input", "rows.csv", "--keep-columns", "id"];
    let output = run(folder.path(), &several, &flags);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let first = text(&output.stdout);
    let first: Value = serde_json::from_str(first.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["id"], "7");
    assert_eq!(first.as_object().expect("an object").len(), 3, "{first}");
    let output = run(folder.path(), &several, &[&flags[..], &["--output-format", "tsv"]].concat());
    let table = text(&output.stdout);
    let header: Vec<&str> = table.lines().next().expect("a line").split('\t').collect();
    assert_eq!((header[0], header.len()), ("id", 5), "{table}");
}

#[test]
fn columns_that_cannot_be_kept_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("rows.csv"), ROWS).expect("a file");
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--keep-columns", "id,nmae"], 1, "rows.csv: no column \"nmae\"; its columns are \"id\""),
        (&["--keep-columns", "label"], 2, "such as row_label=label"),
        (&["--keep-columns", "scores=id"], 2, "a field \"scores\" of their own"),
        (
            &["--keep-columns", "score=id", "--output-format", "tsv"],
            2,
            "a field \"score\" of their",
        ),
        (&["--keep-columns", "id,id"], 2, "names \"id\" twice"),
        (&["--keep-columns", "=id"], 2, "NAME=COLUMN"),
        (&["--keep-columns", "a=id,id=text", "--no-header"], 1, "by its position"),
    ];
    for (flags, code, says) in cases {
        let flags = [&["--input", "rows.csv"], flags].concat();
        let output = run(folder.path(), &["adapter-seq-bn"], &flags);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {said}");
        assert!(said.contains(says), "{flags:?}: {said}");
        assert!(output.stdout.is_empty(), "{flags:?}");
    }
}

/// Rows before one that cannot be read are answered.
#[test]
fn a_broken_row_costs_only_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("rows.jsonl"), "{\"text\":\"a\"}\n{\"text\":\"b\"}\n{\n")
        .expect("a file");
    let output = run(folder.path(), &["adapter-seq-bn"], &["--input", "rows.jsonl"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout).lines().count(), 2);
    assert!(text(&output.stderr).contains("rows.jsonl, line 3"), "{}", text(&output.stderr));
}

/// Long rows are held one at a time: forty rows of fifteen megabytes go through in less room than
/// they take together.
#[test]
fn memory_follows_bytes_and_not_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join("rows.txt.gz");
    let file = std::fs::File::create(&path).expect("a file");
    let mut encoder = GzEncoder::new(file, Compression::fast());
    let row = ["w ".repeat(15 << 19), "\n".to_owned()].concat();
    for _ in 0..40 {
        encoder.write_all(row.as_bytes()).expect("a file");
    }
    encoder.finish().expect("a file");
    let flags = ["--input", path.to_str().expect("a path"), "--max-length", "8", "--threads", "1"];
    let command = predict(&["adapter-seq-bn"], &flags);
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -v 450000; exec \"$0\" \"$@\""]).arg(command.get_program());
    let mut child =
        limited.args(command.get_args()).stdout(Stdio::piped()).spawn().expect("the command");
    let mut answers = String::new();
    child.stdout.take().expect("its output").read_to_string(&mut answers).expect("UTF-8");
    assert!(child.wait().expect("the command").success());
    assert_eq!(answers.lines().count(), 40);
}
