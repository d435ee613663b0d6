//! Who stays in a pruned fusion, where, and in which order; and that its files hold nothing else.

use std::collections::BTreeMap;

use adaptkit_adapters::files::{StoredFusion, StoredHead};
use adaptkit_adapters::{MeanAttention, PlaceAttention, Pruning};
use adaptkit_testkit::golden_dir;

fn golden(name: &str) -> (StoredFusion, StoredHead) {
    let (fusion, head) =
        StoredFusion::read(&golden_dir(name).join("setup")).expect("a fusion of the library");
    (fusion, head.expect("a head"))
}

/// Weights of three members in each of three layers.
fn attention(fusion: &StoredFusion, layers: [[f64; 3]; 3]) -> MeanAttention {
    let layers = layers.iter().enumerate().map(|(layer, weights)| {
        let weights = weights.iter().map(|weight| Some(*weight)).collect();
        PlaceAttention { layer, site: "output".to_owned(), weights }
    });
    MeanAttention {
        members: fusion.members.iter().map(|member| member.name.clone()).collect(),
        positions: 10,
        layers: layers.collect(),
    }
}

struct Case {
    what: &'static str,
    weights: [[f64; 3]; 3],
    keep: usize,
    pruning: Pruning,
    /// The members left, in the order of the folder's name.
    name: &'static str,
    /// Those of each layer.
    kept: [&'static str; 3],
    last_is_everywhere: bool,
}

const EQUAL: [f64; 3] = [1.0 / 3.0; 3];

const CASES: [Case; 9] = [
    Case {
        what: "all stay as they are",
        weights: [[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], EQUAL],
        keep: 3,
        pruning: Pruning::PerLayer,
        name: "mnli,qqp,sst2",
        kept: ["mnli,qqp,sst2"; 3],
        last_is_everywhere: true,
    },
    Case {
        what: "the last is everywhere already",
        weights: [[0.5, 0.1, 0.4], [0.1, 0.5, 0.4], [0.1, 0.5, 0.4]],
        keep: 2,
        pruning: Pruning::PerLayer,
        name: "mnli,qqp,sst2",
        kept: ["mnli,sst2", "qqp,sst2", "qqp,sst2"],
        last_is_everywhere: true,
    },
    Case {
        what: "who is everywhere comes last",
        weights: [[0.5, 0.4, 0.1], [0.5, 0.1, 0.4], [0.5, 0.1, 0.4]],
        keep: 2,
        pruning: Pruning::PerLayer,
        name: "qqp,sst2,mnli",
        kept: ["qqp,mnli", "sst2,mnli", "sst2,mnli"],
        last_is_everywhere: true,
    },
    Case {
        what: "nobody is everywhere",
        weights: [[0.5, 0.4, 0.1], [0.1, 0.5, 0.4], [0.4, 0.1, 0.5]],
        keep: 1,
        pruning: Pruning::PerLayer,
        name: "mnli,qqp,sst2",
        kept: ["mnli", "qqp", "sst2"],
        last_is_everywhere: false,
    },
    Case {
        what: "the strongest over all layers is in each, for Python",
        weights: [[0.5, 0.4, 0.1], [0.1, 0.5, 0.4], [0.4, 0.1, 0.5]],
        keep: 1,
        pruning: Pruning::PerLayerAround,
        name: "mnli",
        kept: ["mnli"; 3],
        last_is_everywhere: true,
    },
    Case {
        what: "and the others are each layer's own",
        weights: [[0.2, 0.3, 0.5], [0.1, 0.5, 0.4], [0.5, 0.1, 0.4]],
        keep: 2,
        pruning: Pruning::PerLayerAround,
        name: "mnli,qqp,sst2",
        kept: ["qqp,sst2", "qqp,sst2", "mnli,sst2"],
        last_is_everywhere: true,
    },
    Case {
        what: "a member that is kept nowhere is gone, the last too",
        weights: [[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.3, 0.6, 0.1]],
        keep: 2,
        pruning: Pruning::PerLayer,
        name: "mnli,qqp",
        kept: ["mnli,qqp"; 3],
        last_is_everywhere: true,
    },
    Case {
        what: "over all layers",
        weights: [[0.0, 0.9, 0.1], [0.5, 0.1, 0.4], [0.6, 0.3, 0.1]],
        keep: 2,
        pruning: Pruning::Global,
        name: "mnli,qqp",
        kept: ["mnli,qqp"; 3],
        last_is_everywhere: true,
    },
    Case {
        what: "of equal ones the first",
        weights: [EQUAL; 3],
        keep: 1,
        pruning: Pruning::Global,
        name: "mnli",
        kept: ["mnli"; 3],
        last_is_everywhere: true,
    },
];

#[test]
fn the_strongest_stay_and_one_that_is_everywhere_comes_last() {
    let (fusion, head) = golden("fusion-dynamic-3");
    for Case { what, weights, keep, pruning, name, kept, last_is_everywhere } in CASES {
        let pruned = fusion.pruned(&attention(&fusion, weights), keep, pruning).expect(what);
        assert_eq!(pruned.fusion.name(), name, "{what}");
        let expected = kept.map(|names| names.split(',').map(str::to_owned).collect::<Vec<_>>());
        let expected: BTreeMap<usize, Vec<String>> = (0..).zip(expected).collect();
        assert_eq!(pruned.kept, expected, "{what}");
        assert_eq!(pruned.last_is_everywhere, last_is_everywhere, "{what}");
        for member in &pruned.fusion.members {
            for layer in 0..3 {
                let stays = expected[&layer].contains(&member.name);
                assert_eq!(!member.config.leave_out.contains(&layer), stays, "{what}, {layer}");
                let has = member.modules.keys().any(|place| place.layer == layer);
                assert_eq!(has, stays, "{what}: {} in layer {layer}", member.name);
            }
            let before = fusion.members.iter().find(|before| before.name == member.name);
            let before = &before.expect("one of them").modules;
            assert!(
                member.modules.iter().all(|(place, module)| before[place] == *module),
                "{what}"
            );
        }
        assert_eq!(pruned.fusion.attention, fusion.attention, "{what}");

        // Written, it is there whole, without the others' folders.
        let home = tempfile::tempdir().expect("a directory");
        pruned.fusion.write(home.path(), &head).expect(what);
        let (again, _) = StoredFusion::read(home.path()).expect(what);
        assert!(again == pruned.fusion, "{what}");
        for member in &fusion.members {
            let stays = pruned.fusion.members.iter().any(|other| other.name == member.name);
            assert_eq!(home.path().join(&member.name).exists(), stays, "{what}: {}", member.name);
        }
    }
}

#[test]
fn a_member_s_weight_in_a_layer_is_the_mean_over_its_places() {
    let place = |layer: usize, site: &str, weights: [Option<f64>; 2]| PlaceAttention {
        layer,
        site: site.to_owned(),
        weights: weights.to_vec(),
    };
    let attention = MeanAttention {
        members: vec!["a".to_owned(), "b".to_owned()],
        positions: 1,
        layers: vec![
            place(0, "attention", [None, Some(1.0)]),
            place(0, "output", [Some(0.75), Some(0.25)]),
            place(2, "output", [Some(1.0), None]),
        ],
    };
    let expected =
        BTreeMap::from([(0, vec![Some(0.375), Some(0.625)]), (2, vec![Some(1.0), None])]);
    assert_eq!(attention.by_layer(), expected);
    assert_eq!(attention.overall(), [0.6875, 0.3125]);
}

#[test]
fn the_wiring_of_a_pruned_last_member_stays_that_of_the_fusion() {
    let (mut fusion, _) = golden("fusion-dynamic-3");
    fusion.members[2].config.original_ln_after = false;
    let weights = attention(&fusion, [[0.5, 0.4, 0.1]; 3]);
    let pruned = fusion.pruned(&weights, 2, Pruning::Global).expect("two of them");
    assert_eq!(pruned.fusion.name(), "mnli,qqp");
    let wired: Vec<bool> =
        pruned.fusion.members.iter().map(|member| member.config.original_ln_after).collect();
    assert_eq!(wired, [true, false]);
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let (fusion, _) = golden("fusion-dynamic-3");
    let weights = attention(&fusion, [EQUAL; 3]);
    for keep in [0, 4] {
        let error = fusion.pruned(&weights, keep, Pruning::PerLayer).expect_err("too few or many");
        let words = format!("has 3 members: pruning keeps from 1 to 3 of them, not {keep}");
        assert!(error.to_string().contains(&words), "{error}");
    }
    let mut others = weights;
    others.members.swap(0, 1);
    let error = fusion.pruned(&others, 1, Pruning::PerLayer).expect_err("another order");
    assert!(error.to_string().contains("qqp,mnli,sst2"), "{error}");
}
