//! What the members of a fusion are attended to, as a table, JSON and a picture.

use std::fmt::Write as _;

use adaptkit::adapters::{MeanAttention, PlaceAttention};
use adaptkit::encoder::foreign_text::said;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::picture::{Cell, HeatMap, PictureFile};

/// The mean weights for people: a line for each layer, or each of its two places, a column for each
/// member, and the means over layers.
pub(crate) fn table(attention: &MeanAttention) -> String {
    let names: Vec<String> = attention.members.iter().map(said).collect();
    let mut table = format!("mean attention over {} tokens\n", attention.positions);
    let lines = attention.layers.iter().map(|place| (place_name(attention, place), &place.weights));
    let overall: Vec<Option<f64>> = attention.overall().into_iter().map(Some).collect();
    let lines: Vec<_> = lines.chain([("mean".to_owned(), &overall)]).collect();
    let first = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max("layer".len());
    let _ = write!(table, "{:>first$}", "layer");
    for name in &names {
        let _ = write!(table, "  {name:>7}");
    }
    table.push('\n');
    for (place, weights) in &lines {
        let _ = write!(table, "{place:>first$}");
        for (name, weight) in names.iter().zip(*weights) {
            let width = name.chars().count().max(7);
            let words = weight.map_or_else(|| "-".to_owned(), |weight| format!("{weight:.4}"));
            let _ = write!(table, "  {words:>width$}");
        }
        table.push('\n');
    }
    table
}

/// `3`, or `3 attention` where the fusion mixes at two places of a layer.
fn place_name(attention: &MeanAttention, place: &PlaceAttention) -> String {
    let first = attention.layers.first().map(|first| &first.site);
    match attention.layers.iter().all(|other| Some(&other.site) == first) {
        true => place.layer.to_string(),
        false => format!("{} {}", place.layer, said(&place.site)),
    }
}

/// The weights of one row, as precise as they were computed.
pub(crate) fn of_row(attention: &MeanAttention) -> Value {
    let layers = attention.layers.iter().map(|place| {
        let weights = place.weights.iter().map(|weight| weight.map(|weight| weight as f32));
        let weights: Vec<Option<f32>> = weights.collect();
        json!({"layer": place.layer, "site": place.site, "weights": weights})
    });
    json!({
        "members": attention.members,
        "positions": attention.positions,
        "layers": layers.collect::<Vec<_>>(),
    })
}

/// Writes a heat map of the members by the layers, as SVG, or as a page where the file is called so.
pub(crate) fn draw(
    file: &PictureFile,
    title: &str,
    attention: &MeanAttention,
) -> Result<(), CliError> {
    let cells = attention.layers.iter().enumerate().flat_map(|(column, place)| {
        place.weights.iter().enumerate().filter_map(move |(row, weight)| {
            let value = (*weight)?;
            Some(Cell { column, row, value, words: format!("{value:.2}") })
        })
    });
    let picture = HeatMap {
        title,
        across: "layer",
        down: "member",
        columns: attention.layers.iter().map(|place| place_name(attention, place)).collect(),
        rows: attention.members.clone(),
        cells: cells.collect(),
    };
    file.write(title, picture.svg())
}
