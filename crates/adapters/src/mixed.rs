//! Rows for several tasks in one pass: many tasks on one text, and rows that each ask for their own.
//!
//! A text goes through the layers below a task's adapter once for all of its tasks (Rücklé et al.
//! 2021, §3.1), and branches where an adapter begins. A branch is a row of the batch like any other,
//! so that the frozen products are shared by all of them; branches of one adapter lie side by side, and
//! at each place one operation takes all of them through their bottlenecks
//! ([`ResidentTasks`](crate::ResidentTasks)). As a row's result does not depend on its batch, every
//! answer has the bits of a pass with that task alone.

use std::ops::Range;

use adaptkit_compute::{FrozenNorm, Tensor};
use adaptkit_encoder::{Encoder, EndGradients, Place, RaggedBatch, Readout, Sites, SubLayerEnd};

use crate::adapter::Adapter;
use crate::fusion::{AttentionSums, put_rows};
use crate::slab::{Resident, ResidentTasks, Seat};

/// That a row of a batch be answered by a task's model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The row.
    pub row: usize,
    /// The model, by its number.
    pub model: usize,
    /// The model's adapter is left out of the layers below this one.
    pub first_layer: usize,
}

/// The logits of each wish, in their order.
///
/// # Panics
/// If a row or a model does not exist.
pub fn logits_of_wishes(
    encoder: &Encoder,
    tasks: &ResidentTasks,
    batch: &RaggedBatch,
    wishes: &[Wish],
) -> Vec<Vec<f32>> {
    encoder.device().run(|| Pass::new(encoder, tasks, batch, wishes).finish().0)
}

/// The same logits, and what the tokens of each wish's row attended to in its fusions, if its model
/// has any.
///
/// # Panics
/// If a row or a model does not exist.
pub fn logits_of_wishes_attending(
    encoder: &Encoder,
    tasks: &ResidentTasks,
    batch: &RaggedBatch,
    wishes: &[Wish],
) -> Vec<(Vec<f32>, AttentionSums)> {
    encoder.device().run(|| {
        let mut pass = Pass::new(encoder, tasks, batch, wishes);
        let row = |wish: &Wish| batch.offsets.tokens_of(wish.row..wish.row + 1).len();
        pass.attention = Some(wishes.iter().map(|w| AttentionSums::of_tokens(row(w))).collect());
        let (logits, attention) = pass.finish();
        logits.into_iter().zip(attention.unwrap_or_default()).collect()
    })
}

/// A row on its way through the layers.
struct Branch {
    /// The text's row in the batch.
    row: usize,
    /// The wishes that it still is for, by their numbers: one, once an adapter has been met.
    wishes: Vec<usize>,
    /// What it is run with; nothing below every adapter.
    adapter: Option<Meeting>,
}

/// An adapter from a layer on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Meeting {
    model: usize,
    first_layer: usize,
}

struct Pass<'a> {
    encoder: &'a Encoder,
    tasks: &'a ResidentTasks,
    batch: &'a RaggedBatch,
    wishes: &'a [Wish],
    /// For each wish the layer where its adapter is met, if there is one.
    meets: Vec<Option<usize>>,
    branches: Vec<Branch>,
    /// The branches' rows.
    ragged: RaggedBatch,
    /// [tokens, hidden], and after the last layer [branches, hidden].
    hidden: Tensor,
    layer: usize,
    /// What each wish's row attended to so far, where that is asked for.
    attention: Option<Vec<AttentionSums>>,
}

