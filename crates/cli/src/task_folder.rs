//! A trained adapter's directory: the adapter, its head, and where they come from.

use std::path::Path;

use adaptkit::adapters::TaskModel;
use adaptkit::adapters::files::{
    ADAPTER_DIRECTORY, BaseReference, HeadKind, Provenance, StoredAdapter, StoredComposition,
    StoredFusion, StoredHead,
};
use adaptkit::encoder::foreign_text::quoted;
use adaptkit::encoder::{Encoder, Tokenizer};
use adaptkit::training::data::{AnswerSpace, LabelMap, Threshold, Thresholds};

use crate::Common;
use crate::compose::{ComposeFlags, Composed};
use crate::error::CliError;

/// The results of the training, beside the adapter's files.
pub(crate) const RESULTS: &str = "all_results.json";

/// The field of the results that says which run they are of: a digest of all that it depended on.
pub(crate) const RUN: &str = "run";

/// What the training measured while it ran, a JSON object a line.
pub(crate) const METRICS: &str = "metrics.jsonl";

/// The card that model hubs show.
pub(crate) const MODEL_CARD: &str = "README.md";

/// Every file that a directory of ours may hold: what --overwrite may replace.
pub(crate) fn own_files() -> Vec<String> {
    let files = ADAPTER_DIRECTORY.into_iter().chain([RESULTS, METRICS, MODEL_CARD]);
    files.map(str::to_owned).collect()
}

/// What sits in the encoder.
pub(crate) enum Stored {
    Adapter(StoredAdapter),
    Fusion(StoredFusion),
    /// A way through a composition.
    Composed(Box<Composed>),
    /// Nothing: the head is the bare base's.
    Nothing,
}

/// What a directory holds.
pub(crate) struct TaskFolder {
    pub(crate) stored: Stored,
    pub(crate) head: StoredHead,
    pub(crate) provenance: Option<Provenance>,
}

impl TaskFolder {
    /// Reads the directory; the head called `wanted` answers, or the one that belongs to what is in
    /// it.
    pub(crate) fn read(directory: &Path, wanted: Option<&str>) -> Result<TaskFolder, CliError> {
        if StoredComposition::is_at(directory) {
            let head = wanted.map(str::to_owned);
            let composing = ComposeFlags { head, ..ComposeFlags::default() };
            return composing.of_directory(None, directory)?.single();
        }
        let (stored, head) = if StoredFusion::is_at(directory) {
            let fusion = StoredFusion::read_members(directory)?;
            (Stored::Fusion(fusion), StoredFusion::read_head(directory, wanted)?)
        } else if StoredHead::is_alone_at(directory) {
            (Stored::Nothing, StoredHead::of_adapter(directory, wanted)?)
        } else {
            let adapter = StoredAdapter::read(directory)?;
            (Stored::Adapter(adapter), StoredHead::of_adapter(directory, wanted)?)
        };
        let head = head.ok_or_else(|| {
            let what = match stored {
                Stored::Fusion(_) => "a fusion",
                _ => "an adapter",
            };
            CliError::usage(format!(
                "{} holds {what} without a head: there is nothing to predict with; save it \
                 with its head (with_head=True in the Python library)",
                directory.display()
            ))
        })?;
        Ok(TaskFolder { stored, head, provenance: Provenance::read(directory)? })
    }

    /// The adapter's name, or that of the head of a fusion or of the bare base: the task's.
    pub(crate) fn name(&self) -> &str {
        match &self.stored {
            Stored::Adapter(adapter) => &adapter.name,
            Stored::Composed(composed) => &composed.way.name,
            Stored::Fusion(_) | Stored::Nothing => &self.head.name,
        }
    }

    /// Says so where there is no adapter in it.
    pub(crate) fn say(&self, common: &Common) {
        if let Stored::Nothing = self.stored {
            common.note(format_args!(
                "note: {} is a head without an adapter: it labels what the bare base makes of rows",
                quoted(self.name())
            ));
        }
    }

