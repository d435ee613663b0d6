//! A model's tokenizer as `AutoTokenizer.from_pretrained` puts it together: from `tokenizer.json`
//! or from the vocabulary's files, with the settings of the directory merged over it.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use tokenizers::normalizers::BertNormalizer;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, TruncationDirection};

use super::added_token::{AddedToken, SpecialToken};
use super::class::{Kind, vocabularies_in};
use super::contained::{check_character_maps, contained};
use super::from_files;
use super::settings::{Settings, SpecialTokens, TokenizerFile, TruncationSide};
use crate::{EncoderError, json_file};

/// A tokenizer with what the settings say about rows.
pub(super) struct Assembled {
    /// The file that its vocabulary is from.
    pub(super) path: PathBuf,
    pub(super) tokenizer: tokenizers::Tokenizer,
    pub(super) side: TruncationSide,
    /// Whether the model is given the types of tokens.
    pub(super) token_types: bool,
    pub(super) settings: Settings,
}

/// Puts the tokenizer of a directory together whose `config.json` says `model_type`.
pub(super) fn assemble(dir: &Path, model_type: &str) -> Result<Assembled, EncoderError> {
    let path = dir.join("tokenizer.json");
    let bytes = match path.is_file() {
        true => Some(json_file::bytes(&path)?),
        false => None,
    };
    let file = bytes.as_deref().map(TokenizerFile::parse);
    let settings = Settings::read(dir, model_type, file.as_ref())?;
    let mut specials = fast_special_tokens(&settings)?;
    let (path, mut tokenizer) = match bytes {
        Some(bytes) if !settings.prefers_vocabulary()? => {
            (path.clone(), from_file(&path, &bytes, &settings, &mut specials)?)
        }
        file => {
            let (path, vocabulary, slow) =
                from_vocabulary(dir, &settings, &specials, file.is_some())?;
            specials = slow;
            (path, vocabulary)
        }
    };
    let side = match (settings.truncation_side()?, tokenizer.get_truncation()) {
        (Some(side), _) => side,
        (None, Some(said)) if said.direction == TruncationDirection::Left => TruncationSide::Left,
        (None, _) => TruncationSide::Right,
    };
    tokenizer.set_encode_special_tokens(settings.flag("split_special_tokens", false)?);
    add_tokens(&mut tokenizer, &settings, &specials);
    set_prefix_space(&mut tokenizer, &settings)?;
    set_normalizer(&mut tokenizer, &settings)?;
    let token_types = settings.takes_token_types()?;
    Ok(Assembled { path, tokenizer, side, token_types, settings })
}

fn from_file(
    path: &Path,
    bytes: &[u8],
    settings: &Settings,
    specials: &mut SpecialTokens,
) -> Result<tokenizers::Tokenizer, EncoderError> {
    let wrong = |reason: String| EncoderError::Tokenizer { path: path.to_owned(), reason };
    check_character_maps(bytes).map_err(wrong)?;
    let tokenizer = contained(|| tokenizers::Tokenizer::from_bytes(bytes))
        .map_err(|e| wrong(format!("it is not a tokenizer that can be read ({e})")))?;
    // The class without tokens of its own takes the padding token that the file pads with.
    if let Some(padding) = tokenizer.get_padding()
        && settings.class.kind == Kind::Generic
        && !settings.says("pad_token")
    {
        specials.set("pad_token", SpecialToken::Word(padding.pad_token.clone()));
    }
    Ok(tokenizer)
}

/// Builds a tokenizer from its vocabulary's files; gives the file, the tokenizer and the special
/// tokens as the conversion leaves them.
fn from_vocabulary(
    dir: &Path,
    settings: &Settings,
    specials: &SpecialTokens,
    beside_tokenizer_file: bool,
) -> Result<(PathBuf, tokenizers::Tokenizer, SpecialTokens), EncoderError> {
    settings.check_vocabulary_is_here()?;
    // Beside a tokenizer.json that is not read, the fast class makes the slow one.
    let (tokens, added) = match beside_tokenizer_file {
        true => (specials.clone(), BTreeMap::new()),
        false => (class_special_tokens(settings)?, settings.added.clone()),
    };
    let specials = slow_special_tokens(settings.class.kind, tokens);
    let (path, tokenizer) = from_files::build(dir, settings, &specials, &added)?;
    Ok((path, tokenizer, specials.copied()))
}

/// The special tokens as the fast class takes them.
fn fast_special_tokens(settings: &Settings) -> Result<SpecialTokens, EncoderError> {
    let kind = settings.class.kind;
    let tokens = class_special_tokens(settings)?;
    Ok(tokens.map(|field, token| match (kind, field) {
        (Kind::MpNet, "mask_token") | (Kind::XlmRoberta, "mask_token") => {
            token.or_token(AddedToken::stripping_left)
        }
        (Kind::MpNet, _) => token.or_token(|token| token),
        (Kind::Roberta, "mask_token") => {
            token.or_token(|token| token.stripping_left().normalized(false))
        }
        (Kind::Camembert, "mask_token") => token.or_token(|token| token.stripping_left().special()),
        _ => token,
    }))
}

