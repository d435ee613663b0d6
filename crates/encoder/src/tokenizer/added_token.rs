//! Added tokens as the settings of a tokenizer write them.

use serde_json::{Map, Value};

/// An added token some of whose attributes may be left open: `AddedToken` of Python.
#[derive(Clone, Debug)]
pub(super) struct AddedToken {
    pub(super) content: String,
    pub(super) single_word: bool,
    pub(super) lstrip: bool,
    pub(super) rstrip: bool,
    /// Whether it is looked for in the normalised text. Where this is open, a special token is not.
    pub(super) normalized: Option<bool>,
    pub(super) special: bool,
}

/// A special token: a word, or a token with attributes.
#[derive(Clone, Debug)]
pub(super) enum SpecialToken {
    Word(String),
    Token(AddedToken),
}

impl AddedToken {
    /// A token with all attributes left open.
    pub(super) fn new(content: impl Into<String>) -> AddedToken {
        let content = content.into();
        let (single_word, lstrip, rstrip) = (false, false, false);
        AddedToken { content, single_word, lstrip, rstrip, normalized: None, special: false }
    }

    /// Takes the white space before it.
    pub(super) fn stripping_left(self) -> AddedToken {
        AddedToken { lstrip: true, ..self }
    }

    /// Is looked for in the text as it is, or in the normalised text.
    pub(super) fn normalized(self, normalized: bool) -> AddedToken {
        AddedToken { normalized: Some(normalized), ..self }
    }

    /// Is special.
    pub(super) fn special(self) -> AddedToken {
        AddedToken { special: true, ..self }
    }

    /// Fixes what is open as it stands now, as Python does when it copies a token.
    pub(super) fn copied(self) -> AddedToken {
        let normalized = self.is_normalized();
        self.normalized(normalized)
    }

    /// The token of an object with `content` and truth values; or which of its fields is wrong.
    pub(super) fn from_object(fields: &Map<String, Value>) -> Result<AddedToken, String> {
        let content = match fields.get("content") {
            Some(Value::String(content)) => content,
            _ => return Err("has a token without \"content\"".into()),
        };
        let flag = |name: &str| match fields.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(format!("has a token whose \"{name}\" is neither true nor false")),
        };
        Ok(AddedToken {
            content: content.clone(),
            single_word: flag("single_word")?.unwrap_or(false),
            lstrip: flag("lstrip")?.unwrap_or(false),
            rstrip: flag("rstrip")?.unwrap_or(false),
            normalized: flag("normalized")?,
            special: flag("special")?.unwrap_or(false),
        })
    }

    /// The token as the `tokenizers` crate takes it.
    pub(super) fn closed(&self) -> tokenizers::AddedToken {
        tokenizers::AddedToken {
            content: self.content.clone(),
            single_word: self.single_word,
            lstrip: self.lstrip,
            rstrip: self.rstrip,
            normalized: self.is_normalized(),
            special: self.special,
        }
    }

    fn is_normalized(&self) -> bool {
        self.normalized.unwrap_or(!self.special)
    }
}

impl PartialEq for AddedToken {
    fn eq(&self, other: &AddedToken) -> bool {
        self.closed() == other.closed()
    }
}

impl SpecialToken {
    /// The word itself.
    pub(super) fn content(&self) -> &str {
        match self {
            SpecialToken::Word(word) => word,
            SpecialToken::Token(token) => &token.content,
        }
    }

    /// Whether Python counts it as there: an empty word is not.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self, SpecialToken::Word(word) if word.is_empty())
    }

    /// A word as `token` makes one of it; what has attributes already keeps them.
    pub(super) fn or_token(self, token: impl FnOnce(AddedToken) -> AddedToken) -> SpecialToken {
        match self {
            SpecialToken::Word(word) => SpecialToken::Token(token(AddedToken::new(word))),
            SpecialToken::Token(token) => SpecialToken::Token(token),
        }
    }

    /// As Python copies it.
    pub(super) fn copied(self) -> SpecialToken {
        match self {
            SpecialToken::Token(token) => SpecialToken::Token(token.copied()),
            word => word,
        }
    }
}
