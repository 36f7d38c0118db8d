"""TensorRT engines that are built once: where they are kept, what distinguishes them, and what both TensorRT runtimes refuse."""

import hashlib
import re
from pathlib import Path
from typing import Dict, NamedTuple, Optional

from nas.worker.interface import Operation, Setup, WorkerError
from nas.worker.jetson import BOARD_MODEL, jetson_slug
from nas.worker.probing import read_probe
from nas.worker.whole_file import write_whole

WORKSPACE_MIB = 1024
"""Memory for temporary buffers that the builder may plan with. Less rules out fast kernels, so it is recorded with a table."""
SMALL_WORKSPACE_MIB = 256
"""The same on a device with less than 6 GiB, whose system lives in the same memory where it is a Jetson."""
_SMALL_DEVICE_MIB = 6 * 1024
_BOARDS_WITHOUT_INT8 = ("jetson-nano", "jetson-tx1", "jetson-tx2")


class EngineKind(NamedTuple):
    """Conditions of engines beside the operation.

    Fields:
        maker: What builds them: `trtexec` or `package`.
        version: TensorRT's version.
        precision: `fp32`, `fp16` or `int8`.
        workspace_mib: Limit of the builder's workspace.
        device: The device as far as it is known; engines do not move from one GPU to another.
    """

    maker: str
    version: str
    precision: str
    workspace_mib: int
    device: str


def engine_path(operation: Operation, *, kind: EngineKind, folder: Path) -> Path:
    """The file of an operation's engine, named after a hash of its key, its graph and the kind.

    Raises:
        WorkerError: If the graph cannot be read or is no ONNX file.
    """
    graph = hashlib.sha256(read_onnx(operation)).hexdigest()
    text = "\n".join([operation.key, graph, kind.maker, kind.version, kind.precision, str(kind.workspace_mib), kind.device])
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()}.engine"


def timing_cache_path(*, kind: EngineKind, folder: Path) -> Path:
    """The file of the measured times of kernels, which makes builds choose alike; one a version, maker and device."""
    text = "\n".join([kind.maker, kind.version, kind.device])
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.timing-cache"


def is_engine(path: Path) -> bool:
    """Whether an engine is there; a file that a power cut left empty is none."""
    return path.is_file() and path.stat().st_size > 0


def lasting_folder(setup: Setup) -> Path:
    """The folder for engines and caches, made where it is missing.

    Raises:
        WorkerError: If it cannot be made.
    """
    folder = Path(setup.folder).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkerError(f"{folder}: cannot be made ({error.strerror}); expected a folder for engines and caches") from None
    return folder


def write_engine_file(path: Path, content: bytes) -> None:
    """Write an engine or a timing cache, whole or not at all.

    Raises:
        WorkerError: If it cannot be written.
    """
    write_whole(str(path), content, remedy=f"expected room for {len(content)} bytes there")


def read_onnx(operation: Operation) -> bytes:
    """The bytes of an operation's graph.

    Raises:
        WorkerError: If it cannot be read or is no ONNX file.
    """
    if not operation.path.endswith(".onnx"):
        raise WorkerError(
            f"{operation.key}: got {operation.path}, expected a graph in a file *.onnx, which is all that TensorRT reads"
        )
    try:
        return Path(operation.path).read_bytes()
    except OSError as error:
        raise WorkerError(
            f"{operation.key}: {operation.path}: cannot be read ({error.strerror}); expected its graph there"
        ) from None


def check_tensorrt_setup(setup: Setup, *, board: Optional[str]) -> None:
    """Refuse what TensorRT cannot measure.

    Args:
        setup: What it should run with.
        board: Name of the Jetson board, if this is one.

    Raises:
        WorkerError: For another accelerator than `cuda`, an unknown precision, or int8 on a board whose GPU has none.
    """
    if setup.accelerator != "cuda":
        raise WorkerError(
            f"runtime tensorrt: got accelerator {setup.accelerator}, expected cuda: TensorRT runs on NVIDIA GPUs only"
        )
    if setup.precision not in ("fp32", "fp16", "int8"):
        raise WorkerError(f"runtime tensorrt: got precision {setup.precision}, expected one of fp32, fp16, int8")
    if setup.precision == "int8" and board is not None and jetson_slug(board) in _BOARDS_WITHOUT_INT8:
        raise WorkerError(f"runtime tensorrt: got precision int8, but the GPU of {board} has no int8; expected fp32 or fp16")


def check_int8_capability(precision: str, *, capability: str) -> None:
    """Refuse int8 on GPUs without instructions for it: compute capability 5.x, 6.0 and 6.2.

    Raises:
        WorkerError: If the precision is int8 there.
    """
    if precision == "int8" and (capability.startswith("5.") or capability in ("6.0", "6.2")):
        raise WorkerError(
            f"runtime tensorrt: got precision int8, but a GPU of compute capability {capability} has none; expected fp32 or fp16"
        )


def jetson_board(root: str = "/") -> Optional[str]:
    """The board's name in the device tree; None where there is no device tree or it is no Jetson."""
    name = read_probe(root, BOARD_MODEL)
    return name if name is not None and jetson_slug(name) is not None else None


def board_memory_mib(root: str = "/") -> Optional[int]:
    """The memory of a board whose GPU shares it with the CPU, from `/proc/meminfo`; None where that does not say it."""
    try:
        text = Path(root, "proc/meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    match = re.search(r"^MemTotal:\s*(\d+) kB", text, re.MULTILINE)
    return None if match is None else int(match.group(1)) // 1024


def workspace_mib(memory_mib: Optional[int]) -> int:
    """The limit of the workspace on a device with that much memory; where that is unknown, as on a large one."""
    return SMALL_WORKSPACE_MIB if memory_mib is not None and memory_mib < _SMALL_DEVICE_MIB else WORKSPACE_MIB


def common_details(setup: Setup, *, workspace: int) -> Dict[str, str]:
    """Record of how engines are built, of both TensorRT runtimes."""
    details = {
        "tf32": "allowed where the GPU has it (TensorRT's default)",
        "workspace": f"{workspace} MiB",
        "inputs and outputs": "float32, NCHW; each operation pays for its conversions, most of which vanish within a network",
    }
    if setup.precision == "int8":
        details["int8"] = "dummy ranges without calibration: good for timing only; fp16 is allowed where it is faster"
    return details
