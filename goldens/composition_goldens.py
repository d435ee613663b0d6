"""Compositions of adapters: the logits of stacks, fusions, splits, averages and parallel blocks; merged adapters."""
import os
import shutil
from unittest import mock

import adapters
import torch
from adapters.composition import Average, BatchSplit, Fuse, Parallel, Split, Stack
from adapters.methods.bottleneck import BottleneckLayer

from adapter_goldens import add_head, batch, double_seq_bn, load_base, scramble, seq_bn
from storage import Golden, relative_error
from verification import padded

CONFIGS = {
    "a": seq_bn(8), "b": seq_bn(16), "c": seq_bn(4), "left_out": seq_bn(8, leave_out=[0]),
    "second": seq_bn(8), "third": seq_bn(8),
    "d": double_seq_bn(), "e": double_seq_bn(non_linearity="relu"),
    "p": adapters.ParBnConfig(reduction_factor=8), "q": adapters.ParBnConfig(reduction_factor=16),
    "gated": seq_bn(8, use_gating=True), "scaled": seq_bn(8, scaling="channel"),
    "residual_after": seq_bn(8, residual_before_ln=False), "residual_post": seq_bn(8, residual_before_ln="post_add"),
}
FUSED = "b,c"
# Positions of the rows as they are padded here, which is what the library's splits have to add up to.
LENGTH = 14

# Each with the head that answers: a name, or a name for each answer.
CASES = {
    "stack": (Stack("a", "b"), "b"),
    "stack-of-three": (Stack("a", "b", "c"), "c"),
    "stack-of-one": (Stack("a"), "a"),
    "stack-houlsby": (Stack("d", "e"), "e"),
    "stack-placements": (Stack("d", "b"), "b"),
    "stack-residuals": (Stack("residual_after", "residual_post", "scaled"), "scaled"),
    "stack-gated": (Stack("gated", "a"), "a"),
    "stack-left-out": (Stack("a", "left_out"), "left_out"),
    "left-out-stack": (Stack("left_out", "a"), "a"),
    "fuse": (Fuse("b", "c"), "c"),
    "stack-fuse": (Stack("a", Fuse("b", "c")), "c"),
    "fuse-stack": (Fuse(Stack("a", "b"), "c"), "c"),
    "fuse-last-stack": (Fuse("b", Stack("a", "c")), "c"),
    "stack-fuse-stack": (Stack("a", Fuse(Stack("a", "b"), "c"), "b"), "b"),
    "split": (Split("a", "b", splits=[5, 9]), "b"),
    "split-stack": (Split(Stack("a", "b"), "c", splits=[3, 11]), "c"),
    "split-split": (Split(Split("a", "b", splits=[2, 4]), "c", splits=[6, 8]), "c"),
    "split-average": (Split("a", Average("b", "c"), splits=[1, 13]), "c"),
    "split-batch-split": (Split(BatchSplit("a", "b", batch_sizes=[2, 3]), "c", splits=[4, 10]), "c"),
    "stack-split": (Stack("c", Split("a", "b", splits=[5, 9])), "b"),
    "split-houlsby": (Split("d", "e", splits=[4, 10]), "e"),
    "split-parallel-adapters": (Split("p", "q", splits=[4, 10]), "q"),
    "average": (Average("a", "b"), "b"),
    "average-weighted": (Average("a", "b", "c", weights=[1.0, 3.0, -1.0]), "c"),
    "average-stack": (Average(Stack("a", "b"), "c", weights=[0.3, 0.7]), "c"),
    "average-stack-left-out": (Average(Stack("a", "left_out"), "c"), "c"),
    "average-stack-of-one": (Average(Stack("a"), "c"), "c"),
    "average-houlsby": (Average("d", Stack("d", "e"), weights=[0.25, 0.75]), "e"),
    "average-parallel-adapters": (Average("p", "q", weights=[0.2, 0.8]), "q"),
    "average-gated": (Average("gated", "a"), "a"),
    "stack-average": (Stack("a", Average("b", Stack("a", "c"), weights=[0.4, 0.6])), "c"),
    "batch-split": (BatchSplit("a", "b", batch_sizes=[2, 3]), None),
    "batch-split-stack": (BatchSplit(Stack("a", "b"), "c", batch_sizes=[2, 3]), None),
    "batch-split-batch-split": (BatchSplit("c", BatchSplit("a", "b", batch_sizes=[1, 2]), batch_sizes=[2, 3]),
                                BatchSplit("c", BatchSplit("a", "b", batch_sizes=[1, 2]), batch_sizes=[2, 3])),
    "stack-batch-split": (Stack("c", BatchSplit("a", "b", batch_sizes=[4, 1])), None),
    "parallel": (Parallel("a", "b", "c"), None),
    "parallel-stack": (Parallel(Stack("a", "b"), "c"), None),
    "parallel-average": (Parallel("c", Average("a", "b")), None),
    "stack-parallel": (Stack("c", Parallel("a", "b")), None),
    "parallel-stacked-on": (Stack(Parallel("a", "b"), "c"), ["c", "c"]),
}

