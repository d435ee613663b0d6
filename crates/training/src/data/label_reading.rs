//! How a row's label becomes an answer.
//!
//! One rule for training, validation and evaluation:
//! - A row has no label where the field is blank, a JSON null, spelt like a missing value (`nan`,
//!   `None`, `NULL`, …) or, where one label is needed, an empty list. Such a spelling is a label if the
//!   names or the head's labels have it.
//! - A field that looks like a list is one, in JSON's or in Python's spelling. A list of one label is
//!   that label. Where a row has a set of labels, a field may also have a delimiter between them, and
//!   an empty list, or the delimiter alone, is the empty set.
//! - A list of zeros and ones is one place for each label, unless 0 and 1 are labels themselves.
//! - Labels are compared as they are spelt and, where all are numbers or all are truth values, by
//!   their values ([`LabelMap::find`]).

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};

use super::example::Example;
use super::label::{LabelMap, LabelNames, LabelValue};
use super::label_list::FieldList;
use super::label_spelling::{Spelling, is_missing_value};
use super::labelled::{AnswerKind, AnswerSpace, Answers, no_labelled_rows};
use super::threshold::Thresholds;
use crate::TrainingError;

/// One column for each label, which says of a row whether the label applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelColumns {
    /// The columns.
    pub names: Vec<String>,
    /// Whether a column's name is its label's. Otherwise, as in files without a header line, the
    /// columns are in the order of the head's labels.
    pub named: bool,
}

/// How a label becomes an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelReading {
    /// The kind of answer.
    pub kind: AnswerKind,
    /// What stands between the labels of one field of a multi-label file; a list needs none.
    /// Without one, a field is one label.
    pub delimiter: Option<char>,
    /// Names for the raw labels. A raw label without a name stays as it is at evaluation, where the
    /// head may know it, and is an error when labels are inferred. The names of a regression's labels
    /// are its targets.
    pub names: Option<LabelNames>,
    /// Raw labels, or their names, whose rows are left out and counted: what annotators said where
    /// they had no answer.
    pub unwanted: Vec<String>,
    /// The columns of the labels, where each has one.
    pub columns: Option<LabelColumns>,
}

/// The labels of one row.
pub(super) enum RowLabels<'a> {
    /// None that is known.
    Missing,
    /// One whose rows are to be left out.
    Unwanted,
    /// As the file spells them.
    Raw(Vec<Cow<'a, str>>),
    /// By the places that they have in a list or among the columns.
    Numbers(Vec<u32>),
}

