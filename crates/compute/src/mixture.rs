//! The mixture of a fusion's members, token by token; see [`adaptkit_kernels::mixture`].

use std::ops::Range;

use adaptkit_kernels::activation::{activate, activation_backward};
use adaptkit_kernels::elementwise;
use adaptkit_kernels::mixture::{self, Members};

use crate::{Activation, Parameter, Tensor};

/// Activations of ranges of columns, which cover all of them.
pub type ColumnActivations = [(Range<usize>, Activation)];

impl Tensor {
    /// self [tokens, columns] ← f(self), with an f for each range of columns.
    ///
    /// # Panics
    /// If a range lies outside.
    pub fn activate_columns(&mut self, activations: &ColumnActivations) {
        let (device, columns) = (self.device().clone(), self.columns());
        let (isa, values) = (device.0.isa, self.values_mut());
        if let [(_, activation)] = activations {
            return device.run(|| activate(isa, *activation, values));
        }
        for row in values.chunks_exact_mut(columns.max(1)) {
            for (range, activation) in activations {
                activate(isa, *activation, &mut row[range.clone()]);
            }
        }
    }

    /// self ← self·f′(z), for the activations whose input was `z`.
    ///
    /// # Panics
    /// If the shapes differ or a range lies outside.
    pub fn activate_columns_backward(&mut self, activations: &ColumnActivations, z: &Tensor) {
        assert_eq!(self.shape(), z.shape());
        if let [(_, activation)] = activations {
            return self.activation_backward(*activation, z);
        }
        let (isa, columns) = (self.device().0.isa, self.columns().max(1));
        let rows = self.values_mut().chunks_exact_mut(columns);
        for (d, z) in rows.zip(z.values().chunks_exact(columns)) {
            for (range, activation) in activations {
                activation_backward(isa, *activation, &z[range.clone()], &mut d[range.clone()]);
            }
        }
    }

    /// For self [tokens, inner] and w [tokens, outer]: each member's product [tokens, members].
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn member_dots(&self, w: &Tensor, members: &Members) -> Tensor {
        assert_eq!(self.rows(), w.rows());
        let mut out = self.device().uninitialised(self.rows(), members.count());
        members.dots(self.values(), w.values(), out.values_mut());
        out
    }

    /// For self [tokens, inner]: each member's columns, and 1 for its bias, times its factor
    /// [tokens, members]: [tokens, outer].
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn member_mixture(&self, factors: &Tensor, members: &Members) -> Tensor {
        assert_eq!(self.rows(), factors.rows());
        let mut out = self.device().uninitialised(self.rows(), members.outer());
        members.mix(self.values(), factors.values(), out.values_mut());
        out
    }

    /// self [tokens, inner] ← self + each member's columns of w [tokens, outer] times its factor
    /// [tokens, members].
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn add_member_scaled(&mut self, w: &Tensor, factors: &Tensor, members: &Members) {
        assert!(self.rows() == w.rows() && w.rows() == factors.rows());
        members.add_scaled(w.values(), factors.values(), self.values_mut());
    }

    /// self [rows, width] ← the soft-max of each row.
    pub fn softmax_rows(&mut self) {
        let width = self.columns();
        mixture::softmax_rows(self.values_mut(), width);
    }

    /// self, the gradient at the result p of [`Tensor::softmax_rows`], ← the gradient before it.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn softmax_rows_backward(&mut self, p: &Tensor) {
        assert_eq!(self.shape(), p.shape());
        mixture::softmax_rows_backward(p.values(), self.values_mut(), p.columns());
    }

    /// self [rows, width] ← self + x·vector in every column, for x [rows, n] and a vector [1, n].
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn add_product_to_columns(&mut self, x: &Tensor, vector: &Parameter) {
        let vector = vector.value();
        assert!(self.rows() == x.rows() && vector.shape() == [1, x.columns()]);
        let width = self.columns();
        let rows = self.values_mut().chunks_exact_mut(width);
        for (to, x) in rows.zip(x.values().chunks_exact(vector.columns())) {
            let mut product = [0.0];
            elementwise::row_dots(x, vector.values(), x.len(), &mut product);
            to.iter_mut().for_each(|to| *to += product[0]);
        }
    }

    /// The backward of [`Tensor::add_product_to_columns`], for self the gradient at its result:
    /// adds to those at `x`, `d_x`, and at the vector.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn product_to_columns_backward(
        &self,
        x: &Tensor,
        d_x: &mut Tensor,
        vector: &mut Parameter,
    ) {
        assert!(self.rows() == x.rows() && x.shape() == d_x.shape());
        let isa = x.device().0.isa;
        let width = x.columns();
        let mut d_vector = x.device().zeros(1, width);
        let rows = self.values().chunks_exact(self.columns());
        let pairs = x.values().chunks_exact(width).zip(d_x.values_mut().chunks_exact_mut(width));
        for (d, (x, d_x)) in rows.zip(pairs) {
            let sum: f32 = d.iter().sum();
            elementwise::add_scaled(isa, d_x, sum, vector.value().values());
            elementwise::add_scaled(isa, d_vector.values_mut(), sum, x);
        }
        vector.gradient_mut().add_scaled(1.0, &d_vector);
    }

    /// Σ (self − I)² of a square matrix.
    ///
    /// # Panics
    /// If it is not square.
    pub fn squared_distance_from_identity(&self) -> f64 {
        assert_eq!(self.rows(), self.columns());
        let (n, values) = (self.rows(), self.values());
        let element = |i: usize| f64::from(values[i]) - f64::from(u8::from(i / n == i % n));
        (0..n * n).map(|i| element(i).powi(2)).sum()
    }

    /// self ← self + scale·(x − I), for square matrices.
    ///
    /// # Panics
    /// If the shapes differ or are not square.
    pub fn add_distance_from_identity(&mut self, scale: f32, x: &Tensor) {
        assert_eq!(self.rows(), self.columns());
        self.add_scaled(scale, x);
        let columns = self.columns();
        self.values_mut().iter_mut().step_by(columns + 1).for_each(|to| *to -= scale);
    }
}
