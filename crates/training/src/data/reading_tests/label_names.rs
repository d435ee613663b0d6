//! Labels among a text's words, and labels that are names of files and folders.

use std::fs;

use super::*;

#[test]
fn fasttext_s_labels_are_words_of_a_line() {
    let text = "__label__spam Call now\r\n\n__label__a __label__b  two  labels \n\
                at the end __label__ham\nno label\n__label__ is text\n";
    let (rows, report) =
        read(RowFormat::FastText, text.as_bytes(), &text_and_label(), &ReadOptions::default())
            .unwrap();
    let expected = [
        row("Call now", "spam", 1),
        row("two  labels", "[\"a\", \"b\"]", 3),
        row("at the end", "ham", 4),
        ("no label".into(), None, None, 5),
        ("__label__ is text".into(), None, None, 6),
    ];
    assert_eq!(rows, expected);
    assert_eq!((report.blank_lines.count, report.notes.len()), (1, 0));

    let columns = [
        (Columns::text("words"), "\"words\""),
        (Columns::text("text").with_label(Column::required("class")), "\"class\""),
    ];
    for (columns, name) in columns {
        let options = ReadOptions::default();
        let error = read(RowFormat::FastText, text.as_bytes(), &columns, &options).unwrap_err();
        assert!(error.contains(&format!("no column {name}; its columns are \"text\", \"label\"")));
    }
}

#[test]
fn lines_with_labels_are_recognised_unless_they_are_called_lines() {
    let labelled = "\n__label__a x\n__label__b y\n";
    let read_lines = |text: &str, format| {
        let options = ReadOptions { format, ..ReadOptions::default() };
        let columns = Columns::text("text").with_label(Column::optional("label"));
        read(RowFormat::Lines, text.as_bytes(), &columns, &options).unwrap()
    };
    let (rows, report) = read_lines(labelled, None);
    assert_eq!(rows, [row("x", "a", 2), row("y", "b", 3)]);
    assert!(report.notes[0].to_string().contains("read in fastText's format"));
    let (rows, report) = read_lines(labelled, Some(RowFormat::Lines));
    assert_eq!((rows.len(), report.notes.len()), (3, 0));
    let (rows, report) = read_lines("the word __label__a means\n", None);
    assert_eq!((rows[0].0.as_str(), report.notes.len()), ("the word __label__a means", 0));
}

/// Rows of a folder with these files: text, label and the end of the file's path.
fn read_folder(
    files: &[(&str, &str)],
    options: &ReadOptions,
) -> Result<(Vec<String>, ReadReport), String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let inputs = Input::resolve(&[folder.path()]).unwrap();
    let (examples, report) =
        read_examples(&inputs, &text_and_label(), options).map_err(|error| error.to_string())?;
    let rows = examples.into_iter().map(|example| {
        let place = example.place.to_string();
        let name = place.strip_prefix(&format!("{}/", folder.path().display())).unwrap().to_owned();
        let (text, _, label, _) = short(example);
        format!("{text}|{}|{name}", label.unwrap())
    });
    Ok((rows.collect(), report))
}

#[test]
fn a_folder_for_each_label_has_a_text_in_each_file() {
    let files = [
        ("pos/2.txt", "good\nand long\n"),
        ("pos/10.txt", "\u{feff}fine\r\n"),
        ("neg/1", "bad"),
        ("neg/3.txt", ""),
        ("neg/.DS_Store", "\0"),
        ("neg/inner/4.txt", "not read"),
        ("urls_pos.txt", "https://"),
        (".git/config", "x"),
    ];
    let (rows, report) = read_folder(&files, &ReadOptions::default()).unwrap();
    assert_eq!(
        rows,
        [
            "bad|neg|neg/1, line 1",
            "|neg|neg/3.txt, line 1",
            "fine|pos|pos/10.txt, line 1",
            "good\nand long|pos|pos/2.txt, line 1"
        ]
    );
    assert_eq!(report.passed_over.count, 4);
    assert!(report.notes[0].to_string().contains("has a folder for each of 2 labels"));
}

#[test]
fn a_file_for_each_label_has_a_text_in_each_line() {
    let files = [("pos.txt", "good\nfine\n"), ("neg.txt", "bad\r\n"), ("README.md", "what")];
    let (rows, report) = read_folder(&files, &ReadOptions::default()).unwrap();
    let expected =
        ["bad|neg|neg.txt, line 1", "good|pos|pos.txt, line 1", "fine|pos|pos.txt, line 2"];
    assert_eq!(rows, expected);
    assert_eq!(report.passed_over.count, 1);
    assert!(report.notes[0].to_string().contains("has a file for each of 2 labels"));

    let folder = tempfile::tempdir().unwrap();
    let paths = ["rt.pos", "rt.neg.txt.gz"].map(|name| folder.path().join(name));
    paths.iter().for_each(|path| fs::write(path, "a text\n").unwrap());
    fs::rename(&paths[1], folder.path().join("neg.txt")).unwrap();
    let paths = [paths[0].clone(), folder.path().join("neg.txt")];
    let inputs = Input::resolve(&paths).unwrap();
    let options = ReadOptions { format: Some(RowFormat::LabelFiles), ..ReadOptions::default() };
    let (examples, _) = read_examples(&inputs, &text_and_label(), &options).unwrap();
    let labels: Vec<_> = examples.into_iter().map(|example| short(example).2.unwrap()).collect();
    assert_eq!(labels, ["rt.pos", "neg"]);
}

#[test]
fn a_folder_without_labels_is_refused() {
    let tsv = ReadOptions { format: Some(RowFormat::Tsv), ..ReadOptions::default() };
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a ReadOptions, &'a str);
    let cases: [Case<'_>; 4] = [
        (&[], &ReadOptions::default(), "is a folder without a folder or a .txt file for each"),
        (&[("a.csv", "x"), ("b.csv", "x")], &ReadOptions::default(), "name its files"),
        (&[("pos/1.txt", "x"), ("empty/.x", "x")], &ReadOptions::default(), "for each of two"),
        (&[("pos/1.txt", "x"), ("neg/1.txt", "x")], &tsv, "is a folder; name its files"),
    ];
    for (files, options, message) in cases {
        let error = read_folder(files, options).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_name_that_is_no_text_is_no_label() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.txt"));
    fs::write(&path, "x\n").unwrap();
    let inputs = Input::resolve(std::slice::from_ref(&path)).unwrap();
    let (examples, _) =
        read_examples(&inputs, &Columns::text("text"), &ReadOptions::default()).unwrap();
    assert_eq!(examples.len(), 1);
    let options = ReadOptions { format: Some(RowFormat::LabelFiles), ..ReadOptions::default() };
    let error = read_examples(&inputs, &text_and_label(), &options).unwrap_err().to_string();
    assert!(error.contains("is not UTF-8 and cannot be a label"), "{error}");
}
