"""Provenance of a result: version, commit, seed, table."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TABLE_FACTS = ("table", "cost_unit", "expected_latency", "target_latency")
"""Keys of a table in the provenance of a genotype; those of a further table end in its number."""


def provenance(**facts: Any) -> dict[str, Any]:
    """Facts about a run, with the version of this package and, in a checkout, its commit."""
    return {**facts, "version": package_version(), "commit": commit()}


def package_version() -> str | None:
    """Version of the installed distribution; None when run uninstalled."""
    try:
        return version("segnas")
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """Commit of the checkout that this package is imported from; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(root), "rev-parse", "HEAD"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
