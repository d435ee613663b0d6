//! The prefix cache: what comes out of the layers below the lowest adapter, kept for later epochs.
//!
//! The encoder is frozen and nothing random happens below the lowest module, so that the hidden
//! states that enter its layer (a boundary) depend on the row alone, and not on the batch that the
//! row is in. They are computed once, and later epochs begin at the boundary. Robust training begins
//! at another layer each step: as many boundaries are kept as there is room for, chosen to leave the
//! fewest layers to compute, and a step starts from the highest at or below its layer.
//!
//! Two things keep a run's bits apart from what the cache happens to hold. States that are kept in
//! bf16 are rounded to it before their first use too, and always computed from the embeddings. And
//! an epoch asks for every row once, so that whatever is kept is as good as anything else: rows are
//! kept as they come until there is no more room, and nothing gives way. (The least recently used
//! would go just before it is wanted.)
//!
//! Validation rows are kept as they are, in f32, lest scores differ from those of an evaluation.

mod boundaries;
mod file;
mod folder;
mod rows;
mod states;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use adaptkit_adapters::{Adapter, Entry};
use adaptkit_encoder::{Empty, Encoder, Readout, TokenisedRow};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::boundaries::best_boundaries;
use self::file::CacheFile;
pub use self::folder::CacheDirectory;
use self::folder::{CacheFolder, earlier_files};
pub(super) use self::rows::Part;
use self::rows::RowTable;
pub use self::states::StatePrecision;
use super::batches::{Dataset, batch};
use super::options::HyperParameters;
use crate::TrainingError;

/// The room for hidden states between epochs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixCaching {
    /// The format in which training rows' states are kept.
    pub precision: StatePrecision,
    /// Bytes that are kept in memory.
    pub memory: u64,
    /// Where they are kept beyond that, and for other runs.
    pub directory: Option<CacheDirectory>,
}

/// What a run's prefix cache does, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheNotice {
    /// States will be kept.
    Keeping {
        /// The layers that they enter.
        boundaries: Vec<usize>,
        /// The training rows' format.
        precision: StatePrecision,
        /// Bytes that all of them take.
        bytes: u64,
        /// Bytes that memory or files have room for.
        room: u64,
        /// The files, if there are any.
        files: Vec<PathBuf>,
    },
    /// What it was good for, at the end.
    Used {
        /// Rows that were found, each as often as it was asked for.
        found: usize,
        /// Rows whose states were computed.
        computed: usize,
    },
    /// Files of an earlier version, which kept them beside the user's own: they are neither used nor
    /// removed.
    EarlierFiles {
        /// Where they are.
        directory: PathBuf,
        /// How many.
        files: usize,
        /// Bytes that they take.
        bytes: u64,
    },
    /// A file cannot be written any more; what it holds is still used.
    WriteFailed {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
}

impl fmt::Display for CacheNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CacheNotice::Keeping { boundaries, precision, bytes, room, files } => {
                let layers: Vec<String> = boundaries.iter().map(usize::to_string).collect();
                write!(
                    f,
                    "keeping the hidden states that enter layer {} as {}: {}",
                    layers.join(", "),
                    match precision {
                        StatePrecision::Bf16 => "bf16",
                        StatePrecision::F32 => "f32",
                    },
                    size(*bytes),
                )?;
                if room < bytes {
                    write!(f, ", of which {} find room", size(*room))?;
                }
                match files.first().and_then(|path| path.parent()) {
                    Some(folder) => write!(f, "; files in {}", folder.display()),
                    None => Ok(()),
                }
            }
            CacheNotice::Used { found, computed } => write!(
                f,
                "the hidden states of {found} rows were found, those of {computed} computed"
            ),
            CacheNotice::EarlierFiles { directory, files, bytes } => write!(
                f,
                "{}: {files} .prefix file{} of an earlier version, {}, {} not used any more and may \
                 be deleted",
                directory.display(),
                if *files == 1 { "" } else { "s" },
                size(*bytes),
                if *files == 1 { "is" } else { "are" },
            ),
            CacheNotice::WriteFailed { path, reason } => write!(
                f,
                "cannot write the cache {}: {reason}; going on without writing it",
                path.display()
            ),
        }
    }
}

