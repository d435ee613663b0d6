//! `adaptkit inspect`: what a directory holds.

use std::collections::BTreeSet;
use std::path::Path;

use adaptkit::adapters::AdapterError;
use adaptkit::adapters::files::{
    ADAPTER_CONFIG, HeadKind, Provenance, PrunedFrom, StoredAdapter, StoredAttention,
    StoredComposition, StoredFusion, StoredHead,
};
use adaptkit::encoder::foreign_text::escaped;
use adaptkit::encoder::{Checkpoint, EncoderConfig};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::Common;
use crate::attention;
use crate::error::CliError;
use crate::model_cache::resolve_model;
use crate::path_argument::PathArgument;
use crate::picture::PictureFile;

/// Flags of `adaptkit inspect`.
#[derive(Args)]
pub(crate) struct Flags {
    /// An adapter's or a base model's directory, or the id of a pulled model
    path: PathArgument,
    /// Draw the mean attention that is stored with a fusion: an SVG picture, or a page if it ends
    /// in .html
    #[arg(long, value_name = "FILE", value_parser = PictureFile::parser())]
    attention_plot: Option<PictureFile>,
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    use std::fmt::Write;
    let adapter = flags.path.path().to_path_buf();
    let attention = match StoredFusion::is_at(&adapter) {
        true => Provenance::read(&adapter)?.and_then(|provenance| provenance.fusion_attention),
        false => None,
    };
    if let Some(file) = &flags.attention_plot {
        let Some(attention) = &attention else {
            return Err(CliError::usage(format!(
                "--attention-plot: no mean attention is stored in {}; `adaptkit fuse` and \
                 `adaptkit prune` store it with a fusion, and `adaptkit eval` measures it",
                adapter.display()
            )));
        };
        attention::draw(file, &flags.path, attention)?;
    }
    let mut facts = if adapter.join(ADAPTER_CONFIG).exists() {
        adapter_facts(&adapter)?
    } else if StoredComposition::is_at(&adapter) {
        composition_facts(&adapter)?
    } else if StoredFusion::is_at(&adapter) {
        fusion_facts(&adapter)?
    } else if StoredHead::is_alone_at(&adapter) {
        let head = StoredHead::read(&adapter)?;
        let mut facts = Map::from_iter([("kind".to_owned(), json!("head"))]);
        facts.extend(head.iter().map(|head| ("name".to_owned(), json!(head.name))));
        facts.extend(head_facts(head.as_ref()));
        facts
    } else {
        base_facts(&resolve_model(&flags.path)?)?
    };
    let mut text = String::new();
    for (name, value) in &facts {
        let words = match value {
            Value::Null => continue,
            Value::String(text) => escaped(text),
            Value::Array(items) => {
                let items = items.iter().map(|i| i.as_str().map_or(i.to_string(), escaped));
                items.collect::<Vec<_>>().join(", ")
            }
            Value::Object(map) => {
                let items = map.iter().map(|(k, v)| format!("{k} {v}"));
                items.collect::<Vec<_>>().join(", ")
            }
            other => other.to_string(),
        };
        let _ = writeln!(text, "{:<18} {words}", name.replace('_', " "));
    }
    if let Some(attention) = &attention {
        let _ = write!(text, "\n{}", attention::table(attention));
    }
    facts.extend(attention.map(|attention| ("attention".to_owned(), json!(attention))));
    common.messages().result(&facts, text)
}

fn adapter_facts(directory: &Path) -> Result<Map<String, Value>, CliError> {
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
    facts.extend(head_facts(head.as_ref()));
    facts.extend(origin_facts(provenance));
    Ok(facts)
}

fn fusion_facts(directory: &Path) -> Result<Map<String, Value>, CliError> {
    let fusion = StoredFusion::read_members(directory)?;
    let mut layers: Vec<usize> = fusion.attention.keys().map(|place| place.layer).collect();
    layers.dedup();
    let members = fusion.members.iter().map(|member| {
        let mut sizes: Vec<usize> = member.modules.values().map(|m| m.down_bias.len()).collect();
        sizes.dedup();
        let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
        let here: BTreeSet<usize> = member.modules.keys().map(|place| place.layer).collect();
        // Of one that all layers share, only the lowest is told.
        let partly = match member.shared || here.iter().eq(&layers) {
            true => String::new(),
            false => {
                let here: Vec<String> = here.iter().map(usize::to_string).collect();
                format!(", layers {}", here.join(" "))
            }
        };
        format!("{} (bottleneck {}{partly})", member.name, sizes.join(" and "))
    });
    let members: Vec<String> = members.collect();
    let facts = json!({
        "kind": "fusion",
        "members": members,
        "layers": layers,
        "value_matrix": fusion.config.value,
        "parameters": fusion.parameters(),
        "member_parameters": fusion.members.iter().map(StoredAdapter::parameters).sum::<usize>(),
        "base_type": fusion.model.model_type,
        "hidden_size": fusion.model.hidden_size,
    });
    let mut facts = facts.as_object().cloned().unwrap_or_default();
    match StoredFusion::read_head(directory, None) {
        Ok(head) => facts.extend(head_facts(head.as_ref())),
        Err(AdapterError::HeadUnclear { heads, .. }) => {
            let names: Vec<&String> = heads.iter().map(|head| &head.name).collect();
            facts.insert("heads".to_owned(), json!(names));
        }
        Err(error) => return Err(error.into()),
    }
    let provenance = Provenance::read(directory)?;
    if let Some(PrunedFrom { keep, by, attention }) =
        provenance.as_ref().and_then(|provenance| provenance.pruned.as_ref())
    {
        let words = format!("{keep} of {} members kept, {by}", attention.members.len());
        facts.insert("pruned".to_owned(), json!(words));
    }
    facts.extend(origin_facts(provenance));
    Ok(facts)
}

