#!/usr/bin/env bash
# OpenVINO reduces over all axes where ONNX asks for one: ReduceL1, ReduceLogSum and ReduceLogSumExp below opset 18.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, OpenVINO 2026.4.1, on the CPU (Linux, x86-64, Python 3.11).
#
# Behaviour: the attribute `axes` of these three is not read by the ONNX frontend; the output has one element. ReduceL2,
# ReduceSumSquare, ReduceMean, ReduceMax and ReduceProd with the same attribute are right. No warning, no error: a later
# operation that broadcasts goes on with the one number.
#
# Seen: input [1,2,2,2], axes=[1], opset 17: [1,1,1,1] for the three, [1,1,2,2] for the others and for all of them under
# ONNX Runtime. Shape inference of onnx says [1,1,2,2], and the file passes its full check.
#
# Why it matters: log-sum-exp over the classes is how a score or an energy is read off logits inside an exported graph,
# and exporters of opset 13 to 17 write axes as an attribute.
#
# Exits with 1 when that has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
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


x = np.arange(1, 9, dtype=np.float32).reshape(1, 2, 2, 2)
got = {}
for kind in ("L1", "LogSum", "LogSumExp", "L2", "SumSquare", "Mean", "Max", "Prod"):
    made = model([helper.make_node(f"Reduce{kind}", ["x"], ["y"], axes=[1])], x)
    got[kind] = openvino(made, x).shape
    assert onnx_runtime(made, x).shape == (1, 1, 2, 2)
    print(kind, got[kind])
assert {kind for kind, shape in got.items() if shape == (1, 1, 1, 1)} == {"L1", "LogSum", "LogSumExp"}, got
PYTHON
