//! What sits at a place: one bottleneck, a fusion of several, or a composition.

use adaptkit_compute::{Parameter, Tensor};
use adaptkit_encoder::EndGradients;

use crate::bottleneck::{Bottleneck, BottleneckTape, End, EndNormBackward};
use crate::composition::composed::Composed;
use crate::fusion::{Fusion, FusionTape};

/// What sits at a place.
pub enum Module {
    /// A bottleneck, trained.
    Bottleneck(Box<Bottleneck>),
    /// A mixture of frozen bottlenecks, trained.
    Fusion(Box<Fusion>),
    /// Several of both, for passes without a backward only.
    Composed(Box<Composed>),
}

/// What is asked of a composition that only what is trained can do.
const NOT_TRAINED: &str = "a composition has no backward pass";

/// What a module keeps for its backward pass.
pub(crate) enum ModuleTape {
    Bottleneck(Box<BottleneckTape>),
    Fusion(Box<FusionTape>),
}

impl Module {
    /// Numbers that training changes; of a composition those of all in it.
    pub fn parameters(&self) -> usize {
        match self {
            Module::Bottleneck(module) => module.parameters(),
            Module::Fusion(module) => module.parameters(),
            Module::Composed(module) => module.parameters(),
        }
    }

    /// Multiply-adds of its products for a token: in a pass without a backward, and in a step of
    /// training, forward and backward. A composition's are not counted.
    pub fn multiply_adds(&self) -> Option<[usize; 2]> {
        match self {
            Module::Bottleneck(module) => Some(module.multiply_adds()),
            Module::Fusion(module) => Some(module.multiply_adds()),
            Module::Composed(_) => None,
        }
    }

    /// The bottleneck, if it is one.
    pub fn bottleneck(&self) -> Option<&Bottleneck> {
        match self {
            Module::Bottleneck(module) => Some(module),
            Module::Fusion(_) | Module::Composed(_) => None,
        }
    }

    /// The fusion, if it is one.
    pub fn fusion(&self) -> Option<&Fusion> {
        match self {
            Module::Bottleneck(_) | Module::Composed(_) => None,
            Module::Fusion(module) => Some(module),
        }
    }

    /// Whether a row's first token depends on its others here.
    pub(crate) fn needs_all_tokens(&self) -> bool {
        match self {
            Module::Bottleneck(module) => module.extras.gate.is_some(),
            Module::Fusion(_) => false,
            Module::Composed(module) => module.needs_all_tokens(),
        }
    }

    /// Calls `f` on each parameter with its name within the module.
    pub(crate) fn visit(&mut self, f: &mut dyn FnMut(&str, &mut Parameter)) {
        match self {
            Module::Bottleneck(module) => module.visit(f),
            Module::Fusion(module) => module.visit(f),
            Module::Composed(_) => {}
        }
    }

    /// Renews the packed forms after an update.
    pub(crate) fn repack(&mut self) {
        match self {
            Module::Bottleneck(module) => module.repack(),
            Module::Fusion(module) => module.repack(),
            Module::Composed(_) => {}
        }
    }

    /// Lets go of what only training needs, but of a fusion's, which is folded from that now and not
    /// in the first pass.
    pub(crate) fn pack(&mut self) {
        match self {
            Module::Bottleneck(module) => module.pack(),
            Module::Fusion(module) => module.fold_ahead(),
            Module::Composed(_) => {}
        }
    }

    /// The end's result [tokens, d] in a pass without a backward.
    pub(crate) fn forward(&self, end: End<'_>) -> Tensor {
        match self {
            Module::Bottleneck(module) => module.forward(end),
            Module::Fusion(module) => module.forward(end),
            Module::Composed(module) => module.forward(end),
        }
    }

    /// The same, and the members' weights [tokens, members] of a fusion.
    pub(crate) fn forward_weighing(&self, end: End<'_>) -> (Tensor, Option<Tensor>) {
        match self {
            Module::Fusion(module) => {
                let (out, weights) = module.forward_weighing(end);
                (out, Some(weights))
            }
            Module::Bottleneck(_) | Module::Composed(_) => (self.forward(end), None),
        }
    }

    /// The same in training, with what the backward pass needs, if `keep`, and dropout masks from
    /// `key`.
    ///
    /// # Panics
    /// If it is a composition.
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
            Module::Composed(_) => panic!("{NOT_TRAINED}"),
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
