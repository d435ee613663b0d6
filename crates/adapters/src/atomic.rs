//! Files and directories that are there whole or not at all.
//!
//! Everything is prepared under a temporary name beside its destination, synced to the disk, and
//! renamed. A reader therefore never sees half a file, and a run that dies leaves at worst a hidden
//! `.adaptkit-….partial` behind. A directory that replaces another changes places with it in one
//! step where the system can do that (Linux), so that at no moment nothing is there; elsewhere the
//! old one is renamed away first and renamed back if the new one cannot take its place.
//!
//! Replacing a directory deletes what it held. It is therefore refused if it holds anything that
//! the caller does not claim as its own files: `--overwrite` on the wrong directory must not cost
//! somebody their home.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::AdapterError;

/// Entries that systems leave in directories and nobody misses.
const LITTER: [&str; 3] = [".DS_Store", "Thumbs.db", "desktop.ini"];

/// What is temporary begins and ends with these.
const PARTIAL: (&str, &str) = (".adaptkit-", ".partial");

/// Writes `bytes` as the file `path`, creating its directory if need be and replacing what is there.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), AdapterError> {
    write_file_with(path, |file| file.write_all(bytes))
}

/// Writes the file `path` with `fill`, creating its directory if need be and replacing what is
/// there once `fill` has returned well. A pipe or a device (`/dev/stdout`, `/dev/null`) is written
/// to as it stands: a rename would put a file in its place.
pub fn write_file_with(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), AdapterError> {
    if let Ok(metadata) = fs::metadata(path) {
        if metadata.is_dir() {
            let source = io::ErrorKind::IsADirectory.into();
            return Err(failed("write", path)(source));
        }
        if !metadata.is_file() {
            let file = OpenOptions::new().write(true).open(path).map_err(failed("write", path))?;
            let mut writer = io::BufWriter::new(file);
            let written = fill(&mut writer).and_then(|()| writer.flush());
            return written.map_err(failed("write", path));
        }
    }
    let destination = behind_link(path)?;
    let parent = parent_of(&destination);
    create_directories(parent)?;
    let (partial, file) =
        temporary(parent, |path| OpenOptions::new().write(true).create_new(true).open(path))
            .map_err(failed("create a file in", parent))?;
    let mut guard = Discard { path: partial, directory: false, armed: true };
    let mut writer = io::BufWriter::with_capacity(1 << 20, file);
    fill(&mut writer)
        .and_then(|()| writer.into_inner().map_err(io::IntoInnerError::into_error))
        .and_then(|file| file.sync_all())
        .map_err(failed("write", &destination))?;
    fs::rename(&guard.path, &destination).map_err(failed("write", &destination))?;
    guard.armed = false;
    sync_directory(parent).map_err(failed("write", &destination))
}

/// Whether [`write_file`] can be expected to write the file `path`: it is no directory, and a file can
/// be made where it will be. A command asks this before its long work.
///
/// # Errors
/// What stands in the way.
pub fn check_file(path: &Path) -> Result<(), AdapterError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(failed("write", path)(io::ErrorKind::IsADirectory.into()));
        }
        // A pipe or a device is written to as it stands, and opening it may wait for its reader.
        Ok(metadata) if !metadata.is_file() => return Ok(()),
        _ => {}
    }
    let destination = behind_link(path)?;
    let parent = existing_above(&destination);
    let open = |path: &Path| OpenOptions::new().write(true).create_new(true).open(path);
    let (probe, _) = temporary(parent, open).map_err(failed("create a file in", parent))?;
    fs::remove_file(&probe).map_err(failed("remove", &probe))
}

/// Creates the directory `path` and those above it that are missing, and syncs the directories that
/// hold the new names: after a power failure a file that was synced in there must still have a path.
pub fn create_directories(path: &Path) -> Result<(), AdapterError> {
    let is_missing = |directory: &&Path| fs::symlink_metadata(directory).is_err();
    let named = path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty());
    let missing: Vec<&Path> = named.take_while(is_missing).collect();
    fs::create_dir_all(path).map_err(failed("create the directory", path))?;
    missing.into_iter().try_for_each(|made| {
        sync_directory(parent_of(made)).map_err(failed("create the directory", made))
    })
}

/// Makes what was written to the file `path` last, its name included; does nothing if it is not there.
pub fn sync_file(path: &Path) -> Result<(), AdapterError> {
    // Windows syncs only what is open for writing.
    let file = match OpenOptions::new().append(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed("write", path)(source)),
    };
    file.sync_all().and_then(|()| sync_directory(parent_of(path))).map_err(failed("write", path))
}

/// A directory in the making, beside the one it will become.
///
/// Dropped without [`StagedDirectory::commit`] it disappears.
#[derive(Debug)]
pub struct StagedDirectory {
    destination: PathBuf,
    overwrite: bool,
    own: Vec<String>,
    staged: Discard,
}

impl StagedDirectory {
    /// Whether `path` may become an output directory: it does not exist, or is empty, or
    /// `overwrite` is given and it holds nothing but entries named in `own`; and something can be
    /// made where it will be. A command asks this before its long work.
    pub fn check(path: &Path, overwrite: bool, own: &[&str]) -> Result<(), AdapterError> {
        let own: Vec<String> = own.iter().map(|name| String::from(*name)).collect();
        let destination = behind_link(path)?;
        occupancy(&destination, overwrite, &own)?;
        let parent = existing_above(&destination);
        let (probe, ()) = temporary(parent, |path| fs::create_dir(path))
            .map_err(failed("create a directory in", parent))?;
        fs::remove_dir(&probe).map_err(failed("remove", &probe))
    }

