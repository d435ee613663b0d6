//! `adaptkit predict`: labels for rows, in their order.

mod answer;
mod folders;
mod output;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use adaptkit::adapters::atomic::{check_file, write_file_with};
use adaptkit::adapters::{MemberLayout, ResidentTasks, Wish};
use adaptkit::encoder::foreign_text::quoted;
use adaptkit::encoder::{Encoder, TokenisedRow, Tokenizer};
use adaptkit::training::data::{AnswerSpace, Column, Example, ExampleReader, Input, RowBatches};
use adaptkit::training::run::{check_scores, predict_wishes, predict_wishes_attending};
use clap::Args;

use crate::Common;
use crate::compose::ComposeFlags;
use crate::error::{CliError, output};
use crate::model_cache::resolve_model;
use crate::path_argument::PathArgument;
use crate::rows::{self, FileFlags};
use crate::task_folder::leave_out_lowest;

use self::answer::{Answer, Explained};
use self::folders::{Choice, Folder};
use self::output::{KeptColumn, Lines, OutputFormat};

/// Flags of `adaptkit predict`.
#[derive(Args)]
pub(crate) struct Flags {
    /// The base: a model's directory, or the id of a pulled model
    #[arg(long, alias = "model-name-or-path", value_name = "MODEL")]
    model: PathArgument,
    /// An adapter's directory; several give an object for each in every row, under the adapter's
    /// name or the one given here. They share the base's layers below their own
    #[arg(long, value_name = "[NAME=]DIR", required = true)]
    adapter: Vec<PathArgument>,
    #[command(flatten)]
    composing: ComposeFlags,
    /// The column that says which adapters label a row: their names, with commas between them
    #[arg(long, value_name = "COLUMN")]
    adapter_column: Option<String>,
    /// The lowest layers to leave adapters out of, all of them or the named one
    #[arg(long, value_name = "[NAME=]N", value_parser = dropping, allow_negative_numbers = true)]
    adapterdrop: Vec<Dropping>,
    /// Rows to label: files or patterns, in this order; - is standard input, a text a line
    #[arg(long, value_name = "FILE", default_value = "-", num_args = 1..)]
    input: Vec<PathBuf>,
    /// Where the labels go; - is standard output, which gets the labels of what the input has given so
    /// far whenever it gives no more
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// How a row's labels are written
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    output_format: OutputFormat,
    /// Columns of the rows to write before their labels, with commas between the names; NAME=COLUMN
    /// calls one otherwise
    #[arg(long, value_name = "[NAME=]COLUMN,…", value_delimiter = ',', value_parser = KeptColumn::parse)]
    keep_columns: Vec<KeptColumn>,
    /// The probability above which a label applies, for sets of labels; as in training by default
    #[arg(long, value_name = "P")]
    threshold: Option<f64>,
    /// Write logits in place of probabilities
    #[arg(long)]
    raw_scores: bool,
    /// Add what each row's tokens attend to in a fusion: the members' mean weights, layer by layer
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    files: FileFlags,
    /// Longer rows are cut to this many tokens; as in training by default
    #[arg(long, alias = "max-seq-length", value_name = "N")]
    max_length: Option<usize>,
}

/// What `--adapterdrop` asks of one adapter, or of all without a name of their own there.
type Dropping = (Option<String>, usize);

fn dropping(text: &str) -> Result<Dropping, String> {
    let (name, number) = match text.rsplit_once('=') {
        Some((name, number)) => (Some(name.to_owned()), number),
        None => (None, text),
    };
    let layers = if number == "none" { Ok(0) } else { number.parse() };
    let wanted = "it is a number of layers, or NAME=N for one adapter";
    layers.map(|layers| (name, layers)).map_err(|_| wanted.to_owned())
}

/// Names in a message.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(quoted).collect::<Vec<_>>().join(", ")
}

