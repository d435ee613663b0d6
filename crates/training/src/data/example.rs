//! Examples: a text or two, and perhaps a label, from one row.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use super::columns::{Column, Columns, JoinedText, WantedColumns};
use super::delimited::{Fields, Table};
use super::fasttext::{self, FastText};
use super::format::{ReadOptions, RowFormat};
use super::input::{Input, OpenInput, decompressed};
use super::json_lines::JsonLines;
use super::json_value::ColumnValue;
use super::kept::KeptValue;
use super::label::LabelValue;
use super::label_files::{Source, SourceFormat, WholeText, lines_of_label, of_folder};
use super::report::{ReadReport, ReadingNote};
use super::row_batches::RowBatches;
use super::text_stream::TextStream;
use crate::TrainingError;
use crate::error::{NameList, Place};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The text, exactly as the file has it; it may be empty.
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// The label, `None` where the row has none: no such column, an empty field, a JSON null.
    pub label: Option<LabelValue>,
    /// The row's own number or name, where a column for it was asked for.
    pub index: Option<String>,
    /// The values of the columns that were asked to be kept, in their order; `None` where a JSON
    /// object lacks the key.
    pub kept: Vec<Option<KeptValue>>,
    /// Where the row begins.
    pub place: Place,
}

/// Which of the wanted columns is which part of an example.
#[derive(Debug)]
struct Parts {
    wanted: WantedColumns,
    text: JoinedText,
    text_prefix: Option<usize>,
    pair: Option<JoinedText>,
    label: Option<usize>,
    labels: Vec<usize>,
    index: Option<usize>,
    separator: String,
}

impl Parts {
    fn new(columns: &Columns) -> Parts {
        let mut wanted = WantedColumns::default();
        let text = wanted.want_text(Column::required(&columns.text));
        let text_prefix = columns.text_prefix.as_ref().map(Column::required);
        let text_prefix = text_prefix.map(|column| wanted.want(column));
        let pair = columns.pair.clone().map(|column| wanted.want_text(column));
        let label = columns.label.clone().map(|column| wanted.want(column));
        let labels = columns.labels.iter().map(|column| wanted.want(column.clone())).collect();
        let index = columns.index.clone().map(|column| wanted.want(column));
        columns.kept.iter().for_each(|name| wanted.keep(name));
        let separator = columns.text_separator.clone();
        Parts { wanted, text, text_prefix, pair, label, labels, index, separator }
    }
}

enum Records {
    Table(Table),
    JsonLines(JsonLines),
    FastText(FastText),
    /// Rows that all have the label that their file or folder is named after.
    Labelled {
        rows: LabelledRecords,
        text: Option<usize>,
        label: Option<(usize, Arc<str>)>,
    },
}

enum LabelledRecords {
    Lines(Box<Table>),
    Whole(Box<WholeText>),
}

/// The columns of rows whose file is named after their label.
const LABELLED_COLUMNS: [&str; 2] = ["text", "label"];

impl Records {
    fn open(
        mut stream: TextStream,
        format: &SourceFormat,
        wanted: &WantedColumns,
        options: &ReadOptions,
        report: &mut ReadReport,
    ) -> Result<Records, TrainingError> {
        let (rows, label) = match format {
            SourceFormat::Rows(RowFormat::JsonLines) => {
                return Ok(Records::JsonLines(JsonLines::open(stream, wanted)?));
            }
            SourceFormat::Rows(RowFormat::FastText) => {
                return Ok(Records::FastText(FastText::open(stream, wanted)?));
            }
            // Lines that nobody called so may be labelled ones.
            SourceFormat::Rows(RowFormat::Lines) if options.format.is_none() => {
                if fasttext::begins(&mut stream)? {
                    report.note(ReadingNote::FastText { file: stream.name.clone() });
                    return Ok(Records::FastText(FastText::open(stream, wanted)?));
                }
                let format = RowFormat::Lines;
                return Table::open(stream, format, wanted, options, report).map(Records::Table);
            }
            SourceFormat::Rows(format) => {
                return Table::open(stream, *format, wanted, options, report).map(Records::Table);
            }
            SourceFormat::LinesOf(label) => {
                let lines = WantedColumns::default();
                let table = Table::open(stream, RowFormat::Lines, &lines, options, report)?;
                (LabelledRecords::Lines(Box::new(table)), label.clone())
            }
            SourceFormat::WholeOf(label) => {
                (LabelledRecords::Whole(Box::new(WholeText::new(stream))), label.clone())
            }
        };
        Records::labelled(rows, label, wanted)
    }

