//! Golden files, comparisons and random numbers for the tests of the other crates; not published.

mod comparison;
mod random;

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

pub use comparison::{assert_close, relative_error, ulp_distance};
pub use random::Random;

/// A folder of golden files: a model or an adapter, and what PyTorch computes with it.
pub struct Golden {
    directory: PathBuf,
    bytes: Vec<u8>,
}

impl Golden {
    /// Opens the golden in a directory.
    ///
    /// # Panics
    /// If it is not there.
    pub fn at(directory: &Path) -> Golden {
        let directory = directory.to_path_buf();
        let path = directory.join("golden.safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Golden { directory, bytes }
    }

    /// Where the model's or adapter's own files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The Hugging Face directory of the model: this golden's own, or that of its base.
    ///
    /// An adapter's golden names the golden beside it that holds its base.
    pub fn model_dir(&self) -> PathBuf {
        let (_, header) = SafeTensors::read_metadata(&self.bytes).expect("a golden file");
        let base = header.metadata().as_ref().and_then(|notes| notes.get("base"));
        let holder = match base {
            Some(base) => self.directory.with_file_name(base),
            None => self.directory.clone(),
        };
        let model = holder.join("model");
        if model.is_dir() { model } else { holder }
    }

    /// The names of all tensors.
    pub fn names(&self) -> Vec<String> {
        self.tensors().names().into_iter().map(str::to_owned).collect()
    }

    /// The shape of a tensor.
    ///
    /// # Panics
    /// If it is not there.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        let tensors = self.tensors();
        tensors.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}")).shape().to_vec()
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

/// The folder of a golden: `goldens/NAME`.
pub fn golden_dir(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../goldens").join(name)
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

    #[test]
    fn a_report_passes_what_is_near_and_lists_all_that_is_not() {
        let mut report = Report::default();
        report.compare("near", &[1.0], &[1.0], 0.0);
        report.check("so", true);
        report.finish();

        let mut report = Report::default();
        report.compare("far", &[1.0], &[2.0], 0.1);
        report.check("not so", false);
        let panic = std::panic::catch_unwind(|| report.finish()).expect_err("two cases failed");
        let text = panic.downcast_ref::<String>().expect("a message");
        assert!(text.contains("2 cases") && text.contains("far") && text.contains("not so"));
    }
}
