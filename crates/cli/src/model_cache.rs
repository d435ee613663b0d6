//! Where pulled bases live, and how `--model X` becomes a directory.
//!
//! A base is a directory. One that is pulled is kept under the user's cache as
//! `models/<organisation>--<name>/`; it appears there by a rename, complete with the record of its
//! hashes ([`Manifest`]), so that a directory of that name is a whole model and looking one up
//! needs no lock. Pulls of the same model take turns through a lock file and work in a directory
//! whose name begins with a dot, which no model's name can; what a killed pull leaves there is
//! swept by the next one.

mod manifest;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use adaptkit::adapters::atomic::create_directories;
pub(crate) use manifest::{Check, FileRecord, Manifest, State};

use crate::environment::Environment;
use crate::error::CliError;
use crate::pull::known;

/// The longest name that the Hub allows.
const LONGEST_NAME: usize = 96;

/// A model's name on the Hub: `organisation/name`, or `name` alone for the oldest ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelId(String);

impl ModelId {
    /// Reads a name by the Hub's rules; the short names of known models become the full ones.
    ///
    /// # Errors
    /// [`CliError::Usage`] for anything that could not be a name on the Hub, paths above all.
    pub(crate) fn parse(name: &str) -> Result<ModelId, CliError> {
        let segments: Vec<&str> = name.split('/').collect();
        let valid = segments.len() <= 2 && segments.iter().all(|segment| is_segment(segment));
        if !valid || name.len() > LONGEST_NAME {
            let shown: String = name.chars().take(LONGEST_NAME).collect();
            return Err(CliError::usage(format!(
                "{shown:?} is not a model's name on the Hub: expected one like \
                 sentence-transformers/all-MiniLM-L6-v2, of letters, digits, '-', '_' and '.'"
            )));
        }
        Ok(ModelId(known::full_name(name).unwrap_or(name).to_string()))
    }

    /// The full name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as one path segment. No two names share one, since `--` is not allowed in them.
    fn directory_name(&self) -> String {
        self.0.replace('/', "--")
    }
}

/// Whether this may stand before or after the slash of a name.
fn is_segment(segment: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| !b"-.".contains(byte));
    let bytes = segment.as_bytes();
    bytes.iter().all(|byte| allowed(*byte))
        && edge(bytes.first())
        && edge(bytes.last())
        && !segment.contains("--")
        && !segment.contains("..")
}

/// The directory of the base that `--model` names: an existing directory, or a pulled model.
///
/// # Errors
/// If it is neither; the message says what to do.
pub(crate) fn resolve_model(name: impl AsRef<Path>) -> Result<PathBuf, CliError> {
    resolve_in(&Environment::read(), name)
}

fn resolve_in(environment: &Environment, name: impl AsRef<Path>) -> Result<PathBuf, CliError> {
    let path = name.as_ref();
    let name = path.to_string_lossy();
    if path.is_dir() {
        return Ok(path.to_path_buf());
    }
    if path.exists() {
        let source = io::Error::new(
            io::ErrorKind::NotADirectory,
            "it is a file, and a base is a directory with config.json, model.safetensors and \
             tokenizer.json",
        );
        return Err(CliError::Io { doing: format!("use {name:?} as the model"), source });
    }
    let Some(Ok(id)) = path.to_str().map(ModelId::parse) else {
        let source = io::Error::new(
            io::ErrorKind::NotFound,
            "there is no such directory, and it is not a model's name on the Hub either",
        );
        return Err(CliError::Io { doing: format!("use {name:?} as the model"), source });
    };
    let directory = ModelCache::open(environment)?.directory(&id);
    match directory.is_dir() {
        true => Ok(directory),
        false => Err(CliError::NoModel { name: name.to_string() }),
    }
}

/// The directory of all pulled models.
pub(crate) struct ModelCache {
    models: PathBuf,
}

