"""Adapters of the `adapters` library with their heads: logits, loss, gradients, ten steps of AdamW."""
import math
import os
import shutil
from dataclasses import dataclass
from types import SimpleNamespace

import adapters
import torch
import torch.nn.functional as F
from adapters.methods.modeling import Activation_Function_Class

import tiny_models as tiny
from storage import Golden, relative_error
from verification import check_trained_gradients, padded

CLASSES = {0: "entailment", 1: "neutral", 2: "contradiction"}
STEPS = 10
OPTIMISER = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
MAX_NORM = 1.0
# Where relu and leakyrelu bend, float32 may fall on the other side: no input may come nearer to 0.
KINK_MARGIN = 2e-5
# No golden is kept that PyTorch itself cannot compute in float32 to this, relative to the largest value.
WELL_CONDITIONED = 2e-5


@dataclass
class Case:
    """One adapter: its configuration, base, head, and what is stored beside logits and gradients."""

    name: str
    config: object
    base: str = "bert"
    head: str = "classification"
    head_layers: int = 1
    steps: bool = False
    skips: tuple = ()
    safetensors: bool = True
    # Layers whose own layer norms are trained too, as Houlsby et al. 2019 do; they begin as the base has them.
    layer_norms: tuple = ()

    @property
    def adapter(self):
        """The adapter's name in the library."""
        return self.name.replace("-", "_")


def seq_bn(reduction_factor=8, **changes):
    return adapters.SeqBnConfig(reduction_factor=reduction_factor, **changes)


def double_seq_bn(**changes):
    return adapters.DoubleSeqBnConfig(reduction_factor=8, **changes)


def cases():
    trained = dict(head_layers=2, steps=True)
    yield Case("seq-bn", seq_bn(), skips=(1, 2), **trained)
    yield Case("double-seq-bn", double_seq_bn(), skips=(1, 2), **trained)
    yield Case("par-bn", adapters.ParBnConfig(reduction_factor=8), skips=(1,), **trained)
    yield Case("seq-bn-regression", seq_bn(), head="regression", **trained)
    yield Case("seq-bn-multi-label", seq_bn(), head="multi-label", **trained)
    yield Case("roberta-seq-bn", seq_bn(), base="roberta", **trained)
    yield Case("seq-bn-torch-file", seq_bn(), safetensors=False)
    yield Case("gating", seq_bn(use_gating=True))
    yield Case("scaling-fixed", seq_bn(scaling=0.5))
    yield Case("scaling-learned", seq_bn(scaling="learned"))
    yield Case("scaling-channel", seq_bn(scaling="channel"))
    # The library has the norm under two names, adapter_norm_before and adapter_down.0, and safetensors refuses
    # to store one tensor twice: with ln_before it can only write pytorch_adapter.bin.
    yield Case("ln-before", seq_bn(ln_before=True), safetensors=False)
    yield Case("ln-after", seq_bn(ln_after=True))
    yield Case("adapter-residual-before-ln", seq_bn(ln_after=True, adapter_residual_before_ln=True))
    yield Case("residual-after-ln", seq_bn(residual_before_ln=False))
    yield Case("residual-post-add", seq_bn(residual_before_ln="post_add"))
    yield Case("leave-out", seq_bn(leave_out=[0]))
    factors = {"0": 4, "2": 10.5, "default": 16}
    yield Case("reduction-factors", adapters.DoubleSeqBnConfig(reduction_factor=factors))
    yield Case("double-seq-bn-ln-before", double_seq_bn(original_ln_before=True, ln_before=True), safetensors=False)
    yield Case("scaled-par-bn", adapters.ParBnConfig(reduction_factor=8, scaling="learned"))
    # Without ln_after: it would cancel the gate, one number a row, but for the norm's epsilon.
    gated = adapters.ParBnConfig(reduction_factor=8, use_gating=True, ln_before=True)
    yield Case("par-bn-gating-ln-before", gated, safetensors=False)
    yield Case("adapter-plus", adapters.AdapterPlusConfig(reduction_factor=8, stochastic_depth=0.0))
    for activation in ("gelu", "gelu_new", "leakyrelu", "tanh", "swish"):
        yield Case(activation.replace("_", "-"), seq_bn(non_linearity=activation))
    yield Case("layer-norms", double_seq_bn(), layer_norms=(0, 1, 2), **trained)
    yield Case("layer-norms-seq-bn", seq_bn(leave_out=[0]), layer_norms=(1, 2))
    yield Case("xlm-roberta-double-seq-bn", double_seq_bn(), base="xlm-roberta")
    yield Case("distilbert-double-seq-bn", double_seq_bn(), base="distilbert")
    yield Case("electra-double-seq-bn", double_seq_bn(), base="electra")


