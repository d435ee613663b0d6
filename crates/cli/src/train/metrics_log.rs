//! What a run measures, a JSON object a line, while it runs.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use adaptkit::training::TrainingError;
use adaptkit::training::run::{EpochReport, StepReport};
use serde_json::{Map, Value, json};

/// A file of lines, each of which names its step.
pub(crate) struct MetricsLog {
    path: PathBuf,
    every: usize,
}

impl MetricsLog {
    /// A log of every `every`th step and of every evaluation.
    pub(crate) fn new(path: PathBuf, every: usize) -> MetricsLog {
        MetricsLog { path, every }
    }

    pub(crate) fn step(&self, report: &StepReport) -> Result<(), TrainingError> {
        if !report.step.is_multiple_of(self.every) {
            return Ok(());
        }
        let seconds = report.elapsed.as_secs_f64().max(1e-9);
        let mut line = json!({
            "step": report.step,
            "epoch": report.epoch,
            "loss": report.loss,
            "learning_rate": report.learning_rate,
            "grad_norm": report.gradient_norm,
            "rows_per_second": report.rows as f64 / seconds,
            "tokens_per_second": report.tokens as f64 / seconds,
        });
        if let Some(dropped) = report.dropped_layers {
            line["dropped_layers"] = json!(dropped);
        }
        self.append(&line)
    }

    pub(crate) fn epoch(&self, report: &EpochReport) -> Result<(), TrainingError> {
        let mut line = Map::new();
        line.insert("step".into(), json!(report.step));
        line.insert("epoch".into(), json!(report.epoch as f64));
        line.insert("train_loss".into(), json!(report.train_loss));
        if let Some(evaluation) = &report.evaluation {
            line.insert("eval_loss".into(), json!(evaluation.loss));
            for (name, score) in evaluation.scores.iter() {
                line.insert(format!("eval_{name}"), json!(score));
            }
        }
        line.insert("best".into(), json!(report.best));
        self.append(&Value::Object(line))
    }

    /// Makes what was logged so far last: a checkpoint is about to refer to it.
    pub(crate) fn sync(&self) -> Result<(), TrainingError> {
        Ok(adaptkit::adapters::atomic::sync_file(&self.path)?)
    }

    /// Drops what was logged after `step`, and a line that was cut off. False if there is no log
    /// although something must have been logged by then.
    pub(crate) fn resume(&self, step: usize) -> Result<bool, TrainingError> {
        let text = match std::fs::read(&self.path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(step < self.every),
            Err(source) => return Err(self.failed(source)),
        };
        let kept = |line: &&str| {
            let line: Option<Value> = serde_json::from_str(line).ok();
            line.and_then(|line| line["step"].as_u64()).is_some_and(|at| at <= step as u64)
        };
        let lines: String = text.split_inclusive('\n').filter(kept).collect();
        adaptkit::adapters::atomic::write_file(&self.path, lines.as_bytes())?;
        Ok(true)
    }

    /// One write a line.
    fn append(&self, line: &Value) -> Result<(), TrainingError> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> TrainingError {
        TrainingError::Write { path: self.path.clone(), source }
    }
}
