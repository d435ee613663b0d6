//! Where tensors live and operations run: today a CPU with its threads.

use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use adaptkit_kernels::memory::prefer_huge_pages;
use adaptkit_kernels::{Isa, Precision};
use rayon::prelude::*;

use crate::{ComputeError, Tensor};

/// A handle to a device; clones share it.
#[derive(Clone)]
pub struct Device(pub(crate) Arc<Cpu>);

/// A CPU: an instruction set, threads, and the buffers of dropped tensors for use again.
pub(crate) struct Cpu {
    pub(crate) isa: Isa,
    pool: rayon::ThreadPool,
    free: Mutex<Vec<Vec<f32>>>,
}

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
        Ok(Device(Arc::new(Cpu { isa, pool, free: Mutex::default() })))
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

    /// A tensor [rows, columns] of zeros.
    pub fn zeros(&self, rows: usize, columns: usize) -> Tensor {
        let mut tensor = self.uninitialised(rows, columns);
        tensor.values_mut().fill(0.0);
        tensor
    }

    /// A tensor [rows, columns] of `values`.
    ///
    /// # Panics
    /// If there are not rows × columns values.
    pub fn tensor(&self, rows: usize, columns: usize, values: &[f32]) -> Tensor {
        let mut tensor = self.uninitialised(rows, columns);
        tensor.values_mut().copy_from_slice(values);
        tensor
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
    /// A buffer of at least `len` numbers: the smallest free one that is large enough but not
    /// wastefully large. If there is none, the largest of the smaller ones gives way to a new one:
    /// batches of many sizes then keep as many buffers as are ever in use at once, no more.
    pub(crate) fn take(&self, len: usize) -> Vec<f32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = (0..free.len())
            .filter(|i| free[*i].len() >= len && free[*i].len() / 4 <= len.max(1024))
            .min_by_key(|i| free[*i].len());
        if let Some(i) = fitting {
            return free.swap_remove(i);
        }
        let smaller = (0..free.len()).filter(|i| free[*i].len() < len);
        if let Some(i) = smaller.max_by_key(|i| free[*i].len()) {
            free.swap_remove(i);
        }
        drop(free);
        let mut buffer = vec![0.0; len];
        prefer_huge_pages(&mut buffer);
        buffer
    }

    pub(crate) fn give_back(&self, buffer: Vec<f32>) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cpu ({}, {} threads)", self.instructions(), self.threads())
    }
}