MODELS = {
    "bert": adapters.BertAdapterModel,
    "roberta": adapters.RobertaAdapterModel,
    "xlm-roberta": adapters.XLMRobertaAdapterModel,
    "distilbert": adapters.DistilBertAdapterModel,
    "electra": adapters.ElectraAdapterModel,
}


def load_base(root, name):
    """The base that an encoder's golden holds, under a name that is the same everywhere."""
    model = MODELS[name].from_pretrained(os.path.join(root, name, "model"), attn_implementation="eager")
    model.config.name_or_path = f"tiny-{name}"
    return model.eval()


def scramble(parameters, seed):
    """Values far from any initialisation, so that no term of a gradient is near zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in parameters.items():
            normal = torch.randn(parameter.shape, generator=generator)
            if ".LayerNorm." in name:
                continue
            if "adapter_norm" in name and name.endswith("weight") or "scaling" in name:
                parameter.copy_(1 + 0.3 * normal)
            elif name.endswith("value.weight"):
                parameter.copy_(torch.eye(len(normal)) + 0.1 * normal)
            elif name.endswith("bias"):
                parameter.copy_(0.2 * normal)
            else:
                parameter.copy_(normal / math.sqrt(parameter.shape[-1]))


def add_head(model, name, kind, layers=2):
    labels = {0: "score"} if kind == "regression" else CLASSES
    arguments = dict(num_labels=len(labels), layers=layers, id2label=labels)
    if kind == "regression":
        model.add_classification_head(name, num_labels=1, layers=layers)
    elif kind == "multi-label":
        model.add_classification_head(name, multilabel=True, **arguments)
    else:
        model.add_classification_head(name, **arguments)


def batch(base, kind, seed):
    """Rows of 1 to 14 tokens, singles and pairs, with their labels."""
    special = tiny.ROBERTA_SPECIAL if "roberta" in base else tiny.BERT_SPECIAL
    types = 1 if base in ("bert", "electra") else 0
    rows = tiny.draw_rows(seed, [3, 1, 9], [(2, 1), (6, 4)], special, types)
    if kind == "regression":
        labels = torch.tensor([0.5, 3.25, -1.0, 5.0, 2.0])
    elif kind == "multi-label":
        labels = torch.tensor([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]])
    else:
        labels = torch.tensor([2, 0, 1, 1, 0])
    return rows, labels


def batch_loss(logits, labels, kind):
    """The mean over the rows, as the library's head has it for a whole batch."""
    if kind == "regression":
        return F.mse_loss(logits.squeeze(1), labels.to(logits.dtype))
    if kind == "multi-label":
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    return F.cross_entropy(logits, labels)


def has_types(model):
    return getattr(model.config, "type_vocab_size", 0) > 1


def run(model, rows, **more):
    """Logits [rows, labels] and last hidden states [tokens, hidden], each row alone."""
    logits, states = [], []
    for ids, types in rows:
        arguments = {"input_ids": torch.tensor([ids])}
        if has_types(model):
            arguments["token_type_ids"] = torch.tensor([types])
        output = model(**arguments, output_hidden_states=True, **more)
        logits.append(output.logits[0])
        states.append(output.hidden_states[-1][0])
    return torch.stack(logits), torch.cat(states)


