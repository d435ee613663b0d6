//! Adapters for frozen transformer encoders: the library a program depends on.
