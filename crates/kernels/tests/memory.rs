//! The arena: buffers that never overlap, room that is used again, and one block once it is asked for.

use adaptkit_kernels::memory::{Arena, ArenaBuffer};
use adaptkit_kernels::random::Random;

/// Takes and gives back at random, each buffer full of its own number.
fn churn(arena: &Arena, random: &mut Random, rounds: usize, most: u64) {
    let mut held: Vec<(f32, ArenaBuffer)> = Vec::new();
    for round in 0..rounds {
        if held.len() > 20 || (!held.is_empty() && random.below(2) == 0) {
            let (mark, buffer) = held.swap_remove(random.below(held.len() as u64) as usize);
            assert!(buffer.iter().all(|x| *x == mark), "round {round}: another buffer's numbers");
        } else {
            let len = random.below(most) as usize;
            let mut buffer = arena.take(len);
            assert_eq!(buffer.len(), len);
            buffer.fill(round as f32);
            held.push((round as f32, buffer));
        }
    }
}

#[test]
fn buffers_never_overlap() {
    let (arena, mut random) = (Arena::default(), Random::new(1));
    for reserved in [0, 100, 5_000, 100_000] {
        arena.reserve(reserved);
        churn(&arena, &mut random, 2_000, 1_000);
    }
}

#[test]
fn buffers_begin_on_cache_lines() {
    let arena = Arena::default();
    arena.reserve(1_000);
    let buffers: Vec<ArenaBuffer> = [1, 17, 0, 64, 3].map(|len| arena.take(len)).into();
    for buffer in buffers.iter().filter(|buffer| !buffer.is_empty()) {
        assert_eq!(buffer.as_ptr() as usize % 64, 0, "{} numbers", buffer.len());
    }
}

#[test]
fn what_a_step_needed_is_one_block_in_the_next() {
    let arena = Arena::default();
    let step = || {
        let first = arena.take(1_000);
        let second = arena.take(3_000);
        drop(first);
        // In the first one's place.
        let third = arena.take(900);
        drop((second, third));
    };
    step();
    assert_eq!((arena.extent(), arena.size().1), (4_016, 2));
    arena.reserve(arena.extent());
    assert_eq!(arena.size(), (4_016, 1));
    let before = arena.take(16).as_ptr();
    step();
    assert_eq!(arena.size(), (4_016, 1), "all of it fits");
    assert_eq!(arena.take(16).as_ptr(), before, "room is used again");
    // Less is there already.
    arena.reserve(100);
    assert_eq!(arena.size(), (4_016, 1));
}

#[test]
fn a_block_in_use_outlives_a_reservation() {
    let arena = Arena::default();
    let mut held = arena.take(100);
    held.fill(7.0);
    arena.reserve(10_000);
    assert_eq!(arena.size().1, 2);
    churn(&arena, &mut Random::new(2), 500, 400);
    assert!(held.iter().all(|x| *x == 7.0));
    drop(held);
    arena.reserve(10_000);
    assert_eq!(arena.size(), (10_000, 1));
}

#[test]
fn a_buffer_outlives_its_arena() {
    let mut buffer = Arena::default().take(50);
    buffer.fill(1.0);
    assert_eq!(buffer.iter().sum::<f32>(), 50.0);
}
