"""From the classes of a network to those of other data, by name: to evaluate a network where it was not trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas.errors import ConfigError
from nas.files.plain_yaml import MAX_BYTES, parse_plain_yaml
from nas.files.regular_file import read_regular
from nas.files.shortening import shorten

CLASS_MAPS: dict[str, dict[str, str]] = {
    "cityscapes_to_camvid": {
        "road": "road",
        "sidewalk": "pavement",
        "building": "building",
        "wall": "building",
        "fence": "fence",
        "pole": "pole",
        "traffic light": "sign",
        "traffic sign": "sign",
        "vegetation": "tree",
        "terrain": "tree",
        "sky": "sky",
        "person": "pedestrian",
        "rider": "bicyclist",
        "car": "car",
        "truck": "car",
        "bus": "car",
        "train": "car",
        "motorcycle": "bicyclist",
        "bicycle": "bicyclist",
    },
}
"""Maps that need no file, by name: class of the network -> class of the data."""


def load_class_map(name: str) -> Mapping[str, str]:
    """The map of that name, or in a YAML file: a mapping from class of the network to class of the data.

    Raises:
        ConfigError: If there is none, or the file is no such mapping.
    """
    if name in CLASS_MAPS:
        return CLASS_MAPS[name]
    path = Path(name)
    what = f"expected {', '.join(CLASS_MAPS)} or a YAML file of lines NETWORK_CLASS: DATA_CLASS"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"class_map: {path}: got more than {MAX_BYTES} bytes, {what}")
        data = parse_plain_yaml(read_regular(path, MAX_BYTES + 1).decode("utf-8-sig")).data
    except FileNotFoundError as error:
        raise ConfigError(f"class_map: got {name!r}, and there is no such file; {what}") from error
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(f"class_map: {path}: {' '.join(str(error).split())}; {what}") from error
    if not isinstance(data, dict) or not all(isinstance(one, str) for pair in data.items() for one in pair):
        raise ConfigError(f"class_map: {path}: got {shorten(data)}, {what}; put names in quotes that look like numbers")
    return data


def class_table(mapping: Mapping[str, str], sources: Sequence[str], targets: Sequence[str]) -> NDArray[np.int64]:
    """The map as ids: entry k is the data's id of the network's class k.

    >>> class_table({"bus": "car", "car": "car", "sky": "sky"}, ["sky", "bus", "car"], ["car", "sky"]).tolist()
    [1, 0, 0]

    Args:
        mapping: Class of the network -> class of the data; every class of the network.
        sources: Classes of the network, in the order of its logits.
        targets: Classes of the data, in the order of their ids.

    Raises:
        ConfigError: If a name is of no class, or a class of the network is left out.
    """
    faults = {
        "the network has no class": [name for name in mapping if name not in sources],
        "the map leaves out": [name for name in sources if name not in mapping],
    }
    for words, names in faults.items():
        if names:
            raise ConfigError(f"class_map: {words} {', '.join(names)}; its classes are {', '.join(sources)}; correct the map")
    strange = [name for name in dict.fromkeys(mapping.values()) if name not in targets]
    if strange:
        raise ConfigError(
            f"class_map: the data have no class {', '.join(strange)}; theirs are {', '.join(targets)}; correct the map"
        )
    ids = {name: index for index, name in enumerate(targets)}
    return np.array([ids[mapping[name]] for name in sources], dtype=np.int64)
