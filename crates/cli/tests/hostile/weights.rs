//! A base's weights: safetensors files, their index, and PyTorch's files.

use std::io::{Cursor, Write};

use serde_json::{Map, Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::home::{Home, case, check};

const WEIGHTS: &str = "model/model.safetensors";

/// A file of this header and these bytes.
fn safetensors(header: &str, bytes: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), bytes].concat()
}

/// A file's header and what follows it.
fn parts(file: &[u8]) -> (Map<String, Value>, Vec<u8>) {
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = serde_json::from_slice(&file[8..8 + length]).unwrap();
    (header, file[8 + length..].to_vec())
}

/// Changes the header and the bytes of a safetensors file.
pub(crate) fn edit(home: &Home, name: &str, change: fn(&mut Map<String, Value>, &mut Vec<u8>)) {
    let (mut header, mut bytes) = parts(&home.read(name));
    change(&mut header, &mut bytes);
    home.write(name, safetensors(&Value::Object(header).to_string(), &bytes));
}

const NORM: &str = "embeddings.LayerNorm.weight";

#[test]
fn safetensors_files() {
    check(&[
        case(
            "weights missing",
            |home| home.remove(WEIGHTS),
            "error: model holds no model.safetensors, no pytorch_model.bin and no index of \
             either, only a configuration: is the download complete?",
        ),
        case(
            "weights empty",
            |home| home.write(WEIGHTS, ""),
            "error: model/model.safetensors: it is empty; is the download complete?",
        ),
        case(
            "weights a directory",
            |home| {
                home.remove(WEIGHTS);
                home.write("model/model.safetensors/file", "");
            },
            "error: model holds no model.safetensors, no pytorch_model.bin and no index of \
             either, only a configuration: is the download complete?",
        ),
        case(
            "weights a pipe",
            |home| {
                home.remove(WEIGHTS);
                home.pipe(WEIGHTS);
            },
            "error: model holds no model.safetensors, no pytorch_model.bin and no index of \
             either, only a configuration: is the download complete?",
        ),
        case(
            "cut off in the length",
            |home| home.write(WEIGHTS, [0; 7]),
            "error: model/model.safetensors: it is not a whole safetensors file (header too \
             small); is the download complete?",
        ),
        case(
            "cut off in the header",
            |home| {
                let bytes = home.read(WEIGHTS);
                home.write(WEIGHTS, &bytes[..100]);
            },
            "error: model/model.safetensors: it is not a whole safetensors file (invalid \
             header length); is the download complete?",
        ),
        case(
            "cut off by a byte",
            |home| {
                let bytes = home.read(WEIGHTS);
                home.write(WEIGHTS, &bytes[..bytes.len() - 1]);
            },
            "error: model/model.safetensors: it is not a whole safetensors file (incomplete \
             metadata, file not fully covered); is the download complete?",
        ),
        case(
            "a byte too many",
            |home| {
                let bytes = [&home.read(WEIGHTS)[..], &[0]].concat();
                home.write(WEIGHTS, bytes);
            },
            "error: model/model.safetensors: it is not a whole safetensors file (incomplete \
             metadata, file not fully covered); is the download complete?",
        ),
        case(
            "an absurd header length",
            |home| {
                home.write(WEIGHTS, [&(1u64 << 60).to_le_bytes()[..], b"{}"].concat());
            },
            "error: model/model.safetensors: it is not a whole safetensors file (header too \
             large); is the download complete?",
        ),
        case(
            "the largest header length",
            |home| home.write(WEIGHTS, [0xff; 64]),
            "error: model/model.safetensors: it is not a whole safetensors file (header too \
             large); is the download complete?",
        ),
        case(
            "a header that is not JSON",
            |home| home.write(WEIGHTS, safetensors("{\"a\":}", &[])),
            "error: model/model.safetensors: it is not a whole safetensors file (invalid JSON \
             in header: expected value at line 1 column 6); is the download complete?",
        ),
        case(
            "a header that is a list",
            |home| home.write(WEIGHTS, safetensors("[[[]]]", &[])),
            "error: model/model.safetensors: it is not a whole safetensors file (invalid JSON \
             in header: invalid type: sequence, expected struct HashMetadata at line 1 column \
             0); is the download complete?",
        ),
        case(
            "a header that is deep",
            |home| {
                home.write(WEIGHTS, safetensors(&"{\"a\":".repeat(100_000), &[]));
            },
            "error: model/model.safetensors: it is not a whole safetensors file (invalid JSON \
             in header: recursion limit exceeded at line 1 column 636); is the download \
             complete?",
        ),
        case(
            "a name twice",
            |home| {
                let one = "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}";
                home.write(WEIGHTS, safetensors(&format!("{{{one},{one}}}"), &[0; 4]));
            },
            "error: model/model.safetensors: its header is wrong (the tensor \"a\" is there \
             twice at line 1 column 107); is the download complete?",
        ),
        case(
            "offsets beyond the file",
            |home| {
                edit(home, WEIGHTS, |header, bytes| {
                    header[NORM]["data_offsets"] = json!([bytes.len(), bytes.len() + 128]);
                })
            },
            "error: model/model.safetensors: it is not a whole safetensors file (invalid \
             offset for tensor `embeddings.position_embeddings.weight`); is the download \
             complete?",
        ),
        case(
            "offsets backwards",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    header[NORM]["data_offsets"] = json!([128, 0]);
                })
            },
            "error: model/model.safetensors: it is not a whole safetensors file (invalid \
             offset for tensor `embeddings.LayerNorm.weight`); is the download complete?",
        ),
        case(
            "offsets beyond numbers",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    header[NORM]["data_offsets"] = json!([u64::MAX - 127, u64::MAX]);
                })
            },
            "error: model/model.safetensors: it is not a whole safetensors file (invalid \
             offset for tensor `embeddings.position_embeddings.weight`); is the download \
             complete?",
        ),
        case(
            "overlapping tensors",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    let start = header["embeddings.LayerNorm.bias"]["data_offsets"][0].as_u64();
                    header[NORM]["data_offsets"] =
                        json!([start.unwrap() + 64, start.unwrap() + 192]);
                })
            },
            "error: model/model.safetensors: it is not a whole safetensors file (invalid \
             offset for tensor `embeddings.LayerNorm.weight`); is the download complete?",
        ),
        case(
            "a shape beyond numbers",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    header[NORM]["shape"] = json!([1u64 << 62, 1u64 << 62]);
                })
            },
            "error: model/model.safetensors: it is not a whole safetensors file (overflow \
             computing buffer size from shape and/or element type); is the download complete?",
        ),
        case(
            "another shape",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    header[NORM]["shape"] = json!([4, 8]);
                })
            },
            "error: model/model.safetensors: the tensor \"embeddings.LayerNorm.weight\" is [4, \
             8], the configuration asks for [32]; take config.json and weights from the same \
             model",
        ),
        case(
            "many dimensions",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    header[NORM]["shape"] = json!([&[32][..], &[1; 100_000]].concat());
                })
            },
            "error: model/model.safetensors: the tensor \"embeddings.LayerNorm.weight\" has \
             100001 dimensions; is the download complete?",
        ),
        case(
            "another type",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    header[NORM]["dtype"] = json!("I32");
                })
            },
            "error: model/model.safetensors: the tensor \"embeddings.LayerNorm.weight\" is of \
             type I32; F32, F16, BF16 and F64 are read",
        ),
        case(
            "an unknown type",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    header[NORM]["dtype"] = json!("F31");
                })
            },
            "error: model/model.safetensors: it is not a whole safetensors file (invalid JSON \
             in header: unknown variant `F31`, expected one of `BOOL`, `F4`, `F6_E2M3`, \
             `F6_E3M2`, `U8`, `I8`, `F8_E5M2`, `F8_E4M3`, `F8_E8M0`, `F8_E4M3FNUZ`, \
             `F8_E5M2FNUZ`, `I16`, `U16`, `F16`, `BF16`, `I32`, `U32`, `F32`, `C64`, `F64`, \
             `I…); is the download complete?",
        ),
        case(
            "a tensor missing",
            |home| {
                edit(home, WEIGHTS, |header, _| {
                    let info = header.remove(NORM).unwrap();
                    header.insert("embeddings.LayerNorm.\u{1b}[31mred".into(), info);
                })
            },
            "error: model/model.safetensors holds no tensor \"embeddings.LayerNorm.weight\"; \
             names that are alike: \"embeddings.LayerNorm.\\u{1b}[31mred\", \
             \"embeddings.LayerNorm.bias\", \"embeddings.position_embeddings.weight\"; take \
             config.json and weights from the same model",
        ),
        case(
            "a NaN",
            |home| {
                edit(home, WEIGHTS, |header, bytes| {
                    let at = header[NORM]["data_offsets"][0].as_u64().unwrap() as usize + 12;
                    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
                })
            },
            "error: model/model.safetensors: the tensor \"embeddings.LayerNorm.weight\" holds \
             NaN at 3: the file is damaged or its training diverged",
        ),
        case(
            "an infinity",
            |home| {
                edit(home, WEIGHTS, |header, bytes| {
                    let at = header[NORM]["data_offsets"][0].as_u64().unwrap() as usize;
                    bytes[at..at + 4].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
                })
            },
            "error: model/model.safetensors: the tensor \"embeddings.LayerNorm.weight\" holds \
             -inf at 0: the file is damaged or its training diverged",
        ),
        case(
            "a pointer of Git LFS",
            |home| {
                home.write(
                    WEIGHTS,
                    "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
                );
            },
            "error: model/model.safetensors: it is a Git LFS pointer, not the weights: fetch \
             them with `git lfs pull`",
        ),
        case(
            "a web page",
            |home| home.write(WEIGHTS, "<!doctype html><title>404</title>"),
            "error: model/model.safetensors: it is not a whole safetensors file (header too \
             large); is the download complete?",
        ),
    ]);
}

