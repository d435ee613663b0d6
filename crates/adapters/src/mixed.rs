//! Rows for several tasks in one pass: many tasks on one text, and rows that each ask for their own.
//!
//! A text goes through everything below a task's adapter once for all of its tasks (Rücklé et al.
//! 2021, §3.1): the layers, and of the one where an adapter begins the sub-layers before it, too. It
//! branches at the end of a sub-layer, where the lowest module sits. A branch is a row of the batch
//! like any other, so that the frozen products are shared by all of them; branches of one adapter lie
//! side by side, and at each place one operation takes all of them through their bottlenecks
//! ([`ResidentTasks`](crate::ResidentTasks)). As a row's result does not depend on its batch, every
//! answer has the bits of a pass with that task alone.

use std::ops::Range;

use adaptkit_compute::{RowOffsets, Tensor};
use adaptkit_encoder::{Encoder, Place, RaggedBatch, Readout, Site, Sites, SubLayerEnd};

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
    encoder.device().run(|| Pass::new(encoder, tasks, batch, wishes, None).finish().0)
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
        let row = |wish: &Wish| batch.offsets.tokens_of(wish.row..wish.row + 1).len();
        let nothing = wishes.iter().map(|wish| AttentionSums::of_tokens(row(wish))).collect();
        let pass = Pass::new(encoder, tasks, batch, wishes, Some(nothing));
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
    /// For each wish the place where its adapter is met, if there is one.
    meets: Vec<Option<Place>>,
    branches: Vec<Branch>,
    /// The branches' rows.
    ragged: RaggedBatch,
    /// [tokens, hidden], and from the last layer on [branches, hidden] if it needs no other tokens.
    hidden: Tensor,
    /// Of the sub-layers that are to come.
    next: Place,
    /// Whether what sits in the last layer needs all of its tokens.
    all_tokens: bool,
    /// What each wish's row attended to so far, where that is asked for.
    attention: Option<Vec<AttentionSums>>,
}

impl<'a> Pass<'a> {
    fn new(
        encoder: &'a Encoder,
        tasks: &'a ResidentTasks,
        batch: &'a RaggedBatch,
        wishes: &'a [Wish],
        attention: Option<Vec<AttentionSums>>,
    ) -> Pass<'a> {
        let meets = wishes
            .iter()
            .map(|wish| tasks.task(wish.model).lowest_from(wish.first_layer))
            .collect();
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
        let last = encoder.config().num_hidden_layers - 1;
        let notes = attention.is_some();
        let all_tokens = wishes.iter().any(|wish| {
            let adapter = &tasks.task(wish.model).model.adapter;
            adapter.needs_all_tokens(last) || notes && adapter.mixes_in(last)
        });
        let next = Place::new(0, Site::Attention);
        Pass {
            encoder,
            tasks,
            batch,
            wishes,
            meets,
            branches,
            ragged,
            hidden,
            next,
            all_tokens,
            attention,
        }
    }

    /// Goes through all layers: the logits and what was attended to.
    fn finish(mut self) -> (Vec<Vec<f32>>, Option<Vec<AttentionSums>>) {
        let mut places: Vec<Place> = self.meets.iter().flatten().copied().collect();
        places.sort();
        places.dedup();
        for place in places {
            self.run(place, None);
            let parting = self.part(place);
            self.run(place.next(), Some(parting));
        }
        self.run(Place::new(self.encoder.config().num_hidden_layers, Site::Attention), None);
        if self.all_tokens {
            self.hidden = self.hidden.gather_rows(self.ragged.offsets.first_tokens());
        }
        let attention = self.attention.take();
        (self.answer(), attention)
    }

    /// Lets the branches whose adapters begin at a place part from the others, and returns for each
    /// branch from now on the number of the one that it comes from. What the sub-layer of the place is
    /// computed of are still the rows of those.
    fn part(&mut self, place: Place) -> Vec<usize> {
        // Each new branch with the old one that it comes from.
        let mut parted: Vec<(Branch, usize)> = Vec::new();
        for (from, branch) in std::mem::take(&mut self.branches).into_iter().enumerate() {
            let Branch { row, wishes, adapter } = branch;
            let begins = |wish: &usize| adapter.is_none() && self.meets[*wish] == Some(place);
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
        let (branches, from) = parted.into_iter().unzip();
        self.branches = branches;
        from
    }

    /// Goes through the sub-layers up to the one that ends at `end`. At the end of the last of them
    /// the rows part, if there is a `parting`.
    fn run(&mut self, end: Place, parting: Option<Vec<usize>>) {
        let groups = self.branches.chunk_by(|one, other| one.adapter == other.adapter);
        let mut end_of_group = 0;
        let groups = groups.map(|group| {
            let rows = end_of_group..end_of_group + group.len();
            end_of_group = rows.end;
            let adapter = group[0].adapter;
            Group { rows, task: adapter.map(|m| (self.tasks.task(m.model), m.first_layer)) }
        });
        let attended =
            self.attention.as_ref().map(|_| vec![AttentionSums::default(); self.branches.len()]);
        let parts = parting.is_some();
        let mut sites = Groups {
            tasks: self.tasks,
            groups: groups.collect(),
            parting,
            all_tokens: self.all_tokens,
            rows: attended,
        };
        let places = std::mem::replace(&mut self.next, end)..end;
        let empty = self.encoder.device().zeros(0, 0);
        let hidden = std::mem::replace(&mut self.hidden, empty);
        let readout = Readout::FirstTokens;
        self.hidden = self.encoder.sub_layers(&self.ragged, hidden, places, readout, &mut sites);
        if let (Some(attention), Some(rows)) = (&mut self.attention, sites.rows) {
            for (branch, row) in self.branches.iter().zip(&rows) {
                branch.wishes.iter().for_each(|wish| attention[*wish].add(row));
            }
        }
        if parts {
            let rows: Vec<usize> = self.branches.iter().map(|branch| branch.row).collect();
            self.ragged = self.batch.select(&rows);
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
    /// For each row the one of the batch that it comes from, if rows part at the pass's only place.
    parting: Option<Vec<usize>>,
    /// Whether something in the last layer needs all tokens.
    all_tokens: bool,
    /// What each row attends to, where that is asked for.
    rows: Option<Vec<AttentionSums>>,
}

impl Sites for Groups<'_> {
    fn occupied(&self, place: Place) -> bool {
        self.parting.is_some() || self.groups.iter().any(|group| group.at(place).is_some())
    }

    fn lowest_trained(&self) -> Option<Place> {
        None
    }

    fn needs_all_tokens(&self, _layer: usize) -> bool {
        self.all_tokens
    }

    /// Bottlenecks of slabs for all rows at once; rows of modules by themselves.
    fn forward(&mut self, place: Place, end: SubLayerEnd<'_>, _: bool) -> Tensor {
        match self.parting.take() {
            Some(from) => {
                let SubLayerEnd { x, residual, norm, offsets } = end;
                let of = |row: &usize| offsets.tokens_of(*row..*row + 1);
                let tokens: Vec<usize> = from.iter().flat_map(of).collect();
                let (x, residual) = (x.gather_rows(&tokens), residual.gather_rows(&tokens));
                let offsets = &RowOffsets::from_lengths(from.iter().map(|row| of(row).len()));
                self.end(place, SubLayerEnd { x, residual: &residual, norm, offsets })
            }
            None => self.end(place, end),
        }
    }
}

impl Groups<'_> {
    /// The end of a sub-layer for the rows of all groups.
    fn end(&mut self, place: Place, end: SubLayerEnd<'_>) -> Tensor {
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
}
