//! Ctrl-C and SIGTERM: the first lets the run reach a checkpoint, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::CliError;

/// Which signal asked the run to end, if any.
#[derive(Clone)]
pub(crate) struct Interruption(Arc<AtomicUsize>);

impl Interruption {
    /// Catches the signals from now on.
    pub(crate) fn catch() -> Result<Interruption, CliError> {
        let caught = Interruption(Arc::new(AtomicUsize::new(0)));
        let again = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset, and sets it.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))
                .and_then(|_| flag::register(signal, Arc::clone(&again)))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&caught.0), signal as usize))
                .map_err(|source| CliError::Io { doing: "catch signals".into(), source })?;
        }
        Ok(caught)
    }

    /// The signal's number; 0 if there was none.
    pub(crate) fn signal(&self) -> u8 {
        u8::try_from(self.0.load(Ordering::SeqCst)).unwrap_or(0)
    }
}
