mod small_tokenizers;

use adaptkit_compute::Activation;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::{EncodeInput, TruncationParams};

use small_tokenizers::{all, bert, bert_template, unigram};

use super::excerpt::Excerpts;
use super::{TextRow, TokenisedRow, Tokenizer, longest_first};
use crate::{EncoderConfig, EncoderError, Family};

const EMBEDDED: usize = 300;

fn config(token_types: usize) -> EncoderConfig {
    EncoderConfig {
        family: Family::Bert,
        model_type: "bert".into(),
        architectures: Vec::new(),
        name: String::new(),
        vocab_size: EMBEDDED,
        embedding_size: 8,
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 8,
        activation: Activation::Gelu,
        layer_norm_eps: 1e-12,
        max_position_embeddings: 64,
        type_vocab_size: token_types,
        pad_token_id: 0,
        relative_attention_num_buckets: None,
        hidden_dropout_prob: 0.1,
        attention_probs_dropout_prob: 0.1,
        classifier_dropout: None,
        custom_code: None,
        assumed: Vec::new(),
    }
}

fn directory(file: &Value, settings: Option<Value>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), file.to_string()).unwrap();
    if let Some(settings) = settings {
        std::fs::write(dir.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
    }
    dir
}

fn read(file: &Value, token_types: usize) -> Result<Tokenizer, EncoderError> {
    Tokenizer::from_dir(directory(file, None).path(), &config(token_types))
}

fn single(text: &str) -> TextRow<'_> {
    TextRow { text, pair: None }
}

/// A text of so many words, drawn by a small congruential generator.
fn drawn(seed: u64, words: usize, separators: &[&str]) -> String {
    let mut state = seed;
    let mut next = |count: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % count
    };
    let known = [
        "the",
        "cat",
        "cats",
        "sat",
        "on",
        "a",
        "mat",
        "Mat,",
        ".",
        "xyz",
        "é\u{301}t",
        "猫",
        "c c",
    ];
    let mut text = String::new();
    for _ in 0..words {
        text.push_str(known[next(known.len())]);
        text.push_str(separators[next(separators.len())]);
    }
    text
}

/// What the `tokenizers` crate itself makes of a row.
fn oracle(file: &Value, row: TextRow<'_>, max_length: usize) -> TokenisedRow {
    let mut inner = tokenizers::Tokenizer::from_bytes(file.to_string()).unwrap();
    inner.with_padding(None);
    inner
        .with_truncation(Some(TruncationParams { max_length, ..TruncationParams::default() }))
        .unwrap();
    let input = match row.pair {
        Some(pair) => EncodeInput::Dual(row.text.into(), pair.into()),
        None => EncodeInput::Single(row.text.into()),
    };
    // Not `encode_fast`, which forgets types where there is no post-processor.
    let encoding = inner.encode(input.clone(), true).unwrap();
    let whole = inner.with_truncation(None).unwrap().encode(input, true).unwrap();
    TokenisedRow {
        ids: encoding.get_ids().to_vec(),
        type_ids: encoding.get_type_ids().to_vec(),
        truncated: whole.len() > encoding.len(),
    }
}

#[test]
fn rows_are_tokenised_cut_and_framed_as_the_crate_does() {
    for (name, file) in all() {
        let tokenizer = read(&file, 2).unwrap();
        let mut cut = 0;
        for case in 0..150u64 {
            let words = |n: u64| (n % 23) as usize;
            let first = drawn(case, words(case * 7), &[" "]);
            let second = drawn(case + 1000, words(case * 11), &[" ", "  "]);
            let pair = (case % 3 > 0).then_some(&second[..]);
            let row = TextRow { text: &first, pair };
            let max_length = 6 + (case % 13) as usize;
            let expected = oracle(&file, row, max_length);
            if expected.ids.is_empty() {
                assert!(tokenizer.encode(&[row], max_length).is_err(), "{name}: {row:?}");
                continue;
            }
            let found = tokenizer.encode(&[row], max_length).unwrap().remove(0);
            assert_eq!(found, expected, "{name}, {max_length}: {row:?}");
            assert!(found.ids.len() <= max_length, "{name}");
            cut += usize::from(found.truncated);
        }
        assert!((20..140).contains(&cut), "{name}: {cut} of 150 rows were cut");
    }
}

