//! The frozen transformer encoder: configuration, weights, tokenised ragged batches, and layers
//! with a forward and a backward pass between any two of them.
//!
//! The encoder knows nothing of tasks, optimisers or files of adapters. It shows the places where
//! something may sit ([`Place`]) and asks a [`Sites`] what sits there. Its weights never get a
//! gradient; back-propagation ends at the lowest trained module.

mod batch;
pub mod checkpoint;
mod config;
mod directory;
mod dropout;
mod error;
pub mod foreign_text;
mod identity;
mod json_file;
mod layer;
mod load;
mod model;
mod operations;
mod place;
mod prefix;
mod random_bert;
mod sites;
pub mod text_file;
mod tokenizer;

pub use batch::RaggedBatch;
pub use checkpoint::Checkpoint;
pub use config::{BaseModule, EncoderConfig, Family, LayerModule, PositionNumbers};
pub use dropout::BaseDropout;
pub use error::EncoderError;
pub use identity::{Identity, identity};
pub use model::{Encoder, Readout, Tape};
pub use operations::Operation;
pub use place::{Place, Site};
pub use random_bert::RandomBert;
pub use sites::{Empty, EndGradients, Sites, SubLayerEnd};
pub use tokenizer::{TextRow, TokenisedRow, Tokenizer};
