"""Genotypes: the discrete architecture as plain data, its YAML file, and the network that it describes.

A genotype alone crosses from the search to everything after it. Reading one checks all of it and never runs code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.errors import ConfigError, GenotypeError
from nas.files.atomic import write_text_atomic
from nas.files.plain_yaml import MAX_BYTES, PlainYaml, dump_plain_yaml, parse_plain_yaml, plain
from nas.files.shipped import published_genotypes
from nas.files.shortening import shorten
from nas.space.choice import check_decisions
from nas.space.deployment import DEPLOYMENT_KEYS, Deployment

if TYPE_CHECKING:
    from nas.space.graph import Graph
    from nas.space.search_space import SearchSpace
    from nas.space.space_entry import SpaceEntry

FORMAT_VERSION = 1
"""The version of the file that this code writes and reads."""
FILE_NAME = "genotype.yaml"
"""The file in the folder of a run."""

_HEADER = """\
# A genotype of nas: one network of a search space, as plain data to read and to edit.
# choices: decision -> option; space_config and deploy: the rest of what builds the network; provenance: where it comes from.
"""
_FIELDS = ("format_version", "space", "space_config", "deploy", "choices", "provenance")


@dataclass(frozen=True, slots=True)
class Genotype:
    """A derived architecture.

    Args:
        space: Name of its search space.
        space_config: All settings of the space.
        deploy: What it is deployed for.
        choices: Decision name -> option name, in the order in which the file lists them.
        provenance: Where it comes from: seed, commit, table, latencies, ...; plain data.
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


def parse_genotype(text: str, spaces: Mapping[str, SpaceEntry], source: str | Path) -> Genotype:
    """The genotype that a text states, with its choices in the order of its space.

    Args:
        text: YAML.
        spaces: The search spaces by name.
        source: What messages begin with, usually the path of the file.

    Raises:
        GenotypeError: One line, for the first defect, with its key or line.
    """
    document: PlainYaml | None = None
    try:
        document = parse_plain_yaml(text)
        return _from_data(document.data, spaces)
    except ValueError as error:
        message = " ".join(str(error).split())
        raise GenotypeError(f"{source}: {_line_of(message, document)}{message}") from error


