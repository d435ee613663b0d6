//! A home directory with a model, an adapter and rows; what a command does in it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adaptkit_testkit::golden_dir;
use tempfile::TempDir;

/// KiB of address space: little beside what the files of these tests ask for.
const MEMORY: usize = 1 << 20;

/// Longer than any command here takes; one that hangs is killed then, and fails its test.
const LIMIT: Duration = Duration::from_secs(120);

/// A directory of its own for a case: `model/`, `adapter/` (made for that model), `rows.csv`
/// (40 labelled rows) and `in.txt` (3 texts).
pub(crate) struct Home(TempDir);

/// What a command left.
pub(crate) struct Ended {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Home {
        let home = Home(tempfile::tempdir().expect("a directory"));
        home.copy(&golden_dir("bert").join("model"), "model");
        home.copy(&golden_dir("adapter-seq-bn").join("adapter"), "adapter");
        let row = |i: usize| format!("message {i} of the test,{}\n", ["spam", "ham"][i % 2]);
        home.write("rows.csv", format!("text,label\n{}", (0..40).map(row).collect::<String>()));
        home.write("in.txt", "one\ntwo\n\n");
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("a file")
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("a file");
    }

    /// Replaces the first `from` in a text file, which must be there.
    pub(crate) fn replace(&self, name: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.read(name)).expect("UTF-8");
        assert!(text.contains(from), "{name} has no {from}");
        self.write(name, text.replacen(from, to, 1));
    }

    pub(crate) fn pipe(&self, name: &str) {
        let made = Command::new("mkfifo").arg(self.path(name)).status().expect("mkfifo");
        assert!(made.success());
    }

    pub(crate) fn link(&self, name: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.path(name)).expect("a link");
    }

    pub(crate) fn copy(&self, from: &Path, to: &str) {
        for entry in fs::read_dir(from).expect("a directory").flatten() {
            let name = entry.file_name().into_string().expect("a name");
            self.write(&format!("{to}/{name}"), fs::read(entry.path()).expect("a file"));
        }
    }

    /// Everything there is, by path: files with their bytes, links with their targets.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        collect(self.0.path(), &mut all);
        all
    }

    /// The command in this directory, its output into files beside it. It may not take more memory
    /// than [`MEMORY`], whatever the files say.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let limited = format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"");
        let command = env!("CARGO_BIN_EXE_adaptkit");
        self.start_as(Command::new("bash").args(["-c", &limited, command]).args(arguments))
    }

    /// A line of shell in this directory, in which `adaptkit` is the command.
    pub(crate) fn shell(&self, line: &str) -> Ended {
        let function = format!("adaptkit() {{ {:?} \"$@\"; }}\n", env!("CARGO_BIN_EXE_adaptkit"));
        self.start_as(Command::new("bash").arg("-c").arg(function + line)).wait()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait()
    }

    fn start_as(&self, command: &mut Command) -> Running {
        let said = tempfile::tempdir().expect("a directory");
        let file = |name| File::create(said.path().join(name)).expect("a file");
        let child = command
            .current_dir(self.0.path())
            .env("ADAPTKIT_CACHE", self.path("cache"))
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("the command");
        Running { child, said }
    }
}

fn collect(directory: &Path, all: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("a type");
        let bytes = if kind.is_dir() {
            collect(&path, all);
            b"a directory".to_vec()
        } else if kind.is_file() {
            fs::read(&path).expect("a file")
        } else if kind.is_symlink() {
            fs::read_link(&path).expect("a link").into_os_string().into_encoded_bytes()
        } else {
            b"a pipe".to_vec()
        };
        all.insert(path, bytes);
    }
}

/// A command on its way.
pub(crate) struct Running {
    pub(crate) child: Child,
    said: TempDir,
}

impl Running {
    pub(crate) fn wait(mut self) -> Ended {
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("a child") {
                Some(status) => break Some(status),
                None if start.elapsed() > LIMIT => {
                    self.child.kill().expect("a child");
                    self.child.wait().expect("a child");
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let said = |name| {
            let bytes = fs::read(self.said.path().join(name)).expect("what it said");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (stdout, mut stderr) = (said("stdout"), said("stderr"));
        if status.is_none() {
            stderr += "\nit did not end";
        }
        Ended { code: status.and_then(|status| status.code()), stdout, stderr }
    }
}

/// Something wrong, and what is said about it.
pub(crate) struct Case {
    pub(crate) what: &'static str,
    /// Makes it wrong.
    pub(crate) prepare: fn(&Home),
    pub(crate) arguments: &'static [&'static str],
    pub(crate) code: i32,
    /// All of standard error, with `HOME` for the directory.
    pub(crate) says: &'static str,
}

/// Labels for `in.txt`.
pub(crate) const PREDICT: &[&str] =
    &["predict", "--model", "model", "--adapter", "adapter", "--input", "in.txt"];

/// A case of [`PREDICT`], which fails with code 1.
pub(crate) fn case(what: &'static str, prepare: fn(&Home), says: &'static str) -> Case {
    Case { what, prepare, arguments: PREDICT, code: 1, says }
}

/// Runs the cases: the exit code and the words are those expected, nothing is on standard output,
/// and every file is as before.
pub(crate) fn check(cases: &[Case]) {
    let mut failed = Vec::new();
    for Case { what, prepare, arguments, code, says } in cases {
        let home = Home::new();
        prepare(&home);
        let before = home.snapshot();
        let ended = home.run(arguments);
        let root = home.path("").display().to_string();
        let said = ended.stderr.replace(root.trim_end_matches('/'), "HOME");
        if said.trim_end() != *says || ended.code != Some(*code) || !ended.stdout.is_empty() {
            failed.push(format!("{what}: code {:?}\n{said}{}", ended.code, ended.stdout));
        }
        if home.snapshot() != before {
            failed.push(format!("{what}: the directory is not as it was"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