    fn labelled(
        rows: LabelledRecords,
        label: Arc<str>,
        wanted: &WantedColumns,
    ) -> Result<Records, TrainingError> {
        let file = match &rows {
            LabelledRecords::Lines(table) => table.file(),
            LabelledRecords::Whole(text) => text.file(),
        };
        let header = Fields::several(&LABELLED_COLUMNS);
        let place = Place { file, line: 0 };
        let positions = wanted.positions_by_name(&header, &place)?;
        wanted.check(&positions, &place, || NameList::from_iter(LABELLED_COLUMNS))?;
        let at = |position| positions.iter().position(|found| *found == Some(position));
        Ok(Records::Labelled { rows, text: at(0), label: at(1).map(|column| (column, label)) })
    }

    fn next(&mut self, report: &mut ReadReport) -> Result<Option<u64>, TrainingError> {
        match self {
            Records::Table(table) => table.next(report),
            Records::JsonLines(lines) => lines.next(report),
            Records::FastText(lines) => lines.next(report),
            Records::Labelled { rows: LabelledRecords::Lines(table), .. } => table.next(report),
            Records::Labelled { rows: LabelledRecords::Whole(text), .. } => text.next(),
        }
    }

    fn take(&mut self, column: usize) -> ColumnValue {
        let one = |text: Option<&str>| match text {
            Some(value) => ColumnValue::One(value.to_string()),
            None => ColumnValue::Missing,
        };
        match self {
            Records::JsonLines(lines) => lines.take_value(column),
            Records::FastText(lines) => lines.value(column),
            Records::Table(table) => one(table.value(column)),
            Records::Labelled { label: Some((at, label)), .. } if *at == column => one(Some(label)),
            Records::Labelled { text, .. } if *text != Some(column) => ColumnValue::Missing,
            Records::Labelled { rows: LabelledRecords::Lines(table), .. } => one(table.field(0)),
            Records::Labelled { rows: LabelledRecords::Whole(text), .. } => one(Some(text.text())),
        }
    }

    /// The value of a column that is kept, which may be taken for something else afterwards.
    fn keep(&mut self, column: usize) -> Option<KeptValue> {
        let text = match self {
            Records::JsonLines(lines) => return lines.written(column),
            other => other.take(column),
        };
        match text {
            ColumnValue::One(text) => Some(KeptValue::Text(text)),
            // What a line of fastText's has several of are labels.
            ColumnValue::List(labels) => Some(KeptValue::Text(labels.join(" "))),
            ColumnValue::Missing | ColumnValue::Nested => None,
        }
    }

    fn is_ready(&mut self) -> bool {
        match self {
            Records::Table(table) => table.is_ready(),
            Records::JsonLines(lines) => lines.is_ready(),
            Records::FastText(lines) => lines.is_ready(),
            Records::Labelled { rows: LabelledRecords::Lines(table), .. } => table.is_ready(),
            Records::Labelled { rows: LabelledRecords::Whole(_), .. } => true,
        }
    }

    /// The columns of the first row, for messages.
    fn first_columns(&self) -> NameList {
        match self {
            Records::JsonLines(lines) => lines.first_keys(),
            _ => NameList::default(),
        }
    }
}

/// The rows of one or several inputs, one at a time and in order.
///
/// It holds one record and never the file. After an error it is at its end.
pub struct ExampleReader {
    sources: VecDeque<Source>,
    current: Option<(Arc<str>, Records)>,
    parts: Parts,
    options: ReadOptions,
    report: ReadReport,
}

impl ExampleReader {
    /// Opens the first input and finds its columns; the others are opened in their turn, when the
    /// formats of all are known to be clear.
    ///
    /// # Errors
    /// What is wrong with the first input, or an unclear format of any.
    pub fn open(
        inputs: &[Input],
        columns: &Columns,
        options: &ReadOptions,
    ) -> Result<ExampleReader, TrainingError> {
        if inputs.is_empty() {
            return Err(TrainingError::NoInputs);
        }
        let mut reader = ExampleReader::without_inputs(columns, options);
        for input in inputs {
            reader.add(input)?;
        }
        reader.open_next()?;
        Ok(reader)
    }

    /// Reads from any source of bytes, which messages call `name`. Compression is seen through here
    /// too.
    ///
    /// # Errors
    /// What is wrong with its beginning.
    pub fn from_reader(
        name: &str,
        reader: Box<dyn Read + Send>,
        format: RowFormat,
        columns: &Columns,
        options: &ReadOptions,
    ) -> Result<ExampleReader, TrainingError> {
        let name: Arc<str> = name.into();
        let input = decompressed(&name, reader, None)?;
        ExampleReader::from_input(name, input, format, columns, options)
    }

