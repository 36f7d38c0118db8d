#!/usr/bin/env bash
# PRelu of ONNX Runtime takes eight to twelve times as long on numbers of random sign as on numbers of one sign.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, OpenVINO 2026.4.1, on the CPU (Linux, x86-64 with AVX2, Python 3.11).
#
# Behaviour: ONNX Runtime computes PRelu number by number with a branch on the sign, which the processor guesses wrongly
# half of the time where signs are random. LeakyRelu with the same slope, and Relu, do not mind; OpenVINO does not either.
# A slope for each channel or one for all makes no difference.
#
# Seen, 96 x 90 x 120 numbers, one thread, CPU time: PRelu 5.6 to 6.1 ms on normally distributed numbers, 0.5 to 0.8 ms
# on their absolute values, 3.4 ms where signs change after five numbers of a row on average, as in ENet trained on CamVid;
# LeakyRelu 0.2 ms on all of them, PRelu of OpenVINO 0.5 to 0.6 ms.
#
# Why it matters: many small segmentation networks (ENet, ESPNet and its second version, DABNet, FASSD-Net) have PReLU. A benchmark on random
# numbers with fresh weights measures something between these; single layers timed on random numbers added up to 1.9 times
# the whole of ENet. A network is timed rightly on smooth images with trained weights, or at least with the batch
# statistics of some images. LeakyRelu in place of a PReLU of one slope is up to 29 times as fast.
#
# Exits with 1 when that has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
OMP_NUM_THREADS=1 "$place/venv/bin/python" - <<'PYTHON'
import time

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

SHAPE = [1, 96, 90, 120]


def model(kind):
    """One activation as an ONNX file."""
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE)] for name in "xy")
    slopes = {"one slope": np.full(1, 0.25, np.float32), "a slope a channel": np.full((96, 1, 1), 0.25, np.float32)}
    if kind in slopes:
        nodes, stored = [helper.make_node("PRelu", ["x", "s"], ["y"])], [numpy_helper.from_array(slopes[kind], "s")]
    else:
        nodes, stored = [helper.make_node(kind, ["x"], ["y"], **({"alpha": 0.25} if kind == "LeakyRelu" else {}))], []
    made = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, stored), opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def median_ms(call):
    times = []
    for _ in range(23):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return round(float(np.median(times[3:])) * 1e3, 3)


draw = np.random.default_rng(0)
mixed = draw.standard_normal(SHAPE).astype(np.float32)
rows = draw.standard_normal(mixed.size + 4)
smooth = np.convolve(rows, np.full(5, 5**-0.5), "valid").reshape(SHAPE).astype(np.float32)
inputs = {"random signs": mixed, "runs of five": smooth, "one sign": abs(mixed)}
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
seen = {}
for kind in ("one slope", "a slope a channel", "LeakyRelu", "Relu"):
    session = onnxruntime.InferenceSession(model(kind), options, providers=["CPUExecutionProvider"])
    seen[kind] = {name: median_ms(lambda: session.run(None, {"x": x})) for name, x in inputs.items()}
    print("ONNX Runtime", kind, seen[kind])
core = openvino.Core()
compiled = core.compile_model(core.read_model(model("one slope")), "CPU", {"INFERENCE_NUM_THREADS": 1})
request = compiled.create_infer_request()
of_openvino = {name: median_ms(lambda: request.infer({0: x}, share_inputs=True)) for name, x in inputs.items()}
print("OpenVINO one slope", of_openvino)
for kind in ("one slope", "a slope a channel"):
    assert seen[kind]["random signs"] > 5 * seen[kind]["one sign"], kind
    assert seen[kind]["runs of five"] > 2 * seen[kind]["one sign"], kind
for times in (seen["LeakyRelu"], seen["Relu"], of_openvino):
    assert times["random signs"] < 2 * times["one sign"], times
PYTHON
