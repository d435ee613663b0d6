//! A fusion as the library's `save_adapter_setup` lays it out.
//!
//! | path | holds |
//! |---|---|
//! | `adapter_setup.json` | which adapters are fused, and the head |
//! | `a,b,c/` | `adapter_fusion_config.json` and the fusion's tensors |
//! | `a/`, `b/`, `c/` | the members, each an adapter's directory |
//! | `HEAD/` | the head |
//!
//! Directories without `adapter_setup.json` that the library's other functions leave, and its
//! trainer, are read too: see [`nearby`](super::nearby).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use adaptkit_encoder::{Place, Site};
use serde_json::{Value, json};

use super::head::StoredHead;
use super::metadata::{ModelReference, WRITTEN_VERSION, check_name};
use super::nearby::{self, FusionFolders, NearbyHead};
use super::tensor_names::TensorNames;
use super::tensors::{TensorFile, write_tensors};
use super::{
    ADAPTER_CONFIG, ADAPTER_SETUP, FUSION_CONFIG, FUSION_PICKLE, FUSION_WEIGHTS, HEAD_CONFIG,
    StoredAdapter, json,
};
use crate::config::FusionConfig;
use crate::error::AdapterError;

/// Bytes of the longest name that file systems take.
const LONGEST_NAME: usize = 255;

/// The attention of a fusion at one place, matrices [hidden, hidden] in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAttention {
    /// Q
    pub query_weight: Vec<f32>,
    /// `[hidden]`
    pub query_bias: Vec<f32>,
    /// K
    pub key_weight: Vec<f32>,
    /// `[hidden]`
    pub key_bias: Vec<f32>,
    /// V, if there is one.
    pub value_weight: Option<Vec<f32>>,
}

/// A fusion: its members, its configuration and its attention at every place.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredFusion {
    /// The members in their order, which the last one's wiring makes part of what is computed.
    pub members: Vec<StoredAdapter>,
    /// Its configuration.
    pub config: FusionConfig,
    /// The encoder it was made for.
    pub model: ModelReference,
    /// The attention by place.
    pub attention: BTreeMap<Place, StoredAttention>,
}

/// A fusion without its members: what a folder that is named by them holds.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredFuse {
    /// The members' names, in their order.
    pub names: Vec<String>,
    /// Its configuration.
    pub config: FusionConfig,
    /// The encoder it was made for.
    pub model: ModelReference,
    /// The attention by place.
    pub attention: BTreeMap<Place, StoredAttention>,
}

impl StoredAttention {
    /// How many numbers it has.
    pub fn parameters(&self) -> usize {
        self.parts().iter().map(|(_, values)| values.len()).sum()
    }

    fn parts(&self) -> Vec<(&'static str, &[f32])> {
        let mut parts: Vec<(&'static str, &[f32])> = vec![
            ("query.weight", &self.query_weight),
            ("query.bias", &self.query_bias),
            ("key.weight", &self.key_weight),
            ("key.bias", &self.key_bias),
        ];
        parts.extend(self.value_weight.as_deref().map(|value| ("value.weight", value)));
        parts
    }
}

impl StoredFusion {
    /// The names of the members, joined as the library does.
    pub fn name(&self) -> String {
        let names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
        names.join(",")
    }

    /// The same without the members.
    pub fn fuse(&self) -> StoredFuse {
        StoredFuse {
            names: self.members.iter().map(|member| member.name.clone()).collect(),
            config: self.config.clone(),
            model: self.model.clone(),
            attention: self.attention.clone(),
        }
    }

    /// Numbers that training changes.
    pub fn parameters(&self) -> usize {
        let parts = self.attention.values().flat_map(StoredAttention::parts);
        parts.map(|(_, values)| values.len()).sum()
    }

    /// Leaves members and attention out of these layers.
    pub fn leave_out(&mut self, layers: &BTreeSet<usize>) {
        self.attention.retain(|place, _| !layers.contains(&place.layer));
        for member in &mut self.members {
            member.leave_out(layers);
        }
    }

