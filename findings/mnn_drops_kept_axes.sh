#!/usr/bin/env bash
# MNN drops the reduced axis of ReduceL1, ReduceL2, ReduceLogSum, ReduceLogSumExp and ReduceSumSquare although it is to be kept.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, MNN 3.6.1, on the CPU (Linux, x86-64, Python 3.11).
#
# Behaviour: keepdims is 1 by default; these five return one dimension less, ReduceMean, ReduceMax and ReduceProd do
# not. A division by the norm, as for cosine scores of classes, then broadcasts from the right over the wrong axes where
# the sizes allow it.
#
# Seen: input [1,2,2,2], axes=[1]: (1,2,2) for the five, (1,1,2,2) for the others; ONNX Runtime always (1,1,2,2). x /
# ReduceL2(x, axes=[1]) of [2,2,2,2] differs from ONNX Runtime by up to 1.2 without an error.
#
# Why it matters: normalising by a norm over the channels is part of metric heads and of attention; the batch of two
# shows what a batch of one hides.
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


x = np.arange(1, 9, dtype=np.float32).reshape(1, 2, 2, 2)
shapes = {}
for kind in ("L1", "L2", "LogSum", "LogSumExp", "SumSquare", "Mean", "Max", "Prod"):
    made = model([helper.make_node(f"Reduce{kind}", ["x"], ["y"], axes=[1])], x)
    shapes[kind] = mnn(made, x).shape
    assert onnx_runtime(made, x).shape == (1, 1, 2, 2)
print(shapes)
assert {kind for kind, shape in shapes.items() if shape == (1, 2, 2)} == {"L1", "L2", "LogSum", "LogSumExp", "SumSquare"}
two = np.arange(1, 17, dtype=np.float32).reshape(2, 2, 2, 2)
made = model([helper.make_node("ReduceL2", ["x"], ["n"], axes=[1]), helper.make_node("Div", ["x", "n"], ["y"])], two)
y, truth = mnn(made, two), onnx_runtime(made, two)
print("division", y.shape, truth.shape, float(np.abs(y - truth).max()))
assert y.shape == truth.shape and np.abs(y - truth).max() > 0.3
PYTHON
