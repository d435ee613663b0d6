//! What an adapter's and a head's configuration files have in common: whom they belong to.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::json;
use super::tensor_names::TensorNames;
use crate::config::Vintage;
use crate::error::AdapterError;

/// The version of the library whose files are written.
pub(super) const WRITTEN_VERSION: &str = "adapters.1.3.0";

/// The encoder that an adapter or a head was made for, as far as the library's files say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelReference {
    /// The library's class, for example `BertAdapterModel`; absent in some old files.
    pub model_class: Option<String>,
    /// The directory or hub id it was loaded from, which may mean nothing elsewhere.
    pub model_name: Option<String>,
    /// `model_type` of the encoder's configuration, for example `bert`.
    pub model_type: String,
    /// The encoder's width.
    pub hidden_size: usize,
}

impl ModelReference {
    /// The reference to an encoder of this type and width, which was loaded as `model_name`.
    pub fn new(
        model_type: &str,
        model_name: &str,
        hidden_size: usize,
    ) -> Result<ModelReference, AdapterError> {
        let names = TensorNames::of(model_type)?;
        Ok(ModelReference {
            model_class: Some(String::from(names.model_class)),
            model_name: Some(String::from(model_name)),
            model_type: String::from(model_type),
            hidden_size,
        })
    }

    /// Whether what belongs to this encoder fits one of that type and width.
    pub(super) fn check(
        &self,
        what: &'static str,
        name: &str,
        model_type: &str,
        hidden_size: usize,
    ) -> Result<(), AdapterError> {
        let wrong = |property, made_for: &str, found: &str| AdapterError::WrongBase {
            what,
            name: String::from(name),
            property,
            made_for: String::from(made_for),
            found: String::from(found),
        };
        if self.model_type != model_type {
            return Err(wrong("model type", &self.model_type, model_type));
        }
        if self.hidden_size != hidden_size {
            let (made_for, found) = (self.hidden_size.to_string(), hidden_size.to_string());
            return Err(wrong("hidden size", &made_for, &found));
        }
        Ok(())
    }

    pub(super) fn read(
        path: &Path,
        map: &Map<String, Value>,
    ) -> Result<ModelReference, AdapterError> {
        let optional = |field: &str| match map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => json::text(path, map, field).map(Some),
        };
        let model_type = json::text(path, map, "model_type")?;
        TensorNames::of(&model_type)?;
        Ok(ModelReference {
            model_class: optional("model_class")?,
            model_name: optional("model_name")?,
            model_type,
            hidden_size: json::count(path, map, "hidden_size")?,
        })
    }

    /// The whole file around `config`. The class is always the library's present one, since it
    /// takes heads from no other.
    pub(super) fn around(&self, name: &str, config: Value) -> Result<Value, AdapterError> {
        let names = TensorNames::of(&self.model_type)?;
        Ok(json!({
            "config": config,
            "hidden_size": self.hidden_size,
            "model_class": names.model_class,
            "model_name": self.model_name.as_deref().unwrap_or(""),
            "model_type": self.model_type,
            "name": name,
            "version": WRITTEN_VERSION,
        }))
    }
}

/// Which meaning activations' names have in a file.
pub(super) fn vintage(map: &Map<String, Value>) -> Vintage {
    if map.contains_key("version") { Vintage::Versioned } else { Vintage::Unversioned }
}

/// Whether a name can be part of a tensor's name, and of a folder's in a fusion.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), AdapterError> {
    match name_fault(name) {
        Some(reason) => Err(AdapterError::Name { what, name: String::from(name), reason }),
        None => Ok(()),
    }
}

/// Why a name cannot be part of a tensor's name, if it cannot.
pub(crate) fn name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.contains(['.', '/', '\\', ',']) {
        Some("the characters . , / \\ separate the parts of names in these files")
    } else if name.chars().any(char::is_control) {
        Some("it has control characters")
    } else {
        None
    }
}
