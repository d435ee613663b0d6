//! A bottleneck at the end of a sub-layer: all that happens there as one operation, over blocks of
//! rows that stay in the cache.

use adaptkit_kernels::bottleneck as kernels;
use adaptkit_kernels::matrix::PackedMatrix;

use crate::{Activation, Dropout, NormRef, NormTape, Tensor};

/// A linear layer as a bottleneck's projection.
#[derive(Clone, Copy)]
pub struct Projection<'a> {
    pub(crate) forward: &'a PackedMatrix,
    /// Where a backward pass goes through.
    pub(crate) backward: Option<&'a PackedMatrix>,
    pub(crate) bias: &'a [f32],
}

/// The projections of a bottleneck: y [rows, d] = dropout(s·up(f(down(a)))).
#[derive(Clone, Copy)]
pub struct Projections<'a> {
    /// [m, d]
    pub down: Projection<'a>,
    /// f
    pub activation: Activation,
    /// [d, m]
    pub up: Projection<'a>,
    /// s
    pub scaling: f32,
    /// What strikes y.
    pub dropout: Dropout,
}

/// What the down-projection reads, a [rows, d].
#[derive(Clone, Copy)]
pub enum BottleneckInput<'a> {
    /// a
    Given(&'a Tensor),
    /// The norm of these two's sum.
    NormedSum(NormRef<'a>, &'a Tensor, &'a Tensor),
}

/// What y is added to, and what becomes of the sum.
#[derive(Clone, Copy)]
pub struct BottleneckEnd<'a> {
    /// In this order.
    pub addends: &'a [Addend<'a>],
    /// The norm of the sum and this.
    pub norm: Option<(NormRef<'a>, &'a Tensor)>,
}

/// Something [rows, d] that y is added to.
#[derive(Clone, Copy)]
pub enum Addend<'a> {
    /// This.
    Rows(&'a Tensor),
    /// What the down-projection reads.
    Input,
}

/// What a backward pass needs.
pub struct ProjectionsTape {
    /// Of the norm in front.
    pub front: Option<NormTape>,
    /// down(a): [rows, m]
    pub hidden: Tensor,
    /// f(down(a)): [rows, m]
    pub activated: Tensor,
    /// Of the norm at the end.
    pub end: Option<NormTape>,
}

/// The gradient at a, or where there is a norm in front, at what that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Below {
    /// Whether the gradient at the sum with y is added to that at a.
    pub sum_at_input: bool,
    /// Whether the gradient at the sum with y is added to the result.
    pub sum_at_end: bool,
}

/// Gradients of a bottleneck's backward pass. Those of its parameters follow from them.
pub struct ProjectionsGradients {
    /// At the sum with y: [rows, d].
    pub sum: Tensor,
    /// At up(f(down(a))), where that is another: [rows, d].
    pub unscaled: Option<Tensor>,
    /// At down(a): [rows, m]
    pub hidden: Tensor,
    /// What [`Below`] asked for: [rows, d].
    pub below: Option<Tensor>,
    /// a once more, where there is a norm in front: [rows, d].
    pub input: Option<Tensor>,
}

