//! Random numbers for tests: the same on every machine, from a seed in the test.

/// SplitMix64 (Steele, Lea and Flood 2014): small, and good enough to fill matrices with.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Starts a sequence.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform on [0, 1) in steps of 2⁻⁵³.
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform between `lo` and `hi`; rounding to f32 may give `hi` itself.
    pub fn uniform(&mut self, lo: f32, hi: f32) -> f32 {
        (f64::from(lo) + (f64::from(hi) - f64::from(lo)) * self.unit()) as f32
    }

    /// Uniform on the whole numbers below `end`.
    ///
    /// # Panics
    /// If there are none.
    pub fn below(&mut self, end: usize) -> usize {
        assert!(end > 0, "no whole number is below 0");
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// Normal with mean 0 and variance 1 (Box and Muller 1958).
    ///
    /// Its logarithm and cosine are the platform's: a last bit may differ between systems.
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
    }

    /// `n` normal numbers times `scale`.
    pub fn vec(&mut self, n: usize, scale: f32) -> Vec<f32> {
        (0..n).map(|_| scale * self.normal()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_the_published_generator() {
        let mut random = Random::new(1234567);
        let want =
            [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431];
        assert_eq!(want.map(|_| random.bits()), want);
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let of = |seed| Random::new(seed).vec(8, 1.0);
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }

    #[test]
    fn uniform_fills_its_range_and_no_more() {
        let mut random = Random::new(5);
        let drawn: Vec<f32> = (0..10_000).map(|_| random.uniform(-2.0, 3.0)).collect();
        assert!(drawn.iter().all(|x| (-2.0..=3.0).contains(x)));
        let least = drawn.iter().copied().fold(f32::INFINITY, f32::min);
        let most = drawn.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert!(least < -1.99 && most > 2.99, "{least} to {most}");
    }

    #[test]
    fn below_meets_every_number_about_equally() {
        let mut random = Random::new(6);
        let mut seen = [0; 7];
        for _ in 0..7000 {
            seen[random.below(7)] += 1;
        }
        // Six standard deviations of a count of 1000.
        assert!(seen.iter().all(|n| (825..1175).contains(n)), "{seen:?}");
    }

    #[test]
    fn normal_has_mean_0_and_variance_1() {
        let drawn = Random::new(7).vec(20_000, 1.0);
        let moment = |power: i32| {
            drawn.iter().map(|x| f64::from(*x).powi(power)).sum::<f64>() / drawn.len() as f64
        };
        // Six standard errors of each moment: √(1, 2, 96) / √20000.
        let cases = [(1, 0.0, 0.043), (2, 1.0, 0.06), (4, 3.0, 0.42)];
        for (power, want, bound) in cases {
            assert!((moment(power) - want).abs() < bound, "moment {power}: {}", moment(power));
        }
        assert!(drawn.iter().all(|x| x.is_finite()));
    }
}