#[test]
fn long_texts_give_the_tokens_of_the_whole_text() {
    for (name, file) in all() {
        let tokenizer = read(&file, 2).unwrap();
        assert!(!matches!(tokenizer.excerpts, Excerpts::Whole), "{name}");
        for (case, separators) in
            [&[" "][..], &[" ", "  ", "   "], &["\n", " \t ", ", "], &["", " "]]
                .into_iter()
                .enumerate()
        {
            let first = drawn(case as u64, 500, separators);
            let second = drawn(case as u64 + 50, 450, separators);
            for pair in [None, Some("a cat"), Some(&second[..])] {
                for max_length in [63, 64] {
                    let row = TextRow { text: &first, pair };
                    let found = tokenizer.encode(&[row], max_length).unwrap().remove(0);
                    assert_eq!(found, oracle(&file, row, max_length), "{name}, case {case}");
                    assert!(found.truncated && found.ids.len() == max_length, "{name}");
                }
            }
        }
    }
}

#[test]
fn endless_texts_without_spaces_give_the_tokens_of_the_whole_text() {
    let units = [
        "!",
        "a",
        "cat",
        "c",
        "猫",
        "ひ",
        "0",
        "[",
        "<s>",
        "[CLS]",
        "a[CLS]",
        "e\u{301}",
        "\0",
        "'s",
        "\t",
        "😀",
        "ñ",
        "]]",
        "thecatsat",
        "a.b",
        "\u{301}",
        "ca\0t",
    ];
    for (name, file) in all() {
        for settings in [None, Some(json!({"truncation_side": "left"}))] {
            let dir = directory(&file, settings.clone());
            let tokenizer = Tokenizer::from_dir(dir.path(), &config(2)).unwrap();
            for unit in units {
                let text = format!("{}the cat", unit.repeat(20_000 / unit.len()));
                let row = single(&text);
                // A short text is read whole: the crate's tokens of it are the oracle.
                let whole = tokenizer.inner.encode_fast(&text[..], false).unwrap();
                let ids = whole.get_ids();
                let room = 20 - tokenizer.template.added(false);
                let kept = room.min(ids.len());
                let expected = match settings.is_some() {
                    true => &ids[ids.len() - kept..],
                    false => &ids[..kept],
                };
                let found = tokenizer.encode(&[row], 20).unwrap().remove(0);
                let expected = tokenizer.assembled(expected, None, ids.len() > room);
                assert_eq!(found, expected, "{name}, {unit:?}, {settings:?}");
            }
        }
    }
}

#[test]
fn a_word_without_end_is_cut_to_a_few_thousand_bytes() {
    let tokenizer = read(&bert(), 2).unwrap();
    let Excerpts::Pieces(pieces) = &tokenizer.excerpts else { panic!("cut into pieces") };
    for unit in ["a", "e\u{301}", "\0", "ひ", "a\0"] {
        let text = unit.repeat(1 << 20);
        assert!(pieces.shortened(&tokenizer.inner, &text).len() < 1024, "{unit:?}");
    }
    for unit in ["!", "猫", " ", "a "] {
        let text = unit.repeat(1 << 18);
        let starts = pieces.starts(&tokenizer.inner, &text);
        assert!(starts.windows(2).all(|piece| piece[1] - piece[0] < 9000), "{unit:?}");
        assert!(starts.len() > 20, "{unit:?}");
    }
}

#[test]
fn a_tokenizer_whose_words_may_cross_spaces_reads_whole_texts() {
    let with = |field: &str, value: Value| {
        let mut file = unigram();
        file[field] = value;
        read(&file, 2).unwrap()
    };
    let joined = json!({
        "type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false
    });
    assert!(matches!(with("pre_tokenizer", joined).excerpts, Excerpts::Whole));
    assert!(matches!(with("pre_tokenizer", Value::Null).excerpts, Excerpts::Whole));
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": ""});
    assert!(matches!(with("normalizer", replace).excerpts, Excerpts::Whole));
    let spaced = json!([{
        "id": 20, "content": "the cat", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": false
    }]);
    assert!(matches!(with("added_tokens", spaced).excerpts, Excerpts::Whole));
}

