//! The command line before it is parsed: `--output_dir` becomes `--output-dir`, and
//! `--label-column -x` becomes `--label-column=-x`.
//!
//! People come from run_glue, whose flags are spelt with underscores. Rewriting names here, once,
//! keeps every flag declared once and in one spelling; no flag of ours contains an underscore.
//!
//! A column, a label or a name may begin with a hyphen. What follows a flag that takes a value is that
//! value unless it is itself a flag of the command; then only `--flag=VALUE` can mean a value.

use std::any::TypeId;
use std::ffi::OsString;

use clap::{Arg, Command};

use crate::path_argument::split;

/// The arguments, with a flag and its value in one where the value begins with a hyphen. The command
/// is built, so that each of its subcommands knows the flags of all.
pub(crate) fn with_values(
    command: &Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let mut command = command;
    let mut joined: Vec<OsString> = Vec::new();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            joined.push(argument);
            joined.extend(arguments);
            break;
        }
        let Some(text) = argument.to_str() else {
            joined.push(argument);
            continue;
        };
        if let Some(subcommand) = command.find_subcommand(text) {
            command = subcommand;
        }
        let takes =
            |next: &OsString| next.to_str().is_some_and(|next| is_value(command, text, next));
        let value = arguments.next_if(takes);
        let mut argument = argument;
        if let Some(value) = value {
            argument.push("=");
            argument.push(value);
        }
        joined.push(argument);
    }
    joined
}

/// Whether what follows a flag begins with a hyphen and is its value all the same.
fn is_value(command: &Command, flag: &str, next: &str) -> bool {
    let Some(flag) = flag.strip_prefix("--").and_then(|name| long(command, &rename(name))) else {
        return false;
    };
    if flag.get_num_args() != Some(1.into()) {
        return false;
    }
    match (next.strip_prefix("--"), next.strip_prefix('-')) {
        // A mistyped flag shall not become a file's name.
        (Some(name), _) if !name.is_empty() => {
            let is_text = flag.get_value_parser().type_id() == TypeId::of::<String>();
            let name = rename(name);
            let name = name.split('=').next().unwrap_or_default();
            is_text && long(command, name).is_none()
        }
        (None, Some(letters)) if !letters.is_empty() => {
            let is_short =
                |letter| command.get_arguments().any(|arg| arg.get_short() == Some(letter));
            !letters.chars().all(is_short)
        }
        _ => false,
    }
}

/// The flag of a name or another name of it.
fn long<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        arg.get_long() == Some(name)
            || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
    })
}

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
