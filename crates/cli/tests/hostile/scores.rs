//! Weights that are finite and too large: what a model makes of them is no number.

use crate::home::Home;
use crate::weights::edit;

/// Replaces every number of a safetensors file by 3e38, which is finite.
fn huge(home: &Home, name: &str) {
    edit(home, name, |_, bytes| {
        for number in bytes.chunks_exact_mut(4) {
            number.copy_from_slice(&3e38_f32.to_le_bytes());
        }
    });
}

#[test]
fn scores_that_are_no_numbers_are_errors_with_their_place() {
    let head = "adapter/model_head.safetensors";
    let base = "model/model.safetensors";
    let predict = ["predict", "--model", "model", "--adapter", "adapter", "--input", "in.jsonl"];
    let eval =
        ["eval", "--model", "model", "--adapter", "adapter", "--validation-file", "labelled.jsonl"];
    let cases: [(&str, &[&str], &[&str], &str); 6] = [
        (head, &predict, &[], "in.jsonl, line 2"),
        (head, &predict, &["--output-format", "tsv"], "in.jsonl, line 2"),
        (head, &predict, &["--raw-scores"], "in.jsonl, line 2"),
        (base, &predict, &[], "in.jsonl, line 2"),
        (head, &eval, &["--json"], "labelled.jsonl, line 1"),
        (base, &eval, &["--adapterdrop", "sweep"], "labelled.jsonl, line 1"),
    ];
    for (file, command, more, place) in cases {
        let home = Home::new();
        home.write("in.jsonl", "\n{\"text\":\"a\"}\n{\"text\":\"b\"}\n");
        home.write(
            "labelled.jsonl",
            "{\"text\":\"a\",\"label\":\"neutral\"}\n{\"text\":\"b\",\"label\":\"entailment\"}\n",
        );
        huge(&home, file);
        let ended = home.run(&[command, more].concat());
        let what = format!("{file} {} {more:?}", command[0]);
        assert_eq!(ended.code, Some(1), "{what}: {}", ended.stderr);
        let begins = format!("error: {place}: the score of the adapter \"seq_bn\" is ");
        assert!(ended.stderr.contains(&begins), "{what}: {}", ended.stderr);
        let header = if more.contains(&"tsv") { "label\tscore\n" } else { "" };
        assert_eq!(ended.stdout, header, "{what}");
    }
}

/// Two adapters, of which one gives no number: the error names that one.
#[test]
fn the_adapter_that_gives_no_number_is_named() {
    let home = Home::new();
    home.copy(&home.path("adapter"), "other");
    huge(&home, "other/model_head.safetensors");
    home.write(
        "in.jsonl",
        "{\"text\":\"a\",\"by\":\"good\"}\n{\"text\":\"b\",\"by\":\"good,bad\"}\n",
    );
    let ended = home.run(&[
        "predict",
        "--model",
        "model",
        "--adapter",
        "good=adapter",
        "--adapter",
        "bad=other",
        "--adapter-column",
        "by",
        "--input",
        "in.jsonl",
    ]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let begins = "error: in.jsonl, line 2: the score of the adapter \"bad\" is ";
    assert!(ended.stderr.contains(begins), "{}", ended.stderr);
    // The row before it is answered.
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    assert!(ended.stdout.starts_with("{\"good\":{\"label\":"), "{}", ended.stdout);
}
