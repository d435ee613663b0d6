//! The tables of tasks.

use super::{Task, TaskFile};
use crate::data::{AnswerKind, RaggedRows};
use crate::metrics::MetricSet;

const ENTAILMENT: &[(&str, &str)] =
    &[("entailment", "entailment"), ("not_entailment", "not_entailment")];
const INFERENCE: &[(&str, &str)] =
    &[("entailment", "entailment"), ("neutral", "neutral"), ("contradiction", "contradiction")];
/// SuperGLUE's files have JSON truth values; the data sets library calls them in Python's manner.
const TRUTH: &[(&str, &str)] = &[("false", "False"), ("true", "True")];

/// A TSV file with a header line and one text.
const fn single(file: &'static str, text: &'static str, label: Option<&'static str>) -> TaskFile {
    TaskFile {
        file,
        header: true,
        text,
        text_prefix: None,
        pair: None,
        label,
        index: None,
        ragged_rows: RaggedRows::Refuse,
        score_suffix: "",
        submission: None,
    }
}

/// A file with two texts.
const fn pair(
    file: &'static str,
    text: &'static str,
    pair: &'static str,
    label: Option<&'static str>,
) -> TaskFile {
    TaskFile { pair: Some(pair), ..single(file, text, label) }
}

/// A file for the benchmark's server.
const fn submitted(file: TaskFile, index: &'static str, submission: &'static str) -> TaskFile {
    TaskFile { index: Some(index), submission: Some(submission), ..file }
}

const fn without_header(file: TaskFile) -> TaskFile {
    TaskFile { header: false, ..file }
}

const fn damaged(file: TaskFile) -> TaskFile {
    TaskFile { ragged_rows: RaggedRows::Drop, ..file }
}

const fn mismatched(file: TaskFile) -> TaskFile {
    TaskFile { score_suffix: "_mm", ..file }
}

const fn with_word(file: TaskFile) -> TaskFile {
    TaskFile { text_prefix: Some("word"), ..file }
}

