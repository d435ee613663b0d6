//! Compositions against what the `adapters` library computes in double precision, in mixed batches,
//! and as files.
//!
//! Bound: 2e-5 of the largest logit, as for the encoder. Averages are compared with the weighted
//! sum, which the library divides by the number of members once more.

use std::num::NonZero;
use std::path::Path;

use adaptkit_adapters::composition::Ways;
use adaptkit_adapters::files::{StoredAdapter, StoredComposition, StoredHead};
use adaptkit_adapters::{Composition, ResidentTasks, TaskModel, Wish, logits_of_wishes};
use adaptkit_compute::{Device, Precision};
use adaptkit_encoder::{Encoder, RaggedBatch};
use adaptkit_testkit::{Golden, Report, golden_dir};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => std::fs::write(&to, std::fs::read(entry.path()).expect("a file")).expect("it"),
        }
    }
}

struct Case {
    name: String,
    setup: String,
    stored: StoredComposition,
    ways: Ways,
}

/// Every setup that the library wrote.
fn cases() -> Vec<Case> {
    let golden = golden_dir("composition");
    let home = tempfile::tempdir().expect("a directory");
    copy(&golden.join("parts"), home.path());
    let setups = std::fs::read_dir(golden.join("setups")).expect("the setups");
    let mut cases: Vec<Case> = setups
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|n| n.to_str()).expect("a name").to_owned();
            let setup = std::fs::read_to_string(&path).expect("a file");
            std::fs::write(home.path().join("adapter_setup.json"), &setup).expect("written");
            let stored = StoredComposition::read(home.path())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let ways = stored.composition.ways().expect("ways");
            Case { name, setup, stored, ways }
        })
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(cases.len() >= 40, "{}", cases.len());
    cases
}

impl Case {
    fn models(&self, encoder: &Encoder) -> Vec<TaskModel> {
        let setup = self.stored.head_setup.as_ref();
        let heads = match setup {
            Some(setup) => self.ways.heads(setup),
            None => self.ways.all.iter().map(|way| way.head().map(str::to_owned)).collect(),
        };
        let ways = self.ways.all.iter().zip(heads);
        ways.map(|(way, head)| {
            let parts = &self.stored.parts;
            let head = &parts.heads[&head.unwrap_or_else(|| panic!("{}: no head", self.name))];
            TaskModel::composed(encoder, way, parts, head)
                .unwrap_or_else(|error| panic!("{}: {error}", self.name))
        })
        .collect()
    }

    /// The wishes of a batch's rows for models from a number on, one answer after another.
    fn wishes(&self, rows: usize, first_model: usize) -> Vec<Wish> {
        let answers = self.ways.of_row(0).len();
        let pairs = (0..answers).flat_map(|answer| (0..rows).map(move |row| (answer, row)));
        pairs
            .map(|(answer, row)| {
                let model = first_model + self.ways.of_row(row)[answer];
                Wish { row, model, first_layer: 0 }
            })
            .collect()
    }
}

fn batch(golden: &Golden) -> RaggedBatch {
    RaggedBatch::new(golden.rows().iter().map(|(ids, types)| (&ids[..], &types[..])))
}

