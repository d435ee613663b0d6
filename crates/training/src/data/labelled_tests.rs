//! From labels to the numbers a head learns.

use super::*;
use crate::TrainingError;
use crate::error::Place;

/// An example on line `line` with a label, a list of labels (`[a b]`), a field as it stands (`=['a']`),
/// one column for each label (`|1 0`) or none (`-`).
fn example(line: u64, label: &str) -> Example {
    let label = match label.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(labels) => {
            Some(LabelValue::Several(labels.split_whitespace().map(str::to_string).collect()))
        }
        None if label == "-" => None,
        None => match label.strip_prefix('|') {
            Some(fields) => {
                let fields = fields.split(' ').map(|field| field.trim_matches('_').to_string());
                Some(LabelValue::Columns(fields.collect()))
            }
            None => LabelValue::one(label.strip_prefix('=').unwrap_or(label)),
        },
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
    let cases: [(&[&str], LabelReading, &str); 20] = [
        (&["a", "a", "-"], plain(AnswerKind::Class), "all 2 training rows have the label \"a\""),
        (&["-", "-"], plain(AnswerKind::Class), "rows.tsv: none of 2 rows has a label to learn"),
        (&["-"], plain(AnswerKind::Value), "rows.tsv: none of 1 rows has a label to learn"),
        (&[], plain(AnswerKind::Class), "none of 0 rows has a label"),
        (
            &["a", "[b c]"],
            plain(AnswerKind::Class),
            "rows.tsv, line 2: 2 labels where one is needed",
        ),
        (&["=['a', 'b']"], plain(AnswerKind::Class), "line 1: 2 labels where one is needed"),
        (
            &["a", "=['a' 'b']"],
            plain(AnswerKind::Class),
            "line 2: the label \"['a' 'b']\" is no list",
        ),
        (&["=['a' 'b']"], plain(AnswerKind::LabelSet), "there is no comma between its elements"),
        (&["[0 1 1]", "[1 0 0]"], plain(AnswerKind::LabelSet), "line 1: the labels are zeros"),
        (
            &["[0 1]", "[1]", "[]"],
            plain(AnswerKind::LabelSet),
            "the labels are zeros and ones, 2 in",
        ),
        (&["=['a', '']"], plain(AnswerKind::LabelSet), "line 1: an empty text in the list"),
        (
            &["[b a]", "[a b a]"],
            plain(AnswerKind::LabelSet),
            "line 2: the list of labels names \"a\" twice",
        ),
        (
            &["[0 1]", "[1 2 1]"],
            plain(AnswerKind::LabelSet),
            "line 2: the list of labels names \"1\" twice",
        ),
        (&["[]", "[]"], plain(AnswerKind::LabelSet), "there are no labels"),
        (&["0", "2"], named, "rows.tsv, line 2: unknown label \"2\"; the labels are \"0\", \"1\""),
        (&["1", "x"], plain(AnswerKind::Value), "line 2: the target \"x\" is not a finite number"),
        (
            &["1", "inf"],
            plain(AnswerKind::Value),
            "line 2: the target \"inf\" is not a finite number",
        ),
        (&["NaN"], plain(AnswerKind::Value), "rows.tsv: none of 1 rows has a label to learn"),
        (&["1e40"], plain(AnswerKind::Value), "line 1: the target \"1e40\" is not a finite number"),
        (&["[1 2]"], plain(AnswerKind::Value), "line 1: 2 labels where one is needed"),
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

#[test]
fn lists_in_fields_are_lists() {
    let plain = LabelReading::plain;
    let divided = || LabelReading { delimiter: Some(','), ..plain(AnswerKind::LabelSet) };
    let sets = || Answers::LabelSets(vec![vec![0, 1], vec![], vec![0]]);
    type Case<'a> = (&'a [&'a str], LabelReading, &'a [&'a str], Answers);
    let cases: [Case<'_>; 8] = [
        (&[r#"=["b", "a"]"#, "=[]", r#"=["a"]"#], divided(), &["a", "b"], sets()),
        (&["=['b', 'a']", "=[]", "=['a']"], divided(), &["a", "b"], sets()),
        (&["{'b', 'a'}", "set()", "('a',)"], divided(), &["a", "b"], sets()),
        (&["[b a]", "[]", "a"], plain(AnswerKind::LabelSet), &["a", "b"], sets()),
        // A field with a delimiter may name a label twice, as it could.
        (&["b, a,b", ",", "a"], divided(), &["a", "b"], sets()),
        // A list of one label is that label.
        (
            &[r#"=["ham"]"#, "spam", "[spam]", "('ham',)"],
            plain(AnswerKind::Class),
            &["ham", "spam"],
            Answers::Classes(vec![0, 1, 1, 0]),
        ),
        (&["=[1.5]", "[-2]"], plain(AnswerKind::Value), &[], Answers::Values(vec![1.5, -2.0])),
        // Brackets around a word are a part of it.
        (
            &["ham", "{ham}", "(ham)"],
            plain(AnswerKind::Class),
            &["(ham)", "ham", "{ham}"],
            Answers::Classes(vec![1, 2, 0]),
        ),
    ];
    for (labels, reading, expected_names, expected) in cases {
        let (space, rows, _) = train(labels, &reading).unwrap();
        assert_eq!(space.labels().map_or(&[][..], LabelMap::names), expected_names, "{labels:?}");
        assert_eq!(rows.answers, expected, "{labels:?}");
    }
}

/// Reads `labels` for a head with labels of its own.
fn read_for(
    head: &[&str],
    labels: &[&str],
    reading: &LabelReading,
) -> Result<(Answers, ReadReport), String> {
    let map = LabelMap::new(head.iter().copied()).unwrap();
    let space = match reading.kind {
        AnswerKind::LabelSet => AnswerSpace::LabelSets(map, Thresholds::default()),
        _ => AnswerSpace::Classes(map),
    };
    let mut report = ReadReport { rows: labels.len() as u64, ..ReadReport::default() };
    LabelledRows::new(examples(labels), reading, &space, &mut report)
        .map(|rows| (rows.answers, report))
        .map_err(|error| error.to_string())
}

#[test]
fn zeros_and_ones_are_places_where_the_labels_are_known() {
    let divided =
        || LabelReading { delimiter: Some(','), ..LabelReading::plain(AnswerKind::LabelSet) };
    type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a [u32]]);
    let cases: [Case<'_>; 7] = [
        (&["a", "b", "c"], &["[0 1 1]", "[1 0 0]", "[0 0 0]"], &[&[1, 2], &[0], &[]]),
        (&["a", "b", "c"], &["=[0, 1, 1]", "0,1,1", "=[]"], &[&[1, 2], &[1, 2], &[]]),
        (&["a", "b"], &["[true false]", "=[True, False]", "1.0,0.0"], &[&[0], &[0], &[0]]),
        (&["a"], &["1", "[0]", "a"], &[&[0], &[], &[0]]),
        // Names and places in one file.
        (&["a", "b"], &["[a b]", "[1 1]"], &[&[0, 1], &[0, 1]]),
        // Here they are names.
        (&["0", "1"], &["[0 1]", "[1]", "0"], &[&[0, 1], &[1], &[0]]),
        (&["0", "1", "2"], &["[0 1]", "[2]", "1.0"], &[&[0, 1], &[2], &[1]]),
    ];
    for (head, labels, expected) in cases {
        let (answers, _) = read_for(head, labels, &divided()).unwrap();
        let expected = expected.iter().map(|set| set.to_vec()).collect();
        assert_eq!(answers, Answers::LabelSets(expected), "{head:?} {labels:?}");
    }
    let failures: [(&[&str], &[&str], &str); 3] = [
        (
            &["a", "b", "c"],
            &["a", "[1 0]"],
            "line 2: 2 zeros and ones for the labels \"a\", \"b\", \"c\"",
        ),
        (&["a", "b"], &["1"], "line 1: 1 zeros and ones for the labels"),
        (&["a", "b"], &["[0 2]"], "line 1: unknown label \"0\""),
    ];
    for (head, labels, words) in failures {
        let error = read_for(head, labels, &divided()).unwrap_err();
        assert!(error.contains(words), "{head:?} {labels:?}: {error}");
    }
    let (_, report) = read_for(&["a", "b"], &["a", "[0 1]"], &divided()).unwrap();
    assert_eq!(
        report.to_string(),
        "2 rows read; 1 rows of zeros and ones read as one place for each label (first: rows.tsv, \
         line 2)"
    );
}

#[test]
fn each_label_may_have_a_column() {
    let columns = |names: &[&str], named| LabelReading {
        columns: Some(LabelColumns { names: names.iter().map(|n| n.to_string()).collect(), named }),
        ..LabelReading::plain(AnswerKind::LabelSet)
    };
    let fields = ["|1 0", "|False true", "|0.0 0", "|__ __", "|1.0 TRUE", "|nan __"];
    let expected = Answers::LabelSets(vec![vec![0], vec![1], vec![], vec![0, 1]]);
    let (space, rows, report) = train(&fields, &columns(&["toxic", "rude"], true)).unwrap();
    assert_eq!(space.labels().unwrap().names(), ["toxic", "rude"]);
    assert_eq!((rows.answers, report.unlabelled_rows.count), (expected, 2));

    let renamed = LabelReading {
        names: names(&[("t", "toxic"), ("r", "rude")]),
        ..columns(&["t", "r"], true)
    };
    let (space, _, _) = train(&fields, &renamed).unwrap();
    assert_eq!(space.labels().unwrap().names(), ["toxic", "rude"]);

    // Evaluation goes by the columns' names, or by their order where they have none.
    let swapped = Answers::LabelSets(vec![vec![1]]);
    type Case<'a> = (&'a [&'a str], &'a LabelReading, Result<&'a Answers, &'a str>);
    let straight = Answers::LabelSets(vec![vec![0]]);
    let (by_name, by_order) = (columns(&["toxic", "rude"], true), columns(&["2", "3"], false));
    let three = columns(&["2", "3", "4"], false);
    let cases: [Case<'_>; 6] = [
        (&["rude", "toxic"], &by_name, Ok(&swapped)),
        (&["rude", "toxic"], &renamed, Ok(&swapped)),
        (&["rude", "toxic"], &by_order, Ok(&straight)),
        (
            &["rude", "toxic", "vile"],
            &by_name,
            Err("the columns of labels are \"toxic\", \"rude\", and"),
        ),
        (&["rude", "vile"], &by_name, Err("there must be one for each")),
        (&["rude", "toxic"], &three, Err("there must be one for each")),
    ];
    for (head, reading, expected) in cases {
        match (read_for(head, &["|1 0"], reading), expected) {
            (Ok((answers, _)), Ok(expected)) => assert_eq!(&answers, expected, "{head:?}"),
            (Err(error), Err(words)) => assert!(error.contains(words), "{head:?}: {error}"),
            (found, _) => panic!("{head:?}: {found:?}"),
        }
    }
    for (field, value) in [("|1 2", "2"), ("|1 yes", "yes"), ("|1 __", ""), ("|1 nan", "nan")] {
        let error = train(&["|1 0", field], &by_name).unwrap_err();
        let words =
            format!("rows.tsv, line 2: column \"rude\" holds \"{value}\": it must be 0 or 1");
        assert!(error.contains(&words), "{error}");
    }
    let class = LabelReading { kind: AnswerKind::Class, ..by_name };
    let error = read_for(&["toxic", "rude"], &["|1 0"], &class).unwrap_err();
    assert!(error.contains("one column for each label needs a set of labels a row"), "{error}");
}

#[test]
fn labels_spelt_like_missing_values_are_none_unless_they_are_known() {
    let plain = LabelReading::plain;
    let spelt = ["yes", "nan", "no", "None", "NULL", "N/A", "<NA>", "nan", "-"];
    let (space, rows, report) = train(&spelt, &plain(AnswerKind::Class)).unwrap();
    assert_eq!(space.labels().unwrap().names(), ["no", "yes"]);
    assert_eq!(rows.len(), 2);
    assert_eq!(
        report.to_string(),
        "2 rows read; 7 rows without a label dropped (first: rows.tsv, line 2); read as no label: \
         \"<NA>\" in 1 rows, \"N/A\" in 1 rows, \"NULL\" in 1 rows, \"None\" in 1 rows, \"nan\" in 2 rows"
    );
    // The numbers that pandas writes beside them are one label in each spelling.
    let (space, rows, _) = train(&["1.0", "nan", "0", "1"], &plain(AnswerKind::Class)).unwrap();
    assert_eq!(space.labels().unwrap().names(), ["0", "1"]);
    assert_eq!(rows.answers, Answers::Classes(vec![1, 0, 1]));
    let (_, rows, _) = train(&["1", "nan", "2.5"], &plain(AnswerKind::Value)).unwrap();
    assert_eq!(rows.answers, Answers::Values(vec![1.0, 2.5]));
    let sets = LabelReading { delimiter: Some(','), ..plain(AnswerKind::LabelSet) };
    let (_, rows, report) = train(&["a,b", "a,None", "nan", ","], &sets).unwrap();
    assert_eq!(rows.answers, Answers::LabelSets(vec![vec![0, 1], vec![]]));
    assert_eq!(report.unlabelled_rows.count, 2);

    // Known to the head, to the names, or asked to be left out.
    let (answers, report) =
        read_for(&["None", "yes"], &["None", "yes", "nan"], &plain(AnswerKind::Class)).unwrap();
    assert_eq!((answers, report.unlabelled_rows.count), (Answers::Classes(vec![0, 1]), 1));
    let named = LabelReading {
        names: names(&[("NA", "Namibia"), ("DE", "Germany")]),
        ..plain(AnswerKind::Class)
    };
    let (_, rows, _) = train(&["NA", "DE", "None"], &named).unwrap();
    assert_eq!(rows.answers, Answers::Classes(vec![0, 1]));
    let unwanted = LabelReading { unwanted: vec!["None".into()], ..plain(AnswerKind::Class) };
    let (_, _, report) = train(&["a", "None", "b"], &unwanted).unwrap();
    assert_eq!((report.unlabelled_rows.count, report.unwanted_rows.count), (0, 1));
}

#[test]
fn labels_of_one_value_are_one_label_in_every_file() {
    let plain = || LabelReading::plain(AnswerKind::Class);
    type Case<'a> = (&'a [&'a str], &'a [&'a str], Result<&'a [u32], &'a str>);
    let cases: [Case<'_>; 7] = [
        (&["0", "1"], &["0.0", "1.0", "1"], Ok(&[0, 1, 1])),
        (&["0.0", "1.0"], &["0", "1"], Ok(&[0, 1])),
        (&["False", "True"], &["true", "false"], Ok(&[1, 0])),
        (&["1", "2.5"], &["1.0", "2.5"], Ok(&[0, 1])),
        (&["1", "2.5"], &["2.50"], Err("unknown label \"2.50\"")),
        (&["1.1", "1.2"], &["1.10"], Err("unknown label \"1.10\"")),
        (&["1", "x"], &["1.0"], Err("unknown label \"1.0\"")),
    ];
    for (head, labels, expected) in cases {
        match (read_for(head, labels, &plain()), expected) {
            (Ok((answers, _)), Ok(expected)) => {
                assert_eq!(answers, Answers::Classes(expected.to_vec()), "{head:?} {labels:?}");
            }
            (Err(error), Err(words)) => assert!(error.contains(words), "{head:?}: {error}"),
            (found, _) => panic!("{head:?} {labels:?}: {found:?}"),
        }
    }
    // So it is with names, for classes and for the targets of a regression, and with what is left out.
    let named = LabelReading { names: names(&[("0", "ham"), ("1", "spam")]), ..plain() };
    let (_, rows, _) = train(&["1.0", "0", "1"], &named).unwrap();
    assert_eq!(rows.answers, Answers::Classes(vec![1, 0, 1]));
    let targets = LabelReading {
        names: names(&[("low", "1"), ("high", "5")]),
        ..LabelReading::plain(AnswerKind::Value)
    };
    let (_, rows, _) = train(&["low", "high", "3"], &targets).unwrap();
    assert_eq!(rows.answers, Answers::Values(vec![1.0, 5.0, 3.0]));
    let error = train(&["low", "middling"], &targets).unwrap_err();
    assert!(error.contains("line 2: the target \"middling\" is not a finite number"), "{error}");
    let unwanted = LabelReading { unwanted: vec![" -1 ".into()], ..plain() };
    let (space, _, report) = train(&["1.0", "-1.0", "0.0"], &unwanted).unwrap();
    assert_eq!((space.labels().unwrap().len(), report.unwanted_rows.count), (2, 1));
}

#[test]
fn labels_to_leave_out_are_looked_for_in_all_files() {
    let unwanted = |label: &str| LabelReading {
        unwanted: vec![label.into()],
        ..LabelReading::plain(AnswerKind::Class)
    };
    let (first, second) = (examples(&["a", "b"]), examples(&["a", "?"]));
    unwanted("?").check_unwanted(first.iter().chain(&second)).unwrap();
    assert!(unwanted("?").check_unwanted(&first).is_err());
    unwanted("").check_unwanted(&first).unwrap();
}
