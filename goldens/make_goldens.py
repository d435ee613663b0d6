"""Makes every golden of this folder and MANIFEST.json. See README.md for the packages that it needs.

    python goldens/make_goldens.py              writes the goldens anew, in place
    python goldens/make_goldens.py --check      makes them in a temporary folder and compares with MANIFEST.json
"""
import argparse
import json
import logging
import os
import platform
import sys
import tempfile
import warnings

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")

import adapters
import numpy
import safetensors
import tokenizers
import torch
import transformers

import adapter_goldens
import composition_goldens
import encoder_goldens
import fusion_goldens
import head_goldens
from storage import files_below, install, sha256

SEED = 20240


def make(root):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("adapters").setLevel(logging.ERROR)
    torch.manual_seed(SEED)
    encoder_goldens.make_families(root, SEED)
    encoder_goldens.make_stored_forms(root, SEED + 100)
    adapter_goldens.make_adapters(root, SEED + 1000)
    fusion_goldens.make_fusions(root, SEED + 2000)
    composition_goldens.make_compositions(root, SEED + 3000)
    head_goldens.make_heads(root, SEED + 4000)


def manifest(root):
    packages = (torch, transformers, adapters, tokenizers, safetensors, numpy)
    return {
        "versions": {"python": platform.python_version(), **{p.__name__: p.__version__ for p in packages}},
        "seed": SEED,
        "arithmetic": "float64 on the CPU from float32 weights, stored as float32",
        "sha256": {path: sha256(os.path.join(root, path)) for path in files_below(root)},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare with MANIFEST.json")
    arguments = parser.parse_args()
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as made:
        make(made)
        fresh = manifest(made)
        if not arguments.check:
            install(made, here, fresh)
            return
    with open(os.path.join(here, "MANIFEST.json"), encoding="utf-8") as file:
        kept = json.load(file)["sha256"]
    fresh = fresh["sha256"]
    different = sorted(path for path in fresh.keys() | kept.keys() if fresh.get(path) != kept.get(path))
    for path in different:
        print(f"different: {path}", file=sys.stderr)
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
