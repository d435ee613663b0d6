//! The command line's manners: exit codes, where words go, how flags may be spelt.

use std::process::{Command, Output};

fn adaptkit(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adaptkit"));
    command.env_clear().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn exit_codes_and_where_the_words_go() {
    struct Case {
        arguments: &'static [&'static str],
        code: i32,
        stdout: &'static str,
        stderr: &'static str,
    }
    let good = |arguments, stdout| Case { arguments, code: 0, stdout, stderr: "" };
    let bad = |arguments, stderr| Case { arguments, code: 2, stdout: "", stderr };
    let cases = [
        good(&["--version"], concat!("adaptkit ", env!("CARGO_PKG_VERSION"), "\n")),
        good(&["-V"], "adaptkit "),
        good(&["--help"], "ADAPTKIT_CACHE"),
        good(&["--help"], "Adapters for frozen transformer encoders"),
        good(&["-h"], "Adapters for frozen transformer encoders"),
        good(&["help"], "pull"),
        good(&["help", "pull"], "MODEL"),
        good(&["pull", "--help"], "--force"),
        bad(&[], "Usage: adaptkit"),
        bad(&["pull"], "<MODEL>"),
        bad(&["fetch"], "unrecognized subcommand 'fetch'"),
        bad(&["pull", "a", "b"], "unexpected argument 'b'"),
        bad(&["pull", "--forse", "a"], "--force"),
        bad(&["pull", "--no_such_flag", "a"], "'--no-such-flag'"),
        bad(&["pull", "--no_such_flag=a_b", "a"], "'--no-such-flag'"),
        bad(&["train", "--output_dir"], "'--output-dir"),
        bad(&["pull", "a", "--", "--no_such_flag"], "'--no_such_flag'"),
        bad(&["pull", "../../etc"], "error: \"../../etc\" is not a model's name"),
        bad(&["pull", "/etc"], "is not a model's name"),
        bad(&["pull", ""], "is not a model's name"),
        bad(&["pull", "org/name"], "set ADAPTKIT_CACHE"),
    ];
    for Case { arguments, code, stdout, stderr } in cases {
        let run = adaptkit(arguments);
        let (out, err) = (text(&run.stdout), text(&run.stderr));
        assert_eq!(run.status.code(), Some(code), "{arguments:?}: {out}{err}");
        assert!(out.contains(stdout), "{arguments:?}: {stdout:?} is not in {out}");
        assert!(err.contains(stderr), "{arguments:?}: {stderr:?} is not in {err}");
        assert_eq!(out.is_empty(), code != 0, "{arguments:?}: {out}");
        assert_eq!(err.is_empty(), code == 0, "{arguments:?}: {err}");
    }
}

#[test]
fn help_ends_with_a_line() {
    assert!(text(&adaptkit(&["--help"]).stdout).ends_with('\n'));
}

#[cfg(unix)]
#[test]
fn closed_outputs_are_no_panic() {
    for arguments in [&["--help"][..], &["--version"], &["pull"], &["pull", "../.."]] {
        let closed = || {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            writer
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_adaptkit"));
        let run = command.args(arguments).stdout(closed()).stderr(closed()).output().unwrap();
        let code = run.status.code();
        assert!(code == Some(0) || code == Some(2), "{arguments:?}: {code:?}");
    }
}
