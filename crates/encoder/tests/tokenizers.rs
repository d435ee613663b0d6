//! Token ids and types beside those of `transformers`, for directories laid out as the Hub's are.
//! `goldens/make_tokenizers.py` makes the directories and the expected ids.

use adaptkit_encoder::{EncoderConfig, TextRow, Tokenizer};
use adaptkit_testkit::golden_dir;
use serde_json::Value;

#[test]
fn every_layout_gives_the_ids_of_the_library() {
    let goldens = golden_dir("tokenizers");
    let expected = std::fs::read_to_string(goldens.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let texts: Vec<Vec<String>> = serde_json::from_value(expected["texts"].clone()).unwrap();
    let rows: Vec<TextRow<'_>> = texts
        .iter()
        .map(|row| TextRow { text: &row[0], pair: row.get(1).map(|pair| &pair[..]) })
        .collect();
    let layouts = expected["layouts"].as_object().unwrap();
    assert_eq!(layouts.len(), 40);
    let mut wrong = Vec::new();
    for (name, layout) in layouts {
        let dir = goldens.join(name);
        let config = EncoderConfig::from_dir(&dir).unwrap();
        let tokenizer = match Tokenizer::from_dir(&dir, &config) {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        for (length, expected) in [(512, &layout["whole"]), (32, &layout["cut"])] {
            let found = tokenizer.encode(&rows, length.min(config.longest_row())).unwrap();
            for ((row, found), expected) in
                texts.iter().zip(found).zip(expected.as_array().unwrap())
            {
                let types: String = found.type_ids.iter().map(u32::to_string).collect();
                if found.ids != serde_json::from_value::<Vec<u32>>(expected[0].clone()).unwrap()
                    || types != expected[1].as_str().unwrap()
                {
                    wrong.push(format!("{name}, {length}: {row:?}: {:?} {types}", found.ids));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong, the first: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
}
