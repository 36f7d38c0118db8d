"""ONNX files of whoever made them: one image in, one map out, brought to a fixed size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import ConfigError
from nas.exporting.checked_onnx import checked_model
from nas.files.shortening import shorten
from nas.worker.quiet_onnxruntime import import_onnxruntime

if TYPE_CHECKING:
    from onnx import ModelProto

SUFFIX = ".onnx"
_ELEMENT_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}
"""What an output may hold -> its name in NumPy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedGraph:
    """An ONNX graph of fixed shapes.

    Args:
        model: The graph.
        input_name: Name of its input, float32.
        input_shape: [N, C, H, W].
        output_shape: Shape of its output.
        output_type: `float32` or `int64`.
    """

    model: ModelProto
    input_name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    output_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """An ONNX file with one input of images [N, C, H, W] float32 and one output.

    Args:
        source: The file, as the user named it.
        model: What it holds.
        input_name: Name of the input.
        shape: Sides of the input; None where the file leaves one free.
    """

    source: str
    model: ModelProto
    input_name: str
    shape: tuple[int | None, int | None, int | None, int | None]

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the images; None: the file leaves one of them free."""
        height, width = self.shape[2:]
        return None if height is None or width is None else (height, width)

    def at(self, size: tuple[int, int], *, batch: int) -> FixedGraph:
        """The graph for images of a size; it is run once, which tells the shape of its output.

        Args:
            size: (height, width) of the images in pixels.
            batch: Images at once.

        Raises:
            ConfigError: If the file is of another size or batch, or does not run at this one.
        """
        shape = (batch, self.shape[1] or 3, *size)
        named = f"{self.source} at {size[0]}x{size[1]}"
        if any(own not in (None, side) for own, side in zip(self.shape, shape, strict=True)):
            takes = "x".join("?" if own is None else str(own) for own in self.shape)
            wanted = "x".join(map(str, shape))
            raise ConfigError(
                f"networks: {self.source} takes images {takes} alone (batch, channels, height, width), and {wanted} are wanted; "
                "leave it out, export it again, or give its size and batch"
            )
        model = _with_input(self.model, self.input_name, shape)
        output_shape, output_type = _run_once(model, self.input_name, shape, named)
        _state_output(model, output_shape)
        return FixedGraph(
            model=model, input_name=self.input_name, input_shape=shape, output_shape=output_shape, output_type=output_type
        )


def is_onnx(name: str) -> bool:
    """Whether a name is that of an ONNX file."""
    return Path(name).suffix.lower() == SUFFIX


def read_onnx(source: str) -> OnnxFile:
    """An ONNX file, with weights that lie beside it.

    Raises:
        ConfigError: If it is none, or has not one input of images and one output.
        OSError: If it cannot be read.
    """
    model, _ = checked_model(Path(source), key="networks")
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]  # old files list weights as inputs
    outputs = list(model.graph.output)
    if len(inputs) != 1 or len(outputs) != 1:
        got = f"the inputs {_names(inputs)} and the outputs {_names(outputs)}"
        raise ConfigError(f"networks: {source} has {got}, expected one input of images and one output; export it again with these")
    (value,) = inputs
    tensor = value.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim]
    if tensor.elem_type != 1 or len(dims) != 4:  # 1: float32
        raise ConfigError(
            f"networks: {source}: the input {shorten(value.name)} has {len(dims)} sides and element type {tensor.elem_type}, "
            "expected images [batch, channels, height, width] in float32 (type 1); export it again with these"
        )
    batch, channels, height, width = dims
    return OnnxFile(source=source, model=model, input_name=value.name, shape=(batch, channels, height, width))


def _with_input(model: ModelProto, name: str, shape: tuple[int, ...]) -> ModelProto:
    """A copy in which the input has a shape, and what was said of other shapes is left out."""
    fixed = type(model)()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    (value,) = (one for one in fixed.graph.input if one.name == name)
    for dim, side in zip(value.type.tensor_type.shape.dim, shape, strict=True):
        dim.dim_value = side
    fixed.graph.output[0].type.tensor_type.ClearField("shape")
    return fixed


def _state_output(model: ModelProto, shape: tuple[int, ...]) -> None:
    sides = model.graph.output[0].type.tensor_type.shape
    for side in shape:
        sides.dim.add().dim_value = side


def _run_once(model: ModelProto, name: str, shape: tuple[int, ...], named: str) -> tuple[tuple[int, ...], str]:
    """Shape and element type of the output."""
    import numpy as np

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is said below
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (result,) = session.run(None, {name: np.zeros(shape, dtype=np.float32)})
        (end,) = session.get_outputs()
        follows = all(isinstance(side, int) for side in end.shape)
        noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        other = result if follows else session.run(None, {name: noise})[0]
    except Exception as error:  # ONNX Runtime raises classes of its own, which it does not state
        raise ConfigError(f"networks: {named} does not run ({_reason(error)}); give other bench.sizes, or leave it out") from error
    if other.shape != result.shape:
        got = " and ".join("x".join(map(str, one.shape)) for one in (result, other))
        raise ConfigError(
            f"networks: {named} gives {got} for two inputs, expected an output whose shape follows from that of the input; export "
            "it without what comes after logits or labels, or leave it out"
        )
    if end.type not in _ELEMENT_TYPES:
        raise ConfigError(f"networks: {named} gives {end.type}, expected one of {', '.join(_ELEMENT_TYPES)}; export it again")
    return tuple(result.shape), _ELEMENT_TYPES[end.type]


def _names(values: list[Any]) -> str:
    return shorten(", ".join(value.name for value in values) or "none")


def _reason(error: Exception) -> str:
    return shorten((" ".join(str(error).split()) or type(error).__name__), limit=200)
