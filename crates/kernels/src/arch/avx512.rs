//! AVX-512: sixteen lanes, thirty-two registers, masks; with or without the dot products of bf16
//! and of 8-bit integers.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "each block is an intrinsic of AVX-512, and an `Avx512` exists only inside a `run` \
              whose caller has proved it; pointers are vouched for by the trait's contract"
)]

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::transmute;

use crate::simd::{Kernel, Simd};

/// Proof that AVX-512F, BW and VL may be used, and the dot products of `D`.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<D>(PhantomData<D>);

/// # Safety
/// The CPU must have AVX-512F, BW and VL.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
pub(crate) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(PhantomData::<Widening>))
}

/// # Safety
/// As for [`run`], and AVX512-VNNI.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma")]
pub(crate) unsafe fn run_vnni<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(PhantomData::<Vnni>))
}

/// # Safety
/// As for [`run`], and AVX512-BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")]
pub(crate) unsafe fn run_bf16<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(PhantomData::<Bf16>))
}

/// The vectors of kernels that use matrix tiles.
///
/// # Safety
/// As for [`run_bf16`].
#[inline(always)]
pub(crate) unsafe fn tiled() -> Avx512<Tiled> {
    Avx512(PhantomData)
}

/// The bytes 0, 2, … as integers of sixteen bits.
#[inline(always)]
unsafe fn even(x: __m512i) -> __m512i {
    unsafe { _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(x)) }
}

/// The bytes 1, 3, … as integers of sixteen bits.
#[inline(always)]
unsafe fn odd(x: __m512i) -> __m512i {
    unsafe { _mm512_srai_epi16::<8>(x) }
}

/// The dot products of words.
pub(crate) trait Dots: Copy + Send + Sync + 'static {
    const I8_OFFSET: u8 = 0;

    /// # Safety
    /// The CPU must have the instructions of this implementation.
    #[inline(always)]
    unsafe fn bf16(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        let s = Avx512(PhantomData::<Widening>);
        let sum = s.mul_add(s.upper_bf16(a), s.upper_bf16(b), sum);
        s.mul_add(s.lower_bf16(a), s.lower_bf16(b), sum)
    }

    /// # Safety
    /// The CPU must have the instructions of this implementation, and sixteen halves of words must
    /// be writable at `to`.
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, a: __m512) {
        unsafe {
            let bits = _mm512_castps_si512(a);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounding = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
            let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, rounding));
            // A quiet bit for NaN, as in `bf16_bits`.
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            let quiet = _mm512_or_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(0x40));
            let halves = _mm512_mask_blend_epi32(nan, rounded, quiet);
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(halves));
        }
    }

    /// # Safety
    /// The CPU must have the instructions of this implementation.
    #[inline(always)]
    unsafe fn i8(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // Bytes widened to sixteen bits, of which the sum of two products fits 32.
        unsafe {
            let even_products = _mm512_madd_epi16(even(a), even(b));
            let odd_products = _mm512_madd_epi16(odd(a), odd(b));
            _mm512_add_epi32(_mm512_add_epi32(sum, even_products), odd_products)
        }
    }
}

/// No instruction for either: operands are widened.
#[derive(Clone, Copy)]
pub(crate) struct Widening;

impl Dots for Widening {}

/// An instruction for 8-bit integers.
#[derive(Clone, Copy)]
pub(crate) struct Vnni;

impl Dots for Vnni {
    const I8_OFFSET: u8 = 128;

    #[inline(always)]
    unsafe fn i8(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sum, a, b) }
    }
}

/// An instruction for bf16.
#[derive(Clone, Copy)]
pub(crate) struct Bf16;

impl Dots for Bf16 {
    #[inline(always)]
    unsafe fn bf16(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        // SAFETY: both types are 64 bytes of any value.
        unsafe {
            let a = transmute::<__m512i, __m512bh>(a);
            _mm512_dpbf16_ps(sum, a, transmute::<__m512i, __m512bh>(b))
        }
    }

    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, a: __m512) {
        // SAFETY: both types are 32 bytes of any value.
        unsafe {
            let halves = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(a));
            _mm256_storeu_si256(to.cast(), halves);
        }
    }
}

/// An instruction for each, whose words of 8-bit integers tiles take too.
#[derive(Clone, Copy)]
pub(crate) struct Tiled;

impl Dots for Tiled {
    const I8_OFFSET: u8 = Vnni::I8_OFFSET;

    #[inline(always)]
    unsafe fn bf16(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        unsafe { Bf16::bf16(sum, a, b) }
    }

    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, a: __m512) {
        unsafe { Bf16::store_bf16(to, a) }
    }

    #[inline(always)]
    unsafe fn i8(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        unsafe { Vnni::i8(sum, a, b) }
    }
}

#[inline(always)]
fn first_lanes(count: usize) -> __mmask16 {
    debug_assert!(count <= 16);
    ((1u32 << count) - 1) as __mmask16
}

impl<D: Dots> Simd for Avx512<D> {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 14;
    const SPREADS_IN_PLACE: bool = true;
    type F32 = __m512;
    type Mask = __mmask16;
    type Words = __m512i;
    const I8_OFFSET: u8 = D::I8_OFFSET;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m512) {
        unsafe { _mm512_storeu_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first_lanes(count), from) }
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, x: __m512, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first_lanes(count), x) }
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
    fn prefetch_to_write(self, to: *mut f32) {
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(to.cast()) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    fn copy_sign(self, a: __m512, b: __m512) -> __m512 {
        unsafe {
            let sign = _mm512_set1_epi32(i32::MIN);
            // Bit by bit: the sign from b, the rest from a.
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xCA>(
                sign,
                _mm512_castps_si512(b),
                _mm512_castps_si512(a),
            ))
        }
    }
    #[inline(always)]
    fn less(self, a: __m512, b: __m512) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    fn select(self, mask: __mmask16, yes: __m512, no: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(mask, no, yes) }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn scale(self, a: __m512, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(a, n) }
    }
    #[inline(always)]
    fn splat_word(self, x: u32) -> __m512i {
        unsafe { _mm512_set1_epi32(x as i32) }
    }
    #[inline(always)]
    unsafe fn load_words(self, from: *const u32) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    fn as_words(self, a: __m512) -> __m512i {
        unsafe { _mm512_castps_si512(a) }
    }
    #[inline(always)]
    fn as_f32(self, a: __m512i) -> __m512 {
        unsafe { _mm512_castsi512_ps(a) }
    }
    #[inline(always)]
    fn to_f32(self, a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    fn sub_i32(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_sub_epi32(a, b) }
    }
    #[inline(always)]
    fn mul_i32(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_mullo_epi32(a, b) }
    }
    #[inline(always)]
    fn lower_bf16(self, a: __m512i) -> __m512 {
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(a)) }
    }
    #[inline(always)]
    fn upper_bf16(self, a: __m512i) -> __m512 {
        unsafe {
            let high = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            _mm512_castsi512_ps(_mm512_and_si512(a, high))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, a: __m512) {
        unsafe { D::store_bf16(to, a) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, from: *const u16) -> __m512 {
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
        }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(self, to: *mut u8, a: __m512) {
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_castps_si512(a))) }
    }
    #[inline(always)]
    fn dot_bf16(self, sum: __m512, a: __m512i, b: __m512i) -> __m512 {
        unsafe { D::bf16(sum, a, b) }
    }
    #[inline(always)]
    fn dot_i8(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        unsafe { D::i8(sum, a, b) }
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    fn largest(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(a) }
    }
}
