"""The metadata of our own ONNX files are read back as they were written, and nothing else is taken for them."""

from __future__ import annotations

import json

import pytest

from nas.errors import ConfigError
from nas.exporting.onnx_metadata import OnnxMetadata, input_properties, read_metadata

STATED = {**input_properties(), "num_classes": 2, "classes": ["sky", "car"]}


def as_texts(properties):
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in properties.items()}


def test_what_an_export_states_is_read_back():
    expected = OnnxMetadata(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), num_classes=2, classes=("sky", "car"))
    assert read_metadata(as_texts(STATED), "m.onnx") == expected
    without = {key: value for key, value in STATED.items() if key != "classes"}
    assert read_metadata(as_texts(without), "m.onnx").classes is None


def test_properties_of_others_are_no_metadata_of_ours():
    assert read_metadata({}, "m.onnx") is None
    assert read_metadata({"classes": "a, b", "num_classes": "many"}, "m.onnx") is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_layout", "NHWC, RGB"),
        ("input_normalisation", "image / 127.5 - 1"),
        ("input_mean", [0.5, 0.5]),
        ("input_mean", "0.5"),
        ("input_std", [0.5, 0, 0.5]),
        ("input_std", [0.5, None, 0.5]),
        ("input_std", "[0.5, 0.5, 1e999]"),
        ("num_classes", "many"),
        ("num_classes", -1),
        ("classes", ["sky"]),
        ("classes", ["sky", "sky"]),
        ("classes", "[" * 5000),
    ],
)
def test_metadata_that_ours_never_are_are_refused_by_name(key, value):
    with pytest.raises(ConfigError, match=r"^onnx: m.onnx: metadata: .*; export the network again$") as refused:
        read_metadata(as_texts({**STATED, key: value}), "m.onnx")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["input_layout", "input_mean", "input_std", "num_classes"])
def test_metadata_that_lack_something_are_refused_by_name(key):
    with pytest.raises(ConfigError, match=rf"metadata: {key}: got None"):
        read_metadata(as_texts({name: value for name, value in STATED.items() if name != key}), "m.onnx")
