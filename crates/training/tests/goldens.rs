//! Adapters and heads against what the `adapters` library computes in double precision: logits,
//! loss, the gradient of every trained parameter, and the parameters after ten steps of AdamW.
//!
//! Bounds: logits, loss and gradients as for the encoder, 2e-5 of the largest number. AdamW divides
//! gradients by their own root mean square, so that an element whose gradient is near zero moves by
//! up to the learning rate times the relative error of that gradient: after ten steps of 1e-3,
//! 1e-3 of the largest parameter covers it.

use adaptkit_adapters::files::{HeadKind, StoredAdapter, StoredHead};
use adaptkit_adapters::{Adapter, Entry, Head, Owner, TaskModel, TrainingPass};
use adaptkit_compute::{Activation, AdamW, ClassLoss, Device, Precision, Tensor, TrainedLinear};
use adaptkit_encoder::{BaseDropout, Encoder, RaggedBatch, Site};
use adaptkit_testkit::{Golden, Report, golden_dir};
use adaptkit_training::run::Optimiser;

/// Every golden of an adapter, by the name of its directory.
fn cases() -> Vec<String> {
    let found = std::fs::read_dir(golden_dir("")).expect("the goldens");
    let names = found.map(|entry| entry.expect("an entry").file_name().into_string());
    let names = names.map(|name| name.expect("a name in UTF-8"));
    let mut cases: Vec<String> = names.filter(|name| name.starts_with("adapter-")).collect();
    cases.sort();
    assert!(cases.len() >= 32, "{cases:?}");
    cases
}

struct Case {
    golden: Golden,
    kind: HeadKind,
    encoder: Encoder,
    model: TaskModel,
    batch: RaggedBatch,
}

fn case(name: &str, device: &Device) -> Case {
    let golden = Golden::at(&golden_dir(name));
    let mut encoder =
        Encoder::load(&golden.model_dir(), device, Precision::F32).expect("the tiny base");
    let files = golden.directory().join("adapter");
    let adapter = StoredAdapter::read(&files).expect("an adapter");
    let head = StoredHead::read(&files).expect("a readable head").expect("a head");
    let mut model = TaskModel::from_stored(&encoder, &adapter, &head).expect("a model");
    if golden.names().iter().any(|name| name.contains(".LayerNorm.")) {
        model.train_layer_norms(&encoder);
    }
    encoder.prepare_backward(model.adapter.lowest()).expect("the same files");
    let batch = RaggedBatch::new(golden.rows().iter().map(|(ids, types)| (&ids[..], &types[..])));
    Case { golden, kind: head.kind, encoder, model, batch }
}

impl Case {
    fn loss(&self, logits: &Tensor) -> (f64, Tensor) {
        match self.kind {
            HeadKind::MultiLabel => {
                logits.binary_cross_entropy(&self.golden.floats("targets"), None)
            }
            HeadKind::Classification if logits.columns() == 1 => {
                logits.mean_squared_error(&self.golden.floats("targets"))
            }
            HeadKind::Classification => {
                let labels = self.golden.integers("targets");
                let labels: Vec<usize> = labels.iter().map(|l| *l as usize).collect();
                logits.cross_entropy(&labels, ClassLoss::default())
            }
        }
    }

    fn accumulate(&mut self) -> f64 {
        let mut model = std::mem::replace(&mut self.model, empty());
        let loss = model.accumulate_gradients(
            &self.encoder,
            &self.batch,
            Entry::embedded(&self.encoder, &self.batch),
            &|logits| self.loss(logits),
            TrainingPass {
                first_layer: 0,
                head_dropout: 0.0,
                base_dropout: BaseDropout::NONE,
                key: 7,
            },
        );
        self.model = model;
        loss
    }
}

/// A stand-in while the model is borrowed.
fn empty() -> TaskModel {
    let device = Device::cpu(std::num::NonZero::new(1)).expect("a device");
    let layer = TrainedLinear::new(device.zeros(1, 1), device.zeros(1, 1));
    let adapter = Adapter::new(Default::default(), Default::default());
    TaskModel { adapter, head: Head::new(vec![layer], Activation::Identity) }
}

