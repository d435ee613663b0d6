//! Examples at the end of each command's `--help`.

use crate::environment;

/// What to type first.
pub(crate) const FIRST_COMMANDS: &str = "\
First commands:
  See everything once, on bundled messages:
    adaptkit quickstart
  Fetch a base model:
    adaptkit pull all-MiniLM-L6-v2
  Train on a table with a text and a label:
    adaptkit train --model all-MiniLM-L6-v2 --train-file reviews.csv --text-column review --label-column verdict --output-dir verdicts
  Label new rows:
    adaptkit predict --model all-MiniLM-L6-v2 --adapter verdicts --input new.csv --text-column review

`adaptkit COMMAND --help` explains a command and ends in examples.";

/// The end of `adaptkit --help`.
pub(crate) fn whole() -> String {
    format!("{FIRST_COMMANDS}\n\n{}", environment::help())
}

pub(crate) const PULL: &str = "\
Examples:
  A model that the documentation uses, 91 MB:
    adaptkit pull all-MiniLM-L6-v2
  Any other by its name on the Hub; later commands take the same name as --model:
    adaptkit pull google-bert/bert-base-uncased";

pub(crate) const FUSE: &str = "\
Examples:
  Combine two trained adapters for a third task:
    adaptkit fuse --model all-MiniLM-L6-v2 --adapter rte --adapter reviews --task rte --data glue --output-dir rte-fused
  The same on your own rows:
    adaptkit fuse --model all-MiniLM-L6-v2 --adapter rte --adapter reviews --train-file reviews.csv --text-column review --label-column verdict --output-dir reviews-fused
  A fusion is used as any adapter is:
    adaptkit predict --model all-MiniLM-L6-v2 --adapter rte-fused --input texts.txt";

pub(crate) const PRUNE: &str = "\
Examples:
  See what every number of members scores:
    adaptkit prune --model all-MiniLM-L6-v2 --fusion rte-fused --task rte --data glue --sweep --plot kept.svg
  Keep the one that tokens attend to most, in each layer:
    adaptkit prune --model all-MiniLM-L6-v2 --fusion rte-fused --task rte --data glue --keep 1 --output-dir rte-pruned";

pub(crate) const MERGE: &str = "\
Examples:
  The mean of two adapters:
    adaptkit merge --adapter monday --adapter tuesday --output-dir both
  A weighted mean:
    adaptkit merge --adapter monday --adapter tuesday --weights 0.3,0.7 --output-dir mostly-tuesday
  What the first has learnt and the second has not:
    adaptkit merge --adapter monday --adapter tuesday --weights 1,-1 --no-normalize --head monday --output-dir difference";

pub(crate) const EVAL: &str = "\
Examples:
  On your own labelled rows:
    adaptkit eval --model all-MiniLM-L6-v2 --adapter verdicts --validation-file dev.csv --text-column review --label-column verdict
  On a GLUE task, whose folders lie in glue/, as JSON:
    adaptkit eval --model all-MiniLM-L6-v2 --adapter rte --task rte --data glue --json
  With the adapter left out of ever more layers, drawn:
    adaptkit eval --model all-MiniLM-L6-v2 --adapter rte --task rte --data glue --adapterdrop sweep --plot rte.svg";

pub(crate) const PREDICT: &str = "\
Examples:
  One text:
    echo 'See you at noon' | adaptkit predict --model all-MiniLM-L6-v2 --adapter sms-spam-adapter
  A table, with two of its columns beside the labels:
    adaptkit predict --model all-MiniLM-L6-v2 --adapter verdicts --input new.csv --text-column review --keep-columns id,review --output-format csv --output labelled.csv
  Several adapters on every text:
    adaptkit predict --model all-MiniLM-L6-v2 --adapter sms-spam-adapter --adapter topics=my-adapter --input texts.txt
  Lines as another program writes them, each answered at once:
    tail -f messages.log | adaptkit predict --model all-MiniLM-L6-v2 --adapter sms-spam-adapter";

pub(crate) const GLUE: &str = "\
Example:
  adaptkit glue submit --model all-MiniLM-L6-v2 --adapter rte=rte --adapter cola=cola --data glue --output-dir submission --fill-missing --zip";

pub(crate) const INSPECT: &str = "\
Examples:
  What an adapter is, what it was trained on and what it scored:
    adaptkit inspect verdicts
  What a base model is, as JSON:
    adaptkit inspect all-MiniLM-L6-v2 --json";
