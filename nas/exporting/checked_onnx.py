"""ONNX files of anybody, opened in ONNX Runtime: of a broken or strange one it is said in a line what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import ConfigError
from nas.exporting.required_packages import require_packages
from nas.files.regular_file import open_regular, read_regular
from nas.worker.plain_json import one_line
from nas.worker.quiet_onnxruntime import import_onnxruntime

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

MAX_BYTES = (1 << 31) - 1
"""Most bytes that are read, the file and what lies beside it together: those of a message of Protocol Buffers."""
PROVIDER = "CPUExecutionProvider"
FATAL_ONLY = 4
"""Severity of what ONNX Runtime writes to the terminal: its errors are told by exceptions."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output of a file.

    Args:
        name: Its name.
        shape: Its sides, None where one is free; None: not stated at all.
        dtype: Type of its values, as ONNX Runtime calls it: `float`, `int64`.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str

    def __str__(self) -> str:
        """Name and shape, e.g. `images [?,3,48,64]`."""
        sides = "of any shape" if self.shape is None else f"[{','.join('?' if side is None else str(side) for side in self.shape)}]"
        return f"{one_line(self.name, 60)} {sides}"


@dataclass(frozen=True, slots=True)
class OnnxSession:
    """A file in ONNX Runtime, on the CPU.

    Args:
        path: The file.
        session: The session.
        inputs: The inputs that have to be given.
        outputs: The outputs.
        properties: The file's metadata.
        version: Version of ONNX Runtime.
    """

    path: Path
    session: Any
    inputs: list[Port]
    outputs: list[Port]
    properties: Mapping[str, str]
    version: str

    def run(self, output: str, inputs: Mapping[str, Any]) -> Any:  # noqa: ANN401  an array, as a rule
        """The value of an output.

        Raises:
            ConfigError: If ONNX Runtime gives up.
        """
        try:
            return self.session.run([output], dict(inputs))[0]
        except Exception as error:
            shapes = ", ".join("x".join(map(str, value.shape)) for value in inputs.values())
            raise ConfigError(
                f"onnx: {self.path}: ONNX Runtime stops at an input of {shapes}: {one_line(error)}; give images of a size that the "
                "network takes, e.g. of sides that are multiples of 32"
            ) from error


def open_onnx(path: Path, *, threads: int) -> OnnxSession:
    """Read, check and load a file; ONNX Runtime is given bytes alone, and follows no name of another file.

    Args:
        path: The file.
        threads: Threads inside of an operation.

    Raises:
        ConfigError: If packages are missing, or the file is none that ONNX Runtime can run.
        OSError: If it cannot be read.
    """
    model, content = checked_model(path)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, FATAL_ONLY
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[PROVIDER])
        inputs, outputs = ([_port(value) for value in values] for values in (session.get_inputs(), session.get_outputs()))
    except Exception as error:
        raise ConfigError(f"onnx: {path}: ONNX Runtime {onnxruntime.__version__} cannot load it: {one_line(error)}") from error
    properties = {entry.key: entry.value for entry in model.metadata_props}
    return OnnxSession(path, session, inputs, outputs, properties, str(onnxruntime.__version__))


def checked_model(path: Path, *, key: str = "onnx") -> tuple[ModelProto, bytes]:
    """The model of a file with all of its weights, and its bytes.

    Args:
        path: The file.
        key: The setting that names it, for errors.

    Raises:
        ConfigError: If packages are missing, or the file is none, or not all is there.
        OSError: If it cannot be read.
    """
    require_packages()
    import onnx

    content = read_regular(path, MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{key}: {path}: got more than {MAX_BYTES:,} bytes, expected one file of at most so many")
    try:
        model = onnx.load_model_from_string(content)
        outside = [tensor for tensor in tensors_in(model) if _is_outside(tensor)]
        if outside:
            _take_in(outside, path, MAX_BYTES - len(content))
            content = model.SerializeToString()
        onnx.checker.check_model(model)
    except Exception as error:
        reason = one_line(error) or "it cannot be parsed"
        raise ConfigError(f"{key}: {path}: got no valid ONNX file: {reason}; export the network again") from error
    return model, content


def _take_in(outside: Sequence[TensorProto], path: Path, most: int) -> None:
    """Read values that lie in other files into their tensors: from files beside this one alone, which are no links.

    Raises:
        ValueError: If they lie elsewhere, or are more than `most` bytes.
        OSError: If they cannot be read.
    """
    for tensor in outside:
        told = {entry.key: entry.value for entry in tensor.external_data}
        name = told.get("location", "")
        beside = path.parent / name
        if not name or Path(name).name != name or "\\" in name or beside.is_symlink():
            raise ValueError(f"weights in {name!r}, expected them in a file beside it, which is no link")
        offset, length = int(told.get("offset", 0)), int(told.get("length", most + 1))
        if offset < 0 or length < 0:
            raise ValueError(f"weights of {length} bytes at {offset}")
        with open_regular(beside) as file:
            file.seek(offset)
            tensor.raw_data = file.read(min(length, most + 1))
        if "length" in told and len(tensor.raw_data) < min(length, most + 1):
            raise ValueError(f"{name} ends within the weights")
        most -= len(tensor.raw_data)
        if most < 0:
            raise ValueError(f"more than {MAX_BYTES:,} bytes of weights")
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def tensors_in(message: Any) -> Iterator[TensorProto]:  # noqa: ANN401  of Protocol Buffers, which state no types
    """All tensors of a model: weights, constants in attributes, those of subgraphs and functions."""
    from onnx import TensorProto

    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for one in [value] if hasattr(value, "ListFields") else value:
            if isinstance(one, TensorProto):
                yield one
            else:
                yield from tensors_in(one)


def _is_outside(tensor: TensorProto) -> bool:
    from onnx import TensorProto

    return tensor.data_location == TensorProto.EXTERNAL or len(tensor.external_data) > 0


def _port(value: Any) -> Port:  # noqa: ANN401
    """What ONNX Runtime says of an input or output; of one whose rank is not known it gives no sides."""
    sides = tuple(side if isinstance(side, int) and side > 0 else None for side in value.shape or ())
    return Port(str(value.name), sides or None, str(value.type).removeprefix("tensor(").removesuffix(")"))
