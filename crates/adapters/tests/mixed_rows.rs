//! Rows that ask for different adapters, and texts that ask for several: every answer has the bits
//! of a pass with that task alone.

use std::num::NonZero;

use adaptkit_adapters::config::{AdapterResidual, Scaling};
use adaptkit_adapters::{
    AdapterConfig, HeadShape, ResidentTasks, TaskModel, Wish, logits_of_wishes,
};
use adaptkit_compute::{Activation, Device, Precision};
use adaptkit_encoder::{Encoder, RaggedBatch};
use adaptkit_testkit::{Random, golden_dir};

/// Models of every placement, several sizes, all the parts that a bottleneck may have, trained
/// layer norms, lowest layers of all kinds, and none at all.
fn models(encoder: &Encoder) -> Vec<TaskModel> {
    let layers = encoder.config().num_hidden_layers;
    let head = |outputs, layers| HeadShape { outputs, layers, activation: Activation::Tanh };
    let mut models = Vec::new();
    for (number, preset) in ["pfeiffer", "houlsby", "parallel"].into_iter().enumerate() {
        for lowest in 0..=layers {
            let mut config = AdapterConfig::preset(preset).expect("a preset");
            config.leave_out = (0..lowest).collect();
            let d = encoder.config().hidden_size;
            config = config.with_bottleneck(d, [4, 8, 16, 2][lowest % 4]).expect("a size");
            config.use_gating = lowest == 1;
            config.ln_before = lowest == 2;
            config.ln_after = lowest == 0;
            let shape = head(1 + (number + lowest) % 4, 1 + lowest % 2);
            let seed = (10 * number + lowest) as u64;
            let mut model = TaskModel::new(encoder, &config, &shape, seed).expect("a model");
            if lowest == 2 {
                model.train_layer_norms(encoder);
            }
            models.push(model);
        }
    }
    models.extend(plain_models(encoder));
    models
}

/// Models of two projections at each place and nothing beside, of every placement: several of one
/// size, sizes on either side of a vector's, every residual, one shared by all layers, and one that
/// leaves the norm at the end to nobody.
fn plain_models(encoder: &Encoder) -> Vec<TaskModel> {
    let d = encoder.config().hidden_size;
    let head = HeadShape { outputs: 2, layers: 1, activation: Activation::Tanh };
    let mut models = Vec::new();
    for (number, preset) in ["pfeiffer", "houlsby", "parallel"].into_iter().enumerate() {
        for (variant, size) in [8, 8, 4, 8, 17, 32].into_iter().enumerate() {
            let config = AdapterConfig::preset(preset).expect("a preset");
            let mut config = config.with_bottleneck(d, size).expect("a size");
            config.leave_out = (0..variant % 3).collect();
            config.scaling = Scaling::Fixed([1.0, 0.5][variant % 2]);
            if preset == "pfeiffer" {
                use AdapterResidual::{AfterAdd, AfterNorm, BeforeNorm};
                config.residual_before_ln = [BeforeNorm, AfterAdd, AfterNorm][variant % 3];
                config.original_ln_after = variant != 5;
            }
            let seed = (100 + 10 * number + variant) as u64;
            let mut model = TaskModel::new(encoder, &config, &head, seed).expect("a model");
            if variant == 3 {
                model.share_across_layers(encoder, &config).expect("one size");
            }
            models.push(model);
        }
    }
    models
}

fn rows(random: &mut Random, count: usize) -> RaggedBatch {
    let rows: Vec<Vec<u32>> = (0..count)
        .map(|_| (0..1 + random.below(9)).map(|_| 5 + random.below(20) as u32).collect())
        .collect();
    let types = [0; 16];
    RaggedBatch::new(rows.iter().map(|row| (&row[..], &types[..row.len()])))
}

