"""Maps between the classes of data sets."""

from __future__ import annotations

import numpy as np
import pytest

from nas.data.classes.cityscapes_labels import CITYSCAPES
from nas.data.classes.class_map import CLASS_MAPS, class_table, load_class_map
from nas.data.classes.class_set import CAMVID
from nas.errors import ConfigError

CAMVID_OF = {
    "building": "building wall",
    "tree": "vegetation terrain",
    "car": "car truck bus train",
    "bicyclist": "rider motorcycle bicycle",
    "pavement": "sidewalk",
    "pedestrian": "person",
}


def test_cityscapes_to_camvid_is_the_map_of_the_reference() -> None:
    table = class_table(load_class_map("cityscapes_to_camvid"), CITYSCAPES.names, CAMVID.names)
    for target, sources in CAMVID_OF.items():
        for source in sources.split():
            assert CAMVID.names[table[CITYSCAPES.names.index(source)]] == target
    for sign in ("traffic light", "traffic sign"):
        assert CAMVID.names[table[CITYSCAPES.names.index(sign)]] == "sign"
    for same in ("road", "fence", "pole", "sky"):
        assert CAMVID.names[table[CITYSCAPES.names.index(same)]] == same
    assert table.dtype == np.int64
    assert set(table) == set(range(11))


def test_a_file_maps_names_to_names(tmp_path) -> None:
    (tmp_path / "map.yaml").write_text("a: x\nb: y\nc: x\n")
    assert class_table(load_class_map(str(tmp_path / "map.yaml")), ["b", "a", "c"], ["x", "y"]).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"a": "x", "b": "x", "d": "x"}, "the network has no class d; its classes are a, b"),
        ({"a": "x"}, "the map leaves out b; its classes are a, b"),
        ({"a": "x", "b": "z"}, "the data have no class z; theirs are x, y"),
    ],
)
def test_names_that_do_not_exist_or_are_left_out_are_refused(mapping, message) -> None:
    with pytest.raises(ConfigError, match=f"^class_map: {message}"):
        class_table(mapping, ["a", "b"], ["x", "y"])


@pytest.mark.parametrize("text", ["- a\n", "a: 1\n", "a: [x]\n", "1: x\n", "a: x\na: y\n", "", ": :"])
def test_a_file_that_is_no_map_is_refused_in_one_line(tmp_path, text) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected cityscapes_to_camvid or a YAML file") as caught:
        load_class_map(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_of_nothing_lists_the_maps_at_hand() -> None:
    with pytest.raises(ConfigError, match="got 'camvid_to_mars', and there is no such file; expected cityscapes_to_camvid"):
        load_class_map("camvid_to_mars")
    assert list(CLASS_MAPS) == ["cityscapes_to_camvid"]
