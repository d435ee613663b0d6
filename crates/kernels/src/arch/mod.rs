//! What each instruction set brings: its vectors and the shape of its matrix tile.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) mod no_tiles;
mod portable;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use amx as tiles;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) use no_tiles as tiles;
pub(crate) use portable::Portable;
