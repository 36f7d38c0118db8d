"""Expected values in files, what they depend on, and how they are compared."""

from __future__ import annotations

import json
import math
import platform
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parent
EXPECTED = FOLDER / "expected"
TEXTS = FOLDER / "texts"
DIGEST = "sha256:"
"""What the text of a hash begins with, which holds for one kind of machine only."""
MARGIN = 1e-3
"""Relative error allowed on another kind of machine; the absolute one, too, for what is near 0."""
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
"""A fraction in a printed line, which is compared as a number."""
MOST_LISTED = 12


def fingerprint() -> dict[str, str]:
    """What the last bits of a floating-point result depend on."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "cpu": _cpu(),
    }


def _cpu() -> str:
    """Model and caches of the CPU, by which kernels choose their blocks."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return platform.processor()
    facts: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    names = ("model name", "cpu family", "model", "stepping", "cache size")
    return ", ".join(f"{name} {facts[name]}" for name in names if name in facts)


@dataclass
class Stored:
    """The expected values of one test module.

    Args:
        path: Their file; it need not be there while it is written.
        write: Whether values are stored instead of compared.
    """

    path: Path
    write: bool
    written: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    made_on: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the file."""
        if self.path.is_file():
            content = json.loads(self.path.read_text(encoding="utf-8"))
            self.values, self.made_on = content["values"], content["fingerprint"]

    @property
    def exact(self) -> bool:
        """Whether the values were made on this kind of machine, so that every bit counts."""
        return self.made_on == fingerprint()

    def check(self, name: str, value: Any, *, bits: Collection[str] = ()) -> None:
        """Compare plain data with what is stored under a name; exactly on the same kind of machine.

        Args:
            name: The name.
            value: The data.
            bits: Keys of what a rounding decides, e.g. the larger of two almost equal logits; elsewhere they are not compared.
        """
        value = json.loads(json.dumps(value))
        if self.write:
            assert self.written.setdefault(name, value) == value, f"{name}: two values in one run"
            return
        assert name in self.values, f"{name}: nothing is stored in {self.path.name}; see the docstring of conftest.py"
        found = list(differences(self.values[name], value, exact=self.exact, bits=bits, where=name))
        assert not found, "\n".join([f"{len(found)} differences from {self.path.name}", *found[:MOST_LISTED]])

    def save(self) -> None:
        """Add what was written to the file."""
        values = dict(sorted({**self.values, **self.written}.items()))
        self.path.parent.mkdir(exist_ok=True)
        content = json.dumps({"fingerprint": fingerprint(), "values": values}, indent=1, ensure_ascii=False)
        self.path.write_text(content + "\n", encoding="utf-8")


def check_text(name: str, text: str, *, write: bool) -> None:
    """Compare a text with the file of that name."""
    path = TEXTS / f"{name}.txt"
    if write:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert text == path.read_text(encoding="utf-8"), f"{path.name} differs"


def differences(expected: Any, got: Any, *, exact: bool, bits: Collection[str] = (), where: str) -> Iterator[str]:
    """One line for every place where plain data differs."""
    if isinstance(expected, dict) and isinstance(got, dict):
        if list(expected) != list(got):
            yield f"{where}: expected the keys {list(expected)}, got {list(got)}"
        for key in [key for key in expected if key in got and (exact or key not in bits)]:
            yield from differences(expected[key], got[key], exact=exact, bits=bits, where=f"{where} / {key}")
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, pair in enumerate(zip(expected, got, strict=True)):
            yield from differences(*pair, exact=exact, bits=bits, where=f"{where} / {index}")
    elif not _same(expected, got, exact=exact):
        yield f"{where}: expected {expected!r}, got {got!r}"


def _same(expected: Any, got: Any, *, exact: bool) -> bool:
    if type(expected) is type(got) and (expected == got or expected != expected and got != got):  # noqa: PLR0124  NaN
        return True
    if exact:
        return False
    if isinstance(expected, str) and isinstance(got, str):
        return _alike(expected, got)
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (expected, got))
    return numbers and _close(expected, got)


def _alike(expected: str, got: str) -> bool:
    if expected.startswith(DIGEST) and got.startswith(DIGEST):
        return True
    if NUMBER.sub("", expected) != NUMBER.sub("", got):
        return False
    pairs = zip(NUMBER.findall(expected), NUMBER.findall(got), strict=True)
    return all(_close(float(one), float(other)) for one, other in pairs)


def _close(expected: float, got: float) -> bool:
    return math.isclose(expected, got, rel_tol=MARGIN, abs_tol=MARGIN)
