//! The published tasks, by name: GLUE's, and those of SuperGLUE that are one or two texts and a label.
//!
//! A task says where its files are in the published folders, which columns hold what, how its labels
//! are numbered, and what it is scored by. The numbers are those of the Hugging Face data sets and of
//! `run_glue`, so that an adapter trained there and one trained here put out their labels in the same
//! order; the names (`acceptable` for CoLA's `1`) are theirs as well.
//!
//! Of SuperGLUE, CB, RTE (as JSON lines; the rows are GLUE's), BoolQ and WiC are here. WiC asks whether a word means the same in two sentences:
//! the word and `: ` go before the first. COPA (a choice between two texts), MultiRC and ReCoRD
//! (several answers to a passage) and WSC (two spans of a text) are not one label for one row of text,
//! and the diagnostic sets have no training part.

mod glue;
mod submission;

#[cfg(test)]
mod layout_tests;

pub use submission::{SubmissionFile, submission_files, write_submission};

use std::path::{Path, PathBuf};

use crate::TrainingError;
use crate::data::{
    AnswerKind, AnswerSpace, Column, Columns, Delimiter, ExampleReader, Input, LabelMap,
    LabelNames, LabelReading, LabelledRows, Quoting, RaggedRows, ReadOptions, ReadReport,
    RowFormat, Thresholds, read_examples,
};
use crate::error::NameList;
use crate::metrics::MetricSet;

/// A published task.
#[derive(Debug)]
pub struct Task {
    /// Its name, as `run_glue` has it.
    pub name: &'static str,
    /// Other names it answers to.
    pub aliases: &'static [&'static str],
    /// Its folder in the published archive.
    pub folder: &'static str,
    /// Whether rows have a label or a value.
    pub kind: AnswerKind,
    /// The labels as its files have them, and their names, in the order of their numbers.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it is scored by.
    pub metrics: MetricSet,
    /// The training rows.
    pub train: TaskFile,
    /// The validation rows; MNLI's are two files, the first of which chooses the best checkpoint.
    pub validation: &'static [TaskFile],
    /// The test rows, which have no labels.
    pub test: &'static [TaskFile],
}

/// One file of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskFile {
    /// Its name in the task's folder.
    pub file: &'static str,
    /// Whether it begins with the columns' names.
    pub header: bool,
    /// The column, or its position, of the text.
    pub text: &'static str,
    /// A column that goes before the text.
    pub text_prefix: Option<&'static str>,
    /// The second text's.
    pub pair: Option<&'static str>,
    /// The label's.
    pub label: Option<&'static str>,
    /// The row number's that the benchmark's server asks for.
    pub index: Option<&'static str>,
    /// What becomes of ragged rows: QQP's published files have some.
    pub ragged_rows: RaggedRows,
    /// What is added to the scores' names: `_mm` for MNLI mismatched.
    pub score_suffix: &'static str,
    /// The file in which GLUE's server takes predictions.
    pub submission: Option<&'static str>,
}

