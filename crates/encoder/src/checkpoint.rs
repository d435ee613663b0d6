//! Tensors by name from weights files, mapped into memory.
//!
//! A checkpoint is one file or several with an index; a file is of the safetensors format, or of
//! PyTorch's, which is read as data and executes nothing. Opening reads names, types, shapes and
//! places, and checks them all against the file, so that reading a tensor later cannot leave it.
//!
//! Names are looked up without the model's own prefix (`bert.`): checkpoints of a bare model have
//! none, those of a model with a head do, and old ones call a layer norm's weight and bias `gamma`
//! and `beta`.

mod old_torch_file;
mod pickle;
mod safetensors_file;
mod stored;
#[cfg(test)]
mod tests;
mod torch_file;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use adaptkit_kernels::mapped::MappedFile;
use serde::Deserialize;

use crate::error::quoted;
use crate::{EncoderError, directory, json_file};
use stored::Stored;

/// What models with a head put before the names of the bare model's tensors.
const PREFIXES: [&str; 6] = ["", "bert.", "roberta.", "distilbert.", "electra.", "mpnet."];

/// Endings of files in PyTorch's format; all others are taken for safetensors.
const TORCH_ENDINGS: [&str; 4] = ["bin", "pt", "pth", "ckpt"];

/// How a file begins that stands for another one in a Git repository.
const LARGE_FILE_POINTER: &[u8] = b"version https://git-lfs";

/// Names in the message about a missing one.
const ALIKE: usize = 3;

/// Open weights files.
pub struct Checkpoint {
    /// The file or the index that was opened.
    path: PathBuf,
    files: Vec<(PathBuf, MappedFile)>,
    tensors: BTreeMap<String, Entry>,
}

struct Entry {
    file: usize,
    stored: Stored,
}

