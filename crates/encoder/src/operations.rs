//! Where the time of a forward pass goes: each of its operations, measured on its own.

use std::hint::black_box;
use std::time::{Duration, Instant};

use adaptkit_compute::{Dropout, FrozenLinear, Precision, Queries};

use crate::layer::Layer;
use crate::{Empty, Encoder, Place, RaggedBatch, Readout, Site};

/// What an operation of all layers took together, and the work it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// What it is, in a few words.
    pub name: &'static str,
    /// The format in which its multiply-adds are done; `None` where they are no measure of it.
    pub precision: Option<Precision>,
    /// Additions and multiplications: two for each multiply-add.
    pub operations: f64,
    /// Bytes that it reads and writes at least: its operands and its result, each once.
    pub bytes: f64,
    /// How long it took.
    pub took: Duration,
}

/// A batch's size, as costs depend on it.
#[derive(Clone, Copy)]
struct Size {
    tokens: f64,
    /// Σ length²: the scores of a head.
    squares: f64,
    rows: f64,
}

impl Size {
    fn of(batch: &RaggedBatch) -> Size {
        let lengths = batch.offsets.as_slice().windows(2).map(|w| (w[1] - w[0]) as f64);
        let (tokens, rows) = (batch.tokens() as f64, batch.rows() as f64);
        Size { tokens, squares: lengths.map(|n| n * n).sum(), rows }
    }

    /// What asks in a layer of which only the first tokens' results are wanted: each row's first
    /// token, and of scores one query's.
    fn first_tokens(self) -> Size {
        Size { tokens: self.rows, squares: self.tokens, ..self }
    }
}

impl Encoder {
    /// Additions and multiplications of the products and the attention of a forward pass over all
    /// tokens of a batch, with nothing in its sites: exact for ragged rows. Two for each
    /// multiply-add; what is done once a number (norms, activations) is left out.
    pub fn forward_operations(&self, batch: &RaggedBatch) -> f64 {
        let size = Size::of(batch);
        let projection = self.embeddings.projection.as_ref().map_or(0.0, |p| product(p, size));
        projection + self.layers.iter().map(|layer| layer_operations(layer, size)).sum::<f64>()
    }

    /// The same of a pass to the first token of each row, which is all that the last layer computes.
    pub fn first_token_operations(&self, batch: &RaggedBatch) -> f64 {
        let size = Size::of(batch);
        let all = self.forward_operations(batch);
        all - self
            .layers
            .last()
            .map_or(0.0, |layer| layer_operations(layer, size) - last_layer_operations(layer, size))
    }

    /// Additions and multiplications of the encoder's own in back-propagation from the first tokens
    /// down to the end of the sub-layer `lowest`: each product's once more, and the five of
    /// attention, whose scores are computed again.
    pub fn backward_operations(&self, batch: &RaggedBatch, lowest: Place) -> f64 {
        let size = Size::of(batch);
        let above = self.layers.iter().enumerate().skip(lowest.layer);
        let of_layer = |(index, layer): (usize, &Layer)| {
            let last = index + 1 == self.layers.len();
            let ends = if last { size.first_tokens() } else { size };
            let feed_forward = product(&layer.up, ends) + product(&layer.down, ends);
            let scores = attention(layer, ends);
            let before = product(&layer.attention_output, ends)
                + product(&layer.query_key_value, size)
                + 2.5 * scores;
            match (index == lowest.layer, lowest.site) {
                (true, Site::Output) => 0.0,
                (true, Site::Attention) => feed_forward,
                (false, _) => feed_forward + before,
            }
        };
        above.map(of_layer).sum()
    }

    /// Each operation of a forward pass over all tokens of a batch, run on its own through all
    /// layers' weights, with inputs of the shape and kind that the pass gives it; last, under the
    /// name `layers`, all layers as the pass runs them. What the pass takes beyond the sum of its
    /// operations is what lies between them.
    pub fn time_operations(&self, batch: &RaggedBatch) -> Vec<Operation> {
        self.device.run(|| self.operations(batch))
    }

