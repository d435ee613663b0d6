//! Linear layers y = x·Wᵀ + b: frozen ones, packed once, and trained ones.

use std::sync::atomic::{AtomicU64, Ordering};

use adaptkit_kernels::Precision;
use adaptkit_kernels::matrix::{Epilogue, MatrixRef, Output, PackedMatrix, Product, ProductPair};
use adaptkit_kernels::matrix::{Left, NumbersMut, TiledEpilogue, TiledOutput, TiledProduct};
use adaptkit_kernels::optimiser::{self, AdamW, Moments};

use crate::operand::{self, Storage};
use crate::{Activation, Device, Operand, Projection, Tensor};

/// out ← epilogue(left·right + bias), or out + left·right.
pub(crate) fn product(
    device: &Device,
    left: MatrixRef<'_>,
    right: &PackedMatrix,
    bias: Option<&[f32]>,
    epilogue: Epilogue<'_>,
    out: &mut Tensor,
    accumulate: bool,
) {
    let row_stride = out.columns();
    let data = out.values_mut();
    let out = Output { data, row_stride, accumulate };
    device.run(|| Product { left, right, bias, epilogue, out }.run());
}

/// x·right + bias through an activation, and what came before it if `keep`.
pub(crate) fn activated(
    x: &Tensor,
    right: &PackedMatrix,
    bias: Option<&[f32]>,
    activation: Activation,
    keep: bool,
) -> (Tensor, Option<Tensor>) {
    let device = x.device();
    let [rows, columns] = [x.rows(), right.shape()[1]];
    let mut out = device.uninitialised(rows, columns);
    let mut kept = keep.then(|| device.uninitialised(rows, columns));
    let epilogue = match &mut kept {
        Some(kept) => Epilogue::ActivationKeeping(activation, kept.values_mut()),
        None => Epilogue::Activation(activation),
    };
    product(device, matrix(x), right, bias, epilogue, &mut out, false);
    (out, kept)
}

pub(crate) fn matrix(x: &Tensor) -> MatrixRef<'_> {
    MatrixRef::row_major(x.values(), x.shape())
}

/// A frozen linear layer: weights in packed form only, for the forward pass and, where
/// back-propagation goes through it, for the backward pass too.
pub struct FrozenLinear {
    device: Device,
    forward: PackedMatrix,
    backward: Option<PackedMatrix>,
    bias: Vec<f32>,
    forward_rows: AtomicU64,
    backward_products: AtomicU64,
}

