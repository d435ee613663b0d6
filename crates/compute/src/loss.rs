//! Losses of logits, with the gradient at the logits.

use adaptkit_kernels::loss;
pub use adaptkit_kernels::loss::ClassLoss;

use crate::Tensor;

impl Tensor {
    /// self [rows, columns] ← the soft-max of each row.
    pub fn softmax_rows(&mut self) {
        let columns = self.columns().max(1);
        for row in self.values_mut().chunks_exact_mut(columns) {
            let probabilities = softmax(row);
            row.copy_from_slice(&probabilities);
        }
    }

    /// The mean soft-max cross-entropy of logits [rows, classes] and its gradient, rows weighing as
    /// their labels do.
    ///
    /// # Panics
    /// If there is not one label below `classes` a row, or not one weight a class.
    pub fn cross_entropy(&self, labels: &[usize], of: ClassLoss<'_>) -> (f64, Tensor) {
        assert_eq!(labels.len(), self.rows());
        let mut d = self.device().uninitialised(self.rows(), self.columns());
        let value = loss::cross_entropy(self.values(), labels, of, d.values_mut());
        (value, d)
    }

    /// The mean sigmoid cross-entropy of logits [rows, labels] and its gradient; where there are
    /// weights, a target of 1 counts as many times as its label's says.
    ///
    /// # Panics
    /// If there is not a target in 0..=1 for each logit, or not one weight a label.
    pub fn binary_cross_entropy(
        &self,
        targets: &[f32],
        positive_weights: Option<&[f64]>,
    ) -> (f64, Tensor) {
        let mut d = self.device().uninitialised(self.rows(), self.columns());
        let value =
            loss::binary_cross_entropy(self.values(), targets, positive_weights, d.values_mut());
        (value, d)
    }

    /// The mean squared error of predictions [rows, 1] and its gradient.
    ///
    /// # Panics
    /// If there is not one target a row.
    pub fn mean_squared_error(&self, targets: &[f32]) -> (f64, Tensor) {
        assert_eq!(self.columns(), 1);
        let mut d = self.device().uninitialised(self.rows(), 1);
        let value = loss::mean_squared_error(self.values(), targets, d.values_mut());
        (value, d)
    }
}

/// The soft-max of a row of logits on the host.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    loss::softmax(logits)
}

/// The logistic function of each logit of a row on the host.
pub fn sigmoid(logits: &[f32]) -> Vec<f32> {
    logits.iter().map(|z| (1.0 / (1.0 + (-f64::from(*z)).exp())) as f32).collect()
}
