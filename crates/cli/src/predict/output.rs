//! The lines that `predict` writes: JSON objects or a table, with columns of the rows kept beside the
//! answers.

use std::borrow::Cow;

use adaptkit::encoder::foreign_text::quoted;
use adaptkit::training::data::KeptValue;
use clap::ValueEnum;
use serde_json::{Map, Value};

use super::answer::Explained;
use crate::error::CliError;

/// How answers are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// A JSON object a row
    Jsonl,
    /// Label and score of each adapter between tabs, under a header line
    Tsv,
    /// The same between commas
    Csv,
}

/// A column of the rows that stands beside the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptColumn {
    /// What the output calls it.
    pub(super) name: String,
    /// What the input calls it.
    pub(super) column: String,
}

impl KeptColumn {
    /// Reads `COLUMN` or `NAME=COLUMN`.
    pub(super) fn parse(text: &str) -> Result<KeptColumn, String> {
        let (name, column) = text.split_once('=').unwrap_or((text, text));
        match name.is_empty() || column.is_empty() {
            true => Err("it is a column's name, or NAME=COLUMN to call it otherwise".to_owned()),
            false => Ok(KeptColumn { name: name.to_owned(), column: column.to_owned() }),
        }
    }
}

/// The form of the lines.
pub(super) struct Lines {
    format: OutputFormat,
    kept: Vec<KeptColumn>,
    /// The adapters' names, where answers are named after them.
    adapters: Option<Vec<String>>,
}

impl Lines {
    /// # Errors
    /// Two fields of one name.
    pub(super) fn new(
        format: OutputFormat,
        kept: &[KeptColumn],
        adapters: Option<Vec<String>>,
    ) -> Result<Lines, CliError> {
        let lines = Lines { format, kept: kept.to_vec(), adapters };
        let own: Vec<String> = match (format, &lines.adapters) {
            (OutputFormat::Jsonl, None) => {
                ["label", "labels", "score", "scores", "attention"].map(str::to_owned).to_vec()
            }
            (OutputFormat::Jsonl, Some(adapters)) => adapters.clone(),
            (OutputFormat::Tsv | OutputFormat::Csv, _) => lines.answer_columns(),
        };
        for (number, KeptColumn { name, column }) in kept.iter().enumerate() {
            if own.contains(name) {
                return Err(CliError::usage(format!(
                    "--keep-columns: the answers have a field {} of their own; keep the column \
                     under another name, such as row_{name}={column}",
                    quoted(name)
                )));
            }
            if kept[..number].iter().any(|other| other.name == *name) {
                return Err(CliError::usage(format!(
                    "--keep-columns names {} twice; NAME=COLUMN keeps a column under another name",
                    quoted(name)
                )));
            }
        }
        Ok(lines)
    }

    /// The names of the columns that hold answers.
    fn answer_columns(&self) -> Vec<String> {
        match &self.adapters {
            None => vec!["label".to_owned(), "score".to_owned()],
            Some(adapters) => adapters
                .iter()
                .flat_map(|name| [format!("{name}_label"), format!("{name}_score")])
                .collect(),
        }
    }

    /// The line before all others, if the format has one.
    pub(super) fn header(&self) -> Option<String> {
        let kept = self.kept.iter().map(|kept| kept.name.clone());
        self.delimiter().map(|delimiter| joined(kept.chain(self.answer_columns()), delimiter))
    }

    /// The line of a row: what is kept of it, and its answers with their adapters' numbers.
    pub(super) fn line(
        &self,
        kept: &[Option<KeptValue>],
        answers: &[(usize, Explained)],
    ) -> String {
        let Some(delimiter) = self.delimiter() else { return self.object(kept, answers) };
        let kept =
            kept.iter().map(|value| value.as_ref().map_or_else(String::new, KeptValue::text));
        let adapters = self.adapters.as_ref().map_or(1, Vec::len);
        // An adapter that was not asked leaves its columns empty.
        let answers = (0..adapters).flat_map(|adapter| {
            let answer = answers.iter().find(|(of, _)| *of == adapter);
            answer.map(|(_, explained)| explained.answer.fields()).unwrap_or_default()
        });
        joined(kept.chain(answers), delimiter)
    }

    /// Kept values and answers as one JSON object.
    fn object(&self, kept: &[Option<KeptValue>], answers: &[(usize, Explained)]) -> String {
        let objects = answers.iter().map(|(adapter, answer)| (*adapter, answer.json()));
        let answers: Map<String, Value> = match &self.adapters {
            Some(names) => {
                objects.map(|(of, object)| (names[of].clone(), Value::Object(object))).collect()
            }
            None => objects.flat_map(|(_, object)| object).collect(),
        };
        let mut fields: Vec<String> = Vec::new();
        for (KeptColumn { name, .. }, value) in self.kept.iter().zip(kept) {
            let value = value.as_ref().map_or("null".into(), KeptValue::json);
            fields.push(format!("{}:{value}", Value::from(&name[..])));
        }
        for (name, value) in answers {
            fields.push(format!("{}:{value}", Value::from(name)));
        }
        format!("{{{}}}", fields.join(","))
    }

    fn delimiter(&self) -> Option<char> {
        match self.format {
            OutputFormat::Jsonl => None,
            OutputFormat::Tsv => Some('\t'),
            OutputFormat::Csv => Some(','),
        }
    }
}

fn joined(fields: impl Iterator<Item = String>, delimiter: char) -> String {
    let fields: Vec<String> = fields.map(|field| quoted_field(&field, delimiter).into()).collect();
    fields.join(delimiter.encode_utf8(&mut [0; 4]))
}

/// A field in double quotes, with its own doubled, where it would else be read as something else: it
/// holds the delimiter or a line end, or begins with a quote; between commas also where it has a quote
/// anywhere, as CSV is written.
fn quoted_field(field: &str, delimiter: char) -> Cow<'_, str> {
    let has_quote = if delimiter == ',' { field.contains('"') } else { field.starts_with('"') };
    match has_quote || field.contains([delimiter, '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")).into(),
        false => field.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let cases = [
            ("plain", "plain", "plain"),
            ("a,b", "a,b", "\"a,b\""),
            ("a\tb", "\"a\tb\"", "a\tb"),
            ("a\nb", "\"a\nb\"", "\"a\nb\""),
            ("a\rb", "\"a\rb\"", "\"a\rb\""),
            ("say \"x\"", "say \"x\"", "\"say \"\"x\"\"\""),
            ("\"x\" he said", "\"\"\"x\"\" he said\"", "\"\"\"x\"\" he said\""),
            ("C:\\new", "C:\\new", "C:\\new"),
            ("", "", ""),
        ];
        for (field, tsv, csv) in cases {
            assert_eq!(quoted_field(field, '\t'), tsv, "{field:?}");
            assert_eq!(quoted_field(field, ','), csv, "{field:?}");
        }
    }

    #[test]
    fn a_column_may_be_called_otherwise() {
        let kept = |name: &str, column: &str| {
            Ok(KeptColumn { name: name.to_owned(), column: column.to_owned() })
        };
        assert_eq!(KeptColumn::parse("id"), kept("id", "id"));
        assert_eq!(KeptColumn::parse("gold=label"), kept("gold", "label"));
        assert_eq!(KeptColumn::parse("data.text"), kept("data.text", "data.text"));
        for wrong in ["", "=label", "gold="] {
            assert!(KeptColumn::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
