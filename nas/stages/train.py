"""Train: a derived or published network on labels of pixels, or its encoder on classes of images; from scratch or from weights."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nas.config.jobs import TrainJob
from nas.data.data_words import OPEN_DATA, data_words, split_words
from nas.data.image_folder import ImageFolder, ImageFolderConfig
from nas.distributed.fabric import make_fabric, ranks_of
from nas.errors import ConfigError, UserError
from nas.files.command_words import setting
from nas.reports.run_pictures import predicted_pictures
from nas.runs import rundir
from nas.runs.checkpoint import save_weights
from nas.runs.known_classes import TRAINED_CLASSES
from nas.runs.resume_note import noting_resume
from nas.runs.run_data import data_of
from nas.runs.run_inputs import RunInputs, data_inputs, file_inputs
from nas.runs.trackers import check_trackers, open_trackers
from nas.runs.trained_genotype import trained_genotype
from nas.space.design import load_design
from nas.space.genotype import Genotype, save_genotype
from nas.space.search_space import SpaceEntry
from nas.training.loop import fit
from nas.training.objectives import loss_name
from nas.training.run_checkpoints import Resumption
from nas.training.train_setup import Split, initial_file, make_task, train_splits
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
        next_words: Words of the next command; the last one is data=NAME where nothing says which data set.
        seconds: Wall time.
    """

    out: Path
    parameters: int
    scores: Mapping[str, float]
    next_words: tuple[str, ...]
    seconds: float

    def summary(self) -> list[str]:
        """Human lines: what came out, where it lies, what to do next."""
        start = "next, with labels of pixels" if OPEN_DATA in self.next_words else "next"
        return [
            f"training finished in {self.seconds:.0f} s",
            f"  parameters          {self.parameters / 1e6:.3f} M",
            *(f"  validation {SCORES[name]:<9}{value:.4f}" for name, value in self.scores.items()),
            *(f"  wrote               {self.out / name}" for name in (rundir.WEIGHTS, "metrics.jsonl", "checkpoints/")),
            f"{start}: {' '.join(('nas', *self.next_words))}",
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
    weights = None if job.weights is None else str(initial_file(job.weights))
    files = {"teacher": job.distill.teacher, "weights": weights, "encoder weights": job.encoder_weights}
    inputs = RunInputs({**data_inputs(train_set, val_set), **file_inputs(files)}, job.accept_changes)
    ranks = ranks_of(fabric)
    trained = _trained_genotype(job, design.genotype, val_set)
    opened = _open(job, design.genotype, trained, spaces, total_steps=task.total_steps)
    draw = partial(predicted_pictures, task.result, val_set, fabric=fabric)
    with ExitStack() as held:  # by the first process, for all of them
        out = Path(ranks.from_first(lambda: str(held.enter_context(opened))))
        held.enter_context(noting_resume(out))
        resume = rundir.has_checkpoint(out)
        resumption = Resumption(inputs, partial(rundir.go_on, out, job, "train"))
        with open_trackers(job.logger if ranks.is_first else {}, out, resumed=resume, draw=draw) as trackers:
            fit(task, task.plan, train_set, fabric=fabric, out=out, resume=resume, trackers=trackers, resumption=resumption)
        result = _result(job, task, out, seconds=time.perf_counter() - started)
        if ranks.is_first:
            save_weights(out / rundir.WEIGHTS, task.result.state_dict())
            scores = {f"val_{name}": value for name, value in result.scores.items()}
            rundir.mark_finished(out, {"seconds": result.seconds, **scores})
    return result


def _trained_genotype(job: TrainJob, genotype: Genotype, val_set: Split) -> Genotype:
    """The genotype that the run states; of whole images only the encoder is trained, and the network stays what it was."""
    if isinstance(val_set, ImageFolder):
        return genotype
    return trained_genotype(genotype, size=val_set.size, classes=val_set.classes, data=job.data.name)


@contextmanager
def _open(
    job: TrainJob, given: Genotype, trained: Genotype, spaces: Mapping[str, SpaceEntry], *, total_steps: int
) -> Iterator[Path]:
    """The folder of the run, held, with the genotype in it."""

    def check(run: Path) -> None:
        _check_same_network(given, trained, load_design(run, spaces).genotype, run)

    with rundir.open_run(job, "train", total_steps=total_steps, check=check) as out:
        save_genotype(out / "genotype.yaml", trained)
        yield out


def _check_same_network(given: Genotype, trained: Genotype, before: Genotype, out: Path) -> None:
    """Refuse to go on with another network or other classes than before: the files that state them may have changed since.

    Runs of before did not state what they trained, but the genotype as it was given.
    """
    stated, now = (one.provenance.get(TRAINED_CLASSES) for one in (before, trained))
    if stated is not None and stated != now:
        raise ConfigError(
            f"resume: {out} trains the classes {', '.join(stated)}, and the data now state {', '.join(now or [])}; put the file of "
            "classes back, or start from scratch without resume"
        )
    same = all(getattr(given, name) == getattr(before, name) for name in ("space", "space_config", "choices"))
    if not same or before.deploy not in (given.deploy, trained.deploy):
        raise ConfigError(
            f"resume: {out} trains another network than genotype= now states; put the file back, or start from scratch without "
            "resume"
        )


def _result(job: TrainJob, task: TrainTask, out: Path, *, seconds: float) -> TrainResult:
    parameters = sum(parameter.numel() for parameter in task.network.parameters())
    return TrainResult(out, parameters, dict(task.scores), tuple(_next_words(job, out)), seconds)


def _next_words(job: TrainJob, out: Path) -> list[str]:
    """The command that evaluates the network or, after whole images, trains the segmentation from its encoder."""
    if not isinstance(job.data, ImageFolderConfig):
        return ["eval", setting("run", out), *split_words(job.data)]
    words = ["train", setting("genotype", out / "genotype.yaml"), setting("encoder_weights", out / rundir.WEIGHTS)]
    try:
        return [*words, *data_words(data_of(Path(job.genotype)))]
    except UserError:  # the genotype is of no run that states data with labels of pixels
        return [*words, OPEN_DATA]
