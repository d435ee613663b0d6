//! Pickles, written here instruction by instruction.

use safetensors::Dtype;

use crate::checkpoint::pickle::{self, PickleError, PickledTensor};

fn state_dictionary(bytes: &[u8]) -> Result<Vec<(&str, PickledTensor<'_>)>, PickleError> {
    pickle::state_dictionary(bytes).map(|(tensors, _)| tensors)
}

/// A pickle of protocol 2 with this body.
pub(super) fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02", body, b"."].concat()
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

pub(super) fn number(number: i32) -> Vec<u8> {
    [b"J", &number.to_le_bytes()[..]].concat()
}

pub(super) fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub(super) fn tuple(parts: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &parts.concat()[..], b"t"].concat()
}

fn numbers(values: &[i32]) -> Vec<u8> {
    tuple(&values.iter().map(|value| number(*value)).collect::<Vec<_>>())
}

pub(super) fn storage(class: &str, name: &str, size: i32) -> Vec<u8> {
    let parts = [text("storage"), global("torch", class), text(name), text("cpu"), number(size)];
    [tuple(&parts), b"Q".to_vec()].concat()
}

pub(super) fn call(module: &str, name: &str, arguments: &[Vec<u8>]) -> Vec<u8> {
    [global(module, name), tuple(arguments), b"R".to_vec()].concat()
}

fn ordered() -> Vec<u8> {
    [&global("collections", "OrderedDict")[..], b")R"].concat()
}

pub(super) fn tensor(storage: Vec<u8>, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let arguments =
        [storage, number(offset), numbers(shape), numbers(strides), b"\x89".to_vec(), ordered()];
    call("torch._utils", "_rebuild_tensor_v2", &arguments)
}

/// An `OrderedDict` of entries, with the attribute that PyTorch gives it.
pub(super) fn dictionary(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> =
        entries.iter().flat_map(|(name, value)| [text(name), value.clone()].concat()).collect();
    let state = [b"}", &text("_metadata")[..], &ordered(), b"s"].concat();
    [&ordered()[..], b"(", &entries, b"u", &state, b"b"].concat()
}

fn expected<'a>(
    storage: &'a str,
    offset: usize,
    shape: &[usize],
    strides: &[usize],
) -> PickledTensor<'a> {
    PickledTensor {
        storage,
        dtype: Dtype::F32,
        storage_numbers: 6,
        offset,
        shape: shape.to_vec(),
        strides: strides.to_vec(),
    }
}

#[test]
fn a_state_dictionary_is_read() {
    let of = |name| storage("FloatStorage", name, 6);
    let parameter = call(
        "torch._utils",
        "_rebuild_parameter",
        &[tensor(of("1"), 2, &[2, 2], &[1, 2]), b"\x88".to_vec(), ordered()],
    );
    let body = dictionary(&[
        ("w", tensor(of("0"), 0, &[2, 3], &[3, 1])),
        ("p", parameter),
        ("s", tensor(of("0"), 5, &[], &[])),
    ]);
    let bytes = pickle(&body);
    let read = state_dictionary(&bytes).unwrap();
    let want = [
        ("w", expected("0", 0, &[2, 3], &[3, 1])),
        ("p", expected("1", 2, &[2, 2], &[1, 2])),
        ("s", expected("0", 5, &[], &[])),
    ];
    assert_eq!(read, want);
}

#[test]
fn the_instructions_of_later_protocols_are_read() {
    // A frame, short texts, a name from the stack, memoised values, short numbers and tuples.
    let short = |text: &str| [&[0x8c, text.len() as u8], text.as_bytes()].concat();
    let stacked = |module: &str, name: &str| [short(module), short(name), vec![0x93]].concat();
    let body = [
        b"\x80\x04\x95\0\0\0\0\0\0\0\0}\x94".to_vec(),
        [short("w"), b"\x94".to_vec(), stacked("torch._utils", "_rebuild_tensor_v2")].concat(),
        [b"(".to_vec(), b"(".to_vec(), short("storage"), stacked("torch", "FloatStorage")].concat(),
        [short("0"), short("cpu"), b"K\x06tQ".to_vec()].concat(),
        b"M\x01\0\x8a\x01\x02K\x02\x86K\x02K\x01\x86\x89}tR".to_vec(),
        // The entry, and the same tensor again under another name.
        b"\x94s".to_vec(),
        [short("again"), b"h\x02s.".to_vec()].concat(),
    ]
    .concat();
    let read = state_dictionary(&body).unwrap();
    let want = expected("0", 1, &[2, 2], &[2, 1]);
    assert_eq!(read, [("w", want.clone()), ("again", want)]);
}

