//! `adaptkit bench`: what the machine can do, what a model reached on it, and where the rest went.
//!
//! What is timed is what the other commands run: the encoder's forward pass, the pass to logits that
//! `eval` and `predict` make, and the step of `train`'s own loop. Times are medians of repeats after
//! a first one that warms up; ceilings the best rates seen between the passes.

mod base;
mod ceilings;
mod machine;
mod passes;
mod report;
mod rounds;
mod training;
mod workload;

use std::path::PathBuf;
use std::time::Instant;

use adaptkit::adapters::config::ReductionFactor;
use adaptkit::adapters::{AdapterConfig, HeadShape, TaskModel};
use adaptkit::compute::Activation;
use adaptkit::encoder::{Encoder, EncoderConfig};
use clap::Args;

use self::base::Base;
use self::ceilings::Ceilings;
use self::machine::Machine;
use self::passes::Passes;
use self::report::{Report, Times};
use self::rounds::{Rounds, median};
use self::training::step_seconds;
use self::workload::Workload;
use crate::Common;
use crate::error::CliError;
use crate::progress::peak_memory_mb;
use crate::rows::FileFlags;

/// Flags of `adaptkit bench`.
#[derive(Args)]
pub(crate) struct Flags {
    /// The base: a model's directory, the id of a pulled model, or bert-base or bert-large for random
    /// weights of that shape
    #[arg(long, alias = "model-name-or-path", value_name = "MODEL")]
    model: String,
    /// Rows of random tokens; with --input, the rows of a training step
    #[arg(long, alias = "batch-size", value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Tokens in each row of random tokens; 128 by default, or what the model takes if less
    #[arg(long, value_name = "N", conflicts_with = "input")]
    length: Option<usize>,
    /// Measure with these rows instead: files or patterns; - is standard input, a text a line
    #[arg(long, value_name = "FILE", num_args = 1..)]
    input: Vec<PathBuf>,
    #[command(flatten)]
    files: FileFlags,
    /// Longer rows of --input are cut to this many tokens; 128 by default, or what the model takes if
    /// less
    #[arg(long, alias = "max-seq-length", value_name = "N", requires = "input")]
    max_length: Option<usize>,
    /// What is trained: pfeiffer (seq_bn), houlsby (double_seq_bn) or parallel (par_bn)
    #[arg(long, alias = "adapter-config", value_name = "NAME", default_value = "pfeiffer")]
    adapter: String,
    /// The hidden size over the bottleneck's size; the preset's by default
    #[arg(long, value_name = "X")]
    reduction_factor: Option<f64>,
    /// How often each pass is timed; the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeats: usize,
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    let config = flags.check()?;
    let device = common.device()?;
    let precision = common.precision(&device);
    let rounds = Rounds::new(flags.repeats)?;
    let base = Base::open(&flags.model)?;
    let shape = EncoderConfig::from_dir(base.path())?;
    let workload = device.run(|| Workload::of(flags, &base, &shape, common))?;
    let start = Instant::now();
    let mut encoder = Encoder::load(base.path(), &device, precision)?;
    let load_s = start.elapsed().as_secs_f64();
    let head = HeadShape { outputs: 2, layers: 2, activation: Activation::Tanh };
    let mut model = TaskModel::new(&encoder, &config, &head, 0)?;

    common.note(format_args!("measuring the forward pass: {workload}; {device:?}, {precision}"));
    let mut ceilings = Ceilings::default();
    let passes = rounds.results(|| {
        ceilings.observe_arithmetic(&device);
        Passes::measure(&encoder, &model, &workload)
    })?;

    common.note("measuring the training step");
    let start = Instant::now();
    encoder.prepare_backward(model.adapter.lowest())?;
    let prepare_backward_s = start.elapsed().as_secs_f64();
    drop(base);
    let train_step_s = step_seconds(&encoder, &mut model, &workload, flags.batch, &rounds)?;
    let peak_rss_mb = peak_memory_mb();
    ceilings.observe_memory(&device);

    let times = Times {
        load_s,
        forward_s: median(passes.iter().map(|passes| passes.forward_s)),
        logits_s: median(passes.iter().map(|passes| passes.logits_s)),
        prepare_backward_s,
        train_step_s,
        operations: Passes::operations(&passes),
    };
    let report = Report {
        flags,
        machine: Machine::read(),
        encoder: &encoder,
        model: &model,
        workload: &workload,
        ceilings,
        times,
        peak_rss_mb,
    };
    common.messages().result(&report.json(), report.words())
}

impl Flags {
    /// The adapter's configuration, if all flags make sense.
    fn check(&self) -> Result<AdapterConfig, CliError> {
        for (name, n) in
            [("batch", self.batch), ("length", self.length.unwrap_or(1)), ("repeats", self.repeats)]
        {
            if n == 0 {
                return Err(CliError::usage(format!("--{name} is 0, it must be at least 1")));
            }
        }
        let mut config = AdapterConfig::preset(&self.adapter)?;
        if let Some(factor) = self.reduction_factor {
            config.reduction_factor = ReductionFactor::Uniform(factor);
        }
        Ok(config)
    }
}
