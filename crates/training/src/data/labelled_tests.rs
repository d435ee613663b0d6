//! From labels to the numbers a head learns.

use super::*;
use crate::TrainingError;
use crate::error::Place;

/// An example on line `line` with a label, a list of labels (`[a b]`) or none (`-`).
fn example(line: u64, label: &str) -> Example {
    let label = match label.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(labels) => {
            Some(LabelValue::Several(labels.split_whitespace().map(str::to_string).collect()))
        }
        None if label == "-" => None,
        None => LabelValue::one(label),
    };
    let place = Place { file: "rows.tsv".into(), line };
    Example { text: format!("row {line}"), pair: None, label, index: None, kept: Vec::new(), place }
}

fn examples(labels: &[&str]) -> Vec<Example> {
    (1..).zip(labels).map(|(line, label)| example(line, label)).collect()
}

/// Infers the answer space from `labels` and reads them by it, dropping rows without a label.
fn train(
    labels: &[&str],
    reading: &LabelReading,
) -> Result<(AnswerSpace, LabelledRows, ReadReport), String> {
    let inner = || {
        let examples = examples(labels);
        let mut report = ReadReport { rows: examples.len() as u64, ..ReadReport::default() };
        let space = reading.infer(&examples)?;
        let rows = LabelledRows::new(examples, reading, &space, &mut report)?;
        rows.check_trainable(&space)?;
        Ok((space, rows, report))
    };
    inner().map_err(|error: TrainingError| error.to_string())
}

fn names(pairs: &[(&str, &str)]) -> Option<LabelNames> {
    Some(LabelNames::new(pairs.iter().copied()).unwrap())
}

#[test]
fn labels_become_numbers() {
    let plain = LabelReading::plain;
    let divided = LabelReading { delimiter: Some(';'), ..plain(AnswerKind::LabelSet) };
    let named = LabelReading {
        names: names(&[("1", "spam"), ("0", "ham"), ("2", "spam")]),
        ..plain(AnswerKind::Class)
    };
    type Case<'a> = (&'a str, &'a [&'a str], LabelReading, &'a [&'a str], Answers);
    let cases: [Case<'_>; 7] = [
        (
            "classes",
            &["spam", "ham", "spam"],
            plain(AnswerKind::Class),
            &["ham", "spam"],
            Answers::Classes(vec![1, 0, 1]),
        ),
        (
            "integers",
            &["10", "9", "10"],
            plain(AnswerKind::Class),
            &["9", "10"],
            Answers::Classes(vec![1, 0, 1]),
        ),
        ("names", &["0", "1", "2"], named, &["spam", "ham"], Answers::Classes(vec![1, 0, 0])),
        (
            "divided sets",
            &["b; a;b", ";", "c"],
            divided,
            &["a", "b", "c"],
            Answers::LabelSets(vec![vec![0, 1], vec![], vec![2]]),
        ),
        (
            "listed sets",
            &["[b a]", "[]", "[a]"],
            plain(AnswerKind::LabelSet),
            &["a", "b"],
            Answers::LabelSets(vec![vec![0, 1], vec![], vec![0]]),
        ),
        (
            "undivided sets",
            &["a b", "c"],
            plain(AnswerKind::LabelSet),
            &["a b", "c"],
            Answers::LabelSets(vec![vec![0], vec![1]]),
        ),
        (
            "values",
            &["1", "-2.5", "1e3"],
            plain(AnswerKind::Value),
            &[],
            Answers::Values(vec![1.0, -2.5, 1000.0]),
        ),
    ];
    for (what, labels, reading, expected_names, expected) in cases {
        let (space, rows, report) = train(labels, &reading).unwrap();
        let found = space.labels().map_or(&[][..], LabelMap::names);
        assert_eq!(found, expected_names, "{what}");
        assert_eq!(space.outputs(), expected_names.len().max(1), "{what}");
        assert_eq!(rows.answers, expected, "{what}");
        assert!(report.is_clean(), "{what}");
    }
}

