//! What a run trains: an adapter, or a fusion of adapters that are trained already.

use std::collections::BTreeSet;
use std::path::Path;

use adaptkit::adapters::config::FusionConfig;
use adaptkit::adapters::files::{
    BaseReference, ModelReference, Provenance, StoredAdapter, StoredFusion, StoredHead,
};
use adaptkit::adapters::{AdapterConfig, HeadShape, TaskModel};
use adaptkit::encoder::{Encoder, Tokenizer};
use serde_json::{Map, Value, json};

use crate::error::CliError;

/// What a run trains.
pub(crate) enum Subject {
    Adapter(NewAdapter),
    Fusion(NewFusion),
}

/// An adapter to be.
pub(crate) struct NewAdapter {
    pub(crate) config: AdapterConfig,
    /// The bottleneck's size, where it is asked for instead of a factor.
    pub(crate) bottleneck: Option<usize>,
    /// Whether all layers use one adapter.
    pub(crate) shared: bool,
    /// Whether the base's layer norms are trained too.
    pub(crate) layer_norms: bool,
}

/// A fusion to be.
pub(crate) struct NewFusion {
    /// The members, and what their directories say of where they come from.
    pub(crate) members: Vec<(StoredAdapter, Option<Provenance>)>,
    pub(crate) config: FusionConfig,
}

/// A subject on its encoder.
pub(crate) enum Begun {
    Adapter { config: AdapterConfig, shared: bool, layer_norms: bool },
    Fusion(StoredFusion),
}

impl Subject {
    /// The modules and a head, without those in the layers left out.
    pub(crate) fn begin(
        &self,
        encoder: &Encoder,
        tokenizer: &Tokenizer,
        (model, reference): (&str, &ModelReference),
        head: &HeadShape,
        left_out: &BTreeSet<usize>,
        seed: u64,
    ) -> Result<(TaskModel, Begun), CliError> {
        match self {
            Subject::Adapter(NewAdapter { config, bottleneck, shared, layer_norms }) => {
                let mut config = config.clone();
                config.leave_out.extend(left_out);
                if let Some(size) = bottleneck {
                    config = config.with_bottleneck(encoder.config().hidden_size, *size)?;
                }
                let mut model = TaskModel::new(encoder, &config, head, seed)?;
                if *shared {
                    model.share_across_layers(encoder, &config)?;
                }
                if *layer_norms {
                    model.train_layer_norms(encoder);
                }
                Ok((model, Begun::Adapter { config, shared: *shared, layer_norms: *layer_norms }))
            }
            Subject::Fusion(NewFusion { members, config }) => {
                let base = BaseReference::new(model, encoder);
                for (member, provenance) in members {
                    if let Some(provenance) = provenance {
                        provenance.check_base(&member.name, &base)?;
                        provenance.check_tokenizer(&member.name, tokenizer)?;
                    }
                }
                let members = members.iter().map(|(member, _)| member.clone()).collect();
                let mut fusion =
                    StoredFusion::new(encoder, members, config.clone(), reference, seed)?;
                fusion.leave_out(left_out);
                if fusion.attention.is_empty() {
                    return Err(CliError::usage(
                        "--adapterdrop leaves no layer in which a member has an adapter",
                    ));
                }
                Ok((TaskModel::fused(encoder, &fusion, head, seed)?, Begun::Fusion(fusion)))
            }
        }
    }
}

impl Begun {
    /// What a run's result depends on.
    pub(crate) fn facts(&self) -> Map<String, Value> {
        let facts = match self {
            Begun::Adapter { config, shared, layer_norms } => json!({
                "adapter": config.to_json(),
                "share_adapter": shared,
                "train_layer_norms": layer_norms,
            }),
            Begun::Fusion(fusion) => json!({
                "fusion": fusion.config.to_json(),
                "members": fusion.members.iter().map(member_facts).collect::<Vec<_>>(),
                "member digests": fusion.members.iter().map(member_digest).collect::<Vec<_>>(),
            }),
        };
        facts.as_object().cloned().unwrap_or_default()
    }

    /// The configuration under the library's names.
    pub(crate) fn config(&self) -> Value {
        match self {
            Begun::Adapter { config, .. } => config.to_json(),
            Begun::Fusion(fusion) => fusion.config.to_json(),
        }
    }

    /// The fusion, if it is one.
    pub(crate) fn fusion(&self) -> Option<&StoredFusion> {
        match self {
            Begun::Adapter { .. } => None,
            Begun::Fusion(fusion) => Some(fusion),
        }
    }

    /// The names of a fusion's members.
    pub(crate) fn members(&self) -> Vec<&str> {
        match self {
            Begun::Adapter { .. } => Vec::new(),
            Begun::Fusion(fusion) => fusion.members.iter().map(|m| &m.name[..]).collect(),
        }
    }

    /// Writes what was trained, and its head, as the library lays them out.
    pub(crate) fn write(
        &self,
        model: &TaskModel,
        reference: &ModelReference,
        head: &StoredHead,
        directory: &Path,
    ) -> Result<(), CliError> {
        match self {
            Begun::Adapter { config, .. } => {
                model.stored_adapter(&head.name, config, reference).write(directory)?;
                head.write(directory)?;
            }
            Begun::Fusion(fusion) => model.stored_fusion(fusion).write(directory, head)?,
        }
        Ok(())
    }
}

/// A member in a checkpoint's facts: its name, and a number that its weights change.
fn member_facts(member: &StoredAdapter) -> Value {
    let mut print = 0xcbf2_9ce4_8422_2325_u64;
    for module in member.modules.values() {
        for values in [&module.down_weight, &module.down_bias, &module.up_weight, &module.up_bias] {
            for value in values {
                print = (print ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
    }
    json!({"name": member.name, "config": member.config.to_json(), "weights": print})
}

/// A digest of all of a member's numbers.
fn member_digest(member: &StoredAdapter) -> String {
    let mut digest = blake3::Hasher::new();
    let mut add = |name: &str, values: &[f32]| {
        digest.update(format!("{name} {}\0", values.len()).as_bytes());
        for value in values {
            digest.update(&value.to_le_bytes());
        }
    };
    for (place, module) in &member.modules {
        add(&format!("{place:?}"), &[]);
        add("down weight", &module.down_weight);
        add("down bias", &module.down_bias);
        add("up weight", &module.up_weight);
        add("up bias", &module.up_bias);
        if let Some(scaling) = &module.scaling {
            add("scaling", scaling);
        }
        if let Some(gate) = &module.gate {
            add("gate", &[&gate.weight[..], &[gate.bias]].concat());
        }
        for (name, norm) in [("before", &module.norm_before), ("after", &module.norm_after)] {
            if let Some(norm) = norm {
                add(name, &[&norm.weight[..], &norm.bias].concat());
            }
        }
    }
    for (place, norm) in &member.layer_norms {
        add(&format!("norm {place:?}"), &[&norm.weight[..], &norm.bias].concat());
    }
    format!("blake3:{}", digest.finalize().to_hex())
}
