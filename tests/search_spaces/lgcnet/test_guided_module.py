"""The GCN-guided module against loops in NumPy (LGCNet, eq. 5-7) and finite differences."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from search_spaces.lgcnet.guided_module import FullyConnectedModule, GuidedChain, GuidedModule, OperationIdentityModule
from tests.small_jobs import search_job, search_task

P, Q, D, GAMMA = 5, 8, 6, 0.5
Array = NDArray[np.float64]


def _module(*, q: int = Q, d: int = D, seed: int = 0) -> GuidedModule:
    torch.manual_seed(seed)
    return GuidedModule(q, dim=d, gamma=GAMMA).double()


def _alpha(seed: int, *, p: int = P, q: int = Q) -> Tensor:
    return torch.randn(p, q, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _array(tensor: Tensor) -> Array:
    return tensor.detach().numpy()


def loop_adjacency(module: GuidedModule, alpha: Array, previous: Array) -> Array:
    """Eq. 6: Adj = softmax_rows((alpha_k W1)(alpha'_{k-1} W2)^T) with W1, W2 of shape [q, d]."""
    w1, w2 = _array(module.w1.weight).T, _array(module.w2.weight).T
    p = len(alpha)
    adjacency = np.zeros((p, p))
    for i in range(p):
        scores = [sum((alpha[i] @ w1)[m] * (previous[j] @ w2)[m] for m in range(w1.shape[1])) for j in range(p)]
        total = sum(math.exp(score) for score in scores)
        for j in range(p):
            adjacency[i, j] = math.exp(scores[j]) / total
    return adjacency


def loop_update(module: GuidedModule, alpha: Array, previous: Array, adjacency: Array) -> Array:
    """Eq. 5 and 7: X1_i = sum_j Adj_ij X0_j W + X0_i, alpha' = alpha + gamma Phi2(X1)."""
    w = _array(module.gcn.lin.weight).T
    phi1, phi2 = _array(module.phi1.weight).T, _array(module.phi2.weight).T
    bias1, bias2 = _array(module.phi1.bias), _array(module.phi2.bias)
    x0 = [previous[j] @ phi1 + bias1 for j in range(len(previous))]
    guided = np.zeros_like(alpha)
    for i in range(len(alpha)):
        x1 = x0[i].copy()
        for j in range(len(previous)):
            x1 += adjacency[i, j] * (x0[j] @ w)
        guided[i] = alpha[i] + GAMMA * (x1 @ phi2 + bias2)
    return guided


@pytest.mark.parametrize("seed", range(3))
def test_the_module_equals_the_loop_over_edges(seed: int) -> None:
    module, alpha, previous = _module(seed=seed), _alpha(2 * seed + 1), _alpha(2 * seed + 2)
    adjacency = loop_adjacency(module, _array(alpha), _array(previous))
    np.testing.assert_allclose(_array(module.adjacency(alpha, previous)), adjacency, rtol=0, atol=1e-14)
    expected = loop_update(module, _array(alpha), _array(previous), adjacency)
    np.testing.assert_allclose(_array(module(alpha, previous)), expected, rtol=0, atol=1e-13)


def test_the_orientation_of_the_edges_matters() -> None:
    module, alpha, previous = _module(), _alpha(1), _alpha(2)
    adjacency = loop_adjacency(module, _array(alpha), _array(previous))
    turned = loop_update(module, _array(alpha), _array(previous), adjacency.T)
    assert np.abs(_array(module(alpha, previous)) - turned).max() > 1e-2


def test_rows_of_the_adjacency_belong_to_the_cell_and_columns_to_the_one_before() -> None:
    module, alpha, previous = _module(), _alpha(1), _alpha(2)
    moved = alpha.clone()
    moved[3] += 1
    changed = (module.adjacency(moved, previous) != module.adjacency(alpha, previous)).any(dim=1)
    assert changed.tolist() == [i == 3 for i in range(P)]
    assert torch.allclose(module.adjacency(alpha, previous).sum(dim=1), torch.ones(P, dtype=torch.float64))


def test_gradients_agree_with_finite_differences() -> None:
    module = _module(q=4, d=3)
    names, parameters = zip(*((n, p.detach().clone().requires_grad_()) for n, p in module.named_parameters()), strict=True)
    alpha, previous = (_alpha(seed, p=3, q=4).requires_grad_() for seed in (1, 2))

    def update(alpha: Tensor, previous: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (alpha, previous))

    assert torch.autograd.gradcheck(update, (alpha, previous, *parameters))


def test_gradients_reach_both_cells_and_every_parameter() -> None:
    module = _module()
    alpha, previous = _alpha(1).requires_grad_(), _alpha(2).requires_grad_()
    (module(alpha, previous) * _alpha(3)).sum().backward()
    for name, tensor in [("alpha", alpha), ("previous", previous), *module.named_parameters()]:
        assert tensor.grad is not None, name
        assert tensor.grad.norm() > 1e-4, name
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {"w1", "w2", "phi1", "phi2", "gcn"}


def test_without_weight_the_update_changes_nothing() -> None:
    torch.manual_seed(0)
    module = GuidedModule(Q, dim=D, gamma=0.0).double()
    assert torch.equal(module(_alpha(1), _alpha(2)), _alpha(1))


def _chain() -> tuple[GuidedChain, dict[str, Tensor]]:
    torch.manual_seed(0)
    groups = ("cell_0", "cell_1", "cell_2")
    chain = GuidedChain(groups, partial(GuidedModule, Q, dim=D, gamma=GAMMA)).double()
    return chain, {name: _alpha(i).requires_grad_() for i, name in enumerate((*groups, "fusion"))}


def test_the_chain_hands_guided_logits_to_the_next_cell() -> None:
    chain, logits = _chain()
    guided = chain(logits)
    expected = _array(logits["cell_0"])
    for k in (1, 2):
        alpha = _array(logits[f"cell_{k}"])
        module = chain.steps[k - 1]
        assert isinstance(module, GuidedModule)
        expected = loop_update(module, alpha, expected, loop_adjacency(module, alpha, expected))
        np.testing.assert_allclose(_array(guided[f"cell_{k}"]), expected, rtol=0, atol=1e-13)


def test_the_first_cell_and_other_groups_pass_unchanged() -> None:
    chain, logits = _chain()
    guided = chain(logits)
    assert list(guided) == list(logits)
    assert guided["cell_0"] is logits["cell_0"]
    assert guided["fusion"] is logits["fusion"]
    assert all(guided[name].shape == logits[name].shape for name in logits)


def test_the_last_cell_depends_on_the_first() -> None:
    chain, logits = _chain()
    (chain(logits)["cell_2"] * _alpha(7)).sum().backward()
    gradient = logits["cell_0"].grad
    assert gradient is not None
    assert gradient.norm() > 1e-4


def test_each_adjacent_pair_has_a_module_of_its_own() -> None:
    chain, _ = _chain()
    assert len(chain.steps) == 2
    first, second = (dict(step.named_parameters()) for step in chain.steps)
    assert all(not torch.equal(first[name], second[name]) for name in first)
    assert len(GuidedChain(("only",), partial(GuidedModule, Q, dim=D, gamma=GAMMA)).steps) == 0


@pytest.mark.parametrize("seed", range(3))
def test_operation_identity_equals_the_loop_over_scalar_nodes(seed: int) -> None:
    torch.manual_seed(seed)
    module, alpha, previous = OperationIdentityModule(Q, dim=D, gamma=GAMMA).double(), _alpha(seed + 1), _alpha(seed + 9)
    new, old = _array(alpha).ravel(), _array(previous).ravel()
    w = _array(module.gcn.lin.weight).T
    phi1, bias1 = _array(module.phi1.weight)[:, 0], _array(module.phi1.bias)
    phi2, bias2 = _array(module.phi2.weight)[0], module.phi2.bias.item()
    expected = np.zeros(P * Q)
    for i in range(P * Q):
        scores = np.exp([new[i] * old[j] for j in range(P * Q)])
        x1 = old[i] * phi1 + bias1
        for j in range(P * Q):
            x1 = x1 + scores[j] / scores.sum() * ((old[j] * phi1 + bias1) @ w)
        expected[i] = new[i] + GAMMA * (x1 @ phi2 + bias2)
    np.testing.assert_allclose(_array(module(alpha, previous)), expected.reshape(P, Q), rtol=0, atol=1e-12)
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {"phi1", "phi2", "gcn"}


def test_the_fully_connected_alternative_treats_each_edge_alone() -> None:
    torch.manual_seed(0)
    module, alpha, previous = FullyConnectedModule(Q, dim=D, gamma=GAMMA).double(), _alpha(1), _alpha(2)
    phi1, w, phi2 = (_array(layer.weight).T for layer in (module.phi1, module.fc, module.phi2))
    b1, b, b2 = (_array(layer.bias) for layer in (module.phi1, module.fc, module.phi2))
    for edge in range(P):
        x0 = _array(previous)[edge] @ phi1 + b1
        expected = _array(alpha)[edge] + GAMMA * ((x0 @ w + b + x0) @ phi2 + b2)
        np.testing.assert_allclose(_array(module(alpha, previous))[edge], expected, rtol=0, atol=1e-13)
    moved = previous.clone()
    moved[3] += 1
    changed = (module(alpha, moved) != module(alpha, previous)).any(dim=1)
    assert changed.tolist() == [edge == 3 for edge in range(P)]


@pytest.mark.parametrize("kind", [OperationIdentityModule, FullyConnectedModule])
def test_gradients_of_the_alternatives_agree_with_finite_differences(
    kind: type[OperationIdentityModule] | type[FullyConnectedModule],
) -> None:
    torch.manual_seed(0)
    module = kind(3, dim=2, gamma=GAMMA).double()
    names, parameters = zip(*((n, p.detach().clone().requires_grad_()) for n, p in module.named_parameters()), strict=True)
    alpha, previous = (_alpha(seed, p=2, q=3).requires_grad_() for seed in (1, 2))

    def update(alpha: Tensor, previous: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (alpha, previous))

    assert torch.autograd.gradcheck(update, (alpha, previous, *parameters))


@pytest.mark.parametrize("communication", ["gcn", "fc"])
def test_a_neutral_chain_changes_no_logits_and_learns_all_the_same(communication):
    (neutral,) = search_task(
        search_job(space__communication=communication, search__communication_start="zero")
    ).supernet.communications()
    (usual,) = search_task(search_job(space__communication=communication)).supernet.communications()
    logits = {f"cell_{k}": _alpha(k).float().requires_grad_() for k in range(3)}
    for group, values in neutral(logits).items():
        assert torch.equal(values, logits[group])
    assert any(not torch.equal(values, logits[group]) for group, values in usual(logits).items())
    torch.stack([values.pow(2).sum() for values in neutral(logits).values()]).sum().backward()
    moved = {name for name, parameter in neutral.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    assert moved == {f"steps.{k}.phi2.{part}" for k in range(2) for part in ("weight", "bias")}


def test_what_is_not_there_starts_as_it_does_otherwise():
    neutral, usual = (
        search_task(search_job(space__communication="none", search__communication_start=start)).supernet
        for start in ("zero", "random")
    )
    assert list(neutral.communications()) == [None]
    for one, other in zip(neutral.arch_parameters(), usual.arch_parameters(), strict=True):
        assert torch.equal(one, other)
