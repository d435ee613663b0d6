//! The tokenizer classes of `transformers`: which files each is built from, and what each takes
//! where the settings are silent.

use std::path::Path;

/// How a class is built from its vocabulary, and which of its settings count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// WordPiece with BERT's normaliser.
    Bert,
    /// WordPiece with BERT's normaliser and RoBERTa's special tokens.
    MpNet,
    /// Byte-level pairs.
    Roberta,
    /// SentencePiece with the ids of fairseq.
    XlmRoberta,
    /// SentencePiece with the ids of CamemBERT.
    Camembert,
    /// Only ever read from a `tokenizer.json`.
    Generic,
}

/// A tokenizer class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// Its name, without "Fast".
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Whether it gives the model token types unless the settings say otherwise.
    pub(super) token_types: bool,
}

/// The classes that are read, without "Fast". Names that share a line's kind differ in nothing that
/// changes ids.
const CLASSES: [(&str, Kind, bool); 20] = [
    ("BertTokenizer", Kind::Bert, true),
    ("DistilBertTokenizer", Kind::Bert, false),
    ("ElectraTokenizer", Kind::Bert, true),
    ("MobileBertTokenizer", Kind::Bert, true),
    ("ConvBertTokenizer", Kind::Bert, true),
    ("LayoutLMTokenizer", Kind::Bert, true),
    ("SqueezeBertTokenizer", Kind::Bert, true),
    ("LxmertTokenizer", Kind::Bert, true),
    ("RetriBertTokenizer", Kind::Bert, false),
    ("DPRContextEncoderTokenizer", Kind::Bert, true),
    ("DPRQuestionEncoderTokenizer", Kind::Bert, true),
    ("MPNetTokenizer", Kind::MpNet, false),
    ("RobertaTokenizer", Kind::Roberta, false),
    ("LongformerTokenizer", Kind::Roberta, false),
    ("LEDTokenizer", Kind::Roberta, false),
    ("BartTokenizer", Kind::Roberta, false),
    ("XLMRobertaTokenizer", Kind::XlmRoberta, false),
    ("CamembertTokenizer", Kind::Camembert, false),
    ("PreTrainedTokenizer", Kind::Generic, true),
    // The name that version 5 gives to `PreTrainedTokenizerFast`.
    ("TokenizersBackend", Kind::Generic, true),
];

/// Classes that split texts in Python code that no file describes.
const WITHOUT_FAST_FORM: [&str; 6] = [
    "BertJapaneseTokenizer",
    "BertweetTokenizer",
    "PhobertTokenizer",
    "FlaubertTokenizer",
    "XLMTokenizer",
    "CanineTokenizer",
];

impl Class {
    /// The class of a name, which may end in "Fast"; or why it is not read.
    pub(super) fn named(name: &str) -> Result<Class, String> {
        let plain = name.strip_suffix("Fast").unwrap_or(name);
        if let Some((name, kind, token_types)) = CLASSES.iter().find(|(known, ..)| *known == plain)
        {
            return Ok(Class { name, kind: *kind, token_types: *token_types });
        }
        let shown = crate::error::quoted(name);
        if WITHOUT_FAST_FORM.contains(&plain) {
            return Err(format!(
                "is {shown}, which splits texts in Python code and has no fast form: no \
                 tokenizer.json can be written for it. Take a base whose tokenizer has one, such as \
                 xlm-roberta-base, which knows a hundred languages"
            ));
        }
        let known: Vec<&str> = CLASSES.iter().map(|(name, ..)| *name).collect();
        Err(format!(
            "is {shown}; known are {}, with or without \"Fast\". If the class has a fast form, \
             save it as a plain one, in Python: t = AutoTokenizer.from_pretrained(DIR); \
             PreTrainedTokenizerFast(tokenizer_object=t.backend_tokenizer, **{{k: getattr(t, k) for k \
             in (\"model_input_names\", \"model_max_length\", \"truncation_side\", \
             \"add_prefix_space\")}}).save_pretrained(DIR)",
            known.join(", ")
        ))
    }

    /// The class that a model's type has where no file names one.
    pub(super) fn of_model_type(model_type: &str) -> Option<Class> {
        let name = match model_type {
            "bert" => "BertTokenizer",
            "distilbert" => "DistilBertTokenizer",
            "electra" => "ElectraTokenizer",
            "mpnet" => "MPNetTokenizer",
            "roberta" => "RobertaTokenizer",
            "xlm-roberta" => "XLMRobertaTokenizer",
            "camembert" => "CamembertTokenizer",
            _ => return None,
        };
        Class::named(name).ok()
    }

    /// The vocabulary's files in a directory without `tokenizer.json`, as a message lists them.
    pub(super) fn vocabulary_files(&self) -> &'static str {
        match self.kind {
            Kind::Bert | Kind::MpNet => "tokenizer.json and no vocab.txt",
            Kind::Roberta => "tokenizer.json and not both vocab.json and merges.txt",
            Kind::XlmRoberta | Kind::Camembert => "tokenizer.json and no sentencepiece.bpe.model",
            Kind::Generic => "tokenizer.json",
        }
    }
}

/// Files from which some class builds a tokenizer.
const VOCABULARIES: [&str; 8] = [
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "bpe.codes",
    "tokenizer.json",
];

/// Those of them that a directory holds.
pub(super) fn vocabularies_in(dir: &Path) -> Vec<&'static str> {
    VOCABULARIES.into_iter().filter(|name| dir.join(name).is_file()).collect()
}
