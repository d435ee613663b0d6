//! Files that `torch.save` wrote: a zip archive with a pickle and one entry a storage, or what came
//! before that.
//!
//! Storages are stored, not compressed, so a tensor is used from the mapped file as one of a
//! safetensors file is. Their checksums are not computed: that would read every byte of a file of
//! which one layer may be wanted.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use super::old_torch_file;
use super::pickle::{self, PickleError, PickledTensor};
use super::stored::Stored;
use crate::EncoderError;
use crate::error::quoted;

/// How a zip archive begins.
const ZIP: &[u8] = b"PK\x03\x04";

/// How a pickle begins.
const PICKLE: u8 = 0x80;

/// How to get a file that is read.
pub(super) const SAVE_AGAIN: &str = "load it with PyTorch and save it again, best as safetensors";

/// The tensors of a file.
pub(super) fn tensors(path: &Path, file: &[u8]) -> Result<Vec<(String, Stored)>, EncoderError> {
    if file.starts_with(old_torch_file::BEGINNING) {
        return old_torch_file::tensors(path, file);
    }
    if !file.starts_with(ZIP) {
        return Err(match file.first() {
            Some(&PICKLE) => refused(
                path,
                format!("it is a pickle, but not one that torch.save wrote: {SAVE_AGAIN}"),
            ),
            _ => damaged(path, "it is not a file of PyTorch's format".into()),
        });
    }
    let mut archive = Archive::open(path, file)?;
    let pickle = archive.pickle()?;
    let (pickled, _) = pickle::state_dictionary(&pickle).map_err(|e| unread(path, e))?;
    let mut storages = HashMap::new();
    let mut tensors = Vec::with_capacity(pickled.len());
    for (name, tensor) in pickled {
        let storage = match storages.get(tensor.storage) {
            Some(range) => Range::clone(range),
            None => {
                let range = archive.stored(&format!("data/{}", tensor.storage))?;
                storages.insert(tensor.storage, range.clone());
                range
            }
        };
        let stored = placed(tensor, storage)
            .map_err(|reason| damaged(path, format!("the tensor {} {reason}", quoted(name))))?;
        tensors.push((name.to_owned(), stored));
    }
    Ok(tensors)
}

/// The archive and the folder that all of it is in.
struct Archive<'a> {
    path: &'a Path,
    zip: ZipArchive<Cursor<&'a [u8]>>,
    length: usize,
    folder: String,
}

impl<'a> Archive<'a> {
    fn open(path: &'a Path, file: &'a [u8]) -> Result<Archive<'a>, EncoderError> {
        let zip = ZipArchive::new(Cursor::new(file))
            .map_err(|e| damaged(path, format!("it is not a whole zip archive ({e})")))?;
        let folder = |name: &str| name.strip_suffix("/data.pkl").map(str::to_owned);
        let folders: Vec<String> =
            zip.file_names().filter_map(|name| folder(&name.ok()?)).collect();
        let [folder] = &folders[..] else {
            let reason = "it is a zip archive, but not one that torch.save wrote: a data.pkl is \
                          missing, or there are several";
            return Err(refused(path, reason.into()));
        };
        let folder = folder.clone();
        let mut archive = Archive { path, zip, length: file.len(), folder };
        if archive.find("byteorder").is_some() {
            let order = archive.stored("byteorder")?;
            if &file[order] != b"little" {
                let reason = format!("its numbers are not of little-endian order: {SAVE_AGAIN}");
                return Err(refused(path, reason));
            }
        }
        Ok(archive)
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.zip.index_for_name(&format!("{}/{name}", self.folder))
    }

    /// The bytes of the file that an entry is stored in.
    fn stored(&mut self, name: &str) -> Result<Range<usize>, EncoderError> {
        let path = self.path;
        let index = self
            .find(name)
            .ok_or_else(|| damaged(path, format!("its entry {} is missing", quoted(name))))?;
        let wrong = |what| damaged(path, format!("its entry {} {what}", quoted(name)));
        let entry =
            self.zip.by_index_raw(index).map_err(|e| wrong(format!("cannot be read ({e})")))?;
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            let reason = format!("its entries are compressed or encrypted: {SAVE_AGAIN}");
            return Err(refused(path, reason));
        }
        let outside = || wrong("is cut off".into());
        let start = entry.data_start().ok_or_else(outside)?;
        let end = start.checked_add(entry.compressed_size()).ok_or_else(outside)?;
        if entry.size() != entry.compressed_size() || end > self.length as u64 {
            return Err(outside());
        }
        Ok(start as usize..end as usize)
    }

    fn pickle(&mut self) -> Result<Vec<u8>, EncoderError> {
        let length = self.stored("data.pkl")?.len();
        if length > pickle::LONGEST {
            let most = pickle::LONGEST >> 20;
            return Err(refused(self.path, format!("its pickle is longer than {most} MiB")));
        }
        let mut bytes = Vec::with_capacity(length);
        let index = self.find("data.pkl").unwrap_or(usize::MAX);
        let wrong = |e: &dyn std::fmt::Display| {
            damaged(self.path, format!("its pickle cannot be read ({e})"))
        };
        let entry = self.zip.by_index(index).map_err(|e| wrong(&e))?;
        entry.take(pickle::LONGEST as u64).read_to_end(&mut bytes).map_err(|e| wrong(&e))?;
        Ok(bytes)
    }
}

