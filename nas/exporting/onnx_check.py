"""Whether an ONNX file computes what its PyTorch network computes: both run on the same images, on the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.batches.transforms import normalised
from nas.data.street import draw_scene
from nas.exporting.file_positions import give_positions, steered
from nas.ops.modules import predicted_labels
from nas.worker.quiet_onnxruntime import import_onnxruntime

if TYPE_CHECKING:
    from onnx import ModelProto

FP32_LIMIT = 1e-3
"""Largest absolute difference of a logit in fp32."""
FP16_LIMIT = 1e-2
"""Largest difference of a logit in fp16, in units of the largest absolute logit: float16 has 11 significant bits, so each of the
tens of layers in a row rounds by up to 5e-4 of its values; random LGCNet networks of 14 cells differ by 1e-3 to 2e-3."""
SHORTFALL_LIMITS = {"fp32": 1e-4, "fp16": 1e-2}
"""How far the value at a position of unpooling may stay below the largest one of its window, in units of the map's largest."""
BATCHES = (("scene", 1), ("scene", 3), ("noise", 1), ("noise", 3))
"""Inputs of the check: drawn street scenes and uniform noise, and how many at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Result of a check at one size.

    Args:
        input: (height, width) in pixels.
        images: Number of images.
        max_abs_difference: Largest absolute difference of a logit; of labels, by how much the logit in PyTorch of a label that
            the file gives stays below the largest one of its pixel. NaN or inf where the file gives such.
        largest_logit: Largest absolute logit in PyTorch.
        allowed: Up to where the difference passes.
        argmax_agreement: Share of pixels that get the same label.
    """

    input: tuple[int, int]
    images: int
    max_abs_difference: float
    largest_logit: float
    allowed: float
    argmax_agreement: float

    @property
    def passed(self) -> bool:
        """Whether the difference is a number, and allowed."""
        return self.max_abs_difference <= self.allowed

    def as_json(self) -> dict[str, Any]:
        """For `export.json`; null stands for a difference that is not finite."""
        difference = self.max_abs_difference
        return {
            "input": list(self.input),
            "batch_sizes": [count for _, count in BATCHES],
            "images": self.images,
            "max_abs_difference": difference if math.isfinite(difference) else None,
            "allowed": self.allowed,
            "largest_logit": self.largest_logit,
            "argmax_agreement": self.argmax_agreement,
        }


def compare(
    model: ModelProto, reference: Callable[[Tensor], Tensor], *, size: tuple[int, int], precision: str, output: str
) -> Agreement:
    """Run a model in ONNX Runtime beside its PyTorch network, which unpools at the file's positions if it does unpool.

    Args:
        model: With one input [N, 3, H, W] and one output.
        reference: The network in PyTorch: [N, 3, H, W] -> logits [N, classes, H, W].
        size: (height, width) in pixels.
        precision: fp32 or fp16; decides how large a difference may be.
        output: logits or labels.
    """
    run = _session(model)
    differences, agreements, largest, images = [0.0], [], 0.0, 0
    for batch in check_batches(size):
        result, *positions = run(batch.numpy())
        with torch.no_grad(), steered(reference, positions) as found:
            expected = reference(batch)
        if found.shortfall > SHORTFALL_LIMITS[precision]:
            differences.append(math.inf)
        got = torch.from_numpy(result)
        labels = got[:, 0] if output == "labels" else predicted_labels(got)
        differences.append(_gap(expected, labels) if output == "labels" else float((got - expected).abs().max()))
        agreements.append(float((labels == predicted_labels(expected)).double().mean()) * len(batch))
        largest = max(largest, float(expected.abs().max()))
        images += len(batch)
    return Agreement(
        input=size,
        images=images,
        max_abs_difference=float(np.max(differences)),  # not max: a NaN counts
        largest_logit=largest,
        allowed=allowed_difference(precision, output, largest),
        argmax_agreement=sum(agreements) / images,
    )


def allowed_difference(precision: str, output: str, largest_logit: float) -> float:
    """The largest difference that passes; for labels twice that of a logit, because the two that compete may both be off."""
    limit = FP32_LIMIT if precision == "fp32" else FP16_LIMIT * largest_logit
    return 2 * limit if output == "labels" else limit


def check_batches(size: tuple[int, int]) -> Iterator[Tensor]:
    """The normalised images [N, 3, H, W] float32 of `BATCHES`, always the same ones."""
    for number, (kind, count) in enumerate(BATCHES):
        images = [_image(kind, size, np.random.default_rng([number, i])) for i in range(count)]
        yield torch.stack([normalised(image) for image in images])


def _image(kind: str, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    return draw_scene(rng, size)[0] if kind == "scene" else rng.integers(0, 256, (*size, 3), dtype=np.uint8)


def _gap(logits: Tensor, labels: Tensor) -> float:
    """Largest difference of the logit of a label from the largest of its pixel."""
    if not bool(((labels >= 0) & (labels < logits.shape[1])).all()):
        return math.inf
    return float((logits.amax(dim=1) - logits.gather(1, labels[:, None])[:, 0]).max())


def _session(model: ModelProto) -> Callable[[NDArray[np.float32]], list[NDArray[Any]]]:
    """What runs a model: images -> its output, and the positions of its unpooling."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    copy = type(model)()
    copy.CopyFrom(model)
    give_positions(copy)
    session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in session.get_inputs())
    return lambda images: [np.asarray(one) for one in session.run(None, {name: images})]
