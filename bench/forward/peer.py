"""Times one peer's forward pass, training step, many tasks and a fusion, and prints one JSON line.

The peers are PyTorch (`adapters`) in f32 or bf16 autocast, and ONNX Runtime in f32 or with dynamically quantised 8-bit
weights. Rows are random and full, or those of a file, sorted by length (with --unsorted in the file's order, as a plain
shuffled loader has them) and padded to the longest of each batch. Times are medians of repeats after one that warms up.

    python bench/forward/peer.py --system torch --dtype bf16 --model bert-base --batch 16 --length 128 --train
    python bench/forward/peer.py --system torch --model bert-base --train --adapterdrop 5 --tasks 8
    python bench/forward/peer.py --system torch --dtype bf16 --model bert-base --train --fusion 8
    python bench/forward/peer.py --system onnxruntime --dtype int8 --model MODEL_DIR --input rte/dev.tsv --columns sentence1 sentence2

It needs `pip install torch==2.15.0 adapters==1.3.0 onnxruntime onnx`.
"""
import argparse
import csv
import json
import os
import resource
import statistics
import tempfile
import time

import torch
from adapters import BertAdapterModel, BnConfig
from adapters.composition import Fuse, Parallel
from transformers import AutoTokenizer, BertConfig, BertModel

SHAPES = {"bert-base": (12, 768), "bert-large": (24, 1024)}


def config_of(name):
    if name not in SHAPES:
        return BertConfig.from_pretrained(name)
    layers, hidden = SHAPES[name]
    return BertConfig(num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=hidden // 64, intermediate_size=4 * hidden)


def batches_of(arguments, config):
    """(ids, mask, type ids) of each batch."""
    if not arguments.input:
        ids = torch.randint(5, config.vocab_size, (arguments.batch, arguments.length))
        return [(ids, torch.ones_like(ids), torch.zeros_like(ids))]
    with open(arguments.input, encoding="utf-8", newline="") as file:
        quoting = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if arguments.input.endswith(".tsv") else {}
        rows = [[row[column] for column in arguments.columns] for row in csv.DictReader(file, **quoting)]
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    encoded = [tokenizer(*row, truncation=True, max_length=arguments.max_length) for row in rows]
    if not arguments.unsorted:
        encoded.sort(key=lambda row: len(row["input_ids"]))
    batches = []
    for start in range(0, len(encoded), arguments.batch):
        padded = tokenizer.pad(encoded[start : start + arguments.batch], return_tensors="pt")
        types = padded.get("token_type_ids", torch.zeros_like(padded["input_ids"]))
        batches.append((padded["input_ids"], padded["attention_mask"], types))
    return batches


def median_of(repeats, run):
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def torch_times(arguments, config, batches):
    amp = lambda: torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.dtype == "bf16")
    random = arguments.model in SHAPES
    base = BertModel(config, add_pooling_layer=False) if random else BertModel.from_pretrained(arguments.model, add_pooling_layer=False)
    base.eval()

    def forward(model):
        with torch.inference_mode(), amp():
            for ids, mask, types in batches:
                model(input_ids=ids, attention_mask=mask, token_type_ids=types)

    times = {"forward_s": median_of(arguments.repeats, lambda: forward(base))}
    if not arguments.train and not arguments.tasks and not arguments.fusion:
        return times
    del base
    model = BertAdapterModel(config) if random else BertAdapterModel.from_pretrained(arguments.model)
    dropped = int(arguments.adapterdrop) if arguments.adapterdrop.isdigit() else 0

    def add(name):
        bottleneck = BnConfig(mh_adapter=False, output_adapter=True, reduction_factor=16, non_linearity="relu", original_ln_before=True,
                              leave_out=list(range(dropped)))
        model.add_adapter(name, config=bottleneck)
        model.add_classification_head(name, num_labels=2)

    def run(active, heads):
        model.set_active_adapters(active)
        model.active_head = heads
        forward(model)

    if arguments.train or arguments.fusion:
        add("task")
    if arguments.train:
        times["train_step_s"] = step_seconds(arguments, config, model, batches, amp, "task")
    if arguments.fusion:
        names = [f"member{k}" for k in range(arguments.fusion)]
        for name in names:
            add(name)
        fusion = Fuse(*names)
        model.add_adapter_fusion(fusion, "dynamic")
        model.eval()
        times["logits_s"] = median_of(arguments.repeats, lambda: run("task", "task"))
        times["fusion_s"] = median_of(arguments.repeats, lambda: run(fusion, "task"))
        if arguments.train:
            model.active_head = "task"
            times["fusion_train_step_s"] = step_seconds(arguments, config, model, batches, amp, fusion)
    if arguments.tasks:
        names = [f"task{k}" for k in range(arguments.tasks)]
        for name in names:
            add(name)
        model.eval()
        times["tasks_s"] = median_of(arguments.repeats, lambda: run(Parallel(*names), names))
        times["one_by_one_s"] = median_of(arguments.repeats, lambda: [run(name, name) for name in names])
    return times


