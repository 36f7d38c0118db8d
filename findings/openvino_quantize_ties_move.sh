#!/usr/bin/env bash
# OpenVINO rounds after it has added the zero point, so values in the middle go another way where that is odd.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, OpenVINO 2026.4.1, tract 0.23.9, on the CPU (Linux, x86-64, Python 3.11).
#
# Behaviour: QuantizeLinear is saturate(round(x / scale) + zero_point), ties to even. OpenVINO rounds x / scale +
# zero_point: with an odd zero point every tie goes to the other neighbour, one level off; with an even one the results
# agree.
#
# Seen: x = -1 to 1 in steps of 0.25, scale 0.5, int8: zero point 3 gives 1 2 2 2 3 4 4 4 5 in OpenVINO and 1 1 2 3 3 3
# 4 5 5 in ONNX Runtime, tract and the reference evaluator; zero points 0 and 4 agree.
#
# Why it matters: images in steps of 1/255 and scales that are powers of two make ties common. Two runtimes that each
# quantise rightly by their own rule then differ at the input already, and a search for the faulty layer finds none.
#
# Exits with 1 when that has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 tract==0.23.9
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


def tract(made, x):
    import tract

    with tempfile.TemporaryDirectory() as folder:
        onnx.save(made, file := os.path.join(folder, "m.onnx"))
        return tract.onnx().load(file).into_model().into_runnable().run([x])[0].to_numpy()


x = (np.arange(-4, 5) * 0.25).astype(np.float32)[None]
for zero, same in ((0, True), (3, False), (4, True)):
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]), helper.make_node("Cast", ["q"], ["y"], to=TensorProto.FLOAT)]
    made = model(nodes, x, {"s": np.array(0.5, dtype=np.float32), "z": np.array(zero, dtype=np.int8)}, opset=13)
    got = {run.__name__: run(made, x)[0].astype(int).tolist() for run in (reference, onnx_runtime, tract, openvino)}
    print(zero, got)
    assert got["reference"] == got["onnx_runtime"] == got["tract"]
    assert (got["openvino"] == got["reference"]) is same
    assert same or got["openvino"] == [1, 2, 2, 2, 3, 4, 4, 4, 5]
PYTHON
