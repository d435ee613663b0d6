//! The bottleneck adapter: down-projection, activation, up-projection (Houlsby et al. 2019, §2.1),
//! in the forms that the `adapters` library places at the end of a post-norm sub-layer.
//!
//! With x the sub-layer's output, r its input and LN its frozen layer norm:
//!
//! | form | a | result |
//! |---|---|---|
//! | sequential on the normed sum (Pfeiffer) | LN(x + r) | LN(x + s·up(f(down(a))) + r) |
//! | sequential on the output (Houlsby) | x | LN(x + s·up(f(down(a))) + r) |
//! | parallel | r | LN(x + s·up(f(down(a))) + r) |

use adaptkit_compute::{
    Activation, Dropout, FrozenNorm, NormTape, Parameter, Tensor, TrainedLinear,
};
use adaptkit_encoder::{EndGradients, SubLayerEnd};

/// What the down-projection reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// LN(x + r), as Pfeiffer et al. 2021 found best.
    NormedSum,
    /// x, as Houlsby et al. 2019.
    Output,
    /// r, in parallel to the sub-layer (He et al. 2022).
    SubLayerInput,
}

/// What the up-projection is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// x.
    Output,
    /// LN(x + r).
    NormedSum,
    /// x + r.
    Sum,
}

/// How a bottleneck is wired: everything but its weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    /// What the down-projection reads.
    pub input: Input,
    /// What the up-projection is added to.
    pub residual: Residual,
    /// Whether r is added and the layer norm taken at the end.
    pub norm_at_end: bool,
    /// f.
    pub activation: Activation,
    /// s.
    pub scaling: f32,
    /// The share of the up-projection's outputs that training drops.
    pub dropout: f32,
}

/// A bottleneck: d·m + m and m·d + d parameters.
pub struct Bottleneck {
    form: Form,
    /// [m, d]
    pub down: TrainedLinear,
    /// [d, m]
    pub up: TrainedLinear,
}

/// What a bottleneck keeps for its backward pass.
pub(crate) struct BottleneckTape {
    /// a: [tokens, d]
    input: Tensor,
    normed_sum: Option<NormTape>,
    /// down(a): [tokens, m]
    hidden: Tensor,
    /// f(down(a)): [tokens, m]
    activated: Tensor,
    dropout: Dropout,
    end: Option<NormTape>,
}

impl Bottleneck {
    /// A bottleneck of two projections, `down` [m, d] and `up` [d, m].
    ///
    /// # Panics
    /// If their shapes do not fit each other.
    pub fn new(form: Form, down: TrainedLinear, up: TrainedLinear) -> Bottleneck {
        assert!(down.inputs() == up.outputs() && down.outputs() == up.inputs());
        Bottleneck { form, down, up }
    }

    /// How it is wired.
    pub fn form(&self) -> Form {
        self.form
    }

    /// m
    pub fn size(&self) -> usize {
        self.down.outputs()
    }

    /// Calls `f` on each parameter with its name within the module.
    pub(crate) fn visit(&mut self, f: &mut dyn FnMut(&str, &mut Parameter)) {
        f("adapter_down.0.weight", &mut self.down.weight);
        f("adapter_down.0.bias", &mut self.down.bias);
        f("adapter_up.weight", &mut self.up.weight);
        f("adapter_up.bias", &mut self.up.bias);
    }

    /// Renews the packed forms after an update.
    pub(crate) fn repack(&mut self) {
        self.down.repack();
        self.up.repack();
    }

