//! Predictions and scores over a data set.

use std::time::{Duration, Instant};

use adaptkit_adapters::{
    AttentionSums, Entry, ResidentTasks, TaskModel, Wish, logits_of_wishes,
    logits_of_wishes_attending,
};
use adaptkit_encoder::{Encoder, RaggedBatch, TokenisedRow};

use super::batches::{Dataset, batch, token_batches};
use super::objective::RowLoss;
use crate::TrainingError;
use crate::data::{AnswerSpace, Answers, Thresholds};
use crate::metrics::{Metric, ScoredRows, Scores, Scoring};

/// Tokens in a batch of an evaluation: enough to fill the kernels, little enough to stay small.
pub const EVALUATION_TOKENS: usize = 1024;

/// Tokens of a batch that branches, over all branches.
const BRANCHED_TOKENS: usize = 4096;

/// What an evaluation found.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The plain mean loss over the rows: nothing weighs or is smoothed, and values are in their own
    /// units.
    pub loss: f64,
    /// The metrics.
    pub scores: Scores,
    /// The predictions, in the rows' order.
    pub predictions: Answers,
    /// Where labels applied in them; none but for sets of labels.
    pub thresholds: Option<Thresholds>,
    /// How long it took.
    pub took: Duration,
}

impl Evaluation {
    /// The score of a metric, if it was computed.
    pub fn score(&self, metric: &Metric) -> Option<f64> {
        match &**metric.name() {
            "loss" => Some(self.loss),
            name => self.scores.get(name),
        }
    }
}

/// Logits of every row, in the rows' order.
pub fn predict(encoder: &Encoder, model: &TaskModel, rows: &[TokenisedRow]) -> Vec<Vec<f32>> {
    let enter = &mut |picked: &[usize]| Entry::embedded(encoder, &batch(rows, picked));
    predict_from(encoder, model, rows, enter)
}

/// The logits of each wish, whose rows are among `rows`, in the wishes' order: many tasks on a row
/// and rows of many tasks in one pass, with the bits that each has alone.
///
/// # Panics
/// If a wish's row or model does not exist.
pub fn predict_wishes(
    encoder: &Encoder,
    tasks: &ResidentTasks,
    rows: &[TokenisedRow],
    wishes: &[Wish],
) -> Vec<Vec<f32>> {
    in_batches(rows, wishes, |batch, wishes| logits_of_wishes(encoder, tasks, batch, wishes))
}

/// The same logits, and what the tokens of each wish's row attend to in its fusions.
///
/// # Panics
/// If a wish's row or model does not exist.
pub fn predict_wishes_attending(
    encoder: &Encoder,
    tasks: &ResidentTasks,
    rows: &[TokenisedRow],
    wishes: &[Wish],
) -> Vec<(Vec<f32>, AttentionSums)> {
    in_batches(rows, wishes, |batch, wishes| {
        logits_of_wishes_attending(encoder, tasks, batch, wishes)
    })
}

/// An answer for each wish, from answers to the wishes of a batch.
fn in_batches<T: Clone + Default>(
    rows: &[TokenisedRow],
    wishes: &[Wish],
    answer: impl Fn(&RaggedBatch, &[Wish]) -> Vec<T>,
) -> Vec<T> {
    let mut of_row: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
    for (number, wish) in wishes.iter().enumerate() {
        of_row[wish.row].push(number);
    }
    // A batch is as large as what it branches into.
    let asked: Vec<usize> = (0..rows.len()).filter(|row| !of_row[*row].is_empty()).collect();
    let sizes: Vec<usize> =
        asked.iter().map(|row| rows[*row].ids.len() * of_row[*row].len()).collect();
    let mut answers = vec![T::default(); wishes.len()];
    for picked in token_batches(&sizes, BRANCHED_TOKENS) {
        let picked: Vec<usize> = picked.into_iter().map(|i| asked[i]).collect();
        let numbers: Vec<usize> =
            picked.iter().flat_map(|row| of_row[*row].iter().copied()).collect();
        let places = picked.iter().enumerate();
        let wishes: Vec<Wish> = places
            .flat_map(|(place, row)| {
                of_row[*row].iter().map(move |number| Wish { row: place, ..wishes[*number] })
            })
            .collect();
        for (number, given) in numbers.into_iter().zip(answer(&batch(rows, &picked), &wishes)) {
            answers[number] = given;
        }
    }
    answers
}

