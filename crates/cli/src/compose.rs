//! `--compose` and `--head`: what `predict` and `eval` make of several adapters together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use adaptkit::adapters::AdapterError;
use adaptkit::adapters::composition::{Composition, Way, Ways};
use adaptkit::adapters::files::{
    BaseReference, Provenance, StoredAdapter, StoredComposition, StoredFuse, StoredFusion,
    StoredHead, StoredParts,
};
use adaptkit::encoder::Tokenizer;
use adaptkit::encoder::foreign_text::quoted;
use clap::Args;

use crate::error::CliError;
use crate::path_argument::PathArgument;
use crate::task_folder::{Stored, TaskFolder};

/// How adapters are composed.
#[derive(Args, Clone, Default)]
pub(crate) struct ComposeFlags {
    /// Adapters together, by the names that --adapter gives them: 'stack(a, fuse(b, c))',
    /// 'average(a, b, weights=[0.3, 0.7])', 'split(…, splits=[64, 64])', 'parallel(…)' or
    /// 'batch_split(…, batch_sizes=[2, 3])'; a name for its answers may stand before it
    #[arg(long, value_name = "[NAME=]COMPOSITION", help_heading = "Composition")]
    pub(crate) compose: Vec<String>,
    /// The head that answers, where an adapter, a fusion or a composition does not decide it: that of
    /// an adapter of a composition, or one that was saved beside an adapter or a fusion
    #[arg(long, value_name = "NAME", help_heading = "Composition")]
    pub(crate) head: Option<String>,
}

/// A way through a composition, with what it is made of.
pub(crate) struct Composed {
    pub(crate) way: Way,
    pub(crate) parts: Arc<StoredParts>,
    /// Where adapters come from, as far as that was noted.
    pub(crate) origins: Arc<BTreeMap<String, Provenance>>,
}

impl Composed {
    /// Checks that every adapter of it was made for a base and its tokenizer.
    pub(crate) fn check_base(
        &self,
        base: &BaseReference,
        tokenizer: &Tokenizer,
    ) -> Result<(), CliError> {
        for name in self.way.composition.names() {
            if let Some(origin) = self.origins.get(name) {
                origin.check_base(name, base)?;
                origin.check_tokenizer(name, tokenizer)?;
            }
        }
        Ok(())
    }
}

/// The answers of a composition: a folder for each of its ways, under its name.
pub(crate) struct Answers {
    pub(crate) ways: Ways,
    pub(crate) folders: Vec<(String, TaskFolder)>,
}

impl Answers {
    /// The folder of a composition that gives one answer.
    pub(crate) fn single(mut self) -> Result<TaskFolder, CliError> {
        let single = self.ways.single();
        match (single, self.folders.pop()) {
            (Ok(_), Some((_, folder))) => Ok(folder),
            (Err(error), _) => Err(CliError::usage(error.to_string())),
            (Ok(_), None) => Err(CliError::usage("a composition of nothing")),
        }
    }
}

/// What `--adapter` gives to compositions.
#[derive(Default)]
struct Members {
    parts: StoredParts,
    origins: BTreeMap<String, Provenance>,
    /// For each `--adapter` what it gave: adapters, fusions and heads by name.
    given: Vec<(String, BTreeSet<String>)>,
}

impl ComposeFlags {
    /// The answers of every `--compose`.
    pub(crate) fn answers(&self, adapters: &[PathArgument]) -> Result<Vec<Answers>, CliError> {
        let mut members = Members::default();
        for text in adapters {
            members.add(text, self.head.as_deref())?;
        }
        let mut used = BTreeSet::new();
        let texts = self.compose.iter().map(|text| {
            let (name, text) = named_composition(text);
            let composition: Composition = text
                .parse()
                .map_err(|error| CliError::usage(format!("--compose '{text}': {error}")))?;
            used.extend(composition.names().into_iter().map(str::to_owned));
            used.extend(composition.fusions().into_iter().map(|names| names.join(",")));
            Ok((name, composition))
        });
        let texts = texts.collect::<Result<Vec<_>, CliError>>()?;
        let Members { parts, origins, given } = members;
        let (parts, origins) = (Arc::new(parts), Arc::new(origins));
        let mut all = Vec::new();
        for (name, composition) in texts {
            let answers =
                self.of_composition(name, &composition, None, &parts, &origins, &mut used)?;
            all.push(answers);
        }
        match given.iter().find(|(_, names)| names.is_disjoint(&used)) {
            Some((text, _)) => Err(CliError::usage(format!(
                "--adapter {text} is in no composition; name it in one, or leave it out"
            ))),
            None => Ok(all),
        }
    }

