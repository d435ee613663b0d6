//! A fresh adapter hardly moves the base (Houlsby et al. 2019, §2: "near-identity initialization").
//!
//! The bound: with weights of standard deviation σ, a bottleneck d → m → d of scaling s adds to an
//! input a of a norm like that of what it is added to
//! s·σ²·√(d·m)·‖a‖ in the mean, or less, since no activation enlarges. The additions of k places
//! are independent, so that together they move the result by about s·σ²·√(k·d·m) of its norm, and
//! what the layers above make of it is of that order: twice as much bounds it. An up-projection of
//! zeros (`mam_adapter`) moves nothing at all.

use std::num::NonZero;

use adaptkit_adapters::config::{AdapterConfig, Initialisation, Scaling};
use adaptkit_adapters::{HeadShape, TaskModel};
use adaptkit_compute::{Activation, Device, Precision};
use adaptkit_encoder::{Empty, Encoder, RaggedBatch, Readout};
use adaptkit_testkit::{Golden, Report, golden_dir};

fn deviation(initialisation: Initialisation) -> f64 {
    match initialisation {
        Initialisation::Bert => 0.02,
        Initialisation::Houlsby => 0.01,
        Initialisation::MamAdapter => 0.0,
    }
}

#[test]
fn a_fresh_adapter_moves_the_base_by_less_than_the_bound() {
    let golden = Golden::at(&golden_dir("bert"));
    let device = Device::cpu(NonZero::new(1)).expect("a thread");
    let encoder = Encoder::load(&golden.model_dir(), &device, Precision::F32).expect("a base");
    let rows: [&[u32]; 3] = [&[2, 5, 6, 7, 3], &[2, 3], &[2, 11, 12, 13, 14, 15, 16, 17, 3]];
    let types = [0; 9];
    let batch = RaggedBatch::new(rows.map(|ids| (ids, &types[..ids.len()])));
    let base = encoder.forward(&batch, Readout::AllTokens, &mut Empty).to_vec();
    let norm = |x: &[f32]| x.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
    let head = HeadShape { outputs: 2, layers: 2, activation: Activation::Tanh };
    let mut report = Report::default();
    for preset in ["pfeiffer", "houlsby", "parallel"] {
        for initialisation in Initialisation::ALL {
            for seed in 0..5 {
                let mut config = AdapterConfig::preset(preset).expect("a preset");
                config.init_weights = initialisation;
                let Scaling::Fixed(scaling) = config.scaling else {
                    unreachable!("the presets' scalings are fixed")
                };
                let model = TaskModel::new(&encoder, &config, &head, seed).expect("it fits");
                let mut sites = model.adapter.inference(0);
                let with = encoder.forward(&batch, Readout::AllTokens, &mut sites).to_vec();
                let difference: Vec<f32> = with.iter().zip(&base).map(|(x, y)| x - y).collect();
                let moved = norm(&difference) / norm(&base);
                let places = model.adapter.modules().len() as f64;
                let d = encoder.config().hidden_size as f64;
                let m = config.bottleneck_size(0, d as usize).expect("a size") as f64;
                let bound = 2.0 * scaling * deviation(initialisation).powi(2);
                let bound = bound * (places * d * m).sqrt();
                let what = format!("{preset}, {}, seed {seed}: {moved:.1e}", initialisation.name());
                match initialisation {
                    Initialisation::MamAdapter => report.check(what, with == base),
                    _ => report.check(what, moved > 0.0 && moved < bound),
                }
            }
        }
    }
    report.finish();
}

#[test]
fn a_bottleneck_has_2md_d_m_parameters() {
    let golden = Golden::at(&golden_dir("bert"));
    let device = Device::cpu(NonZero::new(1)).expect("a thread");
    let encoder = Encoder::load(&golden.model_dir(), &device, Precision::F32).expect("a base");
    let (d, layers) = (encoder.config().hidden_size, encoder.config().num_hidden_layers);
    let head = HeadShape { outputs: 3, layers: 1, activation: Activation::Tanh };
    for (preset, sites) in [("pfeiffer", 1), ("houlsby", 2), ("parallel", 1)] {
        for m in [1, 3, d] {
            let config = AdapterConfig::preset(preset).expect("a preset");
            let config = config.with_bottleneck(d, m).expect("a size");
            let model = TaskModel::new(&encoder, &config, &head, 0).expect("it fits");
            let want = sites * layers * (2 * m * d + d + m) + 3 * (d + 1);
            assert_eq!(model.parameters(), want, "{preset} of {m}");
        }
    }
}
