//! What passes allocate once the device has the buffers that they need.

use std::alloc::System;
use std::num::NonZero;

use adaptkit_compute::{Device, Precision};
use adaptkit_encoder::{Empty, Encoder, RaggedBatch, RandomBert, Readout};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Forward and backward passes take their tensors from one block of memory that is sized before the
/// step, and their scratch and packed copies from what the passes before left. What they allocate
/// anew are lists of a few words for each layer and row: less than a twentieth of the smallest tensor
/// of a layer. One thread, so that no other test's and no pool's allocations are counted.
#[test]
fn a_step_allocates_nothing_of_a_tensor_s_size_after_the_first() {
    const ROWS: usize = 16;
    const LENGTH: usize = 64;
    let shape = RandomBert { layers: 2, hidden: 128 };
    let dir = tempfile::tempdir().expect("a directory");
    shape.write(dir.path(), 1).expect("a model");
    let ids: Vec<u32> = (0..LENGTH as u32).map(|i| i + 100).collect();
    let types = vec![0; LENGTH];
    let batch = RaggedBatch::new((0..ROWS).map(|_| (&ids[..], &types[..])));
    let numbers = ROWS * LENGTH * shape.hidden;
    for precision in [Precision::F32, Precision::Bf16] {
        let device = Device::cpu(NonZero::new(1)).expect("a device");
        let mut encoder = Encoder::load(dir.path(), &device, precision).expect("the model");
        encoder.prepare_backward(None).expect("the same files");
        let gradient = vec![1.0; numbers];
        let step = || {
            let (out, tape) = encoder.forward_keeping(&batch, Readout::AllTokens, &mut Empty);
            let d = device.tensor(out.rows(), out.columns(), &gradient);
            drop(encoder.backward(&batch, tape, d, &mut Empty).expect("a gradient"));
        };
        step();
        step();
        let region = Region::new(ALLOCATOR);
        step();
        let (bytes, blocks) = device.step_memory();
        assert_eq!(blocks, 1, "{precision}: {bytes} bytes of a step's tensors");
        let allocated = region.change().bytes_allocated;
        let what = format!("{precision}: {allocated} bytes, where a tensor has {}", 4 * numbers);
        assert!(allocated < numbers / 5, "{what}");
        println!("{what}");
    }
}