    /// Begins a directory that will be `path`, under the conditions of [`StagedDirectory::check`].
    /// The directories above it are created.
    pub fn create(
        path: &Path,
        overwrite: bool,
        own: &[&str],
    ) -> Result<StagedDirectory, AdapterError> {
        let own: Vec<String> = own.iter().map(|name| String::from(*name)).collect();
        let destination = behind_link(path)?;
        occupancy(&destination, overwrite, &own)?;
        let parent = parent_of(&destination);
        create_directories(parent)?;
        let (path, ()) = temporary(parent, |path| fs::create_dir(path))
            .map_err(failed("create a directory in", parent))?;
        let staged = Discard { path, directory: true, armed: true };
        Ok(StagedDirectory { destination, overwrite, own, staged })
    }

    /// Where to write until it is committed.
    pub fn path(&self) -> &Path {
        &self.staged.path
    }

    /// What it will become.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Puts the directory where it belongs. If that fails it is kept, and the error says where.
    pub fn commit(mut self) -> Result<(), AdapterError> {
        // From here on there are finished results in it.
        self.staged.armed = false;
        let (destination, staged) = (&self.destination, &self.staged.path);
        let not_placed = |source| AdapterError::NotPlaced {
            path: destination.clone(),
            kept: staged.clone(),
            source,
        };
        sync_tree(staged).map_err(not_placed)?;
        let occupied = occupancy(destination, self.overwrite, &self.own)
            .map_err(|error| not_placed(io::Error::other(error.to_string())))?;
        let previous = match occupied {
            Occupancy::Free => {
                fs::rename(staged, destination).map_err(not_placed)?;
                None
            }
            Occupancy::Replaceable => Some(exchange(staged, destination).map_err(not_placed)?),
        };
        sync_directory(parent_of(destination)).map_err(failed("write", destination))?;
        match previous {
            None => Ok(()),
            Some(previous) => fs::remove_dir_all(&previous).map_err(|source| {
                AdapterError::PreviousRemains { path: destination.clone(), previous, source }
            }),
        }
    }
}

/// A temporary file or directory, removed when dropped while armed.
#[derive(Debug)]
struct Discard {
    path: PathBuf,
    directory: bool,
    armed: bool,
}

impl Drop for Discard {
    fn drop(&mut self) {
        if self.armed {
            // The error that led here is being reported; a leftover is hidden and harmless.
            let _ = if self.directory {
                fs::remove_dir_all(&self.path)
            } else {
                fs::remove_file(&self.path)
            };
        }
    }
}

/// What stands at a destination that may be taken.
enum Occupancy {
    Free,
    Replaceable,
}

/// The nearest directory above a path that is there.
fn existing_above(path: &Path) -> &Path {
    path.ancestors().map(parent_of).find(|parent| parent.exists()).unwrap_or(Path::new("."))
}

fn occupancy(path: &Path, overwrite: bool, own: &[String]) -> Result<Occupancy, AdapterError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupancy::Free),
        Err(source) => {
            let path = path.to_path_buf();
            return Err(AdapterError::Io { action: "use as an output directory", path, source });
        }
    };
    let mut empty = true;
    for entry in entries {
        let entry = entry.map_err(failed("read", path))?;
        empty = false;
        let name = entry.file_name().to_string_lossy().into_owned();
        let temporary = name.starts_with(PARTIAL.0) && name.ends_with(PARTIAL.1);
        let known = temporary || LITTER.contains(&name.as_str()) || own.contains(&name);
        if overwrite && !known {
            return Err(AdapterError::OutputHoldsOthers { path: path.to_path_buf(), entry: name });
        }
    }
    match (empty, overwrite) {
        (false, false) => Err(AdapterError::OutputExists { path: path.to_path_buf() }),
        _ => Ok(Occupancy::Replaceable),
    }
}

/// Puts the directory `new` in the place of the directory `old`; returns where the latter is now.
fn exchange(new: &Path, old: &Path) -> io::Result<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(new.to_path_buf()),
            // Some file systems cannot; everything else is a real failure.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (aside, ()) = temporary(parent_of(old), |path| fs::rename(old, path))?;
    match fs::rename(new, old) {
        Ok(()) => Ok(aside),
        Err(error) => {
            fs::rename(&aside, old)?;
            Err(error)
        }
    }
}

/// Makes something under a name in `parent` that nothing has yet.
fn temporary<T>(parent: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{number}{}", PARTIAL.0, std::process::id(), PARTIAL.1);
        let path = parent.join(name);
        // A rename would silently take the place of an empty directory.
        if fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        match make(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => return made.map(|made| (path, made)),
        }
    }
}

/// `path`, or what it links to: a link stays a link, and what it leads to is replaced.
fn behind_link(path: &Path) -> Result<PathBuf, AdapterError> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    if is_link || (path.file_name().is_none() && path.exists()) {
        return fs::canonicalize(path).map_err(failed("resolve", path));
    }
    Ok(path.to_path_buf())
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AdapterError {
    let path = path.to_path_buf();
    move |source| AdapterError::Io { action, path, source }
}

/// Syncs every file below `directory`, and the directories themselves.
fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            OpenOptions::new().append(true).open(entry.path())?.sync_all()?;
        }
    }
    sync_directory(directory)
}

/// Makes the names in a directory last, where the system has such a thing and lets us: some file
/// systems do not know it, and a directory may be writable without being readable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error) if !matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => {
            Err(error)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
