"""How ONNX Runtime resizes and takes labels: as PyTorch in our files, and a file that differs is seen."""

from __future__ import annotations

import json
import math

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional

from nas.exporting.onnx_graph import to_float16, trace_onnx
from nas.exporting.onnx_semantics import semantics_of
from nas.ops.modules import Argmax, predicted_labels

IMAGES = np.random.default_rng(0).standard_normal((2, 3, 9, 7)).astype(np.float32)


class Resized(nn.Module):
    """Two resizes, one of them with aligned corners, and labels where asked for."""

    def __init__(self, *, labels):
        super().__init__()
        self.labels = labels

    def forward(self, x):
        x = functional.interpolate(x, size=(13, 20), mode="bilinear", align_corners=True)
        x = functional.interpolate(torch.relu(x), size=(5, 31), mode="bilinear", align_corners=False)
        return Argmax()(x) if self.labels else x


def file_of(*, labels=False):
    return trace_onnx(Resized(labels=labels).eval(), {"x": torch.zeros(1, 3, 9, 7)}, output="y", opset=17)


@pytest.mark.parametrize(
    ("labels", "argmax", "words"), [(False, "logits", "NCHW logits, no argmax"), (True, "first", "the first class")]
)
def test_our_files_resize_and_label_as_pytorch(labels, argmax, words):
    found = semantics_of(file_of(labels=labels), IMAGES)
    assert (found.resizes, found.corner_aligned, found.argmax) == (2, 1, argmax)
    assert 0 <= found.resize_difference < 1e-6
    assert "2 resizes, 1 with aligned corners, are PyTorch's to " in found.line()
    assert words in found.line()
    assert json.loads(json.dumps(found.as_json()))["version"] == found.version


def test_of_equal_logits_pytorch_takes_the_first_class():
    scores = torch.zeros(1, 19, 64, 64)
    scores[:, [3, 7, 11]] = 1
    assert predicted_labels(scores).unique().tolist() == [3]


def test_another_choice_among_equal_logits_is_seen():
    model = file_of(labels=True)
    (last,) = (node for node in model.graph.node if node.op_type == "ArgMax")
    last.attribute.append(helper.make_attribute("select_last_index", 1))
    assert semantics_of(model, IMAGES).argmax == "other"


class Enlarged(nn.Module):
    """One resize by a factor that is no whole number."""

    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def forward(self, x):
        return functional.interpolate(x, size=(13, 20), mode=self.mode)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_every_mode_is_compared_with_its_own(mode):
    model = trace_onnx(Enlarged(mode).eval(), {"x": torch.zeros(1, 3, 9, 7)}, output="y", opset=17)
    assert semantics_of(model, IMAGES).resize_difference < 1e-5


@pytest.mark.parametrize(("attribute", "value"), [("coordinate_transformation_mode", "asymmetric"), ("mode", "nearest")])
def test_another_way_of_resizing_is_seen(attribute, value):
    model = file_of()
    for node in (node for node in model.graph.node if node.op_type == "Resize"):
        next(one for one in node.attribute if one.name == attribute).s = value.encode()
    assert semantics_of(model, IMAGES).resize_difference > 1e-2


def test_float16_rounds():
    model = file_of()
    to_float16(model)
    assert 1e-5 < semantics_of(model, IMAGES).resize_difference < 2e-3


def test_without_resizes_there_is_nothing_to_compare():
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 9, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 9, 7])],
    )
    found = semantics_of(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), IMAGES)
    assert (found.resizes, found.resize_difference) == (0, 0.0)
    assert "nothing is resized" in found.line()


def test_a_difference_that_is_no_number_is_null_in_the_report():
    found = semantics_of(file_of(), np.full_like(IMAGES, np.nan))
    assert math.isnan(found.resize_difference)
    assert found.as_json()["resize_difference"] is None


def test_the_file_stays_as_it_is():
    model = file_of(labels=True)
    before = model.SerializeToString()
    semantics_of(model, IMAGES)
    assert model.SerializeToString() == before
    onnx.checker.check_model(model, full_check=True)
