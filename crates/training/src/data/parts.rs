//! What the parts of a run hold: how many rows each label has, and which rows stand in both.

use std::collections::HashMap;

use serde::Serialize;

use super::labelled::{AnswerSpace, Answers, LabelledRows};
use crate::error::{NameList, Place, quoted};

/// How many labels a sentence counts before it only sums up the rest.
const LABELS_SHOWN: usize = 20;

/// The rows of one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LabelRows {
    /// The label.
    pub label: String,
    /// Training rows that have it.
    pub train: u64,
    /// Validation rows that have it; none where there is no such part.
    pub validation: Option<u64>,
}

/// Validation rows whose text, and second text, a training row has too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// How many.
    pub rows: u64,
    /// How many of them no such training row has the same answer as.
    pub other_answer: u64,
    /// Where the first is.
    pub first: Option<Place>,
}

/// What the training rows and the validation rows of a run hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The rows of each label, in the labels' order; none for a regression.
    pub labels: Vec<LabelRows>,
    /// Rows that stand in both parts.
    pub overlap: Overlap,
    validation_rows: usize,
}

impl Parts {
    /// Counts the rows of both parts.
    pub fn new(
        train: &LabelledRows,
        validation: Option<&LabelledRows>,
        space: &AnswerSpace,
    ) -> Parts {
        let names = space.labels().map(|labels| labels.names()).unwrap_or_default();
        let trained = count(&train.answers, names.len());
        let validated = validation.map(|rows| count(&rows.answers, names.len()));
        let labels = names.iter().zip(trained).enumerate().map(|(id, (label, train))| LabelRows {
            label: label.clone(),
            train,
            validation: validated.as_ref().map(|counts| counts[id]),
        });
        Parts {
            labels: labels.collect(),
            overlap: validation.map_or_else(Overlap::none, |rows| Overlap::of(train, rows)),
            validation_rows: validation.map_or(0, LabelledRows::len),
        }
    }

    /// What there is to tell of it, a sentence each, shortened where there are many labels.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if !self.labels.is_empty() {
            sentences.push(self.counts());
        }
        let without = |rows: &dyn Fn(&LabelRows) -> bool| {
            let labels = self.labels.iter().filter(|label| rows(label));
            labels.map(|label| &label.label).collect::<NameList>()
        };
        let untrained = without(&|label| label.train == 0);
        if !untrained.0.is_empty() {
            sentences.push(format!("no training row has {untrained}, which cannot be learnt"));
        }
        let unscored = without(&|label| label.validation == Some(0));
        if !unscored.0.is_empty() {
            sentences.push(format!("no validation row has {unscored}: scores say nothing of it"));
        }
        if let Overlap { rows, other_answer, first: Some(first) } = &self.overlap {
            let others = match other_answer {
                0 => String::new(),
                others => format!(", {others} of them with another answer"),
            };
            sentences.push(format!(
                "{rows} of the {} validation rows stand among the training rows too{others} \
                 (first: {first}): scores on them say little about new rows",
                self.validation_rows
            ));
        }
        sentences
    }

    fn counts(&self) -> String {
        let both = self.labels.iter().any(|label| label.validation.is_some());
        let shown = self.labels.iter().take(LABELS_SHOWN).map(|label| match label.validation {
            Some(validation) => format!("{} {} + {validation}", quoted(&label.label), label.train),
            None => format!("{} {}", quoted(&label.label), label.train),
        });
        let mut text = format!(
            "rows of each label ({}): {}",
            if both { "training + validation" } else { "training" },
            shown.collect::<Vec<_>>().join(", ")
        );
        let rest = self.labels.iter().skip(LABELS_SHOWN).map(|label| label.train);
        if let (Some(least), Some(most)) = (rest.clone().min(), rest.clone().max()) {
            text += &format!(
                " and {} labels more, of {least} to {most} training rows",
                self.labels.len() - LABELS_SHOWN
            );
        }
        text
    }
}

impl Overlap {
    fn none() -> Overlap {
        Overlap { rows: 0, other_answer: 0, first: None }
    }

    fn of(train: &LabelledRows, validation: &LabelledRows) -> Overlap {
        /// The validation rows of one text, and what is known of training rows with it.
        #[derive(Default)]
        struct SameText {
            rows: Vec<usize>,
            is_trained: bool,
        }
        let mut texts: HashMap<(&str, Option<&str>), SameText> = HashMap::new();
        for (at, row) in validation.rows.iter().enumerate() {
            texts.entry((&row.text, row.pair.as_deref())).or_default().rows.push(at);
        }
        let mut has_same_answer = vec![false; validation.len()];
        for (at, row) in train.rows.iter().enumerate() {
            if let Some(same) = texts.get_mut(&(&*row.text, row.pair.as_deref())) {
                same.is_trained = true;
                for &row in &same.rows {
                    has_same_answer[row] |=
                        same_answer(&train.answers, at, &validation.answers, row);
                }
            }
        }
        let mut both: Vec<usize> =
            texts.into_values().filter(|same| same.is_trained).flat_map(|same| same.rows).collect();
        both.sort_unstable();
        Overlap {
            rows: both.len() as u64,
            other_answer: both.iter().filter(|&&row| !has_same_answer[row]).count() as u64,
            first: both.first().map(|&row| validation.rows[row].place.clone()),
        }
    }
}

