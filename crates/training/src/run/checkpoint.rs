//! A run on disk: everything that the rest of it depends on.
//!
//! One safetensors file, so that a rename puts all of it in place at once. Its tensors are the
//! parameters, AdamW's two moments and the best epoch's parameters; its metadata are where the run
//! is and the facts of the run: hyper-parameters, digests of the rows and of the base, and whatever
//! else the bits of the result depend on. What is drawn at random needs no state of its own, for it
//! is drawn from the seed and the counters in [`Progress`]. The best epoch's scores are not stored
//! either: they are computed again from its parameters, to the same bits.
//!
//! The last tensor is a digest of every byte before it, header and all, and is checked before
//! anything of the file is used: a bit that changed on the disk would otherwise end in another
//! adapter without a word. What a file says is checked against the run as well, since a digest does
//! not tell who wrote it. Files of before the digest have neither that tensor nor a format in their
//! metadata; they are read, and the observer is told.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use adaptkit_adapters::TaskModel;
use adaptkit_adapters::atomic::write_file;
use adaptkit_encoder::foreign_text::said;
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

/// What a run's progress is checked against.
pub(super) struct Course<'a> {
    pub(super) epochs: usize,
    pub(super) total_steps: usize,
    /// Tokens of each training row.
    pub(super) lengths: &'a [usize],
    /// The rows of each of an epoch's batches.
    pub(super) batches: &'a dyn Fn(usize) -> Vec<Vec<usize>>,
}

/// More seconds than any run takes: a sum of two such times does not overflow.
const LONGEST: Duration = Duration::from_secs(1 << 32);

impl Progress {
    /// Whether a run of this course can be here; if not, what is wrong.
    fn check(&self, course: &Course<'_>) -> Result<(), String> {
        let above = |name: &str, count: usize, most: usize| match count > most {
            true => Err(format!("its {name} are {count}, and the run has {most}")),
            false => Ok(()),
        };
        above("epochs", self.epochs, course.epochs)?;
        above("steps", self.steps, course.total_steps)?;
        above("epochs without a better score", self.stale, self.epochs)?;
        let batches = match self.epochs < course.epochs {
            true => (course.batches)(self.epochs),
            false => Vec::new(),
        };
        // After an epoch's last step the epoch is done.
        above("steps of the epoch", self.steps_of_epoch, batches.len().saturating_sub(1))?;
        let of_epoch: Vec<usize> = batches[..self.steps_of_epoch].concat();
        let all: usize = course.lengths.iter().sum();
        let tokens: usize = of_epoch.iter().map(|row| course.lengths[*row]).sum();
        for (name, found, each, begun) in [
            ("rows", self.rows, course.lengths.len(), of_epoch.len()),
            ("tokens", self.tokens, all, tokens),
        ] {
            let expected = self.epochs.saturating_mul(each).saturating_add(begun);
            if found != expected {
                return Err(format!("its {name} are {found}, and {expected} after so many steps"));
            }
        }
        for (name, loss) in [("loss", self.loss), ("epoch_loss", self.epoch_loss)] {
            if !loss.is_finite() {
                return Err(format!("its {name} is {loss}"));
            }
        }
        for (name, took) in [("took", self.took), ("epoch_took", self.epoch_took)] {
            if took > LONGEST {
                return Err(format!("its {name} is {} s", took.as_secs()));
            }
        }
        match self.best_epoch {
            Some(best) if best == 0 || best > self.epochs => {
                Err(format!("its best epoch is {best} of {}", self.epochs))
            }
            _ => Ok(()),
        }
    }
}

/// The file of a run that is under way.
pub(super) struct CheckpointFile<'a> {
    pub(super) path: &'a Path,
    /// What the bits of the result depend on, by name.
    pub(super) facts: Map<String, Value>,
    /// The base as files of before the digest know it.
    pub(super) sampled_base: &'a str,
}

/// The fact of the base.
const BASE: &str = "base";

/// Facts that files of before the digest do not have.
const LATER_FACTS: [&str; 2] = ["tokenizer", "member digests"];

/// Where a run was when its checkpoint was written; the parameters and moments are in the model and
/// in the optimiser.
pub(super) struct Position {
    pub(super) progress: Progress,
    /// The best epoch's parameters, if an epoch has ended.
    pub(super) best: Option<Vec<Vec<f32>>>,
    /// Whether the file's digest was there and right; else it is older than digests.
    pub(super) verified: bool,
}

