//! Paths as arguments give them.
//!
//! A path is what the system takes for one: on Unix bytes of any kind. Flags keep it so, and open what
//! it names. Where a path has to be text, in messages and in files that say which base an adapter was
//! trained on, bytes that are no UTF-8 are shown as `�`. This is the one place that does it for flags.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// A path, or the name of a pulled model; as a `str` it is its text for messages and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathArgument {
    path: PathBuf,
    text: String,
}

impl From<OsString> for PathArgument {
    fn from(given: OsString) -> PathArgument {
        let text = given.to_string_lossy().into_owned();
        PathArgument { path: given.into(), text }
    }
}

impl From<&str> for PathArgument {
    fn from(given: &str) -> PathArgument {
        OsString::from(given).into()
    }
}

impl Deref for PathArgument {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl AsRef<Path> for PathArgument {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for PathArgument {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(formatter)
    }
}

impl PathArgument {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The name and the directory of `NAME=DIR`. A directory may have such a sign in its name: one
    /// that exists is taken whole.
    pub(crate) fn named(&self) -> (Option<&str>, PathArgument) {
        match split(self.path.as_os_str()) {
            Some((name, directory)) if !self.path.exists() => (Some(name), directory.into()),
            _ => (None, self.clone()),
        }
    }
}

/// What stands before the first `=`, if that is text, and what stands behind it.
#[cfg(unix)]
pub(crate) fn split(text: &OsStr) -> Option<(&str, OsString)> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=')?;
    let name = std::str::from_utf8(&bytes[..at]).ok()?;
    Some((name, OsStr::from_bytes(&bytes[at + 1..]).to_owned()))
}

/// What stands before the first `=`, and what stands behind it.
#[cfg(not(unix))]
pub(crate) fn split(text: &OsStr) -> Option<(&str, OsString)> {
    text.to_str()?.split_once('=').map(|(name, rest)| (name, rest.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_name_before_a_directory_is_text_and_the_directory_need_not_be() {
        use std::os::unix::ffi::OsStringExt;
        let home = tempfile::tempdir().unwrap();
        let existing = home.path().join("a=b");
        std::fs::create_dir(&existing).unwrap();
        let cases: [(&[u8], Option<&str>, &[u8]); 6] = [
            (b"directory", None, b"directory"),
            (b"name=directory", Some("name"), b"directory"),
            (b"name=caf\xe9=x", Some("name"), b"caf\xe9=x"),
            (b"caf\xe9", None, b"caf\xe9"),
            (b"caf\xe9=x", None, b"caf\xe9=x"),
            (
                existing.as_os_str().as_encoded_bytes(),
                None,
                existing.as_os_str().as_encoded_bytes(),
            ),
        ];
        for (given, name, directory) in cases {
            let argument = PathArgument::from(OsString::from_vec(given.to_vec()));
            let found = argument.named();
            assert_eq!(found.0, name);
            assert_eq!(found.1.path().as_os_str().as_encoded_bytes(), directory);
        }
        assert_eq!(&*PathArgument::from(OsString::from_vec(b"caf\xe9".to_vec())), "caf\u{fffd}");
    }
}