/// How many rows have each of the labels.
fn count(answers: &Answers, labels: usize) -> Vec<u64> {
    let mut counts = vec![0; labels];
    let mut add = |label: u32| {
        if let Some(count) = counts.get_mut(label as usize) {
            *count += 1;
        }
    };
    match answers {
        Answers::Classes(classes) => classes.iter().copied().for_each(&mut add),
        Answers::LabelSets(sets) => sets.iter().flatten().copied().for_each(&mut add),
        Answers::Values(_) => {}
    }
    counts
}

fn same_answer(a: &Answers, a_row: usize, b: &Answers, b_row: usize) -> bool {
    match (a, b) {
        (Answers::Classes(a), Answers::Classes(b)) => a[a_row] == b[b_row],
        (Answers::LabelSets(a), Answers::LabelSets(b)) => a[a_row] == b[b_row],
        (Answers::Values(a), Answers::Values(b)) => a[a_row] == b[b_row],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Example, LabelMap, Thresholds};
    use super::*;

    fn rows(texts: &[&str], answers: Answers) -> LabelledRows {
        let row = |(line, text): (u64, &&str)| {
            let (text, pair) = text.split_once('|').map_or((*text, None), |(a, b)| (a, Some(b)));
            let place = Place { file: "rows.csv".into(), line };
            let (text, pair) = (text.to_string(), pair.map(str::to_string));
            Example { text, pair, label: None, index: None, kept: Vec::new(), place }
        };
        LabelledRows { rows: (2..).zip(texts).map(row).collect(), answers }
    }

    fn classes(labels: usize) -> AnswerSpace {
        let names = (0..labels).map(|label| format!("l{label}"));
        AnswerSpace::Classes(LabelMap::new(names).unwrap())
    }

    #[test]
    fn labels_are_counted_and_gaps_and_overlaps_told() {
        let sets =
            AnswerSpace::LabelSets(LabelMap::new(["a", "b"]).unwrap(), Thresholds::default());
        type Case<'a> = (&'a str, LabelledRows, Option<LabelledRows>, AnswerSpace, &'a [&'a str]);
        let cases: [Case<'_>; 6] = [
            (
                "nothing beside the counts",
                rows(&["a", "b", "c"], Answers::Classes(vec![0, 1, 1])),
                Some(rows(&["d", "e"], Answers::Classes(vec![0, 1]))),
                classes(2),
                &["rows of each label (training + validation): \"l0\" 1 + 1, \"l1\" 2 + 1"],
            ),
            (
                "labels that lack rows",
                rows(&["a", "b"], Answers::Classes(vec![0, 1])),
                Some(rows(&["d"], Answers::Classes(vec![2]))),
                classes(4),
                &[
                    "rows of each label (training + validation): \"l0\" 1 + 0, \"l1\" 1 + 0, \"l2\" \
                     0 + 1, \"l3\" 0 + 0",
                    "no training row has \"l2\", \"l3\", which cannot be learnt",
                    "no validation row has \"l0\", \"l1\", \"l3\": scores say nothing of it",
                ],
            ),
            (
                "rows in both, by text and pair",
                rows(&["a", "a", "b|x", "c", "c|"], Answers::Classes(vec![0, 1, 1, 0, 0])),
                Some(rows(&["n", "a", "b", "b|x", "c"], Answers::Classes(vec![0, 1, 1, 0, 0]))),
                classes(2),
                &[
                    "rows of each label (training + validation): \"l0\" 3 + 3, \"l1\" 2 + 2",
                    "3 of the 5 validation rows stand among the training rows too, 1 of them with \
                     another answer (first: rows.csv, line 3): scores on them say little about new \
                     rows",
                ],
            ),
            (
                "no validation rows",
                rows(&["a", "a"], Answers::Classes(vec![0, 1])),
                None,
                classes(2),
                &["rows of each label (training): \"l0\" 1, \"l1\" 1"],
            ),
            (
                "sets",
                rows(&["a", "b"], Answers::LabelSets(vec![vec![0, 1], vec![]])),
                Some(rows(&["b"], Answers::LabelSets(vec![vec![0, 1]]))),
                sets,
                &[
                    "rows of each label (training + validation): \"a\" 1 + 1, \"b\" 1 + 1",
                    "1 of the 1 validation rows stand among the training rows too, 1 of them with \
                     another answer (first: rows.csv, line 2): scores on them say little about new \
                     rows",
                ],
            ),
            (
                "values",
                rows(&["a"], Answers::Values(vec![0.5])),
                Some(rows(&["a"], Answers::Values(vec![0.5]))),
                AnswerSpace::Values,
                &[
                    "1 of the 1 validation rows stand among the training rows too (first: rows.csv, \
                   line 2): scores on them say little about new rows",
                ],
            ),
        ];
        for (what, train, validation, space, expected) in cases {
            let parts = Parts::new(&train, validation.as_ref(), &space);
            assert_eq!(parts.sentences(), expected, "{what}");
        }
    }

    #[test]
    fn thousands_of_labels_are_told_briefly() {
        let texts: Vec<String> = (0..9000).map(|row| format!("text {row}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let train = rows(&texts, Answers::Classes((0..9000).map(|row| row % 5000).collect()));
        let validation = rows(&["new"], Answers::Classes(vec![0]));
        let sentences = Parts::new(&train, Some(&validation), &classes(5000)).sentences();
        assert!(sentences[0].ends_with("and 4980 labels more, of 1 to 2 training rows"));
        assert!(sentences.iter().all(|sentence| sentence.len() < 600), "{sentences:?}");
    }
}
