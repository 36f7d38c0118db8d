"""YAML read strictly, as data that people edit by hand: no code, no anchors, no duplicate keys, and a line for every key."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from nas.files.shortening import shorten

MAX_BYTES = 1_000_000
"""Longest text that is read."""
MAX_DEPTH = 16
"""Deepest nesting that is read."""

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top to a value."""

_INT = "tag:yaml.org,2002:int"
_PLAIN_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_SPECIAL = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")


@dataclass(frozen=True, slots=True)
class PlainYaml:
    """Content of a text.

    Args:
        data: Dicts with text keys, lists, texts, numbers, booleans and None.
        lines: Line of every value, by its path; counted from 1.
    """

    data: Any
    lines: Mapping[KeyPath, int]


class _Loader(yaml.SafeLoader):
    """A safe loader that composes nodes only where the text has neither anchor, alias, tag nor deep nesting."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Check the next event before PyYAML makes a node of it."""
        event = self.peek_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"line {line}: got an anchor or alias (& or *), expected plain data; write the value out")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"line {line}: got the tag {shorten(event.tag)}, expected plain data without tags (!)")
        if self.depth >= MAX_DEPTH:
            raise ValueError(f"line {line}: got more than {MAX_DEPTH} levels of nesting, expected plain data")
        self.depth += 1
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _SPECIAL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Dumper(yaml.SafeDumper):
    """Lists on one line, mappings over several, never an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value out wherever it occurs."""
        del data
        return True


_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True))


def parse_plain_yaml(text: str) -> PlainYaml:
    r"""Read a YAML text.

    Raises:
        ValueError: One line that names the line of the first defect.

    >>> parse_plain_yaml("a: 1\nb: [x, none]").data
    {'a': 1, 'b': ['x', 'none']}
    >>> parse_plain_yaml("a: 1\na: 2")
    Traceback (most recent call last):
        ...
    ValueError: line 2: got the key 'a' twice, first in line 1; remove one
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"got {len(text)} characters, expected at most {MAX_BYTES}")
    lines: dict[KeyPath, int] = {}
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"line {line}: got the character {shorten(chr(error.character))}, expected a text file") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}not valid YAML: {' '.join(str(error.problem).split())}") from error
    data = None if root is None else _construct(loader, root, (), lines)
    return PlainYaml(data, lines)


def dump_plain_yaml(data: Mapping[str, Any]) -> str:
    """The text of plain data, in the given order; `parse_plain_yaml` reads the same data back.

    Raises:
        ValueError: If something is not plain data: a text key, list, text, finite number, boolean or None.
    """
    return yaml.dump(plain(data), Dumper=_Dumper, sort_keys=False, width=math.inf)


def plain(value: Any, where: str = "value") -> Any:
    """A copy of plain data with dicts for mappings and lists for sequences; raises `ValueError` for anything else."""
    if isinstance(value, Mapping):
        if wrong := [key for key in value if type(key) is not str]:
            raise ValueError(f"{where}: got the key {shorten(wrong[0])}, expected a text")
        return {key: plain(entry, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(entry, f"{where}.{i}") for i, entry in enumerate(value)]
    if value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value)):
        return value
    raise ValueError(f"{where}: got {shorten(value)}, expected a text, finite number, boolean, null, list or mapping")


def _construct(loader: _Loader, node: Node, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, MappingNode):
        return _mapping(loader, node, path, lines)
    if isinstance(node, SequenceNode):
        return [_construct(loader, child, (*path, i), lines) for i, child in enumerate(node.value)]
    assert isinstance(node, ScalarNode)
    return _scalar(loader, node)


def _mapping(loader: _Loader, node: MappingNode, path: KeyPath, lines: dict[KeyPath, int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = _scalar(loader, key_node) if isinstance(key_node, ScalarNode) else None
        if not isinstance(key, str):
            shown = shorten(key_node.value) if isinstance(key_node, ScalarNode) else "a list or mapping"
            raise ValueError(f"line {line}: got {shown} as a key, expected a text; put it in quotes")
        if key in result:
            raise ValueError(f"line {line}: got the key {shorten(key)} twice, first in line {lines[(*path, key)]}; remove one")
        lines[(*path, key)] = line
        result[key] = _construct(loader, value_node, (*path, key), lines)
    return result


def _scalar(loader: _Loader, node: ScalarNode) -> Any:
    line = node.start_mark.line + 1
    if node.tag == _INT and not _PLAIN_INT.fullmatch(node.value):
        raise ValueError(f"line {line}: got the number {shorten(node.value)}, expected decimal digits only, or a text in quotes")
    try:
        value = loader.construct_object(node)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"line {line}: got {shorten(node.value)}, which cannot be read as a value") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"line {line}: got {node.value}, expected a finite number, or a text in quotes")
    return value
