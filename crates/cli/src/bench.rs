//! `adaptkit bench`: what the machine can do, what a model reached on it, and where the rest went.
//!
//! What is timed is what the other commands run: the encoder's forward pass, the pass to logits that
//! `eval` and `predict` make, and the step of `train`'s own loop. Times are medians of repeats after
//! a first one that warms up; ceilings the best rates seen between the passes.

mod base;
mod ceilings;
mod fusion;
mod machine;
mod passes;
mod report;
mod rounds;
mod training;
mod workload;

use std::path::PathBuf;
use std::time::Instant;

use adaptkit::adapters::config::ReductionFactor;
use adaptkit::adapters::{AdapterConfig, HeadShape, ResidentTasks, TaskModel};
use adaptkit::compute::Activation;
use adaptkit::encoder::{Encoder, EncoderConfig};
use clap::Args;

use self::base::Base;
use self::ceilings::Ceilings;
use self::fusion::FusionTimes;
use self::machine::Machine;
use self::passes::Passes;
use self::report::{Report, Times};
use self::rounds::{Rounds, median};
use self::training::Steps;
use self::workload::Workload;
use crate::Common;
use crate::error::CliError;
use crate::path_argument::PathArgument;
use crate::progress::peak_memory_mb;
use crate::rows::FileFlags;
use crate::train::{AdapterDrop, RobustDraws};

/// Flags of `adaptkit bench`.
#[derive(Args)]
pub(crate) struct Flags {
    /// The base: a model's directory, the id of a pulled model, or bert-base or bert-large for random
    /// weights of that shape
    #[arg(long, alias = "model-name-or-path", value_name = "MODEL")]
    model: PathArgument,
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
    /// Leave the adapter out of the N lowest layers; or robust: in training, out of each number of
    /// them, whose mean counts
    #[arg(long, value_name = "none|N|robust", default_value_t = AdapterDrop::None)]
    adapterdrop: AdapterDrop,
    /// Whether training steps begin with what an epoch before kept of the layers below the adapter:
    /// none or warm
    #[arg(long, value_enum, value_name = "none|warm", default_value_t = Cache::None, hide_possible_values = true)]
    cache: Cache,
    /// Measure this many tasks on each row too, in one pass and one by one
    #[arg(long, value_name = "K")]
    tasks: Option<usize>,
    /// Measure a fusion of this many such adapters too, beside the one
    #[arg(long, value_name = "N")]
    fusion: Option<usize>,
    /// How often each pass is timed; the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeats: usize,
}

/// What training steps find of the layers below the adapter.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cache {
    None,
    Warm,
}

impl Cache {
    fn name(self) -> &'static str {
        match self {
            Cache::None => "none",
            Cache::Warm => "warm",
        }
    }
}

/// Tasks at most: adapters of a large encoder then fill a machine's memory.
const MOST_TASKS: usize = 1000;

