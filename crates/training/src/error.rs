//! Everything that can go wrong between a user's files and a trained adapter.
//!
//! One closed enum for the crate. A variant carries what its message needs to point at the culprit
//! (file, line, column, label) and the message ends in what to do about it. Text that comes from a
//! file is quoted, escaped and cut short before it is shown: a "column name" may be the megabyte of
//! binary that somebody passed for a table.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use adaptkit_adapters::AdapterError;
use adaptkit_encoder::EncoderError;
pub(crate) use adaptkit_encoder::foreign_text::{path_shown, quoted};

/// How many names a message lists before it only counts the rest.
const NAMES_SHOWN: usize = 20;

/// A line of an input, for messages: `train.tsv, line 12`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The input as its user named it, `standard input` for `-`.
    pub file: Arc<str>,
    /// The line on which the record begins, counted from 1; 0 where the whole file is meant.
    pub line: u64,
}

impl TrainingError {
    /// Whether the input itself could not be read, however it is cut into rows.
    pub(crate) fn is_of_input(&self) -> bool {
        matches!(
            self,
            TrainingError::Read { .. }
                | TrainingError::BadCompression { .. }
                | TrainingError::NotDecodable { .. }
        )
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => formatter.write_str(&self.file),
            line => write!(formatter, "{}, line {line}", self.file),
        }
    }
}

/// Names for a message, of which only the first few are written out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameList(pub Vec<String>);

impl<S: AsRef<str>> FromIterator<S> for NameList {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        NameList(names.into_iter().map(|name| name.as_ref().to_string()).collect())
    }
}

