//! A task on an encoder: its adapter and its head together.

use adaptkit_compute::{Dropout, Parameter, Tensor, mix};
use adaptkit_encoder::{BaseDropout, Encoder, Place, RaggedBatch, Readout};

use crate::adapter::Adapter;
use crate::head::Head;

/// What is trained for one task.
pub struct TaskModel {
    /// What sits in the encoder.
    pub adapter: Adapter,
    /// Makes logits of the first token's state.
    pub head: Head,
}

/// Where a parameter belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The module at a place.
    Adapter(Place),
    /// The head.
    Head,
}

/// Hidden states on their way into a layer.
pub struct Entry {
    /// The layer.
    pub layer: usize,
    /// [tokens, hidden]
    pub hidden: Tensor,
}

impl Entry {
    /// A batch's embeddings, which enter layer 0.
    pub fn embedded(encoder: &Encoder, batch: &RaggedBatch) -> Entry {
        Entry::embedded_dropping(encoder, batch, BaseDropout::NONE)
    }

    /// The same with the base's own dropout.
    pub fn embedded_dropping(
        encoder: &Encoder,
        batch: &RaggedBatch,
        dropout: BaseDropout,
    ) -> Entry {
        Entry { layer: 0, hidden: encoder.embed_dropping(batch, dropout) }
    }
}

/// What a training pass does beside computing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingPass {
    /// The adapter is left out of the layers below this one.
    pub first_layer: usize,
    /// The share of the head's inputs that is dropped.
    pub head_dropout: f32,
    /// The base's own dropout, which the pass's entry has gone through as well.
    pub base_dropout: BaseDropout,
    /// Decides the masks of the adapter's and the head's dropout.
    pub key: u64,
}

/// The loss of a batch, as a function of its logits: the value and the gradient at the logits.
pub type Loss<'a> = dyn Fn(&Tensor) -> (f64, Tensor) + Sync + 'a;

impl TaskModel {
    /// Logits [rows, outputs].
    pub fn logits(&self, encoder: &Encoder, batch: &RaggedBatch) -> Tensor {
        encoder.device().run(|| self.logits_from(encoder, batch, Entry::embedded(encoder, batch)))
    }

    /// Logits [rows, outputs] with the adapter left out of the layers below `first_layer`
    /// (AdapterDrop at inference, Rücklé et al. 2021, §3).
    pub fn logits_with(
        &self,
        encoder: &Encoder,
        batch: &RaggedBatch,
        first_layer: usize,
    ) -> Tensor {
        encoder.device().run(|| {
            let mut sites = self.adapter.inference(first_layer);
            let first = encoder.forward(batch, Readout::FirstTokens, &mut sites);
            self.head.forward(&first)
        })
    }

    /// Logits [rows, outputs] for what enters a layer, none of the adapter's being below that.
    pub fn logits_from(&self, encoder: &Encoder, batch: &RaggedBatch, entry: Entry) -> Tensor {
        encoder.device().run(|| {
            let layers = entry.layer..encoder.config().num_hidden_layers;
            let mut sites = self.adapter.inference(0);
            let first =
                encoder.layers(batch, entry.hidden, layers, Readout::FirstTokens, &mut sites);
            self.head.forward(&first)
        })
    }

    /// The loss of a batch that enters the encoder at `entry`; adds the gradient of every parameter
    /// that takes part in the pass. Back-propagation ends at the lowest of them: where the adapter
    /// is left out of every layer that has a module, at the head.
    pub fn accumulate_gradients(
        &mut self,
        encoder: &Encoder,
        batch: &RaggedBatch,
        entry: Entry,
        loss: &Loss<'_>,
        pass: TrainingPass,
    ) -> f64 {
        encoder.device().run(|| {
            let TrainingPass { first_layer, head_dropout, base_dropout, key } = pass;
            let layers = entry.layer..encoder.config().num_hidden_layers;
            let (hidden, readout) = (entry.hidden, Readout::FirstTokens);
            let trains = self.adapter.lowest_from(first_layer).is_some();
            let mut sites = self.adapter.training(first_layer, mix(key, 0), base_dropout);
            let (first, tape) = if trains {
                let (first, tape) =
                    encoder.layers_keeping(batch, hidden, layers, readout, &mut sites);
                (first, Some(tape))
            } else {
                (encoder.layers(batch, hidden, layers, readout, &mut sites), None)
            };
            let dropout =
                |i: usize| Dropout { probability: head_dropout, key: mix(key, 1 + i as u64) };
            let (logits, head_tape) = self.head.forward_training(first, dropout);
            let (value, d) = loss(&logits);
            let d = self.head.backward(head_tape, d);
            if let Some(tape) = tape {
                encoder.backward(batch, tape, d, &mut sites);
            }
            value
        })
    }

    /// The penalty on the trained parameters that belongs to the loss of each step, 0 but for
    /// fusions; adds its gradient.
    pub fn add_penalty(&mut self) -> f64 {
        self.adapter.add_penalty()
    }

    /// Lets go of what only training needs: about two thirds of the memory. Its answers stay the
    /// same, bit by bit.
    ///
    /// Afterwards [`TaskModel::accumulate_gradients`], [`TaskModel::stored_adapter`] and
    /// [`TaskModel::stored_head`] panic, and [`TaskModel::visit`] passes over what is packed.
    pub fn pack_for_inference(&mut self) {
        self.adapter.pack();
        self.head.pack();
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
