//! Safe code cannot make the kernels touch memory that is not its own: sizes whose products overflow,
//! strides that wrap, offsets that fall and operands that are too short panic, each with a message
//! that says what is wrong. An arithmetic overflow that only a debug build would notice does not
//! count, so that every case compares the message.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use adaptkit_kernels::attention::{Attention, Heads, HeadsMut, Operands, RelativeBias};
use adaptkit_kernels::bottleneck::{
    Addend, Backward, BottleneckRows, EndNorm, Forward, Input, NormTape, Projections,
    grouped_bottlenecks,
};
use adaptkit_kernels::elementwise::{self, Dropout};
use adaptkit_kernels::matrix::{
    Bf16Layout, Bf16Rows, Bf16RowsMut, Epilogue, Left, MatrixRef, NumbersMut, Output, PackedMatrix,
    PackedSlab, Product, ProductPair, TiledEpilogue, TiledOutput, TiledProduct,
};
use adaptkit_kernels::memory::Arena;
use adaptkit_kernels::mixture::{Attend, Members, Strided};
use adaptkit_kernels::norm::{LayerNorm, layer_norm_backward};
use adaptkit_kernels::{Activation, Isa, Precision};

/// 2⁶³, twice which is 0 where it wraps.
const HALF: usize = 1 << (usize::BITS - 1);
/// 3·THIRD = 2⁶⁴ + 2
const THIRD: usize = usize::MAX / 3 + 1;
/// What is said of sizes that overflow.
const TOO_LARGE: &str = "exceed the address space";

type Case<'a> = (&'a str, &'a str, &'a dyn Fn());

