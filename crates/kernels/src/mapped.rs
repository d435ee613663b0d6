//! Files mapped into memory.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// A file's bytes, read on demand by the operating system.
///
/// The file must not be cut short or rewritten while it is mapped; files of this project are
/// replaced by renaming, which leaves a mapping of the old one whole.
#[derive(Debug)]
pub struct MappedFile(Option<Mmap>);

impl MappedFile {
    /// Maps the file read-only; an empty file is an empty mapping.
    ///
    /// # Errors
    /// If it is not a regular file, or cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<MappedFile> {
        // Opening a named pipe would wait for somebody to write to it.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(MappedFile(None));
        }
        // SAFETY: the mapping is private and read-only; that nobody cuts the file short meanwhile
        // is the one assumption, stated above.
        unsafe { Mmap::map(&file) }.map(|map| MappedFile(Some(map)))
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
