//! The frozen encoder: embeddings and layers, forward and backward between any two layers.

use std::ops::Range;

use adaptkit_compute::{
    Device, EmbeddingTable, FrozenLinear, FrozenNorm, Precision, Queries, RelativeBias, RowOffsets,
    Tensor,
};

use crate::layer::{At, Depth, Layer, LayerTape};
use crate::{
    BaseDropout, EncoderConfig, Identity, Place, PositionNumbers, RaggedBatch, Site, Sites,
};

/// Which tokens of the last layer are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readout {
    /// All: the result is [tokens, hidden].
    AllTokens,
    /// The first token of each row, as classification heads read: the result is [rows, hidden],
    /// bit by bit those rows of [`Readout::AllTokens`], for less work in the last layer.
    FirstTokens,
}

/// A frozen encoder on a device.
pub struct Encoder {
    /// The directory it was read from.
    pub(crate) source: std::path::PathBuf,
    pub(crate) identity: Identity,
    pub(crate) config: EncoderConfig,
    pub(crate) device: Device,
    pub(crate) precision: Precision,
    pub(crate) embeddings: Embeddings,
    pub(crate) layers: Vec<Layer>,
    pub(crate) relative_bias: Option<RelativeBias>,
    /// Read when a head asks for it.
    pub(crate) pooler: std::sync::OnceLock<std::sync::Arc<FrozenLinear>>,
}

/// The embeddings: a sum of table rows, normalised, and for some families projected.
pub(crate) struct Embeddings {
    pub(crate) words: EmbeddingTable,
    pub(crate) positions: EmbeddingTable,
    pub(crate) position_numbers: PositionNumbers,
    pub(crate) token_types: Option<EmbeddingTable>,
    pub(crate) norm: FrozenNorm,
    pub(crate) projection: Option<FrozenLinear>,
}

/// What a forward pass keeps for the backward pass of the same batch.
pub struct Tape {
    readout: Readout,
    /// The layers from the lowest that back-propagation reaches upwards.
    layers: Vec<(usize, LayerTape)>,
}

