//! Multi-head attention over a ragged batch.

use adaptkit_kernels::attention::{self as kernel, Attention, HeadsMut, Operands};

use crate::{Device, Dropout, RowOffsets, Tensor};

/// How a hidden state is cut into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Heads.
    pub count: usize,
    /// Numbers in a head.
    pub width: usize,
}

impl Heads {
    /// Numbers in all heads of a token.
    pub fn total(self) -> usize {
        self.count * self.width
    }
}

/// Which tokens of a row ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queries {
    /// Every token: the result has a row a token.
    All,
    /// The first token of each row alone: the result has a row a text. What it holds is bit by
    /// bit what [`Queries::All`] gives for those tokens.
    First,
}

/// A frozen addition to the scores by head and distance.
pub struct RelativeBias {
    table: Tensor,
    reach: usize,
}

impl RelativeBias {
    /// `table` [heads, 2·reach − 1]: the entry for key − query = δ is at δ + reach − 1.
    ///
    /// # Panics
    /// If the length does not fit.
    pub fn new(device: &Device, heads: usize, reach: usize, table: &[f32]) -> RelativeBias {
        RelativeBias { table: device.tensor(heads, 2 * reach - 1, table), reach }
    }
}

impl Tensor {
    /// dropout(softmax(Q·Kᵀ/√w + bias))·V for self = Q|K|V [tokens, 3·heads·w].
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn attention(
        &self,
        offsets: &RowOffsets,
        heads: Heads,
        queries: Queries,
        bias: Option<&RelativeBias>,
        dropout: Dropout,
    ) -> Tensor {
        let device = self.device();
        let asked = Asked::new(self, offsets, heads, queries);
        let mut out = device.uninitialised(asked.offsets.tokens(), heads.total());
        let isa = device.0.isa;
        let result = HeadsMut::new(out.values_mut(), heads.total());
        let kernel = asked.kernel(offsets, bias, dropout);
        device.run(|| kernel.forward(isa, asked.operands(self), result));
        out
    }

    /// The gradient at self = Q|K|V [tokens, 3·heads·w], from `d` at the attention's result, with
    /// the forward pass's dropout.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn attention_backward(
        &self,
        d: &Tensor,
        offsets: &RowOffsets,
        heads: Heads,
        queries: Queries,
        bias: Option<&RelativeBias>,
        dropout: Dropout,
    ) -> Tensor {
        let device = self.device();
        let (isa, width) = (device.0.isa, heads.total());
        let asked = Asked::new(self, offsets, heads, queries);
        let d_out = kernel::Heads { data: d.values(), stride: width, start: 0 };
        let kernel = asked.kernel(offsets, bias, dropout);
        match &asked.gathered {
            None => {
                let mut to = device.uninitialised(self.rows(), self.columns());
                let parts = [0, width, 2 * width];
                let parts = HeadsMut::split(to.values_mut(), 3 * width, width, parts);
                device.run(|| kernel.backward(isa, asked.operands(self), d_out, parts));
                to
            }
            Some(gathered) => {
                let rows = offsets.first_tokens();
                let mut d_queries = device.zeros(gathered.rows(), 3 * width);
                let mut to = device.zeros(self.rows(), self.columns());
                let [d_keys, d_values] =
                    HeadsMut::split(to.values_mut(), 3 * width, width, [width, 2 * width]);
                let [d_q] = HeadsMut::split(d_queries.values_mut(), 3 * width, width, [0]);
                let parts = [d_q, d_keys, d_values];
                device.run(|| kernel.backward(isa, asked.operands(self), d_out, parts));
                let columns = self.columns();
                adaptkit_kernels::elementwise::scatter_add_rows(
                    d_queries.values(),
                    columns,
                    rows,
                    to.values_mut(),
                );
                to
            }
        }
    }
}

/// The queries of a call: those of all tokens, or the first tokens' copied out.
struct Asked {
    heads: Heads,
    offsets: RowOffsets,
    gathered: Option<Tensor>,
}

impl Asked {
    fn new(qkv: &Tensor, offsets: &RowOffsets, heads: Heads, queries: Queries) -> Asked {
        assert_eq!(qkv.shape(), [offsets.tokens(), 3 * heads.total()]);
        match queries {
            Queries::All => Asked { heads, offsets: offsets.clone(), gathered: None },
            Queries::First => Asked {
                heads,
                offsets: RowOffsets::from_lengths(std::iter::repeat_n(1, offsets.rows())),
                gathered: Some(qkv.gather_rows(offsets.first_tokens())),
            },
        }
    }

    fn kernel<'a>(
        &'a self,
        keys: &'a RowOffsets,
        bias: Option<&'a RelativeBias>,
        dropout: Dropout,
    ) -> Attention<'a> {
        Attention {
            heads: self.heads.count,
            width: self.heads.width,
            query_offsets: self.offsets.as_slice(),
            key_offsets: keys.as_slice(),
            relative_bias: bias
                .map(|b| kernel::RelativeBias { table: b.table.values(), reach: b.reach }),
            dropout,
        }
    }

    fn operands<'a>(&'a self, qkv: &'a Tensor) -> Operands<'a> {
        let width = self.heads.total();
        let part = |tensor: &'a Tensor, start| kernel::Heads {
            data: tensor.values(),
            stride: 3 * width,
            start,
        };
        Operands {
            queries: part(self.gathered.as_ref().unwrap_or(qkv), 0),
            keys: part(qkv, width),
            values: part(qkv, 2 * width),
        }
    }
}
