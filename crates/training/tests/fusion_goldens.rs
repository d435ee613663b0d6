//! Fusions against what the `adapters` library computes in double precision: logits, loss, the
//! penalty, the gradient of every trained parameter, what tokens attend to; and their directories,
//! read and written.
//!
//! Bounds: 2e-5 of the largest number, as for the encoder. The gradient of the keys' bias is zero
//! without dropout; what rounding leaves of it is compared with the largest of all gradients.

use std::path::Path;

use adaptkit_adapters::files::{StoredFusion, StoredHead};
use adaptkit_adapters::{AttentionSums, Entry, Owner, TaskModel, TrainingPass};
use adaptkit_compute::{ClassLoss, Device, Precision, Tensor};
use adaptkit_encoder::{BaseDropout, Encoder, RaggedBatch, Site};
use adaptkit_testkit::{Golden, Report, golden_dir};

const CASES: [&str; 7] = [
    "fusion-dynamic-2",
    "fusion-dynamic-3",
    "fusion-dynamic-8",
    "fusion-static-2",
    "fusion-figure-3-3",
    "fusion-static-before-2",
    "fusion-dynamic-3-left-out",
];

struct Case {
    golden: Golden,
    encoder: Encoder,
    head: StoredHead,
    model: TaskModel,
    batch: RaggedBatch,
}

fn case(name: &str, device: &Device) -> Case {
    let golden = Golden::at(&golden_dir(name));
    let mut encoder =
        Encoder::load(&golden.model_dir(), device, Precision::F32).expect("the tiny base");
    let (mut fusion, head) =
        StoredFusion::read(&golden.directory().join("setup")).expect("a fusion");
    // The goldens are made without dropout; 0 would ask for the model's own.
    fusion.config.dropout_prob = Some(f64::MIN_POSITIVE);
    let head = head.expect("a head");
    let model = TaskModel::from_stored_fusion(&encoder, &fusion, &head).expect("a model");
    encoder.prepare_backward(model.adapter.lowest()).expect("the same files");
    let batch = RaggedBatch::new(golden.rows().iter().map(|(ids, types)| (&ids[..], &types[..])));
    Case { golden, encoder, head, model, batch }
}

/// A parameter's name in the library.
fn library_name(golden: &Golden, owner: Owner, part: &str) -> String {
    let names = golden.names();
    let fits = |name: &&str| match owner {
        Owner::Head => name.starts_with("d.heads.") && name.ends_with(&format!(".{part}")),
        Owner::Adapter(place) => {
            assert_eq!(place.site, Site::Output);
            name.starts_with(&format!("d.bert.encoder.layer.{}.output.", place.layer))
                && name.ends_with(&format!(".{part}"))
        }
    };
    let found = names.iter().map(|name| &name[..]).find(fits);
    found.unwrap_or_else(|| panic!("no gradient of {owner:?}, {part}")).to_owned()
}

fn accumulate(case: &mut Case) -> f64 {
    let labels = case.golden.integers("targets");
    let labels: Vec<usize> = labels.iter().map(|label| *label as usize).collect();
    let loss = |logits: &Tensor| logits.cross_entropy(&labels, ClassLoss::default());
    let pass =
        TrainingPass { first_layer: 0, head_dropout: 0.0, base_dropout: BaseDropout::NONE, key: 7 };
    let entry = Entry::embedded(&case.encoder, &case.batch);
    case.model.accumulate_gradients(&case.encoder, &case.batch, entry, &loss, pass)
}

