"""Encoders: hidden states and the gradient through the frozen layers, for every family and stored form."""
import os
import pickle
import shutil
import struct

import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from torch import serialization

import tiny_models as tiny
import tiny_tokenizers
from storage import Golden, relative_error, write_lines
from verification import check_gradient, check_padding


def run_row(model, ids, types, has_types, dtype):
    """One row alone: hidden states of every layer, the first of them a leaf to differentiate by."""
    arguments = {"input_ids": torch.tensor([ids])}
    if has_types:
        arguments["token_type_ids"] = torch.tensor([types])
    captured = {}

    def cut(module, args, kwargs):
        # The embeddings' output, whatever the family calls its parts: what enters the first layer.
        leaf = args[0].detach().requires_grad_(True)
        captured["leaf"] = leaf
        return (leaf, *args[1:]), kwargs

    hook = first_layer(model).register_forward_pre_hook(cut, with_kwargs=True)
    try:
        output = model(**arguments, output_hidden_states=True)
    finally:
        hook.remove()
    states = [captured["leaf"], *output.hidden_states[1:]]
    assert torch.equal(output.hidden_states[0], captured["leaf"]) and states[-1].dtype == dtype
    assert torch.equal(states[-1], output.last_hidden_state)
    return [state[0] for state in states], captured["leaf"]


def first_layer(model):
    return model.transformer.layer[0] if hasattr(model, "transformer") else model.encoder.layer[0]


def run_rows(model, rows, functional, has_types, dtype):
    """Every row alone, laid end to end: hidden states, and the gradient of sum(functional · last) by the first."""
    model = model.to(dtype)
    states, gradients, at = [], [], 0
    for ids, types in rows:
        layers, leaf = run_row(model, ids, types, has_types, dtype)
        weights = functional[at : at + len(ids)].to(dtype)
        gradients.append(torch.autograd.grad((weights * layers[-1]).sum(), leaf)[0][0])
        states.append([layer.detach() for layer in layers])
        at += len(ids)
    return [torch.cat(layer) for layer in zip(*states)], torch.cat(gradients)


def put_encoder(golden, model, rows, seed, every_layer=False):
    """Computes in float64 from the float32 weights; returns the float64 hidden states."""
    has_types = getattr(model.config, "type_vocab_size", 0) > 1
    width, tokens = model.config.hidden_size, sum(len(ids) for ids, _ in rows)
    functional = torch.randn(tokens, width, generator=torch.Generator().manual_seed(seed))
    states, gradient = run_rows(model, rows, functional, has_types, torch.float64)
    check_padding(model, rows, states[-1], has_types)
    check_gradient(model, first_layer(model), rows, has_types, functional, gradient)
    single_states, single_gradient = run_rows(model, rows, functional, has_types, torch.float32)
    golden.put_rows(rows)
    last = len(states) - 1
    for number, state in enumerate(states):
        if every_layer or number in (0, last):
            golden.put(f"hidden.{number}", state)
    golden.put("d_last_hidden", functional)
    golden.put("d_hidden.0", gradient)
    golden.put_error(f"hidden.{last}", single_states[-1], states[-1])
    golden.put_error("d_hidden.0", single_gradient, gradient)
    print(f"{golden.name}: float32 error {relative_error(single_states[-1], states[-1]):.1e}, "
          f"gradient {relative_error(single_gradient, gradient):.1e}")


def save_model(model, path, **settings):
    model.config.name_or_path = ""
    model.save_pretrained(path, **settings)
    for name in os.listdir(path):
        if name == "generation_config.json":
            os.remove(os.path.join(path, name))


def make_family(
    root, name, config, model_class, seed, tokenizer, special, types, longest, prefix=None, every_layer=False
):
    """One family: `model_class` is saved (its head gives the names their prefix), its encoder is run."""
    config._attn_implementation = "eager"
    whole = tiny.randomise(model_class(config), seed)
    encoder = getattr(whole, prefix) if prefix else whole
    golden = Golden(root, name)
    save_model(whole, golden.folder("model"))
    tokenizer.save(golden.folder("model/tokenizer.json"), pretty=False)
    write_lines(golden.folder("texts.jsonl"), tiny_tokenizers.encoded_texts(tokenizer))
    rows = tiny.draw_rows(seed + 1, [1, 2, 5, 17, longest], [(2, 3), (6, 5)], special, types)
    if special is tiny.ROBERTA_SPECIAL:
        # A text may spell the padding token out: positions pass over it.
        padding = config.pad_token_id
        rows.append(([0, 9, padding, padding, 11, padding, 2], [0] * 7))
    put_encoder(golden, encoder, rows, seed + 2, every_layer)
    check_stored(golden, encoder, rows)
    golden.write()


def check_stored(golden, encoder, rows):
    """The directory, read back by the library, gives what is stored."""
    loaded = hf.AutoModel.from_pretrained(golden.folder("model"), attn_implementation="eager").eval()
    has_types = getattr(encoder.config, "type_vocab_size", 0) > 1
    states, _ = run_rows(loaded, rows, golden.tensors["d_last_hidden"], has_types, torch.float64)
    error = relative_error(states[-1], golden.tensors[f"hidden.{len(states) - 1}"])
    assert error < 1e-7, f"{golden.name}: read back, off by {error}"


