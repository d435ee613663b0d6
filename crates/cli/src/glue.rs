//! `adaptkit glue submit`: the set of files that the GLUE benchmark's server takes.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use adaptkit::adapters::atomic::StagedDirectory;
use adaptkit::adapters::room;
use adaptkit::encoder::foreign_text::quoted;
use adaptkit::encoder::{Encoder, Tokenizer};
use adaptkit::training::data::AnswerSpace;
use adaptkit::training::run::{answers, check_scores, predict};
use adaptkit::training::tasks::{SubmissionFile, Task, submission_files, write_submission};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::Common;
use crate::error::CliError;
use crate::model_cache::resolve_model;
use crate::path_argument::{PathArgument, split};
use crate::rows;
use crate::task_folder::TaskFolder;

/// Flags of `adaptkit glue`.
#[derive(Args)]
#[command(after_help = help())]
pub(crate) struct Flags {
    #[command(subcommand)]
    command: Command,
}

fn help() -> String {
    let submitted = |task: &&Task| task.test.iter().any(|test| test.submission.is_some());
    let names: Vec<&str> = Task::all().iter().filter(submitted).map(|task| task.name).collect();
    format!(
        "Example:\n  \
         adaptkit glue submit --model all-MiniLM-L6-v2 --adapter rte=rte --adapter cola=cola \
         --data glue --output-dir submission\n\n\
         Tasks, for --adapter TASK=DIR: {}",
        names.join(", ")
    )
}

#[derive(Subcommand)]
enum Command {
    /// Predict the test sets and write the files that the benchmark's server takes
    Submit(SubmitFlags),
}

#[derive(Args)]
struct SubmitFlags {
    /// The base: a model's directory, or the id of a pulled model
    #[arg(long, alias = "model-name-or-path", value_name = "MODEL")]
    model: PathArgument,
    /// A task and the adapter trained on it, such as rte=DIR; once for each task
    #[arg(long, value_name = "TASK=DIR", required = true, value_parser = OsStringValueParser::new().try_map(task_adapter))]
    adapter: Vec<(&'static Task, PathBuf)>,
    /// The folder of GLUE's folders, with their test files
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where the files go
    #[arg(long, value_name = "DIR")]
    output_dir: PathBuf,
    /// Replace a set of files that is in the output directory already
    #[arg(long)]
    overwrite: bool,
    /// Write submission.zip as well, which is what the server takes
    #[arg(long)]
    zip: bool,
    /// Write files of one constant answer for the tasks without an adapter: the server takes
    /// complete sets only
    #[arg(long)]
    fill_missing: bool,
    /// Longer rows are cut to this many tokens; as in training by default
    #[arg(long, alias = "max-seq-length", value_name = "N")]
    max_length: Option<usize>,
}

const ARCHIVE: &str = "submission.zip";

/// The most that a row of a file takes, twice for the archive.
const BYTES_OF_ROW: u64 = 64;

/// The value of `--adapter`: `TASK=DIR`.
fn task_adapter(text: OsString) -> Result<(&'static Task, PathBuf), String> {
    let (task, directory) =
        split(&text).ok_or("give the task and its adapter as TASK=DIR, such as rte=DIR")?;
    let task = Task::by_name(task).map_err(|error| error.to_string())?;
    match task.test.iter().any(|test| test.submission.is_some()) {
        true => Ok((task, directory.into())),
        false => Err(format!("{} is not one of GLUE's tasks", task.name)),
    }
}

/// What the command did.
#[derive(Serialize)]
struct Submitted {
    files: Vec<Written>,
    /// Files of the server's set that are not there.
    missing: Vec<&'static str>,
    output_dir: PathBuf,
}

#[derive(Serialize)]
struct Written {
    file: &'static str,
    rows: usize,
    /// Whether the answers are one constant.
    filler: bool,
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    let Command::Submit(flags) = &flags.command;
    flags.run(common)
}

impl SubmitFlags {
    fn run(&self, common: &Common) -> Result<(), CliError> {
        for (i, (task, _)) in self.adapter.iter().enumerate() {
            if self.adapter[..i].iter().any(|(other, _)| other.name == task.name) {
                let message = format!("--adapter names an adapter for {} twice", task.name);
                return Err(CliError::usage(message));
            }
        }
        let own = own_files();
        StagedDirectory::check(&self.output_dir, self.overwrite, &own)?;
        let folders = self.adapter.iter().map(|(task, path)| {
            let folder = TaskFolder::read(path, None)?;
            folder.say(common);
            let space = folder.answer_space(None)?;
            check_labels(task, &space, path)?;
            Ok((*task, folder, space))
        });
        let folders = folders.collect::<Result<Vec<_>, CliError>>()?;
        let (planned, missing) = self.plan()?;
        let directory = resolve_model(&self.model)?;
        let device = common.device()?;
        let encoder = Encoder::load(&directory, &device, common.precision(&device))?;
        let tokenizer = Tokenizer::from_dir(&directory, encoder.config())?;
        // What does not fit the base shows before the first task's rows.
        let models = folders.into_iter().map(|(task, folder, space)| {
            let model = folder.on(&encoder, &tokenizer, &self.model)?;
            let (name, length) =
                (folder.name().to_owned(), folder.max_length(self.max_length, &encoder)?);
            Ok((task, name, space, model, length))
        });
        let models = models.collect::<Result<Vec<_>, CliError>>()?;
        let rows: usize = planned.iter().chain(&missing).map(|file| file.rows).sum();
        room::check(&self.output_dir, BYTES_OF_ROW * rows as u64 + room::AROUND)?;
        let staged = StagedDirectory::create(&self.output_dir, self.overwrite, &own)?;
        let mut files = Vec::new();
        for (task, name, space, model, max_length) in &models {
            let max_length = *max_length;
            for file in planned.iter().filter(|file| file.task.name == task.name) {
                let mut batches = task.open(&self.data, file.test)?.batches();
                let (mut indices, mut logits, mut cut) = (Vec::new(), Vec::new(), 0);
                for rows in batches.by_ref() {
                    let rows = rows?;
                    let tokens = encoder
                        .device()
                        .run(|| rows::tokenise_examples(&tokenizer, &rows, max_length))?;
                    cut += tokens.iter().filter(|row| row.truncated).count();
                    for (row, scores) in predict(&encoder, model, &tokens).into_iter().enumerate() {
                        check_scores(row, &scores)
                            .map_err(|error| CliError::of_scoring(error, name, &rows))?;
                        logits.push(scores);
                    }
                    indices.extend(rows.into_iter().map(|row| row.index.unwrap_or_default()));
                }
                rows::say(common, batches.report());
                say_of_rows(common, file, indices.len(), cut, max_length);
                let answers = answers(&logits, space);
                let path = staged.path();
                write_submission(task, file.test, path, &indices, &answers, space)?;
                files.push(Written { file: file.name, rows: indices.len(), filler: false });
            }
        }
        let mut lacking = Vec::new();
        for file in missing {
            if self.fill_missing {
                file.write_filler(staged.path())?;
                files.push(Written { file: file.name, rows: file.rows, filler: true });
            } else {
                lacking.push(file.name);
            }
        }
        if self.zip {
            let names: Vec<&str> = files.iter().map(|file| file.file).collect();
            write_archive(staged.path(), &names)
                .map_err(|source| CliError::Io { doing: format!("write {ARCHIVE}"), source })?;
        }
        staged.commit()?;
        let output_dir = self.output_dir.clone();
        let submitted = Submitted { files, missing: lacking, output_dir };
        common.messages().result(&submitted, submitted.words())
    }

