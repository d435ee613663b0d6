//! AVX2 with FMA: eight lanes, sixteen registers; with or without the dot product of 8-bit
//! integers.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "each block is an intrinsic of AVX2, FMA or AVX-VNNI, and an `Avx2` exists only \
              inside a `run` whose caller has proved them; pointers are vouched for by the trait's contract"
)]

use std::arch::x86_64::*;
use std::marker::PhantomData;

use crate::simd::{Kernel, Simd};

/// Proof that AVX2 and FMA may be used, and the dot product of `D`.
#[derive(Clone, Copy)]
pub(crate) struct Avx2<D>(PhantomData<D>);

/// # Safety
/// The CPU must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(PhantomData::<Widening>))
}

/// # Safety
/// As for [`run`], and AVX-VNNI.
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(crate) unsafe fn run_vnni<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(PhantomData::<Vnni>))
}

/// The bytes 0, 2, … as integers of sixteen bits.
#[inline(always)]
unsafe fn even(x: __m256i) -> __m256i {
    unsafe { _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x)) }
}

/// The bytes 1, 3, … as integers of sixteen bits.
#[inline(always)]
unsafe fn odd(x: __m256i) -> __m256i {
    unsafe { _mm256_srai_epi16::<8>(x) }
}

/// The dot product of words of 8-bit integers.
pub(crate) trait Dots: Copy + Send + Sync + 'static {
    const I8_OFFSET: u8;

    /// # Safety
    /// The CPU must have the instructions of this implementation.
    unsafe fn i8(sum: __m256i, a: __m256i, b: __m256i) -> __m256i;
}

/// No instruction for it: operands are widened.
#[derive(Clone, Copy)]
pub(crate) struct Widening;

impl Dots for Widening {
    const I8_OFFSET: u8 = 0;

    #[inline(always)]
    unsafe fn i8(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // Bytes widened to sixteen bits, of which the sum of two products fits 32. (The shorter
        // `maddubs` saturates at sixteen bits.)
        unsafe {
            let even_products = _mm256_madd_epi16(even(a), even(b));
            let odd_products = _mm256_madd_epi16(odd(a), odd(b));
            _mm256_add_epi32(_mm256_add_epi32(sum, even_products), odd_products)
        }
    }
}

/// An instruction for 8-bit integers.
#[derive(Clone, Copy)]
pub(crate) struct Vnni;

impl Dots for Vnni {
    const I8_OFFSET: u8 = 128;

    #[inline(always)]
    unsafe fn i8(sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_dpbusd_avx_epi32(sum, a, b) }
    }
}

/// A mask of the first `count` lanes.
#[inline(always)]
fn first_lanes(count: usize) -> __m256i {
    const LANES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    debug_assert!(count <= 8);
    unsafe { _mm256_loadu_si256(LANES.as_ptr().add(8 - count).cast()) }
}

#[inline(always)]
unsafe fn power_of_two(n: __m256) -> __m256 {
    unsafe {
        let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
    }
}

impl<D: Dots> Simd for Avx2<D> {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    type F32 = __m256;
    type Mask = __m256;
    type Words = __m256i;
    const I8_OFFSET: u8 = D::I8_OFFSET;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m256) {
        unsafe { _mm256_storeu_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> __m256 {
        unsafe { _mm256_maskload_ps(from, first_lanes(count)) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, x: __m256, count: usize) {
        unsafe { _mm256_maskstore_ps(to, first_lanes(count), x) }
    }
    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    fn prefetch_far(self, from: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), a) }
    }
    #[inline(always)]
    fn copy_sign(self, a: __m256, b: __m256) -> __m256 {
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b))
        }
    }
    #[inline(always)]
    fn less(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    fn select(self, mask: __m256, yes: __m256, no: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(no, yes, mask) }
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn scale(self, a: __m256, n: __m256) -> __m256 {
        // In two factors, since one power of two holds exponents −126..=127 only.
        let first = self.round(self.mul(n, self.splat(0.5)));
        let second = self.sub(n, first);
        unsafe { self.mul(self.mul(a, power_of_two(first)), power_of_two(second)) }
    }
    #[inline(always)]
    fn splat_word(self, x: u32) -> __m256i {
        unsafe { _mm256_set1_epi32(x as i32) }
    }
    #[inline(always)]
    unsafe fn load_words(self, from: *const u32) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    fn as_words(self, a: __m256) -> __m256i {
        unsafe { _mm256_castps_si256(a) }
    }
    #[inline(always)]
    fn as_f32(self, a: __m256i) -> __m256 {
        unsafe { _mm256_castsi256_ps(a) }
    }
    #[inline(always)]
    fn to_f32(self, a: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(a) }
    }
    #[inline(always)]
    fn sub_i32(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_sub_epi32(a, b) }
    }
    #[inline(always)]
    fn mul_i32(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_mullo_epi32(a, b) }
    }
    #[inline(always)]
    fn lower_bf16(self, a: __m256i) -> __m256 {
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(a)) }
    }
    #[inline(always)]
    fn upper_bf16(self, a: __m256i) -> __m256 {
        unsafe {
            let high = _mm256_set1_epi32(0xffff_0000_u32 as i32);
            _mm256_castsi256_ps(_mm256_and_si256(a, high))
        }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(self, to: *mut u8, a: __m256) {
        unsafe {
            // The low bytes to the front of each half, and the two fronts side by side.
            const FRONT: [i8; 16] = [0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1];
            let front = _mm256_broadcastsi128_si256(_mm_loadu_si128(FRONT.as_ptr().cast()));
            let bytes = _mm256_shuffle_epi8(_mm256_castps_si256(a), front);
            let [low, high] = [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)];
            _mm_storel_epi64(to.cast(), _mm_unpacklo_epi32(low, high));
        }
    }
    #[inline(always)]
    fn dot_i8(self, sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
        unsafe { D::i8(sum, a, b) }
    }
    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        unsafe {
            let x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }
    #[inline(always)]
    fn largest(self, a: __m256) -> f32 {
        unsafe {
            let x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps::<1>(x, x)))
        }
    }
}