    /// What the directory of one `--adapter` holds, if that gives one answer.
    pub(crate) fn folder(&self, adapter: &PathArgument) -> Result<TaskFolder, CliError> {
        let (name, directory) = adapter.named();
        let directory = directory.path();
        if StoredComposition::is_at(directory) {
            return self.of_directory(name, directory)?.single();
        }
        TaskFolder::read(directory, self.head.as_deref())
    }

    /// The answers of a setup's directory.
    pub(crate) fn of_directory(
        &self,
        name: Option<&str>,
        directory: &Path,
    ) -> Result<Answers, CliError> {
        let StoredComposition { composition, head_setup, parts } =
            StoredComposition::read(directory)?;
        let mut origins = BTreeMap::new();
        for name in parts.adapters.keys().chain(parts.heads.keys()) {
            let origin = Provenance::read(&directory.join(name))?;
            origins.extend(origin.map(|origin| (name.clone(), origin)));
        }
        let (parts, origins) = (Arc::new(parts), Arc::new(origins));
        let used = &mut BTreeSet::new();
        self.of_composition(name, &composition, head_setup.as_ref(), &parts, &origins, used)
    }

    fn of_composition(
        &self,
        name: Option<&str>,
        composition: &Composition,
        head_setup: Option<&Composition>,
        parts: &Arc<StoredParts>,
        origins: &Arc<BTreeMap<String, Provenance>>,
        used: &mut BTreeSet<String>,
    ) -> Result<Answers, CliError> {
        // What is missing is said before anything of a head.
        for name in composition.names() {
            parts.adapter(name).map_err(|error| missing(error, parts))?;
        }
        for names in composition.fusions() {
            parts.fusion(&names.join(",")).map_err(|error| missing(error, parts))?;
        }
        let ways = composition.ways().map_err(|error| CliError::usage(error.to_string()))?;
        let chosen = head_setup.map_or(vec![None; ways.all.len()], |setup| ways.heads(setup));
        let single = ways.all.len() == 1;
        let found = ways.all.iter().zip(chosen).map(|(way, chosen)| {
            let key = self.head_of(way, chosen, parts)?;
            let head = parts.heads[&key].clone();
            let provenance = origins.get(&key).cloned();
            used.insert(key);
            let name = name.filter(|_| single).unwrap_or(&way.name).to_owned();
            let way = Way { name: name.clone(), ..way.clone() };
            let composed = Composed { way, parts: Arc::clone(parts), origins: Arc::clone(origins) };
            let stored = Stored::Composed(Box::new(composed));
            Ok((name, TaskFolder { stored, head, provenance }))
        });
        let folders = found.collect::<Result<Vec<_>, CliError>>()?;
        Ok(Answers { ways, folders })
    }

    /// The name of the head that answers on a way: the asked for one, or that of its last adapter,
    /// or of a fusion at its end, or the only one there is.
    fn head_of(
        &self,
        way: &Way,
        chosen: Option<String>,
        parts: &StoredParts,
    ) -> Result<String, CliError> {
        let known = || {
            let names = parts.heads.keys().filter(|name| !name.contains(','));
            names.map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
        };
        if let Some(name) = &self.head {
            return match parts.heads.contains_key(name) {
                true => Ok(name.clone()),
                false => Err(CliError::usage(format!(
                    "--head {name}: no such head is given; there are {}",
                    known()
                ))),
            };
        }
        let has = |name: &String| parts.heads.contains_key(name);
        let last = way.head().map(str::to_owned);
        if let Some(name) = chosen.or(last) {
            return match has(&name) {
                true => Ok(name),
                false => Err(CliError::usage(format!(
                    "{} ends in {}, which has no head; choose one with --head: {}",
                    way.name,
                    quoted(&name),
                    known()
                ))),
            };
        }
        if let Some(name) = way.last_fusion().filter(has) {
            return Ok(name);
        }
        let mut names = parts.heads.keys().filter(|name| !name.contains(','));
        match (names.next(), names.next()) {
            (Some(name), None) => Ok(name.clone()),
            (None, _) => Err(CliError::usage(format!(
                "{}: none of the adapters has a head, so there is nothing to predict with",
                way.name
            ))),
            _ => Err(CliError::usage(format!(
                "{} does not say whose head answers; choose one with --head: {}",
                way.name,
                known()
            ))),
        }
    }
}

/// The name before a composition, and the composition.
fn named_composition(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, rest)) if !name.contains(['(', '"']) => (Some(name.trim()), rest),
        _ => (None, text),
    }
}

/// What a composition lacks, and what there is.
fn missing(error: impl std::fmt::Display, parts: &StoredParts) -> CliError {
    let names = |names: Vec<&String>| {
        names.into_iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
    };
    let fusions = match parts.fusions.is_empty() {
        true => "no fusions".to_owned(),
        false => format!("the fusions {}", names(parts.fusions.keys().collect())),
    };
    let adapters = names(parts.adapters.keys().collect());
    CliError::usage(format!("{error}; --adapter gives {adapters} and {fusions}"))
}

