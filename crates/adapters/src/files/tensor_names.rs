//! What the library calls an adapter's tensors, for each kind of encoder.
//!
//! `bert.encoder.layer.3.attention.output.adapters.rte.adapter_down.0.weight` is: the model's
//! prefix (absent if a bare encoder was saved), the layer, the site, `adapters` (something longer
//! in the first versions), the adapter's name, the part. MPNet is unknown to the library; it has
//! BERT's module tree, so it gets BERT's names.

use adaptkit_encoder::{Place, Site};

use crate::config::layer_number;
use crate::error::{AdapterError, quoted};

/// The names for one kind of encoder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TensorNames {
    /// `model_type` in the encoder's configuration.
    model_type: &'static str,
    /// The library's class for it.
    pub(super) model_class: &'static str,
    prefix: &'static str,
    layers: &'static str,
    attention: &'static str,
    output: &'static str,
}

impl TensorNames {
    const fn like_bert(
        model_type: &'static str,
        model_class: &'static str,
        prefix: &'static str,
    ) -> TensorNames {
        let (layers, attention, output) = ("encoder.layer.", "attention.output.", "output.");
        TensorNames { model_type, model_class, prefix, layers, attention, output }
    }
}

static KNOWN: [TensorNames; 7] = [
    TensorNames::like_bert("bert", "BertAdapterModel", "bert."),
    TensorNames::like_bert("roberta", "RobertaAdapterModel", "roberta."),
    TensorNames::like_bert("xlm-roberta", "XLMRobertaAdapterModel", "roberta."),
    TensorNames::like_bert("camembert", "CamembertAdapterModel", "roberta."),
    TensorNames::like_bert("electra", "ElectraAdapterModel", "electra."),
    TensorNames::like_bert("mpnet", "MPNetAdapterModel", "mpnet."),
    TensorNames {
        model_type: "distilbert",
        model_class: "DistilBertAdapterModel",
        prefix: "distilbert.",
        layers: "transformer.layer.",
        attention: "attention_adapters.",
        output: "output_adapters.",
    },
];

/// What the library has called `adapters`.
const COLLECTIONS: [&str; 5] = [
    "adapters.",
    "attention_text_task_adapters.",
    "attention_text_lang_adapters.",
    "layer_text_task_adapters.",
    "layer_text_lang_adapters.",
];

/// What fusions are called.
const FUSION_LAYER: &str = "adapter_fusion_layer.";

/// Kinds of modules that may stand in an adapter's file and are not bottlenecks.
const OTHER_MODULES: [(&str, &str); 8] = [
    ("invertible_", "invertible adapters are not supported"),
    ("prefix_", "prefix tuning is not supported"),
    ("loras.", "LoRA is not supported"),
    ("refts.", "ReFT is not supported"),
    ("prompt_tuning", "prompt tuning is not supported"),
    ("shared_parameters.", "parameters shared between layers (Compacter) are not supported"),
    ("adapter_fusion_layer.", "it belongs to a fusion of adapters"),
    ("heads.", "it belongs to a head"),
];

/// A tensor's name, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParsedName<'a> {
    pub(super) place: Place,
    /// The adapter's name.
    pub(super) adapter: &'a str,
    /// What follows it, for example `adapter_down.0.weight`.
    pub(super) part: &'a str,
}