def load_genotype(path_or_name: str | Path, spaces: Mapping[str, SpaceEntry]) -> Genotype:
    """A genotype from a file, from the folder of a run, or by the name under which it was published.

    Raises:
        GenotypeError: If there is none, or what it states is wrong.
    """
    path = find_genotype(path_or_name)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise GenotypeError(f"{path}: cannot be read ({error.strerror}); expected a genotype in YAML") from error
    if len(content) > MAX_BYTES:
        raise GenotypeError(f"{path}: got more than {MAX_BYTES} bytes, expected a genotype of a few thousand; give another file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise GenotypeError(f"{path}: line {line}: got bytes that are no UTF-8 text, expected a genotype in YAML") from error
    return parse_genotype(text, spaces, path)


def find_genotype(path_or_name: str | Path) -> Path:
    """The file that `load_genotype` reads; raises as it does."""
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
        raise GenotypeError(
            f"genotype: got {shorten(str(path_or_name))}, and there is no such file; expected a file, a run with a {FILE_NAME} "
            f"or a published name ({', '.join(published) or 'there are none yet'})"
        )
    return published[str(path_or_name)]


def save_genotype(path: str | Path, genotype: Genotype) -> None:
    """Write a genotype so that the file is either the old or the new one, whole, whatever happens in between."""
    write_text_atomic(Path(path), dump_genotype(genotype))


def genotype_space(genotype: Genotype, spaces: Mapping[str, SpaceEntry]) -> SearchSpace:
    """The search space with the genotype's settings.

    Raises:
        GenotypeError: If the space is unknown or refuses a setting.
    """
    try:
        return _build_space(genotype.space, genotype.space_config, spaces)
    except ConfigError as error:
        raise GenotypeError(str(error)) from error


def genotype_graph(
    genotype: Genotype,
    spaces: Mapping[str, SpaceEntry],
    *,
    input_size: tuple[int, int] | None = None,
    num_classes: int | None = None,
) -> Graph:
    """The graph of the derived network.

    Args:
        genotype: The architecture.
        spaces: The search spaces by name.
        input_size: (height, width) in pixels; None: as deployed.
        num_classes: Classes; None: as deployed.

    Raises:
        GenotypeError: If the genotype does not fit its space.
    """
    deploy = genotype.deploy
    deployment = Deployment(
        input_size or deploy.input, deploy.init_channels, deploy.num_classes if num_classes is None else num_classes
    )
    return genotype_space(genotype, spaces).graph(deployment, genotype.choices)


def _from_data(data: Any, spaces: Mapping[str, SpaceEntry]) -> Genotype:
    if isinstance(data, dict) and "format_version" in data:
        version = data["format_version"]
        if type(version) is not int or version != FORMAT_VERSION:
            raise GenotypeError(f"format_version: got {shorten(version)}, this version of nas reads {FORMAT_VERSION}")
    _check_keys(data, "genotype", _FIELDS, prefix="")
    if not isinstance(data["space"], str):
        raise GenotypeError(f"space: got {shorten(data['space'])}, expected one of {', '.join(spaces)}")
    for name in ("space_config", "choices", "provenance"):
        if not isinstance(data[name], dict):
            raise GenotypeError(f"{name}: got {shorten(data[name])}, expected a mapping")
    _check_keys(data["deploy"], "deploy", DEPLOYMENT_KEYS, prefix="deploy.")
    deploy = Deployment(**data["deploy"])
    space = _build_space(data["space"], data["space_config"], spaces)
    choices = _checked_choices(data["choices"], space)
    try:
        space.graph(deploy, choices)
    except GenotypeError:
        raise
    except ValueError as error:
        raise GenotypeError(f"choices: they make no network with this space_config and deploy: {error}") from error
    config = OmegaConf.to_container(OmegaConf.structured(space.config))
    assert isinstance(config, dict)
    return Genotype(data["space"], {str(k): v for k, v in config.items()}, deploy, choices, data["provenance"])


def _check_keys(value: Any, where: str, expected: tuple[str, ...], *, prefix: str) -> None:
    if not isinstance(value, dict):
        raise GenotypeError(f"{where}: got {shorten(value)}, expected a mapping with {', '.join(expected)}")
    for name in value:
        if name not in expected:
            raise GenotypeError(f"{prefix}{name}: unknown key, expected {', '.join(expected)}; remove it")
    for name in expected:
        if name not in value:
            raise GenotypeError(f"{prefix}{name}: missing; add it")


def _checked_choices(choices: Mapping[str, Any], space: SearchSpace) -> dict[str, str]:
    """The choices in the space's order."""
    options = space.genotype_choices()
    for name, option in choices.items():
        if name in options and not isinstance(option, str):
            raise GenotypeError(
                f"choices.{name}: got {shorten(option)} ({_kind(option)}), expected one of {', '.join(options[name])}; "
                "put an option in quotes if it looks like a number or a boolean"
            )
    check_decisions(choices, options)
    space.check(choices)
    return {name: choices[name] for name in options}


def _build_space(name: str, settings: Mapping[str, Any], spaces: Mapping[str, SpaceEntry]) -> SearchSpace:
    if name not in spaces:
        raise GenotypeError(f"space: got {shorten(name)}, expected one of {', '.join(spaces)}")
    entry = spaces[name]
    if settings.get("name", name) != name:
        raise GenotypeError(f"space_config.name: got {shorten(settings['name'])}, expected {name!r} as in space; remove it")
    given = {**settings, "name": name}
    names = [one.name for one in fields(entry.config)]
    _check_keys(given, "space_config", tuple(names), prefix="space_config.")
    _check_texts(given, "space_config")
    merged = OmegaConf.structured(entry.config)
    for key, value in given.items():
        _set(merged, key, value)
    _check_types(given, OmegaConf.to_container(merged), "space_config")
    try:
        return entry.build(OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise GenotypeError(f"space_config: {error}") from error
    except ConfigError as error:
        setting = re.compile(rf"\bspace\.(?=(?:{'|'.join(map(re.escape, names))})\b)")
        raise GenotypeError(setting.sub("space_config.", str(error))) from error


def _set(config: DictConfig, key: str, value: Any) -> None:
    """Put a setting into a config; OmegaConf converts what it can, and what it cannot is refused by name."""
    try:
        OmegaConf.update(config, key, value, merge=True)
    except OmegaConfBaseException as error:
        reason = str(error).split("\n", 1)[0]
        message = f"space_config.{key}: got {shorten(value)} ({_kind(value)}), expected a value of the setting's type: {reason}"
        raise GenotypeError(message) from error


def _check_texts(value: Any, where: str) -> None:
    """Refuse the texts to which OmegaConf gives a meaning: interpolations and the mark of a missing value."""
    if isinstance(value, str) and ("${" in value or value == "???"):
        raise GenotypeError(f"{where}: got {shorten(value)}, expected a plain value")
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        _check_texts(child, f"{where}.{key}")


def _check_types(given: Any, converted: Any, where: str) -> None:
    """Refuse a value that OmegaConf had to convert, such as a text into a number; a whole number may stand for a number."""
    if isinstance(given, Mapping) and isinstance(converted, Mapping):
        for key in given:
            _check_types(given[key], converted[key], f"{where}.{key}")
    elif isinstance(given, list) and isinstance(converted, list):
        for i, (one, other) in enumerate(zip(given, converted, strict=True)):
            _check_types(one, other, f"{where}.{i}")
    elif type(given) is not type(converted) and (type(given), type(converted)) != (int, float):
        raise GenotypeError(f"{where}: got {shorten(given)} ({_kind(given)}), expected {_kind(converted)}, e.g. {converted!r}")


def _kind(value: object) -> str:
    kinds = {
        bool: "a boolean",
        int: "a whole number",
        float: "a number",
        str: "a text",
        list: "a list",
        type(None): "null",
    }
    return kinds.get(type(value), "a mapping")


def _line_of(message: str, document: PlainYaml | None) -> str:
    """`line N: ` for a message that begins with a key of the document, or else nothing."""
    if document is None or ":" not in message:
        return ""
    paths = {".".join(map(str, path)): line for path, line in document.lines.items()}
    line = paths.get(message.split(":", 1)[0])
    return "" if line is None else f"line {line}: "
