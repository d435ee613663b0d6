//! Adapters of one configuration as one: Σ λᵢ·Φᵢ over their parameters Φᵢ, as the library's
//! `average_adapter` and `average_head` compute it. With weights of the sum 1 that is a mean; others
//! add and subtract what adapters have learnt (task arithmetic).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{AdapterError, shown};
use crate::files::{
    ModelReference, StoredAdapter, StoredBottleneck, StoredGate, StoredHead, StoredLinear,
    StoredNorm,
};

/// Fields of an adapter's configuration that only training reads, which may differ.
const OF_TRAINING: [&str; 4] = ["dropout", "init_weights", "init_weights_seed", "stochastic_depth"];

/// Numbers that are merged, one for each member, with the members' weights.
struct Sum<'a> {
    weights: &'a [f64],
}

impl Sum<'_> {
    /// The weighted sum of vectors of one length, in double precision.
    fn of(&self, members: &[&[f32]]) -> Vec<f32> {
        let length = members.first().map_or(0, |values| values.len());
        let terms =
            |i: usize| members.iter().zip(self.weights).map(move |(v, w)| w * f64::from(v[i]));
        (0..length).map(|i| terms(i).sum::<f64>() as f32).collect()
    }

    fn part<T>(&self, members: &[&T], part: impl Fn(&T) -> &[f32]) -> Vec<f32> {
        self.of(&members.iter().map(|member| part(member)).collect::<Vec<_>>())
    }

    /// A part that every member has, as their configurations are the same.
    fn optional<'a, T, U: 'a>(
        &self,
        members: &[&'a T],
        part: impl Fn(&'a T) -> Option<&'a U>,
        merge: impl Fn(&Self, &[&'a U]) -> U,
    ) -> Option<U> {
        let parts: Option<Vec<&U>> = members.iter().map(|member| part(member)).collect();
        parts.map(|parts| merge(self, &parts))
    }

    fn norm(&self, members: &[&StoredNorm]) -> StoredNorm {
        StoredNorm {
            weight: self.part(members, |norm| &norm.weight),
            bias: self.part(members, |norm| &norm.bias),
        }
    }

    fn bottleneck(&self, members: &[&StoredBottleneck]) -> StoredBottleneck {
        let gate = |sum: &Self, gates: &[&StoredGate]| StoredGate {
            weight: sum.part(gates, |gate| &gate.weight),
            bias: sum.part(gates, |gate| std::slice::from_ref(&gate.bias))[0],
        };
        StoredBottleneck {
            down_weight: self.part(members, |module| &module.down_weight),
            down_bias: self.part(members, |module| &module.down_bias),
            up_weight: self.part(members, |module| &module.up_weight),
            up_bias: self.part(members, |module| &module.up_bias),
            scaling: self.optional(
                members,
                |module| module.scaling.as_ref(),
                |sum, scalings| sum.part(scalings, |scaling| scaling),
            ),
            gate: self.optional(members, |module| module.gate.as_ref(), gate),
            norm_before: self.optional(members, |m| m.norm_before.as_ref(), Self::norm),
            norm_after: self.optional(members, |m| m.norm_after.as_ref(), Self::norm),
        }
    }
}

/// That members are alike in what `facts` says of them.
fn check_alike<T>(
    what: &'static str,
    members: &[&T],
    name: impl Fn(&T) -> &str,
    facts: impl Fn(&T) -> Vec<(String, Value)>,
) -> Result<(), AdapterError> {
    let Some((first, others)) = members.split_first() else { return Ok(()) };
    let wanted = facts(first);
    for other in others {
        for ((field, wanted), (_, found)) in wanted.iter().zip(facts(other)) {
            if *wanted != found {
                return Err(AdapterError::Unlike {
                    what,
                    first: name(first).to_owned(),
                    other: name(other).to_owned(),
                    field: field.clone(),
                    values: format!("{} and {}", shown(Some(wanted)), shown(Some(&found))),
                });
            }
        }
    }
    Ok(())
}

fn model_facts(model: &ModelReference) -> [(String, Value); 2] {
    [
        ("model_type".to_owned(), model.model_type.clone().into()),
        ("hidden_size".to_owned(), model.hidden_size.into()),
    ]
}

impl StoredAdapter {
    /// The weighted sum of adapters, called `name`; of training's settings it has the first one's.
    ///
    /// # Errors
    /// If their configurations, their encoders or their places differ.
    ///
    /// # Panics
    /// If there is no member, or not a weight for each.
    pub fn merged(
        name: &str,
        members: &[&StoredAdapter],
        weights: &[f64],
    ) -> Result<StoredAdapter, AdapterError> {
        assert!(!members.is_empty() && members.len() == weights.len());
        check_alike(
            "adapters",
            members,
            |adapter| &adapter.name,
            |adapter| {
                let mut facts: Vec<(String, Value)> = model_facts(&adapter.model).into();
                if let Value::Object(config) = adapter.config.to_json() {
                    facts
                        .extend(config.into_iter().filter(|(f, _)| !OF_TRAINING.contains(&&f[..])));
                }
                let layers: Vec<usize> = adapter.modules.keys().map(|place| place.layer).collect();
                let norms: Vec<usize> =
                    adapter.layer_norms.keys().map(|place| place.layer).collect();
                facts.push(("layers with modules".to_owned(), layers.into()));
                facts.push(("sharing across layers".to_owned(), adapter.shared.into()));
                facts.push(("layers with trained layer norms".to_owned(), norms.into()));
                facts
            },
        )?;
        let (sum, first) = (Sum { weights }, members[0]);
        let modules = first.modules.keys().map(|place| {
            let here: Vec<&StoredBottleneck> =
                members.iter().filter_map(|member| member.modules.get(place)).collect();
            (*place, sum.bottleneck(&here))
        });
        let norms = first.layer_norms.keys().map(|place| {
            let here: Vec<&StoredNorm> =
                members.iter().filter_map(|member| member.layer_norms.get(place)).collect();
            (*place, sum.norm(&here))
        });
        Ok(StoredAdapter {
            name: name.to_owned(),
            config: first.config.clone(),
            model: first.model.clone(),
            modules: modules.collect::<BTreeMap<_, _>>(),
            shared: first.shared,
            layer_norms: norms.collect(),
        })
    }
}

impl StoredHead {
    /// The weighted sum of heads, called `name`; its dropout is the first one's.
    ///
    /// # Errors
    /// If their kinds, shapes, labels or encoders differ.
    ///
    /// # Panics
    /// If there is no member, or not a weight for each.
    pub fn merged(
        name: &str,
        members: &[&StoredHead],
        weights: &[f64],
    ) -> Result<StoredHead, AdapterError> {
        assert!(!members.is_empty() && members.len() == weights.len());
        check_alike(
            "heads",
            members,
            |head| &head.name,
            |head| {
                let biases: Vec<bool> =
                    head.layers.iter().map(|layer| layer.bias.is_some()).collect();
                let mut facts: Vec<(String, Value)> = model_facts(&head.model).into();
                facts.push(("head_type".to_owned(), head.kind.name().into()));
                facts.push(("num_labels".to_owned(), head.outputs().into()));
                facts.push(("layers".to_owned(), head.layers.len().into()));
                facts.push(("use_pooler".to_owned(), head.use_pooler.into()));
                let activation = head.activation.map(adaptkit_compute::Activation::name);
                facts.push(("activation_function".to_owned(), activation.into()));
                facts.push(("labels".to_owned(), head.labels.clone().into()));
                facts.push(("bias".to_owned(), biases.into()));
                facts
            },
        )?;
        let (sum, first) = (Sum { weights }, members[0]);
        let layers = (0..first.layers.len()).map(|number| {
            let here: Vec<&StoredLinear> =
                members.iter().map(|head| &head.layers[number]).collect();
            StoredLinear {
                inputs: here[0].inputs,
                outputs: here[0].outputs,
                weight: sum.part(&here, |layer| &layer.weight),
                bias: sum.optional(
                    &here,
                    |layer| layer.bias.as_ref(),
                    |sum, biases| sum.part(biases, |bias| bias),
                ),
            }
        });
        Ok(StoredHead { name: name.to_owned(), layers: layers.collect(), ..first.clone() })
    }
}
