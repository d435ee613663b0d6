//! The bottleneck adapter: down-projection, activation, up-projection (Houlsby et al. 2019, §2.1),
//! in the forms that the `adapters` library places at the end of a post-norm sub-layer.
//!
//! With x the sub-layer's output, r its input and LN its layer norm:
//!
//! | form | a | result |
//! |---|---|---|
//! | sequential on the normed sum (Pfeiffer) | LN(x + r) | LN(x + y + r) |
//! | sequential on the output (Houlsby) | x | LN(x + y + r) |
//! | parallel | r | LN(x + y + r) |
//!
//! y = g·s·up(f(down(a))), where the scaling s is fixed, trained, or trained for each channel, and
//! the gate g is 1 or, for each row of the batch, the mean over its tokens of sigmoid(w·a + b). (The
//! Python library takes that mean over padding too.) A norm of the module's own may stand before
//! the down-projection, and one after y, with or without x.

mod form;

use adaptkit_compute::{
    Dropout, FrozenNorm, NormTape, Parameter, RowOffsets, Tensor, TrainedLinear, TrainedNorm,
};
use adaptkit_encoder::EndGradients;

use crate::linear::Linear;

pub use form::{Form, Input, Residual};

/// A bottleneck: d·m + m and m·d + d parameters, and those of the parts that not every one has.
pub struct Bottleneck {
    form: Form,
    /// [m, d]
    pub down: Linear,
    /// [d, m]
    pub up: Linear,
    /// The parts beside.
    pub extras: Extras,
}

/// Trained parts that not every bottleneck has.
#[derive(Default)]
pub struct Extras {
    /// s: [1, 1], or [1, d] for one of each channel.
    pub scaling: Option<Parameter>,
    /// [1, d]
    pub gate: Option<Linear>,
    /// Before the down-projection.
    pub norm_before: Option<TrainedNorm>,
    /// After y, or x + y.
    pub norm_after: Option<TrainedNorm>,
}

/// The layer norm at the end of a sub-layer: frozen, or trained with the adapter.
pub(crate) trait EndNorm {
    fn forward(&self, x: &Tensor, residual: &Tensor, keep: bool) -> (Tensor, Option<NormTape>);
}

impl EndNorm for FrozenNorm {
    fn forward(&self, x: &Tensor, residual: &Tensor, keep: bool) -> (Tensor, Option<NormTape>) {
        self.forward(x, Some(residual), keep)
    }
}

impl EndNorm for TrainedNorm {
    fn forward(&self, x: &Tensor, residual: &Tensor, keep: bool) -> (Tensor, Option<NormTape>) {
        self.forward(x, Some(residual), keep)
    }
}

/// The backward of an [`EndNorm`]; adds the gradients of a trained one.
pub(crate) trait EndNormBackward {
    fn is_trained(&self) -> bool;

    /// The forward pass's result once more.
    fn again(&self, tape: &NormTape) -> Tensor;

    fn backward(&mut self, tape: &NormTape, d: Tensor) -> Tensor;
}

impl EndNormBackward for &FrozenNorm {
    fn is_trained(&self) -> bool {
        false
    }

    fn again(&self, tape: &NormTape) -> Tensor {
        FrozenNorm::again(self, tape)
    }

    fn backward(&mut self, tape: &NormTape, d: Tensor) -> Tensor {
        FrozenNorm::backward(self, tape, d)
    }
}

impl EndNormBackward for TrainedNorm {
    fn is_trained(&self) -> bool {
        true
    }

    fn again(&self, tape: &NormTape) -> Tensor {
        TrainedNorm::again(self, tape)
    }

    fn backward(&mut self, tape: &NormTape, d: Tensor) -> Tensor {
        TrainedNorm::backward(self, tape, d)
    }
}

/// What comes into the end of a sub-layer.
pub(crate) struct End<'a> {
    /// [tokens, d]
    pub(crate) x: Tensor,
    /// r: [tokens, d]
    pub(crate) residual: &'a Tensor,
    pub(crate) norm: &'a dyn EndNorm,
    pub(crate) offsets: &'a RowOffsets,
}

