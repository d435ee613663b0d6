//! Tasks and data, the training loop, metrics and checkpoints.

pub mod data;
pub mod error;
pub mod metrics;
pub mod run;
pub mod tasks;

pub use error::TrainingError;
