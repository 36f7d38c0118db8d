"""The scalars of a search step: loss, cross-entropy and latency by table."""

from __future__ import annotations

from collections.abc import Sequence

from nas.cost.deployed import named
from nas.training.loop_state import Row


def scalar_names(num_tables: int) -> tuple[str, ...]:
    """Names of the scalars of a pass.

    >>> scalar_names(2)
    ('loss', 'cross_entropy', 'sampled_latency', 'sampled_latency_2')
    """
    return ("loss", "cross_entropy", *(named("sampled_latency", k) for k in range(num_tables)))


def summed(passes: Sequence[Row]) -> Row:
    """The scalars of a step, added up over its passes; without a table the latency is zero.

    >>> summed([{"loss": 1.0, "cross_entropy": 2.0}, {"loss": 10.0, "cross_entropy": 20.0}])
    {'loss': 11.0, 'cross_entropy': 22.0, 'sampled_latency': 0.0}
    """
    row: Row = {name: sum(one[name] for one in passes) for name in passes[0]}
    return row if len(row) > 2 else {**row, "sampled_latency": 0.0}


def in_words(row: Row, *, with_latency: bool) -> str:
    """The scalars of a pass in words, for a message.

    >>> in_words({"loss": 3.5, "cross_entropy": 3.0, "sampled_latency": 0.5}, with_latency=True)
    'loss 3.5 (cross-entropy 3.0, latency 0.5)'
    """
    loss, entropy, *latencies = row.values()
    stated = ", ".join(map(str, latencies if with_latency else [0.0] * len(latencies))) or "0.0"
    return f"loss {loss} (cross-entropy {entropy}, latency {stated})"