impl Members {
    /// Adds what a directory holds: an adapter, a fusion with or without its members, a head.
    fn add(&mut self, text: &PathArgument, wanted: Option<&str>) -> Result<(), CliError> {
        let (name, directory) = text.named();
        let path = directory.path();
        let origin = Provenance::read(path)?;
        let mut given = BTreeSet::new();
        if StoredComposition::is_at(path) {
            return Err(CliError::usage(format!(
                "{directory} holds a composition; give its adapters' own directories"
            )));
        }
        if StoredFuse::is_alone_at(path) {
            let fuse = StoredFuse::read(path)?;
            let members = fuse.name();
            self.fusion(text, fuse)?;
            given.insert(members.clone());
            if let Some(head) = StoredHead::read(path)? {
                given.extend(self.fusion_head(text, (name, members), head, origin.as_ref())?);
            }
        } else if StoredFusion::is_at(path) {
            let fusion = StoredFusion::read_members(path)?;
            let members = fusion.name();
            self.fusion(text, fusion.fuse())?;
            given.insert(members.clone());
            for member in fusion.members {
                given.insert(member.name.clone());
                self.adapter(text, member)?;
            }
            let wanted = wanted.filter(|_| name.is_none());
            if let Some(head) = fusion_head_at(path, wanted)? {
                given.extend(self.fusion_head(text, (name, members), head, origin.as_ref())?);
            }
        } else {
            let head = StoredHead::read(path)?;
            let name = match StoredHead::is_alone_at(path) {
                true => name.map(str::to_owned).or(head.as_ref().map(|head| head.name.clone())),
                false => {
                    let mut adapter = StoredAdapter::read(path)?;
                    if let Some(name) = name {
                        adapter.name = name.to_owned();
                    }
                    let name = adapter.name.clone();
                    self.adapter(text, adapter)?;
                    Some(name)
                }
            };
            let name = name.unwrap_or_default();
            if let Some(head) = head {
                self.head(text, &name, head)?;
            }
            self.origins.extend(origin.map(|origin| (name.clone(), origin)));
            given.insert(name);
        }
        self.given.push((text.to_string(), given));
        Ok(())
    }

    /// Adds the head of a fusion under its own name, or the one that is given, and under the names
    /// of the fusion's members; returns these names.
    fn fusion_head(
        &mut self,
        text: &str,
        (name, members): (Option<&str>, String),
        head: StoredHead,
        origin: Option<&Provenance>,
    ) -> Result<BTreeSet<String>, CliError> {
        let own = name.map_or_else(|| head.name.clone(), str::to_owned);
        let names = BTreeSet::from([members, own]);
        for name in &names {
            self.origins.extend(origin.map(|origin| (name.clone(), origin.clone())));
            self.head(text, name, head.clone())?;
        }
        Ok(names)
    }

    fn adapter(&mut self, text: &str, adapter: StoredAdapter) -> Result<(), CliError> {
        match self.parts.adapters.get(&adapter.name) {
            // A fusion brings its members along, which may have been given as well.
            Some(known) if *known != adapter => Err(twice(text, "adapters", &adapter.name)),
            _ => {
                self.parts.adapters.insert(adapter.name.clone(), adapter);
                Ok(())
            }
        }
    }

    fn fusion(&mut self, text: &str, fuse: StoredFuse) -> Result<(), CliError> {
        match self.parts.fusions.insert(fuse.name(), fuse) {
            Some(before) => Err(twice(text, "fusions", &before.name())),
            None => Ok(()),
        }
    }

    fn head(&mut self, text: &str, name: &str, head: StoredHead) -> Result<(), CliError> {
        match self.parts.heads.insert(name.to_owned(), head) {
            Some(_) => Err(twice(text, "heads", name)),
            None => Ok(()),
        }
    }
}

/// The head that answers for a fusion: the wanted one, where it is one of the fusion's, or its own.
fn fusion_head_at(path: &Path, wanted: Option<&str>) -> Result<Option<StoredHead>, CliError> {
    match StoredFusion::read_head(path, wanted) {
        // It may be the head of something else that is given.
        Err(AdapterError::NoSuchHead { .. }) => match StoredFusion::read_head(path, None) {
            Err(AdapterError::HeadUnclear { .. }) => Ok(None),
            head => Ok(head?),
        },
        head => Ok(head?),
    }
}

fn twice(text: &str, what: &str, name: &str) -> CliError {
    let name = quoted(name);
    CliError::usage(format!(
        "--adapter {text}: two different {what} are called {name}; give one another name with \
         --adapter NAME=DIR"
    ))
}
