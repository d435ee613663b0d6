//! The formats of a product's operands: what a word of 32 bits holds, and how two are multiplied.
//!
//! The tile knows words only. A format says how numbers become words, on the right (packed once)
//! and on the left (copied block by block), how a word of each adds to a sum, and how a sum
//! becomes a number.

use crate::precision::{Int8Range, Int8Scale, bf16_bits};
use crate::simd::Simd;

/// What turns the sums of a tile into numbers, for [`Int8`] only.
#[derive(Clone, Copy)]
pub(crate) struct Scales {
    /// One for each row of the tile.
    pub(crate) rows: *const LeftScale,
    /// One for each column of the panel.
    pub(crate) columns: *const f32,
    /// The sum of each column of the panel, which a row's zero has been multiplied with.
    pub(crate) column_sums: *const u32,
}

/// What the words of a part of a left row stand for.
#[derive(Clone, Copy, Default)]
pub(crate) struct LeftScale {
    pub(crate) scale: f32,
    /// What stands for zero.
    pub(crate) zero: i32,
}

/// The part of the [`Scales`] that belongs to a vector of columns.
#[derive(Clone, Copy)]
pub(crate) struct ColumnScales<S: Simd> {
    columns: S::F32,
    sums: S::Words,
}

impl<S: Simd> ColumnScales<S> {
    #[inline(always)]
    pub(crate) fn none(s: S) -> ColumnScales<S> {
        ColumnScales { columns: s.splat(0.0), sums: s.splat_word(0) }
    }
}

/// What a tile's accumulators hold.
pub(crate) trait Sums: 'static {
    /// A vector of sums.
    type Of<S: Simd>: Copy;
    /// Whether sums are exact in any order.
    const EXACT: bool;

    fn zero<S: Simd>(s: S) -> Self::Of<S>;

    /// # Safety
    /// `LANES` sums must be readable at `from`.
    unsafe fn load<S: Simd>(s: S, from: *const u32) -> Self::Of<S>;

    /// The scales of vector `vector` of the panel.
    ///
    /// # Safety
    /// They must be readable there, a whole vector of them, if the sums have any.
    unsafe fn column_scales<S: Simd>(s: S, scales: Scales, vector: usize) -> ColumnScales<S>;

    /// The numbers that sums of row `row` of the tile stand for.
    ///
    /// # Safety
    /// The row's scale must be readable, if the sums have any.
    unsafe fn numbers<S: Simd>(
        s: S,
        sums: Self::Of<S>,
        scales: Scales,
        row: usize,
        columns: ColumnScales<S>,
    ) -> S::F32;
}

/// Numbers in single precision, as they are.
pub(crate) struct Numbers;

impl Sums for Numbers {
    const EXACT: bool = false;
    type Of<S: Simd> = S::F32;

    #[inline(always)]
    fn zero<S: Simd>(s: S) -> S::F32 {
        s.splat(0.0)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const u32) -> S::F32 {
        // SAFETY: the caller's contract.
        unsafe { s.load(from.cast()) }
    }

    #[inline(always)]
    unsafe fn column_scales<S: Simd>(s: S, _: Scales, _: usize) -> ColumnScales<S> {
        ColumnScales::none(s)
    }

    #[inline(always)]
    unsafe fn numbers<S: Simd>(
        _: S,
        sums: S::F32,
        _: Scales,
        _: usize,
        _: ColumnScales<S>,
    ) -> S::F32 {
        sums
    }
}

/// Integers of 32 bits, in units of a row's scale times a column's.
pub(crate) struct Integers;

impl Sums for Integers {
    const EXACT: bool = true;
    type Of<S: Simd> = S::Words;

    #[inline(always)]
    fn zero<S: Simd>(s: S) -> S::Words {
        s.splat_word(0)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, from: *const u32) -> S::Words {
        // SAFETY: the caller's contract.
        unsafe { s.load_words(from) }
    }

    #[inline(always)]
    unsafe fn column_scales<S: Simd>(s: S, scales: Scales, vector: usize) -> ColumnScales<S> {
        // SAFETY: the caller's contract.
        unsafe {
            ColumnScales {
                columns: s.load(scales.columns.add(vector * S::LANES)),
                sums: s.load_words(scales.column_sums.add(vector * S::LANES)),
            }
        }
    }

    #[inline(always)]
    unsafe fn numbers<S: Simd>(
        s: S,
        sums: S::Words,
        scales: Scales,
        row: usize,
        columns: ColumnScales<S>,
    ) -> S::F32 {
        // SAFETY: the caller's contract.
        let row = unsafe { *scales.rows.add(row) };
        let of_zero = s.mul_i32(columns.sums, s.splat_word(row.zero as u32));
        let numbers = s.to_f32(s.sub_i32(sums, of_zero));
        s.mul(s.mul(numbers, columns.columns), s.splat(row.scale))
    }
}