/// The index of a sharded checkpoint; other keys do not matter here.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a model's directory: `model.safetensors` or the files of its index, and only where
    /// there is neither, `pytorch_model.bin` or the files of its index.
    ///
    /// # Errors
    /// If there are none, or one is damaged.
    pub fn open(dir: &Path) -> Result<Checkpoint, EncoderError> {
        for (single, index) in [
            ("model.safetensors", "model.safetensors.index.json"),
            ("pytorch_model.bin", "pytorch_model.bin.index.json"),
        ] {
            let (single, index) = (dir.join(single), dir.join(index));
            if single.is_file() {
                return Checkpoint::open_file(&single);
            }
            if index.is_file() {
                return Checkpoint::open_index(dir, index);
            }
        }
        let expected = "model.safetensors, no pytorch_model.bin and no index of either";
        Err(directory::not_a_base(dir, expected))
    }

    /// Opens one file: PyTorch's format if its name ends in `.bin`, `.pt`, `.pth` or `.ckpt`, else
    /// safetensors.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or holds what is not a tensor.
    pub fn open_file(path: &Path) -> Result<Checkpoint, EncoderError> {
        Checkpoint::open_files(path.to_owned(), vec![path.to_owned()])
    }

    fn open_index(dir: &Path, path: PathBuf) -> Result<Checkpoint, EncoderError> {
        let index: Index = json_file::read(&path)?;
        let wrong = |reason| Err(EncoderError::Json { path: path.clone(), reason });
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        if let Some(outside) = names.iter().find(|name| !is_plain_name(name)) {
            let outside = quoted(outside);
            return wrong(format!("it names the file {outside}, which is not in its directory"));
        }
        if let Some(control) = names.iter().find(|name| name.chars().any(char::is_control)) {
            let control = quoted(control);
            return wrong(format!(
                "it names the file {control}, whose name has control characters"
            ));
        }
        if names.is_empty() {
            return wrong("it names no file".into());
        }
        let paths = names.into_iter().map(|name| dir.join(name)).collect();
        let checkpoint = Checkpoint::open_files(path.clone(), paths)?;
        for (tensor, file) in &index.weight_map {
            let found = checkpoint.tensors.get(tensor).map(|e| &checkpoint.files[e.file].0);
            if found != Some(&dir.join(file)) {
                let (tensor, file) = (quoted(tensor), quoted(file));
                return wrong(format!(
                    "it says that {file} holds the tensor {tensor}, which it does not"
                ));
            }
        }
        Ok(checkpoint)
    }

    fn open_files(path: PathBuf, paths: Vec<PathBuf>) -> Result<Checkpoint, EncoderError> {
        let mut checkpoint = Checkpoint { path, files: Vec::new(), tensors: BTreeMap::new() };
        for path in paths {
            let file = MappedFile::open(&path)
                .map_err(|source| EncoderError::Io { path: path.clone(), source })?;
            for (name, stored) in tensors_of(&path, file.bytes())? {
                let entry = Entry { file: checkpoint.files.len(), stored };
                if checkpoint.tensors.contains_key(&name) {
                    let reason = format!("the tensor {} is there twice", quoted(&name));
                    return Err(EncoderError::Weights { path, reason });
                }
                checkpoint.tensors.insert(name, entry);
            }
            checkpoint.files.push((path, file));
        }
        Ok(checkpoint)
    }

    /// The tensors' names as the files have them, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The file or the index that was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|(_, entry)| &entry.stored.shape[..])
    }

    /// A tensor's numbers, row after row: the mapped file itself where it holds `f32`.
    ///
    /// # Errors
    /// If the tensor is missing, has another shape or type, or holds what is not finite.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>, EncoderError> {
        let Some((found, entry)) = self.find(name) else {
            let (path, name) = (self.path.clone(), name.to_owned());
            return Err(EncoderError::MissingTensor { near: self.alike(&name), path, name });
        };
        let (path, file) = &self.files[entry.file];
        if entry.stored.shape != shape {
            return Err(EncoderError::Shape {
                path: path.clone(),
                name: found.to_owned(),
                found: entry.stored.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        let values = entry.stored.f32(file.bytes()).ok_or_else(|| EncoderError::Type {
            path: path.clone(),
            name: found.to_owned(),
            found: format!("{:?}", entry.stored.dtype),
        })?;
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
        let found = self.find(name);
        found.and_then(|(_, e)| e.stored.in_place(self.files[e.file].1.bytes())).unwrap_or_default()
    }

    /// Gives back the memory that a tensor's part of the mapped file takes. It can be read again.
    pub(crate) fn release(&self, name: &str) {
        if let Some((_, entry)) = self.find(name) {
            self.files[entry.file].1.release(entry.stored.bytes.clone());
        }
    }

    /// The entry of a name, with any model prefix and either spelling of layer norms.
    fn find(&self, name: &str) -> Option<(&str, &Entry)> {
        let old = match name.strip_suffix("LayerNorm.weight") {
            Some(head) => Some(format!("{head}LayerNorm.gamma")),
            None => name.strip_suffix("LayerNorm.bias").map(|head| format!("{head}LayerNorm.beta")),
        };
        let spellings = [Some(name.to_owned()), old];
        for spelling in spellings.into_iter().flatten() {
            for prefix in PREFIXES {
                let full = format!("{prefix}{spelling}");
                if let Some((key, entry)) = self.tensors.get_key_value(&full) {
                    return Some((key, entry));
                }
            }
        }
        None
    }

    /// The names that share most parts with one that is missing.
    fn alike(&self, name: &str) -> Vec<String> {
        let parts: BTreeSet<&str> = name.split('.').collect();
        let shared = |other: &str| other.split('.').filter(|part| parts.contains(part)).count();
        let mut names: Vec<(usize, &str)> = self.names().map(|n| (shared(n), n)).collect();
        names.retain(|(shared, _)| 2 * shared >= parts.len());
        names.sort_by_key(|(shared, _)| std::cmp::Reverse(*shared));
        names.into_iter().take(ALIKE).map(|(_, name)| name.to_owned()).collect()
    }
}

/// Whether a name stands for a file of the directory it is looked up in.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let one = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    one && !name.contains(['/', '\\', ':'])
}

/// The tensors of one file, each name as often as the file has it.
fn tensors_of(path: &Path, bytes: &[u8]) -> Result<Vec<(String, Stored)>, EncoderError> {
    if bytes.is_empty() {
        return Err(EncoderError::Weights { path: path.to_owned(), reason: "it is empty".into() });
    }
    if bytes.starts_with(LARGE_FILE_POINTER) {
        let reason = "it is a Git LFS pointer, not the weights: fetch them with `git lfs pull`";
        return Err(EncoderError::WeightsRefused { path: path.to_owned(), reason: reason.into() });
    }
    match path.extension().is_some_and(|e| TORCH_ENDINGS.iter().any(|t| e.eq_ignore_ascii_case(t)))
    {
        true => torch_file::tensors(path, bytes),
        false => safetensors_file::tensors(path, bytes),
    }
}

/// The first number that is infinite or NaN.
fn first_not_finite(values: &[f32]) -> Option<usize> {
    // Whole chunks are looked at without a branch a number, which is as fast as memory.
    const CHUNK: usize = 4096;
    let bad = |x: &f32| !x.is_finite();
    let chunk = values.chunks(CHUNK).position(|c| c.iter().fold(false, |any, x| any | bad(x)))?;
    values[chunk * CHUNK..].iter().position(bad).map(|i| chunk * CHUNK + i)
}
