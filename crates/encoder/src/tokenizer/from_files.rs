//! Tokenizers of directories without `tokenizer.json`: from `vocab.txt`, from `vocab.json` and
//! `merges.txt`, or from `sentencepiece.bpe.model`, as the converters of `transformers` build them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use ahash::AHashMap;
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{BertNormalizer, Precompiled, Replace, Sequence, Strip};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{NormalizerWrapper, Tokenizer};

use super::added_token::{AddedToken, SpecialToken};
use super::assembly::no_vocabulary;
use super::class::Kind;
use super::contained::{check_map_bytes, contained};
use super::sentence_piece::{Algorithm, SentencePieceModel};
use super::settings::{Settings, SpecialTokens};
use super::vocabulary;
use crate::error::said;
use crate::{EncoderError, json_file};

/// A piece of SentencePiece's vocabulary and the logarithm of its probability.
type ScoredPiece = (String, f64);

/// Builds the tokenizer of the settings' class; gives the file of its vocabulary as well.
///
/// `specials` are the tokens as the slow class has them, and `added` the tokens that the files list
/// with their ids: both decide the ids of the tokens that frame a row.
pub(super) fn build(
    dir: &Path,
    settings: &Settings,
    specials: &SpecialTokens,
    added: &BTreeMap<i64, AddedToken>,
) -> Result<(PathBuf, Tokenizer), EncoderError> {
    let names: &[&[&str]] = match settings.class.kind {
        Kind::Bert | Kind::MpNet => &[&["vocab.txt"]],
        Kind::Roberta => &[&["vocab.json", "merges.txt"]],
        // The second is the name that other models give to the same kind of file.
        Kind::XlmRoberta | Kind::Camembert => &[&["sentencepiece.bpe.model"], &["tokenizer.model"]],
        Kind::Generic => &[],
    };
    let is_there = |names: &&&[&str]| names.iter().all(|name| dir.join(name).is_file());
    let names = names.iter().find(is_there).ok_or_else(|| no_vocabulary(dir, settings))?;
    let mut files: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
    let parts = Parts { settings, specials, added, path: &files[0] };
    let tokenizer = match &files[..] {
        [vocabulary, merges] => parts.byte_level(vocabulary, merges),
        [vocabulary] if matches!(settings.class.kind, Kind::Bert | Kind::MpNet) => {
            parts.word_piece(vocabulary)
        }
        [model] => parts.sentence_piece(model),
        _ => Err(no_vocabulary(dir, settings)),
    }?;
    Ok((files.swap_remove(0), tokenizer))
}

/// What a tokenizer is built from beside its vocabulary.
struct Parts<'a> {
    settings: &'a Settings,
    specials: &'a SpecialTokens,
    added: &'a BTreeMap<i64, AddedToken>,
    /// The file that errors name.
    path: &'a Path,
}

