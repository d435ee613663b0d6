//! The frozen encoder's own dropout: what it strikes, and the gradient through it with the masks
//! held fixed.

use adaptkit_compute::{Device, FrozenNorm, Precision, Tensor};
use adaptkit_encoder::{
    BaseDropout, Empty, Encoder, EndGradients, Place, RaggedBatch, Readout, Sites, SubLayerEnd,
};
use adaptkit_testkit::{Golden, Random, Report, golden_dir};

const FAMILIES: [&str; 5] = ["bert", "distilbert", "electra", "mpnet", "roberta"];

/// The bare encoder in training.
struct Dropping(BaseDropout);

impl Sites for Dropping {
    fn occupied(&self, _: Place) -> bool {
        false
    }

    fn lowest_trained(&self) -> Option<Place> {
        None
    }

    fn base_dropout(&self) -> BaseDropout {
        self.0
    }

    fn forward(&mut self, _: Place, _: SubLayerEnd<'_>, _: bool) -> Tensor {
        unreachable!("nothing sits here")
    }

    fn backward(&mut self, _: Place, _: &FrozenNorm, _: Tensor, _: bool) -> Option<EndGradients> {
        unreachable!("nothing sits here")
    }
}

/// A golden's rows and its encoder, ready for back-propagation.
fn case(name: &str, device: &Device) -> (RaggedBatch, Encoder) {
    let golden = Golden::at(&golden_dir(name));
    let rows = golden.rows();
    let batch = RaggedBatch::new(rows.iter().map(|(ids, types)| (&ids[..], &types[..])));
    let mut encoder =
        Encoder::load(&golden.model_dir(), device, Precision::F32).expect("a tiny base");
    encoder.prepare_backward(None).expect("the same files");
    (batch, encoder)
}

const HALF: BaseDropout =
    BaseDropout { hidden: 0.5, attention_output: 0.5, attention_probabilities: 0.5, key: 3 };

/// The slope of ⟨last hidden states, c⟩ along the gradient is the gradient's square. A step that
/// changes the product by 1e-2 of the numbers' size leaves, of states good to 1e-6, a relative error
/// of 1e-3, and as much from the curvature.
#[test]
fn gradients_are_slopes_with_the_masks_held_fixed() {
    let device = Device::cpu(None).expect("a device");
    let mut report = Report::default();
    for name in FAMILIES {
        let (batch, encoder) = case(name, &device);
        let layers = encoder.config().num_hidden_layers;
        for readout in [Readout::AllTokens, Readout::FirstTokens] {
            let mut sites = Dropping(HALF);
            let hidden = encoder.embed_dropping(&batch, sites.0);
            let start = hidden.to_vec();
            let (out, tape) =
                encoder.layers_keeping(&batch, hidden, 0..layers, readout, &mut sites);
            let mut random = Random::new(8);
            let c: Vec<f32> = (0..out.rows() * out.columns()).map(|_| random.normal()).collect();
            let d = device.tensor(out.rows(), out.columns(), &c);
            let gradient = encoder.backward(&batch, tape, d, &mut sites).expect("a gradient");
            let gradient = gradient.to_vec();
            let square: f64 = gradient.iter().map(|x| f64::from(*x).powi(2)).sum();
            let change = 1e-2 * (c.len() as f64).sqrt();
            let mut at = |sign: f64| {
                let step = sign * change / square;
                let moved: Vec<f32> = start
                    .iter()
                    .zip(&gradient)
                    .map(|(x, g)| (f64::from(*x) + step * f64::from(*g)) as f32)
                    .collect();
                let hidden = device.tensor(batch.tokens(), moved.len() / batch.tokens(), &moved);
                let out = encoder.layers(&batch, hidden, 0..layers, readout, &mut sites).to_vec();
                out.iter().zip(&c).map(|(y, c)| f64::from(*y) * f64::from(*c)).sum::<f64>()
            };
            let slope = (at(1.0) - at(-1.0)) / (2.0 * change);
            let what = format!("{name}, {readout:?}: slope {slope:.5} of its square");
            report.check(what, (slope - 1.0).abs() < 5e-3);
        }
    }
    report.finish();
}

#[test]
fn each_share_drops_something_of_its_own_and_masks_follow_the_key() {
    let device = Device::cpu(None).expect("a device");
    let (batch, encoder) = case("bert", &device);
    let run =
        |dropout| encoder.forward(&batch, Readout::AllTokens, &mut Dropping(dropout)).to_vec();
    let bare = encoder.forward(&batch, Readout::AllTokens, &mut Empty).to_vec();
    assert_eq!(run(BaseDropout { key: 5, ..BaseDropout::NONE }), bare);
    let none = BaseDropout { key: 3, ..BaseDropout::NONE };
    let each = [
        BaseDropout { hidden: 0.5, ..none },
        BaseDropout { attention_output: 0.5, ..none },
        BaseDropout { attention_probabilities: 0.5, ..none },
        HALF,
        BaseDropout { key: 4, ..HALF },
    ]
    .map(run);
    for (i, one) in each.iter().enumerate() {
        assert!(*one != bare && !each[..i].contains(one), "{i}");
    }
    assert_eq!(run(HALF), each[3]);

    let whole = encoder.embed(&batch).to_vec();
    let embedded = encoder.embed_dropping(&batch, HALF).to_vec();
    let dropped = embedded.iter().filter(|x| **x == 0.0).count() as f64;
    let kept = embedded.iter().zip(&whole).filter(|(x, whole)| **x == 2.0 * **whole);
    assert_eq!(kept.count() + dropped as usize, whole.len());
    // Five standard errors of a fair coin.
    let n = whole.len() as f64;
    assert!((dropped / n - 0.5).abs() < 2.5 / n.sqrt(), "{dropped} of {n}");
}

#[test]
fn the_shares_are_the_configuration_s_and_distilbert_has_none_at_the_attention_output() {
    let device = Device::cpu(None).expect("a device");
    for name in FAMILIES {
        let home = tempfile::tempdir().expect("a folder");
        for entry in std::fs::read_dir(golden_dir(name).join("model")).expect("a folder") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), home.path().join(entry.file_name())).expect("a copy");
        }
        let path = home.path().join("config.json");
        let text = std::fs::read_to_string(&path).expect("a configuration");
        let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let [hidden, attention] = match name {
            "distilbert" => ["dropout", "attention_dropout"],
            _ => ["hidden_dropout_prob", "attention_probs_dropout_prob"],
        };
        config[hidden] = 0.25.into();
        config[attention] = 0.5.into();
        std::fs::write(&path, config.to_string()).expect("a file");
        let encoder = Encoder::load(home.path(), &device, Precision::F32).expect("a tiny base");
        let want = BaseDropout {
            hidden: 0.25,
            attention_output: if name == "distilbert" { 0.0 } else { 0.25 },
            attention_probabilities: 0.5,
            key: 7,
        };
        assert_eq!(encoder.base_dropout(7), want, "{name}");
    }
}
