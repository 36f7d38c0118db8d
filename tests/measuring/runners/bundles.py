"""Small measurements that the real worker makes, in a process of its own."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nas.devices.runtime_name import RuntimeName
from nas.errors import ConfigError, TableError
from nas.measuring.effort import Effort
from nas.measuring.runners.bundle import bundle_files
from nas.measuring.runners.request import Request
from nas.measuring.runners.worker_result import import_result
from nas.ops.spec import OpSpec, out_size
from nas.worker.job import job_id


def spec(kind: str, *, c: int = 8, h: int = 9, w: int = 11, out: int | None = None, **fields: int) -> OpSpec:
    stride = fields.get("stride", 1)
    return OpSpec(
        kind=kind,
        in_channels=c,
        height=h,
        width=w,
        out_channels=c if out is None else out,
        out_height=out_size(h, stride),
        out_width=out_size(w, stride),
        **fields,
    )


PLAN = sorted(
    [
        spec("conv_bn_relu", kernel=3, out=16, stride=2),
        spec("relu_sep_conv_bn", kernel=3),
        spec("max_pool", kernel=3, stride=2),
        spec("add"),
        spec("factorized_reduce", stride=2),
    ]
)
REFERENCE = PLAN[1]


def request(backend: str = "onnxruntime", *, rounds: int = 4, max_rounds: int = 6, batch: int = 1, **fields: Any) -> Request:
    effort = Effort(rounds=rounds, max_rounds=max_rounds, ci=0.02)
    return Request(
        runtime=RuntimeName(backend=backend, batch=batch),
        accelerator="cpu",
        effort=effort,
        program_effort=Effort(rounds=1, max_rounds=2),
        **fields,
    )


def unpack(folder: Path, wanted: Request | None = None, *, plan: Sequence[OpSpec] = PLAN, reference: OpSpec = REFERENCE) -> Path:
    """A folder with the files of a measurement, and nothing else."""
    folder.mkdir(parents=True)
    for name, content in bundle_files(plan, reference, wanted or request()).items():
        (folder / name).write_bytes(content)
    return folder


def run_worker(folder: Path, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-I", "worker.py", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def measured(folder: Path, **bundle: Any) -> dict[str, Any]:
    """What the worker's result says, from a measurement in a folder that is not there yet."""
    outcome = run_worker(unpack(folder, **bundle))
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return json.loads((folder / "result.json").read_text())


def sealed(raw: dict[str, Any], *, job_too: bool = True) -> str:
    """The text of a result whose checksum fits its content, whatever that is; and, if wanted, the id of its job."""
    rest = {name: value for name, value in raw.items() if name != "checksum"}
    job = rest.get("job")
    if job_too and isinstance(job, dict) and "id" in job:
        rest["job"] = {**job, "id": job_id(job)}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return json.dumps({**rest, "checksum": digest})


def changed(good: dict[str, Any], *place: Any, to: Any) -> str:
    """A result in which another value stands at a place, with a checksum that fits."""
    raw = copy.deepcopy(good)
    at = raw
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = to
    return sealed(raw)


def refused(text: str | bytes) -> str:
    """What the import of a result says that it refuses: one line that can be shown."""
    Path("result.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((TableError, ConfigError)) as caught:
        import_result(Path("result.json"))
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1200
    return message
