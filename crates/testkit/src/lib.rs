//! Golden files and comparisons for the tests of the other crates; not published.

use std::path::PathBuf;

use safetensors::{Dtype, SafeTensors};

/// A folder of golden files: a model or an adapter, and what PyTorch computes with it.
pub struct Golden {
    directory: PathBuf,
    bytes: Vec<u8>,
}

impl Golden {
    /// Opens the golden of that name.
    ///
    /// # Panics
    /// If it is not there.
    pub fn open(name: &str) -> Golden {
        let directory = directory(name);
        let path = directory.join("golden.safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Golden { directory, bytes }
    }

    /// Where the model's or adapter's own files are.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// The names of all tensors.
    pub fn names(&self) -> Vec<String> {
        self.tensors().names().into_iter().map(str::to_owned).collect()
    }

    /// A tensor of floats, f32 or f64.
    ///
    /// # Panics
    /// If it is not there or of another type.
    pub fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let bytes = tensor.data();
        match tensor.dtype() {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F64 => {
                bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect()
            }
            other => panic!("{name} is {other:?}"),
        }
    }

    /// A tensor of whole numbers.
    ///
    /// # Panics
    /// If it is not there or of another type.
    pub fn integers(&self, name: &str) -> Vec<i64> {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(tensor.dtype(), Dtype::I64, "{name}");
        tensor.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
    }

    /// The rows of the golden's batch: (ids, type ids) of each.
    pub fn rows(&self) -> Vec<(Vec<u32>, Vec<u32>)> {
        let [ids, types, offsets] = ["ids", "type_ids", "offsets"].map(|name| self.integers(name));
        let row = |values: &[i64], w: &[i64]| -> Vec<u32> {
            values[w[0] as usize..w[1] as usize].iter().map(|x| *x as u32).collect()
        };
        offsets.windows(2).map(|w| (row(&ids, w), row(&types, w))).collect()
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("a golden file")
    }
}

/// The folder of a golden.
pub fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../goldens/tiny").join(name)
}

/// The largest difference relative to the largest number wanted; infinite for NaN or another length.
pub fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    if got.len() != want.len() || got.iter().any(|x| x.is_nan()) {
        return f64::INFINITY;
    }
    let largest = want.iter().fold(0.0, |a: f64, x| a.max(f64::from(x.abs())));
    let differences = got.iter().zip(want).map(|(x, y)| (f64::from(*x) - f64::from(*y)).abs());
    differences.fold(0.0, f64::max) / largest.max(f64::MIN_POSITIVE)
}

/// Collects what is off, so that a test reports every failing case and not the first alone.
#[derive(Default)]
pub struct Report(Vec<String>);

impl Report {
    /// Notes `what` if `got` is further from `want` than `bound`, relative to the largest wanted.
    pub fn compare(&mut self, what: impl std::fmt::Display, got: &[f32], want: &[f32], bound: f64) {
        let error = relative_error(got, want);
        if error > bound {
            self.0.push(format!("{what}: {error:.2e}, more than {bound:.0e}"));
        }
    }

    /// Notes `what` unless `holds`.
    pub fn check(&mut self, what: impl std::fmt::Display, holds: bool) {
        if !holds {
            self.0.push(what.to_string());
        }
    }

    /// Fails if anything was noted.
    ///
    /// # Panics
    /// With all of it.
    pub fn finish(self) {
        assert!(self.0.is_empty(), "{} cases failed:\n{}", self.0.len(), self.0.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_manifest_holds_the_hash_of_every_golden_file() {
        let root = directory("");
        let manifest = std::fs::read(root.join("MANIFEST.json")).expect("the manifest");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
        let files = manifest["sha256"].as_object().expect("an object");
        assert!(files.len() > 20);
        for (name, want) in files {
            let bytes = std::fs::read(root.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let got: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(Some(&got[..]), want.as_str(), "{name}");
        }
    }

    #[test]
    fn errors_are_relative_to_the_largest_number() {
        assert_eq!(relative_error(&[1.0, 3.0], &[1.0, 4.0]), 0.25);
        assert_eq!(relative_error(&[1.0], &[1.0, 4.0]), f64::INFINITY);
        assert_eq!(relative_error(&[f32::NAN], &[1.0]), f64::INFINITY);
        let mut report = Report::default();
        report.compare("near", &[1.0], &[1.0], 0.0);
        report.finish();
    }
}
