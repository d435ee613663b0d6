use serde_json::json;

use super::*;

/// The numbers of a parameter of shape [2, 3] at the first step of the second epoch.
fn tensors() -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let numbers =
        |first: f32| -> Vec<u8> { (0..6).flat_map(|i| (first + i as f32).to_le_bytes()).collect() };
    let whats = [VALUE, MOMENTS[0], MOMENTS[1], BEST].into_iter().enumerate();
    whats.map(|(i, what)| (tensor_name(0, "down", what), vec![2, 3], numbers(i as f32))).collect()
}

const LENGTHS: [usize; 5] = [3, 1, 4, 1, 5];

fn batches(_: usize) -> Vec<Vec<usize>> {
    vec![vec![0, 1], vec![2, 3], vec![4]]
}

fn course() -> Course<'static> {
    Course { epochs: 3, total_steps: 9, lengths: &LENGTHS, batches: &batches }
}

fn progress() -> Progress {
    Progress {
        epochs: 1,
        steps_of_epoch: 1,
        steps: 4,
        rows: 7,
        tokens: 18,
        loss: 4.5,
        epoch_loss: 0.5,
        took: Duration::from_millis(2500),
        epoch_took: Duration::from_millis(500),
        best_epoch: Some(1),
        stale: 0,
    }
}

fn facts() -> Map<String, Value> {
    json!({"base": "sha256:00", "seed": 3}).as_object().cloned().unwrap()
}

fn file() -> Vec<u8> {
    serialised(&tensors(), &progress(), &facts()).unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    let bytes = file();
    let content = Content::of(&bytes).unwrap();
    assert!(content.verified);
    assert_eq!((&content.progress, &content.facts), (&progress(), &facts()));
    assert_eq!(content.values("0.down.best", [2, 3]).unwrap(), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let whole = file();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            assert!(Content::of(&bytes).is_err(), "bit {bit} of byte {at}");
        }
        assert!(Content::of(&whole[..at]).is_err(), "cut to {at} bytes");
    }
    let mut bytes = whole.clone();
    let number = whole.len() - DIGEST_BYTES - 3;
    bytes[number] ^= 64;
    let reason = Content::of(&bytes).err().unwrap();
    assert!(reason.contains("digest is not that of its content"), "{reason}");
    assert!(Content::of(&[&whole[..], &[0]].concat()).is_err(), "a byte more");
}

#[test]
fn a_file_from_before_the_digest_is_read_and_told_apart() {
    let numbers = tensors();
    let views = numbers.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let metadata = HashMap::from([
        (PROGRESS.to_owned(), serde_json::to_string(&progress()).unwrap()),
        (FACTS.to_owned(), Value::Object(facts()).to_string()),
    ]);
    let bytes = safetensors::serialize(views, Some(metadata)).unwrap();
    let content = Content::of(&bytes).unwrap();
    assert!(!content.verified);
    assert_eq!(content.progress, progress());
}

#[test]
fn a_place_where_the_run_cannot_be_is_refused() {
    assert_eq!(progress().check(&course()), Ok(()));
    assert_eq!(Progress::default().check(&course()), Ok(()));
    type Change = fn(&mut Progress);
    let cases: [(Change, &str); 16] = [
        (|p| p.epochs = 4, "epochs are 4, and the run has 3"),
        (|p| p.epochs = usize::MAX, "epochs are 18446744073709551615"),
        (|p| p.epochs = 3, "steps of the epoch are 1, and the run has 0"),
        (|p| p.steps_of_epoch = 3, "steps of the epoch are 3, and the run has 2"),
        (|p| p.steps_of_epoch = usize::MAX, "steps of the epoch are"),
        (|p| p.steps = 10, "steps are 10, and the run has 9"),
        (|p| p.rows = 8, "rows are 8, and 7"),
        (|p| p.tokens = usize::MAX, "tokens are 18446744073709551615, and 18"),
        (|p| p.loss = f64::NAN, "its loss is NaN"),
        (|p| p.epoch_loss = f64::INFINITY, "its epoch_loss is inf"),
        (|p| p.took = Duration::MAX, "took is 18446744073709551615 s"),
        (|p| p.epoch_took = Duration::from_secs(u64::MAX), "its epoch_took is"),
        (|p| p.best_epoch = Some(0), "best epoch is 0 of 1"),
        (|p| p.best_epoch = Some(2), "best epoch is 2 of 1"),
        (|p| p.stale = 2, "are 2, and the run has 1"),
        (|p| p.epochs = 0, "rows are 7, and 2"),
    ];
    for (index, (change, expected)) in cases.into_iter().enumerate() {
        let mut absurd = progress();
        change(&mut absurd);
        let reason = absurd.check(&course()).expect_err("a refusal");
        assert!(reason.contains(expected), "case {index}: {reason}");
    }
}

#[test]
fn numbers_that_are_none_are_refused_by_their_place() {
    let mut numbers = tensors();
    numbers[1].2[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    let bytes = serialised(&numbers, &progress(), &facts()).unwrap();
    let content = Content::of(&bytes).unwrap();
    assert!(content.values("0.down.value", [2, 3]).is_ok());
    let reason = content.values("0.down.first_moment", [2, 3]).unwrap_err();
    assert_eq!(reason, "its 0.down.first_moment holds NaN at 2");
    let reason = content.values("0.down.value", [3, 2]).unwrap_err();
    assert_eq!(reason, "its 0.down.value is F32 [2, 3], not F32 [3, 2]");
}

#[test]
fn a_run_s_digest_follows_from_its_facts_and_not_from_their_order() {
    let of = |facts: Value| run_digest(facts.as_object().unwrap());
    assert_eq!(of(json!({"a": 1, "b": "x"})), of(json!({"b": "x", "a": 1})));
    assert_ne!(of(json!({"a": 1, "b": "x"})), of(json!({"a": 1, "b": "y"})));
    assert_ne!(of(json!({"a": 1})), of(json!({"a": 1, "b": 1})));
}
