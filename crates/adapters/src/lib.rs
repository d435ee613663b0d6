//! Bottleneck adapters, their placements, heads and files.

pub mod atomic;
pub mod config;
pub mod error;
pub mod files;
