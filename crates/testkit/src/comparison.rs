//! How far two computations are apart.
//!
//! Two measures, for two kinds of claim: units in the last place for one function of one number,
//! and the error relative to the largest number wanted for sums, where small results come of
//! cancellation and have no accuracy of their own.

/// The number of floats between two: 0 if they are equal (as are 0.0 and -0.0), 1 for neighbours;
/// `u32::MAX` if either is NaN.
pub fn ulp_distance(a: f32, b: f32) -> u32 {
    if a.is_nan() || b.is_nan() {
        return u32::MAX;
    }
    rank(a).abs_diff(rank(b))
}

/// The place of a number in the order of all floats, counted from zero.
fn rank(x: f32) -> i32 {
    let magnitude = (x.to_bits() & 0x7fff_ffff) as i32;
    if x.is_sign_negative() { -magnitude } else { magnitude }
}

/// The largest difference relative to the largest number wanted; infinite for NaN or another length.
pub fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    if got.len() != want.len() || got.iter().chain(want).any(|x| x.is_nan()) {
        return f64::INFINITY;
    }
    let largest = want.iter().fold(0.0, |a: f64, x| a.max(f64::from(x.abs())));
    let differences = got.iter().zip(want).map(|(x, y)| difference(*x, *y));
    let most = differences.fold(0.0, f64::max);
    // Where zeros are wanted nothing but zeros is near.
    if most == 0.0 { 0.0 } else { most / largest }
}

/// The distance of two numbers, neither of them NaN; nothing between equal infinities.
fn difference(a: f32, b: f32) -> f64 {
    if a == b { 0.0 } else { (f64::from(a) - f64::from(b)).abs() }
}

/// Asserts that `got` is within `relative_to_max` of `want`, relative to the largest number wanted.
///
/// # Panics
/// If it is not, with the worst place and its values; on NaN; or if the lengths differ.
pub fn assert_close(what: &str, got: &[f32], want: &[f32], relative_to_max: f32) {
    assert_eq!(got.len(), want.len(), "{what}: numbers got and wanted");
    if let Some(at) = got.iter().zip(want).position(|(x, y)| x.is_nan() || y.is_nan()) {
        panic!("{what}: at {at} got {} and wanted {}", got[at], want[at]);
    }
    let error = relative_error(got, want);
    if error <= f64::from(relative_to_max) {
        return;
    }
    let at = |i: &usize| difference(got[*i], want[*i]);
    let worst = (0..got.len()).max_by(|i, j| at(i).total_cmp(&at(j))).unwrap_or_default();
    panic!(
        "{what}: {error:.2e} of the largest wanted, more than {relative_to_max:.0e}; worst at \
         {worst} of {}: got {}, wanted {}, off by {:.2e}",
        got.len(),
        got[worst],
        want[worst],
        at(&worst)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulps_count_the_floats_between() {
        let tiny = f32::from_bits(1);
        let cases = [
            (1.0, 1.0, 0),
            (0.0, -0.0, 0),
            (1.0, 1.0 + f32::EPSILON, 1),
            (1.0 + f32::EPSILON, 1.0, 1),
            (1.0, 1.0 - f32::EPSILON / 2.0, 1),
            (-1.0, -1.0 - f32::EPSILON, 1),
            (tiny, -tiny, 2),
            (0.0, tiny, 1),
            (1.0, 2.0, 1 << 23),
            (f32::MAX, f32::INFINITY, 1),
            (f32::NEG_INFINITY, f32::INFINITY, 2 * 0x7f80_0000),
            (f32::NAN, 1.0, u32::MAX),
            (f32::NAN, f32::NAN, u32::MAX),
        ];
        for (a, b, want) in cases {
            assert_eq!(ulp_distance(a, b), want, "{a} and {b}");
        }
    }

    #[test]
    fn errors_are_relative_to_the_largest_number() {
        let cases: [(&[f32], &[f32], f64); 9] = [
            (&[1.0, 3.0], &[1.0, 4.0], 0.25),
            (&[-1.0], &[1.0], 2.0),
            (&[], &[], 0.0),
            (&[0.0], &[0.0], 0.0),
            (&[1e-30], &[0.0], f64::INFINITY),
            (&[1.0], &[1.0, 4.0], f64::INFINITY),
            (&[f32::NAN], &[1.0], f64::INFINITY),
            (&[1.0], &[f32::NAN], f64::INFINITY),
            (&[f32::INFINITY, 1.0], &[f32::INFINITY, 1.0], 0.0),
        ];
        for (got, want, error) in cases {
            assert_eq!(relative_error(got, want), error, "{got:?} for {want:?}");
        }
    }

    #[test]
    fn what_is_near_passes_and_what_is_not_names_the_worst_place() {
        assert_close("near", &[1.0, 4.001], &[1.0, 4.0], 1e-3);
        let failures: [(&[f32], &[f32], &str); 3] = [
            (&[1.0, 3.0, 3.9], &[1.0, 4.0, 4.0], "worst at 1 of 3: got 3, wanted 4"),
            (&[1.0, f32::NAN], &[1.0, 4.0], "at 1 got NaN and wanted 4"),
            (&[1.0], &[1.0, 4.0], "numbers got and wanted"),
        ];
        for (got, want, message) in failures {
            let panic = std::panic::catch_unwind(|| assert_close("far", got, want, 1e-3));
            let panic = panic.expect_err("it is not close");
            let text = panic.downcast_ref::<String>().expect("a message");
            assert!(text.contains(message) && text.contains("far"), "{text}");
        }
    }
}
