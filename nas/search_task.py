"""State and step of a search: the supernet, its two optimisers, and how one level or two are optimised."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from nas import relax
from nas.architecture import choice_entropy
from nas.config import SearchJob
from nas.cost.repair import check_reachable, check_repairable, derive_within
from nas.data.dataset import SegmentationDataset
from nas.data.held_out import HeldOutBatches, HeldOutLossError, hold_out
from nas.data.loader import steps_per_epoch, train_loader
from nas.deployed_latency import check_units, deployed_costs
from nas.errors import NonFiniteLossError
from nas.evaluate import confusion_over
from nas.genotype import Deploy
from nas.latency_control import LatencyControl, named
from nas.loop import LoopPlan, Row, clip_gradients
from nas.losses import cross_entropy
from nas.metrics import confusion_matrix, mean_iou
from nas.network import Network
from nas.norm_statistics import estimated_anew
from nas.ops.modules import predicted_labels
from nas.provenance import provenance
from nas.relax.weights import Weights
from nas.schedules import cosine, exponential, linear
from nas.search_optimizers import grad_norm, optimizers, set_lr
from nas.settings import noise_per_image
from nas.space import Derivation, SearchSpace
from nas.supernet import Draw, Supernet

_HELD_OUT_NOISE = 2**31
"""Added to the step for the noise of held-out batches, lest it be that of the training batches. PyTorch seeds with 32 bits."""


class SearchTask:
    """State and step of a search; see `nas.loop.Task`.

    With one level, weights and architecture follow the gradients of one loss on one batch. With two (DARTS, section 2.3, first
    order), a step first moves the architecture on a held-out batch, weights fixed, then the weights on a training batch,
    architecture fixed. Only the architecture's loss has the latency term. An epoch passes over what is not held out, `train_set`;
    the held-out images begin anew whenever they are used up. Both passes count into the running statistics of the batch
    normalisations, as in DARTS.

    Args:
        job: The settings.
        space: The search space.
        train_set: Training split; with two levels a part of it is held out.
        val_set: Validation split.
        fabric: Devices and precision.
    """

    def __init__(
        self,
        job: SearchJob,
        space: SearchSpace,
        *,
        train_set: SegmentationDataset,
        val_set: SegmentationDataset,
        fabric: Fabric,
    ) -> None:
        self.job, self.space, self.val_set, self.fabric = job, space, val_set, fabric
        self.per_image = noise_per_image(job.search, default=space.noise_per_image)
        self.num_classes = len(train_set.classes)
        self.train_set, self.held_out_set = train_set, None
        if job.search.level == "bilevel":
            self.train_set, self.held_out_set = hold_out(train_set, share=job.search.holdout, seed=job.seed)
        size = job.deploy.input or list(train_set.size)
        self.deploy = Deploy((size[0], size[1]), job.deploy.init_channels or space.deploy_channels, self.num_classes)
        crop = job.search.crop or list(train_set.size)
        self.plan = _plan(job, (crop[0], crop[1]))
        self.held_out = None if self.held_out_set is None else _held_out_batches(self.held_out_set, self.plan)
        self.total_steps = self.plan.total_steps(self.train_set)
        self.steps_per_epoch = steps_per_epoch(len(self.train_set), job.search.batch_size)
        self.warmup_steps = job.search.warmup_epochs * self.steps_per_epoch
        self.costs = deployed_costs(space, self.deploy, given=job.latency.table, targets=job.latency.targets())
        check_units(job.latency, self.costs.tables)
        self.supernet = self._build((crop[0], crop[1]))
        uniform = self.costs.of(relax.uniform(space.choices()))
        self.uniform = uniform[0] if uniform else 0.0
        self.control = LatencyControl(job.latency, uniform, arch_lr=job.search.arch_lr)
        self._check_targets()
        self._derived: tuple[dict[str, dict[str, Tensor]], Derivation] | None = None
        self.weight_optimizer, self.arch_optimizer = optimizers(self.supernet, job)
        self.model, *wrapped = fabric.setup(self.supernet, self.weight_optimizer, self.arch_optimizer)
        self.weight_optimizer, self.arch_optimizer = wrapped

    def _build(self, crop: tuple[int, int]) -> Supernet:
        """The supernet, with the expected latency by each table."""
        generator = torch.Generator().manual_seed(self.job.seed)
        settings = self.job.search
        channels = settings.init_channels or self.space.search_channels
        graph = self.space.graph(input_size=crop, init_channels=channels, num_classes=self.num_classes)
        network = Network(graph, execution=settings.execution, architecture_sets=self.space.architecture_sets)
        return Supernet(self.space, network, self.costs.latencies, generator=generator)

    def _check_targets(self) -> None:
        """Refuse targets that no derived network of the space can meet."""
        if limits := self.costs.limits():
            check_repairable(self.space)
            check_reachable(self.space, limits)

    def step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """Update the weights, and after the warm-up the architecture."""
        self.model.train()
        settings = self.job.search
        set_lr(self.weight_optimizer, cosine(step / self.total_steps, start=settings.weight_lr, end=settings.weight_lr_end))
        update = self._single_level if self.held_out is None else self._two_levels
        row, logits = update(images, labels, step)
        row |= self.control.weight_row()
        if step >= self.warmup_steps:
            self._control_latency(step)
        return row, confusion_matrix(predicted_labels(logits.detach()), labels, self.num_classes)

    def _control_latency(self, step: int) -> None:
        """What the next step weighs latency with, after the architecture has moved."""
        if self.control.ascends:
            self.control.observe_expected(self._expected())
        if self.control.has_band and (step + 1) % self.steps_per_epoch == 0:
            self.control.observe_derived(self.derived_latencies()[0])

    def _single_level(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """Weights and architecture in one backward pass."""
        loss, row, logits = self._pass(images, labels, self._draw(step), with_latency=True)
        self.weight_optimizer.zero_grad()
        self.arch_optimizer.zero_grad()
        self.fabric.backward(loss)
        clip_gradients(self.supernet.weight_parameters(), self.job.search.grad_clip)
        clip_gradients(self.supernet.arch_parameters(), 0)
        self.weight_optimizer.step()
        if step >= self.warmup_steps:
            self.arch_optimizer.step()
        return row, logits

    def _two_levels(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """The architecture on the next held-out batch, then the weights on the training batch; both move or neither."""
        held_out_row: Row = {}
        before = None
        if step >= self.warmup_steps:
            before = copy.deepcopy((self.supernet.architectures.state_dict(), self.arch_optimizer.state_dict()))
            held_out_row = self._architecture_step(step)
        try:
            row, logits = self._weights_step(images, labels, step)
        except NonFiniteLossError:
            if before is not None:
                self.supernet.architectures.load_state_dict(before[0])
                self.arch_optimizer.load_state_dict(before[1])
            raise
        return {**row, **held_out_row}, logits

    def _architecture_step(self, step: int) -> Row:
        """One step of Adam on a held-out batch, cross-entropy plus latency; the weights get no gradient."""
        assert self.held_out is not None
        number = step - self.warmup_steps
        images, labels = (self.fabric.to_device(tensor) for tensor in self.held_out.batch(number))
        try:
            with _frozen(self.supernet.weight_parameters()):
                draw = self._draw(step, offset=_HELD_OUT_NOISE)
                loss, row, _ = self._pass(images, labels, draw, with_latency=True)
            self.arch_optimizer.zero_grad()
            self.fabric.backward(loss)
            clip_gradients(self.supernet.arch_parameters(), 0)
        except NonFiniteLossError as error:
            raise HeldOutLossError(str(error), self.held_out.names(number)) from None
        self.arch_optimizer.step()
        return {f"holdout_{key}": value for key, value in row.items() if key != "tau"}

    def _weights_step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """One step of SGD on a training batch, cross-entropy alone; the architecture gets no gradient."""
        with _frozen(self.supernet.arch_parameters()):
            loss, row, logits = self._pass(images, labels, self._draw(step), with_latency=False)
        self.weight_optimizer.zero_grad()
        self.fabric.backward(loss)
        clip_gradients(self.supernet.weight_parameters(), self.job.search.grad_clip)
        self.weight_optimizer.step()
        return row, logits

    def _pass(self, images: Tensor, labels: Tensor, draw: Draw, *, with_latency: bool) -> tuple[Tensor, Row, Tensor]:
        """Loss [], its scalars and the logits of one forward pass.

        Raises:
            NonFiniteLossError: If the loss is not finite.
        """
        logits, latency = self.model(images, draw)
        entropy = cross_entropy(logits, labels)
        loss = entropy + self.control.weighted(latency) if with_latency else entropy
        scalars = torch.cat([torch.stack([loss.double(), entropy.double()]), latency.double()]).detach()
        loss_value, entropy_value, *latencies = scalars.tolist()
        if not torch.isfinite(scalars[0]):
            raise NonFiniteLossError(
                f"got loss {loss_value} (cross-entropy {entropy_value}, latency {', '.join(map(str, latencies or [0.0]))})"
            )
        row = {"loss": loss_value, "cross_entropy": entropy_value}
        row |= {named("sampled_latency", k): value for k, value in enumerate(latencies or [0.0])}
        return loss, {**row, "tau": draw.tau}, logits

    def _draw(self, step: int, *, offset: int = 0) -> Draw:
        relaxation = self._relaxation(step)
        return Draw(relaxation, self._tau(step), self._noise(step + offset), per_image=self.per_image and relaxation != "sampled")

    def _relaxation(self, step: int) -> str:
        settings = self.job.search
        return settings.warmup_relaxation or settings.relaxation if step < self.warmup_steps else settings.relaxation

    def _tau(self, step: int) -> float:
        """The temperature: held at its start while only the weights move, then as it is scheduled, then held at its end."""
        settings = self.job.search
        first = min(self.warmup_steps, self.total_steps - 1)
        steps = settings.tau_share * (self.total_steps - 1 - first)
        progress = min(1.0, max(0, step - first) / max(1.0, steps))
        schedule = linear if settings.tau_schedule == "linear" else exponential
        return schedule(progress, start=settings.tau_start, end=settings.tau_end)

    def _noise(self, step: int) -> torch.Generator:
        """Noise that is a pure function of seed and step: the same after a resume, on every device and rank."""
        return torch.Generator().manual_seed((self.job.seed * 1_000_003 + step) % 2**63)

    def epoch_scalars(self) -> Row:
        """Expected latency without noise, entropy, share of light operations, norms of the architecture's gradients."""
        with torch.no_grad():
            logits = self.supernet.guided_logits()
            row = {"entropy": float(choice_entropy({f"{s}/{g}": v for s, gs in logits.items() for g, v in gs.items()}).cpu())}
        row |= {named("expected_latency", k): value for k, value in enumerate(self._expected())}
        row |= {**self.control.weight_row(), **self.control.target_row()}
        row["light_share"] = light_share(self.derivation().choices, self.space)
        row["grad_norm_alpha"], row["grad_norm_communication"] = self._architecture_grad_norms()
        return row

    def _probabilities(self) -> Weights:
        """softmax(alpha_guided) as weights: no noise, temperature one."""
        logits = self.supernet.guided_logits()[self.space.architecture_sets[0]]
        return relax.probabilities(logits, self.space.choices(), never_all=self.space.never_all())

    def _expected(self) -> list[float]:
        """By table, the expected latency at softmax(alpha_guided)."""
        with torch.no_grad():
            return self.costs.of(self._probabilities())

    def _architecture_grad_norms(self) -> tuple[float, float]:
        return grad_norm(self.supernet.alpha_parameters()), grad_norm(self.supernet.communication_parameters())

    def derivation(self) -> Derivation:
        """The discrete architecture as it stands, within the targets; it is asked for several times an epoch."""
        logits = self._guided()
        if self._derived is None or not _equal(self._derived[0], logits):
            self._derived = logits, derive_within(self.space, logits, self.costs.limits())
        return self._derived[1]

    def derived_latencies(self) -> list[float]:
        """By table, the predicted latency of the discrete architecture as it stands."""
        return self.costs.of(relax.one_hot(self.derivation().choices, self.space.choices(), device=self.fabric.device))

    def _guided(self) -> dict[str, dict[str, Tensor]]:
        """The guided logits by architecture set and group, on the CPU."""
        with torch.no_grad():
            return {name: {g: v.detach().cpu() for g, v in s.items()} for name, s in self.supernet.guided_logits().items()}

    def evaluate(self, epoch: int) -> tuple[list[tuple[str, Row]], float]:
        """MIoU of the supernet as it is sampled and of its argmax network: the discretisation gap."""
        self.model.eval()
        step = min(self.total_steps - 1, (epoch + 1) * self.steps_per_epoch)
        drawn = self.supernet.sample(Draw(self._relaxation(step), self._tau(step), self._noise(-epoch - 1)))
        choices = self.derivation().choices
        argmax = relax.one_hot(choices, self.space.choices(), device=self.fabric.device)
        supernet_row, argmax_row = {"miou": self._miou(drawn)}, {"miou": self._miou(argmax)}
        for row, weights in ((supernet_row, drawn), (argmax_row, argmax)):
            row |= {named("latency", k): value for k, value in enumerate(self.costs.of(weights))}
        return [("val", supernet_row), ("val_argmax", argmax_row)], argmax_row["miou"]

    def _miou(self, weights: Weights) -> float:
        """MIoU on the validation split under the given weights, with batch-norm statistics of their own."""

        def forward(images: Tensor) -> Tensor:
            return cast("Tensor", self.supernet.network(images, weights))

        with estimated_anew(self.supernet.network, forward, self._statistics_batches()):
            matrix = confusion_over(forward, self.val_set, fabric=self.fabric, batch_size=self.plan.batch_size)
        return float(mean_iou(matrix))

    def _statistics_batches(self) -> list[Tensor]:
        """The first batches of the first epoch: the same at every evaluation and after a resume."""
        count = self.job.search.recalibrate
        if not count:
            return []
        loader = train_loader(self.train_set, batch_size=self.plan.batch_size, crop=self.plan.crop, seed=self.job.seed, epoch=0)
        return [self.fabric.to_device(images) for images, _ in itertools.islice(loader, count)]

    def state(self) -> dict[str, Any]:
        """Supernet, optimisers, and what derive needs: the guided logits with space and deployment."""
        return {
            "verb": "search",
            "supernet": self.supernet.state_dict(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "arch_optimizer": self.arch_optimizer.state_dict(),
            "latency_control": self.control.state(),
            "latency": {"table": self.job.latency.table, "target_ms": self.job.latency.target_ms},
            "guided_logits": self._guided(),
            "space": {"name": self.job.space.name, "config": dataclasses.asdict(self.job.space)},
            "deploy": dataclasses.asdict(self.deploy),
            "provenance": self.provenance(),
        }

    def provenance(self) -> dict[str, Any]:
        """Where a genotype of this search comes from."""
        return provenance(seed=self.job.seed, data=self.job.data.name, **self.costs.facts())

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""
        self.supernet.load_state_dict(state["supernet"])
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.arch_optimizer.load_state_dict(state["arch_optimizer"])
        if self.control.ascends or self.control.has_band:
            self.control.load_state(state["latency_control"])


def light_share(choices: Mapping[str, str], space: SearchSpace) -> float:
    """Share of zero, skip and pooling among the decisions that offer one."""
    offering = [name for name, options in space.genotype_choices().items() if space.light_options.intersection(options)]
    return sum(choices[name] in space.light_options for name in offering) / max(1, len(offering))


def _plan(job: SearchJob, crop: tuple[int, int]) -> LoopPlan:
    settings = job.search
    return LoopPlan(
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        batch_size=settings.batch_size,
        crop=crop,
        seed=job.seed,
        workers=job.data.workers,
        eval_every=settings.eval_every,
        checkpoint_every=settings.checkpoint_every,
        log_every=settings.log_every,
    )


def _held_out_batches(part: SegmentationDataset, plan: LoopPlan) -> HeldOutBatches:
    return HeldOutBatches(part, batch_size=plan.batch_size, crop=plan.crop, seed=plan.seed, workers=plan.workers)


@contextmanager
def _frozen(parameters: Iterable[torch.nn.Parameter]) -> Iterator[None]:
    """A forward pass in here gives these parameters no gradient."""
    frozen = list(parameters)
    for parameter in frozen:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad = True


def _equal(one: Mapping[str, Mapping[str, Tensor]], other: Mapping[str, Mapping[str, Tensor]]) -> bool:
    """Whether two states of the guided logits are the same."""
    return all(torch.equal(values, other[name][group]) for name, groups in one.items() for group, values in groups.items())