/// The labels of one row before it is known which they are, and where they stand.
enum RawLabels<'a> {
    Missing,
    /// In a field, with the delimiter between them or alone.
    Field(Vec<Cow<'a, str>>),
    List(Vec<Cow<'a, str>>),
    /// Whether each of the columns applies.
    Columns(Vec<bool>),
}

impl LabelReading {
    /// Labels of this kind as the file has them.
    pub fn plain(kind: AnswerKind) -> LabelReading {
        LabelReading { kind, delimiter: None, names: None, unwanted: Vec::new(), columns: None }
    }

    /// The labels that `examples` have: the space of answers a head for them needs. With names, it
    /// is their map, and with columns theirs, whether the rows have all of them or not. Infer before
    /// splitting, so that a label that is only in the held-out part is known.
    ///
    /// # Errors
    /// A list where one label is needed or that is none, a raw label without a name, zeros and ones
    /// only where a row has a set of labels, no label in any row.
    pub fn infer(&self, examples: &[Example]) -> Result<AnswerSpace, TrainingError> {
        if self.kind == AnswerKind::Value {
            return Ok(AnswerSpace::Values);
        }
        let mut labels: HashSet<Cow<'_, str>> = HashSet::new();
        let mut labelled = 0u64;
        let mut first_flags = None;
        for example in examples {
            let raw = match self.row_labels(example, None)? {
                RowLabels::Missing | RowLabels::Unwanted => continue,
                RowLabels::Numbers(_) => Vec::new(),
                RowLabels::Raw(raw) => raw,
            };
            labelled += 1;
            if self.columns.is_some() {
                continue;
            }
            if first_flags.is_none() && !raw.is_empty() {
                first_flags = Some((example.place.clone(), raw.len()));
            }
            for raw in raw {
                if self.names.as_ref().is_some_and(|names| names.name(&raw).is_none()) {
                    return Err(self.unknown(example, &raw, None));
                }
                labels.insert(raw);
            }
        }
        if labelled == 0 {
            return Err(no_labelled_rows(examples));
        }
        let map = match (&self.columns, &self.names) {
            (Some(columns), names) => {
                let name = |column: &String| {
                    let name = names.as_ref().and_then(|names| names.name(column));
                    name.unwrap_or(column).to_string()
                };
                LabelMap::new(columns.names.iter().map(name))?
            }
            (None, Some(names)) => {
                let wanted =
                    |name: &&String| !names.raw(name).is_some_and(|raw| self.is_unwanted(raw));
                let all = names.label_map()?;
                LabelMap::new(all.names().iter().filter(wanted).cloned())?
            }
            (None, None) => {
                let are_flags = labels.iter().all(|label| Spelling::of(label).as_flag().is_some());
                match first_flags.filter(|_| self.kind == AnswerKind::LabelSet && are_flags) {
                    Some((place, places)) => {
                        return Err(TrainingError::LabelPlaces { place, places });
                    }
                    None => LabelMap::infer(labels.iter().map(|label| &**label))?,
                }
            }
        };
        Ok(match self.kind {
            AnswerKind::LabelSet => AnswerSpace::LabelSets(map, Thresholds::default()),
            _ => AnswerSpace::Classes(map),
        })
    }

    /// Checks that columns and the head's labels are the same.
    ///
    /// # Errors
    /// [`TrainingError::LabelColumns`], and [`TrainingError::WrongAnswers`] for a head that gives no
    /// sets of labels.
    pub(super) fn check_columns(&self, space: &AnswerSpace) -> Result<(), TrainingError> {
        let Some(columns) = &self.columns else { return Ok(()) };
        let AnswerSpace::LabelSets(labels, _) = space else {
            return Err(TrainingError::WrongAnswers {
                metrics: "one column for each label",
                needed: AnswerKind::LabelSet.name(),
                given: space.kind().name(),
            });
        };
        let found: HashSet<u32> =
            columns.names.iter().filter_map(|column| self.id(column, labels)).collect();
        let all = columns.names.len() == labels.len();
        match all && (!columns.named || found.len() == labels.len()) {
            true => Ok(()),
            false => Err(TrainingError::LabelColumns {
                columns: columns.names.iter().collect(),
                labels: labels.known(),
            }),
        }
    }

    /// The labels of one row; `labels` are the head's, where they are known already.
    pub(super) fn row_labels<'a>(
        &self,
        example: &'a Example,
        labels: Option<&LabelMap>,
    ) -> Result<RowLabels<'a>, TrainingError> {
        let (raw, is_list) = match self.raw_labels(example, labels)? {
            RawLabels::Missing => return Ok(RowLabels::Missing),
            RawLabels::Columns(applies) => return Ok(self.of_columns(&applies)),
            RawLabels::Field(raw) => (raw, false),
            RawLabels::List(raw) => (raw, true),
        };
        if raw.iter().any(|raw| self.is_unwanted(raw)) {
            return Ok(RowLabels::Unwanted);
        }
        if raw.iter().any(|raw| is_missing_value(raw) && !self.is_known(raw, labels)) {
            return Ok(RowLabels::Missing);
        }
        if self.kind != AnswerKind::LabelSet {
            return match raw.len() {
                0 => Ok(RowLabels::Missing),
                1 => Ok(RowLabels::Raw(raw)),
                labels => {
                    Err(TrainingError::SeveralLabels { place: example.place.clone(), labels })
                }
            };
        }
        let is_place = |raw: &Cow<'_, str>| {
            Spelling::of(raw).as_flag().is_some() && !self.is_known(raw, labels)
        };
        let are_places = !raw.is_empty() && raw.iter().all(is_place);
        if let (true, Some(labels)) = (are_places, labels) {
            return match raw.len() == labels.len() {
                true => Ok(RowLabels::Numbers(applying(
                    raw.iter().map(|raw| Spelling::of(raw).as_flag() == Some(true)),
                ))),
                false => Err(TrainingError::PlacesDoNotFit {
                    place: example.place.clone(),
                    places: raw.len(),
                    labels: labels.known(),
                }),
            };
        }
        if is_list {
            let mut seen = HashSet::new();
            if let Some(twice) = raw.iter().find(|raw| !seen.insert(&***raw)) {
                let (place, places) = (example.place.clone(), raw.len());
                return Err(match are_places {
                    true => TrainingError::LabelPlaces { place, places },
                    false => TrainingError::LabelTwiceInRow { place, label: twice.to_string() },
                });
            }
        }
        Ok(RowLabels::Raw(raw))
    }

    /// The labels as they stand in the file.
    fn raw_labels<'a>(
        &self,
        example: &'a Example,
        labels: Option<&LabelMap>,
    ) -> Result<RawLabels<'a>, TrainingError> {
        let list: Vec<Cow<'a, str>> = match &example.label {
            None => return Ok(RawLabels::Missing),
            Some(LabelValue::Columns(fields)) => return self.flags(example, fields),
            Some(LabelValue::Several(labels)) => labels.iter().map(|l| l.trim().into()).collect(),
            Some(LabelValue::One(field)) => {
                let whole = || Ok(RawLabels::Field(vec![field.into()]));
                if self.is_known(field, labels) || self.is_unwanted(field) {
                    return whole();
                }
                match (FieldList::of(field), self.delimiter) {
                    (FieldList::Elements(elements), _) => {
                        elements.into_iter().map(|label| label.trim().to_string().into()).collect()
                    }
                    (FieldList::Broken(reason), _) => {
                        return Err(TrainingError::BadLabelList {
                            place: example.place.clone(),
                            field: field.clone(),
                            reason,
                        });
                    }
                    (FieldList::None, Some(delimiter)) if self.kind == AnswerKind::LabelSet => {
                        let parts = field.split(delimiter).map(str::trim);
                        let parts = parts.filter(|label| !label.is_empty());
                        return Ok(RawLabels::Field(parts.map(Cow::from).collect()));
                    }
                    (FieldList::None, _) => return whole(),
                }
            }
        };
        match list.iter().any(|label| label.is_empty()) {
            true => Err(TrainingError::EmptyLabel { place: example.place.clone() }),
            false => Ok(RawLabels::List(list)),
        }
    }

    /// Whether the label of each column applies; nothing is known where all are blank.
    fn flags<'a>(
        &self,
        example: &Example,
        fields: &[String],
    ) -> Result<RawLabels<'a>, TrainingError> {
        let is_missing = |field: &String| field.is_empty() || is_missing_value(field);
        if fields.iter().all(is_missing) {
            return Ok(RawLabels::Missing);
        }
        let names = self.columns.iter().flat_map(|columns| &columns.names);
        let flags = fields.iter().zip(names).map(|(field, column)| {
            Spelling::of(field).as_flag().ok_or_else(|| TrainingError::BadLabelColumn {
                place: example.place.clone(),
                column: column.clone(),
                value: field.clone(),
            })
        });
        Ok(RawLabels::Columns(flags.collect::<Result<_, _>>()?))
    }

    fn of_columns<'a>(&self, applies: &[bool]) -> RowLabels<'a> {
        match &self.columns {
            Some(columns) if columns.named => {
                let names = columns.names.iter().zip(applies).filter(|(_, applies)| **applies);
                RowLabels::Raw(names.map(|(name, _)| Cow::Owned(name.clone())).collect())
            }
            _ => RowLabels::Numbers(applying(applies.iter().copied())),
        }
    }

    /// Checks that every unwanted label occurs in the rows, which are those of all files of a run: a
    /// misspelt one would leave out nothing in silence. A blank one stands for rows without a label,
    /// which are left out in any case.
    ///
    /// # Errors
    /// [`TrainingError::LabelNeverOccurs`], a list where one label is needed or that is none.
    pub fn check_unwanted<'a>(
        &self,
        examples: impl IntoIterator<Item = &'a Example>,
    ) -> Result<(), TrainingError> {
        if self.unwanted.iter().all(|label| label.trim().is_empty()) {
            return Ok(());
        }
        let mut occurring: BTreeSet<Cow<'a, str>> = BTreeSet::new();
        for example in examples {
            match self.raw_labels(example, None)? {
                RawLabels::Field(raw) | RawLabels::List(raw) => occurring.extend(raw),
                RawLabels::Missing | RawLabels::Columns(_) => {}
            }
        }
        let occurs = |wanted: &String| {
            wanted.trim().is_empty() || occurring.iter().any(|raw| self.is_same(wanted, raw))
        };
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
        self.unwanted.iter().any(|unwanted| self.is_same(unwanted, raw))
    }

    /// Whether an unwanted label is this raw label: it, its name, or a spelling of its value.
    fn is_same(&self, unwanted: &str, raw: &str) -> bool {
        let unwanted = unwanted.trim();
        let name = || self.names.as_ref().and_then(|names| names.name(raw));
        let value = || Spelling::of(unwanted).value().filter(|_| !unwanted.is_empty());
        unwanted == raw
            || Some(unwanted) == name()
            || value().is_some_and(|value| Spelling::of(raw).value() == Some(value))
    }

    /// Whether a raw label is among the names or the head's labels.
    fn is_known(&self, raw: &str, labels: Option<&LabelMap>) -> bool {
        self.names.as_ref().is_some_and(|names| names.name(raw).is_some())
            || labels.is_some_and(|labels| labels.find(raw).is_some())
    }

    fn id(&self, raw: &str, labels: &LabelMap) -> Option<u32> {
        let name = self.names.as_ref().and_then(|names| names.name(raw));
        name.and_then(|name| labels.find(name)).or_else(|| labels.find(raw))
    }

    fn known_id(
        &self,
        example: &Example,
        raw: &str,
        labels: &LabelMap,
    ) -> Result<u32, TrainingError> {
        self.id(raw, labels).ok_or_else(|| self.unknown(example, raw, Some(labels)))
    }

    fn unknown(&self, example: &Example, raw: &str, labels: Option<&LabelMap>) -> TrainingError {
        let known = match (labels, &self.names) {
            (Some(labels), _) => labels.known(),
            (None, Some(names)) => names.known(),
            (None, None) => Default::default(),
        };
        TrainingError::UnknownLabel { place: example.place.clone(), label: raw.to_string(), known }
    }

    /// Adds the answer that a row's labels stand for.
    pub(super) fn push(
        &self,
        answers: &mut Answers,
        example: &Example,
        labels: RowLabels<'_>,
        space: &AnswerSpace,
    ) -> Result<(), TrainingError> {
        match (answers, space, labels) {
            (_, _, RowLabels::Missing | RowLabels::Unwanted) => {}
            (Answers::Classes(classes), AnswerSpace::Classes(labels), RowLabels::Raw(raw)) => {
                for raw in raw {
                    classes.push(self.known_id(example, &raw, labels)?);
                }
            }
            (Answers::LabelSets(sets), AnswerSpace::LabelSets(labels, _), RowLabels::Raw(raw)) => {
                let ids = raw.iter().map(|raw| self.known_id(example, raw, labels));
                let mut set = ids.collect::<Result<Vec<u32>, _>>()?;
                set.sort_unstable();
                set.dedup();
                sets.push(set);
            }
            (Answers::LabelSets(sets), AnswerSpace::LabelSets(..), RowLabels::Numbers(set)) => {
                sets.push(set);
            }
            (Answers::Values(values), AnswerSpace::Values, RowLabels::Raw(raw)) => {
                for raw in raw {
                    values.push(self.target(example, &raw)?);
                }
            }
            (answers, space, _) => {
                return Err(TrainingError::WrongAnswers {
                    metrics: "the head",
                    needed: space.kind().name(),
                    given: answers.kind().name(),
                });
            }
        }
        Ok(())
    }

    /// The target that a raw label, or its name, is.
    fn target(&self, example: &Example, raw: &str) -> Result<f32, TrainingError> {
        let name = self.names.as_ref().and_then(|names| names.name(raw)).unwrap_or(raw);
        let value = name.parse::<f32>().ok().filter(|value| value.is_finite());
        value.ok_or_else(|| TrainingError::BadTarget {
            place: example.place.clone(),
            label: name.to_string(),
        })
    }
}

/// The numbers of the places that apply, ascending.
fn applying(applies: impl IntoIterator<Item = bool>) -> Vec<u32> {
    (0..).zip(applies).filter(|(_, applies)| *applies).map(|(number, _)| number).collect()
}
