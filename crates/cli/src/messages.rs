//! Words for people on standard error, results on standard output.
//!
//! What is written for people is escaped here, once: wherever a path, a label or another program's
//! words come from, no character of theirs reaches the terminal that it would obey or hide.
//!
//! A reader of standard output gets the result and nothing else, so that a command can stand in a
//! pipe. Whoever closes that pipe has read enough: the command ends without a word. Standard error
//! that cannot be written is nobody's loss, and never a panic.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use adaptkit::encoder::foreign_text::escaped_lines;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::{CliError, output};

/// How a command speaks.
pub(crate) struct Messages {
    json: bool,
    quiet: bool,
    /// The bars being shown, above which lines are printed.
    bars: MultiProgress,
}

impl Messages {
    /// `json`: results as JSON; `quiet`: no progress and no notes.
    pub(crate) fn new(json: bool, quiet: bool) -> Messages {
        let bars = match quiet {
            true => MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
            false => MultiProgress::new(),
        };
        Messages { json, quiet, bars }
    }

    /// A line about what happens.
    pub(crate) fn note(&self, line: impl Display) {
        if !self.quiet {
            self.say(line);
        }
    }

    /// A line about what the user should know, whatever they asked for.
    pub(crate) fn warning(&self, line: impl Display) {
        self.say(format_args!("warning: {line}"));
    }

    fn say(&self, line: impl Display) {
        self.bars.suspend(|| to_stderr(line));
    }

    /// The command's result: `data` as one JSON object where that is asked for, else `words`.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(crate) fn result(
        &self,
        data: &impl Serialize,
        words: impl Display,
    ) -> Result<(), CliError> {
        let text = match self.json {
            true => serde_json::to_string(data).map_err(|e| output(e.into()))?,
            false => escaped_lines(&words.to_string()),
        };
        to_stdout(text.trim_end_matches('\n'))
    }

    /// A bar that counts bytes; without a total, a figure that grows.
    pub(crate) fn bytes_bar(&self, label: &str, total: Option<u64>) -> ProgressBar {
        let template = match total {
            Some(_) => "{msg:<24} {bar:24} {decimal_bytes}/{decimal_total_bytes}, {eta} left",
            None => "{msg:<24} {decimal_bytes}",
        };
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        self.show(bar, template, label)
    }

    /// Something that turns while nothing can be counted.
    pub(crate) fn spinner(&self, label: &str) -> ProgressBar {
        let bar = self.show(ProgressBar::new_spinner(), "{spinner} {msg} ({elapsed})", label);
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        bar
    }

    fn show(&self, bar: ProgressBar, template: &str, label: &str) -> ProgressBar {
        let bar = self.bars.add(bar);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(label.to_string());
        bar
    }
}

/// A line on standard error, which may be closed.
pub(crate) fn to_stderr(line: impl Display) {
    let _ = writeln!(io::stderr(), "{}", escaped_lines(&line.to_string()));
}

/// Text and a line's end on standard output.
///
/// # Errors
/// If not all of it could be written.
fn to_stdout(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(output)
}

/// Writes what `--help` and `--version` show, in colours where standard output is a terminal.
///
/// # Errors
/// If not all of it could be written.
pub(crate) fn help_to_stdout(help: &clap::Error) -> Result<(), CliError> {
    help.print().and_then(|()| io::stdout().flush()).map_err(output)
}
