//! Where rows come from: files, several files by pattern, standard input; compressed or not.
//!
//! What a file is shows in its first bytes and not in its name, so that compression is seen through a
//! pipe as well: gzip and Zstandard are read, and whatever is no text is refused by name. A file that
//! is called `.gz` and is not compressed is an error, since it is more likely a failed download than a
//! choice.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adaptkit_encoder::foreign_text::path_shown;
use flate2::read::MultiGzDecoder;

use super::compression::ZstdReader;
use super::file_kind::FileKind;
use super::pipe::{PipeState, read_in_thread};
use crate::TrainingError;

/// Endings of compressed files, which stand behind the ending that tells the format.
pub(super) const COMPRESSED: [&str; 3] = [".gz", ".zst", ".zstd"];

/// How many bytes of a file are looked at to tell what it is.
const START: usize = 4096;

/// How deep compressed files are looked into: `rows.tar.gz` is a tar archive in gzip.
const DEPTH: usize = 2;

/// One source of rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// Standard input, `-` on the command line.
    StandardInput,
    /// A file, or a folder with a file or a folder for each label.
    File(PathBuf),
}

/// The bytes of an input after decompression.
pub(crate) struct OpenInput {
    pub(crate) reader: Box<dyn Read + Send>,
    pub(crate) compressed: bool,
    /// Tells whether a read would wait; `None` where it never does, as of a regular file.
    pub(crate) pipe: Option<PipeState>,
}

impl Input {
    /// The inputs that `names` stand for, in their order: `-`, files, folders, and patterns with `*`,
    /// `?` and `[…]` (but not `**`), whose matches are sorted and leave folders out. A file that
    /// exists is taken literally, whatever characters its name has.
    ///
    /// # Errors
    /// A file that is not there, a pattern that matches no file, an input named twice, no names at
    /// all.
    pub fn resolve<S: AsRef<OsStr>>(names: &[S]) -> Result<Vec<Input>, TrainingError> {
        let mut inputs = Vec::new();
        for name in names {
            let name = name.as_ref();
            let path = Path::new(name);
            match name.to_str() {
                Some("-") => inputs.push(Input::StandardInput),
                Some(pattern) if pattern.contains(['*', '?', '[']) && !path.exists() => {
                    inputs.extend(matches_of(pattern)?);
                }
                _ => inputs.push(Input::File(path.to_path_buf())),
            }
        }
        if inputs.is_empty() {
            return Err(TrainingError::NoInputs);
        }
        let mut seen = HashSet::new();
        for input in &inputs {
            if let Input::File(path) = input {
                fs::metadata(path)
                    .map_err(|source| TrainingError::Read { file: input.name(), source })?;
            }
            if !seen.insert(input) {
                return Err(TrainingError::InputTwice { file: input.name() });
            }
        }
        Ok(inputs)
    }

    /// The input as messages call it.
    pub fn name(&self) -> Arc<str> {
        match self {
            Input::StandardInput => "standard input".into(),
            Input::File(path) => shown(path),
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        matches!(self, Input::File(path) if path.is_dir())
    }

    pub(crate) fn is_regular_file(&self) -> bool {
        matches!(self, Input::File(path) if path.is_file())
    }

    pub(crate) fn open(&self) -> Result<OpenInput, TrainingError> {
        let failed = |source| TrainingError::Read { file: self.name(), source };
        match self {
            Input::StandardInput => match regular_standard_input() {
                Some(file) => decompressed(&self.name(), Box::new(file), None),
                None => {
                    let (reader, state) = read_in_thread(io::stdin());
                    decompressed(&self.name(), Box::new(reader), Some(state))
                }
            },
            Input::File(path) => {
                let file = File::open(path).map_err(failed)?;
                let metadata = file.metadata().map_err(failed)?;
                if metadata.is_dir() {
                    return Err(TrainingError::IsFolder { file: self.name() });
                }
                if metadata.is_file() {
                    return decompressed(&self.name(), Box::new(file), None);
                }
                let (reader, state) = read_in_thread(file);
                decompressed(&self.name(), Box::new(reader), Some(state))
            }
        }
    }
}

/// Standard input where a file was redirected to it: nothing ever waits for that.
#[cfg(unix)]
fn regular_standard_input() -> Option<File> {
    use std::os::fd::AsFd;
    let file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file)
}

#[cfg(not(unix))]
fn regular_standard_input() -> Option<File> {
    None
}

