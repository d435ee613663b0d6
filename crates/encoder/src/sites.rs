//! The places where an adapter sits, and what the encoder asks of whatever sits there.
//!
//! Each layer has two sub-layers, attention and feed-forward, and each ends in the same way: the
//! sub-layer's output x and its input (the residual) are added and normalised. That end is a
//! place. Whoever sits there takes it over whole, as every adapter of the literature can be
//! written in x, the residual and the layer norm. The encoder knows nothing else of them.

use adaptkit_compute::{FrozenNorm, RowOffsets, Tensor};

use crate::{BaseDropout, Place};

/// The end of a sub-layer, before the addition and the norm.
pub struct SubLayerEnd<'a> {
    /// The sub-layer's output: [tokens, hidden].
    pub x: Tensor,
    /// The sub-layer's input: [tokens, hidden].
    pub residual: &'a Tensor,
    /// The layer norm of x + residual.
    pub norm: &'a FrozenNorm,
    /// Where the tokens of each row of the batch begin among those of x: one token a row where
    /// only the first tokens are computed.
    pub offsets: &'a RowOffsets,
}

/// The gradients at what came into an end.
pub struct EndGradients {
    /// At x.
    pub x: Tensor,
    /// At the residual; `None` if it equals the one at x, as it does where both are only added.
    pub residual: Option<Tensor>,
}

/// What sits in an encoder during one pass.
pub trait Sites: Send {
    /// Whether something sits at a place. The encoder calls `forward` and `backward` there only.
    fn occupied(&self, place: Place) -> bool;

    /// The lowest place with something that is trained: back-propagation ends there. `None` lets
    /// it run through to the input of the first layer of the pass.
    fn lowest_trained(&self) -> Option<Place>;

    /// The encoder's own dropout in this pass: none by default, as in every pass that trains
    /// nothing.
    fn base_dropout(&self) -> BaseDropout {
        BaseDropout::NONE
    }

    /// Whether what sits in a layer needs all tokens of a row to make the first: a layer of which
    /// only first tokens are read is computed whole then.
    fn needs_all_tokens(&self, _layer: usize) -> bool {
        false
    }

    /// The sub-layer's result [tokens, hidden], of whatever rows at the last place of
    /// [`Encoder::sub_layers`](crate::Encoder::sub_layers). With `keep`, keeps what the backward pass
    /// needs.
    fn forward(&mut self, place: Place, end: SubLayerEnd<'_>, keep: bool) -> Tensor;

    /// Adds the gradients of what is trained at the place, for `d` at the sub-layer's result, and
    /// returns those at x and the residual if back-propagation goes on `below`.
    ///
    /// # Panics
    /// Where it is not implemented: by sites that train nothing, which no pass asks for gradients.
    fn backward(
        &mut self,
        place: Place,
        _norm: &FrozenNorm,
        _d: Tensor,
        _below: bool,
    ) -> Option<EndGradients> {
        unreachable!("a pass without a backward reached {place}")
    }
}

/// Nothing anywhere: the bare encoder.
pub struct Empty;

impl Sites for Empty {
    fn occupied(&self, _: Place) -> bool {
        false
    }

    fn lowest_trained(&self) -> Option<Place> {
        None
    }

    fn forward(&mut self, place: Place, _: SubLayerEnd<'_>, _: bool) -> Tensor {
        unreachable!("nothing sits at {place:?}")
    }
}
