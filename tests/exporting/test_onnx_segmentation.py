"""ONNX files of anybody as segmentation networks: every form gives the labels of the same arithmetic in NumPy, or a clear error."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, save_model
from torch.nn import functional

from nas.config.onnx_settings import OnnxFileSettings
from nas.data.batches.transforms import to_tensors
from nas.errors import ConfigError
from nas.exporting.checked_onnx import open_onnx
from nas.exporting.onnx_metadata import OnnxMetadata
from nas.exporting.onnx_segmentation import OnnxSegmentation, feed_of
from tests.onnx_files import CLASSES, weights, write_file

SIZE = (12, 16)
OURS = {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CAFFE = {"scale": 1.0, "mean": [104.0, 117.0, 123.0], "std": [1.0, 1.0, 1.0], "channels": "bgr"}


def pictures(count=3):
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)


def fed(count=3):
    """Images as the loaders of data sets make them."""
    blank = np.zeros(SIZE, dtype=np.uint8)
    return torch.stack([to_tensors(picture, blank)[0] for picture in pictures(count)])


def expected(count=3, *, stride=1, scale=1 / 255, mean=OURS["mean"], std=OURS["std"], channels="rgb"):
    """The logits by NumPy, from the pixels."""
    weight, bias = weights()
    pixels = pictures(count).astype(np.float64)[..., :: -1 if channels == "bgr" else 1]
    normal = (pixels * scale - mean) / std
    n, height, width, _ = normal.shape
    means = normal.reshape(n, height // stride, stride, width // stride, stride, 3).mean(axis=(2, 4))
    return torch.from_numpy((means @ weight.T + bias).transpose(0, 3, 1, 2)).float()


def opened(path, num_classes=None, **settings):
    return OnnxSegmentation(open_onnx(path, threads=1), OnnxFileSettings(**settings), num_classes=num_classes)


@pytest.mark.parametrize(
    "settings", [{}, OURS, CAFFE, {"mean": [0.5] * 3, "std": [0.5] * 3}], ids=["none", "ours", "caffe", "half"]
)
@pytest.mark.parametrize("nhwc", [False, True])
def test_images_are_fed_as_the_settings_state(tmp_path, settings, nhwc):
    network = opened(write_file(tmp_path / "m.onnx", nhwc=nhwc), **settings, **({"layout": "nhwc"} if nhwc else {}))
    torch.testing.assert_close(network(fed()), expected(**settings), rtol=1e-4, atol=1e-3)
    assert network.num_classes == CLASSES
    told = network.facts()["input"]["known_from"]
    assert {key for key, origin in told.items() if origin == "settings"} == {*settings, *(["layout"] if nhwc else [])}
    assert set(network.feed.assumed) == {key for key in told if told[key] == "assumed"}


def test_images_fed_as_ours_are_not_touched():
    images = fed()
    assert feed_of(OnnxFileSettings(), None, "m.onnx").normalised(images) is images


def test_a_file_may_read_and_give_float16(tmp_path):
    logits = opened(write_file(tmp_path / "m.onnx", half=True))(fed())
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected(), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_a_fixed_number_of_images_is_filled_up(tmp_path, batch):
    network = opened(write_file(tmp_path / "m.onnx", batch=batch, size=SIZE))
    torch.testing.assert_close(network(fed()), expected(), rtol=1e-4, atol=1e-4)


def test_smaller_logits_are_resized_bilinearly_and_that_is_told(tmp_path):
    network = opened(write_file(tmp_path / "m.onnx", stride=4))
    small = expected(stride=4)
    assert small.shape[2:] == (3, 4)
    torch.testing.assert_close(
        network(fed()), functional.interpolate(small, SIZE, mode="bilinear", align_corners=False), rtol=1e-4, atol=1e-4
    )
    assert network.resizing() == "bilinearly, with half-pixel centres, from 3x4"
    assert network.facts()["output"]["resized"] == network.resizing()


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8])
@pytest.mark.parametrize(("keepdims", "nhwc"), [(False, False), (True, False), (True, True), (False, True)])
def test_labels_become_logits_of_these_labels(tmp_path, kind, keepdims, nhwc):
    path = write_file(tmp_path / "m.onnx", labels=kind, keepdims=keepdims, nhwc=nhwc)
    network = opened(path, CLASSES, layout="nhwc" if nhwc else None)
    logits = network(fed())
    assert logits.shape == (3, CLASSES, *SIZE)
    assert torch.equal(logits.argmax(dim=1), expected().argmax(dim=1))
    assert (network.gives_labels, network.resizing()) == (True, None)


def test_one_of_several_outputs_can_be_chosen(tmp_path):
    path = write_file(tmp_path / "m.onnx", second_output=True)
    with pytest.raises(ConfigError, match=r"got 2 outputs \(logits .*, pooled .*\), expected one; give onnx_file.output=NAME"):
        opened(path)
    with pytest.raises(ConfigError, match=r"onnx_file.output: got 'mask', expected one of the outputs"):
        opened(path, output="mask")
    torch.testing.assert_close(opened(path, output="logits")(fed()), expected(), rtol=1e-4, atol=1e-4)


def test_sizes_that_do_not_fit_are_refused_with_the_setting_that_fits(tmp_path):
    network = opened(write_file(tmp_path / "m.onnx", size=(24, None)))
    with pytest.raises(ConfigError, match=r"reads images of 24x16, got 12x16; give data.size=\[24,16\]"):
        network.require_size(SIZE, "data.size")
    network.require_size((24, 16), "data.size")


def test_labels_of_fewer_images_than_were_given_are_refused(tmp_path):
    nodes = [
        helper.make_node("ArgMax", ["images"], ["labels"], axis=1, keepdims=0),
        helper.make_node("Slice", ["labels", "zero", "one", "zero"], ["first"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("images", TensorProto.FLOAT, ["n", 3, "h", "w"]),
            ("first", TensorProto.INT64, ["m", "h", "w"]),
        )
    ]
    numbers = [numpy_helper.from_array(np.array([number]), name) for number, name in ((0, "zero"), (1, "one"))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], numbers)
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    network = opened(tmp_path / "m.onnx", 3)
    assert network(fed(1)).shape == (1, 3, *SIZE)
    with pytest.raises(ConfigError, match="got labels of 1x12x16 for images of 3x12x16"):
        network(fed(3))


REFUSED = {
    "channels last": ({"nhwc": True}, {}, r"got the input images \[\?,\?,\?,3\], expected \[N,3,H,W\]; give onnx_file.layout=nhwc"),
    "channels first": ({}, {"layout": "nhwc"}, r"expected \[N,H,W,3\]; give onnx_file.layout=nchw"),
    "small labels": (
        {"labels": TensorProto.INT64, "stride": 4},
        {"classes": ["a", "b", "c", *"defghijk"]},
        "got labels of 1x3x4 for images of 1x12x16",
    ),
    "labels of unknown classes": (
        {"labels": TensorProto.INT64},
        {},
        r"does not state its classes; give onnx_file.classes=\[NAME,...\]",
    ),
    "labels beyond the classes": ({"labels": TensorProto.INT64}, {"classes": ["a", "b"]}, "got the label .*, expected 0 to 1"),
    "labels as numbers": (
        {"labels": TensorProto.FLOAT},
        {"classes": ["a", "b"]},
        "got an output of 1x12x16, expected logits of 1x2xHxW",
    ),
    "labels of booleans": ({"labels": TensorProto.BOOL}, {"classes": ["a", "b"]}, "of bool, expected logits of float or labels"),
    "names of others": (
        {},
        {"classes": ["a", "b"]},
        "got 11 classes by the shape of its logits and 2 classes by onnx_file.classes",
    ),
    "too many classes": ({"classes": 300}, {}, "got 300 classes, expected at most 254"),
    "other metadata": (
        {"metadata": {"input_normalisation": "image"}},
        {},
        "metadata: input_layout: got None, expected 'NCHW, RGB'",
    ),
}


@pytest.mark.parametrize(("form", "settings", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_evaluated_is_refused_in_a_line(tmp_path, form, settings, message):
    path = write_file(tmp_path / "m.onnx", **form)
    with pytest.raises(ConfigError, match=message) as refused:
        opened(path, **settings)(fed(1))
    assert "\n" not in str(refused.value)


def test_classes_that_no_shape_states_are_those_of_the_weights(tmp_path):
    path = write_file(tmp_path / "m.onnx", stated=False)
    torch.testing.assert_close(opened(path, 7)(fed()), expected(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"mean": [0.5]},
        {"mean": [0.5, 0.5, float("nan")]},
        {"std": [0.5, 0.0, 0.5]},
        {"scale": 0.0},
        {"scale": float("inf")},
        {"channels": "gbr"},
        {"layout": "NCHW"},
        {"classes": ["a"]},
        {"classes": ["a", "a"]},
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings):
    (key,) = settings
    with pytest.raises(ConfigError, match=rf"^onnx_file.{key}: got .*, expected "):
        OnnxFileSettings(**settings)


def test_a_setting_against_the_metadata_is_refused():
    stated = OnnxMetadata(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), num_classes=2, classes=None)
    feed = feed_of(OnnxFileSettings(mean=[0.5, 0.5, 0.5], channels="rgb"), stated, "m.onnx")
    assert (feed.mean, feed.std, feed.assumed) == (stated.mean, stated.std, [])
    for settings in (OnnxFileSettings(mean=[0.4, 0.5, 0.5]), OnnxFileSettings(channels="bgr")):
        (key,) = (key for key, value in dataclasses.asdict(settings).items() if value is not None)
        with pytest.raises(ConfigError, match=rf"^onnx_file.{key}: .* the metadata of m.onnx state .*; leave onnx_file.{key} away"):
            feed_of(settings, stated, "m.onnx")