/// The place in the file of a tensor whose storage is at `storage`, or what is wrong with it.
pub(super) fn placed(tensor: PickledTensor<'_>, storage: Range<usize>) -> Result<Stored, String> {
    let PickledTensor { dtype, storage_numbers, offset, shape, strides, .. } = tensor;
    let width = dtype.bitsize() / 8;
    if storage_numbers.checked_mul(width).is_none_or(|bytes| bytes > storage.len()) {
        return Err(format!("needs a storage of {storage_numbers} numbers, the file has fewer"));
    }
    let numbers = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let Some(numbers) = numbers.filter(|numbers| *numbers <= storage_numbers) else {
        return Err(format!("of shape {shape:?} has more numbers than its storage"));
    };
    if numbers == 0 {
        let bytes = storage.start..storage.start;
        return Ok(Stored { dtype, shape, bytes, strides: None });
    }
    let mut last = Some(offset);
    for (size, stride) in shape.iter().zip(&strides) {
        last = last.and_then(|last| last.checked_add((size - 1).checked_mul(*stride)?));
    }
    let Some(last) = last.filter(|last| *last < storage_numbers) else {
        return Err(format!("reaches beyond its storage of {storage_numbers} numbers"));
    };
    let bytes = storage.start + offset * width..storage.start + (last + 1) * width;
    let strides = (!row_after_row(&shape, &strides)).then_some(strides);
    Ok(Stored { dtype, shape, bytes, strides })
}

/// Whether the numbers lie one after another; the stride of a dimension of one does not matter.
fn row_after_row(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    for (size, stride) in shape.iter().zip(strides).rev() {
        if *size != 1 && *stride != expected {
            return false;
        }
        expected *= size;
    }
    true
}

/// What is wrong with a pickle, as an error about its file.
pub(super) fn unread(path: &Path, error: PickleError) -> EncoderError {
    match error {
        PickleError::Damaged(reason) => damaged(path, reason),
        PickleError::Refused(reason) => refused(path, reason),
    }
}

pub(super) fn damaged(path: &Path, reason: String) -> EncoderError {
    EncoderError::Weights { path: path.to_owned(), reason }
}

pub(super) fn refused(path: &Path, reason: String) -> EncoderError {
    EncoderError::WeightsRefused { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;

    use super::*;

    /// Where the tensor is and whether it has strides, or a part of why it is refused.
    type Expected = Result<(Range<usize>, bool), &'static str>;

    fn tensor(
        numbers: usize,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> PickledTensor<'static> {
        PickledTensor {
            storage: "0",
            dtype: Dtype::F32,
            storage_numbers: numbers,
            offset,
            shape: shape.to_vec(),
            strides: strides.to_vec(),
        }
    }

    #[test]
    fn a_tensor_is_placed_within_its_storage_or_refused() {
        let cases: [(PickledTensor<'_>, Expected); 12] = [
            (tensor(6, 0, &[2, 3], &[3, 1]), Ok((100..124, false))),
            (tensor(6, 2, &[4], &[1]), Ok((108..124, false))),
            (tensor(6, 0, &[3, 2], &[1, 3]), Ok((100..124, true))),
            (tensor(6, 5, &[], &[]), Ok((120..124, false))),
            (tensor(6, 0, &[1, 6, 1], &[77, 1, 99]), Ok((100..124, false))),
            (tensor(6, 9, &[0, 3], &[3, 1]), Ok((100..100, false))),
            (tensor(6, 1, &[2, 3], &[3, 1]), Err("beyond")),
            (tensor(6, 0, &[7], &[1]), Err("more numbers")),
            (tensor(6, 0, &[1 << 40, 1 << 40], &[0, 0]), Err("more numbers")),
            (tensor(6, 0, &[2], &[usize::MAX]), Err("beyond")),
            (tensor(6, usize::MAX, &[1], &[1]), Err("beyond")),
            (tensor(7, 0, &[2], &[1]), Err("the file has fewer")),
        ];
        for (tensor, expected) in cases {
            let shown = format!("{tensor:?}");
            match (placed(tensor, 100..124), expected) {
                (Ok(stored), Ok((bytes, strided))) => {
                    assert_eq!(
                        (stored.bytes, stored.strides.is_some()),
                        (bytes, strided),
                        "{shown}"
                    );
                }
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{shown}: {reason}"),
                (found, expected) => panic!("{shown}: {found:?}, not {expected:?}"),
            }
        }
    }
}
