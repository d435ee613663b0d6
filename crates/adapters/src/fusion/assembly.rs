//! From stored fusions to modules on a device, and back.

use std::collections::{BTreeMap, BTreeSet};

use adaptkit_compute::{Precision, Random, TrainedLinear, mix};
use adaptkit_encoder::{Encoder, Place, Site};

use super::{Attention, Fusion, Member};
use crate::adapter::Adapter;
use crate::assembly::{HeadShape, head_of, new_head, normal};
use crate::bottleneck::Form;
use crate::classifier::TaskModel;
use crate::config::{FusionConfig, Scaling};
use crate::error::AdapterError;
use crate::files::{
    ModelReference, StoredAdapter, StoredAttention, StoredBottleneck, StoredFusion, StoredHead,
};
use crate::module::Module;

/// The standard deviation of new queries' and keys' weights, as in the library.
const DEVIATION: f64 = 0.02;
/// What a new value matrix has beside its diagonal of ones, as in the library.
const OFF_DIAGONAL: f32 = 1e-6;

impl StoredFusion {
    /// A new fusion of these members for an encoder, drawn from `seed`.
    ///
    /// # Errors
    /// If a member was made for another encoder or cannot be one.
    pub fn new(
        encoder: &Encoder,
        members: Vec<StoredAdapter>,
        config: FusionConfig,
        model: &ModelReference,
        seed: u64,
    ) -> Result<StoredFusion, AdapterError> {
        let places = check_members(encoder, members.iter())?;
        for member in &members {
            member.config.check_trainable()?;
        }
        if let Some(last) = members.last()
            && places.iter().any(|place| module_at(last, *place).is_none())
        {
            return Err(AdapterError::MemberUnsuited {
                name: last.name.clone(),
                reason: "the last member must have a module wherever another has: put it further \
                         ahead",
            });
        }
        let d = encoder.config().hidden_size;
        let attention = places.into_iter().map(|place| {
            let number = 2 * place.layer as u64 + place.site as u64;
            let mut random = Random::new(mix(seed, number));
            let mut draw = || normal(d * d, DEVIATION, &mut random);
            let (query_weight, key_weight) = (draw(), draw());
            let near_identity = |i: usize| if i / d == i % d { 1.0 } else { OFF_DIAGONAL };
            let value_weight = config.value.then(|| match config.value_initialized {
                true => (0..d * d).map(near_identity).collect(),
                false => draw(),
            });
            let (query_bias, key_bias) = (vec![0.0; d], vec![0.0; d]);
            let attention =
                StoredAttention { query_weight, query_bias, key_weight, key_bias, value_weight };
            (place, attention)
        });
        let attention = attention.collect();
        Ok(StoredFusion { members, config, model: model.clone(), attention })
    }
}

impl TaskModel {
    /// A stored fusion and its head, on the encoder's device.
    ///
    /// # Errors
    /// If they were made for another encoder, or a member cannot be one.
    pub fn from_stored_fusion(
        encoder: &Encoder,
        fusion: &StoredFusion,
        head: &StoredHead,
    ) -> Result<TaskModel, AdapterError> {
        Ok(TaskModel { adapter: modules_of(encoder, fusion)?, head: head_of(encoder, head)? })
    }

    /// A fusion with a new head, drawn from `seed`.
    ///
    /// # Errors
    /// As for [`TaskModel::from_stored_fusion`].
    pub fn fused(
        encoder: &Encoder,
        fusion: &StoredFusion,
        head: &HeadShape,
        seed: u64,
    ) -> Result<TaskModel, AdapterError> {
        let head = new_head(encoder.device(), encoder.config().hidden_size, head, seed);
        Ok(TaskModel { adapter: modules_of(encoder, fusion)?, head })
    }

    /// The fusion's numbers for its files, `from` being what it was made of.
    pub fn stored_fusion(&self, from: &StoredFusion) -> StoredFusion {
        let mut stored = from.clone();
        for (place, fusion) in self.adapter.fusions() {
            let Attention { query, key, value } = &fusion.attention;
            let attention = StoredAttention {
                query_weight: query.weight.value().to_vec(),
                query_bias: query.bias.value().to_vec(),
                key_weight: key.weight.value().to_vec(),
                key_bias: key.bias.value().to_vec(),
                value_weight: value.as_ref().map(|value| value.weight.value().to_vec()),
            };
            stored.attention.insert(place, attention);
        }
        stored
    }
}

/// A fusion's modules by place, as an adapter.
fn modules_of(encoder: &Encoder, fusion: &StoredFusion) -> Result<Adapter, AdapterError> {
    let fusions = fusions_of(encoder, fusion)?.into_iter();
    let modules = fusions.map(|(place, fusion)| (place, Module::Fusion(Box::new(fusion))));
    Ok(Adapter::new(modules.collect(), BTreeMap::new()))
}

