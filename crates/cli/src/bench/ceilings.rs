//! What the machine reaches when nothing is in the way.

use adaptkit::compute::{Device, Precision};

/// Bytes that are read to measure the memory: more than the caches of any CPU we have met hold.
const MEMORY: usize = 512 << 20;

/// The machine's ceilings on the threads in use.
#[derive(Default)]
pub(super) struct Ceilings {
    /// Operations a second in each precision, in the order of [`Precision::ALL`].
    arithmetic: [f64; Precision::ALL.len()],
    /// Bytes read a second.
    pub(super) memory: f64,
}

impl Ceilings {
    /// Measures the arithmetic's. The machine may be busy with others' work now and not later: the
    /// highest rate of all calls is the ceiling.
    pub(super) fn observe_arithmetic(&mut self, device: &Device) {
        for (rate, precision) in self.arithmetic.iter_mut().zip(Precision::ALL) {
            *rate = rate.max(device.multiply_add_ceiling(precision));
        }
    }

    /// Measures the memory's: in the end, since what is read would count as memory of the model.
    pub(super) fn observe_memory(&mut self, device: &Device) {
        self.memory = self.memory.max(device.memory_ceiling(MEMORY));
    }

    /// Operations a second of multiply-adds in this precision.
    pub(super) fn of(&self, precision: Precision) -> f64 {
        let all = Precision::ALL.iter().zip(self.arithmetic);
        all.filter(|(known, _)| **known == precision).map(|(_, rate)| rate).sum()
    }
}
