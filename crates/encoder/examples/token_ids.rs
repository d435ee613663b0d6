//! Prints what a directory's tokenizer makes of rows, for comparison with `transformers`.
//!
//! Usage: `cargo run --example token_ids -- < REQUESTS`; a request is a line of JSON: `{"dir": …}`
//! opens a directory, `{"text": …, "pair": …, "max_length": …}` tokenises a row with it. The answers
//! are lines of JSON in the same order: `{"ids": …, "type_ids": …}` or `{"error": …}`.
//! `bench/parity/tokenizers.py` writes the requests and reads the answers.

use std::io::BufRead;
use std::path::Path;

use adaptkit_encoder::{EncoderConfig, TextRow, Tokenizer};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut tokenizer = Err("no directory is open".to_string());
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = match request["dir"].as_str() {
            Some(dir) => {
                tokenizer = open(Path::new(dir)).map_err(|e| e.to_string());
                match &tokenizer {
                    Ok(tokenizer) => json!({"max_length": tokenizer.default_max_length()}),
                    Err(error) => json!({"error": error}),
                }
            }
            None => match &tokenizer {
                Ok(tokenizer) => answer(tokenizer, &request),
                Err(error) => json!({"error": error}),
            },
        };
        println!("{answer}");
    }
    Ok(())
}

fn open(dir: &Path) -> Result<Tokenizer, adaptkit_encoder::EncoderError> {
    Tokenizer::from_dir(dir, &EncoderConfig::from_dir(dir)?)
}

fn answer(tokenizer: &Tokenizer, request: &Value) -> Value {
    let row = TextRow {
        text: request["text"].as_str().unwrap_or_default(),
        pair: request["pair"].as_str(),
    };
    let max_length = request["max_length"].as_u64().map(|length| length as usize);
    let length = max_length.unwrap_or_else(|| tokenizer.default_max_length());
    match tokenizer.encode(&[row], length) {
        Ok(rows) => json!({"ids": rows[0].ids, "type_ids": rows[0].type_ids}),
        Err(error) => json!({"error": error.to_string()}),
    }
}
