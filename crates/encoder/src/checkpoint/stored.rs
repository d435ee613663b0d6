//! Where a tensor's numbers lie in a file, and how they become `f32`.

use std::borrow::Cow;
use std::ops::Range;

use half::{bf16, f16};
use safetensors::Dtype;

/// A tensor in a file. Who makes one has checked it against the file.
#[derive(Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Bytes of the file from the tensor's first number on: all of its numbers, one after another,
    /// or with strides all that they reach.
    pub(super) bytes: Range<usize>,
    /// Numbers between neighbours in each dimension, where they are not one after another.
    pub(super) strides: Option<Vec<usize>>,
}

impl Stored {
    /// The numbers row after row, or nothing if the type is not one of reals.
    pub(super) fn f32<'a>(&self, file: &'a [u8]) -> Option<Cow<'a, [f32]>> {
        if let Some(values) = self.in_place(file) {
            return Some(Cow::Borrowed(values));
        }
        Some(Cow::Owned(match self.dtype {
            Dtype::F32 => self.converted(file, f32::from_le_bytes),
            Dtype::F16 => self.converted(file, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => self.converted(file, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F64 => self.converted(file, |b| f64::from_le_bytes(b) as f32),
            _ => return None,
        }))
    }

    /// The file's own bytes, where they can be used as numbers as they are.
    pub(super) fn in_place<'a>(&self, file: &'a [u8]) -> Option<&'a [f32]> {
        let usable = self.dtype == Dtype::F32 && self.strides.is_none();
        let usable = usable && cfg!(target_endian = "little");
        usable.then(|| bytemuck::try_cast_slice(&file[self.bytes.clone()]).ok()).flatten()
    }

    fn converted<const N: usize>(&self, file: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let stored = file[self.bytes.clone()].as_chunks::<N>().0;
        let Some(strides) = &self.strides else {
            return stored.iter().map(|bytes| f(*bytes)).collect();
        };
        let count: usize = self.shape.iter().product();
        let place = |mut index: usize| {
            let mut place = 0;
            for (size, stride) in self.shape.iter().zip(strides).rev() {
                place += index % size * stride;
                index /= size;
            }
            place
        };
        (0..count).map(|index| f(stored[place(index)])).collect()
    }
}