    pub(super) fn from_input(
        name: Arc<str>,
        input: OpenInput,
        format: RowFormat,
        columns: &Columns,
        options: &ReadOptions,
    ) -> Result<ExampleReader, TrainingError> {
        let format = match format {
            RowFormat::LabelFiles => SourceFormat::LinesOf(name.clone()),
            format => SourceFormat::Rows(format),
        };
        let mut reader = ExampleReader::without_inputs(columns, options);
        reader.begin(name, input, &format)?;
        Ok(reader)
    }

    fn without_inputs(columns: &Columns, options: &ReadOptions) -> ExampleReader {
        ExampleReader {
            sources: VecDeque::new(),
            current: None,
            parts: Parts::new(columns),
            options: options.clone(),
            report: ReadReport::default(),
        }
    }

    /// What was read and what was left out so far.
    pub fn report(&self) -> &ReadReport {
        &self.report
    }

    /// The rows in batches that are worth computing together.
    pub fn batches(self) -> RowBatches {
        RowBatches::new(self)
    }

    /// Whether the next row, the end or an error can be had without waiting for whoever writes the
    /// input: always so of regular files. Of a pipe, half a row is not enough, and of a compressed one
    /// only what is decompressed counts.
    pub fn next_is_ready(&mut self) -> bool {
        self.current.as_mut().is_none_or(|(_, records)| records.is_ready())
    }

    /// Adds the files that an input stands for.
    fn add(&mut self, input: &Input) -> Result<(), TrainingError> {
        if let Input::File(folder) = input
            && input.is_folder()
        {
            if !matches!(self.options.format, None | Some(RowFormat::LabelFiles)) {
                return Err(TrainingError::IsFolder { file: input.name() });
            }
            self.sources.extend(of_folder(folder, &mut self.report)?);
            return Ok(());
        }
        let format = match self.options.format_of(input) {
            // A workbook or an archive says more of itself than its ending does.
            Err(unclear @ TrainingError::FormatUnclear { .. }) if input.is_regular_file() => {
                input.open()?;
                return Err(unclear);
            }
            format => format?,
        };
        self.sources.push_back(match format {
            RowFormat::LabelFiles => lines_of_label(input)?,
            format => Source { input: input.clone(), format: SourceFormat::Rows(format) },
        });
        Ok(())
    }

    fn open_next(&mut self) -> Result<bool, TrainingError> {
        let Some(source) = self.sources.pop_front() else { return Ok(false) };
        let opened = source.input.open()?;
        self.begin(source.input.name(), opened, &source.format)?;
        Ok(true)
    }

    fn begin(
        &mut self,
        name: Arc<str>,
        input: OpenInput,
        format: &SourceFormat,
    ) -> Result<(), TrainingError> {
        let (options, wanted) = (&self.options, &self.parts.wanted);
        let stream = TextStream::new(name.clone(), input, options.encoding, options.record_limit);
        let records = Records::open(stream, format, wanted, options, &mut self.report)?;
        self.current = Some((name, records));
        Ok(())
    }

    fn next_example(&mut self) -> Result<Option<Example>, TrainingError> {
        loop {
            if let Some((name, records)) = &mut self.current {
                if let Some(line) = records.next(&mut self.report)? {
                    let place = Place { file: name.clone(), line };
                    let example = assemble(records, &self.parts, place)?;
                    self.report.rows += 1;
                    let pair = example.pair.as_deref().unwrap_or_default();
                    if example.text.contains('\0') || pair.contains('\0') {
                        self.report.rows_with_nul.add(example.place.clone());
                    }
                    return Ok(Some(example));
                }
                self.current = None;
            }
            if !self.open_next()? {
                return Ok(None);
            }
        }
    }
}

impl Iterator for ExampleReader {
    type Item = Result<Example, TrainingError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_example();
        if next.is_err() {
            self.current = None;
            self.sources.clear();
        }
        next.transpose()
    }
}

/// Takes the values of a row's columns.
struct Row<'a> {
    records: &'a mut Records,
    wanted: &'a WantedColumns,
    place: &'a Place,
}