/// What a bottleneck keeps for its backward pass.
pub(crate) struct BottleneckTape {
    /// a, where it is not made again from the normed sum: [tokens, d]
    input: Option<Tensor>,
    normed_sum: Option<NormTape>,
    /// The norm of a, where there is one of the module's own.
    normed_input: Option<(Tensor, NormTape)>,
    /// down(a): [tokens, m]
    hidden: Tensor,
    /// f(down(a)): [tokens, m]
    activated: Tensor,
    /// up(f(down(a))), where its scaling is trained: [tokens, d]
    unscaled: Option<Tensor>,
    gate: Option<GateTape>,
    norm_after: Option<NormTape>,
    dropout: Dropout,
    offsets: RowOffsets,
    end: Option<NormTape>,
}

struct GateTape {
    /// w·a + b: [tokens, 1]
    logits: Tensor,
    /// g: [rows, 1]
    gates: Tensor,
    /// y/g: [tokens, d]
    ungated: Tensor,
}

impl Bottleneck {
    /// A bottleneck of two projections, `down` [m, d] and `up` [d, m], and nothing else.
    ///
    /// # Panics
    /// If their shapes do not fit each other.
    pub fn new(form: Form, down: TrainedLinear, up: TrainedLinear) -> Bottleneck {
        assert!(down.inputs() == up.outputs() && down.outputs() == up.inputs());
        Bottleneck { form, down: down.into(), up: up.into(), extras: Extras::default() }
    }

    /// How it is wired.
    pub fn form(&self) -> Form {
        self.form
    }

    /// m
    pub fn size(&self) -> usize {
        self.down.outputs()
    }

    /// Numbers that training changes.
    pub fn parameters(&self) -> usize {
        let (d, m) = (self.down.inputs(), self.size());
        let Extras { scaling, gate, norm_before, norm_after } = &self.extras;
        let norms = usize::from(norm_before.is_some()) + usize::from(norm_after.is_some());
        let scaling = scaling.as_ref().map_or(0, |s| s.value().columns());
        2 * m * d + d + m + scaling + if gate.is_some() { d + 1 } else { 0 } + norms * 2 * d
    }

    /// Calls `f` on each parameter with its name within the module.
    pub(crate) fn visit(&mut self, f: &mut dyn FnMut(&str, &mut Parameter)) {
        // The library puts a norm before the projection into the same sequence.
        let down = match self.extras.norm_before {
            None => ["adapter_down.0.weight", "adapter_down.0.bias"],
            Some(_) => ["adapter_down.1.weight", "adapter_down.1.bias"],
        };
        self.down.visit(down, f);
        self.up.visit(["adapter_up.weight", "adapter_up.bias"], f);
        let Extras { scaling, gate, norm_before, norm_after } = &mut self.extras;
        if let Some(scaling) = scaling {
            f("scaling", scaling);
        }
        if let Some(gate) = gate {
            gate.visit(["gate.weight", "gate.bias"], f);
        }
        if let Some(norm) = norm_before {
            f("adapter_norm_before.weight", &mut norm.weight);
            f("adapter_norm_before.bias", &mut norm.bias);
        }
        if let Some(norm) = norm_after {
            f("adapter_norm_after.weight", &mut norm.weight);
            f("adapter_norm_after.bias", &mut norm.bias);
        }
    }

    /// Renews the packed forms after an update.
    pub(crate) fn repack(&mut self) {
        self.linears().for_each(Linear::repack);
    }

    /// Lets go of what only training needs.
    pub(crate) fn pack(&mut self) {
        self.linears().for_each(Linear::pack);
    }

    fn linears(&mut self) -> impl Iterator<Item = &mut Linear> {
        [&mut self.down, &mut self.up].into_iter().chain(&mut self.extras.gate)
    }

    /// s·up(f(down(a))) [tokens, d] for a [tokens, d]: what a fusion takes of a member, which has no
    /// gate and no norm of its own.
    pub(crate) fn output(&self, a: &Tensor) -> Tensor {
        let (activated, _) = self.down.forward_activated(a, self.form.activation, false);
        let mut y = self.up.forward(&activated);
        match &self.extras.scaling {
            Some(scaling) => y.scale_by(scaling.value()),
            None => y.scale(self.form.scaling),
        }
        y
    }

    /// The end's result [tokens, d] in a pass without a backward.
    pub(crate) fn forward(&self, end: End<'_>) -> Tensor {
        self.run(end, false, Dropout::NONE).0
    }

    /// The same in training, with what the backward pass needs, if `keep`, and dropout masks from
    /// `key`.
    pub(crate) fn forward_training(
        &self,
        end: End<'_>,
        keep: bool,
        key: u64,
    ) -> (Tensor, Option<BottleneckTape>) {
        self.run(end, keep, Dropout { probability: self.form.dropout, key })
    }

