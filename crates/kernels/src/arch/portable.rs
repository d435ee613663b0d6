//! Four lanes in plain Rust: every architecture compiles it, most to their baseline vectors.

use crate::simd::Simd;

/// Always available.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

type V = [f32; 4];

#[inline(always)]
fn map2(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

#[inline(always)]
fn power_of_two(n: f32) -> f32 {
    f32::from_bits(((n as i32 + 127) as u32) << 23)
}

impl Simd for Portable {
    const LANES: usize = 4;
    const TILE_ROWS: usize = 4;
    type F32 = V;
    type Mask = [bool; 4];
    type Words = [u32; 4];
    const I8_OFFSET: u8 = 0;

    #[inline(always)]
    fn splat(self, x: f32) -> V {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> V {
        // SAFETY: the caller vouches for four readable numbers; the alignment is not assumed.
        unsafe { from.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: V) {
        // SAFETY: the caller vouches for four writable numbers.
        unsafe { to.cast::<V>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn load_part(self, from: *const f32, count: usize) -> V {
        let mut x = [0.0; 4];
        for (i, lane) in x.iter_mut().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` readable numbers.
            *lane = unsafe { *from.add(i) };
        }
        x
    }
    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, x: V, count: usize) {
        for (i, lane) in x.iter().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` writable numbers.
            unsafe { *to.add(i) = *lane };
        }
    }
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}
    #[inline(always)]
    fn prefetch_far(self, _: *const f32) {}
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        map2(a, b, |x, y| x + y)
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        map2(a, b, |x, y| x - y)
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        map2(a, b, |x, y| x * y)
    }
    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        map2(a, b, |x, y| x / y)
    }
    #[inline(always)]
    fn mul_add(self, a: V, b: V, c: V) -> V {
        // Two roundings: `f32::mul_add` is a slow library call where the hardware lacks it.
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn sqrt(self, a: V) -> V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        map2(a, b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        map2(a, b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    fn abs(self, a: V) -> V {
        a.map(f32::abs)
    }
    #[inline(always)]
    fn copy_sign(self, a: V, b: V) -> V {
        map2(a, b, f32::copysign)
    }
    #[inline(always)]
    fn less(self, a: V, b: V) -> [bool; 4] {
        [a[0] < b[0], a[1] < b[1], a[2] < b[2], a[3] < b[3]]
    }
    #[inline(always)]
    fn select(self, mask: [bool; 4], yes: V, no: V) -> V {
        let pick = |i: usize| if mask[i] { yes[i] } else { no[i] };
        [pick(0), pick(1), pick(2), pick(3)]
    }
    #[inline(always)]
    fn round(self, a: V) -> V {
        // Adding 1.5·2²³ pushes the fraction out of the significand.
        const PUSH: f32 = 12_582_912.0;
        a.map(|x| (x + PUSH) - PUSH)
    }
    #[inline(always)]
    fn scale(self, a: V, n: V) -> V {
        // In two factors, since one power of two holds exponents −126..=127 only.
        let first = self.round(n.map(|x| x * 0.5));
        let second = self.sub(n, first);
        let a = map2(a, first, |x, k| x * power_of_two(k));
        map2(a, second, |x, k| x * power_of_two(k))
    }
    #[inline(always)]
    fn splat_word(self, x: u32) -> [u32; 4] {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load_words(self, from: *const u32) -> [u32; 4] {
        // SAFETY: the caller vouches for four readable words; the alignment is not assumed.
        unsafe { from.cast::<[u32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    fn as_words(self, a: V) -> [u32; 4] {
        a.map(f32::to_bits)
    }
    #[inline(always)]
    fn as_f32(self, a: [u32; 4]) -> V {
        a.map(f32::from_bits)
    }
    #[inline(always)]
    fn to_f32(self, a: [u32; 4]) -> V {
        a.map(|x| x as i32 as f32)
    }
    #[inline(always)]
    fn sub_i32(self, a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
        std::array::from_fn(|i| a[i].wrapping_sub(b[i]))
    }
    #[inline(always)]
    fn mul_i32(self, a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
        std::array::from_fn(|i| a[i].wrapping_mul(b[i]))
    }
    #[inline(always)]
    fn lower_bf16(self, a: [u32; 4]) -> V {
        a.map(|x| f32::from_bits(x << 16))
    }
    #[inline(always)]
    fn upper_bf16(self, a: [u32; 4]) -> V {
        a.map(|x| f32::from_bits(x & 0xffff_0000))
    }
    #[inline(always)]
    unsafe fn store_low_bytes(self, to: *mut u8, a: V) {
        // SAFETY: the caller vouches for four writable bytes.
        unsafe { to.cast::<[u8; 4]>().write_unaligned(a.map(|x| x.to_bits() as u8)) }
    }
    #[inline(always)]
    fn dot_i8(self, sum: [u32; 4], a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
        std::array::from_fn(|i| {
            let (a, b) = (a[i].to_le_bytes(), b[i].to_le_bytes());
            (0..4).fold(sum[i], |sum, byte| {
                let product = i32::from(a[byte] as i8) * i32::from(b[byte] as i8);
                sum.wrapping_add(product as u32)
            })
        })
    }
    #[inline(always)]
    fn sum(self, a: V) -> f32 {
        (a[0] + a[2]) + (a[1] + a[3])
    }
    #[inline(always)]
    fn largest(self, a: V) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
