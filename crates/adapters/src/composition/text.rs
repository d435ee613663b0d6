//! Compositions as text: `stack(a, fuse(b, c))`.
//!
//! A block is its name and, in parentheses, what it holds, with commas between and its argument at
//! the end: `average(a, b, weights=[0.3, 0.7])`, `split(a, b, splits=[64, 64])`, `batch_split(a, b,
//! batch_sizes=[2, 3])`. One number in place of a list is for each of them, and an average without
//! weights is of equal ones; weights are divided by their sum. The library's spelling of blocks
//! (`BatchSplit`) is read too. A name is written as it is, or in quotes (`"a (2)"`, with `\"` and
//! `\\` for a quote and a backslash) if it holds what else means something here.

use std::fmt;
use std::str::FromStr;

use super::{Block, Composition, CompositionError, normalised};
use crate::error::quoted;

/// The longest text that is read.
const LONGEST: usize = 64 << 10;

/// Blocks within blocks that are read, for a refusal by the rules of nesting; deeper ones are not.
const DEEPEST: usize = 16;

/// Whether a name is written without quotes.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(is_special)
}

fn is_special(character: char) -> bool {
    "()[],=\"\\".contains(character) || character.is_whitespace() || character.is_control()
}

impl fmt::Display for Composition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Composition::Adapter(name) = self {
            return match is_plain(name) {
                true => f.write_str(name),
                false => write!(f, "\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")),
            };
        }
        write!(f, "{}(", self.block().name())?;
        for (number, child) in self.children().iter().enumerate() {
            let between = if number == 0 { "" } else { ", " };
            write!(f, "{between}{child}")?;
        }
        match self {
            Composition::Split { splits, .. } => write!(f, ", splits={splits:?}")?,
            Composition::BatchSplit { batch_sizes, .. } => {
                write!(f, ", batch_sizes={batch_sizes:?}")?;
            }
            Composition::Average { weights, .. }
                if weights.windows(2).any(|pair| pair[0] != pair[1]) =>
            {
                write!(f, ", weights={weights:?}")?;
            }
            _ => {}
        }
        f.write_str(")")
    }
}

impl FromStr for Composition {
    type Err = CompositionError;

    fn from_str(text: &str) -> Result<Composition, CompositionError> {
        if text.len() > LONGEST {
            return Err(CompositionError::TooLong { length: text.len(), limit: LONGEST });
        }
        let mut reader = Reader { text, at: 0 };
        let composition = reader.composition(0)?;
        if reader.peek().is_some() {
            return Err(reader.unexpected("its end"));
        }
        composition.check()?;
        Ok(composition)
    }
}

struct Reader<'a> {
    text: &'a str,
    /// Bytes that are read.
    at: usize,
}

/// A name, which is a block's where a parenthesis follows.
enum Word {
    Plain(String),
    Quoted(String),
}

