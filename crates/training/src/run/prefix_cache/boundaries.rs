//! Which layers' inputs are worth keeping.

use std::collections::BTreeMap;

/// The boundaries, at most `most` of them, that leave the fewest layers to compute below where a pass
/// begins to train: `needed` is how often passes begin at each layer, and a pass starts at the
/// highest boundary at or below its layer, or at the embeddings.
pub(super) fn best_boundaries(needed: &BTreeMap<usize, f64>, most: usize) -> Vec<usize> {
    let candidates: Vec<usize> = needed.keys().copied().filter(|layer| *layer > 0).collect();
    let end = candidates.last().map_or(0, |last| last + 1);
    // What passes that begin at layers from..to cost above a boundary at `from`.
    let cost = |from: usize, to: usize| -> f64 {
        needed.range(from..to).map(|(layer, often)| often * (layer - from) as f64).sum()
    };
    // best[i]: the least cost of passes below candidate i (or of all), and its boundaries; each round
    // allows one boundary more.
    let ends: Vec<usize> = candidates.iter().copied().chain([end]).collect();
    let mut best: Vec<(f64, Vec<usize>)> =
        ends.iter().map(|to| (cost(0, *to), Vec::new())).collect();
    for _ in 0..most.min(candidates.len()) {
        best = (0..ends.len())
            .map(|i| {
                let mut found = best[i].clone();
                for (j, from) in candidates[..i.min(candidates.len())].iter().enumerate() {
                    let total = best[j].0 + cost(*from, ends[i]);
                    if total < found.0 {
                        found = (total, [&best[j].1[..], &[*from]].concat());
                    }
                }
                found
            })
            .collect();
    }
    best.pop().map(|(_, boundaries)| boundaries).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_leave_the_fewest_layers_to_compute() {
        let even = |layers: usize| (0..layers).map(|layer| (layer, 1.0)).collect();
        let only = |layer| BTreeMap::from([(layer, 1.0)]);
        let cases: [(BTreeMap<usize, f64>, usize, &[usize]); 9] = [
            (even(12), 0, &[]),
            (even(12), 1, &[6]),
            (even(12), 2, &[4, 8]),
            (even(12), 3, &[3, 6, 9]),
            (even(4), 3, &[1, 2, 3]),
            (even(4), 9, &[1, 2, 3]),
            (only(5), 3, &[5]),
            (only(0), 3, &[]),
            (BTreeMap::from([(0, 1.0), (2, 9.0), (3, 1.0)]), 1, &[2]),
        ];
        for (needed, most, expected) in cases {
            assert_eq!(best_boundaries(&needed, most), expected, "{most} of {needed:?}");
        }
    }
}
