//! The flags of a training run, whatever it trains.

use std::path::{Path, PathBuf};

use adaptkit::adapters::atomic::StagedDirectory;
use adaptkit::training::run::{
    CacheDirectory, HyperParameters, LrScheduler, Objective, PrefixCaching, StatePrecision,
    ThresholdChoice,
};
use clap::Args;

use super::adapterdrop::{AdapterDrop, RobustDraws};
use super::objective_flags::ObjectiveFlags;
use super::plan::Plan;
use super::run_folder::RunFolder;
use super::subject::Subject;
use crate::Common;
use crate::error::CliError;
use crate::path_argument::PathArgument;
use crate::size::Size;
use crate::task_rows::RowFlags;

/// Flags of `adaptkit train` and `adaptkit fuse`.
#[derive(Args)]
pub(crate) struct RunFlags {
    /// The base: a model's directory, or the id of a pulled model
    #[arg(long, alias = "model-name-or-path", value_name = "MODEL")]
    model: PathArgument,
    /// Where the adapter and its results go
    #[arg(long, value_name = "DIR")]
    output_dir: PathBuf,
    /// Replace an adapter that is in the output directory already
    #[arg(long, alias = "overwrite-output-dir")]
    overwrite: bool,
    #[command(flatten)]
    rows: RowFlags,
    /// The share of the head's inputs that training drops; the base's own by default
    #[arg(long, value_name = "P", help_heading = "Training")]
    head_dropout: Option<f32>,
    /// Turn on the base's own dropout, as configured and as the Python library has it in training;
    /// hidden states are then never the same twice, and none are kept between epochs
    #[arg(long, conflicts_with = "cache_dir", help_heading = "Training")]
    base_dropout: bool,
    /// Leave the adapter out of the N lowest layers, where back-propagation then does not go; or
    /// robust: out of a number drawn for each step, so that one adapter serves every N (Rücklé et
    /// al. 2021)
    #[arg(
        long,
        value_name = "none|N|robust",
        default_value_t = AdapterDrop::None,
        allow_negative_numbers = true,
        help_heading = "AdapterDrop"
    )]
    adapterdrop: AdapterDrop,
    /// The most layers that robust training drops; all but the last by default
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "adapterdrop_weights",
        help_heading = "AdapterDrop"
    )]
    adapterdrop_max: Option<usize>,
    /// How often robust training drops 0, 1, 2, … layers, as weights; evenly by default
    #[arg(long, value_name = "W,…", value_delimiter = ',', help_heading = "AdapterDrop")]
    adapterdrop_weights: Option<Vec<f64>>,
    /// Memory for the hidden states that enter the lowest layer with an adapter, which later epochs
    /// begin with: bytes, or a number with KB, MB or GB; 0 keeps none in memory
    #[arg(long, value_name = "SIZE", default_value = "1GB", help_heading = "AdapterDrop")]
    cache_budget: Size,
    /// Keep them in this directory too, beyond the memory and for other runs on the same rows
    #[arg(long, value_name = "DIR", help_heading = "AdapterDrop")]
    cache_dir: Option<PathBuf>,
    /// What the files in that directory may take; those not used for longest are removed
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "10GB",
        requires = "cache_dir",
        help_heading = "AdapterDrop"
    )]
    cache_dir_budget: Size,
    /// How training rows' states are kept: bf16, to which they are rounded from the first epoch on,
    /// or f32, which changes no bit of the result
    #[arg(
        long,
        value_enum,
        value_name = "PRECISION",
        default_value_t = CachePrecision::Bf16,
        help_heading = "AdapterDrop"
    )]
    cache_precision: CachePrecision,
    #[command(flatten)]
    objective: ObjectiveFlags,
    /// Passes over the training rows; 5 by default, 10 for a fusion
    #[arg(long, alias = "num-train-epochs", value_name = "N", value_parser = whole_number, help_heading = "Training")]
    epochs: Option<usize>,
    /// Rows in a batch
    #[arg(
        long,
        alias = "per-device-train-batch-size",
        value_name = "N",
        default_value_t = 32,
        help_heading = "Training"
    )]
    batch_size: usize,
    /// The highest learning rate; 3e-4 by default, 5e-5 for a fusion
    #[arg(long, value_name = "X", help_heading = "Training")]
    learning_rate: Option<f32>,
    /// How the learning rate goes after the warm-up: linear, cosine, cosine-with-restarts, polynomial,
    /// constant, constant-with-warmup or inverse-sqrt
    #[arg(
        long,
        alias = "lr-scheduler-type",
        value_name = "NAME",
        default_value_t = LrScheduler::Linear,
        help_heading = "Training"
    )]
    lr_scheduler: LrScheduler,
    /// The share of the steps over which the learning rate grows from zero; a tenth by default
    #[arg(long, value_name = "SHARE", conflicts_with = "warmup_steps", help_heading = "Training")]
    warmup_ratio: Option<f64>,
    /// The number of those steps itself
    #[arg(long, value_name = "N", value_parser = whole_number, help_heading = "Training")]
    warmup_steps: Option<usize>,
    /// AdamW's weight decay
    #[arg(long, value_name = "X", default_value_t = 0.01, help_heading = "Training")]
    weight_decay: f32,
    /// The largest global norm of a step's gradient; 0 for any
    #[arg(long, value_name = "X", default_value_t = 1.0, help_heading = "Training")]
    max_grad_norm: f32,
    /// Longer rows are cut to this many tokens; 128 by default, or what the model takes if less
    #[arg(long, alias = "max-seq-length", value_name = "N", help_heading = "Training")]
    max_length: Option<usize>,
    /// Whether rows of similar length share batches
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        action = clap::ArgAction::Set,
        help_heading = "Training"
    )]
    group_by_length: bool,
    /// Tokens in a batch at most, instead of a number of rows; a longer row goes alone
    #[arg(long, value_name = "N", conflicts_with = "batch_size", help_heading = "Training")]
    max_batch_tokens: Option<usize>,
    /// Batches in a step, which descends the mean loss of all their rows
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Training")]
    gradient_accumulation_steps: usize,
    /// End the run after N epochs in a row that were not better than the best; 3 by default for a
    /// fusion
    #[arg(long, value_name = "N", help_heading = "Training")]
    early_stopping_patience: Option<usize>,
    /// By how much an epoch's score must be better to count as better there
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        requires = "early_stopping_patience",
        help_heading = "Training"
    )]
    early_stopping_threshold: f64,
    /// Cross-validate: train on all folds but one and score on that one, K times, and write the scores
    /// with their mean and standard deviation, but no adapter
    #[arg(
        long,
        value_name = "K",
        conflicts_with_all = ["validation_file", "validation_fraction", "test_file", "resume", "task"],
        help_heading = "Training"
    )]
    folds: Option<usize>,
    /// Continue from the checkpoint beside the output directory, if there is one
    #[arg(long, help_heading = "Interruptions")]
    resume: bool,
    /// Steps between checkpoints; there is one at every epoch's end as well
    #[arg(long, value_name = "N", default_value_t = 500, help_heading = "Interruptions")]
    save_steps: usize,
    /// Steps between the lines of metrics.jsonl
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Interruptions")]
    logging_steps: usize,
    /// What weights, order and dropout are drawn from
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    seed: u64,
    /// What run_glue has to be told and this command does in any case: train, evaluate, and train
    /// nothing but the adapter
    #[arg(long = "do-train", hide = true, aliases = ["do-eval", "train-adapter"], action = clap::ArgAction::Count)]
    _do_train: u8,
}