impl Encoder {
    /// What the encoder is.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The format of the frozen weights of products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What tells this base from others, as adapters trained on it record.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The layer norm at the end of a sub-layer.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn norm(&self, place: Place) -> &FrozenNorm {
        let layer = &self.layers[place.layer];
        match place.site {
            Site::Attention => &layer.attention_norm,
            Site::Output => &layer.output_norm,
        }
    }

    /// Parameters of the encoder: embeddings and layers, without pooler or head.
    pub fn parameters(&self) -> usize {
        let (c, d, e) = (&self.config, self.config.hidden_size, self.config.embedding_size);
        let layer = 4 * (d * d + d) + 2 * d * c.intermediate_size + c.intermediate_size + d + 4 * d;
        let tables = c.vocab_size + c.max_position_embeddings + c.type_vocab_size;
        let projection = if e == d { 0 } else { e * d + d };
        let bias = c.relative_attention_num_buckets.unwrap_or(0) * c.num_attention_heads;
        tables * e + 2 * e + projection + bias + c.num_hidden_layers * layer
    }

    /// Bytes that the layers' packed weights take.
    pub fn packed_bytes(&self) -> usize {
        self.layers.iter().map(Layer::bytes).sum()
    }

    /// For each layer, how many rows of forward passes went through query, key and value (one product),
    /// the attention's output, and the feed-forward's up- and down-projection: tokens, and rows that
    /// only their first tokens are wanted of.
    pub fn forward_rows(&self) -> Vec<[u64; 4]> {
        self.of_frozen_products(FrozenLinear::forward_rows)
    }

    /// For each layer, how many products of backward passes went through query, key and value (one
    /// product), the attention's output, and the feed-forward's up- and down-projection: none in the
    /// layers below the lowest trained module.
    pub fn backward_products(&self) -> Vec<[u64; 4]> {
        self.of_frozen_products(FrozenLinear::backward_products)
    }

    fn of_frozen_products(&self, of: fn(&FrozenLinear) -> u64) -> Vec<[u64; 4]> {
        let layer = |layer: &Layer| {
            let Layer { query_key_value, attention_output, up, down, .. } = layer;
            [query_key_value, attention_output, up, down].map(of)
        };
        self.layers.iter().map(layer).collect()
    }

    /// The hidden states that enter layer 0: [tokens, hidden].
    ///
    /// # Panics
    /// If an id is not in the vocabulary or a row is longer than the model's positions.
    pub fn embed(&self, batch: &RaggedBatch) -> Tensor {
        self.embed_dropping(batch, BaseDropout::NONE)
    }

    /// [`Encoder::embed`] with the base's own dropout, which strikes before a projection.
    ///
    /// # Panics
    /// If an id is not in the vocabulary or a row is longer than the model's positions.
    pub fn embed_dropping(&self, batch: &RaggedBatch, dropout: BaseDropout) -> Tensor {
        self.device.begin_step(batch.tokens());
        let e = &self.embeddings;
        let positions = batch.positions(e.position_numbers);
        let mut tables = vec![(&e.words, &batch.ids[..]), (&e.positions, &positions[..])];
        tables.extend(e.token_types.as_ref().map(|table| (table, &batch.type_ids[..])));
        let sum = EmbeddingTable::sum(&self.device, &tables);
        let (mut hidden, _) = e.norm.forward(&sum, None, false);
        hidden.dropout(dropout.embeddings());
        match &e.projection {
            Some(projection) => projection.forward(&hidden),
            None => hidden,
        }
    }

    /// From token ids to the last layer's hidden states, with what sits in `sites`.
    pub fn forward(&self, batch: &RaggedBatch, readout: Readout, sites: &mut dyn Sites) -> Tensor {
        let hidden = self.embed_dropping(batch, sites.base_dropout());
        self.layers(batch, hidden, 0..self.layers.len(), readout, sites)
    }

    /// The hidden states that leave layer `layers.end − 1`, for those that enter `layers.start`.
    ///
    /// The readout matters where the last layer is among them.
    pub fn layers(
        &self,
        batch: &RaggedBatch,
        hidden: Tensor,
        layers: Range<usize>,
        readout: Readout,
        sites: &mut dyn Sites,
    ) -> Tensor {
        let start = |layer| Place::new(layer, Site::Attention);
        let places = start(layers.start)..start(layers.end);
        let out = self.sub_layers(batch, hidden, places, readout, sites);
        let last = self.layers.len() - 1;
        let read_afterwards = readout == Readout::FirstTokens && sites.needs_all_tokens(last);
        match layers.contains(&last) && read_afterwards {
            true => out.gather_rows(batch.offsets.first_tokens()),
            false => out,
        }
    }

    /// The result of the sub-layers that end at `places`, for what enters the first of them.
    ///
    /// It is what `sites` makes at the last place, whose rows may be others than the batch's: rows
    /// may part there, and go on as a batch of their own. With [`Readout::FirstTokens`], the results of
    /// the last layer's sub-layers are [rows, hidden], or [tokens, hidden] if `sites` needs all of its
    /// tokens; all others are [tokens, hidden].
    pub fn sub_layers(
        &self,
        batch: &RaggedBatch,
        mut hidden: Tensor,
        places: Range<Place>,
        readout: Readout,
        sites: &mut dyn Sites,
    ) -> Tensor {
        let asking = Asking::of(batch);
        for (index, layer) in self.layers.iter().enumerate() {
            for site in
                Site::ALL.into_iter().filter(|&site| places.contains(&Place::new(index, site)))
            {
                let at = self.at(index, &asking, readout, sites);
                hidden = match site {
                    Site::Attention => layer.attention(at, hidden, sites, Depth::Nothing).0,
                    Site::Output => layer.feed_forward(at, hidden, sites, Depth::Nothing).0,
                };
            }
        }
        hidden
    }

    /// [`Encoder::forward`], keeping what [`Encoder::backward`] needs: nothing of the layers below
    /// the lowest trained module.
    pub fn forward_keeping(
        &self,
        batch: &RaggedBatch,
        readout: Readout,
        sites: &mut dyn Sites,
    ) -> (Tensor, Tape) {
        let hidden = self.embed_dropping(batch, sites.base_dropout());
        self.layers_keeping(batch, hidden, 0..self.layers.len(), readout, sites)
    }

    /// [`Encoder::layers`], keeping what [`Encoder::backward`] needs.
    pub fn layers_keeping(
        &self,
        batch: &RaggedBatch,
        mut hidden: Tensor,
        layers: Range<usize>,
        readout: Readout,
        sites: &mut dyn Sites,
    ) -> (Tensor, Tape) {
        let lowest = sites.lowest_trained();
        let mut tape = Tape { readout, layers: Vec::with_capacity(layers.len()) };
        let asking = Asking::of(batch);
        for index in layers {
            let depth = Depth::of(index, lowest);
            let at = self.at(index, &asking, readout, sites);
            let (out, kept) = self.layers[index].forward(at, hidden, sites, depth);
            hidden = out;
            if self.is_read_afterwards(at, readout) {
                hidden = hidden.gather_rows(batch.offsets.first_tokens());
            }
            if depth > Depth::Nothing {
                tape.layers.push((index, kept));
            }
        }
        (hidden, tape)
    }

    /// Back-propagates `d` at the result of a keeping pass through its layers, down to the lowest
    /// trained module. Returns the gradient at the hidden states that entered the pass where
    /// `sites` names no lowest module, nothing otherwise.
    ///
    /// # Panics
    /// If [`Encoder::prepare_backward`] did not cover the layers.
    pub fn backward(
        &self,
        batch: &RaggedBatch,
        tape: Tape,
        d: Tensor,
        sites: &mut dyn Sites,
    ) -> Option<Tensor> {
        let mut d = d;
        let asking = Asking::of(batch);
        for (index, kept) in tape.layers.into_iter().rev() {
            let at = self.at(index, &asking, tape.readout, sites);
            if self.is_read_afterwards(at, tape.readout) {
                d = d.scatter_rows(batch.offsets.first_tokens(), batch.tokens());
            }
            d = self.layers[index].backward(at, d, kept, sites)?;
        }
        Some(d)
    }

    fn at<'a>(
        &'a self,
        index: usize,
        asking: &'a Asking<'_>,
        readout: Readout,
        sites: &dyn Sites,
    ) -> At<'a> {
        let last = index + 1 == self.layers.len();
        let first = last && readout == Readout::FirstTokens && !sites.needs_all_tokens(index);
        let (queries, ends) = match first {
            true => (Queries::First, &asking.first),
            false => (Queries::All, asking.all),
        };
        let bias = self.relative_bias.as_ref();
        let dropout = sites.base_dropout().layer(index);
        At { index, offsets: asking.all, queries, asking: ends, bias, dropout }
    }

    /// Whether all of a layer is computed though only the first tokens of its result are wanted.
    fn is_read_afterwards(&self, at: At<'_>, readout: Readout) -> bool {
        let last = at.index + 1 == self.layers.len();
        last && readout == Readout::FirstTokens && at.queries == Queries::All
    }
}

