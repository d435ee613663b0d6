//! The tiles' registers and instructions in plain Rust, for a CPU with AVX-512 and bf16 but without
//! AMX: compiled with `--cfg emulated_tiles`, so that what lies around the tiles is tested, and run
//! under a sanitizer, where there are none. Slow, and not the instructions' bits: they round otherwise.

use std::cell::RefCell;

use super::{Operands, SIDE, Words, avx512};
use crate::simd::Kernel;

thread_local! {
    /// Tiles 0 to 3, row after row.
    static SUMS: RefCell<[[u32; SIDE * SIDE]; 4]> = const { RefCell::new([[0; SIDE * SIDE]; 4]) };
}

pub(crate) fn is_usable() -> bool {
    true
}

/// # Safety
/// The CPU must have AVX-512F, BW, VL, VNNI and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16,avx2,fma")]
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(unsafe { avx512::tiled() })
}

pub(crate) unsafe fn begin() {
    SUMS.with_borrow_mut(|sums| *sums = [[0; SIDE * SIDE]; 4]);
}

/// # Safety
/// 16·rows rows of 16·`steps` words must be readable at `o.left`, and as many words of 16·columns
/// columns at `o.right`.
pub(crate) unsafe fn advance(
    words: Words,
    [rows, columns]: [usize; 2],
    o: &mut Operands,
    steps: usize,
) {
    SUMS.with_borrow_mut(|sums| {
        for _ in 0..steps {
            for row in 0..rows * SIDE {
                for column in 0..columns * SIDE {
                    let sum = &mut sums[row / SIDE * 2 + column / SIDE]
                        [row % SIDE * SIDE + column % SIDE];
                    for k in 0..SIDE {
                        let a = unsafe { *o.left.byte_add(row * o.left_stride).add(k) };
                        let b = unsafe { *o.right.add(k * columns * SIDE + column) };
                        *sum = match words {
                            Words::Bf16 => add_bf16(*sum, a, b),
                            Words::Int8 => add_int8(*sum, a, b),
                        };
                    }
                }
            }
            o.left = o.left.wrapping_add(SIDE);
            o.right = o.right.wrapping_add(SIDE * columns * SIDE);
        }
    });
}

fn add_bf16(sum: u32, a: u32, b: u32) -> u32 {
    let [low, high] = [16, 0].map(|shift| {
        let number = |word: u32| f32::from_bits(word << shift & 0xffff_0000);
        number(a) * number(b)
    });
    (f32::from_bits(sum) + low + high).to_bits()
}

fn add_int8(sum: u32, a: u32, b: u32) -> u32 {
    let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    products.fold(sum, |sum, (a, b)| sum.wrapping_add_signed(i32::from(a) * i32::from(b as i8)))
}

/// # Safety
/// 16·rows rows of 16·columns words must be writable.
pub(crate) unsafe fn store([rows, columns]: [usize; 2], to: *mut u32) {
    SUMS.with_borrow(|sums| {
        for row in 0..rows * SIDE {
            for column in 0..columns * SIDE {
                let sum = sums[row / SIDE * 2 + column / SIDE][row % SIDE * SIDE + column % SIDE];
                unsafe { *to.add(row * columns * SIDE + column) = sum };
            }
        }
    });
}

pub(crate) unsafe fn multiply_loop(_: Words, iterations: usize) -> usize {
    iterations * 4 * SIDE * SIDE * SIDE
}
