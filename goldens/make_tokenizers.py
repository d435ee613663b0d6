"""Makes tokenizers laid out as model directories of the Hub are, and what `transformers` makes of texts with each.

    python goldens/make_tokenizers.py            # into goldens/tokenizers

needs Python 3.11 with transformers==4.57.6, tokenizers==0.22.2, sentencepiece==0.2.3 and protobuf. The vocabularies are
small and made of the texts below; `bench/parity/tokenizers.py` builds the same layouts with larger ones. A directory
holds what a model's has beside its weights; `expected.json` has the token ids and types of every text and pair, by
directory, cut to 32 tokens in `cut`.
"""
import json
import os
import shutil
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false")

HERE = os.path.dirname(os.path.abspath(__file__))

# What the vocabularies are made of.
CORPUS = [
    "The quick brown fox jumps over the lazy dog. The cats sat on the mats, and the dogs didn't.",
    "the quick brown fox; a mat, a cat, a dog! Unbelievable things happen when nobody's watching.",
    "Über möchte Straße naïve café résumé Ångström żółć İstanbul ısı",
    "中文 漢字 日本語 テスト ひらがな 한국어 텍스트 猫と犬",
    "Привет мир Ελληνικά ΣΊΣΥΦΟΣ مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดีชาวโลก வணக்கம்",
    "http://example.org/a?b=c #tag @user 3.14 1,000 50% $5 e-mail don't I'll we've",
]

# Seventeen texts and pairs: scripts, emoji, control characters, special tokens spelt out, nothing.
TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Möchte Straße, naïve CAFÉ re\u0301sume\u0301 Ångström żółć İSTANBUL ısı",
    "中文測試 and 漢字, 日本語テスト ｶﾀｶﾅ ひらがな 한국어 텍스트 \u1112\u1161\u11ab",
    "Привет, мир! Ελληνικά ΣΊΣΥΦΟΣ გამარჯობა Բարեւ ሰላም",
    "مَرْحَبًا بالعالم שָׁלוֹם עולם नमस्ते दुनिया สวัสดีชาวโลก வணக்கம் བོད",
    "👩\u200d👩\u200d👧 🏳️\u200d🌈 👍🏽 🇩🇪 ❤️ ☺ \U0001fae0 text\ufe0e 1️⃣",
    "a\x00b\x07c\x1bd\x7fe\x85f\u200bg\u200dh\ufeffi\u2028j\u00adk\ufffdl\ue000m\u202en\U000e0041o\x1cp",
    "  two  spaces\ttab\nline\r\nfeed\u00a0nbsp\u3000wide \u2009thin\x0b\x0c end   ",
    "[CLS] the [SEP] cat[MASK] [UNK] [PAD] <s> </s> a<mask> b <mask>  c <pad> <unk> <s>NOTUSED <unk>NOTUSED [cls] [Mask] < S >",
    "don't I'll we've 'tis -- ... (a) [b] {c} #tag @user http://example.org/a?b=c&d=e 3.14 1,000 50% $5 ~`^|\\",
    "Ｆｕｌｌ　ｗｉｄｔｈ １２３ ﬁne ﬂow ™ ½ ① ㎏ ²³ ℌ ſ K Ω Ⅷ ẞ",
    "unbelievable" * 9 + " " + "q" * 101 + " x" + "\u0301" * 30 + " ▁under▁score ##sharp Ġ Ċ",
    "",
    ("the cat sat on the mat", "The dog didn't."),
    ("a [SEP] b </s> c", "  <mask> ü 中 "),
    ("one " * 40, "two, three " * 30),
    ("", "only the second"),
]

SPECIALS_OF_BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SPECIALS_OF_MPNET = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]"]


def write(path, value):
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def update(directory, name, **fields):
    path = os.path.join(directory, name)
    value = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    value.update(fields)
    write(path, {k: v for k, v in value.items() if v is not REMOVED})


REMOVED = object()


