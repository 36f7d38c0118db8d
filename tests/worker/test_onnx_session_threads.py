"""With several threads, no session of another operation keeps threads that wait busily."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

from nas.worker.interface import Operation, Setup  # noqa: E402
from nas.worker.onnx_sessions import OnnxSessions  # noqa: E402

TASKS = Path("/proc/self/task")
SHAPE = (1, 2, 4, 4)


def operation(name: str, folder: Path) -> Operation:
    """A graph that adds its input to itself."""
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x0", "x0"], ["output"])],
        name,
        [onnx.helper.make_tensor_value_info("x0", float32, SHAPE)],
        [onnx.helper.make_tensor_value_info("output", float32, SHAPE)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 11)], ir_version=6)
    path = folder / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    return Operation(name, str(path), [("x0", SHAPE)], SHAPE, "float32")


def threads() -> set[str]:
    """The numbers of this process's threads."""
    return {task.name for task in TASKS.iterdir()}


@pytest.mark.skipif(not TASKS.is_dir(), reason="threads are counted in /proc")
def test_with_two_threads_only_the_session_that_runs_has_a_thread_of_its_own(tmp_path: Path) -> None:
    runtime = OnnxSessions(Setup("fp32", 2, "cpu", str(tmp_path)))
    gc.collect()
    before = threads()  # those of sessions of other tests may end at any time, so new ones are counted by their numbers
    runs = [runtime.open(operation(name, tmp_path)) for name in ("a", "b", "c", "d")]
    counts = [len(threads() - before)]
    for run in (*runs, *runs):
        assert run(2) > 0
        counts.append(len(threads() - before))
    assert counts == [1] * 9


def test_with_one_thread_each_operation_keeps_its_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = OnnxSessions(Setup("fp32", 1, "cpu", str(tmp_path)))
    runs = [runtime.open(operation(name, tmp_path)) for name in ("a", "b")]
    monkeypatch.setattr(runtime, "_bound", lambda content, operation: pytest.fail(f"opened {operation.key} anew"))
    assert all(run(1) > 0 for run in (*runs, *runs))


def test_bound_memory_holds_what_the_graph_computes(tmp_path: Path) -> None:
    runtime = OnnxSessions(Setup("fp32", 1, "cpu", str(tmp_path)))
    one = operation("a", tmp_path)
    session, binding, options = runtime._bound(Path(one.path).read_bytes(), one)
    (inputs,), _, output = binding.held
    session.run_with_iobinding(binding, options)
    assert (output.numpy() == 2 * inputs.numpy()).all()
    assert output.numpy().any()