/// Each row's means, and those of all rows, against the library's weights of every token.
fn compare_attention(report: &mut Report, name: &str, case: &Case, rows: &[AttentionSums]) {
    let Case { golden, model, batch, .. } = case;
    report.check(format!("{name}: a sum a row"), rows.len() == batch.rows());
    let members: Vec<usize> = model.adapter.fusions().map(|(_, fusion)| fusion.members()).collect();
    let theirs = |layer: usize, tokens: std::ops::Range<usize>| -> Vec<f32> {
        let weights = golden.floats(&format!("attention.{layer}"));
        let members = members[layer];
        let mean = |member: usize| {
            let weights = tokens.clone().map(|token| f64::from(weights[token * members + member]));
            (weights.sum::<f64>() / tokens.len() as f64) as f32
        };
        (0..members).map(mean).collect()
    };
    let mut all = AttentionSums::default();
    rows.iter().for_each(|row| all.add(row));
    let tokens = |row: usize| batch.offsets.tokens_of(row..row + 1);
    let rows = rows.iter().enumerate().map(|(row, sums)| (tokens(row), sums));
    for (tokens, sums) in rows.chain([(0..batch.offsets.tokens(), &all)]) {
        report.check(format!("{name}: {tokens:?}"), sums.tokens() == tokens.len());
        let mut layers = 0;
        for (place, means) in sums.means() {
            let means: Vec<f32> = means.into_iter().map(|mean| mean as f32).collect();
            let what = format!("{name}, attention of tokens {tokens:?} at {place}");
            report.compare(what, &means, &theirs(place.layer, tokens.clone()), 2e-5);
            layers += 1;
        }
        report.check(format!("{name}: every layer"), layers == 3);
    }
}

#[test]
fn logits_losses_penalties_and_gradients_are_the_librarys() {
    let mut report = Report::default();
    for instructions in ["portable", "avx2", "avx512"] {
        let Ok(device) = Device::cpu_with_instructions(instructions, None) else {
            println!("skipped: this CPU has no {instructions}");
            continue;
        };
        for name in CASES {
            let mut case = case(name, &device);
            let what = |part: &str| format!("{name} on {instructions}, {part}");
            let logits = case.model.logits(&case.encoder, &case.batch).to_vec();
            report.compare(what("logits"), &logits, &case.golden.floats("logits"), 2e-5);
            let (again, attention) = case.model.logits_attending(&case.encoder, &case.batch);
            report.check(what("logits with attention"), again.to_vec() == logits);
            compare_attention(&mut report, name, &case, &attention);
            let loss = accumulate(&mut case) as f32;
            let Case { golden, model, .. } = &mut case;
            report.compare(what("loss"), &[loss], &golden.floats("loss"), 2e-5);
            let (mut seen, mut largest, mut key_bias) = (0, 0.0f32, 0.0f32);
            model.visit(&mut |owner, part, parameter| {
                let gradient = parameter.gradient().expect("a gradient").to_vec();
                let size = gradient.iter().fold(0.0f32, |a, x| a.max(x.abs()));
                seen += 1;
                if part == "key.bias" {
                    key_bias = key_bias.max(size);
                    return;
                }
                largest = largest.max(size);
                let library = library_name(golden, owner, part);
                report.compare(what(&library), &gradient, &golden.floats(&library), 2e-5);
            });
            let gradients = golden.names().iter().filter(|name| name.starts_with("d.")).count();
            report.check(what("every gradient is there"), seen == gradients);
            report.check(what("the keys' bias"), key_bias <= 2e-5 * largest);
            let penalty = model.add_penalty();
            if !golden.names().iter().any(|name| name == "penalty") {
                report.check(what("no penalty"), penalty == 0.0);
                continue;
            }
            report.compare(what("penalty"), &[penalty as f32], &golden.floats("penalty"), 2e-5);
            model.visit(&mut |owner, part, parameter| {
                let Owner::Adapter(_) = owner else { return };
                let library = format!("penalised_{}", library_name(golden, owner, part));
                if golden.names().contains(&library) {
                    let gradient = parameter.gradient().expect("a gradient").to_vec();
                    report.compare(what(&library), &gradient, &golden.floats(&library), 2e-5);
                }
            });
        }
    }
    report.finish();
}

