"""Genotypes: the discrete architecture as plain data, and its YAML file; `nas.space.design` reads it.

A genotype alone crosses from the search to everything after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nas.errors import GenotypeError
from nas.files.atomic import write_text_atomic
from nas.files.plain_yaml import dump_plain_yaml, plain
from nas.files.shipped import published_genotypes
from nas.files.shortening import shorten
from nas.space.deployment import DEPLOYMENT_KEYS, Deployment

FORMAT_VERSION = 1
"""The version of the file that this code writes and reads."""
FILE_NAME = "genotype.yaml"
"""The file in the folder of a run."""

_HEADER = """\
# A genotype of nas: one network of a search space, as plain data to read and to edit.
# choices: decision -> option; space_config and deploy: the rest of what builds the network; provenance: where it comes from.
"""
GENOTYPE_KEYS = ("format_version", "space", "space_config", "deploy", "choices", "provenance")
"""Keys of the file."""


@dataclass(frozen=True, slots=True)
class Genotype:
    """A derived architecture.

    Args:
        space: Name of its search space.
        space_config: All settings of the space.
        deploy: What it is deployed for.
        choices: Decision name -> option name, in the order in which the file lists them.
        provenance: Where it comes from: seed, commit, table, latencies, ...; plain data. Of a training it states the classes, and
            latencies of the very network alone; see `nas.runs.trained_genotype`.
        format_version: Version of the file's format.
    """

    space: str
    space_config: Mapping[str, Any]
    deploy: Deployment
    choices: Mapping[str, str]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        """Take copies, so that nobody else holds what this value is made of, and refuse what no file can state."""
        for name in ("space_config", "choices", "provenance"):
            object.__setattr__(self, name, plain(getattr(self, name), name))


def dump_genotype(genotype: Genotype) -> str:
    """The text of a genotype's file."""
    deploy = genotype.deploy
    sections: list[dict[str, Any]] = [
        {"format_version": genotype.format_version, "space": genotype.space},
        {"space_config": {key: value for key, value in genotype.space_config.items() if key != "name"}},
        {"deploy": {name: getattr(deploy, name) for name in DEPLOYMENT_KEYS}},
        {"choices": genotype.choices},
        {"provenance": genotype.provenance},
    ]
    return _HEADER + "\n".join(dump_plain_yaml(section) for section in sections)


def find_genotype(path_or_name: str | Path) -> Path:
    """The file of a genotype, of the folder of a run, or of the name under which it was published.

    Raises:
        GenotypeError: If there is none.
    """
    path = Path(path_or_name)
    try:
        if path.is_file():
            return path
        if path.is_dir():
            if (path / FILE_NAME).is_file():
                return path / FILE_NAME
            raise GenotypeError(f"genotype: {path} has no {FILE_NAME}; if it is a search, write one with nas derive run={path}")
    except OSError as error:
        raise GenotypeError(f"genotype: {shorten(str(path))} cannot be read ({error.strerror})") from error
    published = published_genotypes()
    if str(path_or_name) not in published:
        longer = [name for name in published if name.startswith(str(path_or_name))]
        near = longer or get_close_matches(str(path_or_name), published, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise GenotypeError(
            f"genotype: got {shorten(str(path_or_name))}, and there is no such file; expected a file, a run with a {FILE_NAME} "
            f"or a published name; {meant}nas show list=genotypes lists them"
        )
    return published[str(path_or_name)]


def save_genotype(path: str | Path, genotype: Genotype) -> None:
    """Write a genotype so that the file is either the old or the new one, whole, whatever happens in between."""
    write_text_atomic(Path(path), dump_genotype(genotype))
