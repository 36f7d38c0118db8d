"""What latency tables say of networks that are timed beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nas.cost.genotype_latency import costs_of
from nas.cost.latency_table import LatencyTable, read_table
from nas.cost.lookup import find_table, read_named
from nas.cost.prediction import predict_on
from nas.errors import ConfigError, TableError
from nas.files.value_text import value_text
from nas.measuring.runners.open_runner import check_table
from nas.measuring.runners.runner import TimesNetworks
from nas.probing.bench.benched_networks import BenchedNetwork

AUTO, NONE = "auto", "none"
"""Values of `latency.table` that name no table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a table says of a network.

    Args:
        ms: Predicted latency in ms; None: there is none.
        low_ms: Lower bound; None: the table is not calibrated for the network.
        high_ms: Upper bound, as `low_ms`.
        reason: Why there is none; None: there is one.
        lacking: How many operations the table lacks.
    """

    ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None
    reason: str | None = None
    lacking: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableAtHand:
    """The table of a device and a runtime.

    Args:
        table: The table; None: there is none.
        file: The file that the user named it by; None: by its name, or not at all.
        reason: Why there is none.
    """

    table: LatencyTable | None = None
    file: Path | None = None
    reason: str | None = None


def given_tables(names: str | list[str]) -> dict[Path, LatencyTable]:
    """The tables that `latency.table` names; none for `auto` and `none`.

    Raises:
        UserError: If one is not there or malformed, or `macs` is given, which is no latency.
    """
    listed = [names] if isinstance(names, str) else names
    if listed in ([AUTO], [NONE]):
        return {}
    if wrong := [name for name in listed if name in (AUTO, NONE, "macs")]:
        raise ConfigError(
            f"latency.table: got {value_text(names)}, expected auto, none, or tables that were measured; leave {wrong[0]} away"
        )
    paths = [find_table(name) for name in listed]
    return {path: read_table(path) if str(path) in listed else read_named(path) for path in paths}


def table_for(runner: TimesNetworks, names: str | list[str], given: dict[Path, LatencyTable]) -> TableAtHand:
    """The table of what a runner measures.

    Args:
        runner: Where it is measured.
        names: The value of `latency.table`.
        given: What it names, from `given_tables`.

    Raises:
        TableError: If a given table is of the runtime, and of another device, version or way of timing.
    """
    if names == NONE:
        return TableAtHand(reason="latency.table=none")
    device, runtime = runner.conditions.device.name, runner.conditions.runtime.name
    if names != AUTO:
        listed = [names] if isinstance(names, str) else names
        for path, table in given.items():
            if table.runtime.name == runtime:
                check_table(table, runner, path)
                return TableAtHand(table=table, file=path if str(path) in listed else None)
        return TableAtHand(reason=f"none of the tables given is of {runtime}")
    try:
        path = find_table(f"{device}/{runtime}")
        table = read_named(path)
        check_table(table, runner, path)
    except TableError as error:
        return TableAtHand(reason=str(error))
    return TableAtHand(table=table)


def predict(network: BenchedNetwork, at_hand: TableAtHand) -> Prediction:
    """What the table says of a network; nothing where an operation is missing."""
    if at_hand.table is None:
        return Prediction(reason=at_hand.reason)
    if network.design is None:
        return Prediction(reason="an ONNX file has no operations of a table")
    specs = network.design.graph.specs()
    if missing := at_hand.table.missing(specs):
        return Prediction(reason=f"{at_hand.table.identifier} lacks operations", lacking=len(missing))
    latency = predict_on(network.design.graph, costs_of(network.design, at_hand.table))
    return Prediction(ms=latency.ms, low_ms=latency.low_ms, high_ms=latency.high_ms)