# Merged of adapters with one configuration: the weights, and whether they are divided by their sum.
MERGED = {
    "mean": (["a", "second"], None, True),
    "weighted": (["a", "second", "third"], [1.0, 2.0, 5.0], True),
    "arithmetic": (["a", "second", "third"], [1.0, -1.0, 1.0], False),
}


def weighted_sum(self, states, weights):
    """What an average is: the weighted sum, which the library divides by the number of its members once more."""
    theirs = BottleneckLayer.library_mean(self, states, weights)
    right = sum(weight.item() * state.hidden_states for weight, state in zip(weights.flatten(), states))
    assert relative_error(theirs.hidden_states * len(states), right) < 1e-6
    return theirs._replace(hidden_states=right)


def heads_of(model, composition, head):
    if head is not None and not isinstance(head, BatchSplit):
        return head
    if isinstance(head, BatchSplit):
        # The library's own rule names the last adapter of each child, whichever the row.
        return head
    model.set_active_adapters(composition)
    return model.active_head


def logits_of(model, composition, heads, rows):
    """Logits by answer: [answers, rows, labels]. Each row alone, or in one padded batch where blocks ask for it."""
    model.set_active_adapters(composition)
    if isinstance(heads, str) and "Split" not in str(composition):
        model.active_head = heads
        alone = [model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])) for ids, types in rows]
        return torch.cat([output.logits for output in alone])[None]
    ids, types, mask = padded(rows)
    more = LENGTH - ids.shape[1]
    ids, types, mask = (torch.nn.functional.pad(x, (0, more), value=v) for x, v in ((ids, 7), (types, 0), (mask, 0)))
    if isinstance(heads, BatchSplit) and any(isinstance(child, BatchSplit) for child in heads):
        # A nested choice of heads is beyond the library: its states are right, and each row has its own head.
        states = model.bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
        names = flat_heads(heads)
        return torch.stack([labels_of(model.heads[name], states[i, 0]) for i, name in enumerate(names)])[None]
    if isinstance(heads, list) and len(set(heads)) == 1:
        # Several answers of one head: the library's list of heads has to have them as well.
        states = model.bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
        return labels_of(model.heads[heads[0]], states[:, 0]).reshape(len(heads), len(rows), -1)
    model.active_head = heads
    output = model(input_ids=ids, attention_mask=mask, token_type_ids=types)
    if not isinstance(heads, (BatchSplit, list)):
        return output.logits[None]
    answers = [head.logits for head in output.head_outputs]
    return torch.stack(answers) if isinstance(heads, list) else torch.cat(answers)[None]


def labels_of(head, first_tokens):
    """What a head's layers make of the first tokens' states."""
    for layer in head:
        first_tokens = layer(first_tokens)
    return first_tokens


def flat_heads(heads):
    """The head of each row."""
    names = []
    for child, size in zip(heads, heads.batch_sizes):
        names += flat_heads(child) if isinstance(child, BatchSplit) else [child] * size
    return names


