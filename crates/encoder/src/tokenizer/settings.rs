//! What a model's directory says about its tokenizer beside `tokenizer.json`, merged as
//! `AutoTokenizer.from_pretrained` merges it.
//!
//! `tokenizer_config.json` comes first. Where it lists no `added_tokens_decoder`, the directory is
//! of the older layout: `special_tokens_map.json` overrides its fields, and `added_tokens.json` and
//! the tokens of `tokenizer.json` are added. What is absent everywhere the class decides. The rules
//! are those of version 4.57 of `transformers`, found by experiment; `bench/parity/tokenizers.py`
//! repeats it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::added_token::{AddedToken, SpecialToken};
use super::class::{Class, Kind};
use crate::error::quoted;
use crate::{EncoderError, json_file};

const CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
const ADDED_TOKENS: &str = "added_tokens.json";

/// Fields with one special token each, in the order in which they are added.
pub(super) const SPECIAL_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const ADDITIONAL: &str = "additional_special_tokens";
const EXTRA: &str = "extra_special_tokens";

/// What a special token's field says.
#[derive(Clone, Debug)]
enum Said {
    Json(Value),
    /// A token of the older layout's `special_tokens_map.json`.
    Token(AddedToken),
    /// A list of such and others.
    List(Vec<Said>),
}

/// A field, and the file that it stands in.
struct Field {
    said: Said,
    file: &'static str,
}

/// The merged settings.
pub(super) struct Settings {
    dir: PathBuf,
    pub(super) class: Class,
    fields: BTreeMap<String, Field>,
    /// Tokens by the id that the files give them. The id orders them; what they get may be another.
    pub(super) added: BTreeMap<i64, AddedToken>,
    /// The same tokens by their words; of several the last.
    by_content: BTreeMap<String, AddedToken>,
}

/// The end at which long texts are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TruncationSide {
    Left,
    Right,
}

/// The special tokens of a tokenizer, by their fields.
#[derive(Clone, Debug, Default)]
pub(super) struct SpecialTokens {
    /// In the order of [`SPECIAL_TOKENS`]; `None` where a field is null or absent.
    pub(super) named: [Option<SpecialToken>; 7],
    pub(super) additional: Vec<SpecialToken>,
    /// Those of `extra_special_tokens`, where that gives each a name.
    extra: Vec<SpecialToken>,
}

impl SpecialTokens {
    /// The token of a field.
    pub(super) fn get(&self, field: &str) -> Option<&SpecialToken> {
        let place = SPECIAL_TOKENS.iter().position(|name| *name == field)?;
        self.named[place].as_ref()
    }

    /// All of them in the order in which they are added: of several with one word the first, unless
    /// they stand in one list.
    pub(super) fn all(&self) -> Vec<&SpecialToken> {
        let mut all: Vec<&SpecialToken> = Vec::new();
        let singles = |token| std::slice::from_ref(token);
        let named = self.named.iter().flatten().map(singles);
        let lists = named.chain([&self.additional[..]]).chain(self.extra.iter().map(singles));
        for list in lists {
            let seen = all.len();
            for token in list {
                let known = all[..seen].iter().any(|other| other.content() == token.content());
                if token.is_there() && !known {
                    all.push(token);
                }
            }
        }
        all
    }

    /// Gives a field its token.
    pub(super) fn set(&mut self, field: &str, token: SpecialToken) {
        let place = SPECIAL_TOKENS.iter().position(|name| *name == field).expect("a known field");
        self.named[place] = Some(token);
    }

    /// All of them as Python copies them.
    pub(super) fn copied(self) -> SpecialTokens {
        let all = |list: Vec<SpecialToken>| list.into_iter().map(SpecialToken::copied).collect();
        SpecialTokens {
            named: self.named.map(|token| token.map(SpecialToken::copied)),
            additional: all(self.additional),
            extra: all(self.extra),
        }
    }

