//! Rows held out, dealt into folds or drawn, by a seed.
//!
//! Every function takes the rows' strata: the number of a row's label where each row has one, the same
//! number for all rows where there is nothing to keep in proportion (values, sets of labels). A
//! stratum gets its share of every part, rounded so that the parts have the sizes that were asked
//! for. The same strata and the same seed give the same rows in every release and on every machine;
//! of a single stratum, those of a plain shuffle.

use std::collections::HashMap;

use adaptkit_compute::{Random, mix};

use crate::TrainingError;

/// Keeps the draw of [`sample`] apart from that of [`split`], which precedes it with the same seed.
const SAMPLE_STREAM: u64 = 0x7361_6d70_6c65_2131;

/// Splits the rows into the rest and one part for each of `held_out`, a share of all rows each:
/// `[0.1]` holds a tenth out for validation, `[0.1, 0.1]` is a split 80/10/10. The rest comes first; a
/// part's size is its share of the rows, rounded, and at least one. Every part is in the file's order.
///
/// A stratum has its share of each part, and its last row stays in the rest as long as others have
/// rows to give.
///
/// # Errors
/// Shares that are not above 0, or not below 1 together; fewer rows than parts.
pub fn split(
    strata: &[u32],
    held_out: &[f64],
    seed: u64,
) -> Result<Vec<Vec<usize>>, TrainingError> {
    let rows = strata.len();
    let sum: f64 = held_out.iter().sum();
    if !(sum < 1.0 && held_out.iter().all(|&share| share > 0.0)) {
        return Err(TrainingError::BadFraction { sum });
    }
    let sizes: Vec<usize> =
        held_out.iter().map(|share| ((rows as f64 * share).round() as usize).max(1)).collect();
    if rows.checked_sub(sizes.iter().sum()).is_none_or(|rest| rest == 0) {
        return Err(TrainingError::TooFewRows { rows, parts: held_out.len() + 1 });
    }
    let shuffled = shuffled_strata(strata, seed);
    let counts: Vec<usize> = shuffled.iter().map(Vec::len).collect();
    let mut left = counts.clone();
    let mut quotas = vec![Vec::new()];
    for size in sizes {
        let all_but_one: Vec<usize> = left.iter().map(|&rows| rows.saturating_sub(1)).collect();
        let mut quota = apportion(size, &counts, &all_but_one);
        let short = size - quota.iter().sum::<usize>();
        left.iter_mut().zip(&quota).for_each(|(left, quota)| *left -= quota);
        let last_rows = apportion(short, &counts, &left);
        for ((quota, left), last) in quota.iter_mut().zip(&mut left).zip(last_rows) {
            *quota += last;
            *left -= last;
        }
        quotas.push(quota);
    }
    quotas[0] = left;
    let mut begins = vec![0; counts.len()];
    let parts = quotas.iter().map(|quota| {
        let mut part = Vec::with_capacity(quota.iter().sum());
        for ((rows, begin), quota) in shuffled.iter().zip(&mut begins).zip(quota) {
            part.extend_from_slice(&rows[*begin..*begin + quota]);
            *begin += quota;
        }
        part.sort_unstable();
        part
    });
    Ok(parts.collect())
}

