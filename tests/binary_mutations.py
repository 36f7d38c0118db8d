"""Checkpoints, weights, archives and pictures changed by chance, from a seed."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from nas.runs.checkpoint import load_checkpoint
from tests.text_mutations import RAW_JSON, TEXTS, VALUES, Mutant, Raws, change, dumped, of_bytes, places_of


def _change_tensor(tensor: Tensor, name: str, chance: random.Random) -> tuple[Tensor, str, bool]:
    """Another tensor, what was done, and whether it must be refused."""
    kind = chance.choice(("type", "shape", "nan", "negative", "inf", "transposed", "empty", "scalar", "flat"))
    if kind == "type":
        return (
            tensor.to(chance.choice([t for t in (torch.float16, torch.float64, torch.int32, torch.bfloat16) if t != tensor.dtype])),
            kind,
            True,
        )
    if kind == "shape":
        return torch.cat([tensor.reshape(-1), tensor.reshape(-1)[:1]]) if tensor.numel() else torch.zeros(3), kind, True
    if kind in ("nan", "inf", "negative") and tensor.is_floating_point() and tensor.numel():
        changed = tensor.clone()
        changed.view(-1)[chance.randrange(changed.numel())] = {"nan": float("nan"), "inf": float("inf"), "negative": -1.0}[kind]
        return changed, kind, kind != "negative" or name.endswith(("running_var", "exp_avg_sq"))
    if kind == "transposed" and tensor.dim() > 1 and tensor.shape[0] != tensor.shape[1]:
        return tensor.transpose(0, 1).contiguous(), kind, True
    if kind == "scalar":
        return (torch.tensor(1.0), kind, True) if tensor.dim() else (torch.ones(2), kind, True)
    return torch.zeros(0, dtype=tensor.dtype), "empty", tensor.numel() > 0


def safetensors_mutant(path: Path, chance: random.Random) -> Mutant:
    tensors = safetensors.torch.load_file(path)
    name = chance.choice(list(tensors))
    kind = chance.choice(("tensor", "tensor", "tensor", "drop", "rename", "add", "header", "header"))
    is_wrong = True
    if kind == "tensor":
        tensors[name], kind, is_wrong = _change_tensor(tensors[name], name, chance)
    elif kind == "drop":
        del tensors[name]
    elif kind == "rename":
        tensors[chance.choice(TEXTS[:8])] = tensors.pop(name)
    elif kind == "add":
        tensors[chance.choice(TEXTS[:8])] = torch.zeros(chance.choice((0, 1, 1000)))
    else:
        raw = path.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        raws = Raws(chance, RAW_JSON)
        data, what = change(json.loads(raw[8 : 8 + size]), chance, raws)
        head = dumped(data, raws)
        told = chance.choice((len(head), len(head), len(head), 2**63, 0, len(head) - 1))
        return Mutant(struct.pack("<Q", told) + head + raw[8 + size :], f"header {what}")
    return Mutant(safetensors.torch.save(tensors, metadata={"format": "pt"}), f"tensor {kind}", is_wrong)


def checkpoint_mutant(path: Path, chance: random.Random) -> Mutant:
    """A state changed in one place; the digest of its structure is that of before, or left out, as a file of old would have it."""
    state, content = load_checkpoint(path), torch.load(path, weights_only=True)
    places = [place for place in places_of(state) if isinstance(place[0], dict | list)]
    kind = chance.choice(("tensor", "tensor", "drop", "drop", "value", "text", "rename", "archive", "top"))
    tensors = [(holder, key) for holder, key in places if isinstance(holder[key], Tensor)]
    holder, key = chance.choice(tensors if kind == "tensor" else places if chance.random() < 0.7 else places[: len(state)])
    if kind == "archive":
        return Mutant(_repacked(path.read_bytes(), chance), "archive")
    is_wrong = True
    if kind == "tensor":
        holder[key], kind, is_wrong = _change_tensor(holder[key], str(key), chance)
        is_wrong = is_wrong and kind not in ("nan", "inf")  # who reads a part of a checkpoint does not look at the others
    elif kind == "drop":
        del holder[key]
    elif kind == "rename":
        if isinstance(holder, dict):
            holder[chance.choice((1, "renamed", *TEXTS[:8]))] = holder.pop(key)
        else:
            holder.append(holder[key])
    elif kind == "top":
        content[chance.choice(("format_version", "structure"))] = chance.choice((*VALUES, *TEXTS))
        is_wrong = False
    else:
        was = holder[key]
        holder[key] = chance.choice(TEXTS if kind == "text" else [v for v in VALUES if not isinstance(v, int) or abs(v) < 2**63])
        is_wrong = type(was) is not type(holder[key])
    content["state"] = state
    if kind != "top" and chance.random() < 0.3:
        del content["structure"]
        is_wrong, kind = False, f"{kind} without digest"
    file = io.BytesIO()
    torch.save(content, file)
    return Mutant(file.getvalue(), f"state {kind}", is_wrong)


def _repacked(content: bytes, chance: random.Random) -> bytes:
    """An archive with one part changed, left out or doubled; its check sums are right."""
    result = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(result, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as new,
    ):
        names = old.namelist()
        chosen, kind = chance.choice(names), chance.choice(("drop", "bytes", "bytes", "rename", "add", "pickle"))
        for name in names:
            part = old.read(name)
            if (name == chosen and kind == "bytes") or (kind == "pickle" and name.endswith("data.pkl")):
                part = of_bytes(part, chance).content
            if name == chosen and kind == "rename":
                name = chance.choice(("../../evil", "/evil", "a" * 300, name + "x"))
            if name != chosen or kind != "drop":
                new.writestr(name, part)
        if kind == "add":
            new.writestr(chance.choice(("../evil.txt", "extra", names[0] + "/data/999")), bytes(1000))
    return result.getvalue()


def zip_mutant(path: Path, chance: random.Random) -> Mutant:
    return Mutant(_repacked(path.read_bytes(), chance), "archive")


def png_mutant(path: Path, chance: random.Random) -> Mutant:
    """Chunks changed, their check sums right or not."""
    raw = path.read_bytes()
    chunks, at = [], 8
    while at < len(raw):
        size = struct.unpack(">I", raw[at : at + 4])[0]
        chunks.append((raw[at + 4 : at + 8], raw[at + 8 : at + 8 + size]))
        at += 12 + size
    kind = chance.choice(("head", "head", "bytes", "drop", "double", "text", "swap"))
    number = chance.randrange(len(chunks))
    name, data = chunks[number]
    if kind == "head":
        side = (1, 2, 5000, 60_000, 2**31 - 1, 2**32 - 1, 0)
        head = list(struct.unpack(">IIBBBBB", chunks[0][1]))
        head[chance.randrange(7)] = chance.choice(side[:4])
        head = [value & 255 if place > 1 else value for place, value in enumerate(head)]
        if chance.random() < 0.4:
            head[:2] = [chance.choice(side), chance.choice(side)]
        chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *head))
    elif kind == "bytes":
        chunks[number] = (name, of_bytes(data, chance).content)
    elif kind == "drop":
        del chunks[number]
    elif kind == "double":
        chunks.insert(number, (name, data))
    elif kind == "swap":
        chance.shuffle(chunks)
    else:
        chunks.insert(
            1,
            chance.choice(
                (
                    (b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(50_000_000), 1)[:60_000]),
                    (b"tEXt", b"a\0" + b"Q" * 10_000),
                    (b"PLTE", bytes(768)),
                    (b"tRNS", bytes(6)),
                    (b"acTL", struct.pack(">II", 10**6, 0)),
                    (b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + bytes(40)),
                )
            ),
        )
    out = raw[:8]
    for name, data in chunks:
        out += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return Mutant(out, f"chunks {kind}")
