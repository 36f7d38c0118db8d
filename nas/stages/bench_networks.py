"""Stage `bench`: whole networks timed side by side at one or several sizes, here or on another machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from nas.config.bench_networks_job import DEFAULT_ROUNDS, BenchNetworksJob
from nas.devices.runtimes import runs_onnx
from nas.errors import ConfigError
from nas.files.atomic import write_bytes_atomic, write_text_atomic
from nas.files.command_words import setting
from nas.files.value_text import value_text
from nas.measuring.network_rounds import SERIES
from nas.measuring.processing_times import ProcessingTimes, time_processing
from nas.measuring.reference_operation import NETWORKS_REFERENCE
from nas.measuring.runners.carried_networks import CarriedTimings, NetworkBundle, read_network_result, write_network_bundle
from nas.measuring.runners.open_runner import open_runner
from nas.measuring.runners.request import request_for_networks
from nas.measuring.runners.runner import TimesNetworks
from nas.measuring.runners.worker_result import WorkerResult
from nas.measuring.survey_protocol import PASSES, check_survey_runtime, survey_line, survey_protocol
from nas.probing.bench.accuracies import accuracies
from nas.probing.bench.bench_files import CSV, JSON, bench_csv, bench_json, rounds_protocol
from nas.probing.bench.bench_next import next_lines
from nas.probing.bench.bench_page import HTML, PNG, bench_chart, bench_page
from nas.probing.bench.bench_summary import LEGEND, block_lines
from nas.probing.bench.benched_networks import BenchedNetwork, at_size, load_networks, sizes_of
from nas.probing.bench.network_predictions import given_tables, table_for
from nas.probing.bench.network_times import BenchBlock
from nas.probing.bench.timed_groups import TimedGroup, timed_block
from nas.runs.rundir import held_out
from nas.space.design import Design
from nas.space.search_space import SpaceEntry
from nas.worker.rounds import OnProgress

FILES = (CSV, JSON, PNG, HTML)
"""The files of a bench."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchNetworksResult:
    """Networks that were timed.

    Args:
        out: Folder of the files.
        protocol: rounds or survey.
        blocks: What was measured: one block a runtime and size.
        processing: What comes before and after a network, for each size; empty: it was not timed.
        left_out: What was not, and why.
    """

    out: Path
    protocol: str
    blocks: Sequence[BenchBlock]
    processing: Sequence[ProcessingTimes]
    left_out: Sequence[str]

    def summary(self) -> list[str]:
        """Lines for the terminal: a table for each block, what is to be known of it, the files, and what to do next."""
        lines = [line for block in self.blocks for line in (*block_lines(block), "")]
        lines += [*LEGEND, ""]
        lines += [line for one in self.processing for line in (*one.summary(), "")]
        if self.protocol == "survey":
            lines.append(survey_line())
        lines += [*(f"not timed: {one}" for one in self.left_out), *(f"wrote {self.out / name}" for name in FILES)]
        return [*lines, *next_lines([row for block in self.blocks for row in block.rows])]


def bench_networks(
    job: BenchNetworksJob, spaces: Mapping[str, SpaceEntry], *, on_progress: OnProgress | None = None
) -> BenchNetworksResult | NetworkBundle:
    """Time networks side by side, or read what a bundle has timed, and write what was measured; or write a bundle that does.

    Args:
        job: Which networks, at which sizes, where and how.
        spaces: The search spaces by name.
        on_progress: See `OnProgress`.

    Raises:
        UserError: If a network, a setting, a table, a result or the folder cannot be used, or the place refuses.
        ResumableError: If the worker or the connection to it stopped.
    """
    groups, left_out = _groups(job, spaces)
    networks = [one for group in groups for one in group.networks]
    if job.writes_file:
        timeables = [one.timeable for one in networks]
        return write_network_bundle(
            timeables, _names(groups), NETWORKS_REFERENCE, groups[0].request, out=job.out, command=_import_command(job)
        )
    carried = None if job.result is None else read_network_result(Path(job.result), _names(groups), groups[0].request)
    given, known = given_tables(job.latency.table), accuracies(networks, job.bench.evaluation_folders)
    rounds = (job.rounds or DEFAULT_ROUNDS) if carried is None else carried.request.effort.rounds
    progress = _Progress(len(networks) * (PASSES if job.protocol == "survey" else SERIES * rounds), on_progress)
    processing = _processing(job, groups)
    with held_out(job.out, "bench") as out:
        blocks = []
        for group, place in _places(job, groups, carried):
            at_hand = table_for(place, job.latency.table, given)
            blocks.append(
                timed_block(group, place, at_hand, known, protocol=job.protocol, seed=job.seed, on_progress=progress.step)
            )
            progress.next_block()
        result = BenchNetworksResult(out=out, protocol=job.protocol, blocks=blocks, processing=processing, left_out=left_out)
        protocol = survey_protocol() if job.protocol == "survey" else rounds_protocol(rounds)
        content = bench_json(blocks, processing, job, protocol, left_out)
        write_text_atomic(out / CSV, bench_csv(blocks))
        write_text_atomic(out / JSON, json.dumps(content, indent=1, allow_nan=False) + "\n")
        write_bytes_atomic(out / PNG, bench_chart(blocks))
        write_text_atomic(out / HTML, bench_page(blocks, processing, protocol, left_out))
        return result


