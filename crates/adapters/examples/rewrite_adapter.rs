//! Reads an adapter's directory and writes it again, head included: `rewrite_adapter FROM TO`.
//!
//! With `goldens/check_adapter_files.py` this shows that the two programs mean the same by a
//! directory: that script prints one digest for a directory of the `adapters` library and for what
//! this makes of it.

use std::path::Path;
use std::process::ExitCode;

use adaptkit_adapters::atomic::StagedDirectory;
use adaptkit_adapters::error::AdapterError;
use adaptkit_adapters::files::{ADAPTER_DIRECTORY, Provenance, StoredAdapter, StoredHead};

fn rewrite(from: &Path, to: &Path) -> Result<(), AdapterError> {
    let adapter = StoredAdapter::read(from)?;
    let staged = StagedDirectory::create(to, false, &ADAPTER_DIRECTORY)?;
    adapter.write(staged.path())?;
    if let Some(head) = StoredHead::read(from)? {
        head.write(staged.path())?;
    }
    if let Some(provenance) = Provenance::read(from)? {
        provenance.write(staged.path())?;
    }
    staged.commit()
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("usage: rewrite_adapter FROM TO");
        return ExitCode::from(2);
    };
    match rewrite(Path::new(from), Path::new(to)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