    /// Whether a directory holds a fusion: a setup of one, the folder of one, or all that a model
    /// with one has.
    pub fn is_at(directory: &Path) -> bool {
        directory.join(ADAPTER_SETUP).exists() || FusionFolders::are_at(directory)
    }

    /// Reads the fusion in `directory`, which the library or [`StoredFusion::write`] wrote, and the
    /// head that answers for it, if there is one.
    ///
    /// # Errors
    /// As [`StoredFusion::read_members`] and [`StoredFusion::read_head`].
    pub fn read(directory: &Path) -> Result<(StoredFusion, Option<StoredHead>), AdapterError> {
        let fusion = StoredFusion::read_members(directory)?;
        Ok((fusion, StoredFusion::read_head(directory, None)?))
    }

    /// Reads the fusion in `directory` with its members.
    ///
    /// # Errors
    /// What is missing, wrong or not supported; a setup that is no fusion; members of one name, or
    /// in another order than the fusion has them.
    pub fn read_members(directory: &Path) -> Result<StoredFusion, AdapterError> {
        let setup_path = directory.join(ADAPTER_SETUP);
        let (fuse, folder, roots) = if setup_path.exists() {
            let setup = json::read_object(&setup_path)?;
            let names = member_names(&setup_path, setup.get("adapter_setup"))?;
            let fuse = StoredFuse::read_in(directory, &setup_path, &names)?;
            (fuse, directory.to_path_buf(), vec![directory.to_path_buf()])
        } else {
            let FusionFolders { fusion, members, .. } = FusionFolders::find(directory)?;
            let fuse = StoredFuse::read(&fusion)?;
            distinct(&fuse.names.iter().map(String::as_str).collect::<Vec<_>>())?;
            (fuse, fusion, members)
        };
        let StoredFuse { names, config, model, attention } = fuse;
        let mut members = Vec::new();
        for name in &names {
            let folders = roots.iter().map(|root| root.join(name));
            let Some(found) = folders.clone().find(|f| f.join(ADAPTER_CONFIG).exists()) else {
                // A folder that is there without the file is told of by what reads it.
                let there = folders.clone().find(|folder| folder.exists());
                if let Some(there) = there {
                    StoredAdapter::read(&there)?;
                }
                let (name, looked_in) = (name.clone(), folders.collect());
                return Err(AdapterError::NoMember { path: folder, name, looked_in });
            };
            let member = StoredAdapter::read(&found)?;
            if member.name != *name {
                let path = found.join(ADAPTER_CONFIG);
                let (found, expected) = (Value::from(member.name), format!("\"{name}\""));
                return Err(json::field_error(&path, "name", Some(&found), &expected));
            }
            member.model.check("adapter", name, &model.model_type, model.hidden_size)?;
            members.push(member);
        }
        Ok(StoredFusion { members, config, model, attention })
    }

