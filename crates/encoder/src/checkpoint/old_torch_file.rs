//! Files that `torch.save` wrote before PyTorch 1.6: no archive, but pickles one after another (a
//! number to know the format by, its version, the machine's byte order, the state dictionary, the
//! storages' names), and then the storages: the count of its numbers, 8 bytes, and the numbers.
//!
//! Many a base and adapter of those years is on the Hub in this form alone. A storage begins where
//! the one before it ends, so that its numbers need not lie where the CPU wants them: they are copied
//! then.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::pickle::{self, PickledTensor};
use super::stored::Stored;
use super::torch_file::{SAVE_AGAIN, damaged, placed, refused, unread};
use crate::EncoderError;
use crate::error::quoted;

/// How these files begin: the pickled number 0x1950a86a20f9469cfc6c.
pub(super) const BEGINNING: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// The pickled version, 1001; there was no other.
const VERSION: &[u8] = b"\x80\x02M\xe9\x03.";

/// The tensors of a file that begins so.
pub(super) fn tensors(path: &Path, file: &[u8]) -> Result<Vec<(String, Stored)>, EncoderError> {
    let rest = &file[BEGINNING.len()..];
    let rest = rest.strip_prefix(VERSION).ok_or_else(|| {
        refused(path, format!("it is of an unknown version of PyTorch's old format: {SAVE_AGAIN}"))
    })?;
    let unread = |e| unread(path, e);
    let (little_endian, rest) = pickle::byte_order(rest).map_err(unread)?;
    if !little_endian {
        let reason = format!("its numbers are not of little-endian order: {SAVE_AGAIN}");
        return Err(refused(path, reason));
    }
    let (pickled, rest) = pickle::state_dictionary(rest).map_err(unread)?;
    let (names, rest) = pickle::names(rest).map_err(unread)?;
    let storages = storages(path, file, file.len() - rest.len(), &names, &pickled)?;
    let mut tensors = Vec::with_capacity(pickled.len());
    for (name, tensor) in pickled {
        let wrong = |reason| damaged(path, format!("the tensor {} {reason}", quoted(name)));
        let storage = storages.get(tensor.storage).cloned();
        let storage = storage.ok_or_else(|| {
            wrong(format!("needs the storage {}, which is missing", quoted(tensor.storage)))
        })?;
        tensors.push((name.to_owned(), placed(tensor, storage).map_err(wrong)?));
    }
    Ok(tensors)
}

/// The bytes of each named storage; the first begins at `start`. How many bytes a number has, only
/// the tensors say.
fn storages<'a>(
    path: &Path,
    file: &[u8],
    start: usize,
    names: &[&'a str],
    pickled: &[(&str, PickledTensor<'_>)],
) -> Result<HashMap<&'a str, Range<usize>>, EncoderError> {
    let width = |tensor: &PickledTensor<'_>| tensor.dtype.bitsize() / 8;
    let widths: HashMap<&str, usize> =
        pickled.iter().map(|(_, tensor)| (tensor.storage, width(tensor))).collect();
    let mut found = HashMap::with_capacity(names.len());
    let mut rest = start;
    for name in names {
        let wrong = |what| damaged(path, format!("its storage {} {what}", quoted(name)));
        let width = *widths.get(name).ok_or_else(|| wrong("is used by no tensor"))?;
        let cut_off = || wrong("is cut off");
        let (numbers, _) = file[rest..].split_first_chunk::<8>().ok_or_else(cut_off)?;
        let numbers = usize::try_from(u64::from_le_bytes(*numbers)).map_err(|_| cut_off())?;
        let start = rest + 8;
        let end = numbers.checked_mul(width).and_then(|bytes| start.checked_add(bytes));
        rest = end.filter(|end| *end <= file.len()).ok_or_else(cut_off)?;
        found.insert(*name, start..rest);
    }
    Ok(found)
}
