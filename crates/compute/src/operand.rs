//! Numbers on their way into a frozen product.

use adaptkit_kernels::matrix::{Bf16Layout, Bf16Rows, Bf16RowsMut, Left, MatrixRef};
use adaptkit_kernels::matrix::{Numbers, NumbersMut};
use adaptkit_kernels::memory::ArenaBuffer;

use crate::{Device, Precision, Tensor};

/// A matrix [rows, columns] that only products of frozen weights, and the attention between two of
/// them, read.
///
/// Where those round it to bf16 and multiply in matrix tiles it is kept in bf16 from the beginning,
/// with half the memory to go through; else in f32.
pub struct Operand(pub(crate) Storage);

pub(crate) enum Storage {
    Full(Tensor),
    Rounded(Rounded),
}

/// A matrix of bf16 on a device.
pub(crate) struct Rounded {
    device: Device,
    layout: Bf16Layout,
    buffer: ArenaBuffer,
}

impl Operand {
    /// For a result [rows, columns] that will be written whole.
    pub(crate) fn uninitialised(
        device: &Device,
        rows: usize,
        columns: usize,
        rounded: bool,
    ) -> Operand {
        Operand(if rounded {
            Storage::Rounded(Rounded::uninitialised(device, rows, columns))
        } else {
            Storage::Full(device.uninitialised(rows, columns))
        })
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        match &self.0 {
            Storage::Full(tensor) => tensor.device(),
            Storage::Rounded(rounded) => &rounded.device,
        }
    }

    /// Rows: tokens, most often.
    pub fn rows(&self) -> usize {
        self.shape()[0]
    }

    /// [rows, columns]
    pub fn shape(&self) -> [usize; 2] {
        match &self.0 {
            Storage::Full(tensor) => tensor.shape(),
            Storage::Rounded(rounded) => [rounded.layout.rows, rounded.layout.columns],
        }
    }

    /// What the numbers are kept in, f32 or bf16: as what has made them multiplied.
    pub fn precision(&self) -> Precision {
        match &self.0 {
            Storage::Full(_) => Precision::F32,
            Storage::Rounded(_) => Precision::Bf16,
        }
    }

    /// Bytes that the numbers take.
    pub fn bytes(&self) -> usize {
        let [rows, columns] = self.shape();
        4 / self.precision().per_word() * rows * columns
    }

    pub(crate) fn left(&self) -> Left<'_> {
        match &self.0 {
            Storage::Full(tensor) => left(tensor),
            Storage::Rounded(rounded) => Left::Rounded(rounded.values()),
        }
    }

    pub(crate) fn numbers(&self) -> Numbers<'_> {
        match &self.0 {
            Storage::Full(tensor) => Numbers::Full(tensor.values()),
            Storage::Rounded(rounded) => Numbers::Rounded(rounded.values()),
        }
    }

    pub(crate) fn numbers_mut(&mut self) -> NumbersMut<'_> {
        match &mut self.0 {
            Storage::Full(tensor) => NumbersMut::Full(tensor.values_mut()),
            Storage::Rounded(rounded) => NumbersMut::Rounded(rounded.values_mut()),
        }
    }
}

impl From<Tensor> for Operand {
    fn from(tensor: Tensor) -> Operand {
        Operand(Storage::Full(tensor))
    }
}

/// A tensor as the left matrix of a product.
pub(crate) fn left(x: &Tensor) -> Left<'_> {
    Left::Full(MatrixRef::row_major(x.values(), x.shape()))
}

impl Rounded {
    pub(crate) fn uninitialised(device: &Device, rows: usize, columns: usize) -> Rounded {
        let layout = Bf16Layout { rows, columns };
        Rounded { device: device.clone(), layout, buffer: device.0.take(layout.room()) }
    }

    pub(crate) fn values(&self) -> Bf16Rows<'_> {
        Bf16Rows::new(&self.buffer, self.layout)
    }

    pub(crate) fn values_mut(&mut self) -> Bf16RowsMut<'_> {
        Bf16RowsMut::new(&mut self.buffer, self.layout)
    }

    /// All numbers, and what lies around them, ← 0.
    pub(crate) fn clear(&mut self) {
        self.buffer.fill(0.0);
    }

    pub(crate) fn widened(&self) -> Tensor {
        let mut tensor = self.device.uninitialised(self.layout.rows, self.layout.columns);
        let (device, isa) = (self.device.clone(), self.device.0.isa);
        let (from, to) = (self.values(), tensor.values_mut());
        device.run(|| from.widen(isa, to));
        tensor
    }
}
