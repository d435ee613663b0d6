//! Files of a base model.

use std::io::{Cursor, Write};
use std::path::Path;

use adaptkit_encoder::{Checkpoint, EncoderConfig, TextRow, Tokenizer};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::{accepted, directory};

/// Reads every tensor of an open checkpoint.
fn read_all(checkpoint: Checkpoint) {
    for name in checkpoint.names() {
        let shape = checkpoint.shape(name).expect("a tensor that is listed").to_vec();
        if let Some(values) = accepted(checkpoint.f32(name, &shape)) {
            assert_eq!(
                Some(values.len()),
                shape.iter().try_fold(1, |n: usize, s| n.checked_mul(*s))
            );
        }
        accepted(checkpoint.f32(name, &[3, 5]));
    }
}

fn open_and_read(path: &Path) {
    if let Some(checkpoint) = accepted(Checkpoint::open_file(path)) {
        read_all(checkpoint);
    }
}

/// A `model.safetensors`.
pub fn safetensors(data: &[u8]) {
    let directory = directory(&[("model.safetensors", data)]);
    open_and_read(&directory.path().join("model.safetensors"));
}

/// A `pytorch_model.bin`, zip archive and all.
pub fn torch_file(data: &[u8]) {
    let directory = directory(&[("pytorch_model.bin", data)]);
    open_and_read(&directory.path().join("pytorch_model.bin"));
}

/// The pickle in a `pytorch_model.bin`. The archive around it, whose checksums no mutation would
/// hit, is made here; it has two storages, called 0 and 1.
pub fn pickle(data: &[u8]) {
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [("m/data.pkl", data), ("m/data/0", &[0; 256]), ("m/data/1", &[63; 64])] {
        archive.start_file(name, stored).expect("an entry");
        archive.write_all(bytes).expect("an entry's bytes");
    }
    torch_file(&archive.finish().expect("an archive").into_inner());
}

/// A `model.safetensors.index.json` beside two shards.
pub fn sharded_index(data: &[u8]) {
    let shard = |tensor: &str| {
        let header =
            format!(r#"{{"{tensor}":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}}"#);
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat()
    };
    let directory = directory(&[
        ("model.safetensors.index.json", data),
        ("model-00001-of-00002.safetensors", &shard("first")),
        ("model-00002-of-00002.safetensors", &shard("second")),
    ]);
    if let Some(checkpoint) = accepted(Checkpoint::open(directory.path())) {
        read_all(checkpoint);
    }
}

/// A base's `config.json`.
pub fn config(data: &[u8]) {
    let directory = directory(&[("config.json", data)]);
    if let Some(config) = accepted(EncoderConfig::from_dir(directory.path())) {
        assert!(config.longest_row() > 0);
        assert_eq!(config.head_width() * config.num_attention_heads, config.hidden_size);
    }
}

/// The configuration that tokenizers are read for: two kinds of token, 64 positions.
const SMALL: &[u8] = br#"{"model_type": "bert", "vocab_size": 4096, "hidden_size": 4,
    "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4, "hidden_act": "gelu",
    "max_position_embeddings": 64, "type_vocab_size": 2}"#;

/// A `tokenizer.json`, and texts through it.
pub fn tokenizer(data: &[u8]) {
    tokenise(&[("tokenizer.json", data)]);
}

/// The files of a directory without `tokenizer.json`, and texts through it. The first byte chooses
/// the class; `vocab.json` ends at the first NUL and `merges.txt` follows.
pub fn tokenizer_files(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let class = |name: &str| format!(r#"{{"tokenizer_class": "{name}"}}"#);
    match kind % 4 {
        0 => tokenise(&[("vocab.txt", data)]),
        1 => {
            let (vocabulary, merges) = halves(data);
            tokenise(&[
                ("tokenizer_config.json", class("RobertaTokenizer").as_bytes()),
                ("vocab.json", vocabulary),
                ("merges.txt", merges),
            ]);
        }
        kind => {
            let name = if kind == 2 { "XLMRobertaTokenizer" } else { "CamembertTokenizer" };
            tokenise(&[
                ("tokenizer_config.json", class(name).as_bytes()),
                ("sentencepiece.bpe.model", data),
            ]);
        }
    }
}

/// What stands beside a vocabulary, and texts through it: `tokenizer_config.json`,
/// `special_tokens_map.json` and `added_tokens.json`, with a NUL after the first and the second.
pub fn tokenizer_settings(data: &[u8]) {
    let (settings, rest) = halves(data);
    let (specials, added) = halves(rest);
    let named = [
        ("tokenizer_config.json", settings),
        ("special_tokens_map.json", specials),
        ("added_tokens.json", added),
    ];
    let mut files: Vec<(&str, &[u8])> =
        named.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    files.push(("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\none\ntext\n##s\n"));
    tokenise(&files);
}

/// What is before the first NUL, and what is behind it.
fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == 0) {
        Some(place) => (&data[..place], &data[place + 1..]),
        None => (data, &[]),
    }
}

fn tokenise(files: &[(&str, &[u8])]) {
    let directory = directory(&[&[("config.json", SMALL)], files].concat());
    let config = EncoderConfig::from_dir(directory.path()).expect("the small configuration");
    let Some(tokenizer) = accepted(Tokenizer::from_dir(directory.path(), &config)) else { return };
    let long = "a wörd, 言葉 \u{301}e\u{200d} 12. ".repeat(40);
    for (text, pair) in
        [("", None), ("one text", Some("ANOTHER\u{a0}text!\0")), (&long, Some(&*long))]
    {
        let Some(rows) = accepted(tokenizer.encode(&[TextRow { text, pair }], 16)) else {
            continue;
        };
        for row in rows {
            assert!(row.ids.len() <= 16 && row.ids.len() == row.type_ids.len());
            assert!(row.ids.iter().all(|id| (*id as usize) < config.vocab_size));
        }
    }
}