/// Deals the rows into `folds` parts whose sizes differ by at most one, as do the rows of each
/// stratum. Every part is in the file's order.
///
/// # Errors
/// Fewer than two folds; fewer rows than folds.
pub fn folds(strata: &[u32], folds: usize, seed: u64) -> Result<Vec<Vec<usize>>, TrainingError> {
    if folds < 2 {
        return Err(TrainingError::BadFolds { folds });
    }
    if strata.len() < folds {
        return Err(TrainingError::TooFewRows { rows: strata.len(), parts: folds });
    }
    let mut parts = vec![Vec::new(); folds];
    for (dealt, row) in shuffled_strata(strata, seed).into_iter().flatten().enumerate() {
        parts[dealt % folds].push(row);
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    Ok(parts)
}

/// Draws `most` rows, or all if there are no more, in the file's order. A stratum has its share of
/// them, and at least one row where there are as many rows to draw as strata.
pub fn sample(strata: &[u32], most: usize, seed: u64) -> Vec<usize> {
    if strata.len() <= most {
        return (0..strata.len()).collect();
    }
    let shuffled = shuffled_strata(strata, mix(seed, SAMPLE_STREAM));
    let counts: Vec<usize> = shuffled.iter().map(Vec::len).collect();
    let mut quota = apportion(most, &counts, &counts);
    if most >= counts.len() {
        give_each_one(&mut quota);
    }
    let drawn = shuffled.iter().zip(quota).flat_map(|(rows, quota)| &rows[..quota]);
    let mut drawn: Vec<usize> = drawn.copied().collect();
    drawn.sort_unstable();
    drawn
}

/// The rows of each stratum in a shuffled order, strata in the order in which the shuffle meets them.
fn shuffled_strata(strata: &[u32], seed: u64) -> Vec<Vec<usize>> {
    let mut shuffled: Vec<usize> = (0..strata.len()).collect();
    Random::new(seed).shuffle(&mut shuffled);
    let mut places: HashMap<u32, usize> = HashMap::new();
    let mut rows: Vec<Vec<usize>> = Vec::new();
    for row in shuffled {
        let place = *places.entry(strata[row]).or_insert(rows.len());
        if place == rows.len() {
            rows.push(Vec::new());
        }
        rows[place].push(row);
    }
    rows
}

/// Divides `seats` in proportion to `counts`, none above its cap, by the largest remainders; of equal
/// ones the earlier. Fewer are given where the caps allow no more.
fn apportion(seats: usize, counts: &[usize], caps: &[usize]) -> Vec<usize> {
    let total: u128 = counts.iter().map(|&count| count as u128).sum::<u128>().max(1);
    let share = |count: usize| (seats as u128 * count as u128) / total;
    let remainder = |count: usize| (seats as u128 * count as u128) % total;
    let mut quota: Vec<usize> =
        counts.iter().zip(caps).map(|(&count, &cap)| cap.min(share(count) as usize)).collect();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(remainder(counts[at])));
    let mut left = seats - quota.iter().sum::<usize>();
    while left > 0 {
        order.retain(|&at| quota[at] < caps[at]);
        if order.is_empty() {
            break;
        }
        for &at in order.iter().take(left) {
            quota[at] += 1;
        }
        left -= order.len().min(left);
    }
    quota
}

