//! What tells a tokenizer from others.
//!
//! Two digests, since neither does alone. That of the files is cheap, but says nothing when it differs:
//! saving a tokenizer again changes its files and not a token. That of the behaviour takes in the whole
//! vocabulary and what becomes of texts that the settings of a tokenizer touch, which takes longer and is
//! only worth it where the files differ.

use std::collections::BTreeMap;
use std::path::Path;

use super::{TextRow, Tokenizer};
use crate::EncoderError;

/// The files of a model's directory that a tokenizer can come from.
const FILES: [&str; 11] = [
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "spm.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

/// Texts whose tokens follow from lower-casing, accents, scripts, white space, control characters,
/// normalisation, digits, punctuation and special tokens that are spelt out.
const PROBES: [&str; 18] = [
    "",
    " ",
    "A",
    "The quick brown fox jumps over the lazy dog.",
    "  two  spaces,\ttab and\nnewline\r\n ",
    "MIXED Case, ÀÉÎÕÜ àéîõü Straße İstanbul",
    "Ångström A\u{30a}ngstro\u{308}m ﬁne ｆｕｌｌｗｉｄｔｈ ½ ²",
    "中文字符和한국어 그리고日本語のテキスト",
    "Русский текст. Ελληνικό κείμενο. עברית نص عربي हिन्दी ไทย",
    "emoji 😀 👩‍👩‍👧 🇩🇪 ❤️",
    "zero\u{200b}width \u{feff}mark \u{7f}control\u{0}character soft\u{ad}hyphen",
    "don't can't it's U.S.A. e-mail@example.com http://a.b/c?d=e#f",
    "3.14159 1,000,000 007 1e-5 ½",
    "#hash @user $5 100% a_b-c/d\\e [x] {y} <z>",
    "[CLS] [SEP] [PAD] [UNK] [MASK]",
    "<s> </s> <pad> <unk> <mask> <s>NOTUSED </s>NOTUSED",
    "antidisestablishmentarianismsupercalifragilisticexpialidocious",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f g h i j k l m n o p q r s t u v w x y z",
];

/// Tokens of the rows of [`PROBES`]: few, so that some are cut, at the end that the settings say.
const LENGTH: usize = 24;

impl Tokenizer {
    /// A digest of the bytes of all files in its directory that it may have been made from.
    ///
    /// # Errors
    /// If one is there and cannot be read.
    pub fn files_digest(&self) -> Result<String, EncoderError> {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        let mut hash = blake3::Hasher::new();
        for name in FILES {
            let path = directory.join(name);
            if path.is_file() {
                let bytes = std::fs::read(&path)
                    .map_err(|source| EncoderError::Io { path: path.clone(), source })?;
                hash.update(name.as_bytes());
                hash.update(blake3::hash(&bytes).as_bytes());
            }
        }
        Ok(format!("blake3:{}", hash.finalize().to_hex()))
    }

    /// A digest of what it makes of texts: its vocabulary with the ids, and the rows of texts that its
    /// settings touch.
    pub fn behaviour_digest(&self) -> String {
        let mut hash = blake3::Hasher::new();
        let vocabulary: BTreeMap<String, u32> = self.inner.get_vocab(true).into_iter().collect();
        for (token, id) in vocabulary {
            hash.update(&(token.len() as u64).to_le_bytes());
            hash.update(token.as_bytes());
            hash.update(&id.to_le_bytes());
        }
        let texts = PROBES.iter().map(|text| TextRow { text, pair: None });
        let pairs = PROBES.iter().zip(PROBES.iter().rev());
        let pairs = pairs.map(|(text, pair)| TextRow { text, pair: Some(pair) });
        let length = LENGTH.min(self.longest_row);
        for row in texts.chain(pairs) {
            // That a text is refused is a part of the behaviour, in which words is not.
            let Ok(rows) = self.encode(&[row], length) else {
                hash.update(b"refused");
                continue;
            };
            for row in rows {
                hash.update(&(row.ids.len() as u64).to_le_bytes());
                for id in row.ids.iter().chain(&row.type_ids) {
                    hash.update(&id.to_le_bytes());
                }
            }
        }
        format!("blake3:{}", hash.finalize().to_hex())
    }
}

#[cfg(test)]
mod tests {
    use adaptkit_testkit::golden_dir;
    use serde_json::{Value, json};

    use super::*;
    use crate::EncoderConfig;

    fn digests(directory: &Path) -> [String; 2] {
        let config = EncoderConfig::from_dir(directory).expect("a configuration");
        let tokenizer = Tokenizer::from_dir(directory, &config).expect("a tokenizer");
        [tokenizer.files_digest().expect("readable files"), tokenizer.behaviour_digest()]
    }

    fn copy() -> tempfile::TempDir {
        let home = tempfile::tempdir().expect("a folder");
        let model = golden_dir("bert").join("model");
        for entry in std::fs::read_dir(model).expect("a folder").flatten() {
            std::fs::copy(entry.path(), home.path().join(entry.file_name())).expect("a copy");
        }
        home
    }

    fn change(directory: &Path, name: &str, change: impl FnOnce(&mut Value)) {
        let path = directory.join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|_| b"{}".to_vec());
        let mut value = serde_json::from_slice(&bytes).expect("JSON");
        change(&mut value);
        std::fs::write(&path, value.to_string()).expect("a file");
    }

    #[test]
    fn files_that_were_only_saved_again_behave_the_same() {
        let plain = digests(copy().path());
        assert_eq!(digests(copy().path()), plain);
        let home = copy();
        change(home.path(), "tokenizer.json", |_| ());
        change(home.path(), "tokenizer_config.json", |value| {
            value["transformers_version"] = json!("9.9");
        });
        let again = digests(home.path());
        assert!(again[0] != plain[0] && again[1] == plain[1]);
    }

    #[test]
    fn what_changes_an_id_changes_the_behaviour() {
        let plain = digests(copy().path());
        let lower_case = |value: &mut Value| {
            let lowers = value["do_lower_case"].as_bool().unwrap_or(true);
            value["do_lower_case"] = json!(!lowers);
        };
        let two_tokens = |value: &mut Value| {
            let vocabulary = value["model"]["vocab"].as_object_mut().expect("a vocabulary");
            let names: Vec<String> = vocabulary.keys().rev().take(2).cloned().collect();
            let [one, other] = [0, 1].map(|i| vocabulary[&names[i]].clone());
            vocabulary[&names[0]] = other;
            vocabulary[&names[1]] = one;
        };
        type Change<'a> = (&'a str, &'a dyn Fn(&mut Value));
        let changes: [Change<'_>; 3] = [
            ("tokenizer_config.json", &lower_case),
            ("tokenizer.json", &two_tokens),
            ("tokenizer_config.json", &|value| value["truncation_side"] = json!("left")),
        ];
        let mut seen = vec![plain];
        for (index, (name, how)) in changes.into_iter().enumerate() {
            let home = copy();
            change(home.path(), name, how);
            let digests = digests(home.path());
            assert!(seen.iter().all(|other| other[0] != digests[0]), "change {index}");
            assert!(seen.iter().all(|other| other[1] != digests[1]), "change {index}");
            seen.push(digests);
        }
    }
}
