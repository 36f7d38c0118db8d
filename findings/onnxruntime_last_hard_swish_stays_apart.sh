#!/usr/bin/env bash
# ONNX Runtime computes a hard swish within the convolution before it, but not where its result is an output of the graph.
#
# Seen with onnx 1.23.2, ONNX Runtime 1.32.0, on the CPU (Linux, x86-64 with AVX2, Python 3.11), opset 11 and opset 14.
#
# Behaviour: a convolution and the hard swish behind it, as HardSigmoid and Mul or as HardSwish, become one node of the optimized
# graph if any node reads the result. If the result is an output of the graph, a convolution, a HardSigmoid and a Mul run one after
# the other. A Relu is computed within the convolution in either place.
#
# Seen, convolution 1x1 from 16 to 64 channels at 90 x 120, one thread, CPU time: 0.98 and 0.99 ms as an output, 0.74 and 0.76 ms where
# a Slice reads one number of it; with a Relu 0.57 and 0.53 ms.
#
# Why it matters: latency tables for architecture search time operations as graphs of their own. Each convolution with a hard swish
# (MobileNetV3, EfficientViT) is then timed 1.3 times too slow. A graph that ends with a Slice of one number is timed rightly; one that
# ends with a Flatten is not, for the whole map is copied into the output.
#
# Exits with 1 when that has changed.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
OMP_NUM_THREADS=1 "$place/venv/bin/python" - "$place" <<'PYTHON'
import sys
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CHANNELS, HEIGHT, WIDTH = (16, 64), 90, 120
TAILS = {
    "relu": [("Relu", ["c"], "y", {})],
    "hard sigmoid and product": [("HardSigmoid", ["c"], "s", {"alpha": 1 / 6, "beta": 0.5}), ("Mul", ["c", "s"], "y", {})],
    "hard swish": [("HardSwish", ["c"], "y", {})],
}


def model(tail, read):
    """A convolution, an activation, and behind it nothing or a Slice of the first number, as an ONNX file."""
    inner, outer = CHANNELS
    steps = [("Conv", ["x", "w"], "c", {}), *TAILS[tail]]
    if read:
        steps.append(("Slice", ["y", "start", "end", "axes"], "z", {}))
    nodes = [helper.make_node(kind, names, [written], **settings) for kind, names, written, settings in steps]
    weights = np.random.default_rng(0).standard_normal((outer, inner, 1, 1)).astype(np.float32)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inner, HEIGHT, WIDTH])
    shape = [1, 1, 1, 1] if read else [1, outer, HEIGHT, WIDTH]
    result = helper.make_tensor_value_info(steps[-1][2], TensorProto.FLOAT, shape)
    stored = {"w": weights}
    if read:
        stored |= {"start": np.zeros(3, np.int64), "end": np.ones(3, np.int64), "axes": np.arange(1, 4)}
    graph = helper.make_graph(nodes, "g", [given], [result], [numpy_helper.from_array(value, name) for name, value in stored.items()])
    opset = helper.make_opsetid("", 14 if tail == "hard swish" else 11)
    made = helper.make_model(graph, opset_imports=[opset], ir_version=7)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def opened(content):
    """A session, and the kinds of the nodes that it runs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.optimized_model_filepath = f"{sys.argv[1]}/optimized.onnx"
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session, [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]


sessions, nodes, times = {}, {}, {}
image = np.random.default_rng(1).standard_normal((1, CHANNELS[0], HEIGHT, WIDTH)).astype(np.float32)
for tail in TAILS:
    for read in (False, True):
        sessions[tail, read], nodes[tail, read] = opened(model(tail, read))
        times[tail, read] = []
for _ in range(50):
    for case, session in sessions.items():
        start = time.process_time()
        session.run(None, {"x": image})
        times[case].append(time.process_time() - start)
for (tail, read), kinds in nodes.items():
    ms = 1e3 * float(np.median(times[tail, read]))
    print(f"{tail:25} {'read' if read else 'an output':10} {ms:6.2f} ms  {' '.join(kinds)}")
for tail in TAILS:
    results = [sessions[tail, read].run(None, {"x": image})[0].ravel()[:1] for read in (False, True)]
    assert np.allclose(*results, atol=1e-5), tail
    apart = [kind for kind in nodes[tail, False] if kind in ("Relu", "HardSigmoid", "HardSwish", "Mul")]
    assert bool(apart) == (tail != "relu"), (tail, apart)
    assert not [kind for kind in nodes[tail, True] if kind in ("Relu", "HardSigmoid", "HardSwish", "Mul")], tail
PYTHON
