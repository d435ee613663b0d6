//! `prune --sweep`: score and speed for every number of members, as a table, JSON and a picture.

use std::fmt::Write as _;
use std::time::Duration;

use adaptkit::adapters::Pruned;
use adaptkit::training::run::Evaluation;
use serde_json::{Map, Value, json};

use crate::picture::{LineChart, Series};

/// What was found, the most members first.
pub(super) struct Sweep {
    pruning: &'static str,
    /// The score that the picture shows.
    metric: &'static str,
    /// How many members, which, and what they scored.
    pub(super) points: Vec<(usize, Pruned, Evaluation)>,
}

/// Rows per second of the forward pass.
fn speed(evaluation: &Evaluation) -> f64 {
    let took = evaluation.took.max(Duration::from_nanos(1));
    evaluation.predictions.len() as f64 / took.as_secs_f64()
}

impl Sweep {
    pub(super) fn new(pruning: &'static str, metric: &'static str) -> Sweep {
        Sweep { pruning, metric, points: Vec::new() }
    }

    pub(super) fn json(&self) -> Map<String, Value> {
        let points = self.points.iter().map(|(keep, pruned, evaluation)| {
            let mut object = Map::new();
            object.insert("keep".into(), json!(keep));
            for (name, score) in evaluation.scores.iter() {
                object.insert(format!("eval_{name}"), json!(score));
            }
            object.insert("eval_loss".into(), json!(evaluation.loss));
            object.insert("eval_samples_per_second".into(), json!(speed(evaluation)));
            object.insert("kept".into(), super::layers(&pruned.kept));
            object.insert("runs_in_python".into(), json!(pruned.last_is_everywhere));
            Value::Object(object)
        });
        let mut results = Map::new();
        results.insert("pruned_by".into(), json!(self.pruning));
        results.insert("prune_sweep".into(), points.collect());
        results
    }

    pub(super) fn table(&self) -> String {
        let mut table = String::from("kept members");
        let Some((_, _, first)) = self.points.first() else { return table };
        let names = first.scores.iter().map(|(name, _)| name);
        for name in names.chain(["loss", "rows/s"]) {
            let _ = write!(table, "  {name:>9}");
        }
        table.push('\n');
        for (keep, _, evaluation) in &self.points {
            let _ = write!(table, "{keep:>12}");
            let loss = ("loss", evaluation.loss);
            for (name, score) in evaluation.scores.iter().chain([loss]) {
                let _ = write!(table, "  {score:>width$.4}", width = name.len().max(9));
            }
            let _ = writeln!(table, "  {:>9.1}", speed(evaluation));
        }
        table
    }

    pub(super) fn svg(&self, title: &str) -> String {
        let points = |value: &dyn Fn(&Evaluation) -> f64| -> Vec<(f64, f64)> {
            self.points.iter().map(|(keep, _, found)| (*keep as f64, value(found))).collect()
        };
        let all = self.points.first().map_or(1.0, |(_, _, evaluation)| speed(evaluation));
        let score = |found: &Evaluation| found.scores.get(self.metric).unwrap_or(f64::NAN);
        LineChart {
            title,
            across: "members kept",
            left: Series { name: self.metric, points: points(&score) },
            right: Series {
                name: "speed (all members = 1)",
                points: points(&|found| speed(found) / all),
            },
        }
        .svg()
    }
}