/// A fusion's modules by place.
pub(crate) fn fusions_of(
    encoder: &Encoder,
    fusion: &StoredFusion,
) -> Result<BTreeMap<Place, Fusion>, AdapterError> {
    let mut fusions = BTreeMap::new();
    for place in check_members(encoder, fusion.members.iter())? {
        let attention = fusion
            .attention
            .get(&place)
            .ok_or_else(|| AdapterError::NoAttention { name: fusion.name(), place })?;
        fusions.insert(place, place_of(encoder, fusion, place, attention));
    }
    Ok(fusions)
}

/// The module of a member at a place.
pub(crate) fn module_at(member: &StoredAdapter, place: Place) -> Option<&StoredBottleneck> {
    let own = || member.modules.get(&place);
    let shared = || member.modules.iter().find(|(lowest, _)| lowest.site == place.site);
    match member.shared && member.config.occupies(place) {
        true => shared().map(|(_, module)| module),
        false => own(),
    }
}

/// Every place where the members have modules.
pub(crate) fn check_members<'a>(
    encoder: &Encoder,
    members: impl Iterator<Item = &'a StoredAdapter> + Clone,
) -> Result<BTreeSet<Place>, AdapterError> {
    let config = encoder.config();
    let unsuited = |member: &StoredAdapter, reason| {
        Err(AdapterError::MemberUnsuited { name: member.name.clone(), reason })
    };
    let mut places = BTreeSet::new();
    for member in members.clone() {
        member.check_base(&config.model_type, config.hidden_size, config.num_hidden_layers)?;
        let all = (0..config.num_hidden_layers)
            .flat_map(|layer| Site::ALL.map(|site| Place::new(layer, site)));
        places.extend(all.filter(|place| module_at(member, *place).is_some()));
        let parts = &member.config;
        if parts.is_parallel {
            return unsuited(member, "it runs in parallel to its sub-layer");
        }
        if parts.use_gating || parts.ln_before || parts.ln_after {
            return unsuited(member, "it has a gate or a layer norm of its own");
        }
        if !member.layer_norms.is_empty() {
            return unsuited(member, "it was trained together with the encoder's layer norms");
        }
    }
    Ok(places)
}

fn place_of(
    encoder: &Encoder,
    fusion: &StoredFusion,
    place: Place,
    attention: &StoredAttention,
) -> Fusion {
    let (device, d) = (encoder.device(), encoder.config().hidden_size);
    // Gradients need more than 8-bit integers, and so do a soft-max's scores.
    let precision = match encoder.precision() {
        Precision::Int8 => device.fastest_precision(),
        precision => precision,
    };
    let square = |weight: &[f32]| device.tensor(d, d, weight);
    let matrix = |weight: &[f32], bias: &[f32]| {
        TrainedLinear::in_precision(square(weight), device.tensor(1, d, bias), precision)
    };
    let near_identity = |value: &Vec<f32>| TrainedLinear::near_identity(square(value), precision);
    let layers = Attention {
        query: matrix(&attention.query_weight, &attention.query_bias),
        key: matrix(&attention.key_weight, &attention.key_bias),
        value: attention.value_weight.as_ref().map(near_identity),
    };
    let here = fusion.members.iter().filter_map(|member| Some((member, module_at(member, place)?)));
    let members: Vec<Member> = here.map(|(member, module)| member_of(member, module)).collect();
    let last = fusion.members.last().map(|member| Form::of(&member.config));
    let form = last.expect("a place with members");
    // As the library reads it, a probability of 0 asks for the model's own.
    let given = fusion.config.dropout_prob.filter(|probability| *probability != 0.0);
    let dropout = given
        .map_or(encoder.config().attention_probs_dropout_prob, |probability| probability as f32);
    Fusion::new(device, precision, form, &members, layers, dropout, &fusion.config)
}

/// A member with its scaling in its up-projection.
fn member_of(member: &StoredAdapter, module: &StoredBottleneck) -> Member {
    let m = module.down_bias.len();
    let scaling = match (&module.scaling, member.config.scaling) {
        (Some(scaling), _) => scaling.clone(),
        (None, Scaling::Fixed(scaling)) => vec![scaling as f32],
        (None, Scaling::Learned | Scaling::Channel) => vec![1.0],
    };
    let of_row = |row: usize| scaling[row % scaling.len()];
    let up_weight = module.up_weight.iter().enumerate().map(|(i, x)| of_row(i / m) * x);
    let up_bias = module.up_bias.iter().enumerate().map(|(row, x)| of_row(row) * x);
    Member {
        down_weight: module.down_weight.clone(),
        down_bias: module.down_bias.clone(),
        up_weight: up_weight.collect(),
        up_bias: up_bias.collect(),
        activation: member.config.non_linearity,
    }
}
