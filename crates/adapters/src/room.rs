//! Whether a file system has room for what a command is going to write, asked before its long work.

use std::path::Path;

use crate::error::AdapterError;

/// What directories, JSON files and a model card take beside the tensors, amply.
pub const AROUND: u64 = 256 << 10;

/// That the file system of `path`, which may not exist yet, has `needed` bytes for this user. Where
/// the system does not say how many it has, nothing is refused.
///
/// # Errors
/// If there are fewer.
pub fn check(path: &Path, needed: u64) -> Result<(), AdapterError> {
    match available(path) {
        Some(available) if available < needed => {
            Err(AdapterError::NoRoom { path: path.to_path_buf(), needed, available })
        }
        _ => Ok(()),
    }
}

/// Bytes that this user may still write to the file system that `path` is or will be on.
#[cfg(unix)]
fn available(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let there = path.ancestors().find(|path| path.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    // A system that keeps no count says that it has no blocks at all.
    (found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn available(_: &Path) -> Option<u64> {
    None
}

/// Bytes in words.
pub(crate) fn bytes(number: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.iter().find(|(unit, _)| number >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", number as f64 / *unit as f64),
        None => format!("{number} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_file_system_has_room_for_is_refused_with_both_numbers() {
        let home = tempfile::tempdir().unwrap();
        let output = home.path().join("a/b/c");
        check(&output, 1).unwrap();
        if cfg!(unix) {
            let message = check(&output, u64::MAX).unwrap_err().to_string();
            assert!(message.contains("18446744073.7 GB are needed, and "), "{message}");
            assert!(message.contains("are free"), "{message}");
        }
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        for (number, words) in
            [(0, "0 bytes"), (999, "999 bytes"), (1_500, "1.5 kB"), (2_000_000_000, "2.0 GB")]
        {
            assert_eq!(bytes(number), words);
        }
    }
}
