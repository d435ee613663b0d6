//! An adapter: modules at places of an encoder, and the passes in which they sit there.

use std::collections::{BTreeMap, BTreeSet};

use adaptkit_compute::{FrozenNorm, NormRef, NormTape, Parameter, Tensor, TrainedNorm, mix};
use adaptkit_encoder::{BaseDropout, EndGradients, Place, RaggedBatch, Site, Sites, SubLayerEnd};

use crate::bottleneck::{Bottleneck, End, EndNormBackward};
use crate::fusion::Fusion;
use crate::module::{Module, ModuleTape};

/// The modules of one task and, where they are trained with them, the encoder's layer norms.
pub struct Adapter {
    modules: Vec<Module>,
    /// The number of each place's module, which several places may share.
    places: BTreeMap<Place, usize>,
    norms: BTreeMap<Place, TrainedNorm>,
}

impl Adapter {
    /// An adapter of the given modules, and of layer norms that stand in for the encoder's own at
    /// the ends of sub-layers.
    pub fn new(modules: BTreeMap<Place, Module>, norms: BTreeMap<Place, TrainedNorm>) -> Adapter {
        let places = modules.keys().enumerate().map(|(number, place)| (*place, number)).collect();
        Adapter { modules: modules.into_values().collect(), places, norms }
    }

    /// Lets each of the places use the lowest module of its site, in place of one of its own.
    pub(crate) fn share(&mut self, places: impl Iterator<Item = Place>) {
        let mut lowest: BTreeMap<Site, usize> = BTreeMap::new();
        for (place, number) in &self.places {
            lowest.entry(place.site).or_insert(*number);
        }
        let module = |place: Place| Some((place, *lowest.get(&place.site)?));
        self.places = places.filter_map(module).collect();
        self.drop_unused();
    }

    /// Drops the modules that no place uses; the others stay in their order.
    fn drop_unused(&mut self) {
        let used: BTreeSet<usize> = self.places.values().copied().collect();
        let modules = std::mem::take(&mut self.modules).into_iter().enumerate();
        self.modules =
            modules.filter(|(number, _)| used.contains(number)).map(|(_, m)| m).collect();
        self.places.values_mut().for_each(|number| *number = used.range(..*number).count());
    }

    /// Whether places share modules.
    pub fn is_shared(&self) -> bool {
        self.modules.len() < self.places.len()
    }

    /// Every place with a module, lowest first, and the module, which several places may share.
    pub fn modules(&self) -> impl ExactSizeIterator<Item = (Place, &Module)> {
        self.places.iter().map(|(place, number)| (*place, &self.modules[*number]))
    }

