//! Files of an adapter and its head.

use adaptkit_adapters::Composition;
use adaptkit_adapters::files::{
    Provenance, StoredAdapter, StoredComposition, StoredFusion, StoredHead,
};

use crate::{accepted, directory};

/// A file of a golden fusion, with its path.
macro_rules! fusion_file {
    ($path:literal) => {
        ($path, include_bytes!(concat!("../../../goldens/fusion-dynamic-2/setup/", $path)))
    };
}

/// Weights and configurations of a whole adapter, into which one fuzzed file is put.
const ADAPTER: &[u8] =
    include_bytes!("../../../goldens/adapter-seq-bn/adapter/adapter.safetensors");
const ADAPTER_CONFIG: &[u8] =
    include_bytes!("../../../goldens/adapter-seq-bn/adapter/adapter_config.json");
const HEAD: &[u8] =
    include_bytes!("../../../goldens/adapter-seq-bn/adapter/model_head.safetensors");

const HEAD_CONFIG: &[u8] =
    include_bytes!("../../../goldens/adapter-seq-bn/adapter/head_config.json");

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

/// The directory of a fusion, file by file.
const FUSION: [(&str, &[u8]); 7] = [
    fusion_file!("adapter_setup.json"),
    fusion_file!("mnli,qqp/adapter_fusion_config.json"),
    fusion_file!("mnli,qqp/model_adapter_fusion.safetensors"),
    fusion_file!("mnli/adapter.safetensors"),
    fusion_file!("mnli/adapter_config.json"),
    fusion_file!("qqp/adapter.safetensors"),
    fusion_file!("qqp/adapter_config.json"),
];

/// A fusion whose file of this name is fuzzed. What is read is written and read again.
fn fusion(name: &str, data: &[u8]) {
    let home = directory(&[]);
    for (path, bytes) in FUSION {
        let path = home.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(&path, if path.ends_with(name) { data } else { bytes }).expect("a file");
    }
    StoredComposition::is_at(home.path());
    if let Some(composition) = accepted(StoredComposition::read(home.path())) {
        let again = directory(&[]);
        composition.write(again.path()).expect("what was read");
        let read = StoredComposition::read(again.path()).expect("what was written");
        assert!(read.composition == composition.composition);
        assert!(read.head_setup == composition.head_setup);
    }
    let Some((fusion, _)) = accepted(StoredFusion::read(home.path())) else { return };
    let head = home.path().join("head");
    let files = [("head_config.json", HEAD_CONFIG), ("model_head.safetensors", HEAD)];
    std::fs::create_dir(&head).expect("a directory");
    files.into_iter().for_each(|(name, bytes)| crate::write(&head.join(name), bytes));
    let head = StoredHead::read(&head).expect("the golden's head").expect("a head");
    let again = directory(&[]);
    if accepted(fusion.write(again.path(), &head)).is_some() {
        let (read, _) = StoredFusion::read(again.path()).expect("what was written");
        assert_eq!(read.config, fusion.config);
        assert!(read.attention == fusion.attention);
    }
}

/// A composition in text. What is read is written and read again, and has its ways.
pub fn composition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(composition) = accepted(text.parse::<Composition>()) else { return };
    assert_eq!(composition.to_string().parse(), Ok(composition.clone()));
    let ways = composition.ways().expect("a composition that was read");
    for row in [0, 1, usize::MAX] {
        assert!(ways.of_row(row).iter().all(|way| *way < ways.all.len()));
    }
}

/// An `adapter_setup.json` above a fusion and its members.
pub fn adapter_setup(data: &[u8]) {
    fusion("adapter_setup.json", data);
}

/// An `adapter_fusion_config.json` beside a fusion's weights.
pub fn fusion_config(data: &[u8]) {
    fusion("adapter_fusion_config.json", data);
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

/// The names of the tensors of an adapter, of layer norms beside it and of a head, a line each, in a
/// file that is right in all else.
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
        ("adapter_config.json", ADAPTER_CONFIG),
        ("adapter.safetensors", ADAPTER),
        ("layer_norms.safetensors", &weights),
    ]);
    accepted(StoredAdapter::read(home.path()));
    let home = directory(&[
        (
            "head_config.json",
            include_bytes!("../../../goldens/adapter-seq-bn/adapter/head_config.json"),
        ),
        ("model_head.safetensors", &weights),
    ]);
    accepted(StoredHead::read(home.path()));
}
