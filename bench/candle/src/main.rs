//! Times candle's BERT on full rows of tokens with zero weights, and prints one JSON line.
//!
//! Usage: `candle-bert --model bert-base|bert-large|DIR [--batch N] [--length N] [--repeats N]`.
//! A directory's `config.json` gives the shape. The threads are rayon's: `RAYON_NUM_THREADS`.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};

type Failure = Box<dyn std::error::Error>;

fn config(model: &str) -> Result<Config, Failure> {
    let (layers, hidden) = match model {
        "bert-base" => (12, 768),
        "bert-large" => (24, 1024),
        dir => {
            let text = std::fs::read_to_string(format!("{dir}/config.json"))?;
            return Ok(serde_json::from_str(&text)?);
        }
    };
    let config = serde_json::json!({
        "vocab_size": 30522, "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": hidden / 64, "intermediate_size": 4 * hidden, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "max_position_embeddings": 512, "type_vocab_size": 2,
        "initializer_range": 0.02, "layer_norm_eps": 1e-12, "pad_token_id": 0,
    });
    Ok(serde_json::from_value(config)?)
}

fn main() -> Result<(), Failure> {
    let (mut model, mut batch, mut length, mut repeats) = ("bert-base".to_owned(), 16, 128, 3);
    let mut arguments = std::env::args().skip(1);
    while let (Some(flag), Some(value)) = (arguments.next(), arguments.next()) {
        match flag.as_str() {
            "--model" => model = value,
            "--batch" => batch = value.parse()?,
            "--length" => length = value.parse()?,
            "--repeats" => repeats = value.parse()?,
            other => return Err(format!("{other} is no flag").into()),
        }
    }
    let device = Device::Cpu;
    let bert = BertModel::load(VarBuilder::zeros(DType::F32, &device), &config(&model)?)?;
    let ids: Vec<u32> = (0..batch * length).map(|i| 5 + (i as u32 * 7919) % 30_000).collect();
    let ids = Tensor::from_vec(ids, (batch, length), &device)?;
    let types = ids.zeros_like()?;
    let mut times = Vec::new();
    for _ in 0..=repeats {
        let start = Instant::now();
        bert.forward(&ids, &types, None)?;
        times.push(start.elapsed().as_secs_f64());
    }
    let mut times = times.split_off(1);
    times.sort_by(f64::total_cmp);
    println!("{}", serde_json::json!({"forward_s": times[times.len() / 2], "peak_rss_mb": null}));
    Ok(())
}
