//! Readers of `vocab.txt`, `vocab.json` and `merges.txt`.
//!
//! They read what `transformers` reads: a line ends at a line feed, a carriage return or both; of
//! several equal tokens the last counts; the first line of `merges.txt` is a heading, whatever it
//! says, and what follows the last line end is left out.

use std::path::Path;

use ahash::AHashMap;

use crate::error::{quoted, said};
use crate::{EncoderError, json_file};

/// Tokens with their ids.
pub(super) type Vocabulary = AHashMap<String, u32>;

/// Pairs that are merged, the most frequent first.
pub(super) type Merges = Vec<(String, String)>;

/// The tokens of a `vocab.txt`, one a line; a token's id is its line's number, from 0.
pub(super) fn read_lines(path: &Path) -> Result<Vocabulary, EncoderError> {
    let text = text(path)?;
    let mut vocabulary = Vocabulary::default();
    for (id, token) in (0..).zip(lines(&text)) {
        vocabulary.insert(token.to_owned(), id);
    }
    match vocabulary.is_empty() {
        true => Err(wrong(path, "it is empty; is the download complete?")),
        false => Ok(vocabulary),
    }
}

/// The tokens of a `vocab.json`: an object of ids by token.
pub(super) fn read_json(path: &Path) -> Result<Vocabulary, EncoderError> {
    let bytes = json_file::bytes(path)?;
    check_is_no_pointer(path, &bytes)?;
    let vocabulary: Vocabulary = serde_json::from_slice(&bytes).map_err(|e| {
        wrong(path, format!("it is not an object of whole numbers by token: {}", said(e)))
    })?;
    match vocabulary.is_empty() {
        true => Err(wrong(path, "it holds no token; is the download complete?")),
        false => Ok(vocabulary),
    }
}

/// The pairs of a `merges.txt`, two tokens a line, all of which `vocabulary` has.
pub(super) fn read_merges(path: &Path, vocabulary: &Vocabulary) -> Result<Merges, EncoderError> {
    let text = text(path)?;
    let mut merges = Merges::new();
    let mut known = AHashMap::new();
    let whole_lines = lines(&text).zip(1..).take(line_ends(&text));
    for (line, number) in whole_lines.skip(1) {
        let wrong = |reason: String| wrong(path, format!("line {number}: {reason}"));
        let tokens: Vec<&str> = line.split_whitespace().collect();
        let [left, right] = tokens[..] else {
            let count = tokens.len();
            return Err(wrong(format!(
                "a merge is two tokens with a space between, here are {count}"
            )));
        };
        let merged = format!("{left}{right}");
        if let Some(missing) = [left, right, &merged].iter().find(|t| !vocabulary.contains_key(**t))
        {
            return Err(wrong(format!(
                "vocab.json has no token {}; take both files from the same model",
                quoted(missing)
            )));
        }
        if known.insert((left, right), ()).is_none() {
            merges.push((left.to_owned(), right.to_owned()));
        }
    }
    Ok(merges)
}

/// The lines of a text; what follows the last line end is one too, unless it is empty.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = after.strip_prefix("\r\n").or_else(|| after.get(1..)).unwrap_or("");
        Some(line)
    })
}

fn line_ends(text: &str) -> usize {
    let whole = lines(text).count();
    if text.ends_with(['\n', '\r']) { whole } else { whole.saturating_sub(1) }
}

/// A file's text.
fn text(path: &Path) -> Result<String, EncoderError> {
    let bytes = json_file::bytes(path)?;
    check_is_no_pointer(path, &bytes)?;
    String::from_utf8(bytes).map_err(|e| {
        let place = e.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&e.as_bytes()[..place]).into_owned();
        let line = line_ends(&text) + 1;
        wrong(path, format!("line {line}: byte {place} of the file is not UTF-8"))
    })
}

/// Git keeps large files elsewhere; a clone without `git lfs` has a few lines in their place.
pub(super) fn check_is_no_pointer(path: &Path, bytes: &[u8]) -> Result<(), EncoderError> {
    match bytes.starts_with(b"version https://git-lfs.github.com/") {
        true => {
            let reason = "it is a pointer of git lfs, not the file itself: run `git lfs pull`";
            Err(wrong(path, reason))
        }
        false => Ok(()),
    }
}

pub(super) fn wrong(path: &Path, reason: impl Into<String>) -> EncoderError {
    EncoderError::Tokenizer { path: path.to_owned(), reason: reason.into() }
}
