//! Runs that are killed, interrupted and continued: the result has the bits of a run left alone.

use std::collections::BTreeMap;
use std::io::Write;
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

/// Everything in a directory by its name, with the bytes of files.
fn content(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).expect("a directory").flatten();
    entries
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap_or_default())
        })
        .collect()
}

/// A run's folder as it is when the output directory is about to appear: its files by name. The result
/// of the run is made whole afterwards.
#[cfg(unix)]
fn folder_at_the_end(home: &Path, output: &str) -> BTreeMap<String, Vec<u8>> {
    // The rows come through a pipe, so that there is time to take the output directory's place.
    let pipe = home.join("pipe.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let mut command = command(home, output, &[]);
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let arguments =
        arguments.into_iter().map(|a| if a == "rows.csv" { "pipe.csv".into() } else { a });
    let child = Command::new(command.get_program())
        .args(arguments)
        .current_dir(home)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command");
    let mut rows = std::fs::OpenOptions::new().write(true).open(&pipe).expect("the pipe");
    let place = home.join(output);
    std::fs::create_dir(&place).expect("a directory");
    std::fs::write(place.join("mine.txt"), "mine").expect("a file");
    rows.write_all(&std::fs::read(home.join("rows.csv")).expect("the rows")).expect("a write");
    drop(rows);
    let ended = wait(child);
    assert_eq!(ended.status.code(), Some(1), "{}", words(&ended));
    assert!(words(&ended).contains("exists already"), "{}", words(&ended));
    std::fs::remove_dir_all(&place).expect("a directory");
    std::fs::remove_file(&pipe).expect("a pipe");
    let files = content(&home.join(format!("{output}.checkpoint")));
    command.args(["--resume"]);
    let ended = command.output().expect("the command");
    assert!(ended.status.success(), "{}", words(&ended));
    files
}

/// Every state that a kill can leave after the output directory has appeared.
#[cfg(unix)]
#[test]
fn a_run_killed_while_it_cleans_up_is_found_finished() {
    let home = home();
    let home = home.path();
    let files = folder_at_the_end(home, "ended");
    let names: Vec<&String> = files.keys().collect();
    assert_eq!(names, ["checkpoint.safetensors", "lock", "metrics.jsonl"]);
    let whole = content(&home.join("ended"));
    let folder = home.join("ended.checkpoint");
    let partial = String::from(".adaptkit-7-0.partial");
    let left = [&names[..], &[&partial]].concat();
    for state in 0..1 << left.len() {
        let there: Vec<&String> =
            left.iter().enumerate().filter(|(i, _)| state >> i & 1 == 1).map(|(_, n)| *n).collect();
        // With --overwrite as well, which makes no difference here.
        let extremes = state == 0 || state + 1 == 1 << left.len();
        let ways = [&["--resume"][..], &["--resume", "--overwrite"]];
        for more in &ways[..1 + usize::from(extremes)] {
            std::fs::create_dir(&folder).expect("the folder");
            for name in &there {
                let bytes = files.get(*name).map_or(&b"half a chec"[..], |bytes| bytes);
                std::fs::write(folder.join(name), bytes).expect("a file");
            }
            let ended = run(home, "ended", more);
            assert!(ended.status.success(), "{there:?} {more:?}: {}", words(&ended));
            let said = String::from_utf8_lossy(&ended.stdout);
            assert!(said.starts_with("epoch ") && said.contains("written to ended"), "{said}");
            assert!(content(&home.join("ended")) == whole, "{there:?} {more:?}: another result");
            assert!(!folder.exists(), "{there:?} {more:?}: the folder is left");
        }
    }
    // Without a folder it is as well: nothing is trained.
    let ended = run(home, "ended", &["--resume", "--json"]);
    let results: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert!(results["eval_accuracy"].is_number() && results["train_runtime"].is_number());
    assert!(content(&home.join("ended")) == whole);
    // A result that has lost a file is not whole.
    std::fs::remove_file(home.join("ended/adapter.safetensors")).expect("a file");
    let ended = run(home, "ended", &["--resume"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(words(&ended).contains("ended exists already"), "{}", words(&ended));
    let ended = run(home, "ended", &["--resume", "--overwrite"]);
    assert!(ended.status.success(), "{}", words(&ended));
    assert!(content(&home.join("ended"))["adapter.safetensors"] == whole["adapter.safetensors"]);
}

/// The output directory holds an earlier run's result, and this one's checkpoint is there in part.
#[cfg(unix)]
#[test]
fn a_run_that_overwrites_continues_whatever_is_left_of_its_folder() {
    let home = home();
    let home = home.path();
    let files = folder_at_the_end(home, "whole");
    for (left_out, more) in [
        (None, "--resume"),
        (Some("metrics.jsonl"), "--resume"),
        (Some("lock"), "--resume"),
        (Some("checkpoint.safetensors"), "--resume"),
        // Without --resume what is left is dropped.
        (Some("metrics.jsonl"), "--json"),
    ] {
        let output = "other";
        let _ = std::fs::remove_dir_all(home.join(output));
        let other = run(home, output, &["--seed", "3"]);
        assert!(other.status.success(), "{}", words(&other));
        let folder = home.join("other.checkpoint");
        std::fs::create_dir(&folder).expect("the folder");
        for (name, bytes) in files.iter().filter(|(name, _)| Some(&name[..]) != left_out) {
            std::fs::write(folder.join(name), bytes).expect("a file");
        }
        // Another run's result is not replaced unasked, and costs nothing.
        let refused = run(home, output, &["--resume"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            words(&refused).starts_with("error: other is the result of another run: data, base or"),
            "{}",
            words(&refused)
        );
        assert!(left_out == Some("checkpoint.safetensors") || folder.exists());
        let ended = run(home, output, &["--overwrite", more]);
        assert!(ended.status.success(), "without {left_out:?}: {}", words(&ended));
        match left_out {
            // What was logged before the kill is gone with the log.
            Some("metrics.jsonl") if more == "--resume" => {
                let log = std::fs::read(home.join(output).join("metrics.jsonl")).expect("a log");
                assert!(log.is_empty());
                assert!(!folder.exists());
            }
            _ => assert_same(home, "whole", output),
        }
    }
}

#[test]
fn a_flipped_bit_in_a_checkpoint_is_an_error_and_an_older_checkpoint_a_note() {
    let home = home();
    let home = home.path();
    assert!(run(home, "whole", &[]).status.success());
    let child = command(home, "bits0", &[]).spawn().expect("the command");
    let checkpoint = home.join("bits0.checkpoint/checkpoint.safetensors");
    while !checkpoint.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut child = child;
    child.kill().expect("a kill");
    wait(child);
    let whole = std::fs::read(&checkpoint).expect("the checkpoint");
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().expect("eight")) as usize;
    // In the header's facts and progress, in numbers, and in the digest.
    for at in
        [header / 3, header / 2, header + 6, whole.len() / 2, whole.len() - 40, whole.len() - 1]
    {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&checkpoint, &bytes).expect("a file");
        let ended = run(home, "bits0", &["--resume"]);
        assert_eq!(ended.status.code(), Some(1), "byte {at}: {}", words(&ended));
        let said = words(&ended);
        assert!(said.starts_with("error: the checkpoint bits0.checkpoint"), "byte {at}: {said}");
        assert!(said.contains("is damaged: "), "byte {at}: {said}");
        assert!(said.contains("hint: --overwrite without --resume starts again"), "{said}");
        assert!(std::fs::read(&checkpoint).expect("a file") == bytes, "byte {at}: it was touched");
    }
    // As it was written before there were digests.
    let mut fields: Value = serde_json::from_slice(&whole[8..header]).expect("JSON");
    let tensors = fields.as_object_mut().expect("an object");
    assert!(tensors.remove("digest").is_some());
    let metadata = tensors["__metadata__"].as_object_mut().expect("an object");
    assert!(metadata.remove("format").is_some());
    // Nor did it name the tokenizer, and the base by a sample of its weights.
    let model = golden_dir("bert").join("model");
    let inspected = Command::new(env!("CARGO_BIN_EXE_adaptkit"))
        .args(["inspect", "--json"])
        .arg(&model)
        .output()
        .expect("the command");
    let inspected: Value = serde_json::from_slice(&inspected.stdout).expect("JSON");
    let text = metadata["facts"].as_str().expect("a text");
    let mut facts: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(facts["base"], inspected["fingerprint"]);
    facts["base"] = inspected["sampled_fingerprint"].clone();
    assert!(facts.as_object_mut().expect("an object").remove("tokenizer").is_some());
    metadata["facts"] = Value::from(facts.to_string());
    let mut text = fields.to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    let numbers = &whole[header..whole.len() - 32];
    let older = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), numbers].concat();
    std::fs::write(&checkpoint, older).expect("a file");
    let loud: Vec<&str> = FLAGS.into_iter().filter(|flag| *flag != "--quiet").collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_adaptkit"));
    command.args(loud).args(["--resume", "--output-dir", "bits0", "--model"]);
    command.arg(golden_dir("bert").join("model")).current_dir(home);
    let ended = command.output().expect("the command");
    assert!(ended.status.success(), "{}", words(&ended));
    assert!(words(&ended).contains("written before checkpoints had a digest"), "{}", words(&ended));
    assert_same(home, "whole", "bits0");
}

