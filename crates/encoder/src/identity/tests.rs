use std::path::Path;

use adaptkit_testkit::golden_dir;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use super::*;

fn of(dir: &Path) -> Identity {
    let config = EncoderConfig::from_dir(dir).expect("a configuration");
    identity(&config, &Checkpoint::open(dir).expect("weights")).expect("an identity")
}

/// A copy of a tiny base.
fn copy(family: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "model.safetensors"] {
        let from = golden_dir(family).join("model").join(name);
        std::fs::copy(from, home.path().join(name)).expect("a copy");
    }
    home
}

fn change_config(dir: &Path, change: impl FnOnce(&mut Value)) {
    let path = dir.join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    change(&mut config);
    std::fs::write(&path, config.to_string()).expect("a file");
}

#[test]
fn every_tensor_that_is_computed_with_counts() {
    for family in ["bert", "electra", "mpnet", "distilbert", "roberta"] {
        let home = copy(family);
        let file = home.path().join("model.safetensors");
        let whole = std::fs::read(&file).expect("a file");
        let plain = of(home.path());
        assert!(plain.fingerprint.starts_with("blake3:") && plain.sampled.starts_with("sha256:"));
        let tensors = SafeTensors::deserialize(&whole).expect("tensors");
        let config = EncoderConfig::from_dir(home.path()).expect("a configuration");
        let read = tensor_names(
            &config,
            &Checkpoint::open(home.path()).expect("weights"),
            config.num_hidden_layers,
        );
        let mut changed = 0;
        for (name, view) in tensors.iter() {
            let counts = read.iter().any(|read| name.ends_with(&read[..]));
            let start = view.data().as_ptr() as usize - whole.as_ptr() as usize;
            for at in [start, start + view.data().len() / 8 * 4, start + view.data().len() - 4] {
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                std::fs::write(&file, bytes).expect("a file");
                let same = of(home.path()).fingerprint == plain.fingerprint;
                assert_eq!(same, !counts, "{family}: {name}, byte {at}");
            }
            changed += usize::from(counts);
        }
        assert_eq!(changed, read.len(), "{family}");
        assert!(changed >= 16 * config.num_hidden_layers + 4, "{family}: {changed}");
    }
}

#[test]
fn every_field_that_is_computed_with_counts_and_no_other() {
    let plain = of(copy("bert").path()).fingerprint;
    for (field, value, counts) in [
        ("hidden_act", json!("relu"), true),
        ("layer_norm_eps", json!(1e-5), true),
        ("num_attention_heads", json!(2), true),
        ("hidden_dropout_prob", json!(0.3), false),
        ("_name_or_path", json!("elsewhere"), false),
        ("transformers_version", json!("9.9"), false),
        ("architectures", json!(["BertForMaskedLM"]), false),
    ] {
        let home = copy("bert");
        let mut before = Value::Null;
        change_config(home.path(), |config| {
            before = config[field].clone();
            config[field] = value.clone();
        });
        assert_ne!(before, value, "{field}");
        assert_eq!(of(home.path()).fingerprint != plain, counts, "{field}");
    }
    // RoBERTa counts positions from its padding token.
    let home = copy("roberta");
    let plain = of(home.path()).fingerprint;
    change_config(home.path(), |config| config["pad_token_id"] = json!(0));
    assert_ne!(of(home.path()).fingerprint, plain);
}

#[test]
fn the_file_s_format_and_names_do_not_count() {
    let home = copy("bert");
    let plain = of(home.path());
    let file = home.path().join("model.safetensors");
    let whole = std::fs::read(&file).expect("a file");
    let tensors = SafeTensors::deserialize(&whole).expect("tensors");
    // With a prefix, and with a tensor that nothing reads.
    let head = 1f32.to_le_bytes();
    let views = tensors.iter().map(|(name, view)| (format!("bert.{name}"), view));
    let more = TensorView::new(Dtype::F32, vec![1], &head).expect("a tensor");
    let views = views.chain([("cls.bias".to_owned(), more)]);
    let bytes = safetensors::serialize(views, None).expect("a file");
    std::fs::write(&file, bytes).expect("a file");
    assert_eq!(of(home.path()), plain);
}
