//! Every file of the fuzzers' corpus through what the fuzzers run, on a stable compiler.
//!
//! A file that once crashed a parser stays in the corpus, so this is its regression test.

use std::path::Path;

use adaptkit_fuzzing::TARGETS;

#[test]
fn every_file_of_the_corpus_is_read_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut failed = Vec::new();
    for (name, run) in TARGETS {
        let files = std::fs::read_dir(corpus.join(name)).expect("a target's corpus");
        let mut count = 0;
        for file in files {
            let path = file.expect("an entry").path();
            let bytes = std::fs::read(&path).expect("a file");
            if std::panic::catch_unwind(|| run(&bytes)).is_err() {
                failed.push(path);
            }
            count += 1;
        }
        assert!(count > 0, "{name} has no corpus");
    }
    assert!(failed.is_empty(), "the parsers panicked on {failed:#?}");
}
