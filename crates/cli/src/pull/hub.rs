//! A model from the Hugging Face Hub: which files it consists of, and what each is checked against.

mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use adaptkit::encoder::foreign_text::{quoted, said};
use serde::Deserialize;

pub(crate) use client::{Digest, Download, Hub};

use super::known::KnownModel;
use super::{Fetched, Way, digest};
use crate::messages::Messages;
use crate::model_cache::{Check, FileRecord, ModelId};

/// The longest index of weight files that is read: thousands of shards fit.
const INDEX_BYTES: u64 = 64 << 20;

/// The longest other text that is fetched: nothing longer would be read as a configuration or a
/// tokeniser.
const TEXT_BYTES: u64 = 256 << 20;

/// The longest list of a repository's files that is read.
const LISTING_BYTES: u64 = 16 << 20;

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
    #[error("{url} states {bytes} bytes, and a file of this kind has at most {most}")]
    TooLarge { url: String, bytes: u64, most: u64 },
    #[error(
        "{url} states no length, and the Hub's list of files does not have it: whether it comes \
         whole could not be told"
    )]
    NoLength { url: String },
    #[error("{url} comes in the coding {}, and was asked for as it is", quoted(coding))]
    Encoded { url: String, coding: String },
    #[error("{url} answers with a web page in place of the file")]
    WebPage { url: String },
    #[error("{url} has {hash} {found}, and {} {expected}", match .check {
        Check::Pinned => "this program expects",
        _ => "the Hub states",
    })]
    WrongHash { url: String, hash: &'static str, expected: String, found: String, check: Check },
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
                | HubError::TooLarge { .. }
                | HubError::NoLength { .. }
                | HubError::Encoded { .. }
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
            HubError::NoFile { file, model, .. } if file.starts_with(TOKENIZER) => format!(
                "make one in Python with AutoTokenizer.from_pretrained({model:?})\
                 .save_pretrained(DIR), put the other files beside it and pass DIR as --model"
            ),
            HubError::NoFile { file, .. } if file == CONFIG => "check the name".into(),
            HubError::WrongHash { .. }
            | HubError::TooLong { .. }
            | HubError::TooLarge { .. }
            | HubError::NoLength { .. }
            | HubError::Encoded { .. } => {
                "nothing was kept; if it happens again, whatever stands at HF_ENDPOINT or between \
                 it and you changes the files"
                    .into()
            }
            HubError::WebPage { .. } => {
                "a network that asks you to log in, or a proxy, answers in the Hub's place: open \
                 the address in a browser"
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
/// What a tokeniser is built from where there is no `tokenizer.json`; the first of each decides.
const VOCABULARIES: [&[&str]; 3] =
    [&["vocab.txt"], &["vocab.json", "merges.txt"], &["sentencepiece.bpe.model"]];
const OPTIONAL: [&str; 3] =
    ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];
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
    let mut visit = Visit {
        hub,
        id,
        revision: revision.to_string(),
        directory,
        messages,
        files: Vec::new(),
        listing: None,
    };
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
    /// What the Hub's list says of its files, once it was asked for.
    listing: Option<BTreeMap<String, Listed>>,
}

