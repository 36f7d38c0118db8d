"""The JSON files of a run are read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.errors import ConfigError
from nas.runs.run_json import read_done, read_evaluation, read_prediction

PREDICTION = '{"table": "a/b", "unit": "ms", "latency": 1.0, "low": null, "high": null, "by_part": {"stem": 1}}'
BROKEN = ("", "[]", "{", '{"a": NaN}', '{"a": 1, "a": 1}', "[" * 100_000, "1" * 5000, "\xff")


def test_files_that_are_not_there_are_none(tmp_path: Path) -> None:
    assert [read(tmp_path / "x") for read in (read_done, read_evaluation, read_prediction)] == [None] * 3


def test_whole_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "p").write_text(PREDICTION)
    (tmp_path / "d").write_text('{"seconds": 1.5, "val_miou": 0.5}')
    (tmp_path / "e").write_text('{"split": "val", "size": [2, 3], "classes": {"sky": {"iou": null}}, "miou": 0.5}')
    assert read_prediction(tmp_path / "p")["by_part"] == {"stem": 1}
    assert read_done(tmp_path / "d")["seconds"] == 1.5
    assert read_evaluation(tmp_path / "e")["size"] == [2, 3]


@pytest.mark.parametrize("read", [read_done, read_evaluation, read_prediction])
@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_object_is_one_line(read, text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="remove it or put it back") as caught:
        read(tmp_path / "x")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (read_done, '{"seconds": [1]}', "seconds: got"),
        (read_done, '{"seconds": -1}', "at least 0"),
        (read_evaluation, '{"classes": 1}', "classes: got 1"),
        (read_evaluation, '{"classes": {"sky": 0.5}}', "classes.'sky': got 0.5"),
        (read_evaluation, '{"classes": {"sky": {"iou": "x"}}}', "iou: got 'x'"),
        (read_evaluation, '{"size": [1]}', "size: got"),
        (read_evaluation, '{"weights": 1}', "weights: got 1"),
        (read_evaluation, '{"pictures": [1]}', "pictures"),
        (read_evaluation, '{"data_settings": 1}', "data_settings"),
        (read_evaluation, '{"latency": 1}', "latency: got 1"),
        (read_evaluation, '{"latency": {"table": "a/b", "unit": "ms", "known_from": "x"}}', "latency.predicted: got None"),
        (read_evaluation, '{"latency": {"table": "a/b", "unit": 1}}', "latency.unit: got 1"),
        (
            read_evaluation,
            '{"latency": {"table": "a/b", "unit": "ms", "known_from": "x", "predicted": 1, "low": 1, "high": "2"}}',
            "latency.low and latency.high: got '2'",
        ),
        (read_prediction, "{}", "table: got None"),
        (read_prediction, PREDICTION.replace("1.0", '"x"'), "latency: got 'x'"),
        (read_prediction, PREDICTION.replace('"low": null', '"low": 1'), "low and high"),
        (read_prediction, PREDICTION.replace('{"stem": 1}', "[]"), "by_part: got"),
    ],
)
def test_a_wrong_part_is_named(read, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read(tmp_path / "x")
