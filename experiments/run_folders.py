"""What the experiments share: runs that were stopped go on."""

from __future__ import annotations

from pathlib import Path


def begun(folder: Path) -> bool:
    """Whether a run has left a checkpoint to go on from."""
    return (folder / "checkpoints" / "last.pt").exists()


def where(folder: Path) -> str:
    """The setting that goes on with the run of a folder, or begins it there."""
    return f"resume={folder}" if begun(folder) else f"out={folder}"
