"""Small ONNX files of networks that nobody of us has made: as exporters of others write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Side = int | str
"""A fixed side, or the name of a free one."""
PARAMETERS = 3 * 8 * 9 + 8 + 2 * 8 + 8 * 5
"""Two convolutions, the first with a bias, and scale and shift of a batch norm."""


def save_network(path: Path, image: Sequence[Side] = (1, 3, "height", "width"), *, outputs: int = 1) -> Path:
    """A strided convolution, a batch norm, a pointwise convolution to 5 classes, and a resize by 2; for even sizes.

    Args:
        path: The file to write.
        image: Shape of the input.
        outputs: How many outputs it has.
    """
    draw = np.random.default_rng(0)
    weights = {
        "first": draw.normal(size=(8, 3, 3, 3)),
        "bias": draw.normal(size=8),
        "scale": np.ones(8),
        "shift": np.zeros(8),
        "mean": np.zeros(8),
        "var": np.ones(8),
        "last": draw.normal(size=(5, 8, 1, 1)),
        "factors": np.array([1, 1, 2, 2]),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first", "bias"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "last"], ["d"]),
        helper.make_node("Resize", ["d", "", "factors"], ["logits"], mode="linear"),
    ]
    ends = [("logits", [None] * 4), ("d", [None] * 4)][:outputs]
    graph = helper.make_graph(
        nodes,
        "somebody's",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(image))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name, sides in ends],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def macs_at(height: int, width: int) -> int:
    """Multiply-accumulates of the network for one image."""
    return height // 2 * (width // 2) * (8 * 3 * 9 + 5 * 8)
