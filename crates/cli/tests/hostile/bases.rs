//! A base's configuration and tokenizer.

use std::fs;

use crate::home::{Case, Home, PREDICT, case, check};

/// `config.json` with something else in the place of a part of it.
macro_rules! config {
    ($from:literal, $to:expr) => {
        |home: &Home| home.replace("model/config.json", $from, $to)
    };
}

/// `tokenizer.json` likewise.
macro_rules! tokenizer {
    ($from:literal, $to:expr) => {
        |home: &Home| home.replace("model/tokenizer.json", $from, $to)
    };
}

const DEEP: usize = 100_000;

#[test]
fn a_base_s_configuration() {
    let with_model =
        |what, arguments, says| Case { what, prepare: |_| (), arguments, code: 1, says };
    check(&[
        with_model(
            "no such model",
            &["predict", "--model", "absent/dir", "--adapter", "adapter", "--input", "in.txt"],
            "error: there is no model directory 'absent/dir' and no pulled model of that name; \
             run `adaptkit pull absent/dir`, or give the path of a directory with config.json, \
             model.safetensors and tokenizer.json",
        ),
        with_model(
            "a file for a model",
            &["predict", "--model", "in.txt", "--adapter", "adapter", "--input", "in.txt"],
            "error: cannot use \"in.txt\" as the model: it is a file, and a base is a \
             directory with config.json, model.safetensors and tokenizer.json",
        ),
        with_model(
            "an adapter for a model",
            &["predict", "--model", "adapter", "--adapter", "adapter", "--input", "in.txt"],
            "error: adapter holds no config.json: it holds an adapter (adapter_config.json), for the \
             base \"tiny-bert\", not a base model; give the base that it was trained on",
        ),
        case(
            "config missing",
            |home| home.remove("model/config.json"),
            "error: model holds no config.json, only weights: take the config.json that belongs to \
             them from where they came from",
        ),
        case(
            "config a directory",
            |home| {
                home.remove("model/config.json");
                fs::create_dir(home.path("model/config.json")).unwrap();
            },
            "error: model holds no config.json, only weights: take the config.json that belongs to \
             them from where they came from",
        ),
        case(
            "config a loop of links",
            |home| {
                home.remove("model/config.json");
                home.link("model/config.json", "config.json");
            },
            "error: model holds no config.json, only weights: take the config.json that belongs to \
             them from where they came from",
        ),
        case(
            "config empty",
            |home| home.write("model/config.json", ""),
            "error: model/config.json: it is not the JSON that it should be: EOF while parsing \
             a value at line 1 column 0",
        ),
        case(
            "config cut off",
            config!("\"vocab_size\"", "\""),
            "error: model/config.json: it is not the JSON that it should be: control character \
             (\\u0000-\\u001F) found while parsing a string at line 24 column 0",
        ),
        case(
            "config a list",
            |home| home.write("model/config.json", "[1]"),
            "error: model/config.json: it is not a JSON object",
        ),
        case(
            "config deep",
            |home| home.write("model/config.json", "[".repeat(DEEP)),
            "error: model/config.json: it is not the JSON that it should be: recursion limit \
             exceeded at line 1 column 128",
        ),
        case(
            "config not UTF-8",
            |home| home.write("model/config.json", b"{\"a\": \"\xff\"}"),
            "error: model/config.json: it is not the JSON that it should be: invalid unicode \
             code point at line 1 column 8",
        ),
        case(
            "config with NUL",
            |home| home.write("model/config.json", "{\"model_type\":\0}"),
            "error: model/config.json: it is not the JSON that it should be: expected value at \
             line 1 column 15",
        ),
        case(
            "no hidden size",
            config!("\"hidden_size\"", "\"size\""),
            "error: model/model.safetensors: the tensor \
             \"encoder.layer.0.attention.self.query.weight\" is [32, 32], the configuration asks for \
             [768, 768]; take config.json and weights from the same model. The config.json lacks \
             \"hidden_size\", for which the class's defaults were taken",
        ),
        case(
            "no layers",
            config!("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 0"),
            "error: model/config.json: the field \"num_hidden_layers\" is 0, not a whole \
             number from 1 to 1024",
        ),
        case(
            "heads",
            config!("\"num_attention_heads\": 4", "\"num_attention_heads\": 5"),
            "error: model/config.json: the field \"num_attention_heads\" is 5, which does not \
             divide the hidden size 32; take the config.json that belongs to the weights",
        ),
        case(
            "absurd width",
            config!("\"hidden_size\": 32", "\"hidden_size\": 1000000000000"),
            "error: model/config.json: the field \"hidden_size\" is 1000000000000, not a whole \
             number from 1 to 65536",
        ),
        case(
            "negative width",
            config!("\"hidden_size\": 32", "\"hidden_size\": -32"),
            "error: model/config.json: the field \"hidden_size\" is -32, not a whole number \
             from 1 to 65536",
        ),
        case(
            "fraction of a width",
            config!("\"hidden_size\": 32", "\"hidden_size\": 32.5"),
            "error: model/config.json: the field \"hidden_size\" is 32.5, not a whole number \
             from 1 to 65536",
        ),
        case(
            "width beyond numbers",
            config!("\"hidden_size\": 32", "\"hidden_size\": 1e999"),
            "error: model/config.json: it is not the JSON that it should be: number out of \
             range at line 10 column 22",
        ),
        case(
            "a text for a width",
            config!("\"hidden_size\": 32", "\"hidden_size\": \"32\""),
            "error: model/config.json: the field \"hidden_size\" is \"32\", not a whole number \
             from 1 to 65536",
        ),
        case(
            "another family",
            config!("\"model_type\": \"bert\"", "\"model_type\": \"gpt2\\u001b[2J\""),
            "error: model/config.json: the field \"model_type\" is \"gpt2\\u{1b}[2J\"; known \
             are bert, roberta, xlm-roberta, camembert, distilbert, electra, mpnet",
        ),
        case(
            "another activation",
            config!("\"hidden_act\": \"gelu\"", "\"hidden_act\": \"softmax\""),
            "error: model/config.json: the field \"hidden_act\" is \"softmax\"; known are \
             linear, relu, relu6, leakyrelu, gelu, gelu_new, quick_gelu, swish, tanh, sigmoid",
        ),
        case(
            "a larger width",
            config!("\"hidden_size\": 32", "\"hidden_size\": 64"),
            "error: model/model.safetensors: the tensor \
             \"encoder.layer.0.attention.self.query.weight\" is [32, 32], the configuration \
             asks for [64, 64]; take config.json and weights from the same model",
        ),
        case(
            "more layers",
            config!("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 1024"),
            "error: model/model.safetensors holds no tensor \
             \"encoder.layer.3.attention.self.query.weight\"; names that are alike: \
             \"encoder.layer.0.attention.self.query.weight\", \
             \"encoder.layer.1.attention.self.query.weight\", \
             \"encoder.layer.2.attention.self.query.weight\"; take config.json and weights from the \
             same model",
        ),
    ]);
}

