"""Draws of each step of a search: relaxation, temperature and noise of each pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nas.config.settings import SearchSettings, noise_per_image
from nas.errors import ConfigError
from nas.space.search_space import SearchSpace
from nas.supernet.passes import Pass
from nas.supernet.supernet import Draw
from nas.training.schedules import exponential, linear


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawPlan:
    """The draws of a search, pure functions of the step.

    Args:
        settings: The settings.
        seed: Seed of the noise.
        warmup_steps: Steps in which only the weights move.
        total_steps: Steps of the whole search.
        per_image: Whether each image of a batch has a draw of its own.
        warmup_passes: Passes of a step of the warm-up.
        passes: Passes of every other step.
    """

    settings: SearchSettings
    seed: int
    warmup_steps: int
    total_steps: int
    per_image: bool
    warmup_passes: tuple[Pass, ...]
    passes: tuple[Pass, ...]

    def of_step(self, step: int, *, offset: int = 0) -> list[Draw]:
        """The draws of the passes of a step, which take their noise from one generator, one after the other.

        Args:
            step: The step.
            offset: Added to the step for the noise alone.
        """
        relaxation, tau, generator = self.relaxation(step), self.tau(step), self.noise(step + offset)
        per_image = self.per_image and relaxation != "sampled"
        passes = self.warmup_passes if step < self.warmup_steps else self.passes
        return [Draw(relaxation, tau, generator, one.architecture, per_image, one.mode) for one in passes]

    def relaxation(self, step: int) -> str:
        """A key of `nas.supernet.relaxation.RELAXATIONS`."""
        settings = self.settings
        return settings.warmup_relaxation or settings.relaxation if step < self.warmup_steps else settings.relaxation

    def tau(self, step: int) -> float:
        """The temperature: held at its start while only the weights move, then as it is scheduled, then held at its end."""
        settings = self.settings
        first = min(self.warmup_steps, self.total_steps - 1)
        steps = settings.tau_share * (self.total_steps - 1 - first)
        progress = min(1.0, max(0, step - first) / max(1.0, steps))
        schedule = linear if settings.tau_schedule == "linear" else exponential
        return schedule(progress, start=settings.tau_start, end=settings.tau_end)

    def noise(self, step: int) -> torch.Generator:
        """Noise that is a pure function of seed and step: the same after a resume, on every device and rank."""
        return torch.Generator().manual_seed((self.seed * 1_000_003 + step) % 2**63)


def check_noise(settings: SearchSettings, space: SearchSpace) -> bool:
    """Whether each image of a step has a draw of its own.

    Raises:
        ConfigError: If so, and the space draws one option of some decisions for the whole batch.
    """
    per_image = noise_per_image(settings, default=space.noise_per_image)
    if per_image and (drawn := [choice.name for choice in space.choices() if choice.relaxation == "sampled"]):
        raise ConfigError(
            f"search.noise: got image, but space {space.config.name} runs one option of {drawn[0]} and {len(drawn) - 1} other "
            "decisions for the whole batch; leave noise away, or give search.noise=batch"
        )
    return per_image
