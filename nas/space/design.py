"""A genotype with its space, made where the file is read or a search derives it.

Reading checks all of a file and never runs code. Everything after it takes a `Design` and looks no space up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.errors import ConfigError, GenotypeError
from nas.files.plain_yaml import MAX_BYTES, PlainYaml, parse_plain_yaml
from nas.files.shortening import shorten
from nas.space.choice import check_decisions
from nas.space.deployment import DEPLOYMENT_KEYS, Deployment
from nas.space.genotype import FORMAT_VERSION, GENOTYPE_KEYS, Genotype, find_genotype

if TYPE_CHECKING:
    from nas.ops import OpSpec
    from nas.space.graph import Graph
    from nas.space.search_space import SearchSpace
    from nas.space.space_entry import SpaceEntry


OTHER_CLASSES = (2, 61)
"""Numbers of classes for which a network is described once more, to see what depends on them."""


@dataclass(frozen=True)
class Design:
    """A network of a search space.

    Args:
        genotype: The architecture.
        space: Its search space, with the genotype's settings.
    """

    genotype: Genotype
    space: SearchSpace

    @property
    def deployment(self) -> Deployment:
        """The deployment of the network."""
        return self.genotype.deploy

    @cached_property
    def graph(self) -> Graph:
        """The graph of the derived network.

        Raises:
            GenotypeError: If the genotype does not fit its space.
        """
        return self.space.graph(self.deployment, self.genotype.choices)

    @cached_property
    def class_modules(self) -> frozenset[str]:
        """Paths of the modules whose operations depend on the number of classes, those of auxiliary heads among them."""
        own = _operations(self.graph)
        others = [_operations(self.with_classes(n).graph) for n in OTHER_CLASSES if n != self.deployment.num_classes]
        return frozenset(path for path, spec in own.items() if any(other.get(path) != spec for other in others))

    def require_size(self, size: tuple[int, int], key: str) -> None:
        """Refuse images of a size (height, width) that the network does not take; `key` is the setting that decides it.

        Raises:
            ConfigError: With the sizes that it takes.
        """
        try:
            self.deployed(replace(self.deployment, input=size)).graph  # noqa: B018  described, which checks the size
        except ConfigError as error:
            raise ConfigError(f"{key}: {str(error).removeprefix('deploy.input: ')}") from error

    def with_classes(self, num_classes: int) -> Design:
        """The same architecture for another number of classes."""
        return self.deployed(replace(self.deployment, num_classes=num_classes))

    def deployed(self, deployment: Deployment) -> Design:
        """The same architecture for another deployment."""
        return Design(replace(self.genotype, deploy=deployment), self.space)


def parse_design(text: str, spaces: Mapping[str, SpaceEntry], source: str | Path) -> Design:
    """The design that the text of a genotype states, with its choices in the order of its space.

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


def load_design(path_or_name: str | Path, spaces: Mapping[str, SpaceEntry]) -> Design:
    """A design from the file of a genotype, from the folder of a run, or by the name under which it was published.

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
    return parse_design(text, spaces, path)


def design_of(genotype: Genotype, spaces: Mapping[str, SpaceEntry]) -> Design:
    """A genotype that is already in memory, with its search space.

    Args:
        genotype: The architecture.
        spaces: The search spaces by name.

    Raises:
        GenotypeError: If the space is unknown or refuses a setting.
    """
    try:
        return Design(genotype, _build_space(genotype.space, genotype.space_config, spaces))
    except ConfigError as error:
        raise GenotypeError(str(error)) from error


def _operations(graph: Graph) -> dict[str, OpSpec]:
    """Path of a module -> its operation, of one of the nodes that share it."""
    return {node.module: node.spec for node in graph.nodes if node.role == "op"}


def _from_data(data: Any, spaces: Mapping[str, SpaceEntry]) -> Design:
    if isinstance(data, dict) and "format_version" in data:
        version = data["format_version"]
        if type(version) is not int or version != FORMAT_VERSION:
            raise GenotypeError(f"format_version: got {shorten(version)}, this version of nas reads {FORMAT_VERSION}")
    _check_keys(data, "genotype", GENOTYPE_KEYS, prefix="")
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
    genotype = Genotype(data["space"], {str(k): v for k, v in config.items()}, deploy, choices, data["provenance"])
    return Design(genotype, space)


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
