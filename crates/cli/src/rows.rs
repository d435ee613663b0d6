//! Flags that say where rows come from, and the rows themselves.

use std::path::PathBuf;

use adaptkit::encoder::{EncoderError, TextRow, TokenisedRow, Tokenizer, text_file};
use adaptkit::training::data::{
    AnswerKind, Column, Columns, Delimiter, Example, Input, LabelColumns, LabelNames, LabelReading,
    LabelledRows, Quoting, RaggedRows, ReadOptions, ReadReport, ReadingNote, RowFormat,
    TextEncoding,
};
use clap::Args;

use crate::Common;
use crate::error::CliError;

/// Columns and form of a user's own files.
#[derive(Args, Clone)]
pub(crate) struct FileFlags {
    /// The column of the text; by position, from 1, in files without a header line. Several with
    /// commas between them (title,body) are joined; in JSON, data.text is a value inside another
    #[arg(long, value_name = "COLUMN", default_value = "text", help_heading = "Own files")]
    pub(crate) text_column: String,
    /// What stands between the texts of columns that are joined
    #[arg(
        long,
        value_name = "TEXT",
        default_value = " ",
        hide_default_value = true,
        allow_hyphen_values = true,
        help_heading = "Own files"
    )]
    text_separator: String,
    /// The column of the second text of a pair; by default text_pair, where there is one
    #[arg(long, value_name = "COLUMN", help_heading = "Own files")]
    pub(crate) text_pair_column: Option<String>,
    /// How the files are cut into rows: tsv, csv, jsonl (also a list of objects), lines (a text a
    /// line), fasttext (__label__NAME before a text), label-files (a file or a folder for each label,
    /// named after it); by default their ending says
    #[arg(long, value_name = "FORMAT", value_parser = format, help_heading = "Own files")]
    pub(crate) input_format: Option<RowFormat>,
    /// The character between a table's columns, or its name: comma, tab, semicolon, pipe, space; by
    /// default the format's own, or the one that the header line has
    #[arg(
        long,
        value_name = "CHAR",
        value_parser = delimiter,
        allow_hyphen_values = true,
        help_heading = "Own files"
    )]
    delimiter: Option<Delimiter>,
    /// What quotes mean in a table: double (a field in quotes may hold delimiters and line ends, with
    /// quotes in it doubled; CSV by default), backslash (the same, and \" is a quote), none (a quote is
    /// text; TSV by default)
    #[arg(long, value_name = "KIND", value_parser = quoting, help_heading = "Own files")]
    quoting: Option<Quoting>,
    /// Leave out, and count, the rows of a table with too few or too many columns
    #[arg(long, help_heading = "Own files")]
    drop_ragged: bool,
    /// TSV and CSV files have no header line; columns are named by position
    #[arg(long, help_heading = "Own files")]
    pub(crate) no_header: bool,
    /// The files' encoding, such as latin-1; UTF-8 by default
    #[arg(long, value_name = "NAME", value_parser = encoding, help_heading = "Own files")]
    pub(crate) encoding: Option<TextEncoding>,
}

/// Bytes of the largest file of names for labels that is read.
const LARGEST_LABEL_MAP: u64 = 64 << 20;

/// How labels are read, in training and in evaluation.
#[derive(Args, Clone)]
pub(crate) struct LabelFlags {
    /// The column of the label
    #[arg(long, value_name = "COLUMN", default_value = "label", help_heading = "Own files")]
    label_column: String,
    /// In place of a label column, one for each label of a set: 1 or true where it applies, 0 or
    /// false where not
    #[arg(
        long,
        value_name = "COLUMN,…",
        value_delimiter = ',',
        conflicts_with_all = ["task", "label_column", "drop_label"],
        help_heading = "Own files"
    )]
    label_columns: Option<Vec<String>>,
    /// What stands between the labels of a field where a row has a set of them
    #[arg(long, value_name = "CHAR", default_value_t = ',', help_heading = "Own files")]
    label_delimiter: char,
    /// A JSON object with names for the files' labels, {"0": "ham", "1": "spam"}, or with numbers for
    /// those of a regression
    #[arg(long, value_name = "FILE", conflicts_with = "task", help_heading = "Own files")]
    label_map: Option<PathBuf>,
    /// Leave out, and count, the rows with this label; may be repeated
    #[arg(long, value_name = "LABEL", conflicts_with = "task", help_heading = "Own files")]
    drop_label: Vec<String>,
}

impl LabelFlags {
    /// Whether each label has a column, so that a row has a set of labels.
    pub(crate) fn have_columns(&self) -> bool {
        self.label_columns.is_some()
    }

    /// The columns of files whose rows have labels, or may have some.
    pub(crate) fn columns(&self, files: &FileFlags, required: bool) -> Columns {
        let column = |name: &String| Column { name: name.trim().to_owned(), optional: !required };
        match &self.label_columns {
            Some(names) => files.columns().with_labels(names.iter().map(column).collect()),
            None => files
                .columns()
                .with_label(Column { name: self.label_column.clone(), optional: !required }),
        }
    }

