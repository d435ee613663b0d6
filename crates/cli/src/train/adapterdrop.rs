//! `--adapterdrop`: the lowest layers that a training leaves the adapter out of.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use adaptkit::training::run::RobustDrop;

use crate::error::CliError;

/// What `--adapterdrop` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdapterDrop {
    None,
    /// The adapter has no module in this many of the lowest layers.
    Layers(usize),
    /// A number of layers drawn for each step.
    Robust,
}

impl FromStr for AdapterDrop {
    type Err = String;

    fn from_str(text: &str) -> Result<AdapterDrop, String> {
        match text {
            "none" | "0" => Ok(AdapterDrop::None),
            "robust" => Ok(AdapterDrop::Robust),
            number => number
                .parse()
                .map(AdapterDrop::Layers)
                .map_err(|_| "it is none, robust or a number of layers".to_owned()),
        }
    }
}

impl fmt::Display for AdapterDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdapterDrop::None => f.write_str("none"),
            AdapterDrop::Layers(n) => n.fmt(f),
            AdapterDrop::Robust => f.write_str("robust"),
        }
    }
}

/// What robust training draws from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RobustDraws {
    /// Uniformly from 0 to this number, or to the layers less one.
    UpTo(Option<usize>),
    /// In proportion to a weight for each number from 0 on.
    Weighted(Vec<f64>),
}

impl AdapterDrop {
    /// Adds the dropped layers to those that are left out; what robust training draws from, for an
    /// encoder of `layers` layers.
    pub(crate) fn apply(
        self,
        draws: &RobustDraws,
        layers: usize,
        left_out: &mut BTreeSet<usize>,
    ) -> Result<Option<RobustDrop>, CliError> {
        let check = |flag: &str, most: usize| match most < layers {
            true => Ok(()),
            false => Err(CliError::usage(format!(
                "--{flag} asks for {most} dropped layers: the encoder has {layers}, at most {} of \
                 which can be dropped",
                layers.saturating_sub(1)
            ))),
        };
        match self {
            AdapterDrop::None => Ok(None),
            AdapterDrop::Layers(n) => {
                check("adapterdrop", n)?;
                left_out.extend(0..n);
                Ok(None)
            }
            AdapterDrop::Robust => {
                let drop = match draws {
                    RobustDraws::UpTo(most) => {
                        let most = most.unwrap_or(layers.saturating_sub(1));
                        check("adapterdrop-max", most)?;
                        RobustDrop::uniform(most)
                    }
                    RobustDraws::Weighted(weights) => {
                        let drop = RobustDrop::weighted(weights.clone())?;
                        check("adapterdrop-weights", drop.most())?;
                        drop
                    }
                };
                Ok(Some(drop))
            }
        }
    }
}
