//! What a directory holds that is no base model's, for an error that says what to do.

use std::collections::BTreeSet;
use std::path::Path;

use crate::EncoderError;
use crate::error::quoted;

/// The names of weights that [`Checkpoint`](crate::Checkpoint) reads.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// Entries of a directory that are looked at, and names that a message shows.
const MOST_ENTRIES: usize = 10_000;
const MOST_SHOWN: usize = 6;

/// The error of a directory in which `expected` was not found.
pub(crate) fn not_a_base(directory: &Path, expected: &'static str) -> EncoderError {
    let holds = match Entries::of(directory) {
        Some(entries) => entries.instead(directory),
        None if directory.is_file() => ": it is a file; give the directory that it lies in".into(),
        None => ": there is no such directory".into(),
    };
    EncoderError::NotABase { path: directory.to_path_buf(), expected, holds }
}

/// The names in a directory.
struct Entries(BTreeSet<String>);

impl Entries {
    fn of(directory: &Path) -> Option<Entries> {
        let entries = std::fs::read_dir(directory).ok()?.flatten().take(MOST_ENTRIES);
        Some(Entries(entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    fn any(&self, wanted: impl Fn(&str) -> bool) -> Option<&str> {
        self.0.iter().map(String::as_str).find(|name| wanted(name))
    }

    /// What there is in place of a base model that can be read, and the way out.
    fn instead(&self, directory: &Path) -> String {
        let words = None
            .or_else(|| self.adapter(directory))
            .or_else(|| self.below(directory))
            .or_else(|| self.other_weights())
            .or_else(|| self.other_format())
            .or_else(|| self.google());
        match words {
            Some(words) => format!(": {words}"),
            None if self.0.is_empty() => ": it is empty".to_owned(),
            None if WEIGHTS.iter().any(|name| directory.join(name).is_file()) => {
                ", only weights: take the config.json that belongs to them from where they came \
                 from"
                    .to_owned()
            }
            None if self.has("config.json") => {
                ", only a configuration: is the download complete?".to_owned()
            }
            None => "; is it the directory of a Hugging Face model?".to_owned(),
        }
    }

    fn adapter(&self, directory: &Path) -> Option<String> {
        let files = ["adapter_config.json", "adapter_setup.json", "adapter_fusion_config.json"];
        let file = files
            .into_iter()
            .find(|file| self.has(file))
            .or_else(|| self.has("head_config.json").then_some("head_config.json"))?;
        let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let base = ["model_name", "base_model_name_or_path"];
        let base = base.iter().find_map(|key| config[*key].as_str()).filter(|b| !b.is_empty());
        let base = base.map(|base| format!(", for the base {}", quoted(base))).unwrap_or_default();
        let what = match file {
            "head_config.json" => "a prediction head",
            "adapter_config.json" => "an adapter",
            _ => "adapters",
        };
        Some(format!(
            "it holds {what} ({file}){base}, not a base model; give the base that it was trained on"
        ))
    }

    /// A model in a sub-directory: a layout of sentence-transformers, a run's checkpoints, the Hub's
    /// cache.
    fn below(&self, directory: &Path) -> Option<String> {
        let is_model = |name: &str| {
            let config = directory.join(name).join("config.json");
            let weights = || WEIGHTS.iter().any(|file| directory.join(name).join(file).is_file());
            config.is_file() && weights()
        };
        let mut found: Vec<String> = self.0.iter().filter(|n| is_model(n)).cloned().collect();
        if self.has("snapshots") {
            let snapshots = directory.join("snapshots");
            let names = Entries::of(&snapshots).map(|entries| entries.0).unwrap_or_default();
            found.extend(names.into_iter().map(|name| format!("snapshots/{name}")));
        }
        if found.is_empty() {
            return None;
        }
        let what = match self.has("modules.json") {
            true => "it holds a sentence-transformers model, whose encoder is in",
            false => "the model is in",
        };
        let names: Vec<String> = found.iter().take(MOST_SHOWN).map(|name| quoted(name)).collect();
        let more = if found.len() > MOST_SHOWN { ", …" } else { "" };
        let (which, one) = match found.len() {
            1 => ("", "that"),
            _ => ("one of ", "one of them"),
        };
        Some(format!(
            "{what} {which}{}{more}; give {one} (as {})",
            names.join(", "),
            quoted(&directory.join(&found[0]).to_string_lossy())
        ))
    }

    /// Weights in a format that is read, under a name that is not looked for.
    fn other_weights(&self) -> Option<String> {
        let part = |name: &str| {
            let (front, rest) = name.split_once("-of-")?;
            let number = front.rsplit('-').next()?;
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let stem = front.strip_suffix(number)?;
            (digits(number) && digits(rest.split('.').next()?)).then(|| {
                let ending = rest.split_once('.').map_or("", |(_, ending)| ending);
                format!("{}.{ending}.index.json", stem.trim_end_matches('-'))
            })
        };
        if let Some((name, index)) = self.0.iter().find_map(|name| Some((name, part(name)?))) {
            return Some(format!(
                "it holds parts of the weights ({}, …) without the index that says what is where; \
                 fetch {} from where they came from",
                quoted(name),
                quoted(&index)
            ));
        }
        let variant = self.any(|name| {
            let known = [("model.", ".safetensors"), ("pytorch_model.", ".bin")];
            known.iter().any(|(front, back)| {
                let middle = name.strip_prefix(front).and_then(|rest| rest.strip_suffix(back));
                middle.is_some_and(|middle| !middle.is_empty() && !middle.contains('.'))
            })
        });
        if let Some(name) = variant {
            let ending = name.rsplit('.').next().unwrap_or_default();
            let front = name.split('.').next().unwrap_or_default();
            return Some(format!(
                "it holds a variant of the weights, {}; rename or copy that to {front}.{ending}",
                quoted(name)
            ));
        }
        let own = |name: &str| name.starts_with("adapter") || name.starts_with("training_args");
        let other = self.any(|name| {
            let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
            matches!(ending, "safetensors" | "bin" | "pt" | "pth")
                && !WEIGHTS.contains(&name)
                && !name.starts_with("openvino")
                && !name.starts_with("optimizer")
                && !name.starts_with("scheduler")
                && !own(name)
        })?;
        let into = if other.ends_with(".safetensors") { WEIGHTS[0] } else { WEIGHTS[2] };
        Some(format!(
            "it holds {}, a name that is not looked for; if those are the model's weights, rename \
             it to {into}",
            quoted(other)
        ))
    }

    /// Weights for another program.
    fn other_format(&self) -> Option<String> {
        let load = |argument: &str| {
            format!(
                "convert them in Python with AutoModel.from_pretrained(DIR, \
                 {argument}=True).save_pretrained(NEW), or fetch model.safetensors from where they \
                 came from"
            )
        };
        let fetch = || "fetch model.safetensors or pytorch_model.bin of the same model".to_owned();
        let ends = |ending: &'static str| move |name: &str| name.ends_with(ending);
        let (what, file, advice) = if self.has("tf_model.h5") {
            ("TensorFlow's weights", "tf_model.h5", load("from_tf"))
        } else if self.has("flax_model.msgpack") {
            ("Flax's weights", "flax_model.msgpack", load("from_flax"))
        } else if self.has("rust_model.ot") {
            ("the weights of rust-bert", "rust_model.ot", fetch())
        } else if let Some(file) = self.any(ends(".gguf")) {
            ("weights for llama.cpp", file, fetch())
        } else if let Some(file) = self.any(|name| name.ends_with(".onnx") || name == "onnx") {
            ("a model for ONNX Runtime", file, fetch())
        } else if let Some(file) = self.any(|name| name.starts_with("openvino")) {
            ("a model for OpenVINO", file, fetch())
        } else if let Some(file) = self.any(|name| name.contains(".ckpt")) {
            let advice = "convert it in Python with transformers, from_tf=True, or fetch \
                          model.safetensors of the same model";
            ("a checkpoint of TensorFlow", file, advice.to_owned())
        } else if let Some(file) =
            self.any(|name| matches!(name, "saved_model.pb" | "model.mlmodel"))
        {
            ("a model for another program", file, fetch())
        } else {
            return None;
        };
        Some(format!("it holds {what} only ({}), which are not read; {advice}", quoted(file)))
    }

    /// The names that Google's first releases have.
    fn google(&self) -> Option<String> {
        self.has("bert_config.json").then(|| {
            "it has bert_config.json; rename that to config.json if the weights are PyTorch's"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_base_is_told_what_it_holds() {
        let config = "config.json";
        let base = r#"{"model_name": "org/base"}"#;
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let cases: [Case<'_>; 20] = [
            (&[], &["it is empty"]),
            (&[("notes.txt", "")], &["is it the directory of a Hugging Face model?"]),
            (&[(config, "{}")], &["only a configuration", "complete"]),
            (&[("model.safetensors", "x")], &["only weights", "config.json"]),
            (&[(config, "{}"), ("tf_model.h5", "")], &["TensorFlow's", "from_tf=True"]),
            (&[(config, "{}"), ("flax_model.msgpack", "")], &["Flax's", "from_flax=True"]),
            (&[(config, "{}"), ("rust_model.ot", "")], &["rust-bert", "fetch"]),
            (&[(config, "{}"), ("model_quantized.onnx", "")], &["ONNX Runtime", "fetch"]),
            (&[(config, "{}"), ("onnx/model.onnx", "")], &["ONNX Runtime"]),
            (&[("openvino_model.xml", ""), ("openvino_model.bin", "")], &["OpenVINO"]),
            (&[("bert.q8_0.gguf", "")], &["llama.cpp", "bert.q8_0.gguf"]),
            (
                &[(config, "{}"), ("model.fp16.safetensors", "")],
                &["variant", "\"model.fp16.safetensors\"", "to model.safetensors"],
            ),
            (
                &[(config, "{}"), ("pytorch_model.fp16.bin", "")],
                &["variant", "to pytorch_model.bin"],
            ),
            (
                &[(config, "{}"), ("model-00001-of-00003.safetensors", "")],
                &["parts of the weights", "\"model.safetensors.index.json\""],
            ),
            (&[(config, "{}"), ("weights.pt", "")], &["\"weights.pt\"", "pytorch_model.bin"]),
            (
                &[("adapter_config.json", base), ("adapter.safetensors", "")],
                &["it holds an adapter", "for the base \"org/base\"", "give the base"],
            ),
            (&[("head_config.json", "no JSON")], &["a prediction head"]),
            (
                &[
                    ("modules.json", "[]"),
                    ("0_Transformer/config.json", "{}"),
                    ("0_Transformer/pytorch_model.bin", ""),
                ],
                &["sentence-transformers", "\"0_Transformer\""],
            ),
            (
                &[("snapshots/00ff/config.json", "{}"), ("refs/main", "")],
                &["\"snapshots/00ff\"", "give that"],
            ),
            (
                &[("bert_config.json", "{}"), ("bert_model.ckpt.index", "")],
                &["a checkpoint of TensorFlow", "from_tf=True"],
            ),
        ];
        for (files, expected) in cases {
            let home = tempfile::tempdir().unwrap();
            for (name, content) in files {
                let path = home.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            let message = not_a_base(home.path(), "weights").to_string();
            for part in expected {
                assert!(message.contains(part), "{files:?}: {message}");
            }
        }
        let message = not_a_base(Path::new("no such place"), "weights").to_string();
        assert_eq!(message, "no such place holds no weights: there is no such directory");
    }
}
