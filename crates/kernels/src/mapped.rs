//! Files mapped into memory.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use memmap2::{Mmap, MmapOptions, MmapRaw};

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

/// A file that is read through a mapping while this process and others write it.
///
/// What others write shows up in it at any moment, so that it is never lent as a slice, which must
/// not change: bytes are copied out of it, one word after the other, and whoever uses them has to
/// find out whether they are of one piece (by a checksum). Reads look at the file's length first, so
/// that of a file that somebody has cut short nothing is read; only one that is cut short during the
/// read itself ends the process (SIGBUS on Unix). Those who share such files must therefore never
/// shorten them, only remove them, which leaves a mapping whole.
#[derive(Debug)]
pub struct SharedFile {
    file: File,
    map: Option<MmapRaw>,
}

impl SharedFile {
    /// Maps the file as long as it is now, read-only.
    ///
    /// # Errors
    /// If it cannot be mapped: it is not a regular file, for one.
    pub fn new(file: File) -> io::Result<SharedFile> {
        let length = file.metadata()?.len();
        let map = match length {
            0 => None,
            _ => Some(MmapOptions::new().map_raw_read_only(&file)?),
        };
        Ok(SharedFile { file, map })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Copies the bytes from `start` on; `false` if the mapping or the file do not reach so far.
    pub fn read(&self, start: u64, to: &mut [u8]) -> bool {
        let Some(map) = &self.map else { return to.is_empty() };
        let Some(end) = start.checked_add(to.len() as u64) else { return false };
        if end > map.len() as u64 || !self.file.metadata().is_ok_and(|about| about.len() >= end) {
            return false;
        }
        // SAFETY: start..end lies within the mapping, by the check above.
        unsafe { copy(map.as_ptr().add(start as usize), to) };
        true
    }

    /// Writes bytes from `start` on, to the file: the mapping shows them, as the system keeps both in
    /// the same pages.
    ///
    /// # Errors
    /// What the system says: that there is no more room on the disk, for one, which a write through a
    /// mapping could not say.
    pub fn write(&mut self, start: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(start))?;
        self.file.write_all(bytes)
    }
}

/// Bytes of a word, the most that is loaded at once: of memory that may only be read, no more can be
/// loaded atomically.
const WORD: usize = size_of::<usize>();

/// Copies bytes that another process may write meanwhile.
///
/// # Safety
/// `to.len()` bytes from `from` on must be mapped for reading.
unsafe fn copy(from: *const u8, to: &mut [u8]) {
    let odd = from.align_offset(WORD).min(to.len());
    let (head, rest) = to.split_at_mut(odd);
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    let whole = words.len();
    // SAFETY: within the caller's bytes; a load that is atomic may race with any write, and needs no
    // more than to be aligned, which words are from `odd` on. Relaxed loads need no memory that can
    // be written.
    unsafe {
        let byte = |at: usize| (*from.add(at).cast::<AtomicU8>()).load(Ordering::Relaxed);
        head.iter_mut().enumerate().for_each(|(at, to)| *to = byte(at));
        for (number, to) in words.iter_mut().enumerate() {
            let word = &*from.add(odd + WORD * number).cast::<AtomicUsize>();
            *to = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        let first = odd + WORD * whole;
        tail.iter_mut().enumerate().for_each(|(at, to)| *to = byte(first + at));
    }
}

/// Lets a file take `length` bytes of its disk, those of a hole in it too, and grow to that length;
/// what it holds stays, and it never shrinks.
///
/// # Errors
/// If there is not so much room: found out here, and not by a later write.
pub fn allocate(file: &File, length: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if reserve(file, length)? {
        return Ok(());
    }
    // Where the system cannot reserve, zeros do.
    let mut file = file;
    let mut at = file.seek(SeekFrom::End(0))?;
    let zeros = [0; 1 << 16];
    while at < length {
        let part = &zeros[..zeros.len().min((length - at) as usize)];
        file.write_all(part)?;
        at += part.len() as u64;
    }
    Ok(())
}

/// Reserves by the system's own means; `false` if it has none for this file.
#[cfg(target_os = "linux")]
fn reserve(file: &File, length: u64) -> io::Result<bool> {
    use std::os::fd::AsRawFd;

    let Ok(bytes) = libc::off64_t::try_from(length) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if bytes == 0 {
        return Ok(true);
    }
    loop {
        // SAFETY: the descriptor is open as long as `file` is borrowed; no memory is handed over.
        if unsafe { libc::fallocate64(file.as_raw_fd(), 0, 0, bytes) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENODEV | libc::ESPIPE) => {
                return Ok(false);
            }
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    fn file(name: &str) -> (std::path::PathBuf, File) {
        let path = std::env::temp_dir().join(format!("adaptkit-{name}-{}", std::process::id()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).expect("a file");
        (path, file)
    }

    #[test]
    fn a_shared_file_is_read_as_it_was_written_wherever_that_begins() {
        let (path, file) = file("shared");
        allocate(&file, 100).expect("room");
        let mut shared = SharedFile::new(file).expect("a mapping");
        let mut expected = [0; 100];
        for (start, length) in [(0, 1), (3, 20), (8, 16), (31, 9), (93, 7)] {
            let bytes: Vec<u8> = (0..length).map(|i| (start * 7 + i + 1) as u8).collect();
            shared.write(start as u64, &bytes).expect("a write");
            expected[start..start + length].copy_from_slice(&bytes);
        }
        for start in 0..=100 {
            for end in start..=100 {
                let mut got = vec![9; end - start];
                assert!(shared.read(start as u64, &mut got));
                assert_eq!(got, expected[start..end], "{start} to {end}");
            }
        }
        for (start, length) in [(100, 1), (0, 101), (u64::MAX, 1), (u64::MAX - 7, 8)] {
            assert!(!shared.read(start, &mut vec![0; length]), "{length} bytes from {start}");
        }
        // Of a file that a stranger cut short nothing is touched.
        shared.file().set_len(50).expect("a shorter file");
        assert!(shared.read(40, &mut [0; 10]) && !shared.read(40, &mut [0; 11]));
        std::fs::remove_file(&path).expect("a file");
        // Removed, it is whole.
        assert!(shared.read(0, &mut [0; 50]));
    }

    #[test]
    fn allocation_keeps_what_there_is_and_never_shrinks() {
        let (path, file) = file("allocated");
        (&file).write_all(b"kept").expect("a write");
        for (length, expected) in [(0, 4), (2, 4), (10, 10), (200_000, 200_000), (7, 200_000)] {
            allocate(&file, length).expect("room");
            assert_eq!(file.metadata().expect("a file").len(), expected, "{length}");
        }
        let bytes = std::fs::read(&path).expect("a file");
        assert!(&bytes[..4] == b"kept" && bytes[4..].iter().all(|byte| *byte == 0));
        #[cfg(target_os = "linux")]
        {
            let full = OpenOptions::new().write(true).open("/dev/full").expect("a device");
            let error = allocate(&full, 10).expect_err("no room");
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(SharedFile::new(file).is_ok());
        }
        std::fs::remove_file(&path).expect("a file");
    }
}