/// What the file's metadata are called.
const PROGRESS: &str = "progress";
const FACTS: &str = "facts";
const FORMAT: &str = "format";

/// The format that a digest came with.
const WITH_DIGEST: &str = "2";

/// The tensor of the digest. Tensors lie in the file by their types' sizes, the largest first, so
/// that this one, the only one of bytes, comes last.
const DIGEST: &str = "digest";
const DIGEST_BYTES: usize = blake3::OUT_LEN;

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
        let bytes = serialised(&tensors, progress, &self.facts).map_err(|reason| {
            let (path, source) = (self.path.to_path_buf(), std::io::Error::other(reason));
            TrainingError::Write { path, source }
        })?;
        Ok(write_file(self.path, &bytes)?)
    }

    /// Puts the file's numbers into the model and the optimiser. `None` if there is no file.
    ///
    /// # Errors
    /// If the file is damaged, cannot be of this course, or is another run's: then what differs is
    /// named.
    pub(super) fn read(
        &self,
        model: &mut TaskModel,
        optimiser: &mut Optimiser,
        course: &Course<'_>,
    ) -> Result<Option<Position>, TrainingError> {
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
        let content = Content::of(&bytes).map_err(damaged)?;
        let differences = differences(&content.facts, &self.facts_as_in(&content));
        if !differences.is_empty() {
            let path = self.path.to_path_buf();
            return Err(TrainingError::OtherRun { path, differences: differences.join("; ") });
        }
        let Content { progress, verified, .. } = &content;
        progress.check(course).map_err(damaged)?;
        let mut wrong = Ok(());
        let (mut best, mut moments, mut index) = (Vec::new(), Vec::new(), 0);
        model.visit(&mut |_, name, parameter| {
            let shape = parameter.value().shape();
            let values = |what: &str| content.values(&tensor_name(index, name, what), shape);
            let all = || -> Result<_, String> {
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
                Err(reason) if wrong.is_ok() => wrong = Err(damaged(reason)),
                Err(_) => {}
            }
            index += 1;
        });
        wrong?;
        model.repack();
        *optimiser = Optimiser::continued(progress.steps as u64, moments);
        let best = progress.best_epoch.map(|_| best);
        Ok(Some(Position { progress: progress.clone(), best, verified: *verified }))
    }
}

impl CheckpointFile<'_> {
    /// This run's facts as a file of that age would have them.
    fn facts_as_in(&self, content: &Content<'_>) -> Map<String, Value> {
        let mut facts = self.facts.clone();
        if !content.verified {
            facts.insert(BASE.to_owned(), self.sampled_base.into());
            facts.retain(|name, _| !LATER_FACTS.contains(&&name[..]));
        }
        facts
    }
}

/// A file's bytes, the digest in place.
fn serialised(
    tensors: &[(String, Vec<usize>, Vec<u8>)],
    progress: &Progress,
    facts: &Map<String, Value>,
) -> Result<Vec<u8>, String> {
    let numbers = tensors.iter().map(|(name, shape, bytes)| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.as_str(), view))
    });
    let space = TensorView::new(Dtype::U8, vec![DIGEST_BYTES], &[0; DIGEST_BYTES]);
    let views: Result<Vec<_>, _> = numbers.chain([space.map(|view| (DIGEST, view))]).collect();
    let metadata = HashMap::from([
        (PROGRESS.to_owned(), serde_json::to_string(progress).map_err(|e| e.to_string())?),
        (FACTS.to_owned(), Value::Object(facts.clone()).to_string()),
        (FORMAT.to_owned(), WITH_DIGEST.to_owned()),
    ]);
    let bytes = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
    let mut bytes = bytes.map_err(|error| error.to_string())?;
    seal(&mut bytes);
    Ok(bytes)
}

/// Puts the digest of all that is before it at the end.
fn seal(bytes: &mut [u8]) {
    if let Some((content, digest)) = bytes.split_last_chunk_mut::<DIGEST_BYTES>() {
        *digest = *blake3::hash(content).as_bytes();
    }
}

