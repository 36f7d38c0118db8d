"""A machine with a fake trtexec."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nas.worker.interface import Operation, Setup
from nas.worker.trtexec import TrtexecRuntime
from tests.worker import fake_trtexec

FAKE = Path(fake_trtexec.__file__).resolve()


NUMBERS = {"7.1": "7", "8.2": "8.2.1", "8.4": "8.4.0", "8.6": "8.6.1", "10.3": "10.3.0", "11.0": "11.0.0"}


class Device:
    """A machine with a fake trtexec and one operation."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.root = folder / "root"
        self.root.mkdir()
        self.program = folder / "trtexec"
        self.program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{FAKE}" "$@"\n')
        self.program.chmod(0o755)
        self.calls_file = folder / "calls"
        monkeypatch.setenv("FAKE_TRTEXEC_CALLS", str(self.calls_file))
        monkeypatch.setenv("FAKE_TRTEXEC_PIDS", str(folder / "pids"))
        self.operation = self.make_operation("conv in=8x16x16")

    def make_operation(self, key: str) -> Operation:
        path = self.folder / f"{len(key)}.onnx"
        path.write_bytes(b"graph of " + key.encode())
        return Operation(key, str(path), [("x0", (1, 8, 16, 16))], (1, 8, 16, 16), "float32")

    def runtime(self, version: str = "8.6", *, fault: str = "", precision: str = "fp32", **limits: float) -> TrtexecRuntime:
        self.monkeypatch.setenv("FAKE_TRTEXEC_VERSION", version)
        setup = Setup(precision=precision, threads=1, accelerator="cuda", folder=str(self.folder / "work"))
        runtime = TrtexecRuntime(setup, str(self.program), root=str(self.root), **limits)
        self.monkeypatch.setenv("FAKE_TRTEXEC_FAULT", fault)
        return runtime

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    def is_board(self, name: str, memory_kib: int) -> None:
        (self.root / "proc/device-tree").mkdir(parents=True)
        (self.root / "proc/device-tree/model").write_bytes(name.encode() + b"\0")
        (self.root / "proc/meminfo").write_text(f"MemTotal:        {memory_kib} kB\nMemFree: 1 kB\n")
