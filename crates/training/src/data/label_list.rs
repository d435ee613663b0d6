//! Lists of labels that stand in one field: JSON's, and those that Python prints.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

/// What a field holds where it looks like a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FieldList {
    /// It does not look like one.
    None,
    /// Its elements, as they are spelt.
    Elements(Vec<String>),
    /// It begins and ends as a list does and is none.
    Broken(&'static str),
}

impl FieldList {
    /// Reads a field without white space around it. `["a", "b"]`, `['a', 'b']`, `[0, 1]` and
    /// `[True, False]` are lists; so are `('a', 'b')` and `{'a', 'b'}`, Python's tuples and sets,
    /// where their first element is in quotes.
    pub(crate) fn of(field: &str) -> FieldList {
        if field == "set()" {
            return FieldList::Elements(Vec::new());
        }
        let mut characters = field.chars();
        let (open, close) = match (characters.next(), characters.next_back()) {
            (Some('['), Some(']')) => ('[', ']'),
            (Some('('), Some(')')) => ('(', ')'),
            (Some('{'), Some('}')) => ('{', '}'),
            _ => return FieldList::None,
        };
        let inner = characters.as_str();
        if open != '[' && !inner.trim_start().starts_with(['"', '\'']) {
            return FieldList::None;
        }
        if open == '['
            && let Ok(elements) = serde_json::from_str::<Vec<Value>>(field)
        {
            return of_json(elements);
        }
        match of_python(inner) {
            Ok(elements) => FieldList::Elements(elements),
            Err(UNQUOTED) if close == ']' && is_a_name(inner) => FieldList::None,
            Err(reason) => FieldList::Broken(reason),
        }
    }
}

/// Whether brackets are a part of a label's name: `[Not sure]`.
fn is_a_name(inner: &str) -> bool {
    let plain = |c: char| c.is_alphabetic() || "_- ".contains(c);
    inner.chars().all(plain) && inner.contains(char::is_alphabetic)
}

const NO_VALUE: &str = "an element has no value";
const NESTED: &str = "an element is itself a list or an object";
const UNQUOTED: &str = "its elements are to be in quotes, unless they are numbers";
const NO_COMMA: &str = "there is no comma between its elements";
const UNCLOSED: &str = "a quote is not closed";

fn of_json(elements: Vec<Value>) -> FieldList {
    let mut texts = Vec::with_capacity(elements.len());
    for element in elements {
        texts.push(match element {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Null => return FieldList::Broken(NO_VALUE),
            Value::Array(_) | Value::Object(_) => return FieldList::Broken(NESTED),
        });
    }
    FieldList::Elements(texts)
}

/// The elements of what stands between the brackets of a Python list, tuple or set.
fn of_python(inner: &str) -> Result<Vec<String>, &'static str> {
    let mut rest = inner.chars().peekable();
    let mut elements = Vec::new();
    loop {
        skip_white_space(&mut rest);
        let Some(&first) = rest.peek() else { return Ok(elements) };
        elements.push(match first {
            '"' | '\'' => quoted(&mut rest)?,
            '[' | '(' | '{' => return Err(NESTED),
            _ => bare(&mut rest)?,
        });
        skip_white_space(&mut rest);
        match rest.next() {
            None => return Ok(elements),
            Some(',') => {}
            Some(_) => return Err(NO_COMMA),
        }
    }
}

fn skip_white_space(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
}

/// A text in quotes, with Python's escapes.
fn quoted(rest: &mut Peekable<Chars<'_>>) -> Result<String, &'static str> {
    let quote = rest.next();
    let mut text = String::new();
    loop {
        let character = rest.next().ok_or(UNCLOSED)?;
        if Some(character) == quote {
            return Ok(text);
        }
        if character != '\\' {
            text.push(character);
            continue;
        }
        let escaped = rest.next().ok_or(UNCLOSED)?;
        let digits = match escaped {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        match escaped {
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            _ if digits > 0 => {
                let code: String = rest.by_ref().take(digits).collect();
                let code = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                text.push(code.ok_or("an escape is no character")?);
            }
            other => text.push(other),
        }
    }
}

/// A number or a truth value.
fn bare(rest: &mut Peekable<Chars<'_>>) -> Result<String, &'static str> {
    let mut text = String::new();
    while let Some(character) = rest.next_if(|c| *c != ',' && !c.is_whitespace()) {
        text.push(character);
    }
    match &text[..] {
        "" | "None" | "null" | "nan" | "NaN" => Err(NO_VALUE),
        "True" | "False" | "true" | "false" => Ok(text),
        _ if text.parse::<f64>().is_ok_and(f64::is_finite) => Ok(text),
        _ => Err(UNQUOTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_json_s_and_in_python_s_spelling() {
        let cases: [(&str, &[&str]); 22] = [
            (r#"["news","sport"]"#, &["news", "sport"]),
            (r#"[ "news" , "sport" ]"#, &["news", "sport"]),
            ("['news', 'sport']", &["news", "sport"]),
            (r#"['a', "it's"]"#, &["a", "it's"]),
            (r#"['a,b', 'c]d']"#, &["a,b", "c]d"]),
            (r#"["a\"b", "\u00e9", "\ud83d\ude00"]"#, &["a\"b", "é", "😀"]),
            (r"['it\'s', '\xe9', 'a\\b', 'a\nb']", &["it's", "é", "a\\b", "a\nb"]),
            ("[]", &[]),
            ("[ ]", &[]),
            ("set()", &[]),
            ("('a', 'b')", &["a", "b"]),
            ("('a',)", &["a"]),
            ("{'a', 'b'}", &["a", "b"]),
            ("[0, 1, 1]", &["0", "1", "1"]),
            ("[0,1]", &["0", "1"]),
            ("[1.0, 0.0]", &["1.0", "0.0"]),
            ("[1., 0.]", &["1.", "0."]),
            ("[True, False]", &["True", "False"]),
            ("[true,false]", &["true", "false"]),
            ("['a', 3]", &["a", "3"]),
            ("['']", &[""]),
            ("['é']", &["é"]),
        ];
        for (field, expected) in cases {
            let expected = expected.iter().map(|element| element.to_string()).collect();
            assert_eq!(FieldList::of(field), FieldList::Elements(expected), "{field}");
        }
    }

    #[test]
    fn fields_that_are_no_lists_are_left_alone_and_broken_ones_say_why() {
        for field in
            ["", "a", "a, b", "[a", "a]", "[Not sure]", "[B-LOC]", "(a, b)", "(other)", "{a}", "["]
        {
            assert_eq!(FieldList::of(field), FieldList::None, "{field}");
        }
        let cases = [
            ("['a' 'b']", NO_COMMA),
            ("[0 1 1]", NO_COMMA),
            ("['a', None]", NO_VALUE),
            ("[null]", NO_VALUE),
            ("['a',, 'b']", NO_VALUE),
            ("[nan]", NO_VALUE),
            ("[a, b]", UNQUOTED),
            ("[['a']]", NESTED),
            (r#"[{"a": 1}]"#, NESTED),
            ("{'a': 1}", NO_COMMA),
            ("['a]", UNCLOSED),
            (r"['a\']", UNCLOSED),
            (r"['\ud83d']", "an escape is no character"),
        ];
        for (field, reason) in cases {
            assert_eq!(FieldList::of(field), FieldList::Broken(reason), "{field}");
        }
    }
}
