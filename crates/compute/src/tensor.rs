//! A matrix of `f32` on a device.

use std::fmt;

use adaptkit_kernels::activation::activation_backward;
use adaptkit_kernels::elementwise;
use adaptkit_kernels::memory::ArenaBuffer;

use crate::{Activation, Device, Dropout};

/// A matrix [rows, columns] of `f32`, row after row, on a [`Device`].
///
/// Its numbers leave the device by [`Tensor::to_vec`] only.
pub struct Tensor {
    device: Device,
    rows: usize,
    columns: usize,
    /// rows × columns numbers.
    buffer: ArenaBuffer,
}

impl Tensor {
    pub(crate) fn with_buffer(
        device: &Device,
        rows: usize,
        columns: usize,
        buffer: ArenaBuffer,
    ) -> Tensor {
        debug_assert_eq!(buffer.len(), rows * columns);
        Tensor { device: device.clone(), rows, columns, buffer }
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Rows: tokens or texts, most often.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// [rows, columns]
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// A copy of the numbers on the host.
    pub fn to_vec(&self) -> Vec<f32> {
        self.values().to_vec()
    }

    /// A copy on the same device.
    pub fn duplicate(&self) -> Tensor {
        self.device.tensor(self.rows, self.columns, self.values())
    }

    /// A copy that outlives a step.
    pub(crate) fn lasting_duplicate(&self) -> Tensor {
        self.device.lasting_tensor(self.rows, self.columns, self.values())
    }

    /// self ← values.
    ///
    /// # Panics
    /// If there are not as many values as the tensor holds.
    pub fn assign(&mut self, values: &[f32]) {
        self.values_mut().copy_from_slice(values);
    }

    /// self ← 0.
    pub fn clear(&mut self) {
        self.values_mut().fill(0.0);
    }

    /// self ← self + scale·other.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn add_scaled(&mut self, scale: f32, other: &Tensor) {
        assert_eq!(self.shape(), other.shape());
        let (device, isa) = (self.device.clone(), self.device.0.isa);
        let to = self.values_mut();
        device.run(|| elementwise::add_scaled(isa, to, scale, other.values()));
    }

    /// self ← scale·self.
    pub fn scale(&mut self, scale: f32) {
        elementwise::scale(self.values_mut(), scale);
    }

    /// Applies dropout in place; on a gradient with the same key this is its backward.
    pub fn dropout(&mut self, dropout: Dropout) {
        let device = self.device.clone();
        let values = self.values_mut();
        device.run(|| dropout.apply(values));
    }

    /// self ← self·f′(z), for the activation whose input was `z`.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn activation_backward(&mut self, activation: Activation, z: &Tensor) {
        assert_eq!(self.shape(), z.shape());
        let isa = self.device.0.isa;
        activation_backward(isa, activation, z.values(), self.values_mut());
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.buffer
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.buffer
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor [{}, {}] on {:?}", self.rows, self.columns, self.device)
    }
}
