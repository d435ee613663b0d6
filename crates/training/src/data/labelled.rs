//! Examples with the answers a head learns: a label's number, a set of numbers, or a value.

use std::collections::{BTreeSet, HashSet};

use super::example::Example;
use super::label::{LabelMap, LabelNames, LabelValue};
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

/// How a label becomes an answer.
///
/// A blank field and a JSON null are missing labels for every kind. A row of a multi-label file to
/// which no label applies says so with an empty JSON list, or with the delimiter alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelReading {
    /// The kind of answer.
    pub kind: AnswerKind,
    /// What stands between the labels of one field of a multi-label file; a JSON list needs none.
    /// Without one, a field is one label.
    pub delimiter: Option<char>,
    /// Names for the raw labels. A raw label without a name stays as it is at evaluation, where the
    /// head may know it, and is an error when labels are inferred.
    pub names: Option<LabelNames>,
    /// Raw labels, or their names, whose rows are left out and counted: what annotators said where
    /// they had no answer.
    pub unwanted: Vec<String>,
}

impl LabelReading {
    /// Labels of this kind as the file has them.
    pub fn plain(kind: AnswerKind) -> LabelReading {
        LabelReading { kind, delimiter: None, names: None, unwanted: Vec::new() }
    }

    /// The labels that `examples` have: the space of answers a head for them needs. With names, it
    /// is their map, whether the rows have all of them or not. Infer before splitting, so that a
    /// label that is only in the held-out part is known.
    ///
    /// # Errors
    /// A list where one label is needed, a raw label without a name, no label in any row.
    pub fn infer(&self, examples: &[Example]) -> Result<AnswerSpace, TrainingError> {
        if self.kind == AnswerKind::Value {
            return Ok(AnswerSpace::Values);
        }
        let mut labels: HashSet<&str> = HashSet::new();
        let mut labelled = 0u64;
        for example in examples {
            let Some(label) = &example.label else { continue };
            let raw_labels = self.raw_labels(example, label)?;
            if raw_labels.iter().any(|raw| self.is_unwanted(raw)) {
                continue;
            }
            labelled += 1;
            for raw in raw_labels {
                if self.names.as_ref().is_some_and(|names| names.name(raw).is_none()) {
                    return Err(self.unknown(example, raw, None));
                }
                labels.insert(raw);
            }
        }
        if labelled == 0 {
            return Err(no_labelled_rows(examples));
        }
        let map = match &self.names {
            Some(names) => {
                let wanted =
                    |name: &&String| !names.raw(name).is_some_and(|raw| self.is_unwanted(raw));
                let all = names.label_map()?;
                LabelMap::new(all.names().iter().filter(wanted).cloned())?
            }
            None => LabelMap::infer(labels)?,
        };
        Ok(match self.kind {
            AnswerKind::LabelSet => AnswerSpace::LabelSets(map, Thresholds::default()),
            _ => AnswerSpace::Classes(map),
        })
    }

