//! Losses over logits, with their gradients: the mean over the rows, summed in double precision.

/// Soft-max cross-entropy of logits [rows, classes] against a class for each row.
///
/// Returns the mean of −log the soft-max at the label; `d` [rows, classes] gets its gradient, (softmax(z) − one-hot)/rows.
///
/// # Panics
/// If the lengths do not fit or a label is no class.
pub fn cross_entropy(logits: &[f32], labels: &[usize], d: &mut [f32]) -> f64 {
    let rows = labels.len();
    if rows == 0 {
        return 0.0;
    }
    let classes = logits.len() / rows;
    assert!(logits.len() == rows * classes && d.len() == logits.len());
    let mut loss = 0.0;
    for ((z, d), label) in logits.chunks_exact(classes).zip(d.chunks_exact_mut(classes)).zip(labels)
    {
        assert!(*label < classes, "label {label} of {classes} classes");
        let log_sum = log_sum_exp(z);
        loss += log_sum - f64::from(z[*label]);
        for (class, (d, z)) in d.iter_mut().zip(z).enumerate() {
            let p = (f64::from(*z) - log_sum).exp();
            let target = if class == *label { 1.0 } else { 0.0 };
            *d = ((p - target) / rows as f64) as f32;
        }
    }
    loss / rows as f64
}

/// Sigmoid cross-entropy of logits against targets in 0..=1, all the same length: the mean over
/// all elements, as PyTorch's `BCEWithLogitsLoss`.
///
/// # Panics
/// If the lengths differ.
pub fn binary_cross_entropy(logits: &[f32], targets: &[f32], d: &mut [f32]) -> f64 {
    assert!(logits.len() == targets.len() && d.len() == logits.len());
    let n = logits.len().max(1) as f64;
    let mut loss = 0.0;
    for ((z, y), d) in logits.iter().zip(targets).zip(d) {
        let (z, y) = (f64::from(*z), f64::from(*y));
        loss += z.max(0.0) - z * y + (-z.abs()).exp().ln_1p();
        *d = ((1.0 / (1.0 + (-z).exp()) - y) / n) as f32;
    }
    loss / n
}

/// The mean squared error of predictions against targets, both `[rows]`; d gets 2(z − y)/rows.
///
/// # Panics
/// If the lengths differ.
pub fn mean_squared_error(predictions: &[f32], targets: &[f32], d: &mut [f32]) -> f64 {
    assert!(predictions.len() == targets.len() && d.len() == targets.len());
    let n = targets.len().max(1) as f64;
    let mut loss = 0.0;
    for ((z, y), d) in predictions.iter().zip(targets).zip(d) {
        let difference = f64::from(*z) - f64::from(*y);
        loss += difference * difference;
        *d = (2.0 * difference / n) as f32;
    }
    loss / n
}

/// Probabilities of a row of logits.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let log_sum = log_sum_exp(logits);
    logits.iter().map(|z| (f64::from(*z) - log_sum).exp() as f32).collect()
}

fn log_sum_exp(z: &[f32]) -> f64 {
    let largest = z.iter().fold(f64::NEG_INFINITY, |a, z| a.max(f64::from(*z)));
    largest + z.iter().map(|z| (f64::from(*z) - largest).exp()).sum::<f64>().ln()
}
