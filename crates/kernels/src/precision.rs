//! How the frozen weights of a product are stored, and what that does to its operands.

use std::fmt;

/// The format of a packed matrix, and with it of the product's left operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Precision {
    /// Single precision, both operands as they are.
    F32,
    /// bfloat16: both operands rounded to eight significant bits, sums in f32.
    Bf16,
    /// Eight-bit integers: weights symmetric per output channel, the left rows symmetric per row
    /// and block of the depth, scaled as they come; sums exact in 32-bit integers.
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

/// `x` rounded to bf16: at most 2⁻⁹ of its magnitude away.
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

    /// Factor and summand that bring a number, in units of the scale and to nearest, with `offset`
    /// added, into the low byte of a float.
    #[inline(always)]
    pub(crate) fn to_low_byte(self, offset: u8) -> (f32, f32) {
        // 1.5·2²³ leaves the whole number in the low bits of the significand.
        (self.inverse, 12_582_912.0 + f32::from(offset))
    }

    /// `x` in units of the scale, to nearest, as the low byte; for finite x of at most the
    /// largest magnitude.
    #[inline(always)]
    pub(crate) fn quantise(self, x: f32) -> u8 {
        let (factor, summand) = self.to_low_byte(0);
        (x * factor + summand).to_bits() as u8
    }
}

/// The bits of the largest magnitude.
#[inline(always)]
pub(crate) fn largest_magnitude_bits(values: &[f32]) -> u32 {
    let mut largest = 0;
    for x in values {
        largest = largest.max(x.to_bits() & 0x7fff_ffff);
    }
    largest
}

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
}
