//! The `adaptkit` command as a function: flags in, calls out, words for people.
//!
//! A command is one file: its flags as a struct, and `run`. What a command prints as its result
//! goes to standard output; progress, notes and errors go to standard error.

mod arguments;
mod attention;
mod bench;
mod breakdown;
mod compose;
mod environment;
mod error;
mod eval;
mod foreign_flags;
mod fuse;
#[doc(hidden)]
pub mod fuzzing;
mod glue;
mod help;
mod inspect;
mod layer_drops;
mod merge;
mod messages;
mod model_cache;
mod path_argument;
mod picture;
mod predict;
mod progress;
mod prune;
mod pull;
mod quickstart;
mod rows;
mod size;
mod task_folder;
mod task_rows;
mod train;

use std::ffi::OsString;
use std::num::NonZero;
use std::process::ExitCode;

use adaptkit::compute::{Device, Precision};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::CliError;
use crate::messages::{Messages, help_to_stdout, to_stderr};

/// Adapters for frozen transformer encoders: train them, evaluate them, use them.
#[derive(Parser)]
#[command(name = "adaptkit", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = help::FIRST_COMMANDS, after_long_help = help::whole())]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

// Flags of every command. With a doc comment these words would replace the program's in its help.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// Threads to compute with; one for each physical core by default
    #[arg(long, global = true, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// Instructions to compute with, instead of the fastest this CPU has: portable, avx2, avx2-vnni,
    /// avx512, avx512-vnni, avx512-bf16 or amx
    #[arg(long, global = true, value_name = "NAME")]
    instructions: Option<String>,
    /// Format of the base's weights: auto is bf16 where this CPU multiplies it faster than f32, else
    /// f32. int8 is for inference; layers that training back-propagates through use auto then
    #[arg(long, global = true, value_enum, default_value_t = PrecisionFlag::Auto)]
    precision: PrecisionFlag,
    /// Print the result as one JSON object instead of words
    #[arg(long, global = true)]
    json: bool,
    /// Print no progress and no notes, errors only
    #[arg(long, short, global = true)]
    quiet: bool,
}

/// A [`Precision`], or the choice of one.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PrecisionFlag {
    Auto,
    F32,
    Bf16,
    Int8,
}

impl Common {
    /// The format of the base's weights on `device`.
    pub(crate) fn precision(&self, device: &Device) -> Precision {
        match self.precision {
            PrecisionFlag::Auto => device.fastest_precision(),
            PrecisionFlag::F32 => Precision::F32,
            PrecisionFlag::Bf16 => Precision::Bf16,
            PrecisionFlag::Int8 => Precision::Int8,
        }
    }

    pub(crate) fn device(&self) -> Result<Device, CliError> {
        Ok(match &self.instructions {
            Some(name) => Device::cpu_with_instructions(name, self.threads)?,
            None => Device::cpu(self.threads)?,
        })
    }

    pub(crate) fn messages(&self) -> Messages {
        Messages::new(self.json, self.quiet)
    }

    /// A line for people, on standard error.
    pub(crate) fn note(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            to_stderr(line);
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// The whole story on bundled data in a minute or two: pull, train, evaluate, classify
    Quickstart(quickstart::Flags),
    /// Fetch a base model into the cache
    #[command(after_help = help::PULL)]
    Pull(pull::Flags),
    /// Train an adapter and a head on a task
    Train(Box<train::Flags>),
    /// Train a fusion of adapters, and a head, on a task
    #[command(after_help = help::FUSE)]
    Fuse(Box<fuse::Flags>),
    /// Leave out of a fusion the members that it attends to least
    #[command(after_help = help::PRUNE)]
    Prune(Box<prune::Flags>),
    /// Merge trained adapters of one configuration into one, by their weighted mean or sum
    #[command(after_help = help::MERGE)]
    Merge(merge::Flags),
    /// Score an adapter on labelled rows
    #[command(after_help = help::EVAL)]
    Eval(Box<eval::Flags>),
    /// Label rows with one or more adapters
    #[command(after_help = help::PREDICT)]
    Predict(Box<predict::Flags>),
    /// Prepare what the GLUE benchmark's server takes
    #[command(after_help = help::GLUE)]
    Glue(glue::Flags),
    /// Show what an adapter or a base model holds
    #[command(after_help = help::INSPECT)]
    Inspect(inspect::Flags),
    /// Measure the machine's ceilings, and what a model reaches on it
    Bench(Box<bench::Flags>),
}

/// Runs the command with its arguments, the program's name first.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    survive_file_size_limits();
    let mut command = with_negative_numbers(Cli::command());
    command.build();
    let arguments = arguments::kebab_case(arguments::with_values(&command, arguments));
    let parsed = command.try_get_matches_from(arguments);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(help) if !help.use_stderr() => return ended(help_to_stdout(&help)),
        Err(error) => return not_understood(&error),
    };
    let common = &cli.common;
    ended(match cli.command {
        Command::Quickstart(flags) => quickstart::run(&flags, common),
        Command::Pull(flags) => pull::run(&flags, common),
        Command::Train(flags) => train::run(&flags, common),
        Command::Fuse(flags) => fuse::run(&flags, common),
        Command::Prune(flags) => prune::run(&flags, common),
        Command::Merge(flags) => merge::run(&flags, common),
        Command::Eval(flags) => eval::run(&flags, common),
        Command::Predict(flags) => predict::run(&flags, common),
        Command::Glue(flags) => glue::run(&flags, common),
        Command::Inspect(flags) => inspect::run(&flags, common),
        Command::Bench(flags) => bench::run(&flags, common),
    })
}

