//! What a terminal gets to see of files.

use serde_json::json;

use crate::home::{Home, PREDICT, case, check};

const WEIGHTS: &str = "model/model.safetensors";
const INDEX: &str = "model/model.safetensors.index.json";

fn index(home: &Home, file: &str) {
    home.remove(WEIGHTS);
    home.write(INDEX, json!({"weight_map": {"a": file}}).to_string());
}

#[test]
fn names_of_files_reach_the_terminal_escaped() {
    check(&[
        case(
            "a shard whose name clears the screen",
            |home| index(home, "x\u{1b}[2J\u{1b}]0;title\u{7}"),
            "error: model/model.safetensors.index.json: it names the file \
             \"x\\u{1b}[2J\\u{1b}]0;title\\u{7}\", whose name has control characters",
        ),
        case(
            "a shard whose name is read backwards",
            |home| index(home, "x\u{202e}srotsnetefas.\u{200b}"),
            "error: cannot read model/x\\u{202e}srotsnetefas.\\u{200b}: No such file or directory \
             (os error 2)\nhint: is the download complete? fetch the model again, all of its files",
        ),
        case(
            "a shard outside, read backwards",
            |home| index(home, "x\u{202e}srotsnetefas.\u{200b}/../y"),
            "error: model/model.safetensors.index.json: it names the file \
             \"x\\u{202e}srotsnetefas.\\u{200b}/../y\", which is not in its directory",
        ),
    ]);
}

/// Labels, columns and adapters' names with characters that a terminal obeys or hides.
#[test]
fn nothing_that_is_read_moves_the_cursor() {
    let odd = "a\u{1b}[2J\u{9b}b\u{202e}c\u{200b}d\u{2066}e\u{e0041}";
    let home = Home::new();
    home.replace("adapter/head_config.json", "\"entailment\"", &json!(odd).to_string());
    home.write("labelled.jsonl", format!("{}\n", json!({"text": "a", "label": odd})));
    home.write("wrong.jsonl", format!("{}\n", json!({"text": "a", "label": format!("{odd}!")})));
    home.write(&format!("{odd}.csv"), "no\nrow\n");
    let eval = ["eval", "--model", "model", "--adapter", "adapter", "--validation-file"];
    let file = format!("{odd}.csv");
    let runs: [(&[&str], i32); 6] = [
        (&[&eval[..], &["labelled.jsonl"]].concat(), 0),
        (&[&eval[..], &["wrong.jsonl"]].concat(), 1),
        (&["inspect", "adapter"], 0),
        (&[&PREDICT[..5], &["--input", &file]].concat(), 1),
        (&[&PREDICT[..5], &["--input", "in.txt", "--text-column", odd]].concat(), 1),
        (&["inspect", odd], 1),
    ];
    for (arguments, code) in runs {
        let ended = home.run(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.stderr);
        let shown = ended.stdout + &ended.stderr;
        let hidden = |c: &char| odd.contains(*c) && !c.is_ascii_graphic();
        assert_eq!(shown.chars().find(hidden), None, "{arguments:?}: {shown:?}");
        assert!(shown.contains("\\u{1b}[2J\\u{9b}b"), "{arguments:?}: {shown}");
    }
}
