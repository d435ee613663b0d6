//! Flags that people bring from run_glue and the Hugging Face trainer, and what does the same here.
//!
//! Those that mean the same are aliases of ours, where ours are declared. The rest is refused by the
//! parser, and this table says what to do instead.

/// What does the same as a flag, by names without their dashes.
const INSTEAD: [(&[&str], &str); 24] = [
    (
        &[
            "fp16",
            "bf16",
            "fp16-full-eval",
            "bf16-full-eval",
            "tf32",
            "fp16-opt-level",
            "half-precision-backend",
        ],
        "--precision chooses the arithmetic; by default it is bf16 where the CPU has it",
    ),
    (
        &[
            "evaluation-strategy",
            "eval-strategy",
            "eval-steps",
            "eval-delay",
            "eval-on-start",
            "evaluate-during-training",
        ],
        "the validation rows are scored after every epoch",
    ),
    (
        &[
            "save-strategy",
            "save-total-limit",
            "load-best-model-at-end",
            "save-only-model",
            "save-safetensors",
        ],
        "the best epoch is what is written; --save-steps says how often a checkpoint replaces the one before",
    ),
    (&["resume-from-checkpoint"], "--resume continues from the checkpoint beside --output-dir"),
    (
        &[
            "report-to",
            "run-name",
            "logging-dir",
            "logging-strategy",
            "logging-first-step",
            "log-level",
        ],
        "metrics.jsonl in the output directory is the log; --logging-steps says how often it gets a line",
    ),
    (&["disable-tqdm"], "--quiet shows no progress"),
    (
        &["per-device-eval-batch-size", "eval-accumulation-steps"],
        "leave it out: evaluations fill their batches by tokens, and a row's result does not depend on its batch",
    ),
    (&["pad-to-max-length"], "leave it out: nothing is padded; --max-length cuts long rows"),
    (
        &["dataset-name", "dataset-config-name", "dataset-config"],
        "--train-file and --validation-file take rows as TSV, CSV or JSON lines, --task with --data GLUE's folders",
    ),
    (&["greater-is-better"], "leave it out: --metric knows whether more is better"),
    (
        &["do-predict"],
        "--test-file scores labelled rows at the end; `adaptkit predict` labels others, `adaptkit glue` makes GLUE's files",
    ),
    (&["max-predict-samples"], "give `adaptkit predict` as many rows as it is to label"),
    (&["max-steps"], "--epochs N counts passes over the rows"),
    (
        &["optim", "adafactor", "adam-beta1", "adam-beta2", "adam-epsilon"],
        "leave it out: the optimiser is AdamW with β 0.9 and 0.999 and ε 1e-8",
    ),
    (&["lr-scheduler-kwargs"], "leave it out: the schedules have the defaults of transformers"),
    (
        &[
            "no-cuda",
            "use-cpu",
            "use-mps-device",
            "local-rank",
            "ddp-backend",
            "fsdp",
            "deepspeed",
            "torch-compile",
            "gradient-checkpointing",
        ],
        "leave it out: --threads and --instructions say what computes",
    ),
    (
        &[
            "dataloader-num-workers",
            "dataloader-drop-last",
            "dataloader-pin-memory",
            "preprocessing-num-workers",
            "auto-find-batch-size",
            "remove-unused-columns",
        ],
        "leave it out: rows are read and tokenised once, before the first step",
    ),
    (&["overwrite-cache"], "leave it out: rows are read anew in every run"),
    (
        &["push-to-hub", "hub-model-id", "hub-strategy", "hub-token", "hub-private-repo"],
        "the output directory has a model card; upload it with the hub's own tools",
    ),
    (
        &[
            "tokenizer-name",
            "config-name",
            "model-revision",
            "use-fast-tokenizer",
            "ignore-mismatched-sizes",
            "token",
            "use-auth-token",
            "trust-remote-code",
        ],
        "--model names a directory that has the config, the weights and the tokenizer; `adaptkit pull` fetches one",
    ),
    (
        &["load-adapter", "adapter-path"],
        "`adaptkit eval` and `adaptkit predict` take --adapter, `adaptkit fuse` several",
    ),
    (&["adapter-reduction-factor"], "--reduction-factor"),
    (&["adapter-non-linearity"], "--non-linearity"),
    (&["data-seed", "full-determinism"], "--seed; runs with the same seed are the same bit by bit"),
];

/// What to do instead of a flag that the parser does not know; `--fp16` and `--fp16=true` alike.
pub(crate) fn instead_of(flag: &str) -> Option<&'static str> {
    let name = flag.trim_start_matches('-');
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    let found = INSTEAD.iter().find(|(names, _)| names.contains(&name));
    found.map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn flags_are_found_with_and_without_a_value() {
        for flag in ["--fp16", "--fp16=true", "fp16"] {
            assert!(instead_of(flag).is_some_and(|hint| hint.contains("--precision")), "{flag}");
        }
        assert_eq!(instead_of("--no-such-flag"), None);
    }

    #[test]
    fn no_flag_is_there_twice_and_all_are_in_kebab_case() {
        let mut seen = HashSet::new();
        for name in INSTEAD.iter().flat_map(|(names, _)| *names) {
            assert!(seen.insert(name) && !name.contains('_'), "{name}");
        }
    }
}
