//! The mixture of a fusion's members, token by token; see [`adaptkit_kernels::mixture`].

use adaptkit_kernels::activation::activate;
use adaptkit_kernels::elementwise;
use adaptkit_kernels::mixture::{
    Attend, AttendBackward, BottleneckGradient, ColumnActivations, Members, Strided,
};

use crate::{Dropout, FrozenLinear, Operand, Parameter, Tensor};

/// What a token takes of each member, and the mixture of their bottlenecks.
pub struct Attended {
    /// p: [tokens, members]
    pub weights: Tensor,
    /// pₙaₙ, and pₙ for the bias: [tokens, outer]
    pub mixed: Operand,
}

/// What [`Tensor::attend_backward`] gives.
pub struct AttendedGradients {
    /// At the scores: [tokens, members]
    pub scores: Tensor,
    /// At what multiplied the bottlenecks: [tokens, outer]
    pub projected: Operand,
}

impl Tensor {
    /// self [tokens, columns] ← f(self), with an f for each range of columns.
    ///
    /// # Panics
    /// If a range lies outside.
    pub fn activate_columns(&mut self, activations: &ColumnActivations) {
        let (device, columns) = (self.device().clone(), self.columns());
        let isa = device.0.isa;
        for row in self.values_mut().chunks_exact_mut(columns.max(1)) {
            for (range, activation) in activations {
                activate(isa, *activation, &mut row[range.clone()]);
            }
        }
    }

    /// For self [tokens, inner + outer], the bottlenecks before their activations and what multiplies
    /// them, the attention to the members, and their mixture for `next` to read.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn attend_activated(
        &self,
        activations: &ColumnActivations,
        members: &Members,
        next: &FrozenLinear,
    ) -> Attended {
        let inner = members.inner();
        assert_eq!(self.columns(), inner + members.outer());
        let bottlenecks = rows_of(self);
        let projected = Strided {
            data: &bottlenecks.data[inner.min(bottlenecks.data.len())..],
            stride: self.columns(),
        };
        let activations = Some(activations);
        let parts = (bottlenecks, activations, projected);
        attend(self, parts, None, Dropout::NONE, members, next)
    }

    /// The same for the activated bottlenecks [tokens, inner] and what multiplies them, `projected`
    /// [tokens, outer], in training: a shift [tokens, 1] is added to a token's scores, and dropout
    /// strikes them, before the soft-max.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn attend(
        &self,
        projected: &Tensor,
        shift: Option<&Tensor>,
        dropout: Dropout,
        members: &Members,
        next: &FrozenLinear,
    ) -> Attended {
        assert_eq!(self.shape(), [projected.rows(), members.inner()]);
        assert_eq!(projected.columns(), members.outer());
        let parts = (rows_of(self), None, rows_of(projected));
        attend(self, parts, shift, dropout, members, next)
    }

    /// The backward of [`Tensor::attend`] for self the bottlenecks, `weights` its result and `d_mixed`
    /// [tokens, outer] the gradient at the mixture.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn attend_backward(
        &self,
        d_mixed: &Tensor,
        weights: &Tensor,
        dropout: Dropout,
        members: &Members,
        next: &FrozenLinear,
    ) -> AttendedGradients {
        assert_eq!(self.shape(), [d_mixed.rows(), members.inner()]);
        assert_eq!(d_mixed.columns(), members.outer());
        assert_eq!(weights.shape(), [self.rows(), members.count()]);
        let device = self.device();
        let mut scores = device.uninitialised(self.rows(), members.count());
        let mut projected = next.operand_for(self.rows(), members.outer());
        let backward = AttendBackward {
            members,
            bottlenecks: rows_of(self),
            d_mixed: rows_of(d_mixed),
            weights: weights.values(),
            dropout,
            d_scores: scores.values_mut(),
            mixed: projected.numbers_mut(),
        };
        device.run(|| backward.run(device.0.isa));
        AttendedGradients { scores, projected }
    }

    /// The gradient before the activations, for self [tokens, inner] what these were taken of, from the
    /// gradient at the mixture, what multiplied the bottlenecks, and the gradient at the scores.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn attended_backward(
        &self,
        activations: &ColumnActivations,
        (d_mixed, weights): (&Tensor, &Tensor),
        (projected, d_scores): (&Tensor, &Tensor),
        members: &Members,
        next: &FrozenLinear,
    ) -> Operand {
        let device = self.device();
        assert_eq!(self.columns(), members.inner());
        for by in [d_mixed, projected] {
            assert_eq!(by.shape(), [self.rows(), members.outer()]);
        }
        let mut out = next.operand_for(self.rows(), members.inner());
        let gradient = BottleneckGradient {
            members,
            activations,
            d_mixed: rows_of(d_mixed),
            weights: weights.values(),
            projected: rows_of(projected),
            d_scores: d_scores.values(),
            hidden: rows_of(self),
            out: out.numbers_mut(),
        };
        device.run(|| gradient.run(device.0.isa));
        out
    }

    /// self·vector [rows, 1], for self [rows, n] and a vector [1, n].
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn row_products(&self, vector: &Parameter) -> Tensor {
        let (device, vector) = (self.device(), vector.value());
        assert_eq!(vector.shape(), [1, self.columns()]);
        let mut out = device.uninitialised(self.rows(), 1);
        let to = out.values_mut();
        device.run(|| {
            elementwise::row_products(device.0.isa, self.values(), vector.values(), to);
        });
        out
    }

    /// The backward of a [`Tensor::row_products`] that is added to each of a row's numbers, for self
    /// [rows, width] the gradient at those: adds to those at `x`, `d_x` [rows, n], and at the vector.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn row_products_backward(&self, x: &Tensor, d_x: &mut Tensor, vector: &mut Parameter) {
        assert!(self.rows() == x.rows() && x.shape() == d_x.shape());
        let device = x.device();
        let isa = device.0.isa;
        let rows = self.values().chunks_exact(self.columns().max(1));
        let sums: Vec<f32> = rows.map(|row| row.iter().sum()).collect();
        device.run(|| {
            elementwise::add_outer(isa, d_x.values_mut(), &sums, vector.value().values());
            let to = vector.gradient_mut().values_mut();
            elementwise::add_scaled_column_sums(isa, x.values(), &sums, to);
        });
    }
}

