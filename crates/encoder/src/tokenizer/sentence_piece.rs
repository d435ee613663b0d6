//! SentencePiece's model files: the few fields of the protocol buffer that a tokenizer is built
//! from.
//!
//! The message is `ModelProto` of SentencePiece: pieces (1), the trainer's settings (2) and the
//! normaliser's (3). Every length is checked against what is there before it is used, and a field
//! that is not needed is passed over.

use std::cmp::Ordering;
use std::collections::HashMap;

/// What a model file says.
#[derive(Debug, PartialEq)]
pub(super) struct SentencePieceModel {
    pub(super) pieces: Vec<Piece>,
    pub(super) algorithm: Algorithm,
    /// The unknown piece, as the trainer wrote it.
    pub(super) unknown: String,
    /// The compiled map of characters; empty where there is none.
    pub(super) character_map: Vec<u8>,
}

/// A piece of text with the logarithm of its probability.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: PieceKind,
}

/// What a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PieceKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    /// Of no concern to a tokenizer.
    Other,
}

/// How a text is divided into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Unigram,
    BytePairs,
}

/// The most pieces that a model may have: no vocabulary of the families read here has more.
const MOST_PIECES: usize = 1 << 22;

/// Bytes of the longest piece; trainers make them up to some dozen characters long.
const LONGEST_PIECE: usize = 1 << 10;

impl SentencePieceModel {
    /// Reads a model's bytes; the error says what is wrong and where.
    pub(super) fn parse(bytes: &[u8]) -> Result<SentencePieceModel, String> {
        let mut model = SentencePieceModel {
            pieces: Vec::new(),
            algorithm: Algorithm::Unigram,
            unknown: "<unk>".into(),
            character_map: Vec::new(),
        };
        let mut fields = Fields { bytes, place: 0, start: 0 };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Wire::Bytes(piece)) => {
                    if model.pieces.len() == MOST_PIECES {
                        return Err(format!("it has more than {MOST_PIECES} pieces"));
                    }
                    model.pieces.push(Piece::parse(piece)?);
                }
                (2, Wire::Bytes(trainer)) => model.read_trainer(trainer)?,
                (3, Wire::Bytes(normalizer)) => model.read_normalizer(normalizer)?,
                _ => {}
            }
        }
        model.check()?;
        Ok(model)
    }

    fn read_trainer(&mut self, mut fields: Fields<'_>) -> Result<(), String> {
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (3, Wire::Number(kind)) => {
                    self.algorithm = match kind {
                        1 => Algorithm::Unigram,
                        2 => Algorithm::BytePairs,
                        other => {
                            return Err(format!(
                                "its algorithm is number {other}; 1 (unigram) and 2 (byte pairs) \
                                 are read"
                            ));
                        }
                    };
                }
                (45, Wire::Bytes(text)) => self.unknown = text.text()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_normalizer(&mut self, mut fields: Fields<'_>) -> Result<(), String> {
        while let Some((number, value)) = fields.next()? {
            if let (2, Wire::Bytes(map)) = (number, value) {
                self.character_map = map.bytes.to_vec();
            }
        }
        Ok(())
    }

    /// What SentencePiece itself asks of a model.
    fn check(&self) -> Result<(), String> {
        let mut known = HashMap::new();
        for (id, piece) in self.pieces.iter().enumerate() {
            if piece.text.is_empty() {
                return Err(format!("its piece {id} is empty"));
            }
            if piece.text.len() > LONGEST_PIECE {
                return Err(format!("its piece {id} is {} bytes long", piece.text.len()));
            }
            if !piece.score.is_finite() {
                return Err(format!("its piece {id} has the score {}", piece.score));
            }
            if let Some(first) = known.insert(&piece.text[..], id) {
                return Err(format!("its pieces {first} and {id} are the same"));
            }
        }
        match self.pieces.iter().filter(|piece| piece.kind == PieceKind::Unknown).count() {
            1 => Ok(()),
            0 if self.pieces.is_empty() => Err("it has no pieces".into()),
            count => Err(format!("it has {count} pieces for what is unknown; one is needed")),
        }
    }

    /// The pieces that are found in a text as they stand, before it is divided.
    pub(super) fn added_tokens(&self) -> impl Iterator<Item = tokenizers::AddedToken> {
        self.pieces.iter().filter_map(|piece| {
            let special = match piece.kind {
                PieceKind::Control => true,
                PieceKind::UserDefined => false,
                _ => return None,
            };
            let token = tokenizers::AddedToken::from(piece.text.clone(), special);
            Some(token.normalized(false))
        })
    }

    /// The pairs that byte pairs are merged by: every way in which two pieces make a third, the
    /// third's score first. `scores` are the pieces of the tokenizer, of which the scores count.
    pub(super) fn merges(&self, scores: &[(String, f64)]) -> Vec<(String, String)> {
        let ids: HashMap<&str, usize> =
            self.pieces.iter().enumerate().map(|(id, piece)| (&piece.text[..], id)).collect();
        // Of several equal pieces the first gives the place and the last the score.
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut pieces: Vec<(&str, f64)> = Vec::new();
        for (text, score) in scores {
            match places.get(&text[..]) {
                Some(place) => pieces[*place].1 = *score,
                None => {
                    places.insert(text, pieces.len());
                    pieces.push((text, *score));
                }
            }
        }
        let mut merges = Vec::new();
        for (text, score) in pieces {
            let ways = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
            let known = |(left, right)| Some((*ids.get(left)?, *ids.get(right)?, left, right));
            let mut ways: Vec<_> = ways.filter_map(known).collect();
            ways.sort_by_key(|(left, right, ..)| (*left, *right));
            merges.extend(ways.into_iter().map(|(.., left, right)| (score, left, right)));
        }
        let lengths = |left: &str, right: &str| (left.chars().count(), right.chars().count());
        merges.sort_by(|(a, left, right), (b, other_left, other_right)| {
            let lengths = lengths(other_left, other_right).cmp(&lengths(left, right));
            b.partial_cmp(a).unwrap_or(Ordering::Equal).then(lengths)
        });
        merges.into_iter().map(|(_, left, right)| (left.into(), right.into())).collect()
    }
}

