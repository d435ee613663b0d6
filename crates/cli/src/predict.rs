//! `adaptkit predict`: labels for rows, in their order.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use adaptkit::adapters::TaskModel;
use adaptkit::adapters::atomic::write_file_with;
use adaptkit::compute::{sigmoid, softmax};
use adaptkit::encoder::{Encoder, Tokenizer};
use adaptkit::training::data::{AnswerSpace, Column, Example, ExampleReader, Input};
use adaptkit::training::run::predict;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::Common;
use crate::error::{CliError, output};
use crate::model_cache::resolve_model;
use crate::rows::{self, FileFlags};
use crate::task_folder::TaskFolder;

/// Flags of `adaptkit predict`.
#[derive(Args)]
pub(crate) struct Flags {
    /// The base: a model's directory, or the id of a pulled model
    #[arg(long, alias = "model-name-or-path", value_name = "MODEL")]
    model: String,
    /// An adapter's directory; several give an object for each in every row
    #[arg(long, value_name = "DIR", required = true)]
    adapter: Vec<PathBuf>,
    /// Rows to label: files or patterns, in this order; - is standard input, a text a line
    #[arg(long, value_name = "FILE", default_value = "-", num_args = 1..)]
    input: Vec<PathBuf>,
    /// Where the labels go; - is standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// How a row's labels are written
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    output_format: OutputFormat,
    /// The probability above which a label applies, for sets of labels; as in training by default
    #[arg(long, value_name = "P")]
    threshold: Option<f64>,
    /// Write logits in place of probabilities
    #[arg(long)]
    raw_scores: bool,
    #[command(flatten)]
    files: FileFlags,
    /// Longer rows are cut to this many tokens; as in training by default
    #[arg(long, alias = "max-seq-length", value_name = "N")]
    max_length: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// A JSON object a row
    Jsonl,
    /// Label and score of each adapter, under a header line
    Tsv,
}

/// Rows that are labelled at once: enough to sort by length, little enough to hold.
const ROWS_AT_ONCE: usize = 512;

/// An adapter on the base, ready to label rows.
struct Labeller {
    name: String,
    model: TaskModel,
    space: AnswerSpace,
    max_length: usize,
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    let folders = flags.adapter.iter().map(|dir| TaskFolder::read(dir));
    let folders = folders.collect::<Result<Vec<_>, _>>()?;
    for (i, folder) in folders.iter().enumerate() {
        if folders[..i].iter().any(|other| other.adapter.name == folder.adapter.name) {
            return Err(CliError::usage(format!(
                "two adapters are called {:?}, and the output names adapters; label the rows with \
                 one after the other, or rename one's directory and train it anew",
                folder.adapter.name
            )));
        }
    }
    let spaces = folders.iter().map(|folder| folder.answer_space(flags.threshold));
    let spaces = spaces.collect::<Result<Vec<_>, _>>()?;
    // The reader is opened before the model is loaded: what is wrong with the input shows at once.
    let reader = flags.reader()?;
    let directory = resolve_model(&flags.model)?;
    let device = common.device()?;
    let encoder = Encoder::load(&directory, &device, common.precision(&device))?;
    let tokenizer = Tokenizer::from_dir(&directory, encoder.config())?;
    let labellers = folders.iter().zip(spaces).map(|(folder, space)| {
        Ok(Labeller {
            name: folder.adapter.name.clone(),
            model: folder.on(&encoder, &flags.model)?,
            space,
            max_length: folder.max_length(flags.max_length, &encoder),
        })
    });
    let labellers = labellers.collect::<Result<Vec<_>, CliError>>()?;
    let session = Session { flags, common, encoder, tokenizer, labellers };
    if flags.output == Path::new("-") {
        return session.label(reader, &mut BufWriter::new(std::io::stdout().lock()));
    }
    // The file appears when it is whole; what goes wrong before is kept for the caller.
    let mut failed = None;
    let written = write_file_with(&flags.output, |out| {
        session.label(reader, out).map_err(|error| {
            let message = error.to_string();
            failed = Some(error);
            std::io::Error::other(message)
        })
    });
    match failed {
        Some(CliError::Io { source, .. }) => {
            Err(CliError::Io { doing: format!("write {}", flags.output.display()), source })
        }
        Some(error) => Err(error),
        None => Ok(written?),
    }
}

impl Flags {
    fn reader(&self) -> Result<ExampleReader, CliError> {
        let inputs = rows::inputs(&self.input)?;
        self.check_output(&inputs)?;
        let mut columns = self.files.columns();
        if columns.pair.is_none() && !self.files.no_header {
            // JSON lines may bring pairs unasked, as the documentation says.
            columns = columns.with_pair(Column::optional("text_pair"));
        }
        Ok(ExampleReader::open(&inputs, &columns, &self.files.options())?)
    }

    /// That the labels do not go where nothing can be written, or where the rows are.
    fn check_output(&self, inputs: &[Input]) -> Result<(), CliError> {
        let shown = self.output.display();
        if self.output.is_dir() {
            let message = format!("--output {shown} is a directory; name a file in it");
            return Err(CliError::usage(message));
        }
        let output = self.output.canonicalize().ok().filter(|path| path.is_file());
        for input in inputs {
            if let (Input::File(path), Some(output)) = (input, &output)
                && path.canonicalize().is_ok_and(|path| path == *output)
            {
                return Err(CliError::usage(format!(
                    "--output {shown} is also the input, and would be lost; name another file"
                )));
            }
        }
        Ok(())
    }
}