/// A whole number, also where it is spelt as run_glue spells it: 10.0.
fn whole_number(text: &str) -> Result<usize, String> {
    text.parse::<usize>().or_else(|error| match text.parse::<f64>() {
        Ok(number) if number.fract() == 0.0 && (0.0..1e15).contains(&number) => Ok(number as usize),
        Ok(number) if number.fract() != 0.0 && number > 0.0 && number.is_finite() => {
            Err(format!("it must be a whole number, such as {}", number.ceil()))
        }
        _ => Err(error.to_string()),
    })
}

/// A [`StatePrecision`].
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum CachePrecision {
    Bf16,
    F32,
}

/// What holds where no flag says otherwise.
pub(crate) struct Defaults {
    pub(crate) epochs: usize,
    pub(crate) learning_rate: f32,
    pub(crate) early_stopping_patience: Option<usize>,
}

impl RunFlags {
    /// Where the result goes.
    pub(crate) fn output_dir(&self) -> &Path {
        &self.output_dir
    }

    /// Trains; `own` is what the output directory may hold, to be replaced.
    pub(crate) fn run(
        &self,
        subject: Subject,
        defaults: &Defaults,
        own: Vec<String>,
        common: &Common,
    ) -> Result<(), CliError> {
        let names: Vec<&str> = own.iter().map(String::as_str).collect();
        let kept = RunFolder {
            path: RunFolder::beside(&self.output_dir),
            resume: self.resume,
            save_steps: self.save_steps,
            logging_steps: self.logging_steps,
        };
        let result = kept.earlier_result(&self.output_dir, self.overwrite);
        // What may be this run's own result is not in its way.
        if result.is_none() || self.overwrite {
            StagedDirectory::check(&self.output_dir, self.overwrite, &names)?;
        }
        self.check(self.epochs.unwrap_or(defaults.epochs))?;
        kept.check(self.overwrite)?;
        // Every fold holds out its own rows.
        let held_out = self.folds.map_or(self.rows.validation_fraction, |_| 0.0);
        let rows = self.rows.read((held_out, self.seed), common)?;
        rows.train.check_trainable(&rows.space)?;
        let scoring = self.objective.scoring(rows.metrics, &rows.space, None)?;
        let options = HyperParameters {
            objective: self.objective.read(&rows.space)?,
            thresholds: self.rows.thresholds(),
            ..self.hyper_parameters(defaults)
        };
        let validated = rows.validation.is_some() || self.folds.is_some();
        options.check(&rows.space, validated)?;
        if self.objective.metric.is_some() && !validated {
            return Err(CliError::usage(
                "--metric chooses the best epoch by validation rows, and there are none: the last epoch \
                 is what is written",
            ));
        }
        let plan = Plan {
            model: &self.model,
            subject,
            max_length: self.max_length,
            head_dropout: self.head_dropout,
            options,
            scoring,
            output_dir: &self.output_dir,
            overwrite: self.overwrite,
            own,
            adapterdrop: self.adapterdrop,
            robust_draws: self.robust_draws(),
            caching: Some(self.caching()),
            kept: Some(kept),
            result,
        };
        match self.folds {
            Some(folds) => plan.cross_validate(&rows, folds, common),
            None => plan.run(&rows, common)?.say(common),
        }
    }

