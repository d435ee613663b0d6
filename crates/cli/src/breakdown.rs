//! What an evaluation says beyond its scores: each label's own, which label was taken for which, and
//! how far values are off.

use std::cmp::Reverse;
use std::fmt;

use adaptkit::encoder::foreign_text::escaped;
use adaptkit::training::data::{AnswerSpace, Answers};
use adaptkit::training::metrics::{
    ConfusionMatrix, LabelScores, Residuals, label_set_label_scores,
};
use serde_json::{Map, Value, json};

/// The answers of one evaluation, broken down.
pub(crate) enum Breakdown {
    /// Scores of each label, and the confusions where a row has one label.
    Labels { names: Vec<String>, scores: Vec<LabelScores>, confusion: Option<ConfusionMatrix> },
    /// A summary of the residuals.
    Values(Residuals),
}

/// The most labels whose confusions are shown as a table; of more, the most frequent are listed.
const TABLE_LABELS: usize = 12;
/// The most confusions in that list.
const LISTED_CONFUSIONS: usize = 20;

impl Breakdown {
    /// `None` where the predictions are not of the space's kind, which `evaluate` has refused.
    pub(crate) fn new(
        space: &AnswerSpace,
        predictions: &Answers,
        truth: &Answers,
    ) -> Option<Breakdown> {
        let names = space.labels().map(|labels| labels.names().to_vec()).unwrap_or_default();
        match (predictions, truth) {
            (Answers::Classes(p), Answers::Classes(t)) => {
                let confusion = ConfusionMatrix::new(p, t, names.len());
                let scores = confusion.label_scores();
                Some(Breakdown::Labels { names, scores, confusion: Some(confusion) })
            }
            (Answers::LabelSets(p), Answers::LabelSets(t)) => {
                let scores = label_set_label_scores(p, t, names.len());
                Some(Breakdown::Labels { names, scores, confusion: None })
            }
            (Answers::Values(p), Answers::Values(t)) => Residuals::new(p, t).map(Breakdown::Values),
            _ => None,
        }
    }

    /// Adds `eval_labels`, `eval_confusion` or `eval_residuals`, with the suffix.
    pub(crate) fn put(&self, results: &mut Map<String, Value>, suffix: &str) {
        let mut put = |name: &str, value| results.insert(format!("eval_{name}{suffix}"), value);
        match self {
            Breakdown::Labels { names, scores, confusion } => {
                let labels = names.iter().zip(scores).map(|(label, scores)| {
                    json!({
                        "label": label,
                        "precision": scores.precision,
                        "recall": scores.recall,
                        "f1": scores.f1,
                        "support": scores.support,
                    })
                });
                put("labels", labels.collect());
                if let Some(confusion) = confusion {
                    let name = |id: u32| names.get(id as usize);
                    let cells = confusion.cells().map(|(truth, prediction, rows)| {
                        json!({"label": name(truth), "predicted": name(prediction), "rows": rows})
                    });
                    put("confusion", cells.collect());
                }
            }
            Breakdown::Values(residuals) => {
                put("residuals", json!(residuals));
            }
        }
    }
}

impl fmt::Display for Breakdown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Breakdown::Labels { names, scores, confusion } => {
                let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
                write_scores(out, &names, scores)?;
                match confusion {
                    Some(confusion) if names.len() <= TABLE_LABELS => {
                        write_table(out, &names, confusion)
                    }
                    Some(confusion) => write_list(out, &names, confusion),
                    None => Ok(()),
                }
            }
            Breakdown::Values(r) => {
                writeln!(out, "residuals (predicted - true):")?;
                for (name, value) in [
                    ("mean", r.mean),
                    ("mean absolute", r.mean_absolute),
                    ("root mean square", r.root_mean_square),
                    ("minimum", r.minimum),
                    ("median", r.median),
                    ("maximum", r.maximum),
                ] {
                    writeln!(out, "  {name:<16} {value:>9.4}")?;
                }
                Ok(())
            }
        }
    }
}

/// A label on one line and not too long for a table.
fn shown(label: &str) -> String {
    const MOST: usize = 24;
    let plain = escaped(label);
    match plain.chars().count() > MOST {
        true => plain.chars().take(MOST - 1).chain(['…']).collect(),
        false => plain,
    }
}

