"""The supernet: one network with all candidates, its architecture sets and their expected latency, in one forward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.network.network import Network
from nas.space.search_space import SearchSpace, open_choices
from nas.space.weights import Weights, one_hot
from nas.space.weights import uniform as uniform_weights
from nas.supernet.architecture import Architecture
from nas.supernet.relaxation import probabilities
from nas.supernet.relaxation import sample as sample_weights


class Draw(NamedTuple):
    """Draw of the weights of one pass; a tuple, because Fabric passes no frozen dataclass through in mixed precision.

    Args:
        relaxation: A key of `nas.supernet.relaxation.RELAXATIONS`.
        tau: Temperature > 0.
        generator: Source of the noise, on the CPU.
        architecture: The architecture set.
        per_image: Whether each image of a batch has a draw of its own.
        mode: What the pass holds in place of what is drawn, one of `SearchSpace.modes`; None: nothing.
        part: (k, n): the images are the k-th of n equal parts of a batch, and take their draws from those of the whole batch.
    """

    relaxation: str
    tau: float
    generator: torch.Generator
    architecture: str = "default"
    per_image: bool = False
    mode: str | None = None
    part: tuple[int, int] = (0, 1)


class Supernet(nn.Module):
    """Network, architecture parameters and expected latency of a search.

    Args:
        space: The search space.
        network: Network of the open graph at the search's widths.
        latencies: Expected latency at the deployed shape by each table, modules from `Weights` to [] or [N]; none: latency is not
            looked at.
        generator: Source of the initial logits.
    """

    def __init__(self, space: SearchSpace, network: Network, latencies: Sequence[nn.Module], *, generator: torch.Generator) -> None:
        super().__init__()
        self.space = space
        self.choices = space.choices()
        self.network = network
        self.latencies = nn.ModuleList(latencies)
        self.architectures = nn.ModuleDict({name: Architecture(space, generator, name) for name in space.architecture_sets})

    def forward(self, images: Tensor, draw: Draw) -> tuple[tuple[Tensor, ...], Tensor]:
        """Draw weights, run the network and the latency with the same weights.

        Args:
            images: [N, 3, H, W].
            draw: How the weights are drawn.

        Returns:
            The space's trained outputs, [N, classes, H', W'] each, and the expected latencies [K], one for each table in its unit;
            where each image has a draw of its own, the mean over images. The latency of a pass that holds a mode, and that of any
            architecture set but the first, is no objective and stated as zero.
        """
        with torch.autocast(images.device.type, enabled=False):
            weights = self.sample(draw, batch=len(images) if draw.per_image else None)
            timed = draw.mode is None and draw.architecture in ("default", self.space.architecture_sets[0])
            means = [self._latency(latency, weights) for latency in self.latencies] if timed else []
            latencies = torch.stack(means) if means else images.new_zeros(len(self.latencies))
        outputs = self.network.outputs(images, weights, names=self.space.trained_outputs)
        return tuple(outputs[name] for name in self.space.trained_outputs), latencies

    def _latency(self, latency: nn.Module, weights: Weights) -> Tensor:
        """The term of one table in the objective, []."""
        terms = [share * latency(view).mean() for share, view in self.space.latency_views(weights)]
        return torch.stack(terms).sum()

    def sample(self, draw: Draw, *, batch: int | None = None) -> Weights:
        """The weights of one pass: for all images alike, or for each of `batch` images."""
        weights = sample_weights(
            self.architectures[draw.architecture](),
            open_choices(self.space, draw.architecture),
            relaxation=draw.relaxation,
            tau=draw.tau,
            generator=draw.generator,
            batch=None if batch is None else batch * draw.part[1],
            architecture=draw.architecture,
            never_all=self.space.never_all(),
        )
        if batch is not None and draw.part[1] > 1:
            first = batch * draw.part[0]
            weights = replace(weights, values={name: value[first : first + batch] for name, value in weights.values.items()})
        forced = {} if draw.mode is None else self.space.forced(draw.mode, draw.generator)
        return self._held(weights, forced)

    def probabilities(self, architecture: str) -> Weights:
        """softmax(guided logits) of a set as weights: no noise, temperature one."""
        choices = open_choices(self.space, architecture)
        logits = self.architectures[architecture]()
        weights = probabilities(logits, choices, never_all=self.space.never_all())
        return self._held(replace(weights, architecture=architecture))

    def uniform(self) -> Weights:
        """Equal weights for whatever the first set searches."""
        name = self.space.architecture_sets[0]
        device = next(self.network.parameters()).device
        return self._held(replace(uniform_weights(open_choices(self.space, name), device=device), architecture=name))

    def settled(self, architecture: str) -> Weights:
        """A set as it stands: `probabilities`, but for what is drawn in every search its most probable option."""
        weights = self.probabilities(architecture)
        drawn = [choice for choice in open_choices(self.space, architecture) if choice.relaxation == "sampled"]
        best = {choice.name: choice.options[int(weights.values[choice.name].argmax())] for choice in drawn}
        return self._held(weights, best)

    def _held(self, weights: Weights, decided: Mapping[str, str] | None = None) -> Weights:
        """Weights with what the set does not search, unless it is decided otherwise, and what else is decided."""
        taken = {**self.space.fixed(weights.architecture), **(decided or {})}
        if not taken:
            return weights
        device = next(iter(weights.values.values())).device
        held = one_hot(taken, [choice for choice in self.choices if choice.name in taken], device=device)
        return replace(weights, values={**weights.values, **held.values}, drawn={**weights.drawn, **held.drawn})

    def guided_logits(self) -> dict[str, dict[str, Tensor]]:
        """Architecture set -> group -> alpha_guided [p, q]."""
        return {name: architecture() for name, architecture in self.architectures.items()}

    def arch_parameters(self) -> Iterator[nn.Parameter]:
        """Logits and communication modules."""
        return self.architectures.parameters()

    def alpha_parameters(self) -> Iterator[nn.Parameter]:
        """The logits of all architecture sets."""
        for architecture in self._sets():
            yield from architecture.alpha.parameters()

    def communications(self) -> Iterator[nn.Module | None]:
        """The communication module of each architecture set; None: it has none."""
        for architecture in self._sets():
            yield architecture.communication

    def communication_parameters(self) -> Iterator[nn.Parameter]:
        """The communication modules of all architecture sets."""
        for architecture in self._sets():
            if architecture.communication is not None:
                yield from architecture.communication.parameters()

    def _sets(self) -> Iterator[Architecture]:
        for module in self.architectures.values():
            assert isinstance(module, Architecture)
            yield module

    def weight_parameters(self) -> Iterator[nn.Parameter]:
        """Everything else: the weights of the network."""
        return self.network.parameters()
