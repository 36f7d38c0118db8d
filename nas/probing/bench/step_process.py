"""A process that takes a step whenever a line says so: `python -m nas.probing.bench.step_process`, started by `bench.processes`.

Standard input: a line of JSON with the case, then a line `step` or `memory` each. Standard output: a line of JSON for each of them.
Whatever else is printed here, by a checkout of somebody else, goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

from torch import Tensor

from nas.devices.memory import resident_bytes

NUM_CLASSES = 11
"""Classes of the labels: those of the synthetic scenes."""
SCHEDULED_STEPS = 10_000
"""Length of the search that the measured steps are the first of."""


class Stepper(Protocol):
    """A search or a training of which single steps are timed."""

    def step(self) -> None:
        """Take one whole optimisation step on the batch."""

    def constants(self) -> Iterable[Tensor]:
        """Parameters and buffers."""


class SearchStepper:
    """Steps of our own search on one synthetic batch.

    Args:
        case: The case; see `nas.probing.bench.processes.Case`.
    """

    def __init__(self, case: Mapping[str, Any]) -> None:
        from nas.config.jobs import SearchJob
        from nas.config.settings import DeploySettings, LatencySettings, SearchSettings, TrainerSettings
        from nas.data import build_dataset
        from nas.distributed.fabric import make_fabric
        from nas.space.by_name import build_space, space_config
        from nas.supernet.search_task import SearchTask
        from search_spaces import all_spaces

        spaces = all_spaces()
        space = build_space(space_config({"name": case["space"], **case["space_settings"]}, spaces), spaces)
        data = _scenes(case)
        settings = SearchSettings(
            batch_size=case["batch"],
            relaxation=case["relaxation"],
            execution=case["execution"],
            noise="batch" if case["relaxation"] == "sampled" else None,
            epochs=SCHEDULED_STEPS,
        )
        job = SearchJob(
            space=space.config,
            data=data,
            search=settings,
            latency=LatencySettings(table="macs"),
            deploy=DeploySettings(),
            trainer=TrainerSettings(accelerator="cpu", threads=case["threads"]),
            seed=case["seed"],
        )
        dataset = build_dataset(data, "train")
        self._task = SearchTask(job, space, train_set=dataset, val_set=dataset, fabric=make_fabric(job.trainer))
        self._images, self._labels = _batch(case)
        self._number = 0

    def step(self) -> None:
        """Everything but loading the batch: passes, expected latency, both optimisers, the confusion matrix of the batch."""
        self._task.step(self._images, self._labels, self._number)
        self._number += 1

    def constants(self) -> Iterable[Tensor]:
        """Parameters and buffers of the supernet."""
        return [*self._task.supernet.parameters(), *self._task.supernet.buffers()]


def main() -> None:
    """Build what the first line says, then do what each further line says until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that drives this one, and ends it
    with _answers() as answers:
        import torch

        import nas.data.batches.loader  # what every case needs, before the idle level is read

        case = json.loads(sys.stdin.readline())
        if not case["peer"]:
            import nas.supernet.search_task  # noqa: F401

        torch.set_num_threads(case["threads"])
        torch.manual_seed(case["seed"])
        gc.collect()
        idle = resident_bytes("VmRSS")
        stepper = _build(case)
        _answer(answers, {"ready": True})
        for line in sys.stdin:
            _answer(answers, {"seconds": _timed(stepper)} if line.strip() == "step" else _memory(stepper, idle))


def _build(case: Mapping[str, Any]) -> Stepper:
    if not case["peer"]:
        return SearchStepper(case)
    from nas.probing.bench.peers import PEERS

    images, labels = _batch(case)
    return PEERS[case["peer"]](Path(case["path"]), images=images, labels=labels, num_classes=NUM_CLASSES)


def _timed(stepper: Stepper) -> float:
    started = time.perf_counter()
    stepper.step()
    return time.perf_counter() - started


def _memory(stepper: Stepper, idle: int | None) -> dict[str, Any]:
    """The peak so far, and what one more step saves for its backward passes."""
    from nas.probing.bench.saved_bytes import SavedBytes

    peak = resident_bytes("VmHWM")
    with SavedBytes(apart=stepper.constants()) as saved:
        stepper.step()
    return {"idle_bytes": idle, "peak_bytes": peak, "activation_bytes": saved.most}


def _scenes(case: Mapping[str, Any]) -> Any:  # noqa: ANN401  a data set's own config
    from nas.data.synthetic import SyntheticConfig

    return SyntheticConfig(size=[case["height"], case["width"]], train=case["batch"], val=1, test=1)


def _batch(case: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Images [N, 3, H, W] and labels [N, H, W], the same in every process."""
    from nas.data import build_dataset
    from nas.data.batches.loader import train_loader

    dataset = build_dataset(_scenes(case), "train")
    images, labels = next(iter(train_loader(dataset, batch_size=case["batch"], crop=None, seed=case["seed"], epoch=0)))
    return images, labels


def _answers() -> TextIO:
    """Standard output for the answers alone: what prints to it otherwise now prints to standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def _answer(stream: TextIO, fact: Mapping[str, Any]) -> None:
    stream.write(json.dumps(fact) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
