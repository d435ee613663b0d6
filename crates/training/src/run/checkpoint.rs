//! A run on disk: everything that the rest of it depends on.
//!
//! One safetensors file, so that a rename puts all of it in place at once. Its tensors are the
//! parameters, AdamW's two moments and the best epoch's parameters; its metadata are where the run
//! is and the facts of the run: hyper-parameters, digests of the rows and of the base, and whatever
//! else the bits of the result depend on. What is drawn at random needs no state of its own, for it
//! is drawn from the seed and the counters in [`Progress`]. The best epoch's scores are not stored
//! either: they are computed again from its parameters, to the same bits.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adaptkit_adapters::TaskModel;
use adaptkit_adapters::atomic::write_file;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::optimiser::Optimiser;
use crate::TrainingError;

/// Where a run is: the counters that everything random is drawn from, and its running sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Epochs done, evaluation and all.
    pub(super) epochs: usize,
    /// Steps done of the epoch after those.
    pub(super) steps_of_epoch: usize,
    pub(super) steps: usize,
    pub(super) rows: usize,
    pub(super) tokens: usize,
    /// Σ of the rows' losses, over the run and over the epoch.
    pub(super) loss: f64,
    pub(super) epoch_loss: f64,
    pub(super) took: Duration,
    pub(super) epoch_took: Duration,
    /// The best epoch so far, counted from 1.
    pub(super) best_epoch: Option<usize>,
    /// Evaluations since the last that was better by more than the threshold of early stopping.
    pub(super) stale: usize,
}

/// The file of a run that is under way.
pub(super) struct CheckpointFile<'a> {
    pub(super) path: &'a Path,
    /// What the bits of the result depend on, by name.
    pub(super) facts: Map<String, Value>,
}

/// What the file's metadata are called.
const PROGRESS: &str = "progress";
const FACTS: &str = "facts";

impl CheckpointFile<'_> {
    /// Replaces the file by where the run is now, whole or not at all.
    pub(super) fn write(
        &self,
        progress: &Progress,
        model: &mut TaskModel,
        optimiser: &Optimiser,
        best: Option<&[Vec<f32>]>,
    ) -> Result<(), TrainingError> {
        let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        let mut index = 0;
        model.visit(&mut |_, name, parameter| {
            let value = parameter.value();
            let shape = value.shape().to_vec();
            let mut put = |what: &str, values: &[f32]| {
                let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                tensors.push((tensor_name(index, name, what), shape.clone(), bytes));
            };
            put(VALUE, &value.to_vec());
            if let Some(moments) = optimiser.moments().get(index) {
                for (what, moment) in MOMENTS.iter().zip(moments) {
                    put(what, &moment.to_vec());
                }
            }
            if let Some(best) = best {
                put(BEST, &best[index]);
            }
            index += 1;
        });
        let unwritable = |reason: String| TrainingError::Write {
            path: self.path.to_path_buf(),
            source: std::io::Error::other(reason),
        };
        let views = tensors.iter().map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.as_str(), view))
        });
        let views: Result<Vec<_>, _> = views.collect();
        let progress =
            serde_json::to_string(progress).map_err(|error| unwritable(error.to_string()))?;
        let facts = Value::Object(self.facts.clone()).to_string();
        let metadata = HashMap::from([(PROGRESS.to_owned(), progress), (FACTS.to_owned(), facts)]);
        let bytes = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
        let bytes = bytes.map_err(|error| unwritable(error.to_string()))?;
        Ok(write_file(self.path, &bytes)?)
    }

    /// Puts the file's numbers into the model and the optimiser; where the run was, and the best
    /// epoch's parameters. `None` if there is no file.
    ///
    /// # Errors
    /// If the file is damaged, or is another run's: then what differs is named.
    #[allow(clippy::type_complexity)]
    pub(super) fn read(
        &self,
        model: &mut TaskModel,
        optimiser: &mut Optimiser,
    ) -> Result<Option<(Progress, Option<Vec<Vec<f32>>>)>, TrainingError> {
        let bytes = match std::fs::read(self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let file = self.path.display().to_string().into();
                return Err(TrainingError::Read { file, source });
            }
        };
        let damaged = |reason: String| TrainingError::DamagedCheckpoint {
            path: self.path.to_path_buf(),
            reason,
        };
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
        let metadata = metadata.metadata().clone().unwrap_or_default();
        let text = |name: &str| {
            metadata.get(name).ok_or_else(|| damaged(format!("its metadata have no '{name}'")))
        };
        let facts: Map<String, Value> =
            serde_json::from_str(text(FACTS)?).map_err(|error| damaged(error.to_string()))?;
        let differences = differences(&facts, &self.facts);
        if !differences.is_empty() {
            let path = self.path.to_path_buf();
            return Err(TrainingError::OtherRun { path, differences: differences.join("; ") });
        }
        let progress: Progress =
            serde_json::from_str(text(PROGRESS)?).map_err(|error| damaged(error.to_string()))?;
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
        let stored = Stored { path: self.path.to_path_buf(), tensors };
        let mut wrong = Ok(());
        let (mut best, mut moments, mut index) = (Vec::new(), Vec::new(), 0);
        model.visit(&mut |_, name, parameter| {
            let shape = parameter.value().shape();
            let values = |what: &str| stored.values(&tensor_name(index, name, what), shape);
            let all = || -> Result<_, TrainingError> {
                let [first, second] = MOMENTS;
                let best = progress.best_epoch.map(|_| values(BEST)).transpose()?;
                Ok((values(VALUE)?, [values(first)?, values(second)?], best))
            };
            match all() {
                Ok((value, pair, best_values)) => {
                    parameter.assign(&value);
                    let device = parameter.value().device();
                    moments.push(pair.map(|m| device.lasting_tensor(shape[0], shape[1], &m)));
                    best.extend(best_values);
                }
                Err(error) if wrong.is_ok() => wrong = Err(error),
                Err(_) => {}
            }
            index += 1;
        });
        wrong?;
        model.repack();
        *optimiser = Optimiser::continued(progress.steps as u64, moments);
        let best = progress.best_epoch.map(|_| best);
        Ok(Some((progress, best)))
    }
}

const VALUE: &str = "value";
const MOMENTS: [&str; 2] = ["first_moment", "second_moment"];
const BEST: &str = "best";

fn tensor_name(index: usize, name: &str, what: &str) -> String {
    format!("{index}.{name}.{what}")
}

struct Stored<'a> {
    path: PathBuf,
    tensors: SafeTensors<'a>,
}

impl Stored<'_> {
    fn values(&self, name: &str, shape: [usize; 2]) -> Result<Vec<f32>, TrainingError> {
        let damaged =
            |reason: String| TrainingError::DamagedCheckpoint { path: self.path.clone(), reason };
        let tensor = self.tensors.tensor(name).map_err(|error| damaged(error.to_string()))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
            let found = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
            return Err(damaged(format!("its {name} is {found}, not F32 {shape:?}")));
        }
        let (numbers, _) = tensor.data().as_chunks::<4>();
        Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

/// What two runs' facts differ in, for a message.
fn differences(then: &Map<String, Value>, now: &Map<String, Value>) -> Vec<String> {
    let names = then.keys().chain(now.keys().filter(|name| !then.contains_key(*name)));
    let shown = |value: Option<&Value>| value.map_or_else(|| "not there".into(), Value::to_string);
    names
        .filter(|name| then.get(*name) != now.get(*name))
        .map(|name| format!("{name} was {}, is {}", shown(then.get(name)), shown(now.get(name))))
        .collect()
}
