//! Device and Tensor: the coarse operations that the encoder and the adapters call.
//!
//! This is not a tensor library. A [`Tensor`] is a matrix of `f32` on a [`Device`], opaque to
//! those above: they name operations (a product with its epilogue, ragged attention, add + norm)
//! and never touch its numbers, so that another device can hold them. There is no broadcasting,
//! no view and no autograd: an operation that training needs has a backward beside it.

mod attention;
mod bottleneck;
mod ceilings;
mod columns;
mod device;
mod error;
mod linear;
mod loss;
mod mixture;
mod modulation;
mod norm;
mod operand;
mod rows;
mod slab;
mod tensor;
mod trained;

pub use adaptkit_kernels::Activation;
pub use adaptkit_kernels::Precision;
pub use adaptkit_kernels::elementwise::Dropout;
pub use adaptkit_kernels::mixture::{ColumnActivations, Members};
pub use adaptkit_kernels::optimiser::AdamW;
pub use adaptkit_kernels::random::{Random, mix};
pub use attention::{Heads, Queries, RelativeBias};
pub use bottleneck::{
    Addend, Below, BottleneckEnd, BottleneckInput, Projection, Projections, ProjectionsGradients,
    ProjectionsTape,
};
pub use device::Device;
pub use error::ComputeError;
pub use linear::{FrozenLinear, Parameter};
pub use loss::{ClassLoss, sigmoid, softmax};
pub use mixture::{Attended, AttendedGradients};
pub use norm::{FrozenNorm, NormRef, NormTape, TrainedNorm};
pub use operand::Operand;
pub use rows::{EmbeddingTable, RowOffsets, TableSource};
pub use slab::{BottleneckSlab, SlabBottleneck};
pub use tensor::Tensor;
pub use trained::TrainedLinear;
