"""Checkpoints and weights of a run, each written whole or not at all.

A checkpoint holds tensors and plain Python only, so that loading it can run no code.
"""

from __future__ import annotations

import hashlib
import pickle
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from nas.errors import CheckpointError
from nas.files.atomic import atomic_file, write_bytes_atomic
from nas.files.shortening import printable, shorten

FORMAT_VERSION = 1
"""The version of checkpoint files that this code writes and reads."""

CHECKPOINT_SUFFIX = ".pt"
"""Ending of the names of checkpoints."""

VARIANCE = "running_var"
"""End of the names of variances, of which none is negative."""

_PLAIN_TYPES = (str, int, float, bool, type(None))
_KEY_TYPES = (str, int)
_TENSOR_TYPES = (Tensor, nn.Parameter)


def save_checkpoint(path: Path, state: Mapping[str, object]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: The file; its folder is made.
        state: Nested dicts (keys: str or int), lists and tuples of tensors, str, int, float, bool and None. Tensors are
            saved detached and as plain tensors, subclasses of dict as dicts.

    Raises:
        TypeError: If the state holds anything else; the message names where.
    """
    plain = _plain(state, "state")
    content = {"format_version": FORMAT_VERSION, "state": plain, "structure": structure_digest(plain)}
    with atomic_file(path) as file:
        torch.save(content, file)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read the state that `save_checkpoint` was given, tensors on the CPU; no code in the file can run.

    Raises:
        CheckpointError: If the file is missing, damaged, of another version or no checkpoint.
    """
    _require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise zipfile.BadZipFile("its parts are compressed, which PyTorch never does")
            # PyTorch itself does not compare the check sums of tensors.
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} is damaged")
        content = torch.load(path, map_location="cpu", weights_only=True)
        digest = structure_digest(content.get("state") if isinstance(content, dict) else content)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: damaged, or holds other things than tensors and plain Python, which are never loaded; "
            "give a checkpoint that nas search or nas train wrote"
        ) from error
    except Exception as error:  # Whatever a foreign file makes the reader stumble over.
        raise CheckpointError(
            f"{path}: cannot be read ({_first_line(error)}); give a checkpoint that nas search or nas train wrote"
        ) from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version is None:
        raise CheckpointError(
            f"{path}: got a file without a format_version, expected a checkpoint that nas search or nas train wrote"
        )
    if version != FORMAT_VERSION or not isinstance(content.get("state"), dict):
        raise CheckpointError(
            f"{path}: got a checkpoint of format_version {shorten(version)}, expected {FORMAT_VERSION}; "
            "load it with the version of segnas that wrote it"
        )
    if content.get("structure", digest) != digest:
        raise CheckpointError(
            f"{path}: got other parts than were written, so that some are missing or were changed; "
            "give a checkpoint that nas search or nas train wrote"
        )
    state: dict[str, Any] = content["state"]
    return state


def steps_done(state: Mapping[str, Any], path: Path) -> int:
    """The steps that a run had done at a checkpoint.

    Raises:
        CheckpointError: If it does not state them.
    """
    loop = state.get("loop")
    step = loop.get("step") if isinstance(loop, dict) else None
    if type(step) is not int or step < 0:
        raise CheckpointError(f"{path}: loop.step: got {shorten(step)}, expected a number of steps; give a checkpoint of a run")
    return step


def save_last(folder: Path, state: Mapping[str, object], *, best: bool = False) -> None:
    """Write `last.pt`, and with `best` the same as `best.pt`.

    `best.pt` is replaced first. Killed between the two, a run goes on from the older `last.pt` and comes past the same
    best state again; the other way round, `last.pt` would speak of a best state that was never written.

    Args:
        folder: Where both lie; made where it is missing.
        state: As for `save_checkpoint`.
        best: Whether this state is the best so far.

    Raises:
        TypeError: As `save_checkpoint`.
    """
    last = folder / "last.pt"
    if not best:
        save_checkpoint(last, state)
        return
    save_checkpoint(folder / "best.pt", state)
    with (folder / "best.pt").open("rb") as source, atomic_file(last) as target:
        shutil.copyfileobj(source, target)


