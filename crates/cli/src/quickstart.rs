//! `adaptkit quickstart`: the whole story on bundled data.

use std::path::PathBuf;

use adaptkit::adapters::AdapterConfig;
use adaptkit::encoder::TextRow;
use adaptkit::training::data::{
    AnswerKind, Column, Columns, ExampleReader, LabelReading, LabelledRows, ReadOptions, RowFormat,
};
use adaptkit::training::metrics::{MetricSet, Scoring};
use adaptkit::training::run::{
    Dataset, HyperParameters, LrScheduler, Objective, ThresholdChoice, evaluate, predict,
};
use clap::Args;
use serde_json::json;

use crate::Common;
use crate::environment::Environment;
use crate::error::CliError;
use crate::model_cache::{ModelId, resolve_model};
use crate::path_argument::PathArgument;
use crate::progress::{peak_memory_mb, seconds};
use crate::pull::pull;
use crate::rows;
use crate::task_rows::TaskRows;
use crate::train::{AdapterDrop, Finished, NewAdapter, Plan, RobustDraws, Subject};

/// The SMS Spam Collection, with its attribution in data/sms_spam/README.md.
const MESSAGES: &[u8] = include_bytes!("../../../data/sms_spam/SMSSpamCollection");
const MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";
const SENTENCES: [&str; 3] = [
    "Congratulations! You have won a £1000 prize. Call 09061701461 now to claim.",
    "Are we still on for dinner at eight? I might be ten minutes late.",
    "FREE entry into our weekly competition, text WIN to 80086, 18+ only",
];