/// Says what went wrong, if anything did, and gives the process's exit code.
fn ended(result: Result<(), CliError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.exit_code() != 0 {
                to_stderr(format_args!("error: {}", error::chain(&error)));
                if let Some(hint) = error.hint() {
                    to_stderr(format_args!("hint: {hint}"));
                }
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints what the parser says, and for a flag of run_glue's what does the same here.
fn not_understood(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let unknown = (error.kind() == clap::error::ErrorKind::UnknownArgument)
        .then(|| error.get(clap::error::ContextKind::InvalidArg))
        .flatten();
    if let Some(clap::error::ContextValue::String(flag)) = unknown
        && let Some(instead) = foreign_flags::instead_of(flag)
    {
        to_stderr(format_args!("hint: {instead}"));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Lets a write beyond the size that the system allows a file (`ulimit -f`) fail like any other: an
/// error that names the file, after which what was half written is removed. By default the signal that
/// comes with it ends the process. It is caught and not ignored, as processes that are started would
/// inherit that.
fn survive_file_size_limits() {
    #[cfg(unix)]
    {
        let caught = std::sync::Arc::default();
        // Without it the signal ends the process as before.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, caught);
    }
}

/// What flags are for whose values are words of the user's files, by the names of their values.
const WORDS: [&str; 5] = ["LABEL", "LABEL,…", "COLUMN", "COLUMN,…", "CHAR"];

/// Lets flags take `-1`, so that what is said of it names the flag, and those for labels and columns
/// anything that begins with a dash.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes = |flag: clap::Arg| {
        let names = flag.get_value_names().unwrap_or_default();
        let is_word = names.iter().any(|name| WORDS.contains(&name.as_str()));
        match (flag.get_action().takes_values(), is_word) {
            (false, _) => flag,
            (true, false) => flag.allow_negative_numbers(true),
            (true, true) => flag.allow_hyphen_values(true),
        }
    };
    command.mut_args(takes).mut_subcommands(with_negative_numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command line in the help is one that the program takes.
    #[test]
    fn the_help_s_examples_are_valid() {
        let mut all = help::FIRST_COMMANDS.to_owned();
        let command = with_negative_numbers(Cli::command());
        for sub in command.get_subcommands() {
            all += &sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            all.push('\n');
        }
        let lines = all.lines().filter_map(|line| line.find("adaptkit ").map(|at| &line[at..]));
        let lines: Vec<&str> =
            lines.filter(|line| !line.contains(['`', '\'']) && !line.contains("COMMAND")).collect();
        assert!(lines.len() > 15, "{lines:?}");
        for line in lines {
            let parsed = command.clone().try_get_matches_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn values_may_begin_with_a_hyphen() {
        let mut command = with_negative_numbers(Cli::command());
        command.build();
        let cases: [(&str, &str); 14] = [
            ("train --label-column -x --json", "train --label-column=-x --json"),
            ("train --label-column --x --json", "train --label-column=--x --json"),
            ("train --label_column --my_x", "train --label-column=--my_x"),
            ("train --label-column --json", "train --label-column --json"),
            ("train --label-column --text_column a", "train --label-column --text-column a"),
            ("train --label-column -q", "train --label-column -q"),
            ("train --label-column -quiet", "train --label-column=-quiet"),
            ("train --label-column -", "train --label-column -"),
            ("train --label-column --", "train --label-column --"),
            ("train --output-dir --overwrte", "train --output-dir --overwrte"),
            ("train --quiet -x", "train --quiet -x"),
            ("--threads 2 predict --text-column -t-", "--threads 2 predict --text-column=-t-"),
            ("glue submit --adapter -a=b", "glue submit --adapter=-a=b"),
            ("pull -x", "pull -x"),
        ];
        for (given, expected) in cases {
            let given = given.split(' ').map(OsString::from);
            let found = arguments::kebab_case(arguments::with_values(&command, given));
            let expected: Vec<OsString> = expected.split(' ').map(OsString::from).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_flags_are_consistent() {
        with_negative_numbers(Cli::command()).debug_assert();
    }
}
