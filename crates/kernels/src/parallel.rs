//! Splitting work over the current rayon pool.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

/// 0..n in `parts` consecutive ranges whose sizes differ by at most one.
pub fn even_parts(n: usize, parts: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..parts).map(move |i| even_part(n, parts, i))
}

/// Part `i` of the `parts` of [`even_parts`].
#[inline]
pub(crate) fn even_part(n: usize, parts: usize, i: usize) -> Range<usize> {
    let start = |i: usize| match n.checked_mul(i) {
        Some(product) => product / parts,
        None => (n as u128 * i as u128 / parts as u128) as usize,
    };
    start(i)..start(i + 1)
}

/// The threads of the pool that the caller runs in.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Calls `f` with each of 0..n, over the pool's threads.
pub(crate) fn for_each(n: usize, f: impl Fn(usize) + Sync + Send) {
    match n {
        0 => {}
        1 => f(0),
        _ if threads() == 1 => (0..n).for_each(f),
        _ => (0..n).into_par_iter().with_max_len(1).for_each(f),
    }
}

/// Where an operation's tasks run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tasks {
    /// On the threads of the current pool.
    OverPool,
    /// On the calling thread, which is a task of another operation itself.
    OnThisThread,
}

impl Tasks {
    /// Threads that share them.
    pub(crate) fn threads(self) -> usize {
        match self {
            Tasks::OverPool => threads(),
            Tasks::OnThisThread => 1,
        }
    }

    /// Calls `f` with each of 0..n.
    pub(crate) fn for_each(self, n: usize, f: impl Fn(usize) + Sync + Send) {
        match self {
            Tasks::OverPool => for_each(n, f),
            Tasks::OnThisThread => (0..n).for_each(f),
        }
    }
}

/// Numbers below which an element-wise pass is not worth a second thread.
const CHUNK: usize = 16 * 1024;

/// How many of `rows` rows of `width` numbers one task of an element-wise pass takes.
pub(crate) fn rows_per_task(rows: usize, width: usize) -> usize {
    let by_size = (CHUNK / width.max(1)).max(1);
    by_size.max(rows.div_ceil(8 * threads())).max(1)
}

/// A mutable slice that tasks write disjoint parts of.
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    lent: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<'_, T> {}

// SAFETY: the pointer is only dereferenced by callers that vouch that no two threads touch the same
// element, and T: Send lets another thread write it.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(all: &'a mut [T]) -> Self {
        Shared { start: all.as_mut_ptr(), len: all.len(), lent: PhantomData }
    }

    /// The same, if there are as many elements as expected.
    ///
    /// # Panics
    /// If there are not.
    pub(crate) fn of_length(all: &'a mut [T], length: usize) -> Self {
        assert_eq!(all.len(), length, "numbers that tasks write");
        Shared::new(all)
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// No other part that overlaps it may be alive.
    ///
    /// # Panics
    /// If the range is out of bounds.
    pub(crate) unsafe fn part(self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: in bounds by the assertion, unique by the contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    pub(crate) fn pointer(self) -> *mut T {
        self.start
    }

    pub(crate) fn len(self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_parts_cover_everything_once_whatever_the_size() {
        for n in [0, 1, 7, 1000, usize::MAX / 2, usize::MAX] {
            for parts in [1, 2, 3, 7, 100] {
                let mut end = 0;
                for part in even_parts(n, parts) {
                    assert_eq!(part.start, end, "{n} in {parts}");
                    assert!(part.end - part.start <= n.div_ceil(parts), "{n} in {parts}");
                    end = part.end;
                }
                assert_eq!(end, n, "{n} in {parts}");
            }
        }
    }
}
