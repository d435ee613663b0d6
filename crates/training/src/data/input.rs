//! Where rows come from: files, several files by pattern, standard input; compressed or not.
//!
//! Compression is seen from the first two bytes and not from the name, so that it works through a
//! pipe as well; no text in any encoding we read begins with gzip's signature. A file that is called
//! `.gz` and is not compressed is an error, since it is more likely a failed download than a choice.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use crate::TrainingError;

const GZIP_SIGNATURE: [u8; 2] = [0x1f, 0x8b];

/// One source of rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// Standard input, `-` on the command line.
    StandardInput,
    /// A file.
    File(PathBuf),
}

/// The bytes of an input after decompression.
pub(crate) struct OpenInput {
    pub(crate) reader: Box<dyn Read + Send>,
    pub(crate) compressed: bool,
}

impl Input {
    /// The inputs that `names` stand for, in their order: `-`, files, and patterns with `*`, `?` and
    /// `[…]` (but not `**`), whose matches are sorted. A file that exists is taken literally, whatever characters
    /// its name has.
    ///
    /// # Errors
    /// A file that is not there, a folder, a pattern that matches no file, an input named twice, no
    /// names at all.
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
            input.check()?;
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
            Input::File(path) => path.display().to_string().into(),
        }
    }

    fn check(&self) -> Result<(), TrainingError> {
        let Input::File(path) = self else { return Ok(()) };
        let metadata = fs::metadata(path)
            .map_err(|source| TrainingError::Read { file: self.name(), source })?;
        if metadata.is_dir() {
            return Err(TrainingError::IsFolder { file: self.name() });
        }
        Ok(())
    }

    pub(crate) fn open(&self) -> Result<OpenInput, TrainingError> {
        self.check()?;
        let reader: Box<dyn Read + Send> = match self {
            Input::StandardInput => Box::new(io::stdin()),
            Input::File(path) => Box::new(
                File::open(path)
                    .map_err(|source| TrainingError::Read { file: self.name(), source })?,
            ),
        };
        decompressed(&self.name(), reader)
    }
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
            file: error.path().display().to_string().into(),
            source: error.into(),
        })?;
        if !path.is_dir() {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(TrainingError::NoMatch { pattern: pattern.to_string() });
    }
    found.sort();
    Ok(found.into_iter().map(Input::File).collect())
}

/// `reader`'s bytes, decompressed where they begin with gzip's signature.
pub(crate) fn decompressed(
    name: &Arc<str>,
    mut reader: Box<dyn Read + Send>,
) -> Result<OpenInput, TrainingError> {
    let mut start = [0; GZIP_SIGNATURE.len()];
    let mut filled = 0;
    while filled < start.len() {
        match reader.read(&mut start[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(TrainingError::Read { file: name.clone(), source }),
        }
    }
    let compressed = start == GZIP_SIGNATURE;
    if !compressed && filled > 0 && name.ends_with(".gz") {
        let source = io::Error::new(io::ErrorKind::InvalidData, "not a gzip file");
        return Err(TrainingError::BadGzip { file: name.clone(), source });
    }
    let whole = io::Cursor::new(start).take(filled as u64).chain(reader);
    let reader: Box<dyn Read + Send> =
        if compressed { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
    Ok(OpenInput { reader, compressed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_resolve_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.tsv", "a.tsv", "c.csv", "odd[1].tsv"] {
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

        let cases: [(&[&str], Vec<Input>); 4] = [
            (&["c.csv", "-"], vec![file("c.csv"), Input::StandardInput]),
            (&["[ab].tsv"], vec![file("a.tsv"), file("b.tsv")]),
            (&["*.tsv"], vec![file("a.tsv"), file("b.tsv"), file("odd[1].tsv")]),
            (&["odd[1].tsv"], vec![file("odd[1].tsv")]),
        ];
        for (names, expected) in cases {
            assert_eq!(resolve(names).unwrap(), expected, "{names:?}");
        }

        let failures: [(&[&str], &str); 7] = [
            (&[], "no input file"),
            (&["none.tsv"], "none.tsv: "),
            (&["none*.tsv"], "no file matches"),
            (&["folder.tsv"], "is a folder"),
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
