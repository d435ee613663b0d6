//! What the tokens of a data set attend to in a fusion.

use adaptkit_adapters::{AttentionSums, TaskModel};
use adaptkit_encoder::{Encoder, TokenisedRow};

use super::batches::{batch, token_batches};
use super::evaluation::EVALUATION_TOKENS;

/// The weights of a fusion's members over all tokens of all rows, in a pass of its own; nothing where
/// the model has no fusion. They are the same for the same rows, whatever the threads.
pub fn attention_sums(
    encoder: &Encoder,
    model: &TaskModel,
    rows: &[TokenisedRow],
) -> AttentionSums {
    let lengths: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
    let mut sums = AttentionSums::default();
    for picked in token_batches(&lengths, EVALUATION_TOKENS) {
        let (_, of_rows) = model.logits_attending(encoder, &batch(rows, &picked));
        of_rows.iter().for_each(|row| sums.add(row));
    }
    sums
}
