//! What was measured, as one JSON object and as a table for people.

use adaptkit::adapters::TaskModel;
use adaptkit::compute::Precision;
use adaptkit::encoder::{Encoder, Operation};
use serde_json::{Value, json};

use super::Flags;
use super::ceilings::Ceilings;
use super::fusion::FusionTimes;
use super::machine::Machine;
use super::workload::Workload;
use crate::train::AdapterDrop;

/// Seconds of each pass, medians but for what happens once.
pub(super) struct Times {
    pub(super) load_s: f64,
    pub(super) forward_s: f64,
    pub(super) logits_s: f64,
    /// Of all tasks in one pass, if there are any.
    pub(super) tasks_s: Option<f64>,
    /// Of the same one by one.
    pub(super) one_by_one_s: Option<f64>,
    pub(super) prepare_backward_s: f64,
    pub(super) train_step_s: f64,
    /// The operations of a forward pass, and last all layers.
    pub(super) operations: Vec<(Operation, f64)>,
}

pub(super) struct Report<'a> {
    pub(super) flags: &'a Flags,
    pub(super) machine: Machine,
    pub(super) encoder: &'a Encoder,
    pub(super) model: &'a TaskModel,
    pub(super) workload: &'a Workload,
    pub(super) ceilings: Ceilings,
    pub(super) times: Times,
    /// A fusion beside the adapter, if one is asked for.
    pub(super) fusion: Option<FusionTimes<'a>>,
    pub(super) peak_rss_mb: Option<f64>,
}

/// An operation beside the ceilings.
struct Line {
    name: &'static str,
    seconds: f64,
    share_of_forward: f64,
    /// Where multiply-adds are its measure: 10⁹ of them, those a second, and the share of the peak.
    gflop: Option<[f64; 3]>,
    /// Where memory may be: 10⁹ bytes, those a second, and the share of the memory's rate.
    gbyte: Option<[f64; 3]>,
}

