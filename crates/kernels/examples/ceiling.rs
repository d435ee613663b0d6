//! Prints what a bare FMA loop reaches on this machine's cores and what the packed product reaches.
//!
//! Run: `cargo run --release -p adaptkit-kernels --example ceiling`

use std::time::Instant;

use adaptkit_kernels::Isa;
use adaptkit_kernels::matrix::{Epilogue, MatrixRef, Output, PackedMatrix, Product};
use adaptkit_kernels::peak::fma_loop;

/// The median and the best of many runs.
fn rates(mut run: impl FnMut() -> f64) -> [f64; 2] {
    let mut rates: Vec<f64> = (0..25).map(|_| run()).collect();
    rates.sort_by(f64::total_cmp);
    [rates[12], rates[24]]
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(2);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
    pool.install(|| {
        let only = std::env::args().nth(2);
        for isa in Isa::available().into_iter().filter(|isa| only.as_deref().is_none_or(|o| o == isa.name())) {
            let bare = || {
                let start = Instant::now();
                let flops = fma_loop(isa, 1_000_000);
                flops / start.elapsed().as_secs_f64() / 1e9
            };
            
            println!("{isa}, {threads} threads: bare FMA loop [median, best] {:.1?} GFLOP/s", rates(bare));
            for [m, k, n] in [[112,768,768], [2048, 768, 768], [2048, 3072, 768], [2048, 768, 3072], [2048, 384, 384], [2048, 1536, 384], [2048, 384, 1536]] {
                let b = PackedMatrix::pack(isa, MatrixRef::row_major(&vec![0.5; k * n], [k, n]));
                let (x, mut out) = (vec![0.25; m * k], vec![0.0; m * n]);
                let [median, best] = rates(|| {
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
                });
                let [_, ceiling] = rates(bare);
                
                println!("  {m}×{k}×{n}: median {median:.1}, best {best:.1} GFLOP/s, {:.1} and {:.1} % of {ceiling:.1}", 100.0 * median / ceiling, 100.0 * best / ceiling);
            }
        }
    });
}
