"""Small tokenizers in each family's own form, and what the `tokenizers` library makes of some texts with them."""
from collections import Counter

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tiny_models import VOCABULARY

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
MARKS = ".,!?'-"
WORDS = (
    "the of and to in is it that was for on are as with his they at be this have from or one had by not but what all "
    "were we when your can said there use an each which she do how their if will up other about out many then them"
).split()
TEXTS = [
    ("the cat sat on the mat .", None, 36),
    ("", None, 36),
    ("Hello,   World! It's 2 o'clock - isn't it?", None, 36),
    ("which of them said that", "we will not use it", 36),
    ("all of this was said about them", "", 36),
    ("ünïcode, naïve café 漢字 😀", None, 36),
    ("they said that all of them were there when we had it", None, 9),
    ("they said that all of them were there when we had it", "but one was not", 14),
    ("not", "they said that all of them were there when we had it", 12),
    ("one or the other", "of all the many", 10),
]


def fill(tokens):
    assert len(set(tokens)) == len(tokens)
    return {token: number for number, token in enumerate(tokens[:VOCABULARY])}


def word_piece(special, processor):
    pieces = special + list(LETTERS + DIGITS + MARKS) + ["##" + c for c in LETTERS] + WORDS
    unknown = "[UNK]"
    tokenizer = Tokenizer(models.WordPiece(fill(pieces), unk_token=unknown, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return finish(tokenizer, special, processor)


def byte_pairs(special, processor):
    """Merges learnt from the words, the most frequent pair first and ties in alphabetical order."""
    words = [["Ġ"] + list(word) for word in WORDS]
    tokens, merges = special + list(LETTERS + LETTERS.upper() + DIGITS + MARKS) + ["Ġ"], []
    while len(tokens) < VOCABULARY:
        pairs = Counter(pair for word in words for pair in zip(word, word[1:]))
        first, second = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append((first, second))
        tokens.append(first + second)
        for word in words:
            for at in range(len(word) - 1, 0, -1):
                if (word[at - 1], word[at]) == (first, second):
                    word[at - 1 : at + 1] = [first + second]
    tokenizer = Tokenizer(models.BPE(fill(tokens), merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return finish(tokenizer, special, processor)


def unigram(special, processor):
    pieces = ["▁"] + list(LETTERS + DIGITS + MARKS + "ABCDEFGH") + ["▁" + word for word in WORDS]
    vocabulary = [(token, 0.0) for token in special]
    vocabulary += [(piece, -3.0 - 0.0625 * n) for n, piece in enumerate(pieces)]
    tokenizer = Tokenizer(models.Unigram(vocabulary[:VOCABULARY], unk_id=special.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return finish(tokenizer, special, processor)


def finish(tokenizer, special, processor):
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processor
    assert tokenizer.get_vocab_size() <= VOCABULARY
    return tokenizer


def template(begin, end, pair, types):
    ids = [(token, number) for token, number in (begin, end)]
    single = f"{begin[0]}:0 $A:0 {end[0]}:0"
    return processors.TemplateProcessing(single, f"{single} {pair}$B:{types} {end[0]}:{types}", ids)


def bert():
    return word_piece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], template(("[CLS]", 2), ("[SEP]", 3), "", 1))


def mpnet():
    special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    return word_piece(special, processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False))


def roberta():
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    return byte_pairs(special, processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False))


def xlm_roberta():
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    return unigram(special, template(("<s>", 0), ("</s>", 2), "</s>:0 ", 0))


def camembert():
    special = ["<s>", "<unk>", "</s>", "<pad>", "<mask>"]
    return unigram(special, template(("<s>", 0), ("</s>", 2), "</s>:0 ", 0))


def encoded_texts(tokenizer):
    """What the library makes of `TEXTS`, cut to their maximum length at the longer text's end."""
    rows = []
    for text, pair, most in TEXTS:
        tokenizer.enable_truncation(most, strategy="longest_first")
        row = tokenizer.encode(text, pair)
        rows.append({"text": text, "pair": pair, "max_length": most, "ids": row.ids, "type_ids": row.type_ids})
    tokenizer.no_truncation()
    return rows