fn widest<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or(0)
}

fn write_scores(
    out: &mut fmt::Formatter<'_>,
    names: &[String],
    scores: &[LabelScores],
) -> fmt::Result {
    let width = widest(names.iter().map(String::as_str).chain(["label"]));
    let head = ["precision", "recall", "F1", "support"];
    writeln!(
        out,
        "{:<width$}  {:>9}  {:>9}  {:>9}  {:>9}",
        "label", head[0], head[1], head[2], head[3]
    )?;
    for (name, s) in names.iter().zip(scores) {
        let (precision, recall, f1, support) = (s.precision, s.recall, s.f1, s.support);
        writeln!(out, "{name:<width$}  {precision:>9.4}  {recall:>9.4}  {f1:>9.4}  {support:>9}")?;
    }
    Ok(())
}

fn write_table(
    out: &mut fmt::Formatter<'_>,
    names: &[String],
    confusion: &ConfusionMatrix,
) -> fmt::Result {
    const CORNER: &str = "true \\ predicted";
    let width = widest(names.iter().map(String::as_str).chain([CORNER]));
    write!(out, "\n{CORNER:<width$}")?;
    let columns: Vec<usize> = names.iter().map(|name| name.chars().count().max(6)).collect();
    for (name, column) in names.iter().zip(&columns) {
        write!(out, "  {name:>column$}")?;
    }
    writeln!(out)?;
    for (name, counts) in names.iter().zip(confusion.rows()) {
        write!(out, "{name:<width$}")?;
        for (count, column) in counts.iter().zip(&columns) {
            write!(out, "  {count:>column$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_list(
    out: &mut fmt::Formatter<'_>,
    names: &[String],
    confusion: &ConfusionMatrix,
) -> fmt::Result {
    let mut wrong: Vec<(u32, u32, u64)> =
        confusion.cells().filter(|(truth, prediction, _)| truth != prediction).collect();
    wrong.sort_by_key(|(_, _, rows)| Reverse(*rows));
    let shown = wrong.len().min(LISTED_CONFUSIONS);
    writeln!(out, "\nthe {shown} most frequent of {} confusions (--json has all):", wrong.len())?;
    let name = |id: u32| names.get(id as usize).map_or("", String::as_str);
    for (truth, prediction, rows) in &wrong[..shown] {
        writeln!(out, "{rows:>7}  {} taken for {}", name(*truth), name(*prediction))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use adaptkit::training::data::LabelMap;

    fn classes(labels: usize) -> AnswerSpace {
        let names = (0..labels).map(|i| format!("label {i}"));
        AnswerSpace::Classes(LabelMap::new(names).expect("labels"))
    }

    #[test]
    fn few_labels_make_a_table() {
        let (p, t) = (Answers::Classes(vec![0, 1, 1]), Answers::Classes(vec![0, 0, 1]));
        let broken_down = Breakdown::new(&classes(2), &p, &t).expect("of one kind");
        let expected = "\
label    precision     recall         F1    support
label 0     1.0000     0.5000     0.6667          2
label 1     0.5000     1.0000     0.6667          1

true \\ predicted  label 0  label 1
label 0                 1        1
label 1                 0        1
";
        assert_eq!(broken_down.to_string(), expected);
    }

    #[test]
    fn many_labels_make_a_list_of_what_is_wrong() {
        let truth: Vec<u32> = (0..100).collect();
        let mut predictions = truth.clone();
        predictions[..30].fill(99);
        let (p, t) = (Answers::Classes(predictions), Answers::Classes(truth));
        let text = Breakdown::new(&classes(100), &p, &t).expect("of one kind").to_string();
        assert!(text.contains("the 20 most frequent of 30 confusions"), "{text}");
        assert!(text.contains("      1  label 0 taken for label 99\n"), "{text}");
    }

    #[test]
    fn labels_stay_on_their_line() {
        assert_eq!(shown("a\nb\tc"), "a\\nb\\tc");
        assert_eq!(shown(&"é".repeat(30)), format!("{}…", "é".repeat(23)));
    }
}
