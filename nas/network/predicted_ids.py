"""Class ids that a network predicts for one picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from nas.data.batches.transforms import normalised
from nas.data.files.resize import resize_label
from nas.errors import NonFiniteLossError
from nas.ops.modules import predicted_labels


def predict_ids(
    forward: Callable[[Tensor], Tensor], image: NDArray[np.uint8], size: tuple[int, int], *, fabric: Fabric
) -> NDArray[np.uint8]:
    """Predicted class ids of an image [H, W, 3], resized to a size (height, width).

    Args:
        forward: Images [N, 3, H, W] -> logits [N, classes, H, W].
        image: The image, of any size that the network takes.
        size: Of the ids.
        fabric: The device.

    Raises:
        NonFiniteLossError: If an output is not finite: its largest class means nothing.
    """
    with torch.no_grad():
        logits = forward(fabric.to_device(normalised(image)[None]))
        if not bool(logits.isfinite().all()):
            raise NonFiniteLossError("got logits that are not finite, of which no class can be taken; the network cannot be used")
        labels = predicted_labels(logits)[0]
    return resize_label(labels.byte().cpu().numpy(), size)
