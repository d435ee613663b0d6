//! An adapter: bottlenecks at places of an encoder, and the passes in which they sit there.

use std::collections::BTreeMap;

use adaptkit_compute::{FrozenNorm, NormTape, Parameter, Tensor, TrainedNorm, mix};
use adaptkit_encoder::{EndGradients, Place, Site, Sites, SubLayerEnd};

use crate::bottleneck::{Bottleneck, BottleneckTape, End, EndNorm, EndNormBackward};

/// The bottlenecks of one task and, where they are trained with them, the encoder's layer norms.
pub struct Adapter {
    modules: BTreeMap<Place, Bottleneck>,
    norms: BTreeMap<Place, TrainedNorm>,
}

impl Adapter {
    /// An adapter of the given modules, and of layer norms that stand in for the encoder's own at
    /// the ends of sub-layers.
    pub fn new(
        modules: BTreeMap<Place, Bottleneck>,
        norms: BTreeMap<Place, TrainedNorm>,
    ) -> Adapter {
        Adapter { modules, norms }
    }

    /// The modules by place, lowest first.
    pub fn modules(&self) -> &BTreeMap<Place, Bottleneck> {
        &self.modules
    }

    /// The layer norms that stand in for the encoder's own, lowest first.
    pub fn norms(&self) -> &BTreeMap<Place, TrainedNorm> {
        &self.norms
    }

    /// Removes what sits in the layers below `first_layer`: AdapterDrop for good.
    pub fn leave_out_lowest(&mut self, first_layer: usize) {
        self.modules.retain(|place, _| place.layer >= first_layer);
        self.norms.retain(|place, _| place.layer >= first_layer);
    }

    /// Lets a norm stand in for the encoder's own at a place.
    pub(crate) fn put_norm(&mut self, place: Place, norm: TrainedNorm) {
        self.norms.insert(place, norm);
    }

    /// The lowest place with something that is trained.
    pub fn lowest(&self) -> Option<Place> {
        self.lowest_from(0)
    }

    /// The lowest place with something that is trained, from a layer on.
    pub fn lowest_from(&self, first_layer: usize) -> Option<Place> {
        let from = Place::new(first_layer, Site::Attention)..;
        let module = self.modules.range(from.clone()).next().map(|(place, _)| *place);
        let norm = self.norms.range(from).next().map(|(place, _)| *place);
        module.into_iter().chain(norm).min()
    }

    /// Numbers that training changes.
    pub fn parameters(&self) -> usize {
        let norms = self.norms.values().map(|norm| 2 * norm.weight.value().columns());
        self.modules.values().map(Bottleneck::parameters).sum::<usize>() + norms.sum::<usize>()
    }

    /// Calls `f` on each parameter with its place and its name within the module; those of the
    /// encoder's layer norms are `LayerNorm.weight` and `LayerNorm.bias`.
    pub(crate) fn visit(&mut self, f: &mut dyn FnMut(Place, &str, &mut Parameter)) {
        for (place, module) in &mut self.modules {
            module.visit(&mut |name, parameter| f(*place, name, parameter));
        }
        for (place, norm) in &mut self.norms {
            f(*place, "LayerNorm.weight", &mut norm.weight);
            f(*place, "LayerNorm.bias", &mut norm.bias);
        }
    }

    pub(crate) fn repack(&mut self) {
        self.modules.values_mut().for_each(Bottleneck::repack);
    }

