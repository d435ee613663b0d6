//! From a way through a composition and stored parts to a model on a device.

use std::collections::BTreeMap;
use std::sync::Arc;

use adaptkit_compute::{FrozenLinear, Precision};
use adaptkit_encoder::{Encoder, Place, Site};

use super::composed::{Composed, FusedMember, FusedStacks, Node};
use super::{Block, Composition, CompositionError, Way};
use crate::adapter::Adapter;
use crate::assembly::{bottleneck_of, head_of};
use crate::bottleneck::{Bottleneck, Form, Input, Residual};
use crate::classifier::TaskModel;
use crate::error::AdapterError;
use crate::files::{StoredAdapter, StoredFuse, StoredFusion, StoredHead, StoredParts};
use crate::fusion::Fusion;
use crate::fusion::assembly::{check_members, fusions_of, module_at};
use crate::module::Module;

impl TaskModel {
    /// A way through a composition with a head, on the encoder's device and for inference only.
    ///
    /// # Errors
    /// If a part is missing, was made for another encoder or cannot be where the composition has
    /// it.
    pub fn composed(
        encoder: &Encoder,
        way: &Way,
        parts: &StoredParts,
        head: &StoredHead,
    ) -> Result<TaskModel, AdapterError> {
        let mut builder = Builder::new(encoder, parts);
        builder.prepare(&way.composition, false)?;
        let layers = 0..encoder.config().num_hidden_layers;
        let mut modules = BTreeMap::new();
        for place in layers.flat_map(|layer| Site::ALL.map(|site| Place::new(layer, site))) {
            if let Some(module) = builder.module(&way.composition, place)? {
                modules.insert(place, Module::Composed(Box::new(module)));
            }
        }
        let adapter = Adapter::new(modules, BTreeMap::new());
        Ok(TaskModel { adapter, head: head_of(encoder, head)? })
    }
}

struct Builder<'a> {
    encoder: &'a Encoder,
    parts: &'a StoredParts,
    /// The fusions of adapters alone, by name.
    fusions: BTreeMap<String, BTreeMap<Place, Arc<Fusion>>>,
    /// Bottlenecks that are on the device: an adapter may stand twice in a composition.
    made: BTreeMap<(String, Place), Arc<Bottleneck>>,
}

/// How a bottleneck is wired, in so far as a block takes its members together.
fn wiring(adapter: &StoredAdapter) -> (Input, Residual, bool) {
    let Form { input, residual, norm_at_end, .. } = Form::of(&adapter.config);
    (input, residual, norm_at_end)
}

