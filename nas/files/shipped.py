"""Paths of the files that ship with the package: in a checkout beside `nas/`, in a wheel inside it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def resource_dir(name: str) -> Path:
    """The folder of that name: mapped into the installed package, or at the top level of the checkout.

    Args:
        name: `conf`, `latency_tables` or `search_spaces`.

    Raises:
        FileNotFoundError: If the installation is incomplete.
    """
    for folder in (_PACKAGE / "_resources" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{_PACKAGE}: got an installation without {name}/, expected it inside or beside; reinstall")


def conf_dir() -> Path:
    """The Hydra configs: one YAML a verb, one folder a config group."""
    return resource_dir("conf")


def tables_dir() -> Path:
    """The latency tables that ship with the package: DEVICE/RUNTIME.json."""
    return resource_dir("latency_tables")


def shipped_benchmarks() -> dict[str, Path]:
    """Name -> folder of every benchmark that ships with the package, sorted by name."""
    files = resource_dir("search_spaces").glob("*/benchmarks/*/networks.json.gz")
    return {path.parent.name: path.parent for path in sorted(files, key=lambda path: path.parent.name)}


def published_genotypes() -> dict[str, Path]:
    """`SPACE/NAME` -> file of every genotype that ships with the package, sorted by name."""
    files = resource_dir("search_spaces").glob("*/genotypes/*.yaml")
    return {f"{path.parent.parent.name}/{path.stem}": path for path in sorted(files)}