/// Logits of every row, where `enter` says what enters which layer of picked rows.
pub(super) fn predict_from(
    encoder: &Encoder,
    model: &TaskModel,
    rows: &[TokenisedRow],
    enter: &mut dyn FnMut(&[usize]) -> Entry,
) -> Vec<Vec<f32>> {
    let lengths: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
    let mut logits = vec![Vec::new(); rows.len()];
    for picked in token_batches(&lengths, EVALUATION_TOKENS) {
        let out = model.logits_from(encoder, &batch(rows, &picked), enter(&picked));
        let columns = out.columns();
        for (row, values) in picked.iter().zip(out.to_vec().chunks_exact(columns)) {
            logits[*row] = values.to_vec();
        }
    }
    logits
}

/// Scores a model on a data set.
///
/// # Errors
/// If a score is not finite, or the metrics refuse the answers.
pub fn evaluate(
    encoder: &Encoder,
    model: &TaskModel,
    data: &Dataset,
    space: &AnswerSpace,
    scoring: &Scoring,
) -> Result<Evaluation, TrainingError> {
    let start = Instant::now();
    let logits = predict(encoder, model, &data.rows);
    let evaluation = score(encoder, data, space, scoring, &logits, Duration::ZERO)?;
    Ok(Evaluation { took: start.elapsed(), ..evaluation })
}

/// Checks that every score of a row is a number. Weights that are finite can still overflow, and what
/// comes out then would be taken for an answer: the first label, a probability of NaN.
///
/// # Errors
/// [`TrainingError::ScoreNotFinite`] with the row's number and the first such score.
pub fn check_scores(row: usize, scores: &[f32]) -> Result<(), TrainingError> {
    match scores.iter().find(|score| !score.is_finite()) {
        Some(&value) => Err(TrainingError::ScoreNotFinite { row, value }),
        None => Ok(()),
    }
}

/// What a model's logits of each row are worth.
pub(super) fn score(
    encoder: &Encoder,
    data: &Dataset,
    space: &AnswerSpace,
    scoring: &Scoring,
    logits: &[Vec<f32>],
    took: Duration,
) -> Result<Evaluation, TrainingError> {
    logits.iter().enumerate().try_for_each(|(row, logits)| check_scores(row, logits))?;
    let flat = encoder.device().tensor(logits.len(), space.outputs(), &logits.concat());
    let all: Vec<usize> = (0..data.len()).collect();
    let (loss, _) = RowLoss::plain().of_rows(&flat, &data.answers, &all);
    let predictions = answers(logits, space);
    let truth = &data.answers;
    let rows = ScoredRows { logits, predictions: &predictions, truth, space };
    let scores = scoring.compute(&rows)?;
    let thresholds = space.thresholds().cloned();
    Ok(Evaluation { loss, scores, predictions, thresholds, took })
}

/// The answers that logits stand for: the largest one, those that pass their thresholds, or the value itself.
pub fn answers(logits: &[Vec<f32>], space: &AnswerSpace) -> Answers {
    match space {
        AnswerSpace::Classes(_) => Answers::Classes(
            logits
                .iter()
                .map(|z| {
                    let better = |best: usize, i: usize| if z[i] > z[best] { i } else { best };
                    (0..z.len()).fold(0, better) as u32
                })
                .collect(),
        ),
        AnswerSpace::LabelSets(_, thresholds) => {
            let applies = |z: &[f32], label: &u32| {
                thresholds.is_passed_by(*label as usize, z[*label as usize])
            };
            let sets = logits
                .iter()
                .map(|z| (0..z.len() as u32).filter(|label| applies(z, label)).collect());
            Answers::LabelSets(sets.collect())
        }
        AnswerSpace::Values => Answers::Values(logits.iter().map(|z| z[0]).collect()),
    }
}
