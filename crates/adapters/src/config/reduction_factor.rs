//! The reduction factor: how much narrower than the encoder an adapter's bottleneck is.
//!
//! The library computes `int(hidden_size // reduction_factor)` in Python, where `//` on floats is
//! not the floor of the rounded quotient: 312 // 2.6 is 119 although 312 / 2.6 rounds to 120. An
//! adapter whose width came out one off could not be loaded by that library, so the definition is
//! followed to the bit.

use std::collections::BTreeMap;

use crate::error::ConfigError;

/// The widest bottleneck that is accepted: beyond it a factor is a slip of the pen.
const WIDEST: f64 = (1u64 << 24) as f64;

/// One factor for all layers, or one for each.
#[derive(Clone, Debug, PartialEq)]
pub enum ReductionFactor {
    /// The same in every layer.
    Uniform(f64),
    /// By layer, counted from 0.
    PerLayer {
        /// The factors of the layers that are named.
        layers: BTreeMap<usize, f64>,
        /// The factor of the others; without it every layer with an adapter must be named.
        default: Option<f64>,
    },
}

impl ReductionFactor {
    /// The factor of `layer`.
    pub fn at(&self, layer: usize) -> Result<f64, ConfigError> {
        match self {
            ReductionFactor::Uniform(factor) => Ok(*factor),
            ReductionFactor::PerLayer { layers, default } => layers
                .get(&layer)
                .or(default.as_ref())
                .copied()
                .ok_or(ConfigError::MissingReductionFactor { layer }),
        }
    }

    /// The width of the bottleneck in `layer` of an encoder of width `hidden`: at least 1.
    pub fn bottleneck_size(&self, layer: usize, hidden: usize) -> Result<usize, ConfigError> {
        let factor = self.at(layer)?;
        check_factor("reduction_factor", factor)?;
        let size = floor_divide(hidden, factor);
        if size > WIDEST {
            return Err(ConfigError::InvalidField {
                field: String::from("reduction_factor"),
                found: shown(factor),
                expected: format!(
                    "a factor that makes the bottleneck at most {WIDEST} wide; with a hidden size \
                     of {hidden} it would be {}",
                    shown(size)
                ),
            });
        }
        Ok((size as usize).max(1))
    }

    /// A factor that gives exactly `size` in an encoder of width `hidden`: the quotient where it
    /// is whole, else the shortest decimal number that keeps clear of both neighbouring widths,
    /// so that no rounding on either side of a file can change the width.
    pub fn for_bottleneck(hidden: usize, size: usize) -> Result<ReductionFactor, ConfigError> {
        if size == 0 || hidden == 0 || size as f64 > WIDEST {
            return Err(ConfigError::InvalidField {
                field: String::from("bottleneck size"),
                found: size.to_string(),
                expected: format!("a whole number from 1 to {WIDEST}"),
            });
        }
        if hidden.is_multiple_of(size) {
            return Ok(ReductionFactor::Uniform((hidden / size) as f64));
        }
        // floor(hidden / factor) is `size` for factors in (hidden / (size + 1), hidden / size].
        let below = hidden as f64 / (size + 1) as f64;
        let above = hidden as f64 / size as f64;
        let margin = (above - below) * 1e-3;
        let mut step = 1.0;
        while step < 1e15 {
            let factor = ((above - margin) * step).floor() / step;
            if factor > below + margin {
                return Ok(ReductionFactor::Uniform(factor));
            }
            step *= 10.0;
        }
        Ok(ReductionFactor::Uniform((below + above) / 2.0))
    }

    /// Every factor that occurs, with the field's name for messages.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        match self {
            ReductionFactor::Uniform(factor) => check_factor("reduction_factor", *factor),
            ReductionFactor::PerLayer { layers, default } => {
                for (layer, factor) in layers {
                    check_factor(&format!("reduction_factor.{layer}"), *factor)?;
                }
                default.map_or(Ok(()), |factor| check_factor("reduction_factor.default", factor))
            }
        }
    }
}

