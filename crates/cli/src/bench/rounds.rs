//! Medians of repeated passes, until a signal ends them.

use std::time::Instant;

use adaptkit::encoder::{Operation, RaggedBatch};

use super::workload::Workload;
use crate::error::CliError;
use crate::train::Interruption;

/// How often a pass is timed. Signals are heard between passes, so that temporary files are removed.
pub(super) struct Rounds {
    pub(super) repeats: usize,
    pub(super) interruption: Interruption,
}

impl Rounds {
    pub(super) fn new(repeats: usize) -> Result<Rounds, CliError> {
        Ok(Rounds { repeats, interruption: Interruption::catch()? })
    }

    /// The median time of a pass.
    pub(super) fn seconds(&self, mut pass: impl FnMut()) -> Result<f64, CliError> {
        let times = self.results(|| {
            let start = Instant::now();
            pass();
            start.elapsed().as_secs_f64()
        })?;
        Ok(median(times))
    }

    /// Each operation over all batches, with the median of its times.
    pub(super) fn operations(
        &self,
        measure: impl Fn(&RaggedBatch) -> Vec<Operation>,
        workload: &Workload,
    ) -> Result<Vec<(Operation, f64)>, CliError> {
        let rounds = self.results(|| {
            let sum = |mut all: Vec<Operation>, more: Vec<Operation>| {
                for (sum, more) in all.iter_mut().zip(more) {
                    sum.operations += more.operations;
                    sum.bytes += more.bytes;
                    sum.took += more.took;
                }
                all
            };
            workload.batches.iter().map(&measure).reduce(sum).unwrap_or_default()
        })?;
        let of = |i: usize| median(rounds.iter().map(|all| all[i].took.as_secs_f64()).collect());
        let first = rounds.first().cloned().unwrap_or_default();
        Ok(first.into_iter().enumerate().map(|(i, operation)| (operation, of(i))).collect())
    }

    /// What the passes give, but for a first one that warms up.
    fn results<T>(&self, mut pass: impl FnMut() -> T) -> Result<Vec<T>, CliError> {
        pass();
        let mut results = Vec::with_capacity(self.repeats.min(1024));
        for _ in 0..self.repeats {
            self.check()?;
            results.push(pass());
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
pub(super) fn median(mut values: Vec<f64>) -> f64 {
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
