//! `adaptkit prune`: a fusion with fewer members, chosen by what tokens attend to.

mod rows;
mod sweep;

use std::path::{Path, PathBuf};

use adaptkit::adapters::atomic::{StagedDirectory, write_file};
use adaptkit::adapters::files::{
    ADAPTER_SETUP, BaseReference, Provenance, PrunedFrom, StoredAdapter, StoredFusion, StoredHead,
};
use adaptkit::adapters::{MeanAttention, Pruned, Pruning, TaskModel, room};
use adaptkit::encoder::foreign_text::{path_shown, quoted};
use adaptkit::encoder::{Encoder, Tokenizer};
use adaptkit::training::TrainingError;
use adaptkit::training::data::{AnswerSpace, Example};
use adaptkit::training::metrics::Scoring;
use adaptkit::training::run::{
    Dataset, Ending, Evaluation, HyperParameters, LrScheduler, Objective, RobustDrop, TargetScale,
    ThresholdChoice, attention_sums, evaluate, predict, train,
};
use clap::Args;
use serde_json::{Map, Value, json};

use self::rows::{Needs, RowFlags};
use self::sweep::Sweep;
use crate::Common;
use crate::attention;
use crate::error::CliError;
use crate::model_cache::resolve_model;
use crate::path_argument::PathArgument;
use crate::picture::PictureFile;
use crate::progress::TrainingProgress;
use crate::task_folder::{MODEL_CARD, RESULTS, Stored, TaskFolder, own_files};
use crate::train::{AdapterDrop, Begun, ModelCard, ObjectiveFlags, adapter_name};

/// Flags of `adaptkit prune`.
#[derive(Args)]
pub(crate) struct Flags {
    /// The base: a model's directory, or the id of a pulled model
    #[arg(long, alias = "model-name-or-path", value_name = "MODEL")]
    model: PathArgument,
    /// The fusion's directory, which stays as it is
    #[arg(long, alias = "adapter", value_name = "DIR")]
    fusion: PathBuf,
    /// The fusion's head, where several lie beside it
    #[arg(long, value_name = "NAME")]
    head: Option<String>,
    /// How many members to keep
    #[arg(long, value_name = "K", required_unless_present = "sweep")]
    keep: Option<usize>,
    /// Keep in each layer the K that its tokens attend to most (Rücklé et al. 2021); the default
    #[arg(long, conflicts_with_all = ["global", "for_python"])]
    per_layer: bool,
    /// Keep everywhere the K that tokens attend to most over all layers
    #[arg(long, conflicts_with = "for_python")]
    global: bool,
    /// As --per-layer, but that one of the K is the same in each layer, the strongest over all of
    /// them: the Python library needs a last member that is everywhere
    #[arg(long)]
    for_python: bool,
    /// Where the pruned fusion goes
    #[arg(long, value_name = "DIR", required_unless_present = "sweep")]
    output_dir: Option<PathBuf>,
    /// Replace a fusion that is in the output directory already
    #[arg(long, alias = "overwrite-output-dir")]
    overwrite: bool,
    /// Score every K on the validation rows, with its speed, and write nothing
    #[arg(long, conflicts_with_all = ["keep", "output_dir", "overwrite"])]
    sweep: bool,
    /// Draw what --sweep finds: an SVG picture, or a page if it ends in .html
    #[arg(long, value_name = "FILE", value_parser = PictureFile::parser())]
    plot: Option<PictureFile>,
    #[command(flatten)]
    rows: RowFlags,
    /// Train the fusion and its head for so many epochs after pruning, beginning at what they are
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    retrain_epochs: usize,
    /// The highest learning rate of that training
    #[arg(long, value_name = "X", default_value_t = 5e-5, help_heading = "Training")]
    learning_rate: f32,
    /// Rows in a batch of that training
    #[arg(
        long,
        alias = "per-device-train-batch-size",
        value_name = "N",
        default_value_t = 32,
        help_heading = "Training"
    )]
    batch_size: usize,
    #[command(flatten)]
    objective: ObjectiveFlags,
    /// What held-out rows, order and dropout are drawn from; give the one of `adaptkit fuse`
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    seed: u64,
    /// Longer rows are cut to this many tokens; as in training by default
    #[arg(long, alias = "max-seq-length", value_name = "N")]
    max_length: Option<usize>,
}

