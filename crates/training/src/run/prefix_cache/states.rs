//! The form in which hidden states are kept.

use half::bf16;
use serde::{Deserialize, Serialize};

/// The format of kept hidden states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatePrecision {
    /// Rounded to bf16, with eight bits of each number.
    Bf16,
    /// As they are.
    F32,
}

impl StatePrecision {
    /// Bytes that a number takes.
    pub fn bytes(self) -> usize {
        match self {
            StatePrecision::Bf16 => 2,
            StatePrecision::F32 => 4,
        }
    }

    /// The bytes that stand for the numbers.
    pub(super) fn encode(self, values: &[f32]) -> Box<[u8]> {
        match self {
            StatePrecision::Bf16 => {
                values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect()
            }
            StatePrecision::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    /// The numbers that bytes of [`StatePrecision::encode`] stand for.
    pub(super) fn decode(self, bytes: &[u8], values: &mut [f32]) {
        match self {
            StatePrecision::Bf16 => {
                let numbers = bytes.as_chunks::<2>().0.iter();
                for (value, bytes) in values.iter_mut().zip(numbers) {
                    *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
                }
            }
            StatePrecision::F32 => {
                let numbers = bytes.as_chunks::<4>().0.iter();
                for (value, bytes) in values.iter_mut().zip(numbers) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_as_their_format_rounds_them() {
        let values = [0.0, -0.0, 1.0, -3.125, 0.1, 1e30, f32::MIN_POSITIVE, f32::INFINITY];
        for precision in [StatePrecision::Bf16, StatePrecision::F32] {
            let bytes = precision.encode(&values);
            assert_eq!(bytes.len(), values.len() * precision.bytes());
            let mut back = [1.0; 8];
            precision.decode(&bytes, &mut back);
            for (value, back) in values.iter().zip(back) {
                let rounded = match precision {
                    StatePrecision::Bf16 => bf16::from_f32(*value).to_f32(),
                    StatePrecision::F32 => *value,
                };
                assert_eq!(back.to_bits(), rounded.to_bits(), "{value} as {precision:?}");
            }
        }
    }
}
