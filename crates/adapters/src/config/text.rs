//! Configurations as the library's strings: a preset's name, with fields in brackets behind it that
//! differ from the preset's: `seq_bn[reduction_factor=8, non_linearity='gelu']`.
//!
//! What stands in the brackets is Python's notation: numbers, `True`, `False`, `None`, texts in
//! quotes, lists, and dictionaries.

use std::iter::Peekable;
use std::str::CharIndices;

use serde_json::{Map, Number, Value};

use super::json::Vintage;
use super::{AdapterConfig, Preset};
use crate::error::{ConfigError, quoted};

/// A preset and what differs from it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigText {
    /// The preset.
    pub preset: Preset,
    /// The fields in brackets.
    pub changes: Map<String, Value>,
}

/// Methods that the library has names for and this project has not built.
const NOT_BUILT: [(&[&str], &str); 7] = [
    (
        &["seq_bn_inv", "double_seq_bn_inv", "pfeiffer+inv", "houlsby+inv"],
        "invertible adapters at the embeddings (MAD-X)",
    ),
    (&["compacter", "compacter++"], "projections made of Kronecker products (Compacter)"),
    (&["prefix_tuning", "prefix_tuning_flat"], "prefix tuning"),
    (&["prompt_tuning"], "prompt tuning"),
    (&["lora", "mtl_lora", "ia3", "vera", "dora", "dvora"], "low-rank updates (LoRA and others)"),
    (&["loreft", "noreft", "direft"], "interventions on representations (ReFT)"),
    (&["mam", "unipelt"], "several methods at once"),
];

/// Lists and dictionaries in each other that are read.
const DEEPEST: usize = 4;

impl ConfigText {
    /// Reads a preset's name with or without fields in brackets.
    ///
    /// # Errors
    /// A name that is not known or not built, a field that no configuration has, or the character
    /// at which the text stops making sense.
    pub fn parse(text: &str) -> Result<ConfigText, ConfigError> {
        let (name, inside) = match text.split_once('[') {
            None => (text, None),
            Some((name, rest)) => (name, Some(rest)),
        };
        let names: Vec<&str> = text.split('|').collect();
        if names.len() > 1 && !name.contains(['"', '\'']) {
            let meaning = "several methods at once";
            return Err(ConfigError::UnsupportedPreset { name: quoted(text.trim()), meaning });
        }
        let name = name.trim();
        if let Some((_, meaning)) = NOT_BUILT.iter().find(|(names, _)| names.contains(&name)) {
            return Err(ConfigError::UnsupportedPreset { name: quoted(name), meaning });
        }
        let preset = Preset::from_name(name)?;
        let changes = match inside {
            None => Map::new(),
            Some(inside) => {
                let before = text.len() - inside.len();
                Reader { text, characters: text[before..].char_indices().peekable(), before }
                    .fields()?
            }
        };
        let known = preset.config().to_json();
        if let Some(field) = changes.keys().find(|field| known.get(field.as_str()).is_none()) {
            let known = known.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
            return Err(ConfigError::InvalidText {
                text: quoted(text),
                reason: format!(
                    "a configuration has no field {}; the fields are {}",
                    quoted(field),
                    known.collect::<Vec<_>>().join(", ")
                ),
            });
        }
        Ok(ConfigText { preset, changes })
    }

    /// The configuration.
    ///
    /// # Errors
    /// If a field has no sensible value, or asks for what is not supported.
    pub fn config(&self) -> Result<AdapterConfig, ConfigError> {
        let mut config = self.preset.config().to_json();
        for (field, value) in &self.changes {
            config[field.as_str()] = value.clone();
        }
        AdapterConfig::from_json(&config, Vintage::Versioned)
    }
}

/// What is still to be read of a text.
struct Reader<'a> {
    text: &'a str,
    characters: Peekable<CharIndices<'a>>,
    /// Bytes of the text before the first of the characters.
    before: usize,
}