impl fmt::Display for NameList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("none");
        }
        for (position, name) in self.0.iter().take(NAMES_SHOWN).enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(formatter, "{separator}{}", quoted(name))?;
        }
        match self.0.len().saturating_sub(NAMES_SHOWN) {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

/// What a training, an evaluation or the reading of its data failed on.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    // Inputs.
    /// A file could not be opened or read.
    #[error("{file}: {source}")]
    Read {
        /// The input as its user named it.
        file: Arc<str>,
        /// What the system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file that was to be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder stands where a file is needed.
    #[error("{file} is a folder; name its files, for example {file}/*.tsv")]
    IsFolder {
        /// The input as its user named it.
        file: Arc<str>,
    },
    /// A folder holds neither a folder nor a file of text for each of several labels.
    #[error(
        "{file} is a folder without a folder or a .txt file for each of two labels or more; name \
         its files, for example {file}/*.tsv"
    )]
    NoLabelFiles {
        /// The folder as its user named it.
        file: Arc<str>,
    },
    /// A file that names a label has a name that is no text.
    #[error("{file}: the name is not UTF-8 and cannot be a label; rename it")]
    LabelNotText {
        /// The file or folder.
        file: Arc<str>,
    },
    /// A file holds something else than text.
    #[error(
        "{file} {} {what}, by its first bytes; {way_out}", if *inside { "holds" } else { "is" }
    )]
    NotText {
        /// The input as its user named it.
        file: Arc<str>,
        /// Whether that is so after decompression.
        inside: bool,
        /// What it is.
        what: &'static str,
        /// How to get rows out of it.
        way_out: String,
    },
    /// A compressed file of a compressed file of a compressed file.
    #[error("{file} was compressed again and again; decompress it first")]
    CompressedTooOften {
        /// The input as its user named it.
        file: Arc<str>,
    },
    /// A delimiter or a kind of quoting was given for a file that is no table.
    #[error(
        "{file} is read as {format}, which is no table and has no delimiter and no quoting; tables \
         are tsv and csv"
    )]
    NoTable {
        /// The input as its user named it.
        file: Arc<str>,
        /// The file's format.
        format: &'static str,
    },
    /// A delimiter is none that fields can stand between.
    #[error(
        "{} is no delimiter; give one character, its name (comma, tab, semicolon, pipe, space) or \
         its code (\\x01), but no quote, backslash or line end",
        quoted(delimiter)
    )]
    BadDelimiter {
        /// What was given.
        delimiter: String,
    },
    /// The name of a kind of quoting is not known.
    #[error("unknown quoting {}; it is none, double or backslash", quoted(name))]
    UnknownQuoting {
        /// The name that was given.
        name: String,
    },
    /// A pattern matches no file.
    #[error("no file matches {}", quoted(pattern))]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// A pattern cannot be understood.
    #[error("the file pattern {} is not valid: {reason}", quoted(pattern))]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No input was given at all.
    #[error("no input file was given")]
    NoInputs,
    /// One input was named twice, so that its rows would count double.
    #[error("{file} is named twice; name each file once")]
    InputTwice {
        /// The input as its user named it.
        file: Arc<str>,
    },
    /// A file's ending does not tell its format.
    #[error(
        "{file}: the format is not clear from the file's ending; give it: lines, tsv, csv, jsonl, \
         fasttext or label-files"
    )]
    FormatUnclear {
        /// The input as its user named it.
        file: Arc<str>,
    },
    /// A format's name is not known.
    #[error(
        "unknown format {}; the formats are lines, tsv, csv, jsonl, fasttext and label-files",
        quoted(name)
    )]
    UnknownFormat {
        /// The name that was given.
        name: String,
    },
    /// An encoding's name is not known.
    #[error(
        "unknown encoding {}; examples are utf-8, latin-1, windows-1252, utf-16le, shift_jis, gbk",
        quoted(name)
    )]
    UnknownEncoding {
        /// The name that was given.
        name: String,
    },
    /// A compressed file is damaged or cut short.
    #[error("{file}: cannot decompress: {source}; fetch or compress it again")]
    BadCompression {
        /// The input as its user named it.
        file: Arc<str>,
        /// What the decompressor said.
        source: io::Error,
    },
    /// The bytes are not text in the encoding that was asked for.
    #[error(
        "{place}: not {encoding} at byte {byte_offset} of the text; \
         give its encoding, which may be latin-1"
    )]
    NotDecodable {
        /// Where the text stops making sense.
        place: Place,
        /// The encoding that was tried.
        encoding: &'static str,
        /// The offending byte's offset from the start, after decompression.
        byte_offset: u64,
    },
    /// A record is longer than the limit.
    #[error(
        "{place}: the record that begins here is longer than {limit} bytes; \
         is this a text file, are its lines ended, its quotes closed?"
    )]
    RecordTooLong {
        /// Where the record begins.
        place: Place,
        /// The limit, in bytes of decoded text.
        limit: usize,
    },
    /// A record has more columns than any table should.
    #[error("{place}: more than {limit} columns; is this the right format?")]
    TooManyColumns {
        /// Where the record begins.
        place: Place,
        /// The limit.
        limit: usize,
    },
    /// A file holds nothing.
    #[error("{file} is empty; give a file with rows")]
    EmptyFile {
        /// The input as its user named it.
        file: Arc<str>,
    },
    /// A table holds a header line and no rows.
    #[error("{file} has a header line and no rows; give a file with rows")]
    HeaderOnly {
        /// The input as its user named it.
        file: Arc<str>,
    },
    /// A column that was asked for is not there.
    #[error("{file}: no column {}; its columns are {available}", quoted(column))]
    MissingColumn {
        /// The input as its user named it.
        file: Arc<str>,
        /// The column that was asked for.
        column: String,
        /// The columns there are.
        available: NameList,
    },
    /// A column of a file without a header line was asked for by name.
    #[error(
        "{file} is read without a header line: give column {} by its position, 1 to {columns}",
        quoted(column)
    )]
    ColumnByPosition {
        /// The input as its user named it.
        file: Arc<str>,
        /// The column that was asked for.
        column: String,
        /// How many columns there are.
        columns: usize,
    },
    /// Two columns have the name that was asked for.
    #[error("{place}: there are several columns {}; rename all but one", quoted(column))]
    AmbiguousColumn {
        /// Where the columns are named.
        place: Place,
        /// The column that was asked for.
        column: String,
    },
    /// A row has too few or too many columns.
    #[error(
        "{place}: {found} columns where the file has {expected}; {}",
        if *open_quote {
            "its last field opens a quote: if fields are quoted, read the file so, else complete \
             the row or remove it"
        } else {
            "complete the row or remove it"
        }
    )]
    RaggedRow {
        /// Where the row begins.
        place: Place,
        /// The number of columns of the header or of the first row.
        expected: usize,
        /// The number of columns of this row.
        found: usize,
        /// Whether the last one begins with a quote that it does not close, in a file whose quotes
        /// are read as text.
        open_quote: bool,
    },
    /// A quoted field of a CSV file never ends.
    #[error(
        "{place}: the record that begins here opens a quote that is never closed; close it, or \
         double a quote that belongs to the text"
    )]
    UnclosedQuote {
        /// Where the record begins.
        place: Place,
    },
    /// A row of a JSON file is not a JSON object.
    #[error(
        "{place}: not a JSON object{}: {reason} (column {column})",
        if *on_one_line { " on one line" } else { " of a list" }
    )]
    BadJson {
        /// The line.
        place: Place,
        /// What the parser said.
        reason: String,
        /// Where on the line, counted from 1 in bytes.
        column: usize,
        /// Whether the file has an object a line, and is no list of objects.
        on_one_line: bool,
    },
    /// A column of a JSON line holds an object, or a list where one value is needed.
    #[error(
        "{place}: column {} holds a nested value; give text or a number, or name a value inside it \
         by its path, such as {}",
        quoted(column),
        quoted(&format!("{column}.text"))
    )]
    NestedValue {
        /// The line.
        place: Place,
        /// The column.
        column: String,
    },
    /// A column of a JSON line is absent or null.
    #[error(
        "{place}: column {} is absent or null; the first line's columns are {available}",
        quoted(column)
    )]
    MissingValue {
        /// The line.
        place: Place,
        /// The column.
        column: String,
        /// The columns of the file's first line.
        available: NameList,
    },

    // Labels and rows.
    /// A row's label is none of the known ones.
    #[error("{place}: unknown label {}; the labels are {known}", quoted(label))]
    UnknownLabel {
        /// Where the row begins.
        place: Place,
        /// The label.
        label: String,
        /// The labels there are.
        known: NameList,
    },
    /// A row has a list of labels where one is needed.
    #[error("{place}: {labels} labels where one is needed; a multi-label task takes several")]
    SeveralLabels {
        /// Where the row begins.
        place: Place,
        /// How many it has.
        labels: usize,
    },
    /// A label looks like a list and is none.
    #[error("{place}: the label {} is no list: {reason}; write [\"a\", \"b\"]", quoted(field))]
    BadLabelList {
        /// Where the row begins.
        place: Place,
        /// What stands there.
        field: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A list holds a label without a name.
    #[error(
        "{place}: an empty text in the list of labels; remove it, and write [] where none applies"
    )]
    EmptyLabel {
        /// Where the row begins.
        place: Place,
    },
    /// A row's list names a label twice, and is no set.
    #[error("{place}: the list of labels names {} twice; name each once", quoted(label))]
    LabelTwiceInRow {
        /// Where the row begins.
        place: Place,
        /// The label.
        label: String,
    },
    /// The labels of all rows are zeros and ones.
    #[error(
        "{place}: the labels are zeros and ones, {places} in this row: where these are one place for \
         each label, give the labels in their order; where 0 and 1 are the labels, give both"
    )]
    LabelPlaces {
        /// Where the first such row begins.
        place: Place,
        /// How many there are in it.
        places: usize,
    },
    /// A row's zeros and ones are more or fewer than the labels.
    #[error("{place}: {places} zeros and ones for the labels {labels}; give one for each")]
    PlacesDoNotFit {
        /// Where the row begins.
        place: Place,
        /// How many there are.
        places: usize,
        /// The labels.
        labels: NameList,
    },
    /// The column of a label says neither that it applies nor that it does not.
    #[error(
        "{place}: column {} holds {}: it must be 0 or 1, or false or true",
        quoted(column),
        quoted(value)
    )]
    BadLabelColumn {
        /// Where the row begins.
        place: Place,
        /// The column.
        column: String,
        /// What stands there.
        value: String,
    },
    /// The columns of labels are not the head's labels.
    #[error(
        "the columns of labels are {columns}, and the labels {labels}; there must be one for each"
    )]
    LabelColumns {
        /// The columns.
        columns: NameList,
        /// The head's labels.
        labels: NameList,
    },
    /// A regression target is no number, or none that f32 can hold.
    #[error(
        "{place}: the target {} is not a finite number; correct the row or remove it",
        quoted(label)
    )]
    BadTarget {
        /// Where the row begins.
        place: Place,
        /// What stands there.
        label: String,
    },
    /// No row has a label, or none but those to leave out.
    #[error("{file}: none of {rows} rows has a label to learn")]
    NoLabelledRows {
        /// The first input.
        file: Arc<str>,
        /// How many rows there are.
        rows: u64,
    },
    /// All rows have the same label.
    #[error(
        "{file}: all {rows} training rows have the label {}; two are needed: bring rows with \
         another, or name another column",
        quoted(label)
    )]
    OneClass {
        /// The first input.
        file: Arc<str>,
        /// The one label.
        label: String,
        /// How many rows have it.
        rows: usize,
    },
    /// The loss or its gradient became infinite or no number.
    #[error(
        "the loss is {loss} at step {step}: the training has diverged; lower the learning rate, or \
         look for rows whose targets are very large"
    )]
    LossNotFinite {
        /// The step, counted from 1.
        step: usize,
        /// The loss, or NaN where the gradient is what is not finite.
        loss: f64,
    },
    /// A checkpoint is not what was written.
    #[error("the checkpoint {} is damaged: {reason}; start again without it", path_shown(path))]
    DamagedCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint is that of another run.
    #[error(
        "the checkpoint {} is that of another run: {differences}; give the same data, base and \
         flags, or start again without it",
        path_shown(path)
    )]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// What differs: was, is.
        differences: String,
    },
    /// Where a run's result is to go there is the result of another run.
    #[error(
        "{} is the result of another run: data, base or settings differ; give those of that run, or \
         another place for the result",
        path_shown(path)
    )]
    OtherResult {
        /// Where it is.
        path: PathBuf,
    },
    /// A checkpoint could not be written.
    #[error(transparent)]
    Files(#[from] AdapterError),
    /// No epoch was asked for.
    #[error("nothing to train: ask for at least one epoch and bring at least one row")]
    NothingToTrain,
    /// A list of labels names one twice.
    #[error("the label {} is given twice", quoted(label))]
    LabelTwice {
        /// The label.
        label: String,
    },
    /// A list of labels looks like a JSON list and is none.
    #[error("{} is no list of labels: {reason}; write [\"a\", \"b\"] or a,b", quoted(list))]
    BadLabels {
        /// What was given.
        list: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A label's name is blank.
    #[error("a label has no name; give it one")]
    BlankLabel,
    /// A list of labels holds none.
    #[error("there are no labels")]
    NoLabels,
    /// A stored label map does not number its labels 0, 1, 2, …
    #[error(
        "the label map gives {} the number {id}; {labels} labels are numbered from 0",
        quoted(label)
    )]
    BadLabelMap {
        /// The label.
        label: String,
        /// Its number.
        id: u32,
        /// How many labels the map has.
        labels: usize,
    },
    /// A raw-label-to-name file is not a JSON object of texts or numbers.
    #[error("the label names are not a JSON object such as {{\"0\": \"ham\"}}: {reason}")]
    BadLabelNames {
        /// What the parser said.
        reason: String,
    },
    /// Class weights are not a JSON object of numbers.
    #[error(
        "the class weights are not a JSON object such as {{\"ham\": 1, \"spam\": 6.5}}: {reason}"
    )]
    BadClassWeights {
        /// What the parser said.
        reason: String,
    },
    /// A class weight is given for a label that there is none of.
    #[error("a class weight for the unknown label {}; the labels are {known}", quoted(label))]
    WeightOfUnknownLabel {
        /// The label.
        label: String,
        /// The labels there are.
        known: NameList,
    },
    /// A label has no class weight.
    #[error("there is no weight for the label {}; give every label one", quoted(label))]
    NoClassWeight {
        /// The label.
        label: String,
    },
    /// A class weight is negative or not finite.
    #[error(
        "the weight of the label {} is {weight}; it must be a finite number not below 0",
        quoted(label)
    )]
    BadClassWeight {
        /// The label.
        label: String,
        /// The weight.
        weight: f64,
    },
    /// No label weighs anything.
    #[error("every class weight is 0: there is nothing to learn")]
    ClassWeightsZero,
    /// A share of label smoothing is not one.
    #[error("the label smoothing is {share}; it must be a share from 0 to below 1")]
    BadSmoothing {
        /// The share.
        share: f64,
    },
    /// A learning rate is not above the one that its schedule ends with.
    #[error(
        "the {schedule} schedule ends with a learning rate of {lowest}, and the run's highest is \
         {learning_rate}: give a higher one, or another schedule"
    )]
    LearningRateTooLow {
        /// The schedule.
        schedule: &'static str,
        /// The highest learning rate.
        learning_rate: f64,
        /// Where the schedule ends.
        lowest: f64,
    },
    /// An option does not fit the kind of answers.
    #[error("{what} needs {needed}, and the rows have {given}")]
    UnfitOption {
        /// The option.
        what: &'static str,
        /// The kind it needs.
        needed: &'static str,
        /// The kind there is.
        given: &'static str,
    },
    /// Something needs validation rows, and there are none.
    #[error("{what} needs validation rows, and there are none")]
    NeedsValidation {
        /// What needs them.
        what: &'static str,
    },
    /// A share of rows to hold out is not between 0 and 1.
    #[error("the held-out shares add up to {sum}; each must be above 0 and all together below 1")]
    BadFraction {
        /// What they add up to.
        sum: f64,
    },
    /// Cross-validation with fewer than two folds.
    #[error("{folds} folds: cross-validation needs two at least")]
    BadFolds {
        /// The number that was asked for.
        folds: usize,
    },
    /// There are fewer rows than parts to split them into.
    #[error("{rows} rows cannot be split into {parts} parts with at least one row each")]
    TooFewRows {
        /// The rows.
        rows: usize,
        /// The parts.
        parts: usize,
    },

    // Tasks and scores.
    /// A task's name is not known.
    #[error("unknown task {}; the tasks are {known}", quoted(name))]
    UnknownTask {
        /// The name that was given.
        name: String,
        /// The tasks there are.
        known: NameList,
    },
    /// A task's file is not in the folder.
    #[error("task {task}: found none of {tried}")]
    TaskFileMissing {
        /// The task.
        task: &'static str,
        /// Where it was looked for.
        tried: NameList,
    },
    /// The benchmark's server takes no file for this part of the task.
    #[error("task {task} has no file that the GLUE server takes for {part}")]
    NoSubmission {
        /// The task.
        task: &'static str,
        /// The part's file.
        part: &'static str,
    },
    /// A metric's name is not known, or not one of the task's.
    #[error("no metric {} for {kind}; those that fit are {fitting}", quoted(metric))]
    UnfitMetric {
        /// The metric.
        metric: String,
        /// The kind of answers.
        kind: &'static str,
        /// The metrics that fit.
        fitting: NameList,
    },
    /// No score is about a positive label.
    #[error(
        "a positive label is for two labels, one a row; these rows have {kind}, or more labels"
    )]
    NoPositiveLabel {
        /// The kind of answers.
        kind: &'static str,
    },
    /// A metric of one label names one that there is none of.
    #[error("unknown label {}; the labels are {known}", quoted(label))]
    MetricOfUnknownLabel {
        /// The label.
        label: String,
        /// The labels there are.
        known: NameList,
    },
    /// An area under a curve has nothing to compare.
    #[error(
        "{metric} compares rows that have a label with rows that have not, and no label is in only \
         some of the rows: bring more rows, or choose another metric"
    )]
    NothingToCompare {
        /// The metric.
        metric: String,
    },
    /// Two lists that go row by row have different lengths.
    #[error("{left} {left_name} for {right} {right_name}")]
    LengthsDiffer {
        /// How many of the first.
        left: usize,
        /// What they are.
        left_name: &'static str,
        /// How many of the second.
        right: usize,
        /// What they are.
        right_name: &'static str,
    },
    /// Scores were asked of answers of another kind.
    #[error("{metrics} needs {needed} and was given {given}")]
    WrongAnswers {
        /// The set of metrics, or the file, that was asked for.
        metrics: &'static str,
        /// The kind it needs.
        needed: &'static str,
        /// The kind it got.
        given: &'static str,
    },
    /// A label number is outside the label map.
    #[error("row {row}: label number {id} of {labels}")]
    LabelOutOfRange {
        /// The row, from 0.
        row: usize,
        /// The number.
        id: u32,
        /// How many labels there are.
        labels: usize,
    },
    /// A predicted or true value is not finite.
    #[error("row {row}: the value {value} is not finite")]
    NotFinite {
        /// The row, from 0.
        row: usize,
        /// The value.
        value: f32,
    },
    /// A model gives a row a score that is infinite or no number.
    #[error(
        "row {row}: the model's score is {value}, not a finite number; the weights of the adapter or \
         of its base are damaged or far too large, or their training diverged"
    )]
    ScoreNotFinite {
        /// The row, from 0, among those that were scored together.
        row: usize,
        /// The score.
        value: f32,
    },
    /// A label that was asked to be left out is in no row.
    #[error(
        "no row has the label {} that is to be left out; the labels are {occurring}",
        quoted(label)
    )]
    LabelNeverOccurs {
        /// The label.
        label: String,
        /// Those that occur.
        occurring: NameList,
    },
    /// A threshold at which every label or none would apply.
    #[error("the threshold is {probability}; it must be between 0 and 1, both excluded")]
    BadThreshold {
        /// What was asked for.
        probability: f64,
    },
    /// A file of the prefix cache cannot be used.
    #[error("cannot {doing} the prefix cache {}: {source}", path_shown(path))]
    PrefixCache {
        /// What failed.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// What has the name of the prefix cache's folder is not the cache's.
    #[error(
        "{} is another folder than the prefix cache's: it has no CACHEDIR.TAG of adaptkit's; move it \
         away or name another directory for the cache",
        path_shown(path)
    )]
    ForeignCacheFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The base's files could not be read again.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// A weight of robust training is no weight.
    #[error(
        "the weight of {n} dropped layer{} is {weight}, it must be a number not below 0",
        if *n == 1 { "" } else { "s" }
    )]
    BadDropWeight {
        /// The number of layers dropped.
        n: usize,
        /// Its weight.
        weight: f64,
    },
    /// Robust training has nothing to draw.
    #[error("every weight of robust training is 0: there is no number of layers to drop")]
    NoDropWeight,
    /// Robust training would drop the adapter from every layer.
    #[error(
        "dropping {most} layers leaves no adapter: the encoder has {layers} layers, of which at \
         most {} can be dropped",
        layers.saturating_sub(1)
    )]
    DropsEveryLayer {
        /// The most layers that a step would drop.
        most: usize,
        /// Layers of the encoder.
        layers: usize,
    },
    /// There are no rows to score.
    #[error("there are no rows to score")]
    NothingToScore,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_names_are_counted() {
        let names: NameList = (0..10_000).map(|label| label.to_string()).collect();
        let shown = names.to_string();
        assert!(shown.starts_with("\"0\", \"1\", "), "{shown}");
        assert!(shown.ends_with("\"19\" and 9980 more"), "{shown}");
        assert_eq!(NameList::default().to_string(), "none");
    }
}
