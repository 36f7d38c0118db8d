#!/usr/bin/env bash
# AveragePool that counts its padding and rounds its size up: the last average has three values in four runtimes.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, OpenVINO 2026.4.1, MNN 3.6.1, tract 0.23.9, on the CPU (Linux, x86-64,
# Python 3.11).
#
# Behaviour: with ceil_mode=1 the last window can reach beyond the padding. With count_include_pad=1 the divisor is the
# number of pixels inside image and padding: so say ONNX Runtime, the reference evaluator and tract. OpenVINO divides by
# the whole kernel there. MNN agrees with the former for padding on both sides, and does not count the padding where it
# is at the end alone.
#
# Seen: 1 to 6, kernel 3, stride 2, padding 1 and 1: last value 3 in ONNX Runtime, tract and MNN, 2 in OpenVINO. 1 to 4,
# the same kernel, padding 0 and 1: 2.333 in ONNX Runtime, OpenVINO and tract, 3.5 in MNN.
#
# Why it matters: only the last row and column are off, so the mean error over an image is small and passes a loose
# tolerance; pyramid pooling then spreads that edge over a quarter of the picture.
#
# Exits with 1 when that has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 MNN==3.6.1 tract==0.23.9
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


def reference(made, x):
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(made).run(None, {"x": x})[0]


def onnx_runtime(made, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def openvino(made, x):
    import openvino as ov

    with tempfile.TemporaryDirectory() as folder:
        onnx.save(made, file := os.path.join(folder, "m.onnx"))
        return ov.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]


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


def tract(made, x):
    import tract

    with tempfile.TemporaryDirectory() as folder:
        onnx.save(made, file := os.path.join(folder, "m.onnx"))
        return tract.onnx().load(file).into_model().into_runnable().run([x])[0].to_numpy()


def last(width, pads):
    x = np.arange(1, width + 1, dtype=np.float32).reshape(1, 1, 1, width)
    node = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[1, 3], strides=[1, 2], pads=pads, ceil_mode=1, count_include_pad=1)
    made = model([node], x)
    return [round(float(run(made, x).ravel()[-1]), 3) for run in (reference, onnx_runtime, tract, openvino, mnn)]


both, end = last(6, [0, 1, 0, 1]), last(4, [0, 0, 0, 1])
print(both, end)
assert both == [3, 3, 3, 2, 3]
assert end == [2.333, 2.333, 2.333, 2.333, 3.5]
PYTHON
