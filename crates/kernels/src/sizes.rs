//! Sizes that are products, computed without wrapping.
//!
//! Every bounds check of this crate compares a length with a product of numbers that the caller
//! gives. In a release build such a product wraps in silence, and a check of the wrapped number
//! passes for memory that is not there. These functions panic instead. They are called once for an
//! operation or once for a row, never in an inner loop.

/// The product of the dimensions: how many numbers a matrix [a, b, …] holds.
///
/// # Panics
/// If it does not fit in `usize`.
#[track_caller]
#[inline]
pub(crate) fn count<const N: usize>(shape: [usize; N]) -> usize {
    let mut product: usize = 1;
    for dimension in shape {
        match product.checked_mul(dimension) {
            Some(next) => product = next,
            None => too_large(&shape),
        }
    }
    product
}

/// Numbers from the first of `rows` rows to the end of the last one, for rows of `width` numbers that
/// begin `stride` numbers apart; none without rows.
///
/// # Panics
/// If it does not fit in `usize`.
#[track_caller]
#[inline]
pub(crate) fn extent(rows: usize, stride: usize, width: usize) -> usize {
    let Some(last) = rows.checked_sub(1) else { return 0 };
    match last.checked_mul(stride).and_then(|start| start.checked_add(width)) {
        Some(end) => end,
        None => too_large(&[rows, stride, width]),
    }
}

/// The sum of offsets.
///
/// # Panics
/// If it does not fit in `usize`.
#[track_caller]
#[inline]
pub(crate) fn sum<const N: usize>(parts: [usize; N]) -> usize {
    let mut sum: usize = 0;
    for part in parts {
        match sum.checked_add(part) {
            Some(next) => sum = next,
            None => too_large(&parts),
        }
    }
    sum
}

/// The numbers of row `row` among rows of `width` numbers without gaps.
///
/// # Panics
/// If its end does not fit in `usize`.
#[track_caller]
#[inline]
pub(crate) fn row(row: usize, width: usize) -> std::ops::Range<usize> {
    let end = count([sum([row, 1]), width]);
    end - width..end
}

#[cold]
#[track_caller]
fn too_large(sizes: &[usize]) -> ! {
    panic!("sizes of {sizes:?} exceed the address space")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: usize = 1 << (usize::BITS - 1);

    #[test]
    fn sizes_that_fit_are_exact() {
        assert_eq!(count([]), 1);
        assert_eq!(count([3, 0, usize::MAX]), 0);
        assert_eq!(count([1 << 20, 1 << 30]), 1 << 50);
        assert_eq!(count([HALF - 1, 2]), usize::MAX - 1);
        assert_eq!(extent(0, usize::MAX, usize::MAX), 0);
        assert_eq!(extent(1, usize::MAX, 7), 7);
        assert_eq!(extent(3, 10, 4), 24);
        assert_eq!(sum([usize::MAX, 0]), usize::MAX);
        assert_eq!(row(2, 5), 10..15);
    }

    #[test]
    fn sizes_that_would_wrap_panic() {
        type Case = (&'static str, fn() -> usize);
        let cases: [Case; 6] = [
            ("a product of 2⁶⁴", || count([HALF, 2])),
            ("a product before a zero", || count([HALF, 2, 0])),
            ("rows far apart", || extent(4, usize::MAX / 3 + 1, 1)),
            ("the last row's end", || extent(2, usize::MAX, 1)),
            ("a sum", || sum([usize::MAX, 1])),
            ("a row's end", || row(HALF, 2).end),
        ];
        for (case, size) in cases {
            assert!(std::panic::catch_unwind(size).is_err(), "{case}");
        }
    }
}
