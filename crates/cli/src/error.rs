//! What a command fails with, and how the process says so.

use std::path::PathBuf;

use adaptkit::adapters::{AdapterError, ConfigError};
use adaptkit::compute::ComputeError;
use adaptkit::encoder::EncoderError;
use adaptkit::encoder::foreign_text::{path_shown, quoted, said};
use adaptkit::training::TrainingError;
use adaptkit::training::data::Example;
use adaptkit::training::error::Place;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Flags that contradict each other or make no sense together: exit code 2.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Training(#[from] TrainingError),
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    #[error(transparent)]
    Compute(#[from] ComputeError),
    #[error("cannot {doing}: {source}")]
    Io { doing: String, source: std::io::Error },
    /// A file that a flag names does not hold what it should.
    #[error("{}: {source}", path_shown(path))]
    BadFile { path: PathBuf, source: Box<TrainingError> },
    /// A row that the model cannot read.
    #[error("{place}: {reason}")]
    Row { place: Place, reason: String },
    /// A row names an adapter that was not given.
    #[error(
        "{place}: the column {} names the adapter {}; --adapter gave {known}",
        quoted(column),
        quoted(name)
    )]
    NoSuchAdapter { place: Place, column: String, name: String, known: String },
    /// An adapter gives a row a score that is infinite or no number.
    #[error(
        "{place}: the score of the adapter {} is {value}, not a finite number; its weights or those of \
         its base are damaged or far too large, or their training diverged",
        quoted(adapter)
    )]
    ScoreNotFinite { place: Place, adapter: String, value: f32 },
    #[error(transparent)]
    Pull(#[from] crate::pull::PullError),
    /// No base of that name is there.
    #[error(
        "there is no model directory '{name}' and no pulled model of that name; run \
         `adaptkit pull {name}`, or give the path of a directory with config.json, \
         model.safetensors and tokenizer.json"
    )]
    NoModel { name: String },
    /// A signal ended the training at a checkpoint: exit code 128 and the signal's number.
    #[error("interrupted after step {step} of {total_steps}, where there is a checkpoint")]
    Interrupted { step: usize, total_steps: usize, signal: u8 },
    /// A signal ended a command that keeps nothing: exit code 128 and the signal's number.
    #[error("ended by signal {signal}")]
    Ended { signal: u8 },
    /// An earlier run with the same output directory did not end.
    #[error("{} holds the checkpoint of a run that did not end", path_shown(path))]
    Unfinished { path: PathBuf },
    /// Another process is at work on the same output directory.
    #[error("{} is held by another run that is under way", path_shown(path))]
    Running { path: PathBuf },
    /// Whoever read the output has gone away: not a failure.
    #[error("the output was closed")]
    OutputClosed,
}

impl CliError {
    pub(crate) fn usage(message: impl Into<String>) -> CliError {
        CliError::Usage(message.into())
    }

    /// An error about one of the rows that an adapter scored together, with the row's place in its
    /// file.
    pub(crate) fn of_scoring(error: TrainingError, adapter: &str, rows: &[Example]) -> CliError {
        match error {
            TrainingError::ScoreNotFinite { row, value } if row < rows.len() => {
                let place = rows[row].place.clone();
                CliError::ScoreNotFinite { place, adapter: adapter.to_owned(), value }
            }
            error => error.into(),
        }
    }

