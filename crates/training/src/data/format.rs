//! The format of a file of rows, and how it is read.

use std::str::FromStr;

use super::dialect::{Delimiter, Quoting};
use super::encoding::TextEncoding;
use super::input::{COMPRESSED, Input};
use crate::TrainingError;

/// The most bytes of text that one record may have unless the caller says otherwise: 16 MiB.
pub const RECORD_LIMIT: usize = 16 << 20;

/// How a file is cut into records and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// One text a line, in a column called `text`; an empty line is an empty text.
    Lines,
    /// Columns between tabs, in GLUE's manner: unless [`ReadOptions::quoting`] says otherwise, a quote
    /// is a character like any other, and a tab or a line end inside a text is impossible.
    Tsv,
    /// Columns between commas; a field in double quotes may hold commas, line ends and doubled
    /// quotes.
    Csv,
    /// One JSON object a line, or a list of objects; its keys are the columns.
    JsonLines,
    /// One text a line, with its labels among its words: `__label__spam`. The columns are `text` and
    /// `label`.
    FastText,
    /// A file or a folder for each label, named after it: each line of such a file, and each file of
    /// such a folder, is a text. The columns are `text` and `label`.
    LabelFiles,
}

impl RowFormat {
    /// All formats.
    pub const ALL: [RowFormat; 6] = [
        RowFormat::Lines,
        RowFormat::Tsv,
        RowFormat::Csv,
        RowFormat::JsonLines,
        RowFormat::FastText,
        RowFormat::LabelFiles,
    ];

    /// The format that a file's ending tells, before which the endings of compressed files are looked
    /// past.
    pub fn from_file_name(name: &str) -> Option<RowFormat> {
        let name = name.to_ascii_lowercase();
        let plain = COMPRESSED.iter().find_map(|ending| name.strip_suffix(ending));
        match plain.unwrap_or(&name).rsplit_once('.')?.1 {
            "txt" => Some(RowFormat::Lines),
            "tsv" | "tab" => Some(RowFormat::Tsv),
            "csv" => Some(RowFormat::Csv),
            "jsonl" | "ndjson" | "json" => Some(RowFormat::JsonLines),
            _ => None,
        }
    }

    /// The format's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            RowFormat::Lines => "lines",
            RowFormat::Tsv => "tsv",
            RowFormat::Csv => "csv",
            RowFormat::JsonLines => "jsonl",
            RowFormat::FastText => "fasttext",
            RowFormat::LabelFiles => "label-files",
        }
    }

    fn is_table(self) -> bool {
        matches!(self, RowFormat::Tsv | RowFormat::Csv)
    }
}

impl FromStr for RowFormat {
    type Err = TrainingError;

    fn from_str(name: &str) -> Result<RowFormat, TrainingError> {
        let known = match name {
            "json" => Some(RowFormat::JsonLines),
            name => RowFormat::ALL.into_iter().find(|format| format.name() == name),
        };
        known.ok_or_else(|| TrainingError::UnknownFormat { name: name.to_string() })
    }
}

/// What becomes of a row with too few or too many columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaggedRows {
    /// It is an error with file and line.
    Refuse,
    /// It is left out and counted. For published files that are known to be damaged.
    Drop,
}

/// How files of rows are read. The default is what a file by itself tells: the format by its ending,
/// a header line, UTF-8, ragged rows refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format; by each file's ending where `None`, and lines for standard input.
    pub format: Option<RowFormat>,
    /// Whether the first line of TSV and CSV names the columns. Without one, columns are asked for
    /// by position, from 1. Lines and JSON lines have no header line in any case.
    pub header: bool,
    /// The encoding.
    pub encoding: TextEncoding,
    /// What stands between a table's columns; by the format where `None`, or whatever its columns are
    /// found with. A file whose ending tells no table is read as CSV where this is given.
    pub delimiter: Option<Delimiter>,
    /// What quotes mean in a table; by the format where `None`.
    pub quoting: Option<Quoting>,
    /// What becomes of ragged rows of TSV and CSV.
    pub ragged_rows: RaggedRows,
    /// The most bytes of text one record may have. It bounds the reader's memory.
    pub record_limit: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        ReadOptions {
            format: None,
            header: true,
            encoding: TextEncoding::UTF8,
            delimiter: None,
            quoting: None,
            ragged_rows: RaggedRows::Refuse,
            record_limit: RECORD_LIMIT,
        }
    }
}