    /// How labels of a kind are read from such files.
    pub(crate) fn reading(
        &self,
        kind: AnswerKind,
        files: &FileFlags,
    ) -> Result<LabelReading, CliError> {
        let names = match &self.label_map {
            None => None,
            Some(path) => {
                let doing = || format!("read {}", path.display());
                let text = text_file::read(path, LARGEST_LABEL_MAP)
                    .map_err(|source| CliError::Io { doing: doing(), source })?;
                Some(LabelNames::from_json(&text).map_err(|error| CliError::BadFile {
                    path: path.clone(),
                    source: error.into(),
                })?)
            }
        };
        let delimiter = (kind == AnswerKind::LabelSet).then_some(self.label_delimiter);
        let columns = self.label_columns.as_ref().map(|names| LabelColumns {
            names: names.iter().map(|name| name.trim().to_owned()).collect(),
            named: !files.no_header,
        });
        Ok(LabelReading { kind, delimiter, names, unwanted: self.drop_label.clone(), columns })
    }
}

/// The value of `--input-format`.
fn format(name: &str) -> Result<RowFormat, String> {
    name.parse().map_err(|e: adaptkit::training::TrainingError| e.to_string())
}

fn delimiter(text: &str) -> Result<Delimiter, String> {
    text.parse().map_err(|e: adaptkit::training::TrainingError| e.to_string())
}

fn quoting(name: &str) -> Result<Quoting, String> {
    name.parse().map_err(|e: adaptkit::training::TrainingError| e.to_string())
}

fn encoding(name: &str) -> Result<TextEncoding, String> {
    TextEncoding::from_name(name).map_err(|e| e.to_string())
}

impl FileFlags {
    pub(crate) fn columns(&self) -> Columns {
        let mut columns = Columns::text(&self.text_column);
        columns.text_separator = self.text_separator.clone();
        match &self.text_pair_column {
            Some(pair) => columns.with_pair(Column::required(pair)),
            // Positions have no names that could tell a pair.
            None if self.no_header => columns,
            None => columns.with_pair(Column::optional("text_pair")),
        }
    }

    pub(crate) fn options(&self) -> ReadOptions {
        let by_default = ReadOptions::default();
        ReadOptions {
            format: self.input_format,
            header: !self.no_header,
            encoding: self.encoding.unwrap_or(by_default.encoding),
            delimiter: self.delimiter,
            quoting: self.quoting,
            ragged_rows: match self.drop_ragged {
                true => RaggedRows::Drop,
                false => RaggedRows::Refuse,
            },
            record_limit: by_default.record_limit,
        }
    }
}

/// The files of `--train-file` and the like.
pub(crate) fn inputs(paths: &[PathBuf]) -> Result<Vec<Input>, CliError> {
    Ok(Input::resolve(paths)?)
}

/// Says how files were read, where that is not plain, and what a reader left out.
pub(crate) fn say(common: &Common, report: &ReadReport) {
    for note in &report.notes {
        let flags = match note {
            ReadingNote::OtherDialect { .. } => " (--delimiter and --quoting choose otherwise)",
            ReadingNote::Backslashes { .. } => {
                " (--quoting backslash says so for all rows, --quoting double for none)"
            }
            ReadingNote::LooksQuoted { .. } => {
                "; if they only enclose the fields, --quoting double takes them away (--quoting none \
                 ends this note)"
            }
            ReadingNote::FastText { .. } => " (--input-format lines reads it as plain texts)",
            ReadingNote::LabelFiles { .. } => "",
        };
        common.note(format_args!("note: {note}{flags}"));
    }
    if !report.is_clean() {
        common.note(format_args!("note: {report}"));
    }
}

/// Tokenises labelled rows and says how many were cut.
pub(crate) fn tokenise(
    common: &Common,
    what: &str,
    tokenizer: &Tokenizer,
    rows: &LabelledRows,
    max_length: usize,
) -> Result<Vec<TokenisedRow>, CliError> {
    let tokenised = tokenise_examples(tokenizer, &rows.rows, max_length)?;
    let cut = tokenised.iter().filter(|row| row.truncated).count();
    if cut > 0 {
        common.note(format_args!(
            "note: {cut} of {} {what} rows are longer than {max_length} tokens and were cut \
             (--max-length)",
            rows.len()
        ));
    }
    Ok(tokenised)
}

pub(crate) fn tokenise_examples<'a>(
    tokenizer: &Tokenizer,
    examples: impl IntoIterator<Item = &'a Example>,
    max_length: usize,
) -> Result<Vec<TokenisedRow>, CliError> {
    let (places, texts): (Vec<_>, Vec<_>) = examples
        .into_iter()
        .map(|row| (&row.place, TextRow { text: &row.text, pair: row.pair.as_deref() }))
        .unzip();
    tokenizer.encode(&texts, max_length).map_err(|error| match error {
        EncoderError::Row { row, reason } => CliError::Row { place: places[row].clone(), reason },
        other => other.into(),
    })
}
