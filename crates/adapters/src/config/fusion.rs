//! How a fusion is configured, in the words of the library's `AdapterFusionConfig`.

use serde_json::{Map, Value, json};

use crate::error::{ConfigError, quoted, shown};

/// A fusion's configuration: of the library's fields those that anything here depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct FusionConfig {
    /// Whether there is a value matrix.
    pub value: bool,
    /// Whether it begins near the identity instead of being drawn.
    pub value_initialized: bool,
    /// Whether the loss keeps it near the identity.
    pub regularization: bool,
    /// The share of scores that training drops; the base model's for its attention where it is not
    /// given, or 0.
    pub dropout_prob: Option<f64>,
    /// Whether the value matrix is applied to each member or to the mixture, which is the same.
    pub value_before_softmax: bool,
    /// Whether the query reads the sub-layer's output from before its residual is added and normed,
    /// instead of what the members read.
    pub query_before_ln: bool,
    /// Whether values are of the members' outputs with the residual, instead of its being added to
    /// their mixture.
    pub residual_before: bool,
}

impl FusionConfig {
    /// The names of the presets.
    pub const PRESETS: [&str; 3] = ["dynamic", "static", "figure-3"];

    /// A preset: `dynamic`, with a value matrix (Pfeiffer et al. 2021), `static`, without, or
    /// `figure-3`, as AdapterDrop draws it (Rücklé et al. 2021): with one, a query from before the
    /// norm, and values with the residual.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn preset(name: &str) -> Result<FusionConfig, ConfigError> {
        let [value, before] = match name {
            "dynamic" => [true, false],
            "static" => [false, false],
            "figure-3" => [true, true],
            _ => {
                let known = FusionConfig::PRESETS.join(", ");
                return Err(ConfigError::UnknownPreset { name: quoted(name), known });
            }
        };
        Ok(FusionConfig {
            value,
            value_initialized: value,
            regularization: value,
            dropout_prob: None,
            value_before_softmax: true,
            query_before_ln: before,
            residual_before: before,
        })
    }

    /// The configuration in a file of the library.
    ///
    /// # Errors
    /// A field that is absent, unknown, of another type or not supported.
    pub fn from_json(json: &Value) -> Result<FusionConfig, ConfigError> {
        let map = match json {
            Value::Object(map) => map,
            Value::String(name) => return FusionConfig::preset(name),
            other => return Err(ConfigError::NotAnObject { found: shown(Some(other)) }),
        };
        for (field, value) in map {
            if !FIELDS.contains(&field.as_str()) && !value.is_null() {
                let found = shown(Some(value));
                return Err(ConfigError::UnknownField { field: quoted(field), found });
            }
        }
        for (field, wanted, meaning) in [
            ("query", true, "adapters' inputs that are compared as they are"),
            ("key", true, "adapters' outputs that are compared as they are"),
            ("temperature", false, "a temperature that falls with every batch, in no file"),
        ] {
            if flag(map, field)? != wanted {
                let found = shown(map.get(field));
                return Err(ConfigError::UnsupportedField { field, found, meaning });
            }
        }
        let dropout_prob = match map.get("dropout_prob") {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_f64().filter(|p| (0.0..1.0).contains(p)) {
                Some(probability) => Some(probability),
                None => return Err(invalid(map, "dropout_prob", "a share below 1, or null")),
            },
        };
        Ok(FusionConfig {
            value: flag(map, "value")?,
            value_initialized: flag(map, "value_initialized")?,
            regularization: flag(map, "regularization")?,
            value_before_softmax: flag(map, "value_before_softmax")?,
            query_before_ln: flag(map, "query_before_ln")?,
            residual_before: flag(map, "residual_before")?,
            dropout_prob,
        })
    }

    /// All fields, as the library writes them.
    pub fn to_json(&self) -> Value {
        json!({
            "dropout_prob": self.dropout_prob,
            "key": true,
            "query": true,
            "query_before_ln": self.query_before_ln,
            "regularization": self.regularization,
            "residual_before": self.residual_before,
            "temperature": false,
            "value": self.value,
            "value_before_softmax": self.value_before_softmax,
            "value_initialized": self.value_initialized,
        })
    }
}

const FIELDS: [&str; 10] = [
    "dropout_prob",
    "key",
    "query",
    "query_before_ln",
    "regularization",
    "residual_before",
    "temperature",
    "value",
    "value_before_softmax",
    "value_initialized",
];

fn flag(map: &Map<String, Value>, field: &'static str) -> Result<bool, ConfigError> {
    match map.get(field) {
        Some(Value::Bool(flag)) => Ok(*flag),
        None => Err(ConfigError::MissingField { field, example: "true" }),
        Some(_) => Err(invalid(map, field, "true or false")),
    }
}

fn invalid(map: &Map<String, Value>, field: &str, expected: &str) -> ConfigError {
    let (field, expected) = (field.to_owned(), expected.to_owned());
    ConfigError::InvalidField { found: shown(map.get(&field)), field, expected }
}
