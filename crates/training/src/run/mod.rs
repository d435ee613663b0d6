//! Training one task: the loop, its schedule, its batches and its report.
//!
//! [`train`] runs epochs over rows that are tokenised already; after each it evaluates, and what
//! scored best is what the model holds in the end. Everything random (order of rows, dropout) is
//! drawn from the seed and the step's number, so that the same seed, threads and machine give the
//! same bits.

mod attention;
mod batches;
mod checkpoint;
mod evaluation;
mod layer_drops;
mod objective;
mod optimiser;
mod options;
mod prefix_cache;
mod robust;
mod schedule;
mod target_scale;
mod threshold_choice;
mod training;

pub use attention::attention_sums;
pub use batches::{BatchSize, Dataset, length_grouped_batches, token_batches};
#[doc(hidden)]
pub use checkpoint::fuzz as fuzz_checkpoint;
pub use evaluation::{
    EVALUATION_TOKENS, Evaluation, answers, check_scores, evaluate, predict, predict_wishes,
    predict_wishes_attending,
};
pub use layer_drops::{LayerDrop, evaluate_lowest_dropped, evaluate_spans_dropped};
pub use objective::{ClassWeights, Objective};
pub use optimiser::Optimiser;
pub use options::HyperParameters;
#[doc(hidden)]
pub use prefix_cache::fuzz as fuzz_prefix_cache;
pub use prefix_cache::{CacheDirectory, CacheNotice, PrefixCaching, StatePrecision};
pub use robust::RobustDrop;
pub use schedule::LrScheduler;
pub use target_scale::TargetScale;
pub use threshold_choice::ThresholdChoice;
pub use training::{
    EarlierResult, Ending, EpochReport, Keeping, Observer, Outcome, StepReport, train,
};
