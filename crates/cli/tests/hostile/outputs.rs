//! Places where results cannot go.

use std::fs;

use crate::home::{Case, Home, check};

const OUT: &[&str] =
    &["train", "--model", "model", "--train-file", "rows.csv", "--output-dir", "out"];
const OVER: &[&str] = &[
    "train",
    "--model",
    "model",
    "--train-file",
    "rows.csv",
    "--output-dir",
    "out",
    "--overwrite",
];
const BELOW_A_FILE: &[&str] =
    &["train", "--model", "model", "--train-file", "rows.csv", "--output-dir", "in.txt/out"];
const SYSTEM: &[&str] = &[
    "train",
    "--model",
    "model",
    "--train-file",
    "rows.csv",
    "--output-dir",
    "/proc/out",
    "--epochs",
    "1",
];
const NOWHERE: &[&str] =
    &["train", "--model", "model", "--train-file", "rows.csv", "--output-dir", ""];
const PREDICT_TO_DIRECTORY: &[&str] = &[
    "predict",
    "--model",
    "model",
    "--adapter",
    "adapter",
    "--input",
    "in.txt",
    "--output",
    "model",
];
const PREDICT_TO_INPUT: &[&str] = &[
    "predict",
    "--model",
    "model",
    "--adapter",
    "adapter",
    "--input",
    "in.txt",
    "--output",
    "./in.txt",
];
const PREDICT_BELOW_A_FILE: &[&str] = &[
    "predict",
    "--model",
    "model",
    "--adapter",
    "adapter",
    "--input",
    "in.txt",
    "--output",
    "rows.csv/out.jsonl",
];
const PREDICT_TO_LOOP: &[&str] = &[
    "predict",
    "--model",
    "model",
    "--adapter",
    "adapter",
    "--input",
    "in.txt",
    "--output",
    "out",
];

fn case(
    what: &'static str,
    prepare: fn(&Home),
    arguments: &'static [&'static str],
    code: i32,
    says: &'static str,
) -> Case {
    Case { what, prepare, arguments, code, says }
}

#[test]
fn places_that_are_taken_or_cannot_be() {
    check(&[
        case(
            "exists",
            |home| home.write("out/mine.txt", "mine"),
            OUT,
            1,
            "error: out exists already: choose another directory, or ask for it to be \
             overwritten\n\
             hint: --overwrite replaces it; what is there stays until the new one is complete",
        ),
        case(
            "holds another's",
            |home| home.write("out/mine.txt", "mine"),
            OVER,
            1,
            "error: out cannot be overwritten: it holds \"mine.txt\", which is not one of this \
             program's files; move it away or choose another directory",
        ),
        case(
            "a file",
            |home| home.write("out", "mine"),
            OVER,
            1,
            "error: cannot use as an output directory out: Not a directory (os error 20)",
        ),
        case(
            "a loop of links",
            |home| home.link("out", "out"),
            OUT,
            1,
            "error: cannot resolve out: Too many levels of symbolic links (os error 40)",
        ),
        case(
            "a link to nothing",
            |home| home.link("out", "absent"),
            OUT,
            1,
            "error: cannot resolve out: No such file or directory (os error 2)",
        ),
        case(
            "below a file",
            |_| (),
            BELOW_A_FILE,
            1,
            "error: cannot use as an output directory in.txt/out: Not a directory (os error 20)",
        ),
        case(
            "where nothing can be made",
            |_| (),
            SYSTEM,
            1,
            "error: cannot create a directory in /proc: No such file or directory (os error 2)",
        ),
        case(
            "no name",
            |_| (),
            NOWHERE,
            2,
            "error: a value is required for '--output-dir <DIR>' but none was supplied\n\nFor more \
             information, try '--help'.",
        ),
        case(
            "labels over a directory",
            |_| (),
            PREDICT_TO_DIRECTORY,
            2,
            "error: --output model is a directory; name a file in it\nhint: see `adaptkit help`",
        ),
        case(
            "labels over their rows",
            |_| (),
            PREDICT_TO_INPUT,
            2,
            "error: --output ./in.txt is also the input, and would be lost; name another file\n\
             hint: see `adaptkit help`",
        ),
        case(
            "labels over their rows by a link",
            |home| {
                fs::rename(home.path("in.txt"), home.path("real.txt")).unwrap();
                home.link("in.txt", "real.txt");
            },
            PREDICT_TO_INPUT,
            2,
            "error: --output ./in.txt is also the input, and would be lost; name another file\n\
             hint: see `adaptkit help`",
        ),
        case(
            "labels below a file",
            |_| (),
            PREDICT_BELOW_A_FILE,
            1,
            "error: cannot create a file in rows.csv: Not a directory (os error 20)",
        ),
        case(
            "labels into a loop",
            |home| home.link("out", "out"),
            PREDICT_TO_LOOP,
            1,
            "error: cannot resolve out: Too many levels of symbolic links (os error 40)",
        ),
    ]);
}

