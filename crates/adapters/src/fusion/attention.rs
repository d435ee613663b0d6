//! What tokens attend to: the soft-max weights of a fusion's members in the pass of inference.
//!
//! The weights are there in any pass; here they are not let go of. Pfeiffer et al. 2021 (§5) and
//! Rücklé et al. 2021 (§5.2) take their mean over all positions of all rows, so that the last layer
//! is computed for all tokens, where its fusion else sees the first ones only. What comes out has
//! the same bits.
//!
//! Sums are in double precision. A row's is taken by itself, token after token, and rows are added
//! in the order in which they are given: the means are the same whatever shared a batch.

use std::collections::BTreeMap;

use adaptkit_compute::{RowOffsets, Tensor};
use adaptkit_encoder::{Encoder, Place, RaggedBatch, Readout, Sites, SubLayerEnd};

use crate::adapter::Adapter;
use crate::classifier::TaskModel;

/// The weights of a fusion's members, summed over tokens, at every place that was met.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttentionSums {
    tokens: usize,
    /// For each place a sum for each member that has a module there.
    places: BTreeMap<Place, Vec<f64>>,
}

impl AttentionSums {
    /// Adds what other tokens attended to.
    ///
    /// # Panics
    /// If it is another fusion's.
    pub fn add(&mut self, other: &AttentionSums) {
        self.tokens += other.tokens;
        for (place, sums) in &other.places {
            let own = self.places.entry(*place).or_insert_with(|| vec![0.0; sums.len()]);
            assert_eq!(own.len(), sums.len(), "{place}: members of one fusion");
            own.iter_mut().zip(sums).for_each(|(own, sum)| *own += sum);
        }
    }

    /// The tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The mean weight of each member with a module at a place, for every place.
    pub fn means(&self) -> impl Iterator<Item = (Place, Vec<f64>)> {
        let tokens = self.tokens.max(1) as f64;
        self.places
            .iter()
            .map(move |(place, sums)| (*place, sums.iter().map(|sum| sum / tokens).collect()))
    }

    /// A row whose tokens are those of no place yet.
    pub(crate) fn of_tokens(tokens: usize) -> AttentionSums {
        AttentionSums { tokens, places: BTreeMap::new() }
    }
}

/// Puts what each row's tokens attended to at a place, weights [tokens, members], into the rows.
pub(crate) fn put_rows<'a>(
    place: Place,
    weights: &Tensor,
    offsets: &RowOffsets,
    rows: impl Iterator<Item = &'a mut AttentionSums>,
) {
    let (members, weights) = (weights.columns(), weights.to_vec());
    for (row, into) in rows.enumerate() {
        let tokens = offsets.tokens_of(row..row + 1);
        let mut sums = vec![0.0; members];
        for token in weights[tokens.start * members..tokens.end * members].chunks_exact(members) {
            sums.iter_mut().zip(token).for_each(|(sum, weight)| *sum += f64::from(*weight));
        }
        into.places.insert(place, sums);
    }
}

/// An adapter in a pass without a backward that notes what its fusions' tokens attend to.
struct Noting<'a> {
    adapter: &'a Adapter,
    rows: Vec<AttentionSums>,
}

impl Sites for Noting<'_> {
    fn occupied(&self, place: Place) -> bool {
        self.adapter.occupied(place)
    }

    fn lowest_trained(&self) -> Option<Place> {
        None
    }

    fn needs_all_tokens(&self, layer: usize) -> bool {
        self.adapter.needs_all_tokens(layer) || self.adapter.mixes_in(layer)
    }

    fn forward(&mut self, place: Place, end: SubLayerEnd<'_>, _: bool) -> Tensor {
        let offsets = end.offsets;
        let (out, weights) = self.adapter.end_weighing(place, end);
        if let Some(weights) = weights {
            put_rows(place, &weights, offsets, self.rows.iter_mut());
        }
        out
    }
}

impl TaskModel {
    /// Logits [rows, outputs], and for each row what its tokens attended to: nothing where there is
    /// no fusion.
    pub fn logits_attending(
        &self,
        encoder: &Encoder,
        batch: &RaggedBatch,
    ) -> (Tensor, Vec<AttentionSums>) {
        encoder.device().run(|| {
            let lengths = batch.offsets.as_slice().windows(2).map(|bounds| bounds[1] - bounds[0]);
            let rows = lengths.map(AttentionSums::of_tokens).collect();
            let mut sites = Noting { adapter: &self.adapter, rows };
            let first = encoder.forward(batch, Readout::FirstTokens, &mut sites);
            (self.head.forward(&first), sites.rows)
        })
    }
}