impl Piece {
    fn parse(mut fields: Fields<'_>) -> Result<Piece, String> {
        let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Wire::Bytes(text)) => piece.text = text.text()?,
                (2, Wire::Word(bits)) => piece.score = f32::from_bits(bits),
                (3, Wire::Number(kind)) => {
                    piece.kind = match kind {
                        1 => PieceKind::Normal,
                        2 => PieceKind::Unknown,
                        3 => PieceKind::Control,
                        4 => PieceKind::UserDefined,
                        _ => PieceKind::Other,
                    }
                }
                _ => {}
            }
        }
        Ok(piece)
    }
}

/// The fields of a message, read one after another.
struct Fields<'a> {
    bytes: &'a [u8],
    /// Where reading goes on.
    place: usize,
    /// Where the message begins in the file.
    start: usize,
}

/// A field's value as it is on the wire.
enum Wire<'a> {
    Number(u64),
    Word(u32),
    Bytes(Fields<'a>),
    /// Eight bytes, of which no field is needed.
    LongWord,
}

impl<'a> Fields<'a> {
    /// The next field's number and value.
    fn next(&mut self) -> Result<Option<(u64, Wire<'a>)>, String> {
        if self.place == self.bytes.len() {
            return Ok(None);
        }
        let at = self.start + self.place;
        let key = self.number()?;
        let value = match key & 7 {
            0 => Wire::Number(self.number()?),
            1 => {
                self.take(8)?;
                Wire::LongWord
            }
            2 => {
                let length = self.number()?;
                let start = self.start + self.place;
                let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
                Wire::Bytes(Fields { bytes, place: 0, start })
            }
            5 => {
                let bytes = self.take(4)?;
                Wire::Word(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            other => {
                return Err(format!(
                    "byte {at}: no SentencePiece model has a field of type {other}"
                ));
            }
        };
        match key >> 3 {
            0 => Err(format!("byte {at}: a field without a number; is it a SentencePiece model?")),
            number => Ok(Some((number, value))),
        }
    }

    /// A number of seven bits a byte, the lowest first.
    fn number(&mut self) -> Result<u64, String> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(format!("byte {}: a number without end", self.start + self.place))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.place..];
        match rest.get(..length) {
            Some(bytes) => {
                self.place += length;
                Ok(bytes)
            }
            None => Err(format!(
                "byte {}: {length} bytes are to follow and {} are there; is the download complete?",
                self.start + self.place,
                rest.len()
            )),
        }
    }

    fn text(&self) -> Result<String, String> {
        match std::str::from_utf8(self.bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(format!("byte {}: a text that is not UTF-8", self.start)),
        }
    }
}