/// What is wrong with a picture is said before the rows are read, which are not there.
#[test]
fn pictures_that_cannot_be_drawn() {
    let eval =
        ["eval", "--model", "model", "--adapter", "adapter", "--validation-file", "absent.csv"];
    let sweep = [&eval[..], &["--adapterdrop", "sweep"]].concat();
    let prune =
        ["prune", "--model", "model", "--fusion", "absent", "--sweep", "--train-file", "rows.csv"];
    let ending = "pictures are drawn as .svg, or as .html for a page around them, not as .png";
    let directory = "error: cannot write model: is a directory";
    let below = "error: cannot create a file in rows.csv: Not a directory (os error 20)";
    let closed = "error: cannot create a file in /proc: ";
    let cases: [(&[&str], &str, &str, i32, &str); 9] = [
        (&sweep, "--plot", "x.png", 2, ending),
        (&eval, "--attention-plot", "x.png", 2, ending),
        (&prune, "--plot", "x.PNG", 2, ending),
        (&["inspect", "adapter"], "--attention-plot", "x.png", 2, ending),
        (&sweep, "--plot", "model", 1, directory),
        (&sweep, "--plot", "rows.csv/a/x.svg", 1, below),
        (&sweep, "--plot", "/proc/x.svg", 1, closed),
        (&eval, "--attention-plot", "/proc/x.html", 1, closed),
        (&prune, "--plot", "/proc/x.svg", 1, closed),
    ];
    let home = Home::new();
    let before = home.snapshot();
    for (command, flag, file, code, says) in cases {
        let ended = home.run(&[command, &[flag, file]].concat());
        assert_eq!(ended.code, Some(code), "{command:?} {flag} {file}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{command:?} {flag} {file}: {}", ended.stderr);
    }
    assert!(home.snapshot() == before, "the directory is not as it was");
}

/// Files may have `kib` KiB here: what a full disk is to a program, without being root. Whoever starts
/// it may have ignored the signal that comes with it; by default that would end the program.
fn with_little_space(home: &Home, kib: usize, line: &str) -> [crate::home::Ended; 2] {
    ["", "trap '' XFSZ; "].map(|trap| home.shell(&format!("{trap}ulimit -f {kib}; {line}")))
}

