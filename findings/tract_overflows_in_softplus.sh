#!/usr/bin/env bash
# tract computes softplus and log-sum-exp without a guard: infinity where the answer is 89.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, OpenVINO 2026.4.1, tract 0.23.9, on the CPU (Linux, x86-64, Python 3.11).
#
# Behaviour: Softplus is log(1 + exp(x)) and ReduceLogSumExp log(sum(exp(x))) as they are written, so both are infinite
# from x = 89 on, where float32's exp ends. ONNX Runtime, OpenVINO and the reference evaluator answer x. Celu of tract
# has the right side of zero and another left one for alpha other than 1.
#
# Seen: x = 88, 89, 100: softplus 88 inf inf in tract, 88 89 100 in ONNX Runtime, OpenVINO and the reference; log-sum-
# exp of (100, 0): inf against 100. Celu(-1, alpha=0.5): -0.4323 in the others, -0.8647 in tract.
#
# Why it matters: Mish and some losses inside graphs are built from softplus; logits of 89 are not rare without
# normalisation, and infinity times zero is NaN one layer later.
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


x = np.array([[88, 89, 100]], dtype=np.float32)
soft = model([helper.make_node("Softplus", ["x"], ["y"])], x)
pair = np.array([[100, 0]], dtype=np.float32)
energy = model([helper.make_node("ReduceLogSumExp", ["x", "a"], ["y"])], pair, {"a": np.array([1], dtype=np.int64)}, opset=18)
minus = np.array([[-1]], dtype=np.float32)
celu = model([helper.make_node("Celu", ["x"], ["y"], alpha=0.5)], minus)
for run in (reference, onnx_runtime, openvino, tract):
    with np.errstate(over="ignore"):
        got = run(soft, x)[0].tolist(), run(energy, pair).item(), run(celu, minus).item()
    print(run.__name__, got)
    if run is tract:
        assert got[0][0] == 88 and np.isinf(got[0][1:]).all() and np.isinf(got[1]) and abs(got[2] + 0.4323) > 0.1
    else:
        assert np.isfinite(got[0][:2]).all() or run is reference
        assert abs(got[2] + 0.4323) < 1e-3
PYTHON
