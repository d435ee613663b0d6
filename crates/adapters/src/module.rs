//! What sits at a place: one bottleneck, or a fusion of several.

use adaptkit_compute::{Parameter, Tensor};
use adaptkit_encoder::EndGradients;

use crate::bottleneck::{Bottleneck, BottleneckTape, End, EndNormBackward};
use crate::fusion::{Fusion, FusionTape};

/// What sits at a place.
pub enum Module {
    /// A bottleneck, trained.
    Bottleneck(Box<Bottleneck>),
    /// A mixture of frozen bottlenecks, trained.
    Fusion(Box<Fusion>),
}

/// What a module keeps for its backward pass.
pub(crate) enum ModuleTape {
    Bottleneck(Box<BottleneckTape>),
    Fusion(Box<FusionTape>),
}

impl Module {
    /// Numbers that training changes.
    pub fn parameters(&self) -> usize {
        match self {
            Module::Bottleneck(module) => module.parameters(),
            Module::Fusion(module) => module.parameters(),
        }
    }

    /// Multiply-adds of its products for a token: in a pass without a backward, and in a step of
    /// training, forward and backward.
    pub fn multiply_adds(&self) -> [usize; 2] {
        match self {
            Module::Bottleneck(module) => module.multiply_adds(),
            Module::Fusion(module) => module.multiply_adds(),
        }
    }

    /// The bottleneck, if it is one.
    pub fn bottleneck(&self) -> Option<&Bottleneck> {
        match self {
            Module::Bottleneck(module) => Some(module),
            Module::Fusion(_) => None,
        }
    }

    /// The fusion, if it is one.
    pub fn fusion(&self) -> Option<&Fusion> {
        match self {
            Module::Bottleneck(_) => None,
            Module::Fusion(module) => Some(module),
        }
    }

    /// Whether a row's first token depends on its others here.
    pub(crate) fn needs_all_tokens(&self) -> bool {
        self.bottleneck().is_some_and(|module| module.extras.gate.is_some())
    }

    /// Calls `f` on each parameter with its name within the module.
    pub(crate) fn visit(&mut self, f: &mut dyn FnMut(&str, &mut Parameter)) {
        match self {
            Module::Bottleneck(module) => module.visit(f),
            Module::Fusion(module) => module.visit(f),
        }
    }

    /// Renews the packed forms after an update.
    pub(crate) fn repack(&mut self) {
        match self {
            Module::Bottleneck(module) => module.repack(),
            Module::Fusion(module) => module.repack(),
        }
    }

    /// Lets go of what only training needs, but of a fusion's, which is folded from that now and not
    /// in the first pass.
    pub(crate) fn pack(&mut self) {
        match self {
            Module::Bottleneck(module) => module.pack(),
            Module::Fusion(module) => module.fold_ahead(),
        }
    }

    /// The end's result [tokens, d] in a pass without a backward.
    pub(crate) fn forward(&self, end: End<'_>) -> Tensor {
        match self {
            Module::Bottleneck(module) => module.forward(end),
            Module::Fusion(module) => module.forward(end),
        }
    }

    /// The same, and the members' weights [tokens, members] of a fusion.
    pub(crate) fn forward_weighing(&self, end: End<'_>) -> (Tensor, Option<Tensor>) {
        match self {
            Module::Fusion(module) => {
                let (out, weights) = module.forward_weighing(end);
                (out, Some(weights))
            }
            Module::Bottleneck(_) => (self.forward(end), None),
        }
    }

    /// The same in training, with what the backward pass needs, if `keep`, and dropout masks from
    /// `key`.
    pub(crate) fn forward_training(
        &self,
        end: End<'_>,
        keep: bool,
        key: u64,
    ) -> (Tensor, Option<ModuleTape>) {
        match self {
            Module::Bottleneck(module) => {
                let (out, tape) = module.forward_training(end, keep, key);
                (out, tape.map(|tape| ModuleTape::Bottleneck(Box::new(tape))))
            }
            Module::Fusion(module) => {
                let (out, tape) = module.forward_training(end, keep, key);
                (out, tape.map(|tape| ModuleTape::Fusion(Box::new(tape))))
            }
        }
    }

    /// Adds the parameters' gradients for `d` at the result; the gradients at x and r if `below`.
    pub(crate) fn backward(
        &mut self,
        norm: &mut dyn EndNormBackward,
        tape: ModuleTape,
        d: Tensor,
        below: bool,
    ) -> Option<EndGradients> {
        match (self, tape) {
            (Module::Bottleneck(module), ModuleTape::Bottleneck(tape)) => {
                module.backward(norm, *tape, d, below)
            }
            (Module::Fusion(module), ModuleTape::Fusion(tape)) => {
                module.backward(norm, *tape, d, below)
            }
            _ => unreachable!("a tape belongs to the module that kept it"),
        }
    }
}
