"""Evaluation of a supernet: mIoU under given weights, with batch-norm statistics of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from nas.cost.deployed import named
from nas.data.batches.loader import eval_loader, train_loader
from nas.distributed.fabric import ranks_of
from nas.losses.cross_entropy import pixel_losses, pixel_weights
from nas.metrics import confusion_matrix, mean_iou
from nas.network.network import LOGITS
from nas.network.norm_statistics import estimated_anew
from nas.ops.modules import predicted_labels
from nas.space.weights import Weights, one_hot
from nas.supernet.derivation import DerivedArchitectures
from nas.supernet.draw_plan import DrawPlan
from nas.supernet.setup import SearchData
from nas.supernet.supernet import Draw
from nas.training.loop_state import Row
from nas.training.non_finite import FiniteCheck


class SupernetEvaluation:
    """Evaluates a supernet on the validation split.

    Args:
        derived: The supernet, and the discrete architectures that it stands for.
        data: The splits; batch-norm statistics are estimated on batches of an epoch.
        draws: What a step draws.
        recalibrate: Training batches for these statistics; 0: the running ones are used.
        fabric: Devices and precision; its processes share the images.
    """

    def __init__(
        self, derived: DerivedArchitectures, data: SearchData, draws: DrawPlan, *, recalibrate: int, fabric: Fabric
    ) -> None:
        self.derived, self.supernet, self.space, self.costs = derived, derived.supernet, derived.space, derived.costs
        self.data, self.plan, self.draws = data, data.plan, draws
        self.recalibrate, self.fabric, self.ranks = recalibrate, fabric, ranks_of(fabric)

    def evaluate(self, epoch: int) -> tuple[list[tuple[str, Row]], float]:
        """(split, scalars) of each evaluation after an epoch, and the score of the search."""
        return self._sampled_and_argmax(epoch) if self.space.contains_derived else self._settled()

    def _sampled_and_argmax(self, epoch: int) -> tuple[list[tuple[str, Row]], float]:
        """Of the supernet as it is sampled and of its argmax network: the discretisation gap."""
        first, step = self.derived.first_set, min(self.data.total_steps - 1, (epoch + 1) * self.data.steps_per_epoch)
        drawn = self.supernet.sample(Draw(self.draws.relaxation(step), self.draws.tau(step), self.draws.noise(-epoch - 1), first))
        argmax = one_hot(self.derived.first().choices, self.space.choices(), device=self.fabric.device, architecture=first)
        rows = []
        for weights in (drawn, argmax):
            row = self.mious(weights, (LOGITS,))
            rows.append({"miou": row[LOGITS]} | {named("latency", k): value for k, value in enumerate(self.costs.of(weights))})
        return [("val", rows[0]), ("val_argmax", rows[1])], rows[1]["miou"]

    def _settled(self) -> tuple[list[tuple[str, Row]], float]:
        """Of each architecture set as it stands, by output; a set's score is that of the output that stands for its network."""
        with torch.no_grad():
            settled = {name: self.supernet.settled(name) for name in self.space.architecture_sets}
        found = {name: self.mious(weights, self.space.trained_outputs) for name, weights in settled.items()}
        self.derived.judge_by(found)
        rows = []
        for name, scores in found.items():
            choices = self.derived.all()[name].choices
            row = {"miou": scores[self.space.output_of(choices)], **{f"miou_{output}": miou for output, miou in scores.items()}}
            latencies = self.costs.predicted(choices)
            rows.append(row | {named("derived_latency", k): value for k, value in enumerate(latencies)})
        others = self.space.architecture_sets[1:]
        return list(zip(("val", *(f"val_{name}" for name in others)), rows, strict=True)), rows[0]["miou"]

    def mious(self, weights: Weights, outputs: tuple[str, ...]) -> dict[str, float]:
        """MIoU of some outputs of the supernet, each resized to the size of the labels."""
        device, classes = self.fabric.device, len(self.data.val_set.classes)
        matrices = {name: torch.zeros(classes, classes, dtype=torch.int64, device=device) for name in outputs}
        for found, truth in self._validated(weights, outputs, self._statistics_batches()):
            for name, logits in found.items():
                matrices[name] += confusion_matrix(predicted_labels(logits), truth, classes)
        return {name: float(mean_iou(self.ranks.sum(matrix))) for name, matrix in matrices.items()}

    def losses(self, each: Iterable[Weights], *, share: float = 1.0) -> list[float]:
        """Cross-entropy under each of several weights, the mean over the valid pixels of the first images of the validation split.

        Args:
            each: The weights.
            share: Of the batches, of the validation split and of those for the statistics; at least one of each is taken.
        """
        batches = self._statistics_batches(share)
        found = []
        for weights in each:
            total = torch.zeros(2, dtype=torch.float64, device=self.fabric.device)
            for outputs, truth in self._validated(weights, (LOGITS,), batches, share=share):
                losses = pixel_losses(outputs[LOGITS], truth)
                total += torch.stack([losses.double().sum(), pixel_weights(truth, None).sum().double()])
            loss, pixels = self.ranks.sum(total).tolist()
            found.append(loss / max(1.0, pixels))
        return found

    def _validated(
        self, weights: Weights, outputs: tuple[str, ...], statistics: list[Tensor], *, share: float = 1.0
    ) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Outputs [N, K, H, W] at the size of the labels, and labels [N, H, W], of the first batches of the validation split."""
        network, plan = self.supernet.network, self.plan

        def forward(images: Tensor) -> dict[str, Tensor]:
            return network.outputs(images, weights, names=outputs)

        finite = FiniteCheck(self.fabric.device)
        loader = eval_loader(self.data.val_set, batch_size=plan.batch_size, part=plan.part)
        with estimated_anew(network, forward, statistics, ranks=self.ranks), torch.no_grad():
            for images, labels in itertools.islice(loader, math.ceil(share * len(loader))):
                truth = self.fabric.to_device(labels)
                found = forward(self.fabric.to_device(images))
                yield {name: _resized(finite.see(logits), truth) for name, logits in found.items()}, truth
        finite.require("the validation images", ranks=self.ranks)

    def _statistics_batches(self, share: float = 1.0) -> list[Tensor]:
        """The first batches of the first epoch: the same at every evaluation and after a resume."""
        plan = self.plan
        train_set = self.data.train_set
        loader = train_loader(train_set, batch_size=plan.batch_size, crop=plan.crop, seed=plan.seed, epoch=0, part=plan.part)
        return [self.fabric.to_device(images) for images, _ in itertools.islice(loader, math.ceil(share * self.recalibrate))]


def _resized(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits [N, K, h, w] at the size of labels [N, H, W], bilinear with the corners in place."""
    size = labels.shape[1:]
    return logits if logits.shape[2:] == size else functional.interpolate(logits, size=size, mode="bilinear", align_corners=True)
