//! AMX: eight tiles of sixteen rows of 64 bytes, and products of tiles of bf16 and of 8-bit
//! integers. Vectors are those of AVX-512.
//!
//! The compiler never uses tiles by itself, so that they hold what the assembly here leaves in
//! them: their shape, which is always the same, from [`run`]'s beginning to its end, and the sums
//! from [`begin`] over any number of [`advance`]s, between which vectors may be used, to [`store`].
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "each block is assembly of AMX, and its functions are called inside of `run` only, \
              whose caller has proved it; pointers are vouched for by the functions' contracts"
)]

#[cfg(emulated_tiles)]
mod emulated;

#[cfg(not(emulated_tiles))]
use std::arch::asm;
use std::arch::x86_64::*;

use super::avx512;
#[cfg(not(emulated_tiles))]
use crate::simd::Kernel;
#[cfg(emulated_tiles)]
pub(crate) use emulated::{advance, begin, is_usable, multiply_loop, run, store};

/// Rows of a tile, and columns of a tile of sums.
pub(crate) const SIDE: usize = 16;

/// Whether the CPU has tiles of bf16 and of 8-bit integers, and the system lets this process use
/// them, for which it is asked here.
#[cfg(not(emulated_tiles))]
pub(crate) fn is_usable() -> bool {
    const TILE: u32 = 1 << 24;
    const BF16: u32 = 1 << 22;
    const INT8: u32 = 1 << 25;
    let features = __cpuid_count(7, 0).edx;
    features & (TILE | BF16 | INT8) == TILE | BF16 | INT8 && ask()
}

/// Asks the system for the tiles' state; saying yes a second time costs nothing.
#[cfg(not(emulated_tiles))]
fn ask() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes what the process may use, nothing else.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// The shape of all tiles.
#[cfg(not(emulated_tiles))]
#[repr(C, align(64))]
struct Shape {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_in_a_row: [u16; 16],
    rows: [u8; 16],
}

#[cfg(not(emulated_tiles))]
static WHOLE: Shape = Shape {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_in_a_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Gives the tiles back, so that the system need not keep their 8 KiB when it changes threads.
#[cfg(not(emulated_tiles))]
struct Shaped;

#[cfg(not(emulated_tiles))]
impl Drop for Shaped {
    fn drop(&mut self) {
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// # Safety
/// [`is_usable`] must have been true, and the CPU must have AVX-512F, BW, VL, VNNI and BF16.
#[cfg(not(emulated_tiles))]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16,avx2,fma")]
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE, options(nostack, readonly)) };
    let _shaped = Shaped;
    kernel.run(unsafe { avx512::tiled() })
}

/// What the numbers of a tile's words are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// Two bf16; sums in f32.
    Bf16,
    /// Four 8-bit integers, on the left without a sign; sums in integers of 32 bits.
    Int8,
}

/// Operands of [`multiply`], from some step of the depth on.
#[derive(Clone, Copy)]
pub(crate) struct Operands {
    /// Rows of words, `left_stride` bytes apart.
    pub(crate) left: *const u32,
    pub(crate) left_stride: usize,
    /// Words of the depth, each with its columns side by side.
    pub(crate) right: *const u32,
}