impl Report<'_> {
    fn operations(&self) -> f64 {
        let batches = self.workload.batches.iter();
        batches.map(|batch| self.encoder.forward_operations(batch)).sum()
    }

    fn line(&self, operation: &Operation, seconds: f64) -> Line {
        let rates = |amount: f64, ceiling: f64| {
            let rate = amount / seconds.max(1e-9);
            [amount / 1e9, rate / 1e9, rate / ceiling.max(1.0)]
        };
        Line {
            name: operation.name,
            seconds,
            share_of_forward: seconds / self.times.forward_s,
            gflop: operation
                .precision
                .map(|precision| rates(operation.operations, self.ceilings.of(precision))),
            gbyte: Some(rates(operation.bytes, self.ceilings.memory)),
        }
    }

    /// Each operation, and what the pass takes beside them; last all layers.
    fn lines(&self) -> (Vec<Line>, Option<Line>) {
        let all = &self.times.operations;
        let Some(((layers, seconds), parts)) = all.split_last() else { return Default::default() };
        let mut lines: Vec<Line> =
            parts.iter().map(|(operation, seconds)| self.line(operation, *seconds)).collect();
        let rest = self.times.forward_s - lines.iter().map(|line| line.seconds).sum::<f64>();
        lines.push(Line {
            name: "other",
            seconds: rest,
            share_of_forward: rest / self.times.forward_s,
            gflop: None,
            gbyte: None,
        });
        (lines, Some(self.line(layers, *seconds)))
    }

    pub(super) fn json(&self) -> Value {
        let (times, config, device) = (&self.times, self.encoder.config(), self.encoder.device());
        let (rows, tokens) = (self.workload.rows.len() as f64, self.workload.tokens() as f64);
        let [shortest, longest] = self.workload.lengths();
        let peak = self.ceilings.of(self.encoder.precision());
        let rate = self.operations() / times.forward_s;
        let steps = self.workload.rows.len().div_ceil(self.flags.batch) as f64;
        let gigas = |precision| self.ceilings.of(precision) / 1e9;
        let (lines, layers) = self.lines();
        json!({
            "adaptkit_version": env!("CARGO_PKG_VERSION"),
            "machine": self.machine.json(),
            "threads": device.threads(),
            "instructions": device.instructions(),
            "precision": self.encoder.precision().name(),
            "model": &*self.flags.model,
            "layers": config.num_hidden_layers,
            "hidden_size": config.hidden_size,
            "parameters": self.encoder.parameters(),
            "adapter": self.flags.adapter,
            "adapterdrop": self.flags.adapterdrop.to_string(),
            "cache": self.flags.cache.name(),
            "tasks": self.flags.tasks,
            "trained_parameters": self.model.parameters(),
            "rows": self.workload.rows.len(),
            "tokens": self.workload.tokens(),
            "shortest_row": shortest,
            "longest_row": longest,
            "batch": self.flags.batch,
            "repeats": self.flags.repeats,
            "ceilings": {
                "f32_gflops": gigas(Precision::F32),
                "bf16_gflops": gigas(Precision::Bf16),
                "int8_gops": gigas(Precision::Int8),
                "memory_gb_per_s": self.ceilings.memory / 1e9,
            },
            "load_s": times.load_s,
            "forward_s": times.forward_s,
            "rows_per_s": rows / times.forward_s,
            "tokens_per_s": tokens / times.forward_s,
            "forward_gflop": self.operations() / 1e9,
            "forward_gflops": rate / 1e9,
            "peak_gflops": peak / 1e9,
            "share_of_peak": rate / peak,
            "logits_s": times.logits_s,
            "tasks_s": times.tasks_s,
            "one_by_one_s": times.one_by_one_s,
            "prepare_backward_s": times.prepare_backward_s,
            "train_step_s": times.train_step_s,
            "train_rows_per_s": rows / steps / times.train_step_s,
            "train_tokens_per_s": tokens / steps / times.train_step_s,
            "fusion": self.fusion.as_ref().zip(self.flags.fusion).map(|(fusion, members)| {
                fusion.json(members, self.model, self.encoder, self.workload, times)
            }),
            "peak_rss_mb": self.peak_rss_mb,
            "operations": lines.iter().map(Line::json).collect::<Vec<_>>(),
            "all_layers": layers.as_ref().map(Line::json),
        })
    }

    pub(super) fn words(&self) -> String {
        let (times, device) = (&self.times, self.encoder.device());
        let precision = self.encoder.precision();
        let gigas = |precision| self.ceilings.of(precision) / 1e9;
        let rate = self.operations() / times.forward_s;
        let (rows, tokens) = (self.workload.rows.len() as f64, self.workload.tokens() as f64);
        let steps = self.workload.rows.len().div_ceil(self.flags.batch) as f64;
        let mut words = format!(
            "{}; {} threads, {}\n\
             ceilings: f32 {:.0} GFLOP/s, bf16 {:.0} GFLOP/s, int8 {:.0} GOP/s, memory {:.1} GB/s\n\
             {}, {precision}: {}\n\n\
             {:28} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}\n",
            self.machine.words(),
            device.threads(),
            device.instructions(),
            gigas(Precision::F32),
            gigas(Precision::Bf16),
            gigas(Precision::Int8),
            self.ceilings.memory / 1e9,
            self.flags.model,
            self.workload,
            "operation",
            "ms",
            "of pass",
            "GFLOP/s",
            "of peak",
            "GB/s",
            "of peak",
        );
        let (lines, layers) = self.lines();
        lines.iter().chain(&layers).for_each(|line| words += &line.words());
        words += &format!(
            "\nforward        {:.4} s: {:.1} rows/s, {:.0} tokens/s, {:.1} GFLOP/s, {:.1} % of the \
             ceiling\n\
             logits         {:.4} s: the adapter and a head, as eval and predict run them\n\
             training step  {:.4} s: {:.1} rows/s, {:.0} tokens/s; {} of {} rows, {} parameters\n\
             loaded in {:.3} s, prepared for training in {:.3} s",
            times.forward_s,
            rows / times.forward_s,
            tokens / times.forward_s,
            rate / 1e9,
            100.0 * rate / self.ceilings.of(precision),
            times.logits_s,
            times.train_step_s,
            rows / steps / times.train_step_s,
            tokens / steps / times.train_step_s,
            self.flags.adapter,
            self.flags.batch.min(self.workload.rows.len()),
            self.model.parameters(),
            times.load_s,
            times.prepare_backward_s,
        );
        let drop = self.flags.adapterdrop;
        if drop != AdapterDrop::None {
            let cache = self.flags.cache.name();
            words += &format!("\nAdapterDrop: {drop}; prefix cache in training: {cache}");
        }
        if let (Some(fusion), Some(members)) = (&self.fusion, self.flags.fusion) {
            words += &fusion.words(members, self.model, self.encoder, self.workload, times);
        }
        if let (Some(k), Some(together), Some(one_by_one)) =
            (self.flags.tasks, times.tasks_s, times.one_by_one_s)
        {
            words += &format!(
                "\n{k} tasks in one pass {together:.4} s, one by one {one_by_one:.4} s: {:.2} times as \
                 fast",
                one_by_one / together
            );
        }
        if let Some(mb) = self.peak_rss_mb {
            words += &format!(", {mb:.0} MB at most");
        }
        words
    }
}

impl Line {
    fn json(&self) -> Value {
        let [gflop, gflops, share_of_peak] = parts(self.gflop);
        let [gbyte, gbytes, share_of_memory] = parts(self.gbyte);
        json!({
            "name": self.name,
            "seconds": self.seconds,
            "share_of_forward": self.share_of_forward,
            "gflop": gflop,
            "gflops": gflops,
            "share_of_peak": share_of_peak,
            "gb": gbyte,
            "gb_per_s": gbytes,
            "share_of_memory": share_of_memory,
        })
    }

    fn words(&self) -> String {
        let [_, gflops, share_of_peak] = parts(self.gflop);
        let [_, gbytes, share_of_memory] = parts(self.gbyte);
        let number = |x: Option<f64>| x.map_or(String::new(), |x| format!("{x:.1}"));
        let share = |x: Option<f64>| x.map_or(String::new(), |x| format!("{:.1} %", 100.0 * x));
        let line = format!(
            "{:28} {:>9.2} {:>8} {:>8} {:>8} {:>8} {:>8}",
            self.name,
            1e3 * self.seconds,
            share(Some(self.share_of_forward)),
            number(gflops),
            share(share_of_peak),
            number(gbytes),
            share(share_of_memory)
        );
        line.trim_end().to_owned() + "\n"
    }
}

fn parts(three: Option<[f64; 3]>) -> [Option<f64>; 3] {
    three.map_or([None; 3], |three| three.map(Some))
}
