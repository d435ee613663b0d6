//! What can be wrong with a composition itself.

use super::Block;
use crate::error::quoted;

/// A composition that is wrong, or that the given adapters do not make up.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CompositionError {
    /// The text is not a composition.
    #[error("at character {at} of the composition there is {found}, expected {expected}")]
    Syntax {
        /// The character, counted from 1.
        at: usize,
        /// What stands there.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A text without end.
    #[error("the composition has {length} bytes, more than the {limit} that one may have")]
    TooLong {
        /// Its bytes.
        length: usize,
        /// The most that are read.
        limit: usize,
    },
    /// A block that may not be in another.
    #[error(
        "{} cannot be in {}, which holds {}",
        inner.name(),
        outer.name(),
        outer.may_hold().iter().map(|block| block.name()).collect::<Vec<_>>().join(", ")
    )]
    Nesting {
        /// The outer block.
        outer: Block,
        /// The inner one.
        inner: Block,
    },
    /// Blocks in blocks in blocks.
    #[error(
        "{} is too deep: within a block in a block there may be adapters and stacks of them",
        inner.name()
    )]
    TooDeep {
        /// The innermost block.
        inner: Block,
    },
    /// A block of nothing.
    #[error("{} holds nothing: name the adapters in it", block.name())]
    Empty {
        /// The block.
        block: Block,
    },
    /// An argument for another number of children.
    #[error("{argument} has {found} numbers for {children} members: give one for each")]
    Count {
        /// Its name.
        argument: &'static str,
        /// Its numbers.
        found: usize,
        /// The block's children.
        children: usize,
    },
    /// An argument with values that make no sense.
    #[error("{argument} must be {expected}")]
    Argument {
        /// Its name.
        argument: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// Parts that do not make up the whole.
    #[error("{argument} have the sum {found}, and what they divide has {whole}")]
    Sum {
        /// The argument's name.
        argument: &'static str,
        /// The sum.
        found: usize,
        /// What is divided.
        whole: usize,
    },
    /// Choices between ways that do not go together.
    #[error(
        "a stack may hold several parallel blocks if they have as many members each, and no \
         batch_split beside them"
    )]
    UnlikeChoices,
    /// A name that no adapter's file can have.
    #[error("{} cannot be the name of an adapter: {reason}", quoted(name))]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A fusion with two members of one name.
    #[error("fuse has {} twice", quoted(name))]
    FusedTwice {
        /// The name.
        name: String,
    },
    /// An adapter that is not there.
    #[error("the composition has the adapter {}, and none is given by that name", quoted(name))]
    NoAdapter {
        /// Its name.
        name: String,
    },
    /// A fusion that is not there.
    #[error(
        "there is no trained fusion of {}: give the directory that has it as one of the adapters",
        quoted(name)
    )]
    NoFusion {
        /// The names of its members, with commas.
        name: String,
    },
    /// Members of one block that read and add different things.
    #[error(
        "{} and {} are wired differently, and {} takes them together: compose adapters of one \
         placement",
        quoted(first),
        quoted(other),
        block.name()
    )]
    UnlikeMembers {
        /// The block.
        block: Block,
        /// A member.
        first: String,
        /// One that differs from it.
        other: String,
    },
    /// An adapter that a composition cannot have.
    #[error("adapter {} cannot be part of this composition: {reason}", quoted(name))]
    Unsuited {
        /// Its name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A choice where there must be a single way.
    #[error("{} gives several answers where there must be one", block.name())]
    SeveralWays {
        /// The block that chooses.
        block: Block,
    },
}
