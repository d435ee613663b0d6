//! What the arithmetic units reach when nothing else is in the way: the ceiling for a product.

use crate::isa::Isa;
use crate::parallel;
use crate::simd::{Kernel, Simd, dispatch};

/// Runs `iterations` rounds of independent multiply-adds in registers on every thread of the pool
/// and returns the floating-point operations done: two for each multiply-add of each lane.
pub fn fma_loop(isa: Isa, iterations: usize) -> f64 {
    let threads = parallel::threads();
    let done = std::sync::atomic::AtomicU64::new(0);
    parallel::for_each(threads, |_| {
        let flops = dispatch(isa, FmaLoop { iterations });
        done.fetch_add(flops, std::sync::atomic::Ordering::Relaxed);
    });
    done.into_inner() as f64
}

struct FmaLoop {
    iterations: usize,
}

impl Kernel for FmaLoop {
    type Output = u64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> u64 {
        // Twelve chains hide a latency of up to six on two units and fit sixteen registers.
        const CHAINS: usize = 12;
        let mut sums = [s.splat(0.0); CHAINS];
        let (a, b) = (std::hint::black_box(s.splat(0.5)), std::hint::black_box(s.splat(0.25)));
        for _ in 0..self.iterations {
            for sum in &mut sums {
                *sum = s.mul_add(a, *sum, b);
            }
        }
        std::hint::black_box(sums);
        (self.iterations * CHAINS * S::LANES * 2) as u64
    }
}
