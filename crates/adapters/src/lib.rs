//! Bottleneck adapters, their placements, heads and files.
//!
//! [`TaskModel`] is what is trained for one task: an [`Adapter`] of [`Module`]s at places of the
//! encoder ([`Bottleneck`]s, or [`Fusion`]s of several adapters), and a [`Head`]. [`config`] says what an adapter is to be, [`files`] reads and
//! writes the `adapters` library's directories, and [`composition`] makes one model of several adapters.

mod adapter;
mod assembly;
pub mod atomic;
mod bottleneck;
mod classifier;
pub mod composition;
pub mod config;
pub mod error;
pub mod files;
mod fusion;
mod head;
mod linear;
mod merging;
mod mixed;
mod module;
pub mod room;
mod slab;

pub use adapter::{Adapter, Inference, Training};
pub use assembly::HeadShape;
pub use bottleneck::{Bottleneck, Extras, Form, Input, Residual};
pub use classifier::{Entry, Loss, Owner, TaskModel, TrainingPass};
pub use composition::{Composition, CompositionError};
pub use config::AdapterConfig;
pub use error::{AdapterError, ConfigError};
pub use fusion::{
    AttentionSums, Fusion, MeanAttention, MemberLayout, PlaceAttention, Pruned, Pruning,
};
pub use head::{Head, HeadTape};
pub use linear::Linear;
pub use mixed::{Wish, logits_of_wishes, logits_of_wishes_attending};
pub use module::Module;
pub use slab::ResidentTasks;
