"""Class ids of one picture; how they are counted and drawn is tested in reports/test_picture_predictions.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from nas.errors import NonFiniteLossError
from nas.network.predicted_ids import predict_ids

IMAGE = np.zeros((4, 6, 3), dtype=np.uint8)


def answers(logits):
    return lambda images: logits[None].expand(len(images), -1, -1, -1)


def test_ids_are_those_of_the_largest_logit_at_the_size_asked_for():
    logits = torch.zeros(3, 4, 6)
    logits[2, :, 3:] = 1
    ids = predict_ids(answers(logits), IMAGE, (8, 12), fabric=Fabric(accelerator="cpu"))
    assert ids.dtype == np.uint8
    assert np.array_equal(ids, np.repeat([[0] * 6 + [2] * 6], 8, axis=0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_output_that_is_not_finite_has_no_class(value):
    logits = torch.zeros(3, 4, 6)
    logits[1, 0, 0] = value
    with pytest.raises(NonFiniteLossError, match="not finite, of which no class"):
        predict_ids(answers(logits), IMAGE, (4, 6), fabric=Fabric(accelerator="cpu"))
