"""AdapterFusion: logits, loss with and without the penalty, gradients, and what each token attends to."""
import math
import os
from dataclasses import dataclass

import adapters
import torch
from adapters import AdapterFusionConfig
from adapters.composition import Fuse

from adapter_goldens import (
    KinkWatch, add_head, batch, batch_loss, draw_until_clear, gradients_of, load_base, run, scramble, seq_bn, worst,
)
from storage import relative_error
from verification import check_trained_gradients, padded

MEMBERS = ("mnli", "qqp", "sst2", "cola", "rte", "boolq", "scitail", "imdb")
PENALTY = 0.01


@dataclass
class Case:
    """One fusion: its configuration and one reduction factor for each member; the layers each is left out of."""

    name: str
    config: str
    factors: list
    left_out: tuple = ()

    @property
    def members(self):
        return list(MEMBERS[: len(self.factors)])


CASES = [
    Case("dynamic-2", "dynamic", [16, 16]),
    Case("dynamic-3", "dynamic", [8, 32, 13]),
    Case("dynamic-8", "dynamic", [32] * 8),
    Case("static-2", "static", [16, 16]),
    # As AdapterDrop's Figure 3 draws it; the members' last decides on the wiring.
    Case("figure-3-3", "figure-3", [8, 32, 13]),
    Case("static-before-2", "static-before", [32, 8]),
    # As pruning leaves one: other members in every layer, the last in each.
    Case("dynamic-3-left-out", "dynamic", [8, 32, 13], ([0], [1], [])),
]


def fusion_config(name):
    """The library's configuration of a case."""
    if name in ("dynamic", "static"):
        return name
    before = {"query_before_ln": True, "residual_before": True}
    return AdapterFusionConfig.load("static" if name == "static-before" else "dynamic", **before)


def attention_of(model, rows, name, layers):
    """What each token attends to, by layer: [tokens, members]."""
    found = {layer: [] for layer in range(layers)}
    for ids, types in rows:
        output = model(
            input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]), output_adapter_fusion_attentions=True
        )
        for layer, sites in output.adapter_fusion_attentions[name].items():
            assert list(sites) == ["output_adapter"]
            found[layer].append(torch.from_numpy(sites["output_adapter"])[0])
    return {layer: torch.cat(rows) for layer, rows in found.items()}


def penalty_of(parameters):
    """0.01 · Σ over layers of ‖I − V‖², nothing where there is no V."""
    values = [value for name, value in parameters.items() if name.endswith(".value.weight")]
    eye = lambda value: torch.eye(len(value), dtype=value.dtype)
    return PENALTY * sum(((eye(value) - value) ** 2).sum() for value in values) if values else None


def compute(model, parameters, state, case, rows, labels, dtype):
    """Everything of a case in one precision: the plain loss, its gradients, the penalty and its own."""
    model.load_state_dict(state)
    model.to(dtype)
    model.eval()
    logits, last = run(model, rows)
    loss = batch_loss(logits, labels, "classification")
    penalty = penalty_of(parameters)
    theirs = model.get_fusion_regularization_loss()
    assert (penalty is None) == (theirs is None)
    gradients = gradients_of(loss, parameters, keep=True)
    # The key's bias raises the scores of all members alike, which soft-max undoes: its gradient is zero, and what
    # is computed is rounding. That is checked and zeros are stored.
    for name, gradient in gradients.items():
        if name.endswith(".key.bias"):
            assert gradient.abs().max() < 1e-5 * max(g.abs().max() for g in gradients.values())
            gradients[name] = torch.zeros_like(gradient)
    penalised = {}
    if penalty is not None:
        assert relative_error(theirs.detach(), penalty.detach()) < 1e-6
        penalised = gradients_of(loss + penalty, parameters)
        penalised = {name: gradient for name, gradient in penalised.items() if name.endswith(".value.weight")}
    return logits.detach(), last.detach(), loss.detach(), gradients, penalty, penalised


