#!/usr/bin/env bash
# MNN's cubic Resize is wrong in the first row and the first column.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, OpenVINO 2026.4.1, MNN 3.6.1, tract 0.23.9, on the CPU (Linux, x86-64,
# Python 3.11).
#
# Behaviour: samples that lie before the centre of the first pixel differ from ONNX Runtime, OpenVINO, tract and the
# reference evaluator, which agree: the first row and the first column of an enlarged image. The last ones, which lie as
# far outside, are right.
#
# Seen: noise [1,1,9,9] to [1,1,18,18], half_pixel: 35 samples off by up to 0.92, the first row and column; all others
# equal to 1e-3.
#
# Why it matters: a mean over the image hides it. Cubic resizing of the input is what photographs are prepared with.
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


x = np.random.default_rng(0).random((1, 1, 9, 9), dtype=np.float32)
node = helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode="cubic", coordinate_transformation_mode="half_pixel")
made = model([node], x, {"s": np.array([1, 1, 18, 18], dtype=np.int64)})
truth = onnx_runtime(made, x)[0, 0]
for run in (reference, openvino, tract):
    assert np.allclose(run(made, x)[0, 0], truth, atol=1e-4), run.__name__
off = np.abs(mnn(made, x)[0, 0] - truth)
first = np.zeros((18, 18), dtype=bool)
first[0] = first[:, 0] = True
print("first row and column", off[first].round(2).tolist(), "elsewhere at most", float(off[~first].max()))
assert off[~first].max() < 1e-3 and np.median(off[first]) > 0.1
PYTHON