impl Parts<'_> {
    fn word_piece(&self, path: &Path) -> Result<Tokenizer, EncoderError> {
        let tokens = vocabulary::read_lines(path)?;
        let unknown = self.required("unk_token")?.content().to_owned();
        let ids = self.slow_ids(own_ids(&tokens), self.settings.class.kind == Kind::MpNet);
        let (cls, sep) = (self.framing("cls_token", &ids)?, self.framing("sep_token", &ids)?);
        let model = WordPiece::builder().vocab(tokens).unk_token(unknown).build();
        let mut tokenizer = Tokenizer::new(model.map_err(|e| self.wrong(e))?);
        // Null is as good as false here.
        let basic = match self.settings.says("do_basic_tokenize") {
            true => self.settings.open_flag("do_basic_tokenize")? == Some(true),
            false => true,
        };
        tokenizer.with_normalizer(Some(BertNormalizer::new(
            true,
            basic && self.settings.flag("tokenize_chinese_chars", true)?,
            if basic { self.settings.open_flag("strip_accents")? } else { Some(false) },
            basic && self.settings.flag("do_lower_case", true)?,
        )));
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        let (c, s) = (&cls.0, &sep.0);
        let single = format!("{c}:0 $A:0 {s}:0");
        let pair = match self.settings.class.kind {
            Kind::MpNet => format!("{single} {s}:0 $B:1 {s}:1"),
            _ => format!("{single} $B:1 {s}:1"),
        };
        self.frame(&mut tokenizer, &single, &pair, [cls.clone(), sep.clone()])?;
        Ok(tokenizer)
    }

    fn byte_level(&self, path: &Path, merges: &Path) -> Result<Tokenizer, EncoderError> {
        let tokens = vocabulary::read_json(path)?;
        let merges = vocabulary::read_merges(merges, &tokens)?;
        let ids = self.slow_ids(own_ids(&tokens), false);
        let (cls, sep) = (self.framing("cls_token", &ids)?, self.framing("sep_token", &ids)?);
        let model = BPE::builder()
            .vocab_and_merges(tokens, merges)
            .continuing_subword_prefix(String::new())
            .end_of_word_suffix(String::new())
            .fuse_unk(false)
            .build();
        let mut tokenizer = Tokenizer::new(model.map_err(|e| self.wrong(e))?);
        let prefix_space = self.settings.flag("add_prefix_space", false)?;
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(prefix_space, true, true)));
        tokenizer.with_post_processor(Some(RobertaProcessing::new(sep, cls)));
        Ok(tokenizer)
    }

    fn sentence_piece(&self, path: &Path) -> Result<Tokenizer, EncoderError> {
        let bytes = json_file::bytes(path)?;
        vocabulary::check_is_no_pointer(path, &bytes)?;
        let file = SentencePieceModel::parse(&bytes).map_err(|e| vocabulary::wrong(path, e))?;
        let (ids, pieces) = self.fairseq(&file)?;
        let mut tokenizer = match file.algorithm {
            Algorithm::Unigram => contained(|| Unigram::from(pieces, Some(UNKNOWN), false))
                .map(Tokenizer::new)
                .map_err(|e| vocabulary::wrong(path, e))?,
            Algorithm::BytePairs => {
                let merges = file.merges(&pieces);
                let tokens = pieces.into_iter().map(|(piece, _)| piece).zip(0..);
                let model = BPE::builder()
                    .vocab_and_merges(tokens.collect::<AHashMap<String, u32>>(), merges)
                    .unk_token(file.unknown.clone())
                    .fuse_unk(true)
                    .build();
                Tokenizer::new(model.map_err(|e| self.wrong(e))?)
            }
        };
        let added: Vec<tokenizers::AddedToken> = file.added_tokens().collect();
        tokenizer.add_tokens(&added);
        let mut normalizers = Vec::new();
        if !file.character_map.is_empty() {
            check_map_bytes(&file.character_map).map_err(|e| vocabulary::wrong(path, e))?;
            let map = contained(|| Ok(Precompiled::from(&file.character_map)?));
            let map = map.map_err(|e| vocabulary::wrong(path, e))?;
            normalizers.push(NormalizerWrapper::Precompiled(map));
        }
        let spaces = ReplacePattern::Regex(" {2,}".into());
        let spaces = Replace::new(spaces, "▁").map_err(|e| self.wrong(e))?;
        normalizers.push(NormalizerWrapper::StripNormalizer(Strip::new(false, true)));
        normalizers.push(NormalizerWrapper::Replace(spaces));
        tokenizer.with_normalizer(Some(Sequence::new(normalizers)));
        tokenizer.with_pre_tokenizer(Some(Metaspace::new('▁', PrependScheme::Always, true)));
        let frame = ["<s>", "</s>"].map(|token| {
            let id = ids.get(token).copied().unwrap_or(UNKNOWN as i64);
            Ok((token.to_owned(), self.fits("sep_token", id)?))
        });
        let [begin, end] = frame;
        self.frame(&mut tokenizer, "<s> $A </s>", "<s> $A </s> </s> $B </s>", [begin?, end?])?;
        Ok(tokenizer)
    }

    /// The ids that the slow class has, and the pieces of the fast one in the order of theirs: those
    /// of fairseq come first, and SentencePiece's first few are left out.
    fn fairseq(
        &self,
        file: &SentencePieceModel,
    ) -> Result<(HashMap<String, i64>, Vec<ScoredPiece>), EncoderError> {
        let text = |field| self.required(field).map(|token| token.content().to_owned());
        let camembert = self.settings.class.kind == Kind::Camembert;
        let (first, skipped): (&[&str], usize) = match camembert {
            true => (&["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED"], 1),
            false => (&["<s>", "<pad>", "</s>", "<unk>"], 3),
        };
        let mut pieces: Vec<ScoredPiece> =
            first.iter().map(|piece| ((*piece).to_owned(), 0.0)).collect();
        if camembert {
            // Never chosen for a text.
            pieces[4].1 = -100.0;
        }
        let rest = file.pieces.iter().skip(skipped);
        pieces.extend(rest.map(|piece| (piece.text.clone(), f64::from(piece.score))));
        pieces.push(("<mask>".into(), 0.0));
        // By id, as the slow class names them: CamemBERT's has no mask of its own.
        let mut own: Vec<String> = pieces.iter().map(|(piece, _)| piece.clone()).collect();
        let mut added: BTreeMap<i64, String> =
            self.added.iter().map(|(id, token)| (*id, token.content.clone())).collect();
        if camembert {
            own.pop();
            let fixed = first.iter().map(|piece| (*piece).to_owned()).zip(0..);
            added.extend(fixed.map(|(piece, id)| (id, piece)));
            added.insert(1, text("pad_token")?);
            added.insert(3, text("unk_token")?);
        }
        for (id, content) in &added {
            if let Some(piece) = usize::try_from(*id).ok().and_then(|id| own.get_mut(id)) {
                piece.clone_from(content);
            }
        }
        let own = own.into_iter().zip(0..).collect();
        let ids = with_special_tokens(own, added.into_iter(), self.specials, false);
        Ok((ids, pieces))
    }

    /// The ids that the slow class gives to tokens.
    fn slow_ids(&self, own: HashMap<String, i64>, own_first: bool) -> HashMap<String, i64> {
        let added = self.added.iter().map(|(id, token)| (*id, token.content.clone()));
        with_special_tokens(own, added, self.specials, own_first)
    }

    /// A token that stands at an end of every row, with its id.
    fn framing(
        &self,
        field: &str,
        ids: &HashMap<String, i64>,
    ) -> Result<(String, u32), EncoderError> {
        let token = self.required(field)?.content();
        match ids.get(token) {
            Some(id) => Ok((token.to_owned(), self.fits(field, *id)?)),
            None => Err(self.settings.wrong(field, "has no id")),
        }
    }

    fn fits(&self, field: &str, id: i64) -> Result<u32, EncoderError> {
        u32::try_from(id).map_err(|_| self.settings.wrong(field, format!("has the id {id}")))
    }

    fn required(&self, field: &str) -> Result<&SpecialToken, EncoderError> {
        self.specials.get(field).ok_or_else(|| {
            let class = self.settings.class.name;
            self.settings.wrong(field, format!("is null, and {class} needs it"))
        })
    }

    fn frame(
        &self,
        tokenizer: &mut Tokenizer,
        single: &str,
        pair: &str,
        tokens: [(String, u32); 2],
    ) -> Result<(), EncoderError> {
        let unreadable = |_| {
            let reason = "cannot frame a row: special tokens with white space, a colon or a dollar \
                          sign are not read";
            self.settings.wrong("cls_token", reason)
        };
        let mut builder = TemplateProcessing::builder();
        builder.try_single(single.to_owned()).map_err(unreadable)?;
        builder.try_pair(pair.to_owned()).map_err(unreadable)?;
        let built = builder.special_tokens(tokens.to_vec()).build();
        tokenizer.with_post_processor(Some(built.map_err(|e| self.wrong(e))?));
        Ok(())
    }

    fn wrong(&self, reason: impl std::fmt::Display) -> EncoderError {
        vocabulary::wrong(self.path, said(reason))
    }
}

