//! Several adapters on one encoder, as the `adapters` library composes them.
//!
//! | block | a row's way at each place |
//! |---|---|
//! | `stack(a, b)` | b on what a makes of it |
//! | `fuse(a, b)` | [AdapterFusion](crate::Fusion) of both |
//! | `split(a, b, splits=[64, 64])` | a for its first 64 tokens, b for the 64 behind them |
//! | `average(a, b, weights=[0.3, 0.7])` | the weighted mean of what both make of it |
//! | `parallel(a, b)` | a and b, each with an answer of its own |
//! | `batch_split(a, b, batch_sizes=[2, 3])` | a for two rows, b for the three behind them, and so on |
//!
//! [`Composition`] is the one type of it, with the nesting rules of the library: the parsers of its
//! textual form (`text`) and of `adapter_setup.json` (`json`) give no composition that breaks
//! them. `parallel` and `batch_split` say which way a row goes, not what happens on it: `ways`
//! lays a composition out into ways without a choice, each of which is a [`TaskModel`] like that of
//! any adapter (`assembly`), with a module of its own kind at each place (`composed`).
//!
//! [`TaskModel`]: crate::TaskModel

mod assembly;
pub(crate) mod composed;
mod error;
mod json;
mod text;
mod ways;

use std::collections::BTreeSet;

pub use composed::Composed;
pub use error::CompositionError;
pub use ways::{Way, Ways};

/// An adapter by its name, or a block of compositions.
#[derive(Clone, Debug, PartialEq)]
pub enum Composition {
    /// An adapter.
    Adapter(String),
    /// One on what another makes of it.
    Stack(Vec<Composition>),
    /// A fusion of adapters, or of stacks.
    Fuse(Vec<Composition>),
    /// For each an answer of its own.
    Parallel(Vec<Composition>),
    /// Each for some tokens of every row.
    Split {
        /// In the order of the tokens.
        children: Vec<Composition>,
        /// How many tokens are whose.
        splits: Vec<usize>,
    },
    /// Each for some rows.
    BatchSplit {
        /// In the order of the rows.
        children: Vec<Composition>,
        /// How many rows are whose.
        batch_sizes: Vec<usize>,
    },
    /// The weighted mean.
    Average {
        /// In the order of the weights.
        children: Vec<Composition>,
        /// Their shares, with the sum 1.
        weights: Vec<f64>,
    },
}

/// The kind of a composition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Block {
    /// An adapter.
    Adapter,
    /// See [`Composition::Stack`].
    Stack,
    /// See [`Composition::Fuse`].
    Fuse,
    /// See [`Composition::Split`].
    Split,
    /// See [`Composition::Parallel`].
    Parallel,
    /// See [`Composition::BatchSplit`].
    BatchSplit,
    /// See [`Composition::Average`].
    Average,
}

impl Block {
    /// The blocks, adapters aside.
    pub const BLOCKS: [Block; 6] = [
        Block::Stack,
        Block::Fuse,
        Block::Split,
        Block::Parallel,
        Block::BatchSplit,
        Block::Average,
    ];

    /// Its name in text.
    pub fn name(self) -> &'static str {
        match self {
            Block::Adapter => "adapter",
            Block::Stack => "stack",
            Block::Fuse => "fuse",
            Block::Split => "split",
            Block::Parallel => "parallel",
            Block::BatchSplit => "batch_split",
            Block::Average => "average",
        }
    }

    /// The library's class.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Block::Adapter => "single",
            Block::Stack => "Stack",
            Block::Fuse => "Fuse",
            Block::Split => "Split",
            Block::Parallel => "Parallel",
            Block::BatchSplit => "BatchSplit",
            Block::Average => "Average",
        }
    }

    /// What it takes beside its children.
    fn argument(self) -> Option<&'static str> {
        match self {
            Block::Split => Some("splits"),
            Block::BatchSplit => Some("batch_sizes"),
            Block::Average => Some("weights"),
            Block::Adapter | Block::Stack | Block::Fuse | Block::Parallel => None,
        }
    }

    /// What it may hold.
    pub fn may_hold(self) -> &'static [Block] {
        use Block::*;
        match self {
            Adapter => &[],
            Stack => &[Adapter, Fuse, Split, Parallel, BatchSplit, Average],
            Fuse => &[Adapter, Stack],
            Split => &[Adapter, Split, Stack, BatchSplit, Average],
            Parallel => &[Adapter, Stack, BatchSplit, Average],
            BatchSplit => &[Adapter, Stack, Split, BatchSplit, Average],
            Average => &[Adapter, Stack, Split, BatchSplit],
        }
    }
}