#[test]
fn a_text_of_a_million_characters_is_cut_like_any_other() {
    let tokenizer = read(&bert(), 2).unwrap();
    let cases = [
        ("cat ".repeat(250_000), 5, true),
        ("a".repeat(1_000_000), 1, false),
        (" ".repeat(1_000_000), 0, false),
        ("\0".repeat(1_000_000), 0, false),
        ("猫".repeat(100_000), 1, true),
        ("e\u{301}".repeat(300_000), 1, false),
    ];
    for (text, first, truncated) in cases {
        let row = tokenizer.encode(&[single(&text)], 64).unwrap().remove(0);
        assert_eq!(row.truncated, truncated);
        match first {
            0 => assert_eq!(row.ids, [2, 3]),
            first => assert_eq!(row.ids[..2], [2, first]),
        }
    }
}

#[test]
fn long_rows_of_a_left_cutting_tokenizer_keep_their_ends() {
    let settings = json!({"truncation_side": "left"});
    let dir = directory(&bert(), Some(settings));
    let tokenizer = Tokenizer::from_dir(dir.path(), &config(2)).unwrap();
    let row = TextRow { text: "the cat sat on a mat", pair: Some("the mat") };
    let [cut] = &tokenizer.encode(&[row], 8).unwrap()[..] else { panic!("one row") };
    assert_eq!(cut.ids, [2, 7, 8, 9, 3, 4, 9, 3]);
    assert_eq!(cut.type_ids, [0, 0, 0, 0, 0, 1, 1, 1]);
    assert!(cut.truncated);
    let long = format!("{}sat", "cat ".repeat(10_000));
    let [cut] = &tokenizer.encode(&[single(&long)], 4).unwrap()[..] else { panic!("one row") };
    assert_eq!(cut.ids, [2, 5, 6, 3]);
}

#[test]
fn special_cases_of_text_are_tokenised() {
    let tokenizer = read(&bert(), 2).unwrap();
    let rows = [
        single(""),
        single("\u{feff}"),
        TextRow { text: "", pair: Some("") },
        single("[CLS] cats"),
    ];
    let found = tokenizer.encode(&rows, 10).unwrap();
    let ids: Vec<&[u32]> = found.iter().map(|row| &row.ids[..]).collect();
    assert_eq!(ids, [&[2, 3][..], &[2, 3], &[2, 3, 3], &[2, 2, 5, 10, 3]]);
    assert!(found.iter().all(|row| !row.truncated && row.ids.len() == row.type_ids.len()));
    assert!(tokenizer.encode(&[], 10).unwrap().is_empty());
}

#[test]
fn an_encoder_without_kinds_of_token_gets_type_zero() {
    let row = TextRow { text: "the cat", pair: Some("a mat") };
    for (token_types, last) in [(0, 0), (1, 0), (2, 1), (3, 1)] {
        let found = read(&bert(), token_types).unwrap().encode(&[row], 20).unwrap().remove(0);
        assert_eq!(found.type_ids, [0, 0, 0, 0, last, last, last], "{token_types} types");
        assert_eq!(found.ids, [2, 4, 5, 3, 8, 9, 3]);
    }
}

#[test]
fn many_rows_keep_their_order_over_many_threads() {
    let tokenizer = read(&bert(), 2).unwrap();
    let texts: Vec<String> = (0..500).map(|seed| drawn(seed, seed as usize % 40, &[" "])).collect();
    let rows: Vec<TextRow<'_>> = texts.iter().map(|text| single(text)).collect();
    let together = tokenizer.encode(&rows, 32).unwrap();
    // The same rows one by one, and at another length from another thread meanwhile.
    std::thread::scope(|scope| {
        let others = scope.spawn(|| tokenizer.encode(&rows, 7).unwrap());
        for (row, expected) in rows.iter().zip(&together) {
            assert_eq!(&tokenizer.encode(&[*row], 32).unwrap()[0], expected);
        }
        assert!(others.join().unwrap().iter().all(|row| row.ids.len() <= 7));
    });
}

#[test]
fn the_default_length_is_the_smaller_of_two_limits() {
    let cases = [
        (None, 64),
        (Some(json!({})), 64),
        (Some(json!({"model_max_length": 32})), 32),
        (Some(json!({"model_max_length": 512})), 64),
        (Some(json!({"model_max_length": 1e30})), 64),
        (Some(json!({"model_max_length": null})), 64),
        (Some(json!({"max_len": 32})), 32),
        (Some(json!({"max_len": 32, "model_max_length": 48})), 48),
        (Some(json!({"model_max_length": 4})), 4),
    ];
    for (settings, expected) in cases {
        let dir = directory(&bert(), settings.clone());
        let tokenizer = Tokenizer::from_dir(dir.path(), &config(2)).unwrap();
        assert_eq!(tokenizer.default_max_length(), expected, "{settings:?}");
    }
}

