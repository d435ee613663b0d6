//! Losses over logits, with their gradients: means over the rows, summed in double precision.

/// How classes weigh in a soft-max cross-entropy, and how far its targets are smoothed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassLoss<'a> {
    /// A weight for each class, not below 0; without them every class weighs 1.
    pub weights: Option<&'a [f64]>,
    /// The share of a row's target that is spread evenly over all classes, 0 to 1.
    pub smoothing: f64,
}

impl ClassLoss<'_> {
    /// The weight of a row with this label.
    ///
    /// # Panics
    /// If there are weights and none for the label.
    pub fn weight(&self, label: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[label])
    }
}

/// Soft-max cross-entropy of logits [rows, classes] against a class for each row: PyTorch's
/// `CrossEntropyLoss(weight, label_smoothing)`.
///
/// Row r with label y has the loss (1 − ε)·w_y·(−log p_y) + ε/classes · Σ_c w_c·(−log p_c), where p
/// is its soft-max, w the weights and ε the smoothing. Returns the sum of the rows' losses over the
/// sum of their w_y; `d` [rows, classes] gets the gradient. Where every row weighs 0, both are 0.
///
/// # Panics
/// If the lengths do not fit or a label is no class.
pub fn cross_entropy(logits: &[f32], labels: &[usize], of: ClassLoss<'_>, d: &mut [f32]) -> f64 {
    let rows = labels.len();
    if rows == 0 {
        return 0.0;
    }
    let classes = logits.len() / rows;
    assert!(logits.len() == rows * classes && d.len() == logits.len());
    assert!(of.weights.is_none_or(|weights| weights.len() == classes));
    if let Some(label) = labels.iter().find(|label| **label >= classes) {
        panic!("label {label} of {classes} classes");
    }
    let weigh: f64 = labels.iter().map(|label| of.weight(*label)).sum();
    if weigh == 0.0 {
        d.fill(0.0);
        return 0.0;
    }
    // The target of each class: what is spread over all, and what the row's own label has beside it.
    let spread = |class: usize| match of.smoothing > 0.0 {
        true => of.smoothing / classes as f64 * of.weight(class),
        false => 0.0,
    };
    let spread_sum: f64 = (0..classes).map(spread).sum();
    let mut loss = 0.0;
    for ((z, d), label) in logits.chunks_exact(classes).zip(d.chunks_exact_mut(classes)).zip(labels)
    {
        let log_sum = log_sum_exp(z);
        let own = (1.0 - of.smoothing) * of.weight(*label);
        loss += own * (log_sum - f64::from(z[*label]));
        for (class, (d, z)) in d.iter_mut().zip(z).enumerate() {
            let log_p = f64::from(*z) - log_sum;
            let target = spread(class) + if class == *label { own } else { 0.0 };
            if of.smoothing > 0.0 {
                loss -= spread(class) * log_p;
            }
            *d = ((log_p.exp() * (own + spread_sum) - target) / weigh) as f32;
        }
    }
    loss / weigh
}

/// Sigmoid cross-entropy of logits [rows, labels] against targets in 0..=1 of the same shape: the
/// mean over all elements, as PyTorch's `BCEWithLogitsLoss(pos_weight)`.
///
/// With a weight w for each label an element's loss is −(w·y·log σ(z) + (1 − y)·log(1 − σ(z))).
///
/// # Panics
/// If the lengths differ, or the weights are not one for each column.
pub fn binary_cross_entropy(
    logits: &[f32],
    targets: &[f32],
    positive_weights: Option<&[f64]>,
    d: &mut [f32],
) -> f64 {
    assert!(logits.len() == targets.len() && d.len() == logits.len());
    assert!(positive_weights.is_none_or(|w| !w.is_empty() && logits.len().is_multiple_of(w.len())));
    let n = logits.len().max(1) as f64;
    let mut loss = 0.0;
    for (i, ((z, y), d)) in logits.iter().zip(targets).zip(d).enumerate() {
        let (z, y) = (f64::from(*z), f64::from(*y));
        let positive = positive_weights.map_or(y, |weights| weights[i % weights.len()] * y);
        let mass = 1.0 - y + positive;
        loss += mass * z.max(0.0) - z * positive + mass * (-z.abs()).exp().ln_1p();
        *d = ((mass / (1.0 + (-z).exp()) - positive) / n) as f32;
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
