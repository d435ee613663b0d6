//! The golden files are those that the manifest names, and hold what the tests of the other crates
//! look for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use adaptkit_testkit::{Golden, golden_dir};
use sha2::{Digest, Sha256};

/// Paths with slashes and SHA-256 of the manifest.
fn manifest(root: &Path) -> Vec<(String, String)> {
    let text = fs::read(root.join("MANIFEST.json")).expect("the manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let files = manifest["sha256"].as_object().expect("an object");
    files.iter().map(|(k, v)| (k.clone(), v.as_str().expect("a hash").to_owned())).collect()
}

/// The directories that the manifest names.
fn names() -> BTreeSet<String> {
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    manifest(&golden_dir("")).iter().map(|(path, _)| first(path)).collect()
}

/// Every file below a folder, as a path with slashes that begins with `prefix`.
fn files_below(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files_below(&entry.path(), &path, found);
        } else {
            found.insert(path);
        }
    }
}

#[test]
fn every_file_has_the_hash_that_the_manifest_gives() {
    let mut wrong = Vec::new();
    let root = golden_dir("");
    let files = manifest(&root);
    assert!(files.len() > 20, "{} files", files.len());
    for (name, want) in files {
        let hash = fs::read(root.join(&name)).map(|bytes| {
            Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>()
        });
        if hash.as_ref().ok() != Some(&want) {
            wrong.push(format!("{name}: {hash:?} for {want}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_missing_from_the_manifest() {
    let mut found = BTreeSet::new();
    for name in names() {
        files_below(&golden_dir(&name), &name, &mut found);
    }
    let listed: BTreeSet<String> =
        manifest(&golden_dir("")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, listed);
}

#[test]
fn goldens_hold_rows_and_a_model() {
    for name in names() {
        let golden = Golden::at(&golden_dir(&name));
        assert!(golden.model_dir().join("config.json").is_file(), "{name}");
        let rows = golden.rows();
        let tokens: usize = rows.iter().map(|(ids, _)| ids.len()).sum();
        assert_eq!(golden.shape("ids"), [tokens], "{name}");
        assert!(rows.iter().all(|(ids, types)| ids.len() == types.len()), "{name}");
        assert!(rows.iter().any(|(ids, _)| ids.len() == 1), "{name}");
        for tensor in golden.names() {
            let numbers: usize = golden.shape(&tensor).iter().product();
            if matches!(&tensor[..], "ids" | "type_ids" | "offsets")
                || (tensor == "targets" && !targets_are_numbers(&name))
            {
                assert_eq!(golden.integers(&tensor).len(), numbers, "{tensor}");
            } else {
                let values = golden.floats(&tensor);
                assert_eq!(values.len(), numbers, "{name}: {tensor}");
                assert!(values.iter().all(|x| x.is_finite()), "{name}: {tensor}");
            }
        }
    }
}

/// Whether the targets are numbers and not classes.
fn targets_are_numbers(name: &str) -> bool {
    ["adapter-seq-bn-regression", "adapter-seq-bn-multi-label"].contains(&name)
}

#[test]
fn an_adapter_finds_its_base() {
    let cases = [
        ("bert", "bert"),
        ("adapter-seq-bn", "bert"),
        ("adapter-roberta-seq-bn", "roberta"),
        ("adapter-distilbert-double-seq-bn", "distilbert"),
        ("fusion-dynamic-2", "bert"),
    ];
    for (name, base) in cases {
        let found = Golden::at(&golden_dir(name)).model_dir();
        assert_eq!(found, golden_dir(base).join("model"), "{name}");
    }
}
