//! How long a batch takes whose rows ask for different adapters, and many tasks on one text, beside
//! one adapter and one task at a time: `many_tasks MODEL [ROWS] [TOKENS] [ROUNDS]
//! [PRECISION]`.
//!
//! The ways take turns; medians are printed, and for many tasks the count of layers beside them: k
//! tasks whose adapters begin at the end of layer n share it and those below, (n + 1)·F + k·(L − n − 1)·F,
//! where of the last layer a quarter counts, since nobody reads its other tokens than the first.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use adaptkit_adapters::{
    AdapterConfig, HeadShape, ResidentTasks, TaskModel, Wish, logits_of_wishes,
};
use adaptkit_compute::{Activation, Device, Precision};
use adaptkit_encoder::{Encoder, RaggedBatch};

type Failed = Box<dyn std::error::Error>;

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// The medians of ways that take turns.
fn in_turn<const N: usize>(rounds: usize, ways: [&dyn Fn(); N]) -> [f64; N] {
    let mut seconds = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (way, seconds) in ways.iter().zip(&mut seconds) {
            let start = Instant::now();
            way();
            // The first round fills caches and buffers.
            if round > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
    }
    seconds.map(median)
}

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, numbers @ ..] = &arguments[..] else { return Err("give a model".into()) };
    let number = |i: usize, default: usize| numbers.get(i).map_or(Ok(default), |n| n.parse());
    let (rows, tokens, rounds) = (number(0, 32)?, number(1, 128)?, number(2, 7)?);
    let device = Device::cpu(None)?;
    let precision = match numbers.get(3) {
        Some(name) => Precision::from_name(name).ok_or("a precision is f32, bf16 or int8")?,
        None => device.fastest_precision(),
    };
    let encoder = Encoder::load(Path::new(model), &device, precision)?;
    let layers = encoder.config().num_hidden_layers;
    let head = HeadShape { outputs: 2, layers: 2, activation: Activation::Tanh };
    let models = |count: usize, first: usize| -> Result<ResidentTasks, Failed> {
        let mut config = AdapterConfig::preset("pfeiffer")?;
        config.leave_out = (0..first).collect();
        let mut tasks = ResidentTasks::with_capacity(&encoder, count);
        for seed in 0..count as u64 {
            tasks.add(TaskModel::new(&encoder, &config, &head, seed)?);
        }
        Ok(tasks)
    };
    let ids: Vec<u32> = (0..tokens as u32).map(|i| 1000 + i).collect();
    let types = vec![0; tokens];
    let batch = RaggedBatch::new((0..rows).map(|_| (&ids[..], &types[..])));
    println!("{device:?}, {precision}, {layers} layers, {rows} rows of {tokens} tokens");

    let many = models(rows, 0)?;
    let wishes = |model: &dyn Fn(usize) -> usize| -> Vec<Wish> {
        (0..rows).map(|row| Wish { row, model: model(row), first_layer: 0 }).collect()
    };
    let (same, own) = (wishes(&|_| 0), wishes(&|row| row));
    let run = |models: &ResidentTasks, batch: &RaggedBatch, wishes: &[Wish]| {
        std::hint::black_box(logits_of_wishes(&encoder, models, batch, wishes));
    };
    let [one, mixed] =
        in_turn(rounds, [&|| run(&many, &batch, &same), &|| run(&many, &batch, &own)]);
    println!("one adapter {one:.3} s, {rows} adapters {mixed:.3} s: {:.3} times", mixed / one);

    let few = batch.select(&(0..rows.div_ceil(8)).collect::<Vec<_>>());
    for (tasks, first) in [(8, 0), (8, layers / 2 - 1), (8, layers - 1), (2, layers / 2 - 1)] {
        let models = models(tasks, first)?;
        let wish = |row, model| Wish { row, model, first_layer: 0 };
        let wishes: Vec<Wish> =
            (0..few.rows()).flat_map(|row| (0..tasks).map(move |m| wish(row, m))).collect();
        let alone =
            |task: usize| -> Vec<Wish> { (0..few.rows()).map(|row| wish(row, task)).collect() };
        let alone: Vec<Vec<Wish>> = (0..tasks).map(alone).collect();
        let [together, one_by_one] = in_turn(
            rounds,
            [&|| run(&models, &few, &wishes), &|| alone.iter().for_each(|w| run(&models, &few, w))],
        );
        let cost = |part: Range<usize>| {
            part.len() as f64 - if part.contains(&(layers - 1)) { 0.75 } else { 0.0 }
        };
        let (shared, own) = (cost(0..first + 1), cost(first + 1..layers));
        let count = (shared + tasks as f64 * own) / (tasks as f64 * (shared + own));
        let share = together / one_by_one;
        println!(
            "{tasks} tasks from layer {first} on {} rows: {together:.3} s, one by one {one_by_one:.3} \
             s: {share:.3} of it, by the count {count:.3}",
            few.rows()
        );
    }
    Ok(())
}