    /// Reads the head of the fusion in `directory`: the one called `wanted`, or that which the setup
    /// names, or the one in the fusion's own folder, or the only one that was saved with it.
    ///
    /// # Errors
    /// If it is not clear which head answers, or no head is called so, or it cannot be read.
    pub fn read_head(
        directory: &Path,
        wanted: Option<&str>,
    ) -> Result<Option<StoredHead>, AdapterError> {
        let setup_path = directory.join(ADAPTER_SETUP);
        let (own, saved_along, others) = if setup_path.exists() {
            let own = setup_head(directory, &setup_path)?;
            (own, nearby::heads_in(directory), nearby::heads_of_adapters_in(directory))
        } else {
            let FusionFolders { fusion, members, all } = FusionFolders::find(directory)?;
            let mut saved_along = nearby::heads_in(&fusion);
            saved_along.extend(all.iter().flat_map(|all| nearby::heads_in(all)));
            let mut others: Vec<NearbyHead> =
                members.iter().flat_map(|root| nearby::heads_of_adapters_in(root)).collect();
            if all.is_none() {
                others.extend(members.iter().skip(1).flat_map(|root| nearby::heads_in(root)));
            }
            let has_head = |folder: &PathBuf| folder.join(HEAD_CONFIG).exists();
            let own = [Some(fusion), all].into_iter().flatten().find(has_head);
            (own, saved_along, others)
        };
        let heads = |own: &Option<PathBuf>| -> Vec<NearbyHead> {
            let own = own.clone().and_then(nearby::named).into_iter();
            own.chain(saved_along.iter().chain(&others).cloned()).collect()
        };
        let folder = match (wanted, own) {
            (Some(name), own) => {
                let mut heads = heads(&own);
                match heads.iter().position(|head| head.name == name) {
                    Some(found) => heads.swap_remove(found).directory,
                    None => {
                        let (path, name) = (directory.to_path_buf(), name.to_owned());
                        return Err(AdapterError::NoSuchHead { path, name, heads });
                    }
                }
            }
            (None, Some(own)) => own,
            (None, None) => match (&saved_along[..], &others[..]) {
                ([], []) => return Ok(None),
                ([only], _) => only.directory.clone(),
                _ => {
                    let (path, heads) = (directory.to_path_buf(), heads(&None));
                    return Err(AdapterError::HeadUnclear { path, what: "a fusion", heads });
                }
            },
        };
        StoredHead::read(&folder)
    }

    /// Whether a fusion of members of these names, with a head of that name, can be written: a
    /// command asks this before its long work.
    ///
    /// # Errors
    /// A name that stands for two members or that a file cannot carry; names that are too long
    /// together, as they are the name of the fusion's folder.
    pub fn check_names(members: &[&str], head: &str) -> Result<(), AdapterError> {
        for name in members {
            check_name("an adapter", name)?;
        }
        check_name("a head", head)?;
        distinct(members)?;
        let name = members.join(",");
        match name.len() > LONGEST_NAME {
            false => Ok(()),
            true => Err(AdapterError::Name {
                what: "a fusion",
                name,
                reason: "it is made up of the members' names, and no folder's name may have more \
                         than 255 bytes: give members shorter names",
            }),
        }
    }

    /// Writes the fusion, its members and its head into `directory`, which exists or is created.
    ///
    /// # Errors
    /// If two members have one name, numbers do not fit the configuration, or a file cannot be
    /// written.
    pub fn write(&self, directory: &Path, head: &StoredHead) -> Result<(), AdapterError> {
        let names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
        StoredFusion::check_names(&names, &head.name)?;
        for member in &self.members {
            member.write(&directory.join(&member.name))?;
        }
        self.fuse().write(&directory.join(self.name()))?;
        head.write(&directory.join(&head.name))?;
        let single = |name: &&str| json!({"type": "single", "children": [name]});
        let children: Vec<Value> = names.iter().map(single).collect();
        let setup = json!({
            "adapter_setup": {"type": "Fuse", "children": children},
            "head_setup": head.name,
            "version": WRITTEN_VERSION,
        });
        json::write_in_order(&directory.join(ADAPTER_SETUP), &setup)
    }
}

impl StoredFuse {
    /// The names of the members, joined as the library does.
    pub fn name(&self) -> String {
        self.names.join(",")
    }

    /// Whether a directory holds a fusion without its members, as the library's
    /// `save_adapter_fusion` leaves it.
    pub fn is_alone_at(directory: &Path) -> bool {
        directory.join(FUSION_CONFIG).exists()
    }

