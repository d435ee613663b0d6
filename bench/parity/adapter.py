"""Loads an adapter, or a fusion, that adaptkit trained with the Python `adapters` library and compares logits.

Usage: python adapter.py MODEL_DIR DIR PREDICTIONS.jsonl, where the predictions come from
`adaptkit predict --raw-scores --input TEXTS.txt` and TEXTS.txt lies beside them.
"""

import json
import pathlib
import sys

import torch
from adapters import AutoAdapterModel
from transformers import AutoTokenizer

model_dir, adapter_dir, predictions = sys.argv[1:4]
texts = (pathlib.Path(predictions).parent / "TEXTS.txt").read_text().splitlines()
ours = [list(json.loads(line)["scores"].values()) for line in open(predictions)]
tokenizer = AutoTokenizer.from_pretrained(model_dir)
model = AutoAdapterModel.from_pretrained(model_dir)
if (pathlib.Path(adapter_dir) / "adapter_setup.json").exists():
    model.load_adapter_setup(adapter_dir, set_active=True, use_safetensors=True)
else:
    name = model.load_adapter(adapter_dir, use_safetensors=True)
    model.set_active_adapters(name)
model.eval()
worst = 0.0
with torch.inference_mode():
    for text, row in zip(texts, ours, strict=True):
        theirs = model(**tokenizer(text, truncation=True, max_length=128, return_tensors="pt")).logits[0]
        worst = max(worst, (theirs - torch.tensor(row)).abs().max().item())
print(f"{len(texts)} texts, logits differ by {worst:.2e} at most")
