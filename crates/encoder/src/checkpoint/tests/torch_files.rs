//! Files as `torch.save` writes them, whole and hostile.

use std::borrow::Cow;
use std::io::{Cursor, Write};

use half::{bf16, f16};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::pickles::{call, dictionary, global, number, pickle, storage, tensor, text, tuple};
use super::{Checkpoint, directory, refusal};

const VALUES: [f32; 6] = [0.0, -1.5, 2.0, 0.25, -4.0, 3.0];

/// An archive of entries, their bytes at multiples of 64 as PyTorch puts them.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .with_alignment(64);
    for (name, bytes) in entries {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn singles() -> Vec<u8> {
    VALUES.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A file of these tensors over one storage of six `f32`.
fn file(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    archive(&[
        ("archive/data.pkl", &pickle(&dictionary(entries))),
        ("archive/byteorder", b"little"),
        ("archive/data/0", &singles()),
        ("archive/version", b"3\n"),
    ])
}

fn six() -> Vec<u8> {
    storage("FloatStorage", "0", 6)
}

#[test]
fn tensors_are_read_at_their_offsets_and_by_their_strides() {
    let bytes = file(&[
        ("bert.whole", tensor(six(), 0, &[2, 3], &[3, 1])),
        ("transposed", tensor(six(), 0, &[3, 2], &[1, 3])),
        ("part", tensor(six(), 2, &[2], &[1])),
        ("column", tensor(six(), 1, &[2, 1], &[3, 1])),
        ("scalar", tensor(six(), 5, &[], &[])),
        ("none", tensor(six(), 0, &[0, 4], &[4, 1])),
        ("repeated", tensor(six(), 3, &[2, 2], &[0, 1])),
    ]);
    let dir = directory(&[("pytorch_model.bin", &bytes)]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let cases: [(&str, &[usize], &[f32], bool); 7] = [
        ("whole", &[2, 3], &VALUES, true),
        ("transposed", &[3, 2], &[0.0, 0.25, -1.5, -4.0, 2.0, 3.0], false),
        ("part", &[2], &[2.0, 0.25], true),
        ("column", &[2, 1], &[-1.5, -4.0], false),
        ("scalar", &[], &[3.0], true),
        ("none", &[0, 4], &[], true),
        ("repeated", &[2, 2], &[0.25, -4.0, 0.25, -4.0], false),
    ];
    for (name, shape, values, borrowed) in cases {
        assert_eq!(checkpoint.shape(name), Some(shape), "{name}");
        let read = checkpoint.f32(name, shape).unwrap();
        assert_eq!(read[..], *values, "{name}");
        assert_eq!(matches!(read, Cow::Borrowed(_)), borrowed, "{name}");
    }
    assert_eq!(checkpoint.mapped("whole"), VALUES);
}

#[test]
fn numbers_of_every_real_type_are_read_as_f32_and_others_refused_when_asked_for() {
    let doubles: Vec<u8> = VALUES.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
    let halves: Vec<u8> = VALUES.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
    let brains: Vec<u8> = VALUES.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
    let classes =
        ["FloatStorage", "DoubleStorage", "HalfStorage", "BFloat16Storage", "LongStorage"];
    let names = ["0", "1", "2", "3", "4"];
    let entries: Vec<(&str, Vec<u8>)> = classes
        .iter()
        .zip(names)
        .map(|(class, name)| (*class, tensor(storage(class, name, 6), 0, &[2, 3], &[3, 1])))
        .collect();
    let bytes = archive(&[
        ("a b/data.pkl", &pickle(&dictionary(&entries))),
        ("a b/data/0", &singles()),
        ("a b/data/1", &doubles),
        ("a b/data/2", &halves),
        ("a b/data/3", &brains),
        ("a b/data/4", &[0; 48]),
    ]);
    let dir = directory(&[("pytorch_adapter.bin", &bytes)]);
    let checkpoint = Checkpoint::open_file(&dir.path().join("pytorch_adapter.bin")).unwrap();
    for class in &classes[..4] {
        assert_eq!(checkpoint.f32(class, &[2, 3]).unwrap()[..], VALUES, "{class}");
    }
    let error = checkpoint.f32("LongStorage", &[2, 3]).unwrap_err();
    assert!(error.to_string().contains("is of type I64"), "{error}");
}

#[test]
fn safetensors_come_before_pytorch_files_and_an_index_reads_several() {
    let one = file(&[("a", tensor(six(), 0, &[6], &[1]))]);
    let two = file(&[("b", tensor(six(), 0, &[6], &[1]))]);
    let index = br#"{"weight_map":{"a":"one.bin","b":"two.bin"}}"#;
    let dir =
        directory(&[("pytorch_model.bin.index.json", index), ("one.bin", &one), ("two.bin", &two)]);
    let names = |dir: &tempfile::TempDir| -> Vec<String> {
        Checkpoint::open(dir.path()).unwrap().names().map(str::to_owned).collect()
    };
    assert_eq!(names(&dir), ["a", "b"]);
    std::fs::write(dir.path().join("pytorch_model.bin"), &one).unwrap();
    assert_eq!(names(&dir), ["a"]);
    let empty = [&2u64.to_le_bytes()[..], b"{}"].concat();
    std::fs::write(dir.path().join("model.safetensors"), empty).unwrap();
    assert!(names(&dir).is_empty());
}

#[test]
fn hostile_files_are_refused_when_they_are_opened() {
    let whole = file(&[("w", tensor(six(), 0, &[6], &[1]))]);
    let picked = |entries: &[(&str, Vec<u8>)]| pickle(&dictionary(entries));
    let valid = picked(&[("w", tensor(six(), 0, &[6], &[1]))]);
    let twice = tensor(six(), 0, &[6], &[1]);
    let mut compressed = whole.clone();
    // The central directory's and the local header's method of the first entry: deflate.
    compressed[8] = 8;
    let central = compressed.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    compressed[central + 10] = 8;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("of length zero", vec![], "empty"),
        ("of another pickle", b"\x80\x02N.".to_vec(), "not one that torch.save wrote"),
        ("of text", b"hello, world".to_vec(), "not a file of PyTorch's"),
        (
            "of another archive",
            archive(&[("readme.txt", b"hello")]),
            "not one that torch.save wrote",
        ),
        ("of nothing but a beginning", b"PK\x03\x04".to_vec(), "zip archive"),
        ("cut off", whole[..whole.len() / 2].to_vec(), "zip archive"),
        (
            "of two pickles",
            archive(&[("a/data.pkl", &valid), ("b/data.pkl", &valid), ("a/data/0", &singles())]),
            "several",
        ),
        ("without its storage", archive(&[("a/data.pkl", &valid)]), "\"data/0\" is missing"),
        (
            "with a short storage",
            archive(&[("a/data.pkl", &valid), ("a/data/0", &singles()[..23])]),
            "the file has fewer",
        ),
        (
            "of big-endian numbers",
            {
                archive(&[
                    ("a/data.pkl", &valid),
                    ("a/byteorder", b"big"),
                    ("a/data/0", &singles()),
                ])
            },
            "little-endian",
        ),
        ("of compressed entries", compressed, "compressed"),
        (
            "of a tensor beyond its storage",
            file(&[("w", tensor(six(), 1, &[6], &[1]))]),
            "the tensor \"w\" reaches beyond",
        ),
        (
            "of a tensor much larger than its storage",
            file(&[("w", tensor(six(), 0, &[65_536, 65_536, 65_536, 65_536], &[0; 4]))]),
            "more numbers than its storage",
        ),
        ("of a name twice", file(&[("w", twice.clone()), ("w", twice)]), "\"w\" is there twice"),
        (
            "that calls",
            file(&[("w", call("os", "system", &[text("true")]))]),
            "\"os.system\", which is refused",
        ),
        (
            "with a storage outside",
            {
                let outside = tensor(storage("FloatStorage", "../../x", 6), 0, &[6], &[1]);
                file(&[("w", outside)])
            },
            "\"data/../../x\" is missing",
        ),
        (
            "with a long pickle",
            {
                let long = vec![b'N'; (16 << 20) + 1];
                archive(&[("a/data.pkl", &long)])
            },
            "longer than 16 MiB",
        ),
    ];
    for (what, bytes, part) in cases {
        let message = refusal("pytorch_model.bin", &bytes);
        assert!(message.contains(part), "a file {what}: {message}");
    }
}

/// How a file of the format before 1.6 begins.
const OLD: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";

/// The pickle in which it says what its machine was like.
fn machine(little_endian: &[u8]) -> Vec<u8> {
    let entries = [text("protocol_version"), number(1001), text("little_endian")].concat();
    pickle(&[b"}(", &entries[..], little_endian, b"u"].concat())
}

fn list(names: &[&str]) -> Vec<u8> {
    let names: Vec<u8> = names.iter().flat_map(|name| text(name)).collect();
    pickle(&[b"](", &names[..], b"e"].concat())
}

/// A storage after the pickles, of so many numbers.
fn counted(numbers: u64, bytes: &[u8]) -> Vec<u8> {
    [&numbers.to_le_bytes()[..], bytes].concat()
}

/// A storage of the old format, which is a part of none or of another.
fn old_storage(class: &str, name: &str, size: i32, part_of: &[u8]) -> Vec<u8> {
    let kind = [text("storage"), global("torch", class)];
    let parts = [&kind[..], &[text(name), text("cpu"), number(size), part_of.to_vec()]].concat();
    [tuple(&parts), b"Q".to_vec()].concat()
}

/// A file of the old format over the storage "10" of six `f32` and "9" of two `f64`.
fn old_file() -> Vec<u8> {
    let (singles_of, doubles_of) =
        (old_storage("FloatStorage", "10", 6, b"N"), old_storage("DoubleStorage", "9", 2, b"N"));
    let entries = [
        ("bert.whole", tensor(singles_of.clone(), 0, &[2, 3], &[3, 1])),
        ("transposed", tensor(singles_of, 0, &[3, 2], &[1, 3])),
        ("doubles", tensor(doubles_of, 1, &[1], &[1])),
    ];
    let doubles: Vec<u8> = [0.5f64, -8.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    [
        OLD.to_vec(),
        machine(b"\x88"),
        pickle(&dictionary(&entries)),
        list(&["10", "9"]),
        counted(6, &singles()),
        counted(2, &doubles),
    ]
    .concat()
}

#[test]
fn files_from_before_1_6_are_read() {
    let dir = directory(&[("pytorch_model.bin", &old_file())]);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let cases: [(&str, &[usize], &[f32]); 3] = [
        ("whole", &[2, 3], &VALUES),
        ("transposed", &[3, 2], &[0.0, 0.25, -1.5, -4.0, 2.0, 3.0]),
        ("doubles", &[1], &[-8.0]),
    ];
    for (name, shape, values) in cases {
        assert_eq!(checkpoint.f32(name, shape).unwrap()[..], *values, "{name}");
    }
}

#[test]
fn hostile_files_of_the_old_format_are_refused_when_they_are_opened() {
    let of = |storage: Vec<u8>| pickle(&dictionary(&[("w", tensor(storage, 0, &[6], &[1]))]));
    let six = of(old_storage("FloatStorage", "0", 6, b"N"));
    let file = |parts: &[&[u8]]| [&[OLD, &machine(b"\x88")], parts].concat().concat();
    let part = tuple(&[text("1"), number(0), number(6)]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("of nothing but a beginning", OLD[..15].to_vec(), "unknown version"),
        ("of another version", [&OLD[..15], b"\x80\x02M\xea\x03."].concat(), "unknown version"),
        ("of no machine", [OLD, &pickle(b"}")].concat(), "in which order"),
        ("of a machine that is a number", [OLD, &pickle(b"K\x01")].concat(), "in which order"),
        ("of big-endian numbers", [OLD, &machine(b"\x89")].concat(), "little-endian"),
        ("without tensors", file(&[]), "cut off"),
        ("that calls", file(&[&pickle(&call("os", "system", &[text("x")]))]), "\"os.system\""),
        ("without its list", file(&[&six]), "cut off"),
        ("with a number for a list", file(&[&six, &pickle(b"K\x01")]), "does not list"),
        ("with numbers in its list", file(&[&six, &pickle(b"]K\x01a")]), "does not list"),
        ("with a name twice", file(&[&six, &list(&["0", "0"])]), "storage \"0\" is there twice"),
        ("without its storage", file(&[&six, &list(&[])]), "storage \"0\", which is missing"),
        ("with a storage too many", file(&[&six, &list(&["1"])]), "\"1\" is used by no tensor"),
        ("cut before a storage", file(&[&six, &list(&["0"]), &[6, 0]]), "\"0\" is cut off"),
        (
            "cut in a storage",
            file(&[&six, &list(&["0"]), &counted(6, &singles()[1..])]),
            "\"0\" is cut off",
        ),
        (
            "of an endless storage",
            file(&[&six, &list(&["0"]), &counted(u64::MAX / 2, &singles())]),
            "\"0\" is cut off",
        ),
        (
            "with a short storage",
            file(&[&six, &list(&["0"]), &counted(5, &singles())]),
            "the file has fewer",
        ),
        (
            "of a part of a storage",
            file(&[&of(old_storage("FloatStorage", "0", 6, &part))]),
            "in an unknown way",
        ),
    ];
    for (what, bytes, part) in cases {
        let message = refusal("pytorch_model.bin", &bytes);
        assert!(message.contains(part), "a file {what}: {message}");
    }
}

#[test]
fn no_prefix_and_no_change_of_a_byte_breaks_the_reader() {
    let dir = directory(&[]);
    let path = dir.path().join("x.bin");
    let read = |bytes: &[u8]| {
        let tensors = super::super::torch_file::tensors(&path, bytes)?;
        for (_, stored) in &tensors {
            let _ = stored.f32(bytes);
        }
        Ok::<_, crate::EncoderError>(tensors.len())
    };
    let archive = file(&[("w", tensor(six(), 0, &[2, 3], &[3, 1]))]);
    for (whole, tensors) in [(archive, 1), (old_file(), 3)] {
        assert_eq!(read(&whole).unwrap(), tensors);
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end}");
        }
        for place in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff, whole[place] ^ 1] {
                let mut changed = whole.clone();
                changed[place] = byte;
                // Either answer will do; it must be one.
                let _ = read(&changed);
            }
        }
    }
}
