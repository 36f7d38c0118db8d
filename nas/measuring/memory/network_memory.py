"""Memory of a derived network, read off one pass over tensors without content, which takes no time to compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.measuring.memory.map_lifetimes import Memory, Step, memory_of_steps
from nas.network.network import LABELS, Labels, Network
from nas.space.graph import Graph

NORMS = ("native_batch_norm", "_native_batch_norm_legit_no_training")
"""Operators that a deployed network has folded away; their statistics, the other results, are empty except on `meta`."""
POINTWISE = ("hardswish", "_prelu_kernel", *NORMS)
"""Operators that PyTorch (2.13) does not tag as pointwise though they are."""


def memory_of(graph: Graph, bytes_per_value: int = 4) -> Memory:
    """Memory of the part of a derived network that a device runs, for one image.

    Weights are parameters and buffers as PyTorch holds them. A batch norm of C channels is 4 C values there; an exported file keeps
    at most C of them where a convolution before it takes it up.

    Args:
        graph: Of a derived network.
        bytes_per_value: Of a weight and of an activation: 4 for fp32, 2 for fp16. Labels are int64.

    Raises:
        ValueError: If a decision of the graph is open.
    """
    deployed = graph.deployed()
    deployed.operations()  # refuses open decisions
    with torch.device("meta"):
        network = Network(deployed).eval()
        image = torch.empty(1, *_image_shape(deployed))
    module = Labels(network) if LABELS in deployed.outputs else network
    trace = traced(module, image, bytes_per_value)
    values = sum(tensor.numel() for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point())
    return memory_of_steps(trace.steps, trace.outputs, weights=values * bytes_per_value, eager=trace.most)


def traced(module: Callable[[Tensor], Tensor], image: Tensor, bytes_per_value: int = 4) -> MapTrace:
    """Every operator that a module runs for an image, and the bytes that were alive.

    Args:
        module: In evaluation mode.
        image: [N, C, H, W], of any device; `meta` computes nothing.
        bytes_per_value: Of a floating-point value.
    """
    apart = [*module.parameters(), *module.buffers()] if isinstance(module, nn.Module) else []
    trace = MapTrace(apart, bytes_per_value)
    with torch.no_grad(), trace:
        trace.start(image)
        del image
        output = module(trace.take_image())
        trace.outputs = (trace.name(output),)
    return trace


class MapTrace(TorchDispatchMode):
    """Notes, while it is entered, the operators of PyTorch that run, the storages they read and make, and what is alive.

    Args:
        apart: Tensors that do not count: weights.
        bytes_per_value: Of a floating-point value.
    """

    def __init__(self, apart: list[Tensor], bytes_per_value: int) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.outputs: tuple[str, ...] = ()
        self.most = 0
        """Most bytes that were alive at any time."""
        self._apart = {_address(tensor) for tensor in apart}
        self._bytes_per_value = bytes_per_value
        self._seen: dict[int, tuple[StorageWeakRef, int]] = {}  # the reference keeps an address from being used again
        self._image: list[Tensor] = []

    def start(self, image: Tensor) -> None:
        """The input of the network."""
        self._image.append(image)
        self._note("input", [], [image], pointwise=False)

    def take_image(self) -> Tensor:
        """The input, which is held here no longer."""
        return self._image.pop()

    def name(self, tensor: Tensor) -> str:
        """Name of a map: that of its storage."""
        return str(_address(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run an operator and note it."""
        del types
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        operator = func.overloadpacket.__name__
        pointwise = torch.Tag.pointwise in func.tags or operator in POINTWISE
        results = _tensors(result)[: 1 if operator in NORMS else None]
        self._note(operator, _tensors((args, kwargs)), results, pointwise=pointwise)
        return result

    def _note(self, operator: str, read: list[Tensor], results: list[Tensor], *, pointwise: bool) -> None:
        makes = {}
        for tensor in results:
            address = _address(tensor)
            if address not in self._seen and address not in self._apart:
                size = tensor.untyped_storage().nbytes()
                if tensor.is_floating_point():
                    size = size // tensor.element_size() * self._bytes_per_value
                self._seen[address] = (StorageWeakRef(tensor.untyped_storage()), size)
                makes[str(address)] = size
        reads = [self.name(tensor) for tensor in read if _address(tensor) not in self._apart]
        shape = "x".join(map(str, results[0].shape)) if results else ""
        self.steps.append(Step(f"{operator} {shape}".strip(), reads, makes, pointwise))
        self.most = max(self.most, sum(size for reference, size in self._seen.values() if not reference.expired()))


def _image_shape(graph: Graph) -> tuple[int, int, int]:
    """(channels, height, width) of the images, as what reads them states it."""
    number = next(number for number, node in enumerate(graph.nodes) if node.role == "input")
    reader = next(node for node in graph.nodes if node.inputs[:1] == (number,))
    return reader.spec.in_channels, reader.spec.height, reader.spec.width


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
