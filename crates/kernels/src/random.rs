//! Random numbers that a seed fixes in every release and on every machine: SplitMix64 (Steele, Lea
//! & Flood 2014), by counter for masks and in sequence for the rest.

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// 64 well-mixed bits of a key and a counter, each counter's independent of the others'.
pub fn mix(key: u64, counter: u64) -> u64 {
    finalise(key.wrapping_add(counter.wrapping_add(1).wrapping_mul(STEP)))
}

fn finalise(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A sequence of random numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        finalise(self.0)
    }

    /// A number in 0..1, of 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number below `bound`, each as likely: draws that would favour the small ones are drawn
    /// again (Lemire 2019).
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.bits()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// A draw from the standard normal distribution, by Box and Muller's transform (1958).
    pub fn normal(&mut self) -> f64 {
        // 1 − u lies in (0, 1], so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Puts a slice in random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, x: &mut [T]) {
        for last in (1..x.len()).rev() {
            x.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one_and_masks_count_along_it() {
        let expected =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        let mut random = Random::new(1_234_567);
        assert_eq!([random.bits(), random.bits(), random.bits()], expected);
        assert_eq!([0, 1, 2].map(|i| mix(1_234_567, i)), expected);
    }

    #[test]
    fn normal_draws_have_mean_zero_and_deviation_one() {
        const N: usize = 100_000;
        let mut random = Random::new(9);
        let draws: Vec<f64> = (0..N).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / N as f64;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / N as f64;
        // Five standard errors: 1/√N of the mean, √(2/N) of the variance.
        assert!(mean.abs() < 5.0 / (N as f64).sqrt(), "{mean}");
        assert!((variance - 1.0).abs() < 5.0 * (2.0 / N as f64).sqrt(), "{variance}");
    }
}
