//! Whatever can be wrong with what a user brings: each case is one line of a table, with all the
//! words that are said about it. A command that fails leaves every file as it was.
#![cfg(unix)]

mod adapters;
mod bases;
mod flags;
mod home;
mod interruptions;
mod outputs;
mod rows;
mod scores;
mod terminal;
mod weights;
