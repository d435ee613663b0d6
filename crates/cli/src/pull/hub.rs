//! A model from the Hugging Face Hub: which files it consists of, and what each is checked against.

mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use adaptkit::encoder::foreign_text::{quoted, said};
use serde::Deserialize;

pub(crate) use client::{Download, Hub};

use super::known::KnownModel;
use super::{Fetched, Way, digest};
use crate::messages::Messages;
use crate::model_cache::{Check, FileRecord, ModelId};

/// The longest index of weight files that is read: thousands of shards fit.
const INDEX_BYTES: u64 = 64 << 20;

/// Why the Hub did not give a model.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    #[error("HF_HUB_OFFLINE is set, so the Hub is not asked")]
    Offline,
    #[error("HF_ENDPOINT is {endpoint:?}: expected an address like https://huggingface.co")]
    Endpoint { endpoint: String },
    #[error("HF_TOKEN holds characters that no token has")]
    Token,
    #[error("{endpoint} cannot be reached")]
    Unreachable { endpoint: String, source: Box<ureq::Error> },
    #[error(
        "{endpoint} does not let us read {model} (status {status}): it is private, gated or not there"
    )]
    Refused { endpoint: String, model: String, status: u16, with_token: bool },
    #[error("{endpoint} has no model {model}")]
    NoModel { endpoint: String, model: String },
    #[error("{model} has no {file} at {endpoint}")]
    NoFile { endpoint: String, model: String, file: String },
    #[error("{url} answered with status {status}")]
    Status { url: String, status: u16 },
    #[error("{url} redirects to {target:?}, {reason}")]
    Redirect { url: String, target: String, reason: &'static str },
    #[error("{url} broke off after {received} bytes{}", expected.map(|n| format!(" of {n}")).unwrap_or_default())]
    BrokenOff { url: String, received: u64, expected: Option<u64>, source: Option<std::io::Error> },
    #[error("{url} sends more than the {expected} bytes that it should")]
    TooLong { url: String, expected: u64 },
    #[error("{url} has sha256 {found}, and {} {expected}", match .check {
        Check::Pinned => "this program expects",
        _ => "the Hub states",
    })]
    WrongHash { url: String, expected: String, found: String, check: Check },
    #[error("{url} is not an index of weight files: {reason}")]
    Index { url: String, reason: String },
    #[error("cannot write {}", path.display())]
    Disk { path: PathBuf, source: std::io::Error },
}

impl HubError {
    /// Whether the Hub simply did not give the model, so that another way may be tried. Wrong
    /// bytes and a full disk are not of that kind.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        !matches!(
            self,
            HubError::Endpoint { .. }
                | HubError::Token
                | HubError::TooLong { .. }
                | HubError::WrongHash { .. }
                | HubError::Index { .. }
                | HubError::Disk { .. }
        )
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let text = match self {
            HubError::Refused { endpoint, model, with_token: true, .. } => format!(
                "accept the model's conditions at {endpoint}/{model}, or check that the token \
                 in HF_TOKEN may read it"
            ),
            HubError::Refused { with_token: false, .. } => {
                "check the name, or set HF_TOKEN to a token that may read it".into()
            }
            HubError::NoModel { .. } => "check the name".into(),
            HubError::NoFile { file, model, .. } if file == TOKENIZER => format!(
                "make one in Python with AutoTokenizer.from_pretrained({model:?})\
                 .save_pretrained(DIR), put the other files beside it and pass DIR as --model"
            ),
            HubError::NoFile { file, .. } if file == CONFIG => "check the name".into(),
            HubError::WrongHash { .. } | HubError::TooLong { .. } => {
                "nothing was kept; if it happens again, whatever stands at HF_ENDPOINT or between \
                 it and you changes the files"
                    .into()
            }
            HubError::BrokenOff { .. } => "nothing was kept; run the command again".into(),
            _ => return None,
        };
        Some(text)
    }
}

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const OPTIONAL: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];
const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
const PICKLED_WEIGHTS: &str = "pytorch_model.bin";

/// Downloads a model's files into `directory`. Of a known model: the pinned ones; of another: the
/// configuration, the tokeniser and the weights in the best form there is.
///
/// # Errors
/// See [`HubError`]. What was written until then stays.
pub(crate) fn fetch(
    hub: &Hub,
    id: &ModelId,
    known: Option<&KnownModel>,
    directory: &Path,
    messages: &Messages,
) -> Result<Fetched, HubError> {
    let revision = known.map_or("main", |known| known.revision);
    let mut visit =
        Visit { hub, id, revision: revision.to_string(), directory, messages, files: Vec::new() };
    match known {
        Some(known) => {
            for file in known.files {
                let download = hub.open(id, &visit.revision, file.name)?;
                visit.save(download, file.name, Some((file.bytes, file.sha256)))?;
            }
        }
        None => visit.fetch_unknown()?,
    }
    let known_revision = (visit.revision != "main").then_some(visit.revision);
    Ok(Fetched {
        way: Way::Hub,
        source: format!("{}/{}", hub.endpoint(), id.as_str()),
        revision: known_revision,
        files: visit.files,
    })
}