/// A parameter's name in the library: its model's prefix and the adapter's name are those of the
/// golden's own gradients.
fn library_name(golden: &Golden, owner: Owner, part: &str) -> String {
    let names = golden.names();
    let end = match owner {
        Owner::Head => format!(".{part}"),
        Owner::Adapter(place) => {
            let distilbert = names.iter().any(|name| name.starts_with("d.distilbert."));
            let (stack, site) = match (distilbert, place.site) {
                (false, Site::Attention) => ("encoder", "attention.output"),
                (false, Site::Output) => ("encoder", "output"),
                (true, Site::Attention) => ("transformer", "attention_adapters"),
                (true, Site::Output) => ("transformer", "output_adapters"),
            };
            let norm = if part.starts_with("LayerNorm") { "" } else { "adapters." };
            format!("{stack}.layer.{}.{site}.{norm}", place.layer)
        }
    };
    let found = names.iter().filter_map(|name| name.strip_prefix("d.")).find(|name| match owner {
        Owner::Head => name.starts_with("heads.") && name.ends_with(&end),
        Owner::Adapter(_) if part.starts_with("LayerNorm") => {
            name.ends_with(&format!(".{end}{part}"))
        }
        Owner::Adapter(_) => {
            name.contains(&format!(".{end}")) && name.ends_with(&format!(".{part}"))
        }
    });
    found.unwrap_or_else(|| panic!("no gradient of {owner:?}, {part} in {names:?}")).to_owned()
}

#[test]
fn logits_losses_gradients_and_ten_adamw_steps_are_the_librarys() {
    let mut report = Report::default();
    for instructions in ["portable", "avx2", "avx512"] {
        let Ok(device) = Device::cpu_with_instructions(instructions, None) else {
            println!("skipped: this CPU has no {instructions}");
            continue;
        };
        for name in cases() {
            let mut case = case(&name, &device);
            let what = |part: &str| format!("{name} on {instructions}, {part}");
            let logits = case.model.logits(&case.encoder, &case.batch).to_vec();
            report.compare(what("logits"), &logits, &case.golden.floats("logits"), 2e-5);
            let loss = case.accumulate() as f32;
            report.compare(what("loss"), &[loss], &case.golden.floats("loss"), 2e-5);
            let golden = &case.golden;
            let mut seen = 0;
            case.model.visit(&mut |owner, part, parameter| {
                let name = library_name(golden, owner, part);
                let got = parameter.gradient().expect("a gradient").to_vec();
                let want = golden.floats(&format!("d.{name}"));
                report.compare(what(&format!("gradient of {name}")), &got, &want, 2e-5);
                seen += 1;
            });
            let wanted = golden.names().iter().filter(|n| n.starts_with("d.")).count();
            report.check(what("every trained parameter"), seen == wanted);
            if !golden.names().iter().any(|name| name == "losses") {
                continue;
            }
            let (losses, norms) = (golden.floats("losses"), golden.floats("gradient_norms"));
            let mut optimiser = Optimiser::default();
            for (step, (loss, norm)) in losses.iter().zip(&norms).enumerate() {
                let what = |part: &str| what(&format!("{part} {step}"));
                if step > 0 {
                    let got = case.accumulate() as f32;
                    report.compare(what("loss"), &[got], &[*loss], 1e-3);
                }
                let adamw = AdamW {
                    learning_rate: 1e-3,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    weight_decay: 0.01,
                };
                let got = optimiser.step(&mut case.model, &adamw, 1.0, |_| true) as f32;
                report.compare(what("gradient norm"), &[got], &[*norm], 1e-3);
            }
            let golden = &case.golden;
            case.model.visit(&mut |owner, part, parameter| {
                let name = library_name(golden, owner, part);
                let (got, want) =
                    (parameter.value().to_vec(), golden.floats(&format!("after.{name}")));
                report.compare(what(&format!("{name} after ten steps")), &got, &want, 1e-3);
            });
        }
    }
    report.finish();
}

#[test]
fn what_is_written_gives_the_same_logits_bit_for_bit() {
    let device = Device::cpu(None).expect("a device");
    for name in cases() {
        let case = case(&name, &device);
        let files = case.golden.directory().join("adapter");
        let adapter = StoredAdapter::read(&files).expect("an adapter");
        let head = StoredHead::read(&files).expect("readable").expect("a head");
        let folder = tempfile::tempdir().expect("a folder");
        let model = &case.model;
        let written = model.stored_adapter("tiny", &adapter.config, &adapter.model);
        written.write(folder.path()).expect("an adapter's files");
        let labels = head.labels.clone();
        let stored = model.stored_head("tiny", head.kind, labels, 0.1, &head.model);
        stored.write(folder.path()).expect("a head's files");
        let adapter = StoredAdapter::read(folder.path()).expect("what was written");
        let head = StoredHead::read(folder.path()).expect("readable").expect("a head");
        let again = TaskModel::from_stored(&case.encoder, &adapter, &head).expect("a model");
        let logits = |model: &TaskModel| model.logits(&case.encoder, &case.batch).to_vec();
        assert_eq!(logits(&again), logits(model), "{name}");
    }
}