impl Reader<'_> {
    /// The next character that is no space.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    /// Goes past a character if it is the next.
    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn unexpected(&mut self, expected: &'static str) -> CompositionError {
        let found = self.peek().map_or("nothing".to_owned(), |c| quoted(&c.to_string()));
        self.error(self.at, found, expected)
    }

    fn error(&self, at: usize, found: String, expected: &'static str) -> CompositionError {
        let at = self.text[..at].chars().count() + 1;
        CompositionError::Syntax { at, found, expected }
    }

    fn word(&mut self) -> Result<Word, CompositionError> {
        if self.take('"') {
            return self.quoted_rest().map(Word::Quoted);
        }
        let expected = "the name of an adapter or a block";
        if self.peek().is_none() {
            return Err(self.unexpected(expected));
        }
        let rest = &self.text[self.at..];
        let length = rest.find(is_special).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.unexpected(expected));
        }
        self.at += length;
        Ok(Word::Plain(rest[..length].to_owned()))
    }

    /// What follows a quote, to the next one.
    fn quoted_rest(&mut self) -> Result<String, CompositionError> {
        let start = self.at - 1;
        let mut name = String::new();
        let mut characters = self.text[self.at..].char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.at += at + 1;
                    return Ok(name);
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => name.push(escaped),
                    _ => {
                        let expected = "\\\" or \\\\ in a name in quotes";
                        return Err(self.error(self.at + at, quoted("\\"), expected));
                    }
                },
                other => name.push(other),
            }
        }
        Err(self.error(start, "a quote".to_owned(), "another one at the name's end"))
    }

    fn composition(&mut self, depth: usize) -> Result<Composition, CompositionError> {
        let start = {
            self.peek();
            self.at
        };
        let name = match self.word()? {
            Word::Quoted(name) => return Ok(Composition::Adapter(name)),
            Word::Plain(name) => name,
        };
        if self.peek() != Some('(') {
            return Ok(Composition::Adapter(name));
        }
        let expected = "stack, fuse, split, parallel, batch_split or average in front of (";
        let block = block(&name).ok_or_else(|| self.error(start, quoted(&name), expected))?;
        if depth > DEEPEST {
            return Err(CompositionError::TooDeep { inner: block });
        }
        self.take('(');
        let (mut children, mut numbers) = (Vec::new(), None);
        while !self.take(')') {
            if !children.is_empty() && !self.take(',') {
                return Err(self.unexpected("a comma or )"));
            }
            match self.argument(block)? {
                Some(found) => {
                    numbers = Some(found);
                    match self.take(')') {
                        true => break,
                        false => return Err(self.unexpected(") behind the argument")),
                    }
                }
                None => children.push(self.composition(depth + 1)?),
            }
        }
        made(block, children, numbers)
    }

    /// The block's argument, if it comes next.
    fn argument(&mut self, block: Block) -> Result<Option<Numbers>, CompositionError> {
        self.peek();
        let rest = &self.text[self.at..];
        let length = rest.find(is_special).unwrap_or(rest.len());
        let (start, name) = (self.at, &rest[..length]);
        if !rest[length..].trim_start().starts_with('=') {
            return Ok(None);
        }
        if block.argument() != Some(name) {
            let expected = match block.argument() {
                Some("splits") => "splits=",
                Some("batch_sizes") => "batch_sizes=",
                Some(_) => "weights=",
                None => "no argument: this block has none",
            };
            return Err(self.error(start, quoted(&format!("{name}=")), expected));
        }
        self.at += length;
        self.take('=');
        if !self.take('[') {
            return Ok(Some(Numbers::ForEach(self.number()?)));
        }
        let mut numbers = Vec::new();
        while !self.take(']') {
            if !numbers.is_empty() && !self.take(',') {
                return Err(self.unexpected("a comma or ]"));
            }
            numbers.push(self.number()?);
        }
        Ok(Some(Numbers::List(numbers)))
    }

    fn number(&mut self) -> Result<Number, CompositionError> {
        self.peek();
        let rest = &self.text[self.at..];
        let length = rest.find(is_special).unwrap_or(rest.len());
        let text = &rest[..length];
        let number = Number { whole: text.parse().ok(), value: text.parse().ok() };
        match number.value {
            Some(value) if value.is_finite() => {
                self.at += length;
                Ok(number)
            }
            _ => Err(self.error(self.at, quoted(text), "a number")),
        }
    }
}

/// The block of a name, in text or in the library.
fn block(name: &str) -> Option<Block> {
    Block::BLOCKS.into_iter().find(|block| block.name() == name || block.class() == name)
}

#[derive(Clone, Copy)]
struct Number {
    whole: Option<usize>,
    value: Option<f64>,
}

enum Numbers {
    ForEach(Number),
    List(Vec<Number>),
}

/// A block of its parts.
fn made(
    block: Block,
    children: Vec<Composition>,
    numbers: Option<Numbers>,
) -> Result<Composition, CompositionError> {
    let given = numbers.is_some();
    let numbers = match numbers {
        None => Vec::new(),
        Some(Numbers::List(numbers)) => numbers,
        Some(Numbers::ForEach(number)) => vec![number; children.len()],
    };
    let wholes = |argument| {
        let expected = match given {
            true => "whole numbers above 0",
            false => "given, a whole number for each member",
        };
        let wholes: Option<Vec<usize>> = numbers.iter().map(|number| number.whole).collect();
        wholes.filter(|_| given).ok_or(CompositionError::Argument { argument, expected })
    };
    Ok(match block {
        Block::Adapter | Block::Stack => Composition::Stack(children),
        Block::Fuse => Composition::Fuse(children),
        Block::Parallel => Composition::Parallel(children),
        Block::Split => Composition::Split { splits: wholes("splits")?, children },
        Block::BatchSplit => {
            Composition::BatchSplit { batch_sizes: wholes("batch_sizes")?, children }
        }
        Block::Average => {
            let weights: Vec<f64> = match given {
                true => numbers.iter().filter_map(|number| number.value).collect(),
                false => vec![1.0; children.len()],
            };
            Composition::Average { weights: shares(&children, &weights)?, children }
        }
    })
}

/// The weights of children, divided by their sum.
pub(super) fn shares(
    children: &[Composition],
    weights: &[f64],
) -> Result<Vec<f64>, CompositionError> {
    let argument = "weights";
    if children.is_empty() {
        return Err(CompositionError::Empty { block: Block::Average });
    }
    if weights.len() != children.len() {
        let (found, children) = (weights.len(), children.len());
        return Err(CompositionError::Count { argument, found, children });
    }
    let expected = "finite numbers whose sum is not 0, by which they are divided";
    normalised(weights).ok_or(CompositionError::Argument { argument, expected })
}
