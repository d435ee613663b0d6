//! A round: the passes of inference, one after the other, so that all meet the same neighbours.

use std::hint::black_box;
use std::time::Instant;

use adaptkit::adapters::{ResidentTasks, TaskModel, Wish};
use adaptkit::encoder::{Empty, Encoder, Operation, Readout};
use adaptkit::training::run::{predict, predict_wishes};

use super::rounds::median;
use super::workload::Workload;

/// What each pass over all rows took.
pub(super) struct Passes {
    /// The bare encoder, all tokens.
    pub(super) forward_s: f64,
    /// Adapter, first tokens and head.
    pub(super) logits_s: f64,
    /// The same with a fusion in the adapter's place; as long as nothing without one.
    pub(super) fusion_s: f64,
    /// All tasks of every row, in one pass; as long as nothing without tasks.
    pub(super) tasks_s: f64,
    /// The same, one task after the other.
    pub(super) one_by_one_s: f64,
    /// The operations of the forward pass, and last all layers.
    operations: Vec<Operation>,
}

impl Passes {
    pub(super) fn measure(
        encoder: &Encoder,
        model: &TaskModel,
        tasks: &ResidentTasks,
        fusion: Option<&TaskModel>,
        workload: &Workload,
    ) -> Passes {
        let start = Instant::now();
        encoder.device().run(|| {
            for batch in &workload.batches {
                black_box(encoder.forward(batch, Readout::AllTokens, &mut Empty));
            }
        });
        let forward_s = start.elapsed().as_secs_f64();
        let batches = workload.batches.iter().map(|batch| encoder.time_operations(batch));
        let operations = batches.reduce(|mut all, more| {
            for (sum, more) in all.iter_mut().zip(more) {
                sum.operations += more.operations;
                sum.bytes += more.bytes;
                sum.took += more.took;
            }
            all
        });
        let start = Instant::now();
        black_box(predict(encoder, model, &workload.rows));
        let logits_s = start.elapsed().as_secs_f64();
        let start = Instant::now();
        if let Some(fusion) = fusion {
            black_box(predict(encoder, fusion, &workload.rows));
        }
        let fusion_s = start.elapsed().as_secs_f64();
        let rows = 0..workload.rows.len();
        let wish = |row| (0..tasks.len()).map(move |model| Wish { row, model, first_layer: 0 });
        let wishes: Vec<Wish> = rows.flat_map(wish).collect();
        let start = Instant::now();
        black_box(predict_wishes(encoder, tasks, &workload.rows, &wishes));
        let tasks_s = start.elapsed().as_secs_f64();
        let start = Instant::now();
        for model in 0..tasks.len() {
            let alone = wishes.iter().copied().filter(|wish| wish.model == model);
            let alone: Vec<Wish> = alone.collect();
            black_box(predict_wishes(encoder, tasks, &workload.rows, &alone));
        }
        let one_by_one_s = start.elapsed().as_secs_f64();
        let operations = operations.unwrap_or_default();
        Passes { forward_s, logits_s, fusion_s, tasks_s, one_by_one_s, operations }
    }

    /// Each operation with the median of its times.
    pub(super) fn operations(rounds: &[Passes]) -> Vec<(Operation, f64)> {
        let of =
            |i: usize| median(rounds.iter().map(|round| round.operations[i].took.as_secs_f64()));
        let first = rounds.first().map(|round| round.operations.clone()).unwrap_or_default();
        first.into_iter().enumerate().map(|(i, operation)| (operation, of(i))).collect()
    }
}