    /// Reads the fusion in `directory`, whose members are elsewhere.
    ///
    /// # Errors
    /// What is missing, wrong or not supported.
    pub fn read(directory: &Path) -> Result<StoredFuse, AdapterError> {
        let path = directory.join(FUSION_CONFIG);
        let map = json::read_object(&path)?;
        let found = map.get("adapter_names");
        let names = match found {
            // Old files have them in the fusion's name alone.
            None => Some(json::text(&path, &map, "name")?.split(',').map(str::to_owned).collect()),
            Some(Value::Array(found)) if !found.is_empty() => {
                found.iter().map(|name| name.as_str().map(str::to_owned)).collect()
            }
            _ => None,
        };
        let expected = "a list of adapters' names";
        let names: Vec<String> =
            names.ok_or_else(|| json::field_error(&path, "adapter_names", found, expected))?;
        for name in &names {
            check_name("an adapter", name)?;
        }
        let model = ModelReference::read(&path, &map)?;
        let config = FusionConfig::from_json(map.get("config").unwrap_or(&Value::Null))
            .map_err(|source| AdapterError::ConfigFile { path: path.clone(), source })?;
        let attention = read_attention(directory, &names.join(","), &config, &model)?;
        Ok(StoredFuse { names, config, model, attention })
    }

    /// Reads the fusion of the named members in a setup's directory.
    pub(super) fn read_in(
        directory: &Path,
        setup: &Path,
        names: &[String],
    ) -> Result<StoredFuse, AdapterError> {
        let folder = directory.join(names.join(","));
        let path = folder.join(FUSION_CONFIG);
        if !path.exists() {
            let hint = format!(": {} asks for it", setup.display());
            return Err(AdapterError::MissingFile { path: folder, expected: FUSION_CONFIG, hint });
        }
        // Names and order first: what they are wrong in, the tensors' names are too.
        let map = json::read_object(&path)?;
        let found = map.get("adapter_names");
        if found.is_some_and(|found| *found != json!(names)) {
            let expected = format!("{names:?}, the names and order of its folder");
            return Err(json::field_error(&path, "adapter_names", found, &expected));
        }
        StoredFuse::read(&folder)
    }

    /// Writes the fusion into `directory`, which exists or is created.
    pub(super) fn write(&self, directory: &Path) -> Result<(), AdapterError> {
        let tensor_names = TensorNames::of(&self.model.model_type)?;
        let hidden = self.model.hidden_size;
        let mut tensors = Vec::new();
        for (&place, attention) in &self.attention {
            for (part, values) in attention.parts() {
                let shape = shape_of(part, hidden);
                if values.len() != shape.iter().product::<usize>() {
                    let length = values.len();
                    let reason =
                        format!("{place}: {part} has {length} values, its shape is {shape:?}");
                    return Err(AdapterError::Inconsistent {
                        what: "fusion",
                        name: self.name(),
                        reason,
                    });
                }
                tensors.push((tensor_names.fusion(place, &self.name(), part), shape, values));
            }
        }
        write_tensors(&directory.join(FUSION_WEIGHTS), tensors)?;
        let mut around = self.model.around(&self.name(), self.config.to_json())?;
        around["adapter_names"] = json!(self.names);
        json::write(&directory.join(FUSION_CONFIG), around)
    }
}

/// The folder of the head that a setup names.
fn setup_head(directory: &Path, path: &Path) -> Result<Option<PathBuf>, AdapterError> {
    let setup = json::read_object(path)?;
    let folder = match setup.get("head_setup") {
        None | Some(Value::Null) => return Ok(None),
        // The head of a model whose heads cannot be exchanged.
        Some(Value::Bool(true)) => directory.to_path_buf(),
        Some(_) => {
            let name = json::text(path, &setup, "head_setup")?;
            check_name("a head", &name)?;
            directory.join(name)
        }
    };
    match folder.join(HEAD_CONFIG).exists() || StoredHead::read(&folder)?.is_some() {
        true => Ok(Some(folder)),
        false => {
            let hint = format!(": {} asks for it", path.display());
            Err(AdapterError::MissingFile { path: folder, expected: "head", hint })
        }
    }
}

