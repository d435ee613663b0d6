"""Compares the token ids and types of 40 tokenizer layouts and 17 texts and pairs with those of `transformers`.

    cargo build --release -p adaptkit-encoder --example token_ids
    python bench/parity/tokenizers.py target/release/examples/token_ids CORPUS.txt … [--model DIR] [--random N]

needs what `goldens/make_tokenizers.py` needs. Vocabularies of --size tokens are made of the lines of the corpora; each
row is compared whole (to 512 tokens) and cut to 16, 17 and 32 tokens, which in pairs cuts both. `--model` adds directories of
real models. `--random N` then changes settings of the layouts at random N times and compares again: where the library
refuses a directory or a text, a refusal here is right and an answer is told; an answer of its own must be ours.
"""
import argparse
import collections
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="critical", TOKENIZERS_PARALLELISM="false")
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != HERE]  # this file shares its name with a library
sys.path.insert(0, os.path.join(HERE, "..", "..", "goldens"))
import make_tokenizers as layouts
from transformers import AutoTokenizer

LENGTHS = [None, 16, 17, 32]


class Ours:
    def __init__(self, binary):
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def theirs(tokenizer, text, length, takes_types):
    """The library's ids, and the types where the model takes any; a pair goes in as a batch of one, in which an empty second text is a text."""
    pair = text if isinstance(text, tuple) else (text,)
    encoded = tokenizer(*[[part] for part in pair], truncation=True, max_length=length)
    ids = encoded["input_ids"][0]
    return ids, encoded["token_type_ids"][0] if "token_type_ids" in encoded and takes_types else [0] * len(ids)


def compare(ours, directory, texts, lengths, say):
    """Counts of rows by outcome: equal, differ, refused by both, refused here only, refused there only."""
    counts = collections.Counter()
    opened = ours.ask(dir=directory)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory)
        assert tokenizer.is_fast, "no fast form"
    except Exception as error:
        counts["refused by both" if "error" in opened else "refused there only"] += 1
        if "error" not in opened:
            say("only the library refuses:", str(error)[:300])
        return counts
    if "error" in opened:
        counts["refused here only"] += 1
        say("only we refuse:", opened["error"])
        return counts
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    positions = config["max_position_embeddings"]
    takes_types = config["model_type"] not in ("mpnet", "distilbert") and config.get("type_vocab_size", 2) > 1
    limit = min(opened["max_length"], positions)
    for text in texts:
        for length in lengths:
            pair = text if isinstance(text, tuple) else (text, None)
            answer = ours.ask(text=pair[0], pair=pair[1], max_length=length or limit)
            try:
                expected = theirs(tokenizer, text, length or limit, takes_types)
            except Exception as error:
                counts["refused by both" if "error" in answer else "refused there only"] += 1
                if "error" not in answer:
                    say("only the library refuses", repr(text)[:80], str(error)[:200])
                continue
            if "error" in answer:
                known = "no token" in answer["error"] and not expected[0] or "embeds" in answer["error"]
                counts["refused by name" if known else "refused here only"] += 1
                if not known:
                    say("only we refuse", repr(text)[:80], answer["error"])
            elif (answer["ids"], answer["type_ids"]) == tuple(expected):
                counts["equal"] += 1
            else:
                counts["differ"] += 1
                say("DIFFERS", repr(text)[:200], length, "\n   ours  ", answer["ids"], answer["type_ids"],
                    "\n   theirs", *expected, "\n         ", tokenizer.convert_ids_to_tokens(expected[0])[:60])
    return counts


def token(draw, content):
    kind = draw.random()
    if kind < 0.5:
        return content
    fields = dict(content=content, **{f: draw.random() < 0.3 for f in ("lstrip", "rstrip", "single_word", "normalized", "special") if draw.random() < 0.8})
    return fields if kind < 0.55 else dict(__type="AddedToken", **fields)


WORDS = ["[CLS]", "[SEP]", "<s>", "</s>", "<mask>", "[MASK]", "<e1>", "the", "Fox", "cat", "[UNK]", "<unk>", "[PAD]", "<pad>", "mat ", "中", "Ü", "don", "##s", "▁the", "Ġthe", "<s>NOTUSED"]


