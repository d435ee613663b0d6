//! A composition as ways without a choice.
//!
//! On a way every block that chooses, `parallel` or `batch_split`, holds the one child that was
//! chosen. It stays there, because it takes a step in front of its children (see
//! [`composed`](super::composed)).

use std::collections::BTreeSet;

use super::{Block, Composition, CompositionError};

/// A way through a composition.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// The composition with one child in every block that chooses.
    pub composition: Composition,
    /// What was chosen in the last of these, or the whole where there is none: what the answer is
    /// called.
    pub name: String,
}

/// All ways through a composition.
#[derive(Clone, Debug, PartialEq)]
pub struct Ways {
    /// Each once.
    pub all: Vec<Way>,
    /// For rows up to, and without, a number: their ways. The last number is that of the rows after
    /// which it begins again; there is one entry, for all rows, where no block chooses between rows.
    rows: Vec<(usize, Vec<usize>)>,
}

impl Composition {
    /// All ways through it.
    ///
    /// # Errors
    /// If it breaks the rules of nesting.
    pub fn ways(&self) -> Result<Ways, CompositionError> {
        self.check()?;
        let mut bounds = vec![0];
        self.bounds(0, &mut bounds);
        bounds.sort_unstable();
        bounds.dedup();
        let batch = self.batch()?.unwrap_or(usize::MAX);
        let ends = bounds.iter().skip(1).copied().filter(|end| *end < batch).chain([batch]);
        let mut ways = Ways { all: Vec::new(), rows: Vec::new() };
        for (first, end) in bounds.iter().zip(ends) {
            let channels = (0..self.channels()).map(|channel| {
                let mut name = None;
                let composition = self.chosen(channel, *first, &mut name);
                let name = name.unwrap_or_else(|| self.to_string());
                let way = Way { composition, name };
                ways.all.iter().position(|known| *known == way).unwrap_or_else(|| {
                    ways.all.push(way);
                    ways.all.len() - 1
                })
            });
            let channels = channels.collect();
            ways.rows.push((end, channels));
        }
        let mut seen = BTreeSet::new();
        if !ways.all.iter().all(|way| seen.insert(way.name.clone())) {
            ways.all.iter_mut().for_each(|way| way.name = way.composition.to_string());
        }
        Ok(ways)
    }

    /// Whether heads that are chosen so answer each of its ways.
    pub(crate) fn fits(&self, heads: &Composition) -> bool {
        let rows = |composition: &Composition| {
            let mut bounds = vec![0];
            composition.bounds(0, &mut bounds);
            bounds.sort_unstable();
            bounds.dedup();
            (composition.batch().ok().flatten(), bounds)
        };
        let channels = heads.channels();
        match heads {
            Composition::Adapter(_) => true,
            Composition::Parallel(_) => channels == self.channels(),
            Composition::BatchSplit { .. } => rows(heads) == rows(self),
            _ => false,
        }
    }

    /// Answers that it gives to a row.
    fn channels(&self) -> usize {
        let below = self.children().iter().map(Composition::channels).max().unwrap_or(1);
        match self {
            Composition::Parallel(children) => children.len(),
            _ => below,
        }
    }

    /// Where other rows begin, counted from `first`, the first of those that come this way.
    fn bounds(&self, first: usize, into: &mut Vec<usize>) {
        let Composition::BatchSplit { children, batch_sizes } = self else {
            return self.children().iter().for_each(|child| child.bounds(first, into));
        };
        let mut first = first;
        for (child, size) in children.iter().zip(batch_sizes) {
            into.push(first);
            child.bounds(first, into);
            first += size;
        }
    }

    fn chosen(&self, channel: usize, row: usize, name: &mut Option<String>) -> Composition {
        let mut all = |children: &[Composition]| -> Vec<Composition> {
            children.iter().map(|child| child.chosen(channel, row, name)).collect()
        };
        let (child, row) = match self {
            Composition::Adapter(_) => return self.clone(),
            Composition::Stack(children) => return Composition::Stack(all(children)),
            Composition::Fuse(children) => return Composition::Fuse(all(children)),
            Composition::Split { children, splits } => {
                return Composition::Split { children: all(children), splits: splits.clone() };
            }
            Composition::Average { children, weights } => {
                return Composition::Average { children: all(children), weights: weights.clone() };
            }
            Composition::Parallel(children) => (&children[channel.min(children.len() - 1)], row),
            Composition::BatchSplit { children, batch_sizes } => {
                let (mut number, mut first) = (0, 0);
                while number + 1 < children.len() && row >= first + batch_sizes[number] {
                    first += batch_sizes[number];
                    number += 1;
                }
                (&children[number], row - first)
            }
        };
        // The innermost and, side by side, the last choice gives the name.
        let mut inner = None;
        let chosen = child.chosen(channel, row, &mut inner);
        *name = Some(inner.unwrap_or_else(|| child.to_string()));
        Composition::Parallel(vec![chosen])
    }
}

impl Ways {
    /// The ways of a row, counted from 0 over all rows: one, or one for each answer in parallel.
    pub fn of_row(&self, row: usize) -> &[usize] {
        let batch = self.rows.last().map_or(usize::MAX, |(end, _)| *end);
        let row = row % batch;
        let number = self.rows.partition_point(|(end, _)| *end <= row);
        &self.rows[number].1
    }

    /// For each way the head that a setup of heads chooses as the composition chooses the way.
    pub fn heads(&self, setup: &Composition) -> Vec<Option<String>> {
        let mut heads = vec![None; self.all.len()];
        let mut first = 0;
        for (end, ways) in &self.rows {
            for (channel, way) in ways.iter().enumerate() {
                let chosen = setup.chosen(channel, first, &mut None);
                heads[*way] = chosen.last().map(str::to_owned);
            }
            first = *end;
        }
        heads
    }

    /// Whether a row's number decides its way.
    pub fn depend_on_rows(&self) -> bool {
        self.rows.len() > 1
    }

    /// The one way, where there is no choice.
    ///
    /// # Errors
    /// If there are several.
    pub fn single(self) -> Result<Way, CompositionError> {
        let block = if self.depend_on_rows() { Block::BatchSplit } else { Block::Parallel };
        let mut ways = self.all;
        match (ways.pop(), ways.is_empty()) {
            (Some(way), true) => Ok(way),
            _ => Err(CompositionError::SeveralWays { block }),
        }
    }
}

impl Way {
    /// The head that the library activates for it: the last adapter's of a stack, or that of what
    /// was chosen; none is decided on for a fusion, a split or an average.
    pub fn head(&self) -> Option<&str> {
        let last = match &self.composition {
            Composition::Stack(children) => children.last()?,
            other => other,
        };
        match last {
            Composition::Adapter(name) => Some(name),
            Composition::Parallel(chosen) => chosen.last()?.last(),
            _ => None,
        }
    }

    /// The fusion whose own head answers, if it ends in one.
    pub fn last_fusion(&self) -> Option<String> {
        let last = match &self.composition {
            Composition::Stack(children) => children.last()?,
            other => other,
        };
        match last {
            fuse @ Composition::Fuse(_) => fuse.fusions().first().map(|names| names.join(",")),
            _ => None,
        }
    }
}