fn matches_of(pattern: &str) -> Result<Vec<Input>, TrainingError> {
    let bad = |reason| TrainingError::BadPattern { pattern: pattern.to_string(), reason };
    // Links that lead back up would be followed again and again: forty deep, and in all orders.
    if pattern.contains("**") {
        return Err(bad("`**` is not supported; give each level of folders a `*`"));
    }
    let paths = glob::glob(pattern).map_err(|error| bad(error.msg))?;
    let mut found = Vec::new();
    for path in paths {
        let path = path.map_err(|error| TrainingError::Read {
            file: shown(error.path()),
            source: error.into(),
        })?;
        if !path.is_dir() && !is_hidden(&path, pattern) {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(TrainingError::NoMatch { pattern: pattern.to_string() });
    }
    found.sort();
    Ok(found.into_iter().map(Input::File).collect())
}

/// Whether a file or a folder on its path is hidden, and the pattern does not ask for hidden ones: as
/// in shells, `*` matches none. What systems leave in folders is no data.
fn is_hidden(path: &Path, pattern: &str) -> bool {
    let hidden = |part: &OsStr| part.as_encoded_bytes().starts_with(b".");
    let parts = |path| Path::iter(path).filter(|part| *part != ".");
    parts(path).zip(parts(Path::new(pattern))).any(|(part, asked)| hidden(part) && !hidden(asked))
}

/// `reader`'s bytes, decompressed where they begin as a compressed file does.
///
/// # Errors
/// A file that is no text, by its first bytes.
pub(crate) fn decompressed(
    name: &Arc<str>,
    reader: Box<dyn Read + Send>,
    pipe: Option<PipeState>,
) -> Result<OpenInput, TrainingError> {
    let mut input = OpenInput { reader, compressed: false, pipe };
    for depth in 0.. {
        let (start, kind) = start_of(name, &mut input)?;
        let named = COMPRESSED.iter().any(|ending| name.ends_with(ending));
        if depth == 0 && !start.is_empty() && named && kind == FileKind::Text {
            let reason = "not a compressed file, as its name says";
            let source = io::Error::new(io::ErrorKind::InvalidData, reason);
            return Err(TrainingError::BadCompression { file: name.clone(), source });
        }
        let whole = io::Cursor::new(start).chain(input.reader);
        input.reader = match kind {
            FileKind::Text => Box::new(whole),
            FileKind::Other(kind) => {
                let (what, way_out) = (kind.name(), kind.way_out(name));
                let (file, inside) = (name.clone(), depth > 0);
                return Err(TrainingError::NotText { file, inside, what, way_out });
            }
            _ if depth == DEPTH => {
                return Err(TrainingError::CompressedTooOften { file: name.clone() });
            }
            FileKind::Gzip => Box::new(MultiGzDecoder::new(whole)),
            FileKind::Zstd => Box::new(ZstdReader::new(whole)),
        };
        if kind == FileKind::Text {
            break;
        }
        input.compressed = true;
    }
    Ok(input)
}

/// The first bytes of an input and what they say it is. More than one read is made only where the
/// first leaves it open, so that a line that came through a pipe is not held back.
fn start_of(name: &Arc<str>, input: &mut OpenInput) -> Result<(Vec<u8>, FileKind), TrainingError> {
    let mut start = vec![0; START];
    let mut filled = 0;
    loop {
        match input.reader.read(&mut start[filled..]) {
            Ok(0) => {
                start.truncate(filled);
                let kind = FileKind::of(&start).unwrap_or(FileKind::Text);
                return Ok((start, kind));
            }
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(input.read_error(name, source)),
        }
        if let Some(kind) = FileKind::of(&start[..filled]) {
            // An archive's first file tells more.
            if matches!(kind, FileKind::Other(_)) && filled < START {
                continue;
            }
            start.truncate(filled);
            return Ok((start, kind));
        }
    }
}

impl OpenInput {
    /// What a failed read says.
    pub(crate) fn read_error(&self, name: &Arc<str>, source: io::Error) -> TrainingError {
        let file = name.clone();
        match self.compressed {
            true => TrainingError::BadCompression { file, source },
            false => TrainingError::Read { file, source },
        }
    }
}

/// A path as messages show it.
pub(super) fn shown(path: &Path) -> Arc<str> {
    path_shown(path).into()
}

/// A file's name in a command for a shell, or a word for it where the name would need quoting.
pub(super) fn shell_name(file: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match !file.is_empty() && !file.starts_with('-') && file.chars().all(plain) {
        true => file.to_owned(),
        false => "FILE".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_resolve_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.tsv", "a.tsv", "c.csv", "odd[1].tsv", "._a.tsv"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        fs::create_dir(folder.path().join("folder.tsv")).unwrap();
        let path = |name: &str| folder.path().join(name);
        let resolve = |names: &[&str]| {
            let names: Vec<PathBuf> = names
                .iter()
                .map(|&name| if name == "-" { name.into() } else { path(name) })
                .collect();
            Input::resolve(&names)
        };
        let file = |name: &str| Input::File(path(name));

        let cases: [(&[&str], Vec<Input>); 5] = [
            (&["c.csv", "-"], vec![file("c.csv"), Input::StandardInput]),
            (&["[ab].tsv"], vec![file("a.tsv"), file("b.tsv")]),
            (&["*.tsv"], vec![file("a.tsv"), file("b.tsv"), file("odd[1].tsv")]),
            (&["odd[1].tsv"], vec![file("odd[1].tsv")]),
            (&[".*.tsv"], vec![file("._a.tsv")]),
        ];
        for (names, expected) in cases {
            assert_eq!(resolve(names).unwrap(), expected, "{names:?}");
        }

        let failures: [(&[&str], &str); 6] = [
            (&[], "no input file"),
            (&["none.tsv"], "none.tsv: "),
            (&["none*.tsv"], "no file matches"),
            (&["a.tsv", "*.tsv"], "a.tsv is named twice"),
            (&["-", "-"], "standard input is named twice"),
            (&["a***.tsv"], "is not valid"),
        ];
        for (names, message) in failures {
            let error = resolve(names).unwrap_err().to_string();
            assert!(error.contains(message), "{names:?}: {error}");
        }
    }
}
