"""ONNX files as others make them: a pointwise convolution of fixed weights, in many forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES = 11


def weights(classes: int = CLASSES) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights [classes, 3] and biases [classes] of the convolution."""
    draw = np.random.default_rng(7)
    return draw.normal(size=(classes, 3)).astype(np.float32), draw.normal(size=classes).astype(np.float32)


def write_file(
    path: Path,
    *,
    size: tuple[int | None, int | None] = (None, None),
    batch: int | None = None,
    stride: int = 1,
    labels: int | None = None,
    keepdims: bool = False,
    nhwc: bool = False,
    classes: int = CLASSES,
    stated: bool = True,
    second_output: bool = False,
    half: bool = False,
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write the file.

    Args:
        path: The file.
        size: (height, width) of the images; None: free.
        batch: Images at once; None: free.
        stride: Logits are of images averaged over squares of so many pixels.
        labels: Type of labels in place of logits.
        keepdims: Labels are [N, 1, H, W].
        nhwc: Channels are last, in input and output.
        classes: Number of classes.
        stated: Whether the shape of the logits states the number of classes.
        second_output: Whether the averaged images are an output, too, after the first.
        half: Images and logits are float16.
        metadata: Properties of the file.
    """
    weight, bias = weights(classes)
    height, width = (side or f"side{axis}" for axis, side in enumerate(size))
    shape: list[Any] = [batch or "n", height, width, 3] if nhwc else [batch or "n", 3, height, width]
    nodes = [helper.make_node("Transpose", ["images"], ["x"], perm=[0, 3, 1, 2])] if nhwc else []
    nodes += [helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.FLOAT)] if half else []
    source = "x" if nhwc else "wide" if half else "images"
    nodes.append(helper.make_node("AveragePool", [source], ["pooled"], kernel_shape=[stride, stride], strides=[stride, stride]))
    nodes.append(helper.make_node("Conv", ["pooled", "weight", "bias"], ["logits"]))
    end, kind = "logits", TensorProto.FLOAT
    if labels is not None:
        nodes.append(helper.make_node("ArgMax", ["logits"], ["indices"], axis=1, keepdims=int(keepdims)))
        nodes.append(helper.make_node("Cast", ["indices"], ["labels"], to=labels))
        end, kind = "labels", labels
    if half:
        nodes.append(helper.make_node("Cast", ["logits"], ["narrow"], to=TensorProto.FLOAT16))
        end, kind = "narrow", TensorProto.FLOAT16
    if nhwc and (labels is None or keepdims):
        nodes.append(helper.make_node("Transpose", [end], ["last"], perm=[0, 2, 3, 1]))
        end = "last"
    rank = 4 if labels is None or keepdims else 3
    out: list[Any] = [f"d{axis}" for axis in range(rank)]
    if labels is None and stated:
        out[3 if nhwc else 1] = classes
    outputs = [helper.make_tensor_value_info(end, kind, out)]
    if second_output:
        outputs.append(helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["n", "c", "h", "w"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT16 if half else TensorProto.FLOAT, shape)],
        outputs,
        [numpy_helper.from_array(weight.reshape(classes, 3, 1, 1), "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save_model(model, str(path))
    return path
