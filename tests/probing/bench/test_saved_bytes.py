"""What autograd saves, counted by hand."""

from __future__ import annotations

import pytest
import torch

from nas.probing.bench.saved_bytes import SavedBytes


def test_a_storage_counts_once_and_only_while_it_is_saved() -> None:
    x = torch.ones(10, requires_grad=True)
    with SavedBytes() as saved:
        y = x.exp()  # saves its result, 40 bytes
        z = y * y  # saves the same twice
        assert saved.current == 40
        z.sum().backward()
    assert (saved.current, saved.most) == (0, 40)
    assert torch.allclose(x.grad, 2 * torch.exp(torch.tensor(2.0)).expand(10))  # type: ignore[arg-type]


def test_parameters_do_not_count() -> None:
    layer, x = torch.nn.Linear(5, 3, bias=False), torch.ones(2, 5)
    for apart, expected in (([], 4 * 15 + 4 * 10), (layer.parameters(), 4 * 10)):
        with SavedBytes(apart) as saved:
            layer(x.clone().requires_grad_()).sum().backward()
        assert saved.most == expected


def test_of_several_passes_the_largest_counts() -> None:
    x = torch.ones(100, requires_grad=True)
    with SavedBytes() as saved:
        for size in (10, 100, 20):
            x[:size].clone().exp().sum().backward()
    assert (saved.current, saved.most) == (0, 400)


def test_a_saved_part_holds_its_whole_storage() -> None:
    x = torch.ones(1000)
    scale = torch.ones(10, requires_grad=True)
    with SavedBytes() as saved:
        (scale * x[:10]).sum().backward()
    assert saved.most == 4000


def test_what_fails_in_between_leaves_the_hooks_behind_it() -> None:
    x = torch.ones(4, requires_grad=True)
    with pytest.raises(RuntimeError, match="mine"), SavedBytes() as saved:
        raise RuntimeError("mine")
    x.exp().sum().backward()
    assert saved.most == 0
