//! Inputs that may keep their reader waiting: pipes, terminals, sockets.
//!
//! Whoever reads rows from a pipe wants to answer those that are there before it waits for more. A
//! blocking read cannot be asked whether it would block, so a thread does the reading, and its chunks
//! wait in a short queue whose state can be asked for.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

const BYTES_AT_ONCE: usize = 64 * 1024;

/// Chunks that wait beside the one in use. It bounds how far the thread reads ahead.
const CHUNKS_WAITING: usize = 1;

/// The reading end of an input that a thread reads.
pub(super) struct PipeReader(Arc<Mutex<Queue>>);

/// Tells whether a [`PipeReader`] has something to give.
#[derive(Clone)]
pub(crate) struct PipeState(Arc<Mutex<Queue>>);

struct Queue {
    chunks: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    used: usize,
    failed: Option<io::Error>,
    ended: bool,
}

/// Starts to read `source` in a thread of its own.
pub(super) fn read_in_thread(mut source: impl Read + Send + 'static) -> (PipeReader, PipeState) {
    let (sender, chunks) = sync_channel(CHUNKS_WAITING);
    std::thread::spawn(move || {
        loop {
            let mut chunk = vec![0; BYTES_AT_ONCE];
            let read = match source.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(0) => return,
                Ok(length) => {
                    chunk.truncate(length);
                    Ok(chunk)
                }
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.send(read).is_err() || failed {
                return;
            }
        }
    });
    let queue = Queue { chunks, current: Vec::new(), used: 0, failed: None, ended: false };
    let queue = Arc::new(Mutex::new(queue));
    (PipeReader(queue.clone()), PipeState(queue))
}

impl Queue {
    /// Whether a read returns at once.
    fn is_ready(&mut self) -> bool {
        if self.used < self.current.len() || self.failed.is_some() || self.ended {
            return true;
        }
        match self.chunks.try_recv() {
            Ok(chunk) => self.take(chunk),
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Disconnected) => self.ended = true,
        }
        true
    }

    fn take(&mut self, chunk: io::Result<Vec<u8>>) {
        match chunk {
            Ok(chunk) => (self.current, self.used) = (chunk, 0),
            Err(error) => self.failed = Some(error),
        }
    }
}

impl PipeState {
    pub(crate) fn is_ready(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_ready()
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.is_ready() {
            match queue.chunks.recv() {
                Ok(chunk) => queue.take(chunk),
                Err(_) => queue.ended = true,
            }
        }
        if let Some(error) = queue.failed.take() {
            queue.ended = true;
            return Err(error);
        }
        let left = &queue.current[queue.used..];
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        queue.used += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::{Duration, Instant};

    use super::*;

    /// Gives what is sent to it, and waits where nothing is.
    struct Given(Receiver<&'static [u8]>);

    impl Read for Given {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.recv().unwrap_or_default();
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    fn wait_until_ready(state: &PipeState) {
        let started = Instant::now();
        while !state.is_ready() {
            assert!(started.elapsed() < Duration::from_secs(60), "it never came");
            std::thread::yield_now();
        }
    }

    #[test]
    fn it_says_whether_there_is_something_to_read() {
        let (sender, given): (Sender<&'static [u8]>, _) = channel();
        let (mut reader, state) = read_in_thread(Given(given));
        let mut buffer = [0; 2];
        assert!(!state.is_ready());
        sender.send(b"abc").unwrap();
        wait_until_ready(&state);
        assert_eq!(reader.read(&mut buffer).unwrap(), 2);
        assert!(state.is_ready() && buffer == *b"ab");
        assert_eq!(reader.read(&mut buffer).unwrap(), 1);
        assert!(!state.is_ready() && buffer[0] == b'c');
        drop(sender);
        wait_until_ready(&state);
        assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn an_error_comes_through_once() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        let (mut reader, _) = read_in_thread(Broken);
        assert!(reader.read(&mut [0; 4]).unwrap_err().to_string().contains("broken"));
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
    }
}
