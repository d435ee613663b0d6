//! JSON files as the Python library reads and writes them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use adaptkit_encoder::text_file::without_mark;
use serde_json::{Map, Value};

use crate::atomic;
use crate::error::{AdapterError, shown};

/// The largest configuration that is read. Ten thousand labels take a few hundred kilobytes.
const LARGEST: u64 = 64 << 20;

/// The object that a JSON file holds.
pub(super) fn read_object(path: &Path) -> Result<Map<String, Value>, AdapterError> {
    let failed = |source| AdapterError::Io { action: "read", path: path.to_path_buf(), source };
    // Opening a named pipe would wait for somebody to write to it.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        return Err(failed(source));
    }
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        let bytes = std::fs::metadata(path).map_or(LARGEST + 1, |metadata| metadata.len());
        return Err(AdapterError::TooLarge { path: path.to_path_buf(), bytes, limit: LARGEST });
    }
    match serde_json::from_slice(without_mark(&bytes)) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(field_error(path, "(the whole file)", Some(&other), "an object")),
        Err(source) => Err(AdapterError::Json { path: path.to_path_buf(), source }),
    }
}

/// Writes `value` as Python's `json.dump(value, indent=2, sort_keys=True)` does.
pub(super) fn write(path: &Path, mut value: Value) -> Result<(), AdapterError> {
    value.sort_all_objects();
    write_in_order(path, &value)
}

/// The same with the keys in the order in which they are there.
pub(super) fn write_in_order(path: &Path, value: &Value) -> Result<(), AdapterError> {
    let text = format!("{value:#}");
    let mut ascii = String::with_capacity(text.len());
    for character in text.chars() {
        // Outside strings JSON is ASCII, so whatever is not stands in a string.
        if character < '\u{7f}' {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    atomic::write_file(path, ascii.as_bytes())
}

/// A field that is not what it should be.
pub(super) fn field_error(
    path: &Path,
    field: &str,
    found: Option<&Value>,
    expected: &str,
) -> AdapterError {
    AdapterError::Field {
        path: path.to_path_buf(),
        field: String::from(field),
        found: shown(found),
        expected: String::from(expected),
    }
}

/// A string that must be there.
pub(super) fn text(
    path: &Path,
    map: &Map<String, Value>,
    field: &str,
) -> Result<String, AdapterError> {
    match map.get(field) {
        Some(Value::String(text)) => Ok(text.clone()),
        found => Err(field_error(path, field, found, "a string")),
    }
}

/// A whole number above 0 that must be there.
pub(super) fn count(
    path: &Path,
    map: &Map<String, Value>,
    field: &str,
) -> Result<usize, AdapterError> {
    let number = map.get(field).and_then(Value::as_u64).filter(|number| *number > 0);
    match number.and_then(|number| usize::try_from(number).ok()) {
        Some(number) => Ok(number),
        None => Err(field_error(path, field, map.get(field), "a whole number above 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_bytes_are_those_of_python() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file.json");
        let value = json!({"z": [], "é": 1.0, "a": {"b": "\u{1f600}\u{7f}\n", "A": null}, "m": {}});
        write(&path, value).unwrap();
        let expected = "{\n  \"a\": {\n    \"A\": null,\n    \"b\": \"\\ud83d\\ude00\\u007f\\n\"\n  \
                        },\n  \"m\": {},\n  \"z\": [],\n  \"\\u00e9\": 1.0\n}";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_place() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file.json");
        let deep = "[".repeat(100_000);
        for (content, expected) in [
            ("", "is not valid JSON: EOF"),
            ("{\"a\": 1,}", "line 1 column 9"),
            ("{\"a\": NaN}", "line 1 column 7"),
            ("[1, 2]", "expected an object"),
            (deep.as_str(), "recursion limit"),
        ] {
            std::fs::write(&path, content).unwrap();
            let message = read_object(&path).unwrap_err().to_string();
            assert!(message.contains("file.json") && message.contains(expected), "{message}");
        }
        std::fs::write(&path, b"\xef\xbb\xbf{\"a\": 1}").unwrap();
        assert_eq!(read_object(&path).unwrap().len(), 1);
        std::fs::write(&path, b"{\"a\": \"\xff\"}").unwrap();
        assert!(read_object(&path).is_err());
    }
}