def _places(
    job: BenchNetworksJob, groups: Sequence[TimedGroup], carried: WorkerResult | None
) -> Iterator[tuple[TimedGroup, TimesNetworks]]:
    """Each group with where it is timed, or was."""
    if carried is not None:
        device, first = None if job.device == "auto" else job.device, 0
        for group in groups:
            yield group, CarriedTimings(carried, first=first, device=device)
            first += len(group.networks)
        return
    for request in dict.fromkeys(group.request for group in groups):
        with open_runner(job, request) as runner:
            yield from ((group, runner) for group in groups if group.request == request)


def _names(groups: Sequence[TimedGroup]) -> list[str]:
    """What the networks of a bundle are called in it."""
    return [f"{one.name} at {one.size[0]}x{one.size[1]}" for group in groups for one in group.networks]


def _import_command(job: BenchNetworksJob) -> str:
    """The command that reads the result of a bundle."""
    given = {"bench.sizes": job.bench.sizes, "num_classes": job.num_classes, "accelerator": job.accelerator}
    words = [setting("networks", job.names), *(setting(key, value) for key, value in given.items() if value is not None)]
    return " ".join(["nas bench", *words, setting("runtime", job.runtimes[0]), "runner=bundle", "result=result.json"])


def _groups(job: BenchNetworksJob, spaces: Mapping[str, SpaceEntry]) -> tuple[list[TimedGroup], list[str]]:
    """What is timed side by side, and what no runtime or not every one runs."""
    requests = [request_for_networks(job, runtime) for runtime in job.runtimes]
    if job.protocol == "survey":
        for request in requests:
            check_survey_runtime(request.runtime)
    if len(set(requests)) < len(requests):
        raise ConfigError(f"runtime: got {value_text(job.runtimes)}, expected each once, with what is left out fp32, b1, t1")
    loaded = load_networks(job.names, spaces)
    sizes = {name: sizes_of(one, job, name) for name, one in loaded.items()}
    able = {
        request: [name for name, one in loaded.items() if isinstance(one, Design) or runs_onnx(request.runtime.backend)]
        for request in requests
    }
    if never := [name for name in loaded if not any(name in names for names in able.values())]:
        remedy = "leave it out, or give protocol=rounds" if job.protocol == "survey" else "add runtime=onnxruntime"
        raise ConfigError(f"runtime: got {', '.join(job.runtimes)}, and {never[0]} is an ONNX file; {remedy}")
    known: dict[tuple[str, tuple[int, int], int], BenchedNetwork] = {}
    for name, request in ((name, request) for name in loaded for request in requests if name in able[request]):
        for size in sizes[name]:
            key = (name, size, request.runtime.batch)
            known[key] = known.get(key) or at_size(loaded[name], size, job, name=name, batch=request.runtime.batch)
    place, groups = _place_settings(job), []
    for request in requests:
        for size in dict.fromkeys(size for own in sizes.values() for size in own):
            names = [name for name in able[request] if size in sizes[name]]
            if names:
                groups.append(TimedGroup(request, size, [known[name, size, request.runtime.batch] for name in names], place))
    left_out = [
        f"{name} with {request.runtime}, which runs no ONNX files"
        for request in requests
        for name in loaded
        if name not in able[request]
    ]
    return groups, left_out


def _place_settings(job: BenchNetworksJob) -> tuple[str, ...]:
    """Settings with which `nas profile` measures where the networks are timed."""
    given = {"accelerator": job.accelerator, "host": job.host}
    given |= {"device": None if job.device == "auto" else job.device, "runner": None if job.runner == "local" else job.runner}
    given |= {f"ssh.{one.name}": value for one in fields(job.ssh) if (value := getattr(job.ssh, one.name)) != one.default}
    return tuple(setting(key, value) for key, value in given.items() if value is not None)


def _processing(job: BenchNetworksJob, groups: Sequence[TimedGroup]) -> list[ProcessingTimes]:
    """What comes before and after a network, for each size with the most classes there, where that is asked for."""
    if not job.bench.processing or job.runner != "local" or job.protocol != "rounds":
        return []
    classes: dict[tuple[int, int], int] = {}
    for group in groups:
        for one in group.networks:
            own = 1 if one.design is None else one.design.deployment.num_classes
            classes[group.size] = max(own, classes.get(group.size, 1))
    picture = None if job.bench.picture is None else Path(job.bench.picture)
    return [
        time_processing(size if picture is None else None, size, most, picture=picture, rounds=job.rounds or DEFAULT_ROUNDS)
        for size, most in classes.items()
    ]


class _Progress:
    """Progress over all blocks, each of which counts its own samples.

    Args:
        total: Samples of all blocks.
        on_progress: Is told; None: nobody.
    """

    def __init__(self, total: int, on_progress: OnProgress | None) -> None:
        self._total = total
        self._tell = on_progress
        self._before = self._last = 0

    def step(self, done: int, total: int) -> None:
        """Tell how many samples there are."""
        del total
        self._last = self._before + done
        if self._tell is not None:
            self._tell(self._last, max(self._last, self._total))

    def next_block(self) -> None:
        """Count from here on for the next block."""
        self._before = self._last
