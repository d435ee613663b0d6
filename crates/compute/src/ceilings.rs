//! The machine's ceilings: what its arithmetic units and its memory reach on this device's threads
//! when nothing else is in the way.

use std::time::Instant;

use adaptkit_kernels::{Precision, peak};

use crate::Device;

/// Rounds, the fastest of which counts: neighbours and clocks only ever make one slower.
const ROUNDS: usize = 9;

/// Steps of the bare loop in a round: some milliseconds.
const STEPS: usize = 1_000_000;

impl Device {
    /// Operations a second of a loop of independent multiply-adds in registers, of the kind that
    /// products in this precision are made of: two for each multiply-add of each number.
    pub fn multiply_add_ceiling(&self, precision: Precision) -> f64 {
        let isa = self.0.isa;
        fastest(|| self.run(|| peak::multiply_add_loop(isa, precision, STEPS)))
    }

    /// Bytes a second at which the threads together read `bytes` of memory, which should be more
    /// than the caches hold: as many are allocated while it measures.
    pub fn memory_ceiling(&self, bytes: usize) -> f64 {
        // Pages that were never written are all one page of zeros, which would stay in the cache.
        let numbers = vec![1.0; bytes / size_of::<f32>()];
        let isa = self.0.isa;
        fastest(|| {
            std::hint::black_box(self.run(|| peak::read_all(isa, &numbers)));
            size_of_val(&numbers[..]) as f64
        })
    }
}

/// The highest rate of several rounds of something that tells how much it did.
fn fastest(round: impl Fn() -> f64) -> f64 {
    let rates = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        let done = round();
        done / start.elapsed().as_secs_f64().max(1e-9)
    });
    rates.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_are_rates() {
        let device = Device::cpu(std::num::NonZero::new(2)).expect("a device");
        for precision in Precision::ALL {
            let rate = device.multiply_add_ceiling(precision);
            assert!(rate.is_finite() && rate > 0.0, "{precision}: {rate}");
        }
        for bytes in [0, 1 << 20] {
            let rate = device.memory_ceiling(bytes);
            assert!(rate.is_finite() && (rate > 0.0) == (bytes > 0), "{bytes} bytes: {rate}");
        }
    }
}