impl ReadOptions {
    /// The format `input` is to be read in.
    ///
    /// # Errors
    /// [`TrainingError::FormatUnclear`] where neither the options nor the ending tell it,
    /// [`TrainingError::NoTable`] where a delimiter is given for what is no table.
    pub fn format_of(&self, input: &Input) -> Result<RowFormat, TrainingError> {
        let told = match input {
            Input::StandardInput => Some(RowFormat::Lines),
            Input::File(path) => RowFormat::from_file_name(&path.to_string_lossy()),
        };
        let as_table = self.delimiter.is_some() || self.quoting.is_some();
        match (self.format, told) {
            (Some(format), _) if as_table && !format.is_table() => {
                Err(TrainingError::NoTable { file: input.name(), format: format.name() })
            }
            (Some(format), _) => Ok(format),
            (None, Some(RowFormat::Lines) | None) if as_table => Ok(RowFormat::Csv),
            (None, Some(format)) if as_table && !format.is_table() => {
                Err(TrainingError::NoTable { file: input.name(), format: format.name() })
            }
            (None, Some(format)) => Ok(format),
            (None, None) => Err(TrainingError::FormatUnclear { file: input.name() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_the_format() {
        let cases = [
            ("a.tsv", Some(RowFormat::Tsv)),
            ("a.TAB", Some(RowFormat::Tsv)),
            ("a.b.csv", Some(RowFormat::Csv)),
            ("a.csv.gz", Some(RowFormat::Csv)),
            ("a.JSONL.GZ", Some(RowFormat::JsonLines)),
            ("a.json", Some(RowFormat::JsonLines)),
            ("a.tsv.zst", Some(RowFormat::Tsv)),
            ("a.txt.zstd", Some(RowFormat::Lines)),
            ("a.txt", Some(RowFormat::Lines)),
            ("tsv", None),
            ("a.gz", None),
            ("SMSSpamCollection", None),
        ];
        for (name, expected) in cases {
            assert_eq!(RowFormat::from_file_name(name), expected, "{name}");
        }
    }

    #[test]
    fn a_forced_format_wins() {
        let options = |format| ReadOptions { format, ..ReadOptions::default() };
        let file = |name: &str| Input::File(name.into());
        let forced = options(Some(RowFormat::Csv));
        assert_eq!(forced.format_of(&file("a.tsv")).unwrap(), RowFormat::Csv);
        assert_eq!(forced.format_of(&Input::StandardInput).unwrap(), RowFormat::Csv);
        assert_eq!(options(None).format_of(&Input::StandardInput).unwrap(), RowFormat::Lines);
        let error = options(None).format_of(&file("data")).unwrap_err().to_string();
        assert!(error.starts_with("data: the format is not clear"), "{error}");
        assert!("xml".parse::<RowFormat>().is_err());
        for format in RowFormat::ALL {
            assert_eq!(format.name().parse::<RowFormat>().unwrap(), format);
        }
        assert_eq!("json".parse::<RowFormat>().unwrap(), RowFormat::JsonLines);
    }

    #[test]
    fn a_delimiter_makes_a_table_of_what_may_be_one() {
        let format = |format, name: &str| {
            let delimiter = Some(Delimiter::TAB);
            let options = ReadOptions { format, delimiter, ..ReadOptions::default() };
            let input = match name {
                "-" => Input::StandardInput,
                name => Input::File(name.into()),
            };
            options.format_of(&input).map_err(|error| error.to_string())
        };
        for name in ["a.txt", "a.data", "-", "a.csv"] {
            assert_eq!(format(None, name), Ok(RowFormat::Csv), "{name}");
        }
        assert_eq!(format(None, "a.tsv"), Ok(RowFormat::Tsv));
        for (forced, name) in [(None, "a.jsonl"), (Some(RowFormat::Lines), "a.csv")] {
            let error = format(forced, name).unwrap_err();
            assert!(error.contains("no table"), "{name}: {error}");
        }
    }
}
