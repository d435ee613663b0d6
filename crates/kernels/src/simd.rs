//! Vectors of `f32`, written once and compiled for each instruction set.
//!
//! A kernel is a [`Kernel`]: a struct of its arguments whose `run` is generic over [`Simd`].
//! [`dispatch`] calls it inside a function that has the instruction set's features enabled; as
//! everything below is `#[inline(always)]`, the whole kernel is compiled with them. A [`Simd`]
//! value is a proof that its instructions may be used: only `dispatch` makes one, from an [`Isa`].

use crate::arch::{Portable, tiles};
#[cfg(target_arch = "x86_64")]
use crate::arch::{avx2, avx512};
use crate::isa::{Isa, Kind};
use crate::precision::bf16_bits;

/// The operations of one instruction set on vectors of [`Simd::LANES`] single-precision numbers.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of a tile of the matrix product: as many as the registers hold accumulators for.
    const TILE_ROWS: usize;
    /// Whether instructions can read one word from memory and spread it over all lanes.
    const SPREADS_IN_PLACE: bool = false;
    /// A vector.
    type F32: Copy;
    /// The outcome of a comparison, lane by lane.
    type Mask: Copy;
    /// `LANES` words of 32 bits: a number, two bf16, or four 8-bit integers or one of 32 each.
    type Words: Copy;
    /// What [`Simd::dot_i8`] expects to be added to its left operands: 128 where the instruction
    /// takes unsigned ones, else 0.
    const I8_OFFSET: u8;

    fn splat(self, x: f32) -> Self::F32;
    /// # Safety
    /// `LANES` numbers must be readable at `from`.
    unsafe fn load(self, from: *const f32) -> Self::F32;
    /// # Safety
    /// `LANES` numbers must be writable at `to`.
    unsafe fn store(self, to: *mut f32, x: Self::F32);
    /// The first `count` lanes from memory, the others zero.
    /// # Safety
    /// `count < LANES` numbers must be readable at `from`.
    unsafe fn load_part(self, from: *const f32, count: usize) -> Self::F32;
    /// # Safety
    /// `count < LANES` numbers must be writable at `to`.
    unsafe fn store_part(self, to: *mut f32, x: Self::F32, count: usize);

    /// Hints that the memory at `from` will be used soon; any address is allowed.
    fn prefetch(self, from: *const f32);
    /// The same, into the second-level cache only.
    fn prefetch_far(self, from: *const f32);
    /// Hints that the memory at `to` will be written to soon; any address is allowed.
    fn prefetch_to_write(self, to: *mut f32) {
        self.prefetch(to);
    }

    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a·b + c, rounded once where the instruction set has it.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    fn sqrt(self, a: Self::F32) -> Self::F32;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn abs(self, a: Self::F32) -> Self::F32;
    /// The magnitude of `a` with the sign of `b`.
    fn copy_sign(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a < b, lane by lane; false where either is NaN.
    fn less(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    fn select(self, mask: Self::Mask, yes: Self::F32, no: Self::F32) -> Self::F32;
    /// To the nearest whole number, ties to even; |a| < 2²².
    fn round(self, a: Self::F32) -> Self::F32;
    /// a·2ⁿ for a whole number n in −252..=254, with gradual underflow and overflow to infinity.
    fn scale(self, a: Self::F32, n: Self::F32) -> Self::F32;
    fn splat_word(self, x: u32) -> Self::Words;
    /// # Safety
    /// `LANES` words must be readable at `from`.
    unsafe fn load_words(self, from: *const u32) -> Self::Words;
    /// The same bits as words.
    fn as_words(self, a: Self::F32) -> Self::Words;
    /// The same bits as numbers.
    fn as_f32(self, a: Self::Words) -> Self::F32;
    /// The words as integers, to the nearest number.
    fn to_f32(self, a: Self::Words) -> Self::F32;
    /// a − b of integers.
    fn sub_i32(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// The low 32 bits of a·b of integers.
    fn mul_i32(self, a: Self::Words, b: Self::Words) -> Self::Words;
    /// The bf16 in the lower halves of the words.
    fn lower_bf16(self, a: Self::Words) -> Self::F32;
    /// The bf16 in the upper halves of the words.
    fn upper_bf16(self, a: Self::Words) -> Self::F32;
    /// sum + a₁·b₁ + a₀·b₀ of the pairs of bf16 in the words.
    #[inline(always)]
    fn dot_bf16(self, sum: Self::F32, a: Self::Words, b: Self::Words) -> Self::F32 {
        let sum = self.mul_add(self.upper_bf16(a), self.upper_bf16(b), sum);
        self.mul_add(self.lower_bf16(a), self.lower_bf16(b), sum)
    }
    /// sum + Σ aᵢ·bᵢ of the four bytes in the words, without saturation: those of `b` signed,
    /// those of `a` signed with [`Simd::I8_OFFSET`] added.
    fn dot_i8(self, sum: Self::Words, a: Self::Words, b: Self::Words) -> Self::Words;

    /// The numbers rounded to bf16, ties to even, to `LANES` halves of words. Numbers under the
    /// least normal one may become zero.
    /// # Safety
    /// `LANES` halves must be writable at `to`.
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, a: Self::F32) {
        let mut numbers = [0.0; 16];
        debug_assert!(Self::LANES <= numbers.len());
        // SAFETY: the numbers hold a vector, and the caller vouches for `to`.
        unsafe {
            self.store(numbers.as_mut_ptr(), a);
            for (i, x) in numbers[..Self::LANES].iter().enumerate() {
                *to.add(i) = bf16_bits(*x);
            }
        }
    }

    /// `LANES` bf16.
    /// # Safety
    /// So many halves of words must be readable at `from`.
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> Self::F32 {
        let mut numbers = [0.0; 16];
        debug_assert!(Self::LANES <= numbers.len());
        // SAFETY: the caller vouches for `from`, and the numbers hold a vector.
        unsafe {
            for (i, x) in numbers[..Self::LANES].iter_mut().enumerate() {
                *x = f32::from_bits(u32::from(*from.add(i)) << 16);
            }
            self.load(numbers.as_ptr())
        }
    }

    /// The low byte of each word, to `LANES` bytes.
    /// # Safety
    /// `LANES` bytes must be writable at `to`.
    unsafe fn store_low_bytes(self, to: *mut u8, a: Self::F32);

    /// The sum of the lanes, in a fixed order.
    fn sum(self, a: Self::F32) -> f32;
    /// The largest lane.
    fn largest(self, a: Self::F32) -> f32;
}

/// A computation that is compiled for every instruction set.
pub(crate) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs a kernel with the instructions of `isa`, but for those that only products of reduced
/// precision use ([`dispatch_bf16`], [`dispatch_i8`]).
#[inline]
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa.0 {
        Kind::Portable => kernel.run(Portable),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` of these kinds exists only where the CPU has the features.
        Kind::Avx2 | Kind::Avx2Vnni => unsafe { avx2::run(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Kind::Avx512 | Kind::Avx512Vnni | Kind::Avx512Bf16 => unsafe { avx512::run(kernel) },
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        // SAFETY: as above.
        Kind::Amx => unsafe { avx512::run(kernel) },
    }
}

/// Proof of an instruction for [`Simd::dot_bf16`].
#[derive(Clone, Copy)]
pub(crate) struct NativeBf16(());

impl NativeBf16 {
    /// The proof, if `isa` has the instruction.
    pub(crate) fn of(isa: Isa) -> Option<NativeBf16> {
        isa.has_bf16().then_some(NativeBf16(()))
    }

    /// Runs a kernel that uses the instruction.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` that has the instruction exists only where the CPU has it.
        return unsafe { avx512::run_bf16(kernel) };
        #[cfg(not(target_arch = "x86_64"))]
        kernel.run(Portable)
    }
}

/// Proof of matrix tiles, for the formats that are multiplied by them.
#[derive(Clone, Copy)]
pub(crate) struct NativeTiles(());

impl NativeTiles {
    /// The proof, if `isa` has tiles.
    pub(crate) fn of(isa: Isa) -> Option<NativeTiles> {
        isa.has_tiles().then_some(NativeTiles(()))
    }

    /// Runs a kernel that uses tiles. On the thread that it runs on they are set up to be whole:
    /// sixteen rows of 64 bytes.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: an `Isa` that has tiles exists only where the CPU has them and the system lets
        // this process use them.
        unsafe { tiles::run(kernel) }
    }
}

/// Runs a kernel that uses [`Simd::dot_i8`].
#[inline]
pub(crate) fn dispatch_i8<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` of this kind exists only where the CPU has the features.
        Kind::Avx2Vnni => unsafe { avx2::run_vnni(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Kind::Avx512Vnni | Kind::Avx512Bf16 => unsafe { avx512::run_vnni(kernel) },
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        // SAFETY: as above.
        Kind::Amx => unsafe { avx512::run_vnni(kernel) },
        _ => dispatch(isa, kernel),
    }
}
