//! Scores of an adapter that is left out of layers at evaluation: of the lowest ones (AdapterDrop,
//! Rücklé et al. 2021, §3) and of every span (Houlsby et al. 2019, §3.6).
//!
//! All of them come from one pass over the rows. What the layers below an adapter's first one make
//! of a batch is computed once and branches wherever the adapter may begin, so that L layers cost
//! about L²/2 of them, not L·L with the embeddings again each time.

use std::time::{Duration, Instant};

use adaptkit_adapters::{Adapter, Entry, TaskModel};
use adaptkit_compute::Tensor;
use adaptkit_encoder::{Empty, Encoder, RaggedBatch, Readout};

use super::batches::{Dataset, batch, token_batches};
use super::evaluation::{EVALUATION_TOKENS, Evaluation, score};
use crate::TrainingError;
use crate::data::AnswerSpace;
use crate::metrics::Scoring;

/// An evaluation with the adapter left out of layers.
#[derive(Clone, Debug)]
pub struct LayerDrop {
    /// The first of them.
    pub first: usize,
    /// How many.
    pub layers: usize,
    /// What it found. It took as long as the forward passes of this one alone: what it shares with
    /// others counts for each.
    pub evaluation: Evaluation,
}

/// Evaluations with the adapter left out of the lowest n layers, for n from none to all.
///
/// # Errors
/// If a score is not finite, or the metrics refuse the answers.
pub fn evaluate_lowest_dropped(
    encoder: &Encoder,
    model: &TaskModel,
    data: &Dataset,
    space: &AnswerSpace,
    scoring: &Scoring,
) -> Result<Vec<LayerDrop>, TrainingError> {
    let spans = (0..=encoder.config().num_hidden_layers).map(|layers| (0, layers)).collect();
    Branches::new(encoder, model, data, spans).evaluate(space, scoring)
}

/// Evaluations with the adapter left out of every span of layers, the spans of one first layer
/// after another, shortest first; before them the evaluation with nothing left out.
///
/// # Errors
/// If a score is not finite, or the metrics refuse the answers.
pub fn evaluate_spans_dropped(
    encoder: &Encoder,
    model: &TaskModel,
    data: &Dataset,
    space: &AnswerSpace,
    scoring: &Scoring,
) -> Result<Vec<LayerDrop>, TrainingError> {
    let all = encoder.config().num_hidden_layers;
    let spans = (0..all).flat_map(|first| (1..=all - first).map(move |layers| (first, layers)));
    let spans = [(0, 0)].into_iter().chain(spans).collect();
    Branches::new(encoder, model, data, spans).evaluate(space, scoring)
}

/// Passes over the rows that branch.
struct Branches<'a> {
    encoder: &'a Encoder,
    model: &'a TaskModel,
    data: &'a Dataset,
    /// The spans to leave out, as (first, layers), sorted.
    spans: Vec<(usize, usize)>,
    /// For each span the logits of each row, and the time of its forward passes.
    logits: Vec<Vec<Vec<f32>>>,
    took: Vec<Duration>,
}

impl<'a> Branches<'a> {
    fn new(
        encoder: &'a Encoder,
        model: &'a TaskModel,
        data: &'a Dataset,
        spans: Vec<(usize, usize)>,
    ) -> Branches<'a> {
        let logits = vec![vec![Vec::new(); data.len()]; spans.len()];
        let took = vec![Duration::ZERO; spans.len()];
        Branches { encoder, model, data, spans, logits, took }
    }

    fn evaluate(
        mut self,
        space: &AnswerSpace,
        scoring: &Scoring,
    ) -> Result<Vec<LayerDrop>, TrainingError> {
        let lengths: Vec<usize> = self.data.rows.iter().map(|row| row.ids.len()).collect();
        for picked in token_batches(&lengths, EVALUATION_TOKENS) {
            let rows = batch(&self.data.rows, &picked);
            self.encoder.device().run(|| self.with_adapter_below(&rows, &picked));
        }
        let Branches { encoder, data, spans, logits, took, .. } = self;
        let evaluated = spans.into_iter().zip(logits).zip(took);
        evaluated
            .map(|(((first, layers), logits), took)| {
                let evaluation = score(encoder, data, space, scoring, &logits, took)?;
                Ok(LayerDrop { first, layers, evaluation })
            })
            .collect()
    }

    /// Goes up with the adapter; wherever a span begins, a bare branch parts.
    fn with_adapter_below(&mut self, rows: &RaggedBatch, picked: &[usize]) {
        let start = Instant::now();
        let mut entry = Entry::embedded(self.encoder, rows);
        let mut below = start.elapsed();
        let highest = self.spans.iter().map(|(first, _)| *first).max().unwrap_or(0);
        loop {
            let hidden = match entry.layer == highest {
                true => std::mem::replace(&mut entry.hidden, self.encoder.device().zeros(0, 0)),
                false => entry.hidden.duplicate(),
            };
            self.bare(rows, picked, Entry { layer: entry.layer, hidden }, below);
            if entry.layer == highest {
                return;
            }
            let start = Instant::now();
            entry = self.one_layer(rows, entry, Some(&self.model.adapter));
            below += start.elapsed();
        }
    }

    /// Goes up without the adapter from the first layer of spans; wherever one ends, a branch with
    /// the adapter parts and goes to the head.
    fn bare(
        &mut self,
        rows: &RaggedBatch,
        picked: &[usize],
        mut entry: Entry,
        mut below: Duration,
    ) {
        let first = entry.layer;
        let mine: Vec<usize> =
            (0..self.spans.len()).filter(|i| self.spans[*i].0 == first).collect();
        for number in mine {
            let end = first + self.spans[number].1;
            let start = Instant::now();
            while entry.layer < end {
                entry = self.one_layer(rows, entry, None);
            }
            below += start.elapsed();
            let start = Instant::now();
            let branch = Entry { layer: entry.layer, hidden: entry.hidden.duplicate() };
            let out = self.model.logits_from(self.encoder, rows, branch);
            self.took[number] += below + start.elapsed();
            self.keep(number, picked, &out);
        }
    }

    fn one_layer(&self, rows: &RaggedBatch, entry: Entry, adapter: Option<&Adapter>) -> Entry {
        let Entry { layer, hidden } = entry;
        let (layers, readout) = (layer..layer + 1, Readout::FirstTokens);
        let hidden = match adapter {
            Some(adapter) => {
                self.encoder.layers(rows, hidden, layers, readout, &mut adapter.inference(0))
            }
            None => self.encoder.layers(rows, hidden, layers, readout, &mut Empty),
        };
        Entry { layer: layer + 1, hidden }
    }

    fn keep(&mut self, number: usize, picked: &[usize], out: &Tensor) {
        for (row, values) in picked.iter().zip(out.to_vec().chunks_exact(out.columns())) {
            self.logits[number][*row] = values.to_vec();
        }
    }
}
