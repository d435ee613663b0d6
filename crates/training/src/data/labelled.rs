//! Examples with the answers a head learns: a label's number, a set of numbers, or a value.

use super::example::Example;
use super::label::{LabelMap, LabelValue};
use super::label_reading::{LabelReading, RowLabels};
use super::label_spelling::is_missing_value;
use super::report::ReadReport;
use super::split;
use super::threshold::Thresholds;
use crate::TrainingError;

/// What kind of answer a row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// One of several labels: classification.
    Class,
    /// Any number of labels, also none: multi-label classification.
    LabelSet,
    /// A number: regression.
    Value,
}

impl AnswerKind {
    /// The kind for messages.
    pub fn name(self) -> &'static str {
        match self {
            AnswerKind::Class => "one label a row",
            AnswerKind::LabelSet => "a set of labels a row",
            AnswerKind::Value => "a value a row",
        }
    }
}

/// The answers a head can give: what training infers, what is stored with the head, what evaluation
/// checks rows against.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerSpace {
    /// One of these labels.
    Classes(LabelMap),
    /// Any of these labels, each where its probability passes its threshold.
    LabelSets(LabelMap, Thresholds),
    /// A number.
    Values,
}

impl AnswerSpace {
    /// The kind of answer.
    pub fn kind(&self) -> AnswerKind {
        match self {
            AnswerSpace::Classes(_) => AnswerKind::Class,
            AnswerSpace::LabelSets(..) => AnswerKind::LabelSet,
            AnswerSpace::Values => AnswerKind::Value,
        }
    }

    /// The labels; none for regression.
    pub fn labels(&self) -> Option<&LabelMap> {
        match self {
            AnswerSpace::Classes(labels) | AnswerSpace::LabelSets(labels, _) => Some(labels),
            AnswerSpace::Values => None,
        }
    }

    /// Where a label applies; none but for sets of labels.
    pub fn thresholds(&self) -> Option<&Thresholds> {
        match self {
            AnswerSpace::LabelSets(_, thresholds) => Some(thresholds),
            AnswerSpace::Classes(_) | AnswerSpace::Values => None,
        }
    }

    /// The same answers, with other thresholds where they have some.
    pub fn with_thresholds(self, thresholds: Thresholds) -> AnswerSpace {
        match self {
            AnswerSpace::LabelSets(labels, _) => AnswerSpace::LabelSets(labels, thresholds),
            other => other,
        }
    }

    /// How many numbers a head has to put out: one for each label, one for regression.
    pub fn outputs(&self) -> usize {
        self.labels().map_or(1, LabelMap::len)
    }
}

/// An answer for each row, true or predicted.
#[derive(Debug, Clone, PartialEq)]
pub enum Answers {
    /// The number of one label each.
    Classes(Vec<u32>),
    /// The numbers of the labels that apply, ascending, each once.
    LabelSets(Vec<Vec<u32>>),
    /// A finite value each.
    Values(Vec<f32>),
}

impl Answers {
    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Answers::Classes(classes) => classes.len(),
            Answers::LabelSets(sets) => sets.len(),
            Answers::Values(values) => values.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind of answer.
    pub fn kind(&self) -> AnswerKind {
        match self {
            Answers::Classes(_) => AnswerKind::Class,
            Answers::LabelSets(_) => AnswerKind::LabelSet,
            Answers::Values(_) => AnswerKind::Value,
        }
    }

    fn with_capacity(kind: AnswerKind, rows: usize) -> Answers {
        match kind {
            AnswerKind::Class => Answers::Classes(Vec::with_capacity(rows)),
            AnswerKind::LabelSet => Answers::LabelSets(Vec::with_capacity(rows)),
            AnswerKind::Value => Answers::Values(Vec::with_capacity(rows)),
        }
    }

    fn select(&self, rows: &[usize]) -> Answers {
        match self {
            Answers::Classes(classes) => {
                Answers::Classes(rows.iter().map(|&row| classes[row]).collect())
            }
            Answers::LabelSets(sets) => {
                Answers::LabelSets(rows.iter().map(|&row| sets[row].clone()).collect())
            }
            Answers::Values(values) => {
                Answers::Values(rows.iter().map(|&row| values[row]).collect())
            }
        }
    }
}

pub(super) fn no_labelled_rows(examples: &[Example]) -> TrainingError {
    let file = examples.first().map_or("the input".into(), |example| example.place.file.clone());
    TrainingError::NoLabelledRows { file, rows: examples.len() as u64 }
}

