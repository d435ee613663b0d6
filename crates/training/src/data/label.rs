//! Labels as files have them, and the numbers a head knows them by.
//!
//! A label is text. `1` in a TSV file and `1` in a JSON file are one label; numbers keep their meaning
//! only in their order, so that labels `2` and `10` come in that order when a map is inferred.

use std::collections::HashMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::TrainingError;
use crate::error::NameList;

/// A row's label before it is a number. White space around a label is not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelValue {
    /// One label: a field of a table, or a string, number or truth value of a JSON line.
    One(String),
    /// A list of labels, from a JSON line.
    Several(Vec<String>),
}

impl LabelValue {
    /// A label from a field; none where the field is blank.
    pub fn one(field: &str) -> Option<LabelValue> {
        let label = field.trim();
        (!label.is_empty()).then(|| LabelValue::One(label.to_string()))
    }
}

/// Labels and their numbers, 0 to n−1: the `label2id` of a head. Serialises as that object, in the
/// numbers' order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    names: Vec<String>,
    ids: HashMap<String, u32>,
}

impl LabelMap {
    /// A map that numbers `names` in their order.
    ///
    /// # Errors
    /// No names, or one twice.
    pub fn new<S: Into<String>>(
        names: impl IntoIterator<Item = S>,
    ) -> Result<LabelMap, TrainingError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.is_empty() {
            return Err(TrainingError::NoLabels);
        }
        let mut ids = HashMap::with_capacity(names.len());
        for (id, name) in (0..).zip(&names) {
            if ids.insert(name.clone(), id).is_some() {
                return Err(TrainingError::LabelTwice { label: name.clone() });
            }
        }
        Ok(LabelMap { names, ids })
    }

    /// A map of the different labels among `labels`, sorted: as numbers where all are integers, by
    /// their characters otherwise. The same labels give the same map, whatever the rows' order.
    ///
    /// # Errors
    /// No labels at all.
    pub fn infer<'a>(labels: impl IntoIterator<Item = &'a str>) -> Result<LabelMap, TrainingError> {
        let different: std::collections::BTreeSet<&str> = labels.into_iter().collect();
        let mut names: Vec<&str> = different.into_iter().collect();
        let integers: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
        if integers.is_some() {
            names.sort_by_key(|name| name.parse::<i64>().unwrap_or_default());
        }
        LabelMap::new(names)
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never: a map without labels cannot be made.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The labels, in their numbers' order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The label with this number.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.names.get(usize::try_from(id).ok()?).map(String::as_str)
    }

    /// This label's number.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }

    /// The labels for a message.
    pub(crate) fn known(&self) -> NameList {
        NameList(self.names.clone())
    }

    fn from_numbered(mut entries: Vec<(String, u32)>) -> Result<LabelMap, TrainingError> {
        entries.sort_by_key(|(_, id)| *id);
        let labels = entries.len();
        if let Some((_, (label, id))) =
            (0..).zip(entries.iter()).find(|(expected, (_, id))| expected != id)
        {
            return Err(TrainingError::BadLabelMap { label: label.clone(), id: *id, labels });
        }
        LabelMap::new(entries.into_iter().map(|(name, _)| name))
    }
}

impl Serialize for LabelMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.names.iter().zip(0u32..))
    }
}

impl<'de> Deserialize<'de> for LabelMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LabelMap, D::Error> {
        let entries = deserializer.deserialize_map(EntriesVisitor::<u32>::default())?;
        LabelMap::from_numbered(entries).map_err(serde::de::Error::custom)
    }
}

/// Names for labels: what a file calls `0`, people call `ham`.
///
/// Several raw labels may have one name. The names' order is that of their first mention, and it is
/// the order of the label map that is inferred under these names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelNames {
    entries: Vec<(String, String)>,
    by_raw: HashMap<String, usize>,
}

impl LabelNames {
    /// Names from pairs of a raw label and its name.
    ///
    /// # Errors
    /// No pairs, or a raw label twice.
    pub fn new<R: Into<String>, N: Into<String>>(
        pairs: impl IntoIterator<Item = (R, N)>,
    ) -> Result<LabelNames, TrainingError> {
        let entries: Vec<(String, String)> =
            pairs.into_iter().map(|(raw, name)| (raw.into(), name.into())).collect();
        if entries.is_empty() {
            return Err(TrainingError::NoLabels);
        }
        let mut by_raw = HashMap::with_capacity(entries.len());
        for (position, (raw, _)) in entries.iter().enumerate() {
            if by_raw.insert(raw.clone(), position).is_some() {
                return Err(TrainingError::LabelTwice { label: raw.clone() });
            }
        }
        Ok(LabelNames { entries, by_raw })
    }

    /// Names from a JSON object such as `{"0": "ham", "1": "spam"}`.
    ///
    /// # Errors
    /// Anything else than an object of strings, no names, or a raw label twice.
    pub fn from_json(json: &str) -> Result<LabelNames, TrainingError> {
        let mut parser = serde_json::Deserializer::from_str(json);
        let entries = parser
            .deserialize_map(EntriesVisitor::<String>::default())
            .and_then(|entries| parser.end().map(|()| entries))
            .map_err(|error| TrainingError::BadLabelNames { reason: error.to_string() })?;
        LabelNames::new(entries)
    }

