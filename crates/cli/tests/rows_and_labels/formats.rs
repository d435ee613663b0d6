//! Delimiters, quotes, lists, paths, names that are labels, and files that are no text.

use crate::home::Home;

/// Rows of a text and a label, in the words that `row` gives them.
fn rows(row: impl Fn(usize, &str) -> String) -> String {
    (0..20).map(|i| row(i, ["no", "yes"][i % 2])).collect()
}

/// What a training says, and the answers of its adapter to the rows that it was trained on.
fn trained(home: &Home, flags: &str, file: &str) -> (String, String) {
    let common = format!("{flags} --max-length 16");
    let train = format!("train --model TINY --epochs 1 --output-dir out --overwrite {common}");
    let said = home.good(&format!("{train} --train-file {file}")).stderr;
    let predict = format!("predict --model TINY --adapter out {common} --input {file}");
    (said, home.good(&predict).stdout)
}

#[test]
fn one_table_in_every_dialect_gives_the_same_answers() {
    let quoted = |delimiter: &str, quote: &str| {
        let text = format!("say {quote}hi{quote},");
        let row = |i, label: &str| format!("\"{text} {i}\"{delimiter}\"{label}\"\n");
        format!("text{delimiter}label\n{}", rows(row))
    };
    let home = Home::with(&[
        ("plain.csv", &quoted(",", "\"\"")),
        ("semicolon.csv", &quoted(";", "\"\"")),
        ("quoted.tsv", &quoted("\t", "\"\"").replace("text\tlabel", "\"text\"\t\"label\"")),
        ("half.tsv", &quoted("\t", "\"\"")),
        ("escaped.csv", &quoted(",", "\\\"")),
        ("pipe.data", &quoted("|", "\"\"")),
        ("ragged.csv", &quoted(",", "\"\"").replace("label\n", "label\nshort\na,b,c\n")),
    ]);
    let csv = home.read("plain.csv");
    let (first, second) = csv.split_at(csv.len() / 2);
    let at = first.len() + second.find("\n").expect("a line") + 1;
    home.write("twice.csv", format!("{}text,label\n{}", &csv[..at], &csv[at..]).as_bytes());
    let cr = csv.replace('\n', "\r");
    home.write("cr.csv", cr.as_bytes());
    let object = |i, label: &str| {
        let value = serde_json::json!({"d": {"text": format!("say \"hi\", {i}")}, "label": label});
        value.to_string()
    };
    let objects: Vec<String> = (0..20).map(|i| object(i, ["no", "yes"][i % 2])).collect();
    home.write("list.json", format!("[\n{}\n]", objects.join(",\n")).as_bytes());
    home.write("lines.jsonl", objects.join("\r").as_bytes());

    let expected = trained(&home, "", "plain.csv");
    assert!(!expected.0.contains("note:") || !expected.0.contains("delimiter"), "{}", expected.0);
    let cases = [
        ("semicolon.csv", "", "read with the delimiter semicolon"),
        ("semicolon.csv", "--delimiter ;", ""),
        ("quoted.tsv", "", "delimiter tab and with fields in quotes"),
        ("half.tsv", "--quoting double", ""),
        ("escaped.csv", "", "escaped.csv, line 2: quotes inside fields stand behind a backslash"),
        ("escaped.csv", "--quoting backslash", ""),
        ("pipe.data", "--delimiter pipe", ""),
        ("ragged.csv", "--drop-ragged", "2 rows with too few or too many columns dropped"),
        (
            "twice.csv",
            "",
            "1 rows that repeat the header line left out (first: twice.csv, line 12)",
        ),
        ("cr.csv", "", ""),
        ("list.json", "--text-column d.text", ""),
        ("lines.jsonl", "--text-column d.text", ""),
    ];
    for (file, flags, note) in cases {
        let (said, answers) = trained(&home, flags, file);
        assert!(said.contains(note), "{file} {flags}: {said}");
        assert!(answers == expected.1, "{file} {flags} differs from plain.csv");
    }
    let (said, answers) = trained(&home, "", "half.tsv");
    assert!(said.contains("20 rows have fields in quotes (first: half.tsv, line 2)"), "{said}");
    assert!(said.contains("--quoting double"), "{said}");
    assert!(answers != expected.1);

    let train = "train --model TINY --output-dir refused --train-file";
    let failures = [
        ("ragged.csv", "", 1, "--drop-ragged leaves such rows out"),
        ("plain.csv", "--delimiter ::", 2, "give one character, its name"),
        ("plain.csv", "--quoting both", 2, "none, double or backslash"),
        ("list.json", "--delimiter ;", 1, "which is no table"),
        ("pipe.data", "", 1, "--input-format gives it"),
        ("plain.csv", "--text-column text,body", 1, "no column \"body\""),
    ];
    for (file, flags, code, message) in failures {
        let said = home.run(&format!("{train} {file} {flags}"));
        assert_eq!(said.code, Some(code), "{file} {flags}: {}", said.stderr);
        assert!(said.stderr.contains(message), "{file} {flags}: {}", said.stderr);
    }
}

