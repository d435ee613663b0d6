//! The `adaptkit` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    adaptkit_cli::run(std::env::args_os())
}
