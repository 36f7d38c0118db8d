"""Candidate operations by name (their shapes: tests/contracts/test_op_contract.py)."""

from __future__ import annotations

import pytest
import torch

from nas.ops import example_inputs
from nas.ops.candidates import CANDIDATE_OPS, LIGHT_OPS, EdgeShape, candidate_specs


def test_skip_is_free_only_where_nothing_changes() -> None:
    def skip(out_channels: int, stride: int) -> str:
        edge = EdgeShape(in_channels=4, out_channels=out_channels, height=8, width=8, stride=stride)
        return CANDIDATE_OPS["skip_connect"](edge).kind

    assert skip(4, 1) == "identity"
    assert skip(8, 1) == "relu_conv_bn"
    assert skip(4, 2) == skip(8, 2) == "factorized_reduce"


def test_candidate_specs_keep_the_given_order_and_refuse_unknown_names() -> None:
    edge = EdgeShape(in_channels=4, out_channels=4, height=8, width=8)
    assert list(candidate_specs(("none", "conv_3x3", "max_pool_3x3"), edge)) == ["none", "conv_3x3", "max_pool_3x3"]
    with pytest.raises(ValueError, match=r"\['conv_9x9'\], expected some of max_pool_3x3, skip_connect"):
        candidate_specs(("conv_3x3", "conv_9x9"), edge)


def test_light_operations_are_candidates_without_a_spatial_convolution() -> None:
    assert LIGHT_OPS < set(CANDIDATE_OPS)
    edge = EdgeShape(in_channels=4, out_channels=4, height=8, width=8)
    for name in set(CANDIDATE_OPS) - LIGHT_OPS:
        assert CANDIDATE_OPS[name](edge).kind in ("relu_conv_bn", "relu_sep_conv_bn"), name
    for name in LIGHT_OPS:
        assert CANDIDATE_OPS[name](edge).kind in ("none", "identity", "max_pool", "grid_pool"), name


def test_pooling_refuses_an_edge_that_changes_the_channels() -> None:
    with pytest.raises(ValueError, match="max_pool_3x3 keeps the channels: got 4 -> 8"):
        CANDIDATE_OPS["max_pool_3x3"](EdgeShape(in_channels=4, out_channels=8, height=8, width=8))


def test_example_inputs_come_from_the_generator_given() -> None:
    spec = CANDIDATE_OPS["conv_3x3"](EdgeShape(in_channels=4, out_channels=4, height=8, width=8))
    first, second = (example_inputs(spec, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[0], second[0])
