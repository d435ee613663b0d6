//! Pruning (AdapterDrop, Rücklé et al. 2021, §5.2): the members that tokens attend to least go.
//!
//! The soft-max runs over whoever is left, so that nothing has to be computed anew: a pruned fusion
//! is one with fewer members, in all layers or in some.
//!
//! The last member's wiring is that of the fusion, and the Python library asks for its modules in
//! every layer. So whoever is left is put in another order if need be, with a member last that sits
//! wherever another does; it takes the wiring over. Where nobody sits everywhere the order stays,
//! and only we can run the fusion.

use std::collections::{BTreeMap, BTreeSet};

use adaptkit_encoder::{Place, Site};
use serde::{Deserialize, Serialize};

use super::assembly::module_at;
use super::attention::AttentionSums;
use crate::error::AdapterError;
use crate::files::{StoredAdapter, StoredFusion};

/// The mean soft-max weights of a fusion's members, by name, as `adaptkit.json` holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeanAttention {
    /// The members in the fusion's order.
    pub members: Vec<String>,
    /// The tokens that the mean is over.
    pub positions: usize,
    /// The weights where the fusion mixes, lowest place first.
    pub layers: Vec<PlaceAttention>,
}

/// The mean weights at one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlaceAttention {
    /// The layer.
    pub layer: usize,
    /// `attention` or `output`.
    pub site: String,
    /// One for each member; none where it has no module.
    pub weights: Vec<Option<f64>>,
}

/// Who the members of a fusion are, and who has a module where.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberLayout {
    names: Vec<String>,
    places: BTreeMap<Place, Vec<usize>>,
}

/// Which members go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pruning {
    /// In each layer those with the least weight there (the paper's).
    PerLayer,
    /// The same, but that the one with the most weight over all layers, of those with modules in
    /// each, stays in each: there is a last member for the Python library then.
    PerLayerAround,
    /// Everywhere those with the least weight over all layers.
    Global,
}

/// A fusion with fewer members.
#[derive(Clone, Debug)]
pub struct Pruned {
    /// The fusion.
    pub fusion: StoredFusion,
    /// Who is left in each layer, in the fusion's order.
    pub kept: BTreeMap<usize, Vec<String>>,
    /// Whether the last member sits wherever another does, as the Python library needs.
    pub last_is_everywhere: bool,
}

impl MeanAttention {
    /// The mean weight of each member in each layer: over the layer's places, 0 for one that has no
    /// module at a place, none for one that has none in the layer.
    pub fn by_layer(&self) -> BTreeMap<usize, Vec<Option<f64>>> {
        let mut layers: BTreeMap<usize, (f64, Vec<Option<f64>>)> = BTreeMap::new();
        for place in &self.layers {
            let empty = (0.0, vec![None; self.members.len()]);
            let (places, sums) = layers.entry(place.layer).or_insert(empty);
            *places += 1.0;
            for (sum, weight) in sums.iter_mut().zip(&place.weights) {
                if let Some(weight) = weight {
                    *sum = Some(sum.unwrap_or(0.0) + weight);
                }
            }
        }
        let mean = |(places, sums): (f64, Vec<Option<f64>>)| -> Vec<Option<f64>> {
            sums.into_iter().map(|sum| sum.map(|sum| sum / places)).collect()
        };
        layers.into_iter().map(|(layer, sums)| (layer, mean(sums))).collect()
    }

    /// The mean weight of each member over all layers, 0 for one that has no module in a layer.
    pub fn overall(&self) -> Vec<f64> {
        let layers = self.by_layer();
        let mut sums = vec![0.0; self.members.len()];
        for weights in layers.values() {
            sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight.unwrap_or(0.0));
        }
        sums.into_iter().map(|sum| sum / layers.len().max(1) as f64).collect()
    }
}

impl MemberLayout {
    /// Means under the members' names.
    ///
    /// # Panics
    /// If the sums are another fusion's.
    pub fn mean_attention(&self, sums: &AttentionSums) -> MeanAttention {
        let layers = sums.means().map(|(place, means)| {
            let here = &self.places[&place];
            assert_eq!(here.len(), means.len(), "{place}: members of this fusion");
            let mut weights = vec![None; self.names.len()];
            here.iter().zip(means).for_each(|(number, mean)| weights[*number] = Some(mean));
            PlaceAttention { layer: place.layer, site: place.site.to_string(), weights }
        });
        let (members, positions) = (self.names.clone(), sums.tokens());
        MeanAttention { members, positions, layers: layers.collect() }
    }
}

/// The `keep` numbers with the greatest weights, in their order; of equal ones the first.
fn strongest(weights: impl Iterator<Item = (usize, f64)>, keep: usize) -> BTreeSet<usize> {
    let mut ranked: Vec<(usize, f64)> = weights.collect();
    ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    ranked.into_iter().take(keep).map(|(number, _)| number).collect()
}

impl StoredFusion {
    /// The members with a module at a place, by their numbers, as the fusion mixes them there.
    pub fn members_at(&self, place: Place) -> Vec<usize> {
        let sits = |number: &usize| module_at(&self.members[*number], place).is_some();
        (0..self.members.len()).filter(sits).collect()
    }