class Makers:
    """Vocabularies of about `size` tokens, made once each."""

    def __init__(self, corpus, size, charsmap_rules):
        self.corpus, self.size, self.charsmap_rules, self.made = corpus, size, charsmap_rules, {}

    def word_piece(self, lower, specials, extra=()):
        key = ("word_piece", lower, tuple(specials), tuple(extra))
        if key not in self.made:
            from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
            tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
            tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
            tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            trainer = trainers.WordPieceTrainer(vocab_size=self.size, min_frequency=1, special_tokens=specials, show_progress=False)
            tokenizer.train_from_iterator(self.corpus, trainer)
            words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
            self.made[key] = [word for word, _ in words] + list(extra)
        return self.made[key]

    def byte_level(self):
        if "byte_level" not in self.made:
            from tokenizers import Tokenizer, models, pre_tokenizers, trainers
            tokenizer = Tokenizer(models.BPE())
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            trainer = trainers.BpeTrainer(vocab_size=self.size + 260, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                          special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False)
            tokenizer.train_from_iterator(self.corpus, trainer)
            model = json.loads(tokenizer.to_str())["model"]
            self.made["byte_level"] = model["vocab"], [" ".join(m) if isinstance(m, list) else m for m in model["merges"]]
        return self.made["byte_level"]

    def sentence_piece(self, kind, **options):
        key = (kind, tuple(sorted(options.items())))
        if key not in self.made:
            import sentencepiece
            with tempfile.TemporaryDirectory() as work:
                corpus = os.path.join(work, "corpus.txt")
                write(corpus, "\n".join(self.corpus * (4 if len(self.corpus) < 100 else 1)))
                rules = dict(normalization_rule_name="nmt_nfkc")
                if self.charsmap_rules is not None:
                    path = os.path.join(work, "rules.tsv")
                    write(path, self.charsmap_rules)
                    rules = dict(normalization_rule_tsv=path)
                rules.update(options)
                sentencepiece.SentencePieceTrainer.train(
                    input=corpus, model_prefix=os.path.join(work, "m"), vocab_size=self.size + 60, model_type=kind,
                    character_coverage=1.0, hard_vocab_limit=False, minloglevel=2, num_threads=1, **rules)
                with open(os.path.join(work, "m.model"), "rb") as file:
                    self.made[key] = file.read()
        return self.made[key]


def model_config(directory, model_type, vocabulary, **more):
    """A config.json of a tiny model; sizes matter to a tokenizer only."""
    kind = dict(vocab_size=vocabulary, max_position_embeddings=514, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                intermediate_size=8, hidden_act="gelu", type_vocab_size=2, pad_token_id=0)
    if model_type == "distilbert":
        kind = dict(vocab_size=vocabulary, max_position_embeddings=512, dim=8, n_layers=1, n_heads=1, hidden_dim=8, activation="gelu")
    if model_type in ("roberta", "xlm-roberta", "camembert"):
        kind.update(type_vocab_size=1, pad_token_id=1)
    if model_type == "electra":
        kind.update(embedding_size=8)
    if model_type == "mpnet":
        kind.update(relative_attention_num_buckets=32, pad_token_id=1)
    kind.update(more)
    write(os.path.join(directory, "config.json"), dict(model_type=model_type, **kind))