    fn operations(&self, batch: &RaggedBatch) -> Vec<Operation> {
        let (size, offsets) = (Size::of(batch), &batch.offsets);
        let hidden = self.embed(batch);
        let Some(layer) = self.layers.first() else { return Vec::new() };
        let bias = self.relative_bias.as_ref();
        let qkv = layer.query_key_value.forward_operand(&hidden);
        let context = qkv.attention(offsets, layer.heads, Queries::All, bias, Dropout::NONE);
        let (wide, _) = layer.up.forward_activated_operand(&hidden, layer.activation, false);
        let numbers = |width: usize| 4.0 * size.tokens * width as f64;
        let width = hidden.columns();
        let vectors = |n: usize| n as f64 * numbers(width);

        let tables = 2 + usize::from(self.embeddings.token_types.is_some());
        let embedding = numbers(self.embeddings.words.width()) * (tables + 3) as f64;
        let mut all = vec![timed("embeddings", None, [0.0, embedding], || {
            black_box(self.embed(batch));
        })];
        let mut in_each_layer =
            |name, precision, cost: &dyn Fn(&Layer) -> [f64; 2], f: &dyn Fn(&Layer)| {
                let cost =
                    self.layers.iter().map(cost).fold([0.0; 2], |a, b| [a[0] + b[0], a[1] + b[1]]);
                all.push(timed(name, precision, cost, || self.layers.iter().for_each(f)));
            };
        type Part = fn(&Layer) -> &FrozenLinear;
        let narrow = numbers(width);
        let [qkv_bytes, context_bytes, wide_bytes] =
            [&qkv, &context, &wide].map(|operand| operand.bytes() as f64);
        type Run<'a> = &'a dyn Fn(&Layer);
        let products: [(_, Part, [f64; 2], Run<'_>); 4] = [
            ("query, key, value", |layer| &layer.query_key_value, [narrow, qkv_bytes], &|layer| {
                black_box(layer.query_key_value.forward_operand(&hidden));
            }),
            (
                "attention output",
                |layer| &layer.attention_output,
                [context_bytes, narrow],
                &|layer| {
                    black_box(layer.attention_output.forward_of(&context));
                },
            ),
            ("feed-forward up, activation", |layer| &layer.up, [narrow, wide_bytes], &|layer| {
                black_box(layer.up.forward_activated_operand(&hidden, layer.activation, false));
            }),
            ("feed-forward down", |layer| &layer.down, [wide_bytes, narrow], &|layer| {
                black_box(layer.down.forward_of(&wide));
            }),
        ];
        for (name, part, [read, written], run) in products {
            let cost = |layer: &Layer| {
                let part = part(layer);
                let weights = 4 * part.inputs() * part.outputs() / part.precision().per_word();
                [product(part, size), read + written + weights as f64]
            };
            in_each_layer(name, Some(part(layer).precision()), &cost, run);
        }
        let cost = |layer: &Layer| [attention(layer, size), qkv_bytes + context_bytes];
        in_each_layer("attention", Some(context.precision()), &cost, &|layer| {
            black_box(qkv.attention(offsets, layer.heads, Queries::All, bias, Dropout::NONE));
        });
        let x = layer.attention_output.forward_of(&context);
        in_each_layer("residual and norm, twice", None, &|_| [0.0, vectors(6)], &|layer| {
            for norm in [&layer.attention_norm, &layer.output_norm] {
                black_box(norm.forward(&x, Some(&hidden), false));
            }
        });
        let operations = self.layers.iter().map(|layer| layer_operations(layer, size)).sum();
        let layers = 0..self.layers.len();
        let copy = hidden.duplicate();
        let bytes = all[1..].iter().map(|operation| operation.bytes).sum();
        all.push(timed("layers", Some(self.precision), [operations, bytes], || {
            black_box(self.layers(batch, copy, layers, Readout::AllTokens, &mut Empty));
        }));
        all
    }
}

/// A product's additions and multiplications.
fn product(part: &FrozenLinear, size: Size) -> f64 {
    2.0 * size.tokens * (part.inputs() * part.outputs()) as f64
}

/// Those of both products of a layer's attention: scores, and the values' mean.
fn attention(layer: &Layer, size: Size) -> f64 {
    4.0 * size.squares * layer.heads.total() as f64
}

fn layer_operations(layer: &Layer, size: Size) -> f64 {
    let parts = [&layer.query_key_value, &layer.attention_output, &layer.up, &layer.down];
    parts.iter().map(|part| product(part, size)).sum::<f64>() + attention(layer, size)
}

/// Of the last layer, where only the first tokens' results are wanted.
fn last_layer_operations(layer: &Layer, size: Size) -> f64 {
    let first = size.first_tokens();
    let ends = [&layer.attention_output, &layer.up, &layer.down];
    let ends = ends.iter().map(|part| product(part, first)).sum::<f64>();
    product(&layer.query_key_value, size) + ends + attention(layer, first)
}

fn timed(
    name: &'static str,
    precision: Option<Precision>,
    [operations, bytes]: [f64; 2],
    f: impl FnOnce(),
) -> Operation {
    let start = Instant::now();
    f();
    Operation { name, precision, operations, bytes, took: start.elapsed() }
}

#[cfg(test)]
mod tests {
    use adaptkit_compute::Device;
    use adaptkit_testkit::golden_dir;