impl ModelCache {
    /// The cache that the environment asks for; nothing is created yet.
    ///
    /// # Errors
    /// If no variable says where the user's files are.
    pub(crate) fn open(environment: &Environment) -> Result<ModelCache, CliError> {
        // A relative XDG directory is to be ignored, says its specification.
        let xdg = environment.xdg_cache_home.as_ref().filter(|path| path.is_absolute());
        let root = match (&environment.cache, xdg, &environment.home) {
            (Some(cache), _, _) => cache.clone(),
            (None, Some(xdg), _) => xdg.join("adaptkit"),
            (None, None, Some(home)) => home.join(".cache").join("adaptkit"),
            (None, None, None) => {
                return Err(CliError::usage(
                    "there is no home directory to keep models in: set ADAPTKIT_CACHE",
                ));
            }
        };
        Ok(ModelCache { models: root.join("models") })
    }

    /// Where this model is once it is pulled.
    pub(crate) fn directory(&self, id: &ModelId) -> PathBuf {
        self.models.join(id.directory_name())
    }

    /// What lies there, its files compared with the hashes recorded when they were pulled.
    pub(crate) fn state(&self, id: &ModelId) -> State {
        manifest::state(&self.directory(id))
    }

    /// Takes this model's lock, for as long as what comes back lives. Where another process has
    /// it, `waiting` is called and the call waits.
    ///
    /// # Errors
    /// If the cache cannot be created, written or locked.
    pub(crate) fn lock(&self, id: &ModelId, waiting: impl FnOnce()) -> Result<Slot, CliError> {
        let hidden = |ending: &str| self.models.join(format!(".{}.{ending}", id.directory_name()));
        create_directories(&self.models)?;
        let lock_path = hidden("lock");
        let lock = File::options().create(true).append(true).open(&lock_path);
        let lock = lock.map_err(at("create the lock file", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                waiting();
                lock.lock().map_err(at("lock", &lock_path))?;
            }
            Err(TryLockError::Error(source)) => return Err(at("lock", &lock_path)(source)),
        }
        let slot =
            Slot { directory: self.directory(id), workshop: hidden("incoming"), _lock: lock };
        slot.recover()?;
        Ok(slot)
    }
}

/// A model's place in the cache, locked.
pub(crate) struct Slot {
    directory: PathBuf,
    workshop: PathBuf,
    _lock: File,
}

impl Slot {
    /// Where the model is, or will be.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What lies there, its files compared with the hashes recorded when they were pulled.
    pub(crate) fn state(&self) -> State {
        manifest::state(&self.directory)
    }

    /// An empty directory to put a model together in, removed when what comes back is dropped.
    ///
    /// # Errors
    /// If it cannot be created.
    pub(crate) fn workshop(&self) -> Result<Workshop, CliError> {
        remove(&self.workshop)?;
        let workshop = Workshop(self.workshop.clone());
        for directory in [workshop.model(), workshop.downloads(), workshop.empty()] {
            fs::create_dir_all(&directory).map_err(at("create the directory", &directory))?;
        }
        Ok(workshop)
    }

    /// Puts the finished model in its place, with its record; one that was there is replaced.
    ///
    /// # Errors
    /// If the record or the rename fails: what was there before is there still.
    pub(crate) fn publish(&self, workshop: Workshop, manifest: &Manifest) -> Result<(), CliError> {
        let (model, previous) = (workshop.model(), workshop.previous());
        manifest.write(&model).map_err(at("write the record of", &model))?;
        sync_directory(&model).map_err(at("sync", &model))?;
        if self.directory.exists() {
            fs::rename(&self.directory, &previous).map_err(at("replace", &self.directory))?;
        }
        if let Err(source) = fs::rename(&model, &self.directory) {
            self.recover()?;
            return Err(at("create", &self.directory)(source));
        }
        let parent = self.directory.parent().unwrap_or(Path::new("."));
        sync_directory(parent).map_err(at("sync", parent))
    }