#[test]
fn a_maximum_length_that_the_model_cannot_take_is_refused() {
    let tokenizer = read(&bert(), 2).unwrap();
    let pair = TextRow { text: "a", pair: Some("mat") };
    for (row, length, range) in [
        (single("a"), 65, Some((3, 64))),
        (single("a"), 2, Some((3, 64))),
        (single("a"), 0, Some((3, 64))),
        (pair, 3, Some((4, 64))),
        (single("a"), usize::MAX, Some((3, 64))),
        (single("a"), 3, None),
        (pair, 4, None),
        (pair, 64, None),
    ] {
        match (tokenizer.encode(&[row], length), range) {
            (Err(EncoderError::MaxLength { asked, least, most }), Some(range)) => {
                assert_eq!((asked, (least, most)), (length, range));
            }
            (Ok(_), None) => {}
            (found, _) => panic!("{length}: {found:?}"),
        }
    }
}

#[test]
fn a_tokenizer_that_does_not_fit_is_refused() {
    let set = |place: &str, value: Value| {
        let mut file = bert();
        *file.pointer_mut(place).unwrap() = value;
        file
    };
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let sequence = json!({"type": "Sequence", "processors": [bert_template(), bert_template()]});
    let ids: Vec<u32> = vec![2; 100];
    let cases = [
        (
            set("/post_processor/special_tokens/[CLS]/ids", json!([300])),
            "the id 300 stands in every",
        ),
        (set("/post_processor/special_tokens/[CLS]/ids", json!(ids)), "more than 64"),
        (set("/post_processor/special_tokens", json!({})), "lacks the ids of \"[CLS]\""),
        (set("/post_processor/single", json!([text("B")])), "each text once"),
        (set("/post_processor/single", json!([text("A"), text("A")])), "each text once"),
        (set("/post_processor/single", json!([])), "each text once"),
        (set("/post_processor/pair", json!([text("A")])), "each text once"),
        (set("/post_processor/pair/3/Sequence/type_id", json!(2)), "type 2 and the encoder has 2"),
        (set("/post_processor", sequence), "several"),
        (set("/post_processor", json!({"type": "Unheard"})), "not a tokenizer"),
        (set("/model", json!({"type": "Unheard"})), "not a tokenizer"),
        (set("/model", Value::Null), "not a tokenizer"),
        (json!([]), "not a tokenizer"),
        (json!({}), "not a tokenizer"),
    ];
    for (file, part) in cases {
        let error = read(&file, 2).err().expect(part);
        assert!(matches!(error, EncoderError::Tokenizer { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(part) && message.contains("tokenizer.json"), "{part}: {message}");
    }
}

#[test]
fn a_token_beyond_the_embedding_is_refused_where_it_occurs() {
    let mut file = bert();
    // A word whose id is out of line, and an added token, which gets the id after the model's own.
    file["model"]["vocab"]["mat"] = json!(1000);
    let vocabulary = file["model"]["vocab"].as_object_mut().unwrap();
    vocabulary.extend((20..EMBEDDED + 4).map(|id| (format!("w{id}"), json!(id))));
    let tokenizer = read(&file, 2).unwrap();
    assert!(tokenizer.encode(&[single("the cat")], 10).is_ok());
    for (rows, part) in [
        ([single("the cat"), single("the mat")], "row 2: the token \"mat\" has the id 1000"),
        ([single("a [MASK]"), single("the mat")], "row 1: the token \"[MASK]\" has the id 300"),
    ] {
        let error = tokenizer.encode(&rows, 10).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("embeds 300"), "{error}");
    }
    // What is cut off does not count.
    assert!(tokenizer.encode(&[single("the cat mat")], 5).is_err());
    assert!(tokenizer.encode(&[single("the cat sat mat")], 5).is_ok());
}

#[test]
fn a_row_without_a_token_is_refused_by_its_number() {
    let mut file = bert();
    file["post_processor"] = Value::Null;
    let tokenizer = read(&file, 2).unwrap();
    let pair = |text, pair| TextRow { text, pair: Some(pair) };
    for (rows, number) in [
        (vec![single("")], 1),
        (vec![single("a"), single("   \n"), single("")], 2),
        (vec![single("a"), single("cat"), pair(" ", "\0")], 3),
    ] {
        let error = tokenizer.encode(&rows, 10).unwrap_err();
        assert!(matches!(error, EncoderError::Row { row, .. } if row + 1 == number), "{error}");
        assert!(error.to_string().contains(&format!("row {number}: the text has no token")));
    }
    assert!(tokenizer.encode(&[single("a"), pair("", "cat")], 10).is_ok());
}

#[test]
fn settings_that_cannot_be_followed_are_refused_by_field() {
    let added = |token: Value| json!({"added_tokens_decoder": {"20": token}});
    let cases = [
        (json!({"do_lower_case": null}), "do_lower_case", "neither true nor false"),
        (json!({"do_lower_case": 1}), "do_lower_case", "neither true nor false"),
        (json!({"strip_accents": "yes"}), "strip_accents", "neither true nor false"),
        (json!({"tokenize_chinese_chars": []}), "tokenize_chinese_chars", "neither true nor false"),
        (json!({"split_special_tokens": "yes"}), "split_special_tokens", "neither true nor false"),
        (json!({"truncation_side": "middle"}), "truncation_side", "neither \"left\" nor"),
        (json!({"model_max_length": "512"}), "model_max_length", "no number"),
        (json!({"model_max_length": 2}), "model_max_length", "no room for a text"),
        (json!({"model_max_length": -1}), "model_max_length", "no room for a text"),
        (json!({"model_input_names": "input_ids"}), "model_input_names", "no list"),
        (json!({"cls_token": {"content": "[CLS]"}}), "cls_token", "AddedToken"),
        (json!({"cls_token": 5}), "cls_token", "AddedToken"),
        (json!({"additional_special_tokens": "[E]"}), "additional_special_tokens", "no list"),
        (json!({"additional_special_tokens": [null]}), "additional_special_tokens", "null"),
        (json!({"extra_special_tokens": "[E]"}), "extra_special_tokens", "no list"),
        (json!({"added_tokens_decoder": null}), "added_tokens_decoder", "no object"),
        (json!({"added_tokens_decoder": {"a": {}}}), "added_tokens_decoder", "not an id"),
        (added(json!("[E]")), "added_tokens_decoder", "no object"),
        (added(json!({"content": 1})), "added_tokens_decoder", "without \"content\""),
        (added(json!({"content": "a", "lstrip": 1})), "added_tokens_decoder", "\"lstrip\""),
        (json!({"tokenizer_file": "/elsewhere/tokenizer.json"}), "tokenizer_file", "names a file"),
        (json!({"init_inputs": ["vocab.txt"]}), "init_inputs", "not empty"),
        (json!({"add_special_tokens": false}), "add_special_tokens", "function"),
        (json!({"tokenizer_class": 5}), "tokenizer_class", "no text"),
        (json!({"tokenizer_class": "BertJapaneseTokenizer"}), "tokenizer_class", "no fast form"),
        (json!({"tokenizer_class": "T5Tokenizer"}), "tokenizer_class", "known are BertTokenizer"),
        (
            json!({"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", null]}}),
            "tokenizer_class",
            "own Python code",
        ),
    ];
    for (settings, field, part) in cases {
        let dir = directory(&bert(), Some(settings.clone()));
        let error = Tokenizer::from_dir(dir.path(), &config(2)).err();
        let error = error.unwrap_or_else(|| panic!("{settings} is read"));
        assert!(matches!(&error, EncoderError::Field { field: f, .. } if f == field), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(part) && message.contains("tokenizer_config.json"), "{message}");
    }
}