/// The same as the slow class takes them, which a vocabulary's files are read with.
fn slow_special_tokens(kind: Kind, tokens: SpecialTokens) -> SpecialTokens {
    tokens.map(|field, token| match (kind, field) {
        (Kind::MpNet, "mask_token") | (Kind::XlmRoberta, "mask_token") => {
            token.or_token(|token| token.stripping_left().special())
        }
        (Kind::MpNet, _) => token.or_token(AddedToken::special),
        (Kind::Roberta, "mask_token") => {
            token.or_token(|token| token.stripping_left().normalized(false))
        }
        (Kind::Roberta, _) => token.or_token(|token| token),
        (Kind::Camembert, "mask_token") => {
            token.or_token(|token| token.stripping_left().normalized(false).special())
        }
        _ => token,
    })
}

/// What the files say, and the class where they are silent.
fn class_special_tokens(settings: &Settings) -> Result<SpecialTokens, EncoderError> {
    let kind = settings.class.kind;
    let default = |field: &str| -> Option<&'static str> {
        let of_bert = match field {
            "unk_token" => "[UNK]",
            "sep_token" => "[SEP]",
            "pad_token" => "[PAD]",
            "cls_token" => "[CLS]",
            "mask_token" => "[MASK]",
            _ => "",
        };
        let of_roberta = match field {
            "bos_token" | "cls_token" => "<s>",
            "eos_token" | "sep_token" => "</s>",
            "unk_token" if kind == Kind::MpNet => "[UNK]",
            "unk_token" => "<unk>",
            "pad_token" => "<pad>",
            _ => "<mask>",
        };
        match kind {
            Kind::Bert => Some(of_bert).filter(|word| !word.is_empty()),
            Kind::MpNet | Kind::Roberta | Kind::XlmRoberta | Kind::Camembert => Some(of_roberta),
            Kind::Generic => None,
        }
    };
    let additional: &[&str] = match kind {
        Kind::Camembert => &["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"],
        _ => &[],
    };
    settings.special_tokens(default, additional)
}

/// Adds the tokens that the settings know and the tokenizer may not.
fn add_tokens(
    tokenizer: &mut tokenizers::Tokenizer,
    settings: &Settings,
    specials: &SpecialTokens,
) {
    let all = specials.all();
    let mut tokens: Vec<AddedToken> = settings.added.values().cloned().collect();
    let known: HashSet<&str> = tokens.iter().map(|token| &token.content[..]).collect();
    let missing = all.iter().filter_map(|special| match special {
        SpecialToken::Word(word) => {
            let added = tokenizer.get_added_vocabulary().get_vocab().contains_key(word);
            let new = !added && !known.contains(&word[..]);
            new.then(|| AddedToken::new(word.clone()))
        }
        SpecialToken::Token(token) => (!tokens.contains(token)).then(|| token.clone()),
    });
    let missing: Vec<AddedToken> = missing.collect();
    tokens.extend(missing);
    let words: HashSet<&str> = all.iter().map(|special| special.content()).collect();
    for token in &mut tokens {
        token.special |= words.contains(&token.content[..]);
    }
    let closed: Vec<_> = tokens.iter().map(AddedToken::closed).collect();
    if !closed.is_empty() {
        tokenizer.add_tokens(&closed);
    }
}

/// A byte-level pre-tokenizer puts a space in front of a text where the settings say so, whatever
/// the file of the tokenizer says.
fn set_prefix_space(
    tokenizer: &mut tokenizers::Tokenizer,
    settings: &Settings,
) -> Result<(), EncoderError> {
    let Some(PreTokenizerWrapper::ByteLevel(bytes)) = tokenizer.get_pre_tokenizer() else {
        return Ok(());
    };
    let (is, asked) = (bytes.add_prefix_space, settings.flag("add_prefix_space", false)?);
    if is != asked {
        let bytes = bytes.add_prefix_space(asked);
        tokenizer.with_pre_tokenizer(Some(bytes));
    }
    Ok(())
}

/// BERT's classes override the normaliser of their kind.
fn set_normalizer(
    tokenizer: &mut tokenizers::Tokenizer,
    settings: &Settings,
) -> Result<(), EncoderError> {
    let all_three = match settings.class.kind {
        Kind::Bert => true,
        Kind::MpNet => false,
        _ => return Ok(()),
    };
    let Some(normalizer) = tokenizer.get_normalizer() else {
        let fields = ["do_lower_case", "strip_accents", "tokenize_chinese_chars"];
        return match fields.into_iter().find(|field| settings.says(field)) {
            Some(field) => {
                Err(settings.wrong(field, "changes a normalizer that tokenizer.json lacks"))
            }
            None => Ok(()),
        };
    };
    let NormalizerWrapper::BertNormalizer(is) = normalizer else { return Ok(()) };
    let asked = BertNormalizer::new(
        is.clean_text,
        match all_three {
            true => settings.flag("tokenize_chinese_chars", true)?,
            false => is.handle_chinese_chars,
        },
        settings.open_flag("strip_accents")?,
        settings.flag("do_lower_case", true)?,
    );
    tokenizer.with_normalizer(Some(asked));
    Ok(())
}

/// The error for a directory without the files of its class.
pub(super) fn no_vocabulary(dir: &Path, settings: &Settings) -> EncoderError {
    let class = settings.class;
    let held = match &vocabularies_in(dir)[..] {
        [] => String::new(),
        held => format!(" (it holds {})", held.join(", ")),
    };
    let reason = format!(
        "holds no {}, which {} is built from{held}: take the files from the model's own \
         repository, or write tokenizer.json in Python with \
         AutoTokenizer.from_pretrained(…, use_fast=True).save_pretrained(…)",
        class.vocabulary_files(),
        class.name,
    );
    EncoderError::NoVocabulary { path: dir.to_owned(), reason }
}