#[test]
fn a_full_disk_costs_nothing_that_was_there() {
    let home = Home::new();
    let train = "adaptkit train --quiet --model model --train-file rows.csv --output-dir out \
                 --epochs 1 --max-length 20";
    let first = home.shell(train);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    home.write("out.jsonl", "earlier labels\n");
    home.write("many.txt", "a text\n".repeat(20_000));
    let before = home.snapshot();
    let predict = "adaptkit predict --quiet --model model --adapter adapter --input many.txt";
    for (line, place) in [
        (format!("{train} --overwrite"), "checkpoint.safetensors"),
        (format!("{predict} --output out.jsonl"), "out.jsonl"),
    ] {
        for ended in with_little_space(&home, 1, &line) {
            assert_eq!(ended.code, Some(1), "{line}: {}", ended.stderr);
            assert!(ended.stderr.starts_with("error: cannot write"), "{line}: {}", ended.stderr);
            assert!(ended.stderr.contains(place), "{line}: {}", ended.stderr);
            assert!(ended.stderr.contains("File too large"), "{line}: {}", ended.stderr);
            assert!(home.snapshot() == before, "{line}: the directory is not as it was");
        }
    }
    // A cache that finds no room is told, and the run goes on.
    let label = |i: i32| if i % 2 == 0 { "neutral" } else { "entailment" };
    // Digits are tokens of the model, so that no two rows are the same to it.
    let text = |i: i32| (0..16).map(|at| format!("{} ", (i >> at) & 1)).collect::<String>();
    let rows: String = (0..600).map(|i| format!("{},{}\n", text(i), label(i))).collect();
    home.write("many.csv", format!("text,label\n{rows}"));
    let cached = train.replace("--quiet", "").replace("rows.csv", "many.csv");
    let cached = format!("{cached} --adapterdrop 1 --cache-dir states --overwrite");
    let ended = home.shell(&format!("ulimit -f 120; {cached}"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot write the cache states/"), "{}", ended.stderr);
    assert!(ended.stderr.contains("File too large"), "{}", ended.stderr);
    home.write("labelled.csv", "text,label\na,neutral\nb,entailment\n");
    let eval = "adaptkit eval --model model --adapter adapter --validation-file labelled.csv";
    let lines = [
        predict,
        eval,
        &format!("{eval} --json"),
        "adaptkit inspect model",
        "adaptkit inspect adapter --json",
        "adaptkit --help",
        "adaptkit -h",
        "adaptkit --version",
        "adaptkit help",
        "adaptkit help train",
        "adaptkit eval --help",
        "adaptkit merge --adapter a=adapter --adapter b=adapter --output-dir merged",
    ];
    for line in lines {
        let ended = home.shell(&format!("{line} > /dev/full"));
        assert_eq!(ended.code, Some(1), "{line}: {}", ended.stderr);
        let says = "error: cannot write the output: No space left on device (os error 28)";
        assert!(ended.stderr.trim_end().ends_with(says), "{line}: {}", ended.stderr);
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_command_in_silence() {
    let home = Home::new();
    home.write("many.txt", "a text\n".repeat(20_000));
    for line in [
        "adaptkit predict --model model --adapter adapter --input many.txt | head -n 1; \
         exit ${PIPESTATUS[0]}",
        "adaptkit inspect model | true; exit ${PIPESTATUS[0]}",
        "adaptkit eval --model model --adapter adapter --validation-file labelled.csv | true; \
         exit ${PIPESTATUS[0]}",
    ] {
        home.write("labelled.csv", "text,label\na,neutral\nb,entailment\n");
        let ended = home.shell(line);
        assert_eq!((ended.code, &ended.stderr[..]), (Some(0), ""), "{line}");
    }
    // Nobody reads the words either: no panic, the same code.
    let closed = home.shell(
        "adaptkit train --model model --train-file rows.csv --output-dir out --epochs 1 \
         --max-length 20 2>&1 >/dev/null | true; exit ${PIPESTATUS[0]}",
    );
    assert_eq!(closed.code, Some(0));
    let closed = home.shell("adaptkit inspect absent 2>&- >&-");
    assert_eq!(closed.code, Some(1));
}

#[test]
fn any_directory_s_name_becomes_an_adapter_s() {
    let home = Home::new();
    let directory = "an \"odd\", näme.v2\\\n";
    let train = ["train", "--model", "model", "--train-file", "rows.csv", "--epochs", "1"];
    let ended =
        home.run(&[&train[..], &["--max-length", "20", "--output-dir", directory]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let predict = ["predict", "--model", "model", "--input", "in.txt", "--adapter", directory];
    let ended = home.run(&predict);
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 3), "{}", ended.stderr);
}
