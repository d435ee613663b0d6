//! Rows held out by a seed.
//!
//! The rows are shuffled and cut, without regard to their labels (not stratified): with a rare label,
//! look at the counts, or bring a validation file. A seed
//! means the same split in every release and on every machine.

use adaptkit_compute::Random;

use crate::TrainingError;

/// Splits the rows 0 to `rows`−1 into the rest and one part for each of `held_out`, a share of all
/// rows each: `[0.1]` holds a tenth out for validation, `[0.1, 0.1]` is a split 80/10/10. The rest
/// comes first; a part's size is its share of the rows, rounded, and at least one. Every part is in
/// the file's order.
///
/// # Errors
/// Shares that are not above 0, or not below 1 together; fewer rows than parts.
pub fn split(rows: usize, held_out: &[f64], seed: u64) -> Result<Vec<Vec<usize>>, TrainingError> {
    let sum: f64 = held_out.iter().sum();
    if !(sum < 1.0 && held_out.iter().all(|&share| share > 0.0)) {
        return Err(TrainingError::BadFraction { sum });
    }
    let sizes: Vec<usize> =
        held_out.iter().map(|share| ((rows as f64 * share).round() as usize).max(1)).collect();
    let Some(rest) = rows.checked_sub(sizes.iter().sum()).filter(|&rest| rest > 0) else {
        return Err(TrainingError::TooFewRows { rows, parts: held_out.len() + 1 });
    };
    let mut shuffled: Vec<usize> = (0..rows).collect();
    Random::new(seed).shuffle(&mut shuffled);
    let mut parts = Vec::with_capacity(sizes.len() + 1);
    for size in std::iter::once(rest).chain(sizes) {
        let mut part: Vec<usize> = shuffled.drain(..size).collect();
        part.sort_unstable();
        parts.push(part);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_their_sizes_and_hold_every_row_once() {
        let cases: [(usize, &[f64], &[usize]); 6] = [
            (5574, &[0.1, 0.1], &[4460, 557, 557]),
            (10, &[0.25], &[7, 3]),
            (2, &[0.01], &[1, 1]),
            (3, &[0.1, 0.1], &[1, 1, 1]),
            (7, &[], &[7]),
            (100, &[0.999], &[0, 0]),
        ];
        for (rows, held_out, sizes) in cases {
            let Ok(parts) = split(rows, held_out, 7) else {
                assert_eq!(sizes, [0, 0], "{rows} {held_out:?}");
                continue;
            };
            assert_eq!(
                parts.iter().map(Vec::len).collect::<Vec<_>>(),
                sizes,
                "{rows} {held_out:?}"
            );
            assert!(parts.iter().all(|part| part.is_sorted()));
            let mut all = parts.concat();
            all.sort_unstable();
            assert_eq!(all, (0..rows).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_seed_decides_and_its_meaning_is_fixed() {
        assert_eq!(split(1000, &[0.1], 3).unwrap(), split(1000, &[0.1], 3).unwrap());
        assert_ne!(split(1000, &[0.1], 3).unwrap(), split(1000, &[0.1], 4).unwrap());
        assert_eq!(split(10, &[0.3], 0).unwrap()[1], [0, 3, 8]);
    }

    #[test]
    fn impossible_shares_are_refused() {
        let cases: [(usize, &[f64]); 8] = [
            (10, &[0.0]),
            (10, &[1.0]),
            (10, &[-0.1]),
            (10, &[f64::NAN]),
            (10, &[f64::INFINITY]),
            (10, &[0.5, 0.5]),
            (1, &[0.5]),
            (0, &[]),
        ];
        for (rows, held_out) in cases {
            assert!(split(rows, held_out, 0).is_err(), "{rows} {held_out:?}");
        }
    }
}
