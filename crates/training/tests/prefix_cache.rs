//! Whole runs with a prefix cache beside runs without one.

mod small_task;

use std::fs;
use std::path::{Path, PathBuf};

use adaptkit_testkit::golden_dir;
use adaptkit_training::TrainingError;
use adaptkit_training::run::{
    CacheDirectory, CacheNotice, HyperParameters, PrefixCaching, RobustDrop, StatePrecision,
};

use small_task::{LAYERS, SmallRun, Trained, Watch, options};

const AMPLE: u64 = 1 << 30;

/// Bytes of some rows' states, and not of all.
const SCARCE: u64 = 5000;

fn caching(
    precision: StatePrecision,
    memory: u64,
    directory: Option<(&Path, u64)>,
) -> PrefixCaching {
    let folder = |(path, budget): (&Path, u64)| CacheDirectory { path: path.to_owned(), budget };
    PrefixCaching { precision, memory, directory: directory.map(folder) }
}

/// Runs whose adapters begin at a layer above the first, at least in some steps.
fn truncated() -> Vec<SmallRun> {
    let robust =
        HyperParameters { robust_drop: Some(RobustDrop::uniform(LAYERS - 1)), ..options() };
    let plain = SmallRun::new(options());
    vec![
        SmallRun { left_out: 1, ..plain.clone() },
        SmallRun { left_out: 2, preset: "houlsby", ..plain.clone() },
        SmallRun {
            left_out: 1,
            preset: "parallel",
            base: golden_dir("mpnet").join("model"),
            ..plain.clone()
        },
        SmallRun::new(robust.clone()),
        SmallRun { left_out: 1, ..SmallRun::new(robust) },
    ]
}

fn with(run: &SmallRun, caching: PrefixCaching) -> SmallRun {
    SmallRun { caching: Some(caching), ..run.clone() }
}

/// Rows found and computed.
fn used(run: &SmallRun) -> (Trained, usize, usize) {
    let mut watch = Watch::default();
    let trained = run.run(&mut watch).expect("a run").expect("its end");
    match watch.notices.last() {
        Some(CacheNotice::Used { found, computed }) => (trained, *found, *computed),
        other => panic!("{other:?}"),
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("adaptkit-prefix-cache")).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "prefix"));
    files.sort();
    files
}

#[test]
fn a_run_with_an_f32_cache_has_the_bits_of_one_without() {
    for (index, run) in truncated().iter().enumerate() {
        let mut plain = Watch::default();
        let without = run.run(&mut plain).expect("a run").expect("its end");
        let home = tempfile::tempdir().expect("a folder");
        let folder = |name: &str| home.path().join(name);
        let (some, all) = (folder("some"), folder("all"));
        let rooms = [
            (AMPLE, None),
            (SCARCE, None),
            (0, Some((&*all, AMPLE))),
            (SCARCE, Some((&*all, AMPLE))),
            (SCARCE, Some((&*some, 2 * SCARCE))),
        ];
        for (memory, directory) in rooms {
            let caching = caching(StatePrecision::F32, memory, directory);
            let mut watch = Watch::default();
            let trained = with(run, caching).run(&mut watch).expect("a run").expect("its end");
            let what = format!("run {index}, {memory} bytes, {directory:?}");
            assert_eq!(trained, without, "{what}");
            let steps = |watch: &Watch| -> Vec<[f64; 2]> {
                watch.steps.iter().map(|step| [step.loss, step.gradient_norm]).collect()
            };
            assert_eq!(steps(&watch), steps(&plain), "{what}");
        }
    }
}

#[test]
fn the_bits_of_a_run_with_a_bf16_cache_do_not_depend_on_what_it_holds() {
    for (index, run) in truncated().iter().enumerate() {
        let kept = |memory, directory| with(run, caching(StatePrecision::Bf16, memory, directory));
        let whole = kept(AMPLE, None).trained();
        assert_ne!(whole, run.trained(), "run {index} is rounded");
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path();
        // Beginning with an empty folder, then with a full one.
        for round in 0..2 {
            assert_eq!(kept(0, Some((path, AMPLE))).trained(), whole, "run {index}, round {round}");
        }
        // Another number of boundaries is another rounding of robust training's.
        if run.options.robust_drop.is_none() {
            assert_eq!(kept(SCARCE, None).trained(), whole, "run {index}, little room");
        }
    }
}

