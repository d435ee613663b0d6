//! The encoder against what PyTorch computes in double precision, for every instruction set.
//!
//! Bound: float32 sums of depth k have a relative error of about √k·2⁻²⁴ against double precision
//! where errors are independent; three layers of six sums each, k ≤ 64, and conditioning by norms
//! leave room at 2e-5, the bound that the project states for whole models.

use std::sync::Mutex;

use adaptkit_compute::{Device, FrozenNorm, Precision, Tensor};
use adaptkit_encoder::{
    Empty, Encoder, EndGradients, Place, RaggedBatch, Readout, Site, Sites, SubLayerEnd,
};
use adaptkit_testkit::{Golden, Report, golden_dir};

const BOUND: f64 = 2e-5;

fn devices() -> Vec<Device> {
    let names = Device::INSTRUCTION_SETS.into_iter();
    let found = names.map(|name| (name, Device::cpu_with_instructions(name, None).ok()));
    let found: Vec<_> = found.collect();
    for (name, device) in &found {
        if device.is_none() {
            println!("skipped: this CPU has no {name}");
        }
    }
    found.into_iter().filter_map(|(_, device)| device).collect()
}

fn batch(golden: &Golden) -> RaggedBatch {
    RaggedBatch::new(golden.rows().iter().map(|(ids, types)| (&ids[..], &types[..])))
}

fn bert() -> Golden {
    Golden::at(&golden_dir("bert"))
}

fn load(golden: &Golden, device: &Device, precision: Precision) -> Encoder {
    Encoder::load(&golden.model_dir(), device, precision).expect("a tiny model")
}

#[test]
fn what_enters_and_leaves_every_layer_is_pytorchs() {
    let mut report = Report::default();
    let golden = bert();
    let batch = batch(&golden);
    for device in devices() {
        let encoder = load(&golden, &device, Precision::F32);
        let mut hidden = encoder.embed(&batch);
        for layer in 0..3 {
            let what = format!("{device:?}, what enters layer {layer}");
            let want = golden.floats(&format!("hidden.{layer}"));
            report.compare(what, &hidden.to_vec(), &want, BOUND);
            let all = Readout::AllTokens;
            hidden = encoder.layers(&batch, hidden, layer..layer + 1, all, &mut Empty);
        }
        let what = format!("{device:?}, last hidden states");
        report.compare(what, &hidden.to_vec(), &golden.floats("hidden.3"), BOUND);
    }
    report.finish();
}

/// The six products of each of three layers round 36 operands. An operand's error is uniform: in
/// bf16 within 2⁻⁹ of each number, a root mean square of 2⁻⁹/√3; in int8 within 1/254 of the largest
/// number of a row or column, which is some 3.5 times their root mean square, 3.5/(254·√3).
/// Independent errors add up to √36 times that, 0.7 % and 4.8 %, of the result's root mean square.
/// The largest of them is to the largest result as their root mean squares are. Soft-max and norms
/// amplify what enters them; twice the sum leaves room for that. In matrix tiles attention's two
/// products round their operands to bf16 as well: √48 instead of √36.
#[test]
fn reduced_precisions_stay_within_their_bounds_of_f32() {
    let mut report = Report::default();
    let golden = bert();
    let batch = batch(&golden);
    for device in devices() {
        let bf16 = if device.instructions() == "amx" { 1.6e-2 } else { 1.4e-2 };
        for (precision, bound) in [(Precision::Bf16, bf16), (Precision::Int8, 9.6e-2)] {
            let mut encoder = load(&golden, &device, precision);
            let what = format!("{device:?} in {precision}");
            assert_eq!(encoder.precision(), precision, "{what}");
            let out = encoder.forward(&batch, Readout::AllTokens, &mut Empty).to_vec();
            report.compare(format!("{what}, hidden"), &out, &golden.floats("hidden.3"), bound);
            let exact = load(&golden, &device, Precision::F32);
            let exact = exact.forward(&batch, Readout::AllTokens, &mut Empty).to_vec();
            report.check(format!("{what}, not f32 under another name"), out != exact);
            encoder.prepare_backward(None).expect("the same files");
            let (out, tape) = encoder.forward_keeping(&batch, Readout::AllTokens, &mut Empty);
            let d = golden.floats("d_last_hidden");
            let d = device.tensor(out.rows(), out.columns(), &d);
            let d = encoder.backward(&batch, tape, d, &mut Empty).expect("a gradient").to_vec();
            // As many products again, and derivatives taken where the forward pass went astray.
            let want = golden.floats("d_hidden.0");
            report.compare(format!("{what}, gradient"), &d, &want, 2.0 * bound);
        }
    }
    report.finish();
}

#[test]
fn a_row_alone_is_bit_equal_to_the_row_among_others() {
    let golden = bert();
    let mut report = Report::default();
    for (device, precision) in devices().iter().flat_map(|d| Precision::ALL.map(|p| (d, p))) {
        let encoder = load(&golden, device, precision);
        let together = encoder.forward(&batch(&golden), Readout::AllTokens, &mut Empty).to_vec();
        let mut at = 0;
        for (ids, types) in golden.rows() {
            let alone = RaggedBatch::new([(&ids[..], &types[..])]);
            let alone = encoder.forward(&alone, Readout::AllTokens, &mut Empty).to_vec();
            let among = &together[at..at + alone.len()];
            at += alone.len();
            let what = format!("{} tokens on {device:?} in {precision}", ids.len());
            report.check(what, alone == among);
        }
    }
    report.finish();
}

