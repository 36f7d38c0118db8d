import numpy as np
import pytest

from nas.data import build_dataset
from nas.data.folder import FolderConfig
from nas.data.label_checks import check_labels
from nas.data.scan_facts import ScanFacts
from nas.data.synthetic import SyntheticConfig
from nas.errors import DataError
from tests.label_trees import save


def split(root, masks, classes, *, name="train"):
    """A split of masks, and of images that nobody looks at."""
    root.mkdir(exist_ok=True)
    (root / "classes.yaml").write_text(classes)
    for number, mask in enumerate(masks):
        save(root / "images" / name / f"f{number}.png", np.zeros((*np.shape(mask)[:2], 3)))
        save(root / "masks" / name / f"f{number}.png", np.array(mask))
    return build_dataset(FolderConfig(root=str(root)), name)


def checked(dataset, *, learns=True):
    return check_labels(dataset, dataset.scan(), learns=learns)


def refusal(dataset, *, learns=True):
    with pytest.raises(DataError) as caught:
        checked(dataset, learns=learns)
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    return message


THREE = "classes: [road, sky, car]\n"


def test_labels_with_all_classes_and_some_void_pass_without_a_word(tmp_path):
    assert checked(split(tmp_path, [[[0, 1, 2, 255]], [[0, 0, 1, 1]]], THREE)) == []


@pytest.mark.parametrize("learns", [True, False])
def test_a_split_of_nothing_but_void_is_refused(tmp_path, learns):
    message = refusal(split(tmp_path, [[[255, 255]], [[255, 255]]], THREE), learns=learns)
    assert message.startswith("data: every pixel of the 2 labels of the train split is void (id 255), expected pixels of classes; ")
    assert str(tmp_path / "classes.yaml") in message
    assert ("with images=FOLDER" in message) is not learns


@pytest.mark.parametrize("names", [["background", "target"], ["a: b", "no"]])
@pytest.mark.parametrize("present", [0, 1])
def test_masks_of_0_and_255_with_255_void_are_refused_with_the_lines_that_make_it_a_class(tmp_path, names, present):
    ids = (0, 1) if present == 0 else (1, 0)
    entries = [f"- {{name: '{name}', id: {stored}}}\n" for name, stored in zip(names, ids, strict=True)]
    data = split(tmp_path, [[[0, 0, 0, 255]]], "classes:\n" + "".join(entries))
    message = refusal(data)
    assert f"have pixels of {names[present]} alone (75 %, void 25 %)" in message
    lines = message.split("write ")[1].split(f" in {tmp_path / 'classes.yaml'}")[0]
    fixed = split(tmp_path, [[[0, 0, 0, 255]]], f"{lines}\n")
    assert fixed.classes == tuple(names)
    assert sorted(fixed.scan().pixels.tolist()) == [1, 3]
    assert fixed.scan().pixels[present] == 3
    assert checked(fixed) == []


def test_the_lines_keep_all_ids_of_the_class_that_is_there(tmp_path):
    data = split(tmp_path, [[[3, 4, 4, 255]]], "classes:\n- {name: a, ids: [3, 4]}\n- {name: b, id: 1}\n")
    assert '[{name: "a", ids: [3, 4]}, {name: "b", id: 255}]' in refusal(data)


def test_pixels_of_one_class_of_many_are_nothing_to_learn_from(tmp_path):
    message = refusal(split(tmp_path, [[[1, 1]]], THREE))
    assert "the labels of the train split have pixels of sky alone (100 %, void 0 %), expected pixels of at least two" in message
    assert "255" not in message
    (tmp_path / "with_void").mkdir()
    message = refusal(split(tmp_path / "with_void", [[[1, 255]]], THREE))
    assert "if it stands for a class, give that class id: 255 in " in message


def test_where_it_is_measured_against_one_class_is_a_warning(tmp_path):
    (line,) = checked(split(tmp_path, [[[1, 1, 1, 255]]], THREE, name="val"), learns=False)
    assert line.startswith("data: no pixel of road, car in the labels of the val split: mIoU is that of sky alone")
    assert "if it stands for a class" in line


@pytest.mark.parametrize(
    ("learns", "effect"), [(True, "nothing teaches the network this"), (False, "its IoU is null, and mIoU leaves it out")]
)
def test_a_class_without_a_pixel_is_named_with_the_shares_of_the_others(tmp_path, learns, effect):
    (line,) = checked(split(tmp_path, [[[0, 0, 0, 1]]], THREE), learns=learns)
    assert line == (
        f"data: no pixel of car in the labels of the train split: {effect}; the labelled pixels are road 75 %, sky 25 %"
    )


def test_many_classes_are_counted_instead_of_listed(tmp_path):
    names = ", ".join(f"c{number}" for number in range(20))
    (line,) = checked(split(tmp_path, [[list(range(10))]], f"classes: [{names}]\n"))
    assert "no pixel of c10, c11, c12, c13, c14, c15 and 4 more in" in line
    assert line.endswith("c4 10 %, c5 10 % and 4 more")


def test_mostly_void_labels_and_void_labels_are_warned_of(tmp_path):
    first, second = checked(split(tmp_path, [[[0, 1, 2, 2]], [[255] * 4], [[255] * 4]], THREE))
    assert first.startswith(
        "data: 66.7 % of the label pixels of the train split are void and count for nothing, expected at most 50 %"
    )
    assert second.startswith("data: 2 of the 3 labels of the train split are void throughout")


def test_colours_have_no_id_to_advise(tmp_path):
    stated = "classes:\n- {name: a, colour: [1, 1, 1]}\n- {name: b, colour: [2, 2, 2]}\nignore: [[255, 255, 255]]\n"
    message = refusal(split(tmp_path, [[[[1, 1, 1], [255, 255, 255]]]], stated))
    assert message.endswith(f"; correct the masks, or what {tmp_path / 'classes.yaml'} states")


def test_a_drawn_data_set_has_nothing_to_check():
    assert check_labels(build_dataset(SyntheticConfig(train=1, val=1, test=1), "train"), ScanFacts(1), learns=True) == []
