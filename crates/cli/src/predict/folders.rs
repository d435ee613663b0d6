//! The adapters that `predict` was asked for, found to be in order before the base is loaded.

use std::path::{Path, PathBuf};

use adaptkit::adapters::MemberLayout;
use adaptkit::adapters::composition::Ways;
use adaptkit::adapters::files::StoredComposition;
use adaptkit::encoder::foreign_text::quoted;
use adaptkit::training::data::AnswerSpace;

use super::{Flags, OutputFormat, names};
use crate::Common;
use crate::compose::Answers;
use crate::error::CliError;
use crate::path_argument::PathArgument;
use crate::task_folder::{Stored, TaskFolder};

/// An adapter that was found to be in order.
pub(super) struct Folder {
    /// What the output calls it.
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) space: AnswerSpace,
    /// The members of a fusion.
    pub(super) members: Option<MemberLayout>,
}

/// Where its numbers are until it is its turn.
pub(super) enum Source {
    /// To be read once more, with the head of this name: of hundreds, only one is in memory as it is
    /// on disk.
    Directory(PathBuf, Option<String>),
    /// Composed of others.
    Composed(Box<TaskFolder>),
}

impl Source {
    pub(super) fn read(self) -> Result<TaskFolder, CliError> {
        match self {
            Source::Directory(directory, head) => TaskFolder::read(&directory, head.as_deref()),
            Source::Composed(folder) => Ok(*folder),
        }
    }
}

/// Labellers that a row chooses one of, or that all label it.
pub(super) struct Choice {
    /// The number of the first of them.
    first: usize,
    /// The ways of a composition; an adapter has one.
    ways: Option<Ways>,
}

impl Choice {
    fn depends_on_rows(&self) -> bool {
        self.ways.as_ref().is_some_and(Ways::depend_on_rows)
    }

    /// Those of a row, counted over all rows.
    pub(super) fn of_row(&self, row: usize) -> impl Iterator<Item = usize> {
        let ways = self.ways.as_ref().map_or(&[0][..], |ways| ways.of_row(row));
        ways.iter().map(|way| self.first + way)
    }
}

/// What the flags name, under the names that the output has for it.
struct Asked<'a> {
    flags: &'a Flags,
    common: &'a Common,
    folders: Vec<Folder>,
    choices: Vec<Choice>,
}

impl Asked<'_> {
    /// Adds an adapter; `directory` is where to read it again, if it is one of its own.
    fn put(
        &mut self,
        name: String,
        folder: TaskFolder,
        directory: Option<&Path>,
        hint: &str,
    ) -> Result<(), CliError> {
        if self.folders.iter().any(|other| other.name == name) {
            return Err(CliError::usage(format!(
                "two adapters are called {}, and the output names adapters; give one another \
                 name with {hint}",
                quoted(&name)
            )));
        }
        folder.say(self.common);
        let space = folder.answer_space(self.flags.threshold)?;
        let members = match &folder.stored {
            Stored::Fusion(fusion) => Some(fusion.layout()),
            _ => None,
        };
        let source = match directory {
            Some(directory) => {
                Source::Directory(directory.to_path_buf(), self.flags.composing.head.clone())
            }
            None => Source::Composed(Box::new(folder)),
        };
        self.folders.push(Folder { name, source, space, members });
        Ok(())
    }

    fn put_composition(&mut self, answers: Answers, hint: &str) -> Result<(), CliError> {
        self.choices.push(Choice { first: self.folders.len(), ways: Some(answers.ways) });
        for (name, folder) in answers.folders {
            self.put(name, folder, None, hint)?;
        }
        Ok(())
    }

    fn put_directory(&mut self, text: &PathArgument) -> Result<(), CliError> {
        let composing = &self.flags.composing;
        let (name, directory) = text.named();
        let path = directory.path();
        let hint = format!("--adapter NAME={directory}");
        if StoredComposition::is_at(path) {
            return self.put_composition(composing.of_directory(name, path)?, &hint);
        }
        if let (Some(head), [_, _, ..]) = (&composing.head, &self.flags.adapter[..]) {
            return Err(CliError::usage(format!(
                "--head {head} chooses the head of one adapter, and several are given: predict \
                 with each alone, or compose them"
            )));
        }
        let folder = TaskFolder::read(path, composing.head.as_deref())?;
        let name = name.map_or_else(|| folder.name().to_owned(), str::to_owned);
        self.choices.push(Choice { first: self.folders.len(), ways: None });
        self.put(name, folder, Some(path), &hint)
    }
}

impl Flags {
    /// The adapters with the names that the output has for them, and how rows choose among them.
    pub(super) fn folders(&self, common: &Common) -> Result<(Vec<Folder>, Vec<Choice>), CliError> {
        let mut asked = Asked { flags: self, common, folders: Vec::new(), choices: Vec::new() };
        if self.composing.compose.is_empty() {
            self.adapter.iter().try_for_each(|text| asked.put_directory(text))?;
        } else {
            for answers in self.composing.answers(&self.adapter)? {
                asked.put_composition(answers, "--compose NAME=COMPOSITION")?;
            }
        }
        let Asked { folders, choices, .. } = asked;
        if let Some(column) = &self.adapter_column
            && choices.iter().any(Choice::depends_on_rows)
        {
            return Err(CliError::usage(format!(
                "--adapter-column {column} lets rows name their adapters, and batch_split counts \
                 them off: give one of the two"
            )));
        }
        for (name, layers) in &self.adapterdrop {
            if let Some(name) = name
                && !folders.iter().any(|folder| folder.name == *name)
            {
                return Err(CliError::usage(format!(
                    "--adapterdrop {name}={layers}: no adapter is called {}; there are {}",
                    quoted(name),
                    names(folders.iter().map(|folder| &folder.name[..]))
                )));
            }
        }
        self.check_explanation(&folders, common)?;
        Ok((folders, choices))
    }

    /// That there is something to explain, in a format that has room for it.
    fn check_explanation(&self, folders: &[Folder], common: &Common) -> Result<(), CliError> {
        if !self.explain {
            return Ok(());
        }
        if self.output_format != OutputFormat::Jsonl {
            let message = "--explain adds to JSON objects; a table has no place for it: leave \
                           --output-format out";
            return Err(CliError::usage(message));
        }
        let plain: Vec<&str> = folders
            .iter()
            .filter(|folder| folder.members.is_none())
            .map(|folder| &folder.name[..])
            .collect();
        let shown = names(plain.iter().copied());
        if plain.len() == folders.len() {
            return Err(CliError::usage(format!(
                "--explain shows what a fusion attends to, and there is none: {shown}; \
                 `adaptkit fuse` makes one of several adapters"
            )));
        }
        if !plain.is_empty() {
            common.note(format_args!(
                "note: --explain adds nothing where there is no fusion: {shown}"
            ));
        }
        Ok(())
    }
}
