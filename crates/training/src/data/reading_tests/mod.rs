//! Files of every format through [`ExampleReader`], as tables of bytes and what comes of them.

mod dialects;
mod inputs;
mod json;
mod label_names;

use std::io::{self, Cursor, Read};

use super::*;

/// An example in short: text, second text, label, line.
type Short = (String, Option<String>, Option<String>, u64);

fn short(example: Example) -> Short {
    let label = example.label.map(|label| match label {
        LabelValue::One(label) => label,
        LabelValue::Several(labels) => format!("{labels:?}"),
        LabelValue::Columns(fields) => format!("{fields:?}"),
    });
    (example.text, example.pair, label, example.place.line)
}

fn row(text: &str, label: &str, line: u64) -> Short {
    (text.into(), None, Some(label.into()), line)
}

/// Gives one byte a call, so that records are cut at every place.
struct OneByteAtATime(Cursor<Vec<u8>>);

impl Read for OneByteAtATime {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

fn read(
    format: RowFormat,
    bytes: &[u8],
    columns: &Columns,
    options: &ReadOptions,
) -> Result<(Vec<Short>, ReadReport), String> {
    let read_from = |source: Box<dyn Read + Send>| {
        let mut reader = ExampleReader::from_reader("input", source, format, columns, options)
            .map_err(|error| error.to_string())?;
        let mut rows = Vec::new();
        for example in reader.by_ref() {
            rows.push(short(example.map_err(|error| error.to_string())?));
        }
        Ok((rows, reader.report().clone()))
    };
    let source = Cursor::new(bytes.to_vec());
    let at_once = read_from(Box::new(source.clone()));
    if bytes.len() < 10_000 {
        let by_bytes = read_from(Box::new(OneByteAtATime(source)));
        assert_eq!(at_once, by_bytes, "the sizes of the reads must not matter");
    }
    at_once
}

fn text_and_label() -> Columns {
    Columns::text("text").with_label(Column::required("label"))
}

fn by_position() -> (Columns, ReadOptions) {
    let columns = Columns::text("4").with_label(Column::required("2"));
    (columns, ReadOptions { header: false, ..ReadOptions::default() })
}

#[test]
fn every_format_is_read() {
    use RowFormat::{Csv, JsonLines, Tsv};
    let big = format!("label,text\na,\"{}\"\nb,x\n", "é\r\n\"\"".repeat(50_000));
    let cases: [(&str, RowFormat, &[u8], Vec<Short>); 22] = [
        ("TSV", Tsv, b"text\tlabel\nx y\ta\n\tb\n", vec![row("x y", "a", 2), row("", "b", 3)]),
        (
            "TSV, quotes are text",
            Tsv,
            b"text\tlabel\n\"x\t1\ny\"\"\t2",
            vec![row("\"x", "1", 2), row("y\"\"", "2", 3)],
        ),
        ("TSV, mark and CRLF", Tsv, b"\xef\xbb\xbflabel\ttext\r\na\tx\r\n", vec![row("x", "a", 2)]),
        (
            "TSV, CR alone",
            Tsv,
            b"text\tlabel\rx\ta\r\ry\tb\r",
            vec![row("x", "a", 2), row("y", "b", 4)],
        ),
        ("TSV, other columns", Tsv, b"id\tlabel\t\ttext\t\n1\ta\t\tx\t\n", vec![row("x", "a", 2)]),
        (
            "TSV, columns of one name unasked",
            Tsv,
            b"x\tx\tlabel\ttext\n1\t2\ta\tt\n",
            vec![row("t", "a", 2)],
        ),
        ("TSV, blank lines", Tsv, b"text\tlabel\n\nx\ta\n\r\n\n", vec![row("x", "a", 3)]),
        ("TSV, NUL", Tsv, b"text\tlabel\nx\0\ta\n", vec![row("x\0", "a", 2)]),
        ("CSV", Csv, b"text,label\nx,a\n,b\n", vec![row("x", "a", 2), row("", "b", 3)]),
        (
            "CSV, quoted",
            Csv,
            b"\"text\",label\n\"x, \"\"y\"\"\",a\n\"\",b",
            vec![row("x, \"y\"", "a", 2), row("", "b", 3)],
        ),
        (
            "CSV, line ends in quotes",
            Csv,
            b"text,label\n\"x\ny\",a\nz,b\n",
            vec![row("x\ny", "a", 2), row("z", "b", 4)],
        ),
        (
            "CSV, CRLF in and out of quotes",
            Csv,
            b"text,label\r\n\"x\r\ny\",a\r\nz,b\r\n",
            vec![row("x\r\ny", "a", 2), row("z", "b", 4)],
        ),
        (
            "CSV, CR alone",
            Csv,
            b"text,label\r\"x\ry\",a\rz,b\r",
            vec![row("x\ry", "a", 2), row("z", "b", 4)],
        ),
        (
            "CSV, quote inside a field",
            Csv,
            b"text,label\n5\" x,a\n\"y\"z,b\n",
            vec![row("5\" x", "a", 2), row("yz", "b", 3)],
        ),
        (
            "CSV, blank lines and no end",
            Csv,
            b"\ntext,label\n\r\n\nx,",
            vec![("x".into(), None, None, 5)],
        ),
        (
            "CSV, a large field",
            Csv,
            big.as_bytes(),
            vec![row(&"é\r\n\"".repeat(50_000), "a", 2), row("x", "b", 50_003)],
        ),
        (
            "JSON",
            JsonLines,
            br#"{"label": "a", "other": [{}], "text": "x\ny"}"#,
            vec![row("x\ny", "a", 1)],
        ),
        (
            "JSON, blank lines, CRLF",
            JsonLines,
            b"\r\n{\"text\":\"\",\"label\":\"b\"}\r\n \n",
            vec![row("", "b", 2)],
        ),
        (
            "JSON, CR alone",
            JsonLines,
            b"{\"text\":\"x\",\"label\":\"b\"}\r\r{\"text\":\"y\",\"label\":\"c\"}",
            vec![row("x", "b", 1), row("y", "c", 3)],
        ),
        (
            "JSON, numbers and truth values",
            JsonLines,
            b"{\"text\":5,\"label\":true}\n{\"text\":false,\"label\":-2}",
            vec![row("5", "true", 1), row("false", "-2", 2)],
        ),
        (
            "JSON, missing labels",
            JsonLines,
            b"{\"text\":\"x\",\"label\":null}\n{\"text\":\"y\"}",
            vec![("x".into(), None, None, 1), ("y".into(), None, None, 2)],
        ),
        (
            "JSON, a list of labels",
            JsonLines,
            br#"{"text":"x","label":["b ",1]}"#,
            vec![row("x", "[\"b\", \"1\"]", 1)],
        ),
    ];
    for (what, format, bytes, expected) in cases {
        let read = read(format, bytes, &text_and_label(), &ReadOptions::default());
        let (rows, report) = read.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(rows, expected, "{what}");
        assert_eq!(report.rows, expected.len() as u64, "{what}");
    }
}

#[test]
fn lines_keep_every_line() {
    let columns = Columns::text("text");
    let (rows, report) =
        read(RowFormat::Lines, b"a\tb\n\n\"c\r\nd\r", &columns, &ReadOptions::default()).unwrap();
    let texts: Vec<&str> = rows.iter().map(|(text, ..)| text.as_str()).collect();
    assert_eq!(texts, ["a\tb", "", "\"c", "d"]);
    assert!(report.is_clean(), "{report}");
    let with_label = read(RowFormat::Lines, b"a\n", &text_and_label(), &ReadOptions::default());
    let error = with_label.unwrap_err();
    assert!(error.contains("no column \"label\"; its columns are \"text\""), "{error}");
}

#[test]
fn files_without_a_header_are_read_by_position() {
    let (columns, options) = by_position();
    let cola = b"gj04\t1\t\tThe rock rolled.\nks08\t0\t*\tRolled rock the.";
    let expected = vec![row("The rock rolled.", "1", 1), row("Rolled rock the.", "0", 2)];
    assert_eq!(read(RowFormat::Tsv, cola, &columns, &options).unwrap().0, expected);

    let cases = [
        ("5", "no column \"5\"; its columns are \"1\", \"2\", \"3\", \"4\""),
        ("0", "give column \"0\" by its position, 1 to 4"),
        ("sentence", "give column \"sentence\" by its position, 1 to 4"),
        ("-1", "give column \"-1\" by its position"),
    ];
    for (column, message) in cases {
        let error = read(RowFormat::Tsv, cola, &Columns::text(column), &options).unwrap_err();
        assert!(error.contains(message), "{column}: {error}");
    }
    // A position is no name: a forgotten "no header" does not pass the first row off as names.
    let error = read(RowFormat::Tsv, cola, &columns, &ReadOptions::default()).unwrap_err();
    assert!(error.contains("no column \"4\"; its columns are \"gj04\", \"1\""), "{error}");
}

#[test]
fn optional_columns_may_be_absent() {
    let columns = Columns::text("text")
        .with_pair(Column::optional("text_pair"))
        .with_label(Column::optional("label"));
    let pair =
        |text: &str, pair: &str, line| (text.to_string(), Some(pair.to_string()), None, line);
    let alone = |text: &str, line| (text.to_string(), None, None, line);
    let cases: [(RowFormat, &[u8], Vec<Short>); 4] = [
        (RowFormat::Tsv, b"text\nx\n", vec![alone("x", 2)]),
        (RowFormat::Csv, b"text_pair,text\ny,x\n,z", vec![pair("x", "y", 2), pair("z", "", 3)]),
        (
            RowFormat::JsonLines,
            b"{\"text\":\"x\"}\n{\"text\":\"z\",\"text_pair\":\"y\"}",
            vec![alone("x", 1), pair("z", "y", 2)],
        ),
        (RowFormat::Lines, b"x", vec![alone("x", 1)]),
    ];
    for (format, bytes, expected) in cases {
        let (rows, _) = read(format, bytes, &columns, &ReadOptions::default()).unwrap();
        assert_eq!(rows, expected, "{format:?}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    use RowFormat::{Csv, JsonLines, Lines, Tsv};
    let deep = format!("{{\"text\": {}", "[".repeat(1_000_000));
    let deep_unasked = format!("{{\"text\": \"x\", \"other\": {}", "[".repeat(1_000_000));
    let tabs = format!("text\tlabel\n{}", "\t".repeat(70_000));
    let commas = format!("text,label\n{}", ",".repeat(70_000));
    let quoted_string = format!("\"{}\"", "x".repeat(100_000));
    let cases: [(&str, RowFormat, &[u8], &str); 35] = [
        ("empty", Tsv, b"", "input is empty"),
        ("only a mark", Csv, b"\xef\xbb\xbf", "input is empty"),
        ("only blank lines", Tsv, b"\n\n", "input is empty"),
        ("empty lines file", Lines, b"", "input is empty"),
        ("empty JSON", JsonLines, b"\n \n", "input is empty"),
        ("header only", Tsv, b"text\tlabel", "has a header line and no rows"),
        ("header only, blank lines", Csv, b"text,label\r\n\r\n", "has a header line and no rows"),
        (
            "missing column",
            Tsv,
            b"Text\tlabel\nx\ta",
            "input: no column \"text\"; its columns are \"Text\", \"label\"",
        ),
        (
            "ambiguous column",
            Tsv,
            b"text\tlabel\ttext\nx\ta\ty",
            "input, line 1: there are several columns \"text\"",
        ),
        (
            "too few",
            Tsv,
            b"text\tlabel\nx\ta\ny\n",
            "input, line 3: 1 columns where the file has 2; complete the row or remove it",
        ),
        (
            "too many",
            Tsv,
            b"text\tlabel\nx\ta\tb\n",
            "input, line 2: 3 columns where the file has 2; complete the row or remove it",
        ),
        (
            "too few in CSV",
            Csv,
            b"text,label\n\"x\ny\",a\nz\n",
            "input, line 4: 1 columns where the file has 2; complete the row or remove it",
        ),
        (
            "unclosed quote",
            Csv,
            b"text,label\nx,a\n\"y,b\nz,c\n",
            "input, line 3: the record that begins here opens a quote",
        ),
        ("thousands of tabs", Tsv, tabs.as_bytes(), "input, line 2: more than 65536 columns"),
        ("thousands of commas", Csv, commas.as_bytes(), "input, line 2: more than 65536 columns"),
        (
            "not UTF-8 in TSV",
            Tsv,
            b"text\tlabel\nx\xe9\ta\n",
            "input, line 2: not UTF-8 at byte 12 of the text",
        ),
        (
            "not UTF-8 in CSV",
            Csv,
            b"text,label\n\"x\ny\xe9\",a\n",
            "input, line 3: not UTF-8 at byte 15 ",
        ),
        (
            "not UTF-8 in JSON",
            JsonLines,
            b"{\"text\":\"\xff\"}",
            "input, line 1: not UTF-8 at byte 9 ",
        ),
        (
            "not JSON",
            JsonLines,
            b"{\"text\":\"x\",\"label\":1}\ntext\n",
            "input, line 2: not a JSON object on one line",
        ),
        (
            "JSON, not an object",
            JsonLines,
            b"[1]",
            "input, line 1: not a JSON object of a list: invalid type: integer `1`",
        ),
        ("JSON, a string", JsonLines, quoted_string.as_bytes(), "invalid type: string"),
        ("JSON, two objects", JsonLines, b"{\"text\":\"x\"} {}", "trailing characters (column 14)"),
        (
            "JSON, cut",
            JsonLines,
            b"{\"text\":\"x",
            "line 1: not a JSON object on one line: EOF while parsing",
        ),
        (
            "JSON, half a surrogate pair",
            JsonLines,
            br#"{"text":"\ud800"}"#,
            "input, line 1: not a JSON object",
        ),
        (
            "JSON, deep",
            JsonLines,
            deep.as_bytes(),
            "input, line 1: not a JSON object on one line: recursion limit",
        ),
        ("JSON, deep where unasked", JsonLines, deep_unasked.as_bytes(), "EOF while parsing"),
        (
            "JSON, a nested text",
            JsonLines,
            br#"{"text":{"a":1},"label":1}"#,
            "input, line 1: column \"text\" holds a nested value",
        ),
        (
            "JSON, a list for a text",
            JsonLines,
            br#"{"text":["a"],"label":1}"#,
            "column \"text\" holds a nested value",
        ),
        (
            "JSON, a nested label",
            JsonLines,
            br#"{"text":"a","label":[[1]]}"#,
            "column \"label\" holds a nested value",
        ),
        (
            "JSON, null among labels",
            JsonLines,
            br#"{"text":"a","label":["a",null]}"#,
            "column \"label\" holds a nested value",
        ),
        (
            "JSON, a key twice",
            JsonLines,
            br#"{"text":"a","text":"b","label":1}"#,
            "input, line 1: there are several columns \"text\"",
        ),
        (
            "JSON, no text",
            JsonLines,
            b"{\"text\":\"a\",\"label\":1}\n{\"label\":1}",
            "input, line 2: column \"text\" is absent or null; the first line's columns are \"text\", \"label\"",
        ),
        ("JSON, null text", JsonLines, br#"{"text":null}"#, "column \"text\" is absent or null"),
        (
            "JSON, no label anywhere",
            JsonLines,
            b"{\"text\":\"a\",\"lable\":1}\n",
            "input: no column \"label\"; its columns are \"text\", \"lable\"",
        ),
        (
            "columns that no delimiter finds",
            Tsv,
            b"text,class\nx,a\n",
            "no column \"text\"; its columns are \"text,class\"",
        ),
    ];
    for (what, format, bytes, message) in cases {
        let columns = if format == Lines { Columns::text("text") } else { text_and_label() };
        let error = read(format, bytes, &columns, &ReadOptions::default()).expect_err(what);
        assert!(error.contains(message), "{what}: {error}");
        assert!(error.len() < 500, "{what}: {} bytes of message", error.len());
    }
}

#[test]
fn a_record_is_bounded_and_a_million_characters_are_not_too_many() {
    let long = "é".repeat(1_000_000);
    let bounded = ReadOptions { record_limit: 1000, ..ReadOptions::default() };
    let cases = [
        (RowFormat::Lines, long.clone(), 1),
        (RowFormat::Tsv, format!("text\n{long}\n"), 2),
        (RowFormat::Csv, format!("text\n\"{long}\"\n"), 2),
        (RowFormat::JsonLines, format!("{{\"text\":\"{long}\"}}"), 1),
    ];
    for (format, bytes, line) in cases {
        let columns = Columns::text("text");
        let (rows, _) = read(format, bytes.as_bytes(), &columns, &ReadOptions::default()).unwrap();
        assert!(rows.len() == 1 && rows[0].0 == long, "{format:?}");
        let error = read(format, bytes.as_bytes(), &columns, &bounded).unwrap_err();
        let place = format!("input, line {line}: the record that begins here is longer than 1000");
        assert!(error.contains(&place), "{format:?}: {error}");
    }
}

#[test]
fn what_is_written_as_csv_is_read_again() {
    let pieces = ["a", "é", "\"", ",", "\n", "\r", "\r\n", "\0", " ", "\t", "😀"];
    let mut state = 1u32;
    let mut draw = |bound: usize| {
        // A linear congruential generator: enough to mix eleven pieces.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize % bound
    };
    for _ in 0..500 {
        let mut rows = Vec::new();
        let mut file = String::from("text,label\n");
        for _ in 0..1 + draw(4) {
            let text: String = (0..draw(12)).map(|_| pieces[draw(pieces.len())]).collect();
            let end = ["\n", "\r\n", "\r"][draw(3)];
            file.push_str(&format!("\"{}\",\"x\"{end}", text.replace('"', "\"\"")));
            rows.push(text);
        }
        let read =
            read(RowFormat::Csv, file.as_bytes(), &text_and_label(), &ReadOptions::default());
        let texts: Vec<String> = read.unwrap().0.into_iter().map(|(text, ..)| text).collect();
        assert_eq!(texts, rows, "{file:?}");
    }
}

#[test]
fn rubbish_is_an_error_or_rows_and_never_a_panic() {
    let pieces: [&[u8]; 21] = [
        b"\"",
        b"\\",
        b";",
        b"__label__",
        b" ",
        b"\x28\xb5\x2f\xfd",
        b",",
        b"\t",
        b"\n",
        b"\r",
        b"\0",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b"text",
        b"label",
        b"\xff",
        b"\xe2\x82",
        b"\x1f\x8b",
    ];
    let mut state = 7u32;
    for round in 0..4000 {
        let mut bytes = if round % 2 == 0 { b"text,label\n".to_vec() } else { Vec::new() };
        for _ in 0..round % 40 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.extend(pieces[(state >> 16) as usize % pieces.len()]);
        }
        for format in RowFormat::ALL {
            let quoting =
                [None, Some(Quoting::None), Some(Quoting::Doubled), Some(Quoting::Backslash)];
            let quoting = quoting[round / 40 % 4];
            let options = ReadOptions { header: round % 4 < 2, quoting, ..ReadOptions::default() };
            let columns = Columns::text(if options.header { "text" } else { "1" });
            let columns = match round % 3 {
                0 => columns,
                1 => Columns::text("text.text, label"),
                _ => columns.with_label(Column::optional("2")),
            };
            if let Err(error) = read(format, &bytes, &columns, &options) {
                assert!(error.starts_with("input"), "{error}");
            }
        }
    }
}

#[test]
fn what_is_left_out_is_counted() {
    let options = ReadOptions { ragged_rows: RaggedRows::Drop, ..ReadOptions::default() };
    let bytes = b"text\tlabel\nx\ta\n\nshort\ny\0\tb\tlong\nz\0\t \n\n";
    let (rows, report) = read(RowFormat::Tsv, bytes, &text_and_label(), &options).unwrap();
    assert_eq!(rows, [row("x", "a", 2), ("z\0".into(), None, None, 6)]);
    assert_eq!(
        report.to_string(),
        "2 rows read; 2 blank lines skipped (first: input, line 3); 2 rows with too few or too many \
         columns dropped (first: input, line 4); 1 rows with a NUL character kept (first: input, \
         line 6)"
    );
    assert!(!report.is_clean());
}
