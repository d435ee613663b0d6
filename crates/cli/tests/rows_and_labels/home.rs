//! A folder of files to run the command in.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use adaptkit_testkit::golden_dir;
use serde_json::Value;

pub(crate) struct Home {
    folder: tempfile::TempDir,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    /// A folder with these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Home {
        let home = Home { folder: tempfile::tempdir().expect("a folder") };
        files.iter().for_each(|(name, text)| home.write(name, text.as_bytes()));
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a file")
    }

    /// The command of this line, whose words hold no spaces; `TINY` is the tiny model.
    pub(crate) fn command(&self, line: &str) -> Command {
        let tiny = golden_dir("bert").join("model");
        let mut command = Command::new(env!("CARGO_BIN_EXE_adaptkit"));
        for word in line.split_whitespace() {
            match word {
                "TINY" => command.arg(&tiny),
                word => command.arg(word),
            };
        }
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Said {
        self.run_with_input(line, "/dev/null".into())
    }

    /// With a file of this folder as standard input.
    pub(crate) fn run_with_input(&self, line: &str, input: PathBuf) -> Said {
        let input = std::fs::File::open(self.path("").join(input)).expect("the input");
        let output = self.command(line).stdin(input).output().expect("the command");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// What a command that succeeds says.
    pub(crate) fn good(&self, line: &str) -> Said {
        let said = self.run(line);
        assert_eq!(said.code, Some(0), "{line}\n{}", said.stderr);
        said
    }

    /// The object that a command with `--json` gives.
    pub(crate) fn json(&self, line: &str) -> Value {
        self.good(&format!("{line} --json")).value()
    }
}

impl Said {
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.stdout).expect("one object")
    }

    /// JSON lines.
    pub(crate) fn values(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    }
}