/// Bytes for people: whole megabytes or kilobytes.
fn size(bytes: u64) -> String {
    match bytes {
        1_000_000.. => format!("{} MB", bytes / 1_000_000),
        1000.. => format!("{} KB", bytes / 1000),
        _ => format!("{bytes} bytes"),
    }
}

/// The states of one boundary.
struct Store {
    boundary: usize,
    precision: StatePrecision,
    memory: Vec<Option<Box<[u8]>>>,
    file: Option<CacheFile>,
}

/// A run's cache.
pub(super) struct PrefixCache<'a> {
    encoder: &'a Encoder,
    rows: RowTable,
    /// Those of training rows, lowest boundary first, and the one of validation rows, if that is
    /// another.
    stores: Vec<Store>,
    /// The number of training rows' stores.
    training: usize,
    memory_left: u64,
    found: usize,
    computed: usize,
    notices: Vec<CacheNotice>,
}

impl<'a> PrefixCache<'a> {
    /// A cache for a run, empty or as other runs have filled it; `None` where there is nothing to
    /// keep that would be the same again, no room for it, or no later epoch nor run that would use
    /// it.
    ///
    /// # Errors
    /// If the folder or a file in it cannot be used.
    pub(super) fn open(
        encoder: &'a Encoder,
        adapter: &Adapter,
        (training, validation): (&Dataset, Option<&Dataset>),
        options: &HyperParameters,
        caching: &PrefixCaching,
    ) -> Result<Option<PrefixCache<'a>>, TrainingError> {
        let directory = caching.directory.as_ref();
        // What is in memory is in the files as well.
        let room = caching.memory.max(directory.map_or(0, |folder| folder.budget));
        let lowest = entry_layer(encoder, adapter, 0);
        let mut needed = BTreeMap::new();
        match &options.robust_drop {
            None => *needed.entry(lowest).or_default() += 1.0,
            Some(drop) => {
                for (n, p) in drop.probabilities().into_iter().enumerate() {
                    *needed.entry(entry_layer(encoder, adapter, n)).or_default() += p;
                }
            }
        }
        let useful = options.epochs > 1 || directory.is_some();
        if options.base_dropout || !useful || room == 0 || needed.keys().all(|layer| *layer == 0) {
            return Ok(None);
        }
        let rows = RowTable::new(&training.rows, validation.map_or(&[], |rows| &rows.rows[..]));
        let width = encoder.config().hidden_size;
        let bytes_of = |part, precision: StatePrecision| {
            rows.tokens(part) * (width * precision.bytes()) as u64
        };
        let each = bytes_of(Part::Training, caching.precision);
        // One that finds no room for all rows keeps some.
        let most = (room / each.max(1)).clamp(1, needed.len() as u64) as usize;
        let boundaries = best_boundaries(&needed, most);
        let mut kept: Vec<_> = boundaries.iter().map(|b| (*b, caching.precision)).collect();
        let mut bytes = each * boundaries.len() as u64;
        let training = kept.len();
        if lowest > 0 {
            bytes += bytes_of(Part::Validation, StatePrecision::F32);
            if !kept.contains(&(lowest, StatePrecision::F32)) {
                kept.push((lowest, StatePrecision::F32));
            }
        }
        let mut stores = Vec::new();
        let folder = directory.map(CacheFolder::open).transpose()?;
        for (boundary, precision) in kept {
            let file = folder.as_ref().map(|folder| {
                let key = key(encoder, boundary, precision, &rows)?;
                let row = |tokens: &usize| (tokens * width * precision.bytes()) as u64;
                CacheFile::open(folder, key, rows.lengths.iter().map(row))
            });
            let memory = rows.lengths.iter().map(|_| None).collect();
            stores.push(Store { boundary, precision, memory, file: file.transpose()? });
        }
        let files = stores.iter().filter_map(|store| Some(store.file.as_ref()?.path.clone()));
        let notice = CacheNotice::Keeping {
            boundaries,
            precision: caching.precision,
            bytes,
            room,
            files: files.collect(),
        };
        let mut notices = vec![notice];
        notices.extend(directory.and_then(|directory| earlier_files(&directory.path)));
        for file in stores.iter_mut().filter_map(|store| store.file.as_mut()) {
            notices.extend(file.not_allocated.take().map(|error| file.write_failed(&error)));
        }
        Ok(Some(PrefixCache {
            encoder,
            rows,
            stores,
            training,
            memory_left: caching.memory,
            found: 0,
            computed: 0,
            notices,
        }))
    }

    /// What the run's bits depend on: nothing where states are kept as they are.
    pub(super) fn facts(&self) -> Option<Value> {
        let stores = &self.stores[..self.training];
        let rounded = stores.iter().any(|store| store.precision != StatePrecision::F32);
        let boundaries: Vec<usize> = stores.iter().map(|store| store.boundary).collect();
        rounded.then(|| json!({"precision": StatePrecision::Bf16, "boundaries": boundaries}))
    }

    /// What it was good for.
    pub(super) fn used(&self) -> CacheNotice {
        CacheNotice::Used { found: self.found, computed: self.computed }
    }

    /// What there is to tell since it was last asked.
    pub(super) fn notices(&mut self) -> Vec<CacheNotice> {
        std::mem::take(&mut self.notices)
    }

    /// The hidden states of a data set's picked rows at the highest boundary at or below `layer`.
    pub(super) fn enter(
        &mut self,
        part: Part,
        rows: &[TokenisedRow],
        picked: &[usize],
        layer: usize,
    ) -> Entry {
        let encoder = self.encoder;
        let stores = match part {
            Part::Training => 0..self.training,
            Part::Validation => {
                let f32 = |store: &Store| store.precision == StatePrecision::F32;
                let at = |i: &usize| self.stores[*i].boundary == layer && f32(&self.stores[*i]);
                (0..self.stores.len()).find(at).map_or(0..0, |i| i..i + 1)
            }
        };
        let Some(target) = stores.clone().rev().find(|i| self.stores[*i].boundary <= layer) else {
            return Entry::embedded(encoder, &batch(rows, picked));
        };
        let width = encoder.config().hidden_size;
        let starts = starts(rows, picked);
        let mut values = vec![0.0; starts[picked.len()] * width];
        let mut missing = Vec::new();
        for (place, row) in picked.iter().enumerate() {
            let range = starts[place] * width..starts[place + 1] * width;
            let number = self.rows.number(part, *row);
            if !self.read(target, number, &mut values[range]) {
                missing.push(place);
            }
        }
        self.found += picked.len() - missing.len();
        self.computed += missing.len();
        if !missing.is_empty() {
            self.compute(part, rows, picked, &missing, stores, target, &mut values);
        }
        let tokens = starts[picked.len()];
        encoder.device().begin_step(tokens);
        let hidden = encoder.device().tensor(tokens, width, &values);
        Entry { layer: self.stores[target].boundary, hidden }
    }

    /// Computes the states of missing rows for the target and for every other of the stores that has
    /// room for them, in one pass: a later step may begin at any.
    fn compute(
        &mut self,
        part: Part,
        rows: &[TokenisedRow],
        picked: &[usize],
        missing: &[usize],
        stores: std::ops::Range<usize>,
        target: usize,
        values: &mut [f32],
    ) {
        let encoder = self.encoder;
        let width = encoder.config().hidden_size;
        let all = starts(rows, picked);
        let absent: Vec<usize> = missing.iter().map(|place| picked[*place]).collect();
        let own = starts(rows, &absent);
        let batch = batch(rows, &absent);
        let mut layer = 0;
        let mut hidden = encoder.device().run(|| encoder.embed(&batch));
        for store in stores {
            let numbers: Vec<usize> =
                absent.iter().map(|row| self.rows.number(part, *row)).collect();
            if store > target && !numbers.iter().any(|number| self.has_room(store, *number)) {
                continue;
            }
            let boundary = self.stores[store].boundary;
            hidden = encoder.device().run(|| {
                encoder.layers(&batch, hidden, layer..boundary, Readout::AllTokens, &mut Empty)
            });
            layer = boundary;
            let computed = hidden.to_vec();
            for ((place, number), ends) in missing.iter().zip(numbers).zip(own.windows(2)) {
                let states = &computed[ends[0] * width..ends[1] * width];
                let bytes = self.stores[store].precision.encode(states);
                if store == target {
                    let range = all[*place] * width..all[place + 1] * width;
                    self.stores[store].precision.decode(&bytes, &mut values[range]);
                }
                self.write(store, number, bytes);
            }
        }
    }

    /// A row's states from memory or from the file.
    fn read(&mut self, store: usize, number: usize, values: &mut [f32]) -> bool {
        let store = &mut self.stores[store];
        if let Some(bytes) = &store.memory[number] {
            store.precision.decode(bytes, values);
            return true;
        }
        let Some(bytes) = store.file.as_ref().and_then(|file| file.read(number)) else {
            return false;
        };
        store.precision.decode(&bytes, values);
        self.memory_left = keep(store, number, bytes, self.memory_left);
        true
    }

    fn has_room(&self, store: usize, number: usize) -> bool {
        let store = &self.stores[store];
        let bytes = self.rows.lengths[number] * store.precision.bytes();
        let bytes = (bytes * self.encoder.config().hidden_size) as u64;
        store.memory[number].is_none()
            && (bytes <= self.memory_left
                || store.file.as_ref().is_some_and(|file| file.has_room(number)))
    }

    fn write(&mut self, store: usize, number: usize, bytes: Box<[u8]>) {
        let store = &mut self.stores[store];
        if let Some(file) = &mut store.file
            && file.has_room(number)
            && let Err(error) = file.write(number, &bytes)
        {
            file.close_for_writing();
            self.notices.push(file.write_failed(&error));
        }
        self.memory_left = keep(store, number, bytes, self.memory_left);
    }
}

