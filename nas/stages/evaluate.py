"""Evaluate: all metrics of a split from one confusion matrix and pictures of the predictions, or predictions alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from nas.config.jobs import EvalJob
from nas.data import build_dataset, data_classes
from nas.data.batches.transforms import to_tensors
from nas.data.classes.class_map import class_table, load_class_map
from nas.data.dataset import SegmentationDataset
from nas.data.files.orientation import is_upright
from nas.data.files.picture_files import find_pictures
from nas.data.split_scan import scan_split
from nas.distributed.fabric import make_fabric
from nas.errors import CheckpointError, ConfigError, DataError
from nas.files.atomic import write_text_atomic
from nas.files.command_words import setting
from nas.files.file_digest import file_digest
from nas.files.strict_json import parse_strict
from nas.metrics import summarise
from nas.network.segmenter import Segmenter, onnx_segmenter, trained_segmenter
from nas.network.trained_network import trained_sources
from nas.ops.modules import predicted_labels
from nas.reports.overlay import comparison, save_png
from nas.reports.picture_predictions import ImagesResult, predict_pictures
from nas.reports.stated_latency import StatedLatency, latency_of
from nas.runs import rundir
from nas.runs.known_classes import other_names
from nas.runs.run_data import check_root, data_of, run_of
from nas.space.design import load_design
from nas.space.search_space import SpaceEntry
from nas.training.confusion import confusion_at_full_resolution, confusion_over

log = logging.getLogger("nas")

REPORT = "eval.json"
"""The report in the folder of an evaluation."""
PICTURES = "predictions"
"""The folder of its pictures there."""


@dataclass(frozen=True, slots=True)
class EvalResult:
    """A finished evaluation.

    Args:
        out: Folder of eval.json and predictions/.
        split: What was evaluated.
        data: Name of the data set.
        size: (height, width) of its images in pixels.
        images: Number of images.
        metrics: All metrics; see `nas.metrics.summarise`.
        pictures: Number of pictures written.
        latency: The predicted latency; None: it is not known.
        notes: What people should know of how it came about.
        next_words: Words of the next command.
    """

    out: Path
    split: str
    data: str
    size: tuple[int, int]
    images: int
    metrics: Mapping[str, Any]
    pictures: int
    latency: StatedLatency | None = None
    notes: tuple[str, ...] = ()
    next_words: tuple[str, ...] = ()

    def summary(self) -> list[str]:
        """Human lines: the metrics, IoU by class, the files, what to do next."""
        height, width = self.size
        lines = [f"{self.images} images of the {self.split} split of {self.data} at {height}x{width}"]
        if self.latency is not None:
            lines.append(f"  mIoU {self.metrics['miou']:.4f} at {self.latency}")
        lines.extend(f"  {note}" for note in self.notes)
        lines.extend(f"  {name:<24}{value:.4f}" for name, value in self.metrics.items() if isinstance(value, float))
        for name, row in self.metrics["classes"].items():
            lines.append(f"  IoU {name:<20}{'-' if row['iou'] is None else format(row['iou'], '.4f')}")
        lines.append(f"  wrote                   {self.out / REPORT}")
        if self.pictures:
            lines.append(f"  wrote                   {self.out / PICTURES}/ ({self.pictures} pictures)")
        return [*lines, f"next: nas {' '.join(self.next_words)}"]


Open = Callable[[torch.device, int | None], Segmenter]
"""Opens what is evaluated for a device; the number of classes is that of the data, for an ONNX file that states none."""


def evaluate(job: EvalJob, spaces: Mapping[str, SpaceEntry]) -> EvalResult | ImagesResult:
    """Evaluate trained weights or an ONNX file on a split, or let them predict the user's own pictures.

    Raises:
        UserError: If network, weights and data do not fit.
    """
    if job.onnx is not None:
        file, settings = Path(job.onnx), job.onnx_file
        return _evaluate(job, file, lambda _, num_classes: onnx_segmenter(file, settings, num_classes))
    genotype_path, weights = trained_sources(job.run, job.genotype, job.weights, job.checkpoint)
    design = load_design(genotype_path, spaces)
    return _evaluate(job, weights, lambda device, _: trained_segmenter(design, weights, device))


def _evaluate(job: EvalJob, file: Path, opened: Open) -> EvalResult | ImagesResult:
    return evaluate_split(job, file, opened) if job.images is None else evaluate_images(job, Path(job.images), file, opened)


def evaluate_images(job: EvalJob, images: Path, file: Path, opened: Open) -> ImagesResult:
    """Predict pictures without labels; there are no metrics.

    Raises:
        UserError: If network, weights and pictures do not fit or are not there.
    """
    pictures = find_pictures(images, job.every_frame, upright=is_upright(_exif(job, file)))
    if pictures.passed_over:
        log.info("images: %s", pictures.passed_over.text())
    fabric = _fabric(job)
    segmenter = opened(fabric.device, None if job.data is None else len(data_classes(job.data).names))
    return predict_pictures(job, pictures, segmenter, fabric=fabric)


def _fabric(job: EvalJob) -> Fabric:
    """The device; ONNX files run on the CPU."""
    return make_fabric(job.trainer if job.onnx is None else replace(job.trainer, accelerator="cpu"), alone="nas eval")


def _run(job: EvalJob, file: Path) -> Path:
    """The folder of the training."""
    return run_of(file) if job.run is None else Path(job.run)


def _exif(job: EvalJob, file: Path) -> str | None:
    """How the data set takes EXIF orientation: that of `data=`, or of the training; None: it is not known."""
    try:
        config = data_of(_run(job, file)) if job.data is None else job.data
    except ConfigError:
        return None
    exif: str | None = getattr(config, "exif", None)
    return exif


def evaluate_split(job: EvalJob, file: Path, opened: Open) -> EvalResult:
    """Evaluate trained weights, or an ONNX file, on a split.

    Raises:
        UserError: If network, weights and data do not fit, or the labels of the split are no truth.
    """
    if job.data is None:
        run = _run(job, file)
        job = replace(job, data=data_of(run))
        check_root(job.data, run)
    dataset = build_dataset(job.data, job.split)
    if dataset.no_truth is not None:
        raise DataError(f"split: got {job.split}, expected one with labels: {dataset.no_truth}")
    scan_split(dataset)
    fabric = _fabric(job)
    segmenter = opened(fabric.device, len(dataset.classes) if job.class_map is None else None)
    segmenter.require_size(dataset.size, "data.size")
    table = _class_table(job, segmenter, dataset.classes)
    latency = latency_of(job, segmenter, dataset.size)
    with rundir.held_out(job.out, "eval", run=job.run) as out:
        full = dataset.full_resolution if job.full_resolution is None else job.full_resolution
        if full:
            matrix = confusion_at_full_resolution(segmenter.forward, dataset, fabric=fabric, table=table)
        else:
            matrix = confusion_over(segmenter.forward, dataset, fabric=fabric, batch_size=job.batch_size, table=table)
        metrics = summarise(matrix, dataset.classes)
        shown = _spread(len(dataset), job.pictures)
        report = {
            "split": job.split,
            "data": job.data.name,
            "data_settings": asdict(job.data),
            "size": list(dataset.size),
            "images": len(dataset),
            "full_resolution": full,
            "weights": str(file),
            "weights_sha256": file_digest(file),
            "class_map": job.class_map,
            **segmenter.facts(),
            **({} if latency is None else {"latency": latency.as_json()}),
            "pictures": [f"{dataset.name(index)}.png" for index in shown],
            **metrics,
        }
        _remove_earlier_pictures(out)
        write_text_atomic(out / REPORT, json.dumps(report, indent=2) + "\n")
        _draw_pictures(segmenter.forward, dataset, shown, fabric=fabric, folder=out / PICTURES, table=table)
        return EvalResult(
            out=out,
            split=job.split,
            data=job.data.name,
            size=dataset.size,
            images=len(dataset),
            metrics=metrics,
            pictures=len(shown),
            latency=latency,
            notes=tuple(segmenter.notes()),
            next_words=tuple(_next_words(job, out, dataset.size)),
        )


def _next_words(job: EvalJob, out: Path, size: tuple[int, int]) -> list[str]:
    """The command that exports the network or, of an ONNX file, times it, with this evaluation beside the time."""
    if job.onnx is not None:
        shape = setting("bench.sizes", [list(size)])
        return ["bench", setting("networks", job.onnx), "runtime=onnxruntime", shape, setting("bench.evaluations", out)]
    given = {"run": job.run, "genotype": job.genotype, "weights": job.weights, "checkpoint": job.checkpoint}
    return ["export", *(setting(key, value) for key, value in given.items() if value is not None)]


def _class_table(job: EvalJob, segmenter: Segmenter, classes: Sequence[str]) -> NDArray[np.int64] | None:
    """The data's class of each class of the network; None: they are the same.

    Raises:
        UserError: If they differ without a map, or the map does not fit.
    """
    known, num_classes, weights = segmenter.known, segmenter.num_classes, segmenter.file
    if job.class_map is None:
        if num_classes != len(classes):
            raise CheckpointError(
                f"{weights}: got a network of {num_classes} classes, expected {len(classes)} as in data={job.data.name}; "
                "give the data set that it was trained on, or class_map="
            )
        if known.classes is not None and known.classes.names != tuple(classes):
            said = f"{weights}: got data={job.data.name}, {other_names(known, classes)}"
            if known.sure:
                raise CheckpointError(f"{said}; give the data set that it was trained on, or class_map=")
            log.warning("%s; that is right only if the weights were trained on these classes since", said)
        return None
    mapping = load_class_map(job.class_map)
    if known.classes is None:
        raise ConfigError(f"class_map: got {job.class_map}, but the names of the network's classes are not known: {known.origin}")
    return class_table(mapping, known.classes.names, classes)


def _spread(images: int, count: int) -> list[int]:
    """Indices of at most `count` images, spread over a split."""
    return list(np.linspace(0, images - 1, min(count, images)).round().astype(int).tolist())


def _remove_earlier_pictures(out: Path) -> None:
    """Remove the pictures that an earlier evaluation wrote into this folder, as its report lists them, and nothing else."""
    try:
        content = parse_strict((out / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none, or it is not ours
        return
    names = content.get("pictures") if isinstance(content, dict) else None
    folder = out / PICTURES
    for name in names if isinstance(names, list) else []:
        path = folder / str(name)
        if path.suffix == ".png" and ".." not in path.parts:
            with suppress(OSError):  # a name that no file can have
                if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                    path.unlink()


def _draw_pictures(  # noqa: PLR0913
    forward: Callable[[Tensor], Tensor],
    dataset: SegmentationDataset,
    indices: Sequence[int],
    *,
    fabric: Fabric,
    folder: Path,
    table: NDArray[np.int64] | None,
) -> None:
    """Image, truth, prediction and errors of some images."""
    if indices:
        folder.mkdir(parents=True, exist_ok=True)
    for index in indices:
        image, truth = dataset.load(index)
        with torch.no_grad():
            prediction = predicted_labels(forward(fabric.to_device(to_tensors(image, truth)[0][None])))[0].cpu().numpy()
        prediction = (prediction if table is None else table[prediction]).astype(np.uint8)
        picture = comparison(image, truth, prediction, dataset.palette, class_names=dataset.classes)
        save_png(folder / f"{dataset.name(index)}.png", picture)
