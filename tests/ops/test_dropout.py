"""Dropout takes part in training alone."""

from __future__ import annotations

import pytest
import torch

from nas.ops import OpSpec, build, is_free
from nas.ops.spec import DROPOUTS


@pytest.mark.parametrize("kind", DROPOUTS)
def test_the_share_that_is_dropped_in_training_and_nothing_after_it(kind: str):
    spec = OpSpec(kind=kind, in_channels=200, height=4, width=3, out_channels=200, out_height=4, out_width=3)
    module, x = build(spec), torch.ones(80, 200, 4, 3)
    torch.manual_seed(0)
    dropped = module(x) == 0
    assert float(dropped.float().mean()) == pytest.approx(DROPOUTS[kind], rel=0.15)
    whole = dropped.flatten(2).all(dim=2) | ~dropped.flatten(2).any(dim=2)
    assert bool(whole.all()) == kind.startswith("channel")
    assert is_free(spec)
    assert torch.equal(module.eval()(x), x)