    /// Puts a model back that was about to be replaced when the pull was killed.
    fn recover(&self) -> Result<(), CliError> {
        let previous = Workshop::previous_in(&self.workshop);
        if previous.is_dir() && !self.directory.exists() {
            fs::rename(&previous, &self.directory).map_err(at("restore", &self.directory))?;
        }
        Ok(())
    }
}

/// The directory in which one pull works.
pub(crate) struct Workshop(PathBuf);

impl Workshop {
    /// What becomes the model's directory.
    pub(crate) fn model(&self) -> PathBuf {
        self.0.join("model")
    }

    /// For what is only needed on the way.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.0.join("downloads")
    }

    /// A directory without a file, for programs to run in.
    pub(crate) fn empty(&self) -> PathBuf {
        self.0.join("empty")
    }

    fn previous(&self) -> PathBuf {
        Workshop::previous_in(&self.0)
    }

    fn previous_in(workshop: &Path) -> PathBuf {
        workshop.join("previous")
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next pull.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn remove(directory: &Path) -> Result<(), CliError> {
    match fs::remove_dir_all(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(at("remove", directory)(source))
        }
        _ => Ok(()),
    }
}

/// Makes a rename or a new file in this directory survive a power cut, where the system can.
fn sync_directory(directory: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(directory)?.sync_all(),
        false => Ok(()),
    }
}