impl Visit<'_> {
    fn fetch_unknown(&mut self) -> Result<(), HubError> {
        let config = self.hub.open(self.id, &self.revision, CONFIG)?;
        // All files from one commit, also when somebody pushes in between.
        if let Some(commit) = &config.commit {
            self.revision = commit.clone();
        }
        self.save(config, CONFIG, None)?;
        self.tokenizer()?;
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
            false => Err(self.no_file(format!("{WEIGHTS}, {WEIGHTS_INDEX} or {PICKLED_WEIGHTS}"))),
        }
    }

    /// `tokenizer.json`, or the vocabulary that stands for it.
    fn tokenizer(&mut self) -> Result<(), HubError> {
        if self.optional(TOKENIZER)? {
            return Ok(());
        }
        for vocabulary in VOCABULARIES {
            if self.optional(vocabulary[0])? {
                return vocabulary[1..].iter().try_for_each(|name| self.required(name));
            }
        }
        let vocabularies = VOCABULARIES.map(|files| files.join(" with "));
        Err(self.no_file(format!("{TOKENIZER}, {}", vocabularies.join(", "))))
    }

    fn no_file(&self, file: String) -> HubError {
        let endpoint = self.hub.endpoint().to_string();
        HubError::NoFile { endpoint, model: self.id.as_str().to_string(), file }
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
        let Download { body, bytes: mut stated, digest: mut stated_digest, url, .. } = download;
        if pin.is_none() && stated.is_none() {
            let listed = self.listed(name);
            stated = listed.as_ref().map(|file| file.bytes);
            stated_digest = stated_digest.or(listed.and_then(|file| file.digest));
        }
        let expected = pin.map(|(bytes, _)| bytes).or(stated);
        let Some(expected) = expected else { return Err(HubError::NoLength { url }) };
        let most = most_bytes(name);
        if expected > most {
            return Err(HubError::TooLarge { url, bytes: expected, most });
        }
        let bar = self.messages.bytes_bar(name, Some(expected));
        let path = self.directory.join(name);
        let copied =
            digest::copy(&mut body.take(expected.saturating_add(1)), &path, |step| bar.inc(step));
        bar.finish_and_clear();
        let disk = |source| HubError::Disk { path: path.clone(), source };
        let broken = |received, source| HubError::BrokenOff {
            url: url.clone(),
            received,
            expected: Some(expected),
            source,
        };
        let (bytes, sha256) = copied.map_err(|error| match error {
            digest::CopyError::Read(received, source) => broken(received, Some(source)),
            digest::CopyError::Write(source) => disk(source),
        })?;
        if is_web_page(&path).map_err(disk)? {
            return Err(HubError::WebPage { url });
        }
        if bytes < expected {
            return Err(broken(bytes, None));
        }
        if bytes > expected {
            return Err(HubError::TooLong { url, expected });
        }
        let wrong = |hash, expected: &str, found: &str, check| {
            let (expected, found) = (expected.to_string(), found.to_string());
            Err(HubError::WrongHash { url: url.clone(), hash, expected, found, check })
        };
        let checked = match (pin, stated_digest) {
            (Some((_, pinned)), _) if sha256 != pinned => {
                return wrong("sha256", pinned, &sha256, Check::Pinned);
            }
            (Some(_), _) => Check::Pinned,
            (None, Some(Digest::Sha256(stated))) if sha256 != stated => {
                return wrong("sha256", &stated, &sha256, Check::Hub);
            }
            (None, Some(Digest::GitBlob(stated))) => {
                let found = digest::of_git_blob(&path, bytes).map_err(disk)?;
                if !found.contains(&stated) {
                    return wrong("git's digest", &stated, &found[0], Check::Hub);
                }
                Check::Hub
            }
            (None, Some(Digest::Sha256(_))) => Check::Hub,
            (None, None) => Check::Recorded,
        };
        self.files.push(FileRecord { name: name.into(), bytes, sha256, checked });
        Ok(())
    }

    /// What the Hub's list of files says of one; nothing if it has no such list.
    fn listed(&mut self, name: &str) -> Option<Listed> {
        let Visit { hub, id, revision, listing, .. } = self;
        let listing = listing.get_or_insert_with(|| {
            let mut text = Vec::new();
            let read = hub.open_listing(id, revision).ok().and_then(|download| {
                let mut body = download.body.take(LISTING_BYTES);
                body.read_to_end(&mut text).ok()
            });
            read.and_then(|_| listing_of(&text)).unwrap_or_default()
        });
        listing.get(name).cloned()
    }
}

/// What the Hub's list of files says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) bytes: u64,
    digest: Option<Digest>,
}

/// Reads a list of files; nothing if it is none.
pub(crate) fn listing_of(text: &[u8]) -> Option<BTreeMap<String, Listed>> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(rename = "type")]
        kind: String,
        path: String,
        size: Option<u64>,
        oid: Option<String>,
        lfs: Option<Stored>,
    }
    /// A file in the large-file storage.
    #[derive(Deserialize)]
    struct Stored {
        oid: String,
        size: u64,
    }
    let entries: Vec<Entry> = serde_json::from_slice(text).ok()?;
    let files = entries.into_iter().filter(|entry| entry.kind == "file").filter_map(|entry| {
        let (bytes, oid) = match entry.lfs {
            Some(Stored { oid, size }) => (size, Some(oid)),
            None => (entry.size?, entry.oid),
        };
        let digest = oid.and_then(|oid| Digest::parse(oid.trim_start_matches("sha256:")));
        Some((entry.path, Listed { bytes, digest }))
    });
    Some(files.collect())
}

/// The most bytes that a file of this name may have.
fn most_bytes(name: &str) -> u64 {
    match name {
        WEIGHTS_INDEX => INDEX_BYTES,
        _ if is_plain_weight_file(name) || name == PICKLED_WEIGHTS => u64::MAX,
        _ => TEXT_BYTES,
    }
}

/// Whether a web page lies in a file's place, as networks answer that want a login first.
fn is_web_page(path: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(512).read_to_end(&mut start)?;
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start).trim_ascii_start();
    let begins = |word: &str| {
        text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    Ok(begins("<!doctype html") || begins("<html"))
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
    fn a_list_of_files_has_the_length_and_the_digest_of_each() {
        let (git, sha) = ("0123456789".repeat(4), "ab".repeat(32));
        let text = format!(
            r#"[{{"type": "directory", "oid": "{git}", "size": 0, "path": "onnx"}},
                {{"type": "file", "oid": "{git}", "size": 612, "path": "config.json"}},
                {{"type": "file", "oid": "{git}", "size": 9, "path": "model.safetensors",
                  "lfs": {{"oid": "{sha}", "size": 90868376, "pointerSize": 133}}}},
                {{"type": "file", "path": "no-size"}}]"#
        );
        let expected = BTreeMap::from([
            ("config.json".to_string(), Listed { bytes: 612, digest: Some(Digest::GitBlob(git)) }),
            (
                "model.safetensors".to_string(),
                Listed { bytes: 90_868_376, digest: Some(Digest::Sha256(sha)) },
            ),
        ]);
        assert_eq!(listing_of(text.as_bytes()), Some(expected));
        for none in ["", "{}", "<html>", r#"[{"path": 1}]"#] {
            assert_eq!(listing_of(none.as_bytes()), None, "{none}");
        }
    }

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