/// Blocks within blocks below which only stacks and adapters may be, as in the library.
const DEEPEST_BLOCK: usize = 1;

impl Composition {
    /// Its kind.
    pub fn block(&self) -> Block {
        match self {
            Composition::Adapter(_) => Block::Adapter,
            Composition::Stack(_) => Block::Stack,
            Composition::Fuse(_) => Block::Fuse,
            Composition::Parallel(_) => Block::Parallel,
            Composition::Split { .. } => Block::Split,
            Composition::BatchSplit { .. } => Block::BatchSplit,
            Composition::Average { .. } => Block::Average,
        }
    }

    /// What it holds; nothing in an adapter.
    pub fn children(&self) -> &[Composition] {
        match self {
            Composition::Adapter(_) => &[],
            Composition::Stack(children)
            | Composition::Fuse(children)
            | Composition::Parallel(children)
            | Composition::Split { children, .. }
            | Composition::BatchSplit { children, .. }
            | Composition::Average { children, .. } => children,
        }
    }

    /// The names of the adapters in it, each once, in order of appearance.
    pub fn names(&self) -> Vec<&str> {
        let (mut seen, mut names) = (BTreeSet::new(), Vec::new());
        self.each_name(&mut |name| {
            if seen.insert(name) {
                names.push(name);
            }
        });
        names
    }

    fn each_name<'a>(&'a self, f: &mut dyn FnMut(&'a str)) {
        match self {
            Composition::Adapter(name) => f(name),
            block => block.children().iter().for_each(|child| child.each_name(f)),
        }
    }

    /// The name of its first adapter; none in an empty block.
    pub(crate) fn first(&self) -> Option<&str> {
        match self {
            Composition::Adapter(name) => Some(name),
            block => block.children().first()?.first(),
        }
    }

    /// The name of its last adapter; none in an empty block.
    pub fn last(&self) -> Option<&str> {
        match self {
            Composition::Adapter(name) => Some(name),
            block => block.children().last()?.last(),
        }
    }

    /// The fusions in it, as the names of their members: of a stack its last one's, as in the
    /// library.
    pub fn fusions(&self) -> Vec<Vec<&str>> {
        let own = match self {
            Composition::Fuse(children) => {
                Some(children.iter().filter_map(Composition::last).collect())
            }
            _ => None,
        };
        let below = self.children().iter().flat_map(Composition::fusions);
        own.into_iter().chain(below).collect()
    }

    /// The most tokens of a row that its splits say something of, if there are any.
    pub fn longest_row(&self) -> Option<usize> {
        match self {
            Composition::Split { splits, .. } => Some(splits.iter().sum()),
            block => block.children().iter().filter_map(Composition::longest_row).min(),
        }
    }

    /// That it keeps the rules of nesting, and that each block's arguments fit its children.
    ///
    /// # Errors
    /// Which block may not hold which, or which argument is wrong.
    pub fn check(&self) -> Result<(), CompositionError> {
        self.check_at(0)?;
        self.check_splits(None)?;
        self.check_batches()
    }