/// One model being downloaded.
struct Visit<'a> {
    hub: &'a Hub,
    id: &'a ModelId,
    revision: String,
    directory: &'a Path,
    messages: &'a Messages,
    files: Vec<FileRecord>,
}

impl Visit<'_> {
    fn fetch_unknown(&mut self) -> Result<(), HubError> {
        let config = self.hub.open(self.id, &self.revision, CONFIG)?;
        // All files from one commit, also when somebody pushes in between.
        if let Some(commit) = &config.commit {
            self.revision = commit.clone();
        }
        self.save(config, CONFIG, None)?;
        self.required(TOKENIZER)?;
        for name in OPTIONAL {
            self.optional(name)?;
        }
        if self.optional(WEIGHTS)? {
            return Ok(());
        }
        if self.optional(WEIGHTS_INDEX)? {
            for shard in self.shards()? {
                self.required(&shard)?;
            }
            return Ok(());
        }
        match self.optional(PICKLED_WEIGHTS)? {
            true => Ok(()),
            false => Err(HubError::NoFile {
                endpoint: self.hub.endpoint().to_string(),
                model: self.id.as_str().to_string(),
                file: format!("{WEIGHTS}, {WEIGHTS_INDEX} or {PICKLED_WEIGHTS}"),
            }),
        }
    }

    fn required(&mut self, name: &str) -> Result<(), HubError> {
        let download = self.hub.open(self.id, &self.revision, name)?;
        self.save(download, name, None)
    }

    /// Whether it is there.
    fn optional(&mut self, name: &str) -> Result<bool, HubError> {
        match self.required(name) {
            Ok(()) => Ok(true),
            Err(HubError::NoFile { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The weight files that the downloaded index names.
    fn shards(&self) -> Result<BTreeSet<String>, HubError> {
        let path = self.directory.join(WEIGHTS_INDEX);
        let wrong = |reason: String| HubError::Index {
            url: self.hub.url(self.id, &self.revision, WEIGHTS_INDEX),
            reason,
        };
        let size = fs::metadata(&path).map(|data| data.len()).unwrap_or(u64::MAX);
        if size > INDEX_BYTES {
            return Err(wrong(format!("it has more than {INDEX_BYTES} bytes")));
        }
        let text = fs::read(&path).map_err(|source| HubError::Disk { path, source })?;
        shards(&text).map_err(wrong)
    }

    /// Writes a file and checks it: against its pin, or against what the Hub states.
    fn save(
        &mut self,
        download: Download,
        name: &str,
        pin: Option<(u64, &str)>,
    ) -> Result<(), HubError> {
        let Download { mut body, bytes: stated, sha256: stated_hash, url, .. } = download;
        let expected = pin.map(|(bytes, _)| bytes).or(stated);
        let bar = self.messages.bytes_bar(name, expected);
        let path = self.directory.join(name);
        let mut body =
            std::io::Read::take(&mut body, expected.map_or(u64::MAX, |n| n.saturating_add(1)));
        let copied = digest::copy(&mut body, &path, |step| bar.inc(step));
        bar.finish_and_clear();
        let broken =
            |received, source| HubError::BrokenOff { url: url.clone(), received, expected, source };
        let (bytes, found) = copied.map_err(|error| match error {
            digest::CopyError::Read(received, source) => broken(received, Some(source)),
            digest::CopyError::Write(source) => HubError::Disk { path, source },
        })?;
        match expected {
            Some(expected) if bytes < expected => return Err(broken(bytes, None)),
            Some(expected) if bytes > expected => return Err(HubError::TooLong { url, expected }),
            _ => (),
        }
        let (check, right) = match (pin, stated_hash) {
            (Some((_, pinned)), _) => (Check::Pinned, pinned.to_string()),
            (None, Some(stated)) => (Check::Hub, stated),
            (None, None) => (Check::Recorded, found.clone()),
        };
        if found != right {
            return Err(HubError::WrongHash { url, expected: right, found, check });
        }
        self.files.push(FileRecord { name: name.into(), bytes, sha256: found, checked: check });
        Ok(())
    }
}

/// The weight files that an index names, or why it is none.
pub(crate) fn shards(index: &[u8]) -> Result<BTreeSet<String>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(said)?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    match shards.iter().find(|name| !is_plain_weight_file(name)) {
        Some(name) => Err(format!("it names the weight file {}", quoted(name))),
        None => Ok(shards),
    }
}

/// Whether an index may name this: a safetensors file beside it and nothing else.
fn is_plain_weight_file(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.ends_with(".safetensors") && !name.starts_with('.') && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_plain_safetensors_files_only() {
        let cases = [
            ("model-00001-of-00002.safetensors", true),
            ("a/model.safetensors", false),
            ("../model.safetensors", false),
            ("..\\model.safetensors", false),
            (".safetensors", false),
            ("model.bin", false),
            ("model.safetensors?x=.safetensors", false),
            ("", false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_plain_weight_file(name), expected, "{name}");
        }
    }
}