def make_families(root, seed):
    bert = dict(tokenizer=tiny_tokenizers.bert(), special=tiny.BERT_SPECIAL, types=1, longest=36)
    roberta = dict(special=tiny.ROBERTA_SPECIAL, types=0, longest=36)
    make_family(root, "bert", tiny.bert_config(), hf.BertModel, seed, every_layer=True, **bert)
    odd = tiny.bert_config(40, 5, 56, 1, hidden_act="gelu_new")
    make_family(root, "bert-gelu-new", odd, hf.BertModel, seed + 10, **bert)
    make_family(root, "roberta", tiny.roberta_config(), hf.RobertaForSequenceClassification, seed + 20,
                tokenizer=tiny_tokenizers.roberta(), prefix="roberta", **roberta)
    xlm_roberta = tiny.roberta_config(hf.XLMRobertaConfig, (16, 2, 24, 1))
    make_family(root, "xlm-roberta", xlm_roberta, hf.XLMRobertaModel, seed + 30,
                tokenizer=tiny_tokenizers.xlm_roberta(), **roberta)
    # Another padding id: positions are counted from the one after it.
    camembert = tiny.roberta_config(hf.CamembertConfig, (16, 2, 24, 1), pad_token_id=3, max_position_embeddings=40)
    make_family(root, "camembert", camembert, hf.CamembertForSequenceClassification, seed + 40,
                tokenizer=tiny_tokenizers.camembert(), prefix="roberta", **roberta)
    make_family(root, "distilbert", tiny.distilbert_config(), hf.DistilBertForSequenceClassification, seed + 50,
                prefix="distilbert", **{**bert, "types": 0})
    make_family(root, "electra", tiny.electra_config(), hf.ElectraForPreTraining, seed + 60, prefix="electra", **bert)
    make_family(root, "mpnet", tiny.mpnet_config(), hf.MPNetModel, seed + 70, tokenizer=tiny_tokenizers.mpnet(),
                **{**roberta, "longest": 136})


def make_stored_forms(root, seed):
    """One encoder of one layer in every form in which BERT's weights are found on disk."""
    config = tiny.bert_config(16, 2, 24, 1, num_labels=2, max_position_embeddings=20)
    config._attn_implementation = "eager"
    whole = tiny.randomise(hf.BertForSequenceClassification(config), seed)
    rows = tiny.draw_rows(seed + 1, [1, 2, 5, 17], [(2, 3)], tiny.BERT_SPECIAL, 1)
    forms = {
        "bert-prefixed": lambda path: save_model(whole, path),
        "bert-sharded": lambda path: save_model(whole.bert, path, max_shard_size="8KB"),
        "bert-gamma-beta": lambda path: save_old_names(whole, path),
        "bert-torch-file": lambda path: save_torch_file(whole, path),
        "bert-old-torch-file": lambda path: save_old_torch_file(whole, path),
    }
    for name, save in forms.items():
        whole.float()
        golden = Golden(root, name)
        save(golden.folder("model"))
        put_encoder(golden, whole.bert, rows, seed + 2)
        check_stored(golden, whole.bert, rows)
        golden.write()


def save_old_names(whole, path):
    """As the first checkpoints: gamma and beta, a prefix, and positions stored as integers."""
    save_model(whole, path)
    file = os.path.join(path, "model.safetensors")
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
           for name, value in load_file(file).items()}
    assert sum(name.endswith((".gamma", ".beta")) for name in old) == 6
    old["bert.embeddings.position_ids"] = torch.arange(whole.config.max_position_embeddings)[None]
    save_file(old, file, metadata={"format": "pt"})


def save_torch_file(whole, path):
    """Only `pytorch_model.bin`."""
    save_model(whole, path)
    os.remove(os.path.join(path, "model.safetensors"))
    torch.save(torch_state(whole), os.path.join(path, "pytorch_model.bin"))


def torch_state(whole):
    """The tensors, which are views of shared storages here and there."""
    state = {name: value.clone() for name, value in whole.state_dict().items()}
    first, second = (f"bert.encoder.layer.0.attention.self.{name}.weight" for name in ("query", "key"))
    both = torch.cat([state[first], state[second]])
    state[first], state[second] = both[: len(state[first])], both[len(state[first]) :]
    transposed = "bert.encoder.layer.0.output.dense.weight"
    state[transposed] = state[transposed].t().contiguous().t()
    return state


def save_old_torch_file(whole, path):
    """`pytorch_model.bin` as before PyTorch 1.6. PyTorch itself names storages by their addresses and puts them in
    that order, another one each time."""
    save_model(whole, path)
    os.remove(os.path.join(path, "model.safetensors"))
    storages = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if not isinstance(value, torch.storage.TypedStorage):
                return None
            address = value._untyped_storage.data_ptr()
            key, _ = storages.setdefault(address, (f"{len(storages):03}", value))
            return "storage", getattr(torch, value._pickle_storage_type()), key, "cpu", value._size(), None

    version = serialization.PROTOCOL_VERSION
    machine = dict(protocol_version=version, little_endian=True, type_sizes=dict(short=2, int=4, long=4))
    with open(os.path.join(path, "pytorch_model.bin"), "wb") as file:
        for value in (serialization.MAGIC_NUMBER, version, machine):
            pickle.dump(value, file, protocol=2)
        Pickler(file, protocol=2).dump(torch_state(whole))
        pickle.dump([key for key, _ in storages.values()], file, protocol=2)
        for _, storage in storages.values():
            file.write(struct.pack("<q", storage._size()))
            file.write(bytes(storage._untyped_storage))