#[test]
fn a_base_s_tokenizer() {
    check(&[
        case(
            "tokenizer missing",
            |home| home.remove("model/tokenizer.json"),
            "error: model holds no tokenizer.json and no vocab.txt, which BertTokenizer is built \
             from: take the files from the model's own repository, or write tokenizer.json in \
             Python with AutoTokenizer.from_pretrained(…, use_fast=True).save_pretrained(…)",
        ),
        case(
            "tokenizer cut off",
            |home| {
                let bytes = home.read("model/tokenizer.json");
                home.write("model/tokenizer.json", &bytes[..bytes.len() / 2]);
            },
            "error: model/tokenizer.json: it is not a tokenizer that can be read (EOF while \
             parsing a string at line 1 column 1255)",
        ),
        case(
            "tokenizer empty",
            |home| home.write("model/tokenizer.json", ""),
            "error: model/tokenizer.json: it is not a tokenizer that can be read (EOF while \
             parsing a value at line 1 column 0)",
        ),
        case(
            "tokenizer deep",
            |home| home.write("model/tokenizer.json", "[".repeat(DEEP)),
            "error: model/tokenizer.json: it is not a tokenizer that can be read (invalid \
             type: sequence, expected struct Tokenizer at line 1 column 1)",
        ),
        case(
            "normalizers deep",
            |home| {
                let deep = |inner: &str, depth: usize| {
                    let open = r#"{"type":"Sequence","normalizers":["#.repeat(depth);
                    format!("{open}{inner}{}", "]}".repeat(depth))
                };
                home.write(
                    "model/tokenizer.json",
                    format!(r#"{{"normalizer":{},"model":{{}}}}"#, deep("", 60)),
                );
            },
            "error: model/tokenizer.json: it is not a tokenizer that can be read (data did not \
             match any variant of untagged enum ModelUntagged at line 1 column 2186)",
        ),
        case(
            "a token beyond the base",
            config!("\"vocab_size\": 120", "\"vocab_size\": 119"),
            "error: model/model.safetensors: the tensor \"embeddings.word_embeddings.weight\" \
             is [120, 32], the configuration asks for [119, 32]; take config.json \
             and weights from the same model",
        ),
        case(
            "a character map that is cut off",
            tokenizer!(
                "\"BertNormalizer\"",
                "\"Precompiled\",\"precompiled_charsmap\":\"/////w==\""
            ),
            "error: model/tokenizer.json: its normalizer has a character map that is cut off",
        ),
        case(
            "tokens at random",
            |home| {
                let model = r#"{"type": "BPE", "dropout": 0.5, "vocab": {"a": 0}, "merges": []}"#;
                home.write("model/tokenizer.json", format!("{{\"model\": {model}}}"));
            },
            "error: model/tokenizer.json: it leaves out merges at random (\"dropout\" is 0.5), so \
             that a text would have other tokens each time: set it to null",
        ),
        case(
            "settings that are not JSON",
            |home| home.write("model/tokenizer_config.json", "{\"model_max_length\": "),
            "error: model/tokenizer_config.json: it is not the JSON that it should be: EOF \
             while parsing a value at line 1 column 21",
        ),
        Case {
            what: "more tokens than positions",
            prepare: |_| (),
            arguments: &[
                "predict",
                "--model",
                "model",
                "--adapter",
                "adapter",
                "--input",
                "in.txt",
                "--max-length",
                "1000000000000",
            ],
            code: 1,
            says: "error: a maximum length of 1000000000000 tokens: this model takes 3 to 36\n\
             hint: choose another --max-length",
        },
        Case {
            what: "not one token",
            prepare: |_| (),
            arguments: &[
                "predict",
                "--model",
                "model",
                "--adapter",
                "adapter",
                "--input",
                "in.txt",
                "--max-length",
                "2",
            ],
            code: 1,
            says: "error: a maximum length of 2 tokens: this model takes 3 to 36\n\
             hint: choose another --max-length",
        },
    ]);
}

/// The words before the error are the library's own, and differ between its versions.
#[test]
fn what_the_library_of_tokenizers_stumbles_over() {
    let bpe = |fields: &str| {
        format!(r#"{{"version": "1.0", "model": {{"type": "BPE", {fields}, "unk_token": null}}}}"#)
    };
    let pre_tokenizer = r#"{"type":"FixedLength","length":0},"model":{"type":"WordLevel","unk_token":"a","vocab":{"a":0}}"#;
    let normalizer = r#"{"type":"Precompiled","precompiled_charsmap":"BAAAAAD8//9hAA=="}"#;
    for (what, tokenizer, words) in [
        (
            // A trie of one node, whose child is some 4 million nodes away.
            "a character map that leads outside itself",
            format!(
                r#"{{"normalizer":{normalizer},"model":{{"type":"WordLevel","unk_token":"a","vocab":{{"a":0}}}}}}"#
            ),
            "tokenizer.json refused the text",
        ),
        (
            "pieces of no length",
            format!(r#"{{"pre_tokenizer":{pre_tokenizer}}}"#),
            "tokenizer.json refused the text",
        ),
        (
            "a prefix longer than what it stands before",
            bpe(
                r####""continuing_subword_prefix": "###", "vocab": {"a":0,"b":1}, "merges": ["a b"]"####,
            ),
            "tokenizer.json: it is not a tokenizer that can be read",
        ),
    ] {
        let home = Home::new();
        home.write("model/tokenizer.json", tokenizer);
        let before = home.snapshot();
        let ended = home.run(PREDICT);
        assert_eq!(ended.code, Some(1), "{what}: {}", ended.stderr);
        let words = format!("{words} (the tokenizers library panicked");
        assert!(ended.stderr.contains(&words), "{what}: {}", ended.stderr);
        assert!(home.snapshot() == before, "{what}");
    }
}
