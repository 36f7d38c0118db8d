#!/usr/bin/env bash
# A network whose weights are NaN answers with clean labels in OpenVINO, MNN and tract: their Relu and Clip turn NaN into numbers.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, OpenVINO 2026.4.1, MNN 3.6.1, tract 0.23.9, on the CPU (Linux, x86-64,
# Python 3.11).
#
# Behaviour: Relu(NaN) is NaN in ONNX Runtime and in the reference evaluator, 0 in OpenVINO, MNN and tract. Clip(NaN, 0,
# 6) is 0 in OpenVINO and tract, 6 in MNN. So the first activation hides a broken convolution, and all later values are
# finite. tract keeps the NaN of a convolution with constant weights, and drops that of an input. ArgMax over classes
# with a NaN has four answers: the reference takes the NaN for the largest, ONNX Runtime and OpenVINO give 0, tract and
# MNN the first number that is no NaN.
#
# Seen: Relu of a 1x1 convolution with NaN weights: nan in ONNX Runtime and tract, 0.0 in OpenVINO and MNN. ArgMax of
# [[nan,1,3],[2,nan,nan],[1,0,1]] over the first axis: [0,1,1] reference, [0,0,0] ONNX Runtime and OpenVINO, [1,0,0]
# tract and MNN.
#
# Why it matters: a check for NaN at the output of the deployed network cannot find training that broke; it must be made
# in a runtime that keeps them, or on the weights.
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


nan = np.nan
x = np.array([[[[nan, 1, 3]], [[2, nan, nan]], [[1, 0, 1]]]], dtype=np.float32)
ones = np.ones_like(x)
broken = {"w": np.full((2, 3, 1, 1), nan, dtype=np.float32)}
convolution = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
clip = model([helper.make_node("Clip", ["x", "a", "b"], ["y"])], x, {"a": np.float32(0).reshape(()), "b": np.float32(6).reshape(())})
models = {
    "relu": (model([helper.make_node("Relu", ["x"], ["y"])], x), x),
    "clip": (clip, x),
    "conv": (model(convolution, ones, broken), ones),
    "argmax": (model([helper.make_node("ArgMax", ["x"], ["y"], axis=1)], x, out=TensorProto.INT64), x),
}
runs = (reference, onnx_runtime, openvino, mnn, tract)
got = {name: {run.__name__: run(*pair).ravel().tolist() for run in runs} for name, pair in models.items()}
first = {name: [str(values[0]) for values in got[name].values()] for name in ("relu", "clip", "conv")}
print(first, got["argmax"])
assert first["relu"] == ["nan", "nan", "0.0", "0.0", "0.0"]
assert first["clip"] == ["nan", "nan", "0.0", "6.0", "0.0"]
assert first["conv"] == ["nan", "nan", "0.0", "0.0", "nan"]
assert got["argmax"] == {"reference": [0, 1, 1], "onnx_runtime": [0, 0, 0], "openvino": [0, 0, 0], "mnn": [1, 0, 0], "tract": [1, 0, 0]}
PYTHON