def save_weights(path: Path, state_dict: Mapping[str, Tensor]) -> None:
    """Write weights atomically in the safetensors format; tensors may share memory or be non-contiguous.

    Args:
        path: The file; its folder is made.
        state_dict: Name -> tensor.

    Raises:
        TypeError: If a value is no tensor; the message names it.
    """
    tensors = {}
    for name, value in state_dict.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"weights {name!r}: got {type(value).__name__}, expected a tensor")
        # Copied one by one: the format knows neither strides nor shared memory.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    write_bytes_atomic(path, safetensors.torch.save(tensors, metadata={"format": "pt"}))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read weights, tensors on the CPU: a file in the safetensors format, or a checkpoint of a training, `*.pt`.

    Of a checkpoint it is the weights that the training would have evaluated and saved: their average, if it kept one.

    Raises:
        CheckpointError: If the file is missing, damaged, of another format or the checkpoint of a search, or a value is not
            finite, or a variance is negative.
    """
    _require_file(path)
    tensors = _evaluated_weights(load_checkpoint(path), path) if path.suffix == CHECKPOINT_SUFFIX else _read_safetensors(path)
    check_values(tensors, path)
    return tensors


def check_values(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that no network can compute with.

    Args:
        tensors: The weights by name.
        path: Where they come from.

    Raises:
        CheckpointError: If one is no tensor, a value is not finite, or a variance is negative.
    """
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{path}: got {shorten(name)} among the weights, which is no tensor; give weights that nas train wrote"
            )
        if tensor.is_floating_point() and not bool(tensor.float().isfinite().all()):
            raise CheckpointError(
                f"{path}: got NaN or infinite values in the tensor {printable(name)}, expected finite ones; "
                "give weights of a training whose losses stayed finite"
            )
        if name.endswith(VARIANCE) and not tensor.is_complex() and bool((tensor.float() < 0).any()):
            raise CheckpointError(
                f"{path}: got negative variances in the tensor {printable(name)}, expected none below 0; "
                "give weights that nas train wrote"
            )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(path.read_bytes())
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path}: damaged or no safetensors file ({_first_line(error)}); give weights or a checkpoint *.pt that nas train wrote"
        ) from error


def structure_digest(value: object) -> str:
    """Digest of the structure of a nested state: its keys, and the kinds, shapes and data types of its values.

    Raises:
        TypeError: If the state holds anything but what `save_checkpoint` writes, or a tensor that is larger than its memory.
    """
    digest = hashlib.sha256()
    for line in _structure(value, "state"):
        digest.update(line.encode("utf-8", "backslashreplace") + b"\n")
    return digest.hexdigest()


def _structure(value: object, where: str) -> Iterator[str]:
    if type(value) in _PLAIN_TYPES:
        yield f"{where}: {type(value).__name__}"
    elif isinstance(value, Tensor) and type(value) in _TENSOR_TYPES:
        whole = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
        if not whole or value.nbytes > value.untyped_storage().nbytes():
            raise TypeError(f"{printable(where)}: got a tensor that is sparse, quantised or larger than its memory")
        yield f"{where}: {value.dtype} {list(value.shape)}"
    elif type(value) in (dict, OrderedDict):
        assert isinstance(value, dict)
        yield f"{where}: {len(value)} keys"
        for key, item in value.items():
            if type(key) not in _KEY_TYPES:
                raise TypeError(f"{printable(where)}: got a key of type {type(key).__name__}, expected str or int")
            yield from _structure(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        assert isinstance(value, list | tuple)
        yield f"{where}: {type(value).__name__} of {len(value)}"
        for index, item in enumerate(value):
            yield from _structure(item, f"{where}[{index}]")
    else:
        raise TypeError(f"{printable(where)}: got {type(value).__name__}, expected tensors and plain Python")


def _evaluated_weights(state: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The weights of a training's checkpoint."""
    weights = state.get("average", state.get("network"))
    if state.get("verb") != "train" or not isinstance(weights, dict):
        raise CheckpointError(
            f"{path}: got a checkpoint of nas {printable(str(state.get('verb')))}, expected one of nas train, which holds weights "
            "of a network"
        )
    return weights


def _plain(value: object, where: str) -> object:
    """A copy of a nested state in plain types; types are compared exactly, for loading a subclass needs its code."""
    if type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, _TENSOR_TYPES) and type(value) in _TENSOR_TYPES:
        return value.detach()
    if isinstance(value, Mapping):
        for key in value:
            if type(key) not in _KEY_TYPES:
                raise TypeError(f"{where}: got the key {key!r} of type {type(key).__name__}, expected str or int")
        return {key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if type(value) is list or type(value) is tuple:
        items = [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return items if type(value) is list else tuple(items)
    raise TypeError(
        f"{where}: got {type(value).__name__}, expected a tensor, dict, list, tuple, str, int, float, bool or None; "
        "convert it before saving"
    )


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path}: {'not a file' if path.exists() else 'no such file'}, expected a file that a run wrote")


def _first_line(error: Exception) -> str:
    return printable((str(error).splitlines() or [""])[0]) or type(error).__name__
