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
//! For inference all of it folds into thin matrices, computed once in double precision: sₙ =
//! eₙ·(Gₙa + gₙ) with Gₙ = UₙᵀKᵀQ, and c = Σ (VUₙ)(pₙeₙ). The keys' bias adds the same to the scores
//! of all members, which the soft-max undoes unless dropout strikes some of them.

use std::ops::Range;
use std::sync::OnceLock;

use adaptkit_compute::{
    Activation, Device, Dropout, FrozenLinear, Members, NormTape, Parameter, Precision, Tensor,
    TrainedLinear,
};
use adaptkit_encoder::EndGradients;

use crate::bottleneck::{End, EndNormBackward, Form, Input, Residual, input_gradients};

pub(crate) mod assembly;
mod folding;

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
    /// All members' down-projections, [inner, d].
    down: FrozenLinear,
    /// [U₁ … Uₙ | u₁ … uₙ]: [d, outer], in the order of [`Members`].
    up: FrozenLinear,
    /// The same, to fold.
    up_weight: Vec<f32>,
    attention: Attention,
    /// The share of scores that training drops.
    dropout: f32,
    /// Whether V is kept near the identity.
    regularised: bool,
    folded: OnceLock<Folded>,
}

/// What inference uses.
struct Folded {
    /// G and g: [outer, d].
    scores: FrozenLinear,
    /// VU, [d, outer]; U itself where there is no V.
    mixture: Option<FrozenLinear>,
}

/// What a fusion keeps for its backward pass.
pub(crate) struct FusionTape {
    /// a: [tokens, d]
    input: Tensor,
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
    /// Σ pₙzₙ where there is a V: [tokens, d]
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
    /// A fusion of members, all wired as `form`.
    ///
    /// # Panics
    /// If there is no member, shapes do not fit, or `form` reads the sub-layer's input.
    fn new(
        device: &Device,
        form: Form,
        members: &[Member],
        attention: Attention,
        dropout: f32,
        regularised: bool,
    ) -> Fusion {
        assert!(!members.is_empty() && form.input != Input::SubLayerInput);
        let d = attention.query.inputs();
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
            let mut layer = FrozenLinear::new(device, Precision::F32, weight, bias);
            layer.prepare_backward(weight);
            layer
        };
        Fusion {
            form,
            members: columns,
            activations,
            down: linear(&down_weight, &down_bias),
            up: linear(&up_weight, &vec![0.0; d]),
            up_weight,
            attention,
            dropout,
            regularised,
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
        let Some(value) = self.attention.value.as_mut().filter(|_| self.regularised) else {
            return 0.0;
        };
        let mut d = value.weight.value().duplicate();
        d.scale(0.0);
        d.add_distance_from_identity(2.0 * PENALTY as f32, value.weight.value());
        value.weight.gradient_mut().add_scaled(1.0, &d);
        PENALTY * value.weight.value().squared_distance_from_identity()
    }

    fn start(&self, end: &End<'_>, keep: bool) -> Start {
        match self.form.input {
            Input::NormedSum => {
                let (a, normed_sum) = end.norm.forward(&end.x, end.residual, keep);
                Start { normed: Some(a), normed_sum }
            }
            Input::Output | Input::SubLayerInput => Start { normed: None, normed_sum: None },
        }
    }

    /// The result for the mixture c, and the tape of the norm at the end.
    fn finish(
        &self,
        mut c: Tensor,
        end: &End<'_>,
        input: &Tensor,
        keep: bool,
    ) -> (Tensor, Option<NormTape>) {
        match self.form.residual {
            Residual::Output => c.add_scaled(1.0, &end.x),
            Residual::NormedSum => c.add_scaled(1.0, input),
            Residual::Sum => {
                c.add_scaled(1.0, &end.x);
                c.add_scaled(1.0, end.residual);
            }
        }
        match self.form.norm_at_end {
            true => end.norm.forward(&c, end.residual, keep),
            false => (c, None),
        }
    }

    /// The end's result [tokens, d] in a pass without a backward.
    pub(crate) fn forward(&self, end: End<'_>) -> Tensor {
        let start = self.start(&end, false);
        let input = start.normed.as_ref().unwrap_or(&end.x);
        let folded = self.folded.get_or_init(|| self.fold(input.device()));
        let mut activated = self.down.forward(input);
        activated.activate_columns(&self.activations);
        let mut weights = activated.member_dots(&folded.scores.forward(input), &self.members);
        weights.softmax_rows();
        let mixed = activated.member_mixture(&weights, &self.members);
        let c = folded.mixture.as_ref().unwrap_or(&self.up).forward(&mixed);
        self.finish(c, &end, input, false).0
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
        let start = self.start(&end, keep);
        let input = start.normed.as_ref().unwrap_or(&end.x);
        let hidden = self.down.forward(input);
        let mut activated = hidden.duplicate();
        activated.activate_columns(&self.activations);
        let q = query.forward(input);
        let projected_query = self.up.backward(&key.backward(&q));
        let mut weights = activated.member_dots(&projected_query, &self.members);
        weights.add_product_to_columns(&q, &key.bias);
        weights.dropout(dropout);
        weights.softmax_rows();
        let mixture = self.up.forward(&activated.member_mixture(&weights, &self.members));
        let (c, mixture) = match value {
            Some(value) => (value.forward_without_bias(&mixture), Some(mixture)),
            None => (mixture, None),
        };
        let (out, end_tape) = self.finish(c, &end, input, keep);
        let tape = keep.then(|| FusionTape {
            input: start.normed.unwrap_or(end.x),
            normed_sum: start.normed_sum,
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
        let FusionTape { input, normed_sum, hidden, activated, query: q, .. } = tape;
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
        let mut d_scores = activated.member_dots(&d_mixed, &self.members);
        d_scores.softmax_rows_backward(&tape.weights);
        d_scores.dropout(tape.dropout);
        // At Kᵀq.
        let d_key_query = self.up.forward(&activated.member_mixture(&d_scores, &self.members));
        key.add_weight_gradient(&d_key_query, &q);
        let mut d_query = key.forward_without_bias(&d_key_query);
        d_scores.product_to_columns_backward(&q, &mut d_query, &mut key.bias);
        query.add_gradients(&input, &d_query);
        if !below && !norm.is_trained() {
            return None;
        }
        let add = |d_a: &mut Tensor| {
            let mut d_hidden = hidden.device().zeros(hidden.rows(), hidden.columns());
            d_hidden.add_member_scaled(&d_mixed, &tape.weights, &self.members);
            d_hidden.add_member_scaled(&tape.projected_query, &d_scores, &self.members);
            d_hidden.activate_columns_backward(&self.activations, &hidden);
            self.down.backward_add(&d_hidden, d_a);
            query.backward_add(&d_query, d_a);
        };
        let gradients = input_gradients(self.form, norm, normed_sum, d_sum, None, add);
        below.then_some(gradients)
    }
}
