//! Sizes on the command line: `2GB`, `512MB`, `0`.

use std::str::FromStr;

/// An amount of memory or of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) bytes: u64,
}

/// Endings, the longer ones first, and their bytes.
const UNITS: [(&str, u64); 8] = [
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("TIB", 1 << 40),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let wanted =
            || "a size is a number of bytes, or one with KB, MB, GB or TB (or KiB, MiB, …)";
        let upper = text.trim().to_ascii_uppercase();
        let unit = UNITS.iter().find_map(|(name, bytes)| Some((upper.strip_suffix(name)?, *bytes)));
        let (number, unit) = unit.unwrap_or((&upper, 1));
        let number: f64 = number.trim_end().parse().map_err(|_| wanted())?;
        let bytes = number * unit as f64;
        match bytes.is_finite() && bytes >= 0.0 {
            true => Ok(Size { bytes: bytes as u64 }),
            false => Err(wanted().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_a_unit() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("123", Some(123)),
            ("2GB", Some(2_000_000_000)),
            ("1.5 mb", Some(1_500_000)),
            ("512MiB", Some(512 << 20)),
            ("1e30TB", Some(u64::MAX)),
            ("", None),
            ("GB", None),
            ("-1", None),
            ("nan", None),
            ("inf", None),
            ("2XB", None),
        ] {
            assert_eq!(text.parse().ok().map(|size: Size| size.bytes), bytes, "{text:?}");
        }
    }
}
