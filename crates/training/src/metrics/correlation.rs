//! Scores of values.
//!
//! Sums are taken in f64 around the means, in two passes: values near 4 with differences in the last
//! digits keep their correlation.

/// predictions, truth: `[rows]`. The mean of the squared differences; 0 for no rows.
pub fn mean_squared_error(predictions: &[f32], truth: &[f32]) -> f64 {
    let squares = predictions.iter().zip(truth).map(|(&prediction, &truth)| {
        let difference = f64::from(prediction) - f64::from(truth);
        difference * difference
    });
    mean(squares, predictions.len().min(truth.len()))
}

/// x, y: `[rows]`. Pearson's correlation; 0 where either side is constant.
pub fn pearson(x: &[f32], y: &[f32]) -> f64 {
    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
    correlation(&wide(x), &wide(y))
}

/// x, y: `[rows]`. Spearman's correlation: Pearson's of the ranks, equal values sharing the mean of
/// their ranks; 0 where either side is constant.
pub fn spearman(x: &[f32], y: &[f32]) -> f64 {
    let rows = x.len().min(y.len());
    correlation(&ranks(&x[..rows]), &ranks(&y[..rows]))
}

fn mean(values: impl Iterator<Item = f64>, count: usize) -> f64 {
    if count == 0 { 0.0 } else { values.sum::<f64>() / count as f64 }
}

fn correlation(x: &[f64], y: &[f64]) -> f64 {
    let rows = x.len().min(y.len());
    let (x, y) = (&x[..rows], &y[..rows]);
    let constant = |values: &[f64]| values.windows(2).all(|pair| pair[0] == pair[1]);
    if constant(x) || constant(y) {
        return 0.0;
    }
    let (x_mean, y_mean) = (mean(x.iter().copied(), rows), mean(y.iter().copied(), rows));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - x_mean, y - y_mean);
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    let spread = xx.sqrt() * yy.sqrt();
    if spread > 0.0 { (xy / spread).clamp(-1.0, 1.0) } else { 0.0 }
}

/// values: `[rows]` → their ranks from 1, the mean rank where values are equal.
fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let value = values[order[start]];
        let ties = order[start..].iter().take_while(|&&row| values[row] == value).count().max(1);
        // Ranks start + 1 to start + ties, on average.
        let rank = start as f64 + (ties as f64 + 1.0) / 2.0;
        for &row in &order[start..start + ties] {
            ranks[row] = rank;
        }
        start += ties;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: SciPy 1.17, `pearsonr` and `spearmanr` on the same f32 values, NaN as 0.
    #[test]
    fn scores_equal_scipys() {
        let constant: &[f32] = &[2.5; 4];
        type Case<'a> = (&'a [f32], &'a [f32], f64, f64, f64);
        let cases: [Case<'_>; 9] = [
            (&[1.0, 2.0, 3.0, 4.0], &[2.0, 4.0, 6.0, 8.0], 7.5, 1.0, 1.0),
            (&[1.0, 2.0, 3.0, 4.0], &[8.0, 6.0, 4.0, 2.0], 17.5, -1.0, -1.0),
            (constant, &[1.0, 2.0, 3.0, 4.0], 1.25, 0.0, 0.0),
            (
                &[0.5, 4.25, 3.75, 2.0, 0.5, 5.0],
                &[0.0, 5.0, 3.8, 2.2, 1.0, 5.0],
                0.18416666905085322,
                0.9800495927131475,
                0.9705882352941178,
            ),
            (
                &[1.0, 1.0, 2.0, 2.0, 3.0],
                &[3.0, 1.0, 1.0, 2.0, 2.0],
                1.2,
                -0.07142857142857142,
                -0.027777777777777776,
            ),
            (
                &[4.0, 4.000001, 4.000002],
                &[1.0, 2.0, 4.0],
                4.333334604900604,
                0.9819805060619655,
                1.0,
            ),
            (&[1.0], &[2.0], 1.0, 0.0, 0.0),
            (&[], &[], 0.0, 0.0, 0.0),
            (
                &[4.0, 0.95, 1.95, 4.0, 1.9, 3.55, 3.05, 4.7, 4.95, 3.6],
                &[4.97, 0.59, 0.98, 2.86, 2.32, 2.5, 1.78, 5.31, 3.75, 3.28],
                0.8117299375724911,
                0.8434870554226414,
                0.8997002046464956,
            ),
        ];
        for (x, y, mse, pearson_expected, spearman_expected) in cases {
            let scores = [
                ("MSE", mean_squared_error(x, y), mse),
                ("Pearson", pearson(x, y), pearson_expected),
                ("Spearman", spearman(x, y), spearman_expected),
            ];
            for (name, score, expected) in scores {
                let bound = 1e-12 * expected.abs().max(1.0);
                assert!((score - expected).abs() < bound, "{name} of {x:?}, {y:?}: {score}");
            }
        }
    }

    #[test]
    fn ties_share_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), [4.0, 1.0, 4.0, 2.0, 4.0]);
        assert_eq!(ranks(&[0.0, -0.0, -1.0]), [2.5, 2.5, 1.0]);
        assert!(ranks(&[]).is_empty());
    }
}
