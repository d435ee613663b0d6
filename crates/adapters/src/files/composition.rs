//! A composition as the library's `save_adapter_setup` lays it out.
//!
//! | path | holds |
//! |---|---|
//! | `adapter_setup.json` | the composition, and which heads answer |
//! | `a/`, `b/`, … | its adapters, each an adapter's directory |
//! | `b,c/` | each fusion in it, named by its members |
//! | `HEAD/` | each head; an adapter's own may lie beside it |

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::fusion::StoredFuse;
use super::head::StoredHead;
use super::metadata::{WRITTEN_VERSION, check_name};
use super::{ADAPTER_CONFIG, ADAPTER_SETUP, StoredAdapter, json};
use crate::composition::{Block, Composition, CompositionError};
use crate::error::AdapterError;

/// What compositions are made of, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredParts {
    /// Adapters.
    pub adapters: BTreeMap<String, StoredAdapter>,
    /// Fusions, under their members' names with commas between.
    pub fusions: BTreeMap<String, StoredFuse>,
    /// Heads; that of a fusion also under its members' names.
    pub heads: BTreeMap<String, StoredHead>,
}

/// A composition with all that it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredComposition {
    /// The composition.
    pub composition: Composition,
    /// Which heads answer, where it is said: one, one for each answer in parallel, or chosen by row.
    pub head_setup: Option<Composition>,
    /// Its adapters, fusions and heads.
    pub parts: StoredParts,
}

impl StoredComposition {
    /// Whether a directory holds a setup that is more than a [fusion](super::StoredFusion) of
    /// adapters. What its file cannot be read for, reading says.
    pub fn is_at(directory: &Path) -> bool {
        let Ok(setup) = json::read_object(&directory.join(ADAPTER_SETUP)) else { return false };
        let of = |value: &Value, class: Block| value["type"] == class.class();
        let setup = setup.get("adapter_setup").unwrap_or(&Value::Null);
        match setup["children"].as_array() {
            Some(children) if of(setup, Block::Fuse) => {
                children.iter().any(|child| child["type"].is_string() && !of(child, Block::Adapter))
            }
            _ => setup["type"].is_string(),
        }
    }

    /// Reads the composition in `directory`, which the library or [`StoredComposition::write`]
    /// wrote, with the heads that are there.
    ///
    /// # Errors
    /// What is missing, wrong, not supported, or against the rules of nesting.
    pub fn read(directory: &Path) -> Result<StoredComposition, AdapterError> {
        let path = directory.join(ADAPTER_SETUP);
        let setup = json::read_object(&path)?;
        let object = setup.get("adapter_setup").unwrap_or(&Value::Null);
        let composition = Composition::from_json(&path, "adapter_setup", object)?;
        let mut parts = StoredParts::default();
        for name in composition.names() {
            let folder = directory.join(name);
            let adapter = StoredAdapter::read(&folder)?;
            if adapter.name != name {
                let (found, expected) = (Value::from(adapter.name), format!("\"{name}\""));
                let path = folder.join(ADAPTER_CONFIG);
                return Err(json::field_error(&path, "name", Some(&found), &expected));
            }
            parts.adapters.insert(name.to_owned(), adapter);
            let head = StoredHead::read(&folder)?;
            parts.heads.extend(head.map(|head| (name.to_owned(), head)));
        }
        for names in composition.fusions() {
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            let fuse = StoredFuse::read_in(directory, &path, &names)?;
            parts.fusions.insert(fuse.name(), fuse);
        }
        let head_setup = match setup.get("head_setup") {
            None | Some(Value::Null) => None,
            // The head of a model whose heads cannot be exchanged lies in the directory itself.
            Some(Value::Bool(true)) => {
                let head = StoredHead::read(directory)?;
                let name = head.as_ref().map(|head| Composition::Adapter(head.name.clone()));
                parts.heads.extend(head.map(|head| (head.name.clone(), head)));
                name
            }
            Some(found) => Some(head_setup(&path, found)?),
        };
        for name in head_setup.iter().flat_map(Composition::names) {
            check_name("a head", name)?;
            if parts.heads.contains_key(name) {
                continue;
            }
            let folder = directory.join(name);
            let hint = format!(": {} asks for it", path.display());
            let missing =
                AdapterError::MissingFile { path: folder.clone(), expected: "head", hint };
            parts.heads.insert(name.to_owned(), StoredHead::read(&folder)?.ok_or(missing)?);
        }
        let composition = StoredComposition { composition, head_setup, parts };
        composition.check_heads(&path)?;
        Ok(composition)
    }