class Bent(Exception):
    """An input lay where an activation bends; other values are to be drawn."""


class KinkWatch:
    """The smallest magnitude that entered a relu or leakyrelu of a bottleneck."""

    def __init__(self, model):
        self.least = math.inf
        bends = (F.leaky_relu, F.relu)
        for module in model.modules():
            if isinstance(module, Activation_Function_Class):
                if module.f in bends or isinstance(module.f, torch.nn.ReLU):
                    module.register_forward_pre_hook(self.see)

    def see(self, module, args):
        self.least = min(self.least, args[0].abs().min().item())

    def check(self):
        if self.least < KINK_MARGIN:
            raise Bent(f"an activation bends {self.least:.1e} from an input: other values are drawn")


def gradients_of(loss, parameters, keep=False):
    """Gradients by name; a parameter that the loss does not depend on is left out."""
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=keep)
    return {name: gradient for name, gradient in zip(parameters, found) if gradient is not None}


def train(model, parameters, rows, labels, kind):
    """Ten steps on the same batch: losses and gradient norms before each, and the loss at the end."""
    optimiser = torch.optim.AdamW(parameters.values(), **OPTIMISER, foreach=False)
    losses, norms = [], []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = batch_loss(run(model, rows)[0], labels, kind)
        loss.backward()
        losses.append(loss.detach())
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), MAX_NORM))
        optimiser.step()
    with torch.no_grad():
        losses.append(batch_loss(run(model, rows)[0], labels, kind))
    return torch.stack(losses), torch.stack(norms)


def compute(model, parameters, state, case, rows, labels, dtype):
    """Everything of a case in one precision, from the same float32 state."""
    model.load_state_dict(state)
    model.to(dtype)
    model.eval()
    result = SimpleNamespace(skipped={}, after={})
    result.logits, result.last = run(model, rows)
    result.loss = batch_loss(result.logits, labels, case.head)
    result.gradients = gradients_of(result.loss, parameters)
    for lowest in case.skips:
        model.set_active_adapters(case.adapter, skip_layers=list(range(lowest)))
        logits, _ = run(model, rows)
        loss = batch_loss(logits, labels, case.head)
        result.skipped[lowest] = (logits.detach(), loss.detach(), gradients_of(loss, parameters))
    model.set_active_adapters(case.adapter, skip_layers=None)
    if case.steps:
        result.losses, result.norms = train(model, parameters, rows, labels, case.head)
        result.after = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        model.load_state_dict(state)
    return result


def draw_until_clear(make, root, name, seed):
    """Makes a golden with values from the first seed that keeps clear of the bends."""
    for attempt in range(10):
        golden = Golden(root, name)
        try:
            return make(golden, seed + 100_000 * attempt)
        except Bent as bent:
            print(f"{name}: {bent}")
            shutil.rmtree(golden.path)
    raise SystemExit(f"{name}: no seed will do")


