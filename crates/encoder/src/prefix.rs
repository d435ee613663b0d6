//! What the hidden states that enter a layer depend on.

use adaptkit_compute::Precision;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::identity::tensor_names;
use crate::{Checkpoint, Empty, Encoder, EncoderError, RaggedBatch, Readout};

/// Tokens of the row that shows how an encoder rounds.
const PROBE: u32 = 16;

impl Encoder {
    /// A SHA-256 over everything that decides the bits of the hidden states that enter `layer`, but
    /// for the rows: the configuration, every weight of the embeddings and of the layers below, each
    /// layer's precision, and what becomes of one row, which differs where another build or
    /// instruction set rounds otherwise. It stands for what was kept of them.
    ///
    /// # Errors
    /// If the files that [`Encoder::load`] read are no longer there.
    pub fn prefix_digest(&self, layer: usize) -> Result<[u8; 32], EncoderError> {
        let checkpoint = Checkpoint::open(&self.source)?;
        let names = tensor_names(&self.config, &checkpoint, layer);
        let digests: Result<Vec<_>, EncoderError> = self
            .device
            .run(|| names.par_iter().map(|name| tensor_digest(&checkpoint, name)).collect());
        let mut digest = Sha256::new();
        digest.update(format!("{:?}", self.config));
        for (name, tensor) in names.iter().zip(digests?) {
            digest.update(name);
            digest.update(tensor);
        }
        for layer in &self.layers[..layer] {
            let precision = match layer.query_key_value.precision() {
                Precision::F32 => 0,
                Precision::Bf16 => 1,
                Precision::Int8 => 2,
            };
            digest.update([precision]);
        }
        let tokens = PROBE.min(self.config.longest_row() as u32);
        let ids: Vec<u32> = (0..tokens).map(|i| i % self.config.vocab_size as u32).collect();
        let batch = RaggedBatch::new([(&ids[..], &vec![0; ids.len()][..])]);
        let probe = self.embed(&batch);
        let probe = self.layers(&batch, probe, 0..layer, Readout::AllTokens, &mut Empty);
        probe.to_vec().iter().for_each(|x| digest.update(x.to_le_bytes()));
        Ok(digest.finalize().into())
    }
}

fn tensor_digest(checkpoint: &Checkpoint, name: &str) -> Result<[u8; 32], EncoderError> {
    let shape = checkpoint.shape(name).unwrap_or_default().to_vec();
    let values = checkpoint.f32(name, &shape)?;
    let mut digest = Sha256::new();
    digest.update(bytemuck::cast_slice::<f32, u8>(&values));
    checkpoint.release(name);
    Ok(digest.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use adaptkit_compute::Device;
    use adaptkit_testkit::golden_dir;

    use super::*;
    use crate::{Place, Site};

    fn digest(base: &Path, precision: Precision, instructions: &str, layer: usize) -> [u8; 32] {
        let device = Device::cpu_with_instructions(instructions, None).expect("a device");
        let encoder = Encoder::load(base, &device, precision).expect("the tiny base");
        encoder.prefix_digest(layer).expect("the same files")
    }

    /// A copy of the tiny base in which one number of a tensor is the next larger one.
    fn changed(home: &Path, tensor: &str) -> std::path::PathBuf {
        let base = golden_dir("bert").join("model");
        for entry in std::fs::read_dir(&base).expect("a folder") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), home.join(entry.file_name())).expect("a copy");
        }
        let file = home.join("model.safetensors");
        let mut bytes = std::fs::read(&file).expect("a file");
        let at = {
            let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
            let view = tensors.tensor(tensor).expect("the tensor");
            view.data().as_ptr() as usize - bytes.as_ptr() as usize + view.data().len() / 2
        };
        bytes[at / 4 * 4] ^= 1;
        std::fs::write(&file, bytes).expect("a file");
        home.to_owned()
    }

    #[test]
    fn a_digest_tells_all_apart_that_changes_what_enters_a_layer() {
        let base = golden_dir("bert").join("model");
        let of = |layer| digest(&base, Precision::F32, "portable", layer);
        assert_eq!(of(1), of(1));
        let mut seen = vec![of(0), of(1), of(2)];
        seen.extend([Precision::Bf16, Precision::Int8].map(|p| digest(&base, p, "portable", 1)));
        let homes: Vec<_> = (0..4).map(|_| tempfile::tempdir().expect("a folder")).collect();
        let tensors = [
            "embeddings.word_embeddings.weight",
            "encoder.layer.0.attention.self.value.weight",
            "encoder.layer.0.output.dense.bias",
        ];
        for (home, tensor) in homes.iter().zip(tensors) {
            let other = changed(home.path(), tensor);
            seen.push(digest(&other, Precision::F32, "portable", 1));
        }
        for (index, digest) in seen.iter().enumerate() {
            assert!(!seen[..index].contains(digest), "digest {index} is an earlier one");
        }
        // What lies above the boundary changes nothing.
        let above = changed(homes[3].path(), "encoder.layer.1.output.dense.bias");
        assert_eq!(digest(&above, Precision::F32, "portable", 1), of(1));
        assert_ne!(digest(&above, Precision::F32, "portable", 2), of(2));
    }

    #[test]
    fn layers_packed_anew_for_back_propagation_have_another_digest() {
        let device = Device::cpu(None).expect("a device");
        let base = golden_dir("bert").join("model");
        let mut encoder = Encoder::load(&base, &device, Precision::Int8).expect("the tiny base");
        let before = encoder.prefix_digest(2).expect("the same files");
        encoder.prepare_backward(Some(Place::new(1, Site::Attention))).expect("the same files");
        assert_ne!(encoder.prefix_digest(2).expect("the same files"), before);
    }
}
