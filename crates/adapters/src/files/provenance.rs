//! Where an adapter comes from: what the library's files have no place for.
//!
//! The file is for this project alone, so later versions may add to it. Everything but the base is
//! optional when reading, and what a version does not know it keeps and writes back.

use std::collections::BTreeMap;
use std::path::Path;

use adaptkit_encoder::{Encoder, Identity, Tokenizer};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{PROVENANCE, json};
use crate::error::{AdapterError, said};
use crate::fusion::MeanAttention;

/// The encoder that an adapter was trained on, well enough to recognise it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseReference {
    /// The directory or hub id, for people.
    pub name: String,
    /// A digest of its weights and configuration: [`Identity::fingerprint`], or in files of earlier
    /// versions [`Identity::sampled`].
    pub fingerprint: String,
    /// `model_type` of its configuration.
    pub family: String,
    /// Its width.
    pub hidden_size: usize,
    /// Its number of layers.
    pub layers: usize,
    /// Its tokenizer; none in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerReference>,
    /// Of a base at hand, the fingerprint that earlier versions gave it.
    #[serde(skip)]
    pub sampled_fingerprint: Option<String>,
}

/// A tokenizer, well enough to recognise it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerReference {
    /// [`Tokenizer::files_digest`].
    pub files: String,
    /// [`Tokenizer::behaviour_digest`].
    pub behaviour: String,
}

impl TokenizerReference {
    /// That of a tokenizer at hand.
    ///
    /// # Errors
    /// If its files cannot be read.
    pub fn new(tokenizer: &Tokenizer) -> Result<TokenizerReference, AdapterError> {
        let files = tokenizer.files_digest()?;
        Ok(TokenizerReference { files, behaviour: tokenizer.behaviour_digest() })
    }
}

impl BaseReference {
    /// What an encoder is; `name` is what its user calls it.
    pub fn new(name: &str, encoder: &Encoder) -> BaseReference {
        let (config, Identity { fingerprint, sampled }) = (encoder.config(), encoder.identity());
        BaseReference {
            name: name.to_owned(),
            fingerprint: fingerprint.clone(),
            family: config.family.name().to_owned(),
            hidden_size: config.hidden_size,
            layers: config.num_hidden_layers,
            tokenizer: None,
            sampled_fingerprint: Some(sampled.clone()),
        }
    }

    /// Whether its fingerprint is one of earlier versions, which covers a sample of the weights.
    pub fn is_sampled(&self) -> bool {
        self.fingerprint.starts_with("sha256:")
    }
}

/// What a pruned fusion was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrunedFrom {
    /// How many members were kept.
    pub keep: usize,
    /// `per-layer` or `global`, and whether one member was to stay in every layer.
    pub by: String,
    /// What decided it: the mean attention to the members that there were.
    pub attention: MeanAttention,
}

