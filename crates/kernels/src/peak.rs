//! What the arithmetic units and the memory reach when nothing else is in the way: the ceilings.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::isa::Isa;
use crate::matrix::format::{self, Format, Sums};
use crate::matrix::tiled;
use crate::parallel::{self, Shared, even_parts};
use crate::precision::Precision;
use crate::simd::{Kernel, NativeBf16, NativeTiles, Simd, dispatch, dispatch_i8};

/// Runs `iterations` rounds of independent multiply-adds in registers on every thread of the pool,
/// of the kind that products in this precision are made of, and returns the operations done: two
/// for each multiply-add of each number.
pub fn multiply_add_loop(isa: Isa, precision: Precision, iterations: usize) -> f64 {
    let done = AtomicU64::new(0);
    if let (Precision::Bf16 | Precision::Int8, Some(tiles)) = (precision, NativeTiles::of(isa)) {
        parallel::for_each(parallel::threads(), |_| {
            let words = match precision {
                Precision::Int8 => tiled::multiply_loop::<format::TiledInt8>(tiles, iterations),
                _ => tiled::multiply_loop::<format::TiledBf16>(tiles, iterations),
            };
            done.fetch_add((words * precision.per_word() * 2) as u64, Ordering::Relaxed);
        });
        return done.into_inner() as f64;
    }
    parallel::for_each(parallel::threads(), |_| {
        let operations = match precision {
            Precision::F32 => dispatch(isa, Loop::<format::F32>(iterations, PhantomData)),
            Precision::Bf16 => match NativeBf16::of(isa) {
                Some(native) => native.run(Loop::<format::Bf16>(iterations, PhantomData)),
                None => dispatch(isa, Loop::<format::WidenedBf16>(iterations, PhantomData)),
            },
            Precision::Int8 => dispatch_i8(isa, Loop::<format::Int8>(iterations, PhantomData)),
        };
        done.fetch_add(operations, Ordering::Relaxed);
    });
    done.into_inner() as f64
}

struct Loop<F>(usize, PhantomData<F>);

impl<F: Format> Kernel for Loop<F> {
    type Output = u64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> u64 {
        // As many chains as the registers hold: they hide the latency of two units.
        if S::TILE_ROWS > 12 { self.chains::<S, 24>(s) } else { self.chains::<S, 12>(s) }
    }
}

impl<F: Format> Loop<F> {
    #[inline(always)]
    fn chains<S: Simd, const CHAINS: usize>(self, s: S) -> u64 {
        let mut sums = [F::Sums::zero(s); CHAINS];
        let words: [u32; 3] = std::hint::black_box([0x3f00_3f00, 0x3e80_3e80, 0x3e40_3e40]);
        let a = s.splat_word(words[0]);
        let b = [s.splat_word(words[1]), s.splat_word(words[2])];
        for _ in 0..self.0 {
            for sums in sums.chunks_exact_mut(2) {
                // Of integers, products that recur would be computed once for the whole loop: each two
                // chains read their own factor, as a tile does.
                let a = match F::Sums::EXACT {
                    // SAFETY: a reference is readable.
                    true => s.splat_word(unsafe { std::ptr::from_ref(&words[0]).read_volatile() }),
                    false => a,
                };
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = F::multiply_add(s, a, b, *sum);
                }
            }
        }
        std::hint::black_box(sums);
        (self.0 * CHAINS * S::LANES * F::PER_WORD / F::PARTS * 2) as u64
    }
}

/// Reads all of `numbers` once over the threads of the pool and returns their sum: the bytes of
/// `numbers` over the time taken are the memory's bandwidth, if they fit no cache.
pub fn read_all(isa: Isa, numbers: &[f32]) -> f64 {
    let parts: Vec<_> = even_parts(numbers.len(), parallel::threads()).collect();
    let mut sums = vec![0.0; parts.len()];
    let shared = Shared::new(&mut sums);
    parallel::for_each(parts.len(), |i| {
        let sum = dispatch(isa, Sum(&numbers[parts[i].clone()]));
        // SAFETY: each task writes its own element.
        unsafe { shared.part(i..i + 1)[0] = f64::from(sum) };
    });
    sums.iter().sum()
}

struct Sum<'a>(&'a [f32]);

impl Kernel for Sum<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        const CHAINS: usize = 8;
        let mut sums = [s.splat(0.0); CHAINS];
        let chunks = self.0.chunks_exact(CHAINS * S::LANES);
        let rest: f32 = chunks.remainder().iter().sum();
        for chunk in chunks {
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a chunk holds CHAINS vectors.
                *sum = s.add(*sum, unsafe { s.load(chunk.as_ptr().add(i * S::LANES)) });
            }
        }
        let mut total = rest;
        for sum in sums {
            total += s.sum(sum);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_count_what_they_do_and_reading_sums() {
        for isa in Isa::available() {
            let numbers: Vec<f32> = (0..1003).map(|i| (i % 7) as f32).collect();
            let want: f32 = numbers.iter().sum();
            assert_eq!(read_all(isa, &numbers), f64::from(want), "{isa}");
            let f32s = multiply_add_loop(isa, Precision::F32, 10);
            let threads = parallel::threads() as f64;
            assert!(f32s > 0.0 && f32s % (threads * 10.0 * 12.0 * 2.0) == 0.0, "{isa}");
            // A round of tiles is four products of 16 × 16 × 16 words, one of vectors 24 of 16 words.
            let round = if isa.has_tiles() { 4.0 * 4096.0 / (24.0 * 16.0) } else { 1.0 };
            let pairs = if isa.has_bf16() { 2.0 * round } else { 1.0 };
            assert_eq!(multiply_add_loop(isa, Precision::Bf16, 10), pairs * f32s, "{isa}");
            let quads = 4.0 * round;
            assert_eq!(multiply_add_loop(isa, Precision::Int8, 10), quads * f32s, "{isa}");
        }
    }
}
