//! Numbers on slices: packed matrix products, ragged attention, norms, activations, losses and AdamW.
