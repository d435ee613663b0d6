//! Device and Tensor: the coarse operations that the encoder and the adapters call.
