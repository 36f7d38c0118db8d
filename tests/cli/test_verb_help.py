"""What `nas VERB --help` prints: groups, values as given, texts, units, wrapped."""

from __future__ import annotations

import pytest


def test_help_shows_the_settings_of_what_is_chosen(run_nas):
    shown = run_nas("search", "space=fasterseg", "data=kitti", "logger=wandb", "search.epochs=7", "--help").out
    for text in (
        "  space.layers=16\n      Layers of the lattice, and the most that a branch has.\n",
        "  data.holdout=5\n",
        "  logger.wandb.project=segnas\n      Project of the run.\n",
        "  search.epochs=7  [epochs]\n      Passes over the training split",
        "  search.level=bilevel\n",  # the recipe of the space
        "  latency.table=???\n",
        "space: The search space's own config. FasterSeg's search space.\n",
    ):
        assert text in shown
    assert "space.num_cells" not in shown


def test_help_lists_the_groups_of_the_verb_and_marks_what_is_chosen(run_nas):
    shown = run_nas("train", "data=folder", "--help").out
    assert "schema_" not in shown
    assert "*folder" in shown
    assert "\n  space " not in shown
    assert "*jsonl, tensorboard, wandb" in shown


def test_help_lists_groups_of_the_users_own_folder(run_nas, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "short.yaml").write_text("# @package _global_\nsearch:\n  epochs: 2\n")
    shown = run_nas("search", "--config-dir", "mine", "+experiment=short", "--help").out
    assert "  experiment  *short\n" in shown
    assert "  search.epochs=2 " in shown


@pytest.mark.parametrize("columns", [60, 100])
def test_help_is_wrapped_to_the_terminal(run_nas, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run_nas("profile", "--help").out.splitlines()
    texts = [line for line in lines if line.startswith("      ")]
    assert columns - 15 < max(map(len, texts)) <= columns


def test_wrong_override_is_refused_beside_help(run_nas):
    outcome = run_nas("search", "search.epoch=7", "--help")
    assert (outcome.status, outcome.out) == (2, "")
    assert "did you mean search.epochs?" in outcome.err