    /// Every token that has a field of its own is changed.
    pub(super) fn map(self, change: impl Fn(&str, SpecialToken) -> SpecialToken) -> SpecialTokens {
        let mut named = self.named;
        for (token, field) in named.iter_mut().zip(SPECIAL_TOKENS) {
            *token = token.take().map(|token| change(field, token));
        }
        SpecialTokens { named, ..self }
    }
}

impl Settings {
    /// Reads the settings of a directory whose `config.json` says `model_type`.
    ///
    /// `tokenizer` is the content of `tokenizer.json`, if it is there.
    pub(super) fn read(
        dir: &Path,
        model_type: &str,
        tokenizer: Option<&TokenizerFile>,
    ) -> Result<Settings, EncoderError> {
        let config = object(dir, CONFIG)?.unwrap_or_default();
        let class = class(dir, &config, model_type)?;
        let mut settings = Settings {
            dir: dir.to_owned(),
            class,
            fields: BTreeMap::new(),
            added: BTreeMap::new(),
            by_content: BTreeMap::new(),
        };
        for (name, value) in config {
            settings.fields.insert(name, Field { said: Said::Json(value), file: CONFIG });
        }
        if settings.json("init_inputs").is_some_and(|value| *value != Value::Array(Vec::new())) {
            let reason = "is not empty; arguments by position are not read: remove it";
            return Err(settings.wrong("init_inputs", reason));
        }
        if settings.fields.contains_key("add_special_tokens") {
            let reason = "is the name of a function in transformers, which refuses it: remove it";
            return Err(settings.wrong("add_special_tokens", reason));
        }
        match settings.json("added_tokens_decoder").cloned() {
            Some(Value::Object(tokens)) => settings.add_decoder(&tokens)?,
            Some(_) => return Err(settings.wrong("added_tokens_decoder", "is no object")),
            None => settings.add_older_layout(tokenizer)?,
        }
        Ok(settings)
    }

    /// The tokens of `added_tokens_decoder`.
    fn add_decoder(&mut self, tokens: &Map<String, Value>) -> Result<(), EncoderError> {
        let field = "added_tokens_decoder";
        for (id, token) in tokens {
            let Ok(id) = id.trim().parse::<i64>() else {
                return Err(self.wrong(field, format!("has the key {}, not an id", quoted(id))));
            };
            let Value::Object(token) = token else {
                return Err(self.wrong(field, "has a token that is no object"));
            };
            let token = AddedToken::from_object(token).map_err(|e| self.wrong(field, e))?;
            self.add(id, token);
        }
        Ok(())
    }

    /// What the files of the older layout add.
    fn add_older_layout(&mut self, tokenizer: Option<&TokenizerFile>) -> Result<(), EncoderError> {
        for (name, value) in object(&self.dir, SPECIAL_TOKENS_MAP)?.into_iter().flatten() {
            let said = self.of_special_tokens_map(&name, value)?;
            self.fields.insert(name, Field { said, file: SPECIAL_TOKENS_MAP });
        }
        if let Some(tokens) = object(&self.dir, ADDED_TOKENS)? {
            let special = self.special_words();
            for (content, id) in tokens {
                let Some(id) = id.as_i64() else {
                    let reason = "has no whole number for its id".into();
                    return Err(self.field_error(ADDED_TOKENS, &content, reason));
                };
                let token = match special.contains(&content) {
                    true => AddedToken::new(content).special().normalized(false),
                    false => AddedToken::new(content).normalized(true),
                };
                self.added.insert(id, token);
            }
        }
        for (id, token) in tokenizer.into_iter().flat_map(|file| &file.added_tokens) {
            self.add(*id, token.clone());
        }
        Ok(())
    }

    fn add(&mut self, id: i64, token: AddedToken) {
        self.by_content.insert(token.content.clone(), token.clone());
        self.added.insert(id, token);
    }

