//! Tasks that wait for rows, hundreds at once.
//!
//! What most adapters are made of, two projections at each place and nothing beside, is not kept as
//! a module each: all bottlenecks of one size, of all tasks and places, lie in one
//! [`BottleneckSlab`], and of a task there is where its places' are. A batch's rows of many tasks
//! then go through their bottlenecks in one operation. Bottlenecks with parts beside (gates, scalings
//! and norms of their own), fusions, and places with a trained layer norm stay modules.

use std::collections::BTreeMap;

use adaptkit_compute::{BottleneckSlab, Device, SlabBottleneck, Tensor};
use adaptkit_encoder::{Encoder, Place, Site};

use crate::bottleneck::{Bottleneck, Form, Input, Residual};
use crate::classifier::TaskModel;

/// Tasks on one encoder, packed for inference.
pub struct ResidentTasks {
    device: Device,
    /// How many there will be.
    expected: usize,
    /// One for each size of bottlenecks.
    slabs: Vec<BottleneckSlab>,
    tasks: Vec<Resident>,
}

/// A task: its head and what stayed modules, and where in the slabs the rest is.
pub(crate) struct Resident {
    pub(crate) model: TaskModel,
    seats: BTreeMap<Place, Seat>,
}

/// A bottleneck in a slab.
#[derive(Clone, Copy)]
pub(crate) struct Seat {
    form: Form,
    slab: usize,
    number: usize,
}

impl ResidentTasks {
    /// No task yet, with room for so many of the size of the first that comes.
    pub fn with_capacity(encoder: &Encoder, expected: usize) -> ResidentTasks {
        let device = encoder.device().clone();
        ResidentTasks { device, expected, slabs: Vec::new(), tasks: Vec::new() }
    }

    /// Adds a task that was trained or read on the same encoder, and returns its number. What only
    /// training needs of it is let go of; its answers stay the same, bit by bit.
    pub fn add(&mut self, mut model: TaskModel) -> usize {
        let (slabs, device) = (&mut self.slabs, &self.device);
        let more = self.expected.saturating_sub(self.tasks.len()).max(1);
        let modules = model.adapter.owned().count();
        let seats = model.adapter.move_bottlenecks(&mut |module| {
            let shape = module.plain_shape()?;
            let slab = slabs.iter().position(|slab| slab.shape() == shape).unwrap_or_else(|| {
                let room = more.saturating_mul(modules);
                slabs.push(BottleneckSlab::with_capacity(device, shape, room));
                slabs.len() - 1
            });
            let number = slabs[slab].push(module.down.projection(), module.up.projection());
            Some(Seat { form: module.form(), slab, number })
        });
        model.pack_for_inference();
        self.tasks.push(Resident { model, seats });
        self.tasks.len() - 1
    }

    /// Tasks.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Bytes that the slabs' bottlenecks take, without heads and modules.
    pub fn slab_bytes(&self) -> usize {
        self.slabs.iter().map(BottleneckSlab::bytes).sum()
    }

    /// A task's head, and of its adapter what is no slab's.
    ///
    /// # Panics
    /// If there are not so many tasks.
    pub fn model(&self, number: usize) -> &TaskModel {
        &self.tasks[number].model
    }

    pub(crate) fn task(&self, number: usize) -> &Resident {
        &self.tasks[number]
    }

    /// A seat's bottleneck for rows of x, r and, where there is one that asks for it, LN(x + r), all
    /// [tokens, d].
    pub(crate) fn bottleneck<'a>(
        &'a self,
        seat: Seat,
        x: &'a Tensor,
        residual: &'a Tensor,
        normed: Option<&'a Tensor>,
    ) -> SlabBottleneck<'a> {
        let Seat { form, slab, number } = seat;
        let input = match form.input {
            Input::NormedSum => normed.unwrap_or(x),
            Input::Output => x,
            Input::SubLayerInput => residual,
        };
        let added = match form.residual {
            Residual::Output => [Some(x), None],
            Residual::NormedSum => [Some(input), None],
            Residual::Sum => [Some(x), Some(residual)],
        };
        let (activation, scaling) = (form.activation, form.scaling);
        SlabBottleneck { slab: &self.slabs[slab], number, input, activation, scaling, added }
    }
}

impl Resident {
    /// The slab's bottleneck at a place, if there is one.
    pub(crate) fn seat(&self, place: Place) -> Option<Seat> {
        self.seats.get(&place).copied()
    }

    /// The lowest place with something, from a layer on.
    pub(crate) fn lowest_from(&self, first_layer: usize) -> Option<Place> {
        let seats = self.seats.range(Place::new(first_layer, Site::Attention)..);
        let seat = seats.map(|(place, _)| *place).next();
        seat.into_iter().chain(self.model.adapter.lowest_from(first_layer)).min()
    }
}

impl Seat {
    pub(crate) fn reads_normed_sum(self) -> bool {
        self.form.input == Input::NormedSum
    }
}

impl Bottleneck {
    /// [m, d], if it is two projections and nothing beside, with the norm at the end.
    fn plain_shape(&self) -> Option<[usize; 2]> {
        (self.extras.are_none() && self.form().norm_at_end)
            .then(|| [self.size(), self.down.inputs()])
    }
}