fn at(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> CliError {
    let doing = format!("{doing} {}", path.display());
    move |source| CliError::Io { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(root: &Path) -> Environment {
        let cache = root.as_os_str().to_os_string();
        Environment::from_lookup(|name| (name == "ADAPTKIT_CACHE").then(|| cache.clone()))
    }

    fn manifest(model: &str, files: Vec<FileRecord>) -> Manifest {
        Manifest {
            model: model.to_string(),
            way: crate::pull::Way::Hub,
            source: "a test".to_string(),
            revision: None,
            files,
            adaptkit_version: "0".to_string(),
        }
    }

    fn put(slot: &Slot, text: &str) {
        let workshop = slot.workshop().unwrap();
        fs::write(workshop.model().join("config.json"), text).unwrap();
        slot.publish(workshop, &manifest("org/name", Vec::new())).unwrap();
    }

    #[test]
    fn names_follow_the_hub_s_rules() {
        let good = ["bert-base-uncased", "org/name", "a/b_c.d-e", "0/1"];
        for name in good {
            assert_eq!(ModelId::parse(name).unwrap().as_str(), name);
        }
        let long = "a".repeat(97);
        let bad = [
            "",
            "/",
            "a/",
            "/a",
            "../../etc",
            "..",
            ".",
            "a/..",
            "a/.b",
            "-a",
            "a-",
            "a--b",
            "a..b",
            "a/b/c",
            "a\\b",
            "a b",
            "a\0b",
            "C:a",
            "ü",
            "a?b",
            "a#b",
            "a%2fb",
            &long,
        ];
        for name in bad {
            let error = ModelId::parse(name).expect_err(name);
            assert_eq!(error.exit_code(), 2, "{name}");
        }
    }

    #[test]
    fn short_names_stand_for_full_ones() {
        for short in ["all-MiniLM-L6-v2", "all-mpnet-base-v2"] {
            let full = format!("sentence-transformers/{short}");
            assert_eq!(ModelId::parse(short).unwrap().as_str(), full);
        }
    }

    #[test]
    fn the_cache_is_where_the_environment_says() {
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: [Case; 5] = [
            (&[("ADAPTKIT_CACHE", "/a"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], Some("/a")),
            (&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")], Some("/x/adaptkit")),
            (&[("XDG_CACHE_HOME", "x"), ("HOME", "/h")], Some("/h/.cache/adaptkit")),
            (&[("HOME", "/h")], Some("/h/.cache/adaptkit")),
            (&[], None),
        ];
        for (variables, expected) in cases {
            let environment = Environment::from_lookup(|name| {
                variables.iter().find(|(given, _)| *given == name).map(|(_, value)| value.into())
            });
            let found = ModelCache::open(&environment).ok().map(|cache| cache.models);
            assert_eq!(found, expected.map(|root| Path::new(root).join("models")), "{variables:?}");
        }
    }

    #[test]
    fn a_directory_wins_over_a_pulled_model_and_a_missing_one_names_the_way() {
        let root = tempfile::tempdir().unwrap();
        let environment = environment(root.path());
        let given = root.path().join("given");
        fs::create_dir(&given).unwrap();
        let given = given.to_str().unwrap();
        assert_eq!(resolve_in(&environment, given).unwrap(), Path::new(given));

        let missing = resolve_in(&environment, "all-MiniLM-L6-v2").unwrap_err();
        assert!(missing.to_string().contains("adaptkit pull all-MiniLM-L6-v2"), "{missing}");

        let cache = ModelCache::open(&environment).unwrap();
        let id = ModelId::parse("all-MiniLM-L6-v2").unwrap();
        put(&cache.lock(&id, || ()).unwrap(), "{}");
        for name in ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"] {
            assert_eq!(resolve_in(&environment, name).unwrap(), cache.directory(&id), "{name}");
        }
    }

    #[test]
    fn neither_a_path_nor_a_name() {
        let root = tempfile::tempdir().unwrap();
        let environment = environment(root.path());
        let file = root.path().join("model.safetensors");
        fs::write(&file, "").unwrap();
        let cases = [
            ("../../no-such-place", "no such directory"),
            ("./a", "no such directory"),
            (file.to_str().unwrap(), "it is a file"),
        ];
        for (name, expected) in cases {
            let error = resolve_in(&environment, name).unwrap_err();
            assert!(error.to_string().contains(expected), "{name}: {error}");
            assert_eq!(error.exit_code(), 1);
        }
    }

    #[test]
    fn publishing_replaces_whole_and_leaves_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let cache = ModelCache::open(&environment(root.path())).unwrap();
        let id = ModelId::parse("org/name").unwrap();
        let slot = cache.lock(&id, || panic!("nobody else is there")).unwrap();
        put(&slot, "first");
        put(&slot, "second");
        let text = fs::read_to_string(slot.directory().join("config.json")).unwrap();
        assert_eq!(text, "second");
        let mut names: Vec<_> = fs::read_dir(root.path().join("models"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [".org--name.lock", "org--name"]);
    }

    #[test]
    fn a_pull_killed_while_replacing_is_undone_and_its_rubbish_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let cache = ModelCache::open(&environment(root.path())).unwrap();
        let id = ModelId::parse("org/name").unwrap();
        let slot = cache.lock(&id, || ()).unwrap();
        put(&slot, "kept");
        fs::create_dir_all(&slot.workshop).unwrap();
        fs::rename(&slot.directory, Workshop::previous_in(&slot.workshop)).unwrap();
        fs::write(slot.workshop.join("half"), "half").unwrap();
        drop(slot);

        let slot = cache.lock(&id, || ()).unwrap();
        let text = fs::read_to_string(slot.directory().join("config.json")).unwrap();
        assert_eq!(text, "kept");
        let workshop = slot.workshop().unwrap();
        assert!(!workshop.0.join("half").exists());
    }

    #[test]
    fn the_second_of_two_waits_for_the_first() {
        let root = tempfile::tempdir().unwrap();
        let cache = ModelCache::open(&environment(root.path())).unwrap();
        let id = ModelId::parse("org/name").unwrap();
        let first = cache.lock(&id, || ()).unwrap();
        let (told, waiting) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let slot = cache.lock(&id, move || told.send(()).unwrap()).unwrap();
                fs::read_to_string(slot.directory().join("config.json")).unwrap()
            });
            waiting.recv().unwrap();
            put(&first, "by the first");
            drop(first);
            assert_eq!(second.join().unwrap(), "by the first");
        });
    }
}