    fn run(&self, end: End<'_>, keep: bool, dropout: Dropout) -> (Tensor, Option<BottleneckTape>) {
        let End { x, residual, norm, offsets } = end;
        let form = self.form;
        let (normed, normed_sum) = match form.input {
            Input::NormedSum => {
                let (a, tape) = norm.forward(&x, residual, keep);
                (Some(a), tape)
            }
            Input::Output | Input::SubLayerInput => (None, None),
        };
        let input = match form.input {
            Input::NormedSum => normed.as_ref().unwrap_or(&x),
            Input::Output => &x,
            Input::SubLayerInput => residual,
        };
        let own = self.extras.norm_before.as_ref().map(|norm| norm.forward(input, None, keep));
        let projected = own.as_ref().map_or(input, |(normed, _)| normed);
        let (activated, hidden) = self.down.forward_activated(projected, form.activation, keep);
        let mut y = self.up.forward(&activated);
        let mut unscaled = None;
        if let Some(scaling) = &self.extras.scaling {
            unscaled = keep.then(|| y.duplicate());
            y.scale_by(scaling.value());
        } else if form.scaling != 1.0 {
            y.scale(form.scaling);
        }
        y.dropout(dropout);
        let mut gate_tape = None;
        if let Some(gate) = &self.extras.gate {
            let logits = gate.forward(input);
            let gates = logits.mean_sigmoid(offsets);
            let ungated = keep.then(|| y.duplicate());
            y.scale_batch_rows(&gates, offsets);
            gate_tape = ungated.map(|ungated| GateTape { logits, gates, ungated });
        }
        let add_residual = |y: &mut Tensor| match form.residual {
            Residual::Output => y.add_scaled(1.0, &x),
            Residual::NormedSum => y.add_scaled(1.0, input),
            Residual::Sum => {
                y.add_scaled(1.0, &x);
                y.add_scaled(1.0, residual);
            }
        };
        let mut norm_after = None;
        match &self.extras.norm_after {
            None => add_residual(&mut y),
            Some(norm) => {
                if form.residual_before_norm {
                    add_residual(&mut y);
                }
                (y, norm_after) = norm.forward(&y, None, keep);
                if !form.residual_before_norm {
                    add_residual(&mut y);
                }
            }
        }
        let (out, end) =
            if form.norm_at_end { norm.forward(&y, residual, keep) } else { (y, None) };
        let tape = hidden.map(|hidden| BottleneckTape {
            normed_input: own.and_then(|(normed, tape)| Some((normed, tape?))),
            input: match form.input {
                Input::NormedSum => None,
                Input::Output => Some(x),
                Input::SubLayerInput => Some(residual.duplicate()),
            },
            normed_sum,
            hidden,
            activated,
            unscaled,
            gate: gate_tape,
            norm_after,
            dropout,
            offsets: offsets.clone(),
            end,
        });
        (out, tape)
    }

    /// Adds the parameters' gradients for `d` at the result; the gradients at x and r if `below`.
    pub(crate) fn backward(
        &mut self,
        norm: &mut dyn EndNormBackward,
        tape: BottleneckTape,
        d: Tensor,
        below: bool,
    ) -> Option<EndGradients> {
        let form = self.form;
        // At x + y, and at r through the norm at the end.
        let d_sum = match &tape.end {
            Some(end) => norm.backward(end, d),
            None => d,
        };
        // At y, and at what y is added to where that differs from `d_sum`.
        let (mut d_y, d_residual) = match (&mut self.extras.norm_after, &tape.norm_after) {
            (Some(norm), Some(after)) => {
                let d_y = norm.backward(after, d_sum.duplicate());
                let d_residual = form.residual_before_norm.then(|| d_y.duplicate());
                (d_y, d_residual)
            }
            _ => (d_sum.duplicate(), None),
        };
        let again = tape.normed_sum.as_ref().map(|tape| norm.again(tape));
        let input = tape.input.as_ref().or(again.as_ref()).expect("kept, or made again");
        let mut d_gate = None;
        if let (Some(gate), Some(kept)) = (&mut self.extras.gate, &tape.gate) {
            let d_gates = d_y.batch_row_dots(&kept.ungated, &tape.offsets);
            let d_logits = kept.logits.mean_sigmoid_backward(&d_gates, &tape.offsets);
            gate.trained_mut().add_gradients(input, &d_logits);
            d_gate = Some(d_logits);
            d_y.scale_batch_rows(&kept.gates, &tape.offsets);
        }
        d_y.dropout(tape.dropout);
        if let (Some(scaling), Some(unscaled)) = (&mut self.extras.scaling, &tape.unscaled) {
            d_y.add_scale_gradient(unscaled, scaling);
            d_y.scale_by(scaling.value());
        } else if form.scaling != 1.0 {
            d_y.scale(form.scaling);
        }
        let up = self.up.trained_mut();
        up.add_gradients(&tape.activated, &d_y);
        let d_hidden = up.backward_activated(&d_y, form.activation, &tape.hidden);
        drop(d_y);
        let projected = tape.normed_input.as_ref().map_or(input, |(normed, _)| normed);
        self.down.trained_mut().add_gradients(projected, &d_hidden);
        drop(again);
        // Trained norms in front of the projection have their gradients from what reaches a.
        if !below && self.extras.norm_before.is_none() && !norm.is_trained() {
            return None;
        }
        let into = Into { normed: tape.normed_input.map(|(_, tape)| tape), d_hidden, d_gate };
        let add = |d_a: &mut Tensor| self.add_input_gradient(&into, d_a);
        let gradients = input_gradients(form, norm, tape.normed_sum, d_sum, d_residual, add);
        below.then_some(gradients)
    }

