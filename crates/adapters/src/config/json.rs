//! The configuration as the library's files hold it, old forms included.
//!
//! Reading fills absent fields with the library's defaults: files of its first versions have 14
//! keys. Keys that no version of the library computes with are let pass if they are `null` or
//! `false` and refused by name otherwise. The library itself keeps and ignores them; but the one
//! way such a key comes about in practice is a later version that does compute with it, and then
//! ignoring it means wrong logits without a word.

use std::collections::{BTreeMap, BTreeSet};

use adaptkit_kernels::Activation;
use serde_json::{Map, Value, json};

use super::{AdapterConfig, AdapterResidual, ConfigText, Initialisation, ReductionFactor, Scaling};
use crate::error::{ConfigError, quoted, shown};

/// Which meaning the activation's name has in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vintage {
    /// The file has a `version`: names are those of `transformers`.
    Versioned,
    /// The file has none: `gelu` stood for the tanh form and `gelu_orig` for the exact one.
    Unversioned,
}

/// What fields are called in the very first files, and since.
const RENAMED: [(&str, &str); 4] = [
    ("MH_Adapter", "mh_adapter"),
    ("Output_Adapter", "output_adapter"),
    ("LN_before", "ln_before"),
    ("LN_after", "ln_after"),
];

/// Fields that a bottleneck adapter on its own never computes with: how the first versions mixed
/// several adapters, and the details of `phm_layer` and `inv_adapter`, which are refused when on.
const INERT: [&str; 16] = [
    "attention_type",
    "new_attention_norm",
    "factorized_phm_W",
    "factorized_phm_rule",
    "hypercomplex_nonlinearity",
    "learn_phm",
    "phm_bias",
    "phm_c_init",
    "phm_dim",
    "phm_init_range",
    "phm_rank",
    "shared_W_phm",
    "shared_phm_rule",
    "inv_adapter_reduction_factor",
    // Read elsewhere in this module.
    "architecture",
    "peft_type",
];

/// Fields that are known and not built here, with what they ask for when they are on.
const UNSUPPORTED: [(&str, &str); 4] = [
    ("phm_layer", "projections made of Kronecker products (Compacter)"),
    ("inv_adapter", "invertible adapters at the embeddings (MAD-X)"),
    ("invertible_adapter", "invertible adapters at the embeddings (MAD-X)"),
    ("cross_adapter", "adapters at the cross-attention of a decoder"),
];

/// Fields that this module reads into the struct.
const READ: [&str; 18] = [
    "mh_adapter",
    "output_adapter",
    "reduction_factor",
    "non_linearity",
    "original_ln_before",
    "original_ln_after",
    "ln_before",
    "ln_after",
    "init_weights",
    "init_weights_seed",
    "is_parallel",
    "scaling",
    "use_gating",
    "residual_before_ln",
    "adapter_residual_before_ln",
    "leave_out",
    "dropout",
    "stochastic_depth",
];

impl AdapterConfig {
    /// The configuration that `value` holds: an object of fields, or a [`ConfigText`].
    pub fn from_json(value: &Value, vintage: Vintage) -> Result<AdapterConfig, ConfigError> {
        let fields = match value {
            Value::String(text) => return ConfigText::parse(text)?.config(),
            Value::Object(map) => Fields(renamed(map)),
            other => return Err(ConfigError::NotAnObject { found: shown(Some(other)) }),
        };
        fields.refuse_what_is_not_built()?;
        let config = AdapterConfig {
            mh_adapter: fields.required_flag("mh_adapter")?,
            output_adapter: fields.required_flag("output_adapter")?,
            reduction_factor: fields.reduction_factor()?,
            non_linearity: fields.activation(vintage)?,
            original_ln_before: fields.flag("original_ln_before", false)?,
            original_ln_after: fields.flag("original_ln_after", true)?,
            ln_before: fields.flag("ln_before", false)?,
            ln_after: fields.flag("ln_after", false)?,
            init_weights: fields.initialisation()?,
            init_weights_seed: fields.seed()?,
            is_parallel: fields.flag("is_parallel", false)?,
            scaling: fields.scaling()?,
            use_gating: fields.flag("use_gating", false)?,
            residual_before_ln: fields.residual()?,
            adapter_residual_before_ln: fields.flag("adapter_residual_before_ln", false)?,
            leave_out: fields.leave_out()?,
            dropout: fields.number("dropout", 0.0)?,
            stochastic_depth: fields.number("stochastic_depth", 0.0)?,
        };
        config.check()?;
        Ok(config)
    }

