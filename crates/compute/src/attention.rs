//! Multi-head attention over a ragged batch.

use adaptkit_kernels::attention::{self as kernel, Attention, HeadsMut, Operands};

use crate::operand::{Rounded, Storage};
use crate::{Device, Dropout, Operand, RowOffsets, Tensor};

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

impl Queries {
    /// Where the rows of the tokens that ask begin.
    fn offsets(self, offsets: &RowOffsets) -> RowOffsets {
        match self {
            Queries::All => offsets.clone(),
            Queries::First => RowOffsets::from_lengths(std::iter::repeat_n(1, offsets.rows())),
        }
    }
}

/// The kernel's view of an attention.
fn kernel_of<'a>(
    heads: Heads,
    asking: &'a RowOffsets,
    keys: &'a RowOffsets,
    bias: Option<&'a RelativeBias>,
    dropout: Dropout,
) -> Attention<'a> {
    Attention {
        heads: heads.count,
        width: heads.width,
        query_offsets: asking.as_slice(),
        key_offsets: keys.as_slice(),
        relative_bias: bias
            .map(|b| kernel::RelativeBias { table: b.table.values(), reach: b.reach }),
        dropout,
    }
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
        RelativeBias { table: device.lasting_tensor(heads, 2 * reach - 1, table), reach }
    }
}

impl Operand {
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
    ) -> Operand {
        match &self.0 {
            Storage::Full(qkv) => qkv.attention(offsets, heads, queries, bias, dropout).into(),
            Storage::Rounded(qkv) => {
                let asking = queries.offsets(offsets);
                let kernel = kernel_of(heads, &asking, offsets, bias, dropout);
                let device = self.device();
                let isa = device.0.isa;
                if !kernel.fits_tiles(isa) {
                    return qkv.widened().attention(offsets, heads, queries, bias, dropout).into();
                }
                let mut out = Rounded::uninitialised(device, asking.tokens(), heads.total());
                let to = out.values_mut();
                device.run(|| kernel.forward_in_tiles(isa, qkv.values(), to));
                Operand(Storage::Rounded(out))
            }
        }
    }

    /// The gradient at self = Q|K|V [tokens, 3·heads·w], from `d` at the attention's result, with
    /// the forward pass's dropout.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn attention_backward(
        &self,
        d: &Operand,
        offsets: &RowOffsets,
        heads: Heads,
        queries: Queries,
        bias: Option<&RelativeBias>,
        dropout: Dropout,
    ) -> Operand {
        if let (Storage::Rounded(qkv), Storage::Rounded(d)) = (&self.0, &d.0) {
            let asking = queries.offsets(offsets);
            let kernel = kernel_of(heads, &asking, offsets, bias, dropout);
            let device = self.device();
            let isa = device.0.isa;
            if kernel.fits_tiles(isa) {
                let [rows, columns] = self.shape();
                let mut to = Rounded::uninitialised(device, rows, columns);
                if queries == Queries::First {
                    to.clear();
                }
                let gradient = to.values_mut();
                device.run(|| kernel.backward_in_tiles(isa, qkv.values(), d.values(), gradient));
                return Operand(Storage::Rounded(to));
            }
        }
        let (mut qkv_widened, mut d_widened) = (None, None);
        let qkv = self.full(&mut qkv_widened);
        let d = d.full(&mut d_widened);
        qkv.attention_backward(d, offsets, heads, queries, bias, dropout).into()
    }

    /// The tensor, or a widened copy in `widened`.
    fn full<'a>(&'a self, widened: &'a mut Option<Tensor>) -> &'a Tensor {
        match &self.0 {
            Storage::Full(tensor) => tensor,
            Storage::Rounded(rounded) => widened.insert(rounded.widened()),
        }
    }
}

impl Tensor {
    /// dropout(softmax(Q·Kᵀ/√w + bias))·V for self = Q|K|V [tokens, 3·heads·w].
    ///
    /// # Panics
    /// If the shapes do not fit.
    fn attention(
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
    fn attention_backward(
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
        let gathered = match queries {
            Queries::All => None,
            Queries::First => Some(qkv.gather_rows(offsets.first_tokens())),
        };
        Asked { heads, offsets: queries.offsets(offsets), gathered }
    }

    fn kernel<'a>(
        &'a self,
        keys: &'a RowOffsets,
        bias: Option<&'a RelativeBias>,
        dropout: Dropout,
    ) -> Attention<'a> {
        kernel_of(self.heads, &self.offsets, keys, bias, dropout)
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