impl<'a> Builder<'a> {
    fn new(encoder: &'a Encoder, parts: &'a StoredParts) -> Builder<'a> {
        Builder { encoder, parts, fusions: BTreeMap::new(), made: BTreeMap::new() }
    }

    /// Checks every part, and folds the fusions.
    fn prepare(&mut self, tree: &Composition, stacked: bool) -> Result<(), AdapterError> {
        let config = self.encoder.config();
        match tree {
            Composition::Adapter(name) => {
                let adapter = self.parts.adapter(name)?;
                let layers = config.num_hidden_layers;
                adapter.check_base(&config.model_type, config.hidden_size, layers)?;
                let unsuited = |reason| CompositionError::Unsuited { name: name.clone(), reason };
                if !adapter.layer_norms.is_empty() {
                    let reason = "it was trained together with the encoder's layer norms";
                    return Err(unsuited(reason).into());
                }
                if stacked && adapter.config.is_parallel {
                    let reason = "it runs in parallel to its sub-layer, and would forget what it \
                                  is stacked with";
                    return Err(unsuited(reason).into());
                }
                return Ok(());
            }
            Composition::Fuse(children) => {
                let names: Vec<&str> = children.iter().filter_map(Composition::last).collect();
                let name = names.join(",");
                let fuse = self.parts.fusion(&name)?;
                for name in tree.names() {
                    self.parts.adapter(name)?;
                }
                match plain_members(children) {
                    Some(names) => {
                        let fusion = self.fusion(fuse, &names)?;
                        let fusions = fusions_of(self.encoder, &fusion)?.into_iter();
                        let shared = |fusion: Fusion| {
                            fusion.fold_ahead();
                            Arc::new(fusion.before_end())
                        };
                        let fusions = fusions.map(|(place, fusion)| (place, shared(fusion)));
                        self.fusions.insert(name, fusions.collect());
                    }
                    None => {
                        if fuse.config.query_before_ln || fuse.config.residual_before {
                            let reason = "a fusion that holds stacks has its query from behind \
                                          the norm and its values without the residual";
                            return Err(CompositionError::Unsuited { name, reason }.into());
                        }
                        // The last one's wiring makes part of what is computed: it comes last.
                        let last = tree.last();
                        let names = tree.names().into_iter().filter(|name| Some(*name) != last);
                        let members = names.chain(last).map(|name| self.parts.adapter(name));
                        let members = members.collect::<Result<Vec<_>, _>>()?;
                        check_members(self.encoder, members.into_iter())?;
                    }
                }
                return Ok(());
            }
            Composition::Parallel(children) if children.len() > 1 => {
                return Err(CompositionError::SeveralWays { block: Block::Parallel }.into());
            }
            Composition::BatchSplit { .. } => {
                return Err(CompositionError::SeveralWays { block: Block::BatchSplit }.into());
            }
            Composition::Split { .. } | Composition::Average { .. } => self.check_alike(tree)?,
            Composition::Stack(_) | Composition::Parallel(_) => {}
        }
        let children = tree.children();
        let several = tree.block() == Block::Stack && children.len() > 1;
        children.iter().try_for_each(|child| self.prepare(child, stacked || several))
    }

    /// That a block's members are wired alike.
    fn check_alike(&self, tree: &Composition) -> Result<(), AdapterError> {
        let names = tree.names();
        for pair in names.windows(2) {
            let wirings =
                [wiring(self.parts.adapter(pair[0])?), wiring(self.parts.adapter(pair[1])?)];
            if wirings[0] != wirings[1] {
                let block = tree.block();
                let (first, other) = (pair[0].to_owned(), pair[1].to_owned());
                return Err(CompositionError::UnlikeMembers { block, first, other }.into());
            }
        }
        Ok(())
    }

    /// A fusion of adapters with these members.
    fn fusion(&self, fuse: &StoredFuse, names: &[&str]) -> Result<StoredFusion, AdapterError> {
        let members = names.iter().map(|name| {
            self.parts
                .adapter(name)
                .map(|adapter| StoredAdapter { name: (*name).to_owned(), ..adapter.clone() })
        });
        Ok(StoredFusion {
            members: members.collect::<Result<Vec<_>, _>>()?,
            config: fuse.config.clone(),
            model: fuse.model.clone(),
            attention: fuse.attention.clone(),
        })
    }

    /// What sits at a place, if anything does.
    fn module(
        &mut self,
        tree: &Composition,
        place: Place,
    ) -> Result<Option<Composed>, AdapterError> {
        let Some(last) = self.last(tree, place) else { return Ok(None) };
        let norm_at_end = Form::of(&self.parts.adapter(last)?.config).norm_at_end;
        let here = tree.names().into_iter().filter_map(|name| {
            Some(module_at(self.parts.adapters.get(name)?, place)?.parameters())
        });
        let fusions = tree.fusions().into_iter().filter_map(|names| {
            Some(self.parts.fusions.get(&names.join(","))?.attention.get(&place)?.parameters())
        });
        let parameters = here.sum::<usize>() + fusions.sum::<usize>();
        let node = self.node(tree, place)?;
        Ok(node.map(|node| Composed::new(node, norm_at_end, parameters)))
    }

    /// The last adapter with a module at a place; of a fusion its last member.
    fn last<'t>(&self, tree: &'t Composition, place: Place) -> Option<&'t str> {
        match tree {
            Composition::Adapter(name) => {
                module_at(self.parts.adapters.get(name)?, place)?;
                Some(name)
            }
            block => block.children().iter().rev().find_map(|child| self.last(child, place)),
        }
    }

    /// The form that a block's step in front has.
    fn form(&self, tree: &Composition) -> Result<Form, AdapterError> {
        let first = tree.first().ok_or(CompositionError::Empty { block: tree.block() })?;
        Ok(Form::of(&self.parts.adapter(first)?.config))
    }

    fn bottleneck(
        &mut self,
        name: &str,
        place: Place,
    ) -> Result<Option<Arc<Bottleneck>>, AdapterError> {
        let adapter = self.parts.adapter(name)?;
        let Some(stored) = module_at(adapter, place) else { return Ok(None) };
        let (encoder, d) = (self.encoder, self.encoder.config().hidden_size);
        let made = self.made.entry((name.to_owned(), place)).or_insert_with(|| {
            // The composition takes the norm at the end.
            let form = Form { norm_at_end: false, ..Form::of(&adapter.config) };
            let mut module = bottleneck_of(encoder.device(), d, form, stored);
            module.pack();
            Arc::new(module)
        });
        Ok(Some(Arc::clone(made)))
    }

    /// What a part of the composition is at a place, if anything.
    fn node(&mut self, tree: &Composition, place: Place) -> Result<Option<Node>, AdapterError> {
        if self.last(tree, place).is_none() {
            return Ok(None);
        }
        Ok(match tree {
            Composition::Adapter(name) => self.bottleneck(name, place)?.map(Node::Adapter),
            Composition::Stack(children) => {
                let nodes = children.iter().map(|child| self.node(child, place));
                let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
                Some(Node::Stack(nodes.into_iter().flatten().collect()))
            }
            Composition::Fuse(children) if plain_members(children).is_some() => {
                let names: Vec<&str> = children.iter().filter_map(Composition::last).collect();
                let fusion = self.fusions.get(&names.join(",")).and_then(|f| f.get(&place));
                fusion.map(|fusion| Node::Fusion(Arc::clone(fusion)))
            }
            Composition::Fuse(children) => {
                Some(Node::FusedStacks(Box::new(self.fused_stacks(tree, children, place)?)))
            }
            Composition::Split { children, splits } => {
                let form = self.form(tree)?;
                let nodes = children.iter().map(|child| self.node(child, place));
                let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
                let children = nodes.into_iter().zip(splits.iter().copied()).collect();
                Some(Node::Split { form, children })
            }
            Composition::Average { children, weights } => {
                let form = self.form(tree)?;
                let nodes = children.iter().map(|child| self.node(child, place));
                let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
                let weights = weights.iter().map(|weight| *weight as f32);
                Some(Node::Average { form, children: nodes.into_iter().zip(weights).collect() })
            }
            Composition::Parallel(children) | Composition::BatchSplit { children, .. } => {
                let form = self.form(tree)?;
                let direct = children.last().is_some_and(|c| c.block() == Block::Adapter);
                let child = children.last().map(|child| self.node(child, place)).transpose()?;
                child.flatten().map(|child| match direct {
                    // Its own step in front is the block's.
                    true => Node::Stack(vec![child]),
                    false => Node::Chosen { form, child: Box::new(child) },
                })
            }
        })
    }

    fn fused_stacks(
        &mut self,
        tree: &Composition,
        children: &[Composition],
        place: Place,
    ) -> Result<FusedStacks, AdapterError> {
        let names: Vec<&str> = children.iter().filter_map(Composition::last).collect();
        let name = names.join(",");
        let parts = self.parts;
        let attention = parts.fusion(&name)?.attention.get(&place);
        let attention = attention.ok_or(AdapterError::NoAttention { name, place })?;
        let mut members = Vec::new();
        for child in children {
            let stack: Vec<Arc<Bottleneck>> = match child {
                Composition::Adapter(name) => {
                    members.extend(self.bottleneck(name, place)?.map(FusedMember::Adapter));
                    continue;
                }
                stack => {
                    let adapters = stack.children().iter().filter_map(Composition::last);
                    let adapters = adapters.map(|name| self.bottleneck(name, place));
                    adapters.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
                }
            };
            if !stack.is_empty() {
                members.push(FusedMember::Stack(stack));
            }
        }
        let (device, d) = (self.encoder.device(), self.encoder.config().hidden_size);
        let linear =
            |weight: &[f32], bias: &[f32]| FrozenLinear::new(device, Precision::F32, weight, bias);
        let zeros = vec![0.0; d];
        let mut key = linear(&attention.key_weight, &zeros);
        key.prepare_backward(&attention.key_weight);
        let last = tree.last().ok_or(CompositionError::Empty { block: Block::Fuse })?;
        Ok(FusedStacks {
            form: Form::of(&parts.adapter(last)?.config),
            members,
            query: linear(&attention.query_weight, &attention.query_bias),
            key,
            value: attention.value_weight.as_ref().map(|value| linear(value, &zeros)),
        })
    }
}

/// The names of children that are all adapters.
fn plain_members(children: &[Composition]) -> Option<Vec<&str>> {
    let plain = children.iter().all(|child| child.block() == Block::Adapter);
    plain.then(|| children.iter().filter_map(Composition::last).collect())
}