    /// A field of `special_tokens_map.json`, where an object is a token that is special.
    fn of_special_tokens_map(&mut self, name: &str, value: Value) -> Result<Said, EncoderError> {
        let wrong = |reason| {
            let (path, field) = (self.dir.join(SPECIAL_TOKENS_MAP), name.to_owned());
            EncoderError::Field { path, field, reason }
        };
        let token = |fields: &Map<String, Value>| {
            let mut fields = fields.clone();
            fields.insert("special".into(), Value::Bool(true));
            AddedToken::from_object(&fields).map_err(wrong)
        };
        match value {
            Value::Object(fields) => Ok(Said::Token(token(&fields)?)),
            Value::Array(list) if name == ADDITIONAL => {
                let mut all = match self.fields.remove(ADDITIONAL).map(|field| field.said) {
                    Some(Said::Json(Value::Array(list))) => {
                        list.into_iter().map(Said::Json).collect()
                    }
                    _ => Vec::new(),
                };
                for value in list {
                    let said = match value {
                        Value::Object(fields) => Said::Token(token(&fields)?),
                        other => Said::Json(other),
                    };
                    let known = all.iter().any(|other| match (other, &said) {
                        (Said::Json(one), Said::Json(other)) => one == other,
                        (Said::Token(one), Said::Token(other)) => one == other,
                        _ => false,
                    });
                    if !known {
                        all.push(said);
                    }
                }
                Ok(Said::List(all))
            }
            other => Ok(Said::Json(other)),
        }
    }

    /// The words of all special tokens' fields.
    fn special_words(&self) -> Vec<String> {
        fn add(said: &Said, words: &mut Vec<String>) {
            match said {
                Said::Json(Value::String(word)) => words.push(word.clone()),
                Said::Json(Value::Array(list)) => {
                    list.iter().for_each(|value| add(&Said::Json(value.clone()), words));
                }
                Said::Json(_) => {}
                Said::Token(token) => words.push(token.content.clone()),
                Said::List(list) => list.iter().for_each(|said| add(said, words)),
            }
        }
        let mut words = Vec::new();
        for name in SPECIAL_TOKENS.iter().chain([&ADDITIONAL]) {
            if let Some(field) = self.fields.get(*name) {
                add(&field.said, &mut words);
            }
        }
        words
    }

    /// The special tokens that the files name; `class` gives a field's word where it is absent.
    pub(super) fn special_tokens(
        &self,
        class: impl Fn(&str) -> Option<&'static str>,
        additional: &[&str],
    ) -> Result<SpecialTokens, EncoderError> {
        let mut tokens = SpecialTokens::default();
        for (place, name) in SPECIAL_TOKENS.into_iter().enumerate() {
            let Some(field) = self.fields.get(name) else {
                tokens.named[place] = class(name).map(|word| SpecialToken::Word(word.into()));
                continue;
            };
            let token = self.special_token(name, &field.said)?;
            tokens.named[place] = token.map(|token| match self.by_content.get(token.content()) {
                Some(known) => SpecialToken::Token(known.clone()),
                None => token,
            });
        }
        tokens.additional = match self.fields.get(ADDITIONAL).map(|field| &field.said) {
            None => additional.iter().map(|word| SpecialToken::Word((*word).into())).collect(),
            Some(said) => self.list(ADDITIONAL, said)?,
        };
        match self.fields.get(EXTRA).map(|field| &field.said) {
            None => {}
            Some(Said::Json(Value::Object(named))) => {
                for value in named.values() {
                    let said = Said::Json(value.clone());
                    tokens.extra.extend(self.special_token(EXTRA, &said)?);
                }
            }
            // The name that version 5 gives to the additional ones.
            Some(said) => tokens.additional.extend(self.list(EXTRA, said)?),
        }
        Ok(tokens)
    }

    fn list(&self, name: &str, said: &Said) -> Result<Vec<SpecialToken>, EncoderError> {
        let said = match said {
            Said::Json(Value::Null) => Vec::new(),
            Said::Json(Value::Array(list)) => list.iter().cloned().map(Said::Json).collect(),
            Said::List(list) => list.clone(),
            _ => return Err(self.wrong(name, "is no list of tokens")),
        };
        let token = |said: &Said| {
            self.special_token(name, said)?
                .ok_or_else(|| self.wrong(name, "has null in place of a token"))
        };
        said.iter().map(token).collect()
    }

