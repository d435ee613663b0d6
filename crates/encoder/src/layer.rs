//! One frozen layer: attention, feed-forward, and the ends where adapters sit.

use adaptkit_compute::{
    Activation, FrozenLinear, FrozenNorm, Heads, NormTape, Operand, Queries, RelativeBias,
    RowOffsets, Tensor,
};

use crate::dropout::LayerDropout;
use crate::sites::{EndGradients, Sites, SubLayerEnd};
use crate::{Place, Site};

/// The weights of a layer.
pub(crate) struct Layer {
    pub(crate) heads: Heads,
    pub(crate) activation: Activation,
    /// Q, K and V as one product.
    pub(crate) query_key_value: FrozenLinear,
    pub(crate) attention_output: FrozenLinear,
    pub(crate) attention_norm: FrozenNorm,
    pub(crate) up: FrozenLinear,
    pub(crate) down: FrozenLinear,
    pub(crate) output_norm: FrozenNorm,
}

/// Which layer of which batch a pass is in.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) index: usize,
    pub(crate) offsets: &'a RowOffsets,
    pub(crate) queries: Queries,
    /// Where the rows of what is computed begin: the tokens that ask.
    pub(crate) asking: &'a RowOffsets,
    pub(crate) bias: Option<&'a RelativeBias>,
    pub(crate) dropout: LayerDropout,
}

/// How far down a layer back-propagation goes; each step includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Depth {
    /// Not into this layer.
    Nothing,
    /// To what sits at the layer's output.
    Output,
    /// Through the feed-forward sub-layer to what sits at the attention's output.
    Attention,
    /// To the layer's input.
    Input,
}

impl Depth {
    /// How far it goes in layer `index`, if it ends at `lowest` (or at the pass's input).
    pub(crate) fn of(index: usize, lowest: Option<Place>) -> Depth {
        match lowest {
            None => Depth::Input,
            Some(lowest) if lowest.layer < index => Depth::Input,
            Some(lowest) if lowest.layer > index => Depth::Nothing,
            Some(Place { site: Site::Attention, .. }) => Depth::Attention,
            Some(Place { site: Site::Output, .. }) => Depth::Output,
        }
    }
}

/// What a layer keeps for its backward pass: only what the depth asks for.
pub(crate) struct LayerTape {
    depth: Depth,
    pub(crate) query_key_value: Option<Operand>,
    pub(crate) attention_end: Option<NormTape>,
    /// What went into the feed-forward activation.
    pub(crate) up: Option<Operand>,
    pub(crate) output_end: Option<NormTape>,
}

impl Layer {
    /// The layer's result for `hidden` [tokens, hidden]: [tokens, hidden], or [rows, hidden] if
    /// only the first tokens ask.
    pub(crate) fn forward(
        &self,
        at: At<'_>,
        hidden: Tensor,
        sites: &mut dyn Sites,
        depth: Depth,
    ) -> (Tensor, LayerTape) {
        let (hidden, query_key_value, attention_end) = self.attention(at, hidden, sites, depth);
        let (out, up, output_end) = self.feed_forward(at, hidden, sites, depth);
        (out, LayerTape { depth, query_key_value, attention_end, up, output_end })
    }

    /// The first half of [`Layer::forward`]: the attention and its end, and what is kept of both.
    pub(crate) fn attention(
        &self,
        at: At<'_>,
        hidden: Tensor,
        sites: &mut dyn Sites,
        depth: Depth,
    ) -> (Tensor, Option<Operand>, Option<NormTape>) {
        let qkv = self.query_key_value.forward_operand(&hidden);
        let LayerDropout { attention_probabilities, attention_output, .. } = at.dropout;
        let context =
            qkv.attention(at.offsets, self.heads, at.queries, at.bias, attention_probabilities);
        let qkv = (depth >= Depth::Input).then_some(qkv);
        let mut x = self.attention_output.forward_of(&context);
        x.dropout(attention_output);
        drop(context);
        let residual = match at.queries {
            Queries::All => hidden,
            Queries::First => hidden.gather_rows(at.offsets.first_tokens()),
        };
        let place = Place { layer: at.index, site: Site::Attention };
        let norm = &self.attention_norm;
        let sum = SubLayerEnd { x, residual: &residual, norm, offsets: at.asking };
        let (hidden, tape) = end(place, sum, sites, depth >= Depth::Attention);
        (hidden, qkv, tape)
    }

