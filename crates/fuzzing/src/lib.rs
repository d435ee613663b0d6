//! What the fuzzers run: for each parser a function of bytes that must return, whatever they are.
//!
//! The targets in `fuzz/` call these functions under libFuzzer on a nightly compiler; the test of
//! this crate calls them with every file of the corpus on the stable one. They go through the public
//! entry points only, so that what is fuzzed is what a user's file meets: bytes become a file where
//! a parser takes a path.
//!
//! A function returning is not enough to pass. Every error met on the way is printed and looked at:
//! what a hostile file puts into a message must be cut short and without control characters
//! (`refusal`). What is accepted is used (tensors are read, texts tokenised), and what can be
//! written is written and read again.

mod adapters;
mod models;
mod pulled;
mod rows;
mod runs;

pub use adapters::{
    adapter_config, adapter_setup, composition, fusion_config, head_config, provenance,
    tensor_names,
};
pub use models::{
    config, pickle, safetensors, sharded_index, tokenizer, tokenizer_files, tokenizer_settings,
    torch_file,
};
pub use pulled::{hub_index, hub_listing, pull_record, wheel};
pub use rows::{delimited, glue, json_lines, label_names, text_stream};
pub use runs::{checkpoint, prefix_cache};

use std::fmt::Display;
use std::path::Path;

use tempfile::TempDir;

/// A fuzzed parser: its name, which is also its corpus's, and what is run.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 26] = [
    ("adapter_config", adapter_config),
    ("adapter_setup", adapter_setup),
    ("checkpoint", checkpoint),
    ("composition", composition),
    ("config", config),
    ("delimited", delimited),
    ("fusion_config", fusion_config),
    ("glue", glue),
    ("head_config", head_config),
    ("hub_index", hub_index),
    ("hub_listing", hub_listing),
    ("json_lines", json_lines),
    ("label_names", label_names),
    ("pickle", pickle),
    ("prefix_cache", prefix_cache),
    ("provenance", provenance),
    ("pull_record", pull_record),
    ("safetensors", safetensors),
    ("sharded_index", sharded_index),
    ("tensor_names", tensor_names),
    ("text_stream", text_stream),
    ("tokenizer", tokenizer),
    ("tokenizer_files", tokenizer_files),
    ("tokenizer_settings", tokenizer_settings),
    ("torch_file", torch_file),
    ("wheel", wheel),
];

/// Bytes of the longest message: some names and values of a file, each cut short.
const LONGEST_MESSAGE: usize = 4096;

/// Looks at an error's words as they go to a terminal.
///
/// # Panics
/// If they are too long, or hold what would move the cursor.
fn refusal(error: &impl Display) {
    let words = error.to_string();
    assert!(!words.is_empty());
    assert!(words.len() <= LONGEST_MESSAGE, "a message of {} bytes: {words:.200}", words.len());
    assert!(!words.chars().any(char::is_control), "control characters in {words:?}");
}

/// A value that was read; a refusal is looked at.
fn accepted<T, E: Display>(result: Result<T, E>) -> Option<T> {
    result.inspect_err(refusal).ok()
}

/// A directory of these files, which is removed with what comes back.
fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, bytes) in files {
        write(&directory.path().join(name), bytes);
    }
    directory
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a temporary file");
}
