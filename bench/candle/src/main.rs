//! Times candle's BERT on random full rows and prints one JSON line, as the other peers do.
//!
//! Usage: `cargo run --release --manifest-path bench/candle/Cargo.toml -- bert-base|bert-large|minilm BATCH LENGTH REPEATS`
//! with `RAYON_NUM_THREADS` threads.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_transformers::models::bert::{BertModel, Config};

/// A BERT of this shape: layers and the size of the hidden state and of a head.
fn config(name: &str) -> Option<Config> {
    let (layers, hidden, head) = match name {
        "bert-base" => (12, 768, 64),
        "bert-large" => (24, 1024, 64),
        "minilm" => (6, 384, 32),
        _ => return None,
    };
    Some(Config {
        num_hidden_layers: layers,
        hidden_size: hidden,
        num_attention_heads: hidden / head,
        intermediate_size: 4 * hidden,
        ..Config::default()
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, batch, length, repeats] = &arguments[..] else {
        return Err("usage: candle-peer bert-base|bert-large|minilm BATCH LENGTH REPEATS".into());
    };
    let [batch, length, repeats] = [batch.parse()?, length.parse()?, repeats.parse::<usize>()?];
    let config = config(model).ok_or("no such shape")?;
    let device = Device::Cpu;
    let weights = VarMap::new();
    let model = BertModel::load(VarBuilder::from_varmap(&weights, DType::F32, &device), &config)?;
    let ids: Vec<u32> = (0..batch * length).map(|i| (i * 7919 % 30_000 + 100) as u32).collect();
    let ids = Tensor::from_vec(ids, (batch, length), &device)?;
    let types = ids.zeros_like()?;
    let mut times = Vec::new();
    for _ in 0..=repeats {
        let start = Instant::now();
        let hidden = model.forward(&ids, &types, None)?;
        std::hint::black_box(hidden);
        times.push(start.elapsed().as_secs_f64());
    }
    // The first one warms up.
    let times = &mut times[1..];
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!("{{\"system\": \"candle\", \"dtype\": \"f32\", \"forward_s\": {median}}}");
    Ok(())
}
