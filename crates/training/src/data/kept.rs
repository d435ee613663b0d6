//! Values of columns that nothing is computed from: kept beside an example, as they were read.

use std::borrow::Cow;

/// A row's value of a column that was asked to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptValue {
    /// A field of a table or a line.
    Text(String),
    /// A value of a JSON file as it is written there, with its type and every digit, on one line.
    Json(String),
}

impl KeptValue {
    /// The value at a path of a JSON object that was parsed before.
    pub(super) fn in_object(object: &str, path: &str) -> Option<KeptValue> {
        let (_, value) = find(object, path, 0)?;
        // In JSON a line end stands between values only.
        Some(KeptValue::Json(value.replace(['\n', '\r'], " ")))
    }

    /// The bytes that it takes.
    pub(super) fn len(&self) -> usize {
        match self {
            KeptValue::Text(text) | KeptValue::Json(text) => text.len(),
        }
    }

    /// The value as text: a JSON string without its quotes and escapes, any other JSON as it is
    /// written, nothing for `null`.
    pub fn text(&self) -> String {
        match self {
            KeptValue::Text(text) => text.clone(),
            KeptValue::Json(json) if json == "null" => String::new(),
            KeptValue::Json(json) => serde_json::from_str(json).unwrap_or_else(|_| json.clone()),
        }
    }

    /// The value as JSON.
    pub fn json(&self) -> Cow<'_, str> {
        match self {
            KeptValue::Text(text) => serde_json::Value::from(&text[..]).to_string().into(),
            KeptValue::Json(json) => json.into(),
        }
    }
}

/// What a path leads to below a value, and how many keys it took. A key may have dots itself: as for
/// every column, the path that takes the fewest keys counts.
fn find<'a>(json: &'a str, path: &str, keys: usize) -> Option<(usize, &'a str)> {
    let found = members(json).filter_map(|(key, value)| match path.strip_prefix(&key[..])? {
        "" => Some((keys + 1, value)),
        below => find(value, below.strip_prefix('.')?, keys + 1),
    });
    found.min_by_key(|(keys, _)| *keys)
}

/// The entries of an object, or the elements of a list with their numbers as keys.
fn members(json: &str) -> impl Iterator<Item = (String, &str)> {
    let json = trimmed(json);
    let is_object = json.starts_with('{');
    let mut rest = json.strip_prefix(['{', '[']).unwrap_or_default();
    let mut number = 0_usize;
    std::iter::from_fn(move || {
        rest = trimmed(trimmed(rest).trim_start_matches(','));
        if rest.is_empty() || rest.starts_with(['}', ']']) {
            return None;
        }
        let mut key = number.to_string();
        number += 1;
        if is_object {
            let (name, after) = rest.split_at(value_end(rest));
            key = serde_json::from_str(name).ok()?;
            rest = trimmed(trimmed(after).strip_prefix(':')?);
        }
        let (value, after) = rest.split_at(value_end(rest));
        rest = after;
        Some((key, value))
    })
}

fn trimmed(json: &str) -> &str {
    json.trim_start_matches([' ', '\t', '\n', '\r'])
}

/// Where the value ends that valid JSON begins with.
fn value_end(json: &str) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => {
                in_string = !in_string;
                if !in_string && depth == 0 {
                    return at + 1;
                }
            }
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            // Behind a number, a truth value or null.
            b'}' | b']' | b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_an_object_are_kept_as_they_are_written() {
        let object = r#" { "id" : 7.50 , "a.b": [1, {"c":"x]}\"\\"}],"t":true, "data": {"text": "é\n",
            "list": [ "p", 1e400, null ], "deep": {"er": []}},
            "esc\u0061pe": "k", "n": null,"last":-0}"#;
        let cases = [
            ("id", Some("7.50")),
            ("a.b", Some(r#"[1, {"c":"x]}\"\\"}]"#)),
            ("a.b.1.c", Some(r#""x]}\"\\""#)),
            ("t", Some("true")),
            ("data.text", Some(r#""é\n""#)),
            ("data.list", Some(r#"[ "p", 1e400, null ]"#)),
            ("data.list.0", Some(r#""p""#)),
            ("data.list.1", Some("1e400")),
            ("data.list.2", Some("null")),
            ("data.list.3", None),
            ("data.deep", Some(r#"{"er": []}"#)),
            ("escape", Some(r#""k""#)),
            ("n", Some("null")),
            ("last", Some("-0")),
            ("a", None),
            ("data.", None),
            ("id.x", None),
            ("", None),
        ];
        for (path, expected) in cases {
            let expected = expected.map(|json| KeptValue::Json(json.to_owned()));
            assert_eq!(KeptValue::in_object(object, path), expected, "{path}");
        }
        // The fewest keys count, wherever they stand.
        for object in [r#"{"a":{"b":1},"a.b":2}"#, r#"{"a.b":2,"a":{"b":1}}"#] {
            let expected = Some(KeptValue::Json("2".to_owned()));
            assert_eq!(KeptValue::in_object(object, "a.b"), expected, "{object}");
        }
        // A value over several lines is one line.
        let value = KeptValue::in_object("{\"a\":[1,\r\n2]}", "a").unwrap();
        assert_eq!(value, KeptValue::Json("[1,  2]".to_owned()));
    }

    #[test]
    fn kept_values_are_written_as_text_and_as_json() {
        let json = |json: &str| KeptValue::Json(json.to_owned());
        let cases = [
            (KeptValue::Text("a\"b".to_owned()), "a\"b", r#""a\"b""#),
            (json(r#""a\"b\n""#), "a\"b\n", r#""a\"b\n""#),
            (json("2.50"), "2.50", "2.50"),
            (json("[1, 2]"), "[1, 2]", "[1, 2]"),
            (json("null"), "", "null"),
        ];
        for (value, text, json) in cases {
            assert_eq!((&value.text()[..], &value.json()[..]), (text, json));
        }
    }
}