/// Members of a fusion at most.
const MOST_MEMBERS: usize = 100;

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    let mut config = flags.check()?;
    let device = common.device()?;
    let precision = common.precision(&device);
    let rounds = Rounds::new(flags.repeats)?;
    let base = Base::open(&flags.model)?;
    let shape = EncoderConfig::from_dir(base.path())?;
    let layers = shape.num_hidden_layers;
    let robust =
        flags.adapterdrop.apply(&RobustDraws::UpTo(None), layers, &mut config.leave_out)?;
    let workload = device.run(|| Workload::of(flags, &base, &shape, common))?;
    let start = Instant::now();
    let mut encoder = Encoder::load(base.path(), &device, precision)?;
    let load_s = start.elapsed().as_secs_f64();
    let head = HeadShape { outputs: 2, layers: 2, activation: Activation::Tanh };
    let task = |seed| TaskModel::new(&encoder, &config, &head, seed);
    let mut model = task(0)?;
    let count = flags.tasks.unwrap_or(0);
    let mut tasks = ResidentTasks::with_capacity(&encoder, count);
    for seed in 0..count as u64 {
        tasks.add(task(seed)?);
    }
    let members = flags.fusion.map(|members| fusion::model(&encoder, &config, &head, members));
    let mut fused = members.transpose()?;

    common.note(format_args!("measuring the forward pass: {workload}; {device:?}, {precision}"));
    let mut ceilings = Ceilings::default();
    let passes = rounds.results(|| {
        ceilings.observe_arithmetic(&device);
        Passes::measure(&encoder, &model, &tasks, fused.as_ref(), &workload)
    })?;
    drop(tasks);

    common.note("measuring the training step");
    let start = Instant::now();
    encoder.prepare_backward(model.adapter.lowest())?;
    let prepare_backward_s = start.elapsed().as_secs_f64();
    drop(base);
    let steps = Steps {
        encoder: &encoder,
        workload: &workload,
        batch: flags.batch,
        cache: flags.cache,
        rounds: &rounds,
    };
    let mut models: Vec<&mut TaskModel> = [&mut model].into_iter().chain(&mut fused).collect();
    let step_s = match robust {
        None => steps.seconds(&mut models, None)?,
        Some(drop) => steps.robust_seconds(&mut models, &drop)?,
    };
    let peak_rss_mb = peak_memory_mb();
    ceilings.observe_memory(&device);

    let times = Times {
        load_s,
        forward_s: median(passes.iter().map(|passes| passes.forward_s)),
        logits_s: median(passes.iter().map(|passes| passes.logits_s)),
        tasks_s: flags.tasks.map(|_| median(passes.iter().map(|passes| passes.tasks_s))),
        one_by_one_s: flags.tasks.map(|_| median(passes.iter().map(|passes| passes.one_by_one_s))),
        prepare_backward_s,
        train_step_s: step_s[0],
        operations: Passes::operations(&passes),
    };
    let fusion = fused.as_ref().map(|fused| FusionTimes {
        fused,
        logits_s: median(passes.iter().map(|passes| passes.fusion_s)),
        train_step_s: step_s[1],
    });
    let report = Report {
        flags,
        machine: Machine::read(),
        encoder: &encoder,
        model: &model,
        workload: &workload,
        ceilings,
        times,
        fusion,
        peak_rss_mb,
    };
    common.messages().result(&report.json(), report.words())
}

impl Flags {
    /// The adapter's configuration, if all flags make sense.
    fn check(&self) -> Result<AdapterConfig, CliError> {
        for (name, n) in [
            ("batch", self.batch),
            ("length", self.length.unwrap_or(1)),
            ("tasks", self.tasks.unwrap_or(1)),
            ("repeats", self.repeats),
        ] {
            if n == 0 {
                return Err(CliError::usage(format!("--{name} is 0, it must be at least 1")));
            }
        }
        if let Some(tasks) = self.tasks.filter(|tasks| *tasks > MOST_TASKS) {
            let message = format!("--tasks is {tasks}, it must be at most {MOST_TASKS}");
            return Err(CliError::usage(message));
        }
        if let Some(members) = self.fusion.filter(|n| !(2..=MOST_MEMBERS).contains(n)) {
            let message =
                format!("--fusion is {members}, a fusion has from 2 to {MOST_MEMBERS} members");
            return Err(CliError::usage(message));
        }
        if self.fusion.is_some() && self.adapter == "parallel" {
            let message =
                "--fusion is not for --adapter parallel: members run behind their sub-layer";
            return Err(CliError::usage(message));
        }
        if self.cache == Cache::Warm && self.adapterdrop == AdapterDrop::None {
            let message = "--cache warm is for --adapterdrop N or robust: without it there is nothing \
                           below the adapter to keep";
            return Err(CliError::usage(message));
        }
        let mut config = AdapterConfig::preset(&self.adapter)?;
        if let Some(factor) = self.reduction_factor {
            config.reduction_factor = ReductionFactor::Uniform(factor);
        }
        Ok(config)
    }
}
