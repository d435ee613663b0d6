//! Columns of numbers, one for each row, and their products with rows.

use adaptkit_kernels::elementwise;

use crate::Tensor;

impl Tensor {
    /// The sums of products of self's rows and x's: [rows, 1].
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn row_dots(&self, x: &Tensor) -> Tensor {
        assert_eq!(self.shape(), x.shape());
        let mut out = self.device().zeros(self.rows(), 1);
        elementwise::row_dots(self.values(), x.values(), self.columns(), out.values_mut());
        out
    }

    /// The columns of several tensors side by side.
    ///
    /// # Panics
    /// If there is none, or they differ in their rows.
    pub fn side_by_side(parts: &[Tensor]) -> Tensor {
        let rows = parts[0].rows();
        assert!(parts.iter().all(|part| part.rows() == rows));
        let width = parts.iter().map(Tensor::columns).sum();
        let mut out = parts[0].device().uninitialised(rows, width);
        for (row, mut to) in out.values_mut().chunks_exact_mut(width).enumerate() {
            for part in parts {
                let columns = part.columns();
                let (here, after) = to.split_at_mut(columns);
                here.copy_from_slice(&part.values()[row * columns..][..columns]);
                to = after;
            }
        }
        out
    }

    /// self ← self + x, each row of it times its factor in a column of `factors`.
    ///
    /// # Panics
    /// If the shapes do not fit, or there is no such column.
    pub fn add_rows_scaled(&mut self, x: &Tensor, factors: &Tensor, column: usize) {
        assert_eq!(self.shape(), x.shape());
        assert!(factors.rows() == x.rows() && column < factors.columns());
        let (isa, width) = (x.device().0.isa, x.columns());
        let rows = self.values_mut().chunks_exact_mut(width).zip(x.values().chunks_exact(width));
        for ((to, x), factors) in rows.zip(factors.values().chunks_exact(factors.columns())) {
            elementwise::add_scaled(isa, to, factors[column], x);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Device;

    #[test]
    fn columns_go_with_their_rows() {
        let device = Device::cpu(None).expect("a device");
        let x = device.tensor(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let y = device.tensor(2, 3, &[1.0, 0.0, -1.0, 2.0, 0.5, 0.0]);
        let dots = x.row_dots(&y);
        assert_eq!((dots.shape(), dots.to_vec()), ([2, 1], vec![-2.0, 10.5]));
        let both = super::Tensor::side_by_side(&[dots, y.duplicate()]);
        let wanted = vec![-2.0, 1.0, 0.0, -1.0, 10.5, 2.0, 0.5, 0.0];
        assert_eq!((both.shape(), both.to_vec()), ([2, 4], wanted));
        let mut sum = x.duplicate();
        sum.add_rows_scaled(&y, &both, 1);
        assert_eq!(sum.to_vec(), [2.0, 2.0, 2.0, 8.0, 6.0, 6.0]);
    }
}