    /// The raw labels of one row: one, or as many as a list or a divided field has.
    fn raw_labels<'a>(
        &self,
        example: &Example,
        label: &'a LabelValue,
    ) -> Result<Vec<&'a str>, TrainingError> {
        match (label, self.kind, self.delimiter) {
            (LabelValue::One(label), AnswerKind::LabelSet, Some(delimiter)) => {
                let parts = label.split(delimiter).map(str::trim);
                Ok(parts.filter(|label| !label.is_empty()).collect())
            }
            (LabelValue::One(label), _, _) => Ok(vec![label]),
            (LabelValue::Several(labels), AnswerKind::LabelSet, _) => {
                Ok(labels.iter().map(String::as_str).collect())
            }
            (LabelValue::Several(_), _, _) => {
                Err(TrainingError::SeveralLabels { place: example.place.clone() })
            }
        }
    }

    /// Checks that every unwanted label occurs in the rows, which are those of all files of a run: a
    /// misspelt one would leave out nothing in silence.
    ///
    /// # Errors
    /// [`TrainingError::LabelNeverOccurs`], a list where one label is needed.
    pub fn check_unwanted<'a>(
        &self,
        examples: impl IntoIterator<Item = &'a Example>,
    ) -> Result<(), TrainingError> {
        let mut occurring = BTreeSet::new();
        for example in examples {
            if let Some(label) = &example.label {
                occurring.extend(self.raw_labels(example, label)?);
            }
        }
        let name = |raw: &&str| self.names.as_ref().and_then(|names| names.name(raw));
        let names: HashSet<&str> = occurring.iter().filter_map(name).collect();
        let occurs = |label: &str| occurring.contains(label) || names.contains(label);
        match self.unwanted.iter().find(|label| !occurs(label)) {
            None => Ok(()),
            Some(label) => Err(TrainingError::LabelNeverOccurs {
                label: label.clone(),
                occurring: occurring.into_iter().collect(),
            }),
        }
    }

    /// Whether rows with this raw label are left out.
    pub fn is_unwanted(&self, raw: &str) -> bool {
        let name = self.names.as_ref().and_then(|names| names.name(raw));
        self.unwanted.iter().any(|other| other == raw || Some(&**other) == name)
    }

    fn id(&self, example: &Example, raw: &str, labels: &LabelMap) -> Result<u32, TrainingError> {
        let name = self.names.as_ref().and_then(|names| names.name(raw));
        name.and_then(|name| labels.id(name))
            .or_else(|| labels.id(raw))
            .ok_or_else(|| self.unknown(example, raw, Some(labels)))
    }

    fn unknown(&self, example: &Example, raw: &str, labels: Option<&LabelMap>) -> TrainingError {
        let known = match (labels, &self.names) {
            (Some(labels), _) => labels.known(),
            (None, Some(names)) => names.known(),
            (None, None) => Default::default(),
        };
        TrainingError::UnknownLabel { place: example.place.clone(), label: raw.to_string(), known }
    }

    fn push(
        &self,
        answers: &mut Answers,
        example: &Example,
        raw: Vec<&str>,
        space: &AnswerSpace,
    ) -> Result<(), TrainingError> {
        match (answers, space) {
            (Answers::Classes(classes), AnswerSpace::Classes(labels)) => {
                for raw in raw {
                    classes.push(self.id(example, raw, labels)?);
                }
            }
            (Answers::LabelSets(sets), AnswerSpace::LabelSets(labels, _)) => {
                let ids = raw.into_iter().map(|raw| self.id(example, raw, labels));
                let mut set = ids.collect::<Result<Vec<u32>, _>>()?;
                set.sort_unstable();
                set.dedup();
                sets.push(set);
            }
            (Answers::Values(values), AnswerSpace::Values) => {
                for raw in raw {
                    let value = raw.parse::<f32>().ok().filter(|value| value.is_finite());
                    values.push(value.ok_or_else(|| TrainingError::BadTarget {
                        place: example.place.clone(),
                        label: raw.to_string(),
                    })?);
                }
            }
            (answers, space) => {
                return Err(TrainingError::WrongAnswers {
                    metrics: "the head",
                    needed: space.kind().name(),
                    given: answers.kind().name(),
                });
            }
        }
        Ok(())
    }
}

fn no_labelled_rows(examples: &[Example]) -> TrainingError {
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
        let mut answers = Answers::with_capacity(reading.kind, examples.len());
        let mut rows = Vec::with_capacity(examples.len());
        for example in examples {
            match &example.label {
                Some(label) => {
                    let raw = reading.raw_labels(&example, label)?;
                    if raw.iter().any(|raw| reading.is_unwanted(raw)) {
                        report.unwanted_rows.add(example.place);
                        report.rows = report.rows.saturating_sub(1);
                        continue;
                    }
                    reading.push(&mut answers, &example, raw, space)?;
                    rows.push(example);
                }
                None => {
                    report.unlabelled_rows.add(example.place.clone());
                    report.rows = report.rows.saturating_sub(1);
                }
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