impl FrozenLinear {
    /// Packs `weight` [outputs, inputs], row after row, in this precision, and `bias` `[outputs]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn new(
        device: &Device,
        precision: Precision,
        weight: &[f32],
        bias: &[f32],
    ) -> FrozenLinear {
        let shape = [bias.len(), weight.len() / bias.len().max(1)];
        let weight = MatrixRef::row_major(weight, shape);
        let pack = || PackedMatrix::pack(device.0.isa, precision, weight.transposed());
        let forward = device.run(pack);
        let (device, bias) = (device.clone(), bias.to_vec());
        let [forward_rows, backward_products] = [const { AtomicU64::new(0) }; 2];
        FrozenLinear { device, forward, backward: None, bias, forward_rows, backward_products }
    }

    /// Packs the same `weight` for [`FrozenLinear::backward`] too, in the same precision.
    ///
    /// # Panics
    /// If the length does not fit, or the precision is int8: gradients need more.
    pub fn prepare_backward(&mut self, weight: &[f32]) {
        let weight = MatrixRef::row_major(weight, [self.outputs(), self.inputs()]);
        let precision = self.precision();
        assert!(precision != Precision::Int8, "back-propagation through 8-bit integers");
        let pack = || PackedMatrix::pack(self.device.0.isa, precision, weight);
        self.backward = Some(self.device.run(pack));
    }

    /// How many rows it has computed in forward passes: what tasks share, they show it by.
    pub fn forward_rows(&self) -> u64 {
        self.forward_rows.load(Ordering::Relaxed)
    }

    /// How many products of backward passes it has computed: what a layer that back-propagation is
    /// to stay out of shows it by.
    pub fn backward_products(&self) -> u64 {
        self.backward_products.load(Ordering::Relaxed)
    }

    /// The format of the weights.
    pub fn precision(&self) -> Precision {
        self.forward.precision()
    }

    /// Columns of x.
    pub fn inputs(&self) -> usize {
        self.forward.shape()[0]
    }

    /// Columns of y.
    pub fn outputs(&self) -> usize {
        self.forward.shape()[1]
    }

    /// The layer as a bottleneck's projection.
    pub fn projection(&self) -> Projection<'_> {
        Projection { forward: &self.forward, backward: self.backward.as_ref(), bias: &self.bias }
    }

    /// Bytes that the packed forms take.
    pub fn bytes(&self) -> usize {
        self.forward.bytes() + self.backward.as_ref().map_or(0, PackedMatrix::bytes)
    }

    /// y [rows, outputs] for x [rows, inputs].
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let mut out = self.device.uninitialised(x.rows(), self.outputs());
        let (right, bias) = (self.weights_for(x.rows()), Some(&self.bias[..]));
        product(&self.device, matrix(x), right, bias, Epilogue::None, &mut out, false);
        out
    }

    /// f(y) [rows, outputs], and y itself if `keep`, for the backward pass.
    pub fn forward_activated(
        &self,
        x: &Tensor,
        activation: Activation,
        keep: bool,
    ) -> (Tensor, Option<Tensor>) {
        activated(x, self.weights_for(x.rows()), Some(&self.bias), activation, keep)
    }

    /// y [rows, outputs] for products and attention alone to read.
    pub fn forward_operand(&self, x: &Tensor) -> Operand {
        if !self.forward.is_tiled() {
            return self.forward(x).into();
        }
        let mut out = self.operand(x.rows(), self.outputs());
        let bias = Some(&self.bias[..]);
        self.tiled(
            operand::left(x),
            self.weights_for(x.rows()),
            bias,
            TiledEpilogue::None,
            &mut out,
        );
        out
    }

    /// y [rows, outputs] for an operand [rows, inputs].
    pub fn forward_of(&self, x: &Operand) -> Tensor {
        if let Storage::Full(x) = &x.0 {
            return self.forward(x);
        }
        let mut out = self.device.uninitialised(x.rows(), self.outputs());
        let bias = Some(&self.bias[..]);
        self.tiled_to(x.left(), self.weights_for(x.rows()), bias, &mut out, false);
        out
    }

    /// to ← to + x·Wᵀ, without the bias, for an operand [rows, inputs].
    pub fn add_forward_without_bias_of(&self, x: &Operand, to: &mut Tensor) {
        let right = self.weights_for(x.rows());
        match &x.0 {
            Storage::Full(x) => {
                product(&self.device, matrix(x), right, None, Epilogue::None, to, true);
            }
            Storage::Rounded(_) => self.tiled_to(x.left(), right, None, to, true),
        }
    }

    /// f(y) [rows, outputs] for the product that follows in a feed-forward sub-layer to read, and y
    /// itself if `keep`, for the backward pass.
    pub fn forward_activated_operand(
        &self,
        x: &Tensor,
        activation: Activation,
        keep: bool,
    ) -> (Operand, Option<Operand>) {
        if !self.forward.is_tiled() {
            let (out, kept) = self.forward_activated(x, activation, keep);
            return (out.into(), kept.map(Operand::from));
        }
        let mut out = self.operand(x.rows(), self.outputs());
        let mut kept = keep.then(|| self.operand(x.rows(), self.outputs()));
        let epilogue = match &mut kept {
            Some(kept) => TiledEpilogue::Keeping(activation, kept.numbers_mut()),
            None => TiledEpilogue::Activation(activation),
        };
        let bias = Some(&self.bias[..]);
        self.tiled(operand::left(x), self.weights_for(x.rows()), bias, epilogue, &mut out);
        (out, kept)
    }

    /// second(f(y)), for the layer that follows in a feed-forward sub-layer; nothing is kept for a
    /// backward pass.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn forward_pair(
        &self,
        x: &Tensor,
        activation: Activation,
        second: &FrozenLinear,
    ) -> Tensor {
        let tiled = self.forward.is_tiled() || second.forward.is_tiled();
        if tiled || !self.device.run(|| ProductPair::pays(x.rows())) {
            return second.forward_of(&self.forward_activated_operand(x, activation, false).0);
        }
        let mut out = self.device.uninitialised(x.rows(), second.outputs());
        let pair = ProductPair {
            left: matrix(x),
            first: self.weights_for(x.rows()),
            first_bias: &self.bias,
            activation,
            second: second.weights_for(x.rows()),
            second_bias: &second.bias,
            out: out.values_mut(),
        };
        self.device.run(|| pair.run());
        out
    }

    /// d_x ← d_x + d·W, for d [rows, outputs] at y.
    ///
    /// # Panics
    /// If [`FrozenLinear::prepare_backward`] was not called.
    pub fn backward_add(&self, d: &Tensor, d_x: &mut Tensor) {
        let right = self.transposed();
        product(&self.device, matrix(d), right, None, Epilogue::None, d_x, true);
    }

    /// d_x ← d_x + d·W, for an operand d [rows, outputs] at y.
    ///
    /// # Panics
    /// As [`FrozenLinear::backward_add`].
    pub fn backward_add_of(&self, d: &Operand, d_x: &mut Tensor) {
        match &d.0 {
            Storage::Full(d) => self.backward_add(d, d_x),
            Storage::Rounded(_) => self.tiled_to(d.left(), self.transposed(), None, d_x, true),
        }
    }

    /// d·W [rows, inputs], for d [rows, outputs] at y.
    ///
    /// # Panics
    /// As [`FrozenLinear::backward_add`].
    pub fn backward(&self, d: &Tensor) -> Tensor {
        let mut out = self.device.uninitialised(d.rows(), self.inputs());
        let right = self.transposed();
        product(&self.device, matrix(d), right, None, Epilogue::None, &mut out, false);
        out
    }

    /// The same for an operand d.
    ///
    /// # Panics
    /// As [`FrozenLinear::backward_add`].
    pub fn backward_of(&self, d: &Operand) -> Tensor {
        let Storage::Full(full) = &d.0 else {
            let mut out = self.device.uninitialised(d.rows(), self.inputs());
            self.tiled_to(d.left(), self.transposed(), None, &mut out, false);
            return out;
        };
        self.backward(full)
    }

    /// d·W [rows, inputs], for d [rows, outputs] at y, for products and attention alone to read.
    ///
    /// # Panics
    /// As [`FrozenLinear::backward_add`].
    pub fn backward_operand(&self, d: &Tensor) -> Operand {
        if !self.forward.is_tiled() {
            return self.backward(d).into();
        }
        let right = self.transposed();
        let mut out = self.operand(d.rows(), self.inputs());
        self.tiled(operand::left(d), right, None, TiledEpilogue::None, &mut out);
        out
    }

    /// (d·W)·f′(z) [rows, inputs], for the activation that made this layer's input from `z`.
    ///
    /// # Panics
    /// As [`FrozenLinear::backward_add`].
    pub fn backward_activated(&self, d: &Tensor, activation: Activation, z: &Operand) -> Operand {
        let right = self.transposed();
        if let (false, Storage::Full(z)) = (right.is_tiled(), &z.0) {
            let mut out = self.device.uninitialised(d.rows(), self.inputs());
            let epilogue = Epilogue::ActivationBackward(activation, z.values());
            product(&self.device, matrix(d), right, None, epilogue, &mut out, false);
            return out.into();
        }
        let mut out = self.operand(d.rows(), self.inputs());
        let epilogue = TiledEpilogue::Backward(activation, z.numbers());
        self.tiled(operand::left(d), right, None, epilogue, &mut out);
        out
    }

    /// For numbers that are written whole and that this layer reads, forward or backward.
    pub(crate) fn operand_for(&self, rows: usize, columns: usize) -> Operand {
        Operand::uninitialised(&self.device, rows, columns, self.forward.is_tiled())
    }

    fn weights_for(&self, rows: usize) -> &PackedMatrix {
        self.forward_rows.fetch_add(rows as u64, Ordering::Relaxed);
        &self.forward
    }

    fn transposed(&self) -> &PackedMatrix {
        self.backward_products.fetch_add(1, Ordering::Relaxed);
        self.backward.as_ref().expect("a frozen layer that back-propagation was not prepared for")
    }

    /// For a result of a product in matrix tiles.
    fn operand(&self, rows: usize, columns: usize) -> Operand {
        Operand::uninitialised(&self.device, rows, columns, true)
    }

    /// out ← epilogue(left·right + bias), in matrix tiles.
    fn tiled(
        &self,
        left: Left<'_>,
        right: &PackedMatrix,
        bias: Option<&[f32]>,
        epilogue: TiledEpilogue<'_>,
        out: &mut Operand,
    ) {
        let row_stride = out.shape()[1];
        let out = match out.numbers_mut() {
            NumbersMut::Full(data) => TiledOutput::Full { data, row_stride, accumulate: false },
            NumbersMut::Rounded(rows) => TiledOutput::Rounded(rows),
        };
        self.device.run(|| TiledProduct { left, right, bias, epilogue, out }.run());
    }

    /// out ← left·right + bias, or out + left·right, in matrix tiles.
    fn tiled_to(
        &self,
        left: Left<'_>,
        right: &PackedMatrix,
        bias: Option<&[f32]>,
        out: &mut Tensor,
        accumulate: bool,
    ) {
        let row_stride = out.columns();
        let out = TiledOutput::Full { data: out.values_mut(), row_stride, accumulate };
        let epilogue = TiledEpilogue::None;
        self.device.run(|| TiledProduct { left, right, bias, epilogue, out }.run());
    }
}

