//! The `adaptkit` command: flags in, calls out, words for people.
//!
//! A command is one file: its flags as a struct, and `run`. What a command prints as its result
//! goes to standard output; progress, notes and errors go to standard error.

mod bases;
mod error;
mod eval;
mod inspect;
mod predict;
mod progress;
mod pull;
mod quickstart;
mod rows;
mod task_folder;
mod train;

use std::ffi::OsString;
use std::num::NonZero;
use std::process::ExitCode;

use adaptkit::compute::Device;
use clap::{Args, Parser, Subcommand};

use crate::error::CliError;

/// Adapters for frozen transformer encoders: train them, evaluate them, use them.
#[derive(Parser)]
#[command(name = "adaptkit", version, max_term_width = 100, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

/// Flags of every command.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// Threads to compute with; all of the machine's cores by default
    #[arg(long, global = true, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// Instructions to compute with, instead of the fastest this CPU has: portable, avx2 or avx512
    #[arg(long, global = true, value_name = "NAME")]
    instructions: Option<String>,
    /// Print the result as one JSON object instead of words
    #[arg(long, global = true)]
    json: bool,
    /// Print no progress and no notes, errors only
    #[arg(long, short, global = true)]
    quiet: bool,
}

impl Common {
    pub(crate) fn device(&self) -> Result<Device, CliError> {
        Ok(match &self.instructions {
            Some(name) => Device::cpu_with_instructions(name, self.threads)?,
            None => Device::cpu(self.threads)?,
        })
    }

    /// A line for people, on standard error.
    pub(crate) fn note(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// The whole story on bundled data in a minute or two: pull, train, evaluate, classify
    Quickstart(quickstart::Flags),
    /// Fetch a base model into the cache
    Pull(pull::Flags),
    /// Train an adapter and a head on a task
    Train(Box<train::Flags>),
    /// Score an adapter on labelled rows
    Eval(eval::Flags),
    /// Label rows with one or more adapters
    Predict(predict::Flags),
    /// Show what an adapter or a base model holds
    Inspect(inspect::Flags),
}

fn main() -> ExitCode {
    let cli = Cli::parse_from(hyphenated(std::env::args_os()));
    let common = &cli.common;
    let result = match cli.command {
        Command::Quickstart(flags) => quickstart::run(&flags, common),
        Command::Pull(flags) => pull::run(&flags, common),
        Command::Train(flags) => train::run(&flags, common),
        Command::Eval(flags) => eval::run(&flags, common),
        Command::Predict(flags) => predict::run(&flags, common),
        Command::Inspect(flags) => inspect::run(&flags, common),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.exit_code() != 0 {
                eprintln!("error: {error}");
                if let Some(hint) = error.hint() {
                    eprintln!("hint: {hint}");
                }
            }
            ExitCode::from(error.exit_code())
        }
    }
}

/// Accepts the snake_case flags of the `run_glue` scripts: `--output_dir` is `--output-dir`.
/// Values, and what comes after `--`, stay as they are.
fn hyphenated(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut flags = true;
    arguments
        .map(|argument| {
            flags &= argument != "--";
            match argument.to_str() {
                Some(text) if flags && text.starts_with("--") => {
                    let (name, value) = text.split_at(text.find('=').unwrap_or(text.len()));
                    format!("{}{value}", name.replace('_', "-")).into()
                }
                _ => argument,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn snake_case_flags_become_kebab_case_and_values_stay() {
        let cases = [
            ("--output_dir x_y", "--output-dir x_y"),
            ("--output_dir=x_y", "--output-dir=x_y"),
            ("a_b -x_y", "a_b -x_y"),
            ("-- --a_b", "-- --a_b"),
        ];
        for (given, want) in cases {
            let got = hyphenated(given.split(' ').map(OsString::from));
            let want: Vec<OsString> = want.split(' ').map(OsString::from).collect();
            assert_eq!(got, want, "{given}");
        }
    }
}
