#!/usr/bin/env bash
# A corner-aligned Resize by a scale that gives no whole size has two answers.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, OpenVINO 2026.4.1, MNN 3.6.1, tract 0.23.9, on the CPU (Linux, x86-64,
# Python 3.11).
#
# Behaviour: Resize by scales gives floor(size * scale) samples. align_corners maps the last sample to the last input
# pixel; ONNX Runtime, OpenVINO and MNN do so with the size after rounding down. The reference evaluator of onnx and
# tract divide by size * scale - 1 before rounding, so the last sample falls short of the corner and all samples differ.
#
# Seen: 0 1 2 3 4 by 1.5: ONNX Runtime, OpenVINO and MNN 0 0.667 1.333 2 2.667 3.333 4; reference and tract 0 0.615
# 1.231 1.846 2.462 3.077 3.692. By 2, and by sizes, all agree.
#
# Why it matters: an exporter that keeps scale_factor writes scales. A test of the exported file against the reference
# evaluator fails where the deployed runtime is right, and the other way round.
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


x = np.arange(5, dtype=np.float32).reshape(1, 1, 1, 5)
for scale, samples, agree in ((1.5, 7, False), (1.37, 6, False), (2.0, 10, True)):
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="linear", coordinate_transformation_mode="align_corners")
    made = model([node], x, {"s": np.array([1, 1, 1, scale], dtype=np.float32)})
    got = {run.__name__: run(made, x).ravel() for run in (reference, tract, onnx_runtime, openvino, mnn)}
    print(scale, {name: y.round(3).tolist() for name, y in got.items()})
    whole, broken = np.linspace(0, 4, samples), np.arange(samples) * 4 / (5 * scale - 1)
    for name, y in got.items():
        assert y.shape == (samples,)
        assert np.allclose(y, broken if name in ("reference", "tract") else whole, atol=1e-4), name
    assert np.allclose(whole, broken, atol=1e-4) is agree
PYTHON