def step_seconds(arguments, config, model, batches, amp, trained):
    """A training step of an adapter or a fusion; of robust training, the mean over the numbers of dropped layers."""
    fused = isinstance(trained, Fuse)
    model.train_adapter_fusion(trained) if fused else model.train_adapter(trained)
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)

    def epoch():
        for ids, mask, types in batches:
            with amp():
                labels = torch.arange(len(ids)) % 2
                loss = model(input_ids=ids, attention_mask=mask, token_type_ids=types, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_((p for p in model.parameters() if p.requires_grad), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            if fused:
                # As AdapterTrainer does: the penalty's gradient counts in the step that follows.
                model.get_fusion_regularization_loss().backward()

    means = []
    for n in range(config.num_hidden_layers if arguments.adapterdrop == "robust" else 1):
        model.set_active_adapters(trained, skip_layers=list(range(n)))
        means.append(median_of(arguments.repeats, epoch) / len(batches))
    return statistics.mean(means)


def onnx_times(arguments, config, batches):
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    names = ["ids", "mask", "types"]

    def export(path):
        random = arguments.model in SHAPES
        base = BertModel(config, add_pooling_layer=False) if random else BertModel.from_pretrained(arguments.model, add_pooling_layer=False)
        axes = {name: {0: "rows", 1: "tokens"} for name in names}
        torch.onnx.export(base.eval(), batches[0], path, input_names=names, output_names=["hidden"], dynamic_axes=axes, opset_version=17, dynamo=False)

    with tempfile.TemporaryDirectory() as folder:
        folder = arguments.exports or folder
        stem = os.path.join(folder, os.path.basename(os.path.normpath(arguments.model)))
        path = f"{stem}.{arguments.dtype}.onnx"
        if not os.path.exists(path):
            export(f"{stem}.f32.onnx")
            if arguments.dtype == "int8":
                quantize_dynamic(f"{stem}.f32.onnx", path, weight_type=QuantType.QInt8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = arguments.threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = [dict(zip(names, (x.numpy() for x in batch))) for batch in batches]

    def forward():
        for feed in feeds:
            session.run(["hidden"], feed)

    return {"forward_s": median_of(arguments.repeats, forward)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", choices=["torch", "onnxruntime"], required=True)
    parser.add_argument("--dtype", choices=["f32", "bf16", "int8"], default="f32")
    parser.add_argument("--model", required=True, help="a BERT's directory, bert-base or bert-large")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--input")
    parser.add_argument("--columns", nargs="+", default=["text"])
    parser.add_argument("--unsorted", action="store_true")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--exports", help="a directory for ONNX files, which are made once")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--adapterdrop", default="none", help="none, a number of lowest layers without adapters, or robust")
    parser.add_argument("--fusion", type=int, default=0, help="a fusion of so many adapters, beside one adapter")
    parser.add_argument("--tasks", type=int, default=0, help="adapters on every row: Parallel, and one by one")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    config = config_of(arguments.model)
    batches = batches_of(arguments, config)
    times = (torch_times if arguments.system == "torch" else onnx_times)(arguments, config, batches)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(times | {"system": arguments.system, "dtype": arguments.dtype, "peak_rss_mb": memory}))


if __name__ == "__main__":
    main()