impl Reader<'_> {
    /// The fields up to the closing bracket, with which the text ends.
    fn fields(&mut self) -> Result<Map<String, Value>, ConfigError> {
        let mut fields = Map::new();
        loop {
            if self.takes(']') {
                break;
            }
            let start = self.position();
            let name = match self.peek() {
                Some('"' | '\'') => self.quoted()?,
                _ => self.word(),
            };
            if name.is_empty() {
                return Err(self.wrong(start, "a field's name or ] is missing here"));
            }
            if !self.takes('=') && !self.takes(':') {
                return Err(self.wrong_here("= is missing here"));
            }
            let value = self.value(0)?;
            if fields.insert(name, value).is_some() {
                return Err(self.wrong(start, "the field is given twice"));
            }
            if !self.takes(',') {
                match self.takes(']') {
                    true => break,
                    false => return Err(self.wrong_here(", or ] is missing here")),
                }
            }
        }
        match self.peek() {
            None => Ok(fields),
            Some(_) => Err(self.wrong_here("nothing may follow the brackets")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, ConfigError> {
        let start = self.position();
        if depth > DEEPEST {
            return Err(self.wrong(start, "too many lists in each other"));
        }
        match self.peek() {
            Some('"' | '\'') => Ok(Value::String(self.quoted()?)),
            Some('[') => self.list('[', ']', depth),
            Some('(') => self.list('(', ')', depth),
            Some('{') => self.dictionary(depth),
            _ => {
                let word = self.word();
                let wanted =
                    "it is no number, True, False, None, text in quotes, list or dictionary";
                match &word[..] {
                    "True" => Ok(Value::Bool(true)),
                    "False" => Ok(Value::Bool(false)),
                    "None" => Ok(Value::Null),
                    number => number_of(number).ok_or_else(|| self.wrong(start, wanted)),
                }
            }
        }
    }

    fn list(&mut self, open: char, close: char, depth: usize) -> Result<Value, ConfigError> {
        self.takes(open);
        let mut values = Vec::new();
        while !self.takes(close) {
            values.push(self.value(depth + 1)?);
            if !self.takes(',') && self.peek() != Some(close) {
                return Err(self.wrong_here("a comma or the list's end is missing here"));
            }
        }
        Ok(Value::Array(values))
    }

    fn dictionary(&mut self, depth: usize) -> Result<Value, ConfigError> {
        self.takes('{');
        let mut map = Map::new();
        while !self.takes('}') {
            let start = self.position();
            let key = match self.value(depth + 1)? {
                Value::String(key) => key,
                Value::Number(key) => key.to_string(),
                _ => return Err(self.wrong(start, "a key is a text or a number")),
            };
            if !self.takes(':') {
                return Err(self.wrong_here(": is missing here"));
            }
            let value = self.value(depth + 1)?;
            map.insert(key, value);
            if !self.takes(',') && self.peek() != Some('}') {
                return Err(self.wrong_here("a comma or } is missing here"));
            }
        }
        Ok(Value::Object(map))
    }

    /// A text in either kind of quotes, without escapes.
    fn quoted(&mut self) -> Result<String, ConfigError> {
        let start = self.position();
        let quote = self.characters.next().map(|(_, character)| character);
        let mut text = String::new();
        for (_, character) in self.characters.by_ref() {
            match character {
                end if Some(end) == quote => return Ok(text),
                '\\' => break,
                other => text.push(other),
            }
        }
        Err(self.wrong(start, "the quotes are not closed, or there is a \\ in them"))
    }

    /// Letters, digits and what numbers are written with.
    fn word(&mut self) -> String {
        let mut word = String::new();
        self.peek();
        let part = |c: char| c.is_alphanumeric() || "_.+-".contains(c);
        while let Some((_, character)) = self.characters.next_if(|(_, c)| part(*c)) {
            word.push(character);
        }
        word
    }

    fn takes(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.characters.next();
        }
        found
    }

    /// The next character that is no white space.
    fn peek(&mut self) -> Option<char> {
        while self.characters.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        self.characters.peek().map(|(_, character)| *character)
    }

    /// The number of the next character in the text, from 1.
    fn position(&mut self) -> usize {
        self.peek();
        let byte = self.characters.peek().map_or(self.text.len(), |(i, _)| self.before + i);
        self.text[..byte].chars().count() + 1
    }

    fn wrong_here(&mut self, what: &str) -> ConfigError {
        let position = self.position();
        self.wrong(position, what)
    }

    fn wrong(&self, position: usize, what: &str) -> ConfigError {
        let reason = format!("character {position}: {what}");
        ConfigError::InvalidText { text: quoted(self.text), reason }
    }
}

fn number_of(word: &str) -> Option<Value> {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    match word.parse::<i64>() {
        Ok(number) => Some(Value::from(number)),
        Err(_) => word.parse().ok().and_then(Number::from_f64).map(Value::Number),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use adaptkit_kernels::Activation;

    use super::*;
    use crate::config::{ReductionFactor, Scaling};

    #[test]
    fn a_preset_may_have_other_fields_in_brackets() {
        type Change = fn(&mut AdapterConfig);
        let cases: [(&str, Preset, Change); 10] = [
            ("seq_bn", Preset::Pfeiffer, |_| ()),
            (" pfeiffer [ ] ", Preset::Pfeiffer, |_| ()),
            ("seq_bn[reduction_factor=8]", Preset::Pfeiffer, |c| {
                c.reduction_factor = ReductionFactor::Uniform(8.0);
            }),
            ("houlsby[reduction_factor = 1.5,]", Preset::Houlsby, |c| {
                c.reduction_factor = ReductionFactor::Uniform(1.5);
            }),
            ("par_bn[scaling='learned', use_gating=True]", Preset::Parallel, |c| {
                c.scaling = Scaling::Learned;
                c.use_gating = true;
            }),
            ("seq_bn[non_linearity=\"gelu\", dropout=1e-1]", Preset::Pfeiffer, |c| {
                c.non_linearity = Activation::Gelu;
                c.dropout = 0.1;
            }),
            ("double_seq_bn[leave_out=[0, 1]]", Preset::Houlsby, |c| {
                c.leave_out = BTreeSet::from([0, 1]);
            }),
            ("double_seq_bn['leave_out': (2,)]", Preset::Houlsby, |c| {
                c.leave_out = BTreeSet::from([2]);
            }),
            ("seq_bn[reduction_factor={'1': 8, 2: 4, 'default': 16}]", Preset::Pfeiffer, |c| {
                let layers = BTreeMap::from([(1, 8.0), (2, 4.0)]);
                c.reduction_factor = ReductionFactor::PerLayer { layers, default: Some(16.0) };
            }),
            ("seq_bn[inv_adapter=None, phm_layer=False]", Preset::Pfeiffer, |_| ()),
        ];
        for (text, preset, change) in cases {
            let mut expected = preset.config();
            change(&mut expected);
            let found = ConfigText::parse(text).unwrap();
            assert_eq!((found.preset, found.config()), (preset, Ok(expected)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_character() {
        for (text, expected) in [
            ("", "no adapter configuration called \"\""),
            ("bn[x=1]", "no adapter configuration called \"bn\""),
            ("lora[r=8]", "\"lora\" asks for low-rank updates (LoRA and others): this is not"),
            ("seq_bn_inv", "asks for invertible adapters"),
            ("prefix_tuning[prefix_length=10]|seq_bn", "asks for several methods at once"),
            ("seq_bn[", "character 8: a field's name or ] is missing"),
            ("seq_bn[reduction_factor]", "character 24: = is missing"),
            ("seq_bn[reduction_factor=]", "character 25: it is no number"),
            ("seq_bn[reduction_factor=8", "character 26: , or ] is missing"),
            ("seq_bn[reduction_factor=8]x", "character 27: nothing may follow"),
            ("seq_bn[reduction_factor=8 dropout=0]", "character 27: , or ] is missing"),
            ("seq_bn[dropout=0, dropout=1]", "character 19: the field is given twice"),
            ("seq_bn[reduction_factor=eight]", "character 25: it is no number"),
            ("seq_bn[non_linearity='gelu]", "character 22: the quotes are not closed"),
            ("seq_bn[leave_out=[0 1]]", "character 21: a comma or the list's end"),
            ("seq_bn[leave_out=[[[[[[0]]]]]]]", "too many lists"),
            ("seq_bn[reduction_factor={True: 1}]", "character 26: a key is a text"),
            ("seq_bn[reduction=8]", "no field \"reduction\"; the fields are adapter_residual"),
            ("seq_bn[dropout=2]", "\"dropout\" is 2"),
            ("seq_bn[phm_layer=True]", "\"phm_layer\" is true, which asks for"),
            ("seq_bn[non_linearity='sine']", "\"non_linearity\" is \"sine\""),
            ("séq[=]", "called \"séq\""),
            ("seq_bn[é=1, =2]", "character 13: a field's name"),
        ] {
            let config = ConfigText::parse(text).and_then(|text| text.config());
            let message = config.unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
