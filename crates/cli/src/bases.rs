//! Where pulled base models live, and what `--model` may name.

use std::path::{Path, PathBuf};

use crate::error::CliError;

/// The environment variables that the command reads; the library reads none.
pub(crate) struct Environment {
    /// `ADAPTKIT_CACHE`: the folder for pulled models; by default `adaptkit` in the user's cache.
    pub(crate) cache: PathBuf,
    /// `HF_ENDPOINT`: the Hub's address, for mirrors.
    pub(crate) hub: String,
    /// `HF_TOKEN`: sent to the Hub, for gated and private models.
    pub(crate) token: Option<String>,
    /// `HF_HUB_OFFLINE`: if set and not 0, the Hub is not asked.
    pub(crate) offline: bool,
    /// `ADAPTKIT_PYTHON`: the Python whose pip fetches wheels; `python3` by default.
    pub(crate) python: String,
}

impl Environment {
    pub(crate) fn read() -> Environment {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let folder = |name: &str| text(name).map(PathBuf::from);
        let cache = folder("ADAPTKIT_CACHE")
            .or_else(|| folder("XDG_CACHE_HOME").map(|dir| dir.join("adaptkit")))
            .or_else(|| folder("HOME").map(|dir| dir.join(".cache").join("adaptkit")))
            .unwrap_or_else(|| PathBuf::from(".adaptkit-cache"));
        Environment {
            cache,
            hub: text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: text("HF_TOKEN"),
            offline: text("HF_HUB_OFFLINE").is_some_and(|value| value != "0"),
            python: text("ADAPTKIT_PYTHON").unwrap_or_else(|| "python3".to_owned()),
        }
    }

    /// Where a pulled model lives.
    pub(crate) fn folder(&self, id: &HubId) -> PathBuf {
        self.cache.join("models").join(id.0.replace('/', "--"))
    }
}

/// The id of a model on the Hub: `organisation/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubId(String);

impl HubId {
    /// An id, with the organisation filled in for the sentence-transformers' well-known ones.
    pub(crate) fn parse(text: &str) -> Option<HubId> {
        let part = |part: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.len() <= 96 && part.chars().all(known)
        };
        let id = match text {
            "all-MiniLM-L6-v2" | "all-mpnet-base-v2" => format!("sentence-transformers/{text}"),
            _ => text.to_owned(),
        };
        let parts: Vec<&str> = id.split('/').collect();
        let valid = (1..=2).contains(&parts.len()) && parts.iter().all(|p| part(p));
        valid.then_some(HubId(id))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The directory of `--model`: an existing directory, or a pulled model.
pub(crate) fn resolve(model: &str) -> Result<PathBuf, CliError> {
    let path = Path::new(model);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    HubId::parse(model)
        .map(|id| Environment::read().folder(&id))
        .filter(|folder| folder.is_dir())
        .ok_or_else(|| CliError::NoModel { name: model.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_names() {
        let id = |text| HubId::parse(text).map(|id| id.0);
        let full = Some("sentence-transformers/all-MiniLM-L6-v2".to_owned());
        assert_eq!(id("all-MiniLM-L6-v2"), full);
        assert_eq!(id("sentence-transformers/all-MiniLM-L6-v2"), full);
        assert_eq!(id("bert-base-uncased"), Some("bert-base-uncased".to_owned()));
        for hostile in ["", "..", "../../etc", "a/b/c", "a/../b", "/etc", "a b", "a/", ".a/b", "a\\b"] {
            assert_eq!(id(hostile), None, "{hostile}");
        }
    }
}
