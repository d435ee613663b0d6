//! Tasks and data, the training loop, metrics and checkpoints.
