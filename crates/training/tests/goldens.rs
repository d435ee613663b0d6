//! Adapters and heads against what the `adapters` library computes in double precision: logits,
//! loss, the gradient of every trained parameter, and the parameters after ten steps of AdamW.
//!
//! Bounds: logits, loss and gradients as for the encoder, 2e-5 of the largest number. Ten steps of
//! AdamW at a learning rate of 0.01 divide gradients by their own root mean square, so that an
//! element whose gradient is near zero moves by up to the learning rate times the relative error
//! of that gradient: 1e-3 of the largest parameter covers it.

use adaptkit_adapters::files::{StoredAdapter, StoredHead};
use adaptkit_adapters::{Owner, TaskModel};
use adaptkit_compute::{AdamW, Device, Precision, Tensor};
use adaptkit_encoder::{Encoder, RaggedBatch, Site};
use adaptkit_testkit::{Golden, Report, directory};
use adaptkit_training::run::Optimiser;

const CASES: [&str; 6] =
    ["pfeiffer", "houlsby", "parallel", "regression", "residual-normed", "residual-post-add"];

struct Case {
    golden: Golden,
    encoder: Encoder,
    model: TaskModel,
    batch: RaggedBatch,
}

fn case(name: &str, device: &Device) -> Case {
    let golden = Golden::open(name);
    let mut encoder =
        Encoder::load(&directory("bert"), device, Precision::F32).expect("the tiny base");
    let adapter = StoredAdapter::read(golden.directory()).expect("an adapter");
    let head = StoredHead::read(golden.directory()).expect("a readable head").expect("a head");
    let model = TaskModel::from_stored(&encoder, &adapter, &head).expect("a model");
    encoder.prepare_backward(model.adapter.lowest()).expect("the same files");
    let batch = RaggedBatch::new(golden.rows().iter().map(|(ids, types)| (&ids[..], &types[..])));
    Case { golden, encoder, model, batch }
}

impl Case {
    fn loss(&self, logits: &Tensor) -> (f64, Tensor) {
        if logits.columns() == 1 {
            logits.mean_squared_error(&self.golden.floats("targets"))
        } else {
            let labels = self.golden.integers("targets");
            logits.cross_entropy(&labels.iter().map(|l| *l as usize).collect::<Vec<_>>())
        }
    }

    fn accumulate(&mut self) -> f64 {
        let mut model = std::mem::replace(&mut self.model, empty());
        let loss = model.accumulate_gradients(
            &self.encoder,
            &self.batch,
            &|logits| self.loss(logits),
            0.0,
            7,
        );
        self.model = model;
        loss
    }
}

/// A stand-in while the model is borrowed.
fn empty() -> TaskModel {
    use adaptkit_adapters::{Adapter, Head};
    use adaptkit_compute::{Activation, TrainedLinear};
    let device = Device::cpu(std::num::NonZero::new(1)).expect("a device");
    let layer = TrainedLinear::new(device.zeros(1, 1), device.zeros(1, 1));
    TaskModel {
        adapter: Adapter::new(Default::default()),
        head: Head::new(vec![layer], Activation::Identity),
    }
}

/// The library's name of a parameter.
fn library_name(owner: Owner, part: &str) -> String {
    match owner {
        Owner::Head => format!("heads.tiny.{part}"),
        Owner::Adapter(place) => {
            let site = match place.site {
                Site::Attention => "attention.output",
                Site::Output => "output",
            };
            format!("bert.encoder.layer.{}.{site}.adapters.tiny.{part}", place.layer)
        }
    }
}

#[test]
fn logits_losses_gradients_and_ten_adamw_steps_are_the_librarys() {
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
            let losses = case.golden.floats("losses");
            let mut optimiser = Optimiser::default();
            for (step, want) in losses.iter().enumerate() {
                let loss = case.accumulate() as f32;
                // Ten steps' errors add up; the first has the forward pass's alone.
                let bound = if step == 0 { 2e-5 } else { 1e-3 };
                report.compare(what(&format!("loss {step}")), &[loss], &[*want], bound);
                if step == 0 {
                    let golden = &case.golden;
                    let mut seen = 0;
                    case.model.visit(&mut |owner, part, parameter| {
                        let name = library_name(owner, part);
                        let got = parameter.gradient().expect("a gradient").to_vec();
                        let want = golden.floats(&format!("d.{name}"));
                        report.compare(what(&format!("gradient of {name}")), &got, &want, 2e-5);
                        seen += 1;
                    });
                    let wanted = golden.names().iter().filter(|n| n.starts_with("d.")).count();
                    report.check(what("every trained parameter"), seen == wanted);
                }
                let adamw = AdamW {
                    learning_rate: 1e-2,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    weight_decay: 0.01,
                };
                optimiser.step(&mut case.model, &adamw, 1.0, |_| true);
            }
            let golden = &case.golden;
            case.model.visit(&mut |owner, part, parameter| {
                let name = library_name(owner, part);
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
    for name in CASES {
        let case = case(name, &device);
        let adapter = StoredAdapter::read(case.golden.directory()).expect("an adapter");
        let head = StoredHead::read(case.golden.directory()).expect("readable").expect("a head");
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
