//! A fusion of several random adapters beside one, in the same run.

use adaptkit::adapters::config::FusionConfig;
use adaptkit::adapters::files::{ModelReference, StoredFusion};
use adaptkit::adapters::{AdapterConfig, AdapterError, HeadShape, TaskModel};
use adaptkit::encoder::Encoder;
use serde_json::{Value, json};

use super::report::Times;
use super::workload::Workload;

/// A fusion, and medians of what its passes took.
pub(super) struct FusionTimes<'a> {
    pub(super) fused: &'a TaskModel,
    pub(super) logits_s: f64,
    pub(super) train_step_s: f64,
}

/// Times of an adapter over times of the fusion, and what the counted operations let expect.
struct Ratios {
    logits: [f64; 2],
    train_step: [f64; 2],
    /// What part of the fusion's pass and of its step its own products are, as counted.
    shares: [f64; 2],
}

/// A fusion of so many new adapters of a configuration, with a head.
pub(super) fn model(
    encoder: &Encoder,
    config: &AdapterConfig,
    head: &HeadShape,
    members: usize,
) -> Result<TaskModel, AdapterError> {
    let base = encoder.config();
    let reference = ModelReference::new(&base.model_type, "random", base.hidden_size)?;
    let member = |number: usize| {
        let model = TaskModel::new(encoder, config, head, number as u64)?;
        Ok(model.stored_adapter(&format!("member{number}"), config, &reference))
    };
    let members = (0..members).map(member).collect::<Result<Vec<_>, AdapterError>>()?;
    let config = FusionConfig::preset("dynamic")?;
    let fusion = StoredFusion::new(encoder, members, config, &reference, 0)?;
    TaskModel::fused(encoder, &fusion, head, 0)
}

impl FusionTimes<'_> {
    fn ratios(
        &self,
        one: &TaskModel,
        encoder: &Encoder,
        workload: &Workload,
        times: &Times,
    ) -> Ratios {
        let [mut pass, mut step] = [0.0; 2];
        let mut modules = [[0.0; 2]; 2];
        for batch in &workload.batches {
            let forward = encoder.first_token_operations(batch);
            pass += forward;
            step += forward;
            if let Some(lowest) = one.adapter.lowest() {
                step += encoder.backward_operations(batch, lowest);
            }
            for (sums, model) in modules.iter_mut().zip([one, self.fused]) {
                let found = model.adapter.operations(batch, encoder.config().num_hidden_layers);
                sums.iter_mut().zip(found).for_each(|(sum, n)| *sum += n);
            }
        }
        let [one, fused] = modules;
        Ratios {
            logits: [times.logits_s / self.logits_s, (pass + one[0]) / (pass + fused[0])],
            train_step: [
                times.train_step_s / self.train_step_s,
                (step + one[1]) / (step + fused[1]),
            ],
            shares: [fused[0] / (pass + fused[0]), fused[1] / (step + fused[1])],
        }
    }

    /// Multiply-adds of the fusion at one place, for a token: folded, and in training.
    fn multiply_adds(&self) -> Option<[usize; 2]> {
        let (_, module) = self.fused.adapter.modules().next()?;
        module.multiply_adds()
    }

    pub(super) fn json(
        &self,
        members: usize,
        one: &TaskModel,
        encoder: &Encoder,
        workload: &Workload,
        times: &Times,
    ) -> Value {
        let ratios = self.ratios(one, encoder, workload, times);
        let [forward, training] = self.multiply_adds().map_or([None; 2], |both| both.map(Some));
        json!({
            "members": members,
            "trained_parameters": self.fused.parameters(),
            "logits_s": self.logits_s,
            "train_step_s": self.train_step_s,
            "logits_ratio": ratios.logits[0],
            "counted_logits_ratio": ratios.logits[1],
            "train_step_ratio": ratios.train_step[0],
            "counted_train_step_ratio": ratios.train_step[1],
            "multiply_adds": forward,
            "training_multiply_adds": training,
            "share_of_logits": ratios.shares[0],
            "share_of_train_step": ratios.shares[1],
        })
    }

    pub(super) fn words(
        &self,
        members: usize,
        one: &TaskModel,
        encoder: &Encoder,
        workload: &Workload,
        times: &Times,
    ) -> String {
        let ratios = self.ratios(one, encoder, workload, times);
        let [forward, training] = self.multiply_adds().unwrap_or_default();
        format!(
            "\nfusion of {members}    logits {:.4} s, {:.2} of an adapter's speed ({:.2} counted); training \
             step {:.4} s, {:.2} ({:.2} counted)\n\
             its products   {forward} multiply-adds for each token and place, {:.1} % of the pass's; \
             {training} in training, {:.1} %",
            self.logits_s,
            ratios.logits[0],
            ratios.logits[1],
            self.train_step_s,
            ratios.train_step[0],
            ratios.train_step[1],
            100.0 * ratios.shares[0],
            100.0 * ratios.shares[1],
        )
    }
}