    /// The object that the library writes: every field that it knows.
    pub fn to_json(&self) -> Value {
        json!({
            "adapter_residual_before_ln": self.adapter_residual_before_ln,
            "cross_adapter": false,
            "dropout": self.dropout,
            "factorized_phm_W": true,
            "factorized_phm_rule": false,
            "hypercomplex_nonlinearity": "glorot-uniform",
            "init_weights": self.init_weights.name(),
            "init_weights_seed": self.init_weights_seed,
            "inv_adapter": null,
            "inv_adapter_reduction_factor": null,
            "is_parallel": self.is_parallel,
            "learn_phm": true,
            "leave_out": self.leave_out,
            "ln_after": self.ln_after,
            "ln_before": self.ln_before,
            "mh_adapter": self.mh_adapter,
            "non_linearity": self.non_linearity.name(),
            "original_ln_after": self.original_ln_after,
            "original_ln_before": self.original_ln_before,
            "output_adapter": self.output_adapter,
            "phm_bias": true,
            "phm_c_init": "normal",
            "phm_dim": 4,
            "phm_init_range": 0.0001,
            "phm_layer": false,
            "phm_rank": 1,
            "reduction_factor": reduction_factor_json(&self.reduction_factor),
            "residual_before_ln": match self.residual_before_ln {
                AdapterResidual::BeforeNorm => json!(true),
                AdapterResidual::AfterAdd => json!("post_add"),
                AdapterResidual::AfterNorm => json!(false),
            },
            "scaling": match self.scaling {
                Scaling::Fixed(factor) => json!(factor),
                Scaling::Learned => json!("learned"),
                Scaling::Channel => json!("channel"),
            },
            "shared_W_phm": false,
            "shared_phm_rule": true,
            "stochastic_depth": self.stochastic_depth,
            "use_gating": self.use_gating,
        })
    }
}

impl TryFrom<Value> for AdapterConfig {
    type Error = ConfigError;

    fn try_from(value: Value) -> Result<AdapterConfig, ConfigError> {
        AdapterConfig::from_json(&value, Vintage::Versioned)
    }
}

impl From<AdapterConfig> for Value {
    fn from(config: AdapterConfig) -> Value {
        config.to_json()
    }
}

/// The fields under their present names.
fn renamed(map: &Map<String, Value>) -> Map<String, Value> {
    let present = |name: &String| {
        let new = RENAMED.iter().find(|(old, _)| old == name);
        new.map_or_else(|| name.clone(), |(_, new)| String::from(*new))
    };
    map.iter().map(|(name, value)| (present(name), value.clone())).collect()
}

/// A factor as a number without a fraction where it has none: presets write `16`.
fn reduction_factor_json(factor: &ReductionFactor) -> Value {
    let number = |factor: f64| {
        if factor.fract() == 0.0 && factor.abs() < 1e15 {
            json!(factor as i64)
        } else {
            json!(factor)
        }
    };
    match factor {
        ReductionFactor::Uniform(factor) => number(*factor),
        ReductionFactor::PerLayer { layers, default } => {
            let named = layers.iter().map(|(layer, factor)| (layer.to_string(), number(*factor)));
            let rest = default.iter().map(|factor| (String::from("default"), number(*factor)));
            Value::Object(named.chain(rest).collect())
        }
    }
}

/// The object's fields, to be read one by one.
struct Fields(Map<String, Value>);

impl Fields {
    fn refuse_what_is_not_built(&self) -> Result<(), ConfigError> {
        for name in ["architecture", "peft_type"] {
            if let Some(value) = self.0.get(name).filter(|value| !value.is_null()) {
                return Err(ConfigError::UnsupportedArchitecture {
                    architecture: shown(Some(value)),
                });
            }
        }
        for (field, meaning) in UNSUPPORTED {
            match self.0.get(field) {
                None | Some(Value::Null | Value::Bool(false)) => {}
                Some(Value::Number(number)) if number.as_f64() == Some(0.0) => {}
                found => {
                    let found = shown(found);
                    return Err(ConfigError::UnsupportedField { field, found, meaning });
                }
            }
        }
        for (name, value) in &self.0 {
            let name_is = |known: &str| known == name;
            let known = READ.into_iter().any(name_is)
                || INERT.into_iter().any(name_is)
                || UNSUPPORTED.iter().any(|(field, _)| name_is(field));
            if !known && !matches!(value, Value::Null | Value::Bool(false)) {
                let found = shown(Some(value));
                return Err(ConfigError::UnknownField { field: quoted(name), found });
            }
        }
        Ok(())
    }

    fn invalid<T>(&self, field: &str, expected: &str) -> Result<T, ConfigError> {
        Err(ConfigError::InvalidField {
            field: String::from(field),
            found: shown(self.0.get(field)),
            expected: String::from(expected),
        })
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool, ConfigError> {
        match self.0.get(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => self.invalid(field, "true or false"),
        }
    }

    fn required_flag(&self, field: &'static str) -> Result<bool, ConfigError> {
        if !self.0.contains_key(field) {
            return Err(ConfigError::MissingField { field, example: "true" });
        }
        self.flag(field, false)
    }

    fn number(&self, field: &str, default: f64) -> Result<f64, ConfigError> {
        match self.0.get(field) {
            None => Ok(default),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(number),
                None => self.invalid(field, "a number"),
            },
        }
    }