/// A vector of a format's sums.
pub(crate) type SumsOf<F, S> = <<F as Format>::Sums as Sums>::Of<S>;

/// How a word is read.
pub(crate) trait Format: Copy + Send + Sync + 'static {
    /// Numbers in a word of the right matrix.
    const PER_WORD: usize;
    /// Words of the depth that a tile runs over before its sums go back to memory, at most. Longer
    /// blocks mean fewer round trips of the sums, and more of a panel to stream from the
    /// second-level cache, which is faster than the tile consumes it.
    const DEPTH: usize = 384;
    /// Words that the depth comes in: it is filled up with zeros to a multiple.
    const DEPTH_STEP: usize = 1;
    /// Words of the left rows that meet a word of the right matrix, each a part of it.
    const PARTS: usize = 1;
    /// Whether the left operand of a multiply-add may be the one that it reads from memory.
    const SPREADS_IN_PLACE: bool = false;
    /// What the products are summed in.
    type Sums: Sums;

    /// Part `part` of words of the right matrix.
    #[inline(always)]
    fn part<S: Simd>(_: S, b: S::Words, _: usize) -> S::Words {
        b
    }

    /// sum + a·b, over the numbers of the words.
    fn multiply_add<S: Simd>(
        s: S,
        a: S::Words,
        b: S::Words,
        sum: SumsOf<Self, S>,
    ) -> SumsOf<Self, S>;

    /// A word of the right matrix, of PER_WORD consecutive numbers of a column with this scale.
    fn right_word(values: [f32; 4], scale: Int8Scale) -> u32;

    /// The words of a part of a left row, and what they stand for. What is beyond the row's end
    /// meets zeros on the right and may be any finite number.
    ///
    /// # Panics
    /// If `words` do not hold `row`.
    fn left_words<S: Simd>(s: S, row: &[f32], words: &mut [u32]) -> LeftScale;
}

/// A word is a number.
#[derive(Clone, Copy)]
pub(crate) struct F32;

impl Format for F32 {
    const PER_WORD: usize = 1;
    const SPREADS_IN_PLACE: bool = true;
    type Sums = Numbers;

    #[inline(always)]
    fn multiply_add<S: Simd>(s: S, a: S::Words, b: S::Words, sum: S::F32) -> S::F32 {
        s.mul_add(s.as_f32(a), s.as_f32(b), sum)
    }

    #[inline(always)]
    fn right_word(values: [f32; 4], _: Int8Scale) -> u32 {
        values[0].to_bits()
    }

    #[inline(always)]
    fn left_words<S: Simd>(_: S, row: &[f32], words: &mut [u32]) -> LeftScale {
        for (x, word) in row.iter().zip(words) {
            *word = x.to_bits();
        }
        LeftScale::default()
    }
}

/// A word is two bf16, the first in its lower half, and an instruction multiplies both.
#[derive(Clone, Copy)]
pub(crate) struct Bf16;

impl Format for Bf16 {
    const PER_WORD: usize = 2;
    type Sums = Numbers;

    #[inline(always)]
    fn multiply_add<S: Simd>(s: S, a: S::Words, b: S::Words, sum: S::F32) -> S::F32 {
        s.dot_bf16(sum, a, b)
    }

    #[inline(always)]
    fn right_word(values: [f32; 4], _: Int8Scale) -> u32 {
        u32::from(bf16_bits(values[0])) | u32::from(bf16_bits(values[1])) << 16
    }

    #[inline(always)]
    fn left_words<S: Simd>(s: S, row: &[f32], words: &mut [u32]) -> LeftScale {
        assert!(row.len() <= 2 * words.len());
        let whole = row.len() / S::LANES * S::LANES;
        let (from, to) = (row.as_ptr(), words.as_mut_ptr().cast::<u16>());
        // SAFETY: `row` holds so many whole vectors, and `words` as many halves.
        unsafe {
            for at in (0..whole).step_by(S::LANES) {
                s.store_bf16(to.add(at), s.load(from.add(at)));
            }
        }
        let (pairs, last) = row[whole..].as_chunks::<2>();
        for ([first, second], word) in pairs.iter().zip(&mut words[whole / 2..]) {
            *word = u32::from(bf16_bits(*first)) | u32::from(bf16_bits(*second)) << 16;
        }
        if let [last] = last {
            words[row.len() / 2] = u32::from(bf16_bits(*last));
        }
        LeftScale::default()
    }
}

/// A word of the right matrix is two bf16, as in [`Bf16`]; each is widened and meets a number of its
/// own on the left, rounded to bf16.
#[derive(Clone, Copy)]
pub(crate) struct WidenedBf16;

impl Format for WidenedBf16 {
    const PER_WORD: usize = 2;
    const PARTS: usize = 2;
    const SPREADS_IN_PLACE: bool = true;
    type Sums = Numbers;