/// Rows with their answers: what training and evaluation work on.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledRows {
    /// The rows.
    pub rows: Vec<Example>,
    /// An answer for each.
    pub answers: Answers,
}

impl LabelledRows {
    /// Pairs `examples` with the answers their labels stand for in `space`. What is dropped moves
    /// from `report.rows` to `report.unlabelled_rows` or `report.unwanted_rows`.
    ///
    /// # Errors
    /// An unknown label, a target that is not a finite number, a list where one label is needed, no
    /// labelled row at all.
    pub fn new(
        examples: Vec<Example>,
        reading: &LabelReading,
        space: &AnswerSpace,
        report: &mut ReadReport,
    ) -> Result<LabelledRows, TrainingError> {
        let nothing_left = no_labelled_rows(&examples);
        reading.check_columns(space)?;
        let mut answers = Answers::with_capacity(reading.kind, examples.len());
        let mut rows = Vec::with_capacity(examples.len());
        for example in examples {
            let labels = reading.row_labels(&example, space.labels())?;
            let left_out = match &labels {
                RowLabels::Missing => &mut report.unlabelled_rows,
                RowLabels::Unwanted => &mut report.unwanted_rows,
                _ => {
                    if let RowLabels::Numbers(_) = labels {
                        report.rows_of_places.add(example.place.clone());
                    }
                    reading.push(&mut answers, &example, labels, space)?;
                    rows.push(example);
                    continue;
                }
            };
            left_out.add(example.place.clone());
            report.rows = report.rows.saturating_sub(1);
            if let (RowLabels::Missing, Some(LabelValue::One(field))) = (&labels, &example.label)
                && is_missing_value(field)
            {
                *report.missing_values.entry(field.clone()).or_default() += 1;
            }
        }
        if answers.is_empty() {
            return Err(nothing_left);
        }
        Ok(LabelledRows { rows, answers })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// That there is something to learn: classification needs two labels that occur.
    ///
    /// # Errors
    /// [`TrainingError::OneClass`].
    pub fn check_trainable(&self, space: &AnswerSpace) -> Result<(), TrainingError> {
        let (Answers::Classes(classes), Some(labels)) = (&self.answers, space.labels()) else {
            return Ok(());
        };
        match (classes.first(), self.rows.first()) {
            (Some(&first), Some(row)) if classes.iter().all(|&class| class == first) => {
                let label = labels.name(first).unwrap_or_default().to_string();
                let file = row.place.file.clone();
                Err(TrainingError::OneClass { file, label, rows: classes.len() })
            }
            _ => Ok(()),
        }
    }

    /// The rows at `positions`, in that order. Positions come from [`split`](split::split) or are below
    /// [`LabelledRows::len`]; others are left out.
    pub fn select(&self, positions: &[usize]) -> LabelledRows {
        let positions: Vec<usize> =
            positions.iter().copied().filter(|&position| position < self.len()).collect();
        LabelledRows {
            rows: positions.iter().map(|&position| self.rows[position].clone()).collect(),
            answers: self.answers.select(&positions),
        }
    }

    /// The rest and one part for each share of `held_out`, as [`split::split`] cuts them: stratified
    /// by label where each row has one.
    ///
    /// # Errors
    /// As [`split::split`].
    pub fn split(&self, held_out: &[f64], seed: u64) -> Result<Vec<LabelledRows>, TrainingError> {
        let parts = split::split(&self.strata(), held_out, seed)?;
        Ok(parts.iter().map(|part| self.select(part)).collect())
    }

    /// At most `most` rows, drawn by the seed as [`split::sample`] does: stratified by label where
    /// each row has one.
    pub fn sample(&self, most: usize, seed: u64) -> LabelledRows {
        match self.len() > most {
            true => self.select(&split::sample(&self.strata(), most, seed)),
            false => self.clone(),
        }
    }

    /// The positions of the rows of each fold, as [`split::folds`] deals them: stratified by label
    /// where each row has one.
    ///
    /// # Errors
    /// As [`split::folds`].
    pub fn folds(&self, folds: usize, seed: u64) -> Result<Vec<Vec<usize>>, TrainingError> {
        split::folds(&self.strata(), folds, seed)
    }

    /// The strata that splits keep in proportion: the labels, where each row has one.
    fn strata(&self) -> Vec<u32> {
        match &self.answers {
            Answers::Classes(classes) => classes.clone(),
            Answers::LabelSets(_) | Answers::Values(_) => vec![0; self.len()],
        }
    }
}