/// The tokens that a layer's result is computed for.
struct Asking<'a> {
    all: &'a RowOffsets,
    /// Only the first of each row.
    first: RowOffsets,
}

impl Asking<'_> {
    fn of(batch: &RaggedBatch) -> Asking<'_> {
        let first = RowOffsets::from_lengths((0..batch.rows()).map(|_| 1));
        Asking { all: &batch.offsets, first }
    }
}

#[cfg(test)]
mod tests {
    use adaptkit_testkit::golden_dir;

    use super::*;
    use crate::{Empty, EndGradients, SubLayerEnd};

    /// Something that does as the bare encoder, at one place, and notes what it is asked for.
    #[derive(Default)]
    struct Noted {
        tapes: Vec<adaptkit_compute::NormTape>,
        kept: Vec<bool>,
        below: Vec<bool>,
    }

    struct Only<'a>(Place, &'a mut Noted);

    impl Sites for Only<'_> {
        fn occupied(&self, place: Place) -> bool {
            place == self.0
        }

        fn lowest_trained(&self) -> Option<Place> {
            Some(self.0)
        }

        fn forward(&mut self, _: Place, end: SubLayerEnd<'_>, keep: bool) -> Tensor {
            let (out, tape) = end.norm.forward(&end.x, Some(end.residual), keep);
            self.1.tapes.extend(tape);
            self.1.kept.push(keep);
            out
        }

        fn backward(
            &mut self,
            _: Place,
            norm: &FrozenNorm,
            d: Tensor,
            below: bool,
        ) -> Option<EndGradients> {
            self.1.below.push(below);
            let tape = self.1.tapes.pop().expect("a tape");
            below.then(|| EndGradients { x: norm.backward(&tape, d), residual: None })
        }
    }

    #[test]
    fn nothing_is_kept_below_the_lowest_trained_place_and_nothing_goes_back_below_it() {
        let device = Device::cpu(None).expect("a device");
        let base = golden_dir("bert").join("model");
        let batch = RaggedBatch::new([(&[2, 5, 9, 3][..], &[0; 4][..])]);
        let fresh = || Encoder::load(&base, &device, Precision::F32).expect("the tiny base");
        let places = (0..3).flat_map(|layer| Site::ALL.map(|site| Place::new(layer, site)));
        for lowest in places {
            let mut encoder = fresh();
            // Layers further down are not prepared: back-propagation through them would panic.
            encoder.prepare_backward(Some(lowest)).expect("the same files");
            let mut noted = Noted::default();
            let mut sites = Only(lowest, &mut noted);
            let (out, tape) = encoder.forward_keeping(&batch, Readout::FirstTokens, &mut sites);
            let bare = encoder.forward(&batch, Readout::FirstTokens, &mut Empty);
            assert_eq!(out.to_vec(), bare.to_vec(), "{lowest}");
            let layers: Vec<usize> = tape.layers.iter().map(|(layer, _)| *layer).collect();
            assert_eq!(layers, (lowest.layer..3).collect::<Vec<_>>(), "{lowest}");
            for (layer, kept) in &tape.layers {
                let above = *layer > lowest.layer;
                let through_output = above || lowest.site == Site::Attention;
                let held = [kept.query_key_value.is_some(), kept.attention_end.is_some()];
                assert_eq!(held, [above; 2], "{lowest}: attention of layer {layer}");
                let held = [kept.up.is_some(), kept.output_end.is_some()];
                assert_eq!(held, [through_output; 2], "{lowest}: feed-forward of layer {layer}");
            }
            let d = device.tensor(1, 32, &[1.0; 32]);
            assert!(encoder.backward(&batch, tape, d, &mut sites).is_none(), "{lowest}");
            assert_eq!((noted.kept, noted.below), (vec![true], vec![false]), "{lowest}");
            // Packed are the transposed weights of the layers above, and of the feed-forward block
            // where the lowest place lies before it.
            let packed = encoder.packed_bytes() - fresh().packed_bytes();
            let whole = {
                let mut encoder = fresh();
                encoder.prepare_backward(None).expect("the same files");
                (encoder.packed_bytes() - fresh().packed_bytes()) / 3
            };
            let above = (2 - lowest.layer) * whole;
            let expected = match lowest.site {
                Site::Output => above..above + 1,
                Site::Attention => above + 1..above + whole,
            };
            assert!(expected.contains(&packed), "{lowest}: {packed} of {whole} a layer");
        }
    }
}
