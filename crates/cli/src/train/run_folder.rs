//! The folder of a run that is under way: `OUTPUT.checkpoint`, beside the output directory, which
//! itself appears only when the run is done.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use adaptkit::training::run::Keeping;
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::task_folder::METRICS;

/// The checkpoint's file in the folder.
const CHECKPOINT: &str = "checkpoint.safetensors";

/// Where a run is kept, and how often.
pub(crate) struct RunFolder {
    pub(crate) path: PathBuf,
    /// Whether to continue what an earlier run left there.
    pub(crate) resume: bool,
    /// Steps between checkpoints.
    pub(crate) save_steps: usize,
    /// Steps between lines of the log.
    pub(crate) logging_steps: usize,
}

impl RunFolder {
    /// The folder's path for an output directory.
    pub(crate) fn beside(output: &Path) -> PathBuf {
        // Components drop a trailing slash, after which the ending would be a file in the folder.
        let mut name: OsString = output.components().as_path().as_os_str().to_owned();
        name.push(".checkpoint");
        PathBuf::from(name)
    }

    /// A command asks this before its long work: what an earlier run left is not dropped unasked.
    pub(crate) fn check(&self, overwrite: bool) -> Result<(), CliError> {
        match self.checkpoint().exists() && !self.resume && !overwrite {
            true => Err(CliError::Unfinished { path: self.path.clone() }),
            false => Ok(()),
        }
    }

    /// Makes the folder, empty unless there is something to continue from. False if there was to
    /// be and is not.
    pub(crate) fn open(&self) -> Result<bool, CliError> {
        let found = self.checkpoint().exists();
        if !(self.resume && found) {
            self.remove()?;
        }
        fs::create_dir_all(&self.path).map_err(|source| self.failed("create", source))?;
        Ok(found || !self.resume)
    }

    /// What the loop is told.
    pub(crate) fn keeping(&self, facts: Map<String, Value>) -> Keeping {
        Keeping { file: self.checkpoint(), steps: self.save_steps, facts }
    }

    fn checkpoint(&self) -> PathBuf {
        self.path.join(CHECKPOINT)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// The log of the whole run.
    pub(crate) fn read_log(&self) -> Result<Vec<u8>, CliError> {
        fs::read(self.log()).map_err(|source| self.failed("read the log in", source))
    }

    /// After a failure: keeps the folder only if there is something to continue from.
    pub(crate) fn leave(&self) -> Result<(), CliError> {
        if self.checkpoint().exists() { Ok(()) } else { self.remove() }
    }

    /// Removes the folder with what is ours in it.
    pub(crate) fn remove(&self) -> Result<(), CliError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(self.failed("read", source)),
        };
        let mut others = false;
        for entry in entries {
            let entry = entry.map_err(|source| self.failed("read", source))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let partial = name.starts_with(".adaptkit-") && name.ends_with(".partial");
            if partial || name == CHECKPOINT || name == METRICS {
                fs::remove_file(entry.path()).map_err(|source| self.failed("empty", source))?;
            } else {
                others = true;
            }
        }
        match others {
            true => Ok(()),
            false => fs::remove_dir(&self.path).map_err(|source| self.failed("remove", source)),
        }
    }

    fn failed(&self, doing: &str, source: io::Error) -> CliError {
        CliError::Io { doing: format!("{doing} {}", self.path.display()), source }
    }
}