#[test]
fn rows_are_computed_once_by_all_runs_on_them() {
    let robust =
        HyperParameters { robust_drop: Some(RobustDrop::uniform(LAYERS - 1)), ..options() };
    let specialised = SmallRun { left_out: 1, ..SmallRun::new(options()) };
    let home = tempfile::tempdir().expect("a folder");
    let folder = Some((home.path(), AMPLE));
    let exact =
        |run: &SmallRun, memory, folder| with(run, caching(StatePrecision::F32, memory, folder));
    // Three epochs of 50 and 20 rows.
    let (_, found, computed) = used(&exact(&specialised, AMPLE, None));
    assert_eq!((found, computed), (140, 70));
    // A robust run's steps with the whole adapter begin at the embeddings, and are not counted.
    let (_, found, computed) = used(&exact(&SmallRun::new(robust), 0, folder));
    assert!(found > 0 && computed <= 50, "{found} and {computed}");
    assert_eq!(files(home.path()).len(), 2, "a file for each boundary");
    let seeds = [7, 8].map(|seed| HyperParameters { seed, ..options() });
    for (run, left) in seeds.map(SmallRun::new).iter().zip([70 - computed, 0]) {
        // The robust run has kept this boundary's states of the training rows it computed.
        let run = SmallRun { left_out: 1, ..run.clone() };
        let (trained, found, computed) = used(&exact(&run, 0, folder));
        assert_eq!((found, computed), (210 - left, left));
        assert_eq!(trained, run.trained());
    }
    let little = used(&exact(&specialised, SCARCE, None));
    assert!(little.1 > 0 && little.2 > 70, "{} and {}", little.1, little.2);
}

#[test]
fn other_rows_and_other_bases_find_nothing() {
    let home = tempfile::tempdir().expect("a folder");
    let run = SmallRun { left_out: 1, ..SmallRun::new(options()) };
    let cached =
        |run: &SmallRun| with(run, caching(StatePrecision::F32, 0, Some((home.path(), AMPLE))));
    used(&cached(&run));
    let others = [
        SmallRun { rows: 30, ..run.clone() },
        SmallRun { base: golden_dir("electra").join("model"), ..run.clone() },
        SmallRun { left_out: 2, ..run.clone() },
    ];
    for (index, other) in others.iter().enumerate() {
        let (trained, _, computed) = used(&cached(other));
        assert_eq!(computed, 70, "other {index}");
        assert_eq!(trained, other.trained(), "other {index}");
        assert_eq!(files(home.path()).len(), index + 2);
    }
    assert_eq!(used(&cached(&run)).2, 0);
}