    /// The end's result [tokens, d]; with `keep`, also what the backward pass needs.
    pub(crate) fn forward(
        &self,
        end: SubLayerEnd<'_>,
        keep: bool,
        dropout: Dropout,
    ) -> (Tensor, Option<BottleneckTape>) {
        let SubLayerEnd { x, residual, norm } = end;
        let form = self.form;
        let (normed, normed_sum) = match form.input {
            Input::NormedSum => {
                let (a, tape) = norm.forward(&x, Some(residual), keep);
                (Some(a), tape)
            }
            Input::Output | Input::SubLayerInput => (None, None),
        };
        let input = match form.input {
            Input::NormedSum => normed.as_ref().unwrap_or(&x),
            Input::Output => &x,
            Input::SubLayerInput => residual,
        };
        let (activated, hidden) = self.down.forward_activated(input, form.activation, keep);
        let mut y = self.up.forward(&activated);
        if form.scaling != 1.0 {
            y.scale(form.scaling);
        }
        y.dropout(dropout);
        match form.residual {
            Residual::Output => y.add_scaled(1.0, &x),
            Residual::NormedSum => y.add_scaled(1.0, input),
            Residual::Sum => {
                y.add_scaled(1.0, &x);
                y.add_scaled(1.0, residual);
            }
        }
        let (out, end) =
            if form.norm_at_end { norm.forward(&y, Some(residual), keep) } else { (y, None) };
        let tape = hidden.map(|hidden| BottleneckTape {
            input: match form.input {
                Input::NormedSum => normed.unwrap_or(x),
                Input::Output => x,
                Input::SubLayerInput => residual.duplicate(),
            },
            normed_sum,
            hidden,
            activated,
            dropout,
            end,
        });
        (out, tape)
    }

    /// Adds the parameters' gradients for `d` at the result; the gradients at x and r if `below`.
    pub(crate) fn backward(
        &mut self,
        norm: &FrozenNorm,
        tape: BottleneckTape,
        d: Tensor,
        below: bool,
    ) -> Option<EndGradients> {
        let form = self.form;
        // At x + s·up(…), and at r through the norm at the end.
        let d_sum = match &tape.end {
            Some(end) => norm.backward(end, d),
            None => d,
        };
        let mut d_up = d_sum.duplicate();
        d_up.dropout(tape.dropout);
        if form.scaling != 1.0 {
            d_up.scale(form.scaling);
        }
        self.up.add_gradients(&tape.activated, &d_up);
        let d_hidden = self.up.backward_activated(&d_up, form.activation, &tape.hidden);
        drop(d_up);
        self.down.add_gradients(&tape.input, &d_hidden);
        if !below {
            return None;
        }
        Some(self.input_gradients(norm, tape.normed_sum, d_sum, &d_hidden))
    }

    fn input_gradients(
        &self,
        norm: &FrozenNorm,
        normed_sum: Option<NormTape>,
        d_sum: Tensor,
        d_hidden: &Tensor,
    ) -> EndGradients {
        let form = self.form;
        // What reaches r by the addition at the end, to begin with.
        let residual_at_end = |d: &Tensor| match form.norm_at_end {
            true => d.duplicate(),
            false => d.device().zeros(d.rows(), d.columns()),
        };
        match (form.input, normed_sum) {
            (Input::NormedSum, Some(tape)) => {
                let mut d_normed = match form.residual {
                    Residual::NormedSum => d_sum.duplicate(),
                    Residual::Output | Residual::Sum => {
                        d_sum.device().zeros(d_sum.rows(), d_sum.columns())
                    }
                };
                self.down.backward_add(d_hidden, &mut d_normed);
                let d_both = norm.backward(&tape, d_normed);
                match form.residual {
                    // x and r are added twice, once for each norm: their gradients are equal.
                    Residual::Output if form.norm_at_end => {
                        let mut d_x = d_sum;
                        d_x.add_scaled(1.0, &d_both);
                        EndGradients { x: d_x, residual: None }
                    }
                    kind => {
                        let mut d_residual = residual_at_end(&d_sum);
                        if kind == Residual::Sum {
                            d_residual.add_scaled(1.0, &d_sum);
                        }
                        d_residual.add_scaled(1.0, &d_both);
                        let mut d_x = d_both;
                        if kind != Residual::NormedSum {
                            d_x.add_scaled(1.0, &d_sum);
                        }
                        EndGradients { x: d_x, residual: Some(d_residual) }
                    }
                }
            }
            (Input::SubLayerInput, _) => {
                let mut d_residual = residual_at_end(&d_sum);
                self.down.backward_add(d_hidden, &mut d_residual);
                EndGradients { x: d_sum, residual: Some(d_residual) }
            }
            (Input::Output | Input::NormedSum, _) => {
                let d_residual = residual_at_end(&d_sum);
                let mut d_x = d_sum;
                self.down.backward_add(d_hidden, &mut d_x);
                EndGradients { x: d_x, residual: Some(d_residual) }
            }
        }
    }
}