#[test]
fn every_answer_has_the_bits_of_its_task_alone() {
    let base = golden_dir("bert").join("model");
    for instructions in Device::INSTRUCTION_SETS {
        let Ok(device) = Device::cpu_with_instructions(instructions, NonZero::new(2)) else {
            println!("skipped {instructions}: this CPU does not have it");
            continue;
        };
        for precision in [Precision::F32, Precision::Int8] {
            let encoder = Encoder::load(&base, &device, precision).expect("the tiny base");
            let layers = encoder.config().num_hidden_layers;
            let trained = models(&encoder);
            // As they wait for rows; every other one was packed before, and there are more than were
            // expected.
            let mut models = ResidentTasks::with_capacity(&encoder, 5);
            for (number, mut model) in self::models(&encoder).into_iter().enumerate() {
                if number % 2 == 0 {
                    model.pack_for_inference();
                }
                assert_eq!(models.add(model), number);
            }
            assert!(models.slab_bytes() > 0);
            let mut random = Random::new(7);
            // One task a row, all tasks on each row, and anything, rows without a task among them.
            for round in 0..6 {
                let count = 1 + random.below(6);
                let batch = rows(&mut random, count);
                let all =
                    (0..batch.rows()).flat_map(|row| (0..models.len()).map(move |m| (row, m)));
                let mut wishes: Vec<Wish> = all
                    .filter(|(row, model)| match round {
                        0 => *model == row % models.len(),
                        1 => true,
                        _ => random.below(4) == 0,
                    })
                    .map(|(row, model)| Wish { row, model, first_layer: 0 })
                    .collect();
                if round > 1 {
                    wishes.iter_mut().for_each(|wish| wish.first_layer = random.below(layers + 1));
                    wishes.extend(wishes.first().copied());
                    wishes.sort_by_cached_key(|_| random.bits());
                }
                let answers = logits_of_wishes(&encoder, &models, &batch, &wishes);
                assert_eq!(answers.len(), wishes.len());
                for (wish, answer) in wishes.iter().zip(&answers) {
                    let alone = batch.select(&[wish.row]);
                    let model = &trained[wish.model];
                    let expected = model.logits_with(&encoder, &alone, wish.first_layer).to_vec();
                    assert!(
                        *answer == expected,
                        "{instructions}, {precision:?}, {wish:?}: {answer:?} and {expected:?}"
                    );
                }
            }
        }
    }
}

/// Below their adapters, and within the layer of the lowest up to where it sits, tasks share a text's
/// rows; above, each has its own, and in the last layer only the first token's.
#[test]
fn tasks_share_every_product_below_their_adapters() {
    let device = Device::cpu(None).expect("a device");
    let base = golden_dir("bert").join("model");
    const TASKS: usize = 3;
    for (preset, own) in [
        ("pfeiffer", [false; 4]),
        ("parallel", [false; 4]),
        ("houlsby", [false, false, true, true]),
    ] {
        for lowest in 0..3 {
            let encoder = Encoder::load(&base, &device, Precision::F32).expect("the tiny base");
            let layers = encoder.config().num_hidden_layers;
            let mut config = AdapterConfig::preset(preset).expect("a preset");
            config.leave_out = (0..lowest).collect();
            let head = HeadShape { outputs: 2, layers: 1, activation: Activation::Tanh };
            let mut tasks = ResidentTasks::with_capacity(&encoder, TASKS);
            for seed in 0..TASKS as u64 {
                tasks.add(TaskModel::new(&encoder, &config, &head, seed).expect("a model"));
            }
            let batch = rows(&mut Random::new(3), 4);
            let wishes: Vec<Wish> = (0..batch.rows() * TASKS)
                .map(|i| Wish { row: i / TASKS, model: i % TASKS, first_layer: 0 })
                .collect();
            logits_of_wishes(&encoder, &tasks, &batch, &wishes);
            let expected: Vec<[u64; 4]> = (0..layers)
                .map(|layer| {
                    std::array::from_fn(|product| {
                        let branched = layer > lowest || layer == lowest && own[product];
                        let first_tokens = layer + 1 == layers && product > 0;
                        let of_a_task = if first_tokens { batch.rows() } else { batch.tokens() };
                        (of_a_task * if branched { TASKS } else { 1 }) as u64
                    })
                })
                .collect();
            assert_eq!(encoder.forward_rows(), expected, "{preset} from layer {lowest} on");
        }
    }
}

#[test]
fn no_wish_is_no_work() {
    let device = Device::cpu(None).expect("a device");
    let base = golden_dir("bert").join("model");
    let encoder = Encoder::load(&base, &device, Precision::F32).expect("the tiny base");
    let batch = rows(&mut Random::new(1), 3);
    let tasks = ResidentTasks::with_capacity(&encoder, 0);
    assert!(logits_of_wishes(&encoder, &tasks, &batch, &[]).is_empty());
}
