//! JSON files of a model's directory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::EncoderError;
use crate::error::said;
use crate::text_file::without_mark;

/// Bytes of the largest JSON file that is read. A multilingual tokenizer has some 20 MB.
const LARGEST: u64 = 256 << 20;

/// The file's bytes without a byte-order mark, if they are not more than any model's JSON file has.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>, EncoderError> {
    let io = |source| EncoderError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > LARGEST {
        let reason = format!("it is larger than {} MiB", LARGEST >> 20);
        return Err(EncoderError::Json { path: path.to_owned(), reason });
    }
    let mark = bytes.len() - without_mark(&bytes).len();
    bytes.drain(..mark);
    Ok(bytes)
}

/// What the file says.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, EncoderError> {
    serde_json::from_slice(&bytes(path)?).map_err(|e| EncoderError::Json {
        path: path.to_owned(),
        reason: format!("it is not the JSON that it should be: {}", said(e)),
    })
}
