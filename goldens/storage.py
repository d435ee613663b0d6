"""Where goldens lie and how they are written: rows laid end to end, float32, files that repeat bit by bit."""
import hashlib
import json
import os
import shutil

import torch
from safetensors.torch import save_file


class Golden:
    """One directory of the goldens: `golden.safetensors` beside what the libraries themselves saved.

    `base`: the golden that holds the model, where this one has none of its own.
    """

    def __init__(self, root, name):
        self.path = os.path.join(root, name)
        self.name = name
        self.base = None
        self.tensors = {}
        os.makedirs(self.path)

    def folder(self, name):
        return os.path.join(self.path, name)

    def put(self, key, value):
        """Stores integers as int64 and everything else as float32."""
        value = torch.as_tensor(value).detach()
        kind = torch.float32 if value.is_floating_point() else torch.int64
        assert key not in self.tensors, f"{self.name}: {key} twice"
        assert not value.is_floating_point() or bool(value.isfinite().all()), f"{self.name}: {key} is not finite"
        self.tensors[key] = value.to(kind).contiguous().clone()

    def put_rows(self, rows):
        """Stores rows of (ids, type ids) end to end; row r is offsets[r]..offsets[r + 1]."""
        lengths = torch.tensor([len(ids) for ids, _ in rows])
        self.put("ids", torch.tensor([i for ids, _ in rows for i in ids]))
        self.put("type_ids", torch.tensor([t for _, types in rows for t in types]))
        self.put("offsets", torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))

    def put_error(self, key, single, double):
        """Stores how far PyTorch's own float32 is off `double`, relative to the largest magnitude in it."""
        self.put(f"float32_error.{key}", relative_error(single, double))

    def write(self):
        """One entry of metadata at most: safetensors writes several in an order that changes from run to run."""
        notes = {"base": self.base} if self.base else None
        save_file(dict(sorted(self.tensors.items())), self.folder("golden.safetensors"), metadata=notes)


def relative_error(got, want):
    """max |got - want| / max |want|, or max |got| where all that is wanted is zero."""
    difference = (got.double() - want.double()).abs().max()
    largest = want.double().abs().max()
    return difference / largest if largest > 0 else difference


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def write_lines(path, values):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def files_below(root):
    """Every file below `root`, as paths with slashes relative to it, in order."""
    found = []
    for folder, _, files in os.walk(root):
        found += [os.path.relpath(os.path.join(folder, file), root).replace(os.sep, "/") for file in files]
    return sorted(found)


def install(made, root, manifest):
    """Puts the directories in `made` in place of those that the manifest in `root` lists.

    Only listed files are ever removed: a directory that is in the way and holds any other file is
    somebody else's, and nothing is written.
    """
    path = os.path.join(root, "MANIFEST.json")
    listed = set()
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            listed = set(json.load(file)["sha256"])
    names = sorted(os.listdir(made))
    for name in names:
        others = [f"{name}/{file}" for file in files_below(os.path.join(root, name)) if f"{name}/{file}" not in listed]
        if others:
            raise SystemExit(f"{others[0]} is not in MANIFEST.json: move it away; nothing was written")
    for file in sorted(listed):
        if os.path.exists(os.path.join(root, file)):
            os.remove(os.path.join(root, file))
    for folder in sorted({part for file in listed for part in parents(file)}, key=len, reverse=True):
        if os.path.isdir(os.path.join(root, folder)) and not os.listdir(os.path.join(root, folder)):
            os.rmdir(os.path.join(root, folder))
    for name in names:
        shutil.copytree(os.path.join(made, name), os.path.join(root, name), copy_function=shutil.copyfile)
    write_json(path, manifest)


def parents(file):
    """The folders that a path with slashes lies in: a/b/c gives a/b and a."""
    parts = file.split("/")[:-1]
    return ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
