//! Many bottlenecks of one size in two allocations, and batches whose rows go through their own.

use std::ops::Range;

use adaptkit_kernels::bottleneck::{BottleneckRows, RowsBottleneck, grouped_bottlenecks};
use adaptkit_kernels::matrix::PackedSlab;

use crate::{Activation, Device, Projection, Tensor};

/// The projections of bottlenecks [m, d] and [d, m] in packed form, each bottleneck's beside the
/// next one's.
pub struct BottleneckSlab {
    down: PackedSlab,
    up: PackedSlab,
    down_biases: Vec<f32>,
    up_biases: Vec<f32>,
    /// [m, d]
    shape: [usize; 2],
}

impl BottleneckSlab {
    /// A slab of no bottleneck yet, of inner size m and outer size d, with room for so many.
    pub fn with_capacity(
        device: &Device,
        [m, d]: [usize; 2],
        bottlenecks: usize,
    ) -> BottleneckSlab {
        let isa = device.0.isa;
        BottleneckSlab {
            down: PackedSlab::with_capacity(isa, [d, m], bottlenecks),
            up: PackedSlab::with_capacity(isa, [m, d], bottlenecks),
            down_biases: Vec::with_capacity(m * bottlenecks),
            up_biases: Vec::with_capacity(d * bottlenecks),
            shape: [m, d],
        }
    }

    /// [m, d]
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Copies a bottleneck's projections to the end and returns its number.
    ///
    /// # Panics
    /// If they have other shapes, are not in f32 or from another device.
    pub fn push(&mut self, down: Projection<'_>, up: Projection<'_>) -> usize {
        let number = self.down.push(down.forward);
        self.down_biases.extend_from_slice(down.bias);
        self.up.push(up.forward);
        self.up_biases.extend_from_slice(up.bias);
        number
    }

    /// Bytes that the bottlenecks take.
    pub fn bytes(&self) -> usize {
        let biases = self.down_biases.len() + self.up_biases.len();
        self.down.bytes() + self.up.bytes() + 4 * biases
    }
}

/// Which bottleneck of a slab rows go through, and how: s·up(f(down(a))) + p + q.
#[derive(Clone, Copy)]
pub struct SlabBottleneck<'a> {
    /// The slab.
    pub slab: &'a BottleneckSlab,
    /// The bottleneck's number in it.
    pub number: usize,
    /// a: [tokens, d]
    pub input: &'a Tensor,
    /// f
    pub activation: Activation,
    /// s
    pub scaling: f32,
    /// p and q, in the order in which they are added: [tokens, d].
    pub added: [Option<&'a Tensor>; 2],
}

impl Tensor {
    /// [tokens, d]: what each group of consecutive tokens' bottleneck makes of them; tokens without
    /// one stay as they are. The groups are all tokens, one after the other; their bottlenecks are
    /// computed at once, and each token has the bits of one product after the other.
    ///
    /// # Panics
    /// If the groups are not all tokens, or shapes do not fit.
    pub fn through_bottlenecks(
        &self,
        groups: &[(Range<usize>, Option<SlabBottleneck<'_>>)],
    ) -> Tensor {
        let [tokens, d] = self.shape();
        let mut out = self.device().uninitialised(tokens, d);
        let groups: Vec<BottleneckRows<'_>> = groups
            .iter()
            .map(|(rows, bottleneck)| BottleneckRows {
                rows: rows.clone(),
                bottleneck: bottleneck.as_ref().map(SlabBottleneck::of_rows),
            })
            .collect();
        let to = out.values_mut();
        self.device().run(|| grouped_bottlenecks(&groups, self.values(), d, to));
        out
    }

    /// The rows from `first` on ← another tensor's.
    ///
    /// # Panics
    /// If there are not so many, or the columns differ.
    pub fn put_rows(&mut self, first: usize, rows: &Tensor) {
        assert_eq!(self.columns(), rows.columns());
        let start = first * self.columns();
        self.values_mut()[start..start + rows.values().len()].copy_from_slice(rows.values());
    }
}

impl<'a> SlabBottleneck<'a> {
    fn of_rows(&self) -> RowsBottleneck<'a> {
        let SlabBottleneck { slab, number, input, activation, scaling, added } = *self;
        let [m, d] = slab.shape;
        RowsBottleneck {
            input: input.values(),
            down: slab.down.matrix(number),
            down_bias: &slab.down_biases[number * m..(number + 1) * m],
            activation,
            up: slab.up.matrix(number),
            up_bias: &slab.up_biases[number * d..(number + 1) * d],
            scaling,
            added: added.map(|added| added.map(Tensor::values)),
        }
    }
}