    fn check(&self, epochs: usize) -> Result<(), CliError> {
        let share = |name: &str, x: f64| match (0.0..1.0).contains(&x) {
            true => Ok(()),
            false => {
                Err(CliError::usage(format!("--{name} is {x}, not a share from 0 to below 1")))
            }
        };
        share("head-dropout", f64::from(self.head_dropout.unwrap_or(0.0)))?;
        share("warmup-ratio", self.warmup_ratio.unwrap_or(0.0))?;
        let warms_up = self.warmup_ratio.is_some() || self.warmup_steps.is_some();
        if warms_up && !self.lr_scheduler.warms_up() {
            return Err(CliError::usage(
                "--lr-scheduler constant has no warm-up: choose constant-with-warmup, or leave \
                 --warmup-ratio and --warmup-steps out",
            ));
        }
        if let Some(folds) = self.folds.filter(|folds| *folds < 2) {
            return Err(CliError::usage(format!("--folds is {folds}, it must be at least 2")));
        }
        for (name, n) in [
            ("epochs", epochs),
            ("batch-size", self.batch_size),
            ("max-batch-tokens", self.max_batch_tokens.unwrap_or(1)),
            ("gradient-accumulation-steps", self.gradient_accumulation_steps),
            ("early-stopping-patience", self.early_stopping_patience.unwrap_or(1)),
            ("save-steps", self.save_steps),
            ("logging-steps", self.logging_steps),
        ] {
            if n == 0 {
                return Err(CliError::usage(format!("--{name} is 0, it must be at least 1")));
            }
        }
        for (name, given) in [
            ("adapterdrop-max", self.adapterdrop_max.is_some()),
            ("adapterdrop-weights", self.adapterdrop_weights.is_some()),
        ] {
            if given && self.adapterdrop != AdapterDrop::Robust {
                let message = format!("--{name} is for --adapterdrop robust");
                return Err(CliError::usage(message));
            }
        }
        if self.cache_dir.is_some() && self.adapterdrop == AdapterDrop::None {
            let message = "--cache-dir is for --adapterdrop N or robust: without it there is \
                           nothing below the adapter to keep";
            return Err(CliError::usage(message));
        }
        let threshold = self.early_stopping_threshold;
        if !(threshold.is_finite() && threshold >= 0.0) {
            let message = format!(
                "--early-stopping-threshold is {threshold}, it must be a number not below 0"
            );
            return Err(CliError::usage(message));
        }
        for (name, x) in [
            ("learning-rate", self.learning_rate.unwrap_or(0.0)),
            ("weight-decay", self.weight_decay),
            ("max-grad-norm", self.max_grad_norm),
        ] {
            if !(x.is_finite() && x >= 0.0) {
                let message = format!("--{name} is {x}, it must be a number not below 0");
                return Err(CliError::usage(message));
            }
        }
        Ok(())
    }