fn is_sealed(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<DIGEST_BYTES>()
        .is_some_and(|(content, digest)| blake3::hash(content).as_bytes() == digest)
}

/// What a file holds, before it is compared with a run.
struct Content<'a> {
    tensors: SafeTensors<'a>,
    progress: Progress,
    facts: Map<String, Value>,
    verified: bool,
}

impl Content<'_> {
    /// The content of a file's bytes, or what is wrong with them.
    fn of(bytes: &[u8]) -> Result<Content<'_>, String> {
        let verified = is_sealed(bytes);
        let tensors = SafeTensors::deserialize(bytes).map_err(said)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(said)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        // A flipped bit may take away one of the two marks, not both.
        let has_digest = tensors.names().contains(&DIGEST) || metadata.contains_key(FORMAT);
        if has_digest && !verified {
            let reason = "its digest is not that of its content, which has changed since it was \
                          written";
            return Err(reason.to_owned());
        }
        let text =
            |name: &str| metadata.get(name).ok_or_else(|| format!("its metadata have no '{name}'"));
        let wrong = |name: &str, error| format!("its {name} cannot be read: {}", said(error));
        let facts = serde_json::from_str(text(FACTS)?).map_err(|error| wrong(FACTS, error))?;
        let progress =
            serde_json::from_str(text(PROGRESS)?).map_err(|error| wrong(PROGRESS, error))?;
        Ok(Content { tensors, progress, facts, verified })
    }

    fn values(&self, name: &str, shape: [usize; 2]) -> Result<Vec<f32>, String> {
        let tensor = self.tensors.tensor(name).map_err(said)?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
            let found = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
            return Err(format!("its {name} is {found}, not F32 {shape:?}"));
        }
        let (numbers, _) = tensor.data().as_chunks::<4>();
        let numbers: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        match numbers.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(format!("its {name} holds {} at {at}", numbers[at])),
            None => Ok(numbers),
        }
    }
}

const VALUE: &str = "value";
const MOMENTS: [&str; 2] = ["first_moment", "second_moment"];
const BEST: &str = "best";

fn tensor_name(index: usize, name: &str, what: &str) -> String {
    format!("{index}.{name}.{what}")
}

/// What two runs' facts differ in, for a message.
fn differences(then: &Map<String, Value>, now: &Map<String, Value>) -> Vec<String> {
    let names = then.keys().chain(now.keys().filter(|name| !then.contains_key(*name)));
    let shown = |value: Option<&Value>| value.map_or_else(|| "not there".into(), said);
    names
        .filter(|name| then.get(*name) != now.get(*name))
        .map(|name| {
            let (was, is) = (shown(then.get(name)), shown(now.get(name)));
            format!("{} was {was}, is {is}", said(name))
        })
        .collect()
}

/// A digest of a run's facts, which a result bears: the same run's bits are the same.
pub(super) fn run_digest(facts: &Map<String, Value>) -> String {
    let sorted: BTreeMap<&String, &Value> = facts.iter().collect();
    let mut digest = blake3::Hasher::new();
    for (name, value) in sorted {
        digest.update(format!("{name}\0{value}\0").as_bytes());
    }
    format!("blake3:{}", digest.finalize().to_hex())
}

/// What the fuzzer of checkpoints runs: a file's bytes as they are, and with the digest that they
/// should have.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) -> [Result<(), String>; 2] {
    let look = |bytes: &[u8]| -> Result<(), String> {
        let content = Content::of(bytes)?;
        for name in content.tensors.names() {
            let tensor = content.tensors.tensor(name).map_err(said)?;
            if let [rows, columns] = *tensor.shape() {
                content.values(name, [rows, columns])?;
            }
        }
        let lengths = [3, 1, 4, 1, 5];
        let batches = |_| vec![vec![0, 1], vec![2, 3], vec![4]];
        let course = Course { epochs: 3, total_steps: 9, lengths: &lengths, batches: &batches };
        content.progress.check(&course)?;
        let differences = differences(&content.facts, &Map::new());
        differences.is_empty().then_some(()).ok_or_else(|| differences.join("; "))
    };
    let mut sealed = bytes.to_vec();
    seal(&mut sealed);
    [look(bytes), look(&sealed)]
}

#[cfg(test)]
mod tests;
