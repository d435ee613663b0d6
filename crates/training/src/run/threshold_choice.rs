//! Thresholds of a multi-label head, chosen on validation rows.
//!
//! Candidates are the hundredths, and finer steps near 0 and 1. Of several that score the same the one
//! nearest to one half is taken. Validation rows that chose thresholds score a little better with them
//! than new rows will: rows that nothing was chosen by tell what to expect.

use serde::{Deserialize, Serialize};

use super::evaluation::answers;
use crate::TrainingError;
use crate::data::{AnswerSpace, Answers, Threshold, Thresholds};
use crate::metrics::{Metric, MetricSet, ScoredRows, Scores};

/// Where the thresholds of a multi-label head come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdChoice {
    /// They are given.
    #[default]
    Given,
    /// One for all labels: the one that the run's metric is best at, or micro F1 where that metric does
    /// not depend on thresholds.
    OneForAll,
    /// One for each label, where its F1 is best; a label with fewer than
    /// [`ThresholdChoice::FEWEST_ROWS`] validation rows takes the one for all.
    OneForEach,
}

impl ThresholdChoice {
    /// The fewest validation rows with a label that choose a threshold of its own.
    pub const FEWEST_ROWS: usize = 5;

    /// Whether validation rows choose them.
    pub fn needs_rows(&self) -> bool {
        *self != ThresholdChoice::Given
    }

    /// The space with the thresholds that are best for these logits.
    ///
    /// # Errors
    /// If the metric refuses the answers.
    pub(super) fn apply(
        self,
        space: &AnswerSpace,
        logits: &[Vec<f32>],
        truth: &Answers,
        metric: &Metric,
    ) -> Result<AnswerSpace, TrainingError> {
        let (true, Answers::LabelSets(sets)) = (self.needs_rows(), truth) else {
            return Ok(space.clone());
        };
        let common = best_for_all(space, logits, truth, metric)?;
        if self == ThresholdChoice::OneForAll {
            return Ok(space.clone().with_thresholds(common.into()));
        }
        let each = (0..space.outputs()).map(|label| {
            let has = |set: &Vec<u32>| set.binary_search(&(label as u32)).is_ok();
            let rows: Vec<(f32, bool)> =
                logits.iter().zip(sets).map(|(z, set)| (z[label], has(set))).collect();
            match rows.iter().filter(|(_, has)| *has).count() {
                0..ThresholdChoice::FEWEST_ROWS => common,
                _ => best_for_label(&rows),
            }
        });
        Ok(space.clone().with_thresholds(Thresholds::Each(each.collect())))
    }
}

/// The candidates, those nearest to one half first.
fn candidates() -> Vec<Threshold> {
    let ends = [0.001, 0.002, 0.005, 0.995, 0.998, 0.999];
    let hundredths = (1..100).map(|hundredth| f64::from(hundredth) / 100.0);
    let mut all: Vec<f64> = hundredths.chain(ends).collect();
    all.sort_by(|a, b| (a - 0.5).abs().total_cmp(&(b - 0.5).abs()).then(a.total_cmp(b)));
    all.into_iter().filter_map(|probability| Threshold::new(probability).ok()).collect()
}

/// The first of the candidates with the best score.
fn best(
    mut score: impl FnMut(Threshold) -> Result<f64, TrainingError>,
) -> Result<Threshold, TrainingError> {
    let mut found = (Threshold::HALF, f64::NEG_INFINITY);
    for candidate in candidates() {
        let score = score(candidate)?;
        if score > found.1 {
            found = (candidate, score);
        }
    }
    Ok(found.0)
}

fn best_for_all(
    space: &AnswerSpace,
    logits: &[Vec<f32>],
    truth: &Answers,
    metric: &Metric,
) -> Result<Threshold, TrainingError> {
    let micro = Metric::best_of(MetricSet::MultiLabel);
    let metric = if metric.follows_thresholds() { metric } else { &micro };
    best(|candidate| {
        let space = space.clone().with_thresholds(candidate.into());
        let predictions = answers(logits, &space);
        let scores = MetricSet::MultiLabel.compute(&predictions, truth, space.outputs(), 0)?;
        let rows = ScoredRows { logits, predictions: &predictions, truth, space: &space };
        score_of(metric, &rows, &scores)
    })
}

