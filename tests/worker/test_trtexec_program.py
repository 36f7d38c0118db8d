"""trtexec as a program: found, refused, killed; what it cannot do is refused."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.worker.engines import workspace_mib
from nas.worker.interface import Setup, WorkerError
from nas.worker.tensorrt_choice import open_tensorrt
from nas.worker.trtexec import TrtexecRuntime, version_of_7
from tests.worker.trtexec_device import Device


@pytest.fixture
def device(tmp_path, monkeypatch) -> Device:
    return Device(tmp_path, monkeypatch)


@pytest.mark.parametrize(("fault", "limit"), [("hang", "timing_limit_s"), ("hang-build", "build_limit_s")])
def test_a_hanging_program_is_killed_with_its_children(device, fault, limit):
    runtime = device.runtime(fault=fault, **{limit: 4.0})
    with pytest.raises(WorkerError, match="got no end within 4 s and was killed"):
        runtime.open(device.operation)(100)
    pids = [int(pid) for pid in (device.folder / "pids").read_text().split()]
    assert len(pids) == 2
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_ctrl_c_kills_the_program(device):
    device.runtime(fault="hang")
    setup = Setup(precision="fp32", threads=1, accelerator="cuda", folder=str(device.folder / "work"))
    code = (
        "from nas.worker.trtexec import TrtexecRuntime\nfrom nas.worker.interface import *\n"
        f"runtime = TrtexecRuntime(Setup(*{tuple(setup)!r}), {str(device.program)!r}, root={str(device.root)!r})\n"
        f"runtime.open(Operation(*{tuple(device.operation)!r}))(100)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        pids_file = device.folder / "pids"
        wait_until(lambda: pids_file.is_file() and len(pids_file.read_text().split()) == 2)
        worker.send_signal(signal.SIGINT)
        _, errors = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert "KeyboardInterrupt" in errors
    pids = [int(pid) for pid in pids_file.read_text().split()]
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_a_program_that_does_not_load_says_why(device):
    device.monkeypatch.setenv("FAKE_TRTEXEC_FAULT", "loader")
    with pytest.raises(
        WorkerError, match="trtexec failed with status 127: trtexec: error while loading shared libraries: libnvinfer.so.8"
    ):
        device.runtime()


def test_another_program_of_that_name_is_refused(device):
    device.program.write_text("#!/bin/sh\necho usage: trtexec\n")
    with pytest.raises(WorkerError, match="got no option --onnx in its help, expected the trtexec of TensorRT 7.1 to 11"):
        device.runtime()
    device.program.write_bytes(b"\x7fELF of another machine")
    with pytest.raises(WorkerError, match=r"cannot be started \(Exec format error\)"):
        device.runtime()


@pytest.mark.parametrize(
    ("board", "has_int8"),
    [
        ("NVIDIA Jetson Nano Developer Kit", False),
        ("NVIDIA Jetson TX1", False),
        ("quill jetson-tx2", False),
        ("NVIDIA Jetson Xavier NX Developer Kit", True),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", True),
    ],
)
def test_int8_is_refused_where_the_gpu_has_none(device, board, has_int8):
    device.is_board(board, 4_000_000)
    if has_int8:
        assert device.runtime(precision="int8").open(device.operation)(1) > 0
    else:
        with pytest.raises(WorkerError, match=f"the GPU of {board} has no int8; expected fp32 or fp16"):
            device.runtime(precision="int8")


def test_a_small_board_gets_a_small_workspace(device):
    device.is_board("NVIDIA Jetson Nano Developer Kit", 4_059_000)
    runtime = device.runtime("8.2")
    runtime.open(device.operation)
    assert "--workspace=256" in device.calls()[-1]
    assert runtime.details["workspace"] == "256 MiB"
    assert [workspace_mib(memory) for memory in (None, 3955, 6143, 6144, 15536)] == [1024, 256, 256, 1024, 1024]


def test_the_version_of_7_is_that_of_its_library(tmp_path):
    assert version_of_7(str(tmp_path)) == "7"
    folder = tmp_path / "usr/lib/aarch64-linux-gnu"
    folder.mkdir(parents=True)
    for name in ("libnvinfer.so.7", "libnvinfer.so.7.1.3", "libnvinfer_plugin.so.7.1.3"):
        (folder / name).touch()
    assert version_of_7(str(tmp_path)) == "7.1.3"
    (folder / "libnvinfer.so.7.2.1").touch()
    assert version_of_7(str(tmp_path)) == "7"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accelerator": "cpu"}, "got accelerator cpu, expected cuda"),
        ({"precision": "bf16"}, "got precision bf16, expected one of fp32"),
    ],
)
def test_what_tensorrt_cannot_do_is_refused(device, changes, words):
    setup = Setup(precision="fp32", threads=1, accelerator="cuda", folder=str(device.folder / "work"))._replace(**changes)
    with pytest.raises(WorkerError, match=words):
        TrtexecRuntime(setup, str(device.program))


def test_graphs_that_are_missing_or_no_onnx_are_refused(device):
    runtime = device.runtime()
    with pytest.raises(WorkerError, match="expected a graph in a file"):
        runtime.open(device.operation._replace(path="graph.pt"))
    with pytest.raises(WorkerError, match="cannot be read"):
        runtime.open(device.operation._replace(path=str(device.folder / "none.onnx")))


def test_the_program_is_found_by_variable_path_and_usual_places(device):
    def refuse(name: str) -> object:
        raise OSError(f"{name}: cannot open shared object file")

    setup = Setup(precision="fp32", threads=1, accelerator="cuda", folder=str(device.folder / "work"))
    empty = device.folder / "empty"
    empty.mkdir()
    device.monkeypatch.setenv("FAKE_TRTEXEC_VERSION", "8.6")
    device.monkeypatch.setitem(sys.modules, "tensorrt", None)
    device.monkeypatch.setenv("PATH", str(empty))
    device.monkeypatch.delenv("SEGNAS_TRTEXEC", raising=False)

    with pytest.raises(
        WorkerError,
        match="package tensorrt: cannot be imported .*nor is there the program trtexec on PATH or at /nowhere/trtexec; ",
    ):
        open_tensorrt(setup, load=refuse, places=("/nowhere/trtexec",))
    runtime = open_tensorrt(setup, load=refuse, places=("/nowhere/trtexec", str(device.program)))
    assert runtime.details["trtexec"] == device.program.name
    assert runtime.details["measured by"].startswith(
        "trtexec instead of the Python package: Python package tensorrt: cannot be imported"
    )
    (empty / "trtexec").symlink_to(device.program)
    assert isinstance(open_tensorrt(setup, load=refuse, places=()), TrtexecRuntime)
    device.monkeypatch.setenv("SEGNAS_TRTEXEC", str(device.folder))
    with pytest.raises(WorkerError, match="SEGNAS_TRTEXEC: got .*, expected the path of the executable program"):
        open_tensorrt(setup, load=refuse, places=())
    device.monkeypatch.setenv("SEGNAS_TRTEXEC", str(device.program))
    assert isinstance(open_tensorrt(setup, load=refuse, places=()), TrtexecRuntime)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition, *, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
