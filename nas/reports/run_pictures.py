"""Pictures of a run as it stands: its architecture, and what the network predicts for a few fixed images."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from nas.data.batches.transforms import evaluation
from nas.data.dataset import SegmentationDataset
from nas.ops.modules import predicted_labels
from nas.reports.overlay import comparison
from nas.space.design import Design

PREDICTED = 3
"""Number of images of which predictions are shown while a network is trained."""
_DPI = 90


def architecture_picture(design: Design, *, parts_ms: Mapping[str, float] | None = None) -> NDArray[np.uint8]:
    """A derived network as pixels [H, W, 3]; see `nas.reports.plots.draw_genotype`."""
    from nas.reports.plots import draw_genotype

    figure = draw_genotype(design.genotype, design.graph, parts_ms=parts_ms)
    figure.set_dpi(_DPI)
    canvas = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]


def predicted_pictures(
    forward: Callable[[Tensor], Tensor], dataset: object, *, fabric: Fabric, count: int = PREDICTED
) -> dict[str, NDArray[np.uint8]]:
    """Image, truth, prediction and errors of images spread over a split, always the same ones.

    Args:
        forward: Images [N, 3, H, W] -> logits [N, classes, H, W].
        dataset: The split; one without labels of pixels has no pictures.
        fabric: Where the network is.
        count: Number of images.

    Returns:
        Name of the image -> RGB picture [H, W, 3].
    """
    if not isinstance(dataset, SegmentationDataset):
        return {}
    pictures = {}
    for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int).tolist():
        image, truth = dataset.load(index)
        with torch.no_grad():
            logits = forward(fabric.to_device(evaluation((image, truth))[0][None]))
        prediction = predicted_labels(logits)[0].byte().cpu().numpy()
        pictures[dataset.name(index)] = comparison(image, truth, prediction, dataset.palette, class_names=dataset.classes)
    return pictures