/// A fusion on its encoder, with the rows that it is pruned by.
struct Session<'a> {
    flags: &'a Flags,
    common: &'a Common,
    folder: &'a TaskFolder,
    fusion: &'a StoredFusion,
    encoder: Encoder,
    space: AnswerSpace,
    /// What retraining descends.
    objective: Objective,
    train: Dataset,
    /// Labelled rows to score on, if there are any.
    validation: Option<(Dataset, Scoring)>,
    /// Those rows as they were read, for messages.
    validation_rows: &'a [Example],
    attention: MeanAttention,
}

/// A pruned fusion, retrained if that was asked for.
struct Kept {
    pruned: Pruned,
    head: StoredHead,
    evaluation: Option<Evaluation>,
    model: TaskModel,
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    flags.check()?;
    let folder = TaskFolder::read(&flags.fusion, flags.head.as_deref())?;
    let Stored::Fusion(fusion) = &folder.stored else {
        return Err(CliError::usage(format!(
            "--fusion {}: it holds no fusion, and there is nothing to prune in anything else; \
             `adaptkit fuse` makes one of several adapters",
            flags.fusion.display()
        )));
    };
    let members = fusion.members.len();
    if let Some(keep) = flags.keep.filter(|keep| *keep == 0 || *keep > members) {
        return Err(CliError::usage(format!(
            "--keep is {keep}, and the fusion has {members} members: give a number from 1 to \
             {members}"
        )));
    }
    let own = flags.output_dir.as_ref().map(|output| own_names(fusion, output));
    if let (Some(output), Some(own)) = (&flags.output_dir, &own) {
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        StagedDirectory::check(output, flags.overwrite, &own)?;
        let names: Vec<&str> = fusion.members.iter().map(|member| &member.name[..]).collect();
        StoredFusion::check_names(&names, &adapter_name(output))?;
        let members = fusion.members.iter().map(StoredAdapter::parameters).sum::<usize>();
        let numbers = members + fusion.parameters() + folder.head.parameters();
        room::check(output, 4 * numbers as u64 + room::AROUND)?;
    }
    let space = folder.answer_space(None)?;
    let objective = flags.objective.read(&space)?;
    let needs = match flags.sweep || flags.retrain_epochs > 0 {
        true => Needs::Labels,
        false => Needs::Texts,
    };
    let rows = flags.rows.read(&space, needs, flags.seed, common)?;
    let directory = resolve_model(&flags.model)?;
    let device = common.device()?;
    let mut encoder = Encoder::load(&directory, &device, common.precision(&device))?;
    let tokenizer = Tokenizer::from_dir(&directory, encoder.config())?;
    let max_length = folder.max_length(flags.max_length, &encoder)?;
    let whole = folder.on(&encoder, &tokenizer, &flags.model)?;
    if flags.retrain_epochs > 0 {
        encoder.prepare_backward(whole.adapter.lowest())?;
    }
    let (train, validation) = rows.tokenise(&encoder, &tokenizer, max_length, common)?;
    let validation = match validation {
        Some((data, set)) => {
            let stored = folder.provenance.as_ref().and_then(|p| p.positive_label.as_deref());
            let scoring = flags.objective.scoring(set, &space, stored)?;
            scoring.check(&data.answers, &space)?;
            Some((data, scoring))
        }
        None => None,
    };
    common.note(format_args!(
        "measuring what the members of {} are attended to on {} rows, {} tokens; {device:?}",
        quoted(&fusion.name()),
        train.rows.len(),
        train.rows.iter().map(|row| row.ids.len()).sum::<usize>(),
    ));
    let sums = attention_sums(&encoder, &whole, &train.rows);
    drop(whole);
    let attention = fusion.layout().mean_attention(&sums);
    let folder = &folder;
    let session = Session {
        flags,
        common,
        folder,
        fusion,
        encoder,
        space,
        objective,
        train,
        validation,
        validation_rows: rows.validation(),
        attention,
    };
    match (flags.keep, &flags.output_dir) {
        (Some(keep), Some(output)) => session.prune(keep, output, own.unwrap_or_default()),
        _ => session.sweep(),
    }
}

/// What the output directory may hold, to be replaced: this fusion's files and those of the one that
/// is there.
fn own_names(fusion: &StoredFusion, output: &Path) -> Vec<String> {
    let mut own = own_files();
    own.extend([ADAPTER_SETUP.to_owned(), adapter_name(output), fusion.name()]);
    own.extend(fusion.members.iter().map(|member| member.name.clone()));
    if StoredFusion::is_at(output)
        && let Ok((there, head)) = StoredFusion::read(output)
    {
        own.extend([there.name()]);
        own.extend(there.members.into_iter().map(|member| member.name));
        own.extend(head.map(|head| head.name));
    }
    own
}

