//! Numbers and names on the command line.

use crate::home::{Home, PREDICT};

/// A training to which flags are added.
const TRAIN: &[&str] =
    &["train", "--model", "model", "--train-file", "rows.csv", "--output-dir", "out", "--quiet"];

#[test]
fn flags_out_of_range() {
    let home = Home::new();
    let before = home.snapshot();
    let train: &[(&[&str], i32, &str)] = &[
        (&["--epochs", "0"], 2, "error: --epochs is 0, it must be at least 1"),
        (&["--epochs", "-1"], 2, "error: invalid value '-1' for '--epochs <N>': invalid digit"),
        (
            &["--epochs", "99999999999999999999"],
            2,
            "error: invalid value '99999999999999999999' for '--epochs <N>': number too large \
             to fit in target type",
        ),
        (&["--batch-size", "0"], 2, "error: --batch-size is 0, it must be at least 1"),
        (
            &["--max-train-samples", "0"],
            2,
            "error: --max-train-samples is 0, it must be at least 1",
        ),
        (
            &["--learning-rate", "nan"],
            2,
            "error: --learning-rate is NaN, it must be a number not below 0",
        ),
        (
            &["--learning-rate", "-1"],
            2,
            "error: --learning-rate is -1, it must be a number not below 0",
        ),
        (
            &["--learning-rate", "inf"],
            2,
            "error: --learning-rate is inf, it must be a number not below 0",
        ),
        (
            &["--weight-decay", "nan"],
            2,
            "error: --weight-decay is NaN, it must be a number not below 0",
        ),
        (
            &["--max-grad-norm", "inf"],
            2,
            "error: --max-grad-norm is inf, it must be a number not below 0",
        ),
        (&["--warmup-ratio", "1"], 2, "error: --warmup-ratio is 1, not a share from 0 to below 1"),
        (
            &["--adapter-dropout", "1"],
            2,
            "error: --adapter-dropout is 1, not a share from 0 to below 1",
        ),
        (
            &["--head-dropout", "nan"],
            2,
            "error: --head-dropout is NaN, not a share from 0 to below 1",
        ),
        (&["--reduction-factor", "0"], 2, "error: --reduction-factor is 0, not a number above 0"),
        (
            &["--reduction-factor", "nan"],
            2,
            "error: --reduction-factor is NaN, not a number above 0",
        ),
        (
            &["--reduction-factor", "1e-300"],
            1,
            "error: \"reduction_factor\" is 1e-300, expected a factor that makes the \
             bottleneck at most 16777216 wide; with a hidden size of 32 it would be \
             3.1999999999999997e301",
        ),
        (&["--bottleneck-size", "0"], 2, "error: --bottleneck-size is 0, it must be at least 1"),
        (
            &["--bottleneck-size", "1000000000000"],
            1,
            "error: \"bottleneck size\" is 1000000000000, expected a whole number from 1 to \
             16777216",
        ),
        (
            &["--validation-fraction", "-0.1"],
            2,
            "error: the held-out shares add up to -0.1; each must be above 0 and all together \
             below 1",
        ),
        (
            &["--validation-fraction", "1"],
            2,
            "error: the held-out shares add up to 1; each must be above 0 and all together \
             below 1",
        ),
        (
            &["--validation-fraction", "nan"],
            2,
            "error: the held-out shares add up to NaN; each must be above 0 and all together \
             below 1",
        ),
        (
            &["--max-length", "0"],
            1,
            "error: a maximum length of 0 tokens: this model takes 3 to 36",
        ),
        (
            &["--max-length", "37"],
            1,
            "error: a maximum length of 37 tokens: this model takes 3 to 36",
        ),
        (
            &["--adapter", "wings"],
            2,
            "error: --adapter: there is no adapter configuration called \"wings\": use one of pfeiffer \
             (seq_bn), houlsby (double_seq_bn), parallel (par_bn), scaled_parallel \
             (scaled_par_bn)",
        ),
        (
            &["--adapterdrop", "wings"],
            2,
            "error: invalid value 'wings' for '--adapterdrop <none|N|robust>': it is none, robust \
             or a number of layers",
        ),
        (
            &["--adapterdrop", "3"],
            2,
            "error: --adapterdrop asks for 3 dropped layers: the encoder has 3, at most 2 of which \
             can be dropped",
        ),
        (
            &["--adapterdrop", "robust", "--adapterdrop-max", "18446744073709551615"],
            2,
            "error: --adapterdrop-max asks for 18446744073709551615 dropped layers",
        ),
        (
            &["--adapterdrop", "robust", "--adapterdrop-weights", "1,1,1,1"],
            2,
            "error: --adapterdrop-weights asks for 3 dropped layers",
        ),
        (
            &["--adapterdrop", "robust", "--adapterdrop-weights", "1,nan"],
            1,
            "error: the weight of 1 dropped layer is NaN, it must be a number not below 0",
        ),
        (
            &["--adapterdrop", "2", "--adapterdrop-max", "1"],
            2,
            "error: --adapterdrop-max is for --adapterdrop robust",
        ),
        (
            &["--cache-budget", "much"],
            2,
            "error: invalid value 'much' for '--cache-budget <SIZE>': a size is a number of bytes",
        ),
        (
            &["--adapterdrop", "1", "--base_dropout", "--cache-dir", "states"],
            2,
            "error: the argument '--base-dropout' cannot be used with '--cache-dir <DIR>'",
        ),
        (&["--cache-dir", "states"], 2, "error: --cache-dir is for --adapterdrop N or robust"),
        (
            &["--adapterdrop", "1", "--cache-dir", "rows.csv"],
            1,
            "error: cannot create the directory rows.csv/adaptkit-prefix-cache: Not a directory",
        ),
        (
            &["--non-linearity", "wings"],
            2,
            "error: --non-linearity is 'wings'; known are linear, relu, relu6, leakyrelu, \
             gelu, gelu_new, quick_gelu, swish, tanh, sigmoid",
        ),
        (
            &["--encoding", "wings"],
            2,
            "error: invalid value 'wings' for '--encoding <NAME>': unknown encoding \"wings\"; \
             examples are utf-8, latin-1, windows-1252, utf-16le, shift_jis, gbk",
        ),
        (
            &["--input-format", "wings"],
            2,
            "error: invalid value 'wings' for '--input-format <FORMAT>': unknown format \
             \"wings\"; the formats are lines, tsv, csv, jsonl, fasttext and label-files",
        ),
        (
            &["--threads", "0"],
            2,
            "error: invalid value '0' for '--threads <N>': number would be zero for non-zero \
             type",
        ),
        (
            &["--threads", "1000000"],
            1,
            "error: cannot start 1000000 compute threads: no more than 4096 are of any use; \
             ask for fewer with --threads",
        ),
        (
            &["--instructions", "wings"],
            1,
            "error: this CPU has no instruction set 'wings'; it has portable",
        ),
    ];
    let mut failed = Vec::new();
    for (flags, code, says) in train {
        let ended = home.run(&[TRAIN, flags].concat());
        let said = ended.stderr.lines().next().unwrap_or_default();
        if ended.code != Some(*code) || !said.starts_with(says) {
            failed.push(format!("{}: code {:?}\n{}", flags.join(" "), ended.code, ended.stderr));
        }
        if home.snapshot() != before {
            failed.push(format!("{flags:?}: the directory is not as it was"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_largest_batch_is_all_rows() {
    let home = Home::new();
    let flags = ["--batch-size", "18446744073709551615", "--epochs", "1", "--max-length", "20"];
    let ended = home.run(&[TRAIN, &flags[..]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(home.run(PREDICT).code, Some(0));
}
