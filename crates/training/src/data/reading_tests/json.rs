//! JSON: lists of objects, and columns inside others.

use super::*;

fn read_json(text: &str, columns: &Columns) -> Result<Vec<Short>, String> {
    read(RowFormat::JsonLines, text.as_bytes(), columns, &ReadOptions::default()).map(|read| read.0)
}

#[test]
fn a_list_of_objects_is_read_like_lines() {
    let two = vec![row("x", "a", 1), row("y", "b", 1)];
    let cases = [
        (r#"[{"text":"x","label":"a"},{"text":"y","label":"b"}]"#, two.clone()),
        (
            "\u{feff} [ {\"text\":\"x\",\"label\":\"a\"} , {\"text\":\"y\",\"label\":\"b\"} ] \n\n",
            two,
        ),
        (
            "\n[\n  {\n    \"text\": \"x\",\n    \"label\": \"a\"\n  },\r\n  {\"text\":\"y\",\"label\":\"b\"}\n]",
            vec![row("x", "a", 3), row("y", "b", 7)],
        ),
        (
            "[{\"text\":\"x\",\"label\":\"a\"},\r{\"text\":\"y\",\"label\":\"b\"}\r]\r",
            vec![row("x", "a", 1), row("y", "b", 2)],
        ),
        (
            r#"[{"text":"[,]}\"\\","label":["a","b"]},{"label":1,"text":"\n","o":{"a":[[]]}}]"#,
            vec![row("[,]}\"\\", "[\"a\", \"b\"]", 1), row("\n", "1", 1)],
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(read_json(text, &text_and_label()), Ok(expected), "{text}");
    }
}

#[test]
fn a_list_that_is_none_is_an_error_with_its_place() {
    let cases = [
        ("[]", "input is empty"),
        ("[", "line 1: not a JSON object of a list: the list is not closed (column 2)"),
        (
            "[{\"text\":\"x\",\"label\":1}\n",
            "line 2: not a JSON object of a list: the list is not closed",
        ),
        (
            "[{\"text\":\"x\",\"label\":1},\n]",
            "line 2: not a JSON object of a list: an element is missing",
        ),
        ("[,{}]", "an element is missing (column 2)"),
        (
            "[{\"text\":\"x\",\"label\":1}]\n{}",
            "line 2: not a JSON object of a list: something follows",
        ),
        ("[{\"text\":\"x\",\"label\":1}, 2]", "invalid type: integer `2`"),
        ("[{\"text\":\"x\",\"label\":1}, {\"a\" 1}]", "expected `:` (column 31)"),
        (
            "[{\"text\":\"x\",\n\"label\" 1}]",
            "line 2: not a JSON object of a list: expected `:` (column 9)",
        ),
        ("[{\"text\":\"x\"}]", "no column \"label\"; its columns are \"text\""),
    ];
    for (text, message) in cases {
        let error = read_json(text, &text_and_label()).expect_err(text);
        assert!(error.contains(message), "{text}: {error}");
    }
    let long = format!("[{{\"text\":\"{}\"}}]", "é".repeat(1000));
    let bounded = ReadOptions { record_limit: 1000, ..ReadOptions::default() };
    let columns = Columns::text("text");
    let error = read(RowFormat::JsonLines, long.as_bytes(), &columns, &bounded).unwrap_err();
    assert!(error.contains("input, line 1: the record that begins here is longer"), "{error}");
}

#[test]
fn a_list_streams() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let element = b"[{\"text\": \"again\"},\n";
            for byte in buffer.iter_mut() {
                let at = if self.0 < 20 { self.0 } else { 1 + (self.0 - 20) % 19 };
                *byte = element[at as usize];
                self.0 += 1;
            }
            Ok(buffer.len())
        }
    }
    let columns = Columns::text("text");
    let (format, options) = (RowFormat::JsonLines, ReadOptions::default());
    let reader =
        ExampleReader::from_reader("endless", Box::new(Endless(0)), format, &columns, &options);
    let last = reader.unwrap().take(10_000).last().unwrap().unwrap();
    assert_eq!((last.text.as_str(), last.place.line), ("again", 10_000));
}

#[test]
fn a_path_leads_to_a_value_inside_others() {
    let cases = [
        // A key that has the whole name outranks a path, in either order.
        (r#"{"data":{"text":"in","label":"a"}}"#, "data.text", "data.label", row("in", "a", 1)),
        (
            r#"{"data.text":"key","data":{"text":"in","label":"a"}}"#,
            "data.text",
            "data.label",
            row("key", "a", 1),
        ),
        (
            r#"{"data":{"text":"in","label":"a"},"data.text":"key"}"#,
            "data.text",
            "data.label",
            row("key", "a", 1),
        ),
        (r#"{"a":{"b.c":"x","b":{"c":"y"}},"l":2}"#, "a.b.c", "l", row("x", "2", 1)),
        (
            r#"{"choices":[{"text":"x"},{"text":"y"}],"l":["p","q"]}"#,
            "choices.1.text",
            "l",
            row("y", "[\"p\", \"q\"]", 1),
        ),
        (r#"{"l":["p","q"]}"#, "l.0", "l", row("p", "[\"p\", \"q\"]", 1)),
        (r#"{"l":["p","q"]}"#, "l.0", "l.1", row("p", "q", 1)),
    ];
    for (text, column, label, expected) in cases {
        let columns = Columns::text(column).with_label(Column::required(label));
        assert_eq!(read_json(text, &columns), Ok(vec![expected]), "{text}");
    }
    let errors = [
        (r#"{"data":{"txt":"x"},"label":1}"#, "column \"data.text\" is absent or null"),
        (r#"{"data":"x","label":1}"#, "column \"data.text\" is absent or null"),
        (r#"{"data":{"text":{"x":1}},"label":1}"#, "\"data.text\" holds a nested value"),
        (r#"{"data":{"text":1,"text":2},"label":1}"#, "several columns \"data.text\""),
    ];
    for (text, message) in errors {
        let columns = Columns::text("data.text").with_label(Column::required("label"));
        let error = read_json(text, &columns).expect_err(text);
        assert!(error.contains(message), "{text}: {error}");
    }
    let error = read_json(r#"{"text":{"x":1}}"#, &Columns::text("text")).unwrap_err();
    assert!(error.ends_with("such as \"text.text\""), "{error}");
}

#[test]
fn a_mark_before_a_later_line_is_looked_past() {
    let rows = read_json("{\"text\":\"x\"}\n\u{feff}{\"text\":\"y\"}\n", &Columns::text("text"));
    assert_eq!(rows.unwrap().len(), 2);
}
