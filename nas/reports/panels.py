"""Panels of the curves of a run: which scalars of `metrics.jsonl` are drawn together, and how they are called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Curve:
    """One scalar of one split.

    Args:
        split: The split, as in `metrics.jsonl`.
        key: Name of the scalar.
        label: What to call it in the legend.
        colour: Its colour.
        thin: Whether it has a point a step and stands behind the others.
    """

    split: str
    key: str
    label: str
    colour: str
    thin: bool = False


_BLUE, _ORANGE, _GREEN, _PURPLE, _PALE = "#2b6cb0", "#d9730d", "#2f855a", "#6b46c1", "#a9bfd6"
FAINT = "#6b7178"
"""Colour of what stands behind."""


def _latency(table: str = "") -> tuple[Curve, ...]:
    """The curves of a latency table; `table` ends the names of their columns."""
    return (
        Curve("train", f"expected_latency{table}", "of softmax(alpha)", _BLUE),
        Curve("val", f"latency{table}", "as sampled", _ORANGE),
        Curve("val_argmax", f"latency{table}", "argmax", _GREEN),
        Curve("val", f"derived_latency{table}", "derived network", _GREEN),
        Curve("train", f"latency_target{table}", "target", FAINT),
    )


PANELS: dict[str, tuple[Curve, ...]] = {
    "loss": (
        Curve("step", "loss", "single steps", _PALE, thin=True),
        Curve("train", "loss", "mean of an epoch", _BLUE),
        Curve("train", "holdout_loss", "held-out, with latency", _ORANGE),
    ),
    "divergence from the teacher": (
        Curve("step", "distillation", "single steps", _PALE, thin=True),
        Curve("train", "distillation", "mean of an epoch", _BLUE),
    ),
    "mIoU": (
        Curve("train", "miou", "training", _BLUE),
        Curve("val", "miou", "validation", _ORANGE),
        Curve("val_argmax", "miou", "validation, argmax", _GREEN),
        Curve("val_teacher", "miou", "validation, teacher", _GREEN),
    ),
    "accuracy": (
        Curve("train", "top1", "training, top-1", _BLUE),
        Curve("val", "top1", "validation, top-1", _ORANGE),
        Curve("val", "top5", "validation, top-5", _GREEN),
    ),
    "expected latency": _latency(),
    "expected latency, second table": _latency("_2"),
    "latency weight": (
        Curve("step", "multiplier", "single steps", _PALE, thin=True),
        Curve("train", "multiplier", "mean of an epoch", _PURPLE),
        Curve("train", "multiplier_2", "second table", _ORANGE),
    ),
    "entropy of the decisions": (Curve("train", "entropy", "1: uniform, 0: decided", _PURPLE),),
    "temperature": (
        Curve("step", "tau", "single steps", _PALE, thin=True),
        Curve("train", "tau", "mean of an epoch", _PURPLE),
    ),
    "light share": (Curve("train", "light_share", "none, skip and pooling", _PURPLE),),
    "learning rate": (
        Curve("step", "lr", "single steps", _PALE, thin=True),
        Curve("train", "lr", "mean of an epoch", _PURPLE),
    ),
}
"""Panel -> its curves; a panel of which a run has nothing is not drawn."""