/// Flags of `adaptkit quickstart`.
#[derive(Args)]
pub(crate) struct Flags {
    /// The base: a model's directory or id; pulled if it is not there
    #[arg(long, value_name = "MODEL", default_value = MODEL)]
    model: String,
    /// Where the adapter goes
    #[arg(long, value_name = "DIR", default_value = "sms-spam-adapter")]
    output_dir: PathBuf,
    /// Replace an adapter that is in the output directory already
    #[arg(long)]
    overwrite: bool,
    /// Passes over the training rows
    #[arg(long, value_name = "N", default_value_t = 2)]
    epochs: usize,
    /// What the split, weights, order and dropout are drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    use adaptkit::adapters::atomic::StagedDirectory;
    let own = crate::task_folder::own_files();
    let names: Vec<&str> = own.iter().map(String::as_str).collect();
    StagedDirectory::check(&flags.output_dir, flags.overwrite, &names)?;
    if resolve_model(&flags.model).is_err() {
        common.note(format_args!("1. pulling {}", flags.model));
        let id = ModelId::parse(&flags.model)?;
        pull(&id, false, &Environment::read(), &common.messages())?;
    } else {
        common.note(format_args!("1. {} is here already", flags.model));
    }
    let (rows, test) = messages(flags.seed)?;
    common.note("2. training a Pfeiffer adapter on the SMS Spam Collection: spam or ham?");
    let scoring = Scoring::from(rows.metrics);
    let plan = Plan {
        model: &PathArgument::from(&flags.model[..]),
        subject: Subject::Adapter(NewAdapter {
            config: AdapterConfig::preset("pfeiffer")?,
            bottleneck: None,
            shared: false,
            layer_norms: false,
        }),
        adapterdrop: AdapterDrop::None,
        robust_draws: RobustDraws::UpTo(None),
        caching: None,
        max_length: None,
        head_dropout: None,
        options: HyperParameters {
            epochs: flags.epochs,
            batch_size: 32,
            max_batch_tokens: None,
            gradient_accumulation_steps: 1,
            early_stopping_patience: None,
            early_stopping_threshold: 0.0,
            learning_rate: 1e-3,
            lr_scheduler: LrScheduler::Linear,
            warmup_ratio: 0.1,
            warmup_steps: None,
            objective: Objective::default(),
            thresholds: ThresholdChoice::Given,
            weight_decay: 0.01,
            max_grad_norm: 1.0,
            head_dropout: 0.0,
            base_dropout: false,
            group_by_length: true,
            robust_drop: None,
            seed: flags.seed,
        },
        scoring: scoring.clone(),
        output_dir: &flags.output_dir,
        overwrite: flags.overwrite,
        own,
        kept: None,
        result: None,
    };
    let Finished::Now(trained) = plan.run(&rows, common)? else {
        return Err(CliError::usage("a run that is not kept cannot have been finished before"));
    };
    common.note("3. evaluating on the held-out tenth, and classifying three sentences");
    let tokens = rows::tokenise(common, "test", &trained.tokenizer, &test, trained.max_length)?;
    let data = Dataset { rows: tokens, answers: test.answers.clone() };
    let (encoder, model) = (&trained.encoder, &trained.model);
    let evaluation = evaluate(encoder, model, &data, &rows.space, &scoring)?;
    let score = |name| evaluation.scores.get(name).unwrap_or(f64::NAN);
    let texts = SENTENCES.map(|text| TextRow { text, pair: None });
    let logits = predict(encoder, model, &trained.tokenizer.encode(&texts, trained.max_length)?);
    let names = rows.space.labels().map(|map| map.names().to_vec()).unwrap_or_default();
    let labels: Vec<&str> =
        logits.iter().map(|z| names[usize::from(z[1] > z[0])].as_str()).collect();
    let outcome = &trained.outcome;
    let tokens_per_second = outcome.tokens as f64 / outcome.took.as_secs_f64();
    let share = trained.results.get("trained_share").and_then(|x| x.as_f64()).unwrap_or(f64::NAN);
    let object = json!({
        "test_accuracy": score("accuracy"),
        "test_f1": score("f1"),
        "test_samples": test.len(),
        "trained_parameters": trained.results.get("trained_parameters"),
        "trained_share": share,
        "train_runtime": outcome.took.as_secs_f64(),
        "train_tokens_per_second": tokens_per_second,
        "peak_memory_mb": peak_memory_mb(),
        "sentences": SENTENCES.iter().zip(&labels).map(|(text, label)| json!({"text": text, "label": label})).collect::<Vec<_>>(),
        "output_dir": flags.output_dir,
    });
    let dir = flags.output_dir.display();
    let mut text = format!(
        "accuracy {:.4}, F1 {:.4} on {} messages held out\n\
         trained parameters: {:.2} % of the base's\n\
         trained for {}, {tokens_per_second:.0} tokens/s\n\n",
        score("accuracy"),
        score("f1"),
        test.len(),
        100.0 * share,
        seconds(outcome.took),
    );
    for (sentence, label) in SENTENCES.iter().zip(&labels) {
        text += &format!("{label:>5}  {sentence}\n");
    }
    text += &format!(
        "\nThe adapter is in {dir}. Next:\n  \
         adaptkit inspect {dir}\n  \
         echo 'See you at noon' | adaptkit predict --model {model} --adapter {dir}\n  \
         adaptkit train --model {model} --train-file yours.csv --text-column text \
         --label-column label --output-dir my-adapter\n",
        model = flags.model
    );
    common.messages().result(&object, text)
}

/// The messages, split 80/10/10 by the seed: for training and validation, and for the test.
fn messages(seed: u64) -> Result<(TaskRows, LabelledRows), CliError> {
    let columns = Columns::text("2").with_label(Column::required("1"));
    let options = ReadOptions { header: false, ..ReadOptions::default() };
    let name = "the SMS Spam Collection";
    let bytes = Box::new(MESSAGES);
    let mut reader = ExampleReader::from_reader(name, bytes, RowFormat::Tsv, &columns, &options)?;
    let examples = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    let mut report = reader.report().clone();
    let reading = LabelReading::plain(AnswerKind::Class);
    let space = reading.infer(&examples)?;
    let all = LabelledRows::new(examples, &reading, &space, &mut report)?;
    let mut parts = all.split(&[0.1, 0.1], seed)?.into_iter();
    let mut next = || parts.next().ok_or_else(|| CliError::usage("the split lacks a part"));
    let (train, validation, test) = (next()?, next()?, next()?);
    let metrics = MetricSet::for_kind(AnswerKind::Class);
    let (name, validation) = (Some("sms_spam".to_owned()), Some(validation));
    Ok((TaskRows { name, train, validation, test: None, space, metrics, left_out: [0; 2] }, test))
}
