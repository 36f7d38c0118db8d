"""The inputs of a run beside its settings, and what a resume says where they have changed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from nas.cost import MacsTable
from nas.errors import ConfigError
from nas.runs.run_inputs import RunInputs, data_inputs, file_inputs, table_inputs
from nas.space.deployment import Deployment
from search_spaces import SEARCH_SPACES
from tests.small_jobs import SIZE, made_up_table, space_config


class Split:
    def __init__(self, *names: str, classes: tuple[str, ...] = ("sky", "car")) -> None:
        self.names, self.classes = names, classes
        self.stored_classes: object = None

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]


def changed(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return [what for what in {**one, **other} if one.get(what) != other.get(what)]


def test_images_and_classes_count_with_their_order() -> None:
    first = data_inputs(Split("a", "b"), Split("c"))
    assert changed(first, data_inputs(Split("a", "b"), Split("c"))) == []
    assert changed(first, data_inputs(Split("a"), Split("c"))) == ["training images"]
    assert changed(first, data_inputs(Split("a", "b"), Split("d"))) == ["validation images"]
    assert changed(first, data_inputs(Split("a", "b", classes=("car", "sky")), Split("c"))) == ["classes"]
    more = data_inputs(Split("a", "b", classes=("sky", "car", "bus")), Split("c"))
    assert changed(first, more) == ["classes", "number of classes"]


@pytest.mark.parametrize("stored", [{1: 0, 7: 1}, {(0, 0, 9): 0, (0, 9, 0): 1}], ids=["ids", "colours"])
def test_what_label_files_store_for_a_class_counts(stored: dict[object, int]) -> None:
    first, same, other = (Split("a") for _ in range(3))
    first.stored_classes, same.stored_classes = stored, dict(reversed(stored.items()))
    other.stored_classes = dict(zip(stored, reversed(stored.values()), strict=True))
    assert changed(data_inputs(first, first), data_inputs(same, same)) == []
    assert changed(data_inputs(first, first), data_inputs(other, other)) == ["classes"]


def test_of_a_table_the_operations_of_the_search_count(tmp_path: Path) -> None:
    specs = SEARCH_SPACES["lgcnet"].build(space_config()).plan(Deployment(SIZE, 4, 11))
    table = made_up_table(tmp_path / "t.json", specs)
    first = table_inputs([table], specs)
    assert table_inputs([table], [*reversed(specs), *specs]) == first
    assert changed(first, table_inputs([MacsTable()], specs)) == ["latency table 1"]
    assert changed(first, table_inputs([table, table], specs)) == ["latency table 2"]
    assert table_inputs([], specs) == {}


def test_files_count_by_their_content(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    for name in ("weights.safetensors", "genotype.yaml"):
        (teacher / name).write_text("a")
    (tmp_path / "w.pt").write_text("a")
    files = {"teacher": str(teacher), "weights": str(tmp_path / "w.pt"), "encoder weights": None}
    first = file_inputs(files)
    assert list(first) == ["teacher", "weights"]
    (teacher / "weights.safetensors").write_text("b")
    assert changed(first, file_inputs(files)) == ["teacher"]
    (tmp_path / "w.pt").write_text("b")
    assert changed(first, file_inputs(files)) == ["teacher", "weights"]


def test_changes_are_refused_by_name_or_accepted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    inputs = {"classes": "1", "teacher": "2"}
    RunInputs(inputs).check(dict(inputs))
    assert not caplog.records
    with pytest.raises(ConfigError, match="resume: other classes, weights, teacher than .*accept_changes=true"):
        RunInputs(inputs).check({"classes": "0", "weights": "3"})
    RunInputs(inputs, accept_changes=True).check({"classes": "0", "teacher": "2"})
    assert "goes on with other classes than" in caplog.text


@pytest.mark.parametrize("accept_changes", [False, True])
def test_another_number_of_classes_is_never_accepted_nor_is_that_offered(accept_changes: bool) -> None:
    before = data_inputs(Split("a"), Split("b"))
    now = RunInputs(data_inputs(Split("a"), Split("b", classes=("sky",))) | {"number of classes": "other"}, accept_changes)
    with pytest.raises(ConfigError, match="another number of classes .*put the classes back, or start from scratch") as refused:
        now.check(before)
    assert "accept_changes" not in str(refused.value)
    without = {what: digest for what, digest in before.items() if what != "number of classes"}
    RunInputs(before).check(without)  # a checkpoint that does not state it yet


def test_a_checkpoint_of_before_goes_on_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        RunInputs({"classes": "1"}).check(None)
    assert "does not state its inputs" in caplog.text
    with pytest.raises(ValueError, match="inputs: got"):
        RunInputs({}).check({"classes": 1})
