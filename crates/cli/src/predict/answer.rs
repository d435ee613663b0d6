//! What an adapter says of a row.

use adaptkit::adapters::MeanAttention;
use adaptkit::compute::{sigmoid, softmax};
use adaptkit::training::data::AnswerSpace;
use serde_json::{Map, Value, json};

use crate::attention;

/// An answer.
pub(super) enum Answer {
    /// The best label, its score, and all labels' scores.
    Class(String, f32, Vec<(String, f32)>),
    /// The labels that apply, and all labels' scores.
    Labels(Vec<String>, Vec<(String, f32)>),
    /// A number.
    Value(f32),
}

impl Answer {
    /// What logits stand for; the scores are logits where `raw` is set, else probabilities.
    pub(super) fn of_logits(space: &AnswerSpace, logits: &[f32], raw: bool) -> Answer {
        let named = |scores: Vec<f32>, names: &[String]| -> Vec<(String, f32)> {
            names.iter().cloned().zip(scores).collect()
        };
        match space {
            AnswerSpace::Values => Answer::Value(logits[0]),
            AnswerSpace::Classes(labels) => {
                let scores = if raw { logits.to_vec() } else { softmax(logits) };
                let better =
                    |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
                let best = (0..logits.len()).fold(0, better);
                let label = labels.names()[best].clone();
                Answer::Class(label, scores[best], named(scores, labels.names()))
            }
            AnswerSpace::LabelSets(labels, thresholds) => {
                let scores = if raw { logits.to_vec() } else { sigmoid(logits) };
                let numbered = labels.names().iter().enumerate();
                let applying = numbered
                    .filter(|(label, _)| thresholds.is_passed_by(*label, logits[*label]))
                    .map(|(_, name)| name.clone())
                    .collect();
                Answer::Labels(applying, named(scores, labels.names()))
            }
        }
    }

    fn json(&self) -> Map<String, Value> {
        let object = |scores: &[(String, f32)]| -> Value {
            let scores = scores.iter().map(|(name, score)| (name.clone(), json!(score)));
            Value::Object(scores.collect::<Map<_, _>>())
        };
        let fields = match self {
            Answer::Class(label, score, scores) => {
                vec![("label", json!(label)), ("score", json!(score)), ("scores", object(scores))]
            }
            Answer::Labels(labels, scores) => {
                vec![("labels", json!(labels)), ("scores", object(scores))]
            }
            Answer::Value(value) => vec![("label", Value::Null), ("score", json!(value))],
        };
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The label and the score as two fields of a table.
    pub(super) fn fields(&self) -> [String; 2] {
        match self {
            Answer::Class(label, score, _) => [label.clone(), score.to_string()],
            Answer::Labels(labels, scores) => {
                let scores: Vec<String> = scores.iter().map(|(_, x)| x.to_string()).collect();
                [label_set(labels), scores.join(",")]
            }
            Answer::Value(value) => [String::new(), value.to_string()],
        }
    }
}

/// A set of labels in one field: with commas between, or as a JSON list where a label could be taken
/// for something else. A field that begins with `[` is a list, every other one is not.
fn label_set(labels: &[String]) -> String {
    let is_plain = |label: &String| {
        let edge = |c: char| c.is_whitespace() || c == '"' || c == '[';
        !label.is_empty()
            && !label.contains(|c: char| c == ',' || c.is_control())
            && !label.starts_with(edge)
            && !label.ends_with(char::is_whitespace)
    };
    match labels.iter().all(is_plain) {
        true => labels.join(","),
        false => json!(labels).to_string(),
    }
}

/// An answer, and what the row's tokens attended to where that was asked for.
pub(super) struct Explained {
    pub(super) answer: Answer,
    pub(super) attention: Option<MeanAttention>,
}

impl Explained {
    pub(super) fn json(&self) -> Map<String, Value> {
        let mut object = self.answer.json();
        if let Some(attention) = &self.attention {
            object.insert("attention".to_owned(), attention::of_row(attention));
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_labels_are_unambiguous() {
        let cases: [(&[&str], &str); 11] = [
            (&[], ""),
            (&["a"], "a"),
            (&["a", "b c", "d\"e"], "a,b c,d\"e"),
            (&["a\\b"], "a\\b"),
            (&["a,b", "c"], r#"["a,b","c"]"#),
            (&["a\tb"], r#"["a\tb"]"#),
            (&["a\nb"], r#"["a\nb"]"#),
            (&[""], r#"[""]"#),
            (&["[a]"], r#"["[a]"]"#),
            (&["\"a\""], r#"["\"a\""]"#),
            (&["a "], r#"["a "]"#),
        ];
        for (labels, expected) in cases {
            let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
            let field = label_set(&labels);
            assert_eq!(field, expected);
            if field.starts_with('[') {
                assert_eq!(serde_json::from_str::<Vec<String>>(&field).unwrap(), labels);
            }
        }
    }
}
