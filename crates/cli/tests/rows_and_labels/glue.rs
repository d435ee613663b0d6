//! Every published task in its files' own layout, and the set of files for the benchmark's server.

use std::io::Read;

use crate::home::Home;

/// A task's files and how its validation rows are labelled as a user's own.
struct Published {
    task: &'static str,
    /// Training rows, validation files and test files: name, header line, and a row with `#` for
    /// its number and `@` for its label.
    files: &'static [(&'static str, &'static str, &'static str)],
    labels: &'static [&'static str],
    /// Flags that make `predict` read the first validation file.
    columns: &'static str,
    /// The score that `eval` must give.
    score: &'static str,
    /// Words of the submission's files, with the labels that they may hold.
    submission: &'static [&'static str],
}

const PAIR: &str = "index\tsentence1\tsentence2\tlabel";
const PAIR_ROW: &str = "#\ta man # sleeps\tsomeone \"sleeps\t@";
const PAIR_TEST: (&str, &str, &str) =
    ("test.tsv", "index\tsentence1\tsentence2", "#\ta man # sleeps\tsomeone sleeps");
const STS: &str = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2";
const STS_SCORED: &str =
    "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore";
const MNLI: &str = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\t\
     sentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2";
const MNLI_ROW: &str =
    "#\t3#\t3#n\tfiction\t( x )\t( y )\t(ROOT x)\t(ROOT y)\tone # thing\tanother";
const MNLI_TRAIN: &str = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\t\
     sentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label";
const MNLI_DEV: &str = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\t\
     sentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\t\
     label1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label";
const MNLI_TRAIN_ROW: &str =
    "#\t3#\t3#n\tfiction\t( x )\t( y )\t(ROOT x)\t(ROOT y)\tone # thing\tanother\t@\t@";
const MNLI_DEV_ROW: &str =
    "#\t3#\t3#n\tfiction\t( x )\t( y )\t(ROOT x)\t(ROOT y)\tone # thing\tanother\t@\t@\t@\t@\t@\t@";
const CB_ROW: &str = r#"{"premise":"B: row #?","hypothesis":"it is","label":"@","idx":#}"#;