    fn special_token(&self, name: &str, said: &Said) -> Result<Option<SpecialToken>, EncoderError> {
        match said {
            Said::Json(Value::Null) => Ok(None),
            Said::Json(Value::String(word)) => Ok(Some(SpecialToken::Word(word.clone()))),
            Said::Token(token) => Ok(Some(SpecialToken::Token(token.clone()))),
            Said::Json(Value::Object(fields))
                if fields.get("__type").and_then(Value::as_str) == Some("AddedToken") =>
            {
                let token = AddedToken::from_object(fields).map_err(|e| self.wrong(name, e))?;
                Ok(Some(SpecialToken::Token(token)))
            }
            _ => Err(self.wrong(
                name,
                "is neither a word nor an object with \"content\" and \"__type\": \"AddedToken\"",
            )),
        }
    }

    /// Whether a file has the field, be it null.
    pub(super) fn says(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// The value of a field that is no special token.
    fn json(&self, name: &str) -> Option<&Value> {
        match &self.fields.get(name)?.said {
            Said::Json(value) => Some(value),
            _ => None,
        }
    }

    /// A truth value, or `default` where the field is absent.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, EncoderError> {
        match self.fields.get(name).map(|field| &field.said) {
            None => Ok(default),
            Some(Said::Json(Value::Bool(flag))) => Ok(*flag),
            Some(_) => Err(self.wrong(name, "is neither true nor false")),
        }
    }

    /// A truth value that may be left open.
    pub(super) fn open_flag(&self, name: &str) -> Result<Option<bool>, EncoderError> {
        match self.json(name) {
            Some(Value::Null) => Ok(None),
            _ if !self.fields.contains_key(name) => Ok(None),
            _ => self.flag(name, false).map(Some),
        }
    }

    /// Whether the tokenizer is built from its vocabulary's files although there is a
    /// `tokenizer.json`.
    pub(super) fn prefers_vocabulary(&self) -> Result<bool, EncoderError> {
        let field = match (self.json("tokenizer_file"), self.json("from_slow")) {
            (Some(Value::Null), _) => "tokenizer_file",
            (Some(_), _) => {
                let reason = "names a file; tokenizer.json of this directory is read: remove it";
                return Err(self.wrong("tokenizer_file", reason));
            }
            (None, None | Some(Value::Null | Value::Bool(false))) => return Ok(false),
            (None, Some(_)) => "from_slow",
        };
        match self.class.kind {
            Kind::Generic => {
                let reason = "asks for a class with a vocabulary of its own: remove it";
                Err(self.wrong(field, reason))
            }
            _ => Ok(true),
        }
    }

    /// Refuses a vocabulary that the settings place elsewhere.
    ///
    /// # Errors
    /// A field that names the vocabulary's file.
    pub(super) fn check_vocabulary_is_here(&self) -> Result<(), EncoderError> {
        match ["vocab_file", "merges_file"].into_iter().find(|name| self.fields.contains_key(*name))
        {
            Some(name) => {
                let reason = "names a file; the vocabulary is read from this directory: remove it";
                Err(self.wrong(name, reason))
            }
            None => Ok(()),
        }
    }

    /// The end at which long texts are cut, if the settings say it.
    pub(super) fn truncation_side(&self) -> Result<Option<TruncationSide>, EncoderError> {
        match self.fields.get("truncation_side").map(|field| &field.said) {
            None => Ok(None),
            Some(Said::Json(Value::String(side))) if side == "left" => {
                Ok(Some(TruncationSide::Left))
            }
            Some(Said::Json(Value::String(side))) if side == "right" => {
                Ok(Some(TruncationSide::Right))
            }
            Some(_) => Err(self.wrong("truncation_side", "is neither \"left\" nor \"right\"")),
        }
    }

