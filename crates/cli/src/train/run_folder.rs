//! The folder of a run that is under way: `OUTPUT.checkpoint`, beside the output directory, which
//! itself appears only when the run is done.
//!
//! A run can be killed between any two steps of its end: the output directory may be there with all of
//! the folder, with a part of it or with none. The result therefore bears a digest of what its run
//! depended on, by which the same command with `--resume` recognises it; what is left of the folder is
//! removed then. The checkpoint is removed before the log that belongs to it, so that there is never a
//! checkpoint without its log.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use adaptkit::adapters::atomic::create_directories;
use adaptkit::training::run::{EarlierResult, Keeping};
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::task_folder::{METRICS, RESULTS, RUN, TaskFolder};

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

    /// Whether a checkpoint is there.
    pub(crate) fn is_begun(&self) -> bool {
        self.checkpoint().exists()
    }

    /// Makes the folder, empty unless there is something to continue from, and holds it until what
    /// comes back is dropped.
    pub(crate) fn open(&self) -> Result<HeldFolder, CliError> {
        let lock = self.lock()?;
        if !(self.resume && self.checkpoint().exists()) {
            self.empty()?;
        }
        Ok(HeldFolder { _lock: lock })
    }

    fn lock(&self) -> Result<File, CliError> {
        let path = self.path.join(LOCK);
        loop {
            create_directories(&self.path)?;
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
    pub(crate) fn keeping(
        &self,
        facts: Map<String, Value>,
        result: Option<EarlierResult>,
    ) -> Keeping {
        Keeping { file: self.checkpoint(), steps: self.save_steps, facts, result }
    }

    /// The result in an output directory which this run may turn out to have made, if it is to be
    /// continued. One without a run's digest, or whose files cannot be read, is none.
    pub(crate) fn earlier_result(&self, output: &Path, replace: bool) -> Option<EarlierResult> {
        let results = self.resume.then(|| read_results(output))??;
        let run = results.get(RUN)?.as_str()?.to_owned();
        TaskFolder::read(output, None).ok()?;
        Some(EarlierResult { path: output.to_owned(), run: Some(run), replace })
    }

    fn checkpoint(&self) -> PathBuf {
        self.path.join(CHECKPOINT)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// The log of the whole run; empty where somebody has removed it.
    pub(crate) fn read_log(&self) -> Result<Vec<u8>, CliError> {
        match fs::read(self.log()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read.map_err(|source| self.failed("read the log in", source)),
        }
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
        for file in [self.checkpoint(), self.log()] {
            if file.exists() {
                fs::remove_file(file).map_err(|source| self.failed("empty", source))?;
            }
        }
        let mut others = false;
        for entry in fs::read_dir(&self.path).map_err(|source| self.failed("read", source))? {
            let entry = entry.map_err(|source| self.failed("read", source))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.starts_with(".adaptkit-") && name.ends_with(".partial") {
                true => {
                    fs::remove_file(entry.path()).map_err(|source| self.failed("empty", source))?;
                }
                false => others |= name != LOCK,
            }
        }
        Ok(others)
    }

    fn failed(&self, doing: &str, source: io::Error) -> CliError {
        CliError::Io { doing: format!("{doing} {}", self.path.display()), source }
    }
}

/// A run's folder, held until this is dropped.
pub(crate) struct HeldFolder {
    _lock: File,
}

/// The results in an output directory; `None` if they are not there or cannot be read.
pub(crate) fn read_results(output: &Path) -> Option<Map<String, Value>> {
    serde_json::from_slice(&fs::read(output.join(RESULTS)).ok()?).ok()
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