const PUBLISHED: [Published; 13] = [
    Published {
        task: "cola",
        files: &[
            ("CoLA/train.tsv", "", "gj04\t@\t\tThe sailors \"rode # time."),
            ("CoLA/dev.tsv", "", "gj04\t@\t*\tRode # the sailors."),
            ("CoLA/test.tsv", "index\tsentence", "#\tWho rode # boats?"),
        ],
        labels: &["1", "0"],
        columns: "--input glue/CoLA/dev.tsv --no-header --text-column 4",
        score: "eval_matthews_correlation",
        submission: &["CoLA.tsv"],
    },
    Published {
        task: "sst2",
        files: &[
            ("SST-2/train.tsv", "sentence\tlabel", "a fine film # \t@"),
            ("SST-2/dev.tsv", "sentence\tlabel", "a bad film # \t@"),
            ("SST-2/test.tsv", "index\tsentence", "#\ta film #"),
        ],
        labels: &["0", "1"],
        columns: "--input glue/SST-2/dev.tsv --text-column sentence",
        score: "eval_accuracy",
        submission: &["SST-2.tsv"],
    },
    Published {
        task: "mrpc",
        files: &[
            (
                "MRPC/train.tsv",
                "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
                "@\t1#\t2#\tHe said \" # .\tShe said # .",
            ),
            (
                "MRPC/dev.tsv",
                "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
                "@\t1#\t2#\tHe said # .\tShe said # .",
            ),
            (
                "MRPC/test.tsv",
                "\u{feff}index\t#1 ID\t#2 ID\t#1 String\t#2 String",
                "#\t1#\t2#\tHe said # .\tShe said # .",
            ),
        ],
        labels: &["1", "0"],
        columns: "--input glue/MRPC/dev.tsv --text-column Quality",
        score: "eval_f1",
        submission: &["MRPC.tsv"],
    },
    Published {
        task: "stsb",
        files: &[
            (
                "STS-B/train.tsv",
                STS_SCORED,
                "#\tnews\tfile\t2012\t00#\tnone\tnone\tA plane # lands.\tAn air plane lands.\t@",
            ),
            (
                "STS-B/dev.tsv",
                STS_SCORED,
                "#\tnews\tfile\t2012\t00#\tnone\tnone\tA plane # lands.\tAn air plane lands.\t@",
            ),
            (
                "STS-B/test.tsv",
                STS,
                "#\tnews\tfile\t2012\t00#\tnone\tnone\tA plane # lands.\tAn air plane lands.",
            ),
        ],
        labels: &["5.000", "0.5", "2.75"],
        columns: "--input glue/STS-B/dev.tsv --text-column sentence1 --text-pair-column sentence2",
        score: "eval_spearmanr",
        submission: &["STS-B.tsv"],
    },
    Published {
        task: "qqp",
        files: &[
            (
                "QQP/train.tsv",
                "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
                "1#\t2#\t3#\tHow is \"# made?\tHow does one make #?\t@",
            ),
            (
                "QQP/dev.tsv",
                "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
                "1#\t2#\t3#\tHow is # made?\tHow does one make #?\t@",
            ),
            ("QQP/test.tsv", "id\tquestion1\tquestion2", "#\tHow is # made?\tWhy?"),
        ],
        labels: &["0", "1"],
        columns: "--input glue/QQP/dev.tsv --text-column question1 --text-pair-column question2",
        score: "eval_combined_score",
        submission: &["QQP.tsv"],
    },
    Published {
        task: "mnli",
        files: &[
            ("MNLI/train.tsv", MNLI_TRAIN, MNLI_TRAIN_ROW),
            ("MNLI/dev_matched.tsv", MNLI_DEV, MNLI_DEV_ROW),
            ("MNLI/dev_mismatched.tsv", MNLI_DEV, MNLI_DEV_ROW),
            ("MNLI/test_matched.tsv", MNLI, MNLI_ROW),
            ("MNLI/test_mismatched.tsv", MNLI, MNLI_ROW),
            ("diagnostic/diagnostic.tsv", "index\tsentence1\tsentence2", "#\tone # thing\tanother"),
        ],
        labels: &["contradiction", "neutral", "entailment"],
        columns: "--input glue/MNLI/dev_mismatched.tsv --text-column sentence1 --text-pair-column sentence2",
        score: "eval_accuracy_mm",
        submission: &["MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"],
    },
    Published {
        task: "qnli",
        files: &[
            ("QNLI/train.tsv", "index\tquestion\tsentence\tlabel", "#\tWho is #?\t# is \"he.\t@"),
            ("QNLI/dev.tsv", "index\tquestion\tsentence\tlabel", "#\tWho is #?\t# is he.\t@"),
            ("QNLI/test.tsv", "index\tquestion\tsentence", "#\tWho is #?\t# is he."),
        ],
        labels: &["not_entailment", "entailment"],
        columns: "--input glue/QNLI/dev.tsv --text-column question --text-pair-column sentence",
        score: "eval_accuracy",
        submission: &["QNLI.tsv"],
    },
    Published {
        task: "rte",
        files: &[
            ("RTE/train.tsv", PAIR, PAIR_ROW),
            ("RTE/dev.tsv", PAIR, PAIR_ROW),
            ("RTE/test.tsv", PAIR_TEST.1, PAIR_TEST.2),
        ],
        labels: &["not_entailment", "entailment"],
        columns: "--input glue/RTE/dev.tsv --text-column sentence1 --text-pair-column sentence2",
        score: "eval_accuracy",
        submission: &["RTE.tsv"],
    },
    Published {
        task: "wnli",
        files: &[
            ("WNLI/train.tsv", PAIR, PAIR_ROW),
            ("WNLI/dev.tsv", PAIR, PAIR_ROW),
            ("WNLI/test.tsv", PAIR_TEST.1, PAIR_TEST.2),
        ],
        labels: &["1", "0"],
        columns: "--input glue/WNLI/dev.tsv --text-column sentence1 --text-pair-column sentence2",
        score: "eval_accuracy",
        submission: &["WNLI.tsv"],
    },
    Published {
        task: "cb",
        files: &[("CB/train.jsonl", "", CB_ROW), ("CB/val.jsonl", "", CB_ROW)],
        labels: &["neutral", "entailment", "contradiction"],
        columns: "--input glue/CB/val.jsonl --text-column premise --text-pair-column hypothesis",
        score: "eval_combined_score",
        submission: &[],
    },
    Published {
        task: "superglue_rte",
        files: &[("RTE/train.jsonl", "", CB_ROW), ("RTE/val.jsonl", "", CB_ROW)],
        labels: &["not_entailment", "entailment"],
        columns: "--input glue/RTE/val.jsonl --text-column premise --text-pair-column hypothesis",
        score: "eval_accuracy",
        submission: &[],
    },
    Published {
        task: "boolq",
        files: &[
            (
                "BoolQ/train.jsonl",
                "",
                r#"{"question":"is it #","passage":"It -- is \"so\"","idx":#,"label":@}"#,
            ),
            ("BoolQ/val.jsonl", "", r#"{"question":"is it #","passage":"It","idx":#,"label":@}"#),
        ],
        labels: &["true", "false"],
        columns: "--input glue/BoolQ/val.jsonl --text-column question --text-pair-column passage",
        score: "eval_accuracy",
        submission: &[],
    },
    Published {
        task: "wic",
        files: &[
            (
                "WiC/train.jsonl",
                "",
                r#"{"word":"place","sentence1":"Do # place","sentence2":"A place","idx":#,"label":@,"start1":3,"end1":8}"#,
            ),
            (
                "WiC/val.jsonl",
                "",
                r#"{"word":"place","sentence1":"Do # place","sentence2":"A place","idx":#,"label":@,"start1":3,"end1":8}"#,
            ),
        ],
        labels: &["false", "true"],
        columns: "--input glue/WiC/val.jsonl --text-column sentence1 --text-pair-column sentence2",
        score: "eval_accuracy",
        submission: &[],
    },
];

/// Rows in every file.
const ROWS: usize = 6;

fn write_files(home: &Home, published: &Published) {
    for (name, header, row) in published.files {
        let mut text = String::new();
        if !header.is_empty() {
            text += header;
            text.push('\n');
        }
        for i in 0..ROWS {
            let label = published.labels[i % published.labels.len()];
            text += &row.replace('#', &i.to_string()).replace('@', label);
            text.push('\n');
        }
        home.write(&format!("glue/{name}"), text.as_bytes());
    }
}

#[test]
fn every_task_is_trained_evaluated_used_and_submitted_from_its_own_files() {
    let home = Home::with(&[]);
    let mut adapters = String::new();
    for published in &PUBLISHED {
        let task = published.task;
        write_files(&home, published);
        let trained = home.json(&format!(
            "train --model TINY --task {task} --data glue --epochs 1 --output-dir out/{task} -q"
        ));
        assert_eq!(trained["train_samples"], ROWS, "{task}");
        let scores =
            home.json(&format!("eval --model TINY --adapter out/{task} --task {task} --data glue"));
        assert!(scores[published.score].is_f64(), "{task}: {scores}");
        assert_eq!(scores["eval_samples"], ROWS, "{task}");
        let breakdown = if task == "stsb" { "eval_residuals" } else { "eval_confusion" };
        assert!(!scores[breakdown].is_null(), "{task}: {scores}");
        let columns = published.columns;
        // MRPC's columns are called `#1 String`, which a line of words without spaces cannot say.
        let predicted = home.good(&format!("predict --model TINY --adapter out/{task} {columns}"));
        assert_eq!(predicted.values().len(), ROWS, "{task}");
        if !published.submission.is_empty() {
            adapters += &format!(" --adapter {task}=out/{task}");
        }
    }
    let said = home.good(&format!(
        "glue submit --model TINY --data glue --output-dir submission --zip --json{adapters}"
    ));
    assert_eq!(said.value()["missing"], serde_json::json!([]));
    assert!(said.stderr.contains("RTE.tsv has 6 rows; the server's test set has 3000"));
    let archive = std::fs::File::open(home.path("submission/submission.zip")).expect("an archive");
    let mut archive = zip::ZipArchive::new(archive).expect("an archive");
    let mut found = 0;
    for published in &PUBLISHED {
        for name in published.submission {
            let text = home.read(&format!("submission/{name}"));
            let (header, rows) = text.split_once('\n').expect("a header line");
            assert_eq!(header, "index\tprediction", "{name}");
            assert_eq!(rows.lines().count(), ROWS, "{name}");
            for (i, row) in rows.lines().enumerate() {
                let (index, answer) = row.split_once('\t').expect("two columns");
                assert_eq!(index, i.to_string(), "{name}");
                let fits = match published.task {
                    "stsb" => answer.parse::<f64>().is_ok_and(|x| (0.0..=5.0).contains(&x)),
                    _ => published.labels.contains(&answer),
                };
                assert!(fits, "{name}: {row}");
            }
            let mut zipped = String::new();
            let mut member = archive.by_name(name).expect("a member");
            member.read_to_string(&mut zipped).expect("text");
            assert_eq!(zipped, text, "{name}");
            found += 1;
        }
    }
    assert_eq!((found, archive.len()), (11, 11));
}

#[test]
fn a_submission_says_what_it_lacks_and_refuses_what_does_not_fit() {
    let home = Home::with(&[]);
    for published in &PUBLISHED {
        if ["rte", "wnli"].contains(&published.task) {
            write_files(&home, published);
        }
    }
    home.good("train --model TINY --task rte --data glue --epochs 1 --output-dir rte -q");
    let submit = "glue submit --model TINY --data glue --output-dir set";
    let said = home.good(&format!("{submit} --adapter rte=rte"));
    assert!(said.stdout.contains("missing: CoLA.tsv, SST-2.tsv, MRPC.tsv"), "{}", said.stdout);
    let files = std::fs::read_dir(home.path("set")).expect("a folder").count();
    assert_eq!(files, 1);

    let said = home.good(&format!("{submit} --adapter rte=rte --fill-missing --overwrite --json"));
    assert_eq!(said.value()["missing"], serde_json::json!([]));
    assert_eq!(std::fs::read_dir(home.path("set")).expect("a folder").count(), 11);
    assert_eq!(home.read("set/WNLI.tsv").lines().count(), 147);

    let cases = [
        ("--adapter rte=rte", 1, "--overwrite"),
        ("--overwrite --adapter wnli=rte", 0, ""),
        ("--overwrite --adapter mnli=rte", 2, "gives the label \"not_entailment\""),
        ("--overwrite --adapter stsb=rte", 2, "gives one label a row"),
        ("--overwrite --adapter qnli=rte", 1, "test.tsv"),
        ("--overwrite --adapter cb=rte", 2, "cb is not one of GLUE's tasks"),
        ("--overwrite --adapter rte", 2, "TASK=DIR"),
        ("--overwrite --adapter rte=rte --adapter rte=rte", 2, "twice"),
        ("--overwrite --adapter rte=absent", 1, "absent"),
    ];
    for (flags, code, words) in cases {
        let said = home.run(&format!("{submit} {flags}"));
        assert_eq!(said.code, Some(code), "{flags}: {}", said.stderr);
        assert!(said.stderr.contains(words), "{flags}: {}", said.stderr);
    }
}
