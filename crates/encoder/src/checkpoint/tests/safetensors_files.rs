//! Files of the safetensors format, whole and hostile.

use std::borrow::Cow;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::{Checkpoint, directory, refusal};
use crate::EncoderError;

const VALUES: [f32; 6] = [0.0, -1.5, 2.0, 0.25, -65504.0, 3.0];

fn bytes_of(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F64 => values.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        Dtype::BF16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

/// A file of tensors (name, type, shape, bytes).
fn file(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// A file of one row of `f32` a name.
fn rows(names: &[&str]) -> Vec<u8> {
    let tensors: Vec<_> = names
        .iter()
        .map(|name| (*name, Dtype::F32, &[6][..], bytes_of(&VALUES, Dtype::F32)))
        .collect();
    file(&tensors)
}

#[test]
fn numbers_of_every_real_type_are_read_as_f32() {
    let types = [Dtype::F32, Dtype::F64, Dtype::F16, Dtype::BF16];
    let names = ["a.f32", "b.f64", "c.f16", "d.bf16"];
    let tensors: Vec<_> = names
        .iter()
        .zip(types)
        .map(|(name, dtype)| (*name, dtype, &[2, 3][..], bytes_of(&VALUES, dtype)))
        .collect();
    let dir = directory(&[("model.safetensors", &file(&tensors))]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), names);
    for (name, dtype) in names.iter().zip(types) {
        assert_eq!(checkpoint.shape(name), Some(&[2, 3][..]), "{name}");
        let values = checkpoint.f32(name, &[2, 3]).unwrap();
        let expected = match dtype {
            Dtype::BF16 => VALUES.map(|x| bf16::from_f32(x).to_f32()),
            _ => VALUES,
        };
        assert_eq!(values[..], expected, "{name}");
        assert_eq!(matches!(values, Cow::Borrowed(_)), dtype == Dtype::F32, "{name}");
        assert_eq!(checkpoint.mapped(name).len(), if dtype == Dtype::F32 { 6 } else { 0 });
    }
}

#[test]
fn numbers_that_are_not_aligned_are_copied() {
    for padding in 0..4 {
        let header = format!(
            r#"{{"x":{{"dtype":"F32","shape":[6],"data_offsets":[0,24]}}}}{}"#,
            " ".repeat(padding)
        );
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(bytes_of(&VALUES, Dtype::F32));
        let dir = directory(&[("x.safetensors", &bytes)]);
        let checkpoint = Checkpoint::open_file(&dir.path().join("x.safetensors")).unwrap();
        let values = checkpoint.f32("x", &[6]).unwrap();
        assert_eq!(values[..], VALUES);
        assert_eq!(matches!(values, Cow::Borrowed(_)), header.len().is_multiple_of(4));
    }
}

#[test]
fn names_are_found_with_and_without_prefix_and_in_the_old_spelling() {
    let cases = [
        // (name in the file, name that is looked up)
        ("encoder.x.weight", "encoder.x.weight"),
        ("bert.encoder.x.weight", "encoder.x.weight"),
        ("roberta.encoder.x.weight", "encoder.x.weight"),
        ("distilbert.encoder.x.weight", "encoder.x.weight"),
        ("electra.encoder.x.weight", "encoder.x.weight"),
        ("mpnet.encoder.x.weight", "encoder.x.weight"),
        ("bert.embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight"),
        ("embeddings.LayerNorm.beta", "embeddings.LayerNorm.bias"),
        ("embeddings.LayerNorm.bias", "embeddings.LayerNorm.bias"),
    ];
    for (stored, asked) in cases {
        let dir = directory(&[("model.safetensors", &rows(&[stored, "cls.other"]))]);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(checkpoint.shape(asked), Some(&[6][..]), "{stored}");
        assert_eq!(checkpoint.f32(asked, &[6]).unwrap()[..], VALUES, "{stored}");
    }
}

#[test]
fn a_tensor_that_cannot_be_had_is_an_error_that_names_it() {
    let mut damaged = VALUES;
    damaged[4] = f32::NAN;
    let mut many = vec![0.5f32; 5000];
    many[4999] = f32::NEG_INFINITY;
    let bytes = file(&[
        ("encoder.layer.0.attention.q_lin.weight", Dtype::F32, &[6], bytes_of(&VALUES, Dtype::F32)),
        ("ids", Dtype::I64, &[3], vec![0; 24]),
        ("nan", Dtype::F32, &[6], bytes_of(&damaged, Dtype::F32)),
        ("infinite", Dtype::F32, &[5000], bytes_of(&many, Dtype::F32)),
        ("huge", Dtype::F64, &[1], 1e300f64.to_le_bytes().to_vec()),
    ]);
    let dir = directory(&[("model.safetensors", &bytes)]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let cases: [(&str, &[usize], &[&str]); 7] = [
        (
            "encoder.layer.0.attention.self.query.weight",
            &[6],
            &["no tensor \"encoder.layer.0.attention.self.query.weight\"", "q_lin"],
        ),
        ("ids", &[3], &["\"ids\"", "I64", "BF16"]),
        ("ids", &[4], &["\"ids\" is [3]", "asks for [4]"]),
        ("nan", &[2, 3], &["\"nan\" is [6]", "asks for [2, 3]"]),
        ("nan", &[6], &["\"nan\" holds NaN at 4"]),
        ("infinite", &[5000], &["\"infinite\" holds -inf at 4999"]),
        ("huge", &[1], &["\"huge\" holds inf at 0"]),
    ];
    for (name, shape, parts) in cases {
        let message = checkpoint.f32(name, shape).unwrap_err().to_string();
        assert!(message.contains("model.safetensors"), "{message}");
        for part in parts {
            assert!(message.contains(part), "{name}: {message}");
        }
    }
    assert_eq!(checkpoint.shape("absent"), None);
    assert!(checkpoint.mapped("absent").is_empty());
}

/// A file of this header, before `length` bytes of zeros.
fn with_header(header: &str, length: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + length, 0);
    bytes
}

#[test]
fn hostile_files_are_refused_when_they_are_opened() {
    let whole = rows(&["x"]);
    let one = r#""dtype":"F32","shape":[2]"#;
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("of length zero", vec![], "empty"),
        ("shorter than a length", vec![1, 2, 3], "whole"),
        ("cut off in the numbers", whole[..whole.len() - 1].to_vec(), "download complete"),
        ("cut off in the header", whole[..20].to_vec(), "download complete"),
        ("with bytes left over", [&whole[..], &[0]].concat(), "whole"),
        ("of an absurd header length", [&[0xff; 8], &whole[8..]].concat(), "whole"),
        ("of a long header length", (1u64 << 34).to_le_bytes().repeat(3), "whole"),
        ("with a header that is not JSON", with_header("{\"x\":", 8), "whole"),
        ("with a header that is not an object", with_header("[]", 0), "whole"),
        (
            "with a header that is not text",
            [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat(),
            "whole",
        ),
        ("with a deep header", with_header(&format!("{{\"x\":{deep}}}"), 0), "whole"),
        (
            "with tensors that overlap",
            with_header(
                &format!(
                    r#"{{"x":{{{one},"data_offsets":[0,8]}},"y":{{{one},"data_offsets":[4,12]}}}}"#
                ),
                12,
            ),
            "whole",
        ),
        (
            "with a gap",
            with_header(
                &format!(
                    r#"{{"x":{{{one},"data_offsets":[0,8]}},"y":{{{one},"data_offsets":[12,20]}}}}"#
                ),
                20,
            ),
            "whole",
        ),
        (
            "with a name that is there twice",
            with_header(
                &format!(
                    r#"{{"x":{{{one},"data_offsets":[0,8]}},"x":{{{one},"data_offsets":[0,8]}}}}"#
                ),
                8,
            ),
            "\"x\" is there twice",
        ),
        (
            "with offsets the wrong way round",
            with_header(&format!(r#"{{"x":{{{one},"data_offsets":[8,0]}}}}"#), 8),
            "whole",
        ),
        (
            "with a shape that does not fit its bytes",
            with_header(r#"{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
            "whole",
        ),
        (
            "with a shape whose product overflows",
            with_header(
                r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296,16],"data_offsets":[0,0]}}"#,
                0,
            ),
            "whole",
        ),
        (
            "with a negative size",
            with_header(r#"{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}"#, 0),
            "whole",
        ),
        (
            "with an unknown type",
            with_header(r#"{"x":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}"#, 8),
            "whole",
        ),
    ];
    for (what, bytes, part) in cases {
        let message = refusal("model.safetensors", &bytes);
        assert!(message.contains(part), "a file {what}: {message}");
    }
}

#[test]
fn the_files_of_an_index_are_one_checkpoint() {
    let index = br#"{"metadata":{"total_size":72},"weight_map":
        {"bert.a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"}}"#;
    let dir = directory(&[
        ("model.safetensors.index.json", index),
        ("one.safetensors", &rows(&["bert.a"])),
        ("two.safetensors", &rows(&["b", "c"])),
    ]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["b", "bert.a", "c"]);
    assert_eq!(checkpoint.f32("a", &[6]).unwrap()[..], VALUES);
    let error = checkpoint.f32("d", &[6]).unwrap_err();
    assert!(error.to_string().contains("model.safetensors.index.json"), "{error}");
}

#[test]
fn a_wrong_index_is_refused() {
    let map = |entries: &str| format!(r#"{{"weight_map":{{{entries}}}}}"#);
    let cases = [
        (map(r#""a":"../one.safetensors""#), "../one.safetensors"),
        (map(r#""a":"/etc/passwd""#), "/etc/passwd"),
        (map(r#""a":"sub/one.safetensors""#), "not in its directory"),
        (map(r#""a":"..\\one.safetensors""#), "not in its directory"),
        (map(r#""a":"c:one.safetensors""#), "not in its directory"),
        (map(r#""a":"..""#), "not in its directory"),
        (map(r#""a":"""#), "not in its directory"),
        (map(""), "names no file"),
        (map(r#""a":"absent.safetensors""#), "absent.safetensors"),
        (map(r#""a":"one.safetensors","z":"one.safetensors""#), "the tensor \"z\""),
        (map(r#""a":"two.safetensors","b":"one.safetensors""#), "which it does not"),
        (map(r#""a":"one.safetensors","b":"again.safetensors""#), "\"a\" is there twice"),
        (map(r#""a":7"#), "index.json"),
        (r#"{"weights":{}}"#.to_owned(), "weight_map"),
        ("{".to_owned(), "index.json"),
    ];
    for (index, part) in cases {
        let dir = directory(&[
            ("model.safetensors.index.json", index.as_bytes()),
            ("one.safetensors", &rows(&["a"])),
            ("two.safetensors", &rows(&["b"])),
            ("again.safetensors", &rows(&["a", "b"])),
        ]);
        let error = Checkpoint::open(dir.path()).err().expect("refused");
        assert!(error.to_string().contains(part), "{index}: {error}");
        let kinds = matches!(
            error,
            EncoderError::Json { .. } | EncoderError::Io { .. } | EncoderError::Weights { .. }
        );
        assert!(kinds, "{index}: {error:?}");
    }
}

#[test]
fn names_from_a_file_are_shown_cut_and_escaped() {
    let name = format!("\u{1b}[31m{}", "x".repeat(1000));
    let dir = directory(&[("model.safetensors", &rows(&[&name]))]);
    let message = Checkpoint::open(dir.path()).unwrap().f32(&name, &[7]).unwrap_err().to_string();
    assert!(!message.contains('\u{1b}') && message.contains("\\u{1b}"), "{message}");
    assert!(message.contains('…') && message.len() < 600, "{message}");
}
