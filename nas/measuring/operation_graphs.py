"""Operations as files that other machines can run: ONNX of fixed shapes in an old operator set, or TorchScript.

Batch norms are folded, as in `nas export`. Opset 11 is read by every runtime from TensorRT 7 on. The weights of large layers repeat
a short pattern of random numbers, which no speed depends on: a bundle of hundreds of megabytes of weights packs to a few.
"""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.exporting.folding import fold_batch_norms
from nas.exporting.onnx_graph import PlainSizes
from nas.measuring.example_operations import example_images, example_operation
from nas.network.network import Labels, Network
from nas.ops.layer_chain import LayerChain
from nas.ops.spec import OpSpec

OPSET = 11
"""Version of the ONNX operator set; TensorRT 7 reads no newer one."""
PATTERN = 4093
"""Numbers after which the weights of a large layer repeat: a prime, so that no two filters of usual sizes are alike."""
SAME_DAY = (1980, 1, 1, 0, 0, 0)
"""The date of every file in an archive, so that the same measurement gives the same bytes."""

_NUMBERED = re.compile(rb"(___torch_mangle_)([0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFile:
    """An operation as a file.

    Args:
        content: The bytes of the file.
        suffix: `.onnx` or `.pt`.
        inputs: Name and shape of each input that the graph reads, all float32.
        output: Shape of the output.
        output_type: `float32` or `int64`.
    """

    content: bytes
    suffix: str
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    output: tuple[int, ...]
    output_type: str


def operation_file(spec: OpSpec, *, batch: int, script: bool) -> OperationFile:
    """The file of an operation; the same operation gives the same graph each time.

    The output is that of the operation; of one that ends with a hard swish, as ONNX, the first number of it [N, 1, 1, 1].

    Args:
        spec: The operation.
        batch: Images at once.
        script: TorchScript; else ONNX, checked with `onnx.checker`.
    """
    module, inputs = example_operation(spec, batch=batch)
    module = fold_batch_norms(module)
    if not script and isinstance(module, LayerChain) and module.layers[-1] == "hswish":
        module = _Read(module)
    return module_file(module, inputs, script=script)


class _Read(nn.Module):
    """A module whose result is read inside the graph, of which the first number is the output.

    ONNX Runtime computes a hard swish within the convolution before it, but not where its result is an output of the graph: there
    it takes 1.3 times as long as in a network. [measured, 16 to 64 channels at 90x120]

    Args:
        module: Gives [N, C, H, W].
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """[N, C', H', W'] -> [N, 1, 1, 1]."""
        output: Tensor = self.module(x)[:, :1, :1, :1]
        return output


def network_file(network: Network, *, size: tuple[int, int], batch: int, script: bool) -> OperationFile:
    """The file of a derived network, from images to label map, as `operation_file`.

    Args:
        network: The network.
        size: (height, width) of the images in pixels.
        batch: Images at once.
        script: TorchScript; else ONNX.
    """
    return module_file(Labels(fold_batch_norms(network)).eval(), (example_images(size, batch=batch),), script=script)


def module_file(module: nn.Module, inputs: tuple[Tensor, ...], *, script: bool) -> OperationFile:
    """The file of a module without batch norms, in evaluation mode, whose large weights are replaced in place.

    Args:
        module: Takes the inputs and returns one tensor.
        inputs: Each [N, C, H, W] float32.
        script: TorchScript; else ONNX.
    """
    _repeat_weights(module)
    with torch.no_grad():
        output: Tensor = module(*inputs)
    names = [f"x{index}" for index in range(len(inputs))]
    shapes = {name: tuple(tensor.shape) for name, tensor in zip(names, inputs, strict=True)}
    if script:
        content, read = _script(module, inputs), names
    else:
        content, read = _onnx(module, dict(zip(names, inputs, strict=True)))
    return OperationFile(
        content=content,
        suffix=".pt" if script else ".onnx",
        inputs=tuple((name, shapes[name]) for name in read),
        output=tuple(output.shape),
        output_type=str(output.dtype).removeprefix("torch."),
    )


def _onnx(module: nn.Module, inputs: dict[str, Tensor]) -> tuple[bytes, list[str]]:
    """A graph of fixed shapes, and the names of the inputs that it reads; the others are dropped, for TensorRT refuses them."""
    import onnx

    from nas.exporting.onnx_graph import trace_onnx

    with torch.random.fork_rng(devices=[]):
        model = trace_onnx(module, inputs, output="output", opset=OPSET, free_batch=False)
    graph = model.graph
    read = {name for node in graph.node for name in node.input}
    kept = [value for value in graph.input if value.name in read]
    del graph.input[:]
    graph.input.extend(kept)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString()), [value.name for value in kept]


def _script(module: nn.Module, inputs: tuple[Tensor, ...]) -> bytes:
    """A script that PyTorch 1.8 and newer load."""
    stream = io.BytesIO()
    with _oldest_file_version(), torch.no_grad(), _OldOperators(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes that become constant: that is what is wanted here
        torch.jit.trace(module, inputs)  # from now on the plain names of all its classes are taken: see `_timeless`
        torch.jit.save(torch.jit.trace(module, inputs), stream)
    return _timeless(stream.getvalue())


_MARGINS = {"replicate": "replication_pad2d", "reflect": "reflection_pad2d"}
"""Mode of `pad` -> the operator of before."""


class _OldOperators(PlainSizes):
    """`PlainSizes`, and margins are put around maps by operators that PyTorch always had: `pad` came with 1.12."""

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Stand in for `func`."""
        if func is not functional.pad:
            return func(*args, **kwargs)
        image, sides = args
        if (mode := kwargs.get("mode", "constant")) == "constant":
            return torch.constant_pad_nd(image, sides, kwargs.get("value") or 0.0)
        return getattr(torch._C._nn, _MARGINS[mode])(image, sides)


def _timeless(script: bytes) -> bytes:
    """A script without what only speaks of the process that traced it.

    Classes whose names are taken there get a number, which goes on from trace to trace: they are counted from 1 again. What serves
    debuggers, with the paths of our source files, is left out, as is the archive's hash, which nothing needs.
    """
    numbers: dict[bytes, int] = {}

    def recounted(match: re.Match[bytes]) -> bytes:
        return b"%s%d" % (match[1], numbers.setdefault(match[2], len(numbers)))

    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(script)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            if name.endswith(".debug_pkl") or "/traced_inputs" in name or name.endswith("/serialization_id"):
                continue
            content = old.read(name)
            if name.endswith((".py", "/data.pkl")):
                content = _NUMBERED.sub(recounted, content)
            place = _NUMBERED.sub(recounted, name.encode()).decode()
            new.writestr(zipfile.ZipInfo(place, SAME_DAY), content)
    return stream.getvalue()


@contextmanager
def _oldest_file_version() -> Iterator[None]:
    """Let PyTorch state the oldest version that a script's operators need, not its own."""
    torch._C._calculate_package_version_based_on_upgraders(True)
    try:
        yield
    finally:
        torch._C._calculate_package_version_based_on_upgraders(False)


def _repeat_weights(module: nn.Module) -> None:
    """Let the weights of large layers repeat a pattern of their own spread, in place."""
    pattern = torch.randn(PATTERN, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for weight in module.parameters():
            if weight.numel() > PATTERN:
                repeated = pattern.repeat(-(-weight.numel() // PATTERN))[: weight.numel()]
                weight.copy_(repeated.view_as(weight) * weight.std())
