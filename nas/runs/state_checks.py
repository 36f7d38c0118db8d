"""Parts of a checkpoint against what they are to be loaded into: all of them are checked before any is loaded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.errors import CheckpointError, UserError
from nas.files.shortening import QUOTED, printable, shorten
from nas.files.strict_json import as_number
from nas.runs.checkpoint import VARIANCE

_LATER = frozenset(
    {"foreach", "maximize", "capturable", "differentiable", "fused", "amsgrad", "nesterov", "decoupled_weight_decay"}
)
"""Settings of optimisers that PyTorch itself completes where an older version did not save them."""


@contextmanager
def checked_as(path: Path) -> Iterator[None]:
    """Name the file in errors about what it holds, whatever its content makes the reader stumble over.

    Raises:
        CheckpointError: If the file holds other things than are looked for.
    """
    remedy = "give a checkpoint that nas search or nas train wrote for the same settings"
    try:
        yield
    except UserError as error:
        if str(path) in str(error):
            raise
        raise CheckpointError(f"{path}: {error}") from error
    except KeyError as error:
        raise CheckpointError(f"{path}: the part {shorten(error.args[0])} is missing; {remedy}") from error
    except (ValueError, TypeError, AttributeError, IndexError, AssertionError, OverflowError) as error:
        raise CheckpointError(f"{path}: {printable(' '.join(str(error).split()))}; {remedy}") from error


def as_mapping(value: object, where: str, keys: Iterable[str] = ()) -> dict[Any, Any]:
    """The dict at `where`, which has at least these keys; raises `ValueError`."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: got {shorten(value)}, expected a dict")
    for key in keys:
        if key not in value:
            raise ValueError(f"{where}: the part {key} is missing")
    return value


def check_tensors(found: object, wanted: Mapping[str, Tensor], where: str) -> None:
    """Tensors by name against others: the same names, shapes and types, finite, and no negative variances; raises `ValueError`."""
    tensors = as_mapping(found, where)
    missing, extra = [name for name in wanted if name not in tensors], [name for name in tensors if name not in wanted]
    if missing or extra:
        raise ValueError(
            f"{where}: missing {shorten(missing[:3], limit=QUOTED)}, left over {shorten(extra[:3], limit=QUOTED)} "
            f"of {len(wanted)} tensors"
        )
    for name, value in wanted.items():
        check_tensor(tensors[name], value.shape, value.dtype, f"{where}.{name}")


def check_tensor(found: object, shape: Iterable[int], dtype: torch.dtype, where: str) -> None:
    """A tensor of this shape and type, finite, and no negative variance; raises `ValueError`."""
    if not isinstance(found, Tensor):
        raise ValueError(f"{where}: got {shorten(found)}, expected a tensor")
    if list(found.shape) != list(shape):
        raise ValueError(f"{where}: got the shape {list(found.shape)}, expected {list(shape)}")
    if found.dtype != dtype:
        raise ValueError(f"{where}: got the type {found.dtype}, expected {dtype}")
    if found.is_floating_point() and not bool(found.isfinite().all()):
        raise ValueError(f"{where}: got NaN or infinite values, expected finite ones")
    if where.endswith((VARIANCE, "exp_avg_sq")) and bool((found < 0).any()):
        raise ValueError(f"{where}: got negative variances, expected none below 0")


def check_verb(state: Mapping[str, Any], verb: str) -> None:
    """The verb that wrote a state; raises `ValueError`."""
    if state.get("verb") != verb:
        raise ValueError(f"got a checkpoint of nas {printable(str(state.get('verb')))}, expected one of nas {verb}")


def check_scores(found: object, where: str) -> None:
    """Numbers by name; raises `ValueError`."""
    for name, value in as_mapping(found, where).items():
        if not isinstance(name, str) or not isinstance(value, float | int):
            raise ValueError(f"{where}: got {shorten(name)}: {shorten(value)}, expected numbers by name")