impl Flags {
    fn check(&self) -> Result<(), CliError> {
        if self.plot.is_some() && !self.sweep {
            return Err(CliError::usage("--plot draws what --sweep finds; give that"));
        }
        if let Some(file) = &self.plot {
            file.check()?;
        }
        if !(self.learning_rate.is_finite() && self.learning_rate >= 0.0) {
            let message =
                format!("--learning-rate is {}, not a number from 0 on", self.learning_rate);
            return Err(CliError::usage(message));
        }
        if self.retrain_epochs == 0 && self.objective.is_given() {
            return Err(CliError::usage(
                "--class-weights, --label-smoothing and --metric are for --retrain-epochs: nothing \
                 is trained without it",
            ));
        }
        if self.batch_size == 0 {
            return Err(CliError::usage("--batch-size is 0, it must be at least 1"));
        }
        Ok(())
    }

    fn pruning(&self) -> Pruning {
        match (self.global, self.for_python) {
            (true, _) => Pruning::Global,
            (false, true) => Pruning::PerLayerAround,
            (false, false) => Pruning::PerLayer,
        }
    }

    /// The same in a word, for files and results.
    fn pruning_name(&self) -> &'static str {
        match self.pruning() {
            Pruning::PerLayer => "per-layer",
            Pruning::PerLayerAround => "per-layer for Python",
            Pruning::Global => "global",
        }
    }
}