#[test]
fn labels_among_words_and_names_of_files_are_labels() {
    let home = Home::with(&[
        ("plain.csv", &format!("text,label\n{}", rows(|i, label| format!("row {i},{label}\n")))),
        ("words.txt", &rows(|i, label| format!("__label__{label} row {i}\n"))),
    ]);
    for i in 0..20 {
        home.write(
            &format!("folders/{}/{i:02}.txt", ["no", "yes"][i % 2]),
            format!("row {i}").as_bytes(),
        );
    }
    home.write("folders/no/.DS_Store", b"\0");
    let of = |wanted: &str| {
        let row = |i: usize, label: &str| match label == wanted {
            true => format!("row {i}\n"),
            false => String::new(),
        };
        rows(row)
    };
    home.write("files/no.txt", of("no").as_bytes());
    home.write("files/yes.txt", of("yes").as_bytes());

    let (_, expected) = trained(&home, "", "plain.csv");
    let (said, answers) = trained(&home, "", "words.txt");
    assert!(said.contains("words.txt is read in fastText's format"), "{said}");
    assert!(answers == expected);
    for (folder, note) in [
        ("folders", "folders has a folder for each of 2 labels, named after it"),
        ("files", "files has a file for each of 2 labels, named after it"),
    ] {
        let (said, answers) = trained(&home, "", folder);
        assert!(said.contains(note), "{said}");
        assert_eq!(answers.lines().count(), 20);
        assert!(!said.contains("folders") || said.contains("1 hidden or other files"), "{said}");
    }
    let said = home.run("train --model TINY --output-dir refused --train-file .");
    assert_eq!(said.code, Some(1));
}

#[test]
fn what_is_no_text_is_refused_by_name() {
    let home = Home::with(&[]);
    home.write("excel.csv", b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0[Content_Types].xml xl/");
    home.write("rows.csv.bz2", b"BZh91AY&SY\x01\x02");
    home.write("part.parquet", b"PAR1\x15\x04\x15\x10");
    for (file, message) in [
        ("excel.csv", "excel.csv is an Excel workbook (.xlsx), by its first bytes; save it as"),
        ("rows.csv.bz2", "bzip2 -dc rows.csv.bz2 > rows.csv"),
        ("part.parquet", "pandas.read_parquet('part.parquet')"),
    ] {
        for encoding in ["utf-8", "latin-1"] {
            let said = home.run(&format!(
                "train --model TINY --output-dir out --input-format csv --encoding {encoding} \
                 --train-file {file}"
            ));
            assert_eq!(said.code, Some(1));
            assert!(said.stderr.contains(message), "{}", said.stderr);
        }
    }
}

#[cfg(unix)]
#[test]
fn a_path_may_be_of_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let home = Home::with(&[]);
    let name = |bytes: &'static [u8]| OsStr::from_bytes(bytes).to_owned();
    let rows = format!("text,label\n{}", rows(|i, label| format!("row {i},{label}\n")));
    std::fs::write(home.path("").join(name(b"caf\xe9.csv")), rows).expect("a file");
    let model = adaptkit_testkit::golden_dir("bert").join("model");
    std::os::unix::fs::symlink(model, home.path("").join(name(b"mod\xe8le"))).expect("a link");
    let mut train = home.command("train --epochs 1 -q --model");
    train.arg(name(b"mod\xe8le")).arg("--train-file").arg(name(b"caf\xe9.csv"));
    train.arg("--output-dir").arg(name(b"sort\xeee"));
    let mut predict = home.command("predict -q --model TINY --output-format tsv --input");
    predict.arg(name(b"caf\xe9.csv")).arg("--adapter").arg(name(b"a=sort\xeee"));
    predict.arg("--output").arg(name(b"answers\xff"));
    let mut eval = home.command("eval -q --model TINY --validation-file");
    eval.arg(name(b"caf\xe9.csv")).arg("--adapter").arg(name(b"sort\xeee"));
    let mut inspect = home.command("inspect");
    inspect.arg(name(b"sort\xeee"));
    for command in [&mut train, &mut predict, &mut eval, &mut inspect] {
        let output = command.output().expect("the command");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{command:?}: {said}");
    }
    let answers = std::fs::read_to_string(home.path("").join(name(b"answers\xff")));
    assert_eq!(answers.expect("answers").lines().count(), 21);
}

#[test]
fn a_mark_before_a_map_of_labels_is_looked_past() {
    let home = Home::with(&[
        ("rows.csv", &format!("text,label\n{}", rows(|i, _| format!("row {i},{}\n", i % 2)))),
        ("map.json", "\u{feff}{\"0\": \"ham\", \"1\": \"spam\"}"),
        ("wide.json", ""),
    ]);
    home.write("wide.json", b"\xff\xfe{\0}\0");
    let train =
        "train --model TINY --epochs 1 --output-dir out --overwrite -q --train-file rows.csv";
    home.good(&format!("{train} --label-map map.json"));
    assert!(home.read("out/head_config.json").contains("spam"));
    let said = home.run(&format!("{train} --label-map wide.json"));
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("wide.json: it is not UTF-8 at byte 0"), "{}", said.stderr);
}
