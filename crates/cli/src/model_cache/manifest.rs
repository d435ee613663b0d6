//! The record that lies beside a pulled model's files: where they came from and their hashes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use adaptkit::encoder::foreign_text::{escaped, said};
use serde::{Deserialize, Serialize};

use crate::pull::{Way, digest};

/// The record's file name in a model's directory.
const MANIFEST_FILE: &str = "adaptkit_pull.json";

/// Where a model came from and what it consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The model's full name.
    pub(crate) model: String,
    /// Which way it came.
    pub(crate) way: Way,
    /// The Hub's address, or the wheels' names and versions.
    pub(crate) source: String,
    /// The commit on the Hub, where it said one.
    pub(crate) revision: Option<String>,
    /// The files.
    pub(crate) files: Vec<FileRecord>,
    /// The version that pulled it.
    pub(crate) adaptkit_version: String,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileRecord {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) checked: Check,
}

/// What a file's hash was compared with when it was pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Check {
    /// The hash that this program carries for a model it knows.
    Pinned,
    /// The digest that the Hub stated: its SHA-256, or for a small file git's own.
    Hub,
    /// Nothing but its length: no digest was stated. It is recorded for later.
    Recorded,
}

impl Check {
    /// In people's words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Check::Pinned => "as pinned",
            Check::Hub => "as the Hub states",
            Check::Recorded => "recorded",
        }
    }
}

impl Manifest {
    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Reads a record.
    pub(crate) fn parse(text: &[u8]) -> serde_json::Result<Manifest> {
        serde_json::from_slice(text)
    }

    /// Writes the record into the model's directory, synced.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let mut file = File::create(directory.join(MANIFEST_FILE))?;
        let text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        writeln!(file, "{text}")?;
        file.sync_all()
    }
}

/// What lies at a model's place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing.
    Missing,
    /// The files that were pulled, unchanged.
    Whole(Manifest),
    /// Something else; why.
    Damaged(String),
}

/// Compares a model's files with its record.
pub(super) fn state(directory: &Path) -> State {
    if !directory.exists() {
        return State::Missing;
    }
    let text = match fs::read(directory.join(MANIFEST_FILE)) {
        Ok(text) => text,
        Err(error) => return State::Damaged(format!("{MANIFEST_FILE}: {error}")),
    };
    let manifest = match Manifest::parse(&text) {
        Ok(manifest) => manifest,
        Err(error) => return State::Damaged(format!("{MANIFEST_FILE}: {}", said(error))),
    };
    for record in &manifest.files {
        match digest::of_file(&directory.join(&record.name)) {
            Ok((_, sha256)) if sha256 == record.sha256 => (),
            Ok((bytes, sha256)) => {
                return State::Damaged(format!(
                    "{} has {bytes} bytes with sha256 {sha256}, and {} with {} were pulled",
                    escaped(&record.name),
                    record.bytes,
                    escaped(&record.sha256)
                ));
            }
            Err(error) => return State::Damaged(format!("{}: {error}", escaped(&record.name))),
        }
    }
    State::Whole(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_whole_only_with_its_record_and_every_byte() {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("model");
        assert_eq!(state(&model), State::Missing);

        fs::create_dir(&model).unwrap();
        fs::write(model.join("config.json"), "{}").unwrap();
        let no_record = state(&model);
        assert!(matches!(&no_record, State::Damaged(why) if why.starts_with(MANIFEST_FILE)));

        let (bytes, sha256) = digest::of_file(&model.join("config.json")).unwrap();
        let record =
            FileRecord { name: "config.json".into(), bytes, sha256, checked: Check::Recorded };
        let manifest = Manifest {
            model: "org/name".into(),
            way: Way::Wheel,
            source: "a-wheel==1".into(),
            revision: None,
            files: vec![record],
            adaptkit_version: "0".into(),
        };
        manifest.write(&model).unwrap();
        assert_eq!(state(&model), State::Whole(manifest));

        fs::write(model.join("config.json"), "{ }").unwrap();
        assert!(matches!(state(&model), State::Damaged(why) if why.contains("3 bytes")));
        fs::remove_file(model.join("config.json")).unwrap();
        assert!(matches!(state(&model), State::Damaged(why) if why.starts_with("config.json")));
        fs::write(model.join(MANIFEST_FILE), "{").unwrap();
        assert!(matches!(state(&model), State::Damaged(why) if why.starts_with(MANIFEST_FILE)));
    }
}