impl Row<'_> {
    fn text_of(&mut self, column: usize) -> Result<Option<String>, TrainingError> {
        match self.records.take(column) {
            ColumnValue::One(text) => Ok(Some(text)),
            ColumnValue::Missing if self.wanted.columns[column].optional => Ok(None),
            ColumnValue::Missing => Err(self.missing(column)),
            ColumnValue::List(_) | ColumnValue::Nested => {
                Err(nested(self.place, &self.wanted.columns[column]))
            }
        }
    }

    /// The text of a column, or of several joined where there is none of their joint name.
    fn joined(
        &mut self,
        text: &JoinedText,
        separator: &str,
    ) -> Result<Option<String>, TrainingError> {
        let whole = self.text_of(text.whole)?;
        if whole.is_some() || text.parts.is_empty() {
            return Ok(whole);
        }
        let mut joined = String::new();
        for &part in &text.parts {
            match self.text_of(part)? {
                None if text.optional => return Ok(None),
                None => return Err(self.missing(part)),
                Some(part) if part.is_empty() => {}
                Some(part) => {
                    joined += if joined.is_empty() { "" } else { separator };
                    joined += &part;
                }
            }
        }
        Ok(Some(joined))
    }

    fn missing(&self, column: usize) -> TrainingError {
        TrainingError::MissingValue {
            place: self.place.clone(),
            column: self.wanted.columns[column].name.clone(),
            available: self.records.first_columns(),
        }
    }
}

fn assemble(records: &mut Records, parts: &Parts, place: Place) -> Result<Example, TrainingError> {
    let kept = parts.wanted.kept.iter().map(|column| records.keep(*column)).collect();
    let mut row = Row { records, wanted: &parts.wanted, place: &place };
    let mut text = row.joined(&parts.text, &parts.separator)?.unwrap_or_default();
    if let Some(column) = parts.text_prefix {
        let prefix = row.text_of(column)?.unwrap_or_default();
        text = format!("{prefix}: {text}");
    }
    let pair = match &parts.pair {
        Some(pair) => row.joined(pair, &parts.separator)?,
        None => None,
    };
    let index = parts.index.map(|column| row.text_of(column)).transpose()?.flatten();
    let label = match parts.label {
        None if parts.labels.is_empty() => None,
        None => {
            let fields = parts.labels.iter().map(|&column| match records.take(column) {
                ColumnValue::Missing => Ok(String::new()),
                ColumnValue::One(field) => Ok(field.trim().to_string()),
                _ => Err(nested(&place, &parts.wanted.columns[column])),
            });
            Some(LabelValue::Columns(fields.collect::<Result<_, _>>()?))
        }
        Some(column) => match records.take(column) {
            ColumnValue::Missing => None,
            ColumnValue::One(label) => LabelValue::one(&label),
            ColumnValue::List(labels) => Some(LabelValue::Several(
                labels.iter().map(|label| label.trim().to_string()).collect(),
            )),
            ColumnValue::Nested => return Err(nested(&place, &parts.wanted.columns[column])),
        },
    };
    Ok(Example { text, pair, label, index, kept, place })
}

fn nested(place: &Place, column: &Column) -> TrainingError {
    TrainingError::NestedValue { place: place.clone(), column: column.name.clone() }
}

/// Reads everything: for training and evaluation, which need all rows at hand.
///
/// # Errors
/// The first thing that is wrong with any input.
pub fn read_examples(
    inputs: &[Input],
    columns: &Columns,
    options: &ReadOptions,
) -> Result<(Vec<Example>, ReadReport), TrainingError> {
    let mut reader = ExampleReader::open(inputs, columns, options)?;
    let examples = reader.by_ref().collect::<Result<_, _>>()?;
    Ok((examples, reader.report))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_reader_pulls_no_more_than_it_hands_on() {
        /// A file without end that counts what was asked of it.
        struct Endless(Arc<AtomicUsize>);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let at = self.0.fetch_add(buffer.len(), Ordering::Relaxed);
                let line = b"0123456,abcdefg\n";
                for (position, byte) in (at..).zip(buffer.iter_mut()) {
                    *byte = line[position % line.len()];
                }
                Ok(buffer.len())
            }
        }
        let pulled = Arc::new(AtomicUsize::new(0));
        let source = Box::new(Endless(pulled.clone()));
        let columns = Columns::text("1");
        let options = ReadOptions { header: false, ..ReadOptions::default() };
        let format = RowFormat::Csv;
        let mut reader =
            ExampleReader::from_reader("endless", source, format, &columns, &options).unwrap();
        for handed_on in [1_usize, 100, 100_000, 1_000_000] {
            while reader.report().rows < handed_on as u64 {
                assert_eq!(reader.next().unwrap().unwrap().text.len(), 7);
            }
            // One buffer of 64 KiB ahead at most, however many rows have gone through.
            let ahead = pulled.load(Ordering::Relaxed) - handed_on * 16;
            assert!(ahead <= 64 * 1024, "{ahead} bytes ahead after {handed_on} rows");
        }
    }
}