    use super::*;

    #[test]
    fn operations_are_counted_row_by_row() {
        let device = Device::cpu(std::num::NonZero::new(1)).expect("a device");
        let model = golden_dir("bert").join("model");
        let encoder = Encoder::load(&model, &device, Precision::F32).expect("an encoder");
        let (d, wide) = (encoder.config().hidden_size, encoder.config().intermediate_size);
        let layers = encoder.config().num_hidden_layers as f64;
        let token = 2.0 * (4 * d * d + 2 * d * wide) as f64;
        for (lengths, squares) in [(&[1][..], 1.0), (&[5, 1, 3], 35.0), (&[9], 81.0)] {
            let ids: Vec<Vec<u32>> = lengths.iter().map(|n| vec![5; *n]).collect();
            let types: Vec<Vec<u32>> = lengths.iter().map(|n| vec![0; *n]).collect();
            let batch = RaggedBatch::new(ids.iter().zip(&types).map(|(a, b)| (&a[..], &b[..])));
            let tokens = batch.tokens() as f64;
            let want = layers * (tokens * token + 4.0 * squares * d as f64);
            assert_eq!(encoder.forward_operations(&batch), want, "{lengths:?}");
            // The last layer: Q, K and V of all, then a token of each row and its scores.
            let (rows, ends) = (lengths.len() as f64, 2.0 * (d * d + 2 * d * wide) as f64);
            let qkv = 2.0 * (3 * d * d) as f64 * tokens;
            let last = |scores: f64| qkv + ends * rows + scores * tokens * d as f64;
            let below = want / layers * (layers - 1.0);
            assert_eq!(encoder.first_token_operations(&batch), below + last(4.0), "{lengths:?}");
            let inner = layers - 2.0;
            let more = 6.0 * squares * d as f64;
            for (site, lowest) in [(Site::Output, 0.0), (Site::Attention, 4.0 * (d * wide) as f64)]
            {
                let want = inner * (want / layers + more) + last(10.0) + lowest * tokens;
                let found = encoder.backward_operations(&batch, Place::new(0, site));
                assert_eq!(found, want, "{lengths:?}, {site:?}");
            }

            let operations = encoder.time_operations(&batch);
            let (layers, parts) = operations.split_last().expect("operations");
            let sum: f64 = parts.iter().map(|operation| operation.operations).sum();
            assert_eq!((layers.name, layers.operations, sum), ("layers", want, want));
            assert!(parts.iter().all(|operation| operation.bytes > 0.0), "{parts:?}");
        }
    }
}
