//! Where special tokens go in a row, and which type each of its tokens is of.

use serde_json::Value;

use crate::error::quoted;

/// A part of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// The ids of a special token: most often one.
    Special(Vec<u32>),
    /// The tokens of the first text.
    First,
    /// The tokens of the second text.
    Second,
}

/// Pieces with the types of their tokens.
type Pieces = Vec<(Piece, u32)>;

/// The layout of rows of one text and of pairs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    single: Pieces,
    pair: Pieces,
}

/// Tokens that a template adds at most; those in use add four.
const MOST_ADDED: usize = 64;

impl Template {
    /// The layout that the post-processor of a `tokenizer.json` makes, or why it is not one. An
    /// encoder without kinds of token, or with one, gets type 0 everywhere.
    pub(super) fn new(processor: &Value, token_types: usize) -> Result<Template, String> {
        let mut template = Template::of(processor)?.unwrap_or_else(Template::bare);
        if token_types < 2 {
            template.single.iter_mut().chain(&mut template.pair).for_each(|piece| piece.1 = 0);
        }
        template.check(token_types)?;
        Ok(template)
    }

    /// The tokens of the texts and nothing else.
    fn bare() -> Template {
        let first = (Piece::First, 0);
        Template { single: vec![first.clone()], pair: vec![first, (Piece::Second, 1)] }
    }

    /// The layout of a post-processor, if it has a say in it.
    fn of(processor: &Value) -> Result<Option<Template>, String> {
        match processor["type"].as_str() {
            None if processor.is_null() => Ok(None),
            // It changes offsets only.
            Some("ByteLevel") => Ok(None),
            Some("BertProcessing") => {
                let [cls, sep] = [special(&processor["cls"])?, special(&processor["sep"])?];
                let single = vec![(cls, 0), (Piece::First, 0), (sep.clone(), 0)];
                let pair = [&single[..], &[(Piece::Second, 1), (sep, 1)]].concat();
                Ok(Some(Template { single, pair }))
            }
            Some("RobertaProcessing") => {
                let [cls, sep] = [special(&processor["cls"])?, special(&processor["sep"])?];
                let single = vec![(cls, 0), (Piece::First, 0), (sep.clone(), 0)];
                let pair =
                    [&single[..], &[(sep.clone(), 0), (Piece::Second, 0), (sep, 0)]].concat();
                Ok(Some(Template { single, pair }))
            }
            Some("TemplateProcessing") => {
                let specials = &processor["special_tokens"];
                let pieces = |of: &str| pieces(&processor[of], specials);
                Ok(Some(Template { single: pieces("single")?, pair: pieces("pair")? }))
            }
            Some("Sequence") => {
                let mut found = None;
                for processor in processor["processors"].as_array().into_iter().flatten() {
                    if let Some(template) = Template::of(processor)?
                        && found.replace(template).is_some()
                    {
                        return Err("several of its post-processors add special tokens".into());
                    }
                }
                Ok(found)
            }
            other => {
                let name = quoted(other.unwrap_or("of no type"));
                Err(format!("its post-processor {name} is not supported"))
            }
        }
    }

    fn check(&self, token_types: usize) -> Result<(), String> {
        for (is_pair, texts) in [(false, [1, 0]), (true, [1, 1])] {
            let pieces = self.pieces(is_pair);
            let count = |text: &Piece| pieces.iter().filter(|(piece, _)| piece == text).count();
            if [count(&Piece::First), count(&Piece::Second)] != texts {
                return Err("its post-processor does not take each text once".into());
            }
            if self.added(is_pair) > MOST_ADDED {
                return Err(format!("its post-processor adds more than {MOST_ADDED} tokens"));
            }
            if let Some((_, kind)) =
                pieces.iter().find(|(_, kind)| *kind as usize >= token_types.max(1))
            {
                return Err(format!(
                    "its post-processor has tokens of type {kind} and the encoder has {token_types} types"
                ));
            }
        }
        Ok(())
    }

    /// The parts of a row in their order.
    pub(super) fn pieces(&self, is_pair: bool) -> &[(Piece, u32)] {
        if is_pair { &self.pair } else { &self.single }
    }

    /// Special tokens of a row.
    pub(super) fn added(&self, is_pair: bool) -> usize {
        let special = |(piece, _): &(Piece, u32)| match piece {
            Piece::Special(ids) => ids.len(),
            Piece::First | Piece::Second => 0,
        };
        self.pieces(is_pair).iter().map(special).sum()
    }

    /// The largest id of a special token.
    pub(super) fn largest_id(&self) -> u32 {
        let ids = self.single.iter().chain(&self.pair).flat_map(|(piece, _)| match piece {
            Piece::Special(ids) => &ids[..],
            Piece::First | Piece::Second => &[],
        });
        ids.copied().max().unwrap_or(0)
    }
}

/// A special token, from its word and its id.
fn special(value: &Value) -> Result<Piece, String> {
    Ok(Piece::Special(vec![id(&value[1])?]))
}

fn id(value: &Value) -> Result<u32, String> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| "its post-processor has a special token without an id".into())
}

fn pieces(list: &Value, specials: &Value) -> Result<Pieces, String> {
    let list = list.as_array().ok_or("its post-processor has no template")?;
    list.iter().map(|value| piece(value, specials)).collect()
}

/// One piece of a template, such as `{"Sequence": {"id": "A", "type_id": 0}}`.
fn piece(value: &Value, specials: &Value) -> Result<(Piece, u32), String> {
    let (text, token) = (&value["Sequence"], &value["SpecialToken"]);
    let piece = match (text["id"].as_str(), token["id"].as_str()) {
        (Some("A"), None) => Piece::First,
        (Some("B"), None) => Piece::Second,
        (None, Some(name)) => {
            let missing = || format!("its post-processor lacks the ids of {}", quoted(name));
            let ids = specials[name]["ids"].as_array().ok_or_else(missing)?;
            Piece::Special(ids.iter().map(id).collect::<Result<_, _>>()?)
        }
        _ => return Err("its post-processor has a piece that is no text and no token".into()),
    };
    let type_id = text["type_id"].as_u64().or(token["type_id"].as_u64());
    let type_id = type_id.and_then(|id| u32::try_from(id).ok());
    Ok((piece, type_id.ok_or("its post-processor has a piece without a type")?))
}
