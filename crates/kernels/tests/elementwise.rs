//! Sums, row copies and dropout against their definitions.

use adaptkit_kernels::Isa;
use adaptkit_kernels::elementwise::{
    Dropout, add_column_sums, add_scaled, gather_rows, scatter_add_rows,
};
use adaptkit_kernels::random::Random;

/// The instruction sets that differ in more than the dot products of reduced precision.
fn vector_sets() -> impl Iterator<Item = Isa> {
    Isa::available().into_iter().filter(|isa| !isa.name().contains('-'))
}

fn vector(n: usize, random: &mut Random) -> Vec<f32> {
    (0..n).map(|_| random.normal() as f32).collect()
}

#[test]
fn scaled_sums_are_within_two_roundings() {
    for isa in vector_sets() {
        for n in [0, 1, 15, 16, 17, 100, 40_000] {
            let mut random = Random::new(n as u64);
            let (mut to, x) = (vector(n, &mut random), vector(n, &mut random));
            let before = to.clone();
            add_scaled(isa, &mut to, 0.3, &x);
            for ((got, a), b) in to.iter().zip(&before).zip(&x) {
                let product = f64::from(0.3f32) * f64::from(*b);
                let want = f64::from(*a) + product;
                let bound = 2f64.powi(-24) * (want.abs() + 2.0 * product.abs());
                assert!((f64::from(*got) - want).abs() <= bound, "{isa}, {n}: {got} for {want}");
            }
        }
    }
}

#[test]
fn column_sums_add_every_row_once() {
    for (rows, width) in [(1, 1), (16, 3), (17, 64), (100, 65), (33, 130)] {
        let mut random = Random::new(width as u64);
        let (x, start) = (vector(rows * width, &mut random), vector(width, &mut random));
        let mut sums = start.clone();
        add_column_sums(&x, &mut sums);
        for column in 0..width {
            let values = (0..rows).map(|row| f64::from(x[row * width + column]));
            let size: f64 = values.clone().map(f64::abs).sum();
            let want = f64::from(start[column]) + values.sum::<f64>();
            // Sixteen roundings in a block, one of the total, one of the addition.
            let bound = 18.0 * 2f64.powi(-24) * (size + f64::from(start[column].abs()));
            assert!((f64::from(sums[column]) - want).abs() <= bound, "{rows}×{width}, {column}");
        }
    }
}

#[test]
fn gathered_rows_scatter_back() {
    let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let mut picked = vec![0.0; 6];
    gather_rows(&x, 3, &[3, 1], &mut picked);
    assert_eq!(picked, [9.0, 10.0, 11.0, 3.0, 4.0, 5.0]);
    let mut out = vec![1.0; 12];
    scatter_add_rows(&picked, 3, &[3, 1], &mut out);
    assert_eq!(out, [1.0, 1.0, 1.0, 4.0, 5.0, 6.0, 1.0, 1.0, 1.0, 10.0, 11.0, 12.0]);
}

#[test]
fn dropout_masks_follow_the_key_alone() {
    let masked = |n: usize, key: u64, probability: f32| {
        let mut x = vec![1.0; n];
        Dropout { probability, key }.apply(&mut x);
        x
    };
    const N: usize = 100_000;
    let long = masked(N, 7, 0.3);
    assert_eq!(long[..1000], masked(1000, 7, 0.3), "a mask is a prefix of a longer one");
    assert_ne!(long[..1000], masked(1000, 8, 0.3));
    assert!(long.iter().all(|x| *x == 0.0 || *x == 1.0 / 0.7), "kept elements are scaled");
    let kept = long.iter().filter(|x| **x != 0.0).count() as f64;
    // Five standard deviations of a binomial count.
    assert!((kept - 0.7 * N as f64).abs() < 5.0 * (0.21 * N as f64).sqrt(), "{kept} kept");
    assert_eq!(masked(100, 7, 0.0), vec![1.0; 100]);
}
