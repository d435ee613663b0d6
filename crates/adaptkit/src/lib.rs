//! Adapters for frozen transformer encoders: the library a program depends on.
//!
//! The crates below it, under one name: [`compute`] (devices and tensors), [`encoder`] (the frozen
//! model), [`adapters`] (bottlenecks, heads and their files) and [`training`] (data, tasks, the
//! loop and metrics).

pub use adaptkit_adapters as adapters;
pub use adaptkit_compute as compute;
pub use adaptkit_encoder as encoder;
pub use adaptkit_training as training;
