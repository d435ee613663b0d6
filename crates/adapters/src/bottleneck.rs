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

mod extras;
mod form;

use adaptkit_compute::{
    Addend, Below, BottleneckEnd, BottleneckInput, Dropout, FrozenNorm, NormRef, NormTape,
    Parameter, Projections, ProjectionsGradients, ProjectionsTape, RowOffsets, Tensor,
    TrainedLinear, TrainedNorm,
};
use adaptkit_encoder::EndGradients;

use crate::linear::Linear;

pub use extras::Extras;
use extras::ExtrasTape;
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

/// The backward of the layer norm at the end of a sub-layer; adds the gradients of one that is
/// trained with the adapter.
pub(crate) trait EndNormBackward {
    /// The norm itself, if it is not trained.
    fn frozen(&self) -> Option<NormRef<'_>>;

    fn is_trained(&self) -> bool {
        self.frozen().is_none()
    }

    /// The forward pass's result once more.
    fn again(&self, tape: &NormTape) -> Tensor;

    fn backward(&mut self, tape: &NormTape, d: Tensor) -> Tensor;
}

impl EndNormBackward for &FrozenNorm {
    fn frozen(&self) -> Option<NormRef<'_>> {
        Some(self.as_norm())
    }

    fn again(&self, tape: &NormTape) -> Tensor {
        FrozenNorm::again(self, tape)
    }

    fn backward(&mut self, tape: &NormTape, d: Tensor) -> Tensor {
        FrozenNorm::backward(self, tape, d)
    }
}

impl EndNormBackward for TrainedNorm {
    fn frozen(&self) -> Option<NormRef<'_>> {
        None
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
    pub(crate) norm: NormRef<'a>,
    pub(crate) offsets: &'a RowOffsets,
}

/// What a bottleneck keeps for its backward pass.
pub(crate) struct BottleneckTape {
    /// a, where it is not made again from the normed sum: [tokens, d]
    input: Option<Tensor>,
    projections: ProjectionsTape,
    dropout: Dropout,
    extras: Option<Box<ExtrasTape>>,
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

    /// Multiply-adds of its two projections for a token: forward alone, and in training, where each
    /// has a gradient of its weights and one of its input.
    pub(crate) fn multiply_adds(&self) -> [usize; 2] {
        let projections = 2 * self.down.inputs() * self.size();
        [projections, 3 * projections]
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
        if !self.extras.are_none() {
            return self.run_with_extras(end, keep, dropout);
        }
        let End { x, residual, norm, .. } = end;
        let form = self.form;
        let input = match form.input {
            Input::NormedSum => BottleneckInput::NormedSum(norm, &x, residual),
            Input::Output => BottleneckInput::Given(&x),
            Input::SubLayerInput => BottleneckInput::Given(residual),
        };
        let addends: &[Addend<'_>] = match form.residual {
            Residual::Output => &[Addend::Rows(&x)],
            Residual::NormedSum => &[Addend::Input],
            Residual::Sum => &[Addend::Rows(&x), Addend::Rows(residual)],
        };
        let norm = form.norm_at_end.then_some((norm, residual));
        let end = BottleneckEnd { addends, norm };
        let (out, tape) = self.projections(dropout).forward(input, end, keep);
        let tape = tape.map(|projections| BottleneckTape {
            input: form.kept_input(x, residual),
            projections,
            dropout,
            extras: None,
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
        let Some(frozen) = norm.frozen().filter(|_| self.extras.are_none()) else {
            return self.backward_with_extras(norm, tape, d, below);
        };
        let equal = form.gradients_are_equal();
        let wish = below.then_some(Below {
            sum_at_input: form.input == Input::NormedSum && form.residual == Residual::NormedSum,
            sum_at_end: match (form.input, form.residual) {
                (Input::NormedSum, Residual::Output) => equal,
                (Input::NormedSum, Residual::NormedSum) => false,
                (Input::NormedSum, Residual::Sum) | (Input::Output, _) => true,
                (Input::SubLayerInput, _) => form.norm_at_end,
            },
        });
        let norms = [Some(frozen); 2];
        let projections = self.projections(tape.dropout);
        let gradients = projections.backward(&tape.projections, norms, d, wish);
        let input = tape.input.as_ref().or(gradients.input.as_ref()).expect("kept, or made again");
        self.add_gradients(input, &tape.projections, &gradients);
        let ProjectionsGradients { sum, below: reached, .. } = gradients;
        let reached = reached?;
        let zeros = |like: &Tensor| like.device().zeros(like.rows(), like.columns());
        let plus = |mut a: Tensor, b: &Tensor| {
            a.add_scaled(1.0, b);
            a
        };
        // What reaches r by the addition at the end.
        let at_end = |sum: Tensor| if form.norm_at_end { sum } else { zeros(&sum) };
        let (x, residual) = match (form.input, form.residual) {
            (Input::SubLayerInput, _) => (sum, Some(reached)),
            (Input::Output, _) => (reached, Some(at_end(sum))),
            (Input::NormedSum, Residual::Output) if equal => (reached, None),
            (Input::NormedSum, Residual::Output) => (plus(sum, &reached), Some(reached)),
            (Input::NormedSum, Residual::NormedSum | Residual::Sum) => {
                let residual = plus(at_end(sum), &reached);
                (reached, Some(residual))
            }
        };
        Some(EndGradients { x, residual })
    }

    fn projections(&self, dropout: Dropout) -> Projections<'_> {
        let Form { activation, scaling, .. } = self.form;
        let [down, up] = [&self.down, &self.up].map(Linear::projection);
        Projections { down, activation, up, scaling, dropout }
    }

    /// Adds the gradients of the projections' parameters, `input` being what the lower one read.
    fn add_gradients(
        &mut self,
        input: &Tensor,
        tape: &ProjectionsTape,
        gradients: &ProjectionsGradients,
    ) {
        let at_up = gradients.unscaled.as_ref().unwrap_or(&gradients.sum);
        self.up.trained_mut().add_gradients(&tape.activated, at_up);
        self.down.trained_mut().add_gradients(input, &gradients.hidden);
    }
}

impl Form {
    /// What a tape keeps of what the bottleneck reads: nothing where that is made again.
    fn kept_input(self, x: Tensor, residual: &Tensor) -> Option<Tensor> {
        match self.input {
            Input::NormedSum => None,
            Input::Output => Some(x),
            Input::SubLayerInput => Some(residual.duplicate()),
        }
    }

    /// Whether x and r are added twice, once for each norm, so that their gradients are equal.
    fn gradients_are_equal(self) -> bool {
        self.input == Input::NormedSum && self.residual == Residual::Output && self.norm_at_end
    }
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
            let equal = form.gradients_are_equal() && same;
            let d_r = (!equal).then(|| at_end(&d_sum));
            let d_residual = d_residual.unwrap_or(d_sum);
            let mut d_normed = match form.residual {
                Residual::NormedSum => d_residual.duplicate(),
                Residual::Output | Residual::Sum => zeros(&d_residual),
            };
            add(&mut d_normed);
            let d_both = norm.backward(&tape, d_normed);
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
