"""The largest sum of maps that are alive at a step of a network, each from the step that makes it to its last reader."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

ENDS = frozenset({"Resize", "ArgMax", "Cast", "upsample_bilinear2d", "max"})
"""Operators, of ONNX and of PyTorch, that make labels of full size of what a network has computed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a network, as its memory sees it.

    Args:
        name: For people: operator and shape.
        reads: The maps that it reads.
        makes: Map that it makes -> its bytes.
        pointwise: Whether it may write its result over a map of the same size that nobody reads after it.
    """

    name: str
    reads: Collection[str]
    makes: Mapping[str, int]
    pointwise: bool = False

    @property
    def operator(self) -> str:
        """The first word of the name."""
        return self.name.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a network takes for one image.

    Args:
        weights: Of the weights.
        activations: Most bytes of maps alive at a step, what it reads and makes among them, where each map goes after its last
            reader and pointwise steps run in place: what a runtime that plans its memory needs. What kernels need for
            themselves, such as rearranged weights, comes on top.
        at: The step of that peak.
        body: The same before the last resize and the argmax, which image size and number of classes determine alone, and which take
            the most in networks whose logits have full size.
        eager: The same as PyTorch (2.13) runs the network eagerly, in which nothing runs in place that is not written so, and
            callers hold what they pass on. Its allocator gives out just that, and beside some convolutions a rearranged copy of
            their weights. None: not a network of ours.
    """

    weights: int
    activations: int
    at: str
    body: int
    eager: int | None = None

    def as_json(self) -> dict[str, Any]:
        """For reports; bytes."""
        return asdict(self)

    def summary(self) -> str:
        """One line in MB, of 10^6 bytes.

        >>> Memory(4_000_000, 11_800_000, "Resize", 7_000_000).summary()
        'weights 4.0 MB, activations at most 11.8 MB (Resize), 7.0 MB before the last resize'
        """
        eager = "" if self.eager is None else f", {self.eager / 1e6:.1f} MB in eager PyTorch"
        most = f"{self.activations / 1e6:.1f} MB ({self.at}){eager}"
        body = "" if self.body == self.activations else f", {self.body / 1e6:.1f} MB before the last resize"
        return f"weights {self.weights / 1e6:.1f} MB, activations at most {most}{body}"


def memory_of_steps(steps: Sequence[Step], outputs: Collection[str], *, weights: int, eager: int | None = None) -> Memory:
    """The memory of a network.

    Args:
        steps: In the order of execution.
        outputs: Maps that stay to the end.
        weights: Bytes of its weights.
        eager: See `Memory`.
    """
    activations, at = peak(steps, outputs)
    tail = list(takewhile(lambda step: step.operator in ENDS or not step.makes, reversed(steps)))
    before = steps[: len(steps) - len(tail)]
    read = {one for step in tail for one in step.reads} | {*outputs}
    return Memory(weights, activations, at, peak(before, read)[0], eager)


def peak(steps: Sequence[Step], outputs: Collection[str]) -> tuple[int, str]:
    """Most bytes that are alive at a step, and the name of the first such step.

    Args:
        steps: In the order of execution; a map that no step makes takes nothing, and neither does one that nobody reads.
        outputs: Maps that stay to the end.

    >>> conv = Step("conv", ["image"], {"a": 40})
    >>> relu = Step("relu", ["a"], {"b": 40}, pointwise=True)
    >>> peak([Step("input", [], {"image": 30}), conv, relu], ["b"])
    (70, 'conv')
    """
    last = {one: number for number, step in enumerate(steps) for one in step.reads}
    alive: dict[str, int] = {}
    most, at = 0, ""
    for number, step in enumerate(steps):
        makes = {one: size for one, size in step.makes.items() if one in last or one in outputs}
        ending = [one for one in {*step.reads} if last[one] == number and one in alive and one not in outputs]
        made = sum(makes.values())
        over = step.pointwise and made in [alive[one] for one in ending]
        now = sum(alive.values()) + (0 if over else made)
        if now > most:
            most, at = now, step.name
        alive |= makes
        for one in ending:
            del alive[one]
    return most, at