#[test]
fn first_tokens_are_bit_equal_to_those_of_all_tokens() {
    let golden = bert();
    let batch = batch(&golden);
    for device in devices() {
        let encoder = load(&golden, &device, Precision::F32);
        let all = encoder.forward(&batch, Readout::AllTokens, &mut Empty);
        let first = encoder.forward(&batch, Readout::FirstTokens, &mut Empty);
        let picked = all.gather_rows(batch.offsets.first_tokens());
        assert_eq!(first.to_vec(), picked.to_vec(), "{device:?}");
    }
}

#[test]
fn first_tokens_back_propagate_as_all_tokens_with_zeros_elsewhere() {
    let golden = bert();
    let batch = batch(&golden);
    let mut report = Report::default();
    for device in devices() {
        let mut encoder = load(&golden, &device, Precision::F32);
        encoder.prepare_backward(None).expect("the same files");
        let first = batch.offsets.first_tokens();
        let d = golden.floats("d_last_hidden");
        let d = device.tensor(batch.tokens(), 32, &d).gather_rows(first);
        let (_, tape) = encoder.forward_keeping(&batch, Readout::AllTokens, &mut Empty);
        let spread = d.scatter_rows(first, batch.tokens());
        let want = encoder.backward(&batch, tape, spread, &mut Empty).expect("a gradient");
        let (_, tape) = encoder.forward_keeping(&batch, Readout::FirstTokens, &mut Empty);
        let got = encoder.backward(&batch, tape, d, &mut Empty).expect("a gradient");
        report.compare(format!("{device:?}"), &got.to_vec(), &want.to_vec(), BOUND);
    }
    report.finish();
}

#[test]
fn threads_do_not_change_a_bit() {
    let golden = bert();
    let batch = batch(&golden);
    let of = |threads| {
        let device = Device::cpu(std::num::NonZero::new(threads)).expect("threads");
        let encoder = load(&golden, &device, Precision::F32);
        encoder.forward(&batch, Readout::AllTokens, &mut Empty).to_vec()
    };
    let one = of(1);
    assert_eq!(one, of(2));
    assert_eq!(one, of(5));
}

/// Sits at some places, only adds and normalises there, and notes which backward was called.
struct Probe {
    places: Vec<Place>,
    tapes: Vec<(Place, adaptkit_compute::NormTape)>,
    calls: Mutex<Vec<(Place, bool)>>,
}

impl Sites for Probe {
    fn occupied(&self, place: Place) -> bool {
        self.places.contains(&place)
    }

    fn lowest_trained(&self) -> Option<Place> {
        self.places.iter().min().copied()
    }

    fn forward(&mut self, place: Place, end: SubLayerEnd<'_>, keep: bool) -> Tensor {
        let (out, tape) = end.norm.forward(&end.x, Some(end.residual), keep);
        self.tapes.extend(tape.map(|tape| (place, tape)));
        out
    }

    fn backward(
        &mut self,
        place: Place,
        norm: &FrozenNorm,
        d: Tensor,
        below: bool,
    ) -> Option<EndGradients> {
        self.calls.lock().expect("a lock").push((place, below));
        let at = self.tapes.iter().position(|(p, _)| *p == place).expect("a tape");
        let (_, tape) = self.tapes.remove(at);
        below.then(|| EndGradients { x: norm.backward(&tape, d), residual: None })
    }
}

#[test]
fn back_propagation_ends_at_the_lowest_trained_place_and_needs_no_packing_below() {
    let golden = bert();
    let batch = batch(&golden);
    let device = Device::cpu(None).expect("a device");
    let place = Place::new;
    use Site::{Attention, Output};
    let cases = [
        vec![place(2, Output)],
        vec![place(1, Attention)],
        vec![place(0, Output), place(2, Attention)],
        vec![place(1, Output), place(1, Attention), place(2, Output)],
    ];
    for places in cases {
        let mut encoder = load(&golden, &device, Precision::F32);
        let lowest = places.iter().min().copied();
        // What lies below is not prepared: going there would panic.
        encoder.prepare_backward(lowest).expect("the same files");
        let mut probe =
            Probe { places: places.clone(), tapes: Vec::new(), calls: Mutex::default() };
        let (out, tape) = encoder.forward_keeping(&batch, Readout::FirstTokens, &mut probe);
        let bare = encoder.forward(&batch, Readout::FirstTokens, &mut Empty);
        assert_eq!(out.to_vec(), bare.to_vec(), "a site that does what the encoder does");
        assert!(encoder.backward(&batch, tape, out, &mut probe).is_none());
        let mut want: Vec<(Place, bool)> =
            places.iter().map(|p| (*p, Some(*p) != lowest)).collect();
        want.sort_by(|a, b| b.cmp(a));
        assert_eq!(*probe.calls.lock().expect("a lock"), want, "{places:?}");
    }
}
