//! Directories of fusions that are not what they say: each error names what is wrong.

use std::path::Path;

use adaptkit_adapters::files::StoredFusion;
use adaptkit_testkit::golden_dir;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => std::fs::write(&to, std::fs::read(entry.path()).expect("a file")).expect("it"),
        }
    }
}

/// (file, what is replaced in it, by what, what the error says); a file replaced by nothing whole
/// is removed.
const CASES: [(&str, &str, &str, &str); 10] = [
    ("adapter_setup.json", "\"Fuse\"", "\"Stack\"", "adapter_setup.type"),
    ("adapter_setup.json", "\"qqp\"", "\"mnli\"", "another member has the same name"),
    ("adapter_setup.json", "\"qqp\"", "\"../qqp\"", "separate the parts of names"),
    ("adapter_setup.json", "\"qqp\"", "\"rte\"", "mnli,rte"),
    ("adapter_setup.json", "\"fused\"", "\"other\"", "other"),
    (
        "mnli,qqp/adapter_fusion_config.json",
        "\"mnli\",\n    \"qqp\"",
        "\"qqp\",\n    \"mnli\"",
        "adapter_names",
    ),
    (
        "mnli,qqp/adapter_fusion_config.json",
        "\"temperature\": false",
        "\"temperature\": true",
        "temperature",
    ),
    ("mnli,qqp/adapter_fusion_config.json", "\"value\": true", "\"value\": false", "value.weight"),
    (
        "qqp/adapter_config.json",
        "\"hidden_size\": 32",
        "\"hidden_size\": 64",
        "\"adapter_down.0.weight\"",
    ),
    ("qqp/adapter_config.json", "", "", "qqp"),
];

#[test]
fn what_is_wrong_is_named() {
    for (file, from, to, message) in CASES {
        let home = tempfile::tempdir().expect("a directory");
        copy(&golden_dir("fusion-dynamic-2").join("setup"), home.path());
        let path = home.path().join(file);
        let text = std::fs::read_to_string(&path).expect("a file");
        match from {
            "" => std::fs::remove_file(&path).expect("removed"),
            _ => {
                assert!(text.contains(from), "{file} has no {from}");
                std::fs::write(&path, text.replace(from, to)).expect("written");
            }
        }
        let error = StoredFusion::read(home.path()).expect_err(file).to_string();
        assert!(error.contains(message.trim_matches('"')), "{file}, {to}: {error}");
    }
}