    /// Every module with the lowest place that uses it, in the order of these.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (Place, &Module)> {
        let mut seen = BTreeSet::new();
        let own = self.places.iter().filter(move |(_, number)| seen.insert(**number));
        own.map(|(place, number)| (*place, &self.modules[*number]))
    }

    /// The module at a place.
    pub fn module(&self, place: Place) -> Option<&Module> {
        self.places.get(&place).map(|number| &self.modules[*number])
    }

    /// The layer norms that stand in for the encoder's own, lowest first.
    pub fn norms(&self) -> &BTreeMap<Place, TrainedNorm> {
        &self.norms
    }

    /// Removes what sits in the layers below `first_layer`: AdapterDrop for good.
    pub fn leave_out_lowest(&mut self, first_layer: usize) {
        self.places.retain(|place, _| place.layer >= first_layer);
        self.norms.retain(|place, _| place.layer >= first_layer);
        self.drop_unused();
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
        let module = self.places.range(from.clone()).next().map(|(place, _)| *place);
        let norm = self.norms.range(from).next().map(|(place, _)| *place);
        module.into_iter().chain(norm).min()
    }

    /// Numbers that training changes.
    pub fn parameters(&self) -> usize {
        let norms = self.norms.values().map(|norm| 2 * norm.weight.value().columns());
        self.modules.iter().map(Module::parameters).sum::<usize>() + norms.sum::<usize>()
    }

    /// Additions and multiplications of the modules' products for a batch of an encoder of so many
    /// layers, whose head reads the first tokens: of a pass without a backward, and of a training
    /// step, forward and backward. Two for each multiply-add; those of compositions are not counted.
    pub fn operations(&self, batch: &RaggedBatch, layers: usize) -> [f64; 2] {
        let mut all = [0.0; 2];
        for (place, module) in self.modules() {
            let first = place.layer + 1 == layers && !module.needs_all_tokens();
            let tokens = if first { batch.rows() } else { batch.tokens() };
            let of_token = module.multiply_adds().unwrap_or_default().map(|n| 2.0 * n as f64);
            all.iter_mut().zip(of_token).for_each(|(sum, n)| *sum += tokens as f64 * n);
        }
        all
    }

    /// Calls `f` on each parameter with its place, the lowest of those that share it, and its name
    /// within the module; those of the encoder's layer norms are `LayerNorm.weight` and
    /// `LayerNorm.bias`.
    pub(crate) fn visit(&mut self, f: &mut dyn FnMut(Place, &str, &mut Parameter)) {
        let mut seen = BTreeSet::new();
        for (place, number) in &self.places {
            if seen.insert(*number) {
                self.modules[*number].visit(&mut |name, parameter| f(*place, name, parameter));
            }
        }
        for (place, norm) in &mut self.norms {
            f(*place, "LayerNorm.weight", &mut norm.weight);
            f(*place, "LayerNorm.bias", &mut norm.bias);
        }
    }

    pub(crate) fn repack(&mut self) {
        self.modules.iter_mut().for_each(Module::repack);
    }

    pub(crate) fn pack(&mut self) {
        self.modules.iter_mut().for_each(Module::pack);
    }

    /// Removes the bottlenecks for which `take` gives something, at all their places; none of them
    /// has a layer norm that stands in for the encoder's. What it gave, for each of the places.
    pub(crate) fn move_bottlenecks<T: Copy>(
        &mut self,
        take: &mut dyn FnMut(&Bottleneck) -> Option<T>,
    ) -> BTreeMap<Place, T> {
        let mut moved = BTreeMap::new();
        for (number, module) in self.modules.iter().enumerate() {
            let places = self.places.iter().filter(|(_, used)| **used == number);
            let places: Vec<Place> = places.map(|(place, _)| *place).collect();
            if places.iter().any(|place| self.norms.contains_key(place)) {
                continue;
            }
            if let Some(taken) = module.bottleneck().and_then(&mut *take) {
                moved.extend(places.into_iter().map(|place| (place, taken)));
            }
        }
        self.places.retain(|place, _| !moved.contains_key(place));
        self.drop_unused();
        moved
    }

    /// The fusions, lowest first.
    pub fn fusions(&self) -> impl Iterator<Item = (Place, &Fusion)> {
        self.modules().filter_map(|(place, module)| Some((place, module.fusion()?)))
    }

    /// Adds the gradients of the fusions' penalty (Pfeiffer et al. 2021, §3.2) and returns it.
    pub(crate) fn add_penalty(&mut self) -> f64 {
        let fusions = self.modules.iter_mut().filter_map(|module| match module {
            Module::Fusion(fusion) => Some(fusion),
            Module::Bottleneck(_) | Module::Composed(_) => None,
        });
        fusions.map(|fusion| fusion.add_penalty()).sum()
    }

    /// The adapter for a pass without a backward, left out of the layers below `first_layer`
    /// (AdapterDrop, Rücklé et al. 2021, §3): those are the bare encoder's.
    pub fn inference(&self, first_layer: usize) -> Inference<'_> {
        Inference { adapter: self, first_layer }
    }

    /// The adapter for a forward and a backward pass, with dropout masks from `key`, left out of
    /// the layers below `first_layer`; the encoder's own dropout beside it is `base_dropout`.
    pub fn training(
        &mut self,
        first_layer: usize,
        key: u64,
        base_dropout: BaseDropout,
    ) -> Training<'_> {
        Training { adapter: self, first_layer, tapes: BTreeMap::new(), key, base_dropout }
    }

    /// Whether something sits at a place.
    pub(crate) fn occupied(&self, place: Place) -> bool {
        self.places.contains_key(&place) || self.norms.contains_key(&place)
    }

    /// What comes out of an end that the adapter occupies, in a pass without a backward.
    pub(crate) fn end(&self, place: Place, end: SubLayerEnd<'_>) -> Tensor {
        let SubLayerEnd { x, residual, norm, offsets } = end;
        let norm = self.norm(place, norm);
        match self.module(place) {
            Some(module) => module.forward(End { x, residual, norm, offsets }),
            None => norm.forward(&x, Some(residual), false).0,
        }
    }

    /// The same, and the weights of the members [tokens, members] where it is a fusion's.
    pub(crate) fn end_weighing(
        &self,
        place: Place,
        end: SubLayerEnd<'_>,
    ) -> (Tensor, Option<Tensor>) {
        if self.module(place).is_none_or(|module| module.fusion().is_none()) {
            return (self.end(place, end), None);
        }
        let SubLayerEnd { x, residual, norm, offsets } = end;
        let norm = self.norm(place, norm);
        let module = &self.modules[self.places[&place]];
        module.forward_weighing(End { x, residual, norm, offsets })
    }

    /// Whether a fusion mixes in a layer.
    pub(crate) fn mixes_in(&self, layer: usize) -> bool {
        self.fusions().any(|(place, _)| place.layer == layer)
    }

    pub(crate) fn needs_all_tokens(&self, layer: usize) -> bool {
        let mut here = self.modules().filter(|(place, _)| place.layer == layer);
        here.any(|(_, module)| module.needs_all_tokens())
    }

    /// The layer norm at a place.
    fn norm<'a>(&'a self, place: Place, own: &'a FrozenNorm) -> NormRef<'a> {
        self.norms.get(&place).map_or_else(|| own.as_norm(), TrainedNorm::as_norm)
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
}

