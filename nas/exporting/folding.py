"""Batch norm folded into the convolutions before it: same function, fewer operations, nothing left that depends on a mode."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, fx, nn

Convolution = nn.Conv2d | nn.ConvTranspose2d
M = TypeVar("M", bound=nn.Module)


def fold_batch_norms(module: M) -> M:
    """A copy in evaluation mode whose batch norms are identities, but for those that a part begins with.

    A batch norm normalises by its running statistics there: `y = (x - mean) / sqrt(var + eps) * gamma + beta`, which is
    `y = scale x + shift` for each channel. A convolution before it takes up both: `weight' = scale weight`,
    `bias' = scale bias + shift`. Between the two may lie a crop or a concatenation of several convolutions along the channels.

    Args:
        module: Any module, of which each smallest part with a `forward` of its own that owns a batch norm can be traced by
            `torch.fx`; not changed.

    Raises:
        ValueError: If what a batch norm reads is no convolution, or is read by something else too.
    """
    folded = copy.deepcopy(module).eval()
    for path, part in list(folded.named_modules()):
        if any(isinstance(child, nn.BatchNorm2d) for child in part.children()):
            _fold_part(part, path)
    return folded


def batch_norms(module: nn.Module) -> int:
    """Number of batch norms in a module."""
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


class _Tracer(fx.Tracer):
    """Looks into no convolution, be it one of PyTorch's or of ours."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module stays a call."""
        return isinstance(m, Convolution) or super().is_leaf_module(m, module_qualified_name)


def _fold_part(part: nn.Module, path: str) -> None:
    """Fold the batch norms that are children of `part`, in place."""
    graph = _Tracer().trace(part)
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    for node in graph.nodes:
        norm = _module_of(node, part)
        if not isinstance(norm, nn.BatchNorm2d) or node.args[0].op == "placeholder":
            continue
        where = f"{path}.{node.target}".lstrip(".")
        scale, shift = _scale_and_shift(norm, where)
        first = 0
        for source in _sources(node.args[0], where):
            conv = _module_of(source, part)
            if not isinstance(conv, Convolution) or calls.count(source.target) != 1:
                raise ValueError(f"{where}: got a batch norm after {source.name}, expected one after a convolution that runs once")
            channels = slice(first, first + conv.out_channels)
            _scale(conv, scale[channels], shift[channels])
            first += conv.out_channels
        part.set_submodule(str(node.target), nn.Identity())


def _module_of(node: fx.Node, part: nn.Module) -> nn.Module | None:
    return part.get_submodule(str(node.target)) if node.op == "call_module" else None


def _sources(node: fx.Node, where: str) -> Iterator[fx.Node]:
    """Sources of a batch norm in the order of the channels, past crops of the map and concatenations of channels."""
    if len(node.users) != 1:
        raise ValueError(f"{where}: got a batch norm of {node.name}, which is read elsewhere too; expected to be its only reader")
    if node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem" and _is_crop(node.args[1]):
        yield from _sources(node.args[0], where)  # type: ignore[arg-type]
    elif node.op == "call_function" and node.target is torch.cat and _channel_axis(node) == 1:
        for one in node.args[0]:  # type: ignore[union-attr]
            yield from _sources(one, where)  # type: ignore[arg-type]
    else:
        yield node


def _is_crop(index: object) -> bool:
    """Whether an index keeps all images and channels and cuts rows and columns only."""
    return isinstance(index, tuple) and len(index) >= 2 and index[:2] == (slice(None), slice(None))


def _channel_axis(node: fx.Node) -> object:
    return node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)


def _scale_and_shift(norm: nn.BatchNorm2d, where: str) -> tuple[Tensor, Tensor]:
    """Scale and shift of each channel, float64 [C]."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(f"{where}: got a batch norm without running statistics, expected one with track_running_stats=True")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.detach().double()


def _scale(conv: Convolution, scale: Tensor, shift: Tensor) -> None:
    """Make a convolution compute `scale conv(x) + shift`, in place; computed in float64, kept in its own precision.

    A convolution has its weights as [Cout, Cin / groups, k, k], a transposed one as [Cin, Cout / groups, k, k], where
    input channel i belongs to group `i // (Cin / groups)`.
    """
    weight = conv.weight.detach().double()
    if isinstance(conv, nn.ConvTranspose2d):
        by_group = scale.reshape(conv.groups, -1).repeat_interleave(conv.in_channels // conv.groups, dim=0)  # [Cin, Cout / groups]
        scaled = weight * by_group[:, :, None, None]
    else:
        scaled = weight * scale[:, None, None, None]
    bias = shift if conv.bias is None else shift + scale * conv.bias.detach().double()
    conv.weight = nn.Parameter(scaled.to(conv.weight.dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
