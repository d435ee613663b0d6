//! Where the parts of an adapter or a fusion lie that the library did not save into its own folder.
//!
//! | saved by | lies in |
//! |---|---|
//! | `save_adapter_fusion(DIR, "a,b", with_head="task")` | `DIR`: the fusion and the head; its members elsewhere, by custom in folders of `DIR` or beside it |
//! | `save_all_adapters(DIR)`, `save_all_adapter_fusions(DIR)`, `save_all_heads(DIR)`, a trainer's checkpoint | `DIR/a`, `DIR/b`, `DIR/a,b`, `DIR/task` |
//! | `save_head(OTHER, "task")` | `OTHER`: the head alone |

use std::path::{Path, PathBuf};

use super::head::StoredHead;
use super::{ADAPTER_CONFIG, ADAPTER_SETUP, FUSION_CONFIG, HEAD_CONFIG, json};
use crate::error::AdapterError;

/// Entries of a directory that are looked at.
const MOST_ENTRIES: usize = 1000;

/// A head that lies alone in a folder near an adapter or a fusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearbyHead {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub directory: PathBuf,
}

/// The folders in a directory, sorted by name.
fn folders(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().take(MOST_ENTRIES);
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The directory above another one.
fn above(directory: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(directory).ok()?;
    whole.parent().map(Path::to_path_buf)
}

/// The heads that lie alone in folders of a directory.
pub(super) fn heads_in(directory: &Path) -> Vec<NearbyHead> {
    let alone = folders(directory).into_iter().filter(|folder| StoredHead::is_alone_at(folder));
    alone.filter_map(named).collect()
}

/// The heads that lie in the folders of adapters in a directory.
pub(super) fn heads_of_adapters_in(directory: &Path) -> Vec<NearbyHead> {
    let both = |folder: &PathBuf| {
        folder.join(ADAPTER_CONFIG).exists() && folder.join(HEAD_CONFIG).exists()
    };
    folders(directory).into_iter().filter(both).filter_map(named).collect()
}

/// The head in a folder, as far as it has a name.
pub(super) fn named(folder: PathBuf) -> Option<NearbyHead> {
    let map = json::read_object(&folder.join(HEAD_CONFIG)).ok()?;
    let own = || folder.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = map.get("name").and_then(|name| name.as_str()).map(str::to_owned).or_else(own)?;
    Some(NearbyHead { name, directory: folder })
}

/// Heads in folders of a directory and in folders beside it.
pub(super) fn heads_around(directory: &Path) -> Vec<NearbyHead> {
    let mut heads = heads_in(directory);
    heads.extend(above(directory).iter().flat_map(|above| heads_in(above)));
    heads
}

/// Where the parts of a fusion are.
pub(super) struct FusionFolders {
    /// The fusion itself.
    pub(super) fusion: PathBuf,
    /// Where folders of members are looked for, one after the other.
    pub(super) members: Vec<PathBuf>,
    /// The folder that everything was saved into at once, if it was: a head alone in it is the
    /// fusion's.
    pub(super) all: Option<PathBuf>,
}

impl FusionFolders {
    /// Whether a directory holds a fusion, or all that a model with a fusion has.
    pub(super) fn are_at(directory: &Path) -> bool {
        directory.join(FUSION_CONFIG).exists()
            || (!directory.join(ADAPTER_CONFIG).exists() && fusions_in(directory).next().is_some())
    }

    /// The parts of the fusion in a directory or in its only folder with one.
    pub(super) fn find(directory: &Path) -> Result<FusionFolders, AdapterError> {
        if directory.join(FUSION_CONFIG).exists() {
            let all = above(directory).filter(|_| is_named_by_its_members(directory));
            let mut members = vec![directory.to_path_buf()];
            members.extend(above(directory));
            return Ok(FusionFolders { fusion: directory.to_path_buf(), members, all });
        }
        let fusions: Vec<PathBuf> = fusions_in(directory).collect();
        match &fusions[..] {
            [fusion] => {
                let all = directory.to_path_buf();
                Ok(FusionFolders {
                    fusion: fusion.clone(),
                    members: vec![all.clone(), fusion.clone()],
                    all: Some(all),
                })
            }
            _ => Err(AdapterError::SeveralFusions {
                path: directory.to_path_buf(),
                folders: fusions.iter().map(|folder| name_of(folder)).collect(),
            }),
        }
    }
}

fn name_of(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn fusions_in(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let folders = folders(directory).into_iter();
    folders.filter(|f| f.join(FUSION_CONFIG).exists() && !f.join(ADAPTER_SETUP).exists())
}

/// Whether a fusion's folder is called as the fusion, as where everything was saved at once.
fn is_named_by_its_members(directory: &Path) -> bool {
    let map = json::read_object(&directory.join(FUSION_CONFIG)).unwrap_or_default();
    let folder = std::path::absolute(directory).map(|path| name_of(&path)).unwrap_or_default();
    map.get("name").and_then(|name| name.as_str()) == Some(&folder)
}
