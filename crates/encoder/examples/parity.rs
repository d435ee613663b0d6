//! Compares the encoder with the hidden states that `bench/parity/reference.py` wrote.
//!
//! Usage: `cargo run --release -p adaptkit-encoder --example parity -- MODEL_DIR REFERENCE`

use std::path::Path;

use adaptkit_compute::{Device, Precision};
use adaptkit_encoder::{Empty, Encoder, RaggedBatch, Readout};
use safetensors::SafeTensors;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, reference] = &arguments[..] else {
        return Err("usage: parity MODEL_DIR REFERENCE.safetensors".into());
    };
    let bytes = std::fs::read(reference)?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let whole = |name: &str| -> Result<Vec<u32>, Box<dyn std::error::Error>> {
        let data = tensors.tensor(name)?;
        Ok(data.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect())
    };
    let real = |name: &str| -> Result<Vec<f32>, Box<dyn std::error::Error>> {
        let data = tensors.tensor(name)?;
        Ok(data.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    };
    let (ids, types, offsets) = (whole("ids")?, whole("type_ids")?, whole("offsets")?);
    let rows = offsets.windows(2).map(|w| {
        let row = w[0] as usize..w[1] as usize;
        (&ids[row.clone()], &types[row])
    });
    let batch = RaggedBatch::new(rows);
    let sets =
        Device::INSTRUCTION_SETS.into_iter().flat_map(|name| Precision::ALL.map(|p| (name, p)));
    for (instructions, precision) in sets {
        let Ok(device) = Device::cpu_with_instructions(instructions, None) else {
            println!("{instructions}: this CPU does not have it");
            continue;
        };
        let encoder = Encoder::load(Path::new(model), &device, precision)?;
        let got = encoder.forward(&batch, Readout::AllTokens, &mut Empty).to_vec();
        for name in ["last_hidden_state", "exact"] {
            let want = real(name)?;
            let largest = want.iter().fold(0.0f32, |a, x| a.max(x.abs()));
            let worst = got.iter().zip(&want).fold(0.0f32, |a, (x, y)| a.max((x - y).abs()));
            let square = |x: f32| f64::from(x) * f64::from(x);
            let apart: f64 = got.iter().zip(&want).map(|(x, y)| square(x - y)).sum();
            let size: f64 = want.iter().map(|x| square(*x)).sum();
            println!(
                "{instructions}, {precision}, {} tokens, to {name}: largest difference {:.2e} of \
                 the largest number, all together {:.2e} of its norm",
                ids.len(),
                worst / largest,
                (apart / size).sqrt(),
            );
        }
    }
    Ok(())
}