#[test]
fn rows_without_a_label_are_dropped_and_counted() {
    let reading = LabelReading::plain(AnswerKind::Class);
    let (_, rows, report) = train(&["a", "-", "b", "-"], &reading).unwrap();
    assert_eq!(rows.rows.iter().map(|row| row.place.line).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(rows.answers, Answers::Classes(vec![0, 1]));
    assert_eq!(
        report.to_string(),
        "2 rows read; 2 rows without a label dropped (first: rows.tsv, line 2)"
    );
}

#[test]
fn unwanted_labels_are_left_out_and_counted() {
    let unwanted = |labels: &[&str], reading| LabelReading {
        unwanted: labels.iter().map(|label| label.to_string()).collect(),
        ..reading
    };
    let plain = LabelReading::plain;
    let named = LabelReading {
        names: names(&[("?", "unsure"), ("0", "ham"), ("1", "spam")]),
        ..plain(AnswerKind::Class)
    };
    let divided = LabelReading { delimiter: Some(','), ..plain(AnswerKind::LabelSet) };
    type Case<'a> = (&'a str, LabelReading, &'a [&'a str], &'a [&'a str], Answers);
    let cases: [Case<'_>; 4] = [
        (
            "a class",
            unwanted(&["Can't Decide"], plain(AnswerKind::Class)),
            &["a", "Can't Decide", "b", "Can't Decide"],
            &["a", "b"],
            Answers::Classes(vec![0, 1]),
        ),
        (
            "a raw label",
            unwanted(&["?"], named.clone()),
            &["1", "?", "0", "?"],
            &["ham", "spam"],
            Answers::Classes(vec![1, 0]),
        ),
        (
            "a name",
            unwanted(&["unsure"], named),
            &["1", "?", "0", "?"],
            &["ham", "spam"],
            Answers::Classes(vec![1, 0]),
        ),
        (
            "sets with it",
            unwanted(&["x"], divided),
            &["a", "a,x", "b,a", "x"],
            &["a", "b"],
            Answers::LabelSets(vec![vec![0], vec![0, 1]]),
        ),
    ];
    for (what, reading, labels, expected_names, expected) in cases {
        reading.check_unwanted(&examples(labels)).unwrap();
        let (space, rows, report) = train(labels, &reading).unwrap();
        assert_eq!(space.labels().map_or(&[][..], LabelMap::names), expected_names, "{what}");
        assert_eq!(rows.answers, expected, "{what}");
        assert_eq!(
            report.to_string(),
            "2 rows read; 2 rows with a label to leave out dropped (first: rows.tsv, line 2)",
            "{what}"
        );
    }
    let misspelt = unwanted(&["X"], plain(AnswerKind::Class));
    let error = misspelt.check_unwanted(&examples(&["a", "x"])).unwrap_err().to_string();
    assert!(error.contains("no row has the label \"X\"") && error.contains("\"x\""), "{error}");
    let all = unwanted(&["a"], plain(AnswerKind::Class));
    assert_eq!(
        train(&["a", "-"], &all).unwrap_err(),
        "rows.tsv: none of 2 rows has a label to learn"
    );
}

