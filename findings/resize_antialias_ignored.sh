#!/usr/bin/env bash
# OpenVINO and MNN read Resize of opset 18 and leave out its antialias and its aspect ratio policy.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, OpenVINO 2026.4.1, MNN 3.6.1, on the CPU (Linux, x86-64, Python 3.11).
#
# Behaviour: with antialias=1 both give the plain bilinear values, bit for bit those of antialias=0. With
# keep_aspect_ratio_policy=not_larger both stretch to the sizes asked for, so that even the shape differs from the one
# that onnx infers. Neither refuses the attribute, while unsupported coordinate modes are refused by OpenVINO.
#
# Seen: noise [1,1,8,8] to [1,1,3,3]: largest difference from ONNX Runtime with antialias 0.37, the same as that of
# antialias=0; sizes [20,20] from 9x11 with not_larger: (16,20) in ONNX Runtime, (20,20) in both.
#
# Why it matters: shrinking the camera's image inside the graph is pre-processing; trained with an antialiased resize,
# the network then sees other pixels on the device.
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


x = np.random.default_rng(0).random((1, 1, 8, 8), dtype=np.float32)
sizes = {"s": np.array([1, 1, 3, 3], dtype=np.int64)}


def resize(antialias):
    return model([helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode="linear", antialias=antialias)], x, sizes, opset=18)


truth = onnx_runtime(resize(1), x)
assert np.abs(truth - onnx_runtime(resize(0), x)).max() > 0.1
for run in (openvino, mnn):
    smooth, plain = run(resize(1), x), run(resize(0), x)
    print(run.__name__, "with", smooth.round(2).ravel().tolist(), "without", plain.round(2).ravel().tolist(), "should be", truth.round(2).ravel().tolist())
    assert np.array_equal(smooth, plain) and np.abs(smooth - truth).max() > 0.1
wide = np.ones((1, 4, 9, 11), dtype=np.float32)
node = helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode="linear", axes=[2, 3], keep_aspect_ratio_policy="not_larger")
made = model([node], wide, {"s": np.array([20, 20], dtype=np.int64)}, opset=18)
shapes = [run(made, wide).shape[2:] for run in (onnx_runtime, openvino, mnn)]
print(shapes)
assert shapes == [(16, 20), (20, 20), (20, 20)]
PYTHON
