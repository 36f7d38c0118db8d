"""A search as a task of the loop, put together from its parts."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from nas.config.jobs import SearchJob
from nas.cost.deployed import named
from nas.data.dataset import SegmentationDataset
from nas.distributed.fabric import ranks_of
from nas.distributed.synced_batch_norm import synchronise_batch_norms
from nas.losses import loss_of
from nas.network.compiling import compile_training
from nas.runs.state_checks import as_mapping, check_like, check_optimizer, check_scores, check_tensors, check_verb
from nas.space.search_space import SearchSpace
from nas.supernet.architecture import choice_entropy, light_share
from nas.supernet.derivation import DerivedArchitectures, check_chosen
from nas.supernet.drawn_candidates import best_candidates, check_candidates
from nas.supernet.optimizers import grad_norm, optimisation_of, set_lr
from nas.supernet.pass_gradients import PassGradients
from nas.supernet.setup import build_supernet, draw_plan, latency_control, search_costs, search_data
from nas.supernet.steps import OneLevel, TwoLevels
from nas.supernet.supernet_evaluation import SupernetEvaluation
from nas.training.loop_state import Row
from nas.training.schedules import cosine, exponential


class SearchTask:
    """State and step of a search; see `nas.training.loop_state.Task`.

    A step has one pass or several, whose losses are added up. The latency is that of the pass of the first architecture set. With
    one level, weights and architecture move together (`OneLevel`); with two, one after the other (`TwoLevels`). Processes that
    share a batch add up their gradients after all passes, and all draw the same architecture.

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
        self.job, self.space, self.fabric, self.ranks = job, space, fabric, ranks_of(fabric)
        self.data = search_data(job, train_set=train_set, val_set=val_set, ranks=self.ranks)
        self.train_set, self.val_set, self.held_out = self.data.train_set, val_set, self.data.held_out
        self.plan, self.total_steps, self.steps_per_epoch = self.data.plan, self.data.total_steps, self.data.steps_per_epoch
        self.deploy = job.deploy.deployment(space, self.data.num_classes, size=train_set.size)
        check_candidates(space, job.search.candidates)
        self.draws = draw_plan(job, space, self.data)
        self.warmup_steps = self.draws.warmup_steps
        self.costs = search_costs(job, space, self.deploy)
        self.supernet = build_supernet(job, space, self.data, self.costs)
        self.control = latency_control(job, self.supernet, self.costs)
        self.derived = DerivedArchitectures(job, self.supernet, self.costs, self.deploy)
        if not space.contains_derived:
            self.derived.all()  # what cannot be derived from is refused before anything is trained
        if job.trainer.sync_batch_norm:
            synchronise_batch_norms(self.supernet, self.ranks)
        self.optimisation = optimisation_of(self.supernet, job, fabric)
        self.model = self.optimisation.model
        compile_training(self.supernet.network, job.trainer.compile)
        self.evaluation = SupernetEvaluation(self.derived, self.data, self.draws, recalibrate=job.search.recalibrate, fabric=fabric)
        gradients = PassGradients(
            self.model,
            loss_of(job.search.loss, self.ranks),
            self.control,
            num_classes=self.data.num_classes,
            timed=space.architecture_sets[0],
            fabric=fabric,
        )
        self.steps = (
            OneLevel(gradients, self.draws, self.optimisation)
            if self.held_out is None
            else TwoLevels(gradients, self.draws, self.optimisation, self.held_out)
        )

    def step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """Update the weights, and after the warm-up the architecture."""
        self.model.train()
        set_lr(self.optimisation.weights.optimizer, self._lr(step, self.total_steps))
        row, confusion = self.steps.take(images, labels, step)
        if not self.job.trainer.sync_batch_norm:
            self.ranks.average_of_statistics(self.supernet)
        row |= self.control.weight_row()
        if step >= self.warmup_steps:
            self._control_latency(step)
        return row, confusion

    def _control_latency(self, step: int) -> None:
        """Set the weights of latency for the next step, after the architecture has moved."""
        if self.control.ascends:
            self.control.observe_expected(self.expected_latencies())
        if self.control.has_band and (step + 1) % self.steps_per_epoch == 0:
            self.control.observe_derived(self.derived.latencies_of_alternatives())

    def entropy(self) -> float:
        """Mean entropy of the decisions of all architecture sets: 1 undecided, 0 decided."""
        with torch.no_grad():
            logits = self.supernet.guided_logits()
            return float(choice_entropy({f"{s}/{g}": v for s, gs in logits.items() for g, v in gs.items()}).cpu())

    def expected_latencies(self) -> list[float]:
        """Expected latency at softmax(alpha_guided), by table."""
        with torch.no_grad():
            return self.costs.of(self.supernet.probabilities(self.space.architecture_sets[0]))

    def scheduled(self, step: int, total: int) -> Row:
        """Temperature, and learning rate of the network weights; the weight of latency follows what is observed, not the length."""
        draws = dataclasses.replace(self.draws, total_steps=total)
        return {"temperature": draws.tau(step), "learning rate": self._lr(step, total)}

    def _lr(self, step: int, total: int) -> float:
        settings = self.job.search
        schedule = cosine if settings.weight_lr_schedule == "cosine" else exponential
        return schedule(step / total, start=settings.weight_lr, end=settings.weight_lr_end)

    def learning_rate(self) -> float:
        """The learning rate of the network weights in the last step."""
        return float(self.optimisation.weights.optimizer.param_groups[0]["lr"])

    def epoch_scalars(self) -> Row:
        """Expected latency without noise, entropy, share of light operations, norms of the architecture's gradients."""
        row = {"entropy": self.entropy()}
        row |= {named("expected_latency", k): value for k, value in enumerate(self.expected_latencies())}
        row |= {**self.control.weight_row(), **self.control.target_row()}
        if (share := light_share(self.derived.first().choices, self.space)) is not None:
            row["light_share"] = share
        row["grad_norm_alpha"] = grad_norm(self.supernet.alpha_parameters())
        row["grad_norm_communication"] = grad_norm(self.supernet.communication_parameters())
        return row

    def evaluate(self, epoch: int) -> tuple[list[tuple[str, Row]], float]:
        """MIoU of the supernet on the validation split; at the end, what is derived is first chosen among candidates."""
        self.model.eval()
        at_end = (epoch + 1) * self.steps_per_epoch >= self.total_steps
        chosen = [self._choose()] if self.job.search.candidates and at_end else []
        rows, score = self.evaluation.evaluate(epoch)
        return [*rows, *chosen], score

    def _choose(self) -> tuple[str, Row]:
        """Choose what is derived among candidates; how many there were, and the loss of the best."""
        self.derived.choose(None)
        found, count = best_candidates(self.evaluation, self.job.search.candidates, self.draws.noise(self.total_steps))
        self.derived.choose(found[0].choices)
        return "val_candidates", {"candidates": float(count), "loss": found[0].loss}

    def state(self) -> dict[str, Any]:
        """Supernet, optimisers, and what derive needs: the guided logits with space and deployment."""
        return {
            "verb": "search",
            "supernet": self.supernet.state_dict(),
            "weight_optimizer": self.optimisation.weights.optimizer.state_dict(),
            "arch_optimizer": self.optimisation.architecture.optimizer.state_dict(),
            "latency_control": self.control.state(),
            "scores": self.derived.scores,
            **({} if self.derived.chosen is None else {"chosen": self.derived.chosen}),
            "latency": {"table": self.job.latency.table, "target_ms": self.job.latency.target_ms},
            "guided_logits": self.derived.guided_logits(),
            "space": {"name": self.job.space.name, "config": dataclasses.asdict(self.job.space)},
            "deploy": dataclasses.asdict(self.deploy),
            "provenance": self.derived.provenance(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state, all of it or none.

        Raises:
            ValueError: If a part is missing or does not fit.
        """
        self._check(state)
        self.supernet.load_state_dict(state["supernet"])
        self.optimisation.weights.optimizer.load_state_dict(state["weight_optimizer"])
        self.optimisation.architecture.optimizer.load_state_dict(state["arch_optimizer"])
        self.derived.judge_by(state["scores"])
        self.derived.choose(state.get("chosen"))
        if self.control.ascends or self.control.has_band:
            self.control.load_state(state["latency_control"])

    def _check(self, state: dict[str, Any]) -> None:
        controlled = self.control.ascends or self.control.has_band
        as_mapping(state, "checkpoint", ("supernet", "weight_optimizer", "arch_optimizer", "scores"))
        check_verb(state, "search")
        check_tensors(state["supernet"], self.supernet.state_dict(), "supernet")
        for name, moved in (("weight", self.optimisation.weights), ("arch", self.optimisation.architecture)):
            check_optimizer(state[f"{name}_optimizer"], moved.optimizer, f"{name}_optimizer")
        for name, scores in as_mapping(state["scores"], "scores").items():
            check_scores(scores, f"scores.{name}")
        if state.get("chosen") is not None:
            check_chosen(state["chosen"], self.space)
        if controlled:
            check_like(state.get("latency_control"), self.control.state(), "latency_control")
