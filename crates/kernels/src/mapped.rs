//! Files mapped into memory.

use std::fs::File;
use std::io;
use std::ops::Range;
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

    /// Gives back the memory that a range of the file takes; what is read of it again comes from
    /// the file again. Does nothing where the system cannot.
    ///
    /// # Panics
    /// If the range is not within the file.
    pub fn release(&self, range: Range<usize>) {
        let length = self.bytes()[range.clone()].len();
        #[cfg(unix)]
        if let Some(map) = self.0.as_ref().filter(|_| length > 0) {
            // SAFETY: dropped pages of a read-only mapping of a file are read from it anew, with the
            // same content while nobody rewrites the file, which is assumed above.
            let released = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, length)
            };
            // A refusal costs memory and nothing else.
            drop(released);
        }
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