/// An index in the place of the one file.
fn index(home: &Home, text: &str) {
    home.remove(WEIGHTS);
    home.write("model/model.safetensors.index.json", text);
}

#[test]
fn indices_of_several_files() {
    check(&[
        case(
            "not JSON",
            |home| index(home, "{"),
            "error: model/model.safetensors.index.json: it is not the JSON that it should be: \
             EOF while parsing an object at line 1 column 1",
        ),
        case(
            "no map",
            |home| index(home, "{\"metadata\": {}}"),
            "error: model/model.safetensors.index.json: it is not the JSON that it should be: \
             missing field `weight_map` at line 1 column 16",
        ),
        case(
            "a long text for a map",
            |home| index(home, &json!({"weight_map": "\u{1b}[2J".repeat(100_000)}).to_string()),
            "error: model/model.safetensors.index.json: it is not the JSON that it should be: \
             invalid type: string \
             \"\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u{1b}[2J\\u…",
        ),
        case(
            "an empty map",
            |home| index(home, "{\"weight_map\": {}}"),
            "error: model/model.safetensors.index.json: it names no file",
        ),
        case(
            "deep",
            |home| index(home, &"{\"weight_map\":".repeat(100_000)),
            "error: model/model.safetensors.index.json: it is not the JSON that it should be: \
             invalid type: map, expected a string at line 1 column 28",
        ),
        case(
            "a file outside",
            |home| index(home, r#"{"weight_map": {"a": "../../../etc/passwd"}}"#),
            "error: model/model.safetensors.index.json: it names the file \
             \"../../../etc/passwd\", which is not in its directory",
        ),
        case(
            "a file by its root",
            |home| index(home, r#"{"weight_map": {"a": "/etc/passwd"}}"#),
            "error: model/model.safetensors.index.json: it names the file \"/etc/passwd\", \
             which is not in its directory",
        ),
        case(
            "the directory itself",
            |home| index(home, r#"{"weight_map": {"a": "."}}"#),
            "error: model/model.safetensors.index.json: it names the file \".\", which is not \
             in its directory",
        ),
        case(
            "a file that is missing",
            |home| index(home, r#"{"weight_map": {"a": "b.safetensors"}}"#),
            "error: cannot read model/b.safetensors: No such file or directory (os error 2)\n\
             hint: is the download complete? fetch the model again, all of its files",
        ),
        case(
            "a tensor that is missing",
            |home| {
                index(home, r#"{"weight_map": {"a": "b.safetensors"}}"#);
                let header = r#"{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
                home.write("model/b.safetensors", safetensors(header, &[0; 4]));
            },
            "error: model/model.safetensors.index.json: it says that \"b.safetensors\" holds \
             the tensor \"a\", which it does not",
        ),
    ]);
}

/// An archive as `torch.save` makes it, around this pickle.
fn torch_file(pickle: &[u8], method: CompressionMethod) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(method);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [("m/data.pkl", pickle), ("m/data/0", &[0; 16])] {
        archive.start_file(name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// PyTorch's file with this pickle in the place of the safetensors file.
fn pickled(home: &Home, pickle: &[u8]) {
    home.remove(WEIGHTS);
    let file = torch_file(pickle, CompressionMethod::Stored);
    home.write("model/pytorch_model.bin", file);
}

#[test]
fn files_of_pytorch() {
    check(&[
        case(
            "a command",
            |home| pickled(home, b"\x80\x02cos\nsystem\nX\x08\0\0\0rm -rf /\x85R."),
            "error: model/pytorch_model.bin: its pickle asks for \"os.system\", which is \
             refused: only tensors are read, and nothing is executed; save the model as \
             safetensors if you trust the file",
        ),
        case(
            "a name with colours",
            |home| pickled(home, b"\x80\x02c\x1b[31mos\nsystem\n."),
            "error: model/pytorch_model.bin: its pickle asks for \"\\u{1b}[31mos.system\", \
             which is refused: only tensors are read, and nothing is executed; save the model \
             as safetensors if you trust the file",
        ),
        case(
            "an instruction that makes objects",
            |home| pickled(home, b"\x80\x02(i__main__\nC\n."),
            "error: model/pytorch_model.bin: its pickle has the instruction 0x69, which no \
             dictionary of tensors needs",
        ),
        case(
            "one of another protocol",
            |home| pickled(home, b"\x80\x09."),
            "error: model/pytorch_model.bin: its pickle is of protocol 9, not 2 to 5",
        ),
        case(
            "an empty pickle",
            |home| pickled(home, b""),
            "error: model/pytorch_model.bin: its pickle is cut off; is the download complete?",
        ),
        case(
            "a deep tuple",
            |home| pickled(home, &[&b"\x80\x02)"[..], &[0x85; 1_000_000], b"."].concat()),
            "error: model/pytorch_model.bin: it holds a tuple, not a dictionary of tensors",
        ),
        case(
            "a dictionary in itself",
            |home| pickled(home, b"\x80\x02}q\0X\x01\0\0\0wh\0s."),
            "error: model/pytorch_model.bin: its entry \"w\" is a dictionary, not a tensor: \
             save the state dictionary of the model alone",
        ),
        case(
            "without end",
            |home| pickled(home, &[b'N'; 3_000_000]),
            "error: model/pytorch_model.bin: its pickle has more than 2000000 instructions",
        ),
        case(
            "a name twice",
            |home| pickled(home, TWICE),
            "error: model/pytorch_model.bin: the tensor \"w\" is there twice; is the download \
             complete?",
        ),
        case(
            "cut off",
            |home| {
                let file = torch_file(b"\x80\x02}.", CompressionMethod::Stored);
                home.remove(WEIGHTS);
                home.write("model/pytorch_model.bin", &file[..file.len() / 2]);
            },
            "error: model/pytorch_model.bin: it is not a whole zip archive (invalid Zip \
             archive: Could not find EOCD); is the download complete?",
        ),
        case(
            "a bomb",
            |home| {
                home.remove(WEIGHTS);
                let file = torch_file(&vec![b'N'; 64 << 20], CompressionMethod::Deflated);
                assert!(file.len() < 1 << 20);
                home.write("model/pytorch_model.bin", file);
            },
            "error: model/pytorch_model.bin: its entries are compressed or encrypted: load it \
             with PyTorch and save it again, best as safetensors",
        ),
        case(
            "the beginning of an old one",
            |home| {
                home.remove(WEIGHTS);
                home.write("model/pytorch_model.bin", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.");
            },
            "error: model/pytorch_model.bin: it is of an unknown version of PyTorch's old format: \
             load it with PyTorch and save it again, best as safetensors",
        ),
        case(
            "an old one with a command",
            |home| {
                home.remove(WEIGHTS);
                let start = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
                let machine = b"\x80\x02}X\x0d\0\0\0little_endian\x88s.";
                let file = [&start[..], machine, b"\x80\x02cos\nsystem\n."].concat();
                home.write("model/pytorch_model.bin", file);
            },
            "error: model/pytorch_model.bin: its pickle asks for \"os.system\", which is \
             refused: only tensors are read, and nothing is executed; save the model as \
             safetensors if you trust the file",
        ),
        case(
            "of nothing",
            |home| {
                home.remove(WEIGHTS);
                home.write("model/pytorch_model.bin", "");
            },
            "error: model/pytorch_model.bin: it is empty; is the download complete?",
        ),
    ]);
}

/// A dictionary that holds one tensor under one name twice.
const TWICE: &[u8] =
    b"\x80\x02}(X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage\
             ctorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQK\0K\x04\x85K\x01\x85\x89}tRq\x01\
             X\x01\0\0\0wh\x01u.";
