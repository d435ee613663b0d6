//! Rows of text from the files people have.
//!
//! Bytes become rows in four steps: an [`Input`] is opened (`input`, `pipe`), recognised by its first
//! bytes (`file_kind`) and decompressed (`compression`), decoded (`encoding`, `text_stream`), cut into
//! records (`delimited` and `quoted` for lines, TSV and CSV in any [`Dialect`], `json_lines`,
//! `json_list` and `json_value` for JSON, `fasttext`, `label_files`), and records become [`Example`]s
//! by column name (`columns`, `example`). All of it streams: [`ExampleReader`] holds one record at a time, so prediction over a huge file needs no
//! more memory than over a small one, and a record is bounded by [`ReadOptions::record_limit`].
//!
//! Training reads everything: [`read_examples`], then [`LabelledRows`] pairs the examples with the
//! numbers a head learns (`label`, `label_reading`, `labelled`), and [`split`](split::split) holds rows out.
//!
//! What is left out is never left out silently: a [`ReadReport`] counts it and says where it began.

mod columns;
mod compression;
mod delimited;
mod dialect;
mod encoding;
mod example;
mod fasttext;
mod file_kind;
mod format;
mod input;
mod json_lines;
mod json_list;
mod json_value;
mod kept;
mod label;
mod label_files;
mod label_list;
mod label_reading;
mod label_spelling;
mod labelled;
mod parts;
mod pipe;
mod quote_signs;
mod quoted;
mod report;
mod row_batches;
pub mod split;
mod text_stream;
mod threshold;

#[cfg(test)]
mod labelled_tests;
#[cfg(test)]
mod reading_tests;

pub use columns::{Column, Columns};
pub use dialect::{Delimiter, Dialect, Quoting};
pub use encoding::TextEncoding;
pub use example::{Example, ExampleReader, read_examples};
pub use format::{RECORD_LIMIT, RaggedRows, ReadOptions, RowFormat};
pub use input::Input;
pub use kept::KeptValue;
pub(crate) use label::numbers_by_label;
pub use label::{LabelMap, LabelNames, LabelValue};
pub use label_reading::{LabelColumns, LabelReading};
pub use labelled::{AnswerKind, AnswerSpace, Answers, LabelledRows};
pub use parts::{LabelRows, Overlap, Parts};
pub use report::{ReadReport, ReadingNote, Tally};
pub use row_batches::RowBatches;
pub use threshold::{Threshold, Thresholds};