struct Session<'a> {
    flags: &'a Flags,
    common: &'a Common,
    encoder: Encoder,
    tokenizer: Tokenizer,
    labellers: Vec<Labeller>,
}

impl Session<'_> {
    fn label(&self, mut reader: ExampleReader, out: &mut dyn Write) -> Result<(), CliError> {
        if self.flags.output_format == OutputFormat::Tsv {
            writeln!(out, "{}", self.header()).map_err(output)?;
        }
        let mut cut = 0;
        loop {
            let rows = reader.by_ref().take(ROWS_AT_ONCE).collect::<Result<Vec<_>, _>>()?;
            if rows.is_empty() {
                break;
            }
            cut += self.label_rows(&rows, out)?;
            out.flush().map_err(output)?;
        }
        rows::say(self.common, reader.report());
        if cut > 0 {
            self.common.note(format_args!("note: {cut} rows were cut to --max-length tokens"));
        }
        Ok(())
    }

    /// Writes the rows' labels and returns how many rows were cut.
    fn label_rows(&self, rows: &[Example], out: &mut dyn Write) -> Result<usize, CliError> {
        let mut columns = Vec::new();
        let mut cut = 0;
        for labeller in &self.labellers {
            let tokens = self
                .encoder
                .device()
                .run(|| rows::tokenise_examples(&self.tokenizer, rows, labeller.max_length))?;
            cut = cut.max(tokens.iter().filter(|row| row.truncated).count());
            columns.push(predict(&self.encoder, &labeller.model, &tokens));
        }
        for row in 0..rows.len() {
            let labelled = self.labellers.iter().zip(&columns);
            let objects: Vec<(&str, Answer)> = labelled
                .map(|(l, column)| (&l.name[..], l.answer(&column[row], self.flags.raw_scores)))
                .collect();
            writeln!(out, "{}", self.line(&objects)).map_err(output)?;
        }
        Ok(cut)
    }

    fn header(&self) -> String {
        match &self.labellers[..] {
            [_] => "label\tscore".to_owned(),
            several => {
                let names: Vec<String> =
                    several.iter().map(|l| format!("{0}_label\t{0}_score", l.name)).collect();
                names.join("\t")
            }
        }
    }

    fn line(&self, answers: &[(&str, Answer)]) -> String {
        match (self.flags.output_format, answers) {
            (OutputFormat::Jsonl, [(_, answer)]) => answer.json().to_string(),
            (OutputFormat::Jsonl, several) => {
                let objects = several.iter().map(|(name, a)| ((*name).to_owned(), a.json()));
                Value::Object(objects.collect()).to_string()
            }
            (OutputFormat::Tsv, answers) => {
                let fields: Vec<String> = answers.iter().map(|(_, a)| a.tsv()).collect();
                fields.join("\t")
            }
        }
    }
}

/// What an adapter says of a row.
enum Answer {
    /// The best label, its score, and all labels' scores.
    Class(String, f32, Vec<(String, f32)>),
    /// The labels that apply, and all labels' scores.
    Labels(Vec<String>, Vec<(String, f32)>),
    /// A number.
    Value(f32),
}

impl Labeller {
    fn answer(&self, logits: &[f32], raw: bool) -> Answer {
        let named = |scores: Vec<f32>, names: &[String]| -> Vec<(String, f32)> {
            names.iter().cloned().zip(scores).collect()
        };
        match &self.space {
            AnswerSpace::Values => Answer::Value(logits[0]),
            AnswerSpace::Classes(labels) => {
                let scores = if raw { logits.to_vec() } else { softmax(logits) };
                let better =
                    |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
                let best = (0..logits.len()).fold(0, better);
                let label = labels.names()[best].clone();
                Answer::Class(label, scores[best], named(scores, labels.names()))
            }
            AnswerSpace::LabelSets(labels, threshold) => {
                let scores = if raw { logits.to_vec() } else { sigmoid(logits) };
                let applies =
                    logits.iter().zip(labels.names()).filter(|(z, _)| threshold.is_passed_by(**z));
                let applying = applies.map(|(_, name)| name.clone()).collect();
                Answer::Labels(applying, named(scores, labels.names()))
            }
        }
    }
}

impl Answer {
    fn json(&self) -> Value {
        let object = |scores: &[(String, f32)]| -> Value {
            let scores = scores.iter().map(|(name, score)| (name.clone(), json!(score)));
            Value::Object(scores.collect::<Map<_, _>>())
        };
        match self {
            Answer::Class(label, score, scores) => {
                json!({"label": label, "score": score, "scores": object(scores)})
            }
            Answer::Labels(labels, scores) => json!({"labels": labels, "scores": object(scores)}),
            Answer::Value(value) => json!({"label": null, "score": value}),
        }
    }

    fn tsv(&self) -> String {
        // A tab or line end in a label would break the table.
        let plain = |text: &str| text.replace(['\t', '\n', '\r'], " ");
        match self {
            Answer::Class(label, score, _) => format!("{}\t{score}", plain(label)),
            Answer::Labels(labels, scores) => {
                let scores: Vec<String> = scores.iter().map(|(_, x)| x.to_string()).collect();
                format!("{}\t{}", plain(&labels.join(",")), scores.join(","))
            }
            Answer::Value(value) => format!("\t{value}"),
        }
    }
}
