//! AdapterFusion (Pfeiffer et al. 2021, §3.2): a token attends to what several frozen adapters
//! make of it.
//!
//! With a the adapters' input, zₙ the output of the n-th without residual, and x what a bottleneck
//! of the same wiring adds its output to:
//!
//! sₙ = (Q·a + b_q)·(K·zₙ + b_k), p = softmax(s), c = V·Σ pₙzₙ; the result is that of a bottleneck
//! whose output is c. In training, dropout strikes the scores before the soft-max.
//!
//! Nothing of this is computed for each member in the encoder's width. zₙ = Uₙeₙ, where eₙ is the
//! member's activated bottleneck and a 1, and Uₙ its up-projection with its scaling in it and its
//! bias as one column more. So sₙ = eₙ·(Uₙᵀ·Kᵀq) + q·b_k and Σ pₙzₙ = Σ Uₙ(pₙeₙ): with the members'
//! projections side by side, a token costs one product each with Q, Kᵀ and V and three thin ones.
//!
//! As the AdapterDrop paper draws it (Rücklé et al. 2021, Figure 3), the query reads x where a is
//! LN(x + r), and each value is of zₙ + x: Σ pₙ·V(zₙ + x) = V·(Σ pₙzₙ + x), since Σ pₙ = 1.
//!
//! For inference all of it folds into thin matrices, computed once in double precision: sₙ =
//! eₙ·(Gₙa + gₙ) with Gₙ = UₙᵀKᵀQ, and c = Σ (VUₙ)(pₙeₙ). The keys' bias adds the same to the scores
//! of all members, which the soft-max undoes unless dropout strikes some of them.

use std::ops::Range;
use std::sync::OnceLock;

use adaptkit_compute::{
    Activation, Attended, AttendedGradients, Device, Dropout, FrozenLinear, Members, NormRef,
    NormTape, Parameter, Precision, Tensor, TrainedLinear,
};
use adaptkit_encoder::EndGradients;

use crate::bottleneck::{End, EndNormBackward, Form, Input, Residual, input_gradients};
use crate::config::FusionConfig;

pub(crate) mod assembly;
mod attention;
mod folding;
mod pruning;
#[cfg(test)]
mod tests;

pub use attention::AttentionSums;
pub(crate) use attention::put_rows;
pub use pruning::{MeanAttention, MemberLayout, PlaceAttention, Pruned, Pruning};

/// The factor of the penalty ‖I − V‖², as in the library.
const PENALTY: f64 = 0.01;

/// A frozen member of a fusion at one place.
struct Member {
    /// [m, d]
    down_weight: Vec<f32>,
    /// `[m]`
    down_bias: Vec<f32>,
    /// [d, m], with the scaling.
    up_weight: Vec<f32>,
    /// `[d]`, with the scaling.
    up_bias: Vec<f32>,
    activation: Activation,
}

/// The matrices of a fusion, all [d, d], and biases [1, d].
struct Attention {
    query: TrainedLinear,
    key: TrainedLinear,
    /// Without a bias: that of the layer is zero and not trained.
    value: Option<TrainedLinear>,
}

/// A mixture of frozen bottlenecks at one place, with its trained attention.
pub struct Fusion {
    /// As the last member is wired.
    form: Form,
    members: Members,
    activations: Vec<(Range<usize>, Activation)>,
    /// Of products; f32 or bf16.
    precision: Precision,
    /// All members' down-projections, [inner, d].
    down: FrozenLinear,
    /// [U₁ … Uₙ | u₁ … uₙ]: [d, outer], in the order of [`Members`].
    up: FrozenLinear,
    /// Both once more, to fold.
    down_weight: Vec<f32>,
    down_bias: Vec<f32>,
    up_weight: Vec<f32>,
    attention: Attention,
    /// The share of scores that training drops.
    dropout: f32,
    /// Whether V is kept near the identity.
    regularised: bool,
    /// Whether the query reads x in place of a.
    query_reads_output: bool,
    /// Whether values are of the outputs with what a bottleneck adds its own to.
    values_with_residual: bool,
    folded: OnceLock<Folded>,
}

/// What inference uses.
struct Folded {
    input: FoldedInput,
    /// VU, [d, outer]; U itself where there is no V.
    mixture: Option<FrozenLinear>,
}

/// The products that scores are taken of.
enum FoldedInput {
    /// All members' down-projections, and G and g, which read the same: [inner + outer, d].
    Stacked(FrozenLinear),
    /// G and g alone: [outer, d].
    Scores(FrozenLinear),
}

