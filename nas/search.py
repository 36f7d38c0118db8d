"""Search: train the supernet and its architecture parameters, cross-entropy plus expected latency (LGCNet, eq. 10)."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from nas import predicting, relax, rundir
from nas.architecture import choice_entropy
from nas.config import SearchJob
from nas.cost import CostTable, LatencyTable, resolve_table
from nas.cost.expected import ExpectedLatency
from nas.data import build_dataset
from nas.data.dataset import SegmentationDataset
from nas.data.loader import steps_per_epoch
from nas.derive import write_genotype
from nas.errors import ConfigError, NonFiniteLossError
from nas.evaluate import confusion_over
from nas.genotype import Deploy, Genotype
from nas.loop import LoopPlan, Row, clip_gradients, fit, make_fabric
from nas.losses import cross_entropy
from nas.metrics import confusion_matrix, mean_iou
from nas.network import Network
from nas.ops.candidates import LIGHT_OPS
from nas.ops.modules import predicted_labels
from nas.provenance import provenance
from nas.relax.weights import Weights
from nas.schedules import cosine, exponential
from nas.space import Derivation, SearchSpace, SpaceEntry
from nas.supernet import Draw, Supernet

TOO_LIGHT = 0.8
"""Share of none, skip and pooling above which a search has collapsed (SPEC section 5)."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished search.

    Args:
        out: Its folder.
        genotype: The derived architecture.
        latency: Its predicted latency in `unit`; None without a table.
        unit: Unit of the cost table.
        light_share: Share of decisions for zero, skip or pooling among those that could be.
        repairs: What derivation had to mend.
        seconds: Wall time.
    """

    out: Path
    genotype: Genotype
    latency: float | None
    unit: str
    light_share: float
    repairs: tuple[str, ...]
    seconds: float

    def summary(self) -> list[str]:
        """Human lines: what came out, where it lies, what to do next."""
        lines = [f"search finished in {self.seconds:.0f} s"]
        if self.latency is not None:
            lines.append(f"  predicted latency   {self.latency:.3f} {self.unit} at {list(self.genotype.deploy.input)}")
        lines.append(f"  light operations    {self.light_share:.0%} of the decisions that can be none, skip or pooling")
        lines.extend(f"  repaired            {repair}" for repair in self.repairs)
        if self.light_share > TOO_LIGHT:
            lines.append("  warning             more than 80 % are none, skip or pooling: lower latency.weight")
        lines.extend(
            f"  wrote               {self.out / name}" for name in ("genotype.yaml", "metrics.jsonl", "checkpoints/", "config.yaml")
        )
        lines.append(f"next: nas train genotype={self.out / 'genotype.yaml'} data={self.genotype.provenance['data']}")
        return lines


def search(job: SearchJob, space: SearchSpace) -> SearchResult:
    """Search an architecture.

    Raises:
        UserError: If data, table or settings do not fit.
        NonFiniteLossError: If a loss is not finite; no weight was moved by it.
        KeyboardInterrupt: On Ctrl-C, after a checkpoint was saved.
    """
    started = time.perf_counter()
    train_set, val_set = build_dataset(job.data, "train"), build_dataset(job.data, "val")
    train_set.scan()
    val_set.scan()
    fabric = make_fabric(job.trainer)
    torch.manual_seed(job.seed)
    task = SearchTask(job, space, train_set=train_set, val_set=val_set, fabric=fabric)
    out = rundir.open_run(job, "search")
    fit(task, task.plan, train_set, fabric=fabric, out=out, resume=job.resume is not None)
    result = _finish(task, job, out, time.perf_counter() - started)
    rundir.mark_finished(out, {"seconds": result.seconds})
    return result


class SearchTask:
    """State and step of a search; see `nas.loop.Task`.

    Args:
        job: The settings.
        space: The search space.
        train_set: Training split.
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
        self.num_classes = len(train_set.classes)
        size = job.deploy.input or list(train_set.size)
        self.deploy = Deploy((size[0], size[1]), job.deploy.init_channels, self.num_classes)
        crop = job.search.crop or list(train_set.size)
        self.plan = _plan(job, (crop[0], crop[1]))
        self.total_steps = self.plan.total_steps(train_set)
        self.steps_per_epoch = steps_per_epoch(len(train_set), job.search.batch_size)
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
        graph = self.space.graph(input_size=crop, init_channels=settings.init_channels, num_classes=self.num_classes)
        network = Network(graph, execution=settings.execution, architecture_sets=self.space.architecture_sets)
        latency = expected_latency(self.space, self.deploy, self.table, self.job)
        supernet = Supernet(self.space, network, latency, generator=generator)
        uniform = 0.0 if latency is None else float(latency(relax.uniform(self.space.choices())))
        return supernet, uniform

    def step(self, images: Tensor, labels: Tensor, step: int) -> tuple[Row, Tensor]:
        """Update weights and architecture in one backward pass (single-level optimisation)."""
        self.model.train()
        settings = self.job.search
        _set_lr(self.weight_optimizer, cosine(step / self.total_steps, start=settings.weight_lr, end=settings.weight_lr_end))
        tau = self._tau(step)
        logits, latency = self.model(images, Draw(settings.relaxation, tau, self._noise(step)))
        entropy = cross_entropy(logits, labels)
        loss = entropy + self.job.latency.weight * self._latency_term(latency)
        loss_value, entropy_value, latency_value = (
            torch.stack([loss.double(), entropy.double(), latency.double()]).detach().tolist()
        )
        if not torch.isfinite(torch.tensor(loss_value)):
            raise NonFiniteLossError(f"got loss {loss_value} (cross-entropy {entropy_value}, latency {latency_value})")
        self._update(loss, step)
        row = {"loss": loss_value, "cross_entropy": entropy_value, "sampled_latency": latency_value, "tau": tau}
        return row, confusion_matrix(predicted_labels(logits.detach()), labels, self.num_classes)

    def _update(self, loss: Tensor, step: int) -> None:
        self.weight_optimizer.zero_grad()
        self.arch_optimizer.zero_grad()
        self.fabric.backward(loss)
        clip_gradients(self.supernet.weight_parameters(), self.job.search.grad_clip)
        clip_gradients(self.supernet.arch_parameters(), 0)
        self.weight_optimizer.step()
        if step >= self.warmup_steps:
            self.arch_optimizer.step()

    def _latency_term(self, latency: Tensor) -> Tensor:
        """The latency in the unit that its weight is stated for."""
        unit = self.job.latency.unit
        if self.table is None:
            return latency
        return latency / self.uniform if unit == "relative" else latency * (1000.0 if unit == "us" else 1.0)

    def _tau(self, step: int) -> float:
        settings = self.job.search
        return exponential(step / max(1, self.total_steps - 1), start=settings.tau_start, end=settings.tau_end)

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
        row["light_share"] = light_share(self._derivation().choices, self.space)
        row["grad_norm_alpha"], row["grad_norm_communication"] = self._architecture_grad_norms()
        return row

    def _probabilities(self) -> Weights:
        """softmax(alpha_guided) as weights: no noise, temperature one."""
        logits = self.supernet.guided_logits()[self.space.architecture_sets[0]]
        values = {c.name: torch.softmax(logits[c.group][c.row], dim=-1) for c in self.space.choices()}
        return Weights(values, {})

    def _architecture_grad_norms(self) -> tuple[float, float]:
        return _grad_norm(self.supernet.alpha_parameters()), _grad_norm(self.supernet.communication_parameters())

    def _derivation(self) -> Derivation:
        return self.supernet.derive()[self.space.architecture_sets[0]]

    def evaluate(self, epoch: int) -> tuple[list[tuple[str, Row]], float]:
        """MIoU of the supernet as it is sampled and of its argmax network: the discretisation gap."""
        self.model.eval()
        tau = self._tau(min(self.total_steps - 1, (epoch + 1) * self.steps_per_epoch))
        drawn = self.supernet.sample(Draw(self.job.search.relaxation, tau, self._noise(-epoch - 1)))
        choices = self._derivation().choices
        argmax = relax.one_hot(choices, self.space.choices(), device=self.fabric.device)
        supernet_row, argmax_row = {"miou": self._miou(drawn)}, {"miou": self._miou(argmax)}
        if self.supernet.latency is not None:
            with torch.no_grad():
                supernet_row["latency"] = float(self.supernet.latency(drawn))
                argmax_row["latency"] = float(self.supernet.latency(argmax))
        return [("val", supernet_row), ("val_argmax", argmax_row)], argmax_row["miou"]

    def _miou(self, weights: Weights) -> float:
        matrix = confusion_over(
            lambda images: self.supernet.network(images, weights),
            self.val_set,
            fabric=self.fabric,
            batch_size=self.plan.batch_size,
        )
        return float(mean_iou(matrix))

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
    offering = [name for name, options in space.genotype_choices().items() if LIGHT_OPS.intersection(options)]
    return sum(choices[name] in LIGHT_OPS for name in offering) / max(1, len(offering))


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


def _finish(task: SearchTask, job: SearchJob, out: Path, seconds: float) -> SearchResult:
    """Derive, write, summarise."""
    derivation = task._derivation()
    latency = None
    if task.supernet.latency is not None:
        with torch.no_grad():
            latency = float(
                task.supernet.latency(relax.one_hot(derivation.choices, task.space.choices(), device=task.fabric.device))
            )
    genotype = Genotype(
        space=job.space.name,
        space_config=dataclasses.asdict(job.space),
        deploy=task.deploy,
        choices=derivation.choices,
        provenance={**task.provenance(), "expected_latency": latency},
    )
    write_genotype(out / "genotype.yaml", genotype)
    unit = "" if task.table is None else task.table.unit
    return SearchResult(out, genotype, latency, unit, light_share(derivation.choices, task.space), derivation.repairs, seconds)
