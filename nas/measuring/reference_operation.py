"""The operation from which a machine's drift is read (see `nas.worker.drift`)."""

from __future__ import annotations

from collections.abc import Iterable

from nas.ops import macs
from nas.ops.spec import OpSpec
from nas.worker.drift import NEIGHBOURS, REFERENCE_EVERY

REFERENCE_RULE = (
    f"middle operation by MACs, timed every {REFERENCE_EVERY} samples; sample * level / median of the {NEIGHBOURS[0]} to "
    f"{NEIGHBOURS[-1]} timings on either side that agree"
)
NETWORKS_REFERENCE = OpSpec(
    kind="conv_bn_relu", in_channels=32, height=64, width=64, out_channels=32, out_height=64, out_width=64, kernel=3
)
"""The operation from which drift is read where whole networks are timed and no table names one: about 1 ms on a core of a CPU."""


def choose_reference(plan: Iterable[OpSpec]) -> OpSpec:
    """The operation of a plan in the middle by multiply-accumulates, among those that have any.

    Networks spend their time in operations that multiply, so these are what drift must be corrected for. The largest would
    slow the measurement down, the smallest are mostly the cost of a call, which does not scale with the clock; the middle
    one is neither, and the same plan always has the same one.

    Args:
        plan: The operations, at least one. If none of them multiplies, the middle one by the size of its output is taken.
    """
    plan = list(plan)
    candidates = [spec for spec in plan if macs(spec) > 0] or plan
    ranked = sorted(candidates, key=lambda spec: (macs(spec), spec.out_channels * spec.out_height * spec.out_width, spec.key))
    return ranked[len(ranked) // 2]
