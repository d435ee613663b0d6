//! Rows whose labels are the names of their files or folders.
//!
//! A folder with a folder for each label, in which each file is a text, is how reviews and newsgroups
//! are published; one with a file for each label, in which each line is a text, is how sentences are.
//! What a folder holds tells which of the two it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::RowFormat;
use super::input::{COMPRESSED, Input, shown};
use super::report::{ReadReport, ReadingNote};
use super::text_stream::TextStream;
use crate::TrainingError;
use crate::error::Place;

/// The ending of a file of texts that is no part of a label's name.
const ENDING: &str = ".txt";

/// An input, how it is read, and the label of its rows where its name says that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) input: Input,
    pub(super) format: SourceFormat,
}

/// How one file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SourceFormat {
    /// The file's rows have what columns they have.
    Rows(RowFormat),
    /// A text a line, all with this label.
    LinesOf(Arc<str>),
    /// The whole file is one text with this label.
    WholeOf(Arc<str>),
}

/// The file of this name as one of a label's lines.
pub(super) fn lines_of_label(input: &Input) -> Result<Source, TrainingError> {
    let Input::File(path) = input else {
        return Err(TrainingError::LabelNotText { file: input.name() });
    };
    let label = label_of(path)?;
    Ok(Source { input: input.clone(), format: SourceFormat::LinesOf(label) })
}

/// The files of a folder that holds a folder or a file for each label, in the order of their names.
///
/// Folders count where there are any; files beside them are passed over, as hidden ones are and
/// folders inside a label's folder.
pub(super) fn of_folder(
    folder: &Path,
    report: &mut ReadReport,
) -> Result<Vec<Source>, TrainingError> {
    let file = shown(folder);
    let (folders, files): (Vec<_>, Vec<_>) =
        entries(folder, report)?.into_iter().partition(|path| path.is_dir());
    let mut sources = Vec::new();
    let mut labels = 0;
    for folder in &folders {
        let label = label_of(folder)?;
        let (inner, texts): (Vec<_>, Vec<_>) =
            entries(folder, report)?.into_iter().partition(|path| path.is_dir());
        inner.iter().for_each(|path| pass_over(path, report));
        labels += usize::from(!texts.is_empty());
        sources.extend(texts.into_iter().map(|path| Source {
            input: Input::File(path),
            format: SourceFormat::WholeOf(label.clone()),
        }));
    }
    let of_folders = labels > 0;
    for path in files {
        let is_text = RowFormat::from_file_name(&path.to_string_lossy()) == Some(RowFormat::Lines);
        if of_folders || !is_text {
            pass_over(&path, report);
            continue;
        }
        let label = label_of(&path)?;
        let input = Input::File(path);
        sources.push(Source { input, format: SourceFormat::LinesOf(label) });
        labels += 1;
    }
    if labels < 2 {
        return Err(TrainingError::NoLabelFiles { file });
    }
    report.note(ReadingNote::LabelFiles { file, labels, folders: of_folders });
    Ok(sources)
}

/// What a folder holds, sorted by name; hidden files are passed over.
fn entries(folder: &Path, report: &mut ReadReport) -> Result<Vec<PathBuf>, TrainingError> {
    let failed = |source| TrainingError::Read { file: shown(folder), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        match entry.file_name().as_encoded_bytes().starts_with(b".") {
            true => pass_over(&entry.path(), report),
            false => paths.push(entry.path()),
        }
    }
    paths.sort();
    Ok(paths)
}

fn pass_over(path: &Path, report: &mut ReadReport) {
    report.passed_over.add(Place { file: shown(path), line: 0 });
}

/// The label that a file or folder is named after: its name without `.txt` and without the endings of
/// compressed files.
fn label_of(path: &Path) -> Result<Arc<str>, TrainingError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| TrainingError::LabelNotText { file: shown(path) })?;
    if path.is_dir() {
        return Ok(name.into());
    }
    let plain = COMPRESSED.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    Ok(plain.strip_suffix(ENDING).unwrap_or(plain).into())
}

/// The one text of a file, without the line ends behind it.
pub(super) struct WholeText {
    stream: TextStream,
    text: String,
    read: bool,
}

impl WholeText {
    pub(super) fn new(stream: TextStream) -> WholeText {
        WholeText { stream, text: String::new(), read: false }
    }

    pub(super) fn next(&mut self) -> Result<Option<u64>, TrainingError> {
        if self.read {
            return Ok(None);
        }
        self.read = true;
        loop {
            let piece = self.stream.piece()?;
            if piece.is_empty() {
                break;
            }
            let length = piece.len();
            self.text.push_str(piece);
            self.stream.consume(length);
            if self.text.len() > self.stream.record_limit {
                return Err(self.stream.record_too_long(1));
            }
        }
        self.text.truncate(self.text.trim_end_matches(['\n', '\r']).len());
        Ok(Some(1))
    }

    pub(super) fn file(&self) -> Arc<str> {
        self.stream.name.clone()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}
