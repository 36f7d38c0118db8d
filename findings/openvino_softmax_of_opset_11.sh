#!/usr/bin/env bash
# OpenVINO takes Softmax of opset 11 along one axis; ONNX defines it over all axes from there on.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, OpenVINO 2026.4.1, MNN 3.6.1, on the CPU (Linux, x86-64, Python 3.11).
#
# Behaviour: below opset 13, Softmax flattens its input to two dimensions at `axis` and normalises over everything from
# that axis to the last. OpenVINO normalises along that axis alone. LogSoftmax of the same opset is right in OpenVINO,
# so the two do not belong to each other in one graph. MNN has it the other way round: Softmax right, LogSoftmax along
# one axis. The reference evaluator of onnx takes both along one axis.
#
# Seen: x [1,2,2,2], axis=1, opset 11: the eight outputs add up to 1 in ONNX Runtime and to 4 in OpenVINO;
# exp(LogSoftmax) adds up to 1 in both.
#
# Why it matters: opset 11 is what old boards need. Probabilities differ without a word, their argmax over classes does
# not, so a check of labels passes.
#
# Exits with 1 when that has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 MNN==3.6.1
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


x = np.array([[[[1, 2], [3, 5]], [[0, -1], [2, 4]]]], dtype=np.float32)
sums = {}
for kind in ("Softmax", "LogSoftmax"):
    made = model([helper.make_node(kind, ["x"], ["y"], axis=1)], x, opset=11)
    for run in (reference, onnx_runtime, openvino, mnn):
        y = run(made, x)
        sums[kind, run.__name__] = round(float((y if kind == "Softmax" else np.exp(y)).sum()), 4)
print(sums)
assert sums == {
    ("Softmax", "reference"): 4, ("Softmax", "onnx_runtime"): 1, ("Softmax", "openvino"): 4, ("Softmax", "mnn"): 1,
    ("LogSoftmax", "reference"): 4, ("LogSoftmax", "onnx_runtime"): 1, ("LogSoftmax", "openvino"): 1, ("LogSoftmax", "mnn"): 4,
}
PYTHON
