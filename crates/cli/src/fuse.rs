//! `adaptkit fuse`: a fusion of trained adapters, and a head, for a task.

use adaptkit::adapters::config::FusionConfig;
use adaptkit::adapters::files::{ADAPTER_SETUP, Provenance, StoredAdapter, StoredFusion};
use adaptkit::encoder::foreign_text::quoted;
use clap::Args;

use crate::Common;
use crate::error::CliError;
use crate::path_argument::PathArgument;
use crate::task_folder::own_files;
use crate::train::{Defaults, NewFusion, RunFlags, Subject, adapter_name};

/// Flags of `adaptkit fuse`.
#[derive(Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    run: RunFlags,
    /// A trained adapter's directory, under its own name or this one; give at least two. All stay as
    /// they are
    #[arg(long, value_name = "[NAME=]DIR", required = true, help_heading = "Fusion")]
    adapter: Vec<PathArgument>,
    /// dynamic, with a value matrix (Pfeiffer et al. 2021), static, without, or figure-3, with a query
    /// from before the norm and values with the residual (Rücklé et al. 2021)
    #[arg(
        long,
        alias = "adapter-fusion-config",
        value_name = "NAME",
        default_value = "dynamic",
        help_heading = "Fusion"
    )]
    fusion: String,
    /// The share of attention scores that training drops; the base's own for its attention by
    /// default
    #[arg(long, value_name = "P", help_heading = "Fusion")]
    fusion_dropout: Option<f64>,
}

pub(crate) fn run(flags: &Flags, common: &Common) -> Result<(), CliError> {
    let mut config = FusionConfig::preset(&flags.fusion)?;
    if let Some(share) = flags.fusion_dropout {
        if !(0.0..1.0).contains(&share) {
            let message = format!("--fusion-dropout is {share}, not a share from 0 to below 1");
            return Err(CliError::usage(message));
        }
        // In the library's files 0 asks for the base's own: the least number stands for none.
        config.dropout_prob = Some(share.max(f64::MIN_POSITIVE));
    }
    let members = flags.members()?;
    // What the library names folders after.
    let names: Vec<&str> = members.iter().map(|(member, _)| &member.name[..]).collect();
    let head = adapter_name(flags.run.output_dir());
    StoredFusion::check_names(&names, &head)?;
    let mut own = own_files();
    own.extend([ADAPTER_SETUP.to_owned(), names.join(","), head]);
    own.extend(names.into_iter().map(str::to_owned));
    let defaults = Defaults { epochs: 10, learning_rate: 5e-5, early_stopping_patience: Some(3) };
    flags.run.run(Subject::Fusion(NewFusion { members, config }), &defaults, own, common)
}

impl Flags {
    fn members(&self) -> Result<Vec<(StoredAdapter, Option<Provenance>)>, CliError> {
        let mut members: Vec<(StoredAdapter, Option<Provenance>)> = Vec::new();
        for text in &self.adapter {
            let (name, directory) = text.named();
            let mut member = StoredAdapter::read(directory.path())?;
            if let Some(name) = name {
                member.name = name.to_owned();
            }
            if members.iter().any(|(other, _)| other.name == member.name) {
                return Err(CliError::usage(format!(
                    "two members are called {}; give one another name with --adapter \
                     NAME={directory}",
                    quoted(&member.name)
                )));
            }
            members.push((member, Provenance::read(directory.path())?));
        }
        match members.len() {
            0 | 1 => {
                Err(CliError::usage("a fusion has two members at least: give --adapter twice"))
            }
            _ => Ok(members),
        }
    }
}