#[test]
fn whole_numbers_keep_their_sign() {
    let with_offset = |offset: &[u8]| {
        let arguments = [
            storage("FloatStorage", "0", 6),
            offset.to_vec(),
            numbers(&[1]),
            numbers(&[1]),
            b"\x89".to_vec(),
            ordered(),
        ];
        let body = dictionary(&[("w", call("torch._utils", "_rebuild_tensor_v2", &arguments))]);
        state_dictionary(&pickle(&body)).map(|read| read[0].1.offset)
    };
    for (offset, value) in [
        (&b"K\xff"[..], 255),
        (b"M\xff\xff", 65_535),
        (b"J\xff\xff\xff\x7f", 0x7fff_ffff),
        (b"\x8a\0", 0),
        (b"\x8a\x02\xff\0", 255),
        (b"\x8a\x05\0\0\0\0\x01", 1 << 32),
    ] {
        assert_eq!(with_offset(offset), Ok(value), "{offset:02x?}");
    }
    for negative in [&b"J\xff\xff\xff\xff"[..], b"\x8a\x01\xff"] {
        assert!(with_offset(negative).is_err(), "{negative:02x?}");
    }
}

#[test]
fn hostile_pickles_are_refused() {
    let float = || storage("FloatStorage", "0", 6);
    let in_dictionary = |value: Vec<u8>| pickle(&dictionary(&[("w", value)]));
    let rebuilt = |arguments: &[Vec<u8>]| {
        in_dictionary(call("torch._utils", "_rebuild_tensor_v2", arguments))
    };
    let nested = pickle(&dictionary(&[("state_dict", dictionary(&[]))]));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        // What would run in Python.
        (
            "a shell",
            in_dictionary(call("os", "system", &[text("true")])),
            "\"os.system\", which is refused",
        ),
        ("posix", in_dictionary(global("posix", "system")), "\"posix.system\""),
        ("eval", in_dictionary(call("builtins", "eval", &[text("1")])), "\"builtins.eval\""),
        ("getattr", in_dictionary(global("builtins", "getattr")), "\"builtins.getattr\""),
        ("an import in a name", in_dictionary(global("torch", "FloatStorage.__init__")), "refused"),
        ("another rebuilder", in_dictionary(global("torch._utils", "_rebuild_tensor")), "refused"),
        (
            "a sparse tensor",
            in_dictionary(global("torch._utils", "_rebuild_sparse_tensor")),
            "refused",
        ),
        ("a module", in_dictionary(global("torch.nn.modules.linear", "Linear")), "refused"),
        ("a nested pickle", in_dictionary(global("torch.storage", "_load_from_bytes")), "refused"),
        (
            "a name from the stack",
            pickle(&[text("os"), text("system"), vec![0x93]].concat()),
            "\"os.system\"",
        ),
        ("an object", pickle(b"N)\x81"), "0x81"),
        ("an instance", pickle(b"(ios\nsystem\n"), "0x69"),
        ("an extension", pickle(b"\x82\x01"), "0x82"),
        ("a text reference", pickle(b"P0\n"), "0x50"),
        ("bytes", pickle(b"C\x01a"), "0x43"),
        (
            "a call of a tensor",
            pickle(&[tensor(float(), 0, &[1], &[1]), b")R".to_vec()].concat()),
            "calls a tensor",
        ),
        (
            "a call of a storage class",
            pickle(&[global("torch", "FloatStorage"), b")R".to_vec()].concat()),
            "unknown way",
        ),
        (
            "state for a tensor",
            pickle(&[tensor(float(), 0, &[1], &[1]), b"}b".to_vec()].concat()),
            "state",
        ),
        (
            "a dictionary of a list",
            pickle(&call("collections", "OrderedDict", &[b"]".to_vec()])),
            "unknown way",
        ),
        // What is not a dictionary of tensors.
        ("None", pickle(b"N"), "holds None"),
        ("a list", pickle(b"]"), "holds a list"),
        ("a bare tensor", pickle(&tensor(float(), 0, &[1], &[1])), "holds a tensor"),
        ("a nested dictionary", nested, "\"state_dict\" is a dictionary"),
        ("a number for a tensor", in_dictionary(number(3)), "\"w\" is a number"),
        ("a number for a name", pickle(b"}K\x01Ns"), "a key that is a number"),
        // What is no pickle, or a broken one.
        ("nothing", vec![], "cut off"),
        ("another protocol", b"\x80\x09N.".to_vec(), "protocol 9"),
        ("no end", b"\x80\x02}".to_vec(), "cut off"),
        ("an empty stack at the end", pickle(b""), "not there"),
        ("a text cut off", b"X\xff\xff\xff\xffabc".to_vec(), "cut off"),
        ("a text that is not Unicode", pickle(b"X\x01\0\0\0\xff"), "UTF-8"),
        ("a name without end", b"ctorch".to_vec(), "cut off"),
        ("a huge number", pickle(b"\x8a\xff"), "255 bytes"),
        ("an unknown memo", pickle(b"h\x05"), "recalls the value 5"),
        ("a mark that is not there", pickle(b"t"), "not there"),
        ("values below a mark", pickle(b"NN(\x86"), "not there"),
        ("an odd number of items", pickle(b"}(Nu"), "not a dictionary"),
        ("items of None", pickle(b"N(NNu"), "not there"),
        ("items of a list", pickle(b"](NNu"), "not a dictionary"),
        ("a list of items of a dictionary", pickle(b"}Na"), "not a list"),
        // Tensors that are none.
        ("no arguments", rebuilt(&[]), "unknown way"),
        (
            "a storage that is none",
            rebuilt(&[number(1), number(0), numbers(&[1]), numbers(&[1])]),
            "unknown way",
        ),
        ("an unknown reference", pickle(b"}Q"), "storage in an unknown way"),
        (
            "a reference to a module",
            pickle(
                &[
                    tuple(&[
                        text("module"),
                        global("torch", "FloatStorage"),
                        text("0"),
                        text("cpu"),
                        number(1),
                    ]),
                    b"Q".to_vec(),
                ]
                .concat(),
            ),
            "storage in an unknown way",
        ),
        (
            "a storage of less than nothing",
            in_dictionary(storage("FloatStorage", "0", -1)),
            "storage in an unknown way",
        ),
        ("a negative offset", in_dictionary(tensor(float(), -1, &[1], &[1])), "unknown way"),
        ("a negative size", in_dictionary(tensor(float(), 0, &[-1], &[1])), "unknown way"),
        ("a negative stride", in_dictionary(tensor(float(), 0, &[1], &[-1])), "unknown way"),
        ("a stride too few", in_dictionary(tensor(float(), 0, &[1, 1], &[1])), "stride"),
        ("nine dimensions", in_dictionary(tensor(float(), 0, &[1; 9], &[1; 9])), "9 dimensions"),
    ];
    for (what, bytes, part) in cases {
        let error = state_dictionary(&bytes).expect_err(what);
        let (PickleError::Damaged(reason) | PickleError::Refused(reason)) = &error;
        assert!(reason.contains(part), "{what}: {reason}");
    }
}

