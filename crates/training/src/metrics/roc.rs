//! The area under the ROC curve.

/// scores, positive: `[rows]`. How likely a row that has the label scores above one that has not, equal
/// scores counting half (scikit-learn's `roc_auc_score`). `None` where all rows have the label or none
/// has: there is nothing to compare.
pub fn area_under_roc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    let rows = scores.len().min(positive.len());
    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let (mut below, mut won, mut positives) = (0.0, 0.0, 0.0);
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let hits = tied.iter().filter(|&&row| positive[row]).count() as f64;
        let misses = tied.len() as f64 - hits;
        won += hits * (below + misses / 2.0);
        below += misses;
        positives += hits;
    }
    (positives > 0.0 && below > 0.0).then(|| won / (positives * below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_those_of_the_definition() {
        let cases: [(&[f64], &[bool], Option<f64>); 7] = [
            (&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true], Some(0.75)),
            (&[0.0, 1.0], &[false, true], Some(1.0)),
            (&[1.0, 0.0], &[false, true], Some(0.0)),
            (&[0.5, 0.5, 0.5], &[false, true, false], Some(0.5)),
            (&[0.0, -0.0], &[false, true], Some(0.5)),
            (&[0.5, 0.7], &[true, true], None),
            (&[], &[], None),
        ];
        for (scores, positive, expected) in cases {
            assert_eq!(area_under_roc(scores, positive), expected, "{scores:?} {positive:?}");
        }
    }
}