fn score_of(metric: &Metric, rows: &ScoredRows<'_>, scores: &Scores) -> Result<f64, TrainingError> {
    match scores.get(metric.name()) {
        Some(score) => Ok(score),
        // No label is positive where a row has a set of them.
        None => metric.compute(rows, scores, 0),
    }
}

/// rows: the label's logit, and whether the row has it.
fn best_for_label(rows: &[(f32, bool)]) -> Threshold {
    let f1 = |threshold: Threshold| {
        let (mut hits, mut wrong) = (0u64, 0u64);
        for (logit, has) in rows {
            match (threshold.is_passed_by(*logit), has) {
                (true, true) => hits += 1,
                (false, false) => {}
                _ => wrong += 1,
            }
        }
        2.0 * hits as f64 / ((2 * hits + wrong).max(1)) as f64
    };
    best(|threshold| Ok(f1(threshold))).unwrap_or(Threshold::HALF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::LabelMap;

    /// The logit of a probability.
    fn logit(probability: f64) -> f32 {
        (probability / (1.0 - probability)).ln() as f32
    }

    fn space() -> AnswerSpace {
        let labels = LabelMap::new(["a", "b"]).expect("labels");
        AnswerSpace::LabelSets(labels, Thresholds::default())
    }

    fn chosen(choice: ThresholdChoice, logits: &[Vec<f32>], sets: &[&[u32]]) -> Thresholds {
        let truth = Answers::LabelSets(sets.iter().map(|set| set.to_vec()).collect());
        let metric = Metric::best_of(MetricSet::MultiLabel);
        let found = choice.apply(&space(), logits, &truth, &metric).expect("a choice");
        found.thresholds().expect("thresholds").clone()
    }

    /// a applies above .3, b above .8; each in half of 20 rows.
    fn rows() -> (Vec<Vec<f32>>, Vec<&'static [u32]>) {
        let row = |i: usize| match i % 4 {
            0 => (vec![logit(0.35), logit(0.6)], &[0][..]),
            1 => (vec![logit(0.25), logit(0.9)], &[1][..]),
            2 => (vec![logit(0.4), logit(0.85)], &[0, 1][..]),
            _ => (vec![logit(0.1), logit(0.7)], &[][..]),
        };
        (0..20).map(row).unzip()
    }

    #[test]
    fn each_label_takes_the_threshold_nearest_to_a_half_at_which_its_f1_is_best() {
        let (logits, sets) = rows();
        let found = chosen(ThresholdChoice::OneForEach, &logits, &sets);
        assert_eq!(found.own(), Some(vec![0.34, 0.7]));
    }

    #[test]
    fn one_for_all_is_where_the_metric_is_best() {
        let (logits, sets) = rows();
        let common = chosen(ThresholdChoice::OneForAll, &logits, &sets).common().expect("one");
        let micro = |threshold: f64| {
            let at = space().with_thresholds(Threshold::new(threshold).expect("one").into());
            let truth = Answers::LabelSets(sets.iter().map(|set| set.to_vec()).collect());
            let scores = MetricSet::MultiLabel.compute(&answers(&logits, &at), &truth, 2, 1);
            scores.expect("scores").get("f1_micro").expect("one")
        };
        let best = (1..100).map(|p| micro(f64::from(p) / 100.0)).fold(0.0, f64::max);
        assert_eq!(micro(common.probability()), best);
        assert!(best > micro(0.5));
        assert_eq!(chosen(ThresholdChoice::Given, &logits, &sets), Thresholds::default());
    }

    #[test]
    fn labels_with_few_rows_take_the_common_threshold() {
        let (mut logits, mut sets) = rows();
        for (z, set) in logits.iter_mut().zip(&mut sets).skip(8) {
            if set.contains(&1) {
                (*set, z[1]) = (if set.contains(&0) { &[0][..] } else { &[] }, logit(0.05));
            }
        }
        let common = chosen(ThresholdChoice::OneForAll, &logits, &sets).common().expect("one");
        let own = chosen(ThresholdChoice::OneForEach, &logits, &sets).own().expect("two");
        assert_eq!(own[1], common.probability());
        // No row has a label: nothing is better than one half.
        let none: Vec<&[u32]> = vec![&[]; logits.len()];
        let found = chosen(ThresholdChoice::OneForAll, &logits, &none);
        assert_eq!(found.common(), Some(Threshold::HALF));
    }
}
