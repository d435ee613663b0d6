//! Flags that say where rows come from, and the rows themselves.

use std::path::PathBuf;

use adaptkit::encoder::{TextRow, TokenisedRow, Tokenizer};
use adaptkit::training::data::{
    AnswerKind, Column, Columns, Example, Input, LabelNames, LabelReading, LabelledRows,
    ReadOptions, ReadReport, RowFormat, TextEncoding,
};
use clap::Args;

use crate::Common;
use crate::error::CliError;

/// Columns and form of a user's own files.
#[derive(Args, Clone)]
pub(crate) struct FileFlags {
    /// The column of the text; by position, from 1, in files without a header line
    #[arg(long, value_name = "COLUMN", default_value = "text", help_heading = "Own files")]
    pub(crate) text_column: String,
    /// The column of the second text of a pair; by default text_pair, where there is one
    #[arg(long, value_name = "COLUMN", help_heading = "Own files")]
    pub(crate) text_pair_column: Option<String>,
    /// How the files are cut into rows: tsv, csv, jsonl, or lines, a text a line; by default their
    /// ending says
    #[arg(long, value_name = "FORMAT", value_parser = format, help_heading = "Own files")]
    pub(crate) input_format: Option<RowFormat>,
    /// TSV and CSV files have no header line; columns are named by position
    #[arg(long, help_heading = "Own files")]
    pub(crate) no_header: bool,
    /// The files' encoding, such as latin-1; UTF-8 by default
    #[arg(long, value_name = "NAME", value_parser = encoding, help_heading = "Own files")]
    pub(crate) encoding: Option<TextEncoding>,
}

/// How labels are read, in training and in evaluation.
#[derive(Args, Clone)]
pub(crate) struct LabelFlags {
    /// The column of the label
    #[arg(long, value_name = "COLUMN", default_value = "label", help_heading = "Own files")]
    pub(crate) label_column: String,
    /// What stands between the labels of a field where a row has a set of them
    #[arg(long, value_name = "CHAR", default_value_t = ',', help_heading = "Own files")]
    label_delimiter: char,
    /// A JSON object with names for the files' labels: {"0": "ham", "1": "spam"}
    #[arg(long, value_name = "FILE", conflicts_with = "task", help_heading = "Own files")]
    label_map: Option<PathBuf>,
    /// Leave out, and count, the rows with this label; may be repeated
    #[arg(long, value_name = "LABEL", conflicts_with = "task", help_heading = "Own files")]
    drop_label: Vec<String>,
}

impl LabelFlags {
    pub(crate) fn reading(&self, kind: AnswerKind) -> Result<LabelReading, CliError> {
        let names = match &self.label_map {
            None => None,
            Some(path) => {
                let doing = || format!("read {}", path.display());
                let text = std::fs::read_to_string(path)
                    .map_err(|source| CliError::Io { doing: doing(), source })?;
                Some(LabelNames::from_json(&text).map_err(|error| CliError::BadFile {
                    path: path.clone(),
                    source: error.into(),
                })?)
            }
        };
        let delimiter = (kind == AnswerKind::LabelSet).then_some(self.label_delimiter);
        Ok(LabelReading { kind, delimiter, names, unwanted: self.drop_label.clone() })
    }
}

/// The value of `--input-format`: lines, jsonl, csv or tsv.
fn format(name: &str) -> Result<RowFormat, String> {
    name.parse().map_err(|e: adaptkit::training::TrainingError| e.to_string())
}

fn encoding(name: &str) -> Result<TextEncoding, String> {
    TextEncoding::from_name(name).map_err(|e| e.to_string())
}

impl FileFlags {
    pub(crate) fn columns(&self) -> Columns {
        let columns = Columns::text(&self.text_column);
        match &self.text_pair_column {
            Some(pair) => columns.with_pair(Column::required(pair)),
            // Positions have no names that could tell a pair.
            None if self.no_header => columns,
            None => columns.with_pair(Column::optional("text_pair")),
        }
    }

    pub(crate) fn options(&self) -> ReadOptions {
        let mut options = ReadOptions {
            format: self.input_format,
            header: !self.no_header,
            ..ReadOptions::default()
        };
        if let Some(encoding) = self.encoding {
            options.encoding = encoding;
        }
        options
    }
}

/// The files of `--train-file` and the like.
pub(crate) fn inputs(paths: &[PathBuf]) -> Result<Vec<Input>, CliError> {
    Ok(Input::resolve(paths)?)
}

/// Says what a reader left out.
pub(crate) fn say(common: &Common, report: &ReadReport) {
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
    let text = |row: &'a Example| TextRow { text: &row.text, pair: row.pair.as_deref() };
    let texts: Vec<TextRow<'_>> = examples.into_iter().map(text).collect();
    Ok(tokenizer.encode(&texts, max_length)?)
}
