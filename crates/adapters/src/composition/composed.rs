//! What a composition makes of a sub-layer's end, at one place and without a choice.
//!
//! h is what comes along: x, the sub-layer's output, to begin with. An adapter takes it to its
//! result before the addition and the norm at the end, which are done once, for the last adapter
//! there. So an adapter in a stack reads the norm of r and of what the one below it made (where it
//! reads the normed sum; r is the sub-layer's input throughout).
//!
//! A block other than a stack takes that first step once for all of its children, as its members
//! are wired alike. An adapter in it goes on from there; a stack or block in it starts with what
//! came out of the step, and takes its own steps from that. This is what the Python library
//! computes. A member without a module at the place adds nothing there.

use std::sync::Arc;

use adaptkit_compute::{FrozenLinear, NormRef, RowOffsets, Tensor};

use crate::bottleneck::{Bottleneck, End, Form, Input, Residual};
use crate::fusion::Fusion;

/// A composition's modules at a place.
pub struct Composed {
    node: Node,
    /// As the last adapter there has it.
    norm_at_end: bool,
    parameters: usize,
}

/// What h goes through; no bottleneck or fusion in it takes the norm at the end.
pub(super) enum Node {
    Adapter(Arc<Bottleneck>),
    Fusion(Arc<Fusion>),
    Stack(Vec<Node>),
    FusedStacks(Box<FusedStacks>),
    Split {
        form: Form,
        children: Vec<(Option<Node>, usize)>,
    },
    Average {
        form: Form,
        children: Vec<(Option<Node>, f32)>,
    },
    /// A block that a block chose of its children.
    Chosen {
        form: Form,
        child: Box<Node>,
    },
}

/// What lies around h.
struct Around<'a> {
    /// r: [tokens, d]
    residual: &'a Tensor,
    norm: NormRef<'a>,
    offsets: &'a RowOffsets,
}

/// A fusion with stacks among its members. What these put out is no thin product of what the query
/// reads, so that nothing folds: a token costs one product each with Q, Kᵀ and V. (The keys' bias
/// adds the same to all scores, which the soft-max undoes.)
pub(super) struct FusedStacks {
    /// As the last member is wired.
    pub(super) form: Form,
    pub(super) members: Vec<FusedMember>,
    /// Q: [d, d]
    pub(super) query: FrozenLinear,
    /// K, prepared for products with Kᵀ: [d, d].
    pub(super) key: FrozenLinear,
    /// V, if there is one: [d, d].
    pub(super) value: Option<FrozenLinear>,
}

pub(super) enum FusedMember {
    Adapter(Arc<Bottleneck>),
    /// Not empty.
    Stack(Vec<Arc<Bottleneck>>),
}

impl Composed {
    pub(super) fn new(node: Node, norm_at_end: bool, parameters: usize) -> Composed {
        Composed { node, norm_at_end, parameters }
    }

    /// Numbers of all adapters and fusions in it.
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Whether a row's first token depends on its others here.
    pub(crate) fn needs_all_tokens(&self) -> bool {
        self.node.has_gate()
    }

    /// The end's result [tokens, d] in a pass without a backward.
    pub(crate) fn forward(&self, end: End<'_>) -> Tensor {
        let End { x, residual, norm, offsets } = end;
        let h = self.node.forward(x, &Around { residual, norm, offsets });
        match self.norm_at_end {
            true => norm.forward(&h, Some(residual), false).0,
            false => h,
        }
    }
}

impl Node {
    fn has_gate(&self) -> bool {
        let gated = |adapter: &Bottleneck| adapter.extras.gate.is_some();
        match self {
            Node::Adapter(adapter) => gated(adapter),
            // Members of fusions have none.
            Node::Fusion(_) | Node::FusedStacks(_) => false,
            Node::Stack(nodes) => nodes.iter().any(Node::has_gate),
            Node::Split { children, .. } => {
                children.iter().filter_map(|(node, _)| node.as_ref()).any(Node::has_gate)
            }
            Node::Average { children, .. } => {
                children.iter().filter_map(|(node, _)| node.as_ref()).any(Node::has_gate)
            }
            Node::Chosen { child, .. } => child.has_gate(),
        }
    }

    /// The next h [tokens, d].
    fn forward(&self, h: Tensor, around: &Around<'_>) -> Tensor {
        match self {
            Node::Adapter(adapter) => adapter.forward(around.end(h)),
            Node::Fusion(fusion) => fusion.forward(around.end(h)),
            Node::Stack(nodes) => nodes.iter().fold(h, |h, node| node.forward(h, around)),
            Node::FusedStacks(fusion) => fusion.forward(&h, around),
            Node::Split { form, children } => split(*form, children, &h, around),
            Node::Average { form, children } => {
                let mut sum = h.device().zeros(h.rows(), h.columns());
                for (child, weight) in children {
                    let out = within(*form, child.as_ref(), &h, around);
                    sum.add_scaled(*weight, &out);
                }
                sum
            }
            Node::Chosen { form, child } => child.forward(stepped(*form, &h, around), around),
        }
    }
}