#[test]
fn labels_that_do_not_fit_are_refused_in_training() {
    let plain = LabelReading::plain;
    let named =
        LabelReading { names: names(&[("0", "ham"), ("1", "spam")]), ..plain(AnswerKind::Class) };
    let cases: [(&[&str], LabelReading, &str); 11] = [
        (&["a", "a", "-"], plain(AnswerKind::Class), "all 2 training rows have the label \"a\""),
        (&["-", "-"], plain(AnswerKind::Class), "rows.tsv: none of 2 rows has a label to learn"),
        (&["-"], plain(AnswerKind::Value), "rows.tsv: none of 1 rows has a label to learn"),
        (&[], plain(AnswerKind::Class), "none of 0 rows has a label"),
        (&["a", "[b]"], plain(AnswerKind::Class), "rows.tsv, line 2: a list of labels where one"),
        (&["[]", "[]"], plain(AnswerKind::LabelSet), "there are no labels"),
        (&["0", "2"], named, "rows.tsv, line 2: unknown label \"2\"; the labels are \"0\", \"1\""),
        (&["1", "x"], plain(AnswerKind::Value), "line 2: the target \"x\" is not a finite number"),
        (&["NaN"], plain(AnswerKind::Value), "line 1: the target \"NaN\" is not a finite number"),
        (&["1e40"], plain(AnswerKind::Value), "line 1: the target \"1e40\" is not a finite number"),
        (&["[1]"], plain(AnswerKind::Value), "line 1: a list of labels where one is needed"),
    ];
    for (labels, reading, message) in cases {
        let error = train(labels, &reading).unwrap_err();
        assert!(error.contains(message), "{labels:?}: {error}");
    }
}

#[test]
fn evaluation_reads_by_the_heads_labels() {
    let reading = LabelReading {
        names: names(&[("0", "ham"), ("1", "spam")]),
        ..LabelReading::plain(AnswerKind::Class)
    };
    let evaluate = |space: &[&str], labels: &[&str]| {
        let space = AnswerSpace::Classes(LabelMap::new(space.iter().copied()).unwrap());
        LabelledRows::new(examples(labels), &reading, &space, &mut ReadReport::default())
            .map(|rows| rows.answers)
            .map_err(|error| error.to_string())
    };
    // The head's numbers count, under the names or under the raw labels, whichever it knows.
    assert_eq!(evaluate(&["spam", "ham"], &["0", "1"]), Ok(Answers::Classes(vec![1, 0])));
    assert_eq!(evaluate(&["1", "0"], &["0", "1"]), Ok(Answers::Classes(vec![1, 0])));
    assert_eq!(evaluate(&["ham", "spam"], &["spam"]), Ok(Answers::Classes(vec![1])));
    assert_eq!(
        evaluate(&["ham", "spam"], &["0", "eggs"]),
        Err("rows.tsv, line 2: unknown label \"eggs\"; the labels are \"ham\", \"spam\"".into())
    );
    // One class at evaluation is nothing wrong.
    assert_eq!(evaluate(&["ham", "spam"], &["0", "0"]), Ok(Answers::Classes(vec![0, 0])));

    let many: Vec<String> = (0..10_000).map(|label| format!("label {label}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let error = evaluate(&many, &[&"x".repeat(5000)]).unwrap_err();
    assert!(error.ends_with("\"label 19\" and 9980 more") && error.len() < 500, "{error}");

    let wrong = LabelledRows::new(
        examples(&["1"]),
        &reading,
        &AnswerSpace::Values,
        &mut ReadReport::default(),
    );
    let error = wrong.unwrap_err().to_string();
    assert_eq!(error, "the head needs a value a row and was given one label a row");
}

#[test]
fn rows_and_answers_are_split_together() {
    let labels: Vec<String> = (0..100).map(|row| format!("label {}", row % 7)).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let (_, rows, _) = train(&labels, &LabelReading::plain(AnswerKind::Class)).unwrap();
    let parts = rows.split(&[0.1, 0.1], 42).unwrap();
    assert_eq!(parts.iter().map(LabelledRows::len).collect::<Vec<_>>(), [80, 10, 10]);
    for part in &parts {
        let Answers::Classes(classes) = &part.answers else { panic!("classes stay classes") };
        for (row, class) in part.rows.iter().zip(classes) {
            assert_eq!(row.label, Some(LabelValue::One(format!("label {class}"))));
        }
    }
    assert_eq!(rows.select(&[99, 100, 3]).len(), 2);
    assert!(rows.split(&[1.5], 0).is_err());
}