/// Steps of the depth for 1 or 2 tiles of rows × 1 or 2 tiles of columns. Tiles 0 to 3 are sums, 4
/// and 5 of the left rows, 6 and 7 of the columns.
#[cfg(not(emulated_tiles))]
macro_rules! steps {
    ($dot:literal, $o:ident, $steps:ident, 2, 2) => {
        asm!(
            "2:",
            "tileloadd tmm6, [{right} + {right_stride}]",
            "tileloadd tmm4, [{left} + {left_stride}]",
            concat!($dot, " tmm0, tmm4, tmm6"),
            "tileloadd tmm7, [{right} + {right_stride} + 64]",
            concat!($dot, " tmm1, tmm4, tmm7"),
            "tileloadd tmm5, [{lower} + {left_stride}]",
            concat!($dot, " tmm2, tmm5, tmm6"),
            concat!($dot, " tmm3, tmm5, tmm7"),
            "add {left}, 64", "add {lower}, 64", "add {right}, 2048",
            "dec {steps}", "jnz 2b",
            left = inout(reg) $o.left,
            lower = inout(reg) $o.left.wrapping_byte_add(SIDE * $o.left_stride) => _,
            left_stride = in(reg) $o.left_stride,
            right = inout(reg) $o.right,
            right_stride = in(reg) 128usize,
            steps = inout(reg) $steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
    ($dot:literal, $o:ident, $steps:ident, 1, 2) => {
        asm!(
            "2:",
            "tileloadd tmm6, [{right} + {right_stride}]",
            "tileloadd tmm4, [{left} + {left_stride}]",
            concat!($dot, " tmm0, tmm4, tmm6"),
            "tileloadd tmm7, [{right} + {right_stride} + 64]",
            concat!($dot, " tmm1, tmm4, tmm7"),
            "add {left}, 64", "add {right}, 2048",
            "dec {steps}", "jnz 2b",
            left = inout(reg) $o.left,
            left_stride = in(reg) $o.left_stride,
            right = inout(reg) $o.right,
            right_stride = in(reg) 128usize,
            steps = inout(reg) $steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
    ($dot:literal, $o:ident, $steps:ident, 2, 1) => {
        asm!(
            "2:",
            "tileloadd tmm6, [{right} + {right_stride}]",
            "tileloadd tmm4, [{left} + {left_stride}]",
            concat!($dot, " tmm0, tmm4, tmm6"),
            "tileloadd tmm5, [{lower} + {left_stride}]",
            concat!($dot, " tmm2, tmm5, tmm6"),
            "add {left}, 64", "add {lower}, 64", "add {right}, 1024",
            "dec {steps}", "jnz 2b",
            left = inout(reg) $o.left,
            lower = inout(reg) $o.left.wrapping_byte_add(SIDE * $o.left_stride) => _,
            left_stride = in(reg) $o.left_stride,
            right = inout(reg) $o.right,
            right_stride = in(reg) 64usize,
            steps = inout(reg) $steps => _,
            out("tmm0") _, out("tmm2") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack),
        )
    };
    ($dot:literal, $o:ident, $steps:ident, 1, 1) => {
        asm!(
            "2:",
            "tileloadd tmm6, [{right} + {right_stride}]",
            "tileloadd tmm4, [{left} + {left_stride}]",
            concat!($dot, " tmm0, tmm4, tmm6"),
            "add {left}, 64", "add {right}, 1024",
            "dec {steps}", "jnz 2b",
            left = inout(reg) $o.left,
            left_stride = in(reg) $o.left_stride,
            right = inout(reg) $o.right,
            right_stride = in(reg) 64usize,
            steps = inout(reg) $steps => _,
            out("tmm0") _, out("tmm4") _, out("tmm6") _,
            options(nostack),
        )
    };
}

/// sums ← left·right for `rows` × `columns` tiles, 1 or 2 of each, over `steps` sixteen words of the
/// depth.
///
/// # Safety
/// As for [`advance`] and [`store`].
#[inline(always)]
pub(crate) unsafe fn multiply(
    words: Words,
    shape: [usize; 2],
    mut operands: Operands,
    steps: usize,
    sums: *mut u32,
) {
    unsafe {
        begin();
        advance(words, shape, &mut operands, steps);
        store(shape, sums);
    }
}

/// Empties the sums of a product.
///
/// # Safety
/// To be called inside of [`run`].
#[cfg(not(emulated_tiles))]
#[inline(always)]
pub(crate) unsafe fn begin() {
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            options(nostack, nomem),
        );
    }
}

/// Adds left·right to the sums of a product that has [begun](begin), of [rows, columns] tiles, 1 or 2
/// of each, over the next `steps` sixteen words of the depth, which `o` leaves behind.
///
/// # Safety
/// To be called inside of [`run`]. 16·rows rows of 16·`steps` words must be readable at `o.left` and
/// as many words of 16·columns columns at `o.right`; `steps` > 0.
#[cfg(not(emulated_tiles))]
#[inline(always)]
pub(crate) unsafe fn advance(words: Words, shape: [usize; 2], o: &mut Operands, steps: usize) {
    debug_assert!(steps > 0 && matches!(shape, [1 | 2, 1 | 2]));
    unsafe {
        match (words, shape) {
            (Words::Bf16, [2, 2]) => steps!("tdpbf16ps", o, steps, 2, 2),
            (Words::Bf16, [2, _]) => steps!("tdpbf16ps", o, steps, 2, 1),
            (Words::Bf16, [_, 2]) => steps!("tdpbf16ps", o, steps, 1, 2),
            (Words::Bf16, _) => steps!("tdpbf16ps", o, steps, 1, 1),
            (Words::Int8, [2, 2]) => steps!("tdpbusd", o, steps, 2, 2),
            (Words::Int8, [2, _]) => steps!("tdpbusd", o, steps, 2, 1),
            (Words::Int8, [_, 2]) => steps!("tdpbusd", o, steps, 1, 2),
            (Words::Int8, _) => steps!("tdpbusd", o, steps, 1, 1),
        }
    }
}

/// Writes the sums of a product of [rows, columns] tiles, as rows without gaps: one tile of columns
/// wide, or two.
///
/// # Safety
/// To be called inside of [`run`]; 16·rows rows of 16·columns words must be writable.
#[cfg(not(emulated_tiles))]
#[inline(always)]
pub(crate) unsafe fn store([rows, columns]: [usize; 2], sums: *mut u32) {
    let stride = 64 * columns;
    unsafe {
        asm!("tilestored [{sums} + {stride}], tmm0",
            sums = in(reg) sums, stride = in(reg) stride, options(nostack));
        if columns == 2 {
            asm!("tilestored [{sums} + {stride} + 64], tmm1",
                sums = in(reg) sums, stride = in(reg) stride, options(nostack));
        }
        if rows == 2 {
            let lower = sums.wrapping_add(columns * SIDE * SIDE);
            asm!("tilestored [{sums} + {stride}], tmm2",
                sums = in(reg) lower, stride = in(reg) stride, options(nostack));
            if columns == 2 {
                asm!("tilestored [{sums} + {stride} + 64], tmm3",
                    sums = in(reg) lower, stride = in(reg) stride, options(nostack));
            }
        }
    }
}

/// Writes sixteen rows of sixteen words as columns; rows on either side are `stride`s apart.
///
/// # Safety
/// To be called inside of [`run`]; the words must be readable and writable.
#[inline(always)]
pub(crate) unsafe fn transpose(
    from: *const u32,
    from_stride: usize,
    to: *mut u32,
    to_stride: usize,
) {
    unsafe {
        let mut x = [_mm512_setzero_si512(); SIDE];
        for (i, x) in x.iter_mut().enumerate() {
            *x = _mm512_loadu_si512(from.add(i * from_stride).cast());
        }
        // Pairs, then fours of words change places within the quarters of a row,
        let mut y = x;
        for i in (0..SIDE).step_by(2) {
            y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
            y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
        }
        for i in (0..SIDE).step_by(4) {
            x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
            x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
            x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
            x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
        }
        // then the quarters.
        for i in 0..4 {
            y[i] = _mm512_shuffle_i32x4::<0x88>(x[i], x[i + 4]);
            y[i + 4] = _mm512_shuffle_i32x4::<0xdd>(x[i], x[i + 4]);
            y[i + 8] = _mm512_shuffle_i32x4::<0x88>(x[i + 8], x[i + 12]);
            y[i + 12] = _mm512_shuffle_i32x4::<0xdd>(x[i + 8], x[i + 12]);
        }
        for i in 0..4 {
            x[i] = _mm512_shuffle_i32x4::<0x88>(y[i], y[i + 8]);
            x[i + 4] = _mm512_shuffle_i32x4::<0x88>(y[i + 4], y[i + 12]);
            x[i + 8] = _mm512_shuffle_i32x4::<0xdd>(y[i], y[i + 8]);
            x[i + 12] = _mm512_shuffle_i32x4::<0xdd>(y[i + 4], y[i + 12]);
        }
        for (i, x) in x.iter().enumerate() {
            _mm512_storeu_si512(to.add(i * to_stride).cast(), *x);
        }
    }
}

/// to ← sixteen words of a bf16 of `low` and one of `high` each.
///
/// # Safety
/// To be called inside of [`run`]; sixteen of each must be readable and writable.
#[inline(always)]
pub(crate) unsafe fn pair(low: *const u16, high: *const u16, to: *mut u32) {
    unsafe {
        let low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(low.cast()));
        let high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(high.cast()));
        let words = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
        _mm512_storeu_si512(to.cast(), words);
    }
}

