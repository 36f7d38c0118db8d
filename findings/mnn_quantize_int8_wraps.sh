#!/usr/bin/env bash
# MNN's QuantizeLinear to int8 wraps around zero where its result is cast: 0 becomes -128.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, MNN 3.6.1, on the CPU (Linux, x86-64, Python 3.11).
#
# Behaviour: QuantizeLinear with an int8 zero point, followed by Cast to float: MNN converts without a word and gives
# values that are off by 128 modulo 256, for every zero point tried, and rounds ties away from zero. ONNX Runtime,
# OpenVINO and tract give the levels themselves. A pair QuantizeLinear, DequantizeLinear at the end of a graph converts
# with status 0 and cannot be loaded: its output has lost its name.
#
# Seen: x = -1 to 1 in steps of 0.25, scale 0.5, zero point 0: 126 126 127 127 -128 -127 -127 -126 -126 in MNN, -2 -2 -1
# 0 0 0 1 2 2 in ONNX Runtime.
#
# Why it matters: a graph that hands int8 classes or levels to the application converts, runs and is wrong by a constant
# that looks like an offset of the user's own code.
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


x = (np.arange(-4, 5) * 0.25).astype(np.float32)[None]
nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("Cast", ["q"], ["y"], to=TensorProto.FLOAT)]
made = model(nodes, x, {"s": np.array(0.5, dtype=np.float32), "z": np.array(0, dtype=np.int8)}, opset=13)
ours, theirs = onnx_runtime(made, x)[0].astype(int).tolist(), mnn(made, x)[0].astype(int).tolist()
print(ours, theirs)
assert ours == [-2, -2, -1, 0, 0, 0, 1, 2, 2]
assert theirs == [126, 126, 127, 127, -128, -127, -127, -126, -126]
PYTHON
