//! An adapter's configuration: the `adapters` library's `BnConfig`, with its names and defaults.
//!
//! The fields are kept as that library names them, since its users know them and its files hold
//! them; what is a string or a mixture of types there is an enum here. A field that is not
//! implemented is refused by its name when it is switched on, never ignored: an adapter that
//! computes something else than its author trained is worse than none. The `phm_*` family
//! (Compacter) is therefore absent from the struct; where `phm_layer` is off those fields mean
//! nothing, and they are written with the library's defaults.

mod fusion;
mod json;
mod preset;
mod reduction_factor;
mod text;

use std::collections::BTreeSet;

use adaptkit_encoder::{Place, Site};
use adaptkit_kernels::Activation;

pub use fusion::FusionConfig;
pub use json::Vintage;
pub(crate) use json::layer_number;
pub use preset::Preset;
pub use reduction_factor::ReductionFactor;
pub use text::ConfigText;

use crate::error::ConfigError;

/// How the weights of a new adapter are drawn (`init_weights`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initialisation {
    /// Both projections from N(0, 0.02²), biases 0.
    Bert,
    /// Both projections from N(0, 0.01²) cut at ±0.02, biases 0 (Houlsby et al. 2019).
    Houlsby,
    /// Down: Kaiming-uniform with a = √5; up and biases 0 (He et al. 2021).
    MamAdapter,
}

impl Initialisation {
    /// Every initialisation.
    pub const ALL: [Initialisation; 3] =
        [Initialisation::Bert, Initialisation::Houlsby, Initialisation::MamAdapter];

    /// The library's name.
    pub fn name(self) -> &'static str {
        match self {
            Initialisation::Bert => "bert",
            Initialisation::Houlsby => "houlsby",
            Initialisation::MamAdapter => "mam_adapter",
        }
    }

    /// The initialisation of that name.
    pub fn from_name(name: &str) -> Option<Initialisation> {
        Initialisation::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// What the up-projection's output is multiplied by (`scaling`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scaling {
    /// A constant.
    Fixed(f64),
    /// One trained number, 1 at the start.
    Learned,
    /// One trained number for each channel, 1 at the start.
    Channel,
}

/// Where a sequential adapter takes its own residual from (`residual_before_ln`): x is the
/// sub-layer's output, r the sub-layer's input. Without `original_ln_before` all are x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AdapterResidual {
    /// x (`true`).
    BeforeNorm,
    /// x + r (`"post_add"`).
    AfterAdd,
    /// LN(x + r) (`false`).
    AfterNorm,
}

/// The shape of one adapter: where it sits, how wide it is, what it computes.
///
/// Made from a [`Preset`] or a file; every field may be changed after that, and
/// [`AdapterConfig::validate`] says whether the result makes sense for an encoder.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "serde_json::Value", into = "serde_json::Value")]
pub struct AdapterConfig {
    /// A module after each attention block.
    pub mh_adapter: bool,
    /// A module after each feed-forward block.
    pub output_adapter: bool,
    /// The encoder's width over the bottleneck's.
    pub reduction_factor: ReductionFactor,
    /// The activation in the bottleneck.
    pub non_linearity: Activation,
    /// The adapter's input goes through the sub-layer's residual connection and pre-trained layer
    /// norm first. Without effect in parallel adapters.
    pub original_ln_before: bool,
    /// What leaves the adapter goes through the residual connection and pre-trained layer norm.
    pub original_ln_after: bool,
    /// A new layer norm before the down-projection.
    pub ln_before: bool,
    /// A new layer norm after the up-projection.
    pub ln_after: bool,
    /// How new weights are drawn.
    pub init_weights: Initialisation,
    /// The library's seed for drawing the weights of every module alike. It is kept for the file's
    /// sake: stored weights do not depend on it.
    pub init_weights_seed: Option<i64>,
    /// The adapter reads the sub-layer's input and is added to its output, instead of following it.
    pub is_parallel: bool,
    /// What the up-projection's output is multiplied by.
    pub scaling: Scaling,
    /// The output is multiplied by the row's mean of sigmoid(gate · x).
    pub use_gating: bool,
    /// Where the adapter's own residual comes from.
    pub residual_before_ln: AdapterResidual,
    /// The adapter's residual is added before the new layer norm of `ln_after`, not after it.
    pub adapter_residual_before_ln: bool,
    /// Layers without modules, counted from 0.
    pub leave_out: BTreeSet<usize>,
    /// The share of the up-projection's output that training drops, from 0 to below 1.
    pub dropout: f64,
    /// The share of rows whose up-projection training drops, from 0 to 1. Prediction does without,
    /// and training with it is not built: see [`AdapterConfig::check_trainable`].
    pub stochastic_depth: f64,
}