    /// d_a ← d_a + what reaches a through the projection and the gate.
    fn add_input_gradient(&mut self, into: &Into, d_a: &mut Tensor) {
        match (&mut self.extras.norm_before, &into.normed) {
            (Some(norm), Some(tape)) => {
                let d = norm.backward(tape, self.down.trained().backward(&into.d_hidden));
                d_a.add_scaled(1.0, &d);
            }
            _ => self.down.trained().backward_add(&into.d_hidden, d_a),
        }
        if let (Some(gate), Some(d_gate)) = (&self.extras.gate, &into.d_gate) {
            gate.trained().backward_add(d_gate, d_a);
        }
    }
}

/// What goes from the module back into a.
struct Into {
    normed: Option<NormTape>,
    /// At down(a): [tokens, m]
    d_hidden: Tensor,
    /// At the gate's logits: [tokens, 1]
    d_gate: Option<Tensor>,
}

/// The gradients at x and r, from the one at the sum that is normed at the end, the one at what
/// y is added to, if that is another, and what `add` adds at a.
pub(crate) fn input_gradients(
    form: Form,
    norm: &mut dyn EndNormBackward,
    normed_sum: Option<NormTape>,
    d_sum: Tensor,
    d_residual: Option<Tensor>,
    add: impl FnOnce(&mut Tensor),
) -> EndGradients {
    let zeros = |like: &Tensor| like.device().zeros(like.rows(), like.columns());
    // What reaches r by the addition at the end, to begin with.
    let at_end = |d: &Tensor| if form.norm_at_end { d.duplicate() } else { zeros(d) };
    let same = d_residual.is_none();
    match (form.input, normed_sum) {
        (Input::NormedSum, Some(tape)) => {
            let equal = form.residual == Residual::Output && form.norm_at_end && same;
            let d_r = (!equal).then(|| at_end(&d_sum));
            let d_residual = d_residual.unwrap_or(d_sum);
            let mut d_normed = match form.residual {
                Residual::NormedSum => d_residual.duplicate(),
                Residual::Output | Residual::Sum => zeros(&d_residual),
            };
            add(&mut d_normed);
            let d_both = norm.backward(&tape, d_normed);
            // Where x and r are added twice, once for each norm, their gradients are equal.
            let d_r = d_r.map(|mut d_r| {
                if form.residual == Residual::Sum {
                    d_r.add_scaled(1.0, &d_residual);
                }
                d_r.add_scaled(1.0, &d_both);
                d_r
            });
            let mut d_x = d_both;
            if form.residual != Residual::NormedSum {
                d_x.add_scaled(1.0, &d_residual);
            }
            EndGradients { x: d_x, residual: d_r }
        }
        (Input::SubLayerInput, _) => {
            let mut d_r = at_end(&d_sum);
            add(&mut d_r);
            EndGradients { x: d_residual.unwrap_or(d_sum), residual: Some(d_r) }
        }
        (Input::Output | Input::NormedSum, _) => {
            let d_r = at_end(&d_sum);
            let mut d_x = d_residual.unwrap_or(d_sum);
            add(&mut d_x);
            EndGradients { x: d_x, residual: Some(d_r) }
        }
    }
}
