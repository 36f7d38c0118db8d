"""Stands in for ONNX Runtime on a remote device: runs nothing, takes known times, writes down each call and, at chosen ones, fails.

Files in the folder named by `SEGNAS_FAKE`: `calls` has a line `PROCESS OPERATION` for each call; `at.json` says what happens
before which call: kill (this process), cut or stop (the server's process above it), hold (wait while the file `hold` is there),
fill (the disk of the working folder). It also stands in for the little of NumPy that the worker needs for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

__version__ = "99.0-fake"
FOLDER = Path(os.environ["SEGNAS_FAKE"])
FIRST_MS = 1.0
"""The fastest operation; the others take up to twice that, by a hash of their graph."""
ExecutionMode = SimpleNamespace(ORT_SEQUENTIAL=0)
GraphOptimizationLevel = SimpleNamespace(ORT_ENABLE_ALL=99)
RunOptions = SessionOptions = SimpleNamespace


def get_available_providers() -> list[str]:
    return ["CPUExecutionProvider"]


def zeros(shape: Any, *, dtype: str) -> Any:
    return SimpleNamespace(shape=shape, dtype=dtype)


def array(numbers: Any, *, dtype: str) -> Any:
    return SimpleNamespace(numbers=numbers, dtype=dtype)


def resize(numbers: Any, shape: Any) -> Any:
    return SimpleNamespace(numbers=numbers, shape=shape)


class OrtValue:
    @staticmethod
    def ortvalue_from_numpy(array: Any, device: str, number: int) -> Any:
        del device, number
        return array


class InferenceSession:
    def __init__(self, content: bytes, options: Any, *, providers: list[Any], enable_fallback: int) -> None:
        del options, enable_fallback
        self._name = hashlib.sha256(content).hexdigest()[:12]
        self._seconds = FIRST_MS / 1e3 * (1 + int(self._name, 16) / 16**12)
        self._providers = providers
        job = json.loads(Path("job.json").read_text())
        with zipfile.ZipFile("graphs.zip") as graphs:
            self._stated = next(one for one in job["operations"] if graphs.read(one["graph"]) == content)

    def get_providers(self) -> list[Any]:
        return self._providers

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name=name, shape=shape) for name, shape in self._stated["inputs"]]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="output", shape=self._stated["output"])]

    def io_binding(self) -> Any:
        ignore = lambda *_: None  # noqa: E731
        return SimpleNamespace(bind_ortvalue_input=ignore, bind_ortvalue_output=ignore, synchronize_outputs=ignore)

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        del binding, options
        with (FOLDER / "calls").open("a") as calls:
            number = calls.tell() // len(_line(self._name))
            calls.write(_line(self._name))
        with contextlib.suppress(FileNotFoundError):
            do = json.loads((FOLDER / "at.json").read_text()).get(str(number))
            if do is not None:
                ACTIONS[do]()
        time.sleep(self._seconds)


def _line(name: str) -> str:
    return f"{os.getpid():10d} {name}\n"


def _hold() -> None:
    (FOLDER / "held").write_text(str(os.getpid()))
    while (FOLDER / "hold").exists():
        time.sleep(0.01)


def _fill() -> None:
    with contextlib.suppress(OSError), Path("filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)) == 4096:
            pass


def _freeze() -> None:
    os.kill(os.getppid(), signal.SIGSTOP)
    _hold()


ACTIONS = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "cut": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getppid(), signal.SIGSTOP),
    "stop and hold": _freeze,
    "hold": _hold,
    "fill": _fill,
}
