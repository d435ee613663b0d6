//! The base that is measured: one that is there, or random numbers in the shape of a known one.

use std::path::{Path, PathBuf};

use adaptkit::encoder::RandomBert;
use tempfile::TempDir;

use crate::error::CliError;
use crate::model_cache::resolve_model;
use crate::path_argument::PathArgument;

/// The names that stand for random weights.
const RANDOM: [(&str, RandomBert); 2] =
    [("bert-base", RandomBert::BASE), ("bert-large", RandomBert::LARGE)];

/// A base's directory.
pub(super) enum Base {
    Stored(PathBuf),
    /// Removed when this is dropped.
    Random(TempDir),
}

impl Base {
    /// The base that `--model` names. A random one is written to a temporary directory, so that
    /// loading it is what loading any base is.
    pub(super) fn open(name: &PathArgument) -> Result<Base, CliError> {
        let Some((_, shape)) = RANDOM.iter().find(|(known, _)| *known == &**name) else {
            return Ok(Base::Stored(resolve_model(name)?));
        };
        let directory = tempfile::tempdir().map_err(|source| CliError::Io {
            doing: format!("make a temporary directory for {name}'s random weights"),
            source,
        })?;
        shape.write(directory.path(), 0)?;
        Ok(Base::Random(directory))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Base::Stored(path) => path,
            Base::Random(directory) => directory.path(),
        }
    }
}