/// What a fusion keeps for its backward pass.
pub(crate) struct FusionTape {
    /// a: [tokens, d]
    input: Tensor,
    /// What the query reads, where that is another: [tokens, d]
    query_input: Option<Tensor>,
    normed_sum: Option<NormTape>,
    /// What the members' activations are taken of, and these: [tokens, inner].
    hidden: Tensor,
    activated: Tensor,
    /// q: [tokens, d]
    query: Tensor,
    /// Uᵀ·Kᵀq: [tokens, outer]
    projected_query: Tensor,
    /// p: [tokens, members]
    weights: Tensor,
    /// What V multiplies, where there is one: [tokens, d]
    mixture: Option<Tensor>,
    dropout: Dropout,
    end: Option<NormTape>,
}

/// a, what x is added by, and what the norm in front keeps.
struct Start {
    normed: Option<Tensor>,
    normed_sum: Option<NormTape>,
}

impl Fusion {
    /// A fusion of members, all wired as `form`, whose products are in `precision`.
    ///
    /// # Panics
    /// If there is no member, shapes do not fit, or `form` reads the sub-layer's input.
    fn new(
        device: &Device,
        precision: Precision,
        form: Form,
        members: &[Member],
        attention: Attention,
        dropout: f32,
        config: &FusionConfig,
    ) -> Fusion {
        assert!(!members.is_empty() && form.input != Input::SubLayerInput);
        let (d, has_value) = (attention.query.inputs(), attention.value.is_some());
        let columns = Members::of_sizes(members.iter().map(|member| member.down_bias.len()));
        let mut activations: Vec<(Range<usize>, Activation)> = Vec::new();
        let mut end = 0;
        for member in members {
            let range = end..end + member.down_bias.len();
            end = range.end;
            match activations.last_mut() {
                Some((last, activation)) if *activation == member.activation => last.end = end,
                _ => activations.push((range, member.activation)),
            }
        }
        let join = |part: fn(&Member) -> &[f32]| -> Vec<f32> {
            members.iter().flat_map(part).copied().collect()
        };
        let down_weight = join(|member| &member.down_weight);
        let down_bias = join(|member| &member.down_bias);
        let mut up_weight = Vec::with_capacity(d * columns.outer());
        for row in 0..d {
            for member in members {
                let m = member.down_bias.len();
                up_weight.extend_from_slice(&member.up_weight[row * m..(row + 1) * m]);
            }
            up_weight.extend(members.iter().map(|member| member.up_bias[row]));
        }
        let linear = |weight: &[f32], bias: &[f32]| {
            let mut layer = FrozenLinear::new(device, precision, weight, bias);
            layer.prepare_backward(weight);
            layer
        };
        Fusion {
            form,
            members: columns,
            activations,
            precision,
            down: linear(&down_weight, &down_bias),
            up: linear(&up_weight, &vec![0.0; d]),
            down_weight,
            down_bias,
            up_weight,
            attention,
            dropout,
            regularised: config.regularization,
            query_reads_output: config.query_before_ln && form.input == Input::NormedSum,
            values_with_residual: config.residual_before && has_value,
            folded: OnceLock::new(),
        }
    }

    /// The same without the norm at the end, which whoever has it in a composition takes.
    pub(crate) fn before_end(mut self) -> Fusion {
        self.form.norm_at_end = false;
        self
    }

    /// How many members it mixes.
    pub fn members(&self) -> usize {
        self.members.count()
    }

    /// Numbers that training changes.
    pub fn parameters(&self) -> usize {
        let d = self.attention.query.inputs();
        2 * (d * d + d) + self.attention.value.as_ref().map_or(0, |_| d * d)
    }

    /// Multiply-adds of its products for a token: folded, and in training: Q, K and V forward, and
    /// backward for their weights and their input, beside seven thin products.
    pub(crate) fn multiply_adds(&self) -> [usize; 2] {
        let d = self.attention.query.inputs();
        let (inner, outer) = (self.members.inner(), self.members.outer());
        let matrices = if self.attention.value.is_some() { 3 } else { 2 };
        // Values with the residual need V itself.
        let residual = if self.values_with_residual { d * d } else { 0 };
        [d * (inner + 2 * outer) + residual, 3 * matrices * d * d + d * (2 * inner + 4 * outer)]
    }