    fn check_at(&self, level: usize) -> Result<(), CompositionError> {
        let outer = self.block();
        if let Composition::Adapter(name) = self {
            let wrong = |reason| CompositionError::Name { name: name.clone(), reason };
            return crate::files::name_fault(name).map_or(Ok(()), |reason| Err(wrong(reason)));
        }
        if level > DEEPEST_BLOCK && outer != Block::Stack {
            return Err(CompositionError::TooDeep { inner: outer });
        }
        if self.children().is_empty() {
            return Err(CompositionError::Empty { block: outer });
        }
        for child in self.children() {
            let inner = child.block();
            if !outer.may_hold().contains(&inner) {
                return Err(CompositionError::Nesting { outer, inner });
            }
            child.check_at(level + 1)?;
        }
        let argument = |argument, found| {
            let children = self.children().len();
            match found == children {
                true => Ok(()),
                false => Err(CompositionError::Count { argument, found, children }),
            }
        };
        let positive = |argument: &'static str, numbers: &[usize]| {
            let total = numbers.iter().try_fold(0usize, |sum, n| sum.checked_add(*n));
            match total.is_some() && numbers.iter().all(|number| *number > 0) {
                true => Ok(()),
                false => {
                    let expected = "whole numbers above 0 whose sum a computer can hold";
                    Err(CompositionError::Argument { argument, expected })
                }
            }
        };
        match self {
            Composition::Split { splits, .. } => {
                argument("splits", splits.len())?;
                positive("splits", splits)
            }
            Composition::BatchSplit { batch_sizes, .. } => {
                argument("batch_sizes", batch_sizes.len())?;
                positive("batch_sizes", batch_sizes)
            }
            Composition::Average { weights, .. } => {
                argument("weights", weights.len())?;
                match normalised(weights).as_ref() == Some(weights) {
                    true => Ok(()),
                    false => {
                        let expected = "numbers with the sum 1";
                        Err(CompositionError::Argument { argument: "weights", expected })
                    }
                }
            }
            Composition::Fuse(children) => {
                let names = children.iter().filter_map(Composition::last);
                let mut seen = BTreeSet::new();
                match names.into_iter().find(|name| !seen.insert(*name)) {
                    Some(name) => Err(CompositionError::FusedTwice { name: name.to_owned() }),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// That the parts of a part of a row are the whole of it.
    fn check_splits(&self, whole: Option<usize>) -> Result<(), CompositionError> {
        let Composition::Split { children, splits } = self else {
            return self.children().iter().try_for_each(|child| child.check_splits(whole));
        };
        let sum = splits.iter().sum();
        match whole {
            Some(whole) if whole != sum => {
                Err(CompositionError::Sum { argument: "splits", found: sum, whole })
            }
            _ => children.iter().zip(splits).try_for_each(|(c, size)| c.check_splits(Some(*size))),
        }
    }

    /// That every choice between rows is of the same rows.
    fn check_batches(&self) -> Result<(), CompositionError> {
        self.batch().map(|_| ())?;
        let mut channels = BTreeSet::new();
        if let Composition::Stack(children) = self {
            let parallel = children.iter().filter(|child| child.block() == Block::Parallel);
            channels.extend(parallel.map(|child| child.children().len()));
            let splits = children.iter().any(|child| child.block() == Block::BatchSplit);
            if channels.len() > 1 || (splits && !channels.is_empty()) {
                return Err(CompositionError::UnlikeChoices);
            }
        }
        Ok(())
    }

    /// How many rows its choices between rows are of, if there are any.
    pub(crate) fn batch(&self) -> Result<Option<usize>, CompositionError> {
        let argument = "batch_sizes";
        let below = |children: &[Composition]| {
            let mut whole = None;
            for child in children {
                match (whole, child.batch()?) {
                    (Some(whole), Some(found)) if whole != found => {
                        return Err(CompositionError::Sum { argument, found, whole });
                    }
                    (_, Some(found)) => whole = Some(found),
                    (_, None) => {}
                }
            }
            Ok(whole)
        };
        let Composition::BatchSplit { children, batch_sizes } = self else {
            return below(self.children());
        };
        for (child, whole) in children.iter().zip(batch_sizes) {
            match child.batch()? {
                Some(found) if found != *whole => {
                    return Err(CompositionError::Sum { argument, found, whole: *whole });
                }
                _ => {}
            }
        }
        Ok(Some(batch_sizes.iter().sum()))
    }
}

/// Weights with the sum 1, if they have a sum that they can be divided by. Equal ones are 1/n each,
/// and such as have that sum but for rounding stay as they are.
fn normalised(weights: &[f64]) -> Option<Vec<f64>> {
    let (count, sum) = (weights.len() as f64, weights.iter().sum::<f64>());
    if weights.iter().any(|weight| !weight.is_finite()) || !sum.is_finite() || sum == 0.0 {
        return None;
    }
    if weights.windows(2).all(|pair| pair[0] == pair[1]) {
        return Some(vec![1.0 / count; weights.len()]);
    }
    let size: f64 = weights.iter().map(|weight| weight.abs()).sum();
    if (sum - 1.0).abs() <= 4.0 * count * f64::EPSILON * size.max(1.0) {
        return Some(weights.to_vec());
    }
    let weights: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
    // What cancels but for rounding has no sum to divide by.
    let found = weights.iter().sum::<f64>();
    let size: f64 = weights.iter().map(|weight| weight.abs()).sum();
    let kept = (found - 1.0).abs() <= 4.0 * count * f64::EPSILON * size.max(1.0) && size < 1e6;
    kept.then_some(weights)
}
