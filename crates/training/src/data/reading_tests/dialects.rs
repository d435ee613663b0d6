//! Delimiters, quotes, repeated headers, joined columns.

use super::*;

fn read_with(
    format: RowFormat,
    text: &str,
    options: &ReadOptions,
) -> Result<(Vec<Short>, ReadReport), String> {
    read(format, text.as_bytes(), &text_and_label(), options)
}

fn notes(report: &ReadReport) -> String {
    let notes: Vec<String> = report.notes.iter().map(ToString::to_string).collect();
    notes.join("; ")
}

fn given(delimiter: Option<&str>, quoting: Option<Quoting>) -> ReadOptions {
    let delimiter = delimiter.map(|delimiter| delimiter.parse().unwrap());
    ReadOptions { delimiter, quoting, ..ReadOptions::default() }
}

#[test]
fn delimiters_and_quoting_are_chosen() {
    use Quoting::{Backslash, Doubled};
    let cases = [
        (Some("semicolon"), None, "text;label\n\"x;y\";a\n", row("x;y", "a", 2)),
        (Some("|"), None, "text|label\nx,y|a\n", row("x,y", "a", 2)),
        (Some("¦"), None, "text¦label\nx§y¦a\n", row("x§y", "a", 2)),
        (Some("\\x01"), None, "text\u{1}label\nx\u{1}a\n", row("x", "a", 2)),
        (Some(" "), None, "text label\n\"x y\" a\n", row("x y", "a", 2)),
        (Some("tab"), None, "text\tlabel\n\"x\ty\"\ta\n", row("x\ty", "a", 2)),
        (Some("tab"), Some(Quoting::None), "text\tlabel\n\"x\ta\n", row("\"x", "a", 2)),
        (None, Some(Quoting::None), "text,label\n\"x\",a\n", row("\"x\"", "a", 2)),
        (None, Some(Doubled), "text,label\n\"C:\\\",a\n", row("C:\\", "a", 2)),
        (
            None,
            Some(Backslash),
            "text,label\n\"\\\"x\\\", \\\\ \\n\",a\n",
            row("\"x\", \\ \\n", "a", 2),
        ),
        (None, Some(Backslash), "text,label\n\"x\"\"y\\\n\",a\n", row("x\"y\\\n", "a", 2)),
    ];
    for (delimiter, quoting, text, expected) in cases {
        let (rows, report) =
            read_with(RowFormat::Csv, text, &given(delimiter, quoting)).expect(text);
        assert_eq!((rows, notes(&report)), (vec![expected], String::new()), "{text}");
    }
    let quoted = given(None, Some(Doubled));
    let (rows, report) =
        read_with(RowFormat::Tsv, "text\tlabel\n\"x\r\ny \"\"z\"\"\"\ta\n", &quoted).unwrap();
    assert_eq!((rows, report.notes), (vec![row("x\r\ny \"z\"", "a", 2)], vec![]));
    let open = read_with(RowFormat::Csv, "text,label\n\"x\\\"", &given(None, Some(Backslash)));
    assert!(open.unwrap_err().contains("opens a quote"));
}

#[test]
fn columns_that_are_there_are_found_and_it_is_said_how() {
    use RowFormat::{Csv, Tsv};
    let cases = [
        (Csv, "text;label\nx,y;a\n", "x,y", "delimiter semicolon and with"),
        (Csv, "\"text\";\"label\"\n\"x;y\";\"a\"\n", "x;y", "delimiter semicolon"),
        (Csv, "text\tlabel\nx,y\ta\n", "x,y", "delimiter tab"),
        (Csv, "text|label\nx,y|a\n", "x,y", "delimiter pipe"),
        (Csv, "id;text, long;text;label\n1;2;x;a\n", "x", "delimiter semicolon"),
        (Tsv, "text,label\n\"x,y\",a\n", "x,y", "delimiter comma and with fields in quotes"),
        (
            Tsv,
            "\"text\"\t\"label\"\n\"x\"\"\ny\"\t\"a\"\n",
            "x\"\ny",
            "tab and with fields in quotes",
        ),
        (Tsv, "\n\"text\";\"label\"\n\"x\";\"a\"\n", "x", "delimiter semicolon"),
    ];
    for (format, text, expected, said) in cases {
        let (rows, report) = read_with(format, text, &ReadOptions::default()).expect(text);
        assert_eq!((&*rows[0].0, rows[0].2.as_deref()), (expected, Some("a")), "{text}");
        assert!(notes(&report).contains(said), "{text}: {}", notes(&report));
    }
    // Spreadsheets name the delimiter in a line of its own.
    for text in ["sep=;\ntext;label\n\"x;\";a\n", "\nsep=,\r\n\ntext,label\r\nx;,a\r\n"] {
        for format in [Csv, Tsv] {
            let (rows, _) = read_with(format, text, &ReadOptions::default()).expect(text);
            assert_eq!(rows[0].0, "x;", "{text}");
        }
    }
    // What the caller says is not tried otherwise.
    for (delimiter, quoting) in [(Some(","), None), (Some("comma"), Some(Quoting::None))] {
        let options = given(delimiter, quoting);
        let error = read_with(Csv, "text;label\nx;a\n", &options).unwrap_err();
        assert!(error.contains("no column \"text\"; its columns are \"text;label\""), "{error}");
    }
    // Without a header line it takes a first row of one column.
    let columns = Columns::text("2").with_label(Column::required("1"));
    let options = ReadOptions { header: false, ..ReadOptions::default() };
    let (rows, report) = read(Csv, b"a;x\nb;y\n", &columns, &options).unwrap();
    assert_eq!(rows, [row("x", "a", 1), row("y", "b", 2)]);
    assert!(notes(&report).contains("semicolon"));
    let error = read(Csv, b"a,x\nb,y\n", &Columns::text("3"), &options).unwrap_err();
    assert!(error.contains("no column \"3\"; its columns are \"1\", \"2\""), "{error}");
}

