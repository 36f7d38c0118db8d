"""Draws of spaces: the numbers that PyTorch's generator gives, in one draw of it each."""

from __future__ import annotations

import torch

from nas.space.draws import draw, draw_distinct, draws


def test_draws_are_those_of_the_generator_in_their_order():
    ours, theirs = (torch.Generator().manual_seed(3) for _ in range(2))
    found = [draw(7, ours), *draws(5, 4, ours), *draw_distinct(6, 3, ours)]
    expected = [
        int(torch.randint(7, (), generator=theirs)),
        *torch.randint(5, (4,), generator=theirs).tolist(),
        *torch.randperm(6, generator=theirs)[:3].tolist(),
    ]
    assert found == expected
    assert torch.equal(ours.get_state(), theirs.get_state())


def test_distinct_numbers_are_different_and_below_their_count():
    assert sorted(draw_distinct(4, 4, torch.Generator().manual_seed(0))) == [0, 1, 2, 3]
    assert draw_distinct(4, 0, torch.Generator()) == []
