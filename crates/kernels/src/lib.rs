//! Numbers on slices: packed matrix products, ragged attention, layer norm, activations, losses
//! and AdamW, for several instruction sets at once.
//!
//! The crate knows nothing of models. Its functions take slices and shapes, and an [`Isa`] where
//! the instructions matter; they spread over the rayon pool that they are called in. It is also
//! the one crate that holds unsafe code: vector instructions, tasks that write disjoint parts of
//! one slice, and memory-mapped files. Everything public is safe to call.
//!
//! Arithmetic is `f32` with `f32` sums, but for packed matrices of another [`Precision`] and rows of
//! bf16 ([`matrix::Bf16Rows`]). For one instruction set the result of every function depends on its
//! arguments alone, not on the number of threads.

pub mod activation;
mod arch;
pub mod attention;
pub mod bottleneck;
pub mod double;
pub mod elementary;
pub mod elementwise;
mod isa;
pub mod loss;
pub mod mapped;
pub mod matrix;
pub mod memory;
pub mod mixture;
pub mod norm;
pub mod optimiser;
pub mod parallel;
pub mod peak;
mod precision;
pub mod random;
mod simd;
mod sizes;
mod tiled_attention;

pub use activation::Activation;
pub use isa::Isa;
pub use precision::{Precision, round_to_bf16};