    /// The tokens that the tokenizer's settings allow in a row; beyond all measure where there is
    /// no limit.
    pub(super) fn model_max_length(&self) -> Result<Option<f64>, EncoderError> {
        // `max_len` is the older name; what stands under it counts where the other is absent.
        let (name, value) = match (self.json("model_max_length"), self.json("max_len")) {
            (None, value) => ("max_len", value),
            (value, _) => ("model_max_length", value),
        };
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(_) => Err(self.wrong(name, "is no number")),
        }
    }

    /// Whether the model is given the types of tokens.
    pub(super) fn takes_token_types(&self) -> Result<bool, EncoderError> {
        let name = "model_input_names";
        match self.json(name) {
            None => Ok(self.class.token_types),
            Some(Value::Array(names)) => Ok(names.iter().any(|name| name == "token_type_ids")),
            Some(_) => Err(self.wrong(name, "is no list")),
        }
    }

    /// An error about a field, in the file in which it stands.
    pub(super) fn wrong(&self, field: &str, reason: impl Into<String>) -> EncoderError {
        let file = self.fields.get(field).map_or(CONFIG, |field| field.file);
        self.field_error(file, field, reason.into())
    }

    fn field_error(&self, file: &str, field: &str, reason: String) -> EncoderError {
        let field = quoted(field).trim_matches('"').to_owned();
        EncoderError::Field { path: self.dir.join(file), field, reason }
    }
}

/// What a `tokenizer.json` says that is merged with the settings.
pub(super) struct TokenizerFile {
    /// Its added tokens with their ids.
    pub(super) added_tokens: Vec<(i64, AddedToken)>,
}

impl TokenizerFile {
    /// Reads the part of a file that is needed here; what is malformed the `tokenizers` crate names.
    pub(super) fn parse(bytes: &[u8]) -> TokenizerFile {
        #[derive(serde::Deserialize)]
        struct Part {
            #[serde(default)]
            added_tokens: Vec<Map<String, Value>>,
        }
        let part: Option<Part> = serde_json::from_slice(bytes).ok();
        let tokens = part.into_iter().flat_map(|part| part.added_tokens);
        let token = |fields: Map<String, Value>| -> Option<(i64, AddedToken)> {
            Some((fields.get("id")?.as_i64()?, AddedToken::from_object(&fields).ok()?))
        };
        TokenizerFile { added_tokens: tokens.filter_map(token).collect() }
    }
}

/// The class that the settings name, or that the model's type has.
fn class(dir: &Path, config: &Map<String, Value>, model_type: &str) -> Result<Class, EncoderError> {
    let model = object(dir, "config.json")?.unwrap_or_default();
    for (file, fields) in [(CONFIG, config), ("config.json", &model)] {
        let field = "tokenizer_class".to_owned();
        let wrong = |reason| EncoderError::Field { path: dir.join(file), field, reason };
        match fields.get("tokenizer_class") {
            None | Some(Value::Null) => continue,
            Some(Value::String(name)) => {
                return Class::named(name).map_err(|reason| match fields.contains_key("auto_map") {
                    true => wrong(format!(
                        "is {}, which the model's own Python code defines (auto_map): that is not \
                         run here",
                        quoted(name)
                    )),
                    false => wrong(reason),
                });
            }
            Some(_) => return Err(wrong("is no text".into())),
        }
    }
    Class::of_model_type(model_type).ok_or_else(|| EncoderError::Field {
        path: dir.join("config.json"),
        field: "model_type".into(),
        reason: format!("is {}, which has no tokenizer here", quoted(model_type)),
    })
}

/// A JSON object of the directory, `None` where there is no such file.
fn object(dir: &Path, name: &str) -> Result<Option<Map<String, Value>>, EncoderError> {
    let path = dir.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    match json_file::read(&path)? {
        Value::Object(fields) => Ok(Some(fields)),
        _ => Err(EncoderError::Json { path, reason: "it is not a JSON object".into() }),
    }
}