/// A limit on files' sizes (`ulimit -f`) is an error like a full disk, and costs nothing.
#[cfg(unix)]
#[test]
fn a_file_size_limit_in_a_checkpoint_s_write_is_an_error() {
    let home = home();
    let home = home.path();
    assert!(run(home, "whole", &[]).status.success());
    let folder = home.join("torn0.checkpoint");
    let checkpoint = folder.join("checkpoint.safetensors");
    // In the first write, before there is a checkpoint, and in a later one.
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
        assert_eq!(torn.status.code(), Some(1), "{}", words(&torn));
        let said = words(&torn);
        assert!(said.contains("checkpoint.safetensors: File too large"), "{said}");
        assert!(std::fs::read(&checkpoint).ok() == before, "the checkpoint is as it was");
        let left = if continued { content(&folder).into_keys().collect() } else { Vec::new() };
        assert!(!left.iter().any(|name| name.ends_with(".partial")), "{left:?}");
        assert_eq!(folder.exists(), continued, "nothing to continue from, nothing left");
    }
    // A kill in the middle of the write leaves a part of it beside the checkpoint.
    let whole = std::fs::read(&checkpoint).expect("the checkpoint");
    std::fs::write(folder.join(".adaptkit-7-0.partial"), &whole[..whole.len() / 2])
        .expect("a file");
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