impl Session<'_> {
    /// The fusion with `keep` members, on the encoder, packed for inference.
    fn keep(&self, keep: usize) -> Result<Kept, CliError> {
        let mut pruned = self.fusion.pruned(&self.attention, keep, self.flags.pruning())?;
        let mut head = self.folder.head.clone();
        if self.flags.retrain_epochs > 0 {
            self.retrain(&mut pruned, &mut head)?;
        }
        let mut model = TaskModel::from_stored_fusion(&self.encoder, &pruned.fusion, &head)?;
        model.pack_for_inference();
        let evaluation = match &self.validation {
            None => None,
            Some((data, scoring)) => {
                // The first pass meets memory that the others find there.
                predict(&self.encoder, &model, &data.rows[..data.len().min(8)]);
                let scored = evaluate(&self.encoder, &model, data, &self.space, scoring);
                Some(scored.map_err(|error| self.of_scoring(error))?)
            }
        };
        Ok(Kept { pruned, head, evaluation, model })
    }

    fn of_scoring(&self, error: TrainingError) -> CliError {
        CliError::of_scoring(error, self.folder.name(), self.validation_rows)
    }

    /// Trains fusion and head on from where they are, as `adaptkit fuse` does.
    fn retrain(&self, pruned: &mut Pruned, head: &mut StoredHead) -> Result<(), CliError> {
        let Some((validation, scoring)) = &self.validation else { return Ok(()) };
        for member in &pruned.fusion.members {
            member.config.check_trainable()?;
        }
        let mut model = TaskModel::from_stored_fusion(&self.encoder, &pruned.fusion, head)?;
        let robust = self.folder.provenance.as_ref().and_then(|p| p.adapterdrop.as_deref());
        let layers = self.encoder.config().num_hidden_layers;
        let dropout = match head.dropout_prob {
            Some(dropout) => dropout as f32,
            None => self.encoder.config().head_dropout(),
        };
        let options = HyperParameters {
            epochs: self.flags.retrain_epochs,
            batch_size: self.flags.batch_size,
            max_batch_tokens: None,
            gradient_accumulation_steps: 1,
            learning_rate: self.flags.learning_rate,
            lr_scheduler: LrScheduler::Linear,
            warmup_ratio: 0.1,
            warmup_steps: None,
            objective: self.objective.clone(),
            thresholds: ThresholdChoice::Given,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            head_dropout: dropout,
            base_dropout: false,
            early_stopping_patience: None,
            early_stopping_threshold: 0.0,
            group_by_length: true,
            robust_drop: (robust == Some("robust"))
                .then(|| RobustDrop::uniform(layers.saturating_sub(1))),
            seed: self.flags.seed,
        };
        let mut progress = TrainingProgress::new(self.common.quiet, None, None);
        // The stored head puts out the targets' own units.
        TargetScale::of(&self.train.answers).unfold(&mut model);
        let (sets, answers) = ((&self.train, Some(validation)), (&self.space, scoring));
        let encoder = &self.encoder;
        let ending = train(encoder, &mut model, sets, answers, &options, None, None, &mut progress)
            .map_err(|error| self.of_scoring(error))?;
        drop(progress);
        debug_assert!(matches!(ending, Ending::Finished(_)), "nobody asks it to stop");
        pruned.fusion = model.stored_fusion(&pruned.fusion);
        let (kind, labels) = (head.kind, head.labels.clone());
        *head = model.stored_head(&head.name, kind, labels, f64::from(dropout), &head.model);
        Ok(())
    }

    fn prune(&self, keep: usize, output: &Path, own: Vec<String>) -> Result<(), CliError> {
        let Kept { pruned, mut head, evaluation, model } = self.keep(keep)?;
        head.name = adapter_name(output);
        let sums = attention_sums(&self.encoder, &model, &self.train.rows);
        let attention = pruned.fusion.layout().mean_attention(&sums);
        let results = self.results(keep, &pruned, &head, evaluation.as_ref());
        let mut own: Vec<&str> = own.iter().map(String::as_str).collect();
        own.push(&head.name);
        let staged = StagedDirectory::create(output, self.flags.overwrite, &own)?;
        pruned.fusion.write(staged.path(), &head)?;
        let provenance = self.provenance(keep, evaluation.as_ref(), attention);
        provenance.write(staged.path())?;
        let card = self.card(keep, pruned.clone(), &head, &provenance, &results);
        write_file(&staged.path().join(MODEL_CARD), card.as_bytes())?;
        let text = format!("{:#}\n", Value::Object(results.clone()));
        write_file(&staged.path().join(RESULTS), text.as_bytes())?;
        staged.commit()?;
        if !pruned.last_is_everywhere {
            self.common.note(
                "note: no member is left in every layer, and the Python library cannot run such a \
                 fusion; --for-python keeps one in each, --global all",
            );
        }
        self.say(results, &pruned, output)
    }

    fn results(
        &self,
        keep: usize,
        pruned: &Pruned,
        head: &StoredHead,
        evaluation: Option<&Evaluation>,
    ) -> Map<String, Value> {
        let mut results = Map::new();
        let mut put = |name: &str, value: Value| results.insert(name.to_owned(), value);
        put("pruned_from", json!(self.attention.members));
        put("pruned_by", json!(self.flags.pruning_name()));
        put("keep", json!(keep));
        put("kept", layers(&pruned.kept));
        put("runs_in_python", json!(pruned.last_is_everywhere));
        put("train_samples", json!(self.train.rows.len()));
        put("fusion_attention", json!(self.attention));
        if let Some(evaluation) = evaluation {
            for (name, score) in evaluation.scores.iter() {
                put(&format!("eval_{name}"), json!(score));
            }
            put("eval_loss", json!(evaluation.loss));
            put("eval_samples", json!(evaluation.predictions.len()));
            let seconds = evaluation.took.as_secs_f64().max(1e-9);
            put("eval_samples_per_second", json!(evaluation.predictions.len() as f64 / seconds));
        }
        put("retrain_epochs", json!(self.flags.retrain_epochs));
        put("trained_parameters", json!(pruned.fusion.parameters() + head.parameters()));
        put("base_parameters", json!(self.encoder.parameters()));
        results
    }

    fn provenance(
        &self,
        keep: usize,
        evaluation: Option<&Evaluation>,
        attention: MeanAttention,
    ) -> Provenance {
        let scores = evaluation.map(|evaluation| {
            let scores = evaluation.scores.iter().map(|(n, x)| (format!("eval_{n}"), x));
            scores.chain([("eval_loss".to_owned(), evaluation.loss)]).collect()
        });
        let before = self.folder.provenance.clone();
        let mut provenance = before.unwrap_or_else(|| Provenance {
            adaptkit_version: String::new(),
            base: BaseReference::new(&self.flags.model, &self.encoder),
            task: None,
            labels: self.folder.head.labels.clone().unwrap_or_default(),
            threshold: self.space.thresholds().and_then(|t| t.common()).map(|t| t.probability()),
            thresholds: self.space.thresholds().and_then(|thresholds| thresholds.own()),
            positive_label: None,
            max_length: self.flags.max_length,
            seed: None,
            adapterdrop: None,
            metrics: Default::default(),
            training: Map::new(),
            fusion_attention: None,
            pruned: None,
            unknown: Map::new(),
        });
        provenance.adaptkit_version = env!("CARGO_PKG_VERSION").to_owned();
        // Those of the fusion that it was are not its own.
        provenance.metrics = scores.unwrap_or_default();
        provenance.fusion_attention = Some(attention);
        let (by, attention) = (self.flags.pruning_name().to_owned(), self.attention.clone());
        provenance.pruned = Some(PrunedFrom { keep, by, attention });
        if self.flags.retrain_epochs > 0 {
            provenance.seed = Some(self.flags.seed);
            let training = &mut provenance.training;
            training.insert("retrain_epochs".into(), json!(self.flags.retrain_epochs));
            training.insert("retrain_learning_rate".into(), json!(self.flags.learning_rate));
            if let Ok(Value::Object(objective)) = serde_json::to_value(&self.objective) {
                let retrained = objective.into_iter().map(|(k, v)| (format!("retrain_{k}"), v));
                training.extend(retrained);
            }
        }
        provenance
    }

    fn card(
        &self,
        keep: usize,
        pruned: Pruned,
        head: &StoredHead,
        provenance: &Provenance,
        results: &Map<String, Value>,
    ) -> String {
        let members = self.fusion.members.iter().map(|m| format!("`{}`", m.name.replace('`', "'")));
        let what = format!(
            "Pruned from a fusion of {}: {keep} of {} members kept, {}, by the mean attention to \
             them.",
            members.collect::<Vec<_>>().join(", "),
            self.fusion.members.len(),
            self.flags.pruning_name(),
        );
        let adapterdrop = provenance.adapterdrop.as_deref().and_then(|text| text.parse().ok());
        ModelCard {
            name: &head.name,
            base: &self.flags.model,
            task: provenance.task.as_deref(),
            labels: &provenance.labels,
            subject: &Begun::Fusion(pruned.fusion),
            adapterdrop: adapterdrop.unwrap_or(AdapterDrop::None),
            training: &provenance.training,
            results,
            pruned: Some(&what),
            for_python: pruned.last_is_everywhere,
        }
        .text()
    }

    fn say(
        &self,
        results: Map<String, Value>,
        pruned: &Pruned,
        directory: &Path,
    ) -> Result<(), CliError> {
        use std::fmt::Write;
        let mut words = attention::table(&self.attention);
        words.push_str("\nkept:\n");
        for (layer, members) in &pruned.kept {
            let members: Vec<String> = members.iter().map(|name| quoted(name)).collect();
            let _ = writeln!(words, "layer {layer}: {}", members.join(", "));
        }
        for (name, value) in results.iter().filter(|(name, _)| name.starts_with("eval_")) {
            let shown = match value.as_f64() {
                Some(x) if x.fract() != 0.0 => format!("{x:.4}"),
                _ => value.to_string(),
            };
            let _ = writeln!(words, "{name}: {shown}");
        }
        let _ = writeln!(words, "written to {}", path_shown(directory));
        self.common.messages().result(&results, words)
    }

    fn sweep(&self) -> Result<(), CliError> {
        let Some((validation, scoring)) = &self.validation else {
            return Err(CliError::usage("--sweep needs labelled rows to score on"));
        };
        let mut sweep = Sweep::new(self.flags.pruning_name(), scoring.set.best_metric());
        for keep in (1..=self.fusion.members.len()).rev() {
            self.common.note(format_args!("scoring {keep} members on {} rows", validation.len()));
            let Kept { pruned, evaluation, .. } = self.keep(keep)?;
            sweep.points.extend(evaluation.map(|evaluation| (keep, pruned, evaluation)));
        }
        if let Some(file) = &self.flags.plot {
            let title = format!("{}: {} rows", self.folder.name(), validation.len());
            file.write(&title, sweep.svg(&title))?;
        }
        let mut results = sweep.json();
        results.insert("train_samples".into(), json!(self.train.rows.len()));
        results.insert("eval_samples".into(), json!(validation.len()));
        results.insert("fusion_attention".into(), json!(self.attention));
        let words = format!("{}\n{}", attention::table(&self.attention), sweep.table());
        self.common.messages().result(&results, words)
    }
}

/// Who was kept, layer by layer.
fn layers(kept: &std::collections::BTreeMap<usize, Vec<String>>) -> Value {
    let layers = kept.iter().map(|(layer, members)| json!({"layer": layer, "members": members}));
    layers.collect()
}
