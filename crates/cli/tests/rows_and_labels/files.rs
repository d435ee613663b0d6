//! The files people have, through `train`, `eval` and `predict`.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::home::Home;

const TEXTS: [&str; 4] = ["café au lait", "naïve, \"quoted\"", "two\nlines", "größe"];

/// Quoted CSV with commas, quotes and line ends in its texts.
fn csv(rows: usize) -> String {
    let row = |i: usize| {
        let text = format!("{} {i}", TEXTS[i % 4]).replace('"', "\"\"");
        format!("\"{text}\",{}\r\n", ["oui", "non"][i % 2])
    };
    format!("text,label\r\n{}", (0..rows).map(row).collect::<String>())
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("latin-1")).collect()
}

fn utf16(text: &str) -> Vec<u8> {
    ['\u{feff}']
        .into_iter()
        .chain(text.chars())
        .collect::<String>()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn one_table_in_every_form_gives_the_same_adapter_scores_and_labels() {
    let home = Home::with(&[("plain.csv", &csv(40))]);
    let text = csv(40);
    let records: Vec<usize> = text.match_indices("\r\n").map(|(at, _)| at + 2).collect();
    let (first, second) = text.split_at(records[20]);
    home.write("latin.csv", &latin1(&text));
    home.write("wide.csv", &utf16(&text));
    home.write("packed.csv.gz", &gzip(text.as_bytes()));
    home.write("part-1.csv", first.as_bytes());
    home.write("part-2.csv", format!("text,label\r\n{second}").as_bytes());
    home.write("dataset", text.as_bytes());
    let forms = [
        ("plain.csv", ""),
        ("latin.csv --encoding latin-1", ""),
        ("wide.csv", ""),
        ("wide.csv --encoding utf-16le", ""),
        ("packed.csv.gz", ""),
        ("part-*.csv", ""),
        ("part-1.csv part-2.csv", ""),
        ("dataset --input-format csv", ""),
        ("- --input-format csv", "plain.csv"),
        ("- --input-format csv", "packed.csv.gz"),
    ];
    let mut expected = None;
    for (form, input) in forms {
        let input = || if input.is_empty() { "/dev/null" } else { input }.into();
        let run = |line: &str| {
            let said = home.run_with_input(line, input());
            assert_eq!(said.code, Some(0), "{line}: {}", said.stderr);
            said
        };
        run(&format!(
            "train --model TINY --epochs 1 --overwrite --output-dir out -q --train-file {form}"
        ));
        let weights = std::fs::read(home.path("out/adapter.safetensors")).expect("an adapter");
        let scores =
            run(&format!("eval --model TINY --adapter out --json --validation-file {form}"));
        let labels = run(&format!("predict --model TINY --adapter out --input {form}"));
        assert_eq!(labels.values().len(), 40, "{form}");
        let found = (weights, scores.value()["eval_loss"].clone(), labels.stdout);
        match &expected {
            None => expected = Some(found),
            Some(expected) => assert!(*expected == found, "{form} differs from plain.csv"),
        }
    }
}

#[test]
fn a_second_text_is_read_wherever_there_is_one() {
    let row = |i: usize| format!("row {i},its pair,{}\n", ["oui", "non"][i % 2]);
    let rows = format!("text,text_pair,label\n{}", (0..40).map(row).collect::<String>());
    let home = Home::with(&[("pairs.csv", &rows)]);
    let [unasked, asked] = ["", "--text-pair-column text_pair"].map(|flag| {
        let train = "train --model TINY --epochs 1 --overwrite --output-dir out -q";
        home.good(&format!("{train} --train-file pairs.csv {flag}"));
        let weights = std::fs::read(home.path("out/adapter.safetensors")).expect("an adapter");
        let common = "--model TINY --adapter out";
        let scores = home.json(&format!("eval {common} --validation-file pairs.csv {flag}"));
        let labels = home.good(&format!("predict {common} --input pairs.csv {flag}"));
        (weights, scores["eval_loss"].clone(), labels.stdout)
    });
    assert!(unasked == asked);
}

#[test]
fn the_flags_of_run_glue_say_the_same() {
    let home = Home::with(&[("rows.csv", &csv(40))]);
    let [ours, theirs] = [
        "train --model TINY --train-file rows.csv --output-dir out --epochs 1 --batch-size 8 \
         --max-length 20 --adapter houlsby --quiet",
        "train --model_name_or_path TINY --train_file rows.csv --output_dir out \
         --num_train_epochs 1 --per_device_train_batch_size 8 --max_seq_length 20 \
         --adapter_config houlsby --train_adapter --do_train --do_eval --group_by_length \
         --overwrite_output_dir --quiet",
    ]
    .map(|line| {
        home.good(line);
        std::fs::read(home.path("out/adapter.safetensors")).expect("an adapter")
    });
    assert!(ours == theirs);
}

#[test]
fn what_is_left_out_is_counted_and_said() {
    let home = Home::with(&[
        ("rows.csv", &csv(40)),
        ("gaps.csv", &format!("{}\r\nunlabelled,\r\n", csv(40))),
        ("blank.csv", "text\na\n\nb\n"),
    ]);
    let train = "train --model TINY --epochs 1 --output-dir out --overwrite --train-file";
    let said = home.good(&format!("{train} gaps.csv"));
    for words in ["1 blank lines skipped", "1 rows without a label dropped (first: gaps.csv, line"]
    {
        assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
    }
    let eval = "eval --model TINY --adapter out --validation-file";
    // By one rule in training, validation and evaluation.
    let said = home.good(&format!("{eval} gaps.csv --json"));
    assert!(said.stderr.contains("1 rows without a label dropped"), "{}", said.stderr);
    assert_eq!(
        (&said.value()["eval_samples"], &said.value()["eval_rows_left_out"]),
        (&40.into(), &1.into())
    );
    let said = home.good(&format!("{train} rows.csv --validation-file gaps.csv --json"));
    assert_eq!(said.value()["eval_rows_left_out"], 1);
    let said = home.good("predict --model TINY --adapter out --input blank.csv");
    assert_eq!(said.values().len(), 2);
    assert!(said.stderr.contains("2 rows read; 1 blank lines skipped (first: blank.csv, line 3)"));

    let both = home.run(&format!("{train} - --validation-file - --input-format csv"));
    assert_eq!(both.code, Some(2));
    assert!(both.stderr.contains("cannot both be standard input"), "{}", both.stderr);
}

#[test]
fn prediction_answers_while_its_input_is_open() {
    let home = Home::with(&[("rows.csv", &csv(40))]);
    home.good("train --model TINY --epochs 1 --output-dir out -q --train-file rows.csv");
    let mut command = home.command("predict --model TINY --adapter out");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the command");
    let mut input = child.stdin.take().expect("a pipe");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let (sender, lines) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        output.lines().map_while(Result::ok).for_each(|line| sender.send(line).expect("a test"));
    });
    // More rows than are held at once, and the buffers' worth: labels come before the input ends.
    let rows = 16_384;
    for i in 0..rows {
        writeln!(input, "a row that is as long as rows often are, number {i}").expect("a reader");
    }
    input.flush().expect("a reader");
    let first = lines.recv_timeout(Duration::from_secs(300)).expect("a label before the end");
    assert!(serde_json::from_str::<serde_json::Value>(&first).expect("JSON")["label"].is_string());
    drop(input);
    reading.join().expect("a reader");
    assert_eq!(1 + lines.iter().count(), rows);
    assert!(child.wait().expect("a status").success());
}