/// A factor is a positive number.
fn check_factor(field: &str, factor: f64) -> Result<(), ConfigError> {
    if factor.is_finite() && factor > 0.0 {
        return Ok(());
    }
    Err(ConfigError::InvalidField {
        field: String::from(field),
        found: shown(factor),
        expected: String::from("a number above 0"),
    })
}

/// A number for a message: without hundreds of zeros.
fn shown(number: f64) -> String {
    match number == 0.0 || (1e-6..1e15).contains(&number.abs()) || !number.is_finite() {
        true => number.to_string(),
        false => format!("{number:e}"),
    }
}

/// Python's `hidden // factor` for positive numbers: exact remainder first, then the quotient.
fn floor_divide(hidden: usize, factor: f64) -> f64 {
    let hidden = hidden as f64;
    let quotient = (hidden - hidden % factor) / factor;
    let floor = quotient.floor();
    if quotient - floor > 0.5 { floor + 1.0 } else { floor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_python() {
        // (hidden, factor, int(hidden // factor) or 1)
        for (hidden, factor, expected) in [
            (768, 16.0, 48),
            (768, 1.33, 577),
            (768, 2.0, 384),
            (384, 16.0, 24),
            (384, 3.84, 100),
            (384, 0.1, 3839),
            (1, 0.1, 9),
            (1024, 0.3, 3413),
            (768, 0.7, 1097),
            (312, 2.6, 119),
            (16, 16.0, 1),
            (16, 17.0, 1),
            (16, 1e300, 1),
            (768, 767.999, 1),
        ] {
            let size = ReductionFactor::Uniform(factor).bottleneck_size(0, hidden);
            assert_eq!(size, Ok(expected), "{hidden} // {factor}");
        }
    }

    #[test]
    fn every_width_has_a_factor_that_gives_it_back() {
        for hidden in [1, 2, 16, 128, 312, 384, 768, 1024] {
            for size in (1..=hidden + 3).chain([2 * hidden, 4 * hidden + 1, 3071, 3072]) {
                let factor = ReductionFactor::for_bottleneck(hidden, size).unwrap();
                assert_eq!(factor.bottleneck_size(0, hidden), Ok(size), "{hidden} -> {size}");
                let ReductionFactor::Uniform(number) = factor else { panic!("one factor") };
                for near in [number * (1.0 - 1e-14), number * (1.0 + 1e-14)] {
                    if number.fract() != 0.0 {
                        let size_near = ReductionFactor::Uniform(near).bottleneck_size(0, hidden);
                        assert_eq!(size_near, Ok(size), "{hidden} -> {size} is on an edge");
                    }
                }
            }
        }
        assert_eq!(ReductionFactor::for_bottleneck(768, 48), Ok(ReductionFactor::Uniform(16.0)));
        assert_eq!(ReductionFactor::for_bottleneck(384, 100), Ok(ReductionFactor::Uniform(3.83)));
        assert!(ReductionFactor::for_bottleneck(384, 0).is_err());
    }

    #[test]
    fn factors_that_are_no_factors_are_refused() {
        for factor in [0.0, -16.0, f64::NAN, f64::INFINITY, 1e-9] {
            let refused = ReductionFactor::Uniform(factor).bottleneck_size(0, 768);
            assert!(matches!(refused, Err(ConfigError::InvalidField { .. })), "{factor}");
        }
    }

    #[test]
    fn a_layer_falls_back_to_the_default_and_not_to_silence() {
        let mut factor =
            ReductionFactor::PerLayer { layers: BTreeMap::from([(1, 8.0)]), default: Some(4.0) };
        assert_eq!(factor.bottleneck_size(1, 16), Ok(2));
        assert_eq!(factor.bottleneck_size(7, 16), Ok(4));
        if let ReductionFactor::PerLayer { default, .. } = &mut factor {
            *default = None;
        }
        let missing = factor.bottleneck_size(7, 16);
        assert_eq!(missing, Err(ConfigError::MissingReductionFactor { layer: 7 }));
    }
}
