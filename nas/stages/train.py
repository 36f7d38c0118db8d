"""Train: a derived or published network on labels of pixels, or its encoder on classes of images; from scratch or from weights."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nas.config.jobs import TrainJob
from nas.distributed.fabric import make_fabric, ranks_of
from nas.errors import ConfigError
from nas.reports.run_pictures import predicted_pictures
from nas.runs import rundir
from nas.runs.checkpoint import save_weights
from nas.runs.trackers import check_trackers, open_trackers
from nas.space.design import load_design
from nas.space.genotype import Genotype, save_genotype
from nas.space.search_space import SpaceEntry
from nas.training.loop import fit
from nas.training.objectives import loss_name
from nas.training.train_setup import make_task, train_splits
from nas.training.train_task import TrainTask

SCORES = {"miou": "mIoU", "top1": "top-1", "top5": "top-5"}
"""Names of a validation's metrics on the terminal."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A finished training.

    Args:
        out: Its folder.
        parameters: Number of parameters of the network.
        scores: Metrics on the validation split after the last step: miou, or top1 (and top5) of a classification.
        data: Name of the data set.
        seconds: Wall time.
    """

    out: Path
    parameters: int
    scores: Mapping[str, float]
    data: str
    seconds: float

    def summary(self) -> list[str]:
        """Human lines: what came out, where it lies, what to do next."""
        weights = self.out / "weights.safetensors"
        following = f"nas eval run={self.out} data={self.data}"
        if "miou" not in self.scores:
            following = f"nas train genotype={self.out / 'genotype.yaml'} encoder_weights={weights} data=DATA"
        return [
            f"training finished in {self.seconds:.0f} s",
            f"  parameters          {self.parameters / 1e6:.3f} M",
            *(f"  validation {SCORES[name]:<9}{value:.4f}" for name, value in self.scores.items()),
            *(f"  wrote               {self.out / name}" for name in ("weights.safetensors", "metrics.jsonl", "checkpoints/")),
            f"next: {following}",
        ]


def train(job: TrainJob, spaces: Mapping[str, SpaceEntry]) -> TrainResult:
    """Train the network of a genotype.

    Raises:
        UserError: If genotype, weights, data or settings do not fit.
        NonFiniteLossError: If a loss is not finite; no weight was moved by it.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was saved.
    """
    started = time.perf_counter()
    loss_name(job.train)
    check_trackers(job.logger)
    design = load_design(job.genotype, spaces)
    train_set, val_set = train_splits(job)
    fabric = make_fabric(job.trainer, scales_gradients=True)
    task = make_task(job, design, spaces, train_set=train_set, val_set=val_set, fabric=fabric)
    # After all that may refuse the input: the same command, with the same out, can then be given again.
    ranks, resume = ranks_of(fabric), job.resume is not None
    out = Path(ranks.from_first(lambda: str(_open(job, design.genotype, spaces, total_steps=task.total_steps))))
    draw = partial(predicted_pictures, task.result, val_set, fabric=fabric)
    with open_trackers(job.logger if ranks.is_first else {}, out, resumed=resume, draw=draw) as trackers:
        fit(task, task.plan, train_set, fabric=fabric, out=out, resume=resume, trackers=trackers)
    result = _result(job, task, out, seconds=time.perf_counter() - started)
    if ranks.is_first:
        save_weights(out / "weights.safetensors", task.result.state_dict())
        rundir.mark_finished(out, {"seconds": result.seconds, **{f"val_{name}": value for name, value in result.scores.items()}})
    return result


def _open(job: TrainJob, genotype: Genotype, spaces: Mapping[str, SpaceEntry], *, total_steps: int) -> Path:
    """The folder of the run, with the genotype in it."""
    out = rundir.open_run(job, "train", total_steps=total_steps)
    if job.resume is not None:
        _check_same_network(genotype, load_design(out, spaces).genotype, out)
    save_genotype(out / "genotype.yaml", genotype)
    return out


def _check_same_network(genotype: Genotype, trained: Genotype, out: Path) -> None:
    """Refuse to go on with another network than was trained: the file of the genotype may have changed since."""
    if any(getattr(genotype, name) != getattr(trained, name) for name in ("space", "space_config", "deploy", "choices")):
        raise ConfigError(
            f"resume: {out} trains another network than genotype= now states; put the file back, or start from scratch without "
            "resume"
        )


def _result(job: TrainJob, task: TrainTask, out: Path, *, seconds: float) -> TrainResult:
    parameters = sum(parameter.numel() for parameter in task.network.parameters())
    return TrainResult(out, parameters, dict(task.scores), job.data.name, seconds)