#[test]
fn quotes_behind_backslashes_are_found_where_quotes_do_not_add_up() {
    let cases = [
        "text,label\nplain,a\n\"say \\\"hi\\\"\",b\n\"x \\\\ y\",c\n",
        "text,label\nplain,a\n\"say \\\"hi\\\"\",b\n\"x \\\\ y\",c",
        "text,label\rplain,a\r\"say \\\"hi\\\"\",b\r\"x \\\\ y\",c\r",
    ];
    let expected = [row("plain", "a", 2), row("say \"hi\"", "b", 3), row("x \\ y", "c", 4)];
    for text in cases {
        let (rows, report) = read_with(RowFormat::Csv, text, &ReadOptions::default()).unwrap();
        assert_eq!(rows, expected, "{text}");
        assert_eq!(
            notes(&report),
            "input, line 3: quotes inside fields stand behind a backslash, and are read so from \
             here on"
        );
    }
    let more = [
        ("text,label\n\"the end\\\"\",a\n\"next\",b\n", "the end\""),
        ("text,label\n\"a\\\",b\",a\n\"next\",b\n", "a\",b"),
        ("text,label\n\"a\\\"\nb\",a\n\"next\",b\n", "a\"\nb"),
        ("text,label\n\"\\\"\",a\n\"next\",b\n", "\""),
    ];
    for (text, expected) in more {
        let (rows, report) = read_with(RowFormat::Csv, text, &ReadOptions::default()).expect(text);
        let texts: Vec<&str> = rows.iter().map(|(text, ..)| &**text).collect();
        assert_eq!(texts, [expected, "next"], "{text}");
        assert_eq!(report.notes.len(), 1, "{text}");
    }
    // A backslash before a closing quote is a backslash where the quotes add up.
    let text = "text,label\n\"C:\\dir\\\",a\n\"\",b\n";
    let (rows, report) = read_with(RowFormat::Csv, text, &ReadOptions::default()).unwrap();
    assert_eq!((rows[0].0.as_str(), report.notes.len()), ("C:\\dir\\", 0));
    // Where neither reading fits, rows are what they were.
    let text = format!("text,label\n{}", "\"a\\\"b,c\n".repeat(20));
    let (rows, report) = read_with(RowFormat::Csv, &text, &ReadOptions::default()).unwrap();
    assert_eq!((rows.len(), report.notes.len()), (20, 0));
}

#[test]
fn a_table_that_looks_quoted_is_told_once() {
    let cases = [
        ("\"x \"\"y\"\"\"\ta\nz\tb\n", Some((1, 2))),
        ("x\ta\n\"y\"\tb\n\"z\"\tc\n", Some((2, 3))),
        ("\"y\"\tb\nx\ta\nx\ta\nx\ta\n", None),
        ("5\" pipe\ta\n\"y\"\tb\n\"z\"\tc\n", None),
        ("5\" pipe\ta\n\"y \"\"q\"\"\"\tb\n", None),
        ("5\" pipe\ta\n\"y \"\"q\"\"\"\tb\n\"z\"\tb\n", Some((2, 3))),
        ("x\ta\n", None),
    ];
    for (rows, expected) in cases {
        let text = format!("text\tlabel\n{rows}");
        let (read, report) = read_with(RowFormat::Tsv, &text, &ReadOptions::default()).unwrap();
        assert!(read.iter().any(|(text, ..)| text.contains('"')) || expected.is_none());
        let found = report.notes.iter().map(|note| match note {
            ReadingNote::LooksQuoted { place, rows } => (*rows, place.line),
            other => panic!("{other}"),
        });
        assert_eq!(found.collect::<Vec<_>>(), Vec::from_iter(expected), "{rows}");
        let chosen = given(None, Some(Quoting::None));
        assert!(read_with(RowFormat::Tsv, &text, &chosen).unwrap().1.notes.is_empty());
    }
    let cut = "text\tlabel\n\"first\nsecond\"\ta\n";
    let error = read_with(RowFormat::Tsv, cut, &ReadOptions::default()).unwrap_err();
    assert!(
        error.contains("line 2: 1 columns where the file has 2; its last field opens"),
        "{error}"
    );
}

