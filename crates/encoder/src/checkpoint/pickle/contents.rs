//! What the pickles of PyTorch's files are read for. Each function returns with its result the bytes
//! that follow the pickle: files of the old format have several pickles, one after another.

use std::collections::HashSet;

use super::PickleError::{Damaged, Refused};
use super::{Compound, Machine, PickledTensor, Result, Value};
use crate::error::quoted;

/// Tensors by name.
type Named<'a> = Vec<(&'a str, PickledTensor<'a>)>;

/// Runs the pickle that `bytes` begin with.
fn run(bytes: &[u8]) -> Result<(Machine<'_>, Value)> {
    let mut machine = Machine { rest: bytes, ..Machine::default() };
    let value = machine.run()?;
    Ok((machine, value))
}

/// The tensors of a pickled state dictionary, in its order, each name once.
pub(in crate::checkpoint) fn state_dictionary(bytes: &[u8]) -> Result<(Named<'_>, &[u8])> {
    let (machine, value) = run(bytes)?;
    let Some(Compound::Dictionary(entries)) = machine.compound(&value) else {
        let kind = machine.kind(&value);
        return Err(Refused(format!("it holds {kind}, not a dictionary of tensors")));
    };
    let mut tensors = Vec::with_capacity(entries.len());
    let mut names = HashSet::new();
    for (name, value) in entries {
        let Some(Compound::Text(name)) = machine.compound(name) else {
            let kind = machine.kind(name);
            return Err(Refused(format!("its dictionary has a key that is {kind}, not a name")));
        };
        let Some(Compound::Tensor(tensor)) = machine.compound(value) else {
            let (name, kind) = (quoted(name), machine.kind(value));
            return Err(Refused(format!(
                "its entry {name} is {kind}, not a tensor: save the state dictionary of the model alone"
            )));
        };
        if !names.insert(*name) {
            return Err(Damaged(format!("the tensor {} is there twice", quoted(name))));
        }
        tensors.push((*name, tensor.clone()));
    }
    Ok((tensors, machine.rest))
}

/// Whether numbers have their little end first, from what the old format says of the machine.
pub(in crate::checkpoint) fn byte_order(bytes: &[u8]) -> Result<(bool, &[u8])> {
    let (machine, value) = run(bytes)?;
    let entries = match machine.compound(&value) {
        Some(Compound::Dictionary(entries)) => &entries[..],
        _ => &[],
    };
    let is_order = |key| matches!(machine.compound(key), Some(Compound::Text("little_endian")));
    match entries.iter().find(|(key, _)| is_order(key)) {
        Some((_, Value::Truth(little))) => Ok((*little, machine.rest)),
        _ => Err(Damaged("it does not say in which order the bytes of its numbers are".into())),
    }
}

/// A list of names, each once: the storages that follow.
pub(in crate::checkpoint) fn names(bytes: &[u8]) -> Result<(Vec<&str>, &[u8])> {
    let (machine, value) = run(bytes)?;
    let wrong = || Damaged("it does not list the storages that it has".into());
    let Some(Compound::List(values)) = machine.compound(&value) else { return Err(wrong()) };
    let name = |value| match machine.compound(value) {
        Some(Compound::Text(name)) => Ok(*name),
        _ => Err(wrong()),
    };
    let names = values.iter().map(name).collect::<Result<Vec<&str>>>()?;
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(**name)) {
        Some(twice) => Err(Damaged(format!("the storage {} is there twice", quoted(twice)))),
        None => Ok((names, machine.rest)),
    }
}
