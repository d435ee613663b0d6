//! A head's labels: one name for each of its outputs.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::json;
use crate::error::{AdapterError, quoted, shown};

/// The labels in the order of their ids, from `label2id` or, where that is absent, null or empty,
/// from `id2label`; `None` if there are none.
pub(super) fn read(
    path: &Path,
    fields: &Map<String, Value>,
    outputs: usize,
) -> Result<Option<Vec<String>>, AdapterError> {
    let wrong = |reason| AdapterError::Labels { path: path.to_path_buf(), reason };
    let object = |field: &str, of: &str| match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) if map.is_empty() => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map.clone())),
        found => Err(json::field_error(path, field, found, of)),
    };
    let map = match object("label2id", "an object of ids")? {
        Some(map) => map,
        None => match object("id2label", "an object of labels")? {
            Some(map) => ids_by_label(path, map)?,
            None => return Ok(None),
        },
    };
    let mut by_id: BTreeMap<usize, &String> = BTreeMap::new();
    for (label, id) in &map {
        let number = match id {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        let number = number.and_then(|number| usize::try_from(number).ok());
        let Some(number) = number else {
            let (label, id) = (quoted(label), shown(Some(id)));
            return Err(wrong(format!("{label} has the id {id}, which is not a whole number")));
        };
        if number >= outputs {
            let label = quoted(label);
            return Err(wrong(format!(
                "{label} has the id {number}, but the head has {outputs} outputs, numbered from 0"
            )));
        }
        if let Some(other) = by_id.insert(number, label) {
            let (one, two) = (quoted(other), quoted(label));
            return Err(wrong(format!("{one} and {two} both have the id {number}")));
        }
    }
    if by_id.len() != outputs {
        let missing = (0..).find(|id| !by_id.contains_key(id)).unwrap_or_default();
        return Err(wrong(format!(
            "no label has the id {missing}; the head has {outputs} outputs and {} labels",
            by_id.len()
        )));
    }
    Ok(Some(by_id.into_values().cloned().collect()))
}

/// `id2label` the other way round.
fn ids_by_label(path: &Path, map: Map<String, Value>) -> Result<Map<String, Value>, AdapterError> {
    let mut ids = Map::new();
    for (id, label) in map {
        let Value::String(label) = label else {
            let field = format!("id2label.{}", quoted(&id));
            return Err(json::field_error(path, &field, Some(&label), "a label"));
        };
        if let Some(other) = ids.insert(label.clone(), Value::String(id.clone())) {
            let (label, other, id) = (quoted(&label), shown(Some(&other)), quoted(&id));
            let reason = format!("the ids {other} and {id} both have the label {label}");
            return Err(AdapterError::Labels { path: path.to_path_buf(), reason });
        }
    }
    Ok(ids)
}

/// Ids by label. Without labels the names are those that the library makes up.
pub(super) fn write(labels: Option<&[String]>, outputs: usize) -> Value {
    let map: Map<String, Value> = match labels {
        Some(labels) => labels.iter().cloned().zip((0..).map(|id: usize| json!(id))).collect(),
        None => (0..outputs).map(|id| (format!("LABEL_{id}"), json!(id))).collect(),
    };
    Value::Object(map)
}