    /// The files to predict, and those that nothing was given for. The diagnostic set is MNLI's and
    /// may be absent; every other test file of a given task must be there.
    fn plan(&self) -> Result<(Vec<SubmissionFile>, Vec<SubmissionFile>), CliError> {
        let (mut planned, mut missing) = (Vec::new(), Vec::new());
        for file in submission_files() {
            let given = self.adapter.iter().any(|(task, _)| task.name == file.task.name);
            match (given, file.task.path(&self.data, file.test)) {
                (false, _) => missing.push(file),
                (true, Err(_)) if file.name == "AX.tsv" => missing.push(file),
                (true, found) => {
                    found?;
                    planned.push(file);
                }
            }
        }
        Ok((planned, missing))
    }
}

/// Every file that a directory of ours may hold.
fn own_files() -> Vec<&'static str> {
    submission_files().iter().map(|file| file.name).chain([ARCHIVE]).collect()
}

/// That the head answers the task, before hours of prediction.
fn check_labels(task: &'static Task, space: &AnswerSpace, adapter: &Path) -> Result<(), CliError> {
    let wrong = |what: String| {
        let adapter = adapter.display();
        Err(CliError::usage(format!("{adapter} is no adapter for {}: it gives {what}", task.name)))
    };
    match (task.kind == space.kind(), space.labels()) {
        (false, _) => wrong(space.kind().name().to_owned()),
        (true, Some(labels)) => {
            match labels.names().iter().find(|name| task.raw_label(name).is_none()) {
                Some(label) => wrong(format!("the label {}", quoted(label))),
                None => Ok(()),
            }
        }
        (true, None) => Ok(()),
    }
}

fn say_of_rows(common: &Common, file: &SubmissionFile, rows: usize, cut: usize, max_length: usize) {
    if rows != file.rows {
        common.note(format_args!(
            "note: {} has {rows} rows; the server's test set has {}",
            file.name, file.rows
        ));
    }
    if cut > 0 {
        common.note(format_args!(
            "note: {cut} of {rows} rows for {} are longer than {max_length} tokens and were cut \
             (--max-length)",
            file.name
        ));
    }
}

fn write_archive(folder: &Path, names: &[&str]) -> io::Result<()> {
    let file = std::fs::File::create(folder.join(ARCHIVE))?;
    let mut archive = zip::ZipWriter::new(file);
    for name in names {
        let method = zip::CompressionMethod::Deflated;
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        archive.start_file(*name, options)?;
        io::copy(&mut std::fs::File::open(folder.join(name))?, &mut archive)?;
    }
    archive.finish()?.flush()
}

impl Submitted {
    fn words(&self) -> String {
        let mut text = String::new();
        for Written { file, rows, filler } in &self.files {
            let what = if *filler { "one constant answer" } else { "predictions" };
            text += &format!("{file:<10} {rows:>7} rows, {what}\n");
        }
        if !self.missing.is_empty() {
            text += &format!(
                "missing: {}; the server takes complete sets only (--fill-missing)\n",
                self.missing.join(", ")
            );
        }
        text + &format!("written to {}", self.output_dir.display())
    }
}