def change(draw, directory):
    """Changes a few settings of a directory at random; says what."""
    said = []

    def set_field(name, field, value):
        said.append("%s: %s = %s" % (name, field, json.dumps(value, ensure_ascii=False) if value is not layouts.REMOVED else "removed"))
        layouts.update(directory, name, **{field: value})

    CONFIG, MAP = "tokenizer_config.json", "special_tokens_map.json"
    specials = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
    flag = lambda: draw.choice([True, False, True, False, None, layouts.REMOVED])
    for _ in range(draw.randint(1, 4)):
        kind = draw.randrange(14)
        if kind <= 3:
            name = draw.choice(["do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space", "split_special_tokens", "do_basic_tokenize", "trim_offsets", "legacy", "clean_up_tokenization_spaces"])
            set_field(CONFIG, name, flag())
        elif kind == 4:
            set_field(CONFIG, draw.choice(specials), draw.choice([None, layouts.REMOVED] + [token(draw, draw.choice(WORDS)) for _ in range(6)]))
        elif kind == 5:
            set_field(MAP, draw.choice(specials), draw.choice([None] + [token(draw, draw.choice(WORDS)) for _ in range(6)]))
        elif kind == 6:
            set_field(draw.choice([CONFIG, MAP]), "additional_special_tokens", [token(draw, w) for w in draw.sample(WORDS, draw.randint(0, 3))])
        elif kind == 7:
            decoder = {str(draw.randrange(600)): {k: v for k, v in dict(token(draw, w) if draw.random() < 0 else dict(content=w, lstrip=draw.random() < 0.3, rstrip=draw.random() < 0.3, single_word=draw.random() < 0.3, normalized=draw.random() < 0.5, special=draw.random() < 0.5)).items() if k == "content" or draw.random() < 0.9} for w in draw.sample(WORDS, draw.randint(0, 4))}
            set_field(CONFIG, "added_tokens_decoder", draw.choice([decoder, decoder, layouts.REMOVED]))
        elif kind == 8:
            with open(os.path.join(directory, "added_tokens.json"), "w", encoding="utf-8") as file:
                tokens = {w: draw.randrange(600) for w in draw.sample(WORDS, draw.randint(0, 3))}
                json.dump(tokens, file)
                said.append("added_tokens.json = %s" % tokens)
        elif kind == 9:
            set_field(CONFIG, "extra_special_tokens", {"image_token": token(draw, draw.choice(WORDS)), "b": draw.choice(WORDS)})
        elif kind == 10:
            set_field(CONFIG, draw.choice(["truncation_side", "padding_side"]), draw.choice(["left", "right"]))
        elif kind == 11:
            set_field(CONFIG, "model_input_names", draw.choice([["input_ids", "token_type_ids", "attention_mask"], ["input_ids", "attention_mask"]]))
        elif kind == 12:
            set_field(draw.choice([CONFIG, "config.json"]), "tokenizer_class", draw.choice(["BertTokenizer", "BertTokenizerFast", "PreTrainedTokenizerFast", "MPNetTokenizer", "RobertaTokenizer", "XLMRobertaTokenizer", "CamembertTokenizerFast", "BartTokenizer", "LongformerTokenizer", "DistilBertTokenizer", "ConvBertTokenizer", "RetriBertTokenizer", None]))
        elif os.path.exists(os.path.join(directory, "tokenizer.json")):
            set_field(CONFIG, draw.choice(["tokenizer_file", "from_slow"]), draw.choice([None, True]))
        else:
            for name in (CONFIG, MAP):
                if os.path.exists(os.path.join(directory, name)) and draw.random() < 0.5:
                    os.remove(os.path.join(directory, name))
                    said.append("removed " + name)
    return said


def draw_text(draw):
    pieces = WORDS + [" ", "  ", "\t", "\n", "the", "Über", "e\u0301", "猫", "क्षि", "👩‍👩‍👧", "İ", "ﬁ", "½", "\u200b", "\x00", "\ufffd", "don't", ".", "...", "a", "B", "Ａ", "\u00a0", "\u3000", "<", "[", "]", "mask", "\u0378", "１"]
    return "".join(draw.choice(pieces) if draw.random() < 0.8 else chr(draw.choice([draw.randrange(1, 0x300), draw.randrange(0x300, 0xd800), draw.randrange(0xe000, 0x20000)])) for _ in range(draw.randint(0, 14)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("corpus", nargs="*")
    parser.add_argument("--size", type=int, default=4000)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    corpus = list(layouts.CORPUS)
    for path in arguments.corpus:
        with open(path, encoding="utf-8", errors="replace") as file:
            corpus += [line.strip() for line in file if line.strip()][:5000]
    small = not arguments.corpus
    makers = layouts.Makers(corpus, 150 if small else arguments.size, layouts.SMALL_RULES if small else None)
    ours, total = Ours(arguments.binary), collections.Counter()
    with tempfile.TemporaryDirectory() as work:
        filled = []
        print("| layout | imitates | rows | equal | other |\n|---|---|---|---|---|")
        for name, imitates, fill in layouts.layouts(makers):
            directory = os.path.join(work, name)
            os.makedirs(directory)
            fill(directory)
            filled.append(directory)
            row(ours, name, imitates, directory, total)
        for directory in arguments.model:
            row(ours, os.path.basename(directory.rstrip("/")), "the model itself", directory, total)
        print("total:", dict(total))
        draw, total = random.Random(arguments.seed), collections.Counter()
        for number in range(arguments.random):
            changed = os.path.join(work, "changed")
            shutil.rmtree(changed, ignore_errors=True)
            source = draw.choice(filled)
            shutil.copytree(source, changed)
            said = change(draw, changed)
            texts = [draw_text(draw) for _ in range(6)] + [(draw_text(draw), draw_text(draw)) for _ in range(2)] + [layouts.TEXTS[8]]
            lines = []
            counts = compare(ours, changed, texts, [None, 16], lambda *words: lines.append(" ".join(map(str, words))))
            total.update(counts)
            if counts["differ"] or counts["refused here only"] or counts["refused there only"]:
                print("==", number, os.path.basename(source), "|", "; ".join(said))
                print("\n".join(lines[:2]))
        if arguments.random:
            print("random:", dict(total))


def row(ours, name, imitates, directory, total):
    lines = []
    counts = compare(ours, directory, layouts.TEXTS, LENGTHS, lambda *words: lines.append(" ".join(map(str, words))))
    total.update(counts)
    rows = sum(counts.values())
    other = ", ".join("%d %s" % (n, what) for what, n in sorted(counts.items()) if what != "equal")
    print("| %s | %s | %d | %d | %s |" % (name, imitates, rows, counts["equal"], other or "0"))
    for line in lines[:3]:
        print(line)


if __name__ == "__main__":
    main()
