//! The command line before it is parsed: `--output_dir` becomes `--output-dir`.
//!
//! People come from run_glue, whose flags are spelt with underscores. Rewriting names here, once,
//! keeps every flag declared once and in one spelling; no flag of ours contains an underscore.

use std::ffi::OsString;

use crate::path_argument::split;

/// The arguments with `_` turned into `-` in the names of long flags.
///
/// A flag's name ends at its `=`. Values, short flags and whatever follows a bare `--` stay as
/// they are, and so does a name that is not UTF-8.
pub(crate) fn kebab_case(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut flags_over = false;
    arguments
        .into_iter()
        .map(|argument| {
            flags_over |= argument == "--";
            match argument.to_str() {
                Some(text) if !flags_over && text.starts_with("--") => rename(text).into(),
                // A value, such as a path, need not be UTF-8.
                None if !flags_over => match split(&argument) {
                    Some((name, value)) if name.starts_with("--") => {
                        let mut flag = OsString::from(rename(name) + "=");
                        flag.push(value);
                        flag
                    }
                    _ => argument,
                },
                _ => argument,
            }
        })
        .collect()
}

fn rename(flag: &str) -> String {
    let (name, value) = flag.split_at(flag.find('=').unwrap_or(flag.len()));
    name.replace('_', "-") + value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_long_flags_change() {
        let cases: [(&[&str], &[&str]); 8] = [
            (&["train", "--output_dir", "my_dir"], &["train", "--output-dir", "my_dir"]),
            (&["--label_column=my_label"], &["--label-column=my_label"]),
            (&["--label_column=a_b=c_d"], &["--label-column=a_b=c_d"]),
            (&["--seed", "1"], &["--seed", "1"]),
            (&["-o_x", "_", "a_b", "-"], &["-o_x", "_", "a_b", "-"]),
            (&["--a_b", "--", "--c_d"], &["--a-b", "--", "--c_d"]),
            (&["--max_seq_length", "--eval_only"], &["--max-seq-length", "--eval-only"]),
            (&[], &[]),
        ];
        for (given, expected) in cases {
            let given = given.iter().map(OsString::from);
            assert_eq!(kebab_case(given), expected.iter().map(OsString::from).collect::<Vec<_>>());
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_argument_that_is_not_utf8_stays() {
        use std::os::unix::ffi::OsStringExt;
        let argument = OsString::from_vec(b"--a_b\xff".to_vec());
        assert_eq!(kebab_case([argument.clone()]), [argument]);
        let flag = |text: &[u8]| OsString::from_vec(text.to_vec());
        assert_eq!(kebab_case([flag(b"--a_b=c_\xff=d")]), [flag(b"--a-b=c_\xff=d")]);
    }
}
