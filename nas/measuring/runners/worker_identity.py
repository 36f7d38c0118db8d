"""Identity of a device, as the worker states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas.cost.table_parts import CLOCKS
from nas.files.shortening import shorten
from nas.files.strict_json import as_bool, as_object, as_optional_text, as_text
from nas.measuring.runners.untrusted_text import plain

MAX_FACTS = 100
"""Most facts that are read."""
MAX_VERSION = 100
"""Most characters of a version; no version has as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Identity of a device and of its runtimes, as the worker states it.

    Args:
        name: A name for the device; None: nothing there says what it is.
        facts: What could be read of it.
        version: Version of the runtime.
        details: Further facts of the runtime.
        is_program: Whether each sample starts a program.
        implementation: Which code takes the samples; None: a version before workers stated it.
        sample_clock: What samples are read from, of `CLOCKS`; None: as above.
        cuda_graphs: Whether calls are launched as CUDA graphs; None: nothing is launched on a GPU, or as above.
    """

    name: str | None
    facts: Mapping[str, str]
    version: str
    details: Mapping[str, str]
    is_program: bool
    implementation: str | None = None
    sample_clock: str | None = None
    cuda_graphs: bool | None = None

    @classmethod
    def parse(cls, value: object, where: str) -> Identity:
        """The identity that plain data states; raises `ValueError`."""
        known = ("name", "facts", "version", "details", "is_program")
        fields = as_object(value, where, known, optional=("implementation", "sample_clock", "cuda_graphs"))
        implementation = as_optional_text(fields.get("implementation"), f"{where}.implementation")
        clock, graphs = as_optional_text(fields.get("sample_clock"), f"{where}.sample_clock"), fields.get("cuda_graphs")
        if clock is not None and clock not in CLOCKS:
            raise ValueError(f"{where}.sample_clock: got {shorten(clock)}, expected one of {', '.join(CLOCKS)}")
        return cls(
            name=as_optional_text(fields["name"], f"{where}.name"),
            facts=_texts(fields["facts"], f"{where}.facts"),
            version=plain(as_text(fields["version"], f"{where}.version"), limit=MAX_VERSION),
            details=_texts(fields["details"], f"{where}.details"),
            is_program=as_bool(fields["is_program"], f"{where}.is_program"),
            implementation=None if implementation is None else plain(implementation, limit=MAX_VERSION),
            sample_clock=clock,
            cuda_graphs=None if graphs is None else as_bool(graphs, f"{where}.cuda_graphs"),
        )


def _texts(value: object, where: str) -> dict[str, str]:
    """The object from text to text at `where`; raises `ValueError`."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: got {shorten(value)}, expected an object")
    if len(value) > MAX_FACTS:
        raise ValueError(f"{where}: got {len(value)} facts, expected at most {MAX_FACTS}")
    named = {plain(as_text(name, f"{where}: a name"), limit=80): text for name, text in value.items()}
    return {name: plain(as_text(text, f"{where}.{name}"), limit=300) for name, text in named.items()}
