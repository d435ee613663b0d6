//! Bottleneck adapters, their placements, heads and files.
