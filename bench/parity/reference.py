"""Writes token ids and last hidden states that `transformers` computes for a model, row by row.

Rows of 1 to 512 tokens, single texts and pairs; float32 on one thread, and float64 for the error of
float32 itself. Usage: python reference.py MODEL_DIR OUT.safetensors
"""

import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer

model_dir, out = sys.argv[1:3]
torch.set_num_threads(1)
tokenizer = AutoTokenizer.from_pretrained(model_dir)
model = AutoModel.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="eager").eval()

WORDS = (
    "The quick brown fox jumps over the lazy dog while seventeen unhappy accountants recalculate "
    "naïve estimates of the Zürich office's quarterly losses ; nobody asked why !"
).split()


def text(words, start):
    return " ".join(WORDS[(start + 3 * i) % len(WORDS)] for i in range(words))


rows = [("", None), ("Hello", None), (text(5, 1), None), (text(11, 4), text(7, 2)), (text(40, 0), None)]
rows += [(text(100, 2), text(60, 5)), (text(600, 3), None), (text(400, 1), text(500, 2)), ("", "x")]
longest = min(512, model.config.max_position_embeddings - (2 if model.config.model_type in ("mpnet", "roberta") else 0))
tensors, ids, types, offsets, states, exact = {}, [], [], [0], [], []
# One token alone too: no tokenizer makes such a row, but the encoder takes it.
encoded = [{"input_ids": [tokenizer.cls_token_id], "token_type_ids": [0]}]
encoded += [dict(tokenizer(a, b, truncation=True, max_length=longest)) for a, b in rows]
double = AutoModel.from_pretrained(model_dir, dtype=torch.float64, attn_implementation="eager").eval()
for row in encoded:
    row.setdefault("token_type_ids", [0] * len(row["input_ids"]))
    takes_types = getattr(model.config, "type_vocab_size", 0) > 1
    inputs = {"input_ids": torch.tensor([row["input_ids"]])}
    if takes_types:
        inputs["token_type_ids"] = torch.tensor([row["token_type_ids"]])
    with torch.inference_mode():
        states.append(model(**inputs).last_hidden_state[0])
        exact.append(double(**inputs).last_hidden_state[0].float())
    ids += row["input_ids"]
    types += row["token_type_ids"]
    offsets.append(len(ids))
save_file(
    {
        "ids": torch.tensor(ids),
        "type_ids": torch.tensor(types),
        "offsets": torch.tensor(offsets),
        "last_hidden_state": torch.cat(states),
        "exact": torch.cat(exact),
    },
    out,
    metadata={"texts": str(len(rows))},
)
worst = (torch.cat(states) - torch.cat(exact)).abs().max() / torch.cat(exact).abs().max()
print(f"{len(encoded)} rows, {len(ids)} tokens; float32 against float64: {worst:.2e}")
