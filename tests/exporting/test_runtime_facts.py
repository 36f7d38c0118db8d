"""What runtimes do differently: told where the file has what it is about, and nowhere else."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from nas.config.settings import EXPORT_TARGETS
from nas.exporting.runtime_facts import FACTS, TRIGGERS, difference_lines, known_differences


def model_of(*nodes, batch=1, weights=(), output="y"):
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4, 9, 7])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        initializer=[numpy_helper.from_array(value, name) for name, value in weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def node(kind, source="x", result="y", **attributes):
    return helper.make_node(kind, [source], [result], **attributes)


WEIGHT = np.zeros((4, 4, 1, 1), np.float32)
RESIZE = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
CORNERS = {**RESIZE, "coordinate_transformation_mode": "align_corners"}
COUNTED = {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}
HAS = {
    "any file": (model_of(), 1),
    "free batch": (model_of(batch="batch"), 1),
    "float32 weights": (model_of(weights=[("w", WEIGHT), ("v", WEIGHT)]), 1),
    "convolution": (model_of(node("Conv"), node("Conv")), 2),
    "argmax": (model_of(node("ArgMax")), 1),
    "resized logits": (
        model_of(
            node("Resize", "x", "a"),
            node("Resize", "a", "b"),
            node("Cast", "b", "c"),
            node("ArgMax", "c", "d"),
            node("Unsqueeze", "d"),
        ),
        1,
    ),
    "corner-aligned resize": (model_of(node("Resize", **CORNERS), node("Resize", **RESIZE)), 1),
    "grouped 1x1 convolution": (model_of(node("Conv", group=2, kernel_shape=[1, 1]), node("Conv", kernel_shape=[1, 1])), 1),
    "cropped transposed convolution": (model_of(node("Slice"), node("ConvTranspose", "x", "a"), node("Slice", "a")), 1),
    "average pooling with ceil_mode and counted padding": (model_of(node("AveragePool", ceil_mode=1, **COUNTED)), 1),
}
LACKS = {
    "free batch": model_of(),
    "float32 weights": model_of(weights=[("w", WEIGHT.astype(np.float16)), ("sizes", np.zeros(4, np.float32))]),
    "convolution": model_of(node("ConvTranspose")),
    "argmax": model_of(node("Softmax")),
    "resized logits": model_of(node("Resize", "x", "a"), node("Conv", "a")),
    "corner-aligned resize": model_of(node("Resize", **RESIZE), node("Resize")),
    "grouped 1x1 convolution": model_of(node("Conv", group=4, kernel_shape=[3, 3]), node("Conv", group=1, kernel_shape=[1, 1])),
    "cropped transposed convolution": model_of(node("ConvTranspose", "x", "a"), node("Relu", "a", "b"), node("Slice", "b")),
    "average pooling with ceil_mode and counted padding": model_of(
        node("AveragePool", ceil_mode=0, **COUNTED),
        node("AveragePool", ceil_mode=1, **{**COUNTED, "count_include_pad": 0}),
        node("AveragePool", ceil_mode=1, **{**COUNTED, "pads": [0] * 4}),
    ),
}


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_trigger_counts_what_it_is_named_after(trigger):
    model, times = HAS[trigger]
    assert TRIGGERS[trigger](model) == times
    if trigger in LACKS:
        assert TRIGGERS[trigger](LACKS[trigger]) == 0


def test_each_fact_states_its_version_and_a_trigger_that_there_is():
    assert {fact.trigger for fact in FACTS} == set(TRIGGERS)
    assert dict.fromkeys(fact.runtime for fact in FACTS) == dict.fromkeys(EXPORT_TARGETS)
    assert all(re.search(r"\d\.\d", fact.seen) and fact.fact and fact.remedy for fact in FACTS)


def test_a_target_gets_its_own_facts_and_no_target_those_of_all():
    model = model_of(node("Conv", "x", "a"), node("ArgMax", "a"), batch="batch", weights=[("w", WEIGHT)])
    everything = known_differences(model)
    assert {one["runtime"] for one in everything} == set(EXPORT_TARGETS)
    for target in EXPORT_TARGETS:
        assert known_differences(model, target) == [one for one in everything if one["runtime"] == target]
    told = [(one["seen"].split()[0], one["trigger"]) for one in known_differences(model, "ncnn")]
    assert told == [("ncnn", "argmax"), ("ncnn", "float32 weights"), ("ncnn", "free batch")]


def test_lines_for_a_target_say_what_happens_and_what_to_do():
    model = model_of(node("ConvTranspose", "x", "a"), node("Slice", "a"))
    first, remedy, *_ = difference_lines(known_differences(model, "litert"), "litert")
    assert first == (
        "  LiteRT 2.3.0, onnx2tf 2.6.9: cropped transposed convolution (1 times): onnx2tf gives its result a wrong shape, with exit"
        " status 0"
    )
    assert remedy.startswith("    compare the output with ONNX Runtime's")
    (brief,) = difference_lines(known_differences(model), None)
    assert brief.endswith("with this file: mnn 1, litert 2; export.target=NAME tells")


def test_a_target_of_which_nothing_is_known_for_this_file_says_so():
    assert difference_lines(known_differences(model_of(), "vela"), "vela") == [
        "  vela: nothing is known that it does differently with this file"
    ]