    /// The name of a raw label.
    pub fn name(&self, raw: &str) -> Option<&str> {
        self.by_raw.get(raw).map(|&position| self.entries[position].1.as_str())
    }

    /// The raw label of a name: the first that has it.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(_, other)| other == name).map(|(raw, _)| raw.as_str())
    }

    /// The map of these names, numbered in the order of their first mention.
    ///
    /// # Errors
    /// None in practice: there is a name, and none is twice.
    pub fn label_map(&self) -> Result<LabelMap, TrainingError> {
        let mut seen = std::collections::HashSet::new();
        LabelMap::new(
            self.entries.iter().map(|(_, name)| name.as_str()).filter(|&name| seen.insert(name)),
        )
    }

    /// The raw labels for a message.
    pub(crate) fn known(&self) -> NameList {
        self.entries.iter().map(|(raw, _)| raw).collect()
    }
}

/// The entries of a JSON object with a number for each label, in their order; a label that is there
/// twice is there twice.
pub(crate) fn numbers_by_label(json: &str) -> Result<Vec<(String, f64)>, serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_str(json);
    let entries = parser.deserialize_map(EntriesVisitor::<f64>::default())?;
    parser.end().map(|()| entries)
}

/// The entries of an object in their order, with keys that come twice kept so that they are noticed.
struct EntriesVisitor<V>(std::marker::PhantomData<V>);

impl<V> Default for EntriesVisitor<V> {
    fn default() -> Self {
        EntriesVisitor(std::marker::PhantomData)
    }
}

impl<'de, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<V> {
    type Value = Vec<(String, V)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with one entry for each label")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inferred_maps_are_sorted() {
        let cases: [(&[&str], &[&str]); 6] = [
            (&["spam", "ham", "spam"], &["ham", "spam"]),
            (&["10", "2", "-1", "2"], &["-1", "2", "10"]),
            (&["10", "2", "x"], &["10", "2", "x"]),
            (&["1", "01"], &["01", "1"]),
            (&["b", "B", "é", "a"], &["B", "a", "b", "é"]),
            (&["0.5", "0.25"], &["0.25", "0.5"]),
        ];
        for (labels, expected) in cases {
            let map = LabelMap::infer(labels.iter().copied()).unwrap();
            assert_eq!(map.names(), expected, "{labels:?}");
        }
        assert!(matches!(LabelMap::infer([]), Err(TrainingError::NoLabels)));
    }

    #[test]
    fn ten_thousand_labels_are_numbered() {
        let names: Vec<String> = (0..10_000).rev().map(|label| label.to_string()).collect();
        let map = LabelMap::infer(names.iter().map(String::as_str)).unwrap();
        assert_eq!(map.len(), 10_000);
        for id in 0..10_000u32 {
            assert_eq!((map.id(&id.to_string()), map.name(id)), (Some(id), Some(&*id.to_string())));
        }
        assert_eq!((map.id("10000"), map.name(10_000)), (None, None));
    }

    #[test]
    fn maps_are_written_and_read_as_label2id() {
        let map = LabelMap::new(["spam", "ham", "a\"b"]).unwrap();
        let json = serde_json::to_string(&map).unwrap();
        assert_eq!(json, r#"{"spam":0,"ham":1,"a\"b":2}"#);
        assert_eq!(serde_json::from_str::<LabelMap>(&json).unwrap(), map);
        let shuffled: LabelMap = serde_json::from_str(r#"{"ham":1,"a\"b":2,"spam":0}"#).unwrap();
        assert_eq!(shuffled, map);

        let bad = [
            (r#"{}"#, "there are no labels"),
            (r#"{"a":0,"b":0}"#, "gives \"b\" the number 0; 2 labels"),
            (r#"{"a":1,"b":2}"#, "gives \"a\" the number 1"),
            (r#"{"a":0,"a":1}"#, "\"a\" is given twice"),
            (r#"{"a":-1}"#, "invalid value"),
            (r#"["a"]"#, "expected an object with one entry for each label"),
        ];
        for (json, message) in bad {
            let error = serde_json::from_str::<LabelMap>(json).unwrap_err().to_string();
            assert!(error.contains(message), "{json}: {error}");
        }
    }

    #[test]
    fn names_are_read_in_their_order() {
        let names = LabelNames::from_json(r#"{"1":"spam","0":"ham","2":"spam"}"#).unwrap();
        assert_eq!(names.label_map().unwrap().names(), ["spam", "ham"]);
        assert_eq!((names.name("2"), names.name("3")), (Some("spam"), None));
        assert_eq!((names.raw("spam"), names.raw("eggs")), (Some("1"), None));
        for json in [r#"{"0":"a","0":"b"}"#, "{}", "[]", r#"{"0":1}"#, r#"{"0":"a"} x"#, ""] {
            assert!(LabelNames::from_json(json).is_err(), "{json}");
        }
    }

    #[test]
    fn blank_labels_are_none() {
        let one = |label: &str| Some(LabelValue::One(label.into()));
        for (field, expected) in
            [("", None), (" \r", None), ("a", one("a")), (" a b\t", one("a b")), ("0", one("0"))]
        {
            assert_eq!(LabelValue::one(field), expected, "{field:?}");
        }
    }
}
