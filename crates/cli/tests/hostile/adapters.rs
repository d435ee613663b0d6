//! An adapter's directory.

use std::fs;

use serde_json::{Value, json};

use crate::home::{Case, Home, PREDICT, case, check};
use crate::weights::edit;

const CONFIG: &str = "adapter/adapter_config.json";
const WEIGHTS: &str = "adapter/adapter.safetensors";
const HEAD: &str = "adapter/head_config.json";
const HEAD_WEIGHTS: &str = "adapter/model_head.safetensors";
const RECORD: &str = "adapter/adaptkit.json";

const UP: &str = "bert.encoder.layer.0.output.adapters.seq_bn.adapter_up.bias";

/// Changes a JSON file.
fn change(home: &Home, name: &str, change: fn(&mut Value)) {
    let mut value = serde_json::from_slice(&home.read(name)).unwrap();
    change(&mut value);
    home.write(name, value.to_string());
}

fn usage(
    what: &'static str,
    prepare: fn(&Home),
    arguments: &'static [&'static str],
    says: &'static str,
) -> Case {
    Case { what, prepare, arguments, code: 2, says }
}

#[test]
fn an_adapter_s_configuration() {
    check(&[
        case(
            "no directory",
            |home| fs::remove_dir_all(home.path("adapter")).unwrap(),
            "error: adapter has no adapter_config.json: there is no such directory",
        ),
        case(
            "a file",
            |home| {
                fs::remove_dir_all(home.path("adapter")).unwrap();
                home.write("adapter", "");
            },
            "error: adapter has no adapter_config.json: it is a file; name the directory that \
             it lies in",
        ),
        case(
            "an empty directory",
            |home| {
                fs::remove_dir_all(home.path("adapter")).unwrap();
                fs::create_dir(home.path("adapter")).unwrap();
            },
            "error: adapter has no adapter_config.json: it is not an adapter's directory",
        ),
        case(
            "a loop of links",
            |home| {
                fs::remove_dir_all(home.path("adapter")).unwrap();
                home.link("adapter", "adapter");
            },
            "error: adapter has no adapter_config.json: there is no such directory",
        ),
        case(
            "one level too high",
            |home| {
                fs::rename(home.path("adapter"), home.path("inner")).unwrap();
                home.copy(&home.path("inner"), "adapter/inner");
            },
            "error: adapter has no adapter_config.json: its sub-directories \"inner\" do; name \
             one of them",
        ),
        case(
            "a pipe",
            |home| {
                home.remove(CONFIG);
                home.pipe(CONFIG);
            },
            "error: cannot read adapter/adapter_config.json: it is not a regular file",
        ),
        case(
            "empty",
            |home| home.write(CONFIG, ""),
            "error: adapter/adapter_config.json is not valid JSON: EOF while parsing a value \
             at line 1 column 0",
        ),
        case(
            "deep",
            |home| home.write(CONFIG, "{\"a\":".repeat(100_000)),
            "error: adapter/adapter_config.json is not valid JSON: recursion limit exceeded at \
             line 1 column 636",
        ),
        case(
            "a list",
            |home| home.write(CONFIG, "[]"),
            "error: adapter/adapter_config.json: \"(the whole file)\" is [], expected an object",
        ),
        case(
            "endless",
            |home| home.write(CONFIG, " ".repeat((64 << 20) + 1)),
            "error: adapter/adapter_config.json has 67108865 bytes, more than the 67108864 \
             that such a file may have",
        ),
        case(
            "no configuration",
            |home| change(home, CONFIG, |v| v["config"] = json!(null)),
            "error: adapter/adapter_config.json: \"config\" is null, expected an adapter \
             configuration",
        ),
        case(
            "another method",
            |home| change(home, CONFIG, |v| v["config"] = json!({"architecture": "lora"})),
            "error: adapter/adapter_config.json: the architecture is \"lora\": only bottleneck \
             adapters are supported (seq_bn, double_seq_bn, par_bn and their variations)",
        ),
        case(
            "of PEFT",
            |home| home.write(CONFIG, r#"{"peft_type": "LORA"}"#),
            "error: adapter/adapter_config.json: the architecture is \"LORA\", made by PEFT: \
             only bottleneck adapters are supported (seq_bn, double_seq_bn, par_bn and their \
             variations)",
        ),
        case(
            "another width",
            |home| change(home, CONFIG, |v| v["hidden_size"] = json!(64)),
            "error: adapter/adapter.safetensors: tensor \
             \"bert.encoder.layer.0.output.adapters.seq_bn.adapter_down.0.weight\" has shape \
             [4, 32], expected [8, 64] (hidden size 64, bottleneck 8 at layer 0, output)",
        ),
        case(
            "an absurd width",
            |home| change(home, CONFIG, |v| v["hidden_size"] = json!(1_000_000_000_000u64)),
            "error: adapter/adapter_config.json: \"reduction_factor\" is 8, expected a factor \
             that makes the bottleneck at most 16777216 wide; with a hidden size of \
             1000000000000 it would be 125000000000",
        ),
        case(
            "a negative width",
            |home| change(home, CONFIG, |v| v["hidden_size"] = json!(-32)),
            "error: adapter/adapter_config.json: \"hidden_size\" is -32, expected a whole \
             number above 0",
        ),
        case(
            "another family",
            |home| change(home, CONFIG, |v| v["model_type"] = json!("roberta")),
            "error: adapter/adapter.safetensors has an unexpected tensor \
             \"bert.encoder.layer.0.output.adapters.seq_bn.adapter_down.0.bias\": adapters for \
             encoders of type \"roberta\" have names like \
             roberta.encoder.layer.0.output.adapters.NAME.adapter_up.weight",
        ),
        case(
            "an unknown family",
            |home| change(home, CONFIG, |v| v["model_type"] = json!("gpt2")),
            "error: adapters for encoders of type \"gpt2\" are not supported: use one of bert, \
             roberta, xlm-roberta, camembert, electra, mpnet, distilbert",
        ),
        case(
            "no name",
            |home| change(home, CONFIG, |v| v["name"] = json!(null)),
            "error: adapter/adapter_config.json: \"name\" is null, expected a string",
        ),
        case(
            "an unknown field",
            |home| change(home, CONFIG, |v| v["config"]["wings"] = json!(2)),
            "error: adapter/adapter_config.json: the adapter configuration has an unknown \
             field \"wings\" = 2; it may change what the adapter computes: remove it, or set \
             it to null, if it does not",
        ),
        case(
            "what is not built",
            |home| change(home, CONFIG, |v| v["config"]["phm_layer"] = json!(true)),
            "error: adapter/adapter_config.json: \"phm_layer\" is true, which asks for \
             projections made of Kronecker products (Compacter): this is not supported",
        ),
        case(
            "a factor of nothing",
            |home| change(home, CONFIG, |v| v["config"]["reduction_factor"] = json!(0)),
            "error: adapter/adapter_config.json: \"reduction_factor\" is 0, expected a number \
             above 0",
        ),
        case(
            "an absurd factor",
            |home| change(home, CONFIG, |v| v["config"]["reduction_factor"] = json!(1e-300)),
            "error: adapter/adapter_config.json: \"reduction_factor\" is 1e-300, expected a \
             factor that makes the bottleneck at most 16777216 wide; with a hidden size of 32 \
             it would be 3.1999999999999997e301",
        ),
        case(
            "another factor",
            |home| change(home, CONFIG, |v| v["config"]["reduction_factor"] = json!(2)),
            "error: adapter/adapter.safetensors: tensor \
             \"bert.encoder.layer.0.output.adapters.seq_bn.adapter_down.0.weight\" has shape \
             [4, 32], expected [16, 32] (hidden size 32, bottleneck 16 at layer 0, output)",
        ),
        case(
            "an absurd layer",
            |home| change(home, CONFIG, |v| v["config"]["leave_out"] = json!([u64::MAX])),
            "error: \"leave_out\" names layer 18446744073709551615, but the encoder has 3 \
             layers, numbered from 0",
        ),
        case(
            "a field of no type",
            |home| change(home, CONFIG, |v| v["config"]["ln_after"] = json!("maybe")),
            "error: adapter/adapter_config.json: \"ln_after\" is \"maybe\", expected true or \
             false",
        ),
    ]);
}

#[test]
fn an_adapter_s_weights() {
    check(&[
        case(
            "missing",
            |home| home.remove(WEIGHTS),
            "error: adapter has no adapter.safetensors or pytorch_adapter.bin",
        ),
        case(
            "a pipe",
            |home| {
                home.remove(WEIGHTS);
                home.pipe(WEIGHTS);
            },
            "error: cannot read adapter/adapter.safetensors: it is not a regular file",
        ),
        case(
            "cut off",
            |home| {
                let bytes = home.read(WEIGHTS);
                home.write(WEIGHTS, &bytes[..bytes.len() - 5]);
            },
            "error: adapter/adapter.safetensors: it is not a whole safetensors file \
             (incomplete metadata, file not fully covered); is the download complete?",
        ),
        case(
            "a NaN",
            |home| {
                edit(home, WEIGHTS, |header, bytes| {
                    let at = header[UP]["data_offsets"][0].as_u64().unwrap() as usize;
                    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
                })
            },
            "error: adapter/adapter.safetensors: the tensor \
             \"bert.encoder.layer.0.output.adapters.seq_bn.adapter_up.bias\" holds NaN at 0: \
             the file is damaged or its training diverged",
        ),
        case(
            "another shape",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    header[UP]["shape"] = json!([2, 16]);
                })
            },
            "error: adapter/adapter.safetensors: tensor \
             \"bert.encoder.layer.0.output.adapters.seq_bn.adapter_up.bias\" has shape [2, \
             16], expected [32] (hidden size 32, bottleneck 4 at layer 0, output)",
        ),
        case(
            "another type",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    header[UP]["dtype"] = json!("U32");
                })
            },
            "error: adapter/adapter.safetensors: the tensor \
             \"bert.encoder.layer.0.output.adapters.seq_bn.adapter_up.bias\" is of type U32; \
             F32, F16, BF16 and F64 are read",
        ),
        case(
            "a tensor of nothing",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    let info = header.remove(UP).unwrap();
                    header.insert("bert.pooler.dense.bias".into(), info);
                })
            },
            "error: adapter/adapter.safetensors has an unexpected tensor \
             \"bert.pooler.dense.bias\": adapters for encoders of type \"bert\" have names \
             like bert.encoder.layer.0.output.adapters.NAME.adapter_up.weight",
        ),
        case(
            "a tensor missing",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    let info = header.remove(UP).unwrap();
                    header.insert(
                        UP.replace("layer.0", "layer.1").replace("up.bias", "up.bias2"),
                        info,
                    );
                })
            },
            "error: adapter/adapter.safetensors has no tensor \
             \"bert.encoder.layer.0.output.adapters.seq_bn.adapter_up.bias\", which the \
             configuration calls for (hidden size 32, bottleneck 4 at layer 0, output)",
        ),
        case(
            "an absurd layer",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    let info = header.remove(UP).unwrap();
                    header.insert(UP.replace("layer.0", &format!("layer.{}", u64::MAX)), info);
                })
            },
            "error: adapter/adapter.safetensors has an unexpected tensor \
             \"bert.encoder.layer.18446744073709551615.output.adapters.seq_bn.adapter_up.bias\": \
             adapters for encoders of type \"bert\" have names like \
             bert.encoder.layer.0.output.adapters.NAME.adapter_up.weight",
        ),
        case(
            "a layer too many",
            |home| {
                edit(home, WEIGHTS, |header, bytes| {
                    let names: Vec<String> =
                        header.keys().filter(|n| n.contains("layer.0")).cloned().collect();
                    for name in names {
                        let info = header[&name].clone();
                        let (start, end) =
                            (info["data_offsets"][0].as_u64(), info["data_offsets"][1].as_u64());
                        let place = start.unwrap() as usize..end.unwrap() as usize;
                        let (at, more) = (bytes.len(), bytes[place].to_vec());
                        bytes.extend(more);
                        let mut info = info;
                        info["data_offsets"] = json!([at, bytes.len()]);
                        header.insert(name.replace("layer.0", "layer.3"), info);
                    }
                })
            },
            "error: adapter \"seq_bn\" was made for an encoder with layers 4, this one has 3: \
             load the base it was trained on\n\
             hint: --model must be the base that the adapter was trained on; `adaptkit \
             inspect` shows which",
        ),
    ]);
}