impl Task {
    /// All tasks.
    pub fn all() -> &'static [Task] {
        glue::TASKS
    }

    /// The task of this name or alias, in any case.
    ///
    /// # Errors
    /// [`TrainingError::UnknownTask`].
    pub fn by_name(name: &str) -> Result<&'static Task, TrainingError> {
        let wanted = name.to_ascii_lowercase();
        Task::all()
            .iter()
            .find(|task| task.name == wanted || task.aliases.contains(&&*wanted))
            .ok_or_else(|| TrainingError::UnknownTask {
                name: name.to_string(),
                known: Task::all().iter().map(|task| task.name).collect::<NameList>(),
            })
    }

    /// The answers the task's head gives, in the published order.
    ///
    /// # Errors
    /// None in practice: the tables have no label twice.
    pub fn answer_space(&self) -> Result<AnswerSpace, TrainingError> {
        Ok(match self.kind {
            AnswerKind::Value => AnswerSpace::Values,
            AnswerKind::Class => {
                AnswerSpace::Classes(LabelMap::new(self.labels.iter().map(|(_, name)| *name))?)
            }
            AnswerKind::LabelSet => {
                let labels = LabelMap::new(self.labels.iter().map(|(_, name)| *name))?;
                AnswerSpace::LabelSets(labels, Thresholds::default())
            }
        })
    }

    /// How the task's raw labels are read.
    ///
    /// # Errors
    /// None in practice, as above.
    pub fn label_reading(&self) -> Result<LabelReading, TrainingError> {
        let names = match self.labels {
            [] => None,
            labels => Some(LabelNames::new(labels.iter().copied())?),
        };
        Ok(LabelReading { names, ..LabelReading::plain(self.kind) })
    }

    /// The label as the task's files spell it, from its name or from itself: a head may have been
    /// trained on either.
    pub fn raw_label(&self, label: &str) -> Option<&'static str> {
        let by_name = self.labels.iter().find(|(_, name)| *name == label);
        by_name.or_else(|| self.labels.iter().find(|(raw, _)| *raw == label)).map(|(raw, _)| *raw)
    }

    /// Where `file` is: in `folder` itself, or in the task's own folder there (`GLUE/CoLA`).
    ///
    /// # Errors
    /// [`TrainingError::TaskFileMissing`] with the places looked at.
    pub fn path(&self, folder: &Path, file: &TaskFile) -> Result<PathBuf, TrainingError> {
        let beside = folder.join(file.file);
        let below = folder.join(self.folder).join(file.file);
        // The one file that the archive keeps outside its task's folder: GLUE's diagnostic set.
        let apart = folder.join("diagnostic").join(file.file);
        let mut places = vec![beside, below];
        if file.file.starts_with("diagnostic") {
            places.push(apart);
        }
        match places.iter().find(|place| place.is_file()) {
            Some(place) => Ok(place.clone()),
            None => Err(TrainingError::TaskFileMissing {
                task: self.name,
                tried: places.iter().map(|place| place.display().to_string()).collect(),
            }),
        }
    }

    /// Reads a file with labels, for a head with this answer space: the task's own for training, the
    /// stored one for evaluation, whose labels may be numbered differently.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(
        &self,
        folder: &Path,
        file: &TaskFile,
        space: &AnswerSpace,
    ) -> Result<(LabelledRows, ReadReport), TrainingError> {
        let input = Input::File(self.path(folder, file)?);
        let (examples, mut report) = read_examples(&[input], &file.columns(), &file.options())?;
        let reading = self.label_reading()?;
        let rows = LabelledRows::new(examples, &reading, space, &mut report)?;
        Ok((rows, report))
    }

    /// Opens a file whose labels, if it has any, are not needed.
    ///
    /// # Errors
    /// What is wrong with the file's beginning.
    pub fn open(&self, folder: &Path, file: &TaskFile) -> Result<ExampleReader, TrainingError> {
        let input = Input::File(self.path(folder, file)?);
        ExampleReader::open(&[input], &file.columns(), &file.options())
    }
}

impl TaskFile {
    /// The file's columns.
    pub fn columns(&self) -> Columns {
        Columns {
            text_prefix: self.text_prefix.map(str::to_string),
            pair: self.pair.map(Column::required),
            label: self.label.map(Column::required),
            labels: Vec::new(),
            index: self.index.map(Column::required),
            ..Columns::text(self.text)
        }
    }

    /// How the file is read.
    pub fn options(&self) -> ReadOptions {
        let format = RowFormat::from_file_name(self.file);
        let is_tsv = format == Some(RowFormat::Tsv);
        ReadOptions {
            format,
            header: self.header,
            // Published files are what they are: nothing is tried on them, and quotes are text.
            delimiter: is_tsv.then_some(Delimiter::TAB),
            quoting: is_tsv.then_some(Quoting::None),
            ragged_rows: self.ragged_rows,
            ..ReadOptions::default()
        }
    }
}
