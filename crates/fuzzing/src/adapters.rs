//! Files of an adapter and its head.

use adaptkit_adapters::files::{Provenance, StoredAdapter, StoredHead};

use crate::{accepted, directory};

/// Weights and configurations of a whole adapter, into which one fuzzed file is put.
const ADAPTER: &[u8] =
    include_bytes!("../../../goldens/adapter-seq-bn/adapter/adapter.safetensors");
const ADAPTER_CONFIG: &[u8] =
    include_bytes!("../../../goldens/adapter-seq-bn/adapter/adapter_config.json");
const HEAD: &[u8] =
    include_bytes!("../../../goldens/adapter-seq-bn/adapter/model_head.safetensors");

/// An `adapter_config.json` beside an adapter's weights. What is read is written and read again.
pub fn adapter_config(data: &[u8]) {
    let home = directory(&[("adapter_config.json", data), ("adapter.safetensors", ADAPTER)]);
    let Some(adapter) = accepted(StoredAdapter::read(home.path())) else { return };
    accepted(adapter.check_base("bert", 32, 4));
    let again = directory(&[]);
    if accepted(adapter.write(again.path())).is_some() {
        let read = StoredAdapter::read(again.path()).expect("what was written");
        assert_eq!((read.modules, read.config), (adapter.modules, adapter.config));
    }
}

/// A `head_config.json` beside a head's weights. What is read is written and read again.
pub fn head_config(data: &[u8]) {
    let home = directory(&[
        ("head_config.json", data),
        ("model_head.safetensors", HEAD),
        ("adapter_config.json", ADAPTER_CONFIG),
    ]);
    let Some(head) = accepted(StoredHead::read(home.path())).flatten() else { return };
    accepted(head.check_base("bert", 32));
    let again = directory(&[]);
    if accepted(head.write(again.path())).is_some() {
        let read = StoredHead::read(again.path()).expect("what was written").expect("a head");
        assert_eq!(read.outputs(), head.outputs());
        assert_eq!((read.layers, read.labels.is_some()), (head.layers, true));
    }
}

/// An `adaptkit.json`.
pub fn provenance(data: &[u8]) {
    let home = directory(&[("adaptkit.json", data)]);
    let Some(provenance) = accepted(Provenance::read(home.path())).flatten() else { return };
    let mut other = provenance.base.clone();
    other.fingerprint.push('0');
    accepted(provenance.check_base("adapter", &other));
    let again = directory(&[]);
    accepted(provenance.write(again.path()));
    Provenance::read(again.path()).expect("what was written");
}

/// The names of the tensors of an adapter, a line each, in a file that is right in all else.
pub fn tensor_names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut header = serde_json::Map::new();
    for name in text.lines() {
        let at = 4 * header.len();
        let place = serde_json::json!([at, at + 4]);
        let shape = serde_json::json!([1]);
        let info = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": place});
        header.entry(name).or_insert(info);
    }
    let numbers = vec![0; 4 * header.len()];
    let header = serde_json::Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    let weights = [&length[..], header.as_bytes(), &numbers].concat();
    for config in [
        ADAPTER_CONFIG,
        &String::from_utf8_lossy(ADAPTER_CONFIG).replace("\"bert\"", "\"distilbert\"").into_bytes(),
    ] {
        let home = directory(&[("adapter_config.json", config), ("adapter.safetensors", &weights)]);
        accepted(StoredAdapter::read(home.path()));
    }
    let home = directory(&[
        (
            "head_config.json",
            include_bytes!("../../../goldens/adapter-seq-bn/adapter/head_config.json"),
        ),
        ("model_head.safetensors", &weights),
    ]);
    accepted(StoredHead::read(home.path()));
}