impl AdapterConfig {
    /// The preset of that name, the paper's or the library's.
    pub fn preset(name: &str) -> Result<AdapterConfig, ConfigError> {
        Preset::from_name(name).map(Preset::config)
    }

    /// The preset that this configuration is, its sizes, activation, dropout and left-out layers
    /// aside.
    pub fn preset_name(&self) -> Option<Preset> {
        Preset::ALL.into_iter().find(|preset| {
            let own = preset.config();
            let alike = AdapterConfig {
                reduction_factor: own.reduction_factor.clone(),
                non_linearity: own.non_linearity,
                init_weights: own.init_weights,
                init_weights_seed: own.init_weights_seed,
                leave_out: own.leave_out.clone(),
                dropout: own.dropout,
                stochastic_depth: own.stochastic_depth,
                ..self.clone()
            };
            alike == own
        })
    }

    /// The same, with the bottleneck `size` wide in an encoder of width `hidden`.
    pub fn with_bottleneck(self, hidden: usize, size: usize) -> Result<AdapterConfig, ConfigError> {
        let reduction_factor = ReductionFactor::for_bottleneck(hidden, size)?;
        Ok(AdapterConfig { reduction_factor, ..self })
    }

    /// The width of the bottleneck in `layer` of an encoder of width `hidden`.
    pub fn bottleneck_size(&self, layer: usize, hidden: usize) -> Result<usize, ConfigError> {
        self.reduction_factor.bottleneck_size(layer, hidden)
    }

    /// The sites of `layer` that carry a module.
    pub fn sites(&self, layer: usize) -> impl Iterator<Item = Site> + use<> {
        let present = !self.leave_out.contains(&layer);
        let (attention, output) = (self.mh_adapter, self.output_adapter);
        Site::ALL.into_iter().filter(move |site| {
            present
                && match site {
                    Site::Attention => attention,
                    Site::Output => output,
                }
        })
    }