    /// The adapter for a pass without a backward, left out of the layers below `first_layer`
    /// (AdapterDrop, Rücklé et al. 2021, §3): those are the bare encoder's.
    pub fn inference(&self, first_layer: usize) -> Inference<'_> {
        Inference { adapter: self, first_layer }
    }

    /// The adapter for a forward and a backward pass, with dropout masks from `key`, left out of
    /// the layers below `first_layer`.
    pub fn training(&mut self, first_layer: usize, key: u64) -> Training<'_> {
        Training { adapter: self, first_layer, tapes: BTreeMap::new(), key }
    }

    /// Whether something sits at a place.
    pub(crate) fn occupied(&self, place: Place) -> bool {
        self.modules.contains_key(&place) || self.norms.contains_key(&place)
    }

    /// What comes out of an end that the adapter occupies, in a pass without a backward.
    pub(crate) fn end(&self, place: Place, end: SubLayerEnd<'_>) -> Tensor {
        let SubLayerEnd { x, residual, norm, offsets } = end;
        let norm = self.norm(place, norm);
        match self.modules.get(&place) {
            Some(module) => module.forward(End { x, residual, norm, offsets }),
            None => norm.forward(&x, residual, false).0,
        }
    }

    pub(crate) fn needs_all_tokens(&self, layer: usize) -> bool {
        let here = self.modules.iter().filter(|(place, _)| place.layer == layer);
        here.into_iter().any(|(_, module)| module.extras.gate.is_some())
    }

    /// The layer norm at a place.
    fn norm<'a>(&'a self, place: Place, own: &'a FrozenNorm) -> &'a dyn EndNorm {
        match self.norms.get(&place) {
            Some(norm) => norm,
            None => own,
        }
    }
}

/// An adapter in a pass without a backward.
pub struct Inference<'a> {
    adapter: &'a Adapter,
    first_layer: usize,
}

impl Sites for Inference<'_> {
    fn occupied(&self, place: Place) -> bool {
        place.layer >= self.first_layer && self.adapter.occupied(place)
    }

    fn lowest_trained(&self) -> Option<Place> {
        None
    }

    fn needs_all_tokens(&self, layer: usize) -> bool {
        self.adapter.needs_all_tokens(layer)
    }

    fn forward(&mut self, place: Place, end: SubLayerEnd<'_>, _: bool) -> Tensor {
        self.adapter.end(place, end)
    }

    fn backward(
        &mut self,
        place: Place,
        _: &FrozenNorm,
        _: Tensor,
        _: bool,
    ) -> Option<EndGradients> {
        unreachable!("a pass without a backward reached {place}")
    }
}

/// An adapter in a pass with a backward, which adds to its parameters' gradients.
pub struct Training<'a> {
    adapter: &'a mut Adapter,
    first_layer: usize,
    tapes: BTreeMap<Place, SiteTape>,
    key: u64,
}

/// What a place keeps for the backward pass.
enum SiteTape {
    Bottleneck(Box<BottleneckTape>),
    Norm(NormTape),
}

impl Sites for Training<'_> {
    fn occupied(&self, place: Place) -> bool {
        place.layer >= self.first_layer && self.adapter.occupied(place)
    }

    fn lowest_trained(&self) -> Option<Place> {
        self.adapter.lowest_from(self.first_layer)
    }

    fn needs_all_tokens(&self, layer: usize) -> bool {
        self.adapter.needs_all_tokens(layer)
    }

    fn forward(&mut self, place: Place, end: SubLayerEnd<'_>, keep: bool) -> Tensor {
        let SubLayerEnd { x, residual, norm, offsets } = end;
        let norm = self.adapter.norm(place, norm);
        let (out, tape) = match self.adapter.modules.get(&place) {
            Some(module) => {
                let number = 2 * place.layer as u64 + place.site as u64;
                let end = End { x, residual, norm, offsets };
                let (out, tape) = module.forward_training(end, keep, mix(self.key, number));
                (out, tape.map(|tape| SiteTape::Bottleneck(Box::new(tape))))
            }
            None => {
                let (out, tape) = norm.forward(&x, residual, keep);
                (out, tape.map(SiteTape::Norm))
            }
        };
        self.tapes.extend(tape.map(|tape| (place, tape)));
        out
    }

    fn backward(
        &mut self,
        place: Place,
        mut norm: &FrozenNorm,
        d: Tensor,
        below: bool,
    ) -> Option<EndGradients> {
        let Adapter { modules, norms } = &mut *self.adapter;
        let norm: &mut dyn EndNormBackward = match norms.get_mut(&place) {
            Some(norm) => norm,
            None => &mut norm,
        };
        match self.tapes.remove(&place).expect("the forward pass kept a tape") {
            SiteTape::Bottleneck(tape) => {
                let module = modules.get_mut(&place).expect("an occupied place");
                module.backward(norm, *tape, d, below)
            }
            SiteTape::Norm(tape) => {
                let d = norm.backward(&tape, d);
                below.then_some(EndGradients { x: d, residual: None })
            }
        }
    }
}
