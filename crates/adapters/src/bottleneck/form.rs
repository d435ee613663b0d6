//! How a bottleneck is wired.

use adaptkit_compute::Activation;

use crate::config::{AdapterConfig, AdapterResidual, Scaling};

/// What the down-projection reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// LN(x + r), as Pfeiffer et al. 2021 found best.
    NormedSum,
    /// x, as Houlsby et al. 2019.
    Output,
    /// r, in parallel to the sub-layer (He et al. 2022).
    SubLayerInput,
}

/// What the up-projection is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// x.
    Output,
    /// LN(x + r).
    NormedSum,
    /// x + r.
    Sum,
}

/// How a bottleneck is wired: everything but its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    /// What the down-projection reads.
    pub input: Input,
    /// What the up-projection is added to.
    pub residual: Residual,
    /// Whether r is added and the layer norm taken at the end.
    pub norm_at_end: bool,
    /// f.
    pub activation: Activation,
    /// s, where it is not trained.
    pub scaling: f32,
    /// The share of the up-projection's outputs that training drops.
    pub dropout: f32,
    /// Whether a norm after the bottleneck takes what the up-projection is added to with it.
    pub residual_before_norm: bool,
}

impl Form {
    /// The wiring that a configuration asks for.
    pub fn of(config: &AdapterConfig) -> Form {
        let scaling = match config.scaling {
            Scaling::Fixed(scaling) => scaling as f32,
            Scaling::Learned | Scaling::Channel => 1.0,
        };
        let input = match (config.is_parallel, config.original_ln_before) {
            (true, _) => Input::SubLayerInput,
            (false, true) => Input::NormedSum,
            (false, false) => Input::Output,
        };
        let residual = match (input, config.residual_before_ln) {
            (Input::NormedSum, AdapterResidual::AfterAdd) => Residual::Sum,
            (Input::NormedSum, AdapterResidual::AfterNorm) => Residual::NormedSum,
            _ => Residual::Output,
        };
        Form {
            input,
            residual,
            norm_at_end: config.original_ln_after,
            activation: config.non_linearity,
            scaling,
            dropout: config.dropout as f32,
            // A parallel adapter's output passes its own norm alone.
            residual_before_norm: config.adapter_residual_before_ln && !config.is_parallel,
        }
    }
}
