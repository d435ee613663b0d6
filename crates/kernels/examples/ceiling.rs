//! Prints what a bare loop of multiply-adds reaches on this machine's cores and what the packed
//! product reaches, in each precision.
//!
//! Usage: `cargo run --release -p adaptkit-kernels --example ceiling -- [THREADS [INSTRUCTIONS]]`

use std::time::Instant;

use adaptkit_kernels::matrix::{Epilogue, MatrixRef, Output, PackedMatrix, Product};
use adaptkit_kernels::peak::multiply_add_loop;
use adaptkit_kernels::{Isa, Precision};

/// Rounds in which the bare loop and the product take turns.
const ROUNDS: usize = 25;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Rows, depth and columns: the products of BERT-base and of MiniLM for 2048 tokens.
const SHAPES: [[usize; 3]; 6] = [
    [2048, 768, 768],
    [2048, 3072, 768],
    [2048, 768, 3072],
    [2048, 384, 384],
    [2048, 1536, 384],
    [2048, 384, 1536],
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(2);
    let only = arguments.next();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
    let wanted = |isa: &Isa| only.as_deref().is_none_or(|name| name == isa.name());
    for isa in Isa::available().into_iter().filter(wanted) {
        for precision in Precision::ALL {
            pool.install(|| measure(isa, precision, threads));
        }
    }
}

fn measure(isa: Isa, precision: Precision, threads: usize) {
    let bare = || {
        let start = Instant::now();
        let flops = multiply_add_loop(isa, precision, 1_000_000);
        flops / start.elapsed().as_secs_f64() / 1e9
    };
    let rate = median((0..ROUNDS).map(|_| bare()).collect());
    println!("{isa}, {precision}, {threads} threads: a bare loop reaches {rate:.1} GFLOP/s");
    for [m, k, n] in SHAPES {
        let b = PackedMatrix::pack(isa, precision, MatrixRef::row_major(&vec![0.5; k * n], [k, n]));
        let (x, mut out) = (vec![0.25; m * k], vec![0.0; m * n]);
        let mut product = || {
            let start = Instant::now();
            Product {
                left: MatrixRef::row_major(&x, [m, k]),
                right: &b,
                bias: None,
                epilogue: Epilogue::None,
                out: Output { data: &mut out, row_stride: n, accumulate: false },
            }
            .run();
            2.0 * (m * k * n) as f64 / start.elapsed().as_secs_f64() / 1e9
        };
        // In turns, so that both meet the same neighbours and the same clock.
        let [mut rates, mut shares] = [const { Vec::new() }; 2];
        for _ in 0..ROUNDS {
            let before = bare();
            let rate = product();
            rates.push(rate);
            shares.push(rate / before.midpoint(bare()));
        }
        shares.sort_by(f64::total_cmp);
        println!(
            "  {m}×{k}×{n}: {:.1} GFLOP/s, {:.1} % of the bare loop's ({:.1} to {:.1} %)",
            median(rates),
            100.0 * shares[ROUNDS / 2],
            100.0 * shares[ROUNDS / 10],
            100.0 * shares[ROUNDS - 1 - ROUNDS / 10],
        );
    }
}