    #[inline(always)]
    fn part<S: Simd>(s: S, b: S::Words, part: usize) -> S::Words {
        s.as_words(if part == 0 { s.lower_bf16(b) } else { s.upper_bf16(b) })
    }

    #[inline(always)]
    fn multiply_add<S: Simd>(s: S, a: S::Words, b: S::Words, sum: S::F32) -> S::F32 {
        s.mul_add(s.as_f32(a), s.as_f32(b), sum)
    }

    #[inline(always)]
    fn right_word(values: [f32; 4], scale: Int8Scale) -> u32 {
        Bf16::right_word(values, scale)
    }

    #[inline(always)]
    fn left_words<S: Simd>(_: S, row: &[f32], words: &mut [u32]) -> LeftScale {
        for (x, word) in row.iter().zip(&mut *words) {
            *word = u32::from(bf16_bits(*x)) << 16;
        }
        // Of an odd row the second half of the last word meets zeros.
        words[row.len()..].fill(0);
        LeftScale::default()
    }
}

/// A word is four 8-bit integers, the first in its lowest byte.
#[derive(Clone, Copy)]
pub(crate) struct Int8;

impl Format for Int8 {
    const PER_WORD: usize = 4;
    type Sums = Integers;

    #[inline(always)]
    fn multiply_add<S: Simd>(s: S, a: S::Words, b: S::Words, sum: S::Words) -> S::Words {
        s.dot_i8(sum, a, b)
    }

    #[inline(always)]
    fn right_word(values: [f32; 4], scale: Int8Scale) -> u32 {
        u32::from_le_bytes(values.map(|x| scale.quantise(x)))
    }

    #[inline(always)]
    fn left_words<S: Simd>(s: S, row: &[f32], words: &mut [u32]) -> LeftScale {
        assert!(row.len() <= 4 * words.len());
        let range = Int8Range::of(row);
        let (inverse, shift) = range.to_low_byte(S::I8_OFFSET);
        let (inverse, shift) = (s.splat(inverse), s.splat(shift));
        let (vectors, rest) = (row.len() / S::LANES, row.len() % S::LANES);
        let (from, to) = (row.as_ptr(), words.as_mut_ptr().cast::<u8>());
        // SAFETY: `row` holds so many vectors and `rest` more; `words` as many bytes, of which a
        // part of a vector goes by way of a buffer.
        unsafe {
            for at in (0..vectors * S::LANES).step_by(S::LANES) {
                let x = s.mul_add(s.load(from.add(at)), inverse, shift);
                s.store_low_bytes(to.add(at), x);
            }
            if rest > 0 {
                let at = vectors * S::LANES;
                let mut bytes = [0; 16];
                let x = s.mul_add(s.load_part(from.add(at), rest), inverse, shift);
                s.store_low_bytes(bytes.as_mut_ptr(), x);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.add(at), rest);
            }
        }
        LeftScale { scale: range.scale, zero: range.zero(S::I8_OFFSET) }
    }
}

/// As [`Bf16`], multiplied in matrix tiles.
#[derive(Clone, Copy)]
pub(crate) struct TiledBf16;

impl Format for TiledBf16 {
    const PER_WORD: usize = Bf16::PER_WORD;
    /// The sums stay in tiles over the whole depth.
    const DEPTH: usize = usize::MAX;
    const DEPTH_STEP: usize = 16;
    type Sums = Numbers;

    #[inline(always)]
    fn multiply_add<S: Simd>(s: S, a: S::Words, b: S::Words, sum: S::F32) -> S::F32 {
        Bf16::multiply_add(s, a, b, sum)
    }

    #[inline(always)]
    fn right_word(values: [f32; 4], scale: Int8Scale) -> u32 {
        Bf16::right_word(values, scale)
    }

    #[inline(always)]
    fn left_words<S: Simd>(s: S, row: &[f32], words: &mut [u32]) -> LeftScale {
        // What fills up the depth meets zeros, but must not be NaN.
        words[row.len().div_ceil(2)..].fill(0);
        Bf16::left_words(s, row, words)
    }
}

/// As [`Int8`], multiplied in matrix tiles.
#[derive(Clone, Copy)]
pub(crate) struct TiledInt8;

impl Format for TiledInt8 {
    const PER_WORD: usize = Int8::PER_WORD;
    const DEPTH_STEP: usize = 16;
    type Sums = Integers;

    #[inline(always)]
    fn multiply_add<S: Simd>(s: S, a: S::Words, b: S::Words, sum: S::Words) -> S::Words {
        Int8::multiply_add(s, a, b, sum)
    }

    #[inline(always)]
    fn right_word(values: [f32; 4], scale: Int8Scale) -> u32 {
        Int8::right_word(values, scale)
    }

    #[inline(always)]
    fn left_words<S: Simd>(s: S, row: &[f32], words: &mut [u32]) -> LeftScale {
        Int8::left_words(s, row, words)
    }
}
