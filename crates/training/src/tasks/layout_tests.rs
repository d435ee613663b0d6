//! Every task read from folders in its published layout, written small.

use std::fs;

use super::*;
use crate::data::Answers;

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

#[test]
fn names_and_aliases_are_known_and_used_once() {
    for (name, expected) in [
        ("rte", "rte"),
        ("RTE", "rte"),
        ("sst-2", "sst2"),
        ("STS-B", "stsb"),
        ("sts_b", "stsb"),
        ("mnli_matched", "mnli"),
        ("BoolQ", "boolq"),
    ] {
        assert_eq!(Task::by_name(name).unwrap().name, expected);
    }
    let error = Task::by_name("copa").unwrap_err().to_string();
    assert!(error.contains("unknown task \"copa\"; the tasks are \"cola\", \"sst2\""), "{error}");

    let mut names: Vec<&str> = Task::all()
        .iter()
        .flat_map(|task| task.aliases.iter().copied().chain([task.name]))
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn labels_are_numbered_as_published() {
    let cases: [(&str, &[&str]); 13] = [
        ("cola", &["unacceptable", "acceptable"]),
        ("sst2", &["negative", "positive"]),
        ("mrpc", &["not_equivalent", "equivalent"]),
        ("stsb", &[]),
        ("qqp", &["not_duplicate", "duplicate"]),
        ("mnli", &["entailment", "neutral", "contradiction"]),
        ("qnli", &["entailment", "not_entailment"]),
        ("rte", &["entailment", "not_entailment"]),
        ("wnli", &["not_entailment", "entailment"]),
        ("cb", &["entailment", "contradiction", "neutral"]),
        ("superglue_rte", &["entailment", "not_entailment"]),
        ("boolq", &["False", "True"]),
        ("wic", &["False", "True"]),
    ];
    assert_eq!(cases.len(), Task::all().len());
    for (name, expected) in cases {
        let task = Task::by_name(name).unwrap();
        let space = task.answer_space().unwrap();
        assert_eq!(space.kind(), task.kind, "{name}");
        assert_eq!(task.metrics.kind(), task.kind, "{name}");
        let labels = space.labels().map_or(&[][..], |labels| labels.names());
        assert_eq!(labels, expected, "{name}");
    }
}

/// For each task: its files, and what comes of the first row of train, of every validation file
/// and of every test file.
#[test]
fn every_task_reads_its_published_layout() {
    type Row = (&'static str, Option<&'static str>);
    struct Case {
        task: &'static str,
        files: &'static [(&'static str, &'static str)],
        train: Row,
        answers: Answers,
        /// Text and number of the first row of each test file.
        tests: &'static [(&'static str, Option<&'static str>)],
    }
    let two = || Answers::Classes(vec![1, 0]);
    let cases = [
        Case {
            task: "cola",
            files: &[
                ("train.tsv", "gj04\t1\t\tA \"b\nks08\t0\t*\tB a"),
                ("dev.tsv", "gj04\t1\t\tA \"b\ngj04\t0\t*\tD"),
                ("test.tsv", "index\tsentence\n0\tE\n"),
            ],
            train: ("A \"b", None),
            answers: two(),
            tests: &[("E", Some("0"))],
        },
        Case {
            task: "sst2",
            files: &[
                ("train.tsv", "sentence\tlabel\nfine \t1\nbad \t0\n"),
                ("dev.tsv", "sentence\tlabel\nfine \t1\nbad \t0\n"),
                ("test.tsv", "index\tsentence\n5\tso\n"),
            ],
            train: ("fine ", None),
            answers: two(),
            tests: &[("so", Some("5"))],
        },
        Case {
            task: "mrpc",
            files: &[
                (
                    "train.tsv",
                    "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t7\t8\ta\tb\r\n0\t7\t8\tc\td\r\n",
                ),
                (
                    "dev.tsv",
                    "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta\tb\n0\t7\t8\tc\td\n",
                ),
                ("test.tsv", "\u{feff}index\t#1 ID\t#2 ID\t#1 String\t#2 String\n3\t7\t8\te\tf\n"),
            ],
            train: ("a", Some("b")),
            answers: two(),
            tests: &[("e", Some("3"))],
        },
        Case {
            task: "stsb",
            files: &[
                (
                    "train.tsv",
                    "index\tgenre\tsentence1\tsentence2\tscore\n0\tx\ta\tb\t5.000\n1\tx\ta\tb\t2.6\n",
                ),
                (
                    "dev.tsv",
                    "index\tgenre\tsentence1\tsentence2\tscore\n0\tx\ta\tb\t5.000\n1\tx\ta\tb\t2.6\n",
                ),
                ("test.tsv", "index\tgenre\tsentence1\tsentence2\n0\tx\tc\td\n"),
            ],
            train: ("a", Some("b")),
            answers: Answers::Values(vec![5.0, 2.6]),
            tests: &[("c", Some("0"))],
        },
        Case {
            task: "qqp",
            files: &[
                (
                    "train.tsv",
                    "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n9\t1\t2\ta\tb\t1\n\"cut\n9\t1\t2\ta\tb\t0\n",
                ),
                (
                    "dev.tsv",
                    "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n9\t1\t2\ta\tb\t1\n9\t1\t2\ta\tb\t0\n",
                ),
                ("test.tsv", "id\tquestion1\tquestion2\n4\tc\td\n"),
            ],
            train: ("a", Some("b")),
            answers: two(),
            tests: &[("c", Some("4"))],
        },
        Case {
            task: "mnli",
            files: &[
                (
                    "train.tsv",
                    "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\ta\tb\tx\tcontradiction\n1\ta\tb\tx\tentailment\n",
                ),
                (
                    "dev_matched.tsv",
                    "index\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n0\ta\tb\tx\ty\tcontradiction\n1\ta\tb\tx\ty\tentailment\n",
                ),
                (
                    "dev_mismatched.tsv",
                    "index\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n0\ta\tb\tx\ty\tcontradiction\n1\ta\tb\tx\ty\tentailment\n",
                ),
                ("test_matched.tsv", "index\tsentence1\tsentence2\n0\tm\tb\n"),
                ("test_mismatched.tsv", "index\tsentence1\tsentence2\n1\tmm\tb\n"),
                ("diagnostic/diagnostic.tsv", "index\tsentence1\tsentence2\n2\tax\tb\n"),
            ],
            train: ("a", Some("b")),
            answers: Answers::Classes(vec![2, 0]),
            tests: &[("m", Some("0")), ("mm", Some("1")), ("ax", Some("2"))],
        },
        Case {
            task: "qnli",
            files: &[
                (
                    "train.tsv",
                    "index\tquestion\tsentence\tlabel\n0\ta\tb\tnot_entailment\n1\ta\tb\tentailment\n",
                ),
                (
                    "dev.tsv",
                    "index\tquestion\tsentence\tlabel\n0\ta\tb\tnot_entailment\n1\ta\tb\tentailment\n",
                ),
                ("test.tsv", "index\tquestion\tsentence\n0\tc\td\n"),
            ],
            train: ("a", Some("b")),
            answers: two(),
            tests: &[("c", Some("0"))],
        },
        Case {
            task: "rte",
            files: &[
                (
                    "train.tsv",
                    "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment\n1\ta\tb\tentailment\n",
                ),
                (
                    "dev.tsv",
                    "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment\n1\ta\tb\tentailment\n",
                ),
                ("test.tsv", "index\tsentence1\tsentence2\n0\tc\td\n"),
            ],
            train: ("a", Some("b")),
            answers: two(),
            tests: &[("c", Some("0"))],
        },
        Case {
            task: "wnli",
            files: &[
                ("train.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n1\ta\tb\t0\n"),
                ("dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n1\ta\tb\t0\n"),
                ("test.tsv", "index\tsentence1\tsentence2\n0\tc\td\n"),
            ],
            train: ("a", Some("b")),
            answers: two(),
            tests: &[("c", Some("0"))],
        },
        Case {
            task: "cb",
            files: &[
                (
                    "train.jsonl",
                    "{\"premise\":\"a\",\"hypothesis\":\"b\",\"label\":\"neutral\",\"idx\":0}\n{\"premise\":\"a\",\"hypothesis\":\"b\",\"label\":\"entailment\",\"idx\":1}",
                ),
                (
                    "val.jsonl",
                    "{\"premise\":\"a\",\"hypothesis\":\"b\",\"label\":\"neutral\",\"idx\":0}\n{\"premise\":\"a\",\"hypothesis\":\"b\",\"label\":\"entailment\",\"idx\":1}",
                ),
                ("test.jsonl", "{\"premise\":\"c\",\"hypothesis\":\"d\",\"idx\":0}\n"),
            ],
            train: ("a", Some("b")),
            answers: Answers::Classes(vec![2, 0]),
            tests: &[("c", None)],
        },
        Case {
            task: "superglue_rte",
            files: &[
                (
                    "train.jsonl",
                    "{\"premise\":\"a\",\"hypothesis\":\"b\",\"label\":\"not_entailment\",\"idx\":0}\n{\"premise\":\"a\",\"hypothesis\":\"b\",\"label\":\"entailment\",\"idx\":1}",
                ),
                (
                    "val.jsonl",
                    "{\"premise\":\"a\",\"hypothesis\":\"b\",\"label\":\"not_entailment\",\"idx\":0}\n{\"premise\":\"a\",\"hypothesis\":\"b\",\"label\":\"entailment\",\"idx\":1}",
                ),
                ("test.jsonl", "{\"premise\":\"c\",\"hypothesis\":\"d\",\"idx\":0}\n"),
            ],
            train: ("a", Some("b")),
            answers: two(),
            tests: &[("c", None)],
        },
        Case {
            task: "boolq",
            files: &[
                (
                    "train.jsonl",
                    "{\"question\":\"a\",\"passage\":\"b\",\"idx\":0,\"label\":true}\n{\"question\":\"a\",\"passage\":\"b\",\"idx\":1,\"label\":false}",
                ),
                (
                    "val.jsonl",
                    "{\"question\":\"a\",\"passage\":\"b\",\"idx\":0,\"label\":true}\n{\"question\":\"a\",\"passage\":\"b\",\"idx\":1,\"label\":false}",
                ),
                ("test.jsonl", "{\"question\":\"c\",\"passage\":\"d\",\"idx\":0}"),
            ],
            train: ("a", Some("b")),
            answers: two(),
            tests: &[("c", None)],
        },
        Case {
            task: "wic",
            files: &[
                (
                    "train.jsonl",
                    "{\"word\":\"w\",\"sentence1\":\"a\",\"sentence2\":\"b\",\"start1\":0,\"label\":true}\n{\"word\":\"w\",\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":false}",
                ),
                (
                    "val.jsonl",
                    "{\"word\":\"w\",\"sentence1\":\"a\",\"sentence2\":\"b\",\"start1\":0,\"label\":true}\n{\"word\":\"w\",\"sentence1\":\"a\",\"sentence2\":\"b\",\"label\":false}",
                ),
                ("test.jsonl", "{\"word\":\"w\",\"sentence1\":\"c\",\"sentence2\":\"d\"}"),
            ],
            train: ("w: a", Some("b")),
            answers: two(),
            tests: &[("w: c", None)],
        },
    ];
    assert_eq!(cases.len(), Task::all().len());
    for case in cases {
        let task = Task::by_name(case.task).unwrap();
        let (own, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(own.path(), case.files);
        write(&archive.path().join(task.folder), case.files);
        let apart: Vec<_> =
            case.files.iter().copied().filter(|(name, _)| name.contains("/")).collect();
        write(archive.path(), &apart);
        let space = task.answer_space().unwrap();
        for folder in [own.path(), archive.path()] {
            for file in std::iter::once(&task.train).chain(task.validation) {
                let (rows, report) = task.read(folder, file, &space).unwrap();
                assert_eq!((rows.len(), report.rows), (2, 2), "{}", case.task);
                assert_eq!(rows.answers, case.answers, "{} {}", case.task, file.file);
                let first = (&*rows.rows[0].text, rows.rows[0].pair.as_deref());
                assert_eq!(first, case.train, "{} {}", case.task, file.file);
            }
            assert_eq!(task.test.len(), case.tests.len(), "{}", case.task);
            for (file, (text, index)) in task.test.iter().zip(case.tests) {
                let row = task.open(folder, file).unwrap().next().unwrap().unwrap();
                let found = (&*row.text, row.label, row.index.as_deref());
                assert_eq!(found, (*text, None, *index), "{} {}", case.task, file.file);
            }
        }
    }
}

#[test]
fn a_missing_file_is_named_with_the_places_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let task = Task::by_name("rte").unwrap();
    let error = task.path(folder.path(), &task.train).unwrap_err().to_string();
    assert!(error.starts_with("task rte: found none of "), "{error}");
    assert!(error.contains("RTE") && error.contains("train.tsv"), "{error}");
}
