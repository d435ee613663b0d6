//! Digests of files: SHA-256 of those that lie there and of those being written, and git's own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

const BUFFER_BYTES: usize = 1 << 18;

/// The side on which a copy failed.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// The source broke off after this many bytes.
    Read(u64, io::Error),
    /// The file could not be written.
    Write(io::Error),
}

/// A file's length and its SHA-256 in hexadecimal.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn of_file(path: &Path) -> io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let bytes = feed(path, |part| hasher.update(part))?;
    Ok((bytes, hexadecimal(hasher)))
}

/// The digest by which git knows a file of `bytes` bytes, a SHA-1 of its length and content, and the
/// plain SHA-1 of the content, which some mirrors state in its place; both in hexadecimal.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn of_git_blob(path: &Path, bytes: u64) -> io::Result<[String; 2]> {
    let mut blob = Sha1::new_with_prefix(format!("blob {bytes}\0"));
    let mut content = Sha1::new();
    feed(path, |part| {
        blob.update(part);
        content.update(part);
    })?;
    Ok([hexadecimal(blob), hexadecimal(content)])
}

/// Gives a file's bytes to `sink` and returns how many there are.
fn feed(path: &Path, mut sink: impl FnMut(&[u8])) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let (mut buffer, mut bytes) = (vec![0; BUFFER_BYTES], 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(read) => {
                sink(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
}

/// Writes what `source` gives into a new file, synced, `progress` being told the bytes of each
/// step; gives the length and the SHA-256 in hexadecimal.
///
/// # Errors
/// If the source or the file fails; what was written until then stays.
pub(crate) fn copy(
    source: &mut impl Read,
    path: &Path,
    mut progress: impl FnMut(u64),
) -> Result<(u64, String), CopyError> {
    let mut file = File::create(path).map_err(CopyError::Write)?;
    let (mut hasher, mut buffer, mut bytes) = (Sha256::new(), vec![0; BUFFER_BYTES], 0);
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(bytes, error)),
        };
        hasher.update(&buffer[..read]);
        file.write_all(&buffer[..read]).map_err(CopyError::Write)?;
        bytes += read as u64;
        progress(read as u64);
    }
    file.sync_all().map_err(CopyError::Write)?;
    Ok((bytes, hexadecimal(hasher)))
}

fn hexadecimal(hasher: impl Digest) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_test_vector_both_ways() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("abc");
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let mut told = 0;
        let (bytes, sha256) = copy(&mut &b"abc"[..], &path, |step| told += step).unwrap();
        assert_eq!((bytes, sha256.as_str(), told), (3, expected, 3));
        assert_eq!(of_file(&path).unwrap(), (3, expected.to_string()));
        // `printf abc | git hash-object --stdin`, and the test vector of SHA-1.
        let expected = [
            "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f",
            "a9993e364706816aba3e25717850c26c9cd0d89d",
        ];
        assert_eq!(of_git_blob(&path, 3).unwrap(), expected);
    }
}