    /// The second half: the feed-forward block and its end.
    pub(crate) fn feed_forward(
        &self,
        at: At<'_>,
        hidden: Tensor,
        sites: &mut dyn Sites,
        depth: Depth,
    ) -> (Tensor, Option<Operand>, Option<NormTape>) {
        let (mut x, up) = if depth >= Depth::Attention {
            let (wide, up) = self.up.forward_activated_operand(&hidden, self.activation, true);
            (self.down.forward_of(&wide), up)
        } else {
            (self.up.forward_pair(&hidden, self.activation, &self.down), None)
        };
        x.dropout(at.dropout.output);
        let place = Place { layer: at.index, site: Site::Output };
        let norm = &self.output_norm;
        let sum = SubLayerEnd { x, residual: &hidden, norm, offsets: at.asking };
        let (out, tape) = end(place, sum, sites, depth >= Depth::Output);
        (out, up, tape)
    }

    /// The gradient at the layer's input if the tape's depth reaches it, for `d` at its result.
    pub(crate) fn backward(
        &self,
        at: At<'_>,
        d: Tensor,
        tape: LayerTape,
        sites: &mut dyn Sites,
    ) -> Option<Tensor> {
        let place = Place { layer: at.index, site: Site::Output };
        let below = tape.depth >= Depth::Attention;
        let mut end = end_backward(place, d, &self.output_norm, tape.output_end, sites, below)?;
        let up = tape.up.expect("kept at this depth");
        let mut d = end.residual.unwrap_or_else(|| end.x.duplicate());
        end.x.dropout(at.dropout.output);
        let d_up = self.down.backward_activated(&end.x, self.activation, &up);
        drop((end.x, up));
        self.up.backward_add_of(&d_up, &mut d);
        drop(d_up);

        let place = Place { layer: at.index, site: Site::Attention };
        let below = tape.depth >= Depth::Input;
        let norm = &self.attention_norm;
        let mut end = end_backward(place, d, norm, tape.attention_end, sites, below)?;
        let qkv = tape.query_key_value.expect("kept at this depth");
        let residual = end.residual.unwrap_or_else(|| end.x.duplicate());
        end.x.dropout(at.dropout.attention_output);
        let d_context = self.attention_output.backward_operand(&end.x);
        drop(end.x);
        let mut d = match at.queries {
            Queries::All => residual,
            Queries::First => residual.scatter_rows(at.offsets.first_tokens(), qkv.rows()),
        };
        let dropout = at.dropout.attention_probabilities;
        let d_qkv = qkv
            .attention_backward(&d_context, at.offsets, self.heads, at.queries, at.bias, dropout);
        self.query_key_value.backward_add_of(&d_qkv, &mut d);
        Some(d)
    }

    /// Bytes that the packed weights take.
    pub(crate) fn bytes(&self) -> usize {
        [&self.query_key_value, &self.attention_output, &self.up, &self.down]
            .map(FrozenLinear::bytes)
            .iter()
            .sum()
    }
}

/// The end of a sub-layer: what sits there, or addition and norm.
fn end(
    place: Place,
    end: SubLayerEnd<'_>,
    sites: &mut dyn Sites,
    keep: bool,
) -> (Tensor, Option<NormTape>) {
    if sites.occupied(place) {
        (sites.forward(place, end, keep), None)
    } else {
        end.norm.forward(&end.x, Some(end.residual), keep)
    }
}

fn end_backward(
    place: Place,
    d: Tensor,
    norm: &FrozenNorm,
    tape: Option<NormTape>,
    sites: &mut dyn Sites,
    below: bool,
) -> Option<EndGradients> {
    if sites.occupied(place) {
        sites.backward(place, norm, d, below)
    } else if below {
        let tape = tape.expect("kept where back-propagation goes through");
        Some(EndGradients { x: norm.backward(&tape, d), residual: None })
    } else {
        None
    }
}