/// Keeps a row's states in memory if there is room; the room that is left.
fn keep(store: &mut Store, number: usize, bytes: Box<[u8]>, left: u64) -> u64 {
    let size = bytes.len() as u64;
    if store.memory[number].is_some() || size > left {
        return left;
    }
    store.memory[number] = Some(bytes);
    left - size
}

/// The layer that a pass without the adapter in the layers below `first_layer` may begin at: the
/// last one where nothing of the adapter is left.
pub(super) fn entry_layer(encoder: &Encoder, adapter: &Adapter, first_layer: usize) -> usize {
    let last = encoder.config().num_hidden_layers.saturating_sub(1);
    adapter.lowest_from(first_layer).map_or(last, |place| place.layer)
}

/// Where each picked row begins among the tokens of all, and where the last one ends.
fn starts(rows: &[TokenisedRow], picked: &[usize]) -> Vec<usize> {
    let ends = picked.iter().scan(0, |end, row| {
        *end += rows[*row].ids.len();
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

/// A digest of all that a file's bytes follow from.
fn key(
    encoder: &Encoder,
    boundary: usize,
    precision: StatePrecision,
    rows: &RowTable,
) -> Result<[u8; 32], TrainingError> {
    let mut digest = Sha256::new();
    digest.update(b"adaptkit prefix cache 1");
    digest.update(encoder.prefix_digest(boundary)?);
    digest.update((boundary as u64).to_le_bytes());
    digest.update([precision.bytes() as u8]);
    digest.update(rows.digest);
    Ok(digest.finalize().into())
}

/// What the fuzzer of cache files runs: opens `bytes` as a file of the cache in an empty directory, for
/// rows of a few sizes. No slot may be taken for one that was filled.
///
/// # Errors
/// If the file cannot be opened.
///
/// # Panics
/// If a slot is.
#[doc(hidden)]
pub fn fuzz(directory: &std::path::Path, bytes: &[u8]) -> Result<(), TrainingError> {
    let directory = CacheDirectory { path: directory.to_owned(), budget: 1 << 12 };
    let folder = CacheFolder::open(&directory)?;
    let key = [7; 32];
    let path = folder.path().join(folder::file_name(&key));
    std::fs::write(&path, bytes).map_err(|source| TrainingError::Write { path, source })?;
    let rows = [40, 0, 7, 100, 1 << 11];
    let mut file = CacheFile::open(&folder, key, rows.into_iter())?;
    for (slot, bytes) in rows.into_iter().enumerate() {
        assert!(file.read(slot).is_none(), "slot {slot} counts as filled");
        let states = vec![slot as u8; bytes as usize];
        if file.has_room(slot) && file.write(slot, &states).is_ok() {
            // The mapping is as long as the file was when it was opened.
            assert!(file.read(slot).is_none_or(|read| *read == states), "slot {slot}");
        }
    }
    Ok(())
}