    /// What to try next, where the message does not say it.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            CliError::Usage(_) => "see `adaptkit help`".to_owned(),
            CliError::Interrupted { .. } => {
                "the same command with --resume continues from there".to_owned()
            }
            CliError::Unfinished { .. } => {
                "--resume continues it, --overwrite starts again without it".to_owned()
            }
            CliError::Running { .. } => {
                "wait for its end, or choose another --output-dir".to_owned()
            }
            CliError::Training(TrainingError::OtherResult { .. }) => {
                "--overwrite replaces it; what is there stays until the new one is complete"
                    .to_owned()
            }
            CliError::Training(
                TrainingError::OtherRun { .. } | TrainingError::DamagedCheckpoint { .. },
            ) => "--overwrite without --resume starts again".to_owned(),
            CliError::Pull(pull) => pull.hint(),
            CliError::Adapter(AdapterError::OutputExists { .. }) => {
                "--overwrite replaces it; what is there stays until the new one is complete"
                    .to_owned()
            }
            CliError::Adapter(AdapterError::HeadUnclear { .. }) => {
                "--head NAME chooses one (predict, eval, prune)".to_owned()
            }
            CliError::Adapter(AdapterError::Name { .. }) => {
                "--adapter NAME=DIR gives an adapter another name".to_owned()
            }
            CliError::Adapter(AdapterError::NoRoom { .. }) => {
                "free some space, or choose an --output-dir on another disk".to_owned()
            }
            CliError::Adapter(AdapterError::NoMember { .. }) => {
                "give the members too and say how they go together: --adapter A --adapter B \
                 --adapter FUSION --compose 'fuse(A, B)'"
                    .to_owned()
            }
            CliError::Adapter(
                AdapterError::WrongBase { .. } | AdapterError::OtherTokenizer { .. },
            ) => "--model must be the base that the adapter was trained on; `adaptkit inspect` \
                 shows which"
                .to_owned(),
            CliError::Encoder(EncoderError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                "is the download complete? fetch the model again, all of its files".to_owned()
            }
            CliError::Encoder(EncoderError::MaxLength { .. }) => {
                "choose another --max-length".to_owned()
            }
            CliError::Training(TrainingError::BadFraction { .. }) => {
                "choose another --validation-fraction".to_owned()
            }
            CliError::Training(TrainingError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                "correct the path; a relative one starts at the current directory".to_owned()
            }
            CliError::Training(TrainingError::FormatUnclear { .. }) => {
                "--input-format gives it; with --delimiter the file is read as a table".to_owned()
            }
            CliError::Training(TrainingError::MissingColumn { .. }) => {
                "--text-column, --text-pair-column and --label-column name the columns; \
                 --input-format, --delimiter and --quoting say how the file is cut into them"
                    .to_owned()
            }
            CliError::Training(TrainingError::RaggedRow { open_quote: true, .. }) => {
                "--quoting double reads fields in quotes, which may hold line ends; --drop-ragged \
                 leaves such rows out"
                    .to_owned()
            }
            CliError::Training(TrainingError::RaggedRow { .. }) => {
                "--drop-ragged leaves such rows out and counts them; is --delimiter right?"
                    .to_owned()
            }
            CliError::Training(TrainingError::NotDecodable { .. }) => {
                "--encoding names it: latin-1, windows-1252, utf-16le, shift_jis, …".to_owned()
            }
            CliError::Training(TrainingError::UnclosedQuote { .. }) => {
                "--quoting none reads quotes as text, --quoting backslash takes \\\" for a quote"
                    .to_owned()
            }
            CliError::Training(TrainingError::NoTable { .. }) => {
                "leave --delimiter and --quoting away, or give --input-format csv".to_owned()
            }
            CliError::Training(TrainingError::UnknownLabel { .. }) => {
                "correct the row, leave such rows out with --drop-label, or train with a file or \
                 --labels that has the label"
                    .to_owned()
            }
            CliError::Training(TrainingError::SeveralLabels { .. }) => {
                "--multi-label trains on sets of labels".to_owned()
            }
            CliError::Training(TrainingError::LabelPlaces { .. }) => {
                "--labels a,b,c gives them, or --labels 0,1".to_owned()
            }
            CliError::Training(TrainingError::LabelColumns { .. }) => {
                "--label-columns names the columns, and --label-map gives them the labels' names"
                    .to_owned()
            }
            CliError::Training(
                TrainingError::NoLabelledRows { .. } | TrainingError::OneClass { .. },
            ) => "a label that is blank or spelt like a missing value (nan, None, NA) counts as none, \
                  unless --labels or --label-map names it"
                .to_owned(),
            CliError::Training(TrainingError::TooFewRows { .. }) => {
                "name the validation rows with --validation-file".to_owned()
            }
            CliError::Training(TrainingError::UnfitMetric { .. }) => {
                "--metric names the score".to_owned()
            }
            CliError::Training(TrainingError::MetricOfUnknownLabel { .. }) => {
                "--metric f1:LABEL and --positive-label take a label as the rows have it".to_owned()
            }
            CliError::Training(TrainingError::NothingToCompare { .. }) => {
                "choose another --metric, or other rows".to_owned()
            }
            CliError::Training(TrainingError::LearningRateTooLow { .. }) => {
                "--learning-rate and --lr-scheduler say how it goes".to_owned()
            }
            CliError::Training(TrainingError::NeedsValidation { .. }) => {
                "bring rows with --validation-file or --validation-fraction".to_owned()
            }
            _ => return None,
        })
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            CliError::Usage(_) => 2,
            // What a flag asks for is wrong, whatever the files hold.
            CliError::Training(
                TrainingError::BadFolds { .. }
                | TrainingError::BadFraction { .. }
                | TrainingError::BadSmoothing { .. }
                | TrainingError::BadThreshold { .. }
                | TrainingError::BadLabels { .. }
                | TrainingError::LearningRateTooLow { .. }
                | TrainingError::MetricOfUnknownLabel { .. }
                | TrainingError::NeedsValidation { .. }
                | TrainingError::NoPositiveLabel { .. }
                | TrainingError::UnfitMetric { .. }
                | TrainingError::UnfitOption { .. }
                | TrainingError::UnknownTask { .. },
            ) => 2,
            CliError::OutputClosed => 0,
            CliError::Interrupted { signal, .. } | CliError::Ended { signal } => 128 + signal,
            _ => 1,
        }
    }
}

/// For writing to standard output: a closed pipe ends the command without a word.
pub(crate) fn output(source: std::io::Error) -> CliError {
    match source.kind() {
        std::io::ErrorKind::BrokenPipe => CliError::OutputClosed,
        _ => CliError::Io { doing: "write the output".into(), source },
    }
}

/// An error and what caused it, as far as the causes are not part of its own words. Whoever prints it
/// escapes it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // A message shows a cause that quotes a file as `said` has it.
        if !text.contains(&words) && !text.contains(&said(&words)) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
