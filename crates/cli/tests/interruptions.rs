//! Runs that are killed, interrupted and continued: the result has the bits of a run left alone.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use adaptkit_testkit::{Random, golden_dir};
use serde_json::Value;

const FLAGS: [&str; 22] = [
    "train",
    "--train-file",
    "rows.csv",
    "--epochs",
    "6",
    "--batch-size",
    "4",
    "--max-length",
    "20",
    "--adapter-dropout",
    "0.1",
    "--save-steps",
    "2",
    "--logging-steps",
    "1",
    "--early-stopping-patience",
    "5",
    "--threads",
    "1",
    "--instructions",
    "portable",
    "--quiet",
];

fn command(home: &Path, output: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adaptkit"));
    command
        .args(FLAGS)
        .args(["--output-dir", output, "--model"])
        .arg(golden_dir("bert").join("model"))
        .args(more)
        .current_dir(home)
        .env("ADAPTKIT_CACHE", home.join("cache"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with rows in it.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a folder");
    let row = |i: usize| format!("message {i} of the test,{}\n", ["spam", "ham"][i * i % 3 % 2]);
    let rows: String = (0..120).map(row).collect();
    std::fs::write(home.path().join("rows.csv"), format!("text,label\n{rows}")).expect("a file");
    home
}

fn run(home: &Path, output: &str, more: &[&str]) -> Output {
    command(home, output, more).output().expect("the command")
}

/// The files and numbers of two runs that do not say how long something took.
fn assert_same(home: &Path, one: &str, other: &str) {
    let read = |output: &str, name: &str| {
        let path = home.join(output).join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    for name in ["adapter.safetensors", "model_head.safetensors"] {
        // The adapter's tensors bear its directory's name, which is of the same length in both.
        let plain = |output: &str| {
            let bytes = read(output, name);
            let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
            let names = String::from_utf8_lossy(&bytes[..header]).replace(output, "NAME");
            (names, bytes[header..].to_vec())
        };
        assert!(plain(one) == plain(other), "{name} of {one} and {other}");
    }
    let timeless = |value: Value| -> Vec<(String, Value)> {
        let fields = value.as_object().expect("an object").clone().into_iter();
        let timed = |name: &str| {
            name.contains("second") || name.contains("runtime") || name == "peak_memory_mb"
        };
        fields.filter(|(name, _)| !timed(name)).collect()
    };
    let lines = |output: &str| -> Vec<_> {
        let results = read(output, "all_results.json");
        let log = String::from_utf8(read(output, "metrics.jsonl")).expect("UTF-8");
        let log: Vec<Value> = log.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        let results = serde_json::from_slice(&results).expect("JSON");
        log.into_iter().chain([results]).map(timeless).collect()
    };
    assert_eq!(lines(one), lines(other), "{one} and {other}");
    for output in [one, other] {
        assert!(
            !home.join(format!("{output}.checkpoint")).exists(),
            "{output} left its checkpoint"
        );
    }
}

fn wait(child: Child) -> Output {
    child.wait_with_output().expect("the command's end")
}

#[test]
fn a_run_killed_at_twenty_moments_ends_in_the_same_bits() {
    let home = home();
    let home = home.path();
    let start = Instant::now();
    let whole = run(home, "whole", &[]);
    assert!(whole.status.success(), "{}", words(&whole));
    let took = start.elapsed();
    let mut random = Random::new(11);
    let (mut kills, mut continued, mut round) = (0, 0, 0);
    while kills < 20 {
        // Each round is killed again and again, at moments of its own, until it gets through.
        let output = format!("{}", 10000 + round);
        loop {
            let mut child = command(home, &output, &["--resume"]).spawn().expect("the command");
            let share = f64::from(random.uniform(0.0, 1.1));
            std::thread::sleep(Duration::from_secs_f64(took.as_secs_f64() * share));
            if let Some(status) = child.try_wait().expect("a state") {
                let ended = wait(child);
                assert!(status.success(), "round {round}: {}", words(&ended));
                break;
            }
            child.kill().expect("a kill");
            wait(child);
            kills += 1;
            let folder = home.join(format!("{output}.checkpoint"));
            continued += usize::from(folder.join("checkpoint.safetensors").exists());
            if home.join(&output).exists() {
                // Killed between the result's appearance and the checkpoint's removal.
                let _ = std::fs::remove_dir_all(folder);
                break;
            }
        }
        assert_same(home, "whole", &output);
        round += 1;
    }
    println!("{continued} of {kills} kills left a checkpoint, over {round} runs");
    assert!(continued > 0, "no kill fell into a run that could be continued");
}

#[cfg(unix)]
#[test]
fn signals_end_a_run_at_a_checkpoint_with_their_own_codes() {
    let home = home();
    let home = home.path();
    assert!(run(home, "whole", &[]).status.success());
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let output = format!("{code}00");
        let child = command(home, &output, &[]).spawn().expect("the command");
        let checkpoint = home.join(format!("{output}.checkpoint/checkpoint.safetensors"));
        while !checkpoint.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let sent: ExitStatus = Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status()
            .expect("kill");
        assert!(sent.success());
        let ended = wait(child);
        assert_eq!(ended.status.code(), Some(code), "{}", words(&ended));
        assert!(words(&ended).contains("--resume continues"), "{}", words(&ended));
        assert!(!home.join(&output).exists());
        // Not dropped unasked, not continued as another run.
        let again = run(home, &output, &[]);
        assert_eq!(again.status.code(), Some(1));
        assert!(words(&again).contains("a run that did not end"), "{}", words(&again));
        let other = run(home, &output, &["--resume", "--learning-rate", "0.5"]);
        assert_eq!(other.status.code(), Some(1));
        assert!(words(&other).contains("learning_rate was"), "{}", words(&other));
        let resumed = run(home, &output, &["--resume"]);
        assert!(resumed.status.success(), "{}", words(&resumed));
        assert_same(home, "whole", &output);
    }
}

#[test]
fn two_runs_at_once_are_quiet_and_leave_each_other_alone() {
    let home = home();
    let home = home.path();
    let runs: Vec<Child> = ["12345", "54321"]
        .map(|output| command(home, output, &[]).spawn().expect("the command"))
        .into();
    for child in runs {
        let ended = wait(child);
        assert!(ended.status.success(), "{}", words(&ended));
        assert!(ended.stderr.is_empty(), "quiet is quiet: {}", words(&ended));
    }
    assert_same(home, "12345", "54321");
}

/// A kill in the middle of a checkpoint's write is not left to chance: the system ends a process
/// that writes a file beyond the size that it is allowed.
#[cfg(unix)]
#[test]
fn a_kill_in_the_middle_of_a_checkpoint_s_write_costs_nothing() {
    let home = home();
    let home = home.path();
    assert!(run(home, "whole", &[]).status.success());
    let folder = home.join("torn0.checkpoint");
    let checkpoint = folder.join("checkpoint.safetensors");
    // Killed in the first write, before there is a checkpoint, and in a later one.
    for continued in [false, true] {
        if continued {
            let child = command(home, "torn0", &["--resume"]).spawn().expect("the command");
            while !checkpoint.exists() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
            assert_eq!(wait(child).status.code(), Some(130));
        }
        let before = std::fs::read(&checkpoint).ok();
        assert_eq!(before.is_some(), continued);
        // Blocks of 512 or 1024 bytes: more than the log has by then, less than a checkpoint.
        let blocks = before.as_ref().map_or(2, |bytes| bytes.len() / 2048).to_string();
        let plain = command(home, "torn0", &["--resume"]);
        let torn = Command::new("sh")
            .args(["-c", "ulimit -f $0; exec \"$@\"", &blocks])
            .arg(plain.get_program())
            .args(plain.get_args())
            .current_dir(home)
            .output()
            .expect("the command");
        assert_eq!(torn.status.code(), None, "not killed: {}", words(&torn));
        assert!(std::fs::read(&checkpoint).ok() == before, "the checkpoint is as it was");
        let names = std::fs::read_dir(&folder).expect("the folder").flatten();
        let partial = names.filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.ends_with(".partial") && entry.metadata().expect("its size").len() > 0
        });
        assert_eq!(partial.count(), 1, "it was killed in the write");
    }
    let resumed = run(home, "torn0", &["--resume"]);
    assert!(resumed.status.success(), "{}", words(&resumed));
    assert_same(home, "whole", "torn0");
}

#[test]
fn a_run_s_folder_is_held_by_one_process() {
    let home = home();
    let home = home.path();
    let folder = home.join("held0.checkpoint");
    std::fs::create_dir(&folder).expect("a folder");
    let lock = std::fs::File::create(folder.join("lock")).expect("a lock");
    lock.lock().expect("the lock");
    for more in [&[][..], &["--resume"], &["--overwrite"]] {
        let refused = run(home, "held0", more);
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(
            words(&refused),
            "error: held0.checkpoint is held by another run that is under way\n\
             hint: wait for its end, or choose another --output-dir\n"
        );
    }
    drop(lock);
    let run = run(home, "held0", &[]);
    assert!(run.status.success(), "{}", words(&run));
    assert!(!folder.exists());
}
