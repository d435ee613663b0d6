//! A task on an encoder: its adapter and its head together.

use adaptkit_compute::{Dropout, Parameter, Tensor, mix};
use adaptkit_encoder::{Encoder, Place, RaggedBatch, Readout};

use crate::adapter::Adapter;
use crate::head::Head;

/// What is trained for one task.
pub struct TaskModel {
    /// The bottlenecks.
    pub adapter: Adapter,
    /// Makes logits of the first token's state.
    pub head: Head,
}

/// Where a parameter belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The bottleneck at a place.
    Adapter(Place),
    /// The head.
    Head,
}

/// The loss of a batch, as a function of its logits: the value and the gradient at the logits.
pub type Loss<'a> = dyn Fn(&Tensor) -> (f64, Tensor) + Sync + 'a;

impl TaskModel {
    /// Logits [rows, outputs].
    pub fn logits(&self, encoder: &Encoder, batch: &RaggedBatch) -> Tensor {
        encoder.device().run(|| {
            let first =
                encoder.forward(batch, Readout::FirstTokens, &mut self.adapter.inference(0));
            self.head.forward(&first)
        })
    }

    /// The loss of a batch; adds the gradient of every parameter. `key` decides the dropout masks
    /// and `head_dropout` the share dropped in the head.
    pub fn accumulate_gradients(
        &mut self,
        encoder: &Encoder,
        batch: &RaggedBatch,
        loss: &Loss<'_>,
        head_dropout: f32,
        key: u64,
    ) -> f64 {
        encoder.device().run(|| {
            let mut sites = self.adapter.training(0, mix(key, 0));
            let (first, tape) = encoder.forward_keeping(batch, Readout::FirstTokens, &mut sites);
            let dropout =
                |i: usize| Dropout { probability: head_dropout, key: mix(key, 1 + i as u64) };
            let (logits, head_tape) = self.head.forward_training(first, dropout);
            let (value, d) = loss(&logits);
            let d = self.head.backward(head_tape, d);
            encoder.backward(batch, tape, d, &mut sites);
            value
        })
    }

    /// Calls `f` on each trained parameter, lowest module first, the head last.
    pub fn visit(&mut self, f: &mut dyn FnMut(Owner, &str, &mut Parameter)) {
        self.adapter.visit(&mut |place, name, p| f(Owner::Adapter(place), name, p));
        self.head.visit(&mut |name, p| f(Owner::Head, name, p));
    }

    /// Renews what was packed of the parameters, after they were changed.
    pub fn repack(&mut self) {
        self.adapter.repack();
        self.head.repack();
    }
}
