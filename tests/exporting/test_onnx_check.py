"""The check of an ONNX file: what it runs, what it finds in a file that is wrong, and what passes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from nas.exporting.onnx_check import Agreement, allowed_difference, check_batches, compare
from nas.exporting.onnx_graph import trace_onnx
from nas.ops.modules import Argmax

SIZE = (9, 13)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Conv2d(3, 5, 3, padding=1).eval()


def exported(module, output="logits"):
    return trace_onnx(module, {"images": torch.zeros(1, 3, *SIZE)}, output=output, opset=17)


def found(model, network, precision="fp32", output="logits"):
    return compare(model, network, size=SIZE, precision=precision, output=output)


def test_images_are_scenes_and_noise_as_a_network_sees_them_and_always_the_same():
    batches = list(check_batches(SIZE))
    assert [tuple(batch.shape) for batch in batches] == [(count, 3, *SIZE) for count in (1, 3, 1, 3)]
    everything = torch.cat(batches)
    assert len({image.numpy().tobytes() for image in everything}) == 8
    for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        pixels = everything[:, channel].double() * std + mean
        assert float(pixels.min()) > -1e-6
        assert float(pixels.max()) < 1 + 1e-6
        np.testing.assert_allclose(pixels * 255, (pixels * 255).round(), atol=1e-3)
    assert all(torch.equal(one, other) for one, other in zip(batches, check_batches(SIZE), strict=True))


def test_a_faithful_file_passes(network):
    agreement = found(exported(network), network)
    assert agreement.passed
    assert agreement.max_abs_difference < 1e-5
    assert (agreement.argmax_agreement, agreement.images, agreement.input) == (1.0, 8, SIZE)
    with torch.no_grad():
        largest = max(float(network(batch).abs().max()) for batch in check_batches(SIZE))
    assert agreement.largest_logit == pytest.approx(largest)


@pytest.mark.parametrize(("shift", "passes"), [(0.0009, True), (0.0012, False), (-0.01, False)])
def test_a_logit_that_is_off_is_measured_and_refused_above_a_thousandth(network, shift, passes):
    model = exported(network)
    with torch.no_grad():
        network.bias[2] += shift
    agreement = found(model, network)
    assert agreement.max_abs_difference == pytest.approx(abs(shift), abs=1e-5)
    assert agreement.passed == passes


def test_a_file_of_nothing_but_nan_fails_and_its_report_is_valid_json(network):
    with torch.no_grad():
        network.bias[0] = math.nan
    model = exported(network)
    with torch.no_grad():
        network.bias[0] = 0.0
    agreement = found(model, network)
    assert not agreement.passed
    assert json.loads(json.dumps(agreement.as_json(), allow_nan=False))["max_abs_difference"] is None


def test_labels_are_measured_by_what_their_logit_lacks_in_pytorch(network):
    labelled = nn.Sequential(network, Argmax()).eval()
    model = exported(labelled, "labels")
    faithful = found(model, network, output="labels")
    assert (faithful.max_abs_difference, faithful.argmax_agreement) == (0.0, 1.0)
    with torch.no_grad():
        network.bias[1] += 0.5
    agreement = found(model, network, output="labels")
    assert not agreement.passed
    assert 0.1 < agreement.max_abs_difference <= 0.5 + 1e-5
    assert 0.3 < agreement.argmax_agreement < 1


def test_what_is_allowed():
    assert allowed_difference("fp32", "logits", 100.0) == 1e-3
    assert allowed_difference("fp32", "labels", 100.0) == 2e-3
    assert allowed_difference("fp16", "logits", 10.0) == pytest.approx(0.1)
    assert allowed_difference("fp16", "labels", 10.0) == pytest.approx(0.2)


@pytest.mark.parametrize(("difference", "passes"), [(0.0, True), (1.0, True), (1.001, False), (math.nan, False), (math.inf, False)])
def test_only_a_finite_difference_within_the_limit_passes(difference, passes):
    agreement = Agreement(input=SIZE, images=1, max_abs_difference=difference, largest_logit=1.0, allowed=1.0, argmax_agreement=1.0)
    assert agreement.passed == passes