impl TensorNames {
    /// The names for encoders of this type.
    pub(super) fn of(model_type: &str) -> Result<&'static TensorNames, AdapterError> {
        KNOWN.iter().find(|names| names.model_type == model_type).ok_or_else(|| {
            AdapterError::UnsupportedModelType {
                model_type: String::from(model_type),
                known: KNOWN.iter().map(|names| names.model_type).collect::<Vec<_>>().join(", "),
            }
        })
    }

    /// The full name of a part.
    pub(super) fn name(&self, place: Place, adapter: &str, part: &str) -> String {
        let site = self.site(place.site);
        format!("{}{}{}.{site}adapters.{adapter}.{part}", self.prefix, self.layers, place.layer)
    }

    /// The full name of a part of a fusion.
    pub(super) fn fusion(&self, place: Place, fusion: &str, part: &str) -> String {
        let site = self.site(place.site);
        let (prefix, layers, layer) = (self.prefix, self.layers, place.layer);
        format!("{prefix}{layers}{layer}.{site}{FUSION_LAYER}{fusion}.{part}")
    }

    /// The place and the part of a fusion's tensor.
    pub(super) fn parse_fusion<'a>(&self, name: &'a str, fusion: &str) -> Option<(Place, &'a str)> {
        let (place, rest) = self.parse_place(name)?;
        let part = rest.strip_prefix(FUSION_LAYER)?.strip_prefix(fusion)?.strip_prefix('.')?;
        Some((place, part))
    }

    /// Whether a name is that of a part of a fusion whose name goes on after `fusion`'s.
    pub(super) fn is_of_longer_fusion(&self, name: &str, fusion: &str) -> bool {
        let rest = self.parse_place(name).and_then(|(_, rest)| rest.strip_prefix(FUSION_LAYER));
        let longer = rest.and_then(|rest| rest.strip_prefix(fusion));
        longer.is_some_and(|longer| !longer.starts_with('.') && longer.contains('.'))
    }

    fn site(&self, site: Site) -> &'static str {
        match site {
            Site::Attention => self.attention,
            Site::Output => self.output,
        }
    }

    /// The place that a name begins with, and what follows.
    fn parse_place<'a>(&self, name: &'a str) -> Option<(Place, &'a str)> {
        let rest = name.strip_prefix(self.prefix).unwrap_or(name);
        let (layer, rest) = rest.strip_prefix(self.layers)?.split_once('.')?;
        let (site, rest) = match rest.strip_prefix(self.attention) {
            Some(rest) => (Site::Attention, rest),
            None => (Site::Output, rest.strip_prefix(self.output)?),
        };
        Some((Place::new(layer_number(layer)?, site), rest))
    }

    /// Takes a name apart, or says why it cannot belong to a bottleneck adapter.
    pub(super) fn parse<'a>(&self, name: &'a str) -> Result<ParsedName<'a>, String> {
        let parsed = || {
            let (place, rest) = self.parse_place(name)?;
            let rest = COLLECTIONS.iter().find_map(|collection| rest.strip_prefix(collection))?;
            let (adapter, part) = rest.split_once('.')?;
            Some(ParsedName { place, adapter, part })
        };
        parsed().ok_or_else(|| match OTHER_MODULES.iter().find(|(part, _)| name.contains(part)) {
            Some((_, reason)) => String::from(*reason),
            None => format!(
                "adapters for encoders of type {} have names like {}",
                quoted(self.model_type),
                self.name(Place::new(0, Site::Output), "NAME", "adapter_up.weight")
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_library_s() {
        let attention = Place::new(11, Site::Attention);
        let output = Place::new(0, Site::Output);
        for (model_type, place, expected) in [
            ("bert", output, "bert.encoder.layer.0.output.adapters.t.adapter_up.bias"),
            (
                "bert",
                attention,
                "bert.encoder.layer.11.attention.output.adapters.t.adapter_up.bias",
            ),
            ("xlm-roberta", output, "roberta.encoder.layer.0.output.adapters.t.adapter_up.bias"),
            ("electra", output, "electra.encoder.layer.0.output.adapters.t.adapter_up.bias"),
            (
                "distilbert",
                output,
                "distilbert.transformer.layer.0.output_adapters.adapters.t.adapter_up.bias",
            ),
            (
                "distilbert",
                attention,
                "distilbert.transformer.layer.11.attention_adapters.adapters.t.adapter_up.bias",
            ),
        ] {
            let names = TensorNames::of(model_type).unwrap();
            assert_eq!(names.name(place, "t", "adapter_up.bias"), expected);
            let parsed = ParsedName { place, adapter: "t", part: "adapter_up.bias" };
            assert_eq!(names.parse(expected), Ok(parsed));
        }
    }

    #[test]
    fn old_names_and_bare_encoders_are_understood() {
        let bert = TensorNames::of("bert").unwrap();
        for (name, site) in [
            ("encoder.layer.2.output.adapters.x.gate.bias", Site::Output),
            ("bert.encoder.layer.2.output.layer_text_task_adapters.x.gate.bias", Site::Output),
            ("encoder.layer.2.output.layer_text_lang_adapters.x.gate.bias", Site::Output),
            (
                "bert.encoder.layer.2.attention.output.attention_text_task_adapters.x.gate.bias",
                Site::Attention,
            ),
        ] {
            let expected =
                ParsedName { place: Place::new(2, site), adapter: "x", part: "gate.bias" };
            assert_eq!(bert.parse(name), Ok(expected), "{name}");
        }
    }

    #[test]
    fn other_names_are_refused_with_the_reason() {
        let bert = TensorNames::of("bert").unwrap();
        for (name, reason) in [
            ("", "have names like bert.encoder.layer.0.output.adapters.NAME.adapter_up.weight"),
            ("roberta.encoder.layer.0.output.adapters.x.gate.bias", "type \"bert\""),
            ("bert.encoder.layer.-1.output.adapters.x.gate.bias", "type \"bert\""),
            ("bert.encoder.layer.+1.output.adapters.x.gate.bias", "type \"bert\""),
            ("bert.encoder.layer.01.output.adapters.x.gate.bias", "type \"bert\""),
            ("bert.encoder.layer.99999999999999999999.output.adapters.x.gate.bias", "type"),
            ("bert.encoder.layer.0.output.dense.weight", "type \"bert\""),
            ("bert.invertible_adapters.x.F.0.weight", "invertible adapters"),
            ("bert.encoder.layer.0.attention.self.query.loras.x.lora_A", "LoRA"),
            ("bert.shared_parameters.x.phm_rule", "Compacter"),
            ("bert.encoder.layer.0.output.adapter_fusion_layer.a,b.key.bias", "fusion"),
            ("heads.x.1.weight", "head"),
        ] {
            let message = bert.parse(name).unwrap_err();
            assert!(message.contains(reason), "{name}: {message}");
        }
        let refused = TensorNames::of("gpt2").unwrap_err().to_string();
        assert!(refused.contains("\"gpt2\"") && refused.contains("distilbert"), "{refused}");
    }
}