impl Projections<'_> {
    /// The sum with y through the end [rows, d], and what a backward pass needs, if `keep`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn forward(
        &self,
        input: BottleneckInput<'_>,
        end: BottleneckEnd<'_>,
        keep: bool,
    ) -> (Tensor, Option<ProjectionsTape>) {
        let (BottleneckInput::Given(like) | BottleneckInput::NormedSum(_, like, _)) = input;
        let (device, rows, m) = (like.device(), like.rows(), self.down.bias.len());
        let mut out = device.uninitialised(rows, like.columns());
        let normed = matches!(input, BottleneckInput::NormedSum(..));
        let mut tape = keep.then(|| ProjectionsTape {
            front: normed.then(|| NormTape::uninitialised(like)),
            hidden: device.uninitialised(rows, m),
            activated: device.uninitialised(rows, m),
            end: end.norm.map(|_| NormTape::uninitialised(like)),
        });
        let (mut front_room, mut end_room, mut kept) = (None, None, None);
        if let Some(ProjectionsTape { front, hidden, activated, end }) = &mut tape {
            front_room = front.as_mut().map(NormTape::room);
            end_room = end.as_mut().map(NormTape::room);
            let (hidden, activated) = (hidden.values_mut(), activated.values_mut());
            kept = Some(kernels::Kept { hidden, activated });
        }
        let addends = end.addends.iter().map(|addend| match addend {
            Addend::Rows(x) => kernels::Addend::Rows(x.values()),
            Addend::Input => kernels::Addend::Input,
        });
        let addends: Vec<kernels::Addend<'_>> = addends.collect();
        let pass = kernels::Forward {
            input: match input {
                BottleneckInput::Given(a) => kernels::Input::Given(a.values()),
                BottleneckInput::NormedSum(norm, x, r) => kernels::Input::NormedSum {
                    norm: norm.layer(),
                    x: x.values(),
                    r: r.values(),
                    keep: front_room,
                },
            },
            projections: self.packed(|projection| projection.forward),
            addends: &addends,
            end: end.norm.map(|(norm, r)| kernels::EndNorm {
                norm: norm.layer(),
                r: r.values(),
                keep: end_room,
            }),
            keep: kept,
            out: out.values_mut(),
        };
        let isa = device.0.isa;
        device.run(|| pass.run(isa));
        (out, tape)
    }

    /// The gradients for `d` [rows, d] at the result of a forward pass with these norms, in front and
    /// at the end.
    ///
    /// # Panics
    /// If the shapes do not fit, a norm is missing, or the projections have no backward pass.
    pub fn backward(
        &self,
        tape: &ProjectionsTape,
        [front, end]: [Option<NormRef<'_>>; 2],
        mut d: Tensor,
        below: Option<Below>,
    ) -> ProjectionsGradients {
        let device = d.device().clone();
        let room = |columns| device.uninitialised(d.rows(), columns);
        let struck = self.scaling != 1.0 || self.dropout.probability > 0.0;
        let mut unscaled = struck.then(|| room(d.columns()));
        let mut d_hidden = room(tape.hidden.columns());
        let mut input = tape.front.as_ref().map(|_| room(d.columns()));
        let mut d_below = below.map(|_| room(d.columns()));
        let pass = kernels::Backward {
            projections: self.packed(|projection| {
                projection.backward.expect("a projection that back-propagation was prepared for")
            }),
            hidden: tape.hidden.values(),
            end: tape.end.as_ref().map(|tape| kept(end, tape)),
            front: tape.front.as_ref().map(|tape| kept(front, tape)),
            d: d.values_mut(),
            d_y: unscaled.as_mut().map(Tensor::values_mut),
            d_hidden: d_hidden.values_mut(),
            input: input.as_mut().map(Tensor::values_mut),
            below: d_below.as_mut().zip(below).map(|(d, below)| kernels::Below {
                d: d.values_mut(),
                sum_at_input: below.sum_at_input,
                sum_at_end: below.sum_at_end,
            }),
        };
        let isa = device.0.isa;
        device.run(|| pass.run(isa));
        ProjectionsGradients { sum: d, unscaled, hidden: d_hidden, below: d_below, input }
    }

    fn packed<'a>(
        &'a self,
        of: impl Fn(Projection<'a>) -> &'a PackedMatrix,
    ) -> kernels::Projections<'a> {
        kernels::Projections {
            down: of(self.down),
            down_bias: self.down.bias,
            activation: self.activation,
            up: of(self.up),
            up_bias: self.up.bias,
            scaling: self.scaling,
            dropout: self.dropout,
        }
    }
}

fn kept<'a>(norm: Option<NormRef<'a>>, tape: &'a NormTape) -> kernels::NormTape<'a> {
    kernels::NormTape {
        norm: norm.expect("the norm of a tape").layer(),
        normalised: tape.normalised.values(),
        inverse_deviations: tape.inverse_deviations.values(),
    }
}