def save_setup(golden, name, model, composition, heads):
    """The library's adapter_setup.json; the adapters themselves are those of `parts`."""
    folder = golden.folder("one")
    model.save_adapter_setup(folder, composition, head_setup=heads, use_safetensors=True)
    with open(os.path.join(folder, "adapter_setup.json"), encoding="utf-8") as file:
        text = file.read()
    os.makedirs(golden.folder("setups"), exist_ok=True)
    with open(os.path.join(golden.folder("setups"), f"{name}.json"), "w", encoding="utf-8") as file:
        file.write(text)
    os.makedirs(golden.folder("parts"), exist_ok=True)
    for part in sorted(os.listdir(folder)):
        source = os.path.join(folder, part)
        if os.path.isdir(source) and not os.path.exists(os.path.join(golden.folder("parts"), part)):
            shutil.copytree(source, os.path.join(golden.folder("parts"), part))
    shutil.rmtree(folder)


def check_read_back(golden, name, composition, heads, rows, logits):
    """The library, from the same files, computes the same."""
    folder = golden.folder("one")
    shutil.copytree(golden.folder("parts"), folder)
    shutil.copy(os.path.join(golden.folder("setups"), f"{name}.json"), os.path.join(folder, "adapter_setup.json"))
    fresh = load_base(os.path.dirname(golden.path), "bert")
    setup, _ = fresh.load_adapter_setup(folder, set_active=False, use_safetensors=True)
    assert setup == composition, f"{name}: {setup}"
    with torch.no_grad():
        again = logits_of(fresh.eval().double(), setup, heads, rows)
    assert relative_error(again, logits) < 1e-12, f"{name}: read back differs"
    shutil.rmtree(folder)


def make_compositions(root, seed):
    golden = Golden(root, "composition")
    golden.base = "bert"
    model = load_base(root, "bert")
    for name, config in CONFIGS.items():
        model.add_adapter(name, config=config)
        add_head(model, name, "classification", layers=1)
    model.add_adapter_fusion(FUSED, "dynamic")
    names = lambda part: part in ("adapters", "heads", "adapter_fusion_layer")
    parameters = {n: p for n, p in model.named_parameters() if any(names(part) for part in n.split("."))}
    scramble(parameters, seed)
    with torch.no_grad():
        for name, parameter in parameters.items():
            if name.endswith((".query.weight", ".key.weight")):
                parameter *= 0.5
    rows, _ = batch("bert", "classification", seed + 1)
    golden.put_rows(rows)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    BottleneckLayer.library_mean = BottleneckLayer.mean
    with mock.patch.object(BottleneckLayer, "mean", weighted_sum):
        for name, (composition, head) in CASES.items():
            heads = heads_of(model, composition, head)
            save_setup(golden, name, model, composition, heads)
            with torch.no_grad():
                single = logits_of(model, composition, heads, rows)
                logits = logits_of(model.double(), composition, heads, rows)
            model.float().load_state_dict(state)
            check_read_back(golden, name, composition, heads, rows, logits)
            golden.put(f"logits.{name}", logits)
            golden.put_error(f"logits.{name}", single, logits)
            assert relative_error(single, logits) < 2e-5, name
    os.makedirs(golden.folder("merged"))
    for name in ("second", "third"):
        model.save_adapter(os.path.join(golden.folder("parts"), name), name, with_head=True, use_safetensors=True)
    for name, (members, weights, normalise) in MERGED.items():
        merged = f"merged_{name}"
        model.average_adapter(merged, members, weights=weights, normalize_weights=normalise)
        model.average_head(merged, members, weights=weights, normalize_weights=normalise)
        model.save_adapter(golden.folder(f"merged/{name}"), merged, with_head=True, use_safetensors=True)
        with torch.no_grad():
            logits = logits_of(model.double(), Stack(merged), merged, rows)
        model.float()
        golden.put(f"merged.{name}", logits)
    golden.write()
    print(f"{golden.name}: {len(CASES)} compositions, {len(MERGED)} merged adapters")
