//! The folder of a run that is under way: `OUTPUT.checkpoint`, beside the output directory, which
//! itself appears only when the run is done.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use adaptkit::training::run::Keeping;
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::task_folder::METRICS;

/// The checkpoint's file in the folder.
const CHECKPOINT: &str = "checkpoint.safetensors";

/// Held by the one process whose run the folder is.
const LOCK: &str = "lock";

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

    /// Makes the folder, empty unless there is something to continue from, and holds it until what
    /// comes back is dropped.
    pub(crate) fn open(&self) -> Result<OpenFolder, CliError> {
        let lock = self.lock()?;
        let found = self.checkpoint().exists();
        if !(self.resume && found) {
            self.empty()?;
        }
        Ok(OpenFolder { _lock: lock, lacks_checkpoint: self.resume && !found })
    }

    fn lock(&self) -> Result<File, CliError> {
        let path = self.path.join(LOCK);
        loop {
            fs::create_dir_all(&self.path).map_err(|source| self.failed("create", source))?;
            let lock = match File::options().create(true).append(true).open(&path) {
                Ok(lock) => lock,
                // A run that just ended took the folder away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(self.failed("create the lock of", source)),
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(CliError::Running { path: self.path.clone() });
                }
                Err(TryLockError::Error(source)) => return Err(self.failed("lock", source)),
            }
            if is_at(&lock, &path) {
                return Ok(lock);
            }
        }
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
        if !self.path.exists() {
            return Ok(());
        }
        let others = self.empty()?;
        match fs::remove_file(self.path.join(LOCK)) {
            // Somebody took the folder away, and a checkpoint made it anew.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done.map_err(|source| self.failed("empty", source))?,
        }
        match others {
            true => Ok(()),
            false => fs::remove_dir(&self.path).map_err(|source| self.failed("remove", source)),
        }
    }

    /// Removes what is ours in the folder but the lock. True if something else is in it.
    fn empty(&self) -> Result<bool, CliError> {
        let mut others = false;
        for entry in fs::read_dir(&self.path).map_err(|source| self.failed("read", source))? {
            let entry = entry.map_err(|source| self.failed("read", source))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let partial = name.starts_with(".adaptkit-") && name.ends_with(".partial");
            if partial || name == CHECKPOINT || name == METRICS {
                fs::remove_file(entry.path()).map_err(|source| self.failed("empty", source))?;
            } else {
                others |= name != LOCK;
            }
        }
        Ok(others)
    }

    fn failed(&self, doing: &str, source: io::Error) -> CliError {
        CliError::Io { doing: format!("{doing} {}", self.path.display()), source }
    }
}

/// A run's folder, held.
pub(crate) struct OpenFolder {
    _lock: File,
    /// Whether there was to be something to continue from, and is not.
    pub(crate) lacks_checkpoint: bool,
}

/// Whether a file that was opened under this path is still there: a run that ends removes its lock,
/// and what another process locks then is a file without a name.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let one = file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        let other = fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
        matches!((one, other), (Ok(one), Ok(other)) if one == other)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_taken_away_meanwhile_does_not_fail_the_run_that_is_done() {
        let home = tempfile::tempdir().expect("a folder");
        let path = RunFolder::beside(&home.path().join("out"));
        let folder =
            RunFolder { path: path.clone(), resume: false, save_steps: 1, logging_steps: 1 };
        for anew in [false, true] {
            let held = folder.open().expect("a folder of its own");
            fs::remove_dir_all(&path).expect("the folder");
            if anew {
                fs::create_dir(&path).expect("the folder");
                fs::write(folder.checkpoint(), "a checkpoint").expect("a file");
            }
            folder.remove().expect("nothing to fail at");
            assert!(!path.exists());
            drop(held);
        }
    }
}
