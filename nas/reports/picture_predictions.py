"""Predictions for a user's own pictures, which have no labels: overlays for people, class ids for programs, a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from nas.config.jobs import EvalJob
from nas.data import data_classes
from nas.data.classes.class_set import MAX_CLASSES, ClassSet, numbered_classes
from nas.data.files.picture_files import Picture, Pictures
from nas.data.files.resize import resize_image
from nas.errors import ConfigError
from nas.files.atomic import write_text_atomic
from nas.network.predicted_ids import predict_ids
from nas.network.segmenter import Segmenter
from nas.reports.overlay import overlay, save_png
from nas.reports.stated_latency import StatedLatency, latency_of
from nas.runs import rundir
from nas.runs.known_classes import KnownClasses, other_names

OVERLAYS = "predictions"
"""Folder of the pictures under their predictions."""
LABEL_IDS = "label_ids"
"""Folder of the predicted class ids, one grey byte a pixel."""


@dataclass(frozen=True, slots=True)
class ImagesResult:
    """Predictions for pictures without labels.

    Args:
        out: Folder of eval.json, predictions/ and label_ids/.
        images: Number of pictures.
        shares: Share of all pixels predicted as each class, by name.
        classes_from: Where the names of the classes come from.
        latency: The predicted latency; None: it is not known.
        notes: What people should know of how they came about.
    """

    out: Path
    images: int
    shares: Mapping[str, float]
    classes_from: str
    latency: StatedLatency | None = None
    notes: tuple[str, ...] = ()

    def summary(self) -> list[str]:
        """Human lines: what was predicted, and the files."""
        lines = [f"{self.images} images without labels; class names: {self.classes_from}"]
        lines.extend([] if self.latency is None else [f"  at {self.latency}"])
        lines.extend(f"  {note}" for note in self.notes)
        lines.extend(f"  {name:<24}{share:.1%}" for name, share in self.shares.items() if share)
        lines.append(f"  wrote                   {self.out / 'eval.json'}")
        lines.append(f"  wrote                   {self.out / OVERLAYS}/ ({self.images} overlays)")
        lines.append(f"  wrote                   {self.out / LABEL_IDS}/ ({self.images} maps of class ids)")
        return lines


def predict_pictures(job: EvalJob, pictures: Pictures, segmenter: Segmenter, *, fabric: Fabric) -> ImagesResult:
    """Predict every picture and write what was predicted.

    Each is resized to `images_size`, or else to the size that the network is made for; the predicted ids are
    resized back to the picture's own size, each pixel taking the id at its centre.

    Args:
        job: The settings.
        pictures: What to predict.
        segmenter: The network.
        fabric: Devices and precision.

    Raises:
        UserError: If the classes do not fit the network, the folder is not empty or a picture cannot be read.
    """
    num_classes, weights = segmenter.num_classes, segmenter.file
    classes, origin = find_classes(job, segmenter.known, weights, num_classes)
    size = segmenter.own_size() if job.images_size is None else (job.images_size[0], job.images_size[1])
    segmenter.require_size(size, "images_size")
    latency = latency_of(job, segmenter, size)
    with rundir.held_out(job.out, "eval") as out:
        counts = np.zeros(num_classes, dtype=np.int64)
        rows = []
        for picture, ids in _predicted(pictures, segmenter.forward, size, fabric):
            save_png(out / OVERLAYS / f"{picture.name}.png", overlay(picture.image, ids, classes.palette))
            save_png(out / LABEL_IDS / f"{picture.name}.png", ids)
            found = np.bincount(ids.ravel(), minlength=num_classes)
            counts += found
            rows.append(_row(picture, found, classes))
        shares = _shares(counts, classes)
        report = {
            "images": len(rows),
            "source": str(job.images),
            "every_frame": job.every_frame,
            "input": list(size),
            **segmenter.facts(),
            "weights": str(weights),
            "classes": list(classes.names),
            "palette": classes.palette.tolist(),
            "classes_from": origin,
            "class_shares": shares,
            **({} if latency is None else {"latency": latency.as_json()}),
            "files": rows,
        }
        write_text_atomic(out / "eval.json", json.dumps(report, indent=2) + "\n")
    return ImagesResult(out, len(rows), shares, origin, latency, tuple(segmenter.notes()))


def find_classes(job: EvalJob, known: KnownClasses, weights: Path, num_classes: int) -> tuple[ClassSet, str]:
    """Names and colours of a network's classes, and where they come from.

    In this order: the data set of `data=`; that of the training whose folder the weights lie in; that of the genotype's
    search, if it has the same number of classes; else numbers.

    Raises:
        UserError: If `data=` was given and its classes are not known or not those of the network.
    """
    if num_classes > MAX_CLASSES:
        raise ConfigError(f"images: got a network of {num_classes} classes, expected at most {MAX_CLASSES}, which fit a grey PNG")
    if job.data is not None:
        classes = data_classes(job.data)
        if len(classes.names) != num_classes:
            raise ConfigError(
                f"data: got data={job.data.name} with {len(classes.names)} classes, but the network of {weights} has {num_classes};"
                " give the data set that it was trained on, or leave data= away"
            )
        if known.sure and known.classes is not None and known.classes.names != classes.names:
            raise ConfigError(f"data: got data={job.data.name}, {other_names(known, classes.names)}; leave data= away")
        return classes, f"data={job.data.name}"
    return (numbered_classes(num_classes) if known.classes is None else known.classes), known.origin


def _predicted(
    pictures: Pictures, forward: Callable[[Tensor], Tensor], size: tuple[int, int], fabric: Fabric
) -> Iterator[tuple[Picture, NDArray[np.uint8]]]:
    """Pictures with their predicted class ids [H, W] at their own size."""
    for picture in pictures:
        height, width, _ = picture.image.shape
        yield picture, predict_ids(forward, resize_image(picture.image, size), (height, width), fabric=fabric)


def _row(picture: Picture, counts: NDArray[np.int64], classes: ClassSet) -> dict[str, Any]:
    """The report's entry of one picture."""
    return {
        "file": str(picture.source),
        "name": picture.name,
        "size": list(picture.image.shape[:2]),
        "overlay": f"{OVERLAYS}/{picture.name}.png",
        "label_ids": f"{LABEL_IDS}/{picture.name}.png",
        "class_shares": _shares(counts, classes),
    }


def _shares(counts: NDArray[np.int64], classes: ClassSet) -> dict[str, float]:
    """Share of the pixels of each class, by name."""
    return dict(zip(classes.names, (counts / counts.sum()).tolist(), strict=True))
