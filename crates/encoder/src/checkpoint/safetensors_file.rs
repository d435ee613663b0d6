//! Files of the safetensors format: a length, a header of JSON, and numbers.
//!
//! The `safetensors` crate checks that the tensors fill the file without gap or overlap. What it
//! cannot see is a name that the header has twice, as its parser keeps the last: that is checked
//! here.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use safetensors::SafeTensors;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::stored::Stored;
use crate::EncoderError;
use crate::error::{quoted, said};

/// Bytes of the header's length.
const LENGTH: usize = 8;

/// Dimensions of a tensor; a message shows them all.
const MOST_DIMENSIONS: usize = 8;

/// The tensors of a file.
pub(super) fn tensors(path: &Path, file: &[u8]) -> Result<Vec<(String, Stored)>, EncoderError> {
    let damaged = |reason| EncoderError::Weights { path: path.to_owned(), reason };
    let (header, metadata) = SafeTensors::read_metadata(file)
        .map_err(|e| damaged(format!("it is not a whole safetensors file ({})", said(e))))?;
    let start = LENGTH + header;
    serde_json::from_slice::<DistinctNames>(&file[LENGTH..start])
        .map_err(|e| damaged(format!("its header is wrong ({})", said(e))))?;
    let tensors = metadata.tensors();
    if let Some((name, info)) = tensors.iter().find(|(_, i)| i.shape.len() > MOST_DIMENSIONS) {
        let (name, dimensions) = (quoted(name), info.shape.len());
        return Err(damaged(format!("the tensor {name} has {dimensions} dimensions")));
    }
    let tensors = tensors.into_iter().map(|(name, info)| {
        let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
        let stored = Stored { dtype: info.dtype, shape: info.shape.clone(), bytes, strides: None };
        (name, stored)
    });
    Ok(tensors.collect())
}

/// An object none of whose names is there twice.
struct DistinctNames;

impl<'de> Deserialize<'de> for DistinctNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<DistinctNames, D::Error> {
        deserializer.deserialize_map(DistinctNames)
    }
}

impl<'de> Visitor<'de> for DistinctNames {
    type Value = DistinctNames;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DistinctNames, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
            if names.contains(&name) {
                return Err(A::Error::custom(format!(
                    "the tensor {} is there twice",
                    quoted(&name)
                )));
            }
            names.insert(name);
        }
        Ok(DistinctNames)
    }
}
