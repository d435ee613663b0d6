//! Predictions and scores over a data set.

use std::time::{Duration, Instant};

use adaptkit_adapters::{
    AttentionSums, Entry, ResidentTasks, TaskModel, Wish, logits_of_wishes,
    logits_of_wishes_attending,
};
use adaptkit_compute::Tensor;
use adaptkit_encoder::{Encoder, RaggedBatch, TokenisedRow};

use super::batches::{Dataset, batch, token_batches};
use crate::TrainingError;
use crate::data::{AnswerSpace, Answers};
use crate::metrics::{MetricSet, Scores};

/// Tokens in a batch of an evaluation: enough to fill the kernels, little enough to stay small.
pub const EVALUATION_TOKENS: usize = 1024;

/// Tokens of a batch that branches, over all branches.
const BRANCHED_TOKENS: usize = 4096;

/// What an evaluation found.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The mean loss over the rows.
    pub loss: f64,
    /// The metrics.
    pub scores: Scores,
    /// The predictions, in the rows' order.
    pub predictions: Answers,
    /// How long it took.
    pub took: Duration,
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
fn predict_from(
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
    metrics: MetricSet,
) -> Result<Evaluation, TrainingError> {
    let enter = &mut |picked: &[usize]| Entry::embedded(encoder, &batch(&data.rows, picked));
    evaluate_from(encoder, model, data, space, metrics, enter)
}

/// The same, where `enter` says what enters which layer of picked rows.
pub(super) fn evaluate_from(
    encoder: &Encoder,
    model: &TaskModel,
    data: &Dataset,
    space: &AnswerSpace,
    metrics: MetricSet,
    enter: &mut dyn FnMut(&[usize]) -> Entry,
) -> Result<Evaluation, TrainingError> {
    let start = Instant::now();
    let logits = predict_from(encoder, model, &data.rows, enter);
    let evaluation = score(encoder, model, data, space, metrics, &logits, Duration::ZERO)?;
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
    model: &TaskModel,
    data: &Dataset,
    space: &AnswerSpace,
    metrics: MetricSet,
    logits: &[Vec<f32>],
    took: Duration,
) -> Result<Evaluation, TrainingError> {
    logits.iter().enumerate().try_for_each(|(row, logits)| check_scores(row, logits))?;
    let outputs = model.head.outputs();
    let flat = encoder.device().tensor(logits.len(), outputs, &logits.concat());
    let all: Vec<usize> = (0..data.len()).collect();
    let (loss, _) = loss(&flat, &data.answers, &all);
    let predictions = answers(logits, space);
    let scores = metrics.compute(&predictions, &data.answers, space.outputs())?;
    Ok(Evaluation { loss, scores, predictions, took })
}

/// The answers that logits stand for: the largest one, those that pass the threshold, or the value itself.
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
        AnswerSpace::LabelSets(_, threshold) => Answers::LabelSets(
            logits
                .iter()
                .map(|z| {
                    (0..z.len() as u32).filter(|i| threshold.is_passed_by(z[*i as usize])).collect()
                })
                .collect(),
        ),
        AnswerSpace::Values => Answers::Values(logits.iter().map(|z| z[0]).collect()),
    }
}

/// The mean loss of logits [rows, outputs] for the answers of the named rows, and its gradient.
pub(crate) fn loss(logits: &Tensor, answers: &Answers, rows: &[usize]) -> (f64, Tensor) {
    match answers {
        Answers::Classes(labels) => {
            let labels: Vec<usize> = rows.iter().map(|row| labels[*row] as usize).collect();
            logits.cross_entropy(&labels)
        }
        Answers::LabelSets(sets) => {
            let mut targets = vec![0.0; logits.rows() * logits.columns()];
            for (row, targets) in rows.iter().zip(targets.chunks_exact_mut(logits.columns())) {
                sets[*row].iter().for_each(|label| targets[*label as usize] = 1.0);
            }
            logits.binary_cross_entropy(&targets)
        }
        Answers::Values(values) => {
            let targets: Vec<f32> = rows.iter().map(|row| values[*row]).collect();
            logits.mean_squared_error(&targets)
        }
    }
}
