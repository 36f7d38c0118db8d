"""The command that a bench prints last."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.probing.bench.accuracies import Accuracy
from nas.probing.bench.bench_next import next_lines


def row(name: str, ms: float, miou: float | None = None, *, is_published: bool = False) -> Any:
    known = None if miou is None else Accuracy(miou=miou, kind="k", is_published=is_published)
    return SimpleNamespace(network=SimpleNamespace(name=name), ms=ms, accuracy=known)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two trainings, one of which states its data."""
    monkeypatch.chdir(tmp_path)
    for name in ("bare", "my run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").touch()
    (tmp_path / "my run" / "config.yaml").write_text("verb: train\ndata:\n  name: cityscapes\n  root: there\n")
    return tmp_path


@pytest.mark.usefixtures("desk")
def test_what_has_weights_is_evaluated_before_anything_is_trained():
    hand_made = row("zoo/fast_scnn", 1.0, 0.7, is_published=True)
    assert next_lines([row("my run", 3.0), hand_made]) == ["next: nas eval 'run=\"my run\"' split=val"]
    assert next_lines([row("bare", 3.0), row("my run", 4.0)]) == ["next: nas eval run=bare"]
    assert next_lines([row("theirs.onnx", 2.0), hand_made]) == ["next, on your data: nas eval onnx=theirs.onnx data=NAME"]
    assert next_lines([row("my run/model.onnx", 2.0)]) == ["next: nas eval 'onnx=\"my run/model.onnx\"' split=val"]


@pytest.mark.usefixtures("desk")
def test_the_fastest_without_weights_is_trained_and_the_best_is_exported():
    rows = [row("zoo/b", 2.0, 0.8, is_published=True), row("zoo/a", 1.0), row("bare", 3.0, 0.5)]
    assert next_lines(rows) == ["next, on your data: nas train genotype=zoo/a data=NAME"]
    assert next_lines([*rows[2:], row("my run", 4.0, 0.6)]) == ["next: nas export 'run=\"my run\"'"]
    assert next_lines([row("theirs.onnx", 1.0, 0.5)]) == []


@pytest.mark.usefixtures("desk")
def test_a_network_is_trained_on_the_data_of_the_most_accurate_run_beside_it():
    rows = [row("zoo/a", 1.0, 0.8, is_published=True), row("my run", 3.0, 0.5), row("bare", 2.0, 0.6)]
    assert next_lines(rows) == ["next: nas train genotype=zoo/a data=cityscapes data.root=there"]
