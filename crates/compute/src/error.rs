//! What can go wrong on a device.

/// An error of a device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComputeError {
    /// The threads could not be started.
    #[error("cannot start {threads} compute threads: {reason}; ask for fewer with --threads")]
    Threads {
        /// Threads that were asked for.
        threads: usize,
        /// What the operating system said.
        reason: String,
    },
    /// An instruction set was asked for that the CPU does not have or nobody has heard of.
    #[error("this CPU has no instruction set '{asked}'; it has {available}")]
    InstructionSet {
        /// The name that was asked for.
        asked: String,
        /// The names that would do.
        available: String,
    },
}
