"""Stage `bench search`: what a step of search costs in time and memory, everything side by side in one run."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from nas.devices.this_machine import DeviceInfo, current_clocks, identify
from nas.errors import ConfigError
from nas.files.atomic import write_new_text
from nas.probing.bench.bench_job import BenchSearchJob
from nas.probing.bench.cases import Shape, Variant, shapes_of, variants_of
from nas.probing.bench.peers import FILES, PEERS
from nas.probing.bench.processes import Case
from nas.probing.bench.spreads import Spread
from nas.probing.bench.step_rounds import FEWEST_ROUNDS, WARMUP_STEPS, Block, Effort, Row, measure
from nas.probing.bench.targets import Verdict, judge
from nas.reports.text_table import text_table
from nas.runs.provenance import provenance
from nas.space.search_space import SpaceEntry
from nas.worker.device_facts import device_identity

FORMAT_VERSION = 1
FOLDER = Path("experiments") / "bench"
"""Folder of results that name no file, below the working folder."""
MIB = 2**20
HEADER = ("step", "median s", "p10", "p90", "ratio", "p10", "p90", "memory MiB", "activations MiB", "ratio")

OnProgress = Callable[[int, int], None]
"""Called with the number of parts of the work that are done, and of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """Measurements, and the file that has them.

    Args:
        job: The settings.
        device: The machine.
        blocks: What was measured at each shape.
        skipped: What could not be measured, and why.
        path: The file.
    """

    job: BenchSearchJob
    device: DeviceInfo
    blocks: tuple[Block, ...]
    skipped: tuple[str, ...]
    path: Path

    @property
    def verdicts(self) -> list[Verdict]:
        """The targets beside what was measured."""
        return judge(self.blocks, threads=self.job.threads)

    def summary(self) -> list[str]:
        """Lines for the terminal: a table for each shape, the targets, and the file."""
        lines = [f"{self.device.name}, threads: {self.job.threads}, PyTorch {torch.__version__}"]
        for block in self.blocks:
            lines += ["", _title(block), *text_table(HEADER, [_cells(block, row) for row in block.rows])]
        lines += ["", "memory: the peak of a process beside the idle one; activations: what autograd saves for the backward pass"]
        lines += [f"not measured: {reason}" for reason in self.skipped]
        if any(asdict(self.job.peer).values()):
            lines.append("peers: what drives a checkout was tested with an imitation of its interface, never with the real one")
        lines += [verdict.line() for verdict in self.verdicts]
        return [*lines, f"wrote {self.path}"]


