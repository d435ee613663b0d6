//! Tokenizers' files small enough to write here, one of every kind of model in use.

use std::collections::HashMap;

use serde_json::{Value, json};

/// Words of the small tokenizers, the special ones first.
const WORDS: [&str; 16] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "on", "a", "mat", "##s", "##t", ",",
    ".", "m", "c",
];

fn word_piece() -> Value {
    let vocab: HashMap<&str, usize> = WORDS.iter().enumerate().map(|(i, w)| (*w, i)).collect();
    json!({
        "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": vocab
    })
}

fn bert_normalizer() -> Value {
    json!({
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": null, "lowercase": true
    })
}

/// A template as BERT's: [CLS] A [SEP] (B [SEP]).
pub(super) fn bert_template() -> Value {
    let (cls, sep) = (
        || json!({"SpecialToken": {"id": "[CLS]", "type_id": 0}}),
        |kind: u32| json!({"SpecialToken": {"id": "[SEP]", "type_id": kind}}),
    );
    let text = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
    json!({
        "type": "TemplateProcessing",
        "single": [cls(), text("A", 0), sep(0)],
        "pair": [cls(), text("A", 0), sep(0), text("B", 1), sep(1)],
        "special_tokens": {
            "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
            "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}
        }
    })
}

/// A tokenizer's file; the truncation and padding in it are to be overruled.
fn tokenizer(
    model: Value,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
) -> Value {
    json!({
        "version": "1.0",
        "truncation":
            {"max_length": 5, "strategy": "OnlyFirst", "stride": 2, "direction": "Right"},
        "padding": {
            "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]"
        },
        "added_tokens": [{
            "id": 2, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        }],
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor, "decoder": null, "model": model
    })
}

pub(super) fn bert() -> Value {
    tokenizer(word_piece(), bert_normalizer(), json!({"type": "BertPreTokenizer"}), bert_template())
}

/// Byte-level pairs, as RoBERTa has them, with a few merges.
fn byte_level() -> Value {
    let mut vocab: HashMap<String, usize> = HashMap::new();
    for special in ["<s>", "<pad>", "</s>"] {
        vocab.insert(special.into(), vocab.len());
    }
    let letters = (33..=126).chain(0xa1..=0xac).chain(0xae..=0xff).chain(0x100..=0x143);
    for letter in letters.filter_map(char::from_u32) {
        vocab.insert(letter.to_string(), vocab.len());
    }
    let merges = [["c", "a"], ["ca", "t"], ["Ġ", "c"], ["Ġ", "Ġ"], ["ĠĠ", "ĠĠ"], ["Ġ", "t"]];
    for [left, right] in merges {
        vocab.insert(format!("{left}{right}"), vocab.len());
    }
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
        "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
        "merges": merges
    });
    let pre = json!(
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
    );
    let post = json!({
        "type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": true,
        "add_prefix_space": false
    });
    let mut file = tokenizer(model, Value::Null, pre, post);
    file["added_tokens"] = json!([]);
    file
}

/// Pieces of words by probability, as XLM-RoBERTa and CamemBERT have them.
pub(super) fn unigram() -> Value {
    let pieces = ["▁the", "▁c", "at", "▁", "a", "s", "▁s", "t", "▁mat", "c", "m", ","];
    let mut vocab = vec![
        json!(["<s>", 0.0]),
        json!(["<pad>", 0.0]),
        json!(["</s>", 0.0]),
        json!(["<unk>", 0.0]),
    ];
    vocab.extend(pieces.iter().enumerate().map(|(i, piece)| json!([piece, -1.0 - i as f64 / 4.0])));
    let model = json!({"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": false});
    let pre = json!({"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}
    ]});
    let normalizer =
        json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]});
    let post = json!({"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]});
    let mut file = tokenizer(model, normalizer, pre, post);
    file["added_tokens"] = json!([]);
    file
}

/// Tokenizers of every kind of model, with every kind of post-processor.
pub(super) fn all() -> Vec<(&'static str, Value)> {
    let with = |mut file: Value, post_processor: Value| {
        file["post_processor"] = post_processor;
        file
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false});
    let sequence = json!({"type": "Sequence", "processors": [bytes.clone(), bert_template()]});
    vec![
        ("template", bert()),
        (
            "Bert",
            with(
                bert(),
                json!({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}),
            ),
        ),
        ("Roberta", byte_level()),
        ("Unigram", unigram()),
        ("none", with(bert(), Value::Null)),
        ("ByteLevel", with(byte_level(), bytes)),
        ("sequence", with(bert(), sequence)),
    ]
}
