//! The folder of the cache's files, below one that the user names.
//!
//! Old files in it are removed to make room for new ones. It must therefore be certain that it is the
//! cache's own: it has a fixed name, and a tag that is written when it is made. A folder of that name
//! without the tag is somebody else's, and is refused.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use adaptkit_adapters::atomic::{create_directories, write_file};

use super::CacheNotice;
use crate::TrainingError;

/// The folder's name.
const NAME: &str = "adaptkit-prefix-cache";

/// What the names of files in it end in.
const ENDING: &str = "prefix";

/// Bytes of a key that a file's name spells out.
const KEY_IN_NAME: usize = 16;

/// The file that tells backup programs, too, that a folder is a cache (bford.info/cachedir).
const TAG: &str = "CACHEDIR.TAG";
const TAG_CONTENT: &str = "Signature: 8a477f597d28d172789f06886806bc55
# This folder is adaptkit's prefix cache: hidden states that trainings keep between epochs and runs.
# Files in it are removed when others need their room. The whole folder may be deleted while no
# training uses it.
";

/// A folder for files of kept hidden states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheDirectory {
    /// A folder, which is made if it is not there. The files lie in a folder of their own below it,
    /// `adaptkit-prefix-cache`; nothing else in it is touched.
    pub path: PathBuf,
    /// Bytes that the files may take. For a new one, those that were not opened for longest are
    /// removed, except files that a run has open.
    pub budget: u64,
}

/// The cache's own folder, tagged.
pub(super) struct CacheFolder {
    path: PathBuf,
    budget: u64,
}

impl CacheFolder {
    /// Makes the folder and its tag, or finds them.
    ///
    /// # Errors
    /// If it cannot be made, or what has its name is not the cache's.
    pub(super) fn open(directory: &CacheDirectory) -> Result<CacheFolder, TrainingError> {
        let path = directory.path.join(NAME);
        let failed = |source: io::Error| TrainingError::PrefixCache {
            doing: "use the folder of",
            path: path.clone(),
            source,
        };
        create_directories(&path)?;
        let tag = path.join(TAG);
        match fs::read(&tag) {
            Ok(found) if found == TAG_CONTENT.as_bytes() => {}
            Ok(_) => return Err(TrainingError::ForeignCacheFolder { path }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                for entry in fs::read_dir(&path).map_err(failed)? {
                    // Another run may be writing the tag at this moment.
                    let name = entry.map_err(failed)?.file_name();
                    let name = name.to_string_lossy();
                    let tagging = name.starts_with(".adaptkit-") && name.ends_with(".partial");
                    if !tagging && name != TAG {
                        return Err(TrainingError::ForeignCacheFolder { path });
                    }
                }
                write_file(&tag, TAG_CONTENT.as_bytes())?;
            }
            Err(source) => return Err(failed(source)),
        }
        Ok(CacheFolder { path, budget: directory.budget })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn budget(&self) -> u64 {
        self.budget
    }
}

/// The name of a key's file.
pub(super) fn file_name(key: &[u8; 32]) -> String {
    let digits: String = key[..KEY_IN_NAME].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits}.{ENDING}")
}

/// Whether [`file_name`] could have made a name.
pub(super) fn is_file_name(name: &OsStr) -> bool {
    let hexadecimal = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    name.to_str().and_then(|name| name.split_once('.')).is_some_and(|(digits, ending)| {
        ending == ENDING && digits.len() == 2 * KEY_IN_NAME && digits.bytes().all(hexadecimal)
    })
}

/// What to tell of files that lie in `directory` itself, where earlier versions had them.
pub(super) fn earlier_files(directory: &Path) -> Option<CacheNotice> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    let sizes = entries
        .filter(|entry| is_file_name(&entry.file_name()))
        .filter_map(|entry| entry.metadata().ok().filter(fs::Metadata::is_file))
        .map(|about| about.len());
    let (files, bytes) = sizes.fold((0, 0), |(files, all), bytes| (files + 1, all + bytes));
    let directory = directory.to_owned();
    (files > 0).then_some(CacheNotice::EarlierFiles { directory, files, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(home: &Path) -> Result<CacheFolder, TrainingError> {
        CacheFolder::open(&CacheDirectory { path: home.join("cache"), budget: 10 })
    }

    #[test]
    fn a_folder_is_made_tagged_and_found_again() {
        let home = tempfile::tempdir().expect("a folder");
        for _ in 0..2 {
            let folder = open(home.path()).expect("the folder");
            assert_eq!(folder.path(), home.path().join("cache").join(NAME));
            let tag = fs::read_to_string(folder.path().join(TAG)).expect("the tag");
            assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"), "{tag}");
        }
        // A run that was killed while it wrote the tag.
        let folder = home.path().join("cache").join(NAME);
        fs::rename(folder.join(TAG), folder.join(".adaptkit-7-0.partial")).expect("a rename");
        open(home.path()).expect("the folder");
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        for (name, content) in [("notes.txt", "mine"), (TAG, "Signature: another cache")] {
            let home = tempfile::tempdir().expect("a folder");
            let folder = home.path().join("cache").join(NAME);
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join(name), content).expect("a file");
            let message = open(home.path()).err().expect("a refusal").to_string();
            assert!(message.contains(NAME) && message.contains("another folder"), "{message}");
            assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 1, "{name}");
        }
        let home = tempfile::tempdir().expect("a folder");
        fs::write(home.path().join("cache"), "a file").expect("a file");
        let message = open(home.path()).err().expect("a refusal").to_string();
        assert!(message.contains("cannot create the directory"), "{message}");
    }

    #[test]
    fn names_are_told_apart_from_those_of_other_programs() {
        let own = file_name(&[0xab; 32]);
        assert_eq!(own, "abababababababababababababababab.prefix");
        for (name, ours) in [
            (&own[..], true),
            ("my-thesis.prefix", false),
            ("ABABABABABABABABABABABABABABABAB.prefix", false),
            ("ababababababababababababababababab.prefix", false),
            ("abababababababababababababababab.prefix.old", false),
            ("x.prefix", false),
            (".prefix", false),
        ] {
            assert_eq!(is_file_name(OsStr::new(name)), ours, "{name}");
        }
    }

    #[test]
    fn files_of_earlier_versions_are_told() {
        let home = tempfile::tempdir().expect("a folder");
        assert_eq!(earlier_files(home.path()), None);
        assert_eq!(earlier_files(&home.path().join("absent")), None);
        fs::write(home.path().join(file_name(&[1; 32])), "123").expect("a file");
        fs::write(home.path().join("my-thesis.prefix"), "mine").expect("a file");
        fs::create_dir(home.path().join(file_name(&[2; 32]))).expect("a folder");
        let directory = home.path().to_owned();
        let notice = CacheNotice::EarlierFiles { directory, files: 1, bytes: 3 };
        assert_eq!(earlier_files(home.path()), Some(notice));
    }
}
