//! Tensors by name from safetensors files, mapped into memory.
//!
//! A checkpoint is one file or several with an index. Names are looked up as they are without the
//! model's own prefix (`bert.`): checkpoints of a bare model have none, those of a model with a
//! head do, and old ones call a layer norm's weight and bias `gamma` and `beta`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use adaptkit_kernels::mapped::MappedFile;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::EncoderError;

/// Open weight files.
pub struct Checkpoint {
    files: Vec<(PathBuf, MappedFile)>,
    tensors: BTreeMap<String, Entry>,
}

struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: std::ops::Range<usize>,
}

/// The index of a sharded checkpoint; other keys do not matter here.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a model's directory: `model.safetensors`, or the files of its index.
    ///
    /// # Errors
    /// If there are none, or one is damaged.
    pub fn open(dir: &Path) -> Result<Checkpoint, EncoderError> {
        let single = dir.join("model.safetensors");
        if single.is_file() {
            return Checkpoint::open_files(vec![single]);
        }
        let index = dir.join("model.safetensors.index.json");
        if !index.is_file() {
            let expected = "model.safetensors and no model.safetensors.index.json";
            return Err(EncoderError::MissingFile { path: dir.into(), expected });
        }
        let text = std::fs::read(&index)
            .map_err(|source| EncoderError::Io { path: index.clone(), source })?;
        let parsed: Index = serde_json::from_slice(&text)
            .map_err(|e| EncoderError::Json { path: index.clone(), reason: e.to_string() })?;
        let names: BTreeSet<&String> = parsed.weight_map.values().collect();
        if let Some(outside) = names.iter().find(|name| name.contains(['/', '\\'])) {
            let reason = format!("it names the file \"{outside}\", which is not in its directory");
            return Err(EncoderError::Json { path: index, reason });
        }
        Checkpoint::open_files(names.into_iter().map(|name| dir.join(name)).collect())
    }

    /// Opens one safetensors file.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn open_file(path: &Path) -> Result<Checkpoint, EncoderError> {
        Checkpoint::open_files(vec![path.to_owned()])
    }

    fn open_files(paths: Vec<PathBuf>) -> Result<Checkpoint, EncoderError> {
        let mut checkpoint = Checkpoint { files: Vec::new(), tensors: BTreeMap::new() };
        for path in paths {
            let file = MappedFile::open(&path)
                .map_err(|source| EncoderError::Io { path: path.clone(), source })?;
            let damaged = |reason: String| EncoderError::Weights { path: path.clone(), reason };
            let (header, metadata) = SafeTensors::read_metadata(file.bytes())
                .map_err(|e| damaged(format!("not a whole safetensors file ({e})")))?;
            let start = header + 8;
            for (name, info) in metadata.tensors() {
                let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
                if bytes.end > file.bytes().len() {
                    return Err(damaged(format!("the tensor \"{name}\" is cut off")));
                }
                let (file, shape) = (checkpoint.files.len(), info.shape.clone());
                let entry = Entry { file, dtype: info.dtype, shape, bytes };
                if checkpoint.tensors.insert(name.clone(), entry).is_some() {
                    return Err(damaged(format!("the tensor \"{name}\" is there twice")));
                }
            }
            checkpoint.files.push((path, file));
        }
        Ok(checkpoint)
    }

    /// The tensors' names as the files have them, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|(_, entry)| &entry.shape[..])
    }

    /// A tensor's numbers, row after row: the mapped file itself where it holds `f32`.
    ///
    /// # Errors
    /// If the tensor is missing, has another shape or type, or holds what is not finite.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, EncoderError> {
        let Some((found, entry)) = self.find(name) else {
            let tail = name.rsplit_once('.').map_or(name, |(head, _)| head);
            return Err(EncoderError::MissingTensor {
                path: self.files[0].0.clone(),
                name: name.to_owned(),
                near: self.names().filter(|n| n.contains(tail)).take(3).map(str::to_owned).collect(),
            });
        };
        let path = &self.files[entry.file].0;
        if entry.shape != shape {
            return Err(EncoderError::Shape {
                path: path.clone(),
                name: found.to_owned(),
                found: entry.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        let bytes = &self.files[entry.file].1.bytes()[entry.bytes.clone()];
        let values: Cow<'_, [f32]> = match entry.dtype {
            Dtype::F32 => match bytemuck::try_cast_slice(bytes) {
                Ok(values) => Cow::Borrowed(values),
                Err(_) => Cow::Owned(converted(bytes, f32::from_le_bytes)),
            },
            Dtype::F16 => Cow::Owned(converted(bytes, |b| f16::from_le_bytes(b).to_f32())),
            Dtype::BF16 => Cow::Owned(converted(bytes, |b| bf16::from_le_bytes(b).to_f32())),
            Dtype::F64 => Cow::Owned(converted(bytes, |b| f64::from_le_bytes(b) as f32)),
            other => {
                return Err(EncoderError::Type {
                    path: path.clone(),
                    name: found.to_owned(),
                    found: format!("{other:?}"),
                });
            }
        };
        if let Some(index) = first_not_finite(&values) {
            return Err(EncoderError::NotFinite {
                path: path.clone(),
                name: found.to_owned(),
                index,
                value: values[index],
            });
        }
        Ok(values)
    }

    /// The numbers of an `f32` tensor in the mapped file, unchecked: for a tensor that
    /// [`Checkpoint::f32`] has borrowed before.
    pub(crate) fn mapped(&self, name: &str) -> &[f32] {
        let bytes = self.find(name).map(|(_, e)| &self.files[e.file].1.bytes()[e.bytes.clone()]);
        bytes.and_then(|bytes| bytemuck::try_cast_slice(bytes).ok()).unwrap_or_default()
    }

    /// The entry of a name, with any model prefix and either spelling of layer norms.
    fn find(&self, name: &str) -> Option<(&str, &Entry)> {
        let old = match name.strip_suffix("LayerNorm.weight") {
            Some(head) => Some(format!("{head}LayerNorm.gamma")),
            None => name.strip_suffix("LayerNorm.bias").map(|head| format!("{head}LayerNorm.beta")),
        };
        let spellings = [Some(name.to_owned()), old];
        for spelling in spellings.into_iter().flatten() {
            for prefix in ["", "bert."] {
                let full = format!("{prefix}{spelling}");
                if let Some((key, entry)) = self.tensors.get_key_value(&full) {
                    return Some((key, entry));
                }
            }
        }
        None
    }
}

fn converted<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|b| f(*b)).collect()
}

/// The first number that is infinite or NaN: only those have all exponent bits set.
fn first_not_finite(values: &[f32]) -> Option<usize> {
    const CHUNK: usize = 4096;
    let bad = |x: &f32| !x.is_finite();
    let chunk = values.chunks(CHUNK).position(|c| c.iter().fold(false, |any, x| any | bad(x)))?;
    values[chunk * CHUNK..].iter().position(bad).map(|i| chunk * CHUNK + i)
}
