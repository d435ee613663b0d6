//! Files that a training run writes for itself and reads again.

use adaptkit_training::run::{fuzz_checkpoint, fuzz_prefix_cache};

use crate::{accepted, directory, refusal};

/// A run's checkpoint, as it is and with the digest that it should have.
pub fn checkpoint(data: &[u8]) {
    fuzz_checkpoint(data).iter().filter_map(|read| read.as_ref().err()).for_each(refusal);
}

/// A file of the prefix cache: no slot of it may count as filled.
pub fn prefix_cache(data: &[u8]) {
    let home = directory(&[]);
    accepted(fuzz_prefix_cache(home.path(), data));
}
