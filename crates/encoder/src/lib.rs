//! The frozen transformer encoder: configuration, weights, ragged batches, layers.
