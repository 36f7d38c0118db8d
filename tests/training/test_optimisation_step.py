"""An optimisation step: what is clipped, checked and moved, in which order."""

from __future__ import annotations

import torch

from nas.training.optimisation_step import clip_gradients


def test_clip_gradients_scales_to_the_norm_and_states_what_it_was():
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert float(clip_gradients([parameter], 0)) == 5.0
    assert parameter.grad.tolist() == [3.0, 4.0]
    assert float(clip_gradients([parameter], 1.0)) == 5.0
    assert torch.allclose(parameter.grad, torch.tensor([0.6, 0.8]), atol=1e-5)
    parameter.grad = torch.tensor([float("inf"), 0.0])
    assert float(clip_gradients([parameter], 1.0)) == float("inf")
