//! How far predicted values are from the true ones.

use serde::Serialize;

/// A summary of residuals, `prediction − truth`, in the values' own unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Residuals {
    /// Their mean: above 0 where predictions are too high on the whole.
    pub mean: f64,
    /// The mean of their sizes.
    pub mean_absolute: f64,
    /// The root of the mean of their squares.
    pub root_mean_square: f64,
    /// The lowest.
    pub minimum: f64,
    /// Half of them are below; the mean of the two in the middle where their number is even.
    pub median: f64,
    /// The highest.
    pub maximum: f64,
}

impl Residuals {
    /// predictions, truth: `[rows]`, of which the shorter length counts; `None` for no rows.
    pub fn new(predictions: &[f32], truth: &[f32]) -> Option<Residuals> {
        let pairs = predictions.iter().zip(truth);
        let mut residuals: Vec<f64> = pairs.map(|(p, t)| f64::from(*p) - f64::from(*t)).collect();
        residuals.sort_by(f64::total_cmp);
        let (minimum, maximum) = (*residuals.first()?, *residuals.last()?);
        let rows = residuals.len();
        let mean = |of: fn(f64) -> f64| residuals.iter().map(|x| of(*x)).sum::<f64>() / rows as f64;
        Some(Residuals {
            mean: mean(|x| x),
            mean_absolute: mean(f64::abs),
            root_mean_square: mean(|x| x * x).sqrt(),
            minimum,
            median: (residuals[(rows - 1) / 2] + residuals[rows / 2]) / 2.0,
            maximum,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residuals_are_summarised() {
        // All numbers are exact in binary: residuals −2, 0, 0.5, 3.5 and −2, 0, 0.5.
        let (predictions, truth) = ([1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 2.5, 0.5]);
        let four = Residuals::new(&predictions, &truth).unwrap();
        assert_eq!((four.mean, four.mean_absolute), (0.5, 1.5));
        assert_eq!(four.root_mean_square, (16.5f64 / 4.0).sqrt());
        assert_eq!((four.minimum, four.median, four.maximum), (-2.0, 0.25, 3.5));
        let three = Residuals::new(&predictions[..3], &truth[..3]).unwrap();
        assert_eq!((three.minimum, three.median, three.maximum), (-2.0, 0.0, 0.5));
        assert_eq!((three.mean, three.mean_absolute), (-0.5, 2.5 / 3.0));
        assert_eq!(Residuals::new(&[], &[]), None);
    }
}
