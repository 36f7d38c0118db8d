"""Kinds of operations: counted without PyTorch, and each with a module."""

from __future__ import annotations

import pytest

from nas.ops import KINDS, OPERATIONS, OpSpec, build, macs
from nas.ops.operations import MODULES

SPEC = OpSpec(kind="conv_bn_relu", in_channels=2, height=4, width=4, out_channels=3, out_height=4, out_width=4, kernel=3)


def test_every_kind_has_a_module_and_every_module_a_kind():
    assert list(KINDS) == list(MODULES) == list(OPERATIONS)


def test_a_kind_and_its_operation_count_and_feed_alike():
    assert macs(SPEC) == OPERATIONS[SPEC.kind].macs(SPEC) == 9 * 2 * 3 * 16
    assert KINDS["multiply"].input_shapes(SPEC) == OPERATIONS["multiply"].input_shapes(SPEC) == ((2, 4, 4), (2, 4, 4))


@pytest.mark.parametrize("ask", [macs, build])
def test_an_unknown_kind_is_refused_with_those_that_there_are(ask):
    spec = OpSpec(kind="conv_3d", in_channels=1, height=1, width=1, out_channels=1, out_height=1, out_width=1)
    with pytest.raises(ValueError, match=r"got operation kind 'conv_3d', expected one of conv_bn_relu, .*none$"):
        ask(spec)