    /// Calls `f` on each parameter with the library's name for it.
    pub(crate) fn visit(&mut self, f: &mut dyn FnMut(&str, &mut Parameter)) {
        let Attention { query, key, value } = &mut self.attention;
        f("query.weight", &mut query.weight);
        f("query.bias", &mut query.bias);
        f("key.weight", &mut key.weight);
        f("key.bias", &mut key.bias);
        if let Some(value) = value {
            f("value.weight", &mut value.weight);
        }
    }

    /// Renews the packed forms after an update; the folded one is made when it is next needed.
    pub(crate) fn repack(&mut self) {
        let Attention { query, key, value } = &mut self.attention;
        [query, key].into_iter().chain(value).for_each(TrainedLinear::repack);
        self.folded = OnceLock::new();
    }

    /// Adds the gradient of 0.01·‖I − V‖² and returns it: 0 where there is none.
    pub(crate) fn add_penalty(&mut self) -> f64 {
        match self.attention.value.as_mut().filter(|_| self.regularised) {
            Some(value) => value.weight.add_distance_from_identity(PENALTY),
            None => 0.0,
        }
    }

    /// What the activations are taken of, and these: [tokens, inner].
    fn activated(&self, input: &Tensor) -> (Tensor, Tensor) {
        if let [(_, activation)] = self.activations[..]
            && let (activated, Some(hidden)) = self.down.forward_activated(input, activation, true)
        {
            return (hidden, activated);
        }
        let hidden = self.down.forward(input);
        let mut activated = hidden.duplicate();
        activated.activate_columns(&self.activations);
        (hidden, activated)
    }

    fn start(&self, end: &End<'_>, keep: bool) -> Start {
        match self.form.input {
            Input::NormedSum => {
                let (a, normed_sum) = end.norm.forward(&end.x, Some(end.residual), keep);
                Start { normed: Some(a), normed_sum }
            }
            Input::Output | Input::SubLayerInput => Start { normed: None, normed_sum: None },
        }
    }

    /// What a bottleneck adds its output to, from x, r and the norm of their sum.
    fn residual(&self, mut x: Tensor, r: &Tensor, normed: Option<&Tensor>) -> Tensor {
        match (self.form.residual, normed) {
            (Residual::NormedSum, Some(normed)) => normed.duplicate(),
            (Residual::Sum, _) => {
                x.add_scaled(1.0, r);
                x
            }
            (Residual::Output | Residual::NormedSum, _) => x,
        }
    }

    /// The result for a mixture with its residual, and the tape of the norm at the end.
    fn finish(
        &self,
        sum: Tensor,
        norm: NormRef<'_>,
        r: &Tensor,
        keep: bool,
    ) -> (Tensor, Option<NormTape>) {
        match self.form.norm_at_end {
            true => norm.forward(&sum, Some(r), keep),
            false => (sum, None),
        }
    }

    /// The attention and the mixture for inference.
    fn attend(&self, folded: &Folded, x: &Tensor, input: &Tensor) -> Attended {
        let (members, up) = (&self.members, folded.mixture.as_ref().unwrap_or(&self.up));
        match &folded.input {
            FoldedInput::Stacked(linear) => {
                linear.forward(input).attend_activated(&self.activations, members, up)
            }
            FoldedInput::Scores(linear) => {
                let (_, activated) = self.activated(input);
                activated.attend(&linear.forward(x), None, Dropout::NONE, members, up)
            }
        }
    }

    /// The end's result [tokens, d] in a pass without a backward.
    pub(crate) fn forward(&self, end: End<'_>) -> Tensor {
        self.forward_weighing(end).0
    }

    /// The same, and p: [tokens, members].
    pub(crate) fn forward_weighing(&self, end: End<'_>) -> (Tensor, Tensor) {
        let Start { normed, .. } = self.start(&end, false);
        let input = normed.as_ref().unwrap_or(&end.x);
        let folded = self.folded.get_or_init(|| self.fold(input.device()));
        let Attended { weights, mixed } = self.attend(folded, &end.x, input);
        let mut sum = self.residual(end.x, end.residual, normed.as_ref());
        if let Some(value) = self.attention.value.as_ref().filter(|_| self.values_with_residual) {
            sum = value.forward_without_bias(&sum);
        }
        folded.mixture.as_ref().unwrap_or(&self.up).add_forward_without_bias_of(&mixed, &mut sum);
        (self.finish(sum, end.norm, end.residual, false).0, weights)
    }

