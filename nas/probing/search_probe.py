"""The probe of a plan: real steps of a real search in a process of its own, so that its peak of memory is nobody else's.

`python -m nas.cli.probe_process` reads a job as JSON from its standard input and writes what it measured as the last line of its
output. It takes a few images first, then more, and the whole batch only if the line through both says that there is room for it.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nas.config.jobs import SearchJob
from nas.data import build_dataset
from nas.data.batches.held_out import Part
from nas.data.dataset import SegmentationDataset
from nas.devices.memory import available_bytes, peak_bytes
from nas.distributed.fabric import make_fabric
from nas.errors import ResumableError, UserError
from nas.space.search_space import SearchSpace
from nas.supernet.search_task import SearchTask
from nas.training.out_of_memory import shortage_of

SMALL, MEDIUM = 2, 4
"""Images of the first steps. One is too few for a batch norm after a global pooling."""
ROOM = 0.9
"""Share of the available memory that a forecast may take: allocators leave gaps."""
WARM, FEWEST, MOST = 2, 5, 24
"""Steps before the measured ones, and how many of those."""
ENOUGH_S, TOO_LONG_S = 3.0, 30.0
"""Measured steps go on for so long, and are not more than `FEWEST` beyond the second."""

_NO_LIBRARY = "ImportError: failed to map segment"
"""Beginning of what the loader of shared libraries says where it finds no memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Measured needs of one setting.

    Args:
        batch: Images a step.
        points: (images a step, peak in bytes) of each size that was run.
        available: Bytes that it could have taken; None: unknown.
        peak: Forecast of the peak in bytes: measured at the whole batch, or from the line through smaller ones.
        measured: Whether the whole batch ran.
        step_s: Median seconds of a step, with the wait for its batch; None: it never ran.
        warmup_s: The same of the steps in which only the weights move; None: there are none.
        evaluation_s: (first batch, with batch-norm statistics and derivation, each further batch) in seconds; None: not asked for.
        decode_s: Seconds that an image takes when it is read for the first time beside when it is in the cache.
        on_cpu: Whether memory is that of the whole process.
        ran_out: Whether memory ran out, or the process was killed.
        reason: Why not everything could be measured; empty: it could.
    """

    batch: int
    points: tuple[tuple[int, int], ...] = ()
    available: int | None = None
    peak: float = 0.0
    measured: bool = False
    step_s: float | None = None
    warmup_s: float | None = None
    evaluation_s: tuple[float, float] | None = None
    decode_s: float = 0.0
    on_cpu: bool = True
    ran_out: bool = False
    reason: str = ""

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Probe:
        """A probe from JSON, whose lists are tuples again."""
        evaluation = plain["evaluation_s"]
        points = tuple((int(size), int(peak)) for size, peak in plain["points"])
        return cls(**{**plain, "points": points, "evaluation_s": None if evaluation is None else tuple(evaluation)})


def line_through(points: tuple[tuple[int, int], ...]) -> tuple[float, float] | None:
    """(fixed, per image) of the line through the first and the last point; None where there are less than two sizes.

    >>> line_through(((2, 140), (4, 180)))
    (100.0, 20.0)
    """
    if len(points) < 2:
        return None
    (small, low), (large, high) = points[0], points[-1]
    slope = (high - low) / (large - small)
    return low - slope * small, slope


def run_probe(job: SearchJob, *, evaluates: bool) -> Probe:
    """Measure a job in a new process.

    A process that is killed, as the kernel does where memory runs out, or for which there is no memory, did not fit. One that
    failed for any other reason measured nothing, and its last words are the reason.
    """
    request = json.dumps({"job": dataclasses.asdict(job), "evaluates": evaluates})
    command = [sys.executable, "-m", "nas.cli.probe_process"]
    try:
        done = subprocess.run(command, input=request, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    except OSError as error:  # no process can be started, for want of memory or by a limit on processes
        return Probe(batch=job.search.batch_size, ran_out=True, reason=f"no process could be started: {error.strerror or error}")
    if done.returncode == 0 and done.stdout.strip():
        return Probe.from_plain(json.loads(done.stdout.splitlines()[-1]))
    if done.returncode < 0:
        return Probe(batch=job.search.batch_size, ran_out=True, reason=f"ended by signal {-done.returncode}")
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
    ran_out = any(shortage_of(RuntimeError(line)) is not None or line.startswith(("MemoryError", _NO_LIBRARY)) for line in said)
    return Probe(batch=job.search.batch_size, ran_out=ran_out, reason=f"a probe ended with status {done.returncode}: {said[-1]}")


def measure(job: SearchJob, space: SearchSpace, *, evaluates: bool) -> Probe:
    """Run steps of growing batches in this process, and an evaluation of one batch if it is asked for."""
    fabric = make_fabric(job.trainer)
    free = available_bytes(fabric.device)
    on_cpu = fabric.device.type != "cuda"
    available = None if free is None else free + (peak_bytes(fabric.device) if on_cpu else 0)  # the peak is of all that it holds
    probe = Probe(batch=job.search.batch_size, available=available, on_cpu=on_cpu)
    splits = {split: build_dataset(job.data, split) for split in ("train", "val")}
    sizes = sorted({min(size, probe.batch) for size in (SMALL, MEDIUM, probe.batch)})
    try:
        for size in sizes:
            if size > MEDIUM and not _has_room(probe):
                return _extrapolated(probe)
            if size == MEDIUM < probe.batch and _has_room(probe, spare=4.0):
                continue
            probe = _run_size(job, space, probe, size, splits, evaluates=evaluates, fabric=fabric)
    except (UserError, ResumableError) as error:  # among them losses that are not finite
        return dataclasses.replace(probe, reason=" ".join(str(error).split()))
    except (RuntimeError, MemoryError) as error:
        if (shortage := shortage_of(error)) is None:
            raise
        return dataclasses.replace(_extrapolated(probe), ran_out=True, reason=shortage.reason)
    return probe


def _has_room(probe: Probe, *, spare: float = 1.0) -> bool:
    """Whether the whole batch has room, `spare` times over, by the line through what was run; from one point: proportional."""
    fixed, per_image = line_through(probe.points) or (0.0, probe.points[-1][1] / probe.points[-1][0])
    return probe.available is None or spare * (fixed + per_image * probe.batch) <= ROOM * probe.available


def _extrapolated(probe: Probe) -> Probe:
    """The peak from the line through smaller batches; seconds in proportion."""
    if (line := line_through(probe.points)) is None:
        return probe
    scale = probe.batch / probe.points[-1][0]
    step_s, warmup_s = (None if one is None else scale * one for one in (probe.step_s, probe.warmup_s))
    return dataclasses.replace(probe, peak=line[0] + line[1] * probe.batch, step_s=step_s, warmup_s=warmup_s)


def _run_size(
    job: SearchJob,
    space: SearchSpace,
    probe: Probe,
    size: int,
    splits: Mapping[str, SegmentationDataset],
    *,
    evaluates: bool,
    fabric: Any,
) -> Probe:
    """Steps on so many images; at the whole batch enough of them for a median, and the evaluation."""
    whole = size == probe.batch
    # Long enough that no step of the probe is beyond its end, or beyond that of the warm-up.
    more = WARM + MOST
    warmup_epochs = job.search.warmup_epochs and job.search.warmup_epochs + more
    search = dataclasses.replace(
        job.search, batch_size=size, epochs=warmup_epochs + more, warmup_epochs=warmup_epochs, max_steps=None
    )
    torch.manual_seed(job.seed)
    some = dataclasses.replace(job, search=search)
    few = Part(splits["val"], range(min(len(splits["val"]), size)))
    task = SearchTask(some, space, train_set=splits["train"], val_set=few, fabric=fabric)
    decode_s, batches = _batches(task, splits["train"])
    moves_architecture = job.search.warmup_epochs < job.search.epochs
    step_s = _steps(task, batches, task.warmup_steps, whole=whole) if moves_architecture else None
    warmup_s = _steps(task, batches, 0, whole=whole) if task.warmup_steps else None
    peak = peak_bytes(fabric.device)
    evaluation = _evaluation(task) if whole and evaluates else None
    del batches, task
    gc.collect()
    return dataclasses.replace(
        probe,
        points=(*probe.points, (size, peak)),
        peak=float(peak_bytes(fabric.device)),
        measured=whole,
        step_s=step_s,
        warmup_s=warmup_s,
        evaluation_s=evaluation,
        decode_s=max(probe.decode_s, decode_s),
    )


def _batches(task: SearchTask, train_set: SegmentationDataset) -> tuple[float, Iterator[tuple[Tensor, Tensor]]]:
    """Seconds of the first reading of an image beside the next, and batches without end of a few images that were read."""
    plan = task.plan
    few = list(range(min(len(train_set), 2 * plan.batch_size)))
    times = []
    for _ in range(2):
        started = time.perf_counter()
        for index in few:
            train_set.load(index)
        times.append((time.perf_counter() - started) / len(few))
    repeated = Part(train_set, few * (1 + (WARM + MOST) * 2 * plan.batch_size // len(few)))
    return max(0.0, times[0] - times[1]), iter(plan.batches(repeated, epoch=0))


def _steps(task: SearchTask, batches: Iterator[tuple[Tensor, Tensor]], first: int, *, whole: bool) -> float:
    """Median seconds of a step with the wait for its batch, after warm ones; of a smaller batch after one."""
    times: list[float] = []
    began = time.perf_counter()
    warm, fewest, most = (WARM, FEWEST, MOST) if whole else (1, 2, 2)
    for number in range(warm + most):
        started = time.perf_counter()
        images, labels = next(batches)
        task.step(task.fabric.to_device(images), task.fabric.to_device(labels), first + number)
        _synchronise(task.fabric.device)
        ended = time.perf_counter()
        if number >= warm:
            times.append(ended - started)
        if (len(times) >= fewest and ended - began > ENOUGH_S) or (len(times) >= 1 and ended - began > TOO_LONG_S):
            break
    return statistics.median(times)


def _evaluation(task: SearchTask) -> tuple[float, float]:
    """Seconds of an evaluation on one batch, with all that it begins with; and of a batch alone."""
    times = []
    for recalibrate in (task.evaluation.recalibrate, 0):
        task.evaluation.recalibrate = recalibrate
        started = time.perf_counter()
        task.evaluate(0)
        _synchronise(task.fabric.device)
        times.append(time.perf_counter() - started)
    return times[0], times[1]


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
