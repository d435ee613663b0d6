//! Repeated rounds of passes, until a signal ends them, and their medians.

use crate::error::CliError;
use crate::train::Interruption;

/// How often passes are timed. Signals are heard between rounds, so that temporary files are removed.
pub(super) struct Rounds {
    pub(super) repeats: usize,
    pub(super) interruption: Interruption,
}

impl Rounds {
    pub(super) fn new(repeats: usize) -> Result<Rounds, CliError> {
        Ok(Rounds { repeats, interruption: Interruption::catch()? })
    }

    /// What the rounds give, but for a first one that warms up.
    pub(super) fn results<T>(&self, mut round: impl FnMut() -> T) -> Result<Vec<T>, CliError> {
        round();
        let mut results = Vec::with_capacity(self.repeats.min(1024));
        for _ in 0..self.repeats {
            self.check()?;
            results.push(round());
        }
        Ok(results)
    }

    /// Whether to go on.
    pub(super) fn check(&self) -> Result<(), CliError> {
        match self.interruption.signal() {
            0 => Ok(()),
            signal => Err(CliError::Ended { signal }),
        }
    }
}

/// The middle one, or the mean of both; zero of none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n.is_multiple_of(2) => values[n / 2 - 1].midpoint(values[n / 2]),
        n => values[n / 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expected) in
            [(&[][..], 0.0), (&[3.0], 3.0), (&[9.0, 1.0, 2.0], 2.0), (&[1.0, 4.0, 2.0, 100.0], 3.0)]
        {
            assert_eq!(median(values.to_vec()), expected, "{values:?}");
        }
    }
}
