//! Rows of text from the files people have.
//!
//! Bytes become rows in four steps, one file each: an [`Input`] is opened and decompressed
//! (`input`), decoded (`encoding`, `text_stream`), cut into records (`delimited` for lines, TSV and
//! CSV, `json_lines`), and records become [`Example`]s by column name (`columns`, `example`). All of
//! it streams: [`ExampleReader`] holds one record at a time, so prediction over a huge file needs no
//! more memory than over a small one, and a record is bounded by [`ReadOptions::record_limit`].
//!
//! Training reads everything: [`read_examples`], then [`LabelledRows`] pairs the examples with the
//! numbers a head learns (`label`, `labelled`), and [`split`](split::split) holds rows out.
//!
//! What is left out is never left out silently: a [`ReadReport`] counts it and says where it began.

mod columns;
mod delimited;
mod encoding;
mod example;
mod format;
mod input;
mod json_lines;
mod label;
mod labelled;
mod report;
pub mod split;
mod text_stream;
mod threshold;

#[cfg(test)]
mod labelled_tests;
#[cfg(test)]
mod reading_tests;

pub use columns::{Column, Columns};
pub use encoding::TextEncoding;
pub use example::{Example, ExampleReader, read_examples};
pub use format::{RECORD_LIMIT, RaggedRows, ReadOptions, RowFormat};
pub use input::Input;
pub use label::{LabelMap, LabelNames, LabelValue};
pub use labelled::{AnswerKind, AnswerSpace, Answers, LabelReading, LabelledRows};
pub use report::{ReadReport, Tally};
pub use threshold::Threshold;