impl<'a> Pass<'a> {
    fn new(
        encoder: &'a Encoder,
        tasks: &'a ResidentTasks,
        batch: &'a RaggedBatch,
        wishes: &'a [Wish],
    ) -> Pass<'a> {
        let meets = wishes.iter().map(|wish| {
            let lowest = tasks.task(wish.model).lowest_from(wish.first_layer);
            lowest.map(|place| place.layer)
        });
        let mut branches: Vec<Branch> = (0..batch.rows())
            .map(|row| Branch { row, wishes: Vec::new(), adapter: None })
            .collect();
        for (number, wish) in wishes.iter().enumerate() {
            branches[wish.row].wishes.push(number);
        }
        branches.retain(|branch| !branch.wishes.is_empty());
        let rows: Vec<usize> = branches.iter().map(|branch| branch.row).collect();
        let ragged = batch.select(&rows);
        let hidden = encoder.embed(&ragged);
        let meets = meets.collect();
        let (layer, attention) = (0, None);
        Pass { encoder, tasks, batch, wishes, meets, branches, ragged, hidden, layer, attention }
    }

    /// Goes through all layers: the logits and what was attended to.
    fn finish(mut self) -> (Vec<Vec<f32>>, Option<Vec<AttentionSums>>) {
        while let Some(layers) = self.next_layers() {
            self.branch(layers.start);
            self.run(layers);
        }
        let attention = self.attention.take();
        (self.answer(), attention)
    }

    /// The layers up to the next one where an adapter begins.
    fn next_layers(&self) -> Option<Range<usize>> {
        let layers = self.encoder.config().num_hidden_layers;
        let next = self.meets.iter().flatten().copied().filter(|layer| *layer > self.layer).min();
        (self.layer < layers).then(|| self.layer..next.unwrap_or(layers))
    }

    /// Lets the branches whose adapters begin in a layer part from the others.
    fn branch(&mut self, layer: usize) {
        if !self.meets.contains(&Some(layer)) {
            return;
        }
        // Each new branch with the old one that it comes from.
        let mut parted: Vec<(Branch, usize)> = Vec::new();
        for (from, branch) in std::mem::take(&mut self.branches).into_iter().enumerate() {
            let Branch { row, wishes, adapter } = branch;
            let begins = |wish: &usize| adapter.is_none() && self.meets[*wish] == Some(layer);
            let (begin, stay): (Vec<usize>, Vec<usize>) = wishes.into_iter().partition(begins);
            if !stay.is_empty() {
                parted.push((Branch { row, wishes: stay, adapter }, from));
            }
            for number in begin {
                let Wish { model, first_layer, .. } = self.wishes[number];
                let adapter = Some(Meeting { model, first_layer });
                // The same wish twice is one branch.
                let same = |(other, _): &&mut (Branch, usize)| {
                    other.row == row && other.adapter == adapter
                };
                match parted.iter_mut().rev().take_while(|(other, _)| other.row == row).find(same) {
                    Some((other, _)) => other.wishes.push(number),
                    None => parted.push((Branch { row, wishes: vec![number], adapter }, from)),
                }
            }
        }
        // Branches of one adapter side by side; the bare ones come first.
        parted.sort_by_key(|(branch, _)| branch.adapter);
        let tokens =
            parted.iter().flat_map(|(_, from)| self.ragged.offsets.tokens_of(*from..from + 1));
        let tokens: Vec<usize> = tokens.collect();
        self.hidden = self.hidden.gather_rows(&tokens);
        self.branches = parted.into_iter().map(|(branch, _)| branch).collect();
        let rows: Vec<usize> = self.branches.iter().map(|branch| branch.row).collect();
        self.ragged = self.batch.select(&rows);
    }

    fn run(&mut self, layers: Range<usize>) {
        let groups = self.branches.chunk_by(|one, other| one.adapter == other.adapter);
        let mut end = 0;
        let groups = groups.map(|group| {
            let rows = end..end + group.len();
            end = rows.end;
            let adapter = group[0].adapter;
            Group { rows, task: adapter.map(|m| (self.tasks.task(m.model), m.first_layer)) }
        });
        let attended =
            self.attention.as_ref().map(|_| vec![AttentionSums::default(); self.branches.len()]);
        let mut sites = Groups { tasks: self.tasks, groups: groups.collect(), rows: attended };
        self.layer = layers.end;
        let empty = self.encoder.device().zeros(0, 0);
        let hidden = std::mem::replace(&mut self.hidden, empty);
        let readout = Readout::FirstTokens;
        self.hidden = self.encoder.layers(&self.ragged, hidden, layers, readout, &mut sites);
        if let (Some(attention), Some(rows)) = (&mut self.attention, sites.rows) {
            for (branch, row) in self.branches.iter().zip(&rows) {
                branch.wishes.iter().for_each(|wish| attention[*wish].add(row));
            }
        }
    }

    /// The heads' answers.
    fn answer(self) -> Vec<Vec<f32>> {
        let mut asked: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.tasks.len()];
        for (position, branch) in self.branches.iter().enumerate() {
            for wish in &branch.wishes {
                asked[self.wishes[*wish].model].push((position, *wish));
            }
        }
        let heads: Vec<_> = asked.iter().enumerate().filter(|(_, a)| !a.is_empty()).collect();
        let answers = self.encoder.device().map(heads, |(model, asked)| {
            let model = self.tasks.model(model);
            let rows: Vec<usize> = asked.iter().map(|(position, _)| *position).collect();
            let logits = model.head.forward(&self.hidden.gather_rows(&rows));
            (asked, logits.columns(), logits.to_vec())
        });
        let mut logits = vec![Vec::new(); self.wishes.len()];
        for (asked, columns, values) in answers {
            for ((_, wish), values) in asked.iter().zip(values.chunks_exact(columns)) {
                logits[*wish] = values.to_vec();
            }
        }
        logits
    }
}

