//! From the files people have, through the commands, to scores and labels, on a tiny model.

mod files;
mod formats;
mod glue;
mod home;
mod labels;
mod options;
mod spellings;
