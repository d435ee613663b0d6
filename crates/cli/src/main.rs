//! The `adaptkit` command: flags in, calls out, words for people.

fn main() {}
