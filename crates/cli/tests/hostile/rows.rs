//! Files of rows: what is refused, and what is odd and works.

use std::fs;
use std::io::Write;

use crate::home::{Case, Home, check};

const TRAIN: &[&str] = &[
    "train",
    "--model",
    "model",
    "--train-file",
    "rows.csv",
    "--output-dir",
    "out",
    "--epochs",
    "1",
    "--max-length",
    "20",
    "--quiet",
];
const TRAIN_TSV: &[&str] =
    &["train", "--model", "model", "--train-file", "rows.tsv", "--output-dir", "out"];
const TRAIN_JSON: &[&str] =
    &["train", "--model", "model", "--train-file", "rows.jsonl", "--output-dir", "out"];
const EVAL: &[&str] =
    &["eval", "--model", "model", "--adapter", "adapter", "--validation-file", "rows.csv"];
const LOOPS: &[&str] =
    &["predict", "--model", "model", "--adapter", "adapter", "--input", "deep/**/*.txt"];
const LABEL: &[&str] =
    &["predict", "--model", "model", "--adapter", "adapter", "--input", "in.csv"];

fn of(
    arguments: &'static [&'static str],
) -> impl Fn(&'static str, fn(&Home), &'static str) -> Case {
    move |what, prepare, says| Case { what, prepare, arguments, code: 1, says }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::process::{Command, Stdio};
    let mut child =
        Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

#[test]
fn tables() {
    let train = of(TRAIN);
    let tsv = of(TRAIN_TSV);
    check(&[
        train(
            "missing",
            |home| home.remove("rows.csv"),
            "error: rows.csv: No such file or directory (os error 2)\n\
             hint: correct the path; a relative one starts at the current directory",
        ),
        train(
            "empty",
            |home| home.write("rows.csv", ""),
            "error: rows.csv is empty; give a file with rows",
        ),
        train(
            "white space",
            |home| home.write("rows.csv", "\n\n\n"),
            "error: rows.csv is empty; give a file with rows",
        ),
        train(
            "a directory",
            |home| {
                home.remove("rows.csv");
                fs::create_dir(home.path("rows.csv")).unwrap();
            },
            "error: rows.csv is a folder without a folder or a .txt file for each of two labels or \
             more; name its files, for example rows.csv/*.tsv",
        ),
        train(
            "a loop of links",
            |home| {
                home.remove("rows.csv");
                home.link("rows.csv", "rows.csv");
            },
            "error: rows.csv: Too many levels of symbolic links (os error 40)",
        ),
        train(
            "a header alone",
            |home| home.write("rows.csv", "text,label\n"),
            "error: rows.csv has a header line and no rows; give a file with rows",
        ),
        train(
            "no such column",
            |home| home.write("rows.csv", "body,label\na,b\n"),
            "error: rows.csv: no column \"text\"; its columns are \"body\", \"label\"\n\
             hint: --text-column, --text-pair-column and --label-column name the columns; \
             --input-format, --delimiter and --quoting say how the file is cut into them",
        ),
        train(
            "a column twice",
            |home| home.write("rows.csv", "text,label,text\na,b,c\n"),
            "error: rows.csv, line 1: there are several columns \"text\"; rename all but one",
        ),
        train(
            "a hundred thousand columns",
            |home| home.write("rows.csv", ",".repeat(100_000)),
            "error: rows.csv, line 1: more than 65536 columns; is this the right format?",
        ),
        train(
            "a field too few",
            |home| home.write("rows.csv", "text,label\na,x\nb\n"),
            "error: rows.csv, line 3: 1 columns where the file has 2; complete the row or remove it\n\
             hint: --drop-ragged leaves such rows out and counts them; is --delimiter right?",
        ),
        train(
            "a field too many",
            |home| home.write("rows.csv", "text,label\n\"a\nb\",x\nb,y,z\n"),
            "error: rows.csv, line 4: 3 columns where the file has 2; complete the row or remove it\n\
             hint: --drop-ragged leaves such rows out and counts them; is --delimiter right?",
        ),
        train(
            "a quote left open",
            |home| home.write("rows.csv", "text,label\na,x\n\"b,y\n"),
            "error: rows.csv, line 3: the record that begins here opens a quote that is never \
             closed; close it, or double a quote that belongs to the text\n\
             hint: --quoting none reads quotes as text, --quoting backslash takes \\\" for a quote",
        ),
        train(
            "one label",
            |home| home.write("rows.csv", "text,label\na,x\nb,x\n"),
            "error: rows.csv: all 1 training rows have the label \"x\"; two are needed: bring \
             rows with another, or name another column\n\
             hint: a label that is blank or spelt like a missing value (nan, None, NA) counts as \
             none, unless --labels or --label-map names it",
        ),
        train(
            "no label",
            |home| home.write("rows.csv", "text,label\na,\nb,\n"),
            "error: rows.csv: none of 2 rows has a label to learn\n\
             hint: a label that is blank or spelt like a missing value (nan, None, NA) counts as \
             none, unless --labels or --label-map names it",
        ),
        train(
            "one row",
            |home| home.write("rows.csv", "text,label\na,x\n"),
            "error: 1 rows cannot be split into 2 parts with at least one row each\n\
             hint: name the validation rows with --validation-file",
        ),
        train(
            "two rows",
            |home| home.write("rows.csv", "text,label\na,x\nb,y\n"),
            "error: rows.csv: all 1 training rows have the label \"y\"; two are needed: bring \
             rows with another, or name another column\n\
             hint: a label that is blank or spelt like a missing value (nan, None, NA) counts as \
             none, unless --labels or --label-map names it",
        ),
        train(
            "not UTF-8",
            |home| home.write("rows.csv", b"text,label\na,x\ncaf\xe9,y\n"),
            "error: rows.csv, line 3: not UTF-8 at byte 18 of the text; give its encoding, which \
             may be latin-1\n\
             hint: --encoding names it: latin-1, windows-1252, utf-16le, shift_jis, …",
        ),
        train(
            "UTF-16 without a mark",
            |home| home.write("rows.csv", b"t\0e\0x\0t\0,\0l\0\n\0"),
            "error: rows.csv: no column \"text\"; its columns are \
             \"t\\u{0}e\\u{0}x\\u{0}t\\u{0}\", \"\\u{0}l\\u{0}\"\n\
             hint: --text-column, --text-pair-column and --label-column name the columns; \
             --input-format, --delimiter and --quoting say how the file is cut into them",
        ),
        tsv(
            "a field too few, with tabs",
            |home| home.write("rows.tsv", "text\tlabel\na\tx\nb\n"),
            "error: rows.tsv, line 3: 1 columns where the file has 2; complete the row or remove it\n\
             hint: --drop-ragged leaves such rows out and counts them; is --delimiter right?",
        ),
        tsv(
            "a name that moves the cursor",
            |home| {
                home.write("rows.tsv", "te\u{1b}[2Jxt\tlabel\na\tx\n");
            },
            "error: rows.tsv: no column \"text\"; its columns are \"te\\u{1b}[2Jxt\", \"label\"\n\
             hint: --text-column, --text-pair-column and --label-column name the columns; \
             --input-format, --delimiter and --quoting say how the file is cut into them",
        ),
    ]);
}

#[test]
fn json_lines() {
    let train = of(TRAIN_JSON);
    check(&[
        train(
            "cut off",
            |home| home.write("rows.jsonl", "{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b"),
            "error: rows.jsonl, line 2: not a JSON object on one line: EOF while parsing a \
             string (column 11)",
        ),
        train(
            "no object",
            |home| home.write("rows.jsonl", "[1]\n"),
            "error: rows.jsonl, line 1: not a JSON object of a list: invalid type: integer `1`, \
             expected an object such as {\"text\": \"…\", \"label\": \"…\"} (column 2)",
        ),
        train(
            "a bare NUL",
            |home| home.write("rows.jsonl", "{\"text\": \"a\0\", \"label\": 1}\n"),
            "error: rows.jsonl, line 1: not a JSON object on one line: control character \
             (\\u0000-\\u001F) found while parsing a string (column 12)",
        ),
        train(
            "no text",
            |home| home.write("rows.jsonl", "{\"body\": \"a\", \"label\": 1}\n"),
            "error: rows.jsonl, line 1: column \"text\" is absent or null; the first line's \
             columns are \"body\", \"label\"",
        ),
        train(
            "a null text",
            |home| home.write("rows.jsonl", "{\"text\": null, \"label\": 1}\n"),
            "error: rows.jsonl, line 1: column \"text\" is absent or null; the first line's \
             columns are \"text\", \"label\"",
        ),
        train(
            "a key twice",
            |home| home.write("rows.jsonl", "{\"text\": \"a\", \"text\": \"b\"}\n"),
            "error: rows.jsonl, line 1: there are several columns \"text\"; rename all but one",
        ),
        train(
            "a nested text",
            |home| home.write("rows.jsonl", "{\"text\": {\"a\": 1}, \"label\": 1}\n"),
            "error: rows.jsonl, line 1: column \"text\" holds a nested value; give text or a \
             number, or name a value inside it by its path, such as \"text.text\"",
        ),
        train(
            "a deep text",
            |home| home.write("rows.jsonl", format!("{{\"text\": {}", "[".repeat(100_000))),
            "error: rows.jsonl, line 1: not a JSON object on one line: recursion limit \
             exceeded (column 136)",
        ),
        train(
            "deep beside the text",
            |home| {
                let (open, shut) = ("[".repeat(100_000), "]".repeat(100_000));
                home.write("rows.jsonl", format!("{{\"x\": {open}{shut}, \"label\": 1}}\n"));
            },
            "error: rows.jsonl, line 1: column \"text\" is absent or null; the first line's \
             columns are \"x\", \"label\"",
        ),
        train(
            "half a character",
            |home| home.write("rows.jsonl", "{\"text\": \"\\ud83d\", \"label\": 1}\n"),
            "error: rows.jsonl, line 1: not a JSON object on one line: unexpected end of hex \
             escape (column 17)",
        ),
        train(
            "several labels",
            |home| home.write("rows.jsonl", "{\"text\": \"a\", \"label\": [1, 2]}\n"),
            "error: rows.jsonl, line 1: 2 labels where one is needed; a multi-label task takes \
             several\n\
             hint: --multi-label trains on sets of labels",
        ),
    ]);
}

#[test]
fn rows_to_evaluate_and_to_label() {
    let eval = of(EVAL);
    let label = of(LABEL);
    check(&[
        Case {
            what: "a pattern through loops of links",
            prepare: |home| {
                home.write("deep/a.txt", "text");
                home.link("deep/one", ".");
                home.link("deep/two", ".");
            },
            arguments: LOOPS,
            code: 1,
            says: "error: the file pattern \"deep/**/*.txt\" is not valid: `**` is not supported; \
                   give each level of folders a `*`",
        },
        eval(
            "an unknown label",
            |_| (),
            "error: rows.csv, line 2: unknown label \"spam\"; the labels are \"entailment\", \
             \"neutral\", \
             \"contradiction\"\n\
             hint: correct the row, leave such rows out with --drop-label, or train with a file or \
             --labels that has the label",
        ),
        eval(
            "no label at all",
            |home| home.write("rows.csv", "text,label\na,\nb,\n"),
            "error: rows.csv: none of 2 rows has a label to learn\n\
             hint: a label that is blank or spelt like a missing value (nan, None, NA) counts as \
             none, unless --labels or --label-map names it",
        ),
        label(
            "a bomb",
            |home| home.write("in.csv", gzip(&vec![b'a'; 1 << 26])),
            "error: in.csv, line 1: the record that begins here is longer than 16777216 bytes; \
             is this a text file, are its lines ended, its quotes closed?",
        ),
        label(
            "a line without end",
            |home| home.write("in.csv", vec![b'a'; 50 << 20]),
            "error: in.csv, line 1: the record that begins here is longer than 16777216 bytes; \
             is this a text file, are its lines ended, its quotes closed?",
        ),
        label(
            "a quote without end",
            |home| home.write("in.csv", [&b"text\n\""[..], &vec![b'a'; 50 << 20]].concat()),
            "error: in.csv, line 2: the record that begins here is longer than 16777216 bytes; \
             is this a text file, are its lines ended, its quotes closed?",
        ),
    ]);
}

#[test]
fn rows_before_the_damage_are_answered() {
    let texts: String = (0..100).map(|i| format!("a text {i}\n")).collect();
    let whole = gzip(format!("text\n{texts}").as_bytes());
    let mut damaged = gzip(b"text\nsome text\n");
    let end = damaged.len();
    damaged[end - 5] ^= 1;
    let cases: [(&str, &[u8], usize, &str); 3] = [
        (
            "a broken row after good ones",
            b"text,label\na,x\nb\n",
            1,
            "error: in.csv, line 3: 1 columns where the file has 2; complete the row or remove it\n\
             hint: --drop-ragged leaves such rows out and counts them; is --delimiter right?\n",
        ),
        (
            "gzip cut off",
            &whole[..whole.len() / 2],
            100,
            "error: in.csv: cannot decompress: incomplete deflate stream; fetch or compress it \
             again\n",
        ),
        (
            "gzip damaged",
            &damaged,
            1,
            "error: in.csv: cannot decompress: corrupt gzip stream does not have a matching \
             checksum; fetch or compress it again\n",
        ),
    ];
    for (what, bytes, most, says) in cases {
        let home = Home::new();
        home.write("in.csv", bytes);
        let ended = home.run(LABEL);
        assert_eq!((ended.code, &ended.stderr[..]), (Some(1), says), "{what}");
        let answers = ended.stdout.lines().count();
        assert!((1..=most).contains(&answers), "{what}: {answers} answers");
        for line in ended.stdout.lines() {
            assert!(line.starts_with("{\"label\":") && line.ends_with('}'), "{what}: {line}");
        }
    }
}

/// Labels of `in.txt`-like rows.
fn labelled(home: &Home, arguments: &[&str]) -> Vec<String> {
    let all = [&["predict", "--model", "model", "--adapter", "adapter"][..], arguments].concat();
    let ended = home.run(&all);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn what_is_odd_and_works() {
    let home = Home::new();
    // The third text is empty.
    let plain = labelled(&home, &["--input", "in.txt"]);
    assert_eq!(plain.len(), 3);

    // A byte-order mark and CRLF change nothing; nor does compression, whatever the file's name.
    home.write("marked.txt", "\u{feff}one\r\ntwo\r\n\r\n");
    assert_eq!(labelled(&home, &["--input", "marked.txt"]), plain);
    home.write("packed.txt", gzip(b"one\ntwo\n\n"));
    assert_eq!(labelled(&home, &["--input", "packed.txt"]), plain);
    let wide: Vec<u8> = "\u{feff}one\ntwo\n\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    home.write("wide.txt", wide);
    assert_eq!(labelled(&home, &["--input", "wide.txt"]), plain);

    // NUL is a character like any other, and is said.
    home.write("nul.txt", "a\0b\n");
    let ended =
        home.run(&["predict", "--model", "model", "--adapter", "adapter", "--input", "nul.txt"]);
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 1));
    assert!(
        ended.stderr.contains("NUL") && ended.stderr.contains("nul.txt, line 1"),
        "{}",
        ended.stderr
    );
    home.write("nul.jsonl", "{\"text\": \"a\\u0000b\"}\n");
    assert_eq!(labelled(&home, &["--input", "nul.jsonl"]).len(), 1);

    // A million characters, as one word and as many, are cut to what the base takes.
    let long = format!("{}\n{}\n", "x".repeat(1_000_000), "x ".repeat(500_000));
    home.write("long.txt", long);
    assert_eq!(labelled(&home, &["--input", "long.txt"]).len(), 2);

    // A pipe is read as a file is.
    home.pipe("pipe");
    let path = home.path("pipe");
    let writer = std::thread::spawn(move || fs::write(path, "one\ntwo\n\n").unwrap());
    assert_eq!(labelled(&home, &["--input", "pipe", "--input-format", "lines"]), plain);
    writer.join().unwrap();
}

#[test]
fn ten_thousand_labels_are_learned_and_given() {
    let home = Home::new();
    let rows: String = (0..10_000).map(|i| format!("a text,label {i}\n")).collect();
    home.write("many.csv", format!("text,label\n{rows}"));
    home.write("few.csv", "text,label\na text,label 9999\n");
    let ended = home.run(&[
        "train",
        "--model",
        "model",
        "--train-file",
        "many.csv",
        "--validation-file",
        "few.csv",
        "--output-dir",
        "out",
        "--epochs",
        "1",
        "--batch-size",
        "2000",
        "--quiet",
        "--max-length",
        "8",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ended = home.run(&["predict", "--model", "model", "--adapter", "out", "--input", "in.txt"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let line: serde_json::Value =
        serde_json::from_str(ended.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(line["scores"].as_object().unwrap().len(), 10_000);
}
