//! Compositions as `adapter_setup.json` has them: an object of `type`, `children` and, for some
//! types, `kwargs`.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::text::shares;
use super::{Block, Composition, CompositionError};
use crate::error::{AdapterError, shown};

/// Objects within objects that are read; the rules of nesting allow fewer.
const DEEPEST: usize = 16;

impl Composition {
    /// The object that the library writes.
    pub(crate) fn to_json(&self) -> Value {
        let children: Vec<Value> = match self {
            Composition::Adapter(name) => vec![json!(name)],
            block => block.children().iter().map(Composition::to_json).collect(),
        };
        let mut object = json!({"type": self.block().class(), "children": children});
        match self {
            Composition::Split { splits, .. } => object["kwargs"] = json!({"splits": splits}),
            Composition::BatchSplit { batch_sizes, .. } => {
                object["kwargs"] = json!({"batch_sizes": batch_sizes});
            }
            Composition::Average { weights, .. } => object["kwargs"] = json!({"weights": weights}),
            _ => {}
        }
        object
    }

    /// The composition that stands in `field` of a file.
    ///
    /// # Errors
    /// Which part of it is wrong, or against the rules of nesting.
    pub(crate) fn from_json(
        path: &Path,
        field: &str,
        json: &Value,
    ) -> Result<Composition, AdapterError> {
        let composition = Reader { path }.read(field, json, 0)?;
        composition
            .check()
            .map_err(|source| AdapterError::CompositionFile { path: path.to_path_buf(), source })?;
        Ok(composition)
    }
}

struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn wrong(&self, field: &str, found: Option<&Value>, expected: &str) -> AdapterError {
        AdapterError::Field {
            path: self.path.to_path_buf(),
            field: field.to_owned(),
            found: shown(found),
            expected: expected.to_owned(),
        }
    }

    fn read(&self, field: &str, json: &Value, depth: usize) -> Result<Composition, AdapterError> {
        let Value::Object(map) = json else {
            return Err(self.wrong(field, Some(json), "an object with type and children"));
        };
        let of = |name: &str| format!("{field}.{name}");
        let class = map.get("type").and_then(Value::as_str);
        let known = [Block::Adapter].into_iter().chain(Block::BLOCKS);
        let Some(block) = known.into_iter().find(|block| class == Some(block.class())) else {
            let expected = "single, Stack, Fuse, Split, Parallel, BatchSplit or Average";
            return Err(self.wrong(&of("type"), map.get("type"), expected));
        };
        if depth > DEEPEST {
            return Err(self.refused(CompositionError::TooDeep { inner: block }));
        }
        let Some(Value::Array(children)) = map.get("children") else {
            return Err(self.wrong(&of("children"), map.get("children"), "a list"));
        };
        if block == Block::Adapter {
            return match &children[..] {
                [Value::String(name)] => Ok(Composition::Adapter(name.clone())),
                _ => Err(self.wrong(&of("children"), map.get("children"), "a list of one name")),
            };
        }
        let read = |(number, child): (usize, &Value)| {
            self.read(&format!("{field}.children.{number}"), child, depth + 1)
        };
        let children = children.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let wholes = |argument: &str| {
            let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
            self.list(field, map, argument, "a list of whole numbers", number)
        };
        Ok(match block {
            Block::Adapter | Block::Stack => Composition::Stack(children),
            Block::Fuse => Composition::Fuse(children),
            Block::Parallel => Composition::Parallel(children),
            Block::Split => Composition::Split { splits: wholes("splits")?, children },
            Block::BatchSplit => {
                Composition::BatchSplit { batch_sizes: wholes("batch_sizes")?, children }
            }
            Block::Average => {
                let expected = "a list of numbers";
                let weights = self.list(field, map, "weights", expected, Value::as_f64)?;
                let weights = shares(&children, &weights).map_err(|source| self.refused(source))?;
                Composition::Average { weights, children }
            }
        })
    }

    fn list<T>(
        &self,
        field: &str,
        map: &Map<String, Value>,
        argument: &str,
        expected: &str,
        number: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, AdapterError> {
        let found = map.get("kwargs").and_then(|kwargs| kwargs.get(argument));
        let numbers = match found {
            Some(Value::Array(values)) => values.iter().map(number).collect(),
            _ => None,
        };
        numbers.ok_or_else(|| self.wrong(&format!("{field}.kwargs.{argument}"), found, expected))
    }

    fn refused(&self, source: CompositionError) -> AdapterError {
        AdapterError::CompositionFile { path: self.path.to_path_buf(), source }
    }
}
