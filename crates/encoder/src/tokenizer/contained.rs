//! The `tokenizers` crate, kept from ending the process.
//!
//! It trusts its files: it asks for as much memory as a compiled character map says that it needs,
//! and follows the map's places wherever they lead, which ends in a panic. A file from elsewhere must
//! not do that, so what a map claims is compared with what it has before the crate sees it, and a
//! panic in the crate becomes an error here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use serde_json::Value;

use crate::error::said;

/// The part of a `tokenizer.json` in which character maps are.
#[derive(Deserialize)]
struct Normalization {
    #[serde(default)]
    normalizer: Value,
}

/// What `run` gives, or why it does not.
pub(super) fn contained<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    // Whatever a panic leaves half done is the crate's cache, which it takes for absent then.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(said),
        Err(_) => Err("the tokenizers library panicked: its file is damaged".into()),
    }
}

/// Whether the character maps of a `tokenizer.json` are as long as they say. What is not JSON is
/// left to the crate to refuse.
pub(super) fn check_character_maps(file: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<Normalization>(file) {
        Ok(Normalization { normalizer }) => check(&normalizer),
        Err(_) => Ok(()),
    }
}

fn check(value: &Value) -> Result<(), String> {
    match value {
        Value::Array(values) => values.iter().try_for_each(check),
        Value::Object(fields) => {
            fields.iter().try_for_each(|(name, value)| match (name.as_str(), value) {
                ("precompiled_charsmap", Value::String(map)) => check_map(map),
                _ => check(value),
            })
        }
        _ => Ok(()),
    }
}

/// A map is the length of its trie in four bytes, the trie, and texts; all of it as base64.
fn check_map(map: &str) -> Result<(), String> {
    let length = map.bytes().take(6).try_fold(0u64, |bits, byte| Some(bits << 6 | sextet(byte)?));
    let trie = length.map(|bits| ((bits >> 4) as u32).swap_bytes());
    match trie {
        Some(trie) if map.len() >= 6 => check_trie(trie, map.len() as u64 / 4 * 3),
        _ => Err(CUT_OFF.into()),
    }
}

/// The same check of a map's bytes.
pub(super) fn check_map_bytes(map: &[u8]) -> Result<(), String> {
    match map.first_chunk() {
        Some(trie) => check_trie(u32::from_le_bytes(*trie), map.len() as u64),
        None => Err(CUT_OFF.into()),
    }
}

fn check_trie(trie: u32, bytes: u64) -> Result<(), String> {
    if u64::from(trie) <= bytes { Ok(()) } else { Err(CUT_OFF.into()) }
}

const CUT_OFF: &str = "its normalizer has a character map that is cut off";

/// What a character of base64 stands for.
fn sextet(byte: u8) -> Option<u64> {
    Some(u64::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_map_is_as_long_as_it_says() {
        let file = |map: &str| {
            format!(r#"{{"normalizer": {{"normalizers": [{{"precompiled_charsmap": "{map}"}}]}}}}"#)
        };
        // A trie of 4 bytes, its four bytes, and a text; the same with a trie of 2³² − 1 bytes.
        for (map, good) in [
            ("BAAAAAAAAABhAA==", true),
            ("/////wAAAABhAA==", false),
            ("DAAAAAAAAABhAA==", true),
            ("EAAAAAAAAABhAA==", false),
            ("BAAA", false),
            ("", false),
            ("BA\u{fc}AAAAAAABhAA==", false),
        ] {
            assert_eq!(check_character_maps(file(map).as_bytes()).is_ok(), good, "{map}");
        }
        for other in ["", "{", "[]", "{}", r#"{"normalizer": null}"#, r#"{"normalizer": {"a": 1}}"#]
        {
            assert!(check_character_maps(other.as_bytes()).is_ok(), "{other}");
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let result = contained::<()>(|| panic!("an index beyond the end"));
        std::panic::set_hook(hook);
        assert!(result.is_err_and(|reason| reason.contains("panicked")));
    }
}