/// An adapter on the base, ready to label rows.
struct Labeller {
    name: String,
    space: AnswerSpace,
    max_length: usize,
    /// The members of a fusion.
    members: Option<MemberLayout>,
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    let (folders, choices) = flags.folders(common)?;
    // Answers are named after their adapters where a row may have several.
    let named = folders.len() > 1 || flags.adapter_column.is_some();
    let adapters = named.then(|| folders.iter().map(|folder| folder.name.clone()).collect());
    let lines = Lines::new(flags.output_format, &flags.keep_columns, adapters)?;
    // The reader is opened before the model is loaded: what is wrong with the input shows at once.
    let batches = flags.reader()?.batches();
    let directory = resolve_model(&flags.model)?;
    let device = common.device()?;
    let encoder = Encoder::load(&directory, &device, common.precision(&device))?;
    let tokenizer = Tokenizer::from_dir(&directory, encoder.config())?;
    // Read once more, one after the other: of hundreds only what they answer with stays in memory.
    let mut tasks = ResidentTasks::with_capacity(&encoder, folders.len());
    let mut labellers = Vec::with_capacity(folders.len());
    for Folder { name, source, space, members } in folders {
        let folder = source.read()?;
        let mut model = folder.on(&encoder, &tokenizer, &flags.model)?;
        leave_out_lowest(&mut model, &encoder, flags.dropped_layers(&name))?;
        tasks.add(model);
        let max_length = folder.max_length(flags.max_length, &encoder)?;
        labellers.push(Labeller { name, space, max_length, members });
    }
    let session = Session { flags, common, encoder, tokenizer, tasks, labellers, choices, lines };
    if flags.output == Path::new("-") {
        return session.label(batches, &mut BufWriter::new(std::io::stdout().lock()));
    }
    // The file appears when it is whole; what goes wrong before is kept for the caller.
    let mut failed = None;
    let written = write_file_with(&flags.output, |out| {
        session.label(batches, out).map_err(|error| {
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
    fn dropped_layers(&self, name: &str) -> usize {
        let given = |wanted: Option<&str>| {
            let of = self.adapterdrop.iter().rev().find(|(given, _)| given.as_deref() == wanted);
            of.map(|(_, layers)| *layers)
        };
        given(Some(name)).or_else(|| given(None)).unwrap_or(0)
    }

    fn reader(&self) -> Result<ExampleReader, CliError> {
        let inputs = rows::inputs(&self.input)?;
        self.check_output(&inputs)?;
        let mut columns = self.files.columns();
        columns.index = self.adapter_column.as_ref().map(Column::required);
        columns.kept = self.keep_columns.iter().map(|kept| kept.column.clone()).collect();
        Ok(ExampleReader::open(&inputs, &columns, &self.files.options())?)
    }

    /// That the labels do not go where nothing can be written, or where the rows are.
    fn check_output(&self, inputs: &[Input]) -> Result<(), CliError> {
        let shown = self.output.display();
        if self.output == Path::new("-") {
            return Ok(());
        }
        if self.output.is_dir() {
            let message = format!("--output {shown} is a directory; name a file in it");
            return Err(CliError::usage(message));
        }
        check_file(&self.output)?;
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

/// Rows as tokens.
struct Tokenised {
    rows: Vec<TokenisedRow>,
    /// For each length, which of them is each row.
    of_length: BTreeMap<usize, Vec<usize>>,
    /// Rows that some length cuts.
    cut: usize,
}

struct Session<'a> {
    flags: &'a Flags,
    common: &'a Common,
    encoder: Encoder,
    tokenizer: Tokenizer,
    tasks: ResidentTasks,
    /// One for each of the tasks.
    labellers: Vec<Labeller>,
    choices: Vec<Choice>,
    lines: Lines,
}

impl Session<'_> {
    fn label(&self, mut batches: RowBatches, out: &mut dyn Write) -> Result<(), CliError> {
        if let Some(header) = self.lines.header() {
            writeln!(out, "{header}").map_err(output)?;
        }
        let (mut cut, mut labelled) = (0, 0);
        for rows in batches.by_ref() {
            let rows = rows?;
            cut += self.label_rows(&rows, labelled, out)?;
            labelled += rows.len();
            out.flush().map_err(output)?;
        }
        rows::say(self.common, batches.report());
        if cut > 0 {
            let lengths: BTreeSet<usize> = self.labellers.iter().map(|l| l.max_length).collect();
            let lengths: Vec<String> = lengths.iter().map(usize::to_string).collect();
            self.common.note(format_args!(
                "note: {cut} of {labelled} rows are longer than {} tokens and were cut \
                 (--max-length)",
                lengths.join(" or ")
            ));
        }
        Ok(())
    }

    /// Writes the labels of rows from a number on and returns how many rows were cut.
    fn label_rows(
        &self,
        rows: &[Example],
        first: usize,
        out: &mut dyn Write,
    ) -> Result<usize, CliError> {
        let numbered = rows.iter().zip(first..);
        let asked = numbered.map(|(row, number)| self.asked(row, number));
        let asked = asked.collect::<Result<Vec<_>, _>>()?;
        let Tokenised { rows: tokenised, of_length, cut } = self.tokenise(rows)?;
        let wishes = asked.iter().enumerate().flat_map(|(row, models)| {
            models.iter().map(move |model| (row, *model)).map(|(row, model)| {
                let row = of_length[&self.labellers[model].max_length][row];
                Wish { row, model, first_layer: 0 }
            })
        });
        let wishes: Vec<Wish> = wishes.collect();
        let mut logits = match self.flags.explain {
            false => {
                let logits = predict_wishes(&self.encoder, &self.tasks, &tokenised, &wishes);
                logits.into_iter().map(|logits| (logits, None)).collect::<Vec<_>>()
            }
            true => {
                let all = predict_wishes_attending(&self.encoder, &self.tasks, &tokenised, &wishes);
                all.into_iter().map(|(logits, attention)| (logits, Some(attention))).collect()
            }
        }
        .into_iter();
        for (row, models) in asked.iter().enumerate() {
            let answers = models
                .iter()
                .zip(logits.by_ref())
                .map(|(model, (logits, attention))| {
                    let labeller = &self.labellers[*model];
                    check_scores(row, &logits)
                        .map_err(|error| CliError::of_scoring(error, &labeller.name, rows))?;
                    let answer = Answer::of_logits(&labeller.space, &logits, self.flags.raw_scores);
                    let members = labeller.members.as_ref().zip(attention);
                    let attention = members.map(|(members, sums)| members.mean_attention(&sums));
                    Ok((*model, Explained { answer, attention }))
                })
                .collect::<Result<Vec<_>, CliError>>();
            let answers = match answers {
                Ok(answers) => answers,
                Err(error) => {
                    // What comes before the row is answered.
                    out.flush().map_err(output)?;
                    return Err(error);
                }
            };
            writeln!(out, "{}", self.lines.line(&rows[row].kept, &answers)).map_err(output)?;
        }
        Ok(cut)
    }

    /// Tokens of rows for every length that a labeller cuts them to. A row that a length does not
    /// cut is the same at each greater one: it is tokenised once, and goes through the base's lower
    /// layers once.
    fn tokenise(&self, rows: &[Example]) -> Result<Tokenised, CliError> {
        let lengths: BTreeSet<usize> = self.labellers.iter().map(|l| l.max_length).collect();
        let mut all = Tokenised { rows: Vec::new(), of_length: BTreeMap::new(), cut: 0 };
        let mut numbers: Vec<Option<usize>> = vec![None; rows.len()];
        for length in lengths {
            let again = |row: &usize| numbers[*row].is_none_or(|number| all.rows[number].truncated);
            let again: Vec<usize> = (0..rows.len()).filter(again).collect();
            let examples: Vec<&Example> = again.iter().map(|row| &rows[*row]).collect();
            let device = self.encoder.device();
            let tokens =
                device.run(|| rows::tokenise_examples(&self.tokenizer, examples, length))?;
            all.cut = all.cut.max(tokens.iter().filter(|row| row.truncated).count());
            for (row, number) in again.into_iter().zip(all.rows.len()..) {
                numbers[row] = Some(number);
            }
            all.rows.extend(tokens);
            all.of_length.insert(length, numbers.iter().flatten().copied().collect());
        }
        Ok(all)
    }

    /// The labellers of a row, by their numbers.
    fn asked(&self, row: &Example, number: usize) -> Result<Vec<usize>, CliError> {
        let Some(column) = &self.flags.adapter_column else {
            let mut asked: Vec<usize> = Vec::new();
            for labeller in self.choices.iter().flat_map(|choice| choice.of_row(number)) {
                if !asked.contains(&labeller) {
                    asked.push(labeller);
                }
            }
            return Ok(asked);
        };
        let given = row.index.as_deref().unwrap_or_default();
        let mut asked: Vec<usize> = Vec::new();
        for name in given.split(',').map(str::trim) {
            let known = self.labellers.iter().position(|labeller| labeller.name == name);
            let Some(number) = known else {
                return Err(CliError::NoSuchAdapter {
                    place: row.place.clone(),
                    column: column.clone(),
                    name: name.to_owned(),
                    known: names(self.labellers.iter().map(|labeller| &labeller.name[..])),
                });
            };
            if !asked.contains(&number) {
                asked.push(number);
            }
        }
        Ok(asked)
    }
}
