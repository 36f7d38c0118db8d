"""Networks of a size that one runtime runs side by side: timed, and set beside what a table says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nas.cost.table_parts import parse_key
from nas.files.command_words import setting
from nas.measuring.network_rounds import noise_floor
from nas.measuring.reference_operation import NETWORKS_REFERENCE
from nas.measuring.runners.in_process import InProcess
from nas.measuring.runners.request import Request
from nas.measuring.runners.runner import Observed, SizedNetwork, TimesNetworks
from nas.measuring.survey_protocol import PASSES, time_survey
from nas.probing.bench.accuracies import Accuracy
from nas.probing.bench.benched_networks import BenchedNetwork
from nas.probing.bench.network_predictions import TableAtHand, predict
from nas.probing.bench.network_times import BenchBlock, TimedNetwork
from nas.worker.rounds import OnProgress


@dataclass(frozen=True, slots=True)
class TimedGroup:
    """Networks that are timed side by side.

    Args:
        request: How and where they are timed.
        size: (height, width) of their images in pixels.
        networks: The networks.
        place: Settings with which `nas profile` measures at the same place.
    """

    request: Request
    size: tuple[int, int]
    networks: Sequence[BenchedNetwork]
    place: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Samples:
    """What was measured of a group, and how it was brought to one level of speed."""

    of_networks: Sequence[Sequence[float]]
    statistic: str
    observed: Observed
    reference: str | None = None
    reference_ms: float | None = None
    slowdown: float | None = None
    noise_floor: float | None = None


def timed_block(  # noqa: PLR0913
    group: TimedGroup,
    runner: TimesNetworks,
    at_hand: TableAtHand,
    known: Mapping[str, Accuracy],
    *,
    protocol: str,
    seed: int,
    on_progress: OnProgress,
) -> BenchBlock:
    """Time a group, and set what is known of its networks beside it.

    Args:
        group: The networks.
        runner: Where they are timed.
        at_hand: The table of that place.
        known: Name -> mIoU.
        protocol: `rounds` or `survey`.
        seed: Seed of the orders.
        on_progress: See `OnProgress`.
    """
    if protocol == "survey":
        measured = _by_survey(group, runner, on_progress=on_progress)
    else:
        measured = _in_rounds(group, runner, at_hand, seed=seed, on_progress=on_progress)
    rows = [
        TimedNetwork(
            network=network,
            samples_ms=tuple(map(float, samples)),
            statistic=measured.statistic,
            batch=group.request.runtime.batch,
            prediction=predict(network, at_hand),
            slowdown=measured.slowdown,
            accuracy=known.get(network.name),
        )
        for network, samples in zip(group.networks, measured.of_networks, strict=True)
    ]
    return BenchBlock(
        runtime=str(group.request.runtime),
        size=group.size,
        conditions=runner.conditions,
        observed=measured.observed,
        reference=measured.reference,
        reference_ms=measured.reference_ms,
        table=None if at_hand.table is None else at_hand.table.identifier,
        no_table=at_hand.reason,
        measured_with=(*group.place, *([] if at_hand.file is None else [setting("out", at_hand.file)])),
        slowdown=measured.slowdown,
        noise_floor=measured.noise_floor,
        rows=rows,
    )


def _in_rounds(group: TimedGroup, runner: TimesNetworks, at_hand: TableAtHand, *, seed: int, on_progress: OnProgress) -> _Samples:
    level = None if at_hand.table is None else at_hand.table.reference
    reference = NETWORKS_REFERENCE if level is None else parse_key(level.key)
    networks = [one.timeable for one in group.networks]
    timings, observed = runner.time_networks(networks, reference, seed=seed, on_progress=on_progress)
    assert timings.reference_ms is not None
    assert timings.reference_key is not None
    samples = timings.samples()
    return _Samples(
        of_networks=[own.flatten() for own in samples],
        statistic="median",
        observed=observed,
        reference=timings.reference_key,
        reference_ms=timings.reference_ms,
        slowdown=timings.reference_ms / level.median_ms if level is not None and level.key == timings.reference_key else None,
        noise_floor=noise_floor(samples),
    )


def _by_survey(group: TimedGroup, runner: TimesNetworks, *, on_progress: OnProgress) -> _Samples:
    assert isinstance(runner, InProcess)
    networks = [one.timeable for one in group.networks if isinstance(one.timeable, SizedNetwork)]
    done = 0

    def on_pass() -> None:
        nonlocal done
        done += 1
        on_progress(done, len(networks) * PASSES)

    samples, observed = time_survey(runner, networks, on_pass=on_pass)
    return _Samples(of_networks=samples, statistic="mean", observed=observed)