    /// The places of an encoder of `layers` layers that carry a module.
    pub fn places(&self, layers: usize) -> impl Iterator<Item = Place> + '_ {
        (0..layers)
            .flat_map(move |layer| self.sites(layer).map(move |site| Place::new(layer, site)))
    }

    /// Whether a module sits at `place`.
    pub fn occupies(&self, place: Place) -> bool {
        self.sites(place.layer).any(|site| site == place.site)
    }

    /// Whether the configuration makes sense, and fits an encoder of `layers` layers of width
    /// `hidden`.
    pub fn validate(&self, layers: usize, hidden: usize) -> Result<(), ConfigError> {
        self.check()?;
        let out_of_range = |field, layer: Option<&usize>| match layer {
            Some(&layer) if layer >= layers => {
                Err(ConfigError::LayerOutOfRange { field, layer, layers })
            }
            _ => Ok(()),
        };
        if let ReductionFactor::PerLayer { layers: named, .. } = &self.reduction_factor {
            out_of_range("reduction_factor", named.keys().next_back())?;
        }
        out_of_range("leave_out", self.leave_out.last())?;
        for place in self.places(layers) {
            self.bottleneck_size(place.layer, hidden)?;
        }
        Ok(())
    }

    /// Whether training can do what the configuration asks of it.
    ///
    /// # Errors
    /// If `stochastic_depth` is above 0.
    pub fn check_trainable(&self) -> Result<(), ConfigError> {
        match self.stochastic_depth > 0.0 {
            false => Ok(()),
            true => Err(ConfigError::UnsupportedField {
                field: "stochastic_depth",
                found: self.stochastic_depth.to_string(),
                meaning: "rows left out at random while training",
            }),
        }
    }

    /// What can be said without knowing the encoder.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !self.mh_adapter && !self.output_adapter {
            return Err(ConfigError::NoSite);
        }
        if self.residual_before_ln == AdapterResidual::AfterAdd
            && !self.original_ln_before
            && !self.is_parallel
        {
            return Err(ConfigError::Contradiction {
                first: "\"residual_before_ln\" = \"post_add\"",
                second: "\"original_ln_before\" = false",
                reason: "nothing is added before the adapter that its residual could come after",
            });
        }
        self.reduction_factor.check()?;
        let invalid = |field: &str, found: f64, expected: &str| {
            Err(ConfigError::InvalidField {
                field: String::from(field),
                found: found.to_string(),
                expected: String::from(expected),
            })
        };
        match self.scaling {
            Scaling::Fixed(factor) if !factor.is_finite() || !(factor as f32).is_finite() => {
                invalid("scaling", factor, "a finite number, \"learned\" or \"channel\"")
            }
            _ if !(0.0..1.0).contains(&self.dropout) => {
                invalid("dropout", self.dropout, "a number from 0 to below 1")
            }
            _ if !(0.0..=1.0).contains(&self.stochastic_depth) => {
                invalid("stochastic_depth", self.stochastic_depth, "a number from 0 to 1")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_follow_the_two_switches_and_the_left_out_layers() {
        let words = |config: &AdapterConfig| -> Vec<String> {
            config.places(3).map(|place| place.to_string()).collect()
        };
        let mut config = Preset::Pfeiffer.config();
        assert_eq!(words(&config), ["layer 0, output", "layer 1, output", "layer 2, output"]);
        config = Preset::Houlsby.config();
        config.leave_out = BTreeSet::from([0, 2]);
        assert_eq!(words(&config), ["layer 1, attention", "layer 1, output"]);
        assert!(config.occupies(Place::new(1, Site::Attention)));
        assert!(!config.occupies(Place::new(2, Site::Attention)));
    }

    #[test]
    fn parameters_are_those_of_the_paper() {
        // 2·hidden·bottleneck + bottleneck + hidden for each module, BERT-base.
        for (preset, expected) in [
            (Preset::Pfeiffer, 894_528),
            (Preset::Houlsby, 1_789_056),
            (Preset::Parallel, 7_091_712),
        ] {
            let config = preset.config();
            let parameters: usize = config
                .places(12)
                .map(|place| {
                    let bottleneck = config.bottleneck_size(place.layer, 768).unwrap();
                    2 * 768 * bottleneck + bottleneck + 768
                })
                .sum();
            assert_eq!(parameters, expected, "{preset:?}");
        }
    }

    #[test]
    fn a_bottleneck_size_is_reproduced() {
        for size in [1, 7, 48, 100, 767, 768, 2000] {
            let config = Preset::Pfeiffer.config().with_bottleneck(768, size).unwrap();
            assert_eq!(config.bottleneck_size(3, 768), Ok(size));
        }
    }

    #[test]
    fn nonsense_is_refused_by_its_field() {
        type Change = fn(&mut AdapterConfig);
        let cases: [(Change, &str); 9] = [
            (|c| c.output_adapter = false, "\"mh_adapter\" and \"output_adapter\""),
            (|c| c.dropout = 1.0, "\"dropout\" is 1"),
            (|c| c.dropout = -0.1, "\"dropout\" is -0.1"),
            (|c| c.dropout = f64::NAN, "\"dropout\" is NaN"),
            (|c| c.scaling = Scaling::Fixed(f64::INFINITY), "\"scaling\" is inf"),
            (|c| c.reduction_factor = ReductionFactor::Uniform(0.0), "\"reduction_factor\" is 0"),
            (|c| c.leave_out = BTreeSet::from([12]), "\"leave_out\" names layer 12"),
            (
                |c| {
                    let layers = [(12, 8.0)].into();
                    c.reduction_factor = ReductionFactor::PerLayer { layers, default: Some(2.0) };
                },
                "\"reduction_factor\" names layer 12",
            ),
            (
                |c| {
                    c.original_ln_before = false;
                    c.residual_before_ln = AdapterResidual::AfterAdd;
                },
                "\"post_add\" cannot be combined",
            ),
        ];
        for (change, expected) in cases {
            let mut config = Preset::Pfeiffer.config();
            change(&mut config);
            let message = config.validate(12, 768).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert_eq!(Preset::Pfeiffer.config().validate(12, 768), Ok(()));
    }
}
