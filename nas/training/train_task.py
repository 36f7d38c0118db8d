"""State and step of a training: gradients of one or several batches, one optimiser, the average of the weights."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from nas.config.jobs import TrainJob
from nas.distributed.fabric import ranks_of
from nas.distributed.synced_batch_norm import synchronise_batch_norms
from nas.network.compiling import compile_training
from nas.network.network import LOGITS, Network
from nas.runs.state_checks import as_mapping, check_optimizer, check_scores, check_tensors, check_verb
from nas.training.ema import average_into, averaged_copy, decay_at
from nas.training.loop_state import LoopPlan, Row
from nas.training.objectives import Objective
from nas.training.optimisation_step import Backward, Moved, optimisation_step
from nas.training.schedules import poly
from nas.training.teacher import Teacher


class AllOutputs(nn.Module):
    """A network as a module whose forward gives the auxiliary outputs, too.

    Args:
        network: The network.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images [N, 3, H, W] -> name -> [N, classes, H, W], `logits` among them."""
        return self.network.forward_with_aux(images)


class TrainTask:
    """A training as a task of the loop; see `nas.training.loop_state.Task`.

    A step takes `train.batch_size * train.accumulate` images, in as many passes through the network as `train.accumulate` says.
    Processes that share them add up their gradients after all passes.

    Args:
        job: The settings.
        network: What is trained.
        objective: What is minimised and measured.
        plan: Length and rhythm.
        total_steps: Steps of the whole run.
        fabric: Devices and precision.
        teacher: What the network should agree with beside the labels; None: nobody.
    """

    def __init__(
        self,
        job: TrainJob,
        network: nn.Module,
        *,
        objective: Objective,
        plan: LoopPlan,
        total_steps: int,
        fabric: Fabric,
        teacher: Teacher | None = None,
    ) -> None:
        self.job, self.network, self.objective, self.fabric, self.teacher = job, network, objective, fabric, teacher
        self.plan, self.total_steps = plan, total_steps
        self.scores: Row = {}
        self.ranks = ranks_of(fabric)
        if job.trainer.sync_batch_norm:
            synchronise_batch_norms(network, self.ranks)
        optimizer = torch.optim.SGD(
            network.parameters(), lr=job.train.lr, momentum=job.train.momentum, weight_decay=job.train.weight_decay
        )
        self.has_auxiliary = False
        whole = network
        if isinstance(network, Network) and network.auxiliary and job.train.aux_weight > 0:
            self.has_auxiliary, whole = True, AllOutputs(network)
        self.model, self.optimizer = fabric.setup(whole, optimizer)
        self.moved = Moved(tuple(network.parameters()), self.optimizer, self._clip)
        self.average = averaged_copy(network) if job.train.ema else None
        compile_training(network, job.trainer.compile)

    @property
    def result(self) -> nn.Module:
        """The network that is evaluated and saved: the average of the weights, or the one that is trained."""
        return self.network if self.average is None else self.average

    def step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor | None]:
        """One step of SGD under the poly schedule."""
        self.model.train()
        lr = self._lr(step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        (row,), confusion = optimisation_step(
            [self.moved], lambda: self._gradients(images, labels), ranks=self.ranks, may_overflow=self._has_scale
        )
        if not self.job.trainer.sync_batch_norm:
            self.ranks.average_of_statistics(self.network)
        if self.average is not None:
            average_into(self.average, self.network, decay_at(step, self.job.train.ema))
        return {"loss": row.pop("loss"), "lr": lr, **row}, confusion

    def _gradients(self, images: Tensor, labels: Tensor) -> Backward:
        """Add up the gradients of the batches of a step; their common loss and scores, and their confusion matrix."""
        count = self.job.train.accumulate
        batches = list(zip(images.chunk(count), labels.chunk(count), strict=True))
        shares = self.objective.shares(labels.chunk(count)) if count > 1 else None
        teacher_shares = None if self.teacher is None else self.teacher.shares(labels.chunk(count))
        losses, divergences, scores, confusions = [], [], [], []
        for number, (some_images, some_labels) in enumerate(batches):
            logits, loss = self._logits_and_loss(some_images, some_labels)
            loss = loss if shares is None else shares[number] * loss
            if self.teacher is not None and teacher_shares is not None:
                divergence = teacher_shares[number] * self.teacher.divergence(some_images, logits, some_labels)
                loss = loss + self.teacher.weight * divergence
                divergences.append(divergence.detach())
            self.fabric.backward(loss)
            losses.append(loss.detach())
            batch_scores, confusion = self.objective.batch_scores(logits.detach(), some_labels)
            scores.append(batch_scores)
            confusions.extend([] if confusion is None else [confusion])
        total = losses[0] if shares is None else torch.stack(losses).sum()
        means = {name: torch.stack([row[name] for row in scores]).mean() / self.ranks.count for name in scores[0]}
        if divergences:
            means["distillation"] = torch.stack(divergences).sum()
        scalars = torch.stack([x.double() for x in (total, *means.values())])
        return Backward(("loss", *means), scalars[None], torch.stack(confusions).sum(dim=0) if confusions else None)

    def _logits_and_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of the logits, and `train.aux_weight` times that of each auxiliary output."""
        if not self.has_auxiliary:
            logits: Tensor = self.model(images)
            return logits, self.objective.loss(logits, labels)
        outputs: dict[str, Tensor] = self.model(images)
        logits = outputs.pop(LOGITS)
        auxiliary = torch.stack([self.objective.loss(output, labels) for output in outputs.values()]).sum()
        return logits, self.objective.loss(logits, labels) + self.job.train.aux_weight * auxiliary

    def _clip(self) -> Tensor:
        """Clip the gradients, unscaled; their norm before."""
        norm = self.fabric.clip_gradients(
            self.model, self.optimizer, max_norm=self.job.train.grad_clip or float("inf"), error_if_nonfinite=False
        )
        assert norm is not None
        return norm

    def _has_scale(self) -> bool:
        """Whether a gradient that is not finite may come from its scale.

        Scaled float16 gradients may overflow: then the scaler leaves the step out and halves its scale. At a scale of 1 or
        below it is the gradient itself that is not finite.
        """
        return float(self._precision_state().get("scale", 1.0)) > 1

    def _precision_state(self) -> dict[str, Any]:
        """State of the gradient scaler; empty without one."""
        state: dict[str, Any] = self.fabric.strategy.precision.state_dict()
        return state

    def evaluate(self, epoch: int) -> tuple[list[tuple[str, Row]], float]:
        """Metrics on the validation split."""
        self.result.eval()
        self.scores = self.objective.validate(self.result, fabric=self.fabric, batch_size=self.job.train.batch_size)
        return [("val", self.scores)], self.scores[self.objective.score_name]

    def scheduled(self, step: int, total: int) -> Row:
        """The learning rate."""
        return {"learning rate": self._lr(step, total)}

    def _lr(self, step: int, total: int) -> float:
        return poly(step / total, start=self.job.train.lr, power=self.job.train.power)

    def learning_rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def epoch_scalars(self) -> Row:
        """Nothing beside the averages of the steps."""
        return {}

    def state(self) -> dict[str, Any]:
        """Network, optimiser and scores; average and scaler if there are any."""
        average = {} if self.average is None else {"average": self.average.state_dict()}
        precision = self._precision_state()
        return {
            "verb": "train",
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scores": self.scores,
            **average,
            **({"precision": precision} if precision else {}),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state, all of it or none.

        Raises:
            ValueError: If a part is missing or does not fit.
        """
        self._check(state)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scores = state["scores"]
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if "precision" in state:
            self.fabric.strategy.precision.load_state_dict(state["precision"])

    def _check(self, state: dict[str, Any]) -> None:
        own = self.state()
        as_mapping(state, "checkpoint", own)
        check_verb(state, "train")
        for name in ("network", "average"):
            if name in own:
                check_tensors(state[name], own[name], name)
        check_optimizer(state["optimizer"], self.optimizer, "optimizer")
        check_scores(state["scores"], "scores")
        as_mapping(state.get("precision", {}), "precision", own.get("precision", {}))
