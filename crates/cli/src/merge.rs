//! `adaptkit merge`: trained adapters of one configuration as one.

use std::path::PathBuf;

use adaptkit::adapters::atomic::StagedDirectory;
use adaptkit::adapters::files::{Provenance, StoredAdapter, StoredHead};
use adaptkit::adapters::room;
use adaptkit::encoder::foreign_text::quoted;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::Common;
use crate::error::CliError;
use crate::path_argument::PathArgument;
use crate::task_folder::own_files;
use crate::train::adapter_name;

/// Flags of `adaptkit merge`.
#[derive(Args)]
pub(crate) struct Flags {
    /// A trained adapter's directory, under its own name or this one; all of one configuration
    #[arg(long, value_name = "[NAME=]DIR", required = true)]
    adapter: Vec<PathArgument>,
    /// The adapters' weights, in their order, with commas between: 0.3,0.7; equal ones by default
    #[arg(
        long,
        value_name = "W,W,…",
        value_delimiter = ',',
        allow_hyphen_values = true,
        allow_negative_numbers = true
    )]
    weights: Option<Vec<f64>>,
    /// Take the weights as they are and not divided by their sum: 1,-1,1 adds what the first and
    /// the third have learnt and takes off what the second has
    #[arg(long, requires = "weights")]
    no_normalize: bool,
    /// Keep this adapter's head as it is; by default heads are merged if they have the same labels
    #[arg(long, value_name = "NAME")]
    head: Option<String>,
    /// Where the merged adapter goes, which is named like the directory
    #[arg(long, value_name = "DIR")]
    output_dir: PathBuf,
    /// Replace an adapter that is in the output directory already
    #[arg(long)]
    overwrite: bool,
}

/// An adapter to merge.
struct Member {
    adapter: StoredAdapter,
    head: Option<StoredHead>,
    origin: Option<Provenance>,
    weight: f64,
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    let members = flags.members()?;
    let name = adapter_name(&flags.output_dir);
    let own = own_files();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    StagedDirectory::check(&flags.output_dir, flags.overwrite, &own)?;
    let largest = members.iter().map(|member| {
        let head = member.head.as_ref().map_or(0, StoredHead::parameters);
        member.adapter.parameters() + head
    });
    let largest = largest.max().unwrap_or(0) as u64;
    room::check(&flags.output_dir, 4 * largest + room::AROUND)?;
    let adapters: Vec<&StoredAdapter> = members.iter().map(|member| &member.adapter).collect();
    let weights: Vec<f64> = members.iter().map(|member| member.weight).collect();
    let merged = StoredAdapter::merged(&name, &adapters, &weights)?;
    let origin = flags.origin(&members, common)?;
    let (head, source) = flags.head(&members, &name, &weights, common)?;
    let staged = StagedDirectory::create(&flags.output_dir, flags.overwrite, &own)?;
    merged.write(staged.path())?;
    if let Some(head) = &head {
        head.write(staged.path())?;
    }
    if let Some(origin) = &origin {
        origin.write(staged.path())?;
    }
    staged.commit()?;
    let of = members.iter().map(|member| (member.adapter.name.clone(), json!(member.weight)));
    let facts = json!({
        "adapter": name,
        "merged": of.collect::<Map<String, Value>>(),
        "parameters": merged.parameters(),
        "head": source,
        "output_dir": flags.output_dir,
    });
    say(&facts, &members, common)
}

fn say(facts: &Value, members: &[Member], common: &Common) -> Result<(), CliError> {
    let weighted = members.iter().map(|m| format!("{} · {}", m.weight, m.adapter.name));
    let head = match facts["head"].as_str() {
        None => "no head".to_owned(),
        Some(source) => format!("a head: {source}"),
    };
    let words = format!(
        "{} = {}, with {head}",
        facts["output_dir"].as_str().unwrap_or_default(),
        weighted.collect::<Vec<_>>().join(" + ")
    );
    common.messages().result(facts, words)
}

impl Flags {
    fn members(&self) -> Result<Vec<Member>, CliError> {
        let weights = self.shares()?;
        let mut members: Vec<Member> = Vec::new();
        for (text, weight) in self.adapter.iter().zip(weights) {
            let (name, directory) = text.named();
            let path = directory.path();
            let mut adapter = StoredAdapter::read(path)?;
            if let Some(name) = name {
                adapter.name = name.to_owned();
            }
            if members.iter().any(|other| other.adapter.name == adapter.name) {
                return Err(CliError::usage(format!(
                    "two adapters are called {}; give one another name with --adapter \
                     NAME={directory}",
                    quoted(&adapter.name)
                )));
            }
            let head = StoredHead::read(path)?.map(|head| {
                // What is said of heads that differ names adapters.
                StoredHead { name: adapter.name.clone(), ..head }
            });
            members.push(Member { adapter, head, origin: Provenance::read(path)?, weight });
        }
        Ok(members)
    }

