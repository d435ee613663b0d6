mod pickles;
mod safetensors_files;
mod torch_files;

use std::path::Path;

use tempfile::TempDir;

use super::Checkpoint;
use crate::EncoderError;

/// A directory with files.
fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// The message about opening one file.
fn refusal(name: &str, bytes: &[u8]) -> String {
    let dir = directory(&[(name, bytes)]);
    let error = Checkpoint::open_file(&dir.path().join(name)).err().expect("refused");
    assert!(
        matches!(error, EncoderError::Weights { .. } | EncoderError::WeightsRefused { .. }),
        "{error:?}"
    );
    let message = error.to_string();
    assert!(message.contains(name), "{message}");
    message
}

#[test]
fn a_directory_without_weights_says_what_was_looked_for() {
    let dir = directory(&[("config.json", b"{}"), ("tf_model.h5", b"x")]);
    let message = Checkpoint::open(dir.path()).err().unwrap().to_string();
    assert!(message.contains("no model.safetensors, no pytorch_model.bin"), "{message}");
}

#[test]
fn a_missing_file_is_named() {
    let error = Checkpoint::open_file(Path::new("nowhere/adapter.safetensors")).err().unwrap();
    assert!(matches!(error, EncoderError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("nowhere/adapter.safetensors"), "{error}");
}

#[test]
fn a_git_lfs_pointer_is_told_from_weights() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let message = refusal(name, pointer);
        assert!(message.contains("git lfs pull"), "{message}");
    }
}
