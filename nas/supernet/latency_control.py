"""Weight of the latency term in a search: fixed, by dual ascent on a target, or by FasterSeg's band of FPS.

The objective is cross-entropy + sum over tables of weight * term; the term is latency / target where a table has one, else latency
in the unit that the weight is stated for. Dual ascent observes the expected latency at softmax(logits), without noise: it is what
the logits mean as they stand, costs a contraction a step, and a noisy sampled latency would make the multiplier jitter with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from nas.config.settings import LatencySettings
from nas.cost.deployed import named
from nas.cost.frame_rate import frames_per_second

BAND_RANGE = 1024.0
"""The band's rule never goes below the weight it started from over this."""


@dataclass(frozen=True, slots=True)
class Multiplier:
    """State of the control of one term.

    Args:
        value: What dual ascent has gathered; without a target the weight.
        weight: Weight of the term in the next step.
    """

    value: float
    weight: float


def ascend(state: Multiplier, ratio: float, *, lr: float, damping: float, most: float) -> Multiplier:
    """One step of damped dual ascent on the constraint E / T <= 1.

    value <- clip(value + lr * (E/T - 1), 0, most), weight = clip(value + damping * (E/T - 1), 0, most). The weight is the gradient
    of the augmented Lagrangian value * r + damping / 2 * r^2 with respect to r = E/T - 1.

    Args:
        state: Before.
        ratio: Expected latency over target, E/T.
        lr: Step of the multiplier.
        damping: Penalty of the augmented Lagrangian.
        most: Largest value and weight.

    >>> ascend(Multiplier(1.0, 1.0), 1.5, lr=0.1, damping=1.0, most=10.0)
    Multiplier(value=1.05, weight=1.55)
    """
    excess = ratio - 1
    value = min(max(state.value + lr * excess, 0.0), most)
    return Multiplier(value, min(max(value + damping * excess, 0.0), most))


def keep_in_band(state: Multiplier, fps: Sequence[float], *, low: float, high: float, least: float, most: float) -> Multiplier:
    """FasterSeg's rule: half the weight if a network is at `high` FPS or above, else twice the weight if one is at `low` or below.

    >>> keep_in_band(Multiplier(0.1, 0.1), [200.0], low=155.0, high=175.0, least=1e-4, most=10.0)
    Multiplier(value=0.05, weight=0.05)
    """
    factor = 0.5 if max(fps) >= high else 2.0 if min(fps) <= low else 1.0
    weight = min(max(factor * state.weight, least), most)
    return Multiplier(weight, weight)


class LatencyControl:
    """The weights of the latency terms of a search, one for each table.

    Args:
        settings: The settings.
        uniform: By table, the expected latency of uniform architecture parameters in its unit; none without a table.
        arch_lr: Learning rate of the architecture.
    """

    def __init__(self, settings: LatencySettings, uniform: Sequence[float], *, arch_lr: float) -> None:
        self.settings, self.uniform = settings, tuple(uniform)
        self.lr = arch_lr if settings.multiplier_lr is None else settings.multiplier_lr
        self.targets = settings.targets() if uniform else []
        self.terms = [Multiplier(weight, weight) for weight in settings.weights()[: len(uniform)]]
        factor = {"ms": 1.0, "us": 1000.0}.get(settings.unit)
        self._scales = [
            1 / target if target is not None else 1 / one if factor is None else factor
            for one, target in zip(uniform, self.targets, strict=True)
        ]

    @property
    def ascends(self) -> bool:
        """Whether a table has a target."""
        return any(target is not None for target in self.targets)

    @property
    def has_band(self) -> bool:
        """Whether the weight is kept by a band of FPS."""
        return self.settings.band_fps is not None and bool(self.terms)

    def weighted(self, latency: Tensor) -> Tensor:
        """The term that is added to the cross-entropy, [].

        Args:
            latency: By table, [K], in its unit.
        """
        weights = [term.weight * scale for term, scale in zip(self.terms, self._scales, strict=True)]
        return (latency * latency.new_tensor(weights)).sum()

    def observe_expected(self, expected: Sequence[float]) -> None:
        """Dual ascent after a step of the architecture; `expected` is the latency at softmax(logits) by table."""
        settings = self.settings
        self.terms = [
            term
            if target is None
            else ascend(term, one / target, lr=self.lr, damping=settings.multiplier_damping, most=settings.multiplier_max)
            for term, one, target in zip(self.terms, expected, self.targets, strict=True)
        ]

    def observe_derived(self, derived_ms: Sequence[float]) -> None:
        """The band's rule after an epoch; `derived_ms` are the predicted latencies of the networks that may be derived."""
        assert self.settings.band_fps is not None
        low, high = self.settings.band_fps
        least, most = self.settings.weights()[0] / BAND_RANGE, self.settings.multiplier_max
        rates = [frames_per_second(ms) for ms in derived_ms]
        self.terms = [keep_in_band(self.terms[0], rates, low=low, high=high, least=least, most=most)]

    def weight_row(self) -> dict[str, float]:
        """The weights of the next step, where they are controlled."""
        controlled = [self.has_band or target is not None for target in self.targets]
        return {named("multiplier", k): term.weight for k, term in enumerate(self.terms) if controlled[k]}

    def target_row(self) -> dict[str, float]:
        """The targets in ms."""
        return {named("latency_target", k): target for k, target in enumerate(self.targets) if target is not None}

    def state(self) -> list[dict[str, float]]:
        """State for a resume."""
        return [asdict(term) for term in self.terms]

    def load_state(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Take up a state."""
        self.terms = [Multiplier(**term) for term in state]