/// Numbers of no pattern for four tiles: on zeros tiles take less power, and clocks run higher, than
/// on anything that a model holds.
#[cfg(not(emulated_tiles))]
static VARIED: Varied = Varied(varied());

#[cfg(not(emulated_tiles))]
#[repr(C, align(64))]
struct Varied([u32; 4 * SIDE * SIDE]);

/// Of each word both halves are a bf16 between 1/2 and 2, of either sign, and all bytes vary.
#[cfg(not(emulated_tiles))]
const fn varied() -> [u32; 4 * SIDE * SIDE] {
    let mut words = [0; 4 * SIDE * SIDE];
    let mut state = 1u64;
    let mut i = 0;
    while i < words.len() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        words[i] = (state >> 32) as u32 & 0x80ff_80ff | 0x3f00_3f00;
        i += 1;
    }
    words
}

/// Runs `iterations` rounds of four products of tiles of varied numbers, and returns the
/// multiply-adds of words done.
///
/// # Safety
/// To be called inside of [`run`]; `iterations` > 0.
#[cfg(not(emulated_tiles))]
#[inline(always)]
pub(crate) unsafe fn multiply_loop(words: Words, iterations: usize) -> usize {
    macro_rules! rounds {
        ($dot:literal) => {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "tileloadd tmm4, [{from} + {stride}]",
                "tileloadd tmm5, [{from} + {stride} + 1024]",
                "tileloadd tmm6, [{from} + {stride} + 2048]",
                "tileloadd tmm7, [{from} + {stride} + 3072]",
                "2:",
                concat!($dot, " tmm0, tmm4, tmm6"), concat!($dot, " tmm1, tmm4, tmm7"),
                concat!($dot, " tmm2, tmm5, tmm6"), concat!($dot, " tmm3, tmm5, tmm7"),
                "dec {n}", "jnz 2b",
                n = inout(reg) iterations => _,
                from = in(reg) VARIED.0.as_ptr(),
                stride = in(reg) 64usize,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly),
            )
        };
    }
    unsafe {
        match words {
            Words::Bf16 => rounds!("tdpbf16ps"),
            Words::Int8 => rounds!("tdpbusd"),
        }
    }
    iterations * 4 * SIDE * SIDE * SIDE
}