#[test]
fn damaged_files_cost_their_rows_and_change_nothing() {
    let home = tempfile::tempdir().expect("a folder");
    let run = SmallRun { left_out: 2, ..SmallRun::new(options()) };
    let cached = with(&run, caching(StatePrecision::F32, 0, Some((home.path(), AMPLE))));
    let (whole, ..) = used(&cached);
    let file = files(home.path()).remove(0);
    let bytes = fs::read(&file).expect("a file");
    let half = bytes[..bytes.len() / 2].to_vec();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 3] ^= 64;
    let noise = vec![0xa5; bytes.len()];
    for (damaged, least, most) in [(half, 20, 50), (flipped, 1, 2), (noise, 70, 70), (bytes, 0, 0)]
    {
        fs::write(&file, damaged).expect("a file");
        let (trained, _, computed) = used(&cached);
        assert_eq!(trained, whole);
        assert!((least..=most).contains(&computed), "{computed}, not {least} to {most}");
        // What was computed again is there again.
        assert_eq!(used(&cached).2, 0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_once_and_the_run_goes_on() {
    let home = tempfile::tempdir().expect("a folder");
    let run = SmallRun { left_out: 2, ..SmallRun::new(options()) };
    let cached =
        |memory| with(&run, caching(StatePrecision::F32, memory, Some((home.path(), AMPLE))));
    let whole = cached(0).trained();
    let file = files(home.path()).remove(0);
    fs::remove_file(&file).expect("a file");
    std::os::unix::fs::symlink("/dev/full", &file).expect("a link");
    for (memory, computed_once) in [(0, false), (AMPLE, true)] {
        let mut watch = Watch::default();
        let trained = cached(memory).run(&mut watch).expect("a run");
        assert_eq!(trained.as_ref(), Some(&whole));
        let [CacheNotice::Keeping { .. }, failed, CacheNotice::Used { computed, .. }] =
            &watch.notices[..]
        else {
            panic!("{:?}", watch.notices)
        };
        assert!(failed.to_string().contains("No space left"), "{failed}");
        assert_eq!(*computed == 70, computed_once, "{computed} computed with {memory} bytes");
    }
}

#[test]
fn without_room_or_a_later_epoch_there_is_no_cache() {
    let home = tempfile::tempdir().expect("a folder");
    let once = HyperParameters { epochs: 1, ..options() };
    let folder = Some((home.path(), AMPLE));
    for (options, left_out, memory, folder, expected) in [
        (options(), 1, 0, None, false),
        (once.clone(), 1, AMPLE, None, false),
        (options(), 0, AMPLE, folder, false),
        (once, 1, AMPLE, folder, true),
    ] {
        let run = SmallRun { left_out, ..SmallRun::new(options) };
        let mut watch = Watch::default();
        let cached = with(&run, caching(StatePrecision::Bf16, memory, folder));
        let trained = cached.run(&mut watch).expect("a run");
        assert_eq!(!watch.notices.is_empty(), expected, "{:?}", watch.notices);
        assert_eq!(trained == Some(run.trained()), !expected);
    }
}

#[test]
fn a_run_with_a_cache_continues_to_the_same_bits() {
    for (index, run) in truncated().iter().enumerate() {
        let run = with(run, caching(StatePrecision::Bf16, AMPLE, None));
        let whole = run.trained();
        for stop in [2, 9] {
            let home = tempfile::tempdir().expect("a folder");
            let file = Some(home.path().join("checkpoint"));
            let kept = SmallRun { file, ..run.clone() };
            let mut watch = Watch { stop_after: Some(stop), ..Watch::default() };
            assert!(kept.run(&mut watch).expect("a run").is_none());
            // Without the rounding it would be another run.
            let other = SmallRun { caching: None, ..kept.clone() };
            let error = other.run(&mut Watch::default()).unwrap_err();
            assert!(matches!(&error, TrainingError::OtherRun { .. }), "{error}");
            assert!(error.to_string().contains("prefix_cache was {"), "{error}");
            assert_eq!(kept.trained(), whole, "run {index}, stopped after {stop}");
        }
    }
}

#[test]
fn runs_fill_and_read_one_folder_at_once() {
    let home = tempfile::tempdir().expect("a folder");
    let seeds = [1, 2, 3, 4];
    let run = |seed| {
        let options = HyperParameters { seed, ..options() };
        SmallRun { left_out: 2, ..SmallRun::new(options) }
    };
    let together: Vec<Trained> = std::thread::scope(|scope| {
        let folder = Some((home.path(), AMPLE));
        let started = seeds.map(|seed| {
            let cached = with(&run(seed), caching(StatePrecision::F32, 0, folder));
            scope.spawn(move || cached.trained())
        });
        started.into_iter().map(|run| run.join().expect("a run")).collect()
    });
    for (seed, trained) in seeds.into_iter().zip(together) {
        assert_eq!(trained, run(seed).trained(), "seed {seed}");
    }
    assert_eq!(files(home.path()).len(), 1);
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error() {
    let home = tempfile::tempdir().expect("a folder");
    let path = home.path().join("file");
    fs::write(&path, "").expect("a file");
    let run = SmallRun { left_out: 1, ..SmallRun::new(options()) };
    let cached = with(&run, caching(StatePrecision::F32, AMPLE, Some((&path, AMPLE))));
    let error = cached.run(&mut Watch::default()).unwrap_err();
    let path = path.display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
}
