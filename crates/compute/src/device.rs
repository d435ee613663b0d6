//! Where tensors live and operations run: today a CPU with its threads.

use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use adaptkit_kernels::memory::{Arena, ArenaBuffer};
use adaptkit_kernels::{Isa, Precision};
use rayon::prelude::*;

use crate::{ComputeError, Tensor};

/// A handle to a device; clones share it.
#[derive(Clone)]
pub struct Device(pub(crate) Arc<Cpu>);

/// A CPU: an instruction set, threads, and the memory of a step's tensors.
pub(crate) struct Cpu {
    pub(crate) isa: Isa,
    pool: rayon::ThreadPool,
    arena: Arena,
    steps: Mutex<Steps>,
}

/// What the steps so far have shown.
#[derive(Default)]
struct Steps {
    /// Tokens of the step that is under way.
    tokens: usize,
    /// The most numbers that a step has needed for each of its tokens.
    numbers_per_token: usize,
}

/// A step of fewer tokens says little about one of more: what does not grow with them weighs more.
const TELLING_TOKENS: usize = 64;

/// Threads of the largest machines; starting a million takes minutes, and then all of them wait.
const MOST_THREADS: usize = 4096;

impl Device {
    /// The names that [`Device::cpu_with_instructions`] knows, those that need the least first.
    pub const INSTRUCTION_SETS: [&str; 7] = Isa::NAMES;

    /// The CPU with its fastest instruction set and `threads` threads, or as many as it has physical
    /// cores that this process may use: a core's second thread shares its arithmetic units.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub fn cpu(threads: Option<NonZero<usize>>) -> Result<Device, ComputeError> {
        Device::cpu_with(Isa::detect(), threads)
    }

    /// The same with the named instruction set, one of those the CPU has.
    ///
    /// # Errors
    /// If it does not have it, or the threads cannot be started.
    pub fn cpu_with_instructions(
        name: &str,
        threads: Option<NonZero<usize>>,
    ) -> Result<Device, ComputeError> {
        let isa = Isa::by_name(name).ok_or_else(|| ComputeError::InstructionSet {
            asked: name.to_owned(),
            available: Isa::available().iter().map(|i| i.name()).collect::<Vec<_>>().join(", "),
        })?;
        Device::cpu_with(isa, threads)
    }

    fn cpu_with(isa: Isa, threads: Option<NonZero<usize>>) -> Result<Device, ComputeError> {
        let threads = threads.map_or_else(usable_cores, NonZero::get);
        if threads > MOST_THREADS {
            let reason = format!("no more than {MOST_THREADS} are of any use");
            return Err(ComputeError::Threads { threads, reason });
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("adaptkit-{i}"))
            .build()
            .map_err(|e| ComputeError::Threads { threads, reason: e.to_string() })?;
        let (arena, steps) = (Arena::default(), Mutex::default());
        Ok(Device(Arc::new(Cpu { isa, pool, arena, steps })))
    }

    /// Runs `f` on a thread of the device, so that the operations it calls need not change threads.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.0.pool.install(f)
    }

    /// `f` of each item, on the device's threads: for operations that are too small to keep all
    /// threads busy one after another.
    pub fn map<T: Send, R: Send>(&self, items: Vec<T>, f: impl Fn(T) -> R + Send + Sync) -> Vec<R> {
        self.run(|| items.into_par_iter().with_max_len(1).map(f).collect())
    }

    /// left [rows, depth] · right [depth, columns] in double precision, of numbers that are not on the
    /// device: for what is computed once, and then rounded.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn product_in_double(&self, left: &[f64], right: &[f64], columns: usize) -> Vec<f64> {
        self.run(|| adaptkit_kernels::double::product(self.0.isa, left, right, columns))
    }

    /// Threads that operations run on.
    pub fn threads(&self) -> usize {
        self.0.pool.current_num_threads()
    }

    /// The name of the instruction set that operations use.
    pub fn instructions(&self) -> &'static str {
        self.0.isa.name()
    }

    /// The precision of frozen weights that computes fastest here without losing more than bf16's
    /// rounding: bf16 where the instructions multiply it faster than f32, else f32.
    pub fn fastest_precision(&self) -> Precision {
        if self.0.isa.has_bf16() { Precision::Bf16 } else { Precision::F32 }
    }

    /// Sizes the memory of the tensors to come for a step of so many tokens: one forward pass, and the
    /// backward pass that may follow. It is one block, as large as the steps before have shown that
    /// this one needs; tensors that do not fit, as in the first step, have memory of their own until
    /// the next.
    pub fn begin_step(&self, tokens: usize) {
        let mut steps = self.0.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.0.arena.extent().div_ceil(steps.tokens.max(TELLING_TOKENS));
        steps.numbers_per_token = steps.numbers_per_token.max(seen);
        steps.tokens = tokens;
        let needed = steps.numbers_per_token.saturating_mul(tokens.max(TELLING_TOKENS));
        // In one block buffers leave other gaps than in several. Memory that is never written costs
        // nothing.
        self.0.arena.reserve(needed + needed / 16);
    }

    /// Bytes that the memory of a step's tensors has, and the blocks that it is in: one, once
    /// [`Device::begin_step`] has seen what a step needs.
    pub fn step_memory(&self) -> (usize, usize) {
        let (numbers, blocks) = self.0.arena.size();
        (size_of::<f32>() * numbers, blocks)
    }

    /// A tensor [rows, columns] of zeros, for a step.
    pub fn zeros(&self, rows: usize, columns: usize) -> Tensor {
        let mut tensor = self.uninitialised(rows, columns);
        tensor.values_mut().fill(0.0);
        tensor
    }

    /// A tensor [rows, columns] of `values`, for a step.
    ///
    /// # Panics
    /// If there are not rows × columns values.
    pub fn tensor(&self, rows: usize, columns: usize, values: &[f32]) -> Tensor {
        let mut tensor = self.uninitialised(rows, columns);
        tensor.values_mut().copy_from_slice(values);
        tensor
    }

    /// A tensor [rows, columns] of `values` that outlives a step, in memory of its own.
    ///
    /// # Panics
    /// If there are not rows × columns values.
    pub fn lasting_tensor(&self, rows: usize, columns: usize, values: &[f32]) -> Tensor {
        let mut tensor = self.lasting_zeros(rows, columns);
        tensor.values_mut().copy_from_slice(values);
        tensor
    }

    /// A tensor [rows, columns] of zeros that outlives a step, in memory of its own.
    pub fn lasting_zeros(&self, rows: usize, columns: usize) -> Tensor {
        Tensor::with_buffer(self, rows, columns, Arena::default().take(rows * columns))
    }

    /// A tensor of whatever its buffer held, for an operation that writes all of it.
    pub(crate) fn uninitialised(&self, rows: usize, columns: usize) -> Tensor {
        Tensor::with_buffer(self, rows, columns, self.0.take(rows * columns))
    }
}

/// Physical cores, or the hardware threads that the process may use if those are fewer.
fn usable_cores() -> usize {
    let usable = std::thread::available_parallelism().map_or(1, NonZero::get);
    num_cpus::get_physical().clamp(1, usable)
}

impl Cpu {
    /// A buffer of `len` numbers of a step.
    pub(crate) fn take(&self, len: usize) -> ArenaBuffer {
        self.arena.take(len)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu ({}, {} threads)", self.instructions(), self.threads())
    }
}
