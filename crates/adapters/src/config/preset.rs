//! The placements that have names: the papers' and the library's.

use std::collections::BTreeSet;

use adaptkit_kernels::Activation;

use super::{AdapterConfig, AdapterResidual, Initialisation, ReductionFactor, Scaling};
use crate::error::{ConfigError, quoted};

/// A configuration with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    /// One module after the feed-forward block, between two passes of its layer norm
    /// (Pfeiffer et al. 2021): `seq_bn`.
    Pfeiffer,
    /// A module after each of the two blocks (Houlsby et al. 2019): `double_seq_bn`.
    Houlsby,
    /// One module beside the feed-forward block (He et al. 2021): `par_bn`.
    Parallel,
    /// The same with a trained scaling: `scaled_par_bn`.
    ScaledParallel,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Preset; 4] =
        [Preset::Pfeiffer, Preset::Houlsby, Preset::Parallel, Preset::ScaledParallel];

    /// The name users of the papers know, then the library's.
    pub fn names(self) -> [&'static str; 2] {
        match self {
            Preset::Pfeiffer => ["pfeiffer", "seq_bn"],
            Preset::Houlsby => ["houlsby", "double_seq_bn"],
            Preset::Parallel => ["parallel", "par_bn"],
            Preset::ScaledParallel => ["scaled_parallel", "scaled_par_bn"],
        }
    }

    /// The preset of that name, the paper's or the library's.
    pub fn from_name(name: &str) -> Result<Preset, ConfigError> {
        let found = Preset::ALL.into_iter().find(|preset| preset.names().contains(&name));
        found.ok_or_else(|| ConfigError::UnknownPreset {
            name: quoted(name),
            known: Preset::ALL.map(|preset| preset.names().join(" (")).join("), ") + ")",
        })
    }

    /// The configuration, with the library's sizes.
    pub fn config(self) -> AdapterConfig {
        let sequential = AdapterConfig {
            mh_adapter: false,
            output_adapter: true,
            reduction_factor: ReductionFactor::Uniform(16.0),
            non_linearity: Activation::Relu,
            original_ln_before: false,
            original_ln_after: true,
            ln_before: false,
            ln_after: false,
            init_weights: Initialisation::Bert,
            init_weights_seed: None,
            is_parallel: false,
            scaling: Scaling::Fixed(1.0),
            use_gating: false,
            residual_before_ln: AdapterResidual::BeforeNorm,
            adapter_residual_before_ln: false,
            leave_out: BTreeSet::new(),
            dropout: 0.0,
            stochastic_depth: 0.0,
        };
        let parallel = AdapterConfig {
            reduction_factor: ReductionFactor::Uniform(2.0),
            init_weights: Initialisation::MamAdapter,
            is_parallel: true,
            scaling: Scaling::Fixed(4.0),
            ..sequential.clone()
        };
        match self {
            Preset::Pfeiffer => AdapterConfig { original_ln_before: true, ..sequential },
            Preset::Houlsby => {
                AdapterConfig { mh_adapter: true, non_linearity: Activation::Silu, ..sequential }
            }
            Preset::Parallel => parallel,
            Preset::ScaledParallel => AdapterConfig { scaling: Scaling::Learned, ..parallel },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_preset_and_back() {
        for preset in Preset::ALL {
            for name in preset.names() {
                assert_eq!(Preset::from_name(name), Ok(preset));
                let mut config = AdapterConfig::preset(name).unwrap();
                config.leave_out = BTreeSet::from([0]);
                config.reduction_factor = ReductionFactor::Uniform(3.0);
                assert_eq!(config.preset_name(), Some(preset));
                config.use_gating = true;
                assert_eq!(config.preset_name(), None);
            }
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = Preset::from_name("lora").unwrap_err().to_string();
        assert_eq!(
            message,
            "there is no adapter configuration called \"lora\": use one of pfeiffer (seq_bn), \
             houlsby (double_seq_bn), parallel (par_bn), scaled_parallel (scaled_par_bn)"
        );
    }
}
