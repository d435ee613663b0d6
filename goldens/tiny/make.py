"""Makes the golden files of this folder: what PyTorch computes on tiny random models.

Everything is drawn from fixed seeds, kept as float32 and computed in float64, row by row and so
without padding; results are rounded to float32 at the end. Usage, with the packages that
MANIFEST.json names: python make.py
"""

import hashlib
import json
import pathlib
import shutil

import adapters
import torch
import transformers
from adapters import BertAdapterModel, BnConfig
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

HERE = pathlib.Path(__file__).parent
LENGTHS = [1, 2, 5, 17, 40]
torch.set_num_threads(1)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def scramble(module, seed, size):
    """Random values for every parameter: larger than any initialisation, so that nothing is near zero."""
    g = generator(seed)
    with torch.no_grad():
        for name, p in sorted(module.named_parameters()):
            centre = 1.0 if "LayerNorm.weight" in name else 0.0
            p.copy_(centre + size * torch.randn(p.shape, generator=g, dtype=torch.float32))


def bert_config(**changes):
    shape = dict(vocab_size=90, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64)
    rest = dict(max_position_embeddings=40, type_vocab_size=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return BertConfig(**(shape | rest | changes), attn_implementation="eager")


def rows(seed):
    g = generator(seed)
    ids = [torch.randint(0, 90, (n,), generator=g) for n in LENGTHS]
    types = [(torch.arange(n) >= (n + 1) // 2).long() for n in LENGTHS]
    return ids, types


def inputs(ids, types):
    offsets = torch.tensor([0] + LENGTHS).cumsum(0)
    return {"ids": torch.cat(ids), "type_ids": torch.cat(types), "offsets": offsets}


def save(name, tensors):
    save_file({k: v.contiguous() for k, v in tensors.items()}, HERE / name / "golden.safetensors")


def encoder(name, form, **changes):
    """A bare encoder: every layer's states, and the gradient at the first layer's input."""
    config = bert_config(**changes)
    model = BertModel(config, add_pooling_layer=False)
    scramble(model, 1, 0.15)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    if form == "sharded":
        model.save_pretrained(folder, max_shard_size="40KB")
    else:
        model.save_pretrained(folder)
    weights = folder / "model.safetensors"
    if form in ("prefixed", "old"):
        old = lambda k: k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        tensors = {f"bert.{old(k) if form == 'old' else k}": v for k, v in load_file(weights).items()}
        save_file(tensors, weights, metadata={"format": "pt"})
    model = model.double().eval()
    ids, types = rows(2)
    out = {f"hidden.{i}": [] for i in range(config.num_hidden_layers + 1)} | {"d_hidden.0": []}
    g = generator(3)
    direction = []
    for i, t in zip(ids, types):
        embedded = model.embeddings(input_ids=i[None], token_type_ids=t[None]).detach().requires_grad_()
        states, x = [embedded], embedded
        for layer in model.encoder.layer:
            x = layer(x)
            x = x[0] if isinstance(x, tuple) else x
            states.append(x)
        whole = model(input_ids=i[None], token_type_ids=t[None]).last_hidden_state
        assert torch.allclose(whole, x, atol=1e-12), "layer by layer is the whole model"
        d = torch.randn(x.shape, generator=g, dtype=torch.float32).double()
        (x * d).sum().backward()
        direction.append(d[0])
        out["d_hidden.0"].append(embedded.grad[0])
        for n, state in enumerate(states):
            out[f"hidden.{n}"].append(state[0].detach())
    floats = {k: torch.cat(v).float() for k, v in (out | {"d_last_hidden": direction}).items()}
    save(name, inputs(ids, types) | floats)


def adapter(name, config, labels, base="bert"):
    """An adapter with its head: logits, loss, gradients, and ten steps of AdamW."""
    model = BertAdapterModel.from_pretrained(HERE / base, attn_implementation="eager")
    model.add_adapter("tiny", config=config)
    model.add_classification_head("tiny", num_labels=labels)
    model.train_adapter("tiny")
    model.set_active_adapters("tiny")
    trained = {k: p for k, p in model.named_parameters() if p.requires_grad}
    g = generator(4)
    with torch.no_grad():
        for k in sorted(trained):
            trained[k].copy_(0.2 * torch.randn(trained[k].shape, generator=g))
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_adapter(str(folder), "tiny", use_safetensors=True)
    model.config.name_or_path = ""
    for file in ("adapter_config.json", "head_config.json"):
        text = json.loads((folder / file).read_text())
        text["model_name"] = base
        (folder / file).write_text(json.dumps(text, indent=2, sort_keys=True))
    model = model.double().eval()
    ids, types = rows(5)
    targets = torch.tensor([0.5, -1.0, 2.0, 0.0, 1.5]) if labels == 1 else torch.tensor([0, 2, 1, 1, 0])
    optimiser = torch.optim.AdamW(trained.values(), lr=1e-2, weight_decay=0.01)
    result = inputs(ids, types) | {"targets": targets}
    losses = []
    for step in range(10):
        logits = torch.cat([model(input_ids=i[None], token_type_ids=t[None]).logits for i, t in zip(ids, types)])
        if labels == 1:
            loss = torch.nn.functional.mse_loss(logits[:, 0], targets.double())
        else:
            loss = torch.nn.functional.cross_entropy(logits, targets)
        optimiser.zero_grad()
        loss.backward()
        if step == 0:
            result["logits"] = logits.detach().float()
            result |= {f"d.{k}": p.grad.float() for k, p in trained.items()}
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimiser.step()
    result["losses"] = torch.tensor(losses, dtype=torch.float64)
    result |= {f"after.{k}": p.detach().float() for k, p in trained.items()}
    save(name, result)


encoder("bert", "plain")
encoder("bert-prefixed", "prefixed")
encoder("bert-old-names", "old", hidden_act="gelu_new", hidden_size=40, num_attention_heads=5, intermediate_size=56)
encoder("bert-sharded", "sharded", hidden_act="relu")
sequential = dict(reduction_factor=4)
adapter("pfeiffer", adapters.SeqBnConfig(**sequential), 3)
adapter("houlsby", adapters.DoubleSeqBnConfig(**sequential), 3)
adapter("parallel", adapters.ParBnConfig(**sequential), 3)
adapter("regression", adapters.SeqBnConfig(reduction_factor=8, leave_out=[0]), 1)
adapter("residual-normed", BnConfig(mh_adapter=False, output_adapter=True, reduction_factor=4, non_linearity="gelu", original_ln_before=True, residual_before_ln=False), 3)
adapter("residual-post-add", BnConfig(mh_adapter=True, output_adapter=True, reduction_factor=4, non_linearity="leakyrelu", original_ln_before=True, residual_before_ln="post_add", scaling=0.5), 3)

files = sorted(p for p in HERE.rglob("*") if p.is_file() and p.suffix in (".json", ".safetensors") and p.name != "MANIFEST.json")
manifest = {
    "made_by": "make.py",
    "versions": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__, "adapters": adapters.__version__},
    "sha256": {str(p.relative_to(HERE)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
}
(HERE / "MANIFEST.json").write_text(json.dumps(manifest, indent=2) + "\n")
print(f"{len(files)} files, {sum(p.stat().st_size for p in files) / 1024:.0f} KiB")