impl Around<'_> {
    fn end(&self, x: Tensor) -> End<'_> {
        End { x, residual: self.residual, norm: self.norm, offsets: self.offsets }
    }
}

/// What a child of a block other than a stack makes of the block's h.
fn within(form: Form, child: Option<&Node>, h: &Tensor, around: &Around<'_>) -> Tensor {
    match child {
        // The step in front is the adapter's own, as all are wired alike.
        Some(node @ Node::Adapter(_)) => node.forward(h.duplicate(), around),
        Some(node) => node.forward(stepped(form, h, around), around),
        None => match form.residual {
            Residual::Output => h.duplicate(),
            Residual::NormedSum => stepped(form, h, around),
            Residual::Sum => {
                let mut sum = h.duplicate();
                sum.add_scaled(1.0, around.residual);
                sum
            }
        },
    }
}

/// What comes out of the step in front: what the adapters' projections read. (Those that read the
/// sub-layer's input do so whatever h is, and h stays what they are added to.)
fn stepped(form: Form, h: &Tensor, around: &Around<'_>) -> Tensor {
    match form.input {
        Input::NormedSum => around.norm.forward(h, Some(around.residual), false).0,
        Input::Output | Input::SubLayerInput => h.duplicate(),
    }
}

/// Each child for its tokens of every row; behind the last split nothing is added.
fn split(
    form: Form,
    children: &[(Option<Node>, usize)],
    h: &Tensor,
    around: &Around<'_>,
) -> Tensor {
    let offsets = around.offsets.as_slice();
    let rest = (None, usize::MAX);
    let mut first = 0usize;
    let (mut parts, mut order) = (Vec::new(), Vec::with_capacity(h.rows()));
    for (child, size) in children.iter().chain([&rest]) {
        let mut tokens = Vec::new();
        let mut lengths = Vec::new();
        for row in offsets.windows(2) {
            let length = row[1] - row[0];
            let mine = first.min(length)..first.saturating_add(*size).min(length);
            if !mine.is_empty() {
                lengths.push(mine.len());
                tokens.extend(mine.map(|token| row[0] + token));
            }
        }
        first = first.saturating_add(*size);
        if tokens.is_empty() {
            continue;
        }
        let residual = &around.residual.gather_rows(&tokens);
        let offsets = &RowOffsets::from_lengths(lengths);
        let around = Around { residual, norm: around.norm, offsets };
        parts.push(within(form, child.as_ref(), &h.gather_rows(&tokens), &around));
        order.extend(tokens);
    }
    if parts.is_empty() {
        return h.duplicate();
    }
    // Back to where the tokens were.
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(from, to)| places[*to] = from);
    Tensor::stacked(&parts).gather_rows(&places)
}

impl FusedStacks {
    fn forward(&self, h: &Tensor, around: &Around<'_>) -> Tensor {
        let input = stepped(self.form, h, around);
        // Each member's output without the residual: [tokens, d].
        let outputs: Vec<Tensor> = self
            .members
            .iter()
            .map(|member| match member {
                FusedMember::Adapter(adapter) => adapter.output(&input),
                FusedMember::Stack(adapters) => {
                    let (last, before) = adapters.split_last().expect("a stack of adapters");
                    let below = before
                        .iter()
                        .fold(input.duplicate(), |h, adapter| adapter.forward(around.end(h)));
                    last.output(&stepped(last.form(), &below, around))
                }
            })
            .collect();
        let keyed = self.key.backward(&self.query.forward(&input));
        let scores: Vec<Tensor> = outputs.iter().map(|output| output.row_dots(&keyed)).collect();
        let mut weights = Tensor::side_by_side(&scores);
        weights.softmax_rows();
        let mut mixture = h.device().zeros(h.rows(), h.columns());
        for (number, output) in outputs.iter().enumerate() {
            mixture.add_rows_scaled(output, &weights, number);
        }
        let mut c = match &self.value {
            Some(value) => value.forward(&mixture),
            None => mixture,
        };
        match self.form.residual {
            Residual::Output => c.add_scaled(1.0, h),
            Residual::NormedSum => c.add_scaled(1.0, &input),
            Residual::Sum => {
                c.add_scaled(1.0, h);
                c.add_scaled(1.0, around.residual);
            }
        }
        c
    }
}
