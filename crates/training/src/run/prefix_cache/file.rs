//! Kept hidden states in a file that runs share.
//!
//! A file holds one boundary's states of one table of rows, each row in a slot of its own: an 8-byte
//! checksum and the numbers. Its name is a digest of everything that the numbers follow from, so that
//! whoever opens it would write the same bytes into the same slots: several runs fill and read one
//! file at once without waiting for each other. A slot counts as empty unless its checksum, which
//! takes in the file's name and the slot's number, is that of its numbers: a write that was cut off,
//! a damaged file or a foreign one costs computing the row again, no more.
//!
//! It takes its whole size on the disk when it is made, so that a full disk shows at once, and is read
//! through a mapping. Rows are copied out of that before they are looked at ([`SharedFile`]): another
//! run may write the same slot meanwhile, if only the same bytes. They are written to the file, where a
//! disk that is full after all is an error and not a signal. No run ever shortens a file that another
//! may have open; who else does, while a row is read, ends the process.
//!
//! The files lie in a folder of their own below the one that the user names, which may be anything,
//! their home too. A tag in it says that it is a cache ([`super::folder`]); only there are files
//! removed, and only those that are called as this module calls its own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use adaptkit_compute::mix;
use adaptkit_kernels::mapped::{SharedFile, allocate};

use super::CacheNotice;
use super::folder::{CacheFolder, file_name, is_file_name};
use crate::TrainingError;

/// Bytes of a checksum.
const CHECKSUM: u64 = 8;

/// An open file.
pub(super) struct CacheFile {
    file: SharedFile,
    pub(super) path: PathBuf,
    /// What the system said when the file was to take its size, if it did not.
    pub(super) not_allocated: Option<io::Error>,
    key: u64,
    /// Where each slot begins, and where the last one ends.
    starts: Vec<u64>,
    /// Slots that end beyond this are not written; none are in a file that may only be read.
    writable: u64,
}

impl CacheFile {
    /// Opens or makes the file of this key, with a slot for each row of so many bytes.
    pub(super) fn open(
        folder: &CacheFolder,
        key: [u8; 32],
        rows: impl Iterator<Item = u64>,
    ) -> Result<CacheFile, TrainingError> {
        let mut starts = vec![0];
        starts.extend(rows.scan(0, |end, bytes| {
            *end += CHECKSUM + bytes;
            Some(*end)
        }));
        let size = starts[starts.len() - 1];
        let path = folder.path().join(file_name(&key));
        let failed = |doing: &'static str, source: io::Error| TrainingError::PrefixCache {
            doing,
            path: path.clone(),
            source,
        };
        let mut whole = OpenOptions::new();
        whole.read(true).write(true).create(true).truncate(false);
        let (file, may_write) = match whole.open(&path) {
            Ok(file) => (file, true),
            Err(error) => match File::open(&path) {
                Ok(file) => (file, false),
                Err(_) => return Err(failed("open", error)),
            },
        };
        // A lock tells who makes room that the file is in use. Where a file system has none, it
        // may be removed meanwhile, which those who have it open do not notice.
        let _ = file.lock_shared();
        let (mut writable, mut not_allocated) = (0, None);
        if may_write {
            let others = make_room(folder.path(), &path, folder.budget().saturating_sub(size))
                .map_err(|source| failed("make room for", source))?;
            writable = folder.budget().saturating_sub(others);
            let fitting = starts.iter().rev().find(|end| **end <= writable);
            let length = file.metadata().map_err(|source| failed("open", source))?.len();
            // An earlier version left holes, to read which takes room too where files are in memory.
            if let Some(end) = fitting
                && let Err(error) = allocate(&file, *end)
            {
                // What there is of it is used.
                writable = writable.min(length);
                give_back(&file, length);
                not_allocated = Some(error);
            }
            // The time of the last use.
            let _ = file.set_modified(SystemTime::now());
        }
        let file = SharedFile::new(file).map_err(|source| failed("map", source))?;
        let key = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| key[16 + i]));
        Ok(CacheFile { file, path, not_allocated, key, starts, writable })
    }

    /// Whether the slot may be written.
    pub(super) fn has_room(&self, slot: usize) -> bool {
        self.starts[slot + 1] <= self.writable
    }

    /// What the slot holds, if it holds something.
    pub(super) fn read(&self, slot: usize) -> Option<Box<[u8]>> {
        let start = self.starts[slot];
        let mut checksum = [0; CHECKSUM as usize];
        if !self.file.read(start, &mut checksum) || checksum == [0; CHECKSUM as usize] {
            return None;
        }
        let bytes = self.starts[slot + 1] - start - CHECKSUM;
        let mut bytes = vec![0; bytes as usize].into_boxed_slice();
        let read = self.file.read(start + CHECKSUM, &mut bytes);
        (read && self.checksum(slot, &bytes) == u64::from_le_bytes(checksum)).then_some(bytes)
    }

    /// Fills the slot.
    pub(super) fn write(&mut self, slot: usize, bytes: &[u8]) -> io::Result<()> {
        let mut record = self.checksum(slot, bytes).to_le_bytes().to_vec();
        record.extend_from_slice(bytes);
        self.file.write(self.starts[slot], &record)
    }

    /// Writes no more.
    pub(super) fn close_for_writing(&mut self) {
        self.writable = 0;
    }

    /// That it cannot be written, for people.
    pub(super) fn write_failed(&self, error: &io::Error) -> CacheNotice {
        CacheNotice::WriteFailed { path: self.path.clone(), reason: error.to_string() }
    }

    /// Never zero, which is what a slot begins with before it is written.
    fn checksum(&self, slot: usize, bytes: &[u8]) -> u64 {
        checksum(mix(self.key, slot as u64), bytes).max(1)
    }
}

