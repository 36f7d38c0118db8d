"""State and step of a search: the supernet, its two optimisers, and how one level or two are optimised."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from nas.config.jobs import SearchJob
from nas.config.settings import execution_of
from nas.cost.deployed import check_units, deployed_costs, named
from nas.cost.repair import check_reachable, derive_within
from nas.data.batches.held_out import HeldOutBatches, HeldOutLossError, hold_out
from nas.data.batches.loader import BatchPart, steps_per_epoch
from nas.data.dataset import SegmentationDataset
from nas.distributed.fabric import check_shares, ranks_of
from nas.distributed.ranks import Ranks
from nas.distributed.synced_batch_norm import synchronise_batch_norms
from nas.errors import NonFiniteLossError
from nas.losses import loss_of
from nas.losses.label_size import labels_at
from nas.metrics import confusion_counts
from nas.network.compiling import compile_training
from nas.network.network import LOGITS, Network
from nas.ops.modules import predicted_labels
from nas.runs.provenance import provenance
from nas.space.capabilities import Derivation
from nas.space.deployment import Deployment
from nas.space.search_space import SearchSpace
from nas.space.weights import one_hot
from nas.supernet.architecture import choice_entropy, light_share, same_logits
from nas.supernet.draw_plan import DrawPlan, check_noise
from nas.supernet.latency_control import LatencyControl
from nas.supernet.optimizers import frozen, grad_norm, optimizers, set_lr
from nas.supernet.passes import passes_of
from nas.supernet.step_scalars import checked_scalars
from nas.supernet.supernet import Draw, Supernet
from nas.supernet.supernet_evaluation import SupernetEvaluation
from nas.training.loop_state import LoopPlan, Row
from nas.training.optimisation_step import clip_gradients
from nas.training.out_of_memory import moving, remedy_of
from nas.training.schedules import cosine, exponential

_HELD_OUT_NOISE = 2**31
"""Added to the step for the noise of held-out batches, so that it is not that of training batches. PyTorch seeds with 32 bits."""


class SearchTask:
    """State and step of a search; see `nas.loop.Task`.

    With one level, weights and architecture follow the gradients of one loss on one batch. With two (DARTS, section 2.3, first
    order), a step first moves the architecture on a held-out batch, weights fixed, then the weights on a training batch,
    architecture fixed. Only the architecture's loss has the latency term. An epoch passes over what is not held out, `train_set`;
    the held-out images begin again whenever they are used up. Both passes count into the running statistics of the batch
    normalisations, as in DARTS.

    A step has one pass or several. Their losses are added up, and their gradients one pass after the other: memory holds one pass.
    The latency is that of the pass of the first architecture set.

    Processes that share a batch add up their gradients after all passes: each computes its part of the loss, so that the sums are
    what one process would have. All draw the same architecture.

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
        self.ranks = ranks_of(fabric)
        check_shares("search.batch_size", job.search.batch_size, self.ranks)
        self.num_classes = len(train_set.classes)
        self.train_set, self.held_out_set = train_set, None
        if job.search.level == "bilevel":
            self.train_set, self.held_out_set = hold_out(train_set, share=job.search.holdout, seed=job.seed)
        self.deploy = job.deploy.deployment(space, self.num_classes, size=train_set.size)
        crop = job.search.crop or list(train_set.size)
        self.plan = _plan(job, (crop[0], crop[1]), self.ranks)
        self.held_out: HeldOutBatches | None = None
        if self.held_out_set is not None:
            how = {"batch_size": self.plan.batch_size, "seed": self.plan.seed, "workers": self.plan.workers}
            self.held_out = HeldOutBatches(self.held_out_set, crop=self.plan.crop, of_batch=self.plan.part, **how)
        self.total_steps = self.plan.total_steps(self.train_set)
        self.steps_per_epoch = steps_per_epoch(len(self.train_set), job.search.batch_size)
        self.warmup_steps = job.search.warmup_epochs * self.steps_per_epoch
        warmup_passes, passes = passes_of(job.search, space)
        self.draws = DrawPlan(
            settings=job.search,
            seed=job.seed,
            warmup_steps=self.warmup_steps,
            total_steps=self.total_steps,
            per_image=check_noise(job.search, space),
            warmup_passes=warmup_passes,
            passes=passes,
        )
        self.loss = loss_of(job.search.loss, self.ranks)
        self.costs = deployed_costs(space, self.deploy, given=job.latency.table, targets=job.latency.targets())
        check_units(job.latency, self.costs.tables)
        self.supernet = self._build((crop[0], crop[1]))
        views = space.latency_views(self.supernet.uniform())
        uniform = [sum(parts) for parts in zip(*([share * ms for ms in self.costs.of(view)] for share, view in views), strict=True)]
        self.uniform = uniform[0] if uniform else 0.0
        self.control = LatencyControl(job.latency, uniform, arch_lr=job.search.arch_lr)
        self._check_targets()
        self.scores: dict[str, dict[str, float]] = {}
        self._derived: tuple[Any, Mapping[str, Derivation]] | None = None
        self.evaluation = SupernetEvaluation(
            self.supernet.network,
            train_set=self.train_set,
            val_set=val_set,
            plan=self.plan,
            recalibrate=job.search.recalibrate,
            fabric=fabric,
        )
        if not space.contains_derived:
            self.derivations()  # what cannot be derived from is refused before anything is trained
        if job.trainer.sync_batch_norm:
            synchronise_batch_norms(self.supernet, self.ranks)
        self.weight_optimizer, self.arch_optimizer = optimizers(self.supernet, job)
        self.model, *wrapped = fabric.setup(self.supernet, self.weight_optimizer, self.arch_optimizer)
        self.weight_optimizer, self.arch_optimizer = wrapped
        compile_training(self.supernet.network, job.trainer.compile)

    def _build(self, crop: tuple[int, int]) -> Supernet:
        """The supernet, with the expected latency by each table."""
        generator = torch.Generator().manual_seed(self.job.seed)
        settings = self.job.search
        channels = settings.init_channels or self.space.search_channels
        graph = self.space.graph(Deployment(crop, channels, self.num_classes))
        network = Network(graph, execution=execution_of(settings), architecture_sets=self.space.architecture_sets)
        network.checkpointing = self.job.trainer.checkpointing
        return Supernet(self.space, network, self.costs.latencies, generator=generator)

    def _check_targets(self) -> None:
        """Refuse targets that no derived network of the space can meet."""
        if limits := self.costs.limits():
            check_reachable(self.space, limits)

    def step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """Update the weights, and after the warm-up the architecture."""
        self.model.train()
        settings = self.job.search
        schedule = cosine if settings.weight_lr_schedule == "cosine" else exponential
        set_lr(self.weight_optimizer, schedule(step / self.total_steps, start=settings.weight_lr, end=settings.weight_lr_end))
        update = self._single_level if self.held_out is None else self._two_levels
        row, confusion = update(images, labels, step)
        if not self.job.trainer.sync_batch_norm:
            self.ranks.average_of_statistics(self.supernet)
        row |= self.control.weight_row()
        if step >= self.warmup_steps:
            self._control_latency(step)
        return row, confusion

    def _control_latency(self, step: int) -> None:
        """Set the weights of latency for the next step, after the architecture has moved."""
        if self.control.ascends:
            self.control.observe_expected(self._expected())
        if self.control.has_band and (step + 1) % self.steps_per_epoch == 0:
            first = self.space.architecture_sets[0]
            networks = self.space.alternatives(self._guided()[first], first).values()
            self.control.observe_derived([self.costs.predicted(choices)[0] for choices in networks])

    def _single_level(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """Weights and architecture by the gradients of one loss."""
        self.weight_optimizer.zero_grad()
        self.arch_optimizer.zero_grad()
        draws = self.draws.of_step(step)
        scalars, confusion = self._passes(images, labels, draws, with_latency=True)
        self.ranks.sum_of_gradients(self.supernet.parameters())
        norms = [
            clip_gradients(self.supernet.weight_parameters(), self.job.search.grad_clip),
            clip_gradients(self.supernet.arch_parameters(), 0),
        ]
        row = {**checked_scalars(scalars, norms, ranks=self.ranks, with_latency=True), "tau": draws[0].tau}
        with moving():
            self.weight_optimizer.step()
            if step >= self.warmup_steps:
                self.arch_optimizer.step()
        return row, confusion

    def _two_levels(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """The architecture on the next held-out batch, then the weights on the training batch; both move or neither."""
        held_out_row: Row = {}
        before = None
        if step >= self.warmup_steps:
            before = copy.deepcopy((self.supernet.architectures.state_dict(), self.arch_optimizer.state_dict()))
            held_out_row = self._architecture_step(step, count=len(images))
        try:
            row, confusion = self._weights_step(images, labels, step)
        except (RuntimeError, MemoryError):  # a loss that is not finite, memory that ran out
            if before is not None:
                self.supernet.architectures.load_state_dict(before[0])
                self.arch_optimizer.load_state_dict(before[1])
            raise
        return {**row, **held_out_row}, confusion

    def _architecture_step(self, step: int, *, count: int) -> Row:
        """One step of Adam on `count` held-out images, cross-entropy plus latency; the weights get no gradient."""
        assert self.held_out is not None
        number = step - self.warmup_steps
        images, labels = (self.fabric.to_device(tensor[:count]) for tensor in self.held_out.batch(number))
        try:
            self.arch_optimizer.zero_grad()
            with frozen(self.supernet.weight_parameters()):
                draws = self.draws.of_step(step, offset=_HELD_OUT_NOISE)
                scalars, _ = self._passes(images, labels, draws, with_latency=True)
            self.ranks.sum_of_gradients(self.supernet.arch_parameters())
            norms = [clip_gradients(self.supernet.arch_parameters(), 0)]
            row = checked_scalars(scalars, norms, ranks=self.ranks, with_latency=True)
        except NonFiniteLossError as error:
            raise HeldOutLossError(str(error), self.held_out.names(number)) from None
        with moving():
            self.arch_optimizer.step()
        return {f"holdout_{key}": value for key, value in row.items()}

    def _weights_step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """One step of SGD on a training batch, cross-entropy alone; the architecture gets no gradient."""
        self.weight_optimizer.zero_grad()
        with frozen(self.supernet.arch_parameters()):
            draws = self.draws.of_step(step)
            scalars, confusion = self._passes(images, labels, draws, with_latency=False)
        self.ranks.sum_of_gradients(self.supernet.weight_parameters())
        norms = [clip_gradients(self.supernet.weight_parameters(), self.job.search.grad_clip)]
        row = checked_scalars(scalars, norms, ranks=self.ranks, with_latency=False)
        with moving():
            self.weight_optimizer.step()
        return {**row, "tau": draws[0].tau}, confusion

    def _passes(self, images: Tensor, labels: Tensor, draws: Sequence[Draw], *, with_latency: bool) -> tuple[list[Tensor], Tensor]:
        """Add up the gradients of all passes; their scalars, and the confusion matrix of the last output of one of them.

        It is the first set's own pass, or, where that always holds something, the first of all.
        """
        passes, confusion = [], None
        for draw in draws:
            outputs, latency = self.model(images, draw._replace(part=(self.ranks.number, self.ranks.count)))
            loss, scalars = self._loss(outputs, labels, latency, with_latency=with_latency)
            self.fabric.backward(loss)
            passes.append(scalars)
            if confusion is None or self._is_timed(draw):
                found = predicted_labels(outputs[-1].detach())
                confusion = confusion_counts(found, labels_at(labels, found.shape[1:]), self.num_classes)
        assert confusion is not None
        return passes, confusion

    def _is_timed(self, draw: Draw) -> bool:
        """Whether a pass is the first set's own."""
        return draw.mode is None and draw.architecture == self.space.architecture_sets[0]

    def _loss(self, outputs: Sequence[Tensor], labels: Tensor, latency: Tensor, *, with_latency: bool) -> tuple[Tensor, Tensor]:
        """Sum of the losses of some outputs [N, K, H, W], with the latency term; and what `checked_scalars` takes.

        With several processes both are this one's part: its pixels over those of all, and its share of the latency, which is the
        same on all of them, or the mean over equally many images.
        """
        terms = [self.loss(output, labels_at(labels, output.shape[2:])) for output in outputs]
        entropy = terms[0] if len(terms) == 1 else torch.stack(terms).sum()
        latency = latency if not self.ranks.are_several else latency / self.ranks.count
        loss = entropy + self.control.weighted(latency if with_latency else torch.zeros_like(latency))
        return loss, torch.cat([torch.stack([loss.double(), entropy.double()]), latency.double()]).detach()

    def epoch_scalars(self) -> Row:
        """Expected latency without noise, entropy, share of light operations, norms of the architecture's gradients."""
        with torch.no_grad():
            logits = self.supernet.guided_logits()
            row = {"entropy": float(choice_entropy({f"{s}/{g}": v for s, gs in logits.items() for g, v in gs.items()}).cpu())}
        row |= {named("expected_latency", k): value for k, value in enumerate(self._expected())}
        row |= {**self.control.weight_row(), **self.control.target_row()}
        if (share := light_share(self.derivation().choices, self.space)) is not None:
            row["light_share"] = share
        row["grad_norm_alpha"], row["grad_norm_communication"] = self._architecture_grad_norms()
        return row

    def _expected(self) -> list[float]:
        """By table, the expected latency at softmax(alpha_guided)."""
        with torch.no_grad():
            return self.costs.of(self.supernet.probabilities(self.space.architecture_sets[0]))

    def _architecture_grad_norms(self) -> tuple[float, float]:
        return grad_norm(self.supernet.alpha_parameters()), grad_norm(self.supernet.communication_parameters())

    def derivation(self) -> Derivation:
        """The discrete architecture of the first set as it stands, within the targets."""
        return self.derivations()[self.space.architecture_sets[0]]

    def derivations(self) -> Mapping[str, Derivation]:
        """The discrete architectures of all sets; they are asked for several times an epoch."""
        logits = self._guided()
        if self._derived is None or not same_logits(self._derived[0], logits):
            judge = self.costs.judge(self.scores)
            self._derived = logits, derive_within(self.space, logits, self.costs.limits(), judge=judge)
        return self._derived[1]

    def derived_latencies(self) -> list[float]:
        """By table, the predicted latency of the discrete architecture as it stands."""
        return self.costs.predicted(self.derivation().choices)

    def _guided(self) -> dict[str, dict[str, Tensor]]:
        """The guided logits by architecture set and group, copied to the CPU: without communication they are the parameters."""
        with torch.no_grad():
            logits = self.supernet.guided_logits()
            return {name: {group: value.to("cpu", copy=True) for group, value in s.items()} for name, s in logits.items()}

    def evaluate(self, epoch: int) -> tuple[list[tuple[str, Row]], float]:
        """MIoU of the supernet on the validation split."""
        self.model.eval()
        return self._evaluate_sampled_and_argmax(epoch) if self.space.contains_derived else self._evaluate_settled()

    def _evaluate_sampled_and_argmax(self, epoch: int) -> tuple[list[tuple[str, Row]], float]:
        """Of the supernet as it is sampled and of its argmax network: the discretisation gap."""
        first, step = self.space.architecture_sets[0], min(self.total_steps - 1, (epoch + 1) * self.steps_per_epoch)
        drawn = self.supernet.sample(Draw(self.draws.relaxation(step), self.draws.tau(step), self.draws.noise(-epoch - 1), first))
        argmax = one_hot(self.derivation().choices, self.space.choices(), device=self.fabric.device, architecture=first)
        rows = []
        for weights in (drawn, argmax):
            row = self.evaluation.mious(weights, (LOGITS,))
            rows.append({"miou": row[LOGITS]} | {named("latency", k): value for k, value in enumerate(self.costs.of(weights))})
        return [("val", rows[0]), ("val_argmax", rows[1])], rows[1]["miou"]

    def _evaluate_settled(self) -> tuple[list[tuple[str, Row]], float]:
        """Of each architecture set as it stands, by output; a set's score is that of the output that stands for its network."""
        with torch.no_grad():
            settled = {name: self.supernet.settled(name) for name in self.space.architecture_sets}
        self.scores = {name: self.evaluation.mious(weights, self.space.trained_outputs) for name, weights in settled.items()}
        self._derived = None
        rows = []
        for name, scores in self.scores.items():
            choices = self.derivations()[name].choices
            row = {"miou": scores[self.space.output_of(choices)], **{f"miou_{output}": miou for output, miou in scores.items()}}
            latencies = self.costs.predicted(choices)
            rows.append(row | {named("derived_latency", k): value for k, value in enumerate(latencies)})
        others = self.space.architecture_sets[1:]
        return list(zip(("val", *(f"val_{name}" for name in others)), rows, strict=True)), rows[0]["miou"]

    def state(self) -> dict[str, Any]:
        """Supernet, optimisers, and what derive needs: the guided logits with space and deployment."""
        return {
            "verb": "search",
            "supernet": self.supernet.state_dict(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "arch_optimizer": self.arch_optimizer.state_dict(),
            "latency_control": self.control.state(),
            "scores": self.scores,
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
        self.scores = state["scores"]
        if self.control.ascends or self.control.has_band:
            self.control.load_state(state["latency_control"])


def _plan(job: SearchJob, crop: tuple[int, int], ranks: Ranks) -> LoopPlan:
    settings = job.search
    return LoopPlan(
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        batch_size=settings.batch_size,
        crop=crop,
        seed=job.seed,
        workers=job.data.workers,
        cached=job.data.cache,
        eval_every=settings.eval_every,
        checkpoint_every=settings.checkpoint_every,
        log_every=settings.log_every,
        part=BatchPart(ranks.number, ranks.count),
        remedy=remedy_of("search", job.trainer),
    )