    /// Who its members are, and who is where.
    pub fn layout(&self) -> MemberLayout {
        let places = self.attention.keys().map(|place| (*place, self.members_at(*place)));
        MemberLayout {
            names: self.members.iter().map(|member| member.name.clone()).collect(),
            places: places.collect(),
        }
    }

    /// The fusion with `keep` members in each layer (as many as a layer has, where it has fewer),
    /// chosen by what tokens attend to. Of equal weights the first in the fusion's order stays.
    ///
    /// # Errors
    /// If `keep` is 0 or more than there are members, or the weights are another fusion's.
    pub fn pruned(
        &self,
        attention: &MeanAttention,
        keep: usize,
        pruning: Pruning,
    ) -> Result<Pruned, AdapterError> {
        let members = self.members.len();
        if keep == 0 || keep > members {
            return Err(AdapterError::CannotKeep { name: self.name(), keep, members });
        }
        let names = self.members.iter().map(|member| &member.name);
        if !names.eq(&attention.members) {
            let reason = format!("the weights are those of {}", attention.members.join(","));
            let (what, name) = ("fusion", self.name());
            return Err(AdapterError::Inconsistent { what, name, reason });
        }
        let by_layer = attention.by_layer();
        let overall = attention.overall();
        if overall.iter().any(|weight| !weight.is_finite()) {
            let reason =
                "its weights of attention are not finite numbers: weights of it, of a member \
                          or of the base are damaged or far too large"
                    .to_owned();
            let (what, name) = ("fusion", self.name());
            return Err(AdapterError::Inconsistent { what, name, reason });
        }
        let here = |weights: &[Option<f64>]| -> Vec<(usize, f64)> {
            let weights = weights.iter().enumerate();
            weights.filter_map(|(number, weight)| Some((number, (*weight)?))).collect()
        };
        let globally = strongest(overall.iter().copied().enumerate(), keep);
        // Of those in each layer, the strongest over all of them.
        let everywhere = (0..members)
            .filter(|number| by_layer.values().all(|weights| weights[*number].is_some()));
        let anchor = strongest(everywhere.map(|number| (number, overall[number])), 1);
        let kept = by_layer.iter().map(|(layer, weights)| {
            let here = here(weights);
            let kept: BTreeSet<usize> = match pruning {
                Pruning::PerLayer => strongest(here.into_iter(), keep),
                Pruning::PerLayerAround => {
                    let others = here.into_iter().filter(|(number, _)| !anchor.contains(number));
                    let others = strongest(others, keep - anchor.len());
                    others.union(&anchor).copied().collect()
                }
                Pruning::Global => {
                    here.into_iter().map(|(n, _)| n).filter(|n| globally.contains(n)).collect()
                }
            };
            (*layer, kept)
        });
        let kept: BTreeMap<usize, BTreeSet<usize>> = kept.collect();
        let gone = |number: usize| match pruning {
            Pruning::Global => !globally.contains(&number),
            _ => !kept.values().any(|kept| kept.contains(&number)),
        };
        let mut fusion = self.clone();
        let wiring = fusion.members.last().map(|last| last.config.clone());
        for (number, member) in fusion.members.iter_mut().enumerate() {
            let left = kept.iter().filter(|(_, kept)| !kept.contains(&number));
            let had = |layer: &usize| by_layer[layer][number].is_some();
            let left = left.map(|(layer, _)| *layer).filter(had).collect();
            member.leave_out(&left);
        }
        let rest = (0..members).zip(fusion.members).filter(|(number, _)| !gone(*number));
        fusion.members = rest.map(|(_, member)| member).collect();
        // Of the members that stay everywhere none may have a module in a layer.
        fusion.attention.retain(|place, _| {
            let somebody = |member: &StoredAdapter| module_at(member, *place).is_some();
            !by_layer.contains_key(&place.layer) || fusion.members.iter().any(somebody)
        });
        let last_is_everywhere = fusion.put_last_who_is_everywhere();
        if let (Some(last), Some(wiring)) = (fusion.members.last_mut(), wiring) {
            last.config.original_ln_before = wiring.original_ln_before;
            last.config.original_ln_after = wiring.original_ln_after;
            last.config.residual_before_ln = wiring.residual_before_ln;
        }
        let names = |layer: usize| -> Vec<String> {
            let in_layer = |member: &&StoredAdapter| {
                Site::ALL.iter().any(|site| module_at(member, Place::new(layer, *site)).is_some())
            };
            fusion.members.iter().filter(in_layer).map(|member| member.name.clone()).collect()
        };
        let kept = by_layer.keys().map(|layer| (*layer, names(*layer))).collect();
        Ok(Pruned { fusion, kept, last_is_everywhere })
    }

    /// Moves the last of those who sit wherever another does to the end; false if there is none.
    fn put_last_who_is_everywhere(&mut self) -> bool {
        let occupied: Vec<Place> =
            self.attention.keys().copied().filter(|p| !self.members_at(*p).is_empty()).collect();
        let everywhere = |member: &StoredAdapter| {
            occupied.iter().all(|place| module_at(member, *place).is_some())
        };
        match self.members.iter().rposition(everywhere) {
            Some(number) => {
                let member = self.members.remove(number);
                self.members.push(member);
                true
            }
            None => false,
        }
    }
}