/// Branches side by side that run with the same adapter, from a layer on, or with none.
struct Group<'a> {
    rows: Range<usize>,
    task: Option<(&'a Resident, usize)>,
}

/// What sits at a place.
enum Sitting<'a> {
    Bottleneck(Seat),
    /// A module that is no slab's, or a norm in place of the encoder's.
    Module(&'a Adapter),
}

impl<'a> Group<'a> {
    /// What sits at a place, if something does.
    fn at(&self, place: Place) -> Option<Sitting<'a>> {
        let (task, _) = self.task.filter(|(_, first_layer)| place.layer >= *first_layer)?;
        let module = task.model.adapter.occupied(place).then_some(&task.model.adapter);
        task.seat(place).map(Sitting::Bottleneck).or(module.map(Sitting::Module))
    }
}

/// The groups of a batch, in the order of its rows.
struct Groups<'a> {
    tasks: &'a ResidentTasks,
    groups: Vec<Group<'a>>,
    /// What each row attends to, where that is asked for.
    rows: Option<Vec<AttentionSums>>,
}

impl Sites for Groups<'_> {
    fn occupied(&self, place: Place) -> bool {
        self.groups.iter().any(|group| group.at(place).is_some())
    }

    fn lowest_trained(&self) -> Option<Place> {
        None
    }

    fn needs_all_tokens(&self, layer: usize) -> bool {
        let mut tasks = self.groups.iter().filter_map(|group| group.task);
        let noted = |adapter: &Adapter| self.rows.is_some() && adapter.mixes_in(layer);
        tasks.any(|(task, _)| {
            let adapter = &task.model.adapter;
            adapter.needs_all_tokens(layer) || noted(adapter)
        })
    }

    /// Bottlenecks of slabs for all rows at once; rows of modules by themselves.
    fn forward(&mut self, place: Place, end: SubLayerEnd<'_>, _: bool) -> Tensor {
        let SubLayerEnd { x, residual, norm, offsets } = end;
        let (mut seats, mut modules) = (Vec::new(), Vec::new());
        for group in &self.groups {
            let tokens = offsets.tokens_of(group.rows.clone());
            match group.at(place) {
                Some(Sitting::Bottleneck(seat)) => seats.push((tokens, Some(seat))),
                Some(Sitting::Module(adapter)) => {
                    modules.push((group.rows.clone(), adapter));
                    seats.push((tokens, None));
                }
                None => seats.push((tokens, None)),
            }
        }
        let modules = x.device().map(modules, |(rows, adapter)| {
            let tokens = offsets.tokens_of(rows.clone());
            let (x, residual) = (x.row_range(tokens.clone()), residual.row_range(tokens.clone()));
            let offsets = &offsets.range(rows.clone());
            let end = SubLayerEnd { x, residual: &residual, norm, offsets };
            (rows, tokens.start, adapter.end_weighing(place, end))
        });
        let taken = || seats.iter().filter_map(|(_, seat)| *seat);
        let reads_normed = taken().any(Seat::reads_normed_sum);
        let normed = reads_normed.then(|| norm.forward(&x, Some(residual), false).0);
        let mut out = if taken().next().is_some() {
            let bottleneck = |seat| self.tasks.bottleneck(seat, &x, residual, normed.as_ref());
            let groups: Vec<_> =
                seats.iter().map(|(rows, seat)| (rows.clone(), seat.map(bottleneck))).collect();
            norm.forward(&x.through_bottlenecks(&groups), Some(residual), false).0
        } else {
            norm.forward(&x, Some(residual), false).0
        };
        for (rows, first, (result, weights)) in &modules {
            out.put_rows(*first, result);
            if let (Some(noted), Some(weights)) = (&mut self.rows, weights) {
                let offsets = offsets.range(rows.clone());
                put_rows(place, weights, &offsets, noted[rows.clone()].iter_mut());
            }
        }
        out
    }

    fn backward(
        &mut self,
        place: Place,
        _: &FrozenNorm,
        _: Tensor,
        _: bool,
    ) -> Option<EndGradients> {
        unreachable!("a pass without a backward reached {place}")
    }
}
