//! Trained linear layers: parameters in f32, products in f32 or bf16.

use std::cell::Cell;

use adaptkit_kernels::Precision;
use adaptkit_kernels::elementwise;
use adaptkit_kernels::matrix::{
    Epilogue, Left, PackedMatrix, TiledEpilogue, TiledOutput, TiledProduct,
};

use crate::linear::{activated, matrix, product};
use crate::operand::{self, Rounded, Storage};
use crate::{Activation, Device, Operand, Parameter, Projection, Tensor};

/// A trained linear layer: its parameters, and their packed forms, renewed after each update.
///
/// Products round their operands to the precision; parameters and gradients are f32. The gradient of
/// the weight, too, is a product in bf16 where those run in matrix tiles: each of its numbers is then
/// off by 2⁻⁷ of the sum of its products' magnitudes at most, beside what f32 loses.
pub struct TrainedLinear {
    /// [outputs, inputs]
    pub weight: Parameter,
    /// [1, outputs]
    pub bias: Parameter,
    /// Whether what is packed is W − I, so that rounding touches that only.
    beside_identity: bool,
    forward: PackedMatrix,
    backward: PackedMatrix,
}

impl TrainedLinear {
    /// A layer of `weight` [outputs, inputs] and `bias` [1, outputs], with products in f32.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn new(weight: Tensor, bias: Tensor) -> TrainedLinear {
        TrainedLinear::in_precision(weight, bias, Precision::F32)
    }

    /// The same with products in f32 or bf16.
    ///
    /// # Panics
    /// If the shapes do not fit, or the precision is int8: gradients need more.
    pub fn in_precision(weight: Tensor, bias: Tensor, precision: Precision) -> TrainedLinear {
        TrainedLinear::of(weight, bias, precision, false)
    }

    /// A square layer without a bias that is near the identity: x·Wᵀ is computed as x + x·(W − I)ᵀ, of
    /// which only the second is rounded.
    ///
    /// # Panics
    /// As for [`TrainedLinear::in_precision`].
    pub fn near_identity(weight: Tensor, precision: Precision) -> TrainedLinear {
        assert_eq!(weight.rows(), weight.columns());
        let bias = weight.device().lasting_zeros(1, weight.rows());
        TrainedLinear::of(weight, bias, precision, true)
    }

    fn of(
        weight: Tensor,
        bias: Tensor,
        precision: Precision,
        beside_identity: bool,
    ) -> TrainedLinear {
        assert_eq!(bias.shape(), [1, weight.rows()]);
        assert!(precision != Precision::Int8, "training in 8-bit integers");
        let isa = weight.device().0.isa;
        let mut layer = TrainedLinear {
            weight: Parameter::new(weight),
            bias: Parameter::new(bias),
            beside_identity,
            forward: PackedMatrix::empty(isa, precision),
            backward: PackedMatrix::empty(isa, precision),
        };
        layer.repack();
        layer
    }

    /// Renews the packed forms after a change of the weight.
    pub fn repack(&mut self) {
        let weight = self.weight.value();
        let device = weight.device().clone();
        let difference = self.beside_identity.then(|| {
            let mut difference = weight.duplicate();
            let columns = weight.columns();
            difference.values_mut().iter_mut().step_by(columns + 1).for_each(|x| *x -= 1.0);
            difference
        });
        let weight = matrix(difference.as_ref().unwrap_or(weight));
        let (forward, backward) = (&mut self.forward, &mut self.backward);
        device.run(|| {
            forward.repack(weight.transposed());
            backward.repack(weight);
        });
    }

    /// Columns of x.
    pub fn inputs(&self) -> usize {
        self.weight.value().columns()
    }

    /// Columns of y.
    pub fn outputs(&self) -> usize {
        self.weight.value().rows()
    }

    /// The layer as a bottleneck's projection.
    ///
    /// # Panics
    /// If the layer is near the identity.
    pub fn projection(&self) -> Projection<'_> {
        assert!(!self.beside_identity);
        let bias = self.bias.value().values();
        Projection { forward: &self.forward, backward: Some(&self.backward), bias }
    }

    /// y [rows, outputs] for x [rows, inputs].
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let device = x.device();
        let mut out = device.uninitialised(x.rows(), self.outputs());
        let bias = Some(self.bias.value().values());
        product(device, matrix(x), &self.forward, bias, Epilogue::None, &mut out, false);
        out
    }

    /// x·Wᵀ [rows, outputs], without the bias.
    pub fn forward_without_bias(&self, x: &Tensor) -> Tensor {
        self.without_bias(x, &self.forward)
    }

    /// to ← to + x·Wᵀ, without the bias.
    pub fn add_forward_without_bias(&self, x: &Tensor, to: &mut Tensor) {
        if self.beside_identity {
            to.add_scaled(1.0, x);
        }
        product(x.device(), matrix(x), &self.forward, None, Epilogue::None, to, true);
    }

    /// f(y) [rows, outputs], and y itself if `keep`.
    pub fn forward_activated(
        &self,
        x: &Tensor,
        activation: Activation,
        keep: bool,
    ) -> (Tensor, Option<Tensor>) {
        activated(x, &self.forward, Some(self.bias.value().values()), activation, keep)
    }

    /// Adds the gradients of weight and bias, for x [rows, inputs] and d [rows, outputs] at y.
    pub fn add_gradients(&mut self, x: &Tensor, d: &Tensor) {
        let device = x.device();
        let to = self.bias.gradient_mut().values_mut();
        device.run(|| elementwise::add_column_sums(d.values(), to));
        self.add_weight_gradient(x, d);
    }

    /// Adds the gradient of the weight alone.
    pub fn add_weight_gradient(&mut self, x: &Tensor, d: &Tensor) {
        let (device, tiled) = (x.device(), self.forward.is_tiled());
        let to = self.weight.gradient_mut();
        // A gradient's right matrix is packed once and forgotten: its memory waits for the next.
        let precision = if tiled { Precision::Bf16 } else { Precision::F32 };
        device.run(|| {
            let mut packed = match PACKED.take() {
                Some(packed) if packed.isa() == device.0.isa && packed.precision() == precision => {
                    packed
                }
                _ => PackedMatrix::empty(device.0.isa, precision),
            };
            packed.repack(matrix(x));
            match tiled {
                true => tiled_gradient(device, d, &packed, to),
                false => {
                    let d = matrix(d).transposed();
                    product(device, d, &packed, None, Epilogue::None, to, true);
                }
            }
            PACKED.set(Some(packed));
        });
    }

    /// d·W [rows, inputs], for d [rows, outputs] at y.
    pub fn backward(&self, d: &Tensor) -> Tensor {
        self.without_bias(d, &self.backward)
    }

    /// The same for products alone to read.
    ///
    /// # Panics
    /// If the layer is near the identity: what is added in f32 is more than those read.
    pub fn backward_operand(&self, d: &Tensor) -> Operand {
        assert!(!self.beside_identity);
        if !self.backward.is_tiled() {
            return self.backward(d).into();
        }
        let device = d.device();
        let mut out = Operand::uninitialised(device, d.rows(), self.inputs(), true);
        if let Storage::Rounded(rounded) = &mut out.0 {
            let product = TiledProduct {
                left: operand::left(d),
                right: &self.backward,
                bias: None,
                epilogue: TiledEpilogue::None,
                out: TiledOutput::Rounded(rounded.values_mut()),
            };
            device.run(|| product.run());
        }
        out
    }

    /// d_x ← d_x + d·W.
    pub fn backward_add(&self, d: &Tensor, d_x: &mut Tensor) {
        if self.beside_identity {
            d_x.add_scaled(1.0, d);
        }
        product(d.device(), matrix(d), &self.backward, None, Epilogue::None, d_x, true);
    }

    fn without_bias(&self, x: &Tensor, right: &PackedMatrix) -> Tensor {
        let mut out = match self.beside_identity {
            true => x.duplicate(),
            false => x.device().uninitialised(x.rows(), right.shape()[1]),
        };
        let accumulate = self.beside_identity;
        product(x.device(), matrix(x), right, None, Epilogue::None, &mut out, accumulate);
        out
    }
}

thread_local! {
    static PACKED: Cell<Option<PackedMatrix>> = const { Cell::new(None) };
}

/// to ← to + dᵀ·x, in matrix tiles, for d [rows, outputs] and a packed x [rows, inputs].
fn tiled_gradient(device: &Device, d: &Tensor, x: &PackedMatrix, to: &mut Tensor) {
    let mut turned = Rounded::uninitialised(device, d.columns(), d.rows());
    turned.values_mut().round_transposed(device.0.isa, matrix(d));
    let row_stride = to.columns();
    let out = TiledOutput::Full { data: to.values_mut(), row_stride, accumulate: true };
    let left = Left::Rounded(turned.values());
    TiledProduct { left, right: x, bias: None, epilogue: TiledEpilogue::None, out }.run();
}
