"""Load adapters' directories with the Python library `adapters` and print what it finds in them.

For each directory one JSON line: the model's type, the adapter's and the head's name, what the
library missed or did not expect, the labels, and a SHA-256 of every tensor's values as they are in
the model after loading. Two directories that mean the same give the same line but for "directory":

    cargo run -p adaptkit-adapters --example rewrite_adapter -- THEIRS OURS
    python goldens/check_adapter_files.py THEIRS OURS

The exit code is 1 if the library missed a tensor or found one too many, or if the lines differ
(with --each: only the former). No base is needed: the model around the adapter is made up, with
the layers that the tensors' names tell of. Needs: pip install torch adapters safetensors
"""
import argparse, hashlib, json, os, re, sys, warnings
import torch
from safetensors import safe_open

warnings.filterwarnings("ignore")
import adapters  # noqa: E402
from transformers import (  # noqa: E402
    BertConfig, DistilBertConfig, ElectraConfig, RobertaConfig, XLMRobertaConfig, logging,
)

logging.set_verbosity_error()
MODELS = {
    "bert": (adapters.BertAdapterModel, BertConfig),
    "roberta": (adapters.RobertaAdapterModel, RobertaConfig),
    "xlm-roberta": (adapters.XLMRobertaAdapterModel, XLMRobertaConfig),
    "electra": (adapters.ElectraAdapterModel, ElectraConfig),
    "distilbert": (adapters.DistilBertAdapterModel, DistilBertConfig),
}


def tensor_names(directory):
    safe = os.path.join(directory, "adapter.safetensors")
    if os.path.exists(safe):
        with safe_open(safe, "pt") as file:
            return list(file.keys()), True
    pickle = os.path.join(directory, "pytorch_adapter.bin")
    return list(torch.load(pickle, map_location="cpu", weights_only=True)), False


def made_up_model(model_type, width, layers):
    model, config = MODELS[model_type]
    if model_type == "distilbert":
        sizes = dict(dim=width, n_layers=layers, n_heads=1, hidden_dim=width)
    else:
        sizes = dict(hidden_size=width, num_hidden_layers=layers, num_attention_heads=1, intermediate_size=width)
    torch.manual_seed(0)
    return model(config(vocab_size=8, max_position_embeddings=8, **sizes))


def describe(directory):
    with open(os.path.join(directory, "adapter_config.json"), encoding="utf-8") as file:
        config = json.load(file)
    names, safe = tensor_names(directory)
    numbers = [int(m.group(1)) for m in (re.search(r"\.layer\.(\d+)\.", name) for name in names) if m]
    left_out = config["config"].get("leave_out") or []
    layers = max(numbers + left_out, default=0) + 1
    model = made_up_model(config["model_type"], config["hidden_size"], layers)
    loading = {}
    name = model.load_adapter(directory, use_safetensors=safe, loading_info=loading)
    state = {k: v for k, v in model.state_dict().items() if f".{name}." in k}
    head = model.heads[name].config if name in model.heads else None
    digest = lambda t: hashlib.sha256(t.contiguous().numpy().tobytes()).hexdigest()[:16]
    return {
        "directory": directory,
        "model_type": config["model_type"],
        "name": name,
        "missing": sorted(loading.get("missing_keys", [])),
        "unexpected": sorted(loading.get("unexpected_keys", [])),
        "config": model.adapters_config.get(name).to_dict(),
        "head": head,
        "tensors": {k: [list(v.shape), digest(v)] for k, v in sorted(state.items())},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directories", nargs="+")
    parser.add_argument("--each", action="store_true", help="do not compare the directories with one another")
    arguments = parser.parse_args()
    lines, failed = [], False
    for directory in arguments.directories:
        found = describe(directory)
        print(json.dumps(found, sort_keys=True))
        failed = failed or found["missing"] or found["unexpected"]
        found.pop("directory")
        lines.append(found)
    if not arguments.each and any(line != lines[0] for line in lines[1:]):
        print("the directories differ", file=sys.stderr)
        failed = True
    sys.exit(1 if failed else 0)


main()