#[test]
fn a_header_that_comes_again_is_left_out_and_counted() {
    let cases = [
        (RowFormat::Csv, "text,label\nx,a\ntext,label\ny,b\n", 3),
        (RowFormat::Csv, "text,label\nx,a\n\"text\",\"label\"\ny,b\n", 3),
        (RowFormat::Csv, "\u{feff}text,label\nx,a\n\u{feff}text,label\ny,b\n", 3),
        (RowFormat::Tsv, "text\tlabel\r\ntext\tlabel\r\nx\ta\r\ny\tb\r\n", 2),
    ];
    for (format, text, line) in cases {
        let (rows, report) = read_with(format, text, &ReadOptions::default()).unwrap();
        assert_eq!(rows.len(), 2, "{text}");
        assert_eq!(report.repeated_headers.count, 1, "{text}");
        assert_eq!(report.repeated_headers.first.as_ref().map(|place| place.line), Some(line));
        assert_eq!((report.rows, report.rows_left_out()), (2, 1));
    }
    let only = read_with(RowFormat::Csv, "text,label\ntext,label\n", &ReadOptions::default());
    assert!(only.unwrap_err().contains("has a header line and no rows"));
    // A table of one column may hold its name as a text, and rows are answered one for one.
    let (rows, _) =
        read(RowFormat::Csv, b"text\ntext\n", &Columns::text("text"), &ReadOptions::default())
            .unwrap();
    assert_eq!(rows.len(), 1);
}

#[test]
fn texts_are_joined_of_several_columns() {
    let separated = |names: &str, separator: &str| {
        let mut columns = Columns::text(names);
        columns.text_separator = separator.to_string();
        columns
    };
    let table = "title,body,\"title,body\"\nT,B,whole\n";
    let without = "title,body\nT,B\n,B\nT,\n,\n";
    let joined = ["T B", "B", "T", ""];
    let cases: [(RowFormat, &str, Columns, &[&str]); 7] = [
        (RowFormat::Csv, table, separated("title,body", " "), &["whole"]),
        (RowFormat::Csv, table, separated("title, body", " | "), &["T | B"]),
        (RowFormat::Csv, without, separated("title,body", " "), &joined),
        (RowFormat::Csv, without, separated("body, title,body", "-"), &["B-T-B", "B-B", "T", ""]),
        (
            RowFormat::JsonLines,
            "{\"title\":\"T\",\"body\":{\"x\":5}}",
            separated("title,body.x", "\n"),
            &["T\n5"],
        ),
        (
            RowFormat::JsonLines,
            "{\"title\":\"T\",\"body\":\"B\",\"title,body\":\"whole\"}",
            separated("title,body", " "),
            &["whole"],
        ),
        (RowFormat::Csv, "title;body\nT;B\n", separated("title,body", " "), &["T B"]),
    ];
    for (format, text, columns, expected) in cases {
        let (rows, _) =
            read(format, text.as_bytes(), &columns, &ReadOptions::default()).expect(text);
        let texts: Vec<&str> = rows.iter().map(|(text, ..)| &**text).collect();
        assert_eq!(texts, expected, "{text}");
    }
    let options = ReadOptions { header: false, ..ReadOptions::default() };
    let (rows, _) = read(RowFormat::Csv, b"a,b,c\n", &Columns::text("3,1"), &options).unwrap();
    assert_eq!(rows[0].0, "c a");
    let errors = [
        (RowFormat::Csv, "title,text\nT,B\n", true, "title,body", "no column \"body\""),
        (RowFormat::Csv, "T,B\n", false, "1,3", "no column \"3\""),
        (RowFormat::Csv, "T,B\n", false, "1,b", "give column \"b\" by its position"),
        (RowFormat::JsonLines, "{\"title\":1}", true, "title,body", "column \"body\" is absent"),
    ];
    for (format, text, header, names, message) in errors {
        let options = ReadOptions { header, ..ReadOptions::default() };
        let error = read(format, text.as_bytes(), &Columns::text(names), &options).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
    let pair = Columns::text("a").with_pair(Column::required("b,c"));
    let (rows, _) =
        read(RowFormat::Csv, b"a,b,c\n1,2,3\n", &pair, &ReadOptions::default()).unwrap();
    assert_eq!(rows[0].1.as_deref(), Some("2 3"));
}
