//! Files of rows and labels.
//!
//! The first bytes of the data choose among the ways in which the rest can be read.

use std::io::Cursor;

use adaptkit_training::data::{
    AnswerKind, Column, Columns, Example, ExampleReader, LabelMap, LabelNames, LabelReading,
    LabelledRows, Quoting, RaggedRows, ReadOptions, RowFormat, TextEncoding,
};
use adaptkit_training::tasks::Task;

use crate::accepted;

/// The most bytes of a record: small, so that the bound itself is met.
const RECORD_LIMIT: usize = 1 << 12;

const ENCODINGS: [&str; 8] =
    ["utf-8", "latin-1", "utf-16", "utf-16be", "shift_jis", "gb18030", "iso-2022-jp", "euc-kr"];

fn read(data: &[u8], format: RowFormat, columns: &Columns, options: &ReadOptions) -> Vec<Example> {
    let bytes = Box::new(Cursor::new(data.to_vec()));
    let reader = ExampleReader::from_reader("file", bytes, format, columns, options);
    let Some(mut reader) = accepted(reader) else { return Vec::new() };
    let examples: Vec<Example> = reader.by_ref().map_while(accepted).collect();
    assert!(reader.next().is_none(), "a reader that goes on after its end");
    assert_eq!(reader.report().rows, examples.len() as u64);
    let _ = reader.report().to_string();
    for example in &examples {
        assert!(example.text.len() <= 2 * options.record_limit);
    }
    examples
}

/// Answers of the rows, as training infers them and evaluation finds them.
fn answer(examples: Vec<Example>, reading: &LabelReading) {
    let Some(space) = accepted(reading.infer(&examples)) else { return };
    let mut report = Default::default();
    let Some(rows) = accepted(LabelledRows::new(examples, reading, &space, &mut report)) else {
        return;
    };
    assert_eq!(rows.rows.len(), rows.answers.len());
    accepted(rows.check_trainable(&space));
    accepted(rows.split(&[0.1], 0));
    accepted(rows.folds(3, 0));
    assert!(rows.sample(2, 0).len() <= 2);
}

fn reading(choice: u8) -> LabelReading {
    let kinds = [AnswerKind::Class, AnswerKind::LabelSet, AnswerKind::Value];
    let kind = kinds[usize::from(choice) % kinds.len()];
    LabelReading { delimiter: (choice & 8 != 0).then_some('|'), ..LabelReading::plain(kind) }
}

fn options(choice: u8, encoding: u8) -> ReadOptions {
    let encoding = ENCODINGS[usize::from(encoding) % ENCODINGS.len()];
    ReadOptions {
        header: choice & 16 == 0,
        ragged_rows: if choice & 32 == 0 { RaggedRows::Refuse } else { RaggedRows::Drop },
        encoding: TextEncoding::from_name(encoding).expect("a known encoding"),
        record_limit: RECORD_LIMIT,
        ..ReadOptions::default()
    }
}

/// CSV or TSV with and without a header line, in several encodings, with delimiters and quotes that
/// are given or found; then its labels.
pub fn delimited(data: &[u8]) {
    let [choice, encoding, rest @ ..] = data else { return };
    let dialect = usize::from(*encoding) / ENCODINGS.len();
    let delimiters = [None, None, Some(";"), Some("\u{a6}")];
    let quotings = [None, Some(Quoting::None), Some(Quoting::Doubled), Some(Quoting::Backslash)];
    let options = ReadOptions {
        delimiter: delimiters[dialect % 4].map(|text| text.parse().expect("a delimiter")),
        quoting: quotings[dialect / 4 % 4],
        ..options(*choice, *encoding)
    };
    let names = if options.header { ["text", "label", "pair"] } else { ["1", "2", "3"] };
    let text = if dialect / 16 == 0 { names[0] } else { &format!("{},{}", names[2], names[0]) };
    let columns = Columns::text(text)
        .with_label(Column::required(names[1]))
        .with_pair(Column::optional(names[2]));
    let format = if choice & 64 == 0 { RowFormat::Csv } else { RowFormat::Tsv };
    answer(read(rest, format, &columns, &options), &reading(*choice));
}

/// JSON lines or a list, with columns that may lie inside others; then their labels.
pub fn json_lines(data: &[u8]) {
    let [choice, rest @ ..] = data else { return };
    let [text, label] =
        if choice & 64 == 0 { ["text", "label"] } else { ["data.text,text", "label.0"] };
    let columns =
        Columns::text(text).with_label(Column::required(label)).with_pair(Column::optional("pair"));
    answer(read(rest, RowFormat::JsonLines, &columns, &options(*choice, 0)), &reading(*choice));
}

/// Lines, compressed or not, with byte-order marks, in several encodings, with labels among their
/// words or without.
pub fn text_stream(data: &[u8]) {
    let [encoding, rest @ ..] = data else { return };
    let format = match usize::from(*encoding) / ENCODINGS.len() {
        0 => RowFormat::Lines,
        1 => RowFormat::LabelFiles,
        _ => RowFormat::FastText,
    };
    let columns = Columns::text("text").with_label(Column::optional("label"));
    read(rest, format, &columns, &options(0, *encoding));
}

/// A file of a published task.
pub fn glue(data: &[u8]) {
    let [choice, rest @ ..] = data else { return };
    let task = &Task::all()[usize::from(choice / 3) % Task::all().len()];
    let file = [&task.train, &task.validation[0], &task.test[0]][usize::from(choice % 3)];
    let options = ReadOptions { record_limit: RECORD_LIMIT, ..file.options() };
    let format = options.format.expect("a published file's format");
    let examples = read(rest, format, &file.columns(), &options);
    if file.label.is_some() {
        answer(examples, &task.label_reading().expect("the task's labels"));
    }
}

/// The JSON of `label2id` and of names for labels.
pub fn label_names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(names) = accepted(LabelNames::from_json(text)) {
        let map = names.label_map().expect("names are there, and none is twice");
        assert!(map.names().iter().all(|name| names.raw(name).is_some()));
    }
    if let Some(map) = accepted(serde_json::from_str::<LabelMap>(text)) {
        let written = serde_json::to_string(&map).expect("JSON");
        assert_eq!(serde_json::from_str::<LabelMap>(&written).expect("what was written"), map);
    }
}
