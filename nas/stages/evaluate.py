"""Evaluate: all metrics of a split from one confusion matrix and pictures of the predictions, or predictions alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from nas.config.jobs import EvalJob
from nas.data import build_dataset
from nas.data.batches.transforms import to_tensors
from nas.data.classes.class_map import class_table, load_class_map
from nas.data.dataset import SegmentationDataset
from nas.data.files.orientation import is_upright
from nas.data.files.picture_files import find_pictures
from nas.data.split_scan import scan_split
from nas.distributed.fabric import make_fabric
from nas.errors import CheckpointError, ConfigError, DataError
from nas.files.atomic import write_text_atomic
from nas.metrics import summarise
from nas.network.network import Network
from nas.network.trained_network import trained_network, trained_sources
from nas.reports.overlay import comparison, save_png
from nas.reports.picture_predictions import ImagesResult, predict_pictures
from nas.runs import rundir
from nas.runs.known_classes import known_classes
from nas.space.design import Design, load_design
from nas.space.genotype import Genotype
from nas.space.search_space import SpaceEntry
from nas.training.confusion import confusion_at_full_resolution, confusion_over


@dataclass(frozen=True, slots=True)
class EvalResult:
    """A finished evaluation.

    Args:
        out: Folder of eval.json and predictions/.
        split: What was evaluated.
        images: Number of images.
        metrics: All metrics; see `nas.metrics.summarise`.
        pictures: Number of pictures written.
    """

    out: Path
    split: str
    images: int
    metrics: Mapping[str, Any]
    pictures: int

    def summary(self) -> list[str]:
        """Human lines: the metrics, IoU by class, the files."""
        lines = [f"{self.images} images of the {self.split} split"]
        lines.extend(f"  {name:<24}{value:.4f}" for name, value in self.metrics.items() if isinstance(value, float))
        for name, row in self.metrics["classes"].items():
            lines.append(f"  IoU {name:<20}{'-' if row['iou'] is None else format(row['iou'], '.4f')}")
        lines.append(f"  wrote                   {self.out / 'eval.json'}")
        if self.pictures:
            lines.append(f"  wrote                   {self.out / 'predictions'}/ ({self.pictures} pictures)")
        return lines


def evaluate(job: EvalJob, spaces: Mapping[str, SpaceEntry]) -> EvalResult | ImagesResult:
    """Evaluate trained weights on a split, or let them predict the user's own pictures.

    Raises:
        UserError: If network, weights and data do not fit.
    """
    genotype_path, weights_path = trained_sources(job.run, job.genotype, job.weights)
    design = load_design(genotype_path, spaces)
    if job.images is None:
        return evaluate_split(job, design, weights_path)
    return evaluate_images(job, Path(job.images).expanduser(), design, weights_path)


def evaluate_images(job: EvalJob, images: Path, design: Design, weights: Path) -> ImagesResult:
    """Predict pictures without labels; there are no metrics.

    Raises:
        UserError: If network, weights and pictures do not fit or are not there.
    """
    pictures = find_pictures(images, job.every_frame, upright=is_upright(getattr(job.data, "exif", None)))
    fabric = make_fabric(job.trainer, alone="nas eval")
    network, num_classes = trained_network(design, weights)
    network.to(fabric.device)
    return predict_pictures(
        job, pictures, network, genotype=design.genotype, weights=weights, num_classes=num_classes, fabric=fabric
    )


def evaluate_split(job: EvalJob, design: Design, weights: Path) -> EvalResult:
    """Evaluate trained weights on a split.

    Raises:
        UserError: If network, weights and data do not fit, or the labels of the split are no truth.
    """
    dataset = build_dataset(job.data, job.split)
    if dataset.no_truth is not None:
        raise DataError(f"split: got {job.split}, expected one with labels: {dataset.no_truth}")
    scan_split(dataset)
    fabric = make_fabric(job.trainer, alone="nas eval")
    network, num_classes = trained_network(design, weights)
    table = _class_table(job, design.genotype, weights, num_classes=num_classes, classes=dataset.classes)
    network.to(fabric.device)
    out = Path(job.run) if job.run and not job.out else rundir.prepare_out(job.out, "eval", None)
    out.mkdir(parents=True, exist_ok=True)
    full = dataset.full_resolution if job.full_resolution is None else job.full_resolution
    if full:
        matrix = confusion_at_full_resolution(network, dataset, fabric=fabric, table=table)
    else:
        matrix = confusion_over(network, dataset, fabric=fabric, batch_size=job.batch_size, table=table)
    metrics = summarise(matrix, dataset.classes)
    report = {
        "split": job.split,
        "data": job.data.name,
        "images": len(dataset),
        "full_resolution": full,
        "weights": str(weights),
        "class_map": job.class_map,
        **metrics,
    }
    write_text_atomic(out / "eval.json", json.dumps(report, indent=2) + "\n")
    pictures = _pictures(network, dataset, job.pictures, fabric=fabric, folder=out / "predictions", table=table)
    return EvalResult(out, job.split, len(dataset), metrics, pictures)


def _class_table(
    job: EvalJob, genotype: Genotype, weights: Path, *, num_classes: int, classes: Sequence[str]
) -> NDArray[np.int64] | None:
    """The data's class of each class of the network; None: they are the same.

    Raises:
        UserError: If their numbers differ without a map, or the map does not fit.
    """
    if job.class_map is None:
        if num_classes != len(classes):
            raise CheckpointError(
                f"{weights}: got a network of {num_classes} classes, expected {len(classes)} as in data={job.data.name}; "
                "give the data set that it was trained on, or class_map="
            )
        return None
    mapping = load_class_map(job.class_map)
    known, origin = known_classes(genotype, weights, num_classes)
    if known is None:
        raise ConfigError(f"class_map: got {job.class_map}, but the names of the network's classes are not known: {origin}")
    return class_table(mapping, known.names, classes)


def _pictures(  # noqa: PLR0913
    network: Network,
    dataset: SegmentationDataset,
    count: int,
    *,
    fabric: Fabric,
    folder: Path,
    table: NDArray[np.int64] | None,
) -> int:
    """Image, truth, prediction and errors of images spread over the split."""
    count = min(count, len(dataset))
    if count:
        folder.mkdir(parents=True, exist_ok=True)
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
        image, truth = dataset.load(index)
        with torch.no_grad():
            prediction = network.label_map(fabric.to_device(to_tensors(image, truth)[0][None]))[0, 0].cpu().numpy()
        prediction = (prediction if table is None else table[prediction]).astype(np.uint8)
        picture = comparison(image, truth, prediction, dataset.palette, class_names=dataset.classes)
        save_png(folder / f"{dataset.name(index)}.png", picture)
    return count
