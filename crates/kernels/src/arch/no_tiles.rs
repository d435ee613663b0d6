//! Platforms for whose matrix tiles nothing is written: what the code around them is compiled
//! against. None of it is ever called, since no `NativeTiles` exists.

use crate::simd::Kernel;

pub(crate) const SIDE: usize = 16;

pub(crate) enum Words {
    Bf16,
    Int8,
}

pub(crate) struct Operands {
    pub(crate) left: *const u32,
    pub(crate) left_stride: usize,
    pub(crate) right: *const u32,
}

const ABSENT: &str = "matrix tiles on a platform without them";

pub(crate) unsafe fn run<K: Kernel>(_: K) -> K::Output {
    unreachable!("{ABSENT}")
}

pub(crate) unsafe fn multiply(_: Words, _: [usize; 2], _: Operands, _: usize, _: *mut u32) {
    unreachable!("{ABSENT}")
}

pub(crate) unsafe fn begin() {
    unreachable!("{ABSENT}")
}

pub(crate) unsafe fn advance(_: Words, _: [usize; 2], _: &mut Operands, _: usize) {
    unreachable!("{ABSENT}")
}

pub(crate) unsafe fn store(_: [usize; 2], _: *mut u32) {
    unreachable!("{ABSENT}")
}

pub(crate) unsafe fn transpose(_: *const u32, _: usize, _: *mut u32, _: usize) {
    unreachable!("{ABSENT}")
}

pub(crate) unsafe fn pair(_: *const u16, _: *const u16, _: *mut u32) {
    unreachable!("{ABSENT}")
}

pub(crate) unsafe fn multiply_loop(_: Words, _: usize) -> usize {
    unreachable!("{ABSENT}")
}