/// Lets a file that got only a part of its size go back to `length`, unless another run has it open:
/// that may have mapped the part.
fn give_back(file: &File, length: u64) {
    // A lock of this run's own would stand in the way.
    let _ = file.unlock();
    if file.try_lock().is_ok() {
        let _ = file.set_len(length);
        let _ = file.unlock();
    }
    let _ = file.lock_shared();
}

/// Four words at a time, each lane's on their own, so that a checksum takes little more than reading.
fn checksum(key: u64, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut lanes = [0, 1, 2, 3].map(|lane| mix(key, lane));
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut last = [0; 32];
    last[..rest.len()].copy_from_slice(rest);
    for block in blocks.iter().chain([&last]) {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            *lane = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR).rotate_left(31);
        }
    }
    lanes.into_iter().fold(bytes.len() as u64, mix)
}

/// Removes files that nobody has open, those that were not opened for longest first, until the others
/// beside `own` take no more than `budget`; the bytes that they take then. What cannot be removed stays
/// and counts. Only regular files with names of this module's are looked at.
fn make_room(folder: &Path, own: &Path, budget: u64) -> io::Result<u64> {
    let mut others = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if path != own
            && is_file_name(&entry.file_name())
            // Another run may have removed it since. Of a link this is about the link itself.
            && let Ok(about) = entry.metadata()
            && about.is_file()
        {
            let used = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            others.push((used, about.len(), path));
        }
    }
    others.sort();
    let mut total: u64 = others.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, path) in others {
        if total <= budget {
            break;
        }
        let in_use = File::open(&path).is_ok_and(|file| file.try_lock().is_err());
        if !in_use && fs::remove_file(&path).is_ok() || !path.exists() {
            total -= bytes;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::super::folder::CacheDirectory;
    use super::*;

    const ROWS: [u64; 3] = [40, 7, 100];

    fn open(path: &Path, key: u8, budget: u64) -> CacheFile {
        let directory = CacheDirectory { path: path.to_owned(), budget };
        let folder = CacheFolder::open(&directory).expect("a folder");
        CacheFile::open(&folder, [key; 32], ROWS.into_iter()).expect("a file")
    }

    fn bytes(slot: usize) -> Vec<u8> {
        (0..ROWS[slot]).map(|i| (i * 7 + slot as u64) as u8).collect()
    }

    fn size() -> u64 {
        ROWS.iter().map(|bytes| bytes + CHECKSUM).sum()
    }

    #[test]
    fn what_was_written_is_read_by_whoever_opens_the_same_key() {
        let home = tempfile::tempdir().expect("a folder");
        let mut one = open(home.path(), 1, 1000);
        let mut other = open(home.path(), 1, 1000);
        for slot in [2, 0] {
            assert!(one.read(slot).is_none(), "a slot begins empty");
            one.write(slot, &bytes(slot)).expect("a slot");
            assert_eq!(other.read(slot).as_deref(), Some(&bytes(slot)[..]));
        }
        other.write(1, &bytes(1)).expect("a slot");
        drop((one, other));
        let again = open(home.path(), 1, 1000);
        assert!((0..3).all(|slot| again.read(slot).as_deref() == Some(&bytes(slot)[..])));
        let stranger = open(home.path(), 2, 1000);
        assert!((0..3).all(|slot| stranger.read(slot).is_none()));
        // Not even under the same name.
        fs::copy(&again.path, &stranger.path).expect("a copy");
        let stranger = open(home.path(), 2, 1000);
        assert!((0..3).all(|slot| stranger.read(slot).is_none()));
    }

    #[test]
    fn a_file_that_is_cut_or_changed_anywhere_loses_only_the_rows_concerned() {
        let home = tempfile::tempdir().expect("a folder");
        let mut file = open(home.path(), 1, 1000);
        (0..3).for_each(|slot| file.write(slot, &bytes(slot)).expect("a slot"));
        let whole = fs::read(&file.path).expect("a file");
        let slot_of = |at: usize| (0..3).find(|slot| (at as u64) < file.starts[slot + 1]);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&file.path, changed).expect("a file");
            let read = open(home.path(), 1, 1000);
            let damaged: Vec<usize> = (0..3).filter(|slot| read.read(*slot).is_none()).collect();
            assert_eq!(damaged, [slot_of(at).expect("a slot")], "byte {at}");
            fs::write(&file.path, &whole[..at]).expect("a file");
            let mut read = open(home.path(), 1, 1000);
            let first = slot_of(at).expect("a slot");
            for slot in 0..3 {
                assert_eq!(read.read(slot).is_some(), slot < first, "cut at byte {at}");
            }
            // What is missing is written again.
            read.write(first, &bytes(first)).expect("a slot");
            assert_eq!(read.read(first).as_deref(), Some(&bytes(first)[..]));
        }
    }

    #[test]
    fn a_new_file_drops_those_not_used_for_longest_but_none_in_use() {
        let home = tempfile::tempdir().expect("a folder");
        let budget = 2 * size();
        let full = |key| {
            let mut file = open(home.path(), key, budget);
            (0..3).for_each(|slot| file.write(slot, &bytes(slot)).expect("a slot"));
            file
        };
        let in_use = full(1);
        let old = full(2).path.clone();
        for path in [&in_use.path, &old] {
            let file = OpenOptions::new().write(true).open(path).expect("a file");
            file.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
        }
        // Nothing that is not called as a cache's file is, nor a folder or a link that is.
        let folder = in_use.path.parent().expect("the folder").to_owned();
        let outside = home.path().join("outside");
        fs::write(&outside, vec![1; 1000]).expect("a file");
        for name in ["notes.txt", "my-thesis.prefix"] {
            fs::write(folder.join(name), vec![1; 1000]).expect("a file");
        }
        fs::create_dir(folder.join("x.prefix")).expect("a folder");
        fs::create_dir(folder.join(file_name(&[9; 32]))).expect("a folder");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&outside, folder.join(file_name(&[8; 32]))).expect("a link");
        let names = |folder: &Path| -> Vec<String> {
            let names = fs::read_dir(folder).expect("the folder").flatten();
            names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        let before = names(&folder).len();
        let new = full(3);
        assert_eq!(names(&folder).len(), before, "one file came, one went: {:?}", names(&folder));
        assert!(in_use.path.exists() && new.path.exists() && outside.exists());
        assert!(!old.exists(), "not in use, and the oldest");
        assert!((0..3).all(|slot| new.has_room(slot)));
        // Both are in use: beside them there is no room, or only for some.
        let late = open(home.path(), 4, budget);
        assert!(!(0..3).any(|slot| late.has_room(slot)));
        let later = open(home.path(), 5, budget + 100);
        assert_eq!([0, 1, 2].map(|slot| later.has_room(slot)), [true, true, false]);
    }

    #[test]
    fn a_file_that_may_only_be_read_is_read() {
        let home = tempfile::tempdir().expect("a folder");
        let mut file = open(home.path(), 1, 1000);
        file.write(1, &bytes(1)).expect("a slot");
        let mut permissions = fs::metadata(&file.path).expect("a file").permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&file.path, permissions).expect("permissions");
        let read = open(home.path(), 1, 1000);
        assert_eq!(read.read(1).as_deref(), Some(&bytes(1)[..]));
        // Root may write in any case.
        let may = OpenOptions::new().write(true).open(&file.path).is_ok();
        assert_eq!(read.has_room(0), may);
    }

    #[test]
    fn a_file_takes_its_size_when_it_is_made_and_grows_with_the_budget() {
        let home = tempfile::tempdir().expect("a folder");
        let length = |file: &CacheFile| fs::metadata(&file.path).expect("a file").len();
        let mut small = open(home.path(), 1, size() - 1);
        assert_eq!(length(&small), ROWS[0] + ROWS[1] + 2 * CHECKSUM, "slots that fit, whole");
        assert_eq!([0, 1, 2].map(|slot| small.has_room(slot)), [true, true, false]);
        small.write(0, &bytes(0)).expect("a slot");
        let mut whole = open(home.path(), 1, 1000);
        assert_eq!(length(&whole), size());
        whole.write(2, &bytes(2)).expect("a slot");
        // A run that began before sees what its mapping reaches.
        assert_eq!(whole.read(0).as_deref(), Some(&bytes(0)[..]));
        assert!(small.read(2).is_none());
        // Nor does a smaller budget cut it.
        assert_eq!(length(&open(home.path(), 1, 60)), size());
        #[cfg(target_os = "linux")]
        {
            let path = open(home.path(), 2, 1000).path.clone();
            fs::remove_file(&path).expect("a file");
            std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
            let full = open(home.path(), 2, 1000);
            let error = full.not_allocated.as_ref().map(io::Error::kind);
            assert_eq!(error, Some(ErrorKind::StorageFull));
            assert!((0..3).all(|slot| !full.has_room(slot) && full.read(slot).is_none()));
        }
    }
}