#[test]
fn logits_are_the_librarys_and_those_in_a_batch_of_all_the_same_bits() {
    let golden = Golden::at(&golden_dir("composition"));
    let batch = batch(&golden);
    let cases = cases();
    let mut report = Report::default();
    for instructions in ["portable", "avx2", "avx512"] {
        let Ok(device) = Device::cpu_with_instructions(instructions, NonZero::new(2)) else {
            println!("skipped: this CPU has no {instructions}");
            continue;
        };
        let encoder =
            Encoder::load(&golden.model_dir(), &device, Precision::F32).expect("the tiny base");
        let mut models: Vec<TaskModel> = Vec::new();
        let mut wishes: Vec<Wish> = Vec::new();
        let mut alone: Vec<Vec<f32>> = Vec::new();
        for case in &cases {
            let first = models.len();
            models.extend(case.models(&encoder));
            let of_case = case.wishes(batch.rows(), first);
            let logits: Vec<Vec<f32>> = of_case
                .iter()
                .map(|wish| {
                    models[wish.model].logits(&encoder, &batch.select(&[wish.row])).to_vec()
                })
                .collect();
            let wanted = golden.floats(&format!("logits.{}", case.name));
            let what = format!("{} on {instructions}", case.name);
            report.compare(what, &logits.concat(), &wanted, 2e-5);
            wishes.extend(of_case);
            alone.extend(logits);
        }
        let mut tasks = ResidentTasks::with_capacity(&encoder, models.len());
        for model in models {
            tasks.add(model);
        }
        let mixed = logits_of_wishes(&encoder, &tasks, &batch, &wishes);
        for ((wish, mixed), alone) in wishes.iter().zip(&mixed).zip(&alone) {
            report.check(format!("{wish:?} on {instructions}, in a batch"), mixed == alone);
        }
    }
    report.finish();
}

/// With adapters left out of the lowest layers, a composition is that of adapters without modules
/// there, and the layers below are the bare encoder's.
#[test]
fn layers_below_are_the_bare_encoders() {
    let golden = Golden::at(&golden_dir("composition"));
    let device = Device::cpu(None).expect("a device");
    let encoder = Encoder::load(&golden.model_dir(), &device, Precision::F32).expect("a base");
    let batch = batch(&golden);
    for case in cases() {
        let dropped = |model: &TaskModel| model.logits_with(&encoder, &batch, 2).to_vec();
        let (mut models, whole) = (case.models(&encoder), case.models(&encoder));
        for (left_out, whole) in models.iter_mut().zip(&whole) {
            left_out.adapter.leave_out_lowest(2);
            assert_eq!(left_out.logits(&encoder, &batch).to_vec(), dropped(whole), "{}", case.name);
        }
        let mut stored = case.stored.clone();
        for adapter in stored.parts.adapters.values_mut() {
            adapter.config.leave_out.extend([0, 1]);
            adapter.modules.retain(|place, _| place.layer >= 2);
        }
        let without = Case { stored, ..case }.models(&encoder);
        for (without, whole) in without.iter().zip(&whole) {
            assert_eq!(without.logits(&encoder, &batch).to_vec(), dropped(whole));
        }
    }
}

#[test]
fn what_is_written_is_read_back_the_same_with_the_librarys_json() {
    for case in cases() {
        let home = tempfile::tempdir().expect("a directory");
        case.stored.write(home.path()).expect("written");
        let setup = std::fs::read_to_string(home.path().join("adapter_setup.json"));
        assert_eq!(setup.expect("a file"), case.setup, "{}", case.name);
        assert!(StoredComposition::read(home.path()).expect("read") == case.stored);
        let plain = matches!(&case.stored.composition, Composition::Fuse(children)
            if children.iter().all(|child| matches!(child, Composition::Adapter(_))));
        assert_eq!(StoredComposition::is_at(home.path()), !plain, "{}", case.name);
        let text = case.stored.composition.to_string();
        assert_eq!(text.parse(), Ok(case.stored.composition), "{text}");
    }
}

