//! Labels as files have them, and the numbers a head knows them by.
//!
//! A label is text. `1` in a TSV file and `1` in a JSON file are one label, and where all labels are
//! numbers or all are truth values, so are `1` and `1.0`, `True` and `true` (`label_spelling`).
//! Numbers keep their meaning in their order: labels `2` and `10` come in that order when a map is
//! inferred.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::label_list::FieldList;
use super::label_spelling::{Spelling, all_numbers, have_values};
use crate::TrainingError;
use crate::error::NameList;

/// A row's label before it is a number. White space around a label is not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelValue {
    /// One label: a field of a table, or a string, number or truth value of a JSON line.
    One(String),
    /// A list of labels, from a JSON line.
    Several(Vec<String>),
    /// The fields of one column for each label, in the columns' order; blank where one is missing.
    Columns(Vec<String>),
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
    /// Numbers by the labels' values, where those count.
    values: HashMap<String, u32>,
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
        let values = values_of(&names);
        Ok(LabelMap { names, ids, values })
    }

    /// A map of the different labels among `labels`, sorted: as numbers where all are numbers, by
    /// their characters otherwise. The same labels give the same map, whatever the rows' order.
    ///
    /// Where all are numbers, or all truth values, labels of one value are one label, under the
    /// shortest of their spellings.
    ///
    /// # Errors
    /// No labels at all.
    pub fn infer<'a>(labels: impl IntoIterator<Item = &'a str>) -> Result<LabelMap, TrainingError> {
        let different: BTreeSet<&str> = labels.into_iter().collect();
        let mut names: Vec<&str> = different.into_iter().collect();
        if have_values(names.iter().copied()) {
            let mut shortest: BTreeMap<String, &str> = BTreeMap::new();
            for name in names {
                let value = Spelling::of(name).value().unwrap_or_else(|| name.to_string());
                let other = shortest.entry(value).or_insert(name);
                if name.len() < other.len() {
                    *other = name;
                }
            }
            names = shortest.into_values().collect();
            names.sort_unstable();
        }
        if all_numbers(names.iter().copied()) {
            let number = |name: &str| name.parse::<f64>().unwrap_or_default();
            names.sort_by(|a, b| number(a).total_cmp(&number(b)));
        } else if let Some(integers) =
            names.iter().map(|name| name.parse().ok()).collect::<Option<Vec<i64>>>()
        {
            // Codes such as 01, which are numbers in their order only.
            let mut numbered: Vec<(i64, &str)> = integers.into_iter().zip(names).collect();
            numbered.sort_by_key(|(integer, _)| *integer);
            names = numbered.into_iter().map(|(_, name)| name).collect();
        }
        LabelMap::new(names)
    }

    /// A map of the labels of a list, in its order: `a, b, c`, or `["a", "b"]` where a label holds a
    /// comma. White space around a label does not count.
    ///
    /// # Errors
    /// A label without a name or one twice, and what begins and ends as a list but is none.
    pub fn parse(list: &str) -> Result<LabelMap, TrainingError> {
        let labels: Vec<String> = match FieldList::of(list.trim()) {
            FieldList::Elements(labels) => labels,
            FieldList::None => list.split(',').map(str::to_string).collect(),
            FieldList::Broken(reason) => {
                return Err(TrainingError::BadLabels { list: list.to_string(), reason });
            }
        };
        let labels: Vec<&str> = labels.iter().map(|label| label.trim()).collect();
        match labels.contains(&"") {
            true => Err(TrainingError::BlankLabel),
            false => LabelMap::new(labels),
        }
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

    /// The number of the label that `raw` is: spelt as it is, or of the same value where values
    /// count.
    pub fn find(&self, raw: &str) -> Option<u32> {
        self.id(raw).or_else(|| self.values.get(&Spelling::of(raw).value()?).copied())
    }

    /// Whether the labels are numbers that are not all whole: most often the targets of a regression.
    pub fn are_decimals(&self) -> bool {
        all_numbers(self.names.iter().map(String::as_str))
            && self.names.iter().any(|name| Spelling::of(name) == Spelling::Decimal)
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
    by_raw: HashMap<String, u32>,
    /// Positions by the raw labels' values, where those count.
    by_value: HashMap<String, u32>,
}

impl LabelNames {
    /// Names from pairs of a raw label and its name, without the white space around them.
    ///
    /// # Errors
    /// No pairs, a raw label twice, a blank name.
    pub fn new<R: Into<String>, N: Into<String>>(
        pairs: impl IntoIterator<Item = (R, N)>,
    ) -> Result<LabelNames, TrainingError> {
        let trimmed = |text: String| match text.trim() {
            short if short.len() < text.len() => short.to_string(),
            _ => text,
        };
        let entries: Vec<(String, String)> = pairs
            .into_iter()
            .map(|(raw, name)| (trimmed(raw.into()), trimmed(name.into())))
            .collect();
        if entries.is_empty() {
            return Err(TrainingError::NoLabels);
        }
        let mut by_raw = HashMap::with_capacity(entries.len());
        for (position, (raw, name)) in (0..).zip(&entries) {
            if name.is_empty() {
                return Err(TrainingError::BlankLabel);
            }
            if by_raw.insert(raw.clone(), position).is_some() {
                return Err(TrainingError::LabelTwice { label: raw.clone() });
            }
        }
        let raw: Vec<String> = entries.iter().map(|(raw, _)| raw.clone()).collect();
        Ok(LabelNames { entries, by_raw, by_value: values_of(&raw) })
    }

    /// Names from a JSON object such as `{"0": "ham", "1": "spam"}`, whose names may be numbers and
    /// truth values too. A byte-order mark before it is looked past.
    ///
    /// # Errors
    /// Anything else than such an object, no names, a raw label twice, a blank name.
    pub fn from_json(json: &str) -> Result<LabelNames, TrainingError> {
        let json = json.strip_prefix('\u{feff}').unwrap_or(json);
        let mut parser = serde_json::Deserializer::from_str(json);
        let entries = parser
            .deserialize_map(EntriesVisitor::<Name>::default())
            .and_then(|entries| parser.end().map(|()| entries))
            .map_err(|error| TrainingError::BadLabelNames { reason: error.to_string() })?;
        LabelNames::new(entries.into_iter().map(|(raw, name)| (raw, name.0)))
    }

    /// The name of a raw label: of the one that is spelt so, or of the one with the same value where
    /// values count.
    pub fn name(&self, raw: &str) -> Option<&str> {
        let by_value = || self.by_value.get(&Spelling::of(raw).value()?);
        let position = *self.by_raw.get(raw).or_else(by_value)?;
        self.entries.get(usize::try_from(position).ok()?).map(|(_, name)| name.as_str())
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

/// Positions of labels by their values: none unless all labels have such, or where two are the same.
fn values_of(labels: &[String]) -> HashMap<String, u32> {
    if !have_values(labels.iter().map(String::as_str)) {
        return HashMap::new();
    }
    let mut positions = HashMap::new();
    for (position, label) in (0..).zip(labels) {
        if let Some(value) = Spelling::of(label).value()
            && positions.insert(value, position).is_some()
        {
            return HashMap::new();
        }
    }
    positions
}

/// A label's name in a JSON object: a string, a number or a truth value.
#[derive(Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct Name(String);

impl TryFrom<serde_json::Value> for Name {
    type Error = &'static str;

    fn try_from(value: serde_json::Value) -> Result<Name, &'static str> {
        match value {
            serde_json::Value::String(name) => Ok(Name(name)),
            serde_json::Value::Number(number) => Ok(Name(number.to_string())),
            serde_json::Value::Bool(value) => Ok(Name(value.to_string())),
            _ => Err("a name is a string or a number"),
        }
    }
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
        let cases: [(&[&str], &[&str]); 16] = [
            (&["spam", "ham", "spam"], &["ham", "spam"]),
            // Whole numbers and truth values under the shortest spelling.
            (&["1.0", "0.0"], &["0.0", "1.0"]),
            (&["1.0", "1", "0.0", "1.00"], &["0.0", "1"]),
            (&["10.0", "2.0", "1.0"], &["1.0", "2.0", "10.0"]),
            (&["True", "False"], &["False", "True"]),
            (&["true", "True", "FALSE"], &["FALSE", "True"]),
            // Versions, codes and mixtures stand as they are spelt.
            (&["1.10", "1.1", "1.9"], &["1.1", "1.10", "1.9"]),
            (&["1", "1.0", "x"], &["1", "1.0", "x"]),
            (&["1", "1.0", "01"], &["01", "1", "1.0"]),
            (&["0", "1", "True"], &["0", "1", "True"]),
            (&["9", "010"], &["9", "010"]),
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
        for json in [
            r#"{"0":"a","0":"b"}"#,
            r#"{"0":"a"," 0":"b"}"#,
            r#"{"0":" "}"#,
            r#"{"0":null}"#,
            r#"{"0":["a"]}"#,
            "{}",
            "[]",
            r#"{"0":"a"} x"#,
            "",
        ] {
            assert!(LabelNames::from_json(json).is_err(), "{json}");
        }
        let numbers = LabelNames::from_json("\u{feff}{\"low\": 1, \"high\": 5.5, \"no\": false}");
        let numbers = numbers.unwrap();
        assert_eq!(
            ["low", "high", "no"].map(|raw| numbers.name(raw).unwrap()),
            ["1", "5.5", "false"]
        );
        let spaced = LabelNames::from_json(r#"{" 0 ": " ham\n"}"#).unwrap();
        assert_eq!(spaced.name("0"), Some("ham"));
    }

    #[test]
    fn labels_are_found_by_their_value_where_all_have_one() {
        let cases: [(&[&str], &str, Option<u32>); 15] = [
            (&["0", "1"], "1.0", Some(1)),
            (&["0.0", "1.0"], "1", Some(1)),
            (&["0.0", "1.0"], "1.00", Some(1)),
            (&["False", "True"], "true", Some(1)),
            (&["false", "true"], "TRUE", Some(1)),
            (&["-1", "0.5"], "-1.0", Some(0)),
            (&["-1", "0.5"], "0.5", Some(1)),
            // Not of values, or not the same.
            (&["0", "1"], "01", None),
            (&["0", "1"], "true", None),
            (&["0", "1", "?"], "1.0", None),
            (&["01", "02"], "1", None),
            (&["1.1", "1.2"], "1.10", None),
            (&["1", "1.0"], "1.00", None),
            (&["1", "1.0"], "1.0", Some(1)),
            (&["a"], "b", None),
        ];
        for (labels, raw, expected) in cases {
            let map = LabelMap::new(labels.iter().copied()).unwrap();
            assert_eq!(map.find(raw), expected, "{raw} in {labels:?}");
            let names = LabelNames::new(labels.iter().map(|raw| (*raw, format!("name of {raw}"))));
            let found = names.unwrap().name(raw).map(str::to_string);
            let expected = expected.map(|id| format!("name of {}", labels[id as usize]));
            assert_eq!(found, expected, "{raw} in {labels:?}");
        }
        let decimals =
            |labels: &[&str]| LabelMap::infer(labels.iter().copied()).unwrap().are_decimals();
        assert!(decimals(&["0", "0.5"]) && decimals(&["1e-3", "2"]));
        assert!(!decimals(&["0", "1.0"]) && !decimals(&["0.5", "x"]) && !decimals(&["v1.5"]));
    }

    #[test]
    fn labels_are_given_as_a_list() {
        let cases: [(&str, Result<&[&str], &str>); 11] = [
            ("a,b", Ok(&["a", "b"])),
            (" a , b\t", Ok(&["a", "b"])),
            ("-1,0,1", Ok(&["-1", "0", "1"])),
            (r#"["a, b", "c"]"#, Ok(&["a, b", "c"])),
            ("['a', 'b']", Ok(&["a", "b"])),
            ("None,nan", Ok(&["None", "nan"])),
            ("a,,b", Err("a label has no name")),
            ("", Err("a label has no name")),
            ("a, a", Err("\"a\" is given twice")),
            ("[]", Err("there are no labels")),
            ("['a' 'b']", Err("no comma between")),
        ];
        for (list, expected) in cases {
            match (LabelMap::parse(list), expected) {
                (Ok(map), Ok(expected)) => assert_eq!(map.names(), expected, "{list}"),
                (Err(error), Err(words)) => {
                    assert!(error.to_string().contains(words), "{list}: {error}");
                }
                (found, _) => panic!("{list}: {found:?}"),
            }
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