    /// The modules, packed for inference, after a check that they were made for this base.
    pub(crate) fn on(
        &self,
        encoder: &Encoder,
        tokenizer: &Tokenizer,
        model: &str,
    ) -> Result<TaskModel, CliError> {
        let base = BaseReference::new(model, encoder);
        if let Some(provenance) = &self.provenance {
            provenance.check_base(self.name(), &base)?;
            provenance.check_tokenizer(self.name(), tokenizer)?;
        }
        if let Stored::Composed(composed) = &self.stored {
            composed.check_base(&base, tokenizer)?;
        }
        let mut model = match &self.stored {
            Stored::Adapter(adapter) => TaskModel::from_stored(encoder, adapter, &self.head)?,
            Stored::Fusion(fusion) => TaskModel::from_stored_fusion(encoder, fusion, &self.head)?,
            Stored::Composed(composed) => {
                TaskModel::composed(encoder, &composed.way, &composed.parts, &self.head)?
            }
            Stored::Nothing => TaskModel::bare(encoder, &self.head)?,
        };
        model.pack_for_inference();
        Ok(model)
    }

    /// The answers that the head gives; a threshold that is asked for goes before the stored one.
    pub(crate) fn answer_space(&self, threshold: Option<f64>) -> Result<AnswerSpace, CliError> {
        if threshold.is_some() && self.head.kind != HeadKind::MultiLabel {
            return Err(CliError::usage(format!(
                "--threshold is for adapters that give sets of labels; {} is none",
                quoted(self.name())
            )));
        }
        let outputs = self.head.outputs();
        let labels = self.head.labels.clone();
        let names = labels.unwrap_or_else(|| (0..outputs).map(|i| format!("LABEL_{i}")).collect());
        let of_labels = self.provenance.as_ref().and_then(|p| p.thresholds.as_deref());
        let stored = self.provenance.as_ref().and_then(|p| p.threshold);
        let thresholds = match (threshold, of_labels) {
            (None, Some(each)) => Thresholds::each(each, outputs)?,
            (asked, _) => asked.or(stored).map_or(Ok(Threshold::HALF), Threshold::new)?.into(),
        };
        Ok(match self.head.kind {
            HeadKind::MultiLabel => AnswerSpace::LabelSets(LabelMap::new(names)?, thresholds),
            HeadKind::Classification if outputs == 1 => AnswerSpace::Values,
            HeadKind::Classification => AnswerSpace::Classes(LabelMap::new(names)?),
        })
    }

    /// The longest row: as asked for, as in training, or as the model and a composition's splits
    /// allow.
    pub(crate) fn max_length(
        &self,
        asked: Option<usize>,
        encoder: &Encoder,
    ) -> Result<usize, CliError> {
        let trained = self.provenance.as_ref().and_then(|p| p.max_length);
        let length = asked.or(trained).unwrap_or_else(|| encoder.config().longest_row());
        let Stored::Composed(composed) = &self.stored else { return Ok(length) };
        match (composed.way.composition.longest_row(), asked) {
            (Some(splits), Some(asked)) if asked > splits => Err(CliError::usage(format!(
                "--max-length is {asked}, and the splits of {} are for {splits} tokens: give at \
                 most as many, or other splits",
                self.name()
            ))),
            (splits, _) => Ok(splits.map_or(length, |splits| splits.min(length))),
        }
    }
}

/// Leaves a model's adapter out of the lowest layers, as `--adapterdrop` asks.
pub(crate) fn leave_out_lowest(
    model: &mut TaskModel,
    encoder: &Encoder,
    layers: usize,
) -> Result<(), CliError> {
    let all = encoder.config().num_hidden_layers;
    if layers > all {
        return Err(CliError::usage(format!(
            "--adapterdrop asks for {layers} dropped layers, and the encoder has {all}"
        )));
    }
    model.adapter.leave_out_lowest(layers);
    Ok(())
}