/// A trained tensor and, while it is being trained, its gradient.
pub struct Parameter {
    value: Tensor,
    gradient: Option<Tensor>,
}

impl Parameter {
    /// A parameter that is not being trained yet.
    pub fn new(value: Tensor) -> Parameter {
        Parameter { value, gradient: None }
    }

    /// The parameter itself.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// Its gradient, if it is being trained.
    pub fn gradient(&self) -> Option<&Tensor> {
        self.gradient.as_ref()
    }

    /// The gradient for adding to; made of zeros where there is none yet.
    pub fn gradient_mut(&mut self) -> &mut Tensor {
        let value = &self.value;
        self.gradient
            .get_or_insert_with(|| value.device().lasting_zeros(value.rows(), value.columns()))
    }

    /// gradient ← 0, where there is one.
    pub fn clear_gradient(&mut self) {
        if let Some(gradient) = &mut self.gradient {
            gradient.clear();
        }
    }

    /// value ← values. Whoever owns the parameter repacks what it has packed of it.
    ///
    /// # Panics
    /// If there are not as many values as the parameter holds.
    pub fn assign(&mut self, values: &[f32]) {
        self.value.assign(values);
    }

    /// Σ gradient², zero where there is none.
    pub fn squared_gradient_norm(&self) -> f64 {
        self.gradient.as_ref().map_or(0.0, |g| {
            g.device().run(|| optimiser::sum_of_squares(g.device().0.isa, g.values()))
        })
    }

    /// One step of AdamW (number `step`, from 1) with the gradient scaled by `clip`.
    ///
    /// # Panics
    /// If the parameter has no gradient or the moments another shape.
    pub fn update(
        &mut self,
        adamw: &AdamW,
        step: u64,
        clip: f32,
        [first, second]: [&mut Tensor; 2],
    ) {
        let device = self.value.device().clone();
        let gradient = self.gradient.as_ref().expect("a parameter that is being trained");
        let moments = Moments {
            parameter: self.value.values_mut(),
            gradient: gradient.values(),
            first: first.values_mut(),
            second: second.values_mut(),
        };
        device.run(|| adamw.step(device.0.isa, step, clip, moments));
    }

    /// The value, and the gradient if there is one, at once.
    pub(crate) fn parts(&mut self) -> (&Tensor, &mut Tensor) {
        (&self.value, self.gradient.as_mut().expect("a parameter that is being trained"))
    }
}
