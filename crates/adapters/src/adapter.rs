//! An adapter: bottlenecks at places of an encoder, and the passes in which they sit there.

use std::collections::BTreeMap;

use adaptkit_compute::{Dropout, FrozenNorm, Parameter, Tensor, mix};
use adaptkit_encoder::{EndGradients, Place, Sites, SubLayerEnd};

use crate::bottleneck::{Bottleneck, BottleneckTape};

/// The bottlenecks of one task.
pub struct Adapter {
    modules: BTreeMap<Place, Bottleneck>,
}

impl Adapter {
    /// An adapter of the given modules.
    pub fn new(modules: BTreeMap<Place, Bottleneck>) -> Adapter {
        Adapter { modules }
    }

    /// The modules by place, lowest first.
    pub fn modules(&self) -> &BTreeMap<Place, Bottleneck> {
        &self.modules
    }

    /// The lowest place with a module.
    pub fn lowest(&self) -> Option<Place> {
        self.modules.keys().next().copied()
    }

    /// Calls `f` on each parameter with its place and its name within the module.
    pub(crate) fn visit(&mut self, f: &mut dyn FnMut(Place, &str, &mut Parameter)) {
        for (place, module) in &mut self.modules {
            module.visit(&mut |name, parameter| f(*place, name, parameter));
        }
    }

    pub(crate) fn repack(&mut self) {
        self.modules.values_mut().for_each(Bottleneck::repack);
    }

    /// The adapter for a pass without a backward.
    pub fn inference(&self) -> Inference<'_> {
        Inference { adapter: self }
    }

    /// The adapter for a forward and a backward pass, with dropout masks from `key`.
    pub fn training(&mut self, key: u64) -> Training<'_> {
        Training { adapter: self, tapes: BTreeMap::new(), key }
    }
}

/// An adapter in a pass without a backward.
pub struct Inference<'a> {
    adapter: &'a Adapter,
}

const NO_DROPOUT: Dropout = Dropout { probability: 0.0, key: 0 };

impl Sites for Inference<'_> {
    fn occupied(&self, place: Place) -> bool {
        self.adapter.modules.contains_key(&place)
    }

    fn lowest_trained(&self) -> Option<Place> {
        None
    }

    fn forward(&mut self, place: Place, end: SubLayerEnd<'_>, _: bool) -> Tensor {
        self.adapter.modules[&place].forward(end, false, NO_DROPOUT).0
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
    tapes: BTreeMap<Place, BottleneckTape>,
    key: u64,
}

impl Sites for Training<'_> {
    fn occupied(&self, place: Place) -> bool {
        self.adapter.modules.contains_key(&place)
    }

    fn lowest_trained(&self) -> Option<Place> {
        self.adapter.lowest()
    }

    fn forward(&mut self, place: Place, end: SubLayerEnd<'_>, keep: bool) -> Tensor {
        let module = &self.adapter.modules[&place];
        let number = 2 * place.layer as u64 + place.site as u64;
        let probability = module.form().dropout;
        let dropout = Dropout { probability, key: mix(self.key, number) };
        let (out, tape) = module.forward(end, keep, dropout);
        self.tapes.extend(tape.map(|tape| (place, tape)));
        out
    }

    fn backward(
        &mut self,
        place: Place,
        norm: &FrozenNorm,
        d: Tensor,
        below: bool,
    ) -> Option<EndGradients> {
        let tape = self.tapes.remove(&place).expect("the forward pass kept a tape");
        let module = self.adapter.modules.get_mut(&place).expect("an occupied place");
        module.backward(norm, tape, d, below)
    }
}