/// Refuses two members of one name.
fn distinct(names: &[&str]) -> Result<(), AdapterError> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(**name)) {
        Some(name) => Err(AdapterError::MemberUnsuited {
            name: (*name).to_owned(),
            reason: "another member has the same name",
        }),
        None => Ok(()),
    }
}

/// The names that `adapter_setup` fuses.
fn member_names(path: &Path, setup: Option<&Value>) -> Result<Vec<String>, AdapterError> {
    let wrong = |field: &str, found: Option<&Value>| {
        json::field_error(path, field, found, "a Fuse of single adapters, without compositions")
    };
    let Some(Value::Object(map)) = setup else { return Err(wrong("adapter_setup", setup)) };
    if map.get("type").and_then(Value::as_str) != Some("Fuse") {
        return Err(wrong("adapter_setup.type", map.get("type")));
    }
    let Some(Value::Array(children)) = map.get("children").filter(|c| c != &&json!([])) else {
        return Err(wrong("adapter_setup.children", map.get("children")));
    };
    let name = |child: &Value| match (&child["type"], &child["children"]) {
        (Value::String(single), Value::Array(names)) if single == "single" => match &names[..] {
            [Value::String(name)] => Ok(name.clone()),
            _ => Err(wrong("adapter_setup.children", Some(child))),
        },
        _ => Err(wrong("adapter_setup.children", Some(child))),
    };
    let names = children.iter().map(name).collect::<Result<Vec<String>, _>>()?;
    for name in &names {
        check_name("an adapter", name)?;
    }
    distinct(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(names)
}

fn shape_of(part: &str, hidden: usize) -> Vec<usize> {
    if part.ends_with("bias") { vec![hidden] } else { vec![hidden, hidden] }
}

fn read_attention(
    folder: &Path,
    name: &str,
    config: &FusionConfig,
    model: &ModelReference,
) -> Result<BTreeMap<Place, StoredAttention>, AdapterError> {
    let file = TensorFile::open(folder, &[FUSION_WEIGHTS, FUSION_PICKLE])?;
    let file = file.ok_or_else(|| AdapterError::MissingFile {
        path: folder.to_path_buf(),
        expected: "model_adapter_fusion.safetensors or pytorch_model_adapter_fusion.bin",
        hint: String::new(),
    })?;
    let names = TensorNames::of(&model.model_type)?;
    let all = file.names();
    let mut places: BTreeMap<Place, BTreeMap<&str, &str>> = BTreeMap::new();
    for full in &all {
        // With a fusion the library saves every other whose name begins with this one's.
        if names.is_of_longer_fusion(full, name) {
            continue;
        }
        let (place, part) = names.parse_fusion(full, name).ok_or_else(|| {
            let example = names.fusion(Place::new(0, Site::Output), name, "query.weight");
            file.unexpected(full, format!("a fusion of these members has names like {example}"))
        })?;
        if let Some(other) = places.entry(place).or_default().insert(part, full) {
            return Err(file.unexpected(full, format!("{other} stands for the same part")));
        }
    }
    let mut attention = BTreeMap::new();
    for (place, mut parts) in places {
        let mut take = |part: &str| {
            let reason = format!("the configuration calls for at {place}");
            match parts.remove(part) {
                Some(full) => file.read(full, &shape_of(part, model.hidden_size), &reason),
                None => Err(file.missing(&names.fusion(place, name, part), &reason)),
            }
        };
        let stored = StoredAttention {
            query_weight: take("query.weight")?,
            query_bias: take("query.bias")?,
            key_weight: take("key.weight")?,
            key_bias: take("key.bias")?,
            value_weight: if config.value { Some(take("value.weight")?) } else { None },
        };
        if let Some(full) = parts.values().next() {
            return Err(file.unexpected(full, format!("the configuration has none at {place}")));
        }
        attention.insert(place, stored);
    }
    Ok(attention)
}