#[test]
fn an_adapter_s_head_and_record() {
    const TWO: &[&str] = &[
        "predict",
        "--model",
        "model",
        "--adapter",
        "adapter",
        "--adapter",
        "adapter",
        "--input",
        "in.txt",
    ];
    check(&[
        usage(
            "two of one name",
            |_| (),
            TWO,
            "error: two adapters are called \"seq_bn\", and the output names adapters; give one \
             another name with --adapter NAME=adapter\n\
             hint: see `adaptkit help`",
        ),
        usage(
            "no head",
            |home| {
                home.remove(HEAD);
                home.remove(HEAD_WEIGHTS);
            },
            PREDICT,
            "error: adapter holds an adapter without a head: there is nothing to predict with; \
             save it with its head (with_head=True in the Python library)\n\
             hint: see `adaptkit help`",
        ),
        case(
            "half a head",
            |home| home.remove(HEAD_WEIGHTS),
            "error: adapter has no model_head.safetensors or pytorch_model_head.bin, but the \
             other of a head's two files",
        ),
        case(
            "the other half",
            |home| home.remove(HEAD),
            "error: adapter has no head_config.json, but the other of a head's two files",
        ),
        case(
            "head cut off",
            |home| home.write(HEAD, "{\"config\": {"),
            "error: adapter/head_config.json is not valid JSON: EOF while parsing an object at \
             line 1 column 12",
        ),
        case(
            "head deep",
            |home| home.write(HEAD, "[".repeat(100_000)),
            "error: adapter/head_config.json is not valid JSON: recursion limit exceeded at \
             line 1 column 128",
        ),
        case(
            "another head",
            |home| change(home, HEAD, |v| v["config"]["head_type"] = json!("tagging")),
            "error: adapter/head_config.json: \"head_type\" is \"tagging\": only \
             \"classification\" (also regression, with one output) and \
             \"multilabel_classification\" are supported",
        ),
        case(
            "absurd outputs",
            |home| {
                change(home, HEAD, |v| {
                    v["config"]["num_labels"] = json!(1_000_000_000_000_000_000u64)
                })
            },
            "error: adapter/model_head.safetensors: tensor \"heads.seq_bn.4.weight\" has shape \
             [3, 32], expected [1000000000000000000, 32] (layer 1 of the head makes \
             1000000000000000000 out of 32)",
        ),
        case(
            "outputs without labels",
            |home| {
                change(home, HEAD, |v| {
                    v["config"]["num_labels"] = json!(1_000_000_000_000u64);
                    v["config"]["label2id"] = json!(null);
                })
            },
            "error: adapter/model_head.safetensors: tensor \"heads.seq_bn.4.weight\" has shape \
             [3, 32], expected [1000000000000, 32] (layer 1 of the head makes 1000000000000 \
             out of 32)",
        ),
        case(
            "outputs of a fraction",
            |home| change(home, HEAD, |v| v["config"]["num_labels"] = json!(2.5)),
            "error: adapter/head_config.json: \"config.num_labels\" is 2.5, expected a whole \
             number above 0",
        ),
        case(
            "an id twice",
            |home| change(home, HEAD, |v| v["config"]["label2id"]["neutral"] = json!(0)),
            "error: adapter/head_config.json: the labels are unusable: \"entailment\" and \
             \"neutral\" both have the id 0",
        ),
        case(
            "an id too high",
            |home| change(home, HEAD, |v| v["config"]["label2id"]["neutral"] = json!(u64::MAX)),
            "error: adapter/head_config.json: the labels are unusable: \"neutral\" has the id \
             18446744073709551615, but the head has 3 outputs, numbered from 0",
        ),
        case(
            "a label missing",
            |home| change(home, HEAD, |v| v["config"]["label2id"] = json!({"a": 0, "b": 1})),
            "error: adapter/head_config.json: the labels are unusable: no label has the id 2; \
             the head has 3 outputs and 2 labels",
        ),
        case(
            "head of another width",
            |home| change(home, HEAD, |v| v["hidden_size"] = json!(8)),
            "error: adapter/model_head.safetensors: tensor \"heads.seq_bn.1.weight\" has shape \
             [32, 32], expected [8, 8] (layer 0 of the head makes 8 out of 8)",
        ),
        case(
            "record cut off",
            |home| home.write(RECORD, "{\"adaptkit_version\": "),
            "error: adapter/adaptkit.json is not valid JSON: EOF while parsing a value at line \
             1 column 21",
        ),
        case(
            "record without a base",
            |home| home.write(RECORD, "{\"adaptkit_version\": \"0\"}"),
            "error: adapter/adaptkit.json is not valid JSON: missing field `base`",
        ),
        case(
            "record of a long text",
            |home| {
                let text = "\u{1b}[2J".repeat(100_000);
                home.write(RECORD, json!({"adaptkit_version": "0", "base": text}).to_string());
            },
            "error: adapter/adaptkit.json is not valid JSON: invalid type: string \
             \"\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\
             \\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u…",
        ),
        case(
            "record of another base",
            |home| {
                let base = json!({
                    "name": "other", "fingerprint": "sha256:00\u{1b}[2J", "family": "bert",
                    "hidden_size": 32, "layers": 3,
                });
                let record = json!({"adaptkit_version": "0", "base": base});
                home.write(RECORD, record.to_string());
            },
            "error: adapter \"seq_bn\" was made for an encoder with fingerprint \
             sha256:00\\u{1b}[2J (other), this one has \
             sha256:ddb4e757f39927c9e472af0fdf09ea81fe1c1331d3dacf042a64e89110e368e8 (model): \
             load the base it was trained on\n\
             hint: --model must be the base that the adapter was trained on; `adaptkit \
             inspect` shows which",
        ),
    ]);
}

#[test]
fn what_inspect_shows_cannot_move_the_cursor() {
    let home = Home::new();
    change(&home, CONFIG, |v| v["name"] = json!("\u{1b}[2Jname"));
    change(&home, HEAD, |v| v["config"]["label2id"] = json!({"a\u{9b}2J": 0, "b\r": 1, "c": 2}));
    let ended = home.run(&["inspect", "adapter"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("\\u{1b}[2Jname"), "{}", ended.stdout);
    let moves = |character: char| character.is_control() && character != '\n';
    assert!(!ended.stdout.contains(moves), "{:?}", ended.stdout);
}
