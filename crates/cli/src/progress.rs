//! What a training run shows while it runs.

use std::path::Path;
use std::time::Duration;

use adaptkit::training::TrainingError;
use adaptkit::training::run::{CacheNotice, EpochReport, Observer, StepReport};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::messages::to_stderr;
use crate::train::{Interruption, MetricsLog, scores_in_words};

/// A bar with loss, rows/s, tokens/s and time left, a line an epoch, and the log; and the ear for
/// signals.
pub(crate) struct TrainingProgress {
    bar: ProgressBar,
    quiet: bool,
    log: Option<MetricsLog>,
    interruption: Option<Interruption>,
    /// Whether the run was to continue from a checkpoint.
    pub(crate) resumes: bool,
}

impl TrainingProgress {
    pub(crate) fn new(
        quiet: bool,
        log: Option<MetricsLog>,
        interruption: Option<Interruption>,
    ) -> TrainingProgress {
        let bar = ProgressBar::new(0).with_message("beginning");
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} steps, {msg}, {eta} left");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        if quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        TrainingProgress { bar, quiet, log, interruption, resumes: false }
    }

    fn line(&self, text: String) {
        if self.quiet {
        } else if self.bar.is_hidden() {
            to_stderr(text);
        } else {
            self.bar.println(text);
        }
    }
}

impl Observer for TrainingProgress {
    fn step(&mut self, report: &StepReport) -> Result<(), TrainingError> {
        let seconds = report.elapsed.as_secs_f64().max(1e-9);
        self.bar.set_length(report.total_steps as u64);
        self.bar.set_message(format!(
            "loss {:.4}, {:.0} rows/s, {:.0} tokens/s",
            report.loss,
            report.rows as f64 / seconds,
            report.tokens as f64 / seconds
        ));
        self.bar.set_position(report.step as u64);
        self.log.as_ref().map_or(Ok(()), |log| log.step(report))
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<(), TrainingError> {
        let validation = report.evaluation.as_ref().map(|evaluation| {
            let best = if report.best { " (best so far)" } else { "" };
            format!(
                "; validation loss {:.4}, {}{best}",
                evaluation.loss,
                scores_in_words(evaluation)
            )
        });
        self.line(format!(
            "epoch {}: training loss {:.4} in {}{}",
            report.epoch,
            report.train_loss,
            seconds(report.took),
            validation.unwrap_or_default()
        ));
        self.log.as_ref().map_or(Ok(()), |log| log.epoch(report))
    }

    fn resume(&mut self, step: usize) -> Result<(), TrainingError> {
        self.line(format!("continuing after step {step}"));
        let logged = self.log.as_ref().map_or(Ok(true), |log| log.resume(step))?;
        if !logged {
            self.line(
                "note: the log of the steps before is gone: metrics.jsonl begins here".into(),
            );
        }
        Ok(())
    }

    fn begin(&mut self) {
        if self.resumes {
            self.line("there is no checkpoint: starting from the beginning".to_owned());
        }
    }

    fn unverified(&mut self, checkpoint: &Path) {
        self.line(format!(
            "note: {} was written before checkpoints had a digest, so that damage to it cannot be seen",
            checkpoint.display()
        ));
    }

    fn keep(&mut self) -> Result<(), TrainingError> {
        self.log.as_ref().map_or(Ok(()), MetricsLog::sync)
    }

    fn cache(&mut self, notice: &CacheNotice) {
        self.line(notice.to_string());
    }

    fn stop(&self) -> bool {
        self.interruption.as_ref().is_some_and(|interruption| interruption.signal() != 0)
    }
}

impl Drop for TrainingProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

pub(crate) fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// The most memory that the process has had in RAM so far, in MiB, where the system tells.
pub(crate) fn peak_memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
