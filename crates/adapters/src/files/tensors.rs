//! Tensors in and out of files, with everything about them checked.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use adaptkit_encoder::Checkpoint;
use safetensors::tensor::{Dtype, View};

use crate::atomic;
use crate::error::AdapterError;

/// A weights file that is open for reading.
pub(super) struct TensorFile {
    pub(super) path: PathBuf,
    checkpoint: Checkpoint,
}

impl TensorFile {
    /// Opens the first of `candidates` that `directory` has, if any.
    pub(super) fn open(
        directory: &Path,
        candidates: &[&str],
    ) -> Result<Option<TensorFile>, AdapterError> {
        for name in candidates {
            let path = directory.join(name);
            if path.exists() {
                let checkpoint = Checkpoint::open_file(&path)?;
                return Ok(Some(TensorFile { path, checkpoint }));
            }
        }
        Ok(None)
    }

    /// The names of all tensors, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.checkpoint.names().map(String::from).collect();
        names.sort();
        names
    }

    /// A tensor's shape, if it is there.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.checkpoint.shape(name)
    }

    /// The values of the tensor `name`, which must have that shape because of `reason`.
    pub(super) fn read(
        &self,
        name: &str,
        expected: &[usize],
        reason: &str,
    ) -> Result<Vec<f32>, AdapterError> {
        let Some(found) = self.checkpoint.shape(name) else {
            return Err(self.missing(name, reason));
        };
        if found != expected {
            return Err(AdapterError::Shape {
                path: self.path.clone(),
                name: String::from(name),
                found: found.to_vec(),
                expected: expected.to_vec(),
                reason: String::from(reason),
            });
        }
        Ok(self.checkpoint.f32(name, expected)?.into_owned())
    }

    pub(super) fn missing(&self, name: &str, reason: &str) -> AdapterError {
        AdapterError::MissingTensor {
            path: self.path.clone(),
            name: String::from(name),
            reason: String::from(reason),
        }
    }

    pub(super) fn unexpected(&self, name: &str, reason: impl Into<String>) -> AdapterError {
        AdapterError::UnexpectedTensor {
            path: self.path.clone(),
            name: String::from(name),
            reason: reason.into(),
        }
    }
}

/// Writes f32 tensors (name, shape, values in row-major order) as a safetensors file, whole or not
/// at all. The bytes do not depend on their order.
pub fn write_tensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a [f32])>,
) -> Result<(), AdapterError> {
    let views = tensors.into_iter().map(|(name, shape, data)| (name, HostView { shape, data }));
    let bytes = safetensors::serialize(views, None).map_err(|error| AdapterError::Io {
        action: "write tensors to",
        path: path.to_path_buf(),
        source: std::io::Error::other(error.to_string()),
    })?;
    atomic::write_file(path, &bytes)
}

/// Values on the host, as the safetensors writer wants to see them.
struct HostView<'a> {
    shape: Vec<usize>,
    data: &'a [f32],
}

impl View for HostView<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.data.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        size_of_val(self.data)
    }
}
