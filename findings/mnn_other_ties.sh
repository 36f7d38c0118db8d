#!/usr/bin/env bash
# MNN breaks ties its own way: Round goes away from zero, ArgMax forgets select_last_index.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, MNN 3.6.1, on the CPU (Linux, x86-64, Python 3.11).
#
# Behaviour: Round of ONNX takes halves to the even number, MNN takes them away from zero. ArgMax and ArgMin with
# select_last_index=1 give the first of equal values in MNN. No message from the converter in either case.
#
# Seen: 0.5 1.5 2.5 -0.5 -1.5 -2.5 3.5: MNN 1 2 3 -1 -2 -3 4, ONNX Runtime 0 2 2 -0 -2 -2 4; ArgMax of 1 1 0 with the
# last index: MNN 0, ONNX Runtime 1.
#
# Why it matters: logits of int8 or bf16 networks tie often, so labels differ between runtimes where both are exact; a
# graph that rounds pixels to bytes differs on every half.
#
# Exits with 1 when that has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 MNN==3.6.1
OMP_NUM_THREADS=1 "$place/venv/bin/python" - <<'PYTHON'
import os, tempfile
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper


def model(nodes, x, constants=None, opset=17, out=TensorProto.FLOAT):
    """Nodes from x to y, checked by onnx."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    outputs = [helper.make_tensor_value_info("y", out, None)]
    stored = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    made = onnx.shape_inference.infer_shapes(made, strict_mode=True)
    onnx.checker.check_model(made, full_check=True)
    return made


def onnx_runtime(made, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def mnn(made, x):
    import _tools  # the converter in this process: the command of the same name installs packages and reports to a log service
    import MNN
    from MNN import expr

    with tempfile.TemporaryDirectory() as folder:
        onnx.save(made, file := os.path.join(folder, "m.onnx"))
        arguments = ["mnnconvert", "-f", "ONNX", "--modelFile", file, "--MNNModel", file + ".mnn", "--bizCode", "b"]
        _tools.mnnconvert(arguments)
        network = MNN.nn.load_module_from_file(file + ".mnn", ["x"], ["y"], backend=expr.Backend.CPU)
        y = network.forward([expr.const(x, list(x.shape), expr.NCHW, expr.float)])[0]
        y = expr.convert(y, expr.NCHW)
        return np.array(y.read()).reshape(y.shape)


halves = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.5]], dtype=np.float32)
made = model([helper.make_node("Round", ["x"], ["y"])], halves)
ours, theirs = onnx_runtime(made, halves)[0].tolist(), mnn(made, halves)[0].tolist()
print(ours, theirs)
assert ours == [0, 2, 2, 0, -2, -2, 4] and theirs == [1, 2, 3, -1, -2, -3, 4]
tied = np.array([1, 1, 0], dtype=np.float32).reshape(1, 3, 1, 1)
for kind, values in (("ArgMax", tied), ("ArgMin", -tied)):
    node = helper.make_node(kind, ["x"], ["y"], axis=1, select_last_index=1)
    made = model([node], values, out=TensorProto.INT64)
    pair = int(onnx_runtime(made, values).item()), int(mnn(made, values).item())
    print(kind, pair)
    assert pair == (1, 0)
PYTHON
