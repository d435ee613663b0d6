//! How the frozen weights of a product are stored, and what that does to its operands.

use std::fmt;

/// The format of a packed matrix, and with it of the product's left operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Precision {
    /// Single precision, both operands as they are.
    F32,
    /// bfloat16: both operands rounded to eight significant bits, sums in f32.
    Bf16,
    /// Eight-bit integers: weights symmetric per output channel, the left rows from the least to
    /// the greatest number of each row and block of the depth, as they come; sums exact in 32-bit
    /// integers.
    Int8,
}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];

    /// The name: `f32`, `bf16` or `int8`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        }
    }

    /// The precision of that name.
    pub fn from_name(name: &str) -> Option<Precision> {
        Precision::ALL.into_iter().find(|p| p.name() == name)
    }

    /// Numbers in a word of 32 bits.
    pub fn per_word(self) -> usize {
        match self {
            Precision::F32 => 1,
            Precision::Bf16 => 2,
            Precision::Int8 => 4,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The bits of the bf16 nearest to `x`, ties to even; NaN stays NaN.
#[inline(always)]
pub(crate) fn bf16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    // A quiet bit, so that a NaN whose payload lies in the low half does not become infinite.
    if x.is_nan() { (bits >> 16) as u16 | 0x40 } else { rounded }
}

/// `x` rounded to bf16: at most 2⁻⁸ of its magnitude away.
pub fn round_to_bf16(x: f32) -> f32 {
    f32::from_bits(u32::from(bf16_bits(x)) << 16)
}

/// A symmetric scale for eight-bit integers: numbers are `scale` times −127..=127.
#[derive(Clone, Copy)]
pub(crate) struct Int8Scale {
    pub(crate) scale: f32,
    inverse: f32,
}

/// Magnitudes below count as zero: the inverse of their scale would overflow.
const SMALLEST: f32 = 1e-30;

impl Int8Scale {
    /// The scale for numbers of at most this magnitude, given by its bits. (As unsigned integers
    /// the bits of magnitudes are in order, infinity and NaN on top.) NaN where the magnitude is
    /// not finite, so that it stays visible in the result.
    #[inline(always)]
    pub(crate) fn of_largest(bits: u32) -> Int8Scale {
        let largest = f32::from_bits(bits);
        if !largest.is_finite() {
            Int8Scale { scale: f32::NAN, inverse: 0.0 }
        } else if largest < SMALLEST {
            Int8Scale { scale: 0.0, inverse: 0.0 }
        } else {
            Int8Scale { scale: largest / 127.0, inverse: 127.0 / largest }
        }
    }

    /// The scale whose unit is `scale`, as [`Int8Scale::of_largest`] has given it.
    #[inline(always)]
    pub(crate) fn of_scale(scale: f32) -> Int8Scale {
        Int8Scale { scale, inverse: if scale > 0.0 { 1.0 / scale } else { 0.0 } }
    }

    /// `x` in units of the scale, to nearest, as the low byte; for finite x of at most the
    /// largest magnitude.
    #[inline(always)]
    pub(crate) fn quantise(self, x: f32) -> u8 {
        (x * self.inverse + TO_LOW_BITS).to_bits() as u8
    }
}

/// A range for eight-bit integers that holds zero: numbers are `scale` times (0..=255 − `zero`).
#[derive(Clone, Copy)]
pub(crate) struct Int8Range {
    pub(crate) scale: f32,
    inverse: f32,
    /// What stands for zero.
    zero: i32,
}

impl Int8Range {
    /// The range from the least to the greatest of the numbers and zero. Its scale is NaN where a
    /// number is not finite, so that it stays visible in the result.
    #[inline(always)]
    pub(crate) fn of(values: &[f32]) -> Int8Range {
        // As signed integers these are in the order of the numbers, infinities and NaN outside.
        let order = |bits: i32| bits ^ ((bits >> 31) & 0x7fff_ffff);
        let (mut least, mut greatest) = (0, 0);
        for x in values {
            let key = order(x.to_bits() as i32);
            (least, greatest) = (least.min(key), greatest.max(key));
        }
        let [least, greatest] = [least, greatest].map(|key| f32::from_bits(order(key) as u32));
        if !least.is_finite() || !greatest.is_finite() {
            return Int8Range { scale: f32::NAN, inverse: 0.0, zero: 0 };
        }
        // One unit of the 255 is spared: zero is rounded by half a one and each number by another.
        let scale = greatest / 254.0 - least / 254.0;
        if scale < SMALLEST {
            return Int8Range { scale: 0.0, inverse: 0.0, zero: 0 };
        }
        let inverse = 1.0 / scale;
        // Half a unit is rounded up, so that the least number does not fall below 0.
        Int8Range { scale, inverse, zero: (0.5 - least * inverse) as i32 }
    }

    /// What stands for zero in bytes that have `offset` − 128 added.
    #[inline(always)]
    pub(crate) fn zero(self, offset: u8) -> i32 {
        self.zero + i32::from(offset) - 128
    }

    /// Factor and summand that bring a number of the range, to nearest and with `offset` − 128
    /// added, into the low byte of a float.
    #[inline(always)]
    pub(crate) fn to_low_byte(self, offset: u8) -> (f32, f32) {
        (self.inverse, TO_LOW_BITS + self.zero(offset) as f32)
    }
}

/// 1.5·2²³: added to a small number, it leaves that, to the nearest whole one, in the low bits of the
/// significand.
const TO_LOW_BITS: f32 = 12_582_912.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_bf16_is_that_of_the_half_crate() {
        let mut bits: u32 = 1;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = f32::from_bits(bits);
            let want = half::bf16::from_f32(x);
            assert_eq!(bf16_bits(x), want.to_bits(), "{x} ({bits:#x})");
        }
        for x in [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-42] {
            assert_eq!(bf16_bits(x), half::bf16::from_f32(x).to_bits(), "{x}");
        }
        assert!(round_to_bf16(f32::from_bits(0x7f80_0001)).is_nan());
    }

    #[test]
    fn quantising_is_rounding_in_units_of_the_scale() {
        for largest in [1.0f32, 3.7, 1e-20, 1e30] {
            let scale = Int8Scale::of_largest(largest.to_bits());
            for i in -1000..=1000 {
                let x = largest * (i as f32 / 1000.0);
                let got = f64::from(scale.quantise(x) as i8) * f64::from(scale.scale);
                let half = f64::from(scale.scale) * 0.5001;
                assert!((got - f64::from(x)).abs() <= half, "{x} of {largest}: {got}");
            }
        }
        assert!(Int8Scale::of_largest(f32::NAN.to_bits()).scale.is_nan());
        assert_eq!(Int8Scale::of_largest(0).quantise(0.0), 0);
    }

    #[test]
    fn a_range_holds_zero_and_its_ends_in_a_byte() {
        let mut bits: u32 = 1;
        let mut next = || {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (bits >> 8) as f32 / (1 << 24) as f32
        };
        for round in 0..100_000 {
            let size = [1.0, 1e-20, 1e30, 3e38][round % 4];
            let least = if round % 3 == 0 { 0.0 } else { -next() * size };
            let values = [least, next() * size, 0.0, least * next()];
            let range = Int8Range::of(&values);
            let half = f64::from(range.scale) * 0.5001;
            for offset in [0, 128] {
                let (factor, summand) = range.to_low_byte(offset);
                for x in values {
                    let byte = x.mul_add(factor, summand).to_bits() as u8;
                    let whole = if offset == 0 { i32::from(byte as i8) } else { i32::from(byte) };
                    let got = f64::from(whole - range.zero(offset)) * f64::from(range.scale);
                    assert!((got - f64::from(x)).abs() <= half, "{x} of {values:?}: {got}");
                }
                let byte = summand.to_bits() as u8;
                let zero = if offset == 0 { i32::from(byte as i8) } else { i32::from(byte) };
                assert_eq!(zero, range.zero(offset), "{values:?}");
            }
        }
        for wrong in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(Int8Range::of(&[1.0, wrong, -2.0]).scale.is_nan(), "{wrong}");
        }
        assert_eq!(Int8Range::of(&[0.0, -0.0]).scale, 0.0);
        assert_eq!(Int8Range::of(&[]).scale, 0.0);
    }
}
