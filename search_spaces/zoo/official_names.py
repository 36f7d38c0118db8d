"""Tensors of a hand-made network under the names that its authors gave them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from nas.ops import OpSpec
from nas.ops.chains import BIAS, CONVOLUTIONS, NORMS, is_chain, layers_of
from nas.space.graph import Graph

NORM_TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
LAYERS_OF = {
    "conv_bn_relu": ("conv", "bn"),
    "bare_conv": ("conv",),
    "plain_conv": ("conv", "bias"),
    "conv_sigmoid": ("conv", "bias"),
    "classifier": ("conv", "bias"),
    "channel_conv_sigmoid": ("conv",),
}
"""Kinds with weights that are no chains -> the layers that hold them."""


def named_tensors(graph: Graph, names_of: Callable[[str], Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """Our tensors -> the official ones, for each module once, and for what is idle.

    Args:
        graph: The network.
        names_of: Path of a module with weights -> official prefix of its layers `conv`, `bn` and `prelu`, as far as it has them.
    """
    modules = {node.module: node.spec for node in graph.nodes if node.role != "input"} | dict(graph.idle)
    keys: dict[str, tuple[str, ...]] = {}
    for path, spec in modules.items():
        tensors = list(_tensors(spec))
        official = names_of(path) if tensors else {}
        keys |= {f"{path}.{layer}.{tensor}": (f"{official[layer]}.{tensor}",) for layer, tensor in tensors}
    return keys


def layer_of_block(block: str, layer: str) -> dict[str, str]:
    """Official prefixes of a layer of a residual block, `conv1`, `conv2`, ... or `shortcut`, as torchvision names them.

    >>> layer_of_block("layer3.0", "conv2"), layer_of_block("layer3.0", "shortcut")
    ({'conv': 'layer3.0.conv2', 'bn': 'layer3.0.bn2'}, {'conv': 'layer3.0.downsample.0', 'bn': 'layer3.0.downsample.1'})
    """
    if layer == "shortcut":
        return {"conv": f"{block}.downsample.0", "bn": f"{block}.downsample.1"}
    return {"conv": f"{block}.{layer}", "bn": f"{block}.{layer.replace('conv', 'bn')}"}


def _tensors(spec: OpSpec) -> Iterator[tuple[str, str]]:
    """(layer, tensor) of all weights and statistics of an operation."""
    layers = layers_of(spec.kind) if is_chain(spec.kind) else LAYERS_OF.get(spec.kind, ())
    for layer in layers:
        if layer in CONVOLUTIONS:
            yield "conv", "weight"
        elif layer == BIAS:
            yield "conv", "bias"
        elif layer in NORMS:
            yield from (("bn", tensor) for tensor in NORM_TENSORS)
        elif layer == "prelu":
            yield "prelu", "weight"
