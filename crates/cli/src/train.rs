//! `adaptkit train`: an adapter and a head for a task.

mod adapterdrop;
mod folds;
mod interruption;
mod metrics_log;
mod model_card;
mod objective_flags;
mod plan;
mod run_flags;
mod run_folder;
mod subject;

use adaptkit::adapters::AdapterConfig;
use adaptkit::adapters::config::{ConfigText, Initialisation, ReductionFactor};
use adaptkit::compute::Activation;
use clap::Args;

pub(crate) use self::adapterdrop::{AdapterDrop, RobustDraws};
pub(crate) use self::interruption::Interruption;
pub(crate) use self::metrics_log::MetricsLog;
pub(crate) use self::model_card::ModelCard;
pub(crate) use self::objective_flags::{ObjectiveFlags, PositiveFlag, say_positive};
pub(crate) use self::plan::{Finished, Plan, adapter_name, scores_in_words};
pub(crate) use self::run_flags::{Defaults, RunFlags};
pub(crate) use self::subject::{Begun, NewAdapter, NewFusion, Subject};
use crate::Common;
use crate::error::CliError;
use crate::task_folder::own_files;

/// Flags of `adaptkit train`.
#[derive(Args)]
#[command(after_help = help())]
pub(crate) struct Flags {
    #[command(flatten)]
    run: RunFlags,
    /// Where adapters sit: pfeiffer (seq_bn), houlsby (double_seq_bn) or parallel (par_bn); fields
    /// that differ may follow in brackets, as in the Python library: 'seq_bn[reduction_factor=8]'
    #[arg(
        long,
        alias = "adapter-config",
        value_name = "NAME",
        default_value = "pfeiffer",
        help_heading = "Adapter"
    )]
    adapter: String,
    /// The hidden size over the bottleneck's size; 16 by default, 2 for parallel
    #[arg(long, value_name = "X", conflicts_with = "bottleneck_size", help_heading = "Adapter")]
    reduction_factor: Option<f64>,
    /// The bottleneck's size itself
    #[arg(long, value_name = "N", help_heading = "Adapter")]
    bottleneck_size: Option<usize>,
    /// Use one adapter in all layers, whose gradient is the sum over them (Rücklé et al. 2021);
    /// Python's library cannot read its files
    #[arg(long, help_heading = "Adapter")]
    share_adapter: bool,
    /// Train the base's layer norms too, from the lowest layer with an adapter on, and keep them
    /// with it (Houlsby et al. 2019)
    #[arg(long, help_heading = "Adapter")]
    train_layer_norms: bool,
    /// The activation in the bottleneck: relu, gelu, swish, …; the preset's by default
    #[arg(long, value_name = "NAME", help_heading = "Adapter")]
    non_linearity: Option<String>,
    /// How new weights are drawn: bert, houlsby or mam_adapter; the preset's by default
    #[arg(long, value_name = "NAME", help_heading = "Adapter")]
    init_weights: Option<String>,
    /// The share of the adapter's outputs that training drops
    #[arg(long, value_name = "P", help_heading = "Adapter")]
    adapter_dropout: Option<f64>,
}

fn help() -> String {
    format!(
        "Examples:\n  \
         adaptkit train --model all-MiniLM-L6-v2 --train-file reviews.csv --text-column review \
         --label-column verdict --output-dir verdicts\n  \
         adaptkit train --model all-MiniLM-L6-v2 --train-file train.tsv --validation-file dev.tsv \
         --test-file test.tsv --metric f1_macro --class-weights balanced --output-dir topics\n  \
         adaptkit train --model all-MiniLM-L6-v2 --task rte --data glue --output-dir rte\n\n\
         {}",
        crate::task_rows::tasks_help()
    )
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    let subject = NewAdapter {
        config: flags.adapter_config()?,
        bottleneck: flags.bottleneck_size,
        shared: flags.share_adapter,
        layer_norms: flags.train_layer_norms,
    };
    let defaults = Defaults { epochs: 5, learning_rate: 3e-4, early_stopping_patience: None };
    flags.run.run(Subject::Adapter(subject), &defaults, own_files(), common)
}

impl Flags {
    fn adapter_config(&self) -> Result<AdapterConfig, CliError> {
        let in_brackets = |error| CliError::usage(format!("--adapter: {error}"));
        let text = ConfigText::parse(&self.adapter).map_err(in_brackets)?;
        let mut config = text.config().map_err(in_brackets)?;
        config.check_trainable().map_err(in_brackets)?;
        for (flag, given, field) in [
            ("reduction-factor", self.reduction_factor.is_some(), "reduction_factor"),
            ("bottleneck-size", self.bottleneck_size.is_some(), "reduction_factor"),
            ("non-linearity", self.non_linearity.is_some(), "non_linearity"),
            ("init-weights", self.init_weights.is_some(), "init_weights"),
            ("adapter-dropout", self.adapter_dropout.is_some(), "dropout"),
        ] {
            if given && text.changes.contains_key(field) {
                return Err(CliError::usage(format!(
                    "--{flag} and {field} in the brackets of --adapter say the same thing: give \
                     one of them"
                )));
            }
        }
        if self.bottleneck_size == Some(0) {
            return Err(CliError::usage("--bottleneck-size is 0, it must be at least 1"));
        }
        if let Some(factor) = self.reduction_factor {
            if !(factor.is_finite() && factor > 0.0) {
                let message = format!("--reduction-factor is {factor}, not a number above 0");
                return Err(CliError::usage(message));
            }
            config.reduction_factor = ReductionFactor::Uniform(factor);
        }
        if let Some(name) = &self.non_linearity {
            config.non_linearity = Activation::from_name(name).ok_or_else(|| {
                let known = Activation::ALL.map(Activation::name).join(", ");
                CliError::usage(format!("--non-linearity is '{name}'; known are {known}"))
            })?;
        }
        if let Some(name) = &self.init_weights {
            config.init_weights = Initialisation::from_name(name).ok_or_else(|| {
                let known = Initialisation::ALL.map(Initialisation::name).join(", ");
                CliError::usage(format!("--init-weights is '{name}'; known are {known}"))
            })?;
        }
        if let Some(dropout) = self.adapter_dropout {
            if !(0.0..1.0).contains(&dropout) {
                let message =
                    format!("--adapter-dropout is {dropout}, not a share from 0 to below 1");
                return Err(CliError::usage(message));
            }
            config.dropout = dropout;
        }
        Ok(config)
    }
}