def make_case(golden, seed, case):
    golden.base = case.base
    model = load_base(os.path.dirname(golden.path), case.base)
    model.add_adapter(case.adapter, config=case.config)
    add_head(model, case.adapter, case.head, case.head_layers)
    model.train_adapter(case.adapter)
    for layer in case.layer_norms:
        for name, parameter in model.named_parameters():
            if f".encoder.layer.{layer}." in name and ".LayerNorm." in name:
                parameter.requires_grad_()
    model.eval()
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    scramble(parameters, seed)
    watch = KinkWatch(model)
    model.save_adapter(golden.folder("adapter"), case.adapter, use_safetensors=case.safetensors)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    rows, labels = batch(case.base, case.head, seed + 1)

    single = compute(model, parameters, state, case, rows, labels, torch.float32)
    check_library_loss(model, rows, labels, single.loss)
    watch.least = math.inf
    double = compute(model, parameters, state, case, rows, labels, torch.float64)
    watch.check()
    check_case(golden, model, parameters, case, rows, labels, double)

    golden.put_rows(rows)
    golden.put("targets", labels)
    if case.steps:
        golden.put("last_hidden", double.last)
    golden.put("logits", double.logits)
    golden.put("loss", double.loss)
    golden.put_error("logits", single.logits, double.logits)
    for name, gradient in double.gradients.items():
        golden.put(f"d.{name}", gradient)
    golden.put("float32_error.d", worst(single.gradients, double.gradients))
    for lowest, (logits, loss, gradients) in double.skipped.items():
        golden.put(f"skip_{lowest}.logits", logits)
        golden.put(f"skip_{lowest}.loss", loss)
        for name, gradient in gradients.items():
            golden.put(f"skip_{lowest}.d.{name}", gradient)
    if case.steps:
        # All clip at first but this one, whose mean over rows and labels keeps its gradients small.
        assert (double.norms[0] > MAX_NORM) == (case.head != "multi-label"), f"{golden.name}: {double.norms}"
        golden.put("losses", double.losses[:-1])
        golden.put("loss_after", double.losses[-1])
        golden.put("gradient_norms", double.norms)
        for name, value in double.after.items():
            golden.put(f"after.{name}", value)
        golden.put("float32_error.after", worst(single.after, double.after))
    golden.write()
    norms = f", norms {double.norms[0]:.2f} to {double.norms[-1]:.2f}" if case.steps else ""
    print(f"{golden.name}: float32 error of logits {relative_error(single.logits, double.logits):.1e}, of gradients "
          f"{worst(single.gradients, double.gradients):.1e}, kink {watch.least:.0e}{norms}")


def worst(single, double):
    """The largest of the parameters' relative errors."""
    assert single.keys() == double.keys()
    error = torch.stack([relative_error(single[name], double[name]) for name in double]).max()
    assert error < WELL_CONDITIONED, f"ill-conditioned: float32 is off by {error}"
    return error


def check_library_loss(model, rows, labels, loss):
    """The head's own loss, over the mean of the rows, is what is stored."""
    with torch.no_grad():
        losses = []
        for (ids, types), label in zip(rows, labels):
            kinds = {"token_type_ids": torch.tensor([types])} if has_types(model) else {}
            losses.append(model(input_ids=torch.tensor([ids]), labels=label[None], **kinds).loss)
    assert relative_error(torch.stack(losses).mean(), loss) < 1e-5


def check_case(golden, model, parameters, case, rows, labels, double):
    """Three ways round: one padded batch, a central difference, and the files read back by the library."""
    loss = lambda: batch_loss(run(model, rows)[0], labels, case.head)
    check_trained_gradients(loss, {n: parameters[n] for n in double.gradients}, double.gradients)
    if not model.adapters_config.get(case.adapter)["use_gating"]:
        # A gate is the mean over all positions, padding too: there the library's rows depend on their batch.
        ids, types, mask = padded(rows)
        kinds = {"token_type_ids": types} if has_types(model) else {}
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask, **kinds).logits
        error = relative_error(logits, double.logits)
        assert error < 1e-10, f"{golden.name}: padded rows are off by {error}"
    fresh = load_base(os.path.dirname(golden.path), case.base)
    loading = {}
    name = fresh.load_adapter(golden.folder("adapter"), use_safetensors=case.safetensors, loading_info=loading)
    assert not loading.get("missing_keys") and not loading.get("unexpected_keys"), loading
    fresh.set_active_adapters(name)
    with torch.no_grad():
        logits, _ = run(fresh.eval().double(), rows)
    error = relative_error(logits, double.logits)
    assert error < 1e-12, f"{golden.name}: read back, off by {error}"


def make_adapters(root, seed):
    for number, case in enumerate(cases()):
        draw_until_clear(lambda golden, s: make_case(golden, s, case), root, f"adapter-{case.name}", seed + 10 * number)