pub(super) const TASKS: &[Task] = &[
    Task {
        name: "cola",
        aliases: &[],
        folder: "CoLA",
        kind: AnswerKind::Class,
        labels: &[("0", "unacceptable"), ("1", "acceptable")],
        metrics: MetricSet::Matthews,
        train: without_header(single("train.tsv", "4", Some("2"))),
        validation: &[without_header(single("dev.tsv", "4", Some("2")))],
        test: &[submitted(single("test.tsv", "sentence", None), "index", "CoLA.tsv")],
    },
    Task {
        name: "sst2",
        aliases: &["sst-2", "sst_2"],
        folder: "SST-2",
        kind: AnswerKind::Class,
        labels: &[("0", "negative"), ("1", "positive")],
        metrics: MetricSet::Accuracy,
        train: single("train.tsv", "sentence", Some("label")),
        validation: &[single("dev.tsv", "sentence", Some("label"))],
        test: &[submitted(single("test.tsv", "sentence", None), "index", "SST-2.tsv")],
    },
    Task {
        name: "mrpc",
        aliases: &[],
        folder: "MRPC",
        kind: AnswerKind::Class,
        labels: &[("0", "not_equivalent"), ("1", "equivalent")],
        metrics: MetricSet::AccuracyAndF1,
        train: pair("train.tsv", "#1 String", "#2 String", Some("Quality")),
        validation: &[pair("dev.tsv", "#1 String", "#2 String", Some("Quality"))],
        test: &[submitted(pair("test.tsv", "#1 String", "#2 String", None), "index", "MRPC.tsv")],
    },
    Task {
        name: "stsb",
        aliases: &["sts-b", "sts_b"],
        folder: "STS-B",
        kind: AnswerKind::Value,
        labels: &[],
        metrics: MetricSet::Correlation,
        train: pair("train.tsv", "sentence1", "sentence2", Some("score")),
        validation: &[pair("dev.tsv", "sentence1", "sentence2", Some("score"))],
        test: &[submitted(pair("test.tsv", "sentence1", "sentence2", None), "index", "STS-B.tsv")],
    },
    Task {
        name: "qqp",
        aliases: &[],
        folder: "QQP",
        kind: AnswerKind::Class,
        labels: &[("0", "not_duplicate"), ("1", "duplicate")],
        metrics: MetricSet::AccuracyAndF1,
        train: damaged(pair("train.tsv", "question1", "question2", Some("is_duplicate"))),
        validation: &[damaged(pair("dev.tsv", "question1", "question2", Some("is_duplicate")))],
        test: &[submitted(pair("test.tsv", "question1", "question2", None), "id", "QQP.tsv")],
    },
    Task {
        name: "mnli",
        aliases: &["mnli-m", "mnli_matched"],
        folder: "MNLI",
        kind: AnswerKind::Class,
        labels: INFERENCE,
        metrics: MetricSet::Accuracy,
        train: pair("train.tsv", "sentence1", "sentence2", Some("gold_label")),
        validation: &[
            pair("dev_matched.tsv", "sentence1", "sentence2", Some("gold_label")),
            mismatched(pair("dev_mismatched.tsv", "sentence1", "sentence2", Some("gold_label"))),
        ],
        test: &[
            submitted(
                pair("test_matched.tsv", "sentence1", "sentence2", None),
                "index",
                "MNLI-m.tsv",
            ),
            mismatched(submitted(
                pair("test_mismatched.tsv", "sentence1", "sentence2", None),
                "index",
                "MNLI-mm.tsv",
            )),
            submitted(pair("diagnostic.tsv", "sentence1", "sentence2", None), "index", "AX.tsv"),
        ],
    },
    Task {
        name: "qnli",
        aliases: &[],
        folder: "QNLI",
        kind: AnswerKind::Class,
        labels: ENTAILMENT,
        metrics: MetricSet::Accuracy,
        train: pair("train.tsv", "question", "sentence", Some("label")),
        validation: &[pair("dev.tsv", "question", "sentence", Some("label"))],
        test: &[submitted(pair("test.tsv", "question", "sentence", None), "index", "QNLI.tsv")],
    },
    Task {
        name: "rte",
        aliases: &[],
        folder: "RTE",
        kind: AnswerKind::Class,
        labels: ENTAILMENT,
        metrics: MetricSet::Accuracy,
        train: pair("train.tsv", "sentence1", "sentence2", Some("label")),
        validation: &[pair("dev.tsv", "sentence1", "sentence2", Some("label"))],
        test: &[submitted(pair("test.tsv", "sentence1", "sentence2", None), "index", "RTE.tsv")],
    },
    Task {
        name: "wnli",
        aliases: &[],
        folder: "WNLI",
        kind: AnswerKind::Class,
        labels: &[("0", "not_entailment"), ("1", "entailment")],
        metrics: MetricSet::Accuracy,
        train: pair("train.tsv", "sentence1", "sentence2", Some("label")),
        validation: &[pair("dev.tsv", "sentence1", "sentence2", Some("label"))],
        test: &[submitted(pair("test.tsv", "sentence1", "sentence2", None), "index", "WNLI.tsv")],
    },
    Task {
        name: "cb",
        aliases: &["commitmentbank"],
        folder: "CB",
        kind: AnswerKind::Class,
        labels: &[
            ("entailment", "entailment"),
            ("contradiction", "contradiction"),
            ("neutral", "neutral"),
        ],
        metrics: MetricSet::AccuracyAndMacroF1,
        train: pair("train.jsonl", "premise", "hypothesis", Some("label")),
        validation: &[pair("val.jsonl", "premise", "hypothesis", Some("label"))],
        test: &[pair("test.jsonl", "premise", "hypothesis", None)],
    },
    Task {
        name: "superglue_rte",
        aliases: &["superglue-rte"],
        folder: "RTE",
        kind: AnswerKind::Class,
        labels: ENTAILMENT,
        metrics: MetricSet::Accuracy,
        train: pair("train.jsonl", "premise", "hypothesis", Some("label")),
        validation: &[pair("val.jsonl", "premise", "hypothesis", Some("label"))],
        test: &[pair("test.jsonl", "premise", "hypothesis", None)],
    },
    Task {
        name: "boolq",
        aliases: &[],
        folder: "BoolQ",
        kind: AnswerKind::Class,
        labels: TRUTH,
        metrics: MetricSet::Accuracy,
        train: pair("train.jsonl", "question", "passage", Some("label")),
        validation: &[pair("val.jsonl", "question", "passage", Some("label"))],
        test: &[pair("test.jsonl", "question", "passage", None)],
    },
    Task {
        name: "wic",
        aliases: &[],
        folder: "WiC",
        kind: AnswerKind::Class,
        labels: TRUTH,
        metrics: MetricSet::Accuracy,
        train: with_word(pair("train.jsonl", "sentence1", "sentence2", Some("label"))),
        validation: &[with_word(pair("val.jsonl", "sentence1", "sentence2", Some("label")))],
        test: &[with_word(pair("test.jsonl", "sentence1", "sentence2", None))],
    },
];
