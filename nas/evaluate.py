"""Evaluate: all metrics of a split from one confusion matrix, and pictures of the predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from nas import rundir
from nas.checkpoint import load_weights, write_text_atomic
from nas.config import EvalJob
from nas.data import build_dataset
from nas.data.dataset import SegmentationDataset
from nas.data.loader import eval_loader
from nas.data.transforms import to_tensors
from nas.errors import CheckpointError, ConfigError
from nas.genotype import build_network, load_genotype
from nas.loop import make_fabric
from nas.metrics import confusion_matrix, summarise
from nas.network import Network
from nas.ops.modules import predicted_labels
from nas.overlay import comparison, save_png
from nas.space import SpaceEntry


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


def evaluate(job: EvalJob, spaces: Mapping[str, SpaceEntry]) -> EvalResult:
    """Evaluate trained weights on a split.

    Raises:
        UserError: If network, weights and data do not fit.
    """
    genotype_path, weights_path = _sources(job)
    genotype = load_genotype(genotype_path, spaces)
    dataset = build_dataset(job.data, job.split)
    dataset.scan()
    fabric = make_fabric(job.trainer)
    network = build_network(genotype, spaces, len(dataset.classes))
    load_into(network, weights_path)
    network.to(fabric.device).eval()
    out = Path(job.run) if job.run and not job.out else rundir.prepare_out(job.out, "eval", None)
    out.mkdir(parents=True, exist_ok=True)
    matrix = confusion_over(network, dataset, fabric=fabric, batch_size=job.batch_size)
    metrics = summarise(matrix, dataset.classes)
    report = {
        "split": job.split,
        "data": job.data.name,
        "images": len(dataset),
        "weights": str(weights_path),
        **metrics,
    }
    write_text_atomic(out / "eval.json", json.dumps(report, indent=2) + "\n")
    pictures = _pictures(network, dataset, job.pictures, fabric=fabric, folder=out / "predictions")
    return EvalResult(out, job.split, len(dataset), metrics, pictures)


def confusion_over(forward: Callable[[Tensor], Tensor], dataset: SegmentationDataset, *, fabric: Fabric, batch_size: int) -> Tensor:
    """Confusion matrix [K, K] of a network over a whole split, counted on the device."""
    num_classes = len(dataset.classes)
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=fabric.device)
    with torch.no_grad():
        for images, labels in eval_loader(dataset, batch_size=batch_size):
            logits = forward(fabric.to_device(images))
            matrix += confusion_matrix(predicted_labels(logits), fabric.to_device(labels), num_classes)
    return matrix


def load_into(network: Network, path: str | Path) -> None:
    """Load weights strictly.

    Raises:
        CheckpointError: Naming what is missing, left over or of another shape.
    """
    weights, wanted = load_weights(Path(path)), network.state_dict()
    missing, extra = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or extra:
        raise CheckpointError(
            f"{path}: got {len(weights)} tensors, expected {len(wanted)}; missing {missing[:3]}, left over {extra[:3]}; "
            "give the weights that were trained for this genotype"
        )
    for key, value in weights.items():
        if value.shape != wanted[key].shape:
            raise CheckpointError(f"{path}: {key} has shape {list(value.shape)}, expected {list(wanted[key].shape)}")
    network.load_state_dict(weights)


def _sources(job: EvalJob) -> tuple[str, Path]:
    """Genotype and weights of a run, or as given."""
    if job.run is not None:
        if job.genotype or job.weights:
            raise ConfigError("run: got run= together with genotype= or weights=, expected either a run or both others")
        run = Path(job.run)
        if not (run / "weights.safetensors").exists():
            raise CheckpointError(f"{run / 'weights.safetensors'}: no such file; give run= the folder of a finished nas train")
        return str(run), run / "weights.safetensors"
    if job.genotype is None or job.weights is None:
        raise ConfigError("run: missing; give run=FOLDER of a nas train, or genotype= and weights=")
    return job.genotype, Path(job.weights)


def _pictures(network: Network, dataset: SegmentationDataset, count: int, *, fabric: Fabric, folder: Path) -> int:
    """Image, truth, prediction and errors of images spread over the split."""
    count = min(count, len(dataset))
    if count:
        folder.mkdir(parents=True, exist_ok=True)
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
        image, truth = dataset.load(index)
        with torch.no_grad():
            prediction = network.label_map(fabric.to_device(to_tensors(image, truth)[0][None]))[0, 0]
        picture = comparison(image, truth, prediction.byte().cpu().numpy(), dataset.palette, class_names=dataset.classes)
        save_png(folder / f"{dataset.name(index)}.png", picture)
    return count