/// An adapter in a pass with a backward, which adds to its parameters' gradients.
pub struct Training<'a> {
    adapter: &'a mut Adapter,
    first_layer: usize,
    tapes: BTreeMap<Place, SiteTape>,
    key: u64,
    base_dropout: BaseDropout,
}

/// What a place keeps for the backward pass.
enum SiteTape {
    Module(ModuleTape),
    Norm(NormTape),
}

impl Sites for Training<'_> {
    fn occupied(&self, place: Place) -> bool {
        place.layer >= self.first_layer && self.adapter.occupied(place)
    }

    fn lowest_trained(&self) -> Option<Place> {
        self.adapter.lowest_from(self.first_layer)
    }

    fn base_dropout(&self) -> BaseDropout {
        self.base_dropout
    }

    fn needs_all_tokens(&self, layer: usize) -> bool {
        self.adapter.needs_all_tokens(layer)
    }

    fn forward(&mut self, place: Place, end: SubLayerEnd<'_>, keep: bool) -> Tensor {
        let SubLayerEnd { x, residual, norm, offsets } = end;
        let norm = self.adapter.norm(place, norm);
        let (out, tape) = match self.adapter.module(place) {
            Some(module) => {
                let number = 2 * place.layer as u64 + place.site as u64;
                let end = End { x, residual, norm, offsets };
                let (out, tape) = module.forward_training(end, keep, mix(self.key, number));
                (out, tape.map(SiteTape::Module))
            }
            None => {
                let (out, tape) = norm.forward(&x, Some(residual), keep);
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
        let Adapter { modules, places, norms } = &mut *self.adapter;
        let norm: &mut dyn EndNormBackward = match norms.get_mut(&place) {
            Some(norm) => norm,
            None => &mut norm,
        };
        match self.tapes.remove(&place).expect("the forward pass kept a tape") {
            SiteTape::Module(tape) => modules[places[&place]].backward(norm, tape, d, below),
            SiteTape::Norm(tape) => {
                let d = norm.backward(&tape, d);
                below.then_some(EndGradients { x: d, residual: None })
            }
        }
    }
}