#[test]
fn deep_and_cyclic_values_cost_nothing() {
    let deep = pickle(&[vec![b')'], vec![0x85; 1_000_000]].concat());
    assert!(matches!(state_dictionary(&deep), Err(PickleError::Refused(_))));
    // A list that holds itself, as the entry of a dictionary that does too.
    let cyclic = pickle(
        &[b"}q\x00".to_vec(), text("w"), b"]q\x01h\x01as".to_vec(), text("d"), b"h\x00s".to_vec()]
            .concat(),
    );
    assert!(matches!(state_dictionary(&cyclic), Err(PickleError::Refused(_))));
}

#[test]
fn a_name_is_there_once() {
    let entry = || tensor(storage("FloatStorage", "0", 6), 0, &[6], &[1]);
    let twice = pickle(&dictionary(&[("w", entry()), ("w", entry())]));
    let Err(PickleError::Damaged(reason)) = state_dictionary(&twice) else { panic!("read") };
    assert_eq!(reason, "the tensor \"w\" is there twice");
}

#[test]
fn a_pickle_without_end_is_refused() {
    let endless = vec![b'N'; 3_000_000];
    let Err(PickleError::Refused(reason)) = state_dictionary(&endless) else { panic!("read") };
    assert!(reason.contains("more than 2000000 instructions"), "{reason}");
}

#[test]
fn no_prefix_and_no_change_of_a_byte_breaks_the_reader() {
    let whole = pickle(&dictionary(&[
        ("w", tensor(storage("FloatStorage", "0", 6), 0, &[2, 3], &[3, 1])),
        ("b", tensor(storage("HalfStorage", "1", 3), 0, &[3], &[1])),
    ]));
    assert_eq!(state_dictionary(&whole).unwrap().len(), 2);
    for end in 0..whole.len() {
        assert!(state_dictionary(&whole[..end]).is_err(), "{end}");
    }
    for place in 0..whole.len() {
        for byte in 0..=255 {
            let mut changed = whole.clone();
            changed[place] = byte;
            // Either answer will do; it must be one.
            let _ = state_dictionary(&changed);
        }
    }
}
