"""The name of a runtime: BACKEND-PRECISION-bN-tN."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from nas.errors import ConfigError

PATTERN = "BACKEND-PRECISION-bN-tN"
"""Form of a full name; N are the batch size and the number of CPU threads."""
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""The precisions that a name may state; a backend may support fewer."""

_FULL = re.compile(
    rf"(?P<backend>[a-z][a-z0-9]*(?:-[a-z0-9]+)*)-(?P<precision>{'|'.join(PRECISIONS)})"
    r"-b(?P<batch>[1-9][0-9]{0,3})-t(?P<threads>[1-9][0-9]{0,3})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeName:
    """Runtime of operations; together with the device it determines a latency.

    Args:
        backend: A key of `nas.measuring.backends.BACKENDS`, or the backend of a table from elsewhere.
        precision: One of `PRECISIONS`.
        batch: Images at once.
        threads: CPU threads inside one operation.
    """

    backend: str
    precision: str = "fp32"
    batch: int = 1
    threads: int = 1

    def __str__(self) -> str:
        """The full name.

        >>> str(RuntimeName(backend="torch-eager"))
        'torch-eager-fp32-b1-t1'
        """
        return f"{self.backend}-{self.precision}-b{self.batch}-t{self.threads}"

    @classmethod
    def parse(cls, text: str, *, backends: Collection[str]) -> RuntimeName:
        """The runtime that a name states; a backend alone means fp32, one image, one thread.

        Args:
            text: A full name, or one of `backends`.
            backends: The backends that exist.

        Raises:
            ConfigError: If the text is neither, or its backend does not exist.

        >>> RuntimeName.parse("torch-eager", backends=["torch-eager"]).threads
        1
        """
        if text in backends:
            return cls(backend=text)
        match = _FULL.fullmatch(text)
        if match is None or match["backend"] not in backends:
            raise ConfigError(
                f"runtime: got {text!r}, expected BACKEND or {PATTERN} with BACKEND one of {', '.join(backends)}, "
                f"PRECISION one of {', '.join(PRECISIONS)} and N at least 1, e.g. torch-eager-fp32-b1-t1"
            )
        return cls._from_match(match)

    @classmethod
    def from_full(cls, text: str) -> RuntimeName | None:
        """The runtime of a full name, whether or not its backend exists here; None if the text is no full name."""
        match = _FULL.fullmatch(text)
        return None if match is None else cls._from_match(match)

    @classmethod
    def _from_match(cls, match: re.Match[str]) -> RuntimeName:
        return cls(
            backend=match["backend"],
            precision=match["precision"],
            batch=int(match["batch"]),
            threads=int(match["threads"]),
        )