def layouts(makers):
    """(name, what it imitates, function that fills a directory) of every layout."""
    found = []

    def layout(name, imitates):
        def register(fill):
            found.append((name, imitates, fill))
        return register

    def vocab_txt(directory, words, model_type="bert", newline="\n", **config):
        write(os.path.join(directory, "vocab.txt"), newline.join(words) + newline)
        model_config(directory, model_type, len(words) + 8, **config)

    def fast(directory, class_name, **options):
        """Writes tokenizer.json and its settings as save_pretrained does."""
        import transformers
        with tempfile.TemporaryDirectory() as work:
            shutil.copytree(directory, work, dirs_exist_ok=True)
            tokenizer = getattr(transformers, class_name).from_pretrained(work, **options)
            tokenizer.save_pretrained(directory)
        return tokenizer

    def remove(directory, *names):
        for name in names:
            if os.path.exists(os.path.join(directory, name)):
                os.remove(os.path.join(directory, name))

    def bert(lower=True, extra=()):
        return makers.word_piece(lower, SPECIALS_OF_BERT, extra)

    def mpnet():
        return makers.word_piece(True, SPECIALS_OF_MPNET, ["<mask>"])

    def roberta(directory, model_type="roberta"):
        vocabulary, merges = makers.byte_level()
        write(os.path.join(directory, "vocab.json"), vocabulary)
        write(os.path.join(directory, "merges.txt"), "#version: 0.2\n" + "\n".join(merges) + "\n")
        model_config(directory, model_type, len(vocabulary) + 8)

    def spm(directory, model_type, kind="unigram", name="sentencepiece.bpe.model", **options):
        data = makers.sentence_piece(kind, **options)
        with open(os.path.join(directory, name), "wb") as file:
            file.write(data)
        model_config(directory, model_type, makers.size * 2 + 400)

    @layout("bert-vocab-only", "bert-base-uncased before 2020: vocab.txt and nothing else")
    def _(d):
        vocab_txt(d, bert())

    @layout("bert-cased-vocab-only", "a cased model that forgot tokenizer_config.json")
    def _(d):
        vocab_txt(d, bert(lower=False))

    @layout("bert-cased", "bert-base-cased: do_lower_case false beside vocab.txt")
    def _(d):
        vocab_txt(d, bert(lower=False))
        write(os.path.join(d, "tokenizer_config.json"), {"do_lower_case": False, "model_max_length": 512})

    @layout("bert-multilingual-cased", "bert-base-multilingual-cased: tokenizer.json of all files, saved by the library")
    def _(d):
        vocab_txt(d, bert(lower=False))
        fast(d, "BertTokenizerFast", do_lower_case=False)

    @layout("bert-chinese-old", "bert-base-chinese copies: [unused] lines, a line without an end, CR LF")
    def _(d):
        words = SPECIALS_OF_BERT[:1] + ["[unused%d]" % i for i in range(1, 5)] + SPECIALS_OF_BERT[1:] + bert()[5:]
        vocab_txt(d, words, newline="\r\n")
        with open(os.path.join(d, "vocab.txt"), "rb+") as file:
            file.seek(-2, 2)
            file.truncate()

    @layout("bert-japanese-char", "character vocabularies with BertTokenizer: no Chinese splitting, accents kept")
    def _(d):
        vocab_txt(d, bert(lower=False))
        write(os.path.join(d, "tokenizer_config.json"),
              {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": False})

    @layout("bert-strip-accents-kept", "german uncased models: lower case, accents kept")
    def _(d):
        vocab_txt(d, bert())
        write(os.path.join(d, "tokenizer_config.json"), {"do_lower_case": True, "strip_accents": False})

    @layout("bert-fast-only", "tokenizer.json alone, of a cased tokenizer: the class lowercases")
    def _(d):
        vocab_txt(d, bert(lower=False))
        fast(d, "BertTokenizerFast", do_lower_case=False)
        remove(d, "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")

    @layout("bert-contradictory", "tokenizer.json lowercases, tokenizer_config.json says cased")
    def _(d):
        vocab_txt(d, bert())
        fast(d, "BertTokenizerFast")
        update(d, "tokenizer_config.json", do_lower_case=False, tokenize_chinese_chars=False)

    @layout("bert-no-added-tokens", "tokenizer.json that registers no added token")
    def _(d):
        vocab_txt(d, bert())
        fast(d, "BertTokenizerFast")
        update(d, "tokenizer.json", added_tokens=[])
        remove(d, "tokenizer_config.json", "special_tokens_map.json")

    @layout("bert-decoder-token", "a token that only added_tokens_decoder has")
    def _(d):
        vocab_txt(d, bert())
        tokenizer = fast(d, "BertTokenizerFast")
        with open(os.path.join(d, "tokenizer_config.json"), encoding="utf-8") as file:
            decoder = json.load(file)["added_tokens_decoder"]
        decoder[str(len(tokenizer))] = dict(content="mat", lstrip=False, normalized=False, rstrip=True, single_word=True, special=True)
        decoder[str(len(tokenizer) + 1)] = dict(content="Lazy Dog", lstrip=False, normalized=True, rstrip=False, single_word=False, special=False)
        update(d, "tokenizer_config.json", added_tokens_decoder=decoder, additional_special_tokens=["mat"])

    @layout("bert-legacy-added", "special_tokens_map.json and added_tokens.json of the older layout")
    def _(d):
        words = bert()
        vocab_txt(d, words)
        write(os.path.join(d, "special_tokens_map.json"),
              {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
               "mask_token": {"content": "[MASK]", "lstrip": True, "rstrip": False, "single_word": False, "normalized": True},
               "additional_special_tokens": ["<e1>", {"content": "</s>", "lstrip": True, "rstrip": True, "single_word": False, "normalized": False}]})
        write(os.path.join(d, "added_tokens.json"), {"<e1>": len(words), "</s>": len(words) + 1, "Fox": len(words) + 2})

    @layout("bert-other-specials", "special tokens under other names, RoBERTa's in a BERT")
    def _(d):
        words = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"] + bert()[5:]
        vocab_txt(d, words)
        write(os.path.join(d, "tokenizer_config.json"),
              {"unk_token": "<unk>", "sep_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>", "mask_token": "<mask>"})

    @layout("bert-specials-not-in-vocab", "frames by tokens that the vocabulary lacks")
    def _(d):
        vocab_txt(d, bert())
        write(os.path.join(d, "tokenizer_config.json"), {"cls_token": "[BOS]", "sep_token": "[EOS]"})

    @layout("bert-no-token-types", "model_input_names without token types")
    def _(d):
        vocab_txt(d, bert())
        fast(d, "BertTokenizerFast")
        update(d, "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])

    @layout("bert-left", "truncation_side left, model_max_length 24")
    def _(d):
        vocab_txt(d, bert())
        fast(d, "BertTokenizerFast")
        update(d, "tokenizer_config.json", truncation_side="left", model_max_length=24)

    @layout("bert-split-special-tokens", "split_special_tokens true")
    def _(d):
        vocab_txt(d, bert())
        fast(d, "BertTokenizerFast")
        update(d, "tokenizer_config.json", split_special_tokens=True)

    @layout("bert-class-in-config", "config.json names the class, basic tokenisation off")
    def _(d):
        vocab_txt(d, bert(lower=False), tokenizer_class="BertTokenizer")
        write(os.path.join(d, "tokenizer_config.json"), {"do_basic_tokenize": False, "do_lower_case": False, "never_split": None})

    @layout("bert-generic-class", "a tokenizer trained with the tokenizers library: PreTrainedTokenizerFast")
    def _(d):
        vocab_txt(d, bert(lower=False))
        fast(d, "BertTokenizerFast", do_lower_case=False)
        write(os.path.join(d, "tokenizer_config.json"), {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1e30})
        remove(d, "special_tokens_map.json", "vocab.txt")

    @layout("bert-duplicate-lines", "vocab.txt with equal, empty and blank lines")
    def _(d):
        words = bert()
        vocab_txt(d, words[:40] + ["the", "", " ", "cat "] + words[40:])

    @layout("minilm", "sentence-transformers/all-MiniLM-L6-v2: all files, truncation and padding in tokenizer.json")
    def _(d):
        vocab_txt(d, bert())
        fast(d, "BertTokenizerFast", model_max_length=512)
        padding = dict(strategy="BatchLongest", direction="Right", pad_to_multiple_of=None, pad_id=0, pad_type_id=0, pad_token="[PAD]")
        update(d, "tokenizer.json", padding=padding,
               truncation=dict(direction="Right", max_length=128, strategy="LongestFirst", stride=0))

    @layout("truncation-left-in-file", "a truncation to the left that only tokenizer.json has")
    def _(d):
        vocab_txt(d, bert())
        fast(d, "BertTokenizerFast")
        update(d, "tokenizer_config.json", truncation_side=REMOVED)
        update(d, "tokenizer.json", truncation=dict(direction="Left", max_length=128, strategy="LongestFirst", stride=0))

    @layout("distilbert-old", "distilbert-base-uncased before 2020")
    def _(d):
        vocab_txt(d, bert(), "distilbert")

    @layout("distilbert-fast", "distilbert saved by the library")
    def _(d):
        vocab_txt(d, bert(), "distilbert")
        fast(d, "DistilBertTokenizerFast")

    @layout("electra-old", "google/electra-small-discriminator: vocab.txt and do_lower_case")
    def _(d):
        vocab_txt(d, bert(), "electra")
        write(os.path.join(d, "tokenizer_config.json"), {"do_lower_case": True})

    @layout("electra-fast", "a Korean electra: cased, no Chinese splitting, saved by the library")
    def _(d):
        vocab_txt(d, bert(lower=False), "electra")
        fast(d, "ElectraTokenizerFast", do_lower_case=False, tokenize_chinese_chars=False)

    @layout("mpnet-old", "microsoft/mpnet-base: vocab.txt")
    def _(d):
        vocab_txt(d, mpnet(), "mpnet")

    @layout("mpnet-fast", "sentence-transformers/all-mpnet-base-v2")
    def _(d):
        vocab_txt(d, mpnet(), "mpnet")
        fast(d, "MPNetTokenizerFast")

    @layout("roberta-old", "roberta-base before 2020: vocab.json and merges.txt")
    def _(d):
        roberta(d)

    @layout("roberta-fast", "roberta-base: all files")
    def _(d):
        roberta(d)
        fast(d, "RobertaTokenizerFast")

    @layout("roberta-prefix-space", "add_prefix_space true in the settings")
    def _(d):
        roberta(d)
        write(os.path.join(d, "tokenizer_config.json"), {"add_prefix_space": True})

    @layout("roberta-prefix-space-in-file", "add_prefix_space true in tokenizer.json only")
    def _(d):
        roberta(d)
        fast(d, "RobertaTokenizerFast", add_prefix_space=True)
        remove(d, "tokenizer_config.json", "vocab.json", "merges.txt")

    @layout("roberta-legacy-specials", "cardiffnlp: special_tokens_map.json with objects")
    def _(d):
        roberta(d)
        token = lambda content, lstrip=False: dict(content=content, lstrip=lstrip, normalized=True, rstrip=False, single_word=False)
        write(os.path.join(d, "special_tokens_map.json"),
              {"bos_token": token("<s>"), "eos_token": token("</s>"), "unk_token": token("<unk>"), "sep_token": token("</s>"),
               "pad_token": token("<pad>"), "cls_token": token("<s>"), "mask_token": token("<mask>", True)})

    @layout("xlm-roberta-old", "xlm-roberta-base before 2020: sentencepiece.bpe.model")
    def _(d):
        spm(d, "xlm-roberta")

    @layout("xlm-roberta-fast", "xlm-roberta-base: all files")
    def _(d):
        spm(d, "xlm-roberta")
        fast(d, "XLMRobertaTokenizerFast")

    @layout("xlm-roberta-e5", "multilingual-e5: tokenizer.json, the model left out")
    def _(d):
        spm(d, "xlm-roberta")
        fast(d, "XLMRobertaTokenizerFast")
        remove(d, "sentencepiece.bpe.model")

    @layout("xlm-roberta-bpe", "a SentencePiece model of byte pairs")
    def _(d):
        spm(d, "xlm-roberta", kind="bpe")

    @layout("xlm-roberta-symbols", "a SentencePiece model with symbols of its own")
    def _(d):
        spm(d, "xlm-roberta", control_symbols="<ctrl>", user_defined_symbols="fox,[SEP]")

    @layout("camembert-old", "camembert-base before 2020: sentencepiece.bpe.model")
    def _(d):
        spm(d, "camembert")

    @layout("camembert-fast", "camembert-base: all files")
    def _(d):
        spm(d, "camembert")
        fast(d, "CamembertTokenizerFast")

    return found


# Rules of a small character map: what nmt_nfkc does to a few characters.
SMALL_RULES = "\n".join("%s\t%s" % (" ".join("%X" % ord(c) for c in a), " ".join("%X" % ord(c) for c in b)) for a, b in [
    ("\u00a0", " "), ("\u3000", " "), ("\t", " "), ("\n", " "), ("\u200b", " "), ("\uff26", "F"), ("\uff54", "t"), ("\ufb01", "fi"),
    ("\u00bd", "1\u20442"), ("e\u0301", "\u00e9"), ("\u2122", "TM"), ("\u00ad", ""), ("\u1112\u1161\u11ab", "\ud55c")]) + "\n"


def expected(directory, texts, max_length=None):
    """The ids and types that AutoTokenizer gives, or its error's name."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(directory)
    rows = []
    for text in texts:
        pair = text if isinstance(text, tuple) else (text,)
        lists = [[part] for part in pair]
        options = dict(truncation=True, max_length=max_length) if max_length else {}
        encoded = tokenizer(*lists, **options)
        ids = encoded["input_ids"][0]
        types = encoded["token_type_ids"][0] if "token_type_ids" in encoded else [0] * len(ids)
        rows.append((ids, types))
    return rows


def main():
    target = os.path.join(HERE, "tokenizers")
    shutil.rmtree(target, ignore_errors=True)
    makers = Makers(CORPUS, 150, SMALL_RULES)
    answers = {}
    for name, imitates, fill in layouts(makers):
        directory = os.path.join(target, name)
        os.makedirs(directory)
        fill(directory)
        runs = lambda rows: [[ids, "".join(map(str, types))] for ids, types in rows]
        answers[name] = {"imitates": imitates, "whole": runs(expected(directory, TEXTS)), "cut": runs(expected(directory, TEXTS, 32))}
    texts = [list(t) if isinstance(t, tuple) else [t] for t in TEXTS]
    lines = ['{"texts": ' + json.dumps(texts) + ',', '"layouts": {']
    lines.append(",\n".join("%s: %s" % (json.dumps(k), json.dumps(v, separators=(",", ":"))) for k, v in answers.items()))
    write(os.path.join(target, "expected.json"), "\n".join(lines) + "}}\n")
    print(len(answers), "layouts", file=sys.stderr)


if __name__ == "__main__":
    main()
