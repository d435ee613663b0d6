//! The parts that not every bottleneck has, around the projections that every one has.

use adaptkit_compute::{
    Below, BottleneckEnd, BottleneckInput, Dropout, NormTape, Parameter, Projections,
    ProjectionsGradients, ProjectionsTape, RowOffsets, Tensor, TrainedNorm,
};
use adaptkit_encoder::EndGradients;

use super::{Bottleneck, BottleneckTape, End, EndNormBackward, Input, Residual, input_gradients};
use crate::linear::Linear;

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

/// What they keep for the backward pass.
pub(super) struct ExtrasTape {
    /// The norm of a, where there is one of the module's own.
    normed_input: Option<(Tensor, NormTape)>,
    /// up(f(down(a))), where its scaling is trained: [tokens, d]
    unscaled: Option<Tensor>,
    gate: Option<GateTape>,
    norm_after: Option<NormTape>,
}

struct GateTape {
    /// w·a + b: [tokens, 1]
    logits: Tensor,
    /// g: [rows, 1]
    gates: Tensor,
    /// y/g: [tokens, d]
    ungated: Tensor,
    offsets: RowOffsets,
}

impl Extras {
    /// Whether there is nothing but the projections.
    pub(crate) fn are_none(&self) -> bool {
        let Extras { scaling, gate, norm_before, norm_after } = self;
        scaling.is_none() && gate.is_none() && norm_before.is_none() && norm_after.is_none()
    }
}

impl Bottleneck {
    /// The projections alone. Dropout comes behind a trained scaling, so not with them then.
    fn bare_projections(&self, dropout: Dropout) -> Projections<'_> {
        self.projections(if self.extras.scaling.is_some() { Dropout::NONE } else { dropout })
    }

    pub(super) fn run_with_extras(
        &self,
        end: End<'_>,
        keep: bool,
        dropout: Dropout,
    ) -> (Tensor, Option<BottleneckTape>) {
        let End { x, residual, norm, offsets } = end;
        let form = self.form;
        let (normed, front) = match form.input {
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
        let own = self.extras.norm_before.as_ref().map(|norm| norm.forward(input, None, keep));
        let projected = BottleneckInput::Given(own.as_ref().map_or(input, |(normed, _)| normed));
        let nothing = BottleneckEnd { addends: &[], norm: None };
        let (mut y, tape) = self.bare_projections(dropout).forward(projected, nothing, keep);
        let mut unscaled = None;
        if let Some(scaling) = &self.extras.scaling {
            unscaled = keep.then(|| y.duplicate());
            y.scale_by(scaling.value());
            y.dropout(dropout);
        }
        let mut gate_tape = None;
        if let Some(gate) = &self.extras.gate {
            let logits = gate.forward(input);
            let gates = logits.mean_sigmoid(offsets);
            let ungated = keep.then(|| y.duplicate());
            y.scale_batch_rows(&gates, offsets);
            let offsets = offsets.clone();
            gate_tape = ungated.map(|ungated| GateTape { logits, gates, ungated, offsets });
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
            if form.norm_at_end { norm.forward(&y, Some(residual), keep) } else { (y, None) };
        let tape = tape.map(|projections| BottleneckTape {
            projections: ProjectionsTape { front, end, ..projections },
            input: form.kept_input(x, residual),
            dropout,
            extras: Some(Box::new(ExtrasTape {
                normed_input: own.and_then(|(normed, tape)| Some((normed, tape?))),
                unscaled,
                gate: gate_tape,
                norm_after,
            })),
        });
        (out, tape)
    }

    /// The backward pass of every bottleneck that has parts beside, or stands between norms that are
    /// trained with it.
    pub(super) fn backward_with_extras(
        &mut self,
        norm: &mut dyn EndNormBackward,
        tape: BottleneckTape,
        d: Tensor,
        below: bool,
    ) -> Option<EndGradients> {
        let form = self.form;
        let BottleneckTape { input, mut projections, dropout, extras } = tape;
        let (front, end) = (projections.front.take(), projections.end.take());
        let none =
            || ExtrasTape { normed_input: None, unscaled: None, gate: None, norm_after: None };
        let extras = extras.map_or_else(none, |extras| *extras);
        // At x + y, and at r through the norm at the end.
        let d_sum = match &end {
            Some(end) => norm.backward(end, d),
            None => d,
        };
        // At y, and at what y is added to where that differs from `d_sum`.
        let (mut d_y, d_residual) = match (&mut self.extras.norm_after, &extras.norm_after) {
            (Some(norm), Some(after)) => {
                let d_y = norm.backward(after, d_sum.duplicate());
                let d_residual = form.residual_before_norm.then(|| d_y.duplicate());
                (d_y, d_residual)
            }
            _ => (d_sum.duplicate(), None),
        };
        let again = front.as_ref().map(|tape| norm.again(tape));
        let input = input.as_ref().or(again.as_ref()).expect("kept, or made again");
        let mut d_gate = None;
        if let (Some(gate), Some(kept)) = (&mut self.extras.gate, &extras.gate) {
            let d_gates = d_y.batch_row_dots(&kept.ungated, &kept.offsets);
            let d_logits = kept.logits.mean_sigmoid_backward(&d_gates, &kept.offsets);
            gate.trained_mut().add_gradients(input, &d_logits);
            d_gate = Some(d_logits);
            d_y.scale_batch_rows(&kept.gates, &kept.offsets);
        }
        if let (Some(scaling), Some(unscaled)) = (&mut self.extras.scaling, &extras.unscaled) {
            d_y.dropout(dropout);
            d_y.add_scale_gradient(unscaled, scaling);
            d_y.scale_by(scaling.value());
        }
        // Trained norms in front of the projection have their gradients from what reaches a.
        let wanted = below || self.extras.norm_before.is_some() || norm.is_trained();
        let wish = wanted.then_some(Below { sum_at_input: false, sum_at_end: false });
        let bare = self.bare_projections(dropout);
        let gradients = bare.backward(&projections, [None; 2], d_y, wish);
        let projected = extras.normed_input.as_ref().map_or(input, |(normed, _)| normed);
        self.add_gradients(projected, &projections, &gradients);
        let ProjectionsGradients { below: reached, .. } = gradients;
        let reached = reached?;
        drop(again);
        let add = |d_a: &mut Tensor| {
            match (&mut self.extras.norm_before, &extras.normed_input) {
                (Some(norm), Some((_, tape))) => d_a.add_scaled(1.0, &norm.backward(tape, reached)),
                _ => d_a.add_scaled(1.0, &reached),
            }
            if let (Some(gate), Some(d_gate)) = (&self.extras.gate, &d_gate) {
                gate.trained().backward_add(d_gate, d_a);
            }
        };
        let gradients = input_gradients(form, norm, front, d_sum, d_residual, add);
        below.then_some(gradients)
    }
}
