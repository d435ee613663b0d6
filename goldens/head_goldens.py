"""Heads that are not the library's usual one, and fusions as its other functions save them: their logits.

Static heads are those of models for one task (`BertForSequenceClassification`), which have no name and no
configuration. Heads on the pooler read what the base's own pooler makes of the first token.
"""
import os

import adapters
import torch
import transformers as hf
from adapters.composition import Fuse

from adapter_goldens import batch, load_base, run, scramble, seq_bn
from storage import Golden, relative_error

LABELS = {0: "entailment", 1: "neutral", 2: "contradiction"}

STATIC = {
    "bert": hf.BertForSequenceClassification,
    "roberta": hf.RobertaForSequenceClassification,
    "xlm-roberta": hf.XLMRobertaForSequenceClassification,
    "distilbert": hf.DistilBertForSequenceClassification,
    "electra": hf.ElectraForSequenceClassification,
}


def write(golden, name, model, rows, folder):
    """Stores a model's logits under a name, and whom they belong to."""
    single = run_logits(model, rows)
    double = run_logits(model.double(), rows)
    model.float()
    golden.put(f"logits.{name}", double)
    golden.put_error(f"logits.{name}", single, double)
    print(f"{golden.name}/{name}: float32 error {relative_error(single, double):.1e}, {sorted(os.listdir(folder))}")


def run_logits(model, rows):
    with torch.no_grad():
        return run(model, rows)[0]


def is_of_head(model):
    """Whether a parameter is of a head or an adapter, and no weight of the base."""
    prefix = model.base_model_prefix + "."
    return lambda name: not name.startswith(prefix) or any(p in name for p in (".adapters.", "fusion_layer"))


def drawn(model, seed):
    mine = is_of_head(model)
    scramble({name: value for name, value in model.named_parameters() if mine(name)}, seed)
    return model.eval()


def make_static(root, name, seed):
    golden = Golden(root, f"heads-{name}")
    golden.base = name
    rows, _ = batch(name, "classification", seed)
    golden.put_rows(rows)
    labels = dict(num_labels=3, id2label=LABELS, label2id={label: id for id, label in LABELS.items()})
    model = STATIC[name].from_pretrained(
        os.path.join(root, name, "model"), attn_implementation="eager", ignore_mismatched_sizes=True, **labels
    )
    model.config.name_or_path = f"tiny-{name}"
    adapters.init(model)
    drawn(model, seed + 1)
    model.save_head(golden.folder("static"))
    write(golden, "static", model, rows, golden.folder("static"))
    model.add_adapter("task", config=seq_bn())
    model.set_active_adapters("task")
    drawn(model, seed + 2)
    model.save_adapter(golden.folder("static-adapter"), "task", with_head=True, use_safetensors=True)
    write(golden, "static-adapter", model, rows, golden.folder("static-adapter"))
    if name in ("bert", "xlm-roberta"):
        flexible(root, golden, name, rows, seed + 3)
    golden.write()


def flexible(root, golden, name, rows, seed):
    """Exchangeable heads on the pooler, with more layers, and with several labels."""
    for kind, more in {
        "pooler": dict(use_pooler=True),
        "pooler-one-layer": dict(use_pooler=True, layers=1, multilabel=True),
        "three-layers": dict(layers=3, activation_function="gelu"),
    }.items():
        model = load_base(root, name)
        model.add_adapter("task", config=seq_bn())
        model.add_classification_head("task", num_labels=3, id2label=LABELS, **more)
        model.set_active_adapters("task")
        drawn(model, seed)
        folder = golden.folder(kind)
        model.save_adapter(folder, "task", with_head=True, use_safetensors=True)
        write(golden, kind, model, rows, folder)


def make_fusion_folders(root, seed):
    """A fusion saved at once with a head of another name, and all that its model has, as its trainer saves it."""
    golden = Golden(root, "fusion-folders")
    golden.base = "bert"
    rows, _ = batch("bert", "classification", seed)
    golden.put_rows(rows)
    model = load_base(root, "bert")
    for name in ("a", "b"):
        model.add_adapter(name, config=seq_bn())
    # The library saves with a fusion or a head every other one whose name begins alike.
    model.add_adapter("bc", config=seq_bn())
    for members in (["a", "b"], ["a", "bc"]):
        model.add_adapter_fusion(members, "dynamic")
    for name in ("task", "task2"):
        model.add_classification_head(name, num_labels=3, layers=1, id2label=LABELS)
    model.set_active_adapters(Fuse("a", "b"))
    model.active_head = "task"
    drawn(model, seed + 1)
    one = golden.folder("with-head")
    model.save_adapter_fusion(one, "a,b", with_head="task", use_safetensors=True)
    for name in ("a", "b"):
        model.save_adapter(os.path.join(one, name), name, use_safetensors=True)
    model.delete_adapter_fusion(["a", "bc"])
    model.delete_adapter("bc")
    model.delete_head("task2")
    every = golden.folder("all")
    model.save_all_adapters(every, use_safetensors=True)
    model.save_all_adapter_fusions(every, use_safetensors=True)
    model.save_all_heads(every, use_safetensors=True)
    write(golden, "fused", model, rows, every)
    check_fusion_read_back(golden, rows)
    golden.write()


def check_fusion_read_back(golden, rows):
    """The library, from the same files, computes the same."""
    fresh = load_base(os.path.dirname(golden.path), "bert")
    one = golden.folder("with-head")
    for name in ("a", "b"):
        fresh.load_adapter(os.path.join(one, name), use_safetensors=True)
    fresh.load_adapter_fusion(one, set_active=True, use_safetensors=True)
    assert fresh.active_head == "task", fresh.active_head
    logits = run_logits(fresh.eval().double(), rows)
    error = relative_error(logits, golden.tensors["logits.fused"].double())
    assert error < 1e-6, f"read back, off by {error}"


def make_heads(root, seed):
    for number, name in enumerate(STATIC):
        make_static(root, name, seed + 10 * number)
    make_fusion_folders(root, seed + 100)