/// Moves seats from the largest quotas to those without one, as far as there are quotas above one.
fn give_each_one(quota: &mut [usize]) {
    let mut largest: std::collections::BinaryHeap<(usize, usize)> =
        quota.iter().enumerate().map(|(at, &seats)| (seats, at)).collect();
    for at in 0..quota.len() {
        if quota[at] > 0 {
            continue;
        }
        match largest.pop() {
            Some((seats, from)) if seats > 1 => {
                quota[from] -= 1;
                quota[at] = 1;
                largest.push((seats - 1, from));
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of each stratum, a number of folds or of drawn rows, and how many rows of each stratum a
    /// part then has.
    type DealtCase<'a> = (&'a [(u32, usize)], usize, &'a [usize]);

    /// Strata of rows that repeat: `(stratum, rows)`.
    fn strata(counts: &[(u32, usize)]) -> Vec<u32> {
        counts.iter().flat_map(|&(stratum, rows)| vec![stratum; rows]).collect()
    }

    /// How many of `rows` are of each of the first `n` strata.
    fn counted(rows: &[usize], strata: &[u32], n: u32) -> Vec<usize> {
        (0..n).map(|wanted| rows.iter().filter(|&&row| strata[row] == wanted).count()).collect()
    }

    #[test]
    fn parts_have_their_sizes_and_hold_every_row_once() {
        let cases: [(Vec<u32>, &[f64], &[usize]); 9] = [
            (vec![0; 5574], &[0.1, 0.1], &[4460, 557, 557]),
            (vec![0; 10], &[0.25], &[7, 3]),
            (vec![0; 2], &[0.01], &[1, 1]),
            (vec![0; 3], &[0.1, 0.1], &[1, 1, 1]),
            (vec![0; 7], &[], &[7]),
            (vec![0; 100], &[0.999], &[0, 0]),
            (strata(&[(0, 4827), (1, 747)]), &[0.1, 0.1], &[4460, 557, 557]),
            (strata(&[(0, 1), (1, 1), (2, 1)]), &[0.4, 0.1], &[1, 1, 1]),
            ((0..1000).collect(), &[0.1], &[900, 100]),
        ];
        for (strata, held_out, sizes) in cases {
            let rows = strata.len();
            let Ok(parts) = split(&strata, held_out, 7) else {
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
    fn each_stratum_has_its_share_of_each_part() {
        type Case<'a> = (&'a [(u32, usize)], &'a [f64], &'a [&'a [usize]]);
        let cases: [Case<'_>; 5] = [
            (&[(0, 90), (1, 10)], &[0.1], &[&[81, 9], &[9, 1]]),
            (&[(0, 800), (1, 200)], &[0.1, 0.2], &[&[560, 140], &[80, 20], &[160, 40]]),
            // A single row stays in the rest while others have rows to give.
            (&[(0, 1), (1, 99)], &[0.5], &[&[1, 49], &[0, 50]]),
            (&[(0, 1), (1, 1), (2, 2)], &[0.25], &[&[1, 1, 1], &[0, 0, 1]]),
            // Five rows of 50.5 and 49.5: the remainders decide, and the size is right.
            (&[(0, 4), (1, 4), (2, 2)], &[0.5], &[&[2, 2, 1], &[2, 2, 1]]),
        ];
        for (counts, held_out, expected) in cases {
            let strata = strata(counts);
            for seed in 0..20 {
                let parts = split(&strata, held_out, seed).unwrap();
                let found: Vec<Vec<usize>> =
                    parts.iter().map(|part| counted(part, &strata, counts.len() as u32)).collect();
                assert_eq!(found, expected, "{counts:?} seed {seed}");
            }
        }
    }

    #[test]
    fn the_seed_decides_and_its_meaning_is_fixed() {
        let one = vec![0; 1000];
        assert_eq!(split(&one, &[0.1], 3).unwrap(), split(&one, &[0.1], 3).unwrap());
        assert_ne!(split(&one, &[0.1], 3).unwrap(), split(&one, &[0.1], 4).unwrap());
        assert_eq!(split(&[0; 10], &[0.3], 0).unwrap()[1], [0, 3, 8]);
        let two = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1];
        assert_eq!(split(&two, &[0.4], 0).unwrap()[1], [0, 3, 7, 8]);
        assert_eq!(sample(&two, 4, 0), [2, 3, 5, 8]);
        assert_eq!(folds(&two, 3, 0).unwrap()[0], [0, 3, 4, 5]);
        assert_ne!(sample(&one, 10, 3), sample(&one, 10, 4));
    }

    #[test]
    fn impossible_shares_and_folds_are_refused() {
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
            assert!(split(&vec![0; rows], held_out, 0).is_err(), "{rows} {held_out:?}");
        }
        for (rows, parts) in [(10, 0), (10, 1), (2, 3), (0, 2)] {
            assert!(folds(&vec![0; rows], parts, 0).is_err(), "{rows} {parts}");
        }
    }

    #[test]
    fn folds_are_of_one_size_and_hold_each_stratum_alike() {
        let cases: [DealtCase<'_>; 4] = [
            (&[(0, 10)], 5, &[2]),
            (&[(0, 60), (1, 30)], 3, &[20, 10]),
            (&[(0, 61), (1, 31)], 3, &[20, 10]),
            (&[(0, 3), (1, 2)], 5, &[0, 0]),
        ];
        for (counts, parts, least) in cases {
            let strata = strata(counts);
            let dealt = folds(&strata, parts, 5).unwrap();
            let mut all = dealt.concat();
            all.sort_unstable();
            assert_eq!(all, (0..strata.len()).collect::<Vec<_>>());
            let even = strata.len() / parts;
            for part in &dealt {
                assert!(part.is_sorted() && (even..=even + 1).contains(&part.len()));
                let found = counted(part, &strata, counts.len() as u32);
                assert!(
                    found.iter().zip(least).all(|(n, least)| (*least..=least + 1).contains(n)),
                    "{counts:?}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn a_sample_has_each_stratum_in_proportion_and_none_is_lost() {
        let cases: [DealtCase<'_>; 7] = [
            (&[(0, 50), (1, 50)], 20, &[10, 10]),
            (&[(0, 90), (1, 10)], 20, &[18, 2]),
            (&[(0, 990), (1, 10)], 20, &[19, 1]),
            (&[(0, 998), (1, 1), (2, 1)], 3, &[1, 1, 1]),
            (&[(0, 998), (1, 1), (2, 1)], 5, &[3, 1, 1]),
            (&[(0, 5), (1, 5)], 10, &[5, 5]),
            (&[(0, 5), (1, 5)], 1000, &[5, 5]),
        ];
        for (counts, most, expected) in cases {
            let strata = strata(counts);
            for seed in 0..20 {
                let drawn = sample(&strata, most, seed);
                assert!(drawn.is_sorted());
                assert_eq!(counted(&drawn, &strata, counts.len() as u32), expected, "{counts:?}");
            }
        }
        // Fewer draws than strata.
        assert_eq!(sample(&[0, 1, 2, 3], 2, 0).len(), 2);
        assert!(sample(&[0, 1], 0, 0).is_empty() && sample(&[], 3, 0).is_empty());
        let many: Vec<u32> = (0..20_000).map(|row| row / 2).collect();
        let drawn = sample(&many, 10_000, 1);
        assert_eq!(counted(&drawn, &many, 100), [1; 100]);
    }
}