    /// Writes the composition and all of its parts into `directory`, which exists or is created.
    ///
    /// # Errors
    /// If a part is missing, numbers do not fit a configuration, or a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<(), AdapterError> {
        self.composition.check()?;
        for name in self.composition.names() {
            let adapter = self.parts.adapter(name)?;
            let renamed;
            let adapter = match adapter.name == name {
                true => adapter,
                false => {
                    renamed = StoredAdapter { name: name.to_owned(), ..adapter.clone() };
                    &renamed
                }
            };
            adapter.write(&directory.join(name))?;
        }
        for names in self.composition.fusions() {
            let name = names.join(",");
            self.parts.fusion(&name)?.write(&directory.join(name))?;
        }
        let mut names = self.composition.names();
        names.extend(self.head_setup.iter().flat_map(Composition::names));
        names.sort_unstable();
        names.dedup();
        for name in names {
            if let Some(head) = self.parts.heads.get(name) {
                let head = StoredHead { name: name.to_owned(), ..head.clone() };
                head.write(&directory.join(name))?;
            }
        }
        let setup = json!({
            "adapter_setup": self.composition.to_json(),
            "head_setup": self.head_setup.as_ref().map(head_json),
            "version": WRITTEN_VERSION,
        });
        json::write_in_order(&directory.join(ADAPTER_SETUP), &setup)
    }

    /// That there is a head for each answer, where it is said which answer.
    fn check_heads(&self, path: &Path) -> Result<(), AdapterError> {
        let Some(setup) = &self.head_setup else { return Ok(()) };
        let fits = self.composition.fits(setup);
        let expected = "a head, or one for each answer that the adapters give, chosen as they are";
        let found = head_json(setup);
        match fits {
            true => Ok(()),
            false => Err(json::field_error(path, "head_setup", Some(&found), expected)),
        }
    }
}

impl StoredParts {
    /// An adapter by its name.
    ///
    /// # Errors
    /// If there is none.
    pub fn adapter(&self, name: &str) -> Result<&StoredAdapter, CompositionError> {
        let missing = || CompositionError::NoAdapter { name: name.to_owned() };
        self.adapters.get(name).ok_or_else(missing)
    }

    /// A fusion by its members' names.
    ///
    /// # Errors
    /// If there is none.
    pub fn fusion(&self, name: &str) -> Result<&StoredFuse, CompositionError> {
        let missing = || CompositionError::NoFusion { name: name.to_owned() };
        self.fusions.get(name).ok_or_else(missing)
    }
}

/// Heads in the form that they have in a file: a name, a list of names, or chosen by row.
fn head_setup(path: &Path, found: &Value) -> Result<Composition, AdapterError> {
    let name = |value: &Value| value.as_str().map(|name| Composition::Adapter(name.to_owned()));
    let wrong = || {
        let expected = "a head's name, a list of names, or an object of them; a model without \
                        exchangeable heads is not supported";
        json::field_error(path, "head_setup", Some(found), expected)
    };
    match found {
        Value::String(_) => name(found).ok_or_else(wrong),
        Value::Array(names) => {
            let names: Option<Vec<Composition>> = names.iter().map(name).collect();
            names.filter(|names| !names.is_empty()).map(Composition::Parallel).ok_or_else(wrong)
        }
        Value::Object(_) => Composition::from_json(path, "head_setup", found),
        _ => Err(wrong()),
    }
}

fn head_json(setup: &Composition) -> Value {
    match setup {
        Composition::Adapter(name) => json!(name),
        Composition::Parallel(heads) => {
            json!(heads.iter().filter_map(Composition::last).collect::<Vec<_>>())
        }
        other => other.to_json(),
    }
}
