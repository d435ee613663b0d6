//! Which class reads a `config.json`.
//!
//! Files from before 2020 have no `model_type`. Then the classes in `architectures` decide, and
//! where there are none, the directory's name, in which the `AutoConfig` of `transformers` looks for
//! a model type too. Without any of them the file is read as `BertModel` reads it: such files are
//! BERT's.

use std::path::{Component, Path};

/// The values of `model_type` that are read, with how the names of their classes begin. One that
/// another begins or ends with comes later.
const CLASSES: [(&str, &str); 7] = [
    ("xlm-roberta", "XLMRoberta"),
    ("distilbert", "DistilBert"),
    ("camembert", "Camembert"),
    ("electra", "Electra"),
    ("roberta", "Roberta"),
    ("mpnet", "MPNet"),
    ("bert", "Bert"),
];

/// How a class's name goes on after its model's.
const ENDINGS: [&str; 5] = ["Model", "For", "LMHeadModel", "PreTrainedModel", "AdapterModel"];

/// What is read where nothing else says it.
pub(super) const DEFAULT: &str = "bert";

/// The model type of a class such as `BertForMaskedLM`.
pub(super) fn of_class(class: &str) -> Option<&'static str> {
    let begins = |rest: &str| ENDINGS.iter().any(|ending| rest.starts_with(ending));
    let found = CLASSES.iter().find(|(_, name)| class.strip_prefix(name).is_some_and(begins));
    found.map(|(model_type, _)| *model_type)
}

/// The model type that a directory's name contains. A folder of the Hub's cache is named by a
/// revision, and the folder `models--…` above it by the model.
pub(super) fn of_directory(directory: &Path) -> Option<&'static str> {
    let directory = std::path::absolute(directory).ok()?;
    let mut names: Vec<_> = directory
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_string_lossy()),
            _ => None,
        })
        .collect();
    let own = names.pop()?;
    let cached = names.into_iter().rev().find(|name| name.starts_with("models--"));
    [Some(own), cached].into_iter().flatten().find_map(|name| {
        CLASSES.iter().find(|(model_type, _)| name.contains(model_type)).map(|(known, _)| *known)
    })
}

/// The model type whose weights files put this before their tensors' names.
pub(crate) fn of_tensor(name: &str) -> Option<&'static str> {
    let (prefix, _) = name.split_once('.')?;
    let known = ["roberta", "distilbert", "electra", "mpnet", "bert"];
    known.into_iter().find(|known| *known == prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_directories_name_their_model_type() {
        for (class, expected) in [
            ("BertModel", Some("bert")),
            ("BertForPreTraining", Some("bert")),
            ("BertLMHeadModel", Some("bert")),
            ("BertAdapterModel", Some("bert")),
            ("RobertaForMaskedLM", Some("roberta")),
            ("XLMRobertaModel", Some("xlm-roberta")),
            ("CamembertForMaskedLM", Some("camembert")),
            ("DistilBertForSequenceClassification", Some("distilbert")),
            ("ElectraForPreTraining", Some("electra")),
            ("MPNetModel", Some("mpnet")),
            ("AlbertModel", None),
            ("BertGenerationEncoder", None),
            ("RobertaPreLayerNormModel", None),
            ("XLMRobertaXLModel", None),
            ("MobileBertModel", None),
            ("Bert", None),
            ("", None),
        ] {
            assert_eq!(of_class(class), expected, "{class}");
        }
        for (directory, expected) in [
            ("/models/bert-base-chinese", Some("bert")),
            ("/models/roberta-base/", Some("roberta")),
            ("/models/org--xlm-roberta-base", Some("xlm-roberta")),
            ("/models/distilbert-base", Some("distilbert")),
            ("/hub/models--org--camembert-base/snapshots/0f0f", Some("camembert")),
            ("/roberta/TinyBERT_4L", None),
            ("/", None),
        ] {
            assert_eq!(of_directory(Path::new(directory)), expected, "{directory}");
        }
        for (tensor, expected) in [
            ("roberta.encoder.layer.0.output.dense.weight", Some("roberta")),
            ("bert.pooler.dense.bias", Some("bert")),
            ("embeddings.word_embeddings.weight", None),
            ("bertholda", None),
        ] {
            assert_eq!(of_tensor(tensor), expected, "{tensor}");
        }
    }
}
