//! What the machine reaches when nothing is in the way.

use adaptkit::compute::{Device, Precision};

/// Bytes that are read to measure the memory: more than the caches of any CPU we have met hold.
const MEMORY: usize = 512 << 20;

/// The machine's ceilings on the threads in use.
pub(super) struct Ceilings {
    /// Operations a second in each precision, in the order of [`Precision::ALL`].
    arithmetic: [f64; Precision::ALL.len()],
    /// Bytes read a second.
    pub(super) memory: f64,
}

impl Ceilings {
    /// Measures the arithmetic's. The memory's come later, by [`Ceilings::finish`], since what is
    /// read for it would count as memory of the model.
    pub(super) fn of_arithmetic(device: &Device) -> Ceilings {
        let arithmetic = Precision::ALL.map(|precision| device.multiply_add_ceiling(precision));
        Ceilings { arithmetic, memory: 0.0 }
    }

    /// Measures the memory's, and the arithmetic's again: a machine that was busy with others' work
    /// before the model ran may not be after it, and the higher rate is the ceiling.
    pub(super) fn finish(&mut self, device: &Device) {
        let again = Ceilings::of_arithmetic(device);
        for (rate, again) in self.arithmetic.iter_mut().zip(again.arithmetic) {
            *rate = rate.max(again);
        }
        self.memory = device.memory_ceiling(MEMORY);
    }

    /// Operations a second of multiply-adds in this precision.
    pub(super) fn of(&self, precision: Precision) -> f64 {
        let all = Precision::ALL.iter().zip(self.arithmetic);
        all.filter(|(known, _)| **known == precision).map(|(_, rate)| rate).sum()
    }
}