/// Runs each case, which must panic with a message that holds its words.
fn all_panic(cases: &[Case<'_>]) {
    let mut failures = Vec::new();
    for (case, words, run) in cases {
        let message = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(()) => "it ran".to_string(),
            Err(panic) => match panic.downcast_ref::<String>() {
                Some(text) => text.clone(),
                None => panic.downcast_ref::<&str>().unwrap_or(&"no message").to_string(),
            },
        };
        if !message.contains(words) {
            failures.push(format!("{case}: {words:?} is not in {message:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn packed(k: usize, n: usize) -> PackedMatrix {
    let numbers = vec![1.0; k * n];
    PackedMatrix::pack(Isa::detect(), Precision::F32, MatrixRef::row_major(&numbers, [k, n]))
}

fn to(data: &mut [f32], row_stride: usize) -> Output<'_> {
    Output { data, row_stride, accumulate: false }
}

#[test]
fn matrices_and_products() {
    let eight = [1.0f32; 8];
    let one = packed(1, 1);
    let two = packed(1, 2);
    let run = |left: MatrixRef<'_>, right: &PackedMatrix, out: Output<'_>| {
        Product { left, right, bias: None, epilogue: Epilogue::None, out }.run();
    };
    all_panic(&[
        ("a stride that wraps to 2", TOO_LARGE, &|| {
            MatrixRef::new(&eight, [4, 1], [THIRD, 1]);
        }),
        ("a column stride that wraps to 2", TOO_LARGE, &|| {
            MatrixRef::new(&eight, [1, 4], [1, THIRD]);
        }),
        ("strides whose sum wraps", TOO_LARGE, &|| {
            MatrixRef::new(&eight, [2, 2], [usize::MAX, 1]);
        }),
        ("rows of which there are none", TOO_LARGE, &|| {
            MatrixRef::row_major(&[], [HALF, 2]);
        }),
        ("a result's stride that wraps", TOO_LARGE, &|| {
            let left = MatrixRef::row_major(&eight[..4], [4, 1]);
            run(left, &one, to(&mut [0.0; 8], THIRD));
        }),
        ("rows of a result that overlap", "overlap", &|| {
            run(MatrixRef::row_major(&eight[..2], [2, 1]), &two, to(&mut [0.0; 8], 1));
        }),
        ("a row that repeats too often", TOO_LARGE, &|| {
            run(MatrixRef::new(&eight, [HALF, 1], [0, 1]), &two, to(&mut [], 2));
        }),
        ("kept sums of no rows", TOO_LARGE, &|| {
            let left = MatrixRef::new(&eight, [HALF, 1], [0, 1]);
            let epilogue = Epilogue::ActivationKeeping(Activation::Gelu, &mut []);
            Product { left, right: &two, bias: None, epilogue, out: to(&mut [], 2) }.run();
        }),
        ("a pair of products", TOO_LARGE, &|| {
            let left = MatrixRef::new(&eight, [HALF, 1], [0, 1]);
            let (first_bias, second_bias) = (&[0.0][..], &[0.0, 0.0][..]);
            let activation = Activation::Relu;
            ProductPair {
                left,
                first: &one,
                first_bias,
                activation,
                second: &two,
                second_bias,
                out: &mut [],
            }
            .run();
        }),
        ("a packed form that wraps to nothing", TOO_LARGE, &|| {
            let wide = MatrixRef::new(&eight, [HALF, 1 << 40], [0, 0]);
            PackedMatrix::pack(Isa::detect(), Precision::F32, wide);
        }),
        ("a packed form of too many columns", TOO_LARGE, &|| {
            let wide = MatrixRef::new(&eight, [1, usize::MAX], [0, 0]);
            PackedMatrix::pack(Isa::detect(), Precision::Int8, wide);
        }),
        ("a slab of matrices without numbers", TOO_LARGE, &|| {
            PackedSlab::with_capacity(Isa::detect(), [1 << 32, 1 << 32], 0);
        }),
        ("a matrix beyond a slab", TOO_LARGE, &|| {
            PackedSlab::with_capacity(Isa::detect(), [1, 1], 1).matrix(usize::MAX);
        }),
    ]);
}

#[test]
fn a_matrix_whose_packing_panicked_has_nothing_to_read() {
    let numbers = [1.0f32; 8];
    let mut matrix = packed(2, 4);
    let wide = MatrixRef::new(&numbers, [HALF, 1 << 40], [0, 0]);
    assert!(catch_unwind(AssertUnwindSafe(|| matrix.repack(wide))).is_err());
    assert_eq!(matrix.shape(), [0, 0]);
    matrix.repack(MatrixRef::row_major(&numbers, [2, 4]));
    assert_eq!(matrix.shape(), [2, 4]);
}

#[test]
fn strides_of_what_has_no_numbers_are_never_used() {
    // Without columns on the left every sum is empty, and nothing of it has an address.
    for (rows, stride) in [(3, usize::MAX), (3, HALF), (2, 1 << 40)] {
        let left = MatrixRef::new(&[], [rows, 0], [stride, 1]);
        let right = PackedMatrix::pack(
            Isa::detect(),
            Precision::F32,
            MatrixRef::new(&[], [0, 2], [stride, 1]),
        );
        let mut out = vec![7.0; 2 * rows];
        let to = Output { data: &mut out, row_stride: 2, accumulate: false };
        Product { left, right: &right, bias: None, epilogue: Epilogue::None, out: to }.run();
        assert_eq!(out, vec![0.0; 2 * rows]);
    }
    // Of one row the stride leads nowhere.
    let mut out = [0.0; 2];
    Product {
        left: MatrixRef::new(&[3.0], [1, 1], [usize::MAX, usize::MAX]),
        right: &packed(1, 2),
        bias: None,
        epilogue: Epilogue::None,
        out: Output { data: &mut out, row_stride: usize::MAX, accumulate: false },
    }
    .run();
    assert_eq!(out, [3.0, 3.0]);
}

#[test]
fn memory_and_rows_of_bf16() {
    let small = vec![0.0f32; 512];
    let fits_wrapped = Bf16Layout { rows: 1 << 60, columns: 1 };
    all_panic(&[
        ("a buffer that wraps to nothing", "fits the address space", &|| {
            Arena::default().take(usize::MAX - 3);
        }),
        ("a buffer whose bytes wrap", "memory for a tensor", &|| {
            Arena::default().take(usize::MAX / 4);
        }),
        ("a reservation that wraps to nothing", "fits the address space", &|| {
            Arena::default().reserve(usize::MAX);
        }),
        ("rows of bf16 whose room wraps", TOO_LARGE, &|| {
            fits_wrapped.room();
        }),
        ("rows of bf16 that are read", TOO_LARGE, &|| {
            Bf16Rows::new(&small, fits_wrapped);
        }),
        ("rows of bf16 that are written", TOO_LARGE, &|| {
            Bf16RowsMut::new(&mut [0.0; 512], Bf16Layout { rows: usize::MAX, columns: 1 });
        }),
        ("rows of bf16 with a whole address space of columns", TOO_LARGE, &|| {
            Bf16Layout { rows: 1 << 10, columns: usize::MAX }.room();
        }),
        ("rows of bf16 in too little memory", "in 512 numbers", &|| {
            Bf16Rows::new(&small, Bf16Layout { rows: 20, columns: 33 });
        }),
    ]);
}

#[test]
fn attention() {
    let (heads, width) = (2, 4);
    let numbers = vec![0.5f32; 24 * 10];
    let all = [0, 4, 10];
    let attend = |heads: usize, width: usize, queries: &[usize], keys: &[usize]| {
        let part = |start| Heads { data: &numbers, stride: 24, start };
        let mut out = vec![0.0; 8 * 10];
        Attention {
            heads,
            width,
            query_offsets: queries,
            key_offsets: keys,
            relative_bias: None,
            dropout: Dropout::NONE,
        }
        .forward(
            Isa::detect(),
            Operands { queries: part(0), keys: part(8), values: part(16) },
            HeadsMut::new(&mut out, 8),
        );
    };
    let with = |stride: usize, start: usize, out_stride: usize, bias: Option<RelativeBias<'_>>| {
        let part = Heads { data: &numbers, stride, start };
        let mut out = vec![0.0; 8 * 10];
        Attention {
            heads,
            width,
            query_offsets: &all,
            key_offsets: &all,
            relative_bias: bias,
            dropout: Dropout::NONE,
        }
        .forward(
            Isa::detect(),
            Operands { queries: part, keys: part, values: part },
            HeadsMut::new(&mut out, out_stride),
        );
    };
    // The same offsets in order are fine: what the cases below change is at fault.
    attend(heads, width, &all, &all);
    with(24, 0, 8, Some(RelativeBias { table: &[0.0; 2 * 11], reach: 6 }));
    let far = [1 << 62, (1 << 62) + 1];
    all_panic(&[
        ("queries of two rows that overlap", "offsets that fall", &|| {
            attend(heads, width, &[0, 6, 4, 10], &[0, 6, 6, 10]);
        }),
        ("keys of two rows that overlap", "offsets that fall", &|| {
            attend(heads, width, &[0, 6, 6, 10], &[0, 6, 4, 10]);
        }),
        ("another number of rows", "rows of queries and keys", &|| {
            attend(heads, width, &all, &[0, 10]);
        }),
        ("heads whose width wraps", TOO_LARGE, &|| attend(4, HALF, &all, &all)),
        ("more heads than the data has", "", &|| attend(20, width, &all, &all)),
        ("a head wider than the result", "does not fit", &|| attend(1, 300, &all, &all)),
        ("more tasks than can be counted", TOO_LARGE, &|| attend(HALF, 0, &all, &all)),
        ("tokens whose place wraps to the first", TOO_LARGE, &|| {
            attend(heads, width, &far, &far);
        }),
        ("tokens beyond the data", "", &|| attend(heads, width, &[0, 11], &[0, 11])),
        ("operands' strides that wrap", TOO_LARGE, &|| with(THIRD, 0, 8, None)),
        ("operands that begin at the end of memory", "", &|| with(24, usize::MAX, 8, None)),
        ("a result's stride that wraps", TOO_LARGE, &|| with(24, 0, HALF, None)),
        ("a bias that is too short", "a relative bias", &|| {
            with(24, 0, 8, Some(RelativeBias { table: &[0.0; 21], reach: 6 }));
        }),
        ("a bias that reaches nothing", "reaches one token", &|| {
            with(24, 0, 8, Some(RelativeBias { table: &[], reach: 0 }));
        }),
        ("a bias whose size wraps", TOO_LARGE, &|| {
            with(24, 0, 8, Some(RelativeBias { table: &[0.0; 22], reach: HALF }));
        }),
        ("a row longer than the bias", "longer than the bias", &|| {
            with(24, 0, 8, Some(RelativeBias { table: &[0.0; 2 * 9], reach: 5 }));
        }),
        ("results whose ends wrap", TOO_LARGE, &|| {
            HeadsMut::split(&mut [0.0; 16], 8, 8, [usize::MAX - 3, 4]);
        }),
        ("results that overlap", "overlap", &|| {
            HeadsMut::split(&mut [0.0; 16], 8, 4, [0, 3]);
        }),
        ("results beyond a token", "beyond a token", &|| {
            HeadsMut::split(&mut [0.0; 16], 8, 4, [0, 5]);
        }),
    ]);
}

#[test]
fn products_and_attention_in_tiles() {
    let tiled: Vec<Isa> = Isa::available().into_iter().filter(|isa| isa.has_tiles()).collect();
    if tiled.is_empty() {
        println!("skipped: this CPU has no matrix tiles (--cfg emulated_tiles stands in for them)");
    }
    let eight = [1.0f32; 8];
    for isa in tiled {
        let right = |n| {
            let numbers = vec![1.0; n];
            PackedMatrix::pack(isa, Precision::Bf16, MatrixRef::row_major(&numbers, [1, n]))
        };
        let run = |left: MatrixRef<'_>, n: usize, data: &mut [f32], row_stride: usize| {
            let out = TiledOutput::Full { data, row_stride, accumulate: false };
            let (left, right, epilogue) = (Left::Full(left), &right(n), TiledEpilogue::None);
            TiledProduct { left, right, bias: None, epilogue, out }.run();
        };
        let memory = vec![0.0; 4096];
        let attend = |heads: usize, queries: &[usize], columns: usize| {
            let attention = Attention {
                heads,
                width: 32,
                query_offsets: queries,
                key_offsets: queries,
                relative_bias: None,
                dropout: Dropout::NONE,
            };
            let (mut out, rows) = (vec![0.0; 4096], 6);
            attention.forward_in_tiles(
                isa,
                Bf16Rows::new(&memory, Bf16Layout { rows, columns: 3 * columns }),
                Bf16RowsMut::new(&mut out, Bf16Layout { rows, columns }),
            );
        };
        attend(1, &[0, 2, 6], 32);
        all_panic(&[
            ("a row that repeats too often", TOO_LARGE, &|| {
                run(MatrixRef::new(&eight, [HALF, 1], [0, 1]), 2, &mut [], 2);
            }),
            ("a result's stride that wraps", TOO_LARGE, &|| {
                run(MatrixRef::row_major(&eight[..4], [4, 1]), 1, &mut [0.0; 8], THIRD);
            }),
            ("a result that is too small", "does not fit", &|| {
                run(MatrixRef::row_major(&eight[..4], [4, 1]), 2, &mut [0.0; 7], 2);
            }),
            ("heads whose columns wrap to none", TOO_LARGE, &|| attend(1 << 59, &[0, 6], 0)),
            ("offsets that fall", "offsets that fall", &|| attend(1, &[0, 4, 2, 6], 32)),
            ("tokens beyond the data", "tokens beyond", &|| attend(1, &[0, 7], 32)),
        ]);
    }
}

#[test]
fn rows_and_norms() {
    let isa = Isa::detect();
    let eight = [1.0f32; 8];
    all_panic(&[
        ("a row that wraps to the first", TOO_LARGE, &|| {
            elementwise::gather_rows(&eight, 4, &[1 << 62], &mut [0.0; 4]);
        }),
        ("as many rows as wrap to none", TOO_LARGE, &|| {
            elementwise::gather_rows(&[], HALF, &[0, 0], &mut []);
        }),
        ("a sum for a row that wraps to the first", TOO_LARGE, &|| {
            elementwise::scatter_add_rows(&eight[..4], 4, &[1 << 62], &mut [0.0; 8]);
        }),
        ("rows to scale that wrap to none", TOO_LARGE, &|| {
            elementwise::scale_rows(&mut [], HALF, &[1.0, 2.0]);
        }),
        ("dots of rows that wrap to none", TOO_LARGE, &|| {
            elementwise::row_dots(&[], &[], HALF, &mut [0.0; 2]);
        }),
        ("a square that wraps to nothing", TOO_LARGE, &|| {
            elementwise::add_distance_from_identity(isa, &mut [], 1.0, &[], 1 << 32);
        }),
        ("a sum of other lengths", "", &|| {
            elementwise::add_scaled(isa, &mut [0.0; 8], 1.0, &eight[..7]);
        }),
        ("a gradient of another length than its norm", "", &|| {
            layer_norm_backward(isa, &eight[..4], &eight, &eight[..2], &mut [0.0; 4]);
        }),
    ]);
}

#[test]
fn bottlenecks() {
    let isa = Isa::detect();
    let (d, m) = (8, 2);
    let (down, up) = (packed(d, m), packed(m, d));
    let (wide, thin) = (vec![1.0f32; d], vec![1.0f32; m]);
    let rows = vec![1.0f32; 3 * d];
    let projections = Projections {
        down: &down,
        down_bias: &thin,
        activation: Activation::Relu,
        up: &up,
        up_bias: &wide,
        scaling: 1.0,
        dropout: Dropout::NONE,
    };
    let norm = |weight, bias| LayerNorm { weight, bias, epsilon: 1e-5 };
    let forward = |front: Option<LayerNorm<'_>>, end: Option<LayerNorm<'_>>| {
        let input = match front {
            Some(norm) => Input::NormedSum { norm, x: &rows, r: &rows, keep: None },
            None => Input::Given(&rows),
        };
        Forward {
            input,
            projections,
            addends: &[Addend::Input],
            end: end.map(|norm| EndNorm { norm, r: &rows, keep: None }),
            keep: None,
            out: &mut vec![0.0; 3 * d],
        }
        .run(isa);
    };
    let backward = |norm: LayerNorm<'_>| {
        let tape = NormTape { norm, normalised: &rows, inverse_deviations: &rows[..3] };
        Backward {
            // For gradients each is packed the other way round.
            projections: Projections { down: &up, up: &down, ..projections },
            hidden: &rows[..3 * m],
            end: None,
            front: Some(tape),
            d: &mut vec![0.0; 3 * d],
            d_y: None,
            d_hidden: &mut vec![0.0; 3 * m],
            input: Some(&mut vec![0.0; 3 * d]),
            below: None,
        }
        .run(isa);
    };
    forward(Some(norm(&wide, &wide)), Some(norm(&wide, &wide)));
    backward(norm(&wide, &wide));
    let group = |rows| BottleneckRows { rows, bottleneck: None };
    all_panic(&[
        ("a norm in front with a bias that is too short", "a norm of rows of 8", &|| {
            forward(Some(norm(&wide, &wide[..7])), None);
        }),
        ("a norm at the end with a bias that is too short", "a norm of rows of 8", &|| {
            forward(None, Some(norm(&wide, &[])));
        }),
        ("a norm of another width", "a norm of rows of 8", &|| {
            forward(None, Some(norm(&wide[..4], &wide[..4])));
        }),
        ("a norm again with a bias that is too short", "a norm of rows of 8", &|| {
            backward(norm(&wide, &wide[..7]));
        }),
        ("groups whose rows wrap to none", TOO_LARGE, &|| {
            grouped_bottlenecks(&[group(0..HALF)], &[], 2, &mut []);
        }),
        ("groups that overlap", "a group's rows", &|| {
            grouped_bottlenecks(&[group(0..2), group(1..3)], &rows, d, &mut vec![0.0; 3 * d]);
        }),
        ("a group that ends before it begins", "a group's rows", &|| {
            #[allow(clippy::reversed_empty_ranges, reason = "that is the case")]
            let backwards = group(2..1);
            grouped_bottlenecks(&[group(0..2), backwards], &rows[..8], d, &mut [0.0; 8]);
        }),
    ]);
}

#[test]
fn mixtures() {
    let members = Members::of_sizes([2, 3]);
    let numbers = vec![0.5f32; 7 * 3];
    let attend = |stride: usize, mixed: &mut [f32]| {
        let strided = Strided { data: &numbers, stride };
        Attend {
            members: &members,
            bottlenecks: strided,
            activations: None,
            projected: strided,
            shift: None,
            dropout: Dropout::NONE,
            weights: &mut [0.0; 6],
            mixed: NumbersMut::Full(mixed),
        }
        .run(Isa::detect());
    };
    attend(7, &mut [0.0; 21]);
    all_panic(&[
        ("members whose columns wrap", TOO_LARGE, &|| {
            Members::of_sizes([usize::MAX, 2]);
        }),
        ("members whose biases wrap", TOO_LARGE, &|| {
            Members::of_sizes([usize::MAX]);
        }),
        ("rows beyond the data", "out of range", &|| attend(HALF, &mut [0.0; 21])),
        ("a mixture of another size", "[3, 7]", &|| attend(7, &mut [0.0; 20])),
    ]);
}
