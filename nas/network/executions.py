"""The ways to run mixed operations, by name."""

from __future__ import annotations

from collections.abc import Callable

from nas.network.fused import FusedOp
from nas.network.mixed import Mixed, MixedOp
from nas.space.graph import Node

EXECUTIONS: dict[str, Callable[[Node], Mixed]] = {"reference": MixedOp, "fused": FusedOp}
"""Ways to run mixed operations; all have the same state_dict and equal `reference` in outputs, gradients and statistics."""
