"""Parts that a search space may define beside its three methods, in groups, each with defaults that suit a plain space.

`nas.space.search_space.SearchSpace` has all of them; a space overrides what its paper asks for and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nas.ops import OpSpec
from nas.ops.candidates import LIGHT_OPS
from nas.space.choice import Choice, NeverAll, argmax_choices
from nas.space.deployment import Deployment
from nas.space.graph import Graph

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nas.space.weights import Weights


class Space(Protocol):
    """The interface of a space to the defaults."""

    def choices(self) -> tuple[Choice, ...]:
        """Decisions of the supernet."""

    def graph(self, deployment: Deployment) -> Graph:
        """The graph of the supernet."""

    def derive(self, logits: Mapping[str, Mapping[str, Tensor]], judge: Judge | None = None) -> Mapping[str, Derivation]:
        """Discrete architectures from logits."""


@runtime_checkable
class Neutral(Protocol):
    """A communication module that can start without an effect (`search.communication_start=zero`)."""

    def start_neutral(self) -> None:
        """Change no logits until the module has learned."""


class ArchitectureParameters:
    """Start of a search's architecture parameters, and the module that guides them before they become weights."""

    light_options: frozenset[str] = LIGHT_OPS
    """Options of which a search that has collapsed chooses little else."""
    noise_per_image: bool = False
    """Whether a search draws weights for each image of a batch where `search.noise` leaves it open."""

    def initial_logits(self, group: str, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Initial logits [p, q] of a group: N(0, 1e-3)."""
        import torch

        del group
        return torch.randn(shape, generator=generator) * 1e-3

    def communication(self) -> nn.Module | None:
        """A module that maps {group: logits [p, q]} to guided logits of the same shapes; None: no communication."""
        return None


class ArchitectureSets:
    """Several architectures that share one supernet, and the passes that a step of a search makes through it."""

    config: Any
    architecture_sets: tuple[str, ...] = ("default",)
    """Names of the architecture sets that share one supernet; the first one is deployed."""
    passes: tuple[str, ...] = ()
    """The passes of a step where `search.passes` leaves them open, each SET or SET:MODE; empty: one of the first set."""
    warmup_passes: tuple[str, ...] = ()
    """The same for `search.warmup_passes`; empty: those of every other step."""
    modes: tuple[str, ...] = ()
    """Modes of a pass that `forced` knows."""

    def fixed(self, architecture: str) -> Mapping[str, str]:
        """Decisions that an architecture set does not search, and their options; it has no logits for them."""
        del architecture
        return {}

    def forced(self, mode: str, generator: torch.Generator) -> Mapping[str, str]:
        """Decisions of a pass of a mode, whatever is drawn.

        Args:
            mode: One of `modes`.
            generator: Source of what is random.
        """
        raise ValueError(f"mode: got {mode!r}, and space {self.config.name} has none")


class Validity:
    """Rules for decisions that make no network although each takes one of its options."""

    def check(self, decided: Mapping[str, str]) -> None:
        """Refuse decisions that are well-formed but make no network.

        Raises:
            GenotypeError: With the name of the offending decision.
        """

    def never_all(self) -> tuple[NeverAll, ...]:
        """Sets of decisions of which not all may take one option; draws of a search respect it, so that they are networks, too."""
        return ()


@dataclass(frozen=True, slots=True)
class Derivation:
    """A discrete architecture and its repairs.

    Args:
        choices: Decision of the derived network -> option.
        repairs: One sentence for each decision that is not the most probable option.
    """

    choices: Mapping[str, str]
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judge:
    """Knowledge of a search beside its logits.

    Args:
        scores: Architecture set -> output of the supernet -> mIoU on the validation split; empty before the first evaluation.
        latency: Predicted latency of a derived network in ms, by the first table in ms; None without one.
    """

    scores: Mapping[str, Mapping[str, float]]
    latency: Callable[[Mapping[str, str]], float] | None = None


class DerivedNetworks:
    """Derivation of discrete architectures from logits, and their relation to the supernet."""

    trained_outputs: tuple[str, ...] = ("logits",)
    """Outputs of the supernet that a search trains, each by a loss at its own resolution."""
    size_multiple: int = 1
    """What height and width of the images of a derived network have to be multiples of."""
    contains_derived: bool = True
    """Whether a derived network is a part of the supernet, so that it can be evaluated there."""

    def genotype_choices(self: Space) -> Mapping[str, tuple[str, ...]]:
        """The decisions of a derived network and their options; by default those of the supernet."""
        return {choice.name: choice.options for choice in self.choices()}

    def derive(self: Space, logits: Mapping[str, Mapping[str, Tensor]], judge: Judge | None = None) -> Mapping[str, Derivation]:
        """Discrete architectures from logits: for each decision the option with the largest logit.

        Args:
            logits: Architecture set -> group -> guided logits [p, q].
            judge: What else is known, for spaces that choose between several networks of the same logits.
        """
        del judge
        return {name: Derivation(argmax_choices(groups, self.choices())) for name, groups in logits.items()}

    def alternatives(self: Space, logits: Mapping[str, Tensor], architecture: str) -> Mapping[str, Mapping[str, str]]:
        """The networks between which `derive` chooses, by name.

        Args:
            logits: Group -> guided logits [p, q] of one architecture set.
            architecture: The set.
        """
        return {"": self.derive({architecture: logits})[architecture].choices}

    def output_of(self, choices: Mapping[str, str]) -> str:
        """The trained output of the supernet that stands for a derived network of these decisions."""
        del choices
        return self.trained_outputs[0]


class LatencyObjective:
    """The latency that a search expects, where the contraction of the open graph is inexact or is not the objective."""

    def expected_latency(self, deployment: Deployment, cost: Callable[[OpSpec], float], *, overhead: float) -> nn.Module | None:
        """A module from `Weights` to expected latency, [] or [N] in float64; None: `nas.cost.ExpectedLatency` of the open graph.

        Args:
            deployment: What derived networks are deployed for.
            cost: Cost of one operation; free ones are not asked for.
            overhead: What every network costs beside its operations.
        """
        del deployment, cost, overhead
        return None

    def latency_views(self, weights: Weights) -> Sequence[tuple[float, Weights]]:
        """The weights whose expected latency the objective has, and the share of each."""
        return [(1.0, weights)]

    def plan(self: Space, deployment: Deployment) -> tuple[OpSpec, ...]:
        """The distinct operations that cost something and that any derived network or the expected latency can need."""
        return self.graph(deployment).specs()


class OfficialCheckpoints:
    """Names in the checkpoints that the space's authors released."""

    def official_keys(self, graph: Graph) -> Mapping[str, tuple[str, ...]] | None:
        """Names of the tensors of a derived network in the checkpoints that the space's authors released.

        Args:
            graph: The derived network.

        Returns:
            Our name -> the official tensors that lie in it end to end along the first axis; None: none were released.
        """
        del graph
        return None

    def official_extras(self, graph: Graph) -> Mapping[str, str | None]:
        """Tensors that these checkpoints may have beside those of `official_keys`, and that are dropped.

        Args:
            graph: The derived network.

        Returns:
            Official name -> the official tensor that it repeats, or None where it takes no part in the network.
        """
        del graph
        return {}
