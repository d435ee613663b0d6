//! `eval --adapterdrop sweep` and `eval --ablate`: scores with the adapter left out of layers, as
//! tables, JSON and pictures.

use std::fmt::Write as _;
use std::time::Duration;

use adaptkit::training::run::LayerDrop;
use serde_json::{Map, Value, json};

use crate::picture::{Cell, HeatMap, LineChart, Series};

/// Which layers an evaluation leaves the adapter out of, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// The lowest n, for every n.
    Lowest,
    /// Every span.
    Spans,
}

/// Scores of one set of rows.
pub(crate) struct LayerDrops {
    pub(crate) sweep: Sweep,
    pub(crate) drops: Vec<LayerDrop>,
    /// The score that pictures show.
    pub(crate) metric: &'static str,
    pub(crate) layers: usize,
}

/// Rows per second.
fn speed(drop: &LayerDrop, rows: usize) -> f64 {
    rows as f64 / drop.evaluation.took.max(Duration::from_nanos(1)).as_secs_f64()
}

impl LayerDrops {
    /// Adds a list of objects under `adapterdrop` or `ablation`, with the suffix.
    pub(crate) fn put(&self, results: &mut Map<String, Value>, suffix: &str, rows: usize) {
        let objects = self.drops.iter().map(|drop| {
            let mut object = Map::new();
            match self.sweep {
                Sweep::Lowest => {
                    object.insert("dropped_layers".into(), json!(drop.layers));
                }
                Sweep::Spans => {
                    let last = (drop.first + drop.layers).checked_sub(1);
                    let span = (drop.layers > 0).then_some(json!([drop.first, last]));
                    object.insert("removed_layers".into(), span.unwrap_or(Value::Null));
                }
            }
            for (name, score) in drop.evaluation.scores.iter() {
                object.insert(format!("eval_{name}"), json!(score));
            }
            object.insert("eval_loss".into(), json!(drop.evaluation.loss));
            object.insert("eval_samples_per_second".into(), json!(speed(drop, rows)));
            Value::Object(object)
        });
        let name = match self.sweep {
            Sweep::Lowest => "adapterdrop",
            Sweep::Spans => "ablation",
        };
        results.insert(format!("eval_{name}{suffix}"), objects.collect());
    }

    /// The scores for people.
    pub(crate) fn table(&self, rows: usize) -> String {
        match self.sweep {
            Sweep::Lowest => self.lines(rows),
            Sweep::Spans => self.triangle(),
        }
    }

    fn lines(&self, rows: usize) -> String {
        let mut table = String::from("dropped layers");
        let names: Vec<&str> = self.drops[0].evaluation.scores.iter().map(|(n, _)| n).collect();
        for name in names.iter().chain(&["loss", "rows/s"]) {
            let _ = write!(table, "  {name:>9}");
        }
        table.push('\n');
        for drop in &self.drops {
            let _ = write!(table, "{:>14}", drop.layers);
            let loss = ("loss", drop.evaluation.loss);
            for (name, score) in drop.evaluation.scores.iter().chain([loss]) {
                let _ = write!(table, "  {score:>width$.4}", width = name.len().max(9));
            }
            let _ = writeln!(table, "  {:>9.1}", speed(drop, rows));
        }
        table
    }

    /// Houlsby's heat map in figures: a line for each first layer, a column for each last one.
    fn triangle(&self) -> String {
        let mut table = format!("{}: {:.4} with all adapters\n", self.metric, self.score(0));
        table.push_str("removed from");
        for last in 0..self.layers {
            let _ = write!(table, " {:>7}", format!("to {last}"));
        }
        table.push('\n');
        for first in 0..self.layers {
            let _ = write!(table, "layer {first:>6}");
            for last in 0..self.layers {
                match self.span(first, last) {
                    Some(number) => {
                        let _ = write!(table, " {:>7.4}", self.score(number));
                    }
                    None => table.push_str("        "),
                }
            }
            table.truncate(table.trim_end().len());
            table.push('\n');
        }
        table
    }

    fn span(&self, first: usize, last: usize) -> Option<usize> {
        let layers = (last + 1).checked_sub(first)?;
        self.drops
            .iter()
            .position(|drop| drop.layers > 0 && (drop.first, drop.layers) == (first, layers))
    }

    fn score(&self, number: usize) -> f64 {
        self.drops[number].evaluation.scores.get(self.metric).unwrap_or(f64::NAN)
    }

    /// A picture of them as SVG.
    pub(crate) fn svg(&self, title: &str, rows: usize) -> String {
        match self.sweep {
            Sweep::Lowest => {
                let points = |value: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
                    (0..self.drops.len()).map(|i| (self.drops[i].layers as f64, value(i))).collect()
                };
                let first = speed(&self.drops[0], rows);
                LineChart {
                    title,
                    across: "lowest layers without the adapter",
                    left: Series { name: self.metric, points: points(&|i| self.score(i)) },
                    right: Series {
                        name: "speed (all adapters = 1)",
                        points: points(&|i| speed(&self.drops[i], rows) / first),
                    },
                }
                .svg()
            }
            Sweep::Spans => {
                let whole = self.score(0);
                let cells = (1..self.drops.len()).map(|number| {
                    let drop = &self.drops[number];
                    let (column, row) = (drop.first + drop.layers - 1, drop.first);
                    let change = self.score(number) - whole;
                    Cell { column, row, value: change, words: format!("{change:+.3}") }
                });
                let layers: Vec<String> = (0..self.layers).map(|layer| layer.to_string()).collect();
                HeatMap {
                    title,
                    across: "last layer without an adapter",
                    down: "first layer without an adapter",
                    columns: layers.clone(),
                    rows: layers,
                    cells: cells.collect(),
                }
                .svg()
            }
        }
    }
}
