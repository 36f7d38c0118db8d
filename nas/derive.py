"""Derive: from a search's checkpoint to a genotype, also in the middle of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas import rundir
from nas.checkpoint import load_checkpoint
from nas.config import DeriveJob
from nas.errors import CheckpointError
from nas.genotype import Deploy, Genotype, save_genotype
from nas.relax import gumbel_noise
from nas.space import SpaceEntry


@dataclass(frozen=True, slots=True)
class DeriveResult:
    """A derived genotype.

    Args:
        path: The file.
        genotype: What is in it.
        step: Step of the search it belongs to.
        repairs: What had to be mended.
    """

    path: Path
    genotype: Genotype
    step: int
    repairs: tuple[str, ...]

    def summary(self) -> list[str]:
        """Human lines: what was written, what was mended, what to do next."""
        lines = [f"derived after {self.step} steps of search", *(f"  repaired  {repair}" for repair in self.repairs)]
        return [
            *lines,
            f"  wrote     {self.path}",
            f"next: nas train genotype={self.path} data={self.genotype.provenance['data']}",
        ]


def derive(job: DeriveJob, spaces: Mapping[str, SpaceEntry]) -> DeriveResult:
    """Derive the architecture of a search's checkpoint (SPEC section 7).

    Raises:
        UserError: If the run has no such checkpoint or it is no search.
    """
    run = Path(job.run)
    path = run / "checkpoints" / f"{job.checkpoint}.pt"
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint; give run= the folder of a nas search, and checkpoint=last or best")
    state = load_checkpoint(path)
    if state.get("verb") != "search":
        raise CheckpointError(f"{path}: got a checkpoint of nas {state.get('verb')}, expected one of nas search")
    genotype, repairs = genotype_of(state, spaces, sample=job.sample)
    target = (rundir.prepare_out(job.out, "derive", None) if job.out else run) / "genotype.yaml"
    write_genotype(target, genotype)
    return DeriveResult(target, genotype, int(state["loop"]["step"]), repairs)


def genotype_of(
    state: Mapping[str, Any], spaces: Mapping[str, SpaceEntry], *, sample: int | None = None
) -> tuple[Genotype, tuple[str, ...]]:
    """The genotype of a search checkpoint, and what had to be mended.

    Args:
        state: The checkpoint.
        spaces: The search spaces by name.
        sample: Seed of Gumbel noise on the logits, whose argmax is a draw from their softmax; None: no noise.
    """
    name, config = state["space"]["name"], state["space"]["config"]
    if name not in spaces:
        raise CheckpointError(f"the checkpoint is of space {name!r}, which is not among {', '.join(spaces)}; install its package")
    space = spaces[name].build(spaces[name].config(**config))
    logits = state["guided_logits"]
    if sample is not None:
        generator = torch.Generator().manual_seed(sample)
        logits = {
            name: {group: values + gumbel_noise(values.shape, generator=generator) for group, values in groups.items()}
            for name, groups in logits.items()
        }
    derivation = space.derive(logits)[space.architecture_sets[0]]
    deploy = state["deploy"]
    height, width = deploy["input"]
    genotype = Genotype(
        space=name,
        space_config=config,
        deploy=Deploy((height, width), deploy["init_channels"], deploy["num_classes"]),
        choices=derivation.choices,
        provenance={
            **state["provenance"],
            "step": state["loop"]["step"],
            **({} if sample is None else {"derive_sample": sample}),
        },
    )
    return genotype, derivation.repairs


def write_genotype(path: Path, genotype: Genotype) -> None:
    """Write a genotype, with the folder it goes to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_genotype(path, genotype)