fn composition_facts(directory: &Path) -> Result<Map<String, Value>, CliError> {
    let StoredComposition { composition, head_setup, parts } = StoredComposition::read(directory)?;
    let members = parts.adapters.values().map(|adapter| {
        let preset = adapter.config.preset_name().map_or("of its own", |p| p.names()[0]);
        format!("{} ({preset})", adapter.name)
    });
    let adapters = parts.adapters.values().map(StoredAdapter::parameters).sum::<usize>();
    let fusions = parts.fusions.values().flat_map(|fusion| fusion.attention.values());
    let fusions: usize = fusions.map(StoredAttention::parameters).sum();
    let model = parts.adapters.values().next().map(|adapter| &adapter.model);
    let facts = json!({
        "kind": "composition",
        "composition": composition.to_string(),
        "adapters": members.collect::<Vec<_>>(),
        "fusions": parts.fusions.keys().collect::<Vec<_>>(),
        "heads": parts.heads.keys().collect::<Vec<_>>(),
        "answered_by": head_setup.map(|heads| heads.to_string()),
        "parameters": adapters + fusions,
        "base_type": model.map(|model| &model.model_type),
        "hidden_size": model.map(|model| model.hidden_size),
    });
    Ok(facts.as_object().cloned().unwrap_or_default())
}

fn head_facts(head: Option<&StoredHead>) -> Map<String, Value> {
    let facts = match head {
        None => json!({"head": "none"}),
        // In the library's files a classification with one output, whose label means nothing.
        Some(head) if head.kind == HeadKind::Classification && head.outputs() == 1 => json!({
            "head": "regression",
            "head_outputs": 1,
            "head_parameters": head.parameters(),
            "head_on_pooler": head.use_pooler.then_some(true),
        }),
        Some(head) => json!({
            "head": head.kind.name(),
            "head_outputs": head.outputs(),
            "head_parameters": head.parameters(),
            "head_on_pooler": head.use_pooler.then_some(true),
            "labels": head.labels,
        }),
    };
    facts.as_object().cloned().unwrap_or_default()
}

/// Where it comes from, if that was noted.
fn origin_facts(provenance: Option<Provenance>) -> Map<String, Value> {
    let Some(p) = provenance else { return Map::new() };
    let facts = json!({
        "base": p.base.name,
        "base_fingerprint": p.base.fingerprint,
        "task": p.task,
        "adapterdrop": p.adapterdrop,
        "max_length": p.max_length,
        "threshold": p.threshold,
        "thresholds": p.thresholds.map(|each| {
            p.labels.iter().cloned().zip(each.into_iter().map(Value::from)).collect::<Map<_, _>>()
        }),
        "positive_label": p.positive_label,
        "metrics": p.metrics,
        "training": p.training,
        "adaptkit_version": p.adaptkit_version,
    });
    facts.as_object().cloned().unwrap_or_default()
}

fn base_facts(directory: &Path) -> Result<Map<String, Value>, CliError> {
    let config = EncoderConfig::from_dir(directory)?;
    let checkpoint = Checkpoint::open(directory)?;
    let stored: usize = checkpoint
        .names()
        .filter_map(|name| checkpoint.shape(name))
        .map(|shape| shape.iter().product::<usize>())
        .sum();
    let identity = adaptkit::encoder::identity(&config, &checkpoint)?;
    let facts = json!({
        "kind": "base model",
        "family": config.family.name(),
        "assumed": (!config.assumed.is_empty()).then_some(&config.assumed),
        "custom_code": config.custom_code,
        "layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "activation": config.activation.name(),
        "vocabulary": config.vocab_size,
        "longest_row": config.longest_row(),
        "stored_parameters": stored,
        "fingerprint": identity.fingerprint,
        "sampled_fingerprint": identity.sampled,
    });
    match facts {
        Value::Object(facts) => Ok(facts),
        _ => Ok(Map::new()),
    }
}