    fn robust_draws(&self) -> RobustDraws {
        match &self.adapterdrop_weights {
            Some(weights) => RobustDraws::Weighted(weights.clone()),
            None => RobustDraws::UpTo(self.adapterdrop_max),
        }
    }

    fn caching(&self) -> PrefixCaching {
        let directory = self
            .cache_dir
            .as_ref()
            .map(|path| CacheDirectory { path: path.clone(), budget: self.cache_dir_budget.bytes });
        let precision = match self.cache_precision {
            CachePrecision::Bf16 => StatePrecision::Bf16,
            CachePrecision::F32 => StatePrecision::F32,
        };
        PrefixCaching { precision, memory: self.cache_budget.bytes, directory }
    }

    fn hyper_parameters(&self, defaults: &Defaults) -> HyperParameters {
        HyperParameters {
            epochs: self.epochs.unwrap_or(defaults.epochs),
            batch_size: self.batch_size,
            max_batch_tokens: self.max_batch_tokens,
            gradient_accumulation_steps: self.gradient_accumulation_steps,
            early_stopping_patience: self
                .early_stopping_patience
                .or(defaults.early_stopping_patience),
            early_stopping_threshold: self.early_stopping_threshold,
            learning_rate: self.learning_rate.unwrap_or(defaults.learning_rate),
            lr_scheduler: self.lr_scheduler,
            warmup_ratio: self.warmup_ratio.unwrap_or(0.1),
            warmup_steps: self.warmup_steps,
            objective: Objective::default(),
            thresholds: ThresholdChoice::Given,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            head_dropout: self.head_dropout.unwrap_or(0.0),
            base_dropout: self.base_dropout,
            group_by_length: self.group_by_length,
            robust_drop: None,
            seed: self.seed,
        }
    }
}
