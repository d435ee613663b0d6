//! `--folds`: cross-validation.
//!
//! Every fold is a run of its own, with the seed of all, on the rows of the other folds; it is scored on
//! its own rows. What is written is the scores, not an adapter: of several, each has seen only a part of
//! the rows. Nothing is kept on the way either, so a run that is ended leaves nothing behind.

use std::time::Duration;

use adaptkit::adapters::atomic::{StagedDirectory, write_file};
use adaptkit::training::run::{Dataset, Ending, Outcome, train};
use serde_json::{Map, Value, json};

use super::objective_flags::say_positive;
use super::plan::{Plan, put_scores, scores_in_words};
use crate::Common;
use crate::error::CliError;
use crate::progress::{TrainingProgress, seconds};
use crate::task_folder::RESULTS;
use crate::task_rows::TaskRows;

/// A score over all folds.
struct Spread {
    name: String,
    mean: f64,
    /// The sample standard deviation: over the folds less one.
    deviation: f64,
}

impl Plan<'_> {
    /// Trains and scores once for each of `folds` parts of the rows, and writes the scores.
    pub(super) fn cross_validate(
        mut self,
        rows: &TaskRows,
        folds: usize,
        common: &Common,
    ) -> Result<(), CliError> {
        let parts = rows.train.folds(folds, self.options.seed)?;
        for part in &parts {
            let held_out = rows.train.select(part);
            self.scoring.check(&held_out.answers, &rows.space)?;
        }
        let mut base = self.load(common)?;
        let all = base.tokenise("training", &rows.train, common)?;
        say_positive(&self.scoring, &rows.space, common);
        let mut outcomes: Vec<(Outcome, [usize; 2])> = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            let rest: Vec<usize> =
                (0..all.len()).filter(|row| part.binary_search(row).is_err()).collect();
            let pick = |picked: &[usize]| Dataset {
                rows: picked.iter().map(|row| all.rows[*row].clone()).collect(),
                answers: rows.train.select(picked).answers,
            };
            let (train_set, validation) = (pick(&rest), pick(part));
            let (mut model, _) = self.begin(&mut base, &rows.space)?;
            common.note(format_args!(
                "fold {} of {folds}: training on {} rows, scoring on {}",
                number + 1,
                train_set.len(),
                validation.len()
            ));
            let mut progress = TrainingProgress::new(common.quiet, None, None);
            let sets = (&train_set, Some(&validation));
            let (answers, caching) = ((&rows.space, &self.scoring), self.caching.as_ref());
            let (encoder, options) = (&base.encoder, &self.options);
            let ending =
                train(encoder, &mut model, sets, answers, options, None, caching, &mut progress);
            drop(progress);
            let name = format!("fold {}", number + 1);
            let scored = rows.train.select(part);
            // Nobody asks it to stop.
            if let Ending::Finished(outcome) =
                ending.map_err(|error| CliError::of_scoring(error, &name, &scored.rows))?
            {
                outcomes.push((outcome, [train_set.len(), validation.len()]));
            }
        }
        let spreads = spreads(&outcomes);
        let results = self.fold_results(rows, &outcomes, &spreads);
        let mut own: Vec<&str> = self.own.iter().map(String::as_str).collect();
        own.push(RESULTS);
        let staged = StagedDirectory::create(self.output_dir, self.overwrite, &own)?;
        let text = format!("{:#}\n", Value::Object(results.clone()));
        write_file(&staged.path().join(RESULTS), text.as_bytes())?;
        staged.commit()?;
        self.say_folds(results, &outcomes, &spreads, common)
    }

    fn fold_results(
        &self,
        rows: &TaskRows,
        outcomes: &[(Outcome, [usize; 2])],
        spreads: &[Spread],
    ) -> Map<String, Value> {
        let of_folds = outcomes.iter().enumerate().map(|(number, (outcome, [trained_on, _]))| {
            let mut results = Map::new();
            results.insert("fold".into(), json!(number + 1));
            results.insert("train_samples".into(), json!(trained_on));
            results.insert("best_epoch".into(), json!(outcome.best_epoch));
            results.insert("epoch".into(), json!(outcome.epochs as f64));
            results.insert("train_loss".into(), json!(outcome.train_loss));
            results.insert("train_runtime".into(), json!(outcome.took.as_secs_f64()));
            put_scores(&mut results, "eval", outcome.best.as_ref());
            Value::Object(results)
        });
        let mut results = Map::new();
        let folds: Vec<Value> = of_folds.collect();
        results.insert("folds".into(), json!(folds.len()));
        for Spread { name, mean, deviation } in spreads {
            results.insert(format!("eval_{name}_mean"), json!(mean));
            results.insert(format!("eval_{name}_std"), json!(deviation));
        }
        results.insert("metric_for_best_model".into(), json!(self.scoring.best.name()));
        results.insert("train_rows_left_out".into(), json!(rows.left_out[0]));
        results.insert("samples".into(), json!(rows.train.len()));
        results.insert("seed".into(), json!(self.options.seed));
        let options = serde_json::to_value(&self.options).unwrap_or_default();
        results.insert("training".into(), options);
        results.insert("fold_results".into(), folds.into());
        results
    }

    fn say_folds(
        &self,
        results: Map<String, Value>,
        outcomes: &[(Outcome, [usize; 2])],
        spreads: &[Spread],
        common: &Common,
    ) -> Result<(), CliError> {
        let mut words = String::new();
        for (number, (outcome, [_, scored_on])) in outcomes.iter().enumerate() {
            let scores = outcome.best.as_ref().map(scores_in_words).unwrap_or_default();
            let (fold, epoch) = (number + 1, outcome.best_epoch);
            words += &format!("fold {fold}: {scores} on {scored_on} rows (epoch {epoch})\n");
        }
        let count = outcomes.len();
        words += &format!("mean and sample standard deviation over {count} folds:\n");
        for Spread { name, mean, deviation } in spreads {
            words += &format!("  {name} {mean:.4} ± {deviation:.4}\n");
        }
        let took: Duration = outcomes.iter().map(|(outcome, _)| outcome.took).sum();
        let directory = self.output_dir.display();
        words +=
            &format!("trained for {}\nscores written to {directory}; no adapter", seconds(took));
        common.messages().result(&results, words)
    }
}

/// Every score over the folds, the loss last.
fn spreads(outcomes: &[(Outcome, [usize; 2])]) -> Vec<Spread> {
    let evaluations: Vec<_> =
        outcomes.iter().filter_map(|(outcome, _)| outcome.best.as_ref()).collect();
    let Some(first) = evaluations.first() else { return Vec::new() };
    let names = first.scores.iter().map(|(name, _)| name.to_owned());
    let names = names.chain(["loss".to_owned()]);
    let spread = |name: String| {
        let values = evaluations.iter().map(|evaluation| match &*name {
            "loss" => evaluation.loss,
            name => evaluation.scores.get(name).unwrap_or(f64::NAN),
        });
        let (mean, deviation) = mean_and_deviation(&values.collect::<Vec<_>>());
        Spread { name, mean, deviation }
    };
    names.map(spread).collect()
}

/// The mean of at least two values, and their sample standard deviation.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), (2.0, 2f64.sqrt()));
        assert_eq!(mean_and_deviation(&[0.5, 0.5, 0.5]), (0.5, 0.0));
        // numpy.std([.9, .8, .95, .7], ddof=1)
        let (mean, deviation) = mean_and_deviation(&[0.9, 0.8, 0.95, 0.7]);
        assert!(
            (mean - 0.8375).abs() < 1e-12 && (deviation - 0.110_867_789_130_417_25).abs() < 1e-12
        );
    }
}
