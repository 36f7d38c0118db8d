import re

import pytest

from nas.data.classes.class_file import KNOWN_CLASSES, load_classes
from nas.data.files.label_code import ColourCode, IdCode
from nas.errors import DataError


def load(tmp_path, text):
    (tmp_path / "classes.yaml").write_text(text)
    return load_classes(tmp_path / "classes.yaml")


def test_ids_names_and_palette(tmp_path):
    text = """\
    classes:
      - {name: road, id: 7, palette: [128, 64, 128]}
      - {name: vehicle, ids: [26, 27]}
      - {name: sky, id: 0}
    ignore: [1, 255]
    """
    coded = load(tmp_path, text)
    assert coded.classes.names == ("road", "vehicle", "sky")
    assert coded.classes.palette[0].tolist() == [128, 64, 128]
    assert isinstance(coded.code, IdCode)
    assert dict(coded.code.classes) == {7: 0, 26: 1, 27: 1, 0: 2, 1: 255, 255: 255}
    assert coded.code.expected == "0-1, 7, 26-27, 255"


def test_names_alone_are_numbered_and_255_is_void(tmp_path):
    coded = load(tmp_path, "classes: [a, b]\n")
    assert dict(coded.code.classes) == {0: 0, 1: 1, 255: 255}


def test_255_may_be_a_class_as_in_binary_masks(tmp_path):
    coded = load(tmp_path, "classes: [{name: back, id: 0}, {name: front, id: 255}]\n")
    assert dict(coded.code.classes) == {0: 0, 255: 1}


def test_an_empty_ignore_leaves_no_void(tmp_path):
    assert dict(load(tmp_path, "classes: [a, b]\nignore: []\n").code.classes) == {0: 0, 1: 1}


@pytest.mark.parametrize(("one", "many"), [("colour", "colours"), ("color", "colors")])
def test_colours_are_also_the_palette(tmp_path, one, many):
    text = f"classes: [{{name: a, {one}: [1, 2, 3]}}, {{name: b, {many}: [[4, 5, 6], [7, 8, 9]]}}]\nignore: [[0, 0, 0]]\n"
    coded = load(tmp_path, text)
    assert isinstance(coded.code, ColourCode)
    assert dict(coded.code.classes) == {(1, 2, 3): 0, (4, 5, 6): 1, (7, 8, 9): 1, (0, 0, 0): 255}
    assert coded.classes.palette.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_missing_palette_colours_are_none_that_is_stated(tmp_path):
    coded = load(tmp_path, "classes: [a, {name: b, id: 1, palette: [128, 0, 0]}, c]\n")
    assert len({tuple(colour) for colour in coded.classes.palette.tolist()}) == 3


def test_254_classes_are_the_most(tmp_path):
    assert len(load(tmp_path, f"classes: [{', '.join(f'c{index}' for index in range(254))}]\n").classes.names) == 254
    with pytest.raises(DataError, match="got 255 classes, expected at most 254"):
        load(tmp_path, f"classes: [{', '.join(f'c{index}' for index in range(255))}]\n")


WRONG = {
    "no list": ("classes: 3\n", "expected a mapping with the list classes"),
    "empty": ("", "expected a mapping with the list classes"),
    "empty list": ("classes: []\n", "expected a mapping with the list classes"),
    "unknown key": ("classes: [a]\nvoid: [3]\n", "unknown key 'void', expected classes and ignore"),
    "unknown entry key": ("classes: [{name: a, label: 3}]\n", "entry 1: unknown key 'label'"),
    "number as name": ("classes: [{name: 3, id: 3}]\n", "entry 1: got the name 3"),
    "boolean as name": ("classes: [{name: on, id: 3}]\n", "got the name True, expected a text, in quotes"),
    "no name": ("classes: [{id: 3}]\n", "entry 1: got the name None"),
    "nothing stored": ("classes: [{name: a}]\n", r"entry 1 (a): got nothing for what masks store, expected one of id, ids"),
    "id and colour": ("classes: [{name: a, id: 1, colour: [1, 2, 3]}]\n", "got id and colour"),
    "mixed": ("classes: [a, {name: b, colour: [1, 2, 3]}]\n", "got ids for some classes and colours for others"),
    "id too large": ("classes: [{name: a, id: 256}]\n", "got 256, expected an id from 0 to 255"),
    "ids no list": ("classes: [{name: a, ids: 3}]\n", "ids: got 3, expected a list"),
    "short colour": ("classes: [{name: a, colour: [1, 2]}]\n", "expected a colour [R, G, B]"),
    "palette": ("classes: [{name: a, id: 1, palette: red}]\n", "palette: got 'red', expected a colour"),
    "id twice": ("classes: [{name: a, id: 1}, {name: b, id: 1}]\n", "got the id 1 twice"),
    "id ignored": ("classes: [a]\nignore: [0]\n", "got the id 0 twice"),
    "name twice": ("classes: [a, a]\n", "got the name 'a' twice"),
    "palette twice": (
        "classes: [{name: a, id: 1, palette: [1, 1, 1]}, {name: b, id: 2, palette: [1, 1, 1]}]\n",
        "got the palette colour (1, 1, 1) twice",
    ),
    "ignore no list": ("classes: [a]\nignore: 3\n", "ignore: got 3, expected a list of ids"),
    "one class": (
        "classes: [water]\n",
        "got one class, water, expected at least two: what is not water is a class, too; add - {name: background, id: 1}",
    ),
    "one class, the rest void": (
        "classes: [{name: water, id: 1}]\nignore: [0]\n",
        "add - {name: background, id: 0} with what the masks hold there, and take that out of ignore",
    ),
    "one class of colour": (
        "classes: [{name: water, colour: [0, 0, 0]}]\nignore: [[1, 1, 1]]\n",
        "add - {name: background, colour: [1, 1, 1]} with what the masks hold there, and take that out of ignore",
    ),
    "not yaml": ("classes: [a\n", "line 2: not valid YAML"),
    "tag": ("classes: !!python/object:os.system [a]\n", "line 1: got the tag"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_with_the_file(tmp_path, text, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'classes.yaml'}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_classes_that_need_none(tmp_path):
    with pytest.raises(DataError, match="no such file.*cityscapes, cityscapes_train_ids, camvid"):
        load_classes(tmp_path / "classes.yaml")


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "classes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"classes\.yaml: .*expected a YAML file of classes"):
        load_classes(tmp_path / "classes.yaml")


def test_known_classes_have_a_class_for_every_name():
    for coded in KNOWN_CLASSES.values():
        assert set(coded.code.classes.values()) == {*range(len(coded.classes.names)), 255}