    /// A weight for each adapter.
    fn shares(&self) -> Result<Vec<f64>, CliError> {
        let count = self.adapter.len();
        let Some(weights) = &self.weights else { return Ok(vec![1.0 / count as f64; count]) };
        if weights.len() != count {
            return Err(CliError::usage(format!(
                "--weights has {} numbers for {count} adapters: give one for each --adapter",
                weights.len()
            )));
        }
        if let Some(weight) = weights.iter().find(|weight| !weight.is_finite()) {
            let message = format!("--weights has {weight}, which is no finite number");
            return Err(CliError::usage(message));
        }
        if self.no_normalize {
            return Ok(weights.clone());
        }
        let sum: f64 = weights.iter().sum();
        let size: f64 = weights.iter().map(|weight| weight.abs()).sum();
        if !sum.is_finite() || sum.abs() <= 1e-9 * size || size == 0.0 {
            return Err(CliError::usage(
                "--weights have no sum that they could be divided by; --no-normalize takes them \
                 as they are",
            ));
        }
        Ok(weights.iter().map(|weight| weight / sum).collect())
    }

    /// The head, and in words where it comes from.
    fn head(
        &self,
        members: &[Member],
        name: &str,
        weights: &[f64],
        common: &Common,
    ) -> Result<(Option<StoredHead>, Option<String>), CliError> {
        if let Some(wanted) = &self.head {
            let of = |member: &&Member| member.adapter.name == *wanted;
            let head = members.iter().find(of).and_then(|member| member.head.clone());
            return match head {
                Some(head) => {
                    let head = StoredHead { name: name.to_owned(), ..head };
                    Ok((Some(head), Some(format!("{wanted}'s as it is"))))
                }
                None => {
                    let with = members.iter().filter(|member| member.head.is_some());
                    let names: Vec<String> = with.map(|m| quoted(&m.adapter.name)).collect();
                    Err(CliError::usage(format!(
                        "--head {wanted}: no adapter of that name has a head; there are {}",
                        names.join(", ")
                    )))
                }
            };
        }
        let heads: Option<Vec<&StoredHead>> =
            members.iter().map(|member| member.head.as_ref()).collect();
        let Some(heads) = heads else {
            if members.iter().any(|member| member.head.is_some()) {
                common.note(
                    "note: not every adapter has a head, so none is merged; --head keeps one",
                );
            }
            return Ok((None, None));
        };
        match StoredHead::merged(name, &heads, weights) {
            Ok(head) => Ok((Some(head), Some("merged likewise".to_owned()))),
            Err(error) => {
                common.note(format_args!("note: {error}; none is written, --head keeps one"));
                Ok((None, None))
            }
        }
    }

    /// What is known of the merged adapter beside its numbers.
    fn origin(&self, members: &[Member], common: &Common) -> Result<Option<Provenance>, CliError> {
        let known: Vec<(&Member, &Provenance)> =
            members.iter().filter_map(|m| Some((m, m.origin.as_ref()?))).collect();
        let Some((first, origin)) = known.first() else { return Ok(None) };
        for (member, other) in &known[1..] {
            other.check_base(&member.adapter.name, &origin.base)?;
            if other.base.is_sampled() != origin.base.is_sampled() {
                common.note(format_args!(
                    "note: {} and {} cannot be compared by all of their base, as one of them is of an \
                     earlier version: only its sizes are known to be the same",
                    quoted(&first.adapter.name),
                    quoted(&member.adapter.name),
                ));
            }
        }
        // A fingerprint of all of the base says more than an earlier version's.
        let whole = known.iter().map(|(_, p)| &p.base).find(|base| !base.is_sampled());
        let base = whole.unwrap_or(&origin.base).clone();
        // The head that answers afterwards says what is asked of it.
        let of_head = match &self.head {
            Some(name) => known.iter().find(|(member, _)| member.adapter.name == *name),
            None => Some(&(*first, *origin)),
        };
        let same = |wanted: &dyn Fn(&Provenance) -> Value| {
            known.iter().all(|(_, other)| wanted(other) == wanted(origin))
        };
        let of = members.iter().map(|m| (m.adapter.name.clone(), json!(m.weight)));
        Ok(Some(Provenance {
            adaptkit_version: env!("CARGO_PKG_VERSION").to_owned(),
            base,
            task: origin.task.clone().filter(|_| same(&|p| json!(p.task))),
            labels: of_head.map(|(_, p)| p.labels.clone()).unwrap_or_default(),
            threshold: of_head.and_then(|(_, p)| p.threshold),
            thresholds: of_head.and_then(|(_, p)| p.thresholds.clone()),
            positive_label: of_head.and_then(|(_, p)| p.positive_label.clone()),
            max_length: known.iter().filter_map(|(_, p)| p.max_length).max(),
            seed: None,
            adapterdrop: origin.adapterdrop.clone().filter(|_| same(&|p| json!(p.adapterdrop))),
            metrics: Default::default(),
            fusion_attention: None,
            pruned: None,
            training: Map::from_iter([("merged".to_owned(), Value::Object(of.collect()))]),
            unknown: Map::new(),
        }))
    }
}
