//! Every family and form of weights file against `transformers`, for every instruction set: hidden
//! states of ragged rows, and the gradient at the first layer's input. The bound is the one of the
//! other goldens, 2e-5 of the largest number.

use adaptkit_compute::{Device, Precision};
use adaptkit_encoder::{Empty, Encoder, RaggedBatch, Readout};
use adaptkit_testkit::{Golden, Report, golden_dir};

const GOLDENS: [&str; 13] = [
    "bert",
    "bert-gamma-beta",
    "bert-gelu-new",
    "bert-old-torch-file",
    "bert-prefixed",
    "bert-sharded",
    "bert-torch-file",
    "camembert",
    "distilbert",
    "electra",
    "mpnet",
    "roberta",
    "xlm-roberta",
];

#[test]
fn hidden_states_and_gradients_of_every_family_are_pytorchs() {
    let mut report = Report::default();
    for instructions in ["portable", "avx2", "avx512"] {
        let Ok(device) = Device::cpu_with_instructions(instructions, None) else {
            println!("skipped: this CPU has no {instructions}");
            continue;
        };
        for name in GOLDENS {
            let golden = Golden::at(&golden_dir(name));
            let rows = golden.rows();
            let batch = RaggedBatch::new(rows.iter().map(|(ids, types)| (&ids[..], &types[..])));
            let mut encoder = match Encoder::load(&golden.model_dir(), &device, Precision::F32) {
                Ok(encoder) => encoder,
                Err(error) => {
                    report.check(format!("{name}: {error}"), false);
                    continue;
                }
            };
            encoder.prepare_backward(None).expect("the same files");
            let layers = encoder.config().num_hidden_layers;
            let what = |part: &str| format!("{name} on {instructions}, {part}");
            let embedded = encoder.embed(&batch).to_vec();
            report.compare(what("embeddings"), &embedded, &golden.floats("hidden.0"), 2e-5);
            let all = Readout::AllTokens;
            let (out, tape) = encoder.forward_keeping(&batch, all, &mut Empty);
            let want = golden.floats(&format!("hidden.{layers}"));
            report.compare(what("last hidden states"), &out.to_vec(), &want, 2e-5);
            let d = golden.floats("d_last_hidden");
            let d = device.tensor(out.rows(), out.columns(), &d);
            let d = encoder.backward(&batch, tape, d, &mut Empty).expect("a gradient").to_vec();
            report.compare(what("gradient"), &d, &golden.floats("d_hidden.0"), 2e-5);
        }
    }
    report.finish();
}
