//! Layer norms of the encoder that were trained with an adapter, as Houlsby et al. 2019 (§2.1) do.
//!
//! The library has no place for them and ignores the file. Its tensors have the names that the
//! base's own weights file gives them, without the model's prefix.

use std::collections::BTreeMap;
use std::path::Path;

use adaptkit_encoder::{BaseModule, Family, LayerModule, Place, Site};

use super::LAYER_NORMS;
use super::adapter::StoredNorm;
use super::metadata::ModelReference;
use super::tensors::{TensorFile, write_tensors};
use crate::error::AdapterError;

/// Layers beyond which no name is looked for.
const LAYERS: usize = 1024;

/// The name of the norm at a place in a family's files.
fn norm_name(family: Family, place: Place) -> String {
    let module = match place.site {
        Site::Attention => LayerModule::AttentionNorm,
        Site::Output => LayerModule::FeedForwardNorm,
    };
    // Every family has both norms.
    family.module_name(BaseModule::Layer(place.layer, module)).unwrap_or_default()
}

fn family(model: &ModelReference) -> Result<Family, AdapterError> {
    Family::from_model_type(&model.model_type).ok_or_else(|| AdapterError::UnsupportedModelType {
        model_type: model.model_type.clone(),
        known: String::from("those whose adapters are read"),
    })
}

/// The norms in `directory`, none where there is no such file.
pub(super) fn read(
    directory: &Path,
    model: &ModelReference,
) -> Result<BTreeMap<Place, StoredNorm>, AdapterError> {
    let mut norms = BTreeMap::new();
    let Some(file) = TensorFile::open(directory, &[LAYER_NORMS])? else {
        return Ok(norms);
    };
    let family = family(model)?;
    let mut names = file.names();
    let places = (0..LAYERS).flat_map(|layer| Site::ALL.map(|site| Place::new(layer, site)));
    for place in places {
        if names.is_empty() {
            break;
        }
        let [weight, bias] =
            ["weight", "bias"].map(|part| format!("{}.{part}", norm_name(family, place)));
        if !names.contains(&weight) && !names.contains(&bias) {
            continue;
        }
        let shape = [model.hidden_size];
        let reason = "it is a layer norm of the encoder";
        let norm = StoredNorm {
            weight: file.read(&weight, &shape, reason)?,
            bias: file.read(&bias, &shape, reason)?,
        };
        names.retain(|name| *name != weight && *name != bias);
        norms.insert(place, norm);
    }
    match names.first() {
        Some(name) => Err(file.unexpected(name, "it is no layer norm of such an encoder's layers")),
        None => Ok(norms),
    }
}

/// Writes the norms into `directory`; no file where there are none.
pub(super) fn write(
    directory: &Path,
    model: &ModelReference,
    norms: &BTreeMap<Place, StoredNorm>,
) -> Result<(), AdapterError> {
    if norms.is_empty() {
        return Ok(());
    }
    let family = family(model)?;
    let tensors = norms.iter().flat_map(|(place, norm)| {
        let name = norm_name(family, *place);
        let parts = [("weight", &norm.weight), ("bias", &norm.bias)];
        parts.map(|(part, values)| (format!("{name}.{part}"), vec![values.len()], &values[..]))
    });
    write_tensors(&directory.join(LAYER_NORMS), tensors)
}