def bench_search(job: BenchSearchJob, spaces: Mapping[str, SpaceEntry], *, on_progress: OnProgress | None = None) -> BenchResult:
    """Measure steps of searches, and write what was measured.

    Args:
        job: What to measure, how long, and where to write.
        spaces: The search spaces by name.
        on_progress: See `OnProgress`.

    Raises:
        ConfigError: If a setting is wrong, a file is there already, or a peer's step fails.
        WorkerStoppedError: If a process that takes our steps ended before its time.
    """
    groups, skipped = cases_of(job, spaces)
    device = identify("cpu")
    path = _target(job.out, device.name)
    _try_peers(groups)
    effort = Effort(rounds=job.rounds, seconds=job.seconds, seed=job.seed)
    done, total = 0, sum(len(group) + job.rounds for group in groups)
    blocks = []
    for number, group in enumerate(groups, start=1):

        def step() -> None:
            nonlocal done
            done += 1
            if on_progress is not None:
                on_progress(done, total)

        blocks.append(measure(group, effort=effort, on_round=step))
        done = sum(len(one) + job.rounds for one in groups[:number])
    result = BenchResult(job=job, device=device, blocks=tuple(blocks), skipped=tuple(skipped), path=path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_new(path, json.dumps(_content(result), indent=1) + "\n")
    return result


def cases_of(job: BenchSearchJob, spaces: Mapping[str, SpaceEntry]) -> tuple[list[list[Case]], list[str]]:
    """The cases of each space and shape, and what of the peers cannot be measured.

    Raises:
        ConfigError: If a space or a checkout is not there, or a checkout's space is not among those to measure.
    """
    if unknown := [name for name in job.spaces if name not in spaces]:
        raise ConfigError(f"spaces: got {unknown[0]!r}, expected some of {', '.join(spaces)}")
    peers = _peers(job)
    for name in peers:
        if PEERS[name].SPACE not in job.spaces:
            raise ConfigError(
                f"peer.{name}: got a checkout of {PEERS[name].SPACE}, expected that among spaces={job.spaces}; add it"
            )
    groups, skipped = [], []
    for space in job.spaces:
        own = {"layers": job.fasterseg_layers} if space == "fasterseg" else {}
        for shape in shapes_of(space, job.shapes):

            def case(variant: Variant, path: str = "", *, space: str = space, shape: Shape = shape, own: Any = own) -> Case:  # noqa: ANN401
                return Case(
                    space=space, space_settings=own, shape=shape, variant=variant, threads=job.threads, seed=job.seed, path=path
                )

            group = [case(variant) for variant in variants_of(job.relaxations, job.executions)]
            for name, path in peers.items():
                if PEERS[name].SPACE != space:
                    continue
                if (reason := PEERS[name].refusal(shape.height, shape.width)) is None:
                    group.append(case(Variant("", "", name), path))
                else:
                    skipped.append(f"official {name} at {shape}: {reason}")
            groups.append(group)
    return groups, skipped


def _peers(job: BenchSearchJob) -> dict[str, str]:
    """Name -> absolute path of the checkouts that are given."""
    peers = {}
    for name, given in asdict(job.peer).items():
        if given is None:
            continue
        path = Path(given).resolve()
        if not (path / FILES[name]).is_file():
            raise ConfigError(f"peer.{name}: got {given}, expected the folder of a checkout, with {FILES[name]} in it")
        peers[name] = str(path)
    return peers


def _try_peers(groups: Sequence[Sequence[Case]]) -> None:
    """Let each peer take its steps once, so that one that cannot does not end a long measurement."""
    tried = set()
    for case in (case for group in groups for case in group if case.path):
        if case.path not in tried:
            tried.add(case.path)
            measure([case], effort=Effort(rounds=1, seconds=0.0, seed=0))


def _target(out: str | None, device: str) -> Path:
    """The file to write: that which is given, or one of this time."""
    path = FOLDER / f"{device}-{datetime.now():%Y%m%d-%H%M%S}.json" if out is None else Path(out)
    if path.exists():
        raise ConfigError(f"out: {path} is there already; give another out=FILE, or leave it away")
    return path


def _write_new(path: Path, text: str) -> None:
    """Write a file that is not there; one that has come in between is left as it is."""
    try:
        write_new_text(path, text)
    except FileExistsError:
        raise ConfigError(f"out: {path} has come to be while measuring; nothing was written, give another out=FILE") from None


def _title(block: Block) -> str:
    own = "".join(f", {key} {value}" for key, value in block.space_settings.items())
    shape = block.shape
    rounds, base = len(block.rows[0].seconds), block.rows[0].variant
    return f"{block.space}{own} at {shape.height}x{shape.width}, batch {shape.batch}, {rounds} rounds; ratios to {base}"


def _cells(block: Block, row: Row) -> list[str]:
    base = block.rows[0].variant
    times, share = block.time_ratio(row.variant, base), block.activation_ratio(row.variant, base)
    assert times is not None
    beside = row.memory.beside_idle
    return [
        str(row.variant),
        *(f"{value:.3f}" for value in (*row.step_s, *times)),
        "unknown" if beside is None else f"{beside / MIB:.0f}",
        f"{row.memory.activations / MIB:.0f}",
        f"{share:.2f}",
    ]


def _content(result: BenchResult) -> dict[str, Any]:
    """The file: plain data; paths of the user's checkouts are not in it."""
    job = result.job
    protocol = {
        "step": "a whole optimisation step on a synthetic batch, loading apart",
        "statistic": "median, p10 and p90 over rounds; ratios are of times in the same round",
        "order": "one process a variant, a step of each a round, in a new order, one at a time",
        "warmup_steps": WARMUP_STEPS,
        "fewest_rounds": FEWEST_ROUNDS,
        "rounds": job.rounds,
        "seconds": job.seconds,
        "threads": job.threads,
        "seed": job.seed,
        "memory": "peak resident memory of the process beside that before anything was built",
        "activations": "most bytes of distinct storages saved for backward passes at a time, parameters and buffers apart",
    }
    return {
        "format_version": FORMAT_VERSION,
        "measured_by": "nas bench search",
        "measured_at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": {**asdict(result.device), "clock_at_end": current_clocks(), "facts": device_identity("cpu")},
        "versions": {**provenance(), "torch": str(torch.__version__), "python": platform.python_version()},
        "protocol": protocol,
        "blocks": [_block_content(block) for block in result.blocks],
        "skipped": list(result.skipped),
        "targets": [_verdict_content(verdict) for verdict in result.verdicts],
    }


def _block_content(block: Block) -> dict[str, Any]:
    base = block.rows[0].variant
    return {
        "space": block.space,
        "space_settings": dict(block.space_settings),
        **block.shape._asdict(),
        "compared_with": str(base),
        "variants": [_row_content(block, row, base) for row in block.rows],
    }


def _row_content(block: Block, row: Row, base: Variant) -> dict[str, Any]:
    times = block.time_ratio(row.variant, base)
    assert times is not None
    return {
        **row.variant._asdict(),
        "step_s": _plain(row.step_s),
        "time_ratio": _plain(times),
        "idle_bytes": row.memory.idle,
        "peak_bytes": row.memory.peak,
        "activation_bytes": row.memory.activations,
        "activation_ratio": block.activation_ratio(row.variant, base),
        "seconds": [round(one, 6) for one in row.seconds],
    }


def _verdict_content(verdict: Verdict) -> dict[str, Any]:
    target = verdict.target
    assert verdict.measured is None or math.isfinite(verdict.measured)
    return {
        "target": target.name,
        "space": target.space,
        "shape": target.shape,
        "bound": target.bound,
        "is_least": target.least,
        "measured": verdict.measured,
        "reached": verdict.reached,
    }


def _plain(spread: Spread) -> dict[str, float]:
    return {key: round(value, 6) for key, value in spread._asdict().items()}