    fn reduction_factor(&self) -> Result<ReductionFactor, ConfigError> {
        let expected = "a number above 0, or an object of such numbers by layer (\"0\", \"1\", …) \
                        with a \"default\"";
        match self.0.get("reduction_factor") {
            None => Err(ConfigError::MissingField { field: "reduction_factor", example: "16" }),
            Some(Value::Number(number)) => match number.as_f64() {
                Some(factor) => Ok(ReductionFactor::Uniform(factor)),
                None => self.invalid("reduction_factor", expected),
            },
            Some(Value::Object(map)) => {
                let mut layers = BTreeMap::new();
                let mut default = None;
                for (key, value) in map {
                    let wrong = || ConfigError::InvalidField {
                        field: format!("reduction_factor.{}", quoted(key)),
                        found: shown(Some(value)),
                        expected: String::from(expected),
                    };
                    let factor = value.as_f64().ok_or_else(wrong)?;
                    if key == "default" {
                        default = Some(factor);
                    } else {
                        layers.insert(layer_number(key).ok_or_else(wrong)?, factor);
                    }
                }
                Ok(ReductionFactor::PerLayer { layers, default })
            }
            Some(_) => self.invalid("reduction_factor", expected),
        }
    }

    fn activation(&self, vintage: Vintage) -> Result<Activation, ConfigError> {
        let name = match self.0.get("non_linearity") {
            None => {
                return Err(ConfigError::MissingField { field: "non_linearity", example: "relu" });
            }
            Some(Value::String(name)) => name.as_str(),
            Some(_) => return self.invalid("non_linearity", "the name of an activation"),
        };
        let name = match (vintage, name) {
            (Vintage::Unversioned, "gelu") => "gelu_new",
            (Vintage::Unversioned, "gelu_orig") => "gelu",
            _ => name,
        };
        match Activation::from_name(name) {
            Some(activation) => Ok(activation),
            None => {
                let known = Activation::ALL.map(Activation::name).join(", ");
                self.invalid("non_linearity", &format!("one of {known}"))
            }
        }
    }

    fn initialisation(&self) -> Result<Initialisation, ConfigError> {
        let name = match self.0.get("init_weights") {
            None => return Ok(Initialisation::Bert),
            Some(value) => value.as_str().and_then(Initialisation::from_name),
        };
        match name {
            Some(known) => Ok(known),
            None => self.invalid("init_weights", "one of \"bert\", \"houlsby\", \"mam_adapter\""),
        }
    }

    fn seed(&self) -> Result<Option<i64>, ConfigError> {
        match self.0.get("init_weights_seed") {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_i64() {
                Some(seed) => Ok(Some(seed)),
                None => self.invalid("init_weights_seed", "a whole number or null"),
            },
        }
    }

    fn scaling(&self) -> Result<Scaling, ConfigError> {
        match self.0.get("scaling") {
            Some(Value::String(name)) if name == "learned" => Ok(Scaling::Learned),
            Some(Value::String(name)) if name == "channel" => Ok(Scaling::Channel),
            None | Some(Value::Number(_)) => Ok(Scaling::Fixed(self.number("scaling", 1.0)?)),
            Some(_) => self.invalid("scaling", "a number, \"learned\" or \"channel\""),
        }
    }

    fn residual(&self) -> Result<AdapterResidual, ConfigError> {
        match self.0.get("residual_before_ln") {
            None | Some(Value::Bool(true)) => Ok(AdapterResidual::BeforeNorm),
            Some(Value::Bool(false)) => Ok(AdapterResidual::AfterNorm),
            Some(Value::String(name)) if name == "post_add" => Ok(AdapterResidual::AfterAdd),
            Some(_) => self.invalid("residual_before_ln", "true, false or \"post_add\""),
        }
    }

    fn leave_out(&self) -> Result<BTreeSet<usize>, ConfigError> {
        let layers = match self.0.get("leave_out") {
            None | Some(Value::Null) => return Ok(BTreeSet::new()),
            Some(Value::Array(layers)) => layers,
            Some(_) => return self.invalid("leave_out", "a list of layers, counted from 0"),
        };
        let number = |layer: &Value| layer.as_u64().and_then(|layer| usize::try_from(layer).ok());
        match layers.iter().map(number).collect() {
            Some(layers) => Ok(layers),
            None => self.invalid("leave_out", "a list of layers, counted from 0"),
        }
    }
}

/// A layer's number as Python writes it: digits without a sign or leading zeros. One can be added
/// to it.
pub(crate) fn layer_number(text: &str) -> Option<usize> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let number: Option<u32> = if plain { text.parse().ok() } else { None };
    number.map(|number| number as usize)
}

#[cfg(test)]
mod tests;
