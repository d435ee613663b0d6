//! What scales a tensor by something that is trained: factors of columns, and a gate of each row of
//! a batch.

use adaptkit_kernels::elementwise;

use crate::{Parameter, RowOffsets, Tensor};

impl Tensor {
    /// self [tokens, width] ← self·factors, [1, 1] or [1, width].
    ///
    /// # Panics
    /// If the factors have another shape.
    pub fn scale_by(&mut self, factors: &Tensor) {
        match factors.values() {
            [factor] => self.scale(*factor),
            factors => {
                assert_eq!(factors.len(), self.columns());
                elementwise::scale_columns(self.values_mut(), factors);
            }
        }
    }

    /// Adds to the gradient of `factors`, by which `x` was scaled, for self the gradient at the
    /// product.
    ///
    /// # Panics
    /// If the shapes do not fit [`Tensor::scale_by`].
    pub fn add_scale_gradient(&self, x: &Tensor, factors: &mut Parameter) {
        assert_eq!(self.shape(), x.shape());
        let to = factors.gradient_mut().values_mut();
        if let [sum] = to {
            let mut rows = vec![0.0; x.rows()];
            elementwise::row_dots(self.values(), x.values(), x.columns(), &mut rows);
            *sum += rows.iter().map(|x| f64::from(*x)).sum::<f64>() as f32;
        } else {
            elementwise::add_column_dots(self.values(), x.values(), to);
        }
    }

    /// For logits [tokens, 1]: the mean of their sigmoid over the tokens of each row of a batch,
    /// [rows, 1].
    ///
    /// # Panics
    /// If the offsets are of another number of tokens.
    pub fn mean_sigmoid(&self, offsets: &RowOffsets) -> Tensor {
        assert_eq!(self.shape(), [offsets.tokens(), 1]);
        let values = self.values();
        let means = offsets.as_slice().windows(2).map(|w| {
            let row = &values[w[0]..w[1]];
            let sum: f64 = row.iter().map(|x| f64::from(sigmoid(*x))).sum();
            (sum / row.len().max(1) as f64) as f32
        });
        let means: Vec<f32> = means.collect();
        self.device().tensor(means.len(), 1, &means)
    }

    /// The gradient at the logits of [`Tensor::mean_sigmoid`], for `d` [rows, 1] at its result.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn mean_sigmoid_backward(&self, d: &Tensor, offsets: &RowOffsets) -> Tensor {
        assert_eq!(d.shape(), [offsets.rows(), 1]);
        let mut out = self.duplicate();
        let windows = offsets.as_slice().windows(2);
        for (w, d) in windows.zip(d.values()) {
            let row = &mut out.values_mut()[w[0]..w[1]];
            let share = d / row.len().max(1) as f32;
            for x in row {
                let y = sigmoid(*x);
                *x = share * y * (1.0 - y);
            }
        }
        out
    }

    /// self [tokens, width] ← self·factors, a factor [rows, 1] for each row of a batch.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn scale_batch_rows(&mut self, factors: &Tensor, offsets: &RowOffsets) {
        assert!(self.rows() == offsets.tokens() && factors.shape() == [offsets.rows(), 1]);
        let factors = spread(factors.values(), offsets);
        let width = self.columns();
        elementwise::scale_rows(self.values_mut(), width, &factors);
    }

    /// The gradient at the factors of [`Tensor::scale_batch_rows`], [rows, 1], for self the
    /// gradient at the product and `x` what was scaled.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn batch_row_dots(&self, x: &Tensor, offsets: &RowOffsets) -> Tensor {
        assert!(self.shape() == x.shape() && self.rows() == offsets.tokens());
        let mut tokens = vec![0.0; self.rows()];
        elementwise::row_dots(self.values(), x.values(), self.columns(), &mut tokens);
        let sum = |w: &[usize]| tokens[w[0]..w[1]].iter().map(|x| f64::from(*x)).sum::<f64>();
        let sums: Vec<f32> = offsets.as_slice().windows(2).map(|w| sum(w) as f32).collect();
        self.device().tensor(sums.len(), 1, &sums)
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// A number of each row of a batch, for each of its tokens.
fn spread(rows: &[f32], offsets: &RowOffsets) -> Vec<f32> {
    let windows = offsets.as_slice().windows(2);
    windows.zip(rows).flat_map(|(w, x)| std::iter::repeat_n(*x, w[1] - w[0])).collect()
}
