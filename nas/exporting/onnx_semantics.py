"""How ONNX Runtime resizes and takes labels in an exported file, beside PyTorch: seen by running it, not taken from documents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from nas.worker.quiet_onnxruntime import import_onnxruntime

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

MODES = {b"nearest": "nearest", b"linear": "bilinear", b"cubic": "bicubic"}
"""Mode of a Resize -> that of `torch.nn.functional.interpolate`."""
TIED = 3
"""Every so many-th class shares the largest score in the test of ties, from the second on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Semantics:
    """What was seen in ONNX Runtime.

    Args:
        version: Of ONNX Runtime.
        resizes: Number of resizes in the file.
        corner_aligned: How many of them align corners.
        resize_difference: Largest difference from PyTorch's resizing of the same map, in units of that map's largest value.
        argmax: logits: the file has no argmax. first: labels are the first class of the largest logit, as PyTorch's are; other:
            they are not.
    """

    version: str
    resizes: int
    corner_aligned: int
    resize_difference: float
    argmax: str

    def as_json(self) -> dict[str, Any]:
        """For `export.json`; null stands for a difference that is not finite."""
        finite = math.isfinite(self.resize_difference)
        return {**asdict(self), "resize_difference": self.resize_difference if finite else None}

    def line(self) -> str:
        """For people."""
        resized = (
            f"{self.resizes} resizes, {self.corner_aligned} with aligned corners, are PyTorch's to {self.resize_difference:.0e}"
            if self.resizes
            else "nothing is resized"
        )
        labels = {
            "logits": "NCHW logits, no argmax",
            "first": "NCHW labels, of equal logits the first class",
            "other": "NCHW labels, of equal logits another class than in PyTorch",
        }
        return f"  in ONNX Runtime {self.version}: {resized}; {labels[self.argmax]}"


def semantics_of(model: ModelProto, images: NDArray[np.float32]) -> Semantics:
    """Run a file, and look at each of its resizes and at its argmax.

    Args:
        model: An exported file.
        images: [N, 3, H, W].
    """
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    maps = _maps(model, images, [name for node in resizes for name in (node.input[0], node.output[0])])
    differences = [0.0, *(_difference(node, maps[node.input[0]], maps[node.output[0]]) for node in resizes)]
    return Semantics(
        version=str(import_onnxruntime().__version__),
        resizes=len(resizes),
        corner_aligned=sum(map(_aligns_corners, resizes)),
        resize_difference=float(np.max(differences)),  # not max: a NaN counts
        argmax=_argmax(model),
    )


def _maps(model: ModelProto, images: NDArray[np.float32], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Maps inside of a file, by name."""
    import onnx

    wanted = sorted(set(names))
    if not wanted:
        return {}
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    (given,) = model.graph.input
    del opened.graph.output[:]
    opened.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted)
    return dict(zip(wanted, _run(opened, {given.name: images}), strict=True))


def _difference(node: NodeProto, before: NDArray[Any], after: NDArray[Any]) -> float:
    source = torch.from_numpy(before).float()
    height, width = after.shape[2:]
    mode = MODES[next((attribute.s for attribute in node.attribute if attribute.name == "mode"), b"nearest")]
    corners = None if mode == "nearest" else _aligns_corners(node)
    expected = functional.interpolate(source, size=(height, width), mode=mode, align_corners=corners)
    largest = float(source.abs().max())
    return float((torch.from_numpy(after).float() - expected).abs().max()) / largest if largest else 0.0


def _aligns_corners(node: NodeProto) -> bool:
    return any(attribute.s == b"align_corners" for attribute in node.attribute)


def _argmax(model: ModelProto) -> str:
    """How the argmax of the file treats equal scores, by running it alone."""
    import onnx

    nodes = [node for node in model.graph.node if node.op_type == "ArgMax"]
    if not nodes:
        return "logits"
    scores = np.zeros((1, 3 * TIED, 4, 5), dtype=np.float32)
    scores[:, 1::TIED] = 1
    one = onnx.NodeProto()
    one.CopyFrom(nodes[-1])
    one.input[:], one.output[:] = ["scores"], ["labels"]
    graph = onnx.helper.make_graph(
        [one],
        "argmax",
        [onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, scores.shape)],
        [onnx.helper.make_empty_tensor_value_info("labels")],
    )
    alone = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    (labels,) = _run(alone, {"scores": scores})
    return "first" if bool((labels == 1).all()) else "other"


def _run(model: ModelProto, inputs: dict[str, NDArray[np.float32]]) -> list[NDArray[Any]]:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, inputs))