/// Every file below a directory with its bytes.
fn files(directory: &Path, into: &mut Vec<(String, Vec<u8>)>, prefix: &str) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let name = format!("{prefix}{}", entry.file_name().to_str().expect("UTF-8"));
        match entry.path().is_dir() {
            true => files(&entry.path(), into, &format!("{name}/")),
            false => into.push((name, std::fs::read(entry.path()).expect("a file"))),
        }
    }
}

#[test]
fn what_is_written_is_read_back_the_same_with_the_librarys_json() {
    let device = Device::cpu(None).expect("a device");
    for name in CASES {
        let case = case(name, &device);
        let setup = case.golden.directory().join("setup");
        let (fusion, _) = StoredFusion::read(&setup).expect("a fusion");
        let home = tempfile::tempdir().expect("a directory");
        case.model.stored_fusion(&fusion).write(home.path(), &case.head).expect("written");
        let (again, head) = StoredFusion::read(home.path()).expect("read back");
        assert!(again == fusion && head.as_ref() == Some(&case.head), "{name}");
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        files(&setup, &mut theirs, "");
        files(home.path(), &mut ours, "");
        theirs.sort();
        ours.sort();
        let names = |all: &[(String, Vec<u8>)]| -> Vec<String> {
            all.iter().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(names(&ours), names(&theirs), "{name}");
        for ((file, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            if file.ends_with(".json") {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                assert_eq!(text(ours), text(theirs), "{name}, {file}");
            }
        }
        let again = TaskModel::from_stored_fusion(&case.encoder, &again, &case.head);
        let logits = |model: &TaskModel| model.logits(&case.encoder, &case.batch).to_vec();
        assert_eq!(logits(&again.expect("a model")), logits(&case.model), "{name}");
    }
}

/// With dropout on the scores, which lets the keys' bias count, the slope of the loss along each
/// parameter's gradient is the gradient's square. A step that changes the loss by 1e-3 leaves, of
/// logits good to 1e-6, a relative error of 1e-3, and as much from the loss's curvature.
#[test]
fn with_dropout_the_gradients_are_the_loss_s_slopes() {
    let device = Device::cpu(None).expect("a device");
    for name in ["fusion-dynamic-3", "fusion-figure-3-3"] {
        slopes(name, &device);
    }
}

fn slopes(name: &str, device: &Device) {
    let mut case = case(name, device);
    let setup = case.golden.directory().join("setup");
    let (mut fusion, head) = StoredFusion::read(&setup).expect("a fusion");
    fusion.config.dropout_prob = Some(0.5);
    let head = head.expect("a head");
    case.model = TaskModel::from_stored_fusion(&case.encoder, &fusion, &head).expect("a model");
    accumulate(&mut case);
    let mut parameters: Vec<(String, Vec<f32>, Vec<f32>)> = Vec::new();
    case.model.visit(&mut |owner, part, parameter| {
        let gradient = parameter.gradient().expect("a gradient").to_vec();
        parameters.push((format!("{owner:?} {part}"), parameter.value().to_vec(), gradient));
    });
    let mut report = Report::default();
    for (number, (name, values, gradient)) in parameters.iter().enumerate() {
        let square: f64 = gradient.iter().map(|x| f64::from(*x).powi(2)).sum();
        let step = 1e-3 / square;
        let mut at = |sign: f64| {
            let mut index = 0;
            case.model.visit(&mut |_, _, parameter| {
                if index == number {
                    let move_by = |(x, g): (&f32, &f32)| x + (sign * step * f64::from(*g)) as f32;
                    let moved: Vec<f32> = values.iter().zip(gradient).map(move_by).collect();
                    parameter.assign(&moved);
                }
                index += 1;
            });
            case.model.repack();
            accumulate(&mut case)
        };
        let slope = (at(1.0) - at(-1.0)) / 2e-3;
        at(0.0);
        report.check(format!("{name}: slope {slope:.5} of its square"), (slope - 1.0).abs() < 5e-3);
    }
    report.finish();
}