/// Where an adapter comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The version of this project that wrote it.
    pub adaptkit_version: String,
    /// The encoder it was trained on.
    pub base: BaseReference,
    /// The task's name, for example `rte`.
    #[serde(default)]
    pub task: Option<String>,
    /// The labels in the order of the head's outputs; none for a regression.
    #[serde(default)]
    pub labels: Vec<String>,
    /// The probability above which a label of a multi-label head applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The probability above which each label of a multi-label head applies, in the labels' order, where
    /// each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<f64>>,
    /// The label that precision, recall and F1 of two labels are about, where it was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive_label: Option<String>,
    /// The longest row it was trained on, in tokens.
    #[serde(default)]
    pub max_length: Option<usize>,
    /// The seed of its training.
    #[serde(default)]
    pub seed: Option<u64>,
    /// AdapterDrop in training: `none`, a number of layers, or `robust`.
    #[serde(default)]
    pub adapterdrop: Option<String>,
    /// Scores by name. What is not a number (the correlation of a constant) is stored as null.
    #[serde(default, deserialize_with = "numbers_or_null")]
    pub metrics: BTreeMap<String, f64>,
    /// How it was trained, by the names of the command line.
    #[serde(default)]
    pub training: Map<String, Value>,
    /// What the members of a fusion are attended to over its training rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion_attention: Option<MeanAttention>,
    /// Of a pruned fusion, what it was before and by what it was pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<PrunedFrom>,
    /// What a later version wrote and this one does not know.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl Provenance {
    /// Reads the file in `directory`; `None` if it has none, as the library's directories.
    pub fn read(directory: &Path) -> Result<Option<Provenance>, AdapterError> {
        let path = directory.join(PROVENANCE);
        if !path.exists() {
            return Ok(None);
        }
        let map = json::read_object(&path)?;
        match serde_json::from_value(Value::Object(map)) {
            Ok(provenance) => Ok(Some(provenance)),
            // The words may quote the file.
            Err(error) => {
                let source = serde_json::Error::custom(said(&error));
                Err(AdapterError::Json { path, source })
            }
        }
    }

    /// Writes the file into `directory`, which exists or is created.
    pub fn write(&self, directory: &Path) -> Result<(), AdapterError> {
        let path = directory.join(PROVENANCE);
        match serde_json::to_value(self) {
            Ok(value) => json::write(&path, value),
            Err(source) => Err(AdapterError::Json { path, source }),
        }
    }

    /// Whether the encoder at hand is the one that the adapter called `name` was trained on. A file of
    /// an earlier version says so by a sample of the weights; where only one of two files is that old,
    /// they are compared by sizes.
    pub fn check_base(&self, name: &str, found: &BaseReference) -> Result<(), AdapterError> {
        let wrong = |property, made_for: String, found: String| {
            Err(AdapterError::WrongBase {
                what: "adapter",
                name: String::from(name),
                property,
                made_for,
                found,
            })
        };
        let base = &self.base;
        if base.family != found.family {
            return wrong("model type", base.family.clone(), found.family.clone());
        }
        if base.hidden_size != found.hidden_size {
            let (made_for, found) = (base.hidden_size, found.hidden_size);
            return wrong("hidden size", made_for.to_string(), found.to_string());
        }
        if base.layers != found.layers {
            return wrong("layers", base.layers.to_string(), found.layers.to_string());
        }
        let at_hand = match (base.is_sampled(), found.is_sampled()) {
            (true, false) => found.sampled_fingerprint.as_ref(),
            (false, true) => None,
            _ => Some(&found.fingerprint),
        };
        if let Some(at_hand) = at_hand.filter(|at_hand| **at_hand != base.fingerprint) {
            let shown =
                |fingerprint: &str, base: &BaseReference| format!("{fingerprint} ({})", base.name);
            return wrong("fingerprint", shown(&base.fingerprint, base), shown(at_hand, found));
        }
        match (&base.tokenizer, &found.tokenizer) {
            (Some(one), Some(other)) if one.behaviour != other.behaviour => {
                Err(AdapterError::OtherTokenizer { name: name.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Whether the tokenizer at hand makes the same tokens as the one that the adapter called `name`
    /// was trained with. Files of earlier versions do not say.
    pub fn check_tokenizer(&self, name: &str, tokenizer: &Tokenizer) -> Result<(), AdapterError> {
        let Some(trained) = &self.base.tokenizer else { return Ok(()) };
        if trained.files == tokenizer.files_digest()? {
            return Ok(());
        }
        // Saved again they may be others and make the same tokens.
        match trained.behaviour == tokenizer.behaviour_digest() {
            true => Ok(()),
            false => Err(AdapterError::OtherTokenizer { name: name.to_owned() }),
        }
    }
}

/// JSON has no NaN: a null stands for it.
fn numbers_or_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, f64>, D::Error> {
    let numbers = BTreeMap::<String, Option<f64>>::deserialize(deserializer)?;
    Ok(numbers.into_iter().map(|(name, number)| (name, number.unwrap_or(f64::NAN))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fusion::PlaceAttention;
    use serde_json::json;

    fn base() -> BaseReference {
        BaseReference {
            name: String::from("all-MiniLM-L6-v2"),
            fingerprint: String::from("sha256:00ff"),
            family: String::from("bert"),
            hidden_size: 384,
            layers: 6,
            tokenizer: None,
            sampled_fingerprint: None,
        }
    }

    fn attention() -> MeanAttention {
        let weights = vec![Some(1.0 / 3.0), None];
        MeanAttention {
            members: vec![String::from("a"), String::from("b")],
            positions: 7,
            layers: vec![PlaceAttention { layer: 3, site: String::from("output"), weights }],
        }
    }

    #[test]
    fn what_is_written_is_read_back_even_if_it_is_not_understood() {
        let home = tempfile::tempdir().unwrap();
        assert!(Provenance::read(home.path()).unwrap().is_none());
        let mut provenance = Provenance {
            adaptkit_version: String::from("0.1.0"),
            base: base(),
            task: Some(String::from("rte")),
            labels: vec![String::from("entailment"), String::from("not_entailment")],
            threshold: Some(0.25),
            thresholds: None,
            positive_label: None,
            max_length: Some(128),
            seed: Some(u64::MAX),
            adapterdrop: Some(String::from("robust")),
            metrics: BTreeMap::from([(String::from("eval_accuracy"), 0.7)]),
            training: Map::from_iter([(String::from("epochs"), json!(3))]),
            fusion_attention: Some(attention()),
            pruned: Some(PrunedFrom {
                keep: 1,
                by: String::from("global"),
                attention: attention(),
            }),
            unknown: Map::from_iter([(String::from("of_the_future"), json!([1, {"a": 2}]))]),
        };
        provenance.write(home.path()).unwrap();
        assert_eq!(Provenance::read(home.path()).unwrap(), Some(provenance.clone()));

        provenance.metrics.insert(String::from("eval_pearson"), f64::NAN);
        provenance.write(home.path()).unwrap();
        let read = Provenance::read(home.path()).unwrap().unwrap();
        assert!(read.metrics["eval_pearson"].is_nan());
    }

    #[test]
    fn the_base_is_enough_and_is_needed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(PROVENANCE);
        let least = json!({"adaptkit_version": "0.1.0", "base": base()});
        std::fs::write(&path, least.to_string()).unwrap();
        assert_eq!(Provenance::read(home.path()).unwrap().unwrap().base, base());
        std::fs::write(&path, "{\"adaptkit_version\": \"0.1.0\"}").unwrap();
        let message = Provenance::read(home.path()).unwrap_err().to_string();
        assert!(message.contains("missing field `base`"), "{message}");
    }

    #[test]
    fn another_base_is_refused_by_what_differs() {
        let provenance: Provenance =
            serde_json::from_value(json!({"adaptkit_version": "0.1.0", "base": base()})).unwrap();
        assert!(provenance.check_base("rte", &base()).is_ok());
        type Change = fn(&mut BaseReference);
        let cases: [(Change, &str); 4] = [
            (|base| base.family = String::from("roberta"), "model type bert, this one has roberta"),
            (|base| base.hidden_size = 768, "hidden size 384, this one has 768"),
            (|base| base.layers = 12, "layers 6, this one has 12"),
            (|base| base.fingerprint = String::from("sha256:01"), "fingerprint sha256:00ff"),
        ];
        for (change, expected) in cases {
            let mut other = base();
            change(&mut other);
            let message = provenance.check_base("rte", &other).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_fingerprint_of_an_earlier_version_is_compared_with_that_of_its_kind() {
        let provenance = |fingerprint: &str| -> Provenance {
            let base = BaseReference { fingerprint: String::from(fingerprint), ..base() };
            serde_json::from_value(json!({"adaptkit_version": "0.1.0", "base": base})).unwrap()
        };
        let at_hand = BaseReference {
            fingerprint: String::from("blake3:11"),
            sampled_fingerprint: Some(String::from("sha256:22")),
            ..base()
        };
        for (stored, same) in
            [("blake3:11", true), ("blake3:12", false), ("sha256:22", true), ("sha256:23", false)]
        {
            assert_eq!(provenance(stored).check_base("rte", &at_hand).is_ok(), same, "{stored}");
        }
        let with = |behaviour: &str| BaseReference {
            tokenizer: Some(TokenizerReference {
                files: String::new(),
                behaviour: String::from(behaviour),
            }),
            ..base()
        };
        let one: Provenance =
            serde_json::from_value(json!({"adaptkit_version": "0.1.0", "base": with("1")}))
                .unwrap();
        assert!(one.check_base("rte", &with("1")).is_ok());
        let message = one.check_base("rte", &with("2")).unwrap_err().to_string();
        assert!(message.contains("\"rte\" was trained with another tokenizer"), "{message}");
        // Of two files, one of them old, nothing but the sizes can be compared.
        let stored = provenance("sha256:22").base;
        assert_eq!(stored.sampled_fingerprint, None);
        assert!(stored.is_sampled() && provenance("blake3:11").check_base("rte", &stored).is_ok());
    }
}
