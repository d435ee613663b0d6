//! `adaptkit inspect`: what a directory holds.

use std::path::PathBuf;

use adaptkit::adapters::files::{ADAPTER_CONFIG, Provenance, StoredAdapter, StoredHead};
use adaptkit::encoder::{Checkpoint, EncoderConfig};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::Common;
use crate::error::{CliError, output};
use crate::model_cache::resolve_model;

/// Flags of `adaptkit inspect`.
#[derive(Args)]
pub(crate) struct Flags {
    /// An adapter's or a base model's directory, or the id of a pulled model
    path: String,
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    use std::io::Write;
    let adapter = PathBuf::from(&flags.path);
    let facts = if adapter.join(ADAPTER_CONFIG).exists() {
        adapter_facts(&adapter)?
    } else {
        base_facts(&resolve_model(&flags.path)?)?
    };
    let mut out = std::io::stdout().lock();
    if common.json {
        return writeln!(out, "{}", Value::Object(facts)).map_err(output);
    }
    for (name, value) in &facts {
        let words = match value {
            Value::String(text) => plain(text),
            Value::Array(items) => {
                let items = items.iter().map(|i| i.as_str().map_or(i.to_string(), plain));
                items.collect::<Vec<_>>().join(", ")
            }
            Value::Object(map) => {
                let items = map.iter().map(|(k, v)| format!("{k} {v}"));
                items.collect::<Vec<_>>().join(", ")
            }
            other => other.to_string(),
        };
        writeln!(out, "{:<18} {words}", name.replace('_', " ")).map_err(output)?;
    }
    Ok(())
}

/// A text from a file on a terminal, whose cursor it shall not move.
fn plain(text: &str) -> String {
    let escaped = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(escaped).collect()
}

fn adapter_facts(directory: &std::path::Path) -> Result<Map<String, Value>, CliError> {
    let adapter = StoredAdapter::read(directory)?;
    let head = StoredHead::read(directory)?;
    let provenance = Provenance::read(directory)?;
    let mut facts = Map::new();
    let mut put = |name: &str, value: Value| facts.insert(name.to_owned(), value);
    put("kind", json!("adapter"));
    put("name", json!(adapter.name));
    let preset = adapter.config.preset_name().map(|preset| preset.names().join(" = "));
    put("placement", json!(preset.unwrap_or_else(|| "of its own".to_owned())));
    let mut layers: Vec<usize> = adapter.modules.keys().map(|place| place.layer).collect();
    layers.dedup();
    match (adapter.shared, layers.first()) {
        (true, Some(lowest)) => put("layers", json!(format!("all from {lowest} on, with one"))),
        _ => put("layers", json!(layers)),
    };
    let mut sizes: Vec<usize> = adapter.modules.values().map(|m| m.down_bias.len()).collect();
    sizes.dedup();
    put("bottleneck_sizes", json!(sizes));
    put("activation", json!(adapter.config.non_linearity.name()));
    put("parameters", json!(adapter.parameters()));
    if !adapter.layer_norms.is_empty() {
        put("trained_layer_norms", json!(adapter.layer_norms.len()));
    }
    put("base_type", json!(adapter.model.model_type));
    put("hidden_size", json!(adapter.model.hidden_size));
    match &head {
        None => put("head", json!("none")),
        Some(head) => {
            put("head", json!(head.kind.name()));
            put("head_outputs", json!(head.outputs()));
            put("head_parameters", json!(head.parameters()));
            put("labels", json!(head.labels))
        }
    };
    if let Some(p) = provenance {
        put("base", json!(p.base.name));
        put("base_fingerprint", json!(p.base.fingerprint));
        put("task", json!(p.task));
        put("adapterdrop", json!(p.adapterdrop));
        put("max_length", json!(p.max_length));
        put("metrics", json!(p.metrics));
        put("adaptkit_version", json!(p.adaptkit_version));
    }
    Ok(facts)
}

fn base_facts(directory: &std::path::Path) -> Result<Map<String, Value>, CliError> {
    let config = EncoderConfig::from_dir(directory)?;
    let checkpoint = Checkpoint::open(directory)?;
    let stored: usize = checkpoint
        .names()
        .filter_map(|name| checkpoint.shape(name))
        .map(|shape| shape.iter().product::<usize>())
        .sum();
    let facts = json!({
        "kind": "base model",
        "family": config.family.name(),
        "layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "activation": config.activation.name(),
        "vocabulary": config.vocab_size,
        "longest_row": config.longest_row(),
        "stored_parameters": stored,
        "fingerprint": adaptkit::encoder::identity(&config, &checkpoint)?,
    });
    match facts {
        Value::Object(facts) => Ok(facts),
        _ => Ok(Map::new()),
    }
}