#[test]
fn a_directory_without_the_files_of_its_class_is_told_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let read = || Tokenizer::from_dir(dir.path(), &config(2)).err().unwrap().to_string();
    for name in ["vocab.json", "merges.txt"] {
        std::fs::write(dir.path().join(name), "{}").unwrap();
    }
    let error = read();
    assert!(error.contains("no vocab.txt, which BertTokenizer is built from"), "{error}");
    assert!(error.contains("(it holds vocab.json, merges.txt)"), "{error}");
    let settings = |class: &str| {
        let settings = json!({"tokenizer_class": class}).to_string();
        std::fs::write(dir.path().join("tokenizer_config.json"), settings).unwrap();
    };
    settings("PreTrainedTokenizerFast");
    assert!(read().contains("holds no tokenizer.json, which PreTrainedTokenizer"));
    settings("RobertaTokenizer");
    assert!(read().contains("vocab.json: it holds no token"));
}

#[test]
fn damaged_vocabularies_are_refused_with_the_place() {
    let merges = |text: &str| format!("#version: 0.2\n{text}\n").into_bytes();
    let vocab = br#"{"a": 0, "b": 1, "ab": 2, "<s>": 3, "</s>": 4, "<unk>": 5}"#;
    let cases: [(&str, &str, Vec<u8>, &str); 16] = [
        ("BertTokenizer", "vocab.txt", b"".to_vec(), "it is empty"),
        ("BertTokenizer", "vocab.txt", b"a\nb\nc\xff".to_vec(), "line 3: byte 5"),
        (
            "BertTokenizer",
            "vocab.txt",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0".to_vec(),
            "git lfs pull",
        ),
        ("RobertaTokenizer", "vocab.json", b"".to_vec(), "EOF while parsing"),
        ("RobertaTokenizer", "vocab.json", b"[1]".to_vec(), "invalid type"),
        ("RobertaTokenizer", "vocab.json", b"{\"a\": -1}".to_vec(), "line 1 column 8"),
        ("RobertaTokenizer", "vocab.json", b"{\"a\": 1,".to_vec(), "EOF"),
        ("RobertaTokenizer", "merges.txt", merges("a b\na b c"), "line 3: a merge is two tokens"),
        ("RobertaTokenizer", "merges.txt", merges("a b\n\na b"), "here are 0"),
        ("RobertaTokenizer", "merges.txt", merges("a c"), "line 2: vocab.json has no token \"c\""),
        ("RobertaTokenizer", "merges.txt", merges("b a"), "no token \"ba\""),
        ("RobertaTokenizer", "merges.txt", b"#v\na \xff\n".to_vec(), "line 2: byte 5"),
        ("XLMRobertaTokenizer", "sentencepiece.bpe.model", b"".to_vec(), "it has no pieces"),
        (
            "XLMRobertaTokenizer",
            "sentencepiece.bpe.model",
            b"\x0a\x20\x0a\x01a".to_vec(),
            "byte 2: 32 bytes are to follow and 3 are there",
        ),
        ("XLMRobertaTokenizer", "sentencepiece.bpe.model", vec![0xff; 20], "a number without end"),
        ("CamembertTokenizer", "sentencepiece.bpe.model", b"<html>".to_vec(), "of type 4"),
    ];
    for (class, name, bytes, part) in cases {
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("tokenizer_config.json", json!({"tokenizer_class": class}).to_string().as_bytes());
        write("vocab.json", vocab);
        write("merges.txt", &merges("a b"));
        write(name, &bytes);
        let error = Tokenizer::from_dir(dir.path(), &config(2)).err().expect(part).to_string();
        assert!(error.contains(part) && error.contains(name), "{part}: {error}");
    }
}