def check_like(found: object, wanted: Sequence[Mapping[str, float]], where: str) -> None:
    """A list of numbers by name, as many and with the same names as another one; raises `ValueError`."""
    if not isinstance(found, list) or len(found) != len(wanted):
        raise ValueError(f"{where}: got {shorten(found)}, expected a list of {len(wanted)}")
    for one, own in zip(found, wanted, strict=True):
        if as_mapping(one, where).keys() != own.keys():
            raise ValueError(f"{where}: got {shorten(one)}, expected {', '.join(own)}")
        for name, value in one.items():
            as_number(value, f"{where}.{name}")


def check_optimizer(found: object, optimizer: torch.optim.Optimizer, where: str) -> None:
    """The state of an optimiser against the one that shall take it up: groups, and what it keeps of each parameter.

    Which parameters have had a gradient, a state does not tell: the digest of a checkpoint's structure does; see `load_checkpoint`.

    Raises:
        ValueError: For the first part that is missing or wrong.
    """
    state = as_mapping(found, where, ("state", "param_groups"))
    wanted, groups = optimizer.state_dict()["param_groups"], state["param_groups"]
    if not isinstance(groups, list) or len(groups) != len(wanted):
        raise ValueError(f"{where}.param_groups: got {shorten(groups)}, expected a list of {len(wanted)}")
    for number, (group, own) in enumerate(zip(groups, wanted, strict=True)):
        _check_group(group, own, f"{where}.param_groups[{number}]")
    parameters = dict(enumerate(parameter for group in optimizer.param_groups for parameter in group["params"]))
    for key, kept in as_mapping(state["state"], f"{where}.state").items():
        if key not in parameters:
            raise ValueError(f"{where}.state: got parameter {shorten(key)} of {len(parameters)}")
        _check_kept(kept, parameters[key], optimizer, f"{where}.state[{key}]")


def _check_group(found: object, own: Mapping[str, Any], where: str) -> None:
    group = as_mapping(found, where, own.keys() - _LATER)
    if group["params"] != own["params"]:
        raise ValueError(f"{where}.params: got {shorten(group['params'])}, expected {shorten(own['params'])}")
    for key, value in own.items():
        got = group.get(key, value)
        if isinstance(value, float | int) and not isinstance(value, bool):
            as_number(got, f"{where}.{key}")
        elif isinstance(value, tuple) and not (isinstance(got, tuple | list) and len(got) == len(value)):
            raise ValueError(f"{where}.{key}: got {shorten(got)}, expected {len(value)} numbers")
        elif isinstance(value, tuple):
            for one in got:
                as_number(one, f"{where}.{key}")
        elif isinstance(value, bool | None) and not isinstance(got, bool | None):
            raise ValueError(f"{where}.{key}: got {shorten(got)}, expected true, false or none")


def _check_kept(found: object, parameter: Tensor, optimizer: torch.optim.Optimizer, where: str) -> None:
    """What SGD keeps of a parameter, a momentum or None; or Adam, a step and two averages."""
    if isinstance(optimizer, torch.optim.Adam):
        kept = as_mapping(found, where, ("step", "exp_avg", "exp_avg_sq"))
        step = float(kept["step"]) if isinstance(kept["step"], Tensor) and kept["step"].numel() == 1 else kept["step"]
        if not math.isfinite(as_number(step, f"{where}.step")) or step < 0:
            raise ValueError(f"{where}.step: got {shorten(step)}, expected a number of steps")
        for name in ("exp_avg", "exp_avg_sq"):
            check_tensor(kept[name], parameter.shape, parameter.dtype, f"{where}.{name}")
        return
    kept = as_mapping(found, where, ("momentum_buffer",))
    if kept["momentum_buffer"] is not None:
        check_tensor(kept["momentum_buffer"], parameter.shape, parameter.dtype, f"{where}.momentum_buffer")
