"""Parts of a search: its data, its draws, its costs and its supernet."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nas.config.jobs import SearchJob
from nas.config.settings import execution_of
from nas.cost.deployed import DeployedCosts, check_units, deployed_costs
from nas.cost.repair import check_reachable
from nas.data import build_dataset
from nas.data.batches.file_handles import check_handles
from nas.data.batches.held_out import HeldOutBatches, hold_out
from nas.data.batches.loader import BatchPart
from nas.data.dataset import SegmentationDataset
from nas.data.split_scan import scan_splits
from nas.distributed.fabric import check_shares
from nas.distributed.ranks import Ranks
from nas.errors import ConfigError
from nas.network.network import Network
from nas.space.capabilities import Neutral
from nas.space.deployment import Deployment
from nas.space.search_space import SearchSpace
from nas.supernet.draw_plan import DrawPlan, check_noise
from nas.supernet.latency_control import LatencyControl
from nas.supernet.passes import passes_of
from nas.supernet.supernet import Supernet
from nas.training.loop_state import LoopPlan
from nas.training.non_finite import Steadying
from nas.training.out_of_memory import remedy_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchData:
    """The images of a search, and how they are gone through.

    Args:
        train_set: What an epoch passes over: with two levels, what is left of the training split.
        val_set: Validation split.
        held_out: Batches of what is held out, on which the architecture moves; None: there is one level.
        plan: Length, rhythm and batches.
    """

    train_set: SegmentationDataset
    val_set: SegmentationDataset
    held_out: HeldOutBatches | None
    plan: LoopPlan

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.train_set.classes)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return self.plan.steps_per_epoch(self.train_set)

    @property
    def total_steps(self) -> int:
        """Steps of the whole search."""
        return self.plan.total_steps(self.train_set)


def search_splits(job: SearchJob) -> tuple[SegmentationDataset, SegmentationDataset]:
    """Training and validation split, scanned.

    Raises:
        UserError: If the data are missing or broken, or cannot be learned from or measured against.
    """
    train_set, val_set = build_dataset(job.data, "train"), build_dataset(job.data, "val")
    bilevel = job.search.level == "bilevel"
    parts = hold_out(train_set, share=job.search.holdout, seed=job.seed) if bilevel else None
    scan_splits(train_set, val_set, crop=job.search.crop, key="search.crop", parts=parts)
    return train_set, val_set


def search_data(job: SearchJob, *, train_set: SegmentationDataset, val_set: SegmentationDataset, ranks: Ranks) -> SearchData:
    """The splits; with two levels a part of the training split is held out.

    Raises:
        ConfigError: If the processes cannot share a batch equally, there is too little to hold out, or too few open files are
            allowed for the workers.
    """
    settings = job.search
    check_shares("search.batch_size", settings.batch_size, ranks)
    check_handles(job.data.workers, loaders=2 if settings.level == "bilevel" else 1)
    crop = settings.crop or list(train_set.size)
    plan = LoopPlan(
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        batch_size=settings.batch_size,
        crop=(crop[0], crop[1]),
        seed=job.seed,
        workers=job.data.workers,
        cached=job.data.cache,
        eval_every=settings.eval_every,
        checkpoint_every=settings.checkpoint_every,
        log_every=settings.log_every,
        part=BatchPart(ranks.number, ranks.count),
        remedy=remedy_of("search", job.trainer),
        steadying=Steadying.of(settings, job.trainer),
    )
    if settings.level != "bilevel":
        return SearchData(train_set=train_set, val_set=val_set, held_out=None, plan=plan)
    left, part = hold_out(train_set, share=settings.holdout, seed=job.seed)
    held_out = HeldOutBatches(
        part, batch_size=plan.batch_size, crop=plan.crop, seed=plan.seed, workers=plan.workers, of_batch=plan.part
    )
    return SearchData(train_set=left, val_set=val_set, held_out=held_out, plan=plan)


def draw_plan(job: SearchJob, space: SearchSpace, data: SearchData) -> DrawPlan:
    """The draws of each step.

    Raises:
        ConfigError: If passes or noise do not go with the space.
    """
    warmup_passes, passes = passes_of(job.search, space)
    return DrawPlan(
        settings=job.search,
        seed=job.seed,
        warmup_steps=job.search.warmup_epochs * data.steps_per_epoch,
        total_steps=data.total_steps,
        per_image=check_noise(job.search, space),
        warmup_passes=warmup_passes,
        passes=passes,
    )


def search_costs(job: SearchJob, space: SearchSpace, deploy: Deployment) -> DeployedCosts:
    """Costs of derived networks, and their targets.

    Raises:
        UserError: If a table cannot be used, or the settings of latency do not go with it.
    """
    costs = deployed_costs(space, deploy, given=job.latency.table, targets=job.latency.targets())
    check_units(job.latency, costs.tables)
    return costs


def build_supernet(job: SearchJob, space: SearchSpace, data: SearchData, costs: DeployedCosts) -> Supernet:
    """The supernet, with the expected latency by each table."""
    generator = torch.Generator().manual_seed(job.seed)
    channels = job.search.init_channels or space.search_channels
    graph = space.graph(Deployment(data.plan.crop, channels, data.num_classes))
    network = Network(graph, execution=execution_of(job.search), architecture_sets=space.architecture_sets)
    network.checkpointing = job.trainer.checkpointing
    supernet = Supernet(space, network, costs.latencies, generator=generator)
    if job.search.communication_start == "zero":
        _start_neutral(supernet)
    return supernet


def _start_neutral(supernet: Supernet) -> None:
    """Let communication, where there is any, change no logits until it has learned.

    Raises:
        ConfigError: If the space's own cannot be set so.
    """
    space = supernet.space.config.name
    for module in supernet.communications():
        if module is None:
            continue
        if not isinstance(module, Neutral):
            raise ConfigError(
                f"search.communication_start: got zero, expected random: that of space {space} has no start_neutral()"
            )
        module.start_neutral()


def latency_control(job: SearchJob, supernet: Supernet, costs: DeployedCosts) -> LatencyControl:
    """The control of the latency terms.

    Raises:
        UnreachableError: If no derived network of the space can keep the targets.
    """
    views = supernet.space.latency_views(supernet.uniform())
    by_view = [[share * ms for ms in costs.of(view)] for share, view in views]
    control = LatencyControl(job.latency, [sum(parts) for parts in zip(*by_view, strict=True)], arch_lr=job.search.arch_lr)
    if limits := costs.limits():
        check_reachable(supernet.space, limits)
    return control