    /// The same in training, with what the backward pass needs, if `keep`, and a dropout mask from
    /// `key`.
    pub(crate) fn forward_training(
        &self,
        end: End<'_>,
        keep: bool,
        key: u64,
    ) -> (Tensor, Option<FusionTape>) {
        let dropout = Dropout { probability: self.dropout, key };
        let Attention { query, key, value } = &self.attention;
        let Start { normed, normed_sum } = self.start(&end, keep);
        let input = normed.as_ref().unwrap_or(&end.x);
        let (hidden, activated) = self.activated(input);
        let q = query.forward(if self.query_reads_output { &end.x } else { input });
        let projected_query = self.up.backward_of(&key.backward_operand(&q));
        // What is the same for all members counts only where dropout strikes some of them.
        let shift = (dropout.probability > 0.0).then(|| q.row_products(&key.bias));
        let Attended { weights, mixed } =
            activated.attend(&projected_query, shift.as_ref(), dropout, &self.members, &self.up);
        let x = (normed.is_none() || self.query_reads_output).then(|| end.x.duplicate());
        let mut sum = self.residual(end.x, end.residual, normed.as_ref());
        let mixture = match value {
            None => {
                self.up.add_forward_without_bias_of(&mixed, &mut sum);
                None
            }
            Some(value) => {
                let mut mixture = self.up.forward_of(&mixed);
                if self.values_with_residual {
                    mixture.add_scaled(1.0, &sum);
                    sum = value.forward_without_bias(&mixture);
                } else {
                    value.add_forward_without_bias(&mixture, &mut sum);
                }
                Some(mixture)
            }
        };
        let (out, end_tape) = self.finish(sum, end.norm, end.residual, keep);
        let (input, query_input) = match normed {
            Some(normed) => (Some(normed), x),
            None => (x, None),
        };
        let tape = input.filter(|_| keep).map(|input| FusionTape {
            input,
            query_input,
            normed_sum,
            hidden,
            activated,
            query: q,
            projected_query,
            weights,
            mixture,
            dropout,
            end: end_tape,
        });
        (out, tape)
    }

    /// Adds the parameters' gradients for `d` at the result; the gradients at x and r if `below`.
    pub(crate) fn backward(
        &mut self,
        norm: &mut dyn EndNormBackward,
        tape: FusionTape,
        d: Tensor,
        below: bool,
    ) -> Option<EndGradients> {
        let FusionTape { input, query_input, normed_sum, hidden, activated, query: q, .. } = tape;
        let Attention { query, key, value } = &mut self.attention;
        let d_sum = match &tape.end {
            Some(end) => norm.backward(end, d),
            None => d,
        };
        let through_value = value.as_mut().zip(tape.mixture).map(|(value, mixture)| {
            value.add_weight_gradient(&mixture, &d_sum);
            value.backward(&d_sum)
        });
        // At eₙ through the mixture, but for the factor pₙ.
        let d_mixed = self.up.backward(through_value.as_ref().unwrap_or(&d_sum));
        let (members, weights) = (&self.members, &tape.weights);
        let AttendedGradients { scores: d_scores, projected: d_projected } =
            activated.attend_backward(&d_mixed, weights, tape.dropout, members, &self.up);
        // At Kᵀq.
        let d_key_query = self.up.forward_of(&d_projected);
        key.add_weight_gradient(&d_key_query, &q);
        let mut d_query = key.forward_without_bias(&d_key_query);
        key.bias.gradient_mut();
        if tape.dropout.probability > 0.0 {
            d_scores.row_products_backward(&q, &mut d_query, &mut key.bias);
        }
        query.add_gradients(query_input.as_ref().unwrap_or(&input), &d_query);
        if !below && !norm.is_trained() {
            return None;
        }
        let add = |d_a: &mut Tensor| {
            let (mixture, scores) = ((&d_mixed, weights), (&tape.projected_query, &d_scores));
            let d_hidden =
                hidden.attended_backward(&self.activations, mixture, scores, members, &self.down);
            self.down.backward_add_of(&d_hidden, d_a);
            if query_input.is_none() {
                query.backward_add(&d_query, d_a);
            }
        };
        let d_residual = through_value.filter(|_| self.values_with_residual);
        let mut gradients = input_gradients(self.form, norm, normed_sum, d_sum, d_residual, add);
        if query_input.is_some() {
            // From here on x and r, which may have been added twice, have different gradients.
            gradients.residual.get_or_insert_with(|| gradients.x.duplicate());
            query.backward_add(&d_query, &mut gradients.x);
        }
        below.then_some(gradients)
    }
}
