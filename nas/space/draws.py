"""Draws from a generator, for spaces that draw architectures at random."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def draw(count: int, generator: torch.Generator) -> int:
    """A whole number from 0 to `count` - 1, all alike."""
    import torch  # who draws has loaded it; a space that only describes networks does without

    return int(torch.randint(count, (), generator=generator))


def draws(count: int, wanted: int, generator: torch.Generator) -> list[int]:
    """Whole numbers from 0 to `count` - 1, each drawn for itself, in one draw of the generator."""
    import torch

    numbers: list[int] = torch.randint(count, (wanted,), generator=generator).tolist()
    return numbers


def draw_distinct(count: int, wanted: int, generator: torch.Generator) -> list[int]:
    """Different whole numbers from 0 to `count` - 1, as many as wanted, in the order in which they were drawn."""
    import torch

    numbers: list[int] = torch.randperm(count, generator=generator)[:wanted].tolist()
    return numbers