#[test]
fn a_missing_or_broken_file_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let error = Tokenizer::from_dir(empty.path(), &config(2)).err().unwrap().to_string();
    assert!(
        error.contains("holds no tokenizer.json") && error.contains("save_pretrained"),
        "{error}"
    );
    for (name, text) in [
        ("tokenizer.json", ""),
        ("tokenizer.json", "{\"version\""),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "{\"truncation_side\": \"middle\"}"),
        ("tokenizer_config.json", "{\"model_max_length\": \"many\"}"),
    ] {
        let dir = directory(&bert(), None);
        std::fs::write(dir.path().join(name), text).unwrap();
        let error = Tokenizer::from_dir(dir.path(), &config(2)).err().expect("refused").to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn the_longer_text_of_a_pair_is_cut_first() {
    // One token at a time from the longer, as the name says; from the second of two equal ones
    // while the first is not longer, so the odd token stays with the longer.
    let cases = [
        ([3, 4], 7, [3, 4]),
        ([3, 9], 7, [3, 4]),
        ([9, 3], 7, [4, 3]),
        ([2, 9], 7, [2, 5]),
        ([9, 9], 7, [3, 4]),
        ([10, 9], 7, [4, 3]),
        ([9, 10], 8, [4, 4]),
        ([0, 9], 3, [0, 3]),
        ([9, 0], 3, [3, 0]),
        ([1, 1], 1, [0, 1]),
        ([usize::MAX / 2, 5], 8, [4, 4]),
    ];
    for (lengths, room, expected) in cases {
        assert_eq!(longest_first(lengths, room), expected, "{lengths:?} in {room}");
        assert!(expected.iter().sum::<usize>() <= room);
    }
}