/// The library sums in f32: an error of some units in the last place of the largest number.
#[test]
fn merged_adapters_are_the_librarys() {
    let golden = Golden::at(&golden_dir("composition"));
    let device = Device::cpu(None).expect("a device");
    let encoder = Encoder::load(&golden.model_dir(), &device, Precision::F32).expect("a base");
    let batch = batch(&golden);
    let parts = golden.directory().join("parts");
    let read = |path: &Path| {
        let head = StoredHead::read(path).expect("a head").expect("a head");
        (StoredAdapter::read(path).expect("an adapter"), head)
    };
    let cases: [(&str, &[&str], &[f64]); 3] = [
        ("mean", &["a", "second"], &[0.5, 0.5]),
        ("weighted", &["a", "second", "third"], &[0.125, 0.25, 0.625]),
        ("arithmetic", &["a", "second", "third"], &[1.0, -1.0, 1.0]),
    ];
    let mut report = Report::default();
    for (name, members, weights) in cases {
        let members: Vec<_> = members.iter().map(|member| read(&parts.join(member))).collect();
        let adapters: Vec<&StoredAdapter> = members.iter().map(|(adapter, _)| adapter).collect();
        let heads: Vec<&StoredHead> = members.iter().map(|(_, head)| head).collect();
        let merged = format!("merged_{name}");
        let adapter = StoredAdapter::merged(&merged, &adapters, weights).expect("one adapter");
        let head = StoredHead::merged(&merged, &heads, weights).expect("one head");
        let (theirs, their_head) = read(&golden.directory().join("merged").join(name));
        report.check(format!("{name}: configuration"), adapter.config == theirs.config);
        for (place, module) in &adapter.modules {
            let theirs = &theirs.modules[place];
            let what = |part: &str| format!("{name}, {place}, {part}");
            report.compare(what("down"), &module.down_weight, &theirs.down_weight, 1e-6);
            report.compare(what("down's bias"), &module.down_bias, &theirs.down_bias, 1e-6);
            report.compare(what("up"), &module.up_weight, &theirs.up_weight, 1e-6);
            report.compare(what("up's bias"), &module.up_bias, &theirs.up_bias, 1e-6);
        }
        for (layer, theirs) in head.layers.iter().zip(&their_head.layers) {
            report.compare(format!("{name}: head"), &layer.weight, &theirs.weight, 1e-6);
        }
        report.check(format!("{name}: labels"), head.labels == their_head.labels);
        // What is written is read back with the same bits, and answers as the library's does.
        let home = tempfile::tempdir().expect("a directory");
        adapter.write(home.path()).expect("written");
        head.write(home.path()).expect("written");
        report.check(format!("{name}: read back"), read(home.path()) == (adapter, head));
        let (adapter, head) = read(home.path());
        let model = TaskModel::from_stored(&encoder, &adapter, &head).expect("a model");
        let wanted = golden.floats(&format!("merged.{name}"));
        let logits = model.logits(&encoder, &batch).to_vec();
        report.compare(format!("{name}: logits"), &logits, &wanted, 2e-5);
    }
    report.finish();
}

#[test]
fn adapters_that_differ_are_not_merged() {
    let parts = golden_dir("composition").join("parts");
    let read = |name: &str| StoredAdapter::read(&parts.join(name)).expect("an adapter");
    let a = read("a");
    for (other, field) in [
        ("b", "reduction_factor"),
        ("d", "mh_adapter"),
        ("p", "is_parallel"),
        ("gated", "use_gating"),
        ("scaled", "scaling"),
        ("left_out", "leave_out"),
        ("residual_after", "residual_before_ln"),
    ] {
        let error = StoredAdapter::merged("m", &[&a, &read(other)], &[0.5, 0.5]);
        let words = error.expect_err(other).to_string();
        let expected = format!("the adapters \"a\" and \"{other}\" cannot be merged: their ");
        assert!(words.starts_with(&format!("{expected}{field} differ, ")), "{words}");
    }
    let mut unlike = a.clone();
    unlike.model.hidden_size = 64;
    let words = StoredAdapter::merged("m", &[&a, &unlike], &[0.5, 0.5]).expect_err("width");
    assert!(words.to_string().ends_with("their hidden_size differ, 32 and 64"), "{words}");
    let mut dropping = a.clone();
    dropping.config.dropout = 0.5;
    assert!(StoredAdapter::merged("m", &[&a, &dropping], &[0.5, 0.5]).is_ok());
}
