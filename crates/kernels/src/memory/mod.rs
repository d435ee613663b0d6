//! Memory for tensors, and what the operating system is told about it.

mod arena;

pub use arena::{Arena, ArenaBuffer};

/// Allocations below this size are left alone: a few small pages serve them as well.
const WORTH_IT: usize = 256 << 10;

/// Asks the operating system to back a vector's memory by huge pages (2 MiB in place of 4 KiB), so
/// that products miss fewer address translations, which a virtual machine pays for twice over, and
/// fewer pages are faulted in. To be called before the memory is first written to.
///
/// It changes no content and no size, and does nothing for small vectors or where the system knows
/// no such pages. Neighbouring allocations that asked likewise share huge pages.
pub fn prefer_huge_pages<T>(vector: &mut Vec<T>) {
    let bytes = vector.capacity() * size_of::<T>();
    if bytes >= WORTH_IT {
        advise(vector.as_mut_ptr().cast(), bytes);
    }
}

#[cfg(target_os = "linux")]
fn advise(start: *mut u8, bytes: usize) {
    // SAFETY: `sysconf` has no preconditions.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0).max(4096);
    let skipped = start.align_offset(page);
    let whole = bytes.saturating_sub(skipped) / page * page;
    if whole == 0 {
        return;
    }
    // SAFETY: the pages lie within an allocation of the caller's. The advice is about how they are
    // backed: what they hold stays as it is. Whether it is taken does not matter here.
    unsafe { libc::madvise(start.add(skipped).cast(), whole, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize) {}
