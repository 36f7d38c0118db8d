"""Operations: one table from kind to module, inputs and MACs, shared by all spaces, by profiling and by deployment.

Specs, kinds and MACs load no PyTorch; the modules are loaded when one of the names of `nas.ops.operations` is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.ops.kinds import KINDS, macs
from nas.ops.spec import FREE_KINDS, OpSpec, is_free, out_size

if TYPE_CHECKING:
    from nas.ops.operations import OPERATIONS, Operation, build, example_inputs

__all__ = ["FREE_KINDS", "KINDS", "OPERATIONS", "OpSpec", "Operation", "build", "example_inputs", "is_free", "macs", "out_size"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  whatever has this name
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nas.ops import operations

    return getattr(operations, name)