impl Parameter {
    /// For a square matrix, adds the gradient of factor·‖I − self‖² and returns that.
    ///
    /// # Panics
    /// If it is not square.
    pub fn add_distance_from_identity(&mut self, factor: f64) -> f64 {
        let n = self.value().rows();
        assert_eq!(n, self.value().columns());
        self.gradient_mut();
        let (value, gradient) = self.parts();
        let device = value.device().clone();
        let (isa, scale, to) = (device.0.isa, (2.0 * factor) as f32, gradient.values_mut());
        let add = || elementwise::add_distance_from_identity(isa, to, scale, value.values(), n);
        factor * device.run(add)
    }
}

fn rows_of(x: &Tensor) -> Strided<'_> {
    Strided { data: x.values(), stride: x.columns() }
}

fn attend(
    x: &Tensor,
    parts: (Strided<'_>, Option<&ColumnActivations>, Strided<'_>),
    shift: Option<&Tensor>,
    dropout: Dropout,
    members: &Members,
    next: &FrozenLinear,
) -> Attended {
    let device = x.device();
    let (bottlenecks, activations, projected) = parts;
    let mut weights = device.uninitialised(x.rows(), members.count());
    let mut mixed = next.operand_for(x.rows(), members.outer());
    let attend = Attend {
        members,
        bottlenecks,
        activations,
        projected,
        shift: shift.map(Tensor::values),
        dropout,
        weights: weights.values_mut(),
        mixed: mixed.numbers_mut(),
    };
    device.run(|| attend.run(device.0.isa));
    Attended { weights, mixed }
}