/// The id of the unknown token in fairseq's order.
const UNKNOWN: usize = 3;

fn own_ids(tokens: &vocabulary::Vocabulary) -> HashMap<String, i64> {
    tokens.iter().map(|(token, id)| (token.clone(), i64::from(*id))).collect()
}

/// The ids of a slow class once it has added its special tokens: those that no vocabulary has
/// follow after its last. `own` are those of its vocabulary, `added` those that files list, which
/// count before them unless `own_first`.
fn with_special_tokens(
    own: HashMap<String, i64>,
    added: impl Iterator<Item = (i64, String)>,
    specials: &SpecialTokens,
    own_first: bool,
) -> HashMap<String, i64> {
    let mut listed: HashMap<String, i64> = added.map(|(id, content)| (content, id)).collect();
    let mut all = own;
    for (content, id) in &listed {
        match own_first {
            true => _ = all.entry(content.clone()).or_insert(*id),
            false => _ = all.insert(content.clone(), *id),
        }
    }
    let mut next = all.len() as i64;
    for special in specials.all() {
        let content = special.content();
        if matches!(special, SpecialToken::Word(_)) && listed.contains_key(content)
            || content.is_empty()
        {
            continue;
        }
        let id = *all.entry(content.to_owned()).or_insert_with(|| {
            next += 1;
            next - 1
        });
        listed.insert(content.to_owned(), id);
    }
    all.extend(listed);
    all
}
