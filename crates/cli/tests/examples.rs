//! Every `adaptkit` line of the README and the docs, run word for word in a folder that has the
//! files they name. The models' ids stand for a tiny one in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use adaptkit_testkit::golden_dir;

const PAGES: [&str; 11] = [
    "README.md",
    "docs/training.md",
    "docs/rows.md",
    "docs/adapterdrop.md",
    "docs/fusion.md",
    "docs/composition.md",
    "docs/prediction.md",
    "docs/files.md",
    "docs/models.md",
    "docs/precision.md",
    "docs/benchmarks.md",
];

/// `adaptkit …` lines of the shell blocks; `pull` needs the network and has tests of its own.
fn examples() -> Vec<(&'static str, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for page in PAGES {
        let text = std::fs::read_to_string(root.join(page)).expect("a page");
        let mut shell = false;
        for line in text.lines() {
            if line.starts_with("```") {
                shell = line == "```sh";
            } else if shell && line.contains("adaptkit ") && !line.contains("adaptkit pull") {
                found.push((page, line.to_owned()));
            }
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

/// A folder with the examples' files, and a cache with the tiny model under the ids' names.
fn workplace() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().expect("a folder");
    let cache = home.path().join("cache");
    let tiny = golden_dir("bert").join("model");
    copy(&tiny, &cache.join("models/sentence-transformers--all-MiniLM-L6-v2"));
    let write = |name: &str, text: String| {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    let review =
        |i: usize| format!("\"the film, number {i}, was fine\",{}", ["good", "bad"][i % 2]);
    let reviews: Vec<String> = (0..40).map(review).collect();
    write("reviews.csv", format!("review,verdict\n{}\n", reviews.join("\n")));
    write("new.csv", "review\n\"a new,\nbroken line\"\nanother\n".to_owned());
    let ticket = |i: usize| {
        let queue = ["sales", "support"][i % 2];
        format!("{{\"ticket\":{{\"title\":\"no. {i}\",\"body\":\"Help.\"}},\"queue\":\"{queue}\"}}")
    };
    let tickets: Vec<String> = (0..20).map(ticket).collect();
    write("tickets.json", format!("[\n{}\n]\n", tickets.join(",\n")));
    let export = |i: usize| format!("\"the \\\"{i}\\\"; fine\";{}", ["good", "bad"][i % 2]);
    let exported: Vec<String> = (0..20).map(export).collect();
    write("export.csv", format!("text;label\n{}\nshort\n", exported.join("\n")));
    for i in 0..20 {
        let label = ["pos", "neg"][i % 2];
        write(&format!("reviews-by-label/{label}/{i}.txt"), format!("the film, number {i}"));
    }
    let pair = |i: usize| format!("what is {i}?\tit is {i}\t{}", ["yes", "no"][i % 2]);
    let pairs: Vec<String> = (0..20).map(pair).collect();
    for name in ["train.tsv", "dev.tsv"] {
        write(name, format!("question\tsentence\tlabel\n{}\n", pairs.join("\n")));
    }
    let rte = |i: usize| {
        format!("{i}\ta man {i}\ta person {i}\t{}", ["entailment", "not_entailment"][i % 2])
    };
    let rows: Vec<String> = (0..20).map(rte).collect();
    let tweet = |i: usize| {
        let label = ["Relevant", "Not Relevant", "Can't Decide"][i % 3];
        format!("\"fire, number {i}\",{label}")
    };
    let tweets: Vec<String> = (0..30).map(tweet).collect();
    write(
        "socialmedia-disaster-tweets-DFE.csv",
        format!("text,choose_one\n{}\n", tweets.join("\n")),
    );
    let topic = |i: usize| {
        format!("{{\"text\":\"row {i}\",\"label\":[{}]}}", ["\"a\"", "\"a\",\"b\""][i % 2])
    };
    let topics: Vec<String> = (0..20).map(topic).collect();
    write("topics.jsonl", topics.join("\n"));
    write("texts.txt", "one text\nanother\n".to_owned());
    let mixed = ["sms-spam-adapter", "topics", "topics,sms-spam-adapter"];
    let mixed = mixed.map(|task| format!("{{\"text\":\"a text\",\"task\":\"{task}\"}}\n"));
    write("mixed.jsonl", mixed.concat());
    let tests: Vec<String> = (0..20).map(|i| format!("{i}\ta man {i}\ta person {i}")).collect();
    write("glue/RTE/test.tsv", format!("index\tsentence1\tsentence2\n{}\n", tests.join("\n")));
    for name in ["glue/RTE/train.tsv", "glue/RTE/dev.tsv"] {
        write(name, format!("index\tsentence1\tsentence2\tlabel\n{}\n", rows.join("\n")));
    }
    (home, cache)
}

#[test]
fn every_example_of_the_docs_runs() {
    let (home, cache) = workplace();
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_adaptkit"));
    let binaries = binary.parent().expect("a folder").to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let run = |line: &str| {
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(home.path())
            .env("ADAPTKIT_CACHE", &cache)
            .env("PATH", format!("{}:{path}", binaries.display()))
            .output()
            .expect("a shell");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), words)
    };
    // What the tiny model takes, and what the pages' other examples build on. The page's cargo
    // line for the quickstart is the same command under cargo.
    let (code, out, words) = run("adaptkit quickstart --epochs 1");
    assert_eq!(code, Some(0), "{words}");
    assert!(out.contains("accuracy") && out.contains("messages held out"), "{out}");
    let examples = examples();
    assert!(examples.len() >= 7, "{examples:?}");
    for (page, line) in examples {
        let (code, _, words) = run(&line);
        assert_eq!(code, Some(0), "{page}: {line}\n{words}");
    }
}