def make_case(golden, seed, case):
    golden.base = "bert"
    model = load_base(os.path.dirname(golden.path), "bert")
    for number, (name, factor) in enumerate(zip(case.members, case.factors)):
        changes = {"leave_out": case.left_out[number]} if case.left_out else {}
        model.add_adapter(name, config=seq_bn(factor, **changes))
    fusion = Fuse(*case.members)
    model.add_adapter_fusion(fusion, fusion_config(case.config))
    add_head(model, "fused", "classification", layers=1)
    trained = {n: p for n, p in model.named_parameters() if ".adapters." in n}
    scramble(trained, seed)
    model.train_adapter_fusion(fusion)
    model.active_head = "fused"
    model.eval()
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    scramble(parameters, seed + 1)
    with torch.no_grad():
        # Scores of a few units: sharp enough to matter, soft enough that every member does.
        for name, parameter in parameters.items():
            if name.endswith((".query.weight", ".key.weight")):
                parameter *= 0.5
    watch = KinkWatch(model)
    model.save_adapter_setup(golden.folder("setup"), fusion, head_setup="fused", use_safetensors=True)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    rows, labels = batch("bert", "classification", seed + 2)

    single = compute(model, parameters, state, case, rows, labels, torch.float32)
    watch.least = math.inf
    double = compute(model, parameters, state, case, rows, labels, torch.float64)
    watch.check()
    logits, last, loss, gradients, penalty, penalised = double
    attention = attention_of(model, rows, fusion.name, model.config.num_hidden_layers)
    check_case(golden, model, parameters, fusion, rows, labels, logits, gradients)

    golden.put_rows(rows)
    golden.put("targets", labels)
    golden.put("logits", logits)
    golden.put("loss", loss)
    golden.put_error("logits", single[0], logits)
    for layer, weights in attention.items():
        assert relative_error(weights.sum(1), torch.ones(len(last))) < 1e-12
        golden.put(f"attention.{layer}", weights)
    for name, gradient in gradients.items():
        golden.put(f"d.{name}", gradient)
    golden.put("float32_error.d", worst(single[3], gradients))
    if penalty is not None:
        golden.put("penalty", penalty)
        golden.put("penalised_loss", loss + penalty)
        # Only the value matrices have another gradient than without the penalty; the smallest case shows them.
        for name, gradient in penalised.items() if len(case.members) == 2 else ():
            golden.put(f"penalised_d.{name}", gradient)
    golden.write()
    weights = torch.cat([weights.flatten() for weights in attention.values()])
    print(f"{golden.name}: float32 error of logits {relative_error(single[0], logits):.1e}, "
          f"of gradients {worst(single[3], gradients):.1e}, attention {weights.min():.3f} to {weights.max():.3f}, "
          f"kink {watch.least:.0e}")


def check_case(golden, model, parameters, fusion, rows, labels, logits, gradients):
    """Three ways round: one padded batch, a central difference, and the files read back by the library."""
    loss = lambda: batch_loss(run(model, rows)[0], labels, "classification")
    check_trained_gradients(loss, parameters, gradients)
    ids, types, mask = padded(rows)
    with torch.no_grad():
        batched = model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
    assert relative_error(batched, logits) < 1e-10, f"{golden.name}: padded rows differ"
    fresh = load_base(os.path.dirname(golden.path), "bert")
    fresh.load_adapter_setup(golden.folder("setup"), set_active=True, use_safetensors=True)
    assert fresh.adapters_config.active_setup == fusion
    with torch.no_grad():
        again, _ = run(fresh.eval().double(), rows)
    error = relative_error(again, logits)
    assert error < 1e-12, f"{golden.name}: read back, off by {error}"


def make_fusions(root, seed):
    for number, case in enumerate(CASES):
        draw_until_clear(lambda golden, s: make_case(golden, s, case), root, f"fusion-{case.name}", seed + 10 * number)
