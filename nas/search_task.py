"""State and step of a search: the supernet, its two optimisers, and how one level or two are optimised."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from nas import predicting, relax
from nas.architecture import choice_entropy
from nas.config import SearchJob
from nas.cost import CostTable, LatencyTable, resolve_table
from nas.cost.expected import ExpectedLatency
from nas.data.dataset import SegmentationDataset
from nas.data.held_out import HeldOutBatches, HeldOutLossError, hold_out
from nas.data.loader import steps_per_epoch, train_loader
from nas.errors import ConfigError, NonFiniteLossError
from nas.evaluate import confusion_over
from nas.genotype import Deploy, Genotype
from nas.loop import LoopPlan, Row, clip_gradients
from nas.losses import cross_entropy
from nas.metrics import confusion_matrix, mean_iou
from nas.network import Network
from nas.norm_statistics import estimated_anew
from nas.ops.modules import predicted_labels
from nas.provenance import provenance
from nas.relax.weights import Weights
from nas.schedules import cosine, exponential, linear
from nas.settings import noise_per_image
from nas.space import Derivation, SearchSpace, SpaceEntry
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
        self.table = resolve_table(job.latency.table)
        self.supernet, self.uniform = self._build((crop[0], crop[1]))
        self.weight_optimizer, self.arch_optimizer = _optimizers(self.supernet, job)
        self.model, *optimizers = fabric.setup(self.supernet, self.weight_optimizer, self.arch_optimizer)
        self.weight_optimizer, self.arch_optimizer = optimizers

    def _build(self, crop: tuple[int, int]) -> tuple[Supernet, float]:
        """The supernet, and the expected latency of uniform architecture parameters."""
        generator = torch.Generator().manual_seed(self.job.seed)
        settings = self.job.search
        channels = settings.init_channels or self.space.search_channels
        graph = self.space.graph(input_size=crop, init_channels=channels, num_classes=self.num_classes)
        network = Network(graph, execution=settings.execution, architecture_sets=self.space.architecture_sets)
        latency = expected_latency(self.space, self.deploy, self.table, self.job)
        supernet = Supernet(self.space, network, latency, generator=generator)
        uniform = 0.0 if latency is None else float(latency(relax.uniform(self.space.choices())))
        return supernet, uniform

    def step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """Update the weights, and after the warm-up the architecture."""
        self.model.train()
        settings = self.job.search
        _set_lr(self.weight_optimizer, cosine(step / self.total_steps, start=settings.weight_lr, end=settings.weight_lr_end))
        update = self._single_level if self.held_out is None else self._two_levels
        row, logits = update(images, labels, step)
        return row, confusion_matrix(predicted_labels(logits.detach()), labels, self.num_classes)

    def _single_level(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """Weights and architecture in one backward pass."""
        loss, row, logits = self._pass(images, labels, self._draw(step), latency_weight=self.job.latency.weight)
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
                loss, row, _ = self._pass(images, labels, draw, latency_weight=self.job.latency.weight)
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
            loss, row, logits = self._pass(images, labels, self._draw(step), latency_weight=0.0)
        self.weight_optimizer.zero_grad()
        self.fabric.backward(loss)
        clip_gradients(self.supernet.weight_parameters(), self.job.search.grad_clip)
        self.weight_optimizer.step()
        return row, logits

    def _pass(self, images: Tensor, labels: Tensor, draw: Draw, *, latency_weight: float) -> tuple[Tensor, Row, Tensor]:
        """Loss [], its scalars and the logits of one forward pass.

        Raises:
            NonFiniteLossError: If the loss is not finite.
        """
        logits, latency = self.model(images, draw)
        entropy = cross_entropy(logits, labels)
        loss = entropy + latency_weight * self._latency_term(latency)
        loss_value, entropy_value, latency_value = (
            torch.stack([loss.double(), entropy.double(), latency.double()]).detach().tolist()
        )
        if not torch.isfinite(torch.tensor(loss_value)):
            raise NonFiniteLossError(f"got loss {loss_value} (cross-entropy {entropy_value}, latency {latency_value})")
        row = {"loss": loss_value, "cross_entropy": entropy_value, "sampled_latency": latency_value, "tau": draw.tau}
        return loss, row, logits

    def _draw(self, step: int, *, offset: int = 0) -> Draw:
        relaxation = self._relaxation(step)
        return Draw(relaxation, self._tau(step), self._noise(step + offset), per_image=self.per_image and relaxation != "sampled")

    def _latency_term(self, latency: Tensor) -> Tensor:
        """The latency in the unit that its weight is stated for."""
        unit = self.job.latency.unit
        if self.table is None:
            return latency
        return latency / self.uniform if unit == "relative" else latency * (1000.0 if unit == "us" else 1.0)

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
            if self.supernet.latency is not None:
                row["expected_latency"] = float(self.supernet.latency(self._probabilities()))
        row["light_share"] = light_share(self.derivation().choices, self.space)
        row["grad_norm_alpha"], row["grad_norm_communication"] = self._architecture_grad_norms()
        return row

    def _probabilities(self) -> Weights:
        """softmax(alpha_guided) as weights: no noise, temperature one."""
        logits = self.supernet.guided_logits()[self.space.architecture_sets[0]]
        return relax.probabilities(logits, self.space.choices(), never_all=self.space.never_all())

    def _architecture_grad_norms(self) -> tuple[float, float]:
        return _grad_norm(self.supernet.alpha_parameters()), _grad_norm(self.supernet.communication_parameters())

    def derivation(self) -> Derivation:
        """The discrete architecture as it stands."""
        return self.supernet.derive()[self.space.architecture_sets[0]]

    def evaluate(self, epoch: int) -> tuple[list[tuple[str, Row]], float]:
        """MIoU of the supernet as it is sampled and of its argmax network: the discretisation gap."""
        self.model.eval()
        step = min(self.total_steps - 1, (epoch + 1) * self.steps_per_epoch)
        drawn = self.supernet.sample(Draw(self._relaxation(step), self._tau(step), self._noise(-epoch - 1)))
        choices = self.derivation().choices
        argmax = relax.one_hot(choices, self.space.choices(), device=self.fabric.device)
        supernet_row, argmax_row = {"miou": self._miou(drawn)}, {"miou": self._miou(argmax)}
        if self.supernet.latency is not None:
            with torch.no_grad():
                supernet_row["latency"] = float(self.supernet.latency(drawn))
                argmax_row["latency"] = float(self.supernet.latency(argmax))
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
        guided = {name: {g: v.detach().cpu() for g, v in s.items()} for name, s in self.supernet.guided_logits().items()}
        return {
            "verb": "search",
            "supernet": self.supernet.state_dict(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "arch_optimizer": self.arch_optimizer.state_dict(),
            "guided_logits": guided,
            "space": {"name": self.job.space.name, "config": dataclasses.asdict(self.job.space)},
            "deploy": dataclasses.asdict(self.deploy),
            "provenance": self.provenance(),
        }

    def provenance(self) -> dict[str, Any]:
        """Where a genotype of this search comes from."""
        return provenance(
            seed=self.job.seed,
            data=self.job.data.name,
            table=None if self.table is None else self.table.identifier,
            cost_unit=None if self.table is None else self.table.unit,
        )

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""
        self.supernet.load_state_dict(state["supernet"])
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.arch_optimizer.load_state_dict(state["arch_optimizer"])


def expected_latency(space: SearchSpace, deploy: Deploy, table: CostTable | None, job: SearchJob) -> ExpectedLatency | None:
    """Expected latency at the deployed shape.

    Raises:
        TableError: If the table lacks operations; the message lists them and the command that measures them.
    """
    if table is None:
        if job.latency.weight and job.latency.unit != "relative":
            raise ConfigError(
                f"latency.table=none: got latency.unit={job.latency.unit}, expected relative; there is nothing to weigh"
            )
        return None
    if table.unit != "ms" and job.latency.unit != "relative":
        raise ConfigError(f"latency.unit: got {job.latency.unit}, expected relative, for {table.identifier} is in {table.unit}")
    graph = space.graph(input_size=deploy.input, init_channels=deploy.init_channels, num_classes=deploy.num_classes)
    table.require(graph.specs(), command=profile_command(job, space, deploy, table))
    return ExpectedLatency(graph, table.cost)


def profile_command(job: SearchJob, space: SearchSpace, deploy: Deploy, table: CostTable) -> str:
    """The command that measures what a table lacks, with every setting of the space, into that very table."""
    shape = Genotype(job.space.name, dataclasses.asdict(job.space), deploy, choices={})
    command = predicting.profile_command(shape, table, {job.space.name: SpaceEntry(type(job.space), type(space))})
    if isinstance(table, LatencyTable):
        command += f" rounds={table.protocol.rounds}"
        if Path(job.latency.table).is_file():
            command += f" {shlex.quote(f'out={job.latency.table}')}"
    return command


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


def _optimizers(supernet: Supernet, job: SearchJob) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """SGD for the weights, Adam for the architecture (SPEC section 6)."""
    settings = job.search
    weight_optimizer = torch.optim.SGD(
        supernet.weight_parameters(),
        lr=settings.weight_lr,
        momentum=settings.weight_momentum,
        weight_decay=settings.weight_decay,
    )
    groups: list[dict[str, Any]] = [{"params": list(supernet.alpha_parameters()), "lr": settings.arch_lr}]
    communication = list(supernet.communication_parameters())
    if communication:
        rate = settings.arch_lr if settings.communication_lr is None else settings.communication_lr
        groups.append({"params": communication, "lr": rate})
    arch_optimizer = torch.optim.Adam(
        groups,
        betas=(settings.arch_betas[0], settings.arch_betas[1]),
        weight_decay=settings.arch_weight_decay,
    )
    return weight_optimizer, arch_optimizer


def _grad_norm(parameters: Iterable[torch.nn.Parameter]) -> float:
    """Norm of the gradients of the last step; zero where there is none."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
